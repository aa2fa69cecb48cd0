//! Forges evidence without a TPM and without a security key: from the keys in software that the world
//! holds, or from the genuine evidence that was recorded. The same world gives the same bytes, so a
//! test can compare the committed files with what is made here.
//!
//! A forgery is sound but for its edits, and each edit is made before whatever signs it later: what
//! must be refused is refused for that edit and not for a signature that broke.

mod cases;
mod evidence;
mod keys;
mod log;
mod map;
pub mod platform;
mod recorded;
pub mod structure;
mod token;

use signet_evidence::Statement;
use signet_evidence::cbor::Value;
use signet_evidence::header::SentLog;
use signet_evidence::tpm::{TpmsAttest, TpmtPublic};

use crate::attester::Fault;
use crate::fixture::{self, Fixture, FixtureError, Kind};
use crate::recorder::NOW;
use crate::world::{Change, World};

pub use evidence::Forger;
pub use keys::SoftwareKey;

/// The entries of a CBOR map, in any order: encoding sorts them.
pub type Map = Vec<(Value, Value)>;

/// What is forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A session with a touch.
    Session,
    /// A session by the TPM's PIN.
    Pin,
    /// A session by fingerprint.
    Finger,
    /// A renewal.
    Renewal,
    /// An action with a touch.
    Action,
    /// A workload.
    Workload,
    /// New certificates for an enrolled machine.
    Machine,
    /// A new security key.
    NewKey,
    /// A new platform key by PIN.
    NewPin,
    /// A new platform key by fingerprint.
    NewFinger,
}

/// Who signs what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The message.
    Message,
    /// The quote.
    Quote,
    /// The certification of the TLS key.
    Certification,
    /// The assertion.
    Assertion,
    /// The certification of a new platform key, or the attestation of a new security key.
    NewKey,
}

/// One edit. Those that stand first are made first, and what is signed later covers them.
#[derive(Clone, Copy)]
pub enum Edit {
    /// The statement, while it still fits its purpose; its challenge is issued for it.
    Statement(fn(&mut Statement)),
    /// The challenge, after it was issued.
    Challenge(fn(&mut Vec<u8>)),
    /// The statement's claims.
    Claims(fn(&mut Map)),
    /// The statement's bytes.
    Payload(fn(&mut Vec<u8>)),
    /// Authenticator data, before the key signs it.
    AuthenticatorData(fn(&mut Vec<u8>)),
    /// Client data, before the key signs it.
    ClientData(fn(&mut Vec<u8>)),
    /// The members of a finished assertion.
    Assertion(fn(&mut Map)),
    /// No assertion.
    NoAssertion,
    /// Registers a key beside an assertion by the enrolled security key.
    AlsoTouched,
    /// The public area of the new platform key.
    NewPublic(fn(&mut TpmtPublic)),
    /// The certification of the new platform key, before the AK signs it.
    NewCertify(fn(&mut TpmsAttest)),
    /// The members of the attestation object, after it was signed.
    Object(fn(&mut Map)),
    /// The members of a finished registration.
    Registration(fn(&mut Map)),
    /// The quote, before the AK signs it.
    Quote(fn(&mut TpmsAttest)),
    /// The quote's bytes, before the AK signs them.
    QuoteBytes(fn(&mut Vec<u8>)),
    /// The public area of the TLS key, which the AK certifies.
    Public(fn(&mut TpmtPublic)),
    /// The certification, before the AK signs it.
    Certify(fn(&mut TpmsAttest)),
    /// The certification's bytes, before the AK signs them.
    CertifyBytes(fn(&mut Vec<u8>)),
    /// The event log.
    Log(fn() -> SentLog),
    /// The members of the TPM's part.
    Tpm(fn(&mut Map)),
    /// The protected header.
    Header(fn(&mut Map)),
    /// The protected header's bytes, before the TLS key signs them.
    HeaderBytes(fn(&mut Vec<u8>)),
    /// The four members of the message.
    Message(fn(&mut Vec<Value>)),
    /// The bytes that are sent.
    Bytes(fn(&mut Vec<u8>)),
    /// This part is signed by the key of another role.
    By(Part, &'static str),
    /// Another certificate of the AK.
    Ak(&'static str),
    /// Another certificate of the machine, in evidence and connection.
    Peer(&'static str),
    /// Another certificate of the connection alone.
    Connection(&'static str),
    /// A change to what the verifier knows.
    With(Change),
    /// It is judged this much later.
    Later(i64),
}

/// One forgery.
pub struct Case {
    /// The code that it must get.
    pub code: &'static str,
    /// File name without ending.
    pub name: &'static str,
    /// Clause.
    pub spec: &'static str,
    /// What was done.
    pub comment: &'static str,
    /// What it is.
    pub base: Base,
    /// Edits.
    pub edits: &'static [Edit],
}

/// All forged fixtures, in the order of their making.
///
/// # Errors
/// [`Fault`] where the world or the recorded fixtures are not usable.
pub fn all(world: &World) -> Result<Vec<Fixture>, Fault> {
    let forger = Forger::new(world)?;
    let mut made = Vec::new();
    for case in cases::all() {
        made.push(forger.fixture(case)?);
    }
    made.extend(recorded::all()?);
    made.extend(token::all(world)?);
    made.extend(structure::sample(&forger)?);
    Ok(made)
}

/// An empty fixture in its place, for the software machine.
fn blank(code: &str, name: &str, spec: &str, comment: &str) -> Fixture {
    let folder = if code == "accepted" { "accepted".into() } else { format!("rejected/{code}") };
    Fixture {
        path: fixture::folder().join(folder).join(format!("{name}.fixture")),
        expect: code.into(),
        kind: Kind::Evidence,
        now: NOW,
        peer: Some("software".into()),
        with: vec![Change::SoftwareKeys],
        request: None,
        spec: spec.into(),
        comment: comment.into(),
        bytes: Vec::new(),
    }
}

/// The recorded fixture of this name in `accepted`.
pub(crate) fn genuine(name: &str) -> Result<Fixture, FixtureError> {
    Fixture::read(&fixture::folder().join(format!("accepted/{name}.fixture")))
}
