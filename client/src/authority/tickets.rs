//! Tickets that operators ask for and administrators approve (protocol §4.4).

use reqwest::Method;
use serde::{Deserialize, Serialize};
use signet_evidence::action::ActionError;
use signet_evidence::action::content_digest;
use signet_evidence::binding::sha256;
use signet_evidence::{Action, ActionDetails, ActionKind};

use super::{Authority, AuthorityError, Base64Url};

/// The action that an approval is.
const ACTION: &str = "signet.ticket.approve";

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct TicketTerms<'a> {
    /// `device`, `rebinding`, `authenticator` or `recovery`.
    pub kind: &'a str,
    /// For whom.
    pub operator: &'a str,
    /// Inventory tag of the machine.
    pub asset: Option<&'a str>,
    /// Why, for those who approve.
    pub reason: &'a str,
}

#[derive(Serialize)]
struct Ask<'a> {
    ticket: Base64Url,
    kind: &'a str,
    operator: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<&'a str>,
    reason: &'a str,
}

#[derive(Serialize)]
struct Approve {
    evidence: Base64Url,
}

/// A ticket that was asked for, and what became of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RequestedTicket {
    /// Names it: 64 hex digits.
    pub id: String,
    /// The exact bytes that are approved.
    pub document: String,
    /// What it opens.
    pub kind: String,
    /// For whom.
    pub operator: String,
    /// Inventory tag of the machine.
    #[serde(default)]
    pub asset: Option<String>,
    /// Why.
    pub reason: String,
    /// The operator of the machine that asked.
    pub requested_by: String,
    /// Unix seconds.
    pub requested_at: i64,
    /// Who approved it.
    pub approvals: Vec<TicketApproval>,
    /// How many it takes.
    pub approvals_due: usize,
    /// Until when it can be approved, Unix seconds.
    pub approve_until: i64,
    /// `waiting`, `delayed`, `open`, `used` or `expired`.
    pub state: String,
    /// From when it can be used.
    #[serde(default)]
    pub opens_at: Option<i64>,
    /// Until when it can be used.
    #[serde(default)]
    pub expires_at: Option<i64>,
    /// When it was used.
    #[serde(default)]
    pub used_at: Option<i64>,
}

/// One approval.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TicketApproval {
    /// Whose key was touched.
    pub administrator: String,
    /// Unix seconds.
    pub at: i64,
}

/// Tickets that concern this machine's operator.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RequestedTickets {
    /// Whether the operator may approve those of others.
    pub administrator: bool,
    /// Oldest first.
    pub tickets: Vec<RequestedTicket>,
}

impl RequestedTicket {
    /// What an approval signs: this authority, this request, these bytes.
    ///
    /// # Errors
    /// [`ActionError`] when the authority's answer is not of this protocol.
    pub fn action(&self, authority: &str) -> Result<Action, ActionError> {
        Action::new(ActionDetails {
            kind: ActionKind::SignetAction,
            actions: vec![ACTION.into()],
            locations: vec![authority.to_owned()],
            method: "POST".into(),
            path: format!("/v1/tickets/{}/approvals", self.id),
            content_digest: content_digest(self.document.as_bytes()),
        })
    }

    /// Whether the bytes that would be approved say what this value says.
    #[must_use]
    pub fn is_what_it_shows(&self) -> bool {
        let document: serde_json::Value = serde_json::from_str(&self.document).unwrap_or_default();
        let texts = [
            ("ticket", &self.id),
            ("kind", &self.kind),
            ("operator", &self.operator),
            ("reason", &self.reason),
            ("requested_by", &self.requested_by),
        ];
        texts.into_iter().all(|(name, shown)| document[name] == shown.as_str())
            && document["asset"].as_str() == self.asset.as_deref()
    }
}

impl Authority {
    /// Asks for a ticket. Its text stays here: the authority hears its digest only.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn request_ticket(
        &self,
        text: &str,
        terms: TicketTerms<'_>,
    ) -> Result<RequestedTicket, AuthorityError> {
        let TicketTerms { kind, operator, asset, reason } = terms;
        let ticket = Base64Url(sha256(text.as_bytes()).to_vec());
        self.post("v1/tickets", &Ask { ticket, kind, operator, asset, reason }).await
    }

    /// Tickets that this machine's operator asked for or that are for them; all for administrators.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn requested_tickets(&self) -> Result<RequestedTickets, AuthorityError> {
        self.answer(self.request(Method::GET, "v1/tickets")?).await
    }

    /// Approves a ticket by evidence over [`RequestedTicket::action`].
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn approve_ticket(
        &self,
        id: &str,
        evidence: &[u8],
    ) -> Result<RequestedTicket, AuthorityError> {
        let evidence = Base64Url(evidence.to_vec());
        self.post(&format!("v1/tickets/{id}/approvals"), &Approve { evidence }).await
    }
}
