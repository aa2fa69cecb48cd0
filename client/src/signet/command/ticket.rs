//! `signet ticket`.

use std::fmt::Write as _;

use aws_lc_rs::rand;
use serde_json::json;
use signet_client::authority::{
    Base64Url, RequestedTicket, RequestedTickets, TicketTerms, printable,
};
use signet_client::inspection::rfc3339;
use signet_client::workstation::Ask;
use signet_evidence::Purpose;
use zeroize::Zeroizing;

use super::{Context, files};
use crate::cli::{TicketApprove, TicketRequest};
use crate::failure::Failure;
use crate::output::Style;

pub(super) async fn request(context: &Context, options: &TicketRequest) -> Result<(), Failure> {
    let workstation = context.workstation().await?;
    let operator = options.operator.as_deref().unwrap_or(&workstation.enrolment().operator);
    let mut secret = Zeroizing::new([0; 16]);
    rand::fill(secret.as_mut()).map_err(|_| Failure::Randomness)?;
    let text = Zeroizing::new(Base64Url::encode(secret.as_ref()));
    let terms = TicketTerms {
        kind: options.kind.as_str(),
        operator,
        asset: options.asset.as_deref(),
        reason: &options.reason,
    };
    let asked = workstation.authority().request_ticket(&text, terms).await?;
    let next = format!(
        "Next: {} of the administrators run\n  signet ticket approve {}\nThen the ticket serves once.",
        asked.approvals_due,
        short(&asked),
    );
    if let Some(path) = &options.output {
        files::write(path, text.as_bytes())?;
        context.output.say(None, &next);
        let result = json!({ "id": asked.id, "state": asked.state });
        return context.output.result(&result, &format!("ticket in {}", path.display()));
    }
    context.output.say(None, &next);
    let result = json!({ "id": asked.id, "state": asked.state, "ticket": text.as_str() });
    context.output.result(&result, text.as_str())
}

pub(super) async fn list(context: &Context) -> Result<(), Failure> {
    let found = context.workstation().await?.authority().requested_tickets().await?;
    let mut text = String::new();
    for ticket in &found.tickets {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}  {}\n{}", short(ticket), ticket.state, describe(ticket));
    }
    if found.tickets.is_empty() {
        text.push_str("no tickets were asked for in the last 30 days");
    }
    context.output.result(&found, &text)
}

pub(super) async fn approve(context: &Context, options: &TicketApprove) -> Result<(), Failure> {
    let workstation = context.workstation().await?;
    let found = workstation.authority().requested_tickets().await?;
    let ticket = find(&found, &options.id)?;
    if !ticket.is_what_it_shows() {
        return Err(Failure::TicketUnclear { id: options.id.clone() });
    }
    let authority = &workstation.enrolment().audience;
    let action = ticket.action(authority).map_err(signet_client::approval::ApprovalError::from)?;
    let say = format!("You approve ticket {}", short(ticket));
    context.output.say(Some(Style::Ask), &say);
    context.output.say(None, &describe(ticket));
    let ask = Ask {
        purpose: Purpose::Action,
        scope: None,
        acr: None,
        action: Some(action.as_bytes()),
        session: None,
        means: context.means(None),
    };
    let proof = workstation.prove(&ask, &context.terminal).await?;
    let approved = workstation.authority().approve_ticket(&ticket.id, &proof.evidence).await?;
    let missing = approved.approvals_due.saturating_sub(approved.approvals.len());
    let text = match (approved.opens_at, missing) {
        (Some(opens), _) if approved.state == "delayed" => {
            format!("approved: it can be used from {}", rfc3339(opens))
        }
        (Some(_), _) => "approved: it can be used now, once".to_owned(),
        (None, missing) => format!("approved: {} more to go", missing.max(1)),
    };
    context.output.result(&approved, &text)
}

/// What those should know whom somebody made tickets for; one line each.
pub(super) fn notices(found: &RequestedTickets, operator: &str) -> Vec<String> {
    let for_me = found.tickets.iter().filter(|ticket| ticket.operator == operator);
    for_me
        .filter(|ticket| ticket.state != "expired" || !ticket.approvals.is_empty())
        .map(|ticket| {
            format!(
                "a {} ticket for you was asked for by {} at {}: {}",
                printable(&ticket.kind),
                printable(&ticket.requested_by),
                rfc3339(ticket.requested_at),
                state(ticket)
            )
        })
        .collect()
}

/// The one ticket whose id begins so.
fn find<'a>(found: &'a RequestedTickets, id: &str) -> Result<&'a RequestedTicket, Failure> {
    let mut fit = found.tickets.iter().filter(|ticket| ticket.id.starts_with(id));
    match (fit.next(), fit.next()) {
        (Some(ticket), None) => Ok(ticket),
        _ => Err(Failure::NoSuchTicket { id: id.to_owned() }),
    }
}

/// Enough of the id to name it.
fn short(ticket: &RequestedTicket) -> &str {
    ticket.id.get(..12).unwrap_or(&ticket.id)
}

fn describe(ticket: &RequestedTicket) -> String {
    let opens = match ticket.kind.as_str() {
        "device" => "enrols a machine",
        "rebinding" => "enrols a machine in the place of the one with the same TPM",
        "authenticator" => "adds a key",
        "recovery" => "adds a key and revokes all earlier ones",
        _ => "is of a kind that this version does not know",
    };
    let asset = ticket.asset.as_deref().map(|tag| format!(", {}", printable(tag)));
    format!(
        "  for        {}: {opens}{}\n  reason     {}\n  asked      by {} at {}\n  state      {}",
        printable(&ticket.operator),
        asset.unwrap_or_default(),
        printable(&ticket.reason),
        printable(&ticket.requested_by),
        rfc3339(ticket.requested_at),
        state(ticket),
    )
}

fn state(ticket: &RequestedTicket) -> String {
    let names: Vec<String> =
        ticket.approvals.iter().map(|approval| printable(&approval.administrator)).collect();
    let by = match names.as_slice() {
        [] => "nobody yet".to_owned(),
        names => names.join(", "),
    };
    let approved = format!("approved by {by}");
    let time = |time: Option<i64>| time.map(rfc3339).unwrap_or_default();
    match ticket.state.as_str() {
        "waiting" => format!("{approved} ({} needed)", ticket.approvals_due),
        "delayed" => format!("{approved}; opens at {}", time(ticket.opens_at)),
        "open" => format!("{approved}; can be used until {}", time(ticket.expires_at)),
        "used" => format!("{approved}; used at {}", time(ticket.used_at)),
        _ => format!("{approved}; run out"),
    }
}
