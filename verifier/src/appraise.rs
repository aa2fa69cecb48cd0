//! The procedure of protocol §2.4, one call per step, cheap before costly. The first step that
//! fails decides the code. An auditor reads this file first.
//!
//! | step | what | where |
//! |---|---|---|
//! | 1–2 | size, shape, profile, audience, purpose | [`Appraisal::begin`] |
//! | 3 | challenge: ours, for this, not run out | [`Appraisal::begin`] |
//! | 4 | peer certificate, chain, thumbprint of its key | [`Appraisal::begin`] |
//! | 5 | outer signature | [`Appraisal::begin`] |
//! | 6 | device enrolled and not revoked | [`AuthenticatedEvidence::appraise`] |
//! | 7 | AK and quote | 〃 |
//! | 8 | PCRs and boot policy | 〃 |
//! | 9 | TPM clock and restarts | 〃 |
//! | 10 | certification of the TLS key | 〃 |
//! | 11 | credential and assertion | 〃 |
//! | 12 | ActionPolicy | the caller, with the [`AttestationResult`] |
//! | 13 | consume the challenge, mint, append to the audit log: one transaction | the caller |
//!
//! Between step 5 and step 6 the caller loads rows: nothing is read from a store for a message whose
//! sender has not proved possession of an enrolled key.

use std::collections::BTreeMap;

use signet_evidence::binding::{Sha256, assertion_challenge, sha256};
use signet_evidence::header::SentLog;
use signet_evidence::presence::EvidenceError;
use signet_evidence::statement::StatementError;
use signet_evidence::thumbprint::hex;
use signet_evidence::tpm::{HashAlgorithm, PcrValues};
use signet_evidence::{
    Action, Assertion, CertificateThumbprint, DeviceId, Evidence, FidoAssertion, Purpose,
    RejectionCode, SessionId, UnixTime,
};

use crate::assurance::AssuranceLevel;
use crate::boot::{self, BootReport};
use crate::certificate::KeyPurpose;
use crate::challenge::{ChallengeContext, ChallengeKey, FreshChallenge};
use crate::ecdsa::P256PublicKey;
use crate::platform::VerifiedPlatformAssertion;
use crate::policy::AppraisalPolicy;
use crate::records::{
    Enrolled, EnrolledCredential, EnrolledDevice, EnrolledKey, EnrolledSession, TpmClock,
};
use crate::refuse::Refusal;
use crate::rejection::Rejection;
use crate::result::{AttestationResult, Proved, ProvedHuman, ProvedKey, ProvedSecurityKey};
use crate::tpm::{AttestationKey, VerifiedCertification, VerifiedQuote};
use crate::webauthn::{ExpectedAssertion, UserVerification, VerifiedAssertion};

/// The first half of the procedure: what needs no store.
#[derive(Clone, Copy)]
pub struct Appraisal<'a> {
    /// What evidence must show.
    pub policy: &'a AppraisalPolicy,
    /// The authority's challenge key.
    pub challenge_key: &'a ChallengeKey,
    /// The authority's time.
    pub now: UnixTime,
}

/// Evidence whose sender holds the certified TLS key and answers a fresh challenge of ours
/// (steps 1 to 5). What it says of TPM and person is still only said.
#[derive(Debug)]
pub struct AuthenticatedEvidence {
    pub(crate) evidence: Evidence,
    digest: Sha256,
    challenge: FreshChallenge,
    peer: CertificateThumbprint,
    key: P256PublicKey,
}

impl Appraisal<'_> {
    /// Steps 1 to 5: `bytes` came over a connection with the client certificate `peer` (DER) to an
    /// endpoint that takes evidence for the `expected` purposes.
    ///
    /// # Errors
    /// A [`Rejection`]; the first failing step decides its code.
    pub fn begin(
        &self,
        bytes: &[u8],
        peer: &[u8],
        expected: &[Purpose],
    ) -> Result<AuthenticatedEvidence, Rejection> {
        let evidence = Evidence::parse(bytes).map_err(shape_refused)?;
        self.check_audience_and_purpose(&evidence, expected)?;
        let thumbprint = CertificateThumbprint::of_der(peer);
        let challenge = self.check_challenge(&evidence, thumbprint)?;
        let key = self.check_peer(&evidence, peer)?;
        check_outer_signature(&evidence, &key)?;
        let digest = sha256(bytes);
        Ok(AuthenticatedEvidence { evidence, digest, challenge, peer: thumbprint, key })
    }

    /// Step 2; the profile was checked with the shape.
    fn check_audience_and_purpose(
        &self,
        evidence: &Evidence,
        expected: &[Purpose],
    ) -> Result<(), Rejection> {
        let statement = &evidence.statement;
        if statement.audience != self.policy.audience {
            return Err(Refusal::Audience { found: statement.audience.clone() }.into());
        }
        if !expected.contains(&statement.purpose) {
            return Err(Refusal::Purpose { found: statement.purpose }.into());
        }
        Ok(())
    }

    /// Step 3.
    fn check_challenge(
        &self,
        evidence: &Evidence,
        peer: CertificateThumbprint,
    ) -> Result<FreshChallenge, Rejection> {
        let statement = &evidence.statement;
        let context = ChallengeContext {
            peer,
            purpose: statement.purpose,
            action: statement.action.as_ref().map(Action::as_bytes),
            session: statement.session,
        };
        Ok(self.challenge_key.check(&statement.challenge, &context, self.now)?)
    }

    /// Step 4: TLS peer = first certificate of the chain, which leads to the device CA, names the
    /// statement's device, and holds the key of `cnf.ckt`: this one.
    fn check_peer(&self, evidence: &Evidence, peer: &[u8]) -> Result<P256PublicKey, Rejection> {
        let chain = &evidence.certificate_chain;
        if chain.leaf() != peer {
            return Err(Refusal::OtherCertificate.into());
        }
        let path = self
            .policy
            .chains
            .verify(
                peer,
                chain.intermediates(),
                &self.policy.device_anchors,
                KeyPurpose::ClientAuthentication,
                self.now,
            )
            .map_err(|error| {
                Rejection::because(RejectionCode::DeviceCertificateUntrusted, error)
            })?;
        let leaf = path.leaf();
        let key = leaf.p256_key().map_err(|error| {
            Rejection::because(RejectionCode::DeviceCertificateUntrusted, error)
        })?;
        let identity = leaf.spiffe_id().map_err(|error| {
            Rejection::because(RejectionCode::DeviceCertificateUntrusted, error)
        })?;
        let statement = &evidence.statement;
        if identity != device_spiffe_id(&self.policy.trust_domain, &statement.device) {
            return Err(Refusal::OtherDevice { certified: identity.to_owned() }.into());
        }
        if key.thumbprint() != statement.confirmation {
            return Err(Refusal::OtherKey.into());
        }
        Ok(key.clone())
    }
}

/// The SPIFFE ID of a device's certificate: `spiffe://<trust domain>/device/<ueid in hex>`.
#[must_use]
pub fn device_spiffe_id(trust_domain: &str, device: &DeviceId) -> String {
    ["spiffe://", trust_domain, "/device/", &hex(device.as_bytes())].concat()
}

/// Steps 1 and 2: malformed, of another profile, or not what its purpose demands.
fn shape_refused(error: EvidenceError) -> Rejection {
    let code = match &error {
        EvidenceError::TooLarge { .. } => RejectionCode::EvidenceTooLarge,
        EvidenceError::Statement(StatementError::Profile) => RejectionCode::ProfileWrong,
        EvidenceError::Statement(
            StatementError::UnknownPurpose
            | StatementError::Demanded { .. }
            | StatementError::Forbidden { .. },
        )
        | EvidenceError::Forbidden { .. }
        | EvidenceError::Demanded { .. } => RejectionCode::PurposeWrong,
        _ => RejectionCode::EvidenceMalformed,
    };
    Rejection::because(code, error)
}

/// Step 5.
fn check_outer_signature(evidence: &Evidence, key: &P256PublicKey) -> Result<(), Rejection> {
    key.verify_fixed(&evidence.to_be_signed(), evidence.signature())
        .map_err(|error| Rejection::because(RejectionCode::EvidenceSignatureInvalid, error))
}

impl AuthenticatedEvidence {
    /// The device to load; its certificate names it.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.evidence.statement.device
    }

    /// The operator that the statement names.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.evidence.statement.subject.as_deref()
    }

    /// What the evidence is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.evidence.statement.purpose
    }

    /// The session to load, if one is named.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.evidence.statement.session
    }

    /// The credential to load, if an assertion is carried: of a platform key, its Name.
    #[must_use]
    pub fn credential_id(&self) -> Option<&[u8]> {
        self.evidence.assertion.as_ref().map(|assertion| assertion.value.credential_id())
    }

    /// SHA-256 of the event log to load, where the machine did not send it again.
    #[must_use]
    pub fn known_log(&self) -> Option<&Sha256> {
        match &self.evidence.tpm.event_log {
            Some(SentLog::Known(digest)) => Some(digest),
            _ => None,
        }
    }

    /// The challenge that it answers; the store knows whether it was answered before.
    #[must_use]
    pub fn challenge(&self) -> FreshChallenge {
        self.challenge
    }

    /// SHA-256 of the evidence as received, for the audit record of a later refusal.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Steps 6 to 11, with the rows that the store had.
    ///
    /// # Errors
    /// A [`Rejection`]; the first failing step decides its code.
    pub fn appraise(
        self,
        enrolled: &Enrolled,
        verification: UserVerification,
        policy: &AppraisalPolicy,
        now: UnixTime,
    ) -> Result<AttestationResult, Rejection> {
        let device = self.check_device(enrolled.device.as_ref())?;
        let qualifying_data = self.evidence.qualifying_data();
        let (ak, quote) = self.check_quote(device, &qualifying_data, policy, now)?;
        let clock = quote.clock_info().into();
        let boot = check_boot(quote, self.evidence.tpm.event_log.as_ref(), device, policy)?;
        check_clock(clock, device)?;
        self.check_session(enrolled.session.as_ref(), clock, now)?;
        let certification = self.check_certification(&ak, &qualifying_data)?;
        let human = self.check_human(enrolled.credential.as_ref(), verification, policy)?;
        let statement = self.evidence.statement;
        Ok(AttestationResult {
            proved: Proved {
                evidence: self.digest,
                purpose: statement.purpose,
                subject: statement.subject,
                device: statement.device,
                session: statement.session,
                action: statement.action,
                scope: statement.scope,
                challenge: self.challenge,
                peer: self.peer,
                // The thumbprint of `self.key`: step 4.
                key: statement.confirmation,
                clock,
                device_proven: device.endorsement_proven,
                boot,
                tls_key_certified: certification.is_some(),
                human,
            },
        })
    }

    /// Step 6.
    fn check_device<'d>(
        &self,
        device: Option<&'d EnrolledDevice>,
    ) -> Result<&'d EnrolledDevice, Rejection> {
        match device {
            Some(device) if device.id != *self.device() => Err(RejectionCode::DeviceUnknown.into()),
            Some(device) if device.revoked => Err(RejectionCode::DeviceRevoked.into()),
            Some(device) => Ok(device),
            None => Err(RejectionCode::DeviceUnknown.into()),
        }
    }

    /// Step 7: the AK is certified and this device's, and it quoted over this very statement and
    /// assertion.
    fn check_quote(
        &self,
        device: &EnrolledDevice,
        qualifying_data: &Sha256,
        policy: &AppraisalPolicy,
        now: UnixTime,
    ) -> Result<(AttestationKey, VerifiedQuote), Rejection> {
        let tpm = &self.evidence.tpm;
        let ak = self.certified_ak(policy, now)?;
        if *ak.public_key() != device.ak {
            return Err(RejectionCode::AkMismatch.into());
        }
        let pcrs = tpm.pcrs.as_ref().map(pcr_values).transpose()?;
        let quote = VerifiedQuote::verify(
            &ak,
            &tpm.quote.attest,
            &tpm.quote.signature,
            qualifying_data,
            pcrs,
        )?;
        Ok((ak, quote))
    }

    /// The AK of the evidence's certificate; step 7 compares it with the enrolled one.
    pub(crate) fn certified_ak(
        &self,
        policy: &AppraisalPolicy,
        now: UnixTime,
    ) -> Result<AttestationKey, Rejection> {
        let untrusted = RejectionCode::AkCertificateUntrusted;
        let chain = &self.evidence.tpm.ak_chain;
        let path = policy
            .chains
            .verify(
                chain.leaf(),
                chain.intermediates(),
                &policy.ak_anchors,
                KeyPurpose::AttestationKey,
                now,
            )
            .map_err(|error| Rejection::because(untrusted, error))?;
        AttestationKey::from_certificate(&path)
            .map_err(|error| Rejection::because(untrusted, error))
    }

    /// Step 9, second half: the session that is continued is this subject's, on this machine, alive,
    /// and the machine has not been restarted since it began (protocol §3.2).
    fn check_session(
        &self,
        session: Option<&EnrolledSession>,
        clock: TpmClock,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        let Some(id) = self.session() else { return Ok(()) };
        let ended = RejectionCode::SessionEnded;
        let session = session.filter(|session| session.id == id).ok_or(ended)?;
        let ours = session.device == *self.device() && session.subject.as_deref() == self.subject();
        if !ours || session.ended || session.expires <= now {
            return Err(ended.into());
        }
        if session.reset_count != clock.reset_count {
            let (session, found) = (session.reset_count, clock.reset_count);
            return Err(Refusal::Rebooted { session, found }.into());
        }
        Ok(())
    }

    /// Step 10: demanded where a session begins or a machine's certificates are renewed; judged
    /// wherever it is carried.
    fn check_certification(
        &self,
        ak: &AttestationKey,
        qualifying_data: &Sha256,
    ) -> Result<Option<VerifiedCertification>, Rejection> {
        let Some(certified) = &self.evidence.tpm.certification else {
            let due = matches!(
                self.purpose(),
                Purpose::Session | Purpose::Workload | Purpose::EnrolDevice
            );
            return if due { Err(RejectionCode::CertificationMissing.into()) } else { Ok(None) };
        };
        let certification =
            VerifiedCertification::verify_expecting(&self.key, ak, certified, qualifying_data)?;
        if *certification.key().public_key() != self.key {
            return Err(RejectionCode::CertificationKeyMismatch.into());
        }
        Ok(Some(certification))
    }

    /// Step 11: a person was there, where one is due, and only then.
    fn check_human(
        &self,
        credential: Option<&EnrolledKey>,
        verification: UserVerification,
        policy: &AppraisalPolicy,
    ) -> Result<Option<ProvedHuman>, Rejection> {
        let Some(assertion) = &self.evidence.assertion else {
            let due = matches!(self.purpose(), Purpose::Session | Purpose::Action);
            return if due { Err(RejectionCode::AssertionMissing.into()) } else { Ok(None) };
        };
        let unknown = RejectionCode::CredentialUnknown;
        let credential = credential.ok_or(unknown)?;
        let ours = Some(credential.subject()) == self.subject();
        if !ours || !credential.speaks_on(self.device()) {
            return Err(unknown.into());
        }
        if credential.revoked() {
            return Err(RejectionCode::CredentialRevoked.into());
        }
        let key = match (&assertion.value, credential) {
            (Assertion::SecurityKey(assertion), EnrolledKey::SecurityKey(credential)) => {
                let proved = self.check_touch(assertion, credential, verification, policy)?;
                ProvedKey::SecurityKey(proved)
            }
            (Assertion::Platform(assertion), EnrolledKey::Platform(key)) => {
                let verified = VerifiedPlatformAssertion::verify(
                    assertion,
                    key,
                    self.device(),
                    self.evidence.statement_bytes(),
                    self.evidence.statement.host_facts.as_ref(),
                )?;
                ProvedKey::Platform(verified.method())
            }
            // Two kinds of key under one id are two keys.
            _ => return Err(unknown.into()),
        };
        Ok(Some(ProvedHuman { credential_id: credential.id().to_vec(), key }))
    }

    /// Step 11, for a security key.
    fn check_touch(
        &self,
        assertion: &FidoAssertion,
        credential: &EnrolledCredential,
        verification: UserVerification,
        policy: &AppraisalPolicy,
    ) -> Result<ProvedSecurityKey, Rejection> {
        if credential.reported {
            return Err(RejectionCode::AuthenticatorStatus.into());
        }
        let verification = self.demanded_of(credential, verification)?;
        let verified = VerifiedAssertion::verify(
            assertion,
            &ExpectedAssertion {
                credential_id: &credential.id,
                public_key: &credential.public_key,
                sign_count: credential.sign_count,
                challenge: &assertion_challenge(self.evidence.statement_bytes()),
                rp_id: &policy.rp_id,
                origin: &policy.origin(),
                user_verification: verification,
            },
        )?;
        Ok(ProvedSecurityKey {
            sign_count: verified.sign_count(),
            // A touch-only key proves a touch, whatever its flags say later; and what a platform's
            // software writes of itself proves nothing.
            user_verified: verified.user_verified()
                && !credential.touch_only
                && !credential.attestation.flags_are_the_hosts(),
            observed: assertion.observed,
            attestation: credential.attestation,
            model: credential.model,
        })
    }

    /// What a key is asked for: a touch-only key cannot do more than touch, so nothing that needs
    /// more is begun with it (protocol §4.2).
    fn demanded_of(
        &self,
        credential: &EnrolledCredential,
        verification: UserVerification,
    ) -> Result<UserVerification, Refusal> {
        if !credential.touch_only {
            return Ok(verification);
        }
        let statement = &self.evidence.statement;
        let asked = AssuranceLevel::least_asked(statement.acr.as_deref());
        if statement.purpose == Purpose::EnrolKey || asked > Some(AssuranceLevel::Touch) {
            return Err(Refusal::MoreThanTouch);
        }
        Ok(UserVerification::Discouraged)
    }
}

/// The values in the evidence, of one bank: SHA-256, or SHA-384 where the TPM has no SHA-256 bank.
pub(crate) fn pcr_values(values: &BTreeMap<u8, Vec<u8>>) -> Result<PcrValues, Rejection> {
    let bank = match values.values().next().map(Vec::len) {
        Some(48) => HashAlgorithm::Sha384,
        _ => HashAlgorithm::Sha256,
    };
    PcrValues::of_bank(bank, values.iter().map(|(index, value)| (*index, value.clone())))
        .map_err(|error| Rejection::because(RejectionCode::PcrDigestMismatch, error))
}

/// Step 8: the quote covers what the settings name, in one bank, and no policy refuses what was booted.
fn check_boot(
    quote: VerifiedQuote,
    sent: Option<&SentLog>,
    device: &EnrolledDevice,
    policy: &AppraisalPolicy,
) -> Result<BootReport, Rejection> {
    let covered = quote.pcr_select().iter().any(|selection| {
        let strong = selection.bank() != HashAlgorithm::Sha1;
        strong
            && policy
                .required_pcrs
                .iter()
                .all(|index| selection.indices().any(|found| found == *index))
    });
    if !covered {
        return Err(RejectionCode::PcrSelectionInsufficient.into());
    }
    let (clock, firmware) = (quote.clock_info().into(), quote.firmware_version());
    let values = quote.into_pcr_values().unwrap_or_default();
    boot::report(clock, firmware, values, sent, device, policy).refusal()
}

/// Step 9: neither clock nor counters may go back (TCG Part 1 §36).
fn check_clock(found: TpmClock, device: &EnrolledDevice) -> Result<(), Rejection> {
    let last = device.clock;
    let same_boot = found.reset_count == last.reset_count;
    // After an unclean stop the clock may repeat; it says so itself.
    let clock_back = found.safe && last.safe && found.clock_ms < last.clock_ms;
    if found.reset_count < last.reset_count
        || (same_boot && found.restart_count < last.restart_count)
        || clock_back
    {
        return Err(Refusal::Clock { found, last }.into());
    }
    Ok(())
}
