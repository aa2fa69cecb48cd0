//! Registering an authenticator (protocol §4.2): steps 6 to 10 of the appraisal, then WebAuthn L3
//! §7.1 in the place of step 11.

use signet_evidence::RejectionCode;
use signet_evidence::UnixTime;
use signet_evidence::binding::registration_challenge;

use crate::appraise::AuthenticatedEvidence;
use crate::assurance::AttestationKind;
use crate::policy::AppraisalPolicy;
use crate::records::Enrolled;
use crate::refuse::Refusal;
use crate::rejection::Rejection;
use crate::result::AttestationResult;
use crate::webauthn::{ExpectedRegistration, UserVerification, VerifiedRegistration};

/// A new credential, attested by its authenticator and bound to the enrolled machine that it was
/// made at.
#[derive(Debug)]
pub struct RegistrationResult {
    machine: AttestationResult,
    registration: VerifiedRegistration,
}

impl RegistrationResult {
    /// What was proved of the machine, and of the person if an enrolled key authorised this one.
    #[must_use]
    pub fn machine(&self) -> &AttestationResult {
        &self.machine
    }

    /// The new credential.
    #[must_use]
    pub fn registration(&self) -> &VerifiedRegistration {
        &self.registration
    }

    /// Whether an enrolled key of the same operator authorised this one, with its user verified.
    #[must_use]
    pub fn authorised_by_key(&self) -> bool {
        self.machine.user_verified()
    }
}

impl AuthenticatedEvidence {
    /// Judges evidence of purpose `enrol-key`. User verification is demanded of both keys.
    ///
    /// # Errors
    /// A [`Rejection`]; the first failing step decides its code.
    pub fn appraise_registration(
        self,
        enrolled: &Enrolled,
        policy: &AppraisalPolicy,
        now: UnixTime,
    ) -> Result<RegistrationResult, Rejection> {
        let registration = self.check_registration(policy, now);
        // The machine first: the order of the steps decides which code is given.
        let machine = self.appraise(enrolled, UserVerification::Required, policy, now)?;
        Ok(RegistrationResult { machine, registration: registration? })
    }

    fn check_registration(
        &self,
        policy: &AppraisalPolicy,
        now: UnixTime,
    ) -> Result<VerifiedRegistration, Rejection> {
        let part = self.evidence.registration.as_ref().ok_or(RejectionCode::PurposeWrong)?;
        let format = RejectionCode::AttestationFormatRefused;
        let part = part.value.security_key().ok_or(format)?;
        let expected = ExpectedRegistration {
            challenge: &registration_challenge(self.evidence.statement_bytes()),
            rp_id: &policy.rp_id,
            origin: &policy.origin(),
            user_verification: UserVerification::Required,
        };
        let accepted = &policy.registration;
        let verified = VerifiedRegistration::verify(part, &expected, accepted.anchors(), now)?;
        match (verified.kind(), verified.anchor()) {
            (AttestationKind::Packed, Some(root)) if !accepted.vouches(root, verified.aaguid()) => {
                Err(Refusal::Model(verified.aaguid()).into())
            }
            (AttestationKind::Packed, Some(_)) => Ok(verified),
            _ if accepted.accepts_unattested() => Ok(verified),
            _ => Err(Refusal::Unattested.into()),
        }
    }
}
