//! Audit records: what was decided, on what, and exactly why.

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use signet_evidence::binding::Sha256;
use signet_evidence::cbor::{self, Value};
use signet_evidence::thumbprint::hex;
use signet_evidence::{DeviceId, RejectionCode, SessionId, UnixTime};
use signet_verifier::log::leaf_hash;

use super::Tally;
use crate::trace::{self, TraceId};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// An administrator made a ticket.
    Ticket,
    /// A ticket was asked for.
    TicketRequest,
    /// An administrator approved a ticket that was asked for.
    TicketApprove,
    /// A machine's enrolment, first half.
    DeviceEnrolBegin,
    /// A machine's enrolment, second half.
    DeviceEnrol,
    /// New certificates for the keys of an enrolled machine.
    DeviceRenew,
    /// A security key's enrolment.
    KeyEnrol,
    /// A challenge was asked for (refusals only: a challenge gives nothing).
    Challenge,
    /// A session token at a session's start or with new presence.
    TokenSession,
    /// A session token by renewal.
    TokenRenew,
    /// An action token.
    TokenAction,
    /// A workload's token.
    TokenWorkload,
    /// A token exchange that was refused before its purpose was known.
    Token,
    /// A gateway asked about a token.
    Introspect,
    /// A gateway used up a single-use token.
    Redeem,
    /// A gateway asked for a decision.
    Authorize,
    /// Something was revoked.
    Revoke,
    /// A gateway's certificate was issued.
    GatewayCertificate,
    /// FIDO metadata was imported, or refused.
    Metadata,
    /// A machine booted something else than before.
    MachineBoot,
    /// A machine was put into groups.
    MachineGroup,
    /// A TPM was seen that no certificate vouches for.
    EkPin,
    /// An administrator approved a TPM that no certificate vouches for.
    EkApprove,
    /// An administrator accepted what a machine booted.
    BootAccept,
    /// Metadata turned against the model of an enrolled key, or for it again.
    KeyStatus,
    /// A witness of this log was seen for the first time, or with another key.
    Witness,
    /// Old records were deleted; their hashes stay.
    AuditPrune,
    /// A new token key is to take over, or a CA got another certificate.
    Keys,
    /// The database was restored from a backup.
    Restore,
    /// Something that a person should look at now.
    Alert,
    /// An action policy was put into force, or into shadow.
    PolicyActivate,
    /// An earlier action policy was put into force again.
    PolicyRollback,
}

impl Event {
    /// Its name in records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::TicketRequest => "ticket-request",
            Self::TicketApprove => "ticket-approve",
            Self::DeviceEnrolBegin => "device-enrol-begin",
            Self::DeviceEnrol => "device-enrol",
            Self::DeviceRenew => "device-renew",
            Self::KeyEnrol => "key-enrol",
            Self::Challenge => "challenge",
            Self::TokenSession => "token-session",
            Self::TokenRenew => "token-renew",
            Self::TokenAction => "token-action",
            Self::TokenWorkload => "token-workload",
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::Redeem => "redeem",
            Self::Authorize => "authorize",
            Self::Revoke => "revoke",
            Self::GatewayCertificate => "gateway-certificate",
            Self::Metadata => "metadata",
            Self::MachineBoot => "machine-boot",
            Self::MachineGroup => "machine-group",
            Self::EkPin => "ek-pin",
            Self::EkApprove => "ek-approve",
            Self::BootAccept => "boot-accept",
            Self::KeyStatus => "key-status",
            Self::Witness => "witness",
            Self::AuditPrune => "audit-prune",
            Self::Keys => "keys",
            Self::Restore => "restore",
            Self::Alert => "alert",
            Self::PolicyActivate => "policy-activate",
            Self::PolicyRollback => "policy-rollback",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Yes.
    Allowed,
    /// No, with the exact code.
    Refused(RejectionCode),
}

impl Decision {
    /// `allowed` or `refused`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused(_) => "refused",
        }
    }

    /// The exact code of a refusal.
    #[must_use]
    pub fn code(self) -> Option<RejectionCode> {
        match self {
            Self::Allowed => None,
            Self::Refused(code) => Some(code),
        }
    }
}

/// Evidence that a decision was made on.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptEvidence {
    /// The evidence, as it came.
    pub bytes: Vec<u8>,
    /// The certificate of the connection that it came over, DER.
    pub peer: Vec<u8>,
}

impl fmt::Debug for KeptEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of evidence", self.bytes.len())
    }
}

/// A decision to be written.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// When, by the authority's clock.
    pub at: UnixTime,
    /// What was asked.
    pub event: Event,
    /// The answer.
    pub decision: Decision,
    /// The operator, as far as known.
    pub subject: Option<String>,
    /// The machine, as far as known.
    pub device: Option<DeviceId>,
    /// The session.
    pub session: Option<SessionId>,
    /// The token's id.
    pub token: Option<[u8; 16]>,
    /// The credential's id.
    pub credential: Option<Vec<u8>>,
    /// SPIFFE ID of the gateway that asked.
    pub gateway: Option<String>,
    /// SHA-256 of the action's bytes.
    pub action: Option<Sha256>,
    /// SHA-256 of the evidence.
    pub evidence: Option<Sha256>,
    /// The evidence itself, where it is to be kept: written with the record, under that hash.
    pub kept: Option<Arc<KeptEvidence>>,
    /// The policy rule that decided.
    pub rule: Option<String>,
    /// The exact reason: causes of a refusal, or what was allowed. Never a secret.
    pub detail: String,
    /// Version of the action policy that was asked.
    pub policy: Option<String>,
    /// What policy was told and said, as JSON ([`crate::policy::RecordedRequest`]): enough to decide
    /// it again.
    pub request: Option<String>,
    /// The request that it was decided in.
    pub trace: Option<TraceId>,
    /// What it counts for; not part of the record.
    pub tallies: Vec<Tally>,
}

impl AuditEntry {
    /// An entry that says nothing yet but what was asked and answered.
    #[must_use]
    pub fn new(at: UnixTime, event: Event, decision: Decision) -> Self {
        Self {
            at,
            event,
            decision,
            subject: None,
            device: None,
            session: None,
            token: None,
            credential: None,
            gateway: None,
            action: None,
            evidence: None,
            kept: None,
            rule: None,
            detail: String::new(),
            policy: None,
            request: None,
            trace: trace::current(),
            tallies: Vec::new(),
        }
    }

    /// The record with the number `sequence`.
    #[must_use]
    pub fn into_record(self, sequence: i64) -> AuditRecord {
        AuditRecord {
            sequence,
            at: self.at.0,
            event: self.event.as_str().into(),
            decision: self.decision.as_str().into(),
            code: self.decision.code().map(|code| code.as_str().into()),
            subject: self.subject,
            device: self.device.map(|device| device.to_string()),
            session: self.session.map(|session| session.to_string()),
            token: self.token.map(|token| hex(&token)),
            credential: self.credential.map(|credential| hex(&credential)),
            gateway: self.gateway,
            action: self.action.map(|action| hex(&action)),
            evidence: self.evidence.map(|evidence| hex(&evidence)),
            rule: self.rule,
            detail: self.detail,
            policy: self.policy,
            request: self.request,
            trace: self.trace.map(|trace| trace.to_string()),
        }
    }
}

/// A decision as it was written; hex where the entry has bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // The members are those of `AuditEntry`.
pub struct AuditRecord {
    pub sequence: i64,
    pub at: i64,
    pub event: String,
    pub decision: String,
    pub code: Option<String>,
    pub subject: Option<String>,
    pub device: Option<String>,
    pub session: Option<String>,
    pub token: Option<String>,
    pub credential: Option<String>,
    pub gateway: Option<String>,
    pub action: Option<String>,
    pub evidence: Option<String>,
    pub rule: Option<String>,
    pub detail: String,
    pub policy: Option<String>,
    pub request: Option<String>,
    pub trace: Option<String>,
}

/// What the log holds of a record, in the order that deterministic CBOR has (RFC 8949 §4.2.1): nothing is sorted.
struct Entry<'a>(&'a AuditRecord);

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(record) = self;
        let texts = [
            ("code", record.code.as_deref()),
            ("rule", record.rule.as_deref()),
            ("event", Some(record.event.as_str())),
            ("token", record.token.as_deref()),
            ("trace", record.trace.as_deref()),
            ("action", record.action.as_deref()),
            ("detail", Some(record.detail.as_str())),
            ("device", record.device.as_deref()),
            ("policy", record.policy.as_deref()),
            ("gateway", record.gateway.as_deref()),
            ("request", record.request.as_deref()),
            ("session", record.session.as_deref()),
            ("subject", record.subject.as_deref()),
            ("decision", Some(record.decision.as_str())),
            ("evidence", record.evidence.as_deref()),
            ("credential", record.credential.as_deref()),
        ];
        let set = || texts.iter().filter_map(|(name, text)| Some((name, (*text)?)));
        let mut map = serializer.serialize_map(Some(1 + set().count()))?;
        map.serialize_entry("at", &record.at)?;
        for (name, text) in set() {
            map.serialize_entry(name, text)?;
        }
        map.end()
    }
}

impl AuditRecord {
    /// What the log holds of it: the deterministic CBOR map of the members that are set. The number
    /// is not among them: the tree says where a record stands.
    #[must_use]
    pub fn entry(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        // Writing to a `Vec` does not fail.
        let _ = ciborium::into_writer(&Entry(self), &mut bytes);
        bytes
    }

    /// The record that [`Self::entry`] made these bytes of, without its number; `None` where it did not.
    #[must_use]
    pub fn from_entry(bytes: &[u8]) -> Option<Self> {
        let members = cbor::decode(bytes).ok()?.into_map().ok()?;
        let member = |name: &str| {
            members.iter().find_map(|(key, value)| (key.as_text()? == name).then_some(value))
        };
        let text = |name| member(name).and_then(Value::as_text).map(str::to_owned);
        let record = Self {
            sequence: 0,
            at: i64::try_from(i128::from(member("at")?.as_integer()?)).ok()?,
            event: text("event")?,
            decision: text("decision")?,
            code: text("code"),
            subject: text("subject"),
            device: text("device"),
            session: text("session"),
            token: text("token"),
            credential: text("credential"),
            gateway: text("gateway"),
            action: text("action"),
            evidence: text("evidence"),
            rule: text("rule"),
            detail: text("detail")?,
            policy: text("policy"),
            request: text("request"),
            trace: text("trace"),
        };
        // Nothing else may be in it.
        (record.entry() == bytes).then_some(record)
    }

    /// Its leaf in the tree.
    #[must_use]
    pub fn leaf(&self) -> Sha256 {
        leaf_hash(&self.entry())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_deterministic_and_the_record_comes_back() {
        let text = |name: &str| Some(name.to_owned());
        let full = AuditRecord {
            sequence: 0,
            at: 1_795_317_301,
            event: "authorize".into(),
            decision: "allowed".into(),
            code: text("c"),
            subject: text("alice"),
            device: text("d"),
            session: text("s"),
            token: text("t"),
            credential: text("k"),
            gateway: text("g"),
            action: text("a"),
            evidence: text("e"),
            rule: text("r"),
            detail: "GET \u{e9}".into(),
            policy: text("p"),
            request: text("{}"),
            trace: text("x"),
        };
        let Ok(Value::Map(members)) = cbor::decode(&full.entry()) else { panic!("not a map") };
        assert_eq!(members.len(), 17);
        assert_eq!(AuditRecord::from_entry(&full.entry()), Some(full));
        let least = AuditEntry::new(UnixTime(-1), Event::Ticket, Decision::Allowed).into_record(0);
        assert_eq!(AuditRecord::from_entry(&least.entry()), Some(least.clone()));
        // Another member, none of those that are always there, another type.
        let other = |name: &str, value: Value| (Value::from(name), value);
        let Ok(Value::Map(least)) = cbor::decode(&least.entry()) else { panic!("not a map") };
        let of = |members: Vec<(Value, Value)>| cbor::encode(&Value::Map(members));
        for wrong in [
            of([least.clone(), vec![other("more", "x".into())]].concat()),
            of(least[1..].to_vec()),
            of([least.clone(), vec![other("rule", 1.into())]].concat()),
            cbor::encode(&Value::Null),
            Vec::new(),
        ] {
            assert_eq!(AuditRecord::from_entry(&wrong), None);
        }
    }
}
