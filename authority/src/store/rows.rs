//! What is stored, as types.

use std::collections::BTreeMap;

use signet_evidence::binding::Sha256;
use signet_evidence::webauthn::{Aaguid, CoseKey};
use signet_evidence::{DeviceId, SessionId, UnixTime};
use signet_verifier::AttestationKind;
use signet_verifier::challenge::FreshChallenge;
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::metadata::{AttestationKeyId, Metadata};
use signet_verifier::records::{PlatformMethod, TpmClock};
use signet_verifier::token::PresenceRecord;

/// What a ticket opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketKind {
    /// Enrolment of one machine.
    Device,
    /// Enrolment of one machine in the place of the one of the same operator and TPM.
    Rebinding,
    /// Enrolment of one security key.
    Authenticator,
    /// Enrolment of one security key, with which all earlier ones are revoked.
    Recovery,
}

impl TicketKind {
    const ALL: [Self; 4] = [Self::Device, Self::Rebinding, Self::Authenticator, Self::Recovery];

    /// Its name in the store and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Rebinding => "rebinding",
            Self::Authenticator => "authenticator",
            Self::Recovery => "recovery",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What it opens, whatever else it does: a machine or a key.
    #[must_use]
    pub fn opens(self) -> Self {
        match self {
            Self::Device | Self::Rebinding => Self::Device,
            Self::Authenticator | Self::Recovery => Self::Authenticator,
        }
    }
}

/// What a ticket says of the machine that it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketMachine {
    /// The group that the machine gets.
    pub group: Option<String>,
    /// SHA-256 of the `TPMT_PUBLIC` of the one endorsement key that it is for.
    pub ek_digest: Option<Sha256>,
}

/// A ticket to be added; only its digest is ever stored.
#[derive(Clone, Debug)]
pub struct NewTicket {
    /// SHA-256 of the ticket's text.
    pub digest: Sha256,
    /// What it opens.
    pub kind: TicketKind,
    /// For whom.
    pub operator: String,
    /// Inventory tag of the machine.
    pub asset: Option<String>,
    /// What it says of the machine besides.
    pub machine: TicketMachine,
    /// From when it can be used.
    pub created_at: UnixTime,
    /// When it runs out.
    pub expires: UnixTime,
}

/// A stored ticket.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// What it opens.
    pub kind: TicketKind,
    /// For whom.
    pub operator: String,
    /// Inventory tag of the machine.
    pub asset: Option<String>,
    /// What it says of the machine besides.
    pub machine: TicketMachine,
    /// From when it can be used.
    pub created_at: UnixTime,
    /// When it runs out.
    pub expires: UnixTime,
    /// Whether it was used.
    pub used: bool,
}

impl Ticket {
    /// Whether it opens `kind` (a device or an authenticator) at `now`.
    #[must_use]
    pub fn opens(&self, kind: TicketKind, now: UnixTime) -> bool {
        self.kind.opens() == kind && !self.used && self.created_at <= now && now < self.expires
    }
}

/// A machine to be added.
#[derive(Clone, Debug)]
pub struct DeviceEnrolment {
    /// The ticket to use up.
    pub ticket: Sha256,
    /// The row.
    pub device: DeviceRow,
    /// When the grant for the operator's first key runs out.
    pub grant_expires: UnixTime,
}

/// An enrolled machine that gets new certificates.
#[derive(Clone, Debug)]
pub struct DeviceRenewal {
    /// The challenge to consume.
    pub challenge: FreshChallenge,
    /// The machine.
    pub device: DeviceId,
    /// Its TPM clock now.
    pub clock: TpmClock,
}

/// An enrolled machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceId,
    /// Whose it is.
    pub operator: String,
    /// Inventory tag.
    pub asset: Option<String>,
    /// SHA-256 of the EK's TPMT_PUBLIC.
    pub ek_digest: Sha256,
    /// Whether the EK's certificate led to an accepted root.
    pub ek_proven: bool,
    /// The AK's Name.
    pub ak_name: Vec<u8>,
    /// The AK.
    pub ak: P256PublicKey,
    /// The TLS key.
    pub tls_key: P256PublicKey,
    /// PCR values (SHA-256 bank) at enrolment.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// The TPM's clock at the last accepted evidence.
    pub clock: TpmClock,
    /// When it was enrolled.
    pub enrolled_at: UnixTime,
    /// Whether it, or its operator, is revoked.
    pub revoked: bool,
}

/// What allows an operator to add a key (protocol §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorisation {
    /// The machine was enrolled a moment ago and this is the operator's first key.
    Grant,
    /// A ticket, by its digest.
    Ticket(Sha256),
    /// Another key of the operator asserted over the same statement: its id and new counter.
    Credential {
        /// Its id.
        id: Vec<u8>,
        /// Its signature counter now.
        sign_count: u32,
    },
}

/// A credential to be added.
#[derive(Clone, Debug)]
pub struct CredentialEnrolment {
    /// The row.
    pub credential: CredentialRow,
    /// The machine that it was registered on.
    pub device: DeviceId,
    /// The machine's TPM clock now.
    pub clock: TpmClock,
    /// What allows it.
    pub authorisation: Authorisation,
    /// The challenge to consume.
    pub challenge: FreshChallenge,
}

/// What a platform key's row says beyond any key's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformKeyRow {
    /// The machine whose TPM holds it.
    pub device: DeviceId,
    /// How it is used.
    pub method: PlatformMethod,
}

/// An operator's key: a security key, or one in a machine's TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    /// Credential id.
    pub id: Vec<u8>,
    /// Whose it is.
    pub subject: String,
    /// What its owner calls it.
    pub name: String,
    /// Its public key.
    pub public_key: CoseKey,
    /// The model; all zeros for a platform key.
    pub aaguid: Aaguid,
    /// How it attested itself.
    pub attestation: AttestationKind,
    /// What metadata knows the model by where it has no AAGUID.
    pub attestation_key: Option<AttestationKeyId>,
    /// Whether it proves a touch and never more.
    pub touch_only: bool,
    /// The status that FIDO metadata reports of its model, while that stands against it.
    pub reported: Option<String>,
    /// Present for a key in a machine's TPM.
    pub platform: Option<PlatformKeyRow>,
    /// Signature counter last seen.
    pub sign_count: u32,
    /// When it was enrolled.
    pub enrolled_at: UnixTime,
    /// When it was last used.
    pub last_used: Option<UnixTime>,
    /// Whether it, or its operator, is revoked.
    pub revoked: bool,
}

/// The metadata that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMetadata {
    /// SHA-256 of the BLOB.
    pub digest: Sha256,
    /// What it says.
    pub metadata: Metadata,
    /// When it was believed.
    pub imported_at: UnixTime,
}

/// An enrolled key whose standing an import changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Its id.
    pub credential: Vec<u8>,
    /// Whose it is.
    pub subject: String,
    /// What is reported of its model from now on; `None` when the mark was lifted.
    pub reported: Option<String>,
}

/// What an import changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Keys that are refused from now on, or no longer.
    pub marked: Vec<Marked>,
    /// What ended with them.
    pub revocations: Vec<Revocation>,
}

/// What a session is for; only a person's is ever continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// Started by a person's presence; renewed without.
    Person,
    /// Holds one action token and nothing else.
    Action,
    /// A service without a person.
    Workload,
}

impl SessionKind {
    /// Its name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Action => "action",
            Self::Workload => "workload",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Person, Self::Action, Self::Workload].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// What it is for.
    pub kind: SessionKind,
    /// Whose it is; `None` for a workload's.
    pub subject: Option<String>,
    /// The machine it lives on.
    pub device: DeviceId,
    /// The key that its presence was proved with.
    pub credential: Option<Vec<u8>>,
    /// The TPM's reset count when it began.
    pub reset_count: u32,
    /// Granted scope.
    pub scope: Option<String>,
    /// When it began.
    pub started_at: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
    /// When its last token was minted.
    pub last_token_at: UnixTime,
    /// The presence that counts.
    pub presence: Option<PresenceRecord>,
    /// Its bit in the status lists.
    pub status_index: u64,
    /// Whether it ended.
    pub ended: bool,
}

/// A minted token, as long as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// `jti`.
    pub id: [u8; 16],
    /// Its session.
    pub session: SessionId,
    /// SHA-256 of the action's bytes; present for single-use tokens.
    pub action: Option<Sha256>,
    /// When it was minted.
    pub issued_at: UnixTime,
    /// When it runs out.
    pub expires: UnixTime,
    /// Whether it was used up.
    pub redeemed: bool,
    /// Whether it was revoked by itself.
    pub revoked: bool,
}

/// Whether a token still counts, with all that is above it, in one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenStanding {
    /// Its session.
    pub session: SessionId,
    /// When that ends; `None` when it is forgotten.
    pub session_expires: Option<UnixTime>,
    /// SHA-256 of the action's bytes; present for single-use tokens.
    pub action: Option<Sha256>,
    /// Whether it was used up.
    pub redeemed: bool,
    /// Whether it, its session, the machine or the operator was revoked.
    pub revoked: bool,
    /// Number of the last revocation that this takes into account.
    pub revocations: i64,
}

/// What a mint does to its session.
#[derive(Clone, Debug)]
pub enum SessionChange {
    /// Starts it.
    Start(SessionRow),
    /// Records new presence in it.
    Refresh {
        /// The session.
        id: SessionId,
        /// The key.
        credential: Vec<u8>,
        /// The new presence.
        presence: PresenceRecord,
        /// The scope from now on.
        scope: Option<String>,
        /// The session's place in the status lists, as the token names it.
        place: u64,
    },
    /// Mints another token of it; presence stays as it was.
    Renew {
        /// The session.
        id: SessionId,
        /// The scope from now on.
        scope: Option<String>,
        /// The session's place in the status lists, as the token names it.
        place: u64,
    },
}

/// Everything that one mint changes.
#[derive(Clone, Debug)]
pub struct MintRecord {
    /// The challenge to consume.
    pub challenge: FreshChallenge,
    /// The machine.
    pub device: DeviceId,
    /// Its TPM clock now.
    pub clock: TpmClock,
    /// The credential that was touched and its counter now.
    pub credential: Option<(Vec<u8>, u32)>,
    /// The session.
    pub session: SessionChange,
    /// The token.
    pub token: TokenRow,
}

/// What an administrator or owner revokes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// One token.
    Token([u8; 16]),
    /// One session.
    Session(SessionId),
    /// A security key and the sessions that were proved with it.
    Credential(Vec<u8>),
    /// A machine and its sessions.
    Device(DeviceId),
    /// A person, their machines, keys and sessions.
    Operator(String),
    /// Every session of everybody; machines and keys stay.
    Everything,
}

/// What a revocation is about, for the nodes that must refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevocationKind {
    /// A token.
    Token,
    /// A session.
    Session,
    /// A machine.
    Device,
    /// Every session whose place in the status lists is before this one's.
    All,
}

impl RevocationKind {
    /// Its name in the store and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Device => "device",
            Self::All => "all",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Token, Self::Session, Self::Device, Self::All];
        all.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One thing to refuse from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its place in the order.
    pub sequence: i64,
    /// What it is about.
    pub kind: RevocationKind,
    /// The id.
    pub target: Vec<u8>,
    /// The session's bit in the status lists.
    pub status_index: Option<u64>,
    /// When it was committed, in milliseconds since the Unix epoch; to measure by.
    pub committed_ms: Option<i64>,
}

/// A verifier that follows the events, as its node saw it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierRow {
    /// SPIFFE ID that it connects as.
    pub gateway: String,
    /// Its own name for itself.
    pub instance: [u8; 16],
    /// The run of the node that it is or was connected to.
    pub node: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Sequence number of the last revocation that it has in force; -1 before it said so.
    pub position: i64,
    /// When it said so, in milliseconds since the Unix epoch.
    pub applied_at: Option<i64>,
    /// When it was connected last.
    pub seen_at: UnixTime,
}
