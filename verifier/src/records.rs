//! What the caller's store knows: plain rows, handed in so that this crate does no I/O.

use std::collections::{BTreeMap, BTreeSet};

use signet_evidence::binding::Sha256;
use signet_evidence::tpm::ClockInfo;
use signet_evidence::webauthn::{Aaguid, CoseKey};
use signet_evidence::{DeviceId, FingerFacts, PlatformKeyId, SessionId, UnixTime};

use crate::assurance::{AttestationKind, ModelVerification};
use crate::ecdsa::P256PublicKey;
use crate::tpm::UserKeyMethod;

/// The TPM's clock as last seen (TCG Part 2 §10.11.1, `TPMS_CLOCK_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TpmClock {
    /// Milliseconds that the TPM was powered; advances only.
    pub clock_ms: u64,
    /// TPM Resets (restarts of the machine).
    pub reset_count: u32,
    /// TPM Restarts and Resumes since the last Reset.
    pub restart_count: u32,
    /// Whether `clock_ms` is guaranteed not to have gone back over an unclean stop.
    pub safe: bool,
}

impl From<ClockInfo> for TpmClock {
    fn from(info: ClockInfo) -> Self {
        Self {
            clock_ms: info.clock,
            reset_count: info.reset_count,
            restart_count: info.restart_count,
            safe: info.safe,
        }
    }
}

/// An enrolled machine.
#[derive(Clone, Debug)]
pub struct EnrolledDevice {
    /// Its id.
    pub id: DeviceId,
    /// The AK, as checked at enrolment.
    pub ak: P256PublicKey,
    /// Revoked by an administrator.
    pub revoked: bool,
    /// The TPM's clock at the last accepted evidence.
    pub clock: TpmClock,
    /// The PCR values of its enrolment, as long as they count as approved.
    pub approved_pcrs: BTreeMap<u8, Vec<u8>>,
    /// PCR values of the states that an administrator accepted.
    pub accepted: Vec<BTreeMap<u8, Vec<u8>>>,
    /// The groups that it is in.
    pub groups: BTreeSet<String>,
    /// The event log that it sent last.
    pub event_log: Option<KeptLog>,
    /// Whether the EK's certificate led to an accepted root.
    pub endorsement_proven: bool,
}

/// An event log that a machine sent earlier. It proves itself by the PCRs of each new quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLog {
    /// Its SHA-256.
    pub digest: Sha256,
    /// The log.
    pub bytes: Vec<u8>,
}

/// An operator's registered credential.
#[derive(Clone, Debug)]
pub struct EnrolledCredential {
    /// Credential id.
    pub id: Vec<u8>,
    /// Whose it is.
    pub subject: String,
    /// Its public key.
    pub public_key: CoseKey,
    /// The signature counter last seen.
    pub sign_count: u32,
    /// The model, if attested.
    pub aaguid: Aaguid,
    /// How it attested itself.
    pub attestation: AttestationKind,
    /// What the authority's configuration or FIDO metadata says of the model; `None` if nothing.
    pub model: Option<ModelVerification>,
    /// It was registered by a key that cannot verify its user: it proves a touch and never more,
    /// whatever flags its assertions carry.
    pub touch_only: bool,
    /// FIDO metadata reports its model as revoked or compromised.
    pub reported: bool,
    /// Revoked.
    pub revoked: bool,
}

/// An operator's key in a machine's TPM.
#[derive(Clone, Debug)]
pub struct EnrolledPlatformKey {
    /// Its Name.
    pub id: PlatformKeyId,
    /// Whose it is.
    pub subject: String,
    /// The machine that it was registered on, and speaks for nobody elsewhere.
    pub device: DeviceId,
    /// Its public key.
    pub public_key: P256PublicKey,
    /// How it is used, as derived at registration.
    pub method: PlatformMethod,
    /// Revoked.
    pub revoked: bool,
}

/// How a platform key is used, and what must not change beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformMethod {
    /// By a PIN that the TPM checks.
    Pin,
    /// By a fingerprint, with this reader and these enrolled fingers.
    Fingerprint(FingerFacts),
}

impl PlatformMethod {
    /// The method alone.
    #[must_use]
    pub fn kind(&self) -> UserKeyMethod {
        match self {
            Self::Pin => UserKeyMethod::Pin,
            Self::Fingerprint(_) => UserKeyMethod::Fingerprint,
        }
    }
}

/// A key that can speak for an operator.
#[derive(Clone, Debug)]
pub enum EnrolledKey {
    /// A security key's credential.
    SecurityKey(EnrolledCredential),
    /// A key in a machine's TPM.
    Platform(EnrolledPlatformKey),
}

impl EnrolledKey {
    /// Whose it is.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::SecurityKey(credential) => &credential.subject,
            Self::Platform(key) => &key.subject,
        }
    }

    /// The id that it is enrolled under.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        match self {
            Self::SecurityKey(credential) => &credential.id,
            Self::Platform(key) => key.id.as_bytes(),
        }
    }

    /// Whether it can speak on this machine: a platform key on its own only.
    #[must_use]
    pub fn speaks_on(&self, device: &DeviceId) -> bool {
        match self {
            Self::SecurityKey(_) => true,
            Self::Platform(key) => key.device == *device,
        }
    }

    /// Whether it is revoked.
    #[must_use]
    pub fn revoked(&self) -> bool {
        match self {
            Self::SecurityKey(credential) => credential.revoked,
            Self::Platform(key) => key.revoked,
        }
    }
}

/// A session.
#[derive(Clone, Debug)]
pub struct EnrolledSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is; `None` for a workload's.
    pub subject: Option<String>,
    /// The machine it lives on.
    pub device: DeviceId,
    /// The TPM's reset count when it began: a restart ends it.
    pub reset_count: u32,
    /// When it ends.
    pub expires: UnixTime,
    /// Ended or revoked.
    pub ended: bool,
}

/// What the store found for a piece of authenticated evidence; `None` where it found nothing.
#[derive(Clone, Debug, Default)]
pub struct Enrolled {
    /// The device of the statement's `ueid`.
    pub device: Option<EnrolledDevice>,
    /// The key of the assertion's credential id.
    pub credential: Option<EnrolledKey>,
    /// The session of the statement's `sid`.
    pub session: Option<EnrolledSession>,
}
