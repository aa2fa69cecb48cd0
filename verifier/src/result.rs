//! The Attestation Result: what the verifier concludes (RFC 9334 §4.3).

use signet_evidence::binding::Sha256;
use signet_evidence::{
    Action, CertificateThumbprint, DeviceId, KeyThumbprint, ObservedVerification, Purpose,
    SessionId, UnixTime,
};

use crate::assurance::{
    AssuranceLevel, AttestationKind, HumanProof, ModelVerification, SecurityKeyProof, assess,
};
use crate::boot::BootReport;
use crate::challenge::FreshChallenge;
use crate::records::TpmClock;
use crate::token::PresenceRecord;
use crate::tpm::UserKeyMethod;

/// Evidence that passed every check up to policy (steps 1 to 11 of protocol §2.4).
///
/// Its only constructor is [`crate::appraise`]: what is not proved cannot be put in.
#[derive(Debug)]
pub struct AttestationResult {
    pub(crate) proved: Proved,
}

/// The conclusions, in the order in which they were reached.
#[derive(Debug)]
pub(crate) struct Proved {
    pub(crate) evidence: Sha256,
    pub(crate) purpose: Purpose,
    pub(crate) subject: Option<String>,
    pub(crate) device: DeviceId,
    pub(crate) session: Option<SessionId>,
    pub(crate) action: Option<Action>,
    pub(crate) scope: Option<String>,
    pub(crate) challenge: FreshChallenge,
    pub(crate) peer: CertificateThumbprint,
    pub(crate) key: KeyThumbprint,
    pub(crate) clock: TpmClock,
    pub(crate) device_proven: bool,
    pub(crate) boot: BootReport,
    pub(crate) tls_key_certified: bool,
    pub(crate) human: Option<ProvedHuman>,
}

/// What an accepted assertion proved.
#[derive(Debug)]
pub(crate) struct ProvedHuman {
    pub(crate) credential_id: Vec<u8>,
    pub(crate) key: ProvedKey,
}

/// The key that was used, and what its use proved.
#[derive(Debug)]
pub(crate) enum ProvedKey {
    SecurityKey(ProvedSecurityKey),
    Platform(UserKeyMethod),
}

/// What a security key's assertion proved.
#[derive(Debug)]
pub(crate) struct ProvedSecurityKey {
    pub(crate) sign_count: u32,
    pub(crate) user_verified: bool,
    pub(crate) observed: Option<ObservedVerification>,
    pub(crate) attestation: AttestationKind,
    pub(crate) model: Option<ModelVerification>,
}

impl AttestationResult {
    /// SHA-256 of the evidence as received, for the audit record.
    #[must_use]
    pub fn evidence_digest(&self) -> Sha256 {
        self.proved.evidence
    }

    /// What the evidence was for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.proved.purpose
    }

    /// The operator; `None` for workloads.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.proved.subject.as_deref()
    }

    /// The machine.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.proved.device
    }

    /// The session that is continued, if any.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.proved.session
    }

    /// The exact request that was approved.
    #[must_use]
    pub fn action(&self) -> Option<&Action> {
        self.proved.action.as_ref()
    }

    /// The scope asked for.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.proved.scope.as_deref()
    }

    /// The challenge to consume in the transaction that mints.
    #[must_use]
    pub fn challenge(&self) -> FreshChallenge {
        self.proved.challenge
    }

    /// The mTLS certificate that everything is bound to.
    #[must_use]
    pub fn peer(&self) -> CertificateThumbprint {
        self.proved.peer
    }

    /// The key of that certificate.
    #[must_use]
    pub fn key(&self) -> KeyThumbprint {
        self.proved.key
    }

    /// The TPM's clock, to be stored as the latest.
    #[must_use]
    pub fn clock(&self) -> TpmClock {
        self.proved.clock
    }

    /// Whether the EK's certificate led to an accepted root at enrolment.
    #[must_use]
    pub fn device_proven(&self) -> bool {
        self.proved.device_proven
    }

    /// What the machine showed of its boot, and what its policies made of it.
    #[must_use]
    pub fn boot(&self) -> &BootReport {
        &self.proved.boot
    }

    /// Whether the AK certified the TLS key in this evidence.
    #[must_use]
    pub fn tls_key_certified(&self) -> bool {
        self.proved.tls_key_certified
    }

    /// The key that was used and its new signature counter, to be stored. A platform key has no
    /// counter: 0 for ever.
    #[must_use]
    pub fn credential(&self) -> Option<(&[u8], u32)> {
        let human = self.proved.human.as_ref()?;
        let sign_count = match &human.key {
            ProvedKey::SecurityKey(key) => key.sign_count,
            ProvedKey::Platform(_) => 0,
        };
        Some((&human.credential_id, sign_count))
    }

    fn security_key(&self) -> Option<&ProvedSecurityKey> {
        match &self.proved.human.as_ref()?.key {
            ProvedKey::SecurityKey(key) => Some(key),
            ProvedKey::Platform(_) => None,
        }
    }

    /// Whether a security key verified its user. Never so for a platform key.
    #[must_use]
    pub fn user_verified(&self) -> bool {
        self.security_key().is_some_and(|key| key.user_verified)
    }

    /// The level that this evidence proves by itself.
    #[must_use]
    pub fn assurance(&self) -> AssuranceLevel {
        self.assess().0
    }

    /// RFC 8176 methods that this evidence proves by itself.
    #[must_use]
    pub fn methods(&self) -> Vec<&'static str> {
        self.assess().1
    }

    /// The presence to record when this evidence carries a person's; it counts until `expires`.
    #[must_use]
    pub fn presence(&self, now: UnixTime, expires: UnixTime) -> Option<PresenceRecord> {
        let human = self.proved.human.as_ref()?;
        let (level, methods) = self.assess();
        let (verification, attestation) = match &human.key {
            ProvedKey::SecurityKey(key) => (key.verification(), key.attestation),
            ProvedKey::Platform(UserKeyMethod::Pin) => {
                (Some(("pin", "tpm")), AttestationKind::TpmCertify)
            }
            ProvedKey::Platform(UserKeyMethod::Fingerprint) => {
                (Some(("fingerprint", "host")), AttestationKind::TpmCertify)
            }
        };
        Some(PresenceRecord {
            proved_at: now,
            expires,
            level,
            methods: methods.into_iter().map(String::from).collect(),
            verification: verification.map(|(method, source)| (method.into(), source.into())),
            attestation: Some(attestation.as_str().into()),
        })
    }

    fn assess(&self) -> (AssuranceLevel, Vec<&'static str>) {
        assess(self.proved.human.as_ref().map(|human| match &human.key {
            ProvedKey::SecurityKey(key) => HumanProof::SecurityKey(SecurityKeyProof {
                user_verified: key.user_verified,
                attestation: key.attestation,
                model: key.model,
            }),
            ProvedKey::Platform(method) => HumanProof::Platform(*method),
        }))
    }
}

impl ProvedSecurityKey {
    /// How the user was verified, and who says so: an attested model, or the host only.
    fn verification(&self) -> Option<(&'static str, &'static str)> {
        let attested = self.model.filter(|_| self.attestation == AttestationKind::Packed);
        if !self.user_verified {
            return None;
        }
        match (attested, self.observed) {
            (Some(ModelVerification::BuiltInOnly | ModelVerification::OtherBuiltInOnly), _) => {
                Some(("built-in", "model"))
            }
            (Some(ModelVerification::PinOnly), _) => Some(("pin", "model")),
            (_, Some(ObservedVerification::BuiltIn)) => Some(("built-in", "host")),
            (_, Some(ObservedVerification::Pin)) => Some(("pin", "host")),
            (_, Some(ObservedVerification::Other) | None) => None,
        }
    }
}
