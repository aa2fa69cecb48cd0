//! Registering a person's key (protocol §4.2): steps 6 to 11 of the appraisal, then the new key: for a
//! security key by WebAuthn L3 §7.1, for a platform key by its certification and its policy.

use signet_evidence::binding::registration_challenge;
use signet_evidence::webauthn::{Aaguid, AttestationObject, AuthenticatorData};
use signet_evidence::{FidoRegistration, Registration, RejectionCode, UnixTime};

use crate::appraise::AuthenticatedEvidence;
use crate::assurance::{AttestationKind, ModelVerification};
use crate::platform::VerifiedPlatformKey;
use crate::policy::{AppraisalPolicy, RegistrationPolicy};
use crate::records::Enrolled;
use crate::refuse::Refusal;
use crate::rejection::Rejection;
use crate::result::AttestationResult;
use crate::webauthn::{ExpectedRegistration, UserVerification, VerifiedRegistration};

/// A new key, attested and bound to the enrolled machine that it was made at.
#[derive(Debug)]
pub struct RegistrationResult {
    machine: AttestationResult,
    key: NewKey,
}

/// A key that may be enrolled.
#[derive(Debug)]
pub enum NewKey {
    /// A security key's credential, attested by its authenticator.
    SecurityKey {
        /// The credential.
        registration: Box<VerifiedRegistration>,
        /// Whether the key cannot verify its user.
        touch_only: bool,
    },
    /// A key in this machine's TPM, certified by its AK.
    Platform(VerifiedPlatformKey),
}

impl NewKey {
    /// The id to enroll it under.
    #[must_use]
    pub fn id(&self) -> Vec<u8> {
        match self {
            Self::SecurityKey { registration, .. } => registration.credential_id().to_vec(),
            Self::Platform(key) => key.id().as_bytes().to_vec(),
        }
    }

    /// How it was attested.
    #[must_use]
    pub fn attestation(&self) -> AttestationKind {
        match self {
            Self::SecurityKey { registration, .. } => registration.kind(),
            Self::Platform(_) => AttestationKind::TpmCertify,
        }
    }
}

impl RegistrationResult {
    /// What was proved of the machine, and of the person if an enrolled key authorised this one.
    #[must_use]
    pub fn machine(&self) -> &AttestationResult {
        &self.machine
    }

    /// The new key.
    #[must_use]
    pub fn key(&self) -> &NewKey {
        &self.key
    }

    /// Whether the key cannot verify its user: its assertions prove a touch and never more.
    #[must_use]
    pub fn touch_only(&self) -> bool {
        matches!(self.key, NewKey::SecurityKey { touch_only: true, .. })
    }

    /// Whether an enrolled security key of the same operator authorised this one, with its user
    /// verified. A platform key authorises none.
    #[must_use]
    pub fn authorised_by_key(&self) -> bool {
        self.machine.user_verified()
    }
}

impl AuthenticatedEvidence {
    /// Judges evidence of purpose `enrol-key`. User verification is demanded of a security key that
    /// authorises another, and of a new one unless it cannot verify and the policy accepts such keys.
    ///
    /// # Errors
    /// A [`Rejection`]; the first failing step decides its code.
    pub fn appraise_registration(
        self,
        enrolled: &Enrolled,
        policy: &AppraisalPolicy,
        now: UnixTime,
    ) -> Result<RegistrationResult, Rejection> {
        let key = self.check_registration(policy, now);
        // The machine first: the order of the steps decides which code is given.
        let machine = self.appraise(enrolled, UserVerification::Required, policy, now)?;
        Ok(RegistrationResult { machine, key: key? })
    }

    fn check_registration(
        &self,
        policy: &AppraisalPolicy,
        now: UnixTime,
    ) -> Result<NewKey, Rejection> {
        let part = self.evidence.registration.as_ref().ok_or(RejectionCode::PurposeWrong)?;
        match &part.value {
            Registration::SecurityKey(registration) => {
                self.check_security_key(registration, policy, now)
            }
            Registration::Platform(registration) => {
                let ak = self.certified_ak(policy, now)?;
                let facts = self.evidence.statement.host_facts.as_ref();
                let statement = self.evidence.statement_bytes();
                let key = VerifiedPlatformKey::verify(&ak, registration, statement, facts)?;
                Ok(NewKey::Platform(key))
            }
        }
    }

    fn check_security_key(
        &self,
        registration: &FidoRegistration,
        policy: &AppraisalPolicy,
        now: UnixTime,
    ) -> Result<NewKey, Rejection> {
        let accepted = &policy.registration;
        let expected = ExpectedRegistration {
            challenge: &registration_challenge(self.evidence.statement_bytes()),
            rp_id: &policy.rp_id,
            origin: &policy.origin(),
            // Judged below, once it is known what the key can do.
            user_verification: UserVerification::Discouraged,
        };
        // An unreadable model leads nowhere; `verify` says what is wrong with it.
        let claimed = claimed_model(&registration.attestation_object).unwrap_or(Aaguid::ZERO);
        let anchors = accepted.anchors(claimed);
        let verified = VerifiedRegistration::verify(registration, &expected, &anchors, now)?;
        check_model(&verified, accepted, now)?;
        let touch_only = check_user(&verified, accepted)?;
        if !touch_only {
            check_protection(&verified, accepted)?;
        }
        Ok(NewKey::SecurityKey { registration: Box::new(verified), touch_only })
    }
}

fn claimed_model(attestation_object: &[u8]) -> Option<Aaguid> {
    let object = AttestationObject::parse(attestation_object).ok()?;
    let data = AuthenticatorData::parse(&object.authenticator_data).ok()?;
    data.attested_credential.map(|credential| credential.aaguid)
}

/// The lists and the metadata first: what stands against a model counts even where the model is only
/// claimed. Then who vouches for it.
fn check_model(
    registration: &VerifiedRegistration,
    accepted: &RegistrationPolicy,
    now: UnixTime,
) -> Result<(), Refusal> {
    let (rules, model) = (accepted.rules(), registration.aaguid());
    if rules.denied.contains(&model) {
        return Err(Refusal::Denied(model));
    }
    if rules.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&model)) {
        return Err(Refusal::NotAllowed(model));
    }
    if let Some(metadata) = accepted.metadata() {
        if rules.refuse_stale_metadata && metadata.is_stale(now) {
            return Err(Refusal::MetadataStale { next_update: metadata.next_update() });
        }
        if let Some(status) = metadata.reported(model, registration.attestation_key(), now) {
            return Err(Refusal::Reported { model, status: status.as_str().to_owned() });
        }
    }
    if registration.leaves_tpm() {
        return Err(Refusal::LeavesTpm);
    }
    match registration.anchor() {
        Some(root) if accepted.vouches(root, model) => Ok(()),
        Some(_) => Err(Refusal::Model(model)),
        None if rules.danger_accept_unattested => Ok(()),
        None => Err(Refusal::Unattested),
    }
}

/// Whether the key proves a touch and never more. A key that could have verified its user must.
fn check_user(
    registration: &VerifiedRegistration,
    accepted: &RegistrationPolicy,
) -> Result<bool, Refusal> {
    let kind = registration.kind();
    let model = accepted.model(registration.aaguid(), registration.attestation_key());
    // The signature of fido-u2f does not cover the flags, and U2F knows no verification.
    let cannot = kind == AttestationKind::FidoU2f || model == Some(ModelVerification::TouchOnly);
    // Of a key that proves nothing of itself nobody can know what it could have done.
    let unknown = registration.anchor().is_none();
    match (cannot, registration.user_verified()) {
        (false, true) => Ok(false),
        (false, false) if !unknown => Err(Refusal::Unverified),
        _ if accepted.rules().accept_touch_only => Ok(true),
        _ => Err(Refusal::TouchOnly),
    }
}

/// A key that applies `credProtect` applies enough of it; one that could, does (CTAP 2.1 §12.1).
fn check_protection(
    registration: &VerifiedRegistration,
    accepted: &RegistrationPolicy,
) -> Result<(), Refusal> {
    let Some(least) = accepted.rules().least_cred_protect else { return Ok(()) };
    let found = registration.cred_protect();
    let could = || {
        let key = registration.attestation_key();
        let mut models = accepted.metadata().into_iter();
        models.any(|known| {
            known.describing(registration.aaguid(), key).any(|model| model.cred_protect)
        })
    };
    if found.is_some_and(|found| found < least) || (found.is_none() && could()) {
        return Err(Refusal::CredProtect { found, least });
    }
    Ok(())
}
