//! Tickets that operators ask for and administrators approve, as types.

use serde::{Deserialize, Serialize};
use signet_evidence::binding::Sha256;
use signet_evidence::{DeviceId, UnixTime};
use signet_verifier::challenge::FreshChallenge;
use signet_verifier::records::TpmClock;

use super::TicketKind;

/// What is asked for. Its JSON is what each administrator's key signs the digest of, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketDocument {
    /// SHA-256 of the ticket's text, hex: whoever asked holds the ticket, and approvals are for it alone.
    pub ticket: String,
    /// [`TicketKind::as_str`].
    pub kind: String,
    /// For whom.
    pub operator: String,
    /// Inventory tag of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// Why, in the words of whoever asks.
    pub reason: String,
    /// The operator of the machine that asked.
    pub requested_by: String,
    /// When, in Unix seconds by the authority's clock.
    pub requested_at: i64,
}

/// A request to be added.
#[derive(Clone, Debug)]
pub struct NewTicketRequest {
    /// SHA-256 of the ticket's text.
    pub id: Sha256,
    /// What is asked for.
    pub document: TicketDocument,
    /// Its bytes as they are approved.
    pub bytes: Vec<u8>,
    /// The machine that asks.
    pub device: DeviceId,
    /// Until when it can be approved.
    pub expires: UnixTime,
}

/// A stored request, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketRequest {
    /// SHA-256 of the ticket's text.
    pub id: Sha256,
    /// What is asked for.
    pub document: TicketDocument,
    /// Its bytes as they are approved.
    pub bytes: Vec<u8>,
    /// Until when it can be approved.
    pub expires: UnixTime,
    /// Who approved it, in order.
    pub approvals: Vec<Approved>,
    /// The ticket that came of it.
    pub ticket: Option<OpenedTicket>,
}

impl TicketRequest {
    /// What the ticket will open.
    #[must_use]
    pub fn kind(&self) -> Option<TicketKind> {
        TicketKind::from_name(&self.document.kind)
    }
}

/// One approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// Whose key was touched.
    pub administrator: String,
    /// When.
    pub at: UnixTime,
}

/// When a ticket that was approved can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedTicket {
    /// From when.
    pub opens: UnixTime,
    /// Until when.
    pub expires: UnixTime,
    /// When it was used.
    pub used: Option<UnixTime>,
}

/// An approval to be recorded.
#[derive(Clone, Debug)]
pub struct TicketApproval {
    /// The request.
    pub request: Sha256,
    /// Whose key was touched.
    pub administrator: String,
    /// The machine it was touched at.
    pub device: DeviceId,
    /// The machine's TPM clock now.
    pub clock: TpmClock,
    /// The credential that was touched and its counter now.
    pub credential: (Vec<u8>, u32),
    /// The challenge to consume.
    pub challenge: FreshChallenge,
    /// SHA-256 of the evidence.
    pub evidence: Sha256,
    /// When.
    pub at: UnixTime,
    /// What the approvals must amount to.
    pub quorum: Quorum,
}

/// When a request is approved.
#[derive(Clone, Debug)]
pub struct Quorum {
    /// Whose approvals count, as of now.
    pub administrators: Vec<String>,
    /// How many of them it takes.
    pub approvals: usize,
    /// When the ticket opens, should this approval be the last one that is due.
    pub opens: UnixTime,
    /// When it then runs out.
    pub expires: UnixTime,
}
