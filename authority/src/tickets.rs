//! Enrolment tickets: 128 random bits that an administrator hands to one person, once.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::UnixTime;
use signet_evidence::binding::{Sha256, sha256};
use signet_evidence::thumbprint::hex;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::{Recovery, is_name};
use crate::store::{
    AuditEntry, Decision, Event, NewTicket, Store, StoreError, TicketKind, TicketMachine,
};

/// What a ticket is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it opens.
    pub kind: TicketKind,
    /// For whom.
    pub operator: String,
    /// Inventory tag of the machine.
    pub asset: Option<String>,
    /// What it says of the machine besides.
    pub machine: TicketMachine,
}

/// A ticket, readable this once.
pub struct MadeTicket {
    /// What the operator types.
    pub text: Zeroizing<String>,
    /// When it runs out.
    pub expires: UnixTime,
}

/// No ticket was made.
#[derive(Debug, Error)]
pub enum TicketError {
    /// Operators' names stand in tokens, certificates and logs.
    #[error("not an operator's name; use letters, digits, '.', '-' and '_', at most 64")]
    Operator,
    /// An asset tag of another form.
    #[error("not an asset tag; use letters, digits, '.', '-' and '_', at most 64")]
    Asset,
    /// The settings leave this one to two administrators.
    #[error(
        "two administrators approve tickets for people who have had a key: ask with `signet ticket request --operator NAME`, at any enrolled machine"
    )]
    TwoAdministrators,
    /// A group of another form.
    #[error("not a group's name; use letters, digits, '.', '-' and '_', at most 64")]
    Group,
    /// The store did not take it.
    #[error("the ticket was not stored")]
    Store(#[from] StoreError),
}

/// Refuses what the settings leave to two administrators: whatever could give a person's name to a
/// new key or machine, once that person has had a key.
///
/// # Errors
/// [`TicketError::TwoAdministrators`], [`TicketError::Store`].
pub async fn check_alone(
    store: &dyn Store,
    operator: &str,
    recovery: &Recovery,
) -> Result<(), TicketError> {
    if recovery.two_administrators && !store.credentials_of(operator).await?.is_empty() {
        return Err(TicketError::TwoAdministrators);
    }
    Ok(())
}

/// Makes a ticket and stores its digest.
///
/// # Errors
/// See [`TicketError`].
pub async fn make(
    store: &dyn Store,
    request: Request,
    now: UnixTime,
    lifetime: Duration,
) -> Result<MadeTicket, TicketError> {
    if !is_name(&request.operator) {
        return Err(TicketError::Operator);
    }
    if request.asset.as_deref().is_some_and(|asset| !is_name(asset)) {
        return Err(TicketError::Asset);
    }
    if request.machine.group.as_deref().is_some_and(|group| !is_name(group)) {
        return Err(TicketError::Group);
    }
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*crate::random::secret::<16>()));
    let expires = now.plus(lifetime);
    let mut audit = AuditEntry::new(now, Event::Ticket, Decision::Allowed);
    audit.subject = Some(request.operator.clone());
    audit.detail = described(&request);
    let ticket = NewTicket {
        digest: digest(&text),
        kind: request.kind,
        operator: request.operator,
        asset: request.asset,
        machine: request.machine,
        created_at: now,
        expires,
    };
    store.add_ticket(&ticket, &audit).await?;
    Ok(MadeTicket { text, expires })
}

fn described(request: &Request) -> String {
    let mut text = format!("{} ticket", request.kind.as_str());
    if let Some(asset) = &request.asset {
        text.push_str(&format!(" for {asset}"));
    }
    if let Some(group) = &request.machine.group {
        text.push_str(&format!(", group {group}"));
    }
    if let Some(digest) = &request.machine.ek_digest {
        text.push_str(&format!(", endorsement key {}", hex(digest)));
    }
    text
}

/// What the store knows a ticket by.
#[must_use]
pub fn digest(text: &str) -> Sha256 {
    sha256(text.as_bytes())
}
