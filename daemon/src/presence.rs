//! From a request to evidence: what is asked, what the person's key signs, what the TPM signs.
//!
//! The order is that of protocol §2.2: the statement is fixed first, then the touch, then the quote
//! over both, then the outer signature over everything.

use signet_evidence::binding::{
    assertion_challenge, qualifying_data, registration_challenge, sha256,
};
use signet_evidence::header::{CertifiedKey, SignedAttest};
use signet_evidence::presence::EvidenceError;
use signet_evidence::webauthn::{Ceremony as WebAuthnCeremony, ClientData};
use signet_evidence::{
    Action, CertificateChain, FidoAssertion, FidoRegistration, KeyPart, KeyThumbprint, Purpose,
    SessionId, Statement, TpmEvidence, UnixTime, UnsignedEvidence,
};

use crate::authenticator::{Asserted, Keys, Line, observed};
use crate::ceremony::Need;
use crate::enrol::point;
use crate::failure::{ArgumentError, Bug, Failure};
use crate::prompt::PromptText;
use crate::state::{Base64, Enrolment, Stored};
use crate::tpm::{Tpm, TpmError};

/// What a caller asks for; none of it is believed, all of it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the evidence is for; enrol-device is a renewal of the machine's certificates.
    pub purpose: Purpose,
    /// The authority's challenge.
    pub challenge: Vec<u8>,
    /// The operator; none for workloads.
    pub subject: Option<String>,
    /// Rights asked for.
    pub scope: Option<String>,
    /// Assurance asked for.
    pub acr: Option<String>,
    /// JSON of the action that is approved.
    pub action: Option<Vec<u8>>,
    /// The session.
    pub session: Option<SessionId>,
    /// Credentials that may assert; for enrol-key those that must authorise the new one.
    pub allow_credentials: Vec<Vec<u8>>,
    /// Credentials that the new key must not hold already (enrol-key).
    pub exclude_credentials: Vec<Vec<u8>>,
    /// Whether the key must verify its user.
    pub user_verification: bool,
    /// Whether the AK certifies the TLS key.
    pub certify: bool,
}

/// A request with its statement fixed, ready to be shown and signed.
#[derive(Clone, Debug)]
pub struct Prepared {
    request: Request,
    statement: Vec<u8>,
    device_chain: CertificateChain,
    ak_chain: CertificateChain,
    rp_id: String,
    origin: String,
    /// What the person is told, step by step; empty when nobody is asked.
    pub prompts: Vec<PromptText>,
}

/// What the person's keys signed.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    assertion: Option<FidoAssertion>,
    registration: Option<(FidoRegistration, Registered)>,
}

/// The credential that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Credential id.
    pub credential_id: Vec<u8>,
    /// Model of the key.
    pub aaguid: [u8; 16],
}

/// The result of a request.
#[derive(Clone, Debug)]
pub struct Produced {
    /// Presence Evidence.
    pub evidence: Vec<u8>,
    /// The credential that asserted.
    pub asserted: Option<FidoAssertion>,
    /// The credential that was made.
    pub registered: Option<Registered>,
}

impl Prepared {
    /// Fixes the statement.
    ///
    /// # Errors
    /// [`Failure::NotEnrolled`], [`Failure::InvalidArgument`], [`Failure::NoCredential`].
    pub fn new(request: Request, stored: &Stored, now: UnixTime) -> Result<Self, Failure> {
        let enrolment = usable(stored)?;
        let action = request.action.as_deref().map(Action::parse).transpose();
        let action = action.map_err(ArgumentError::Action)?;
        let key = point(&enrolment.tls_key.0.public)?;
        let confirmation = KeyThumbprint::of_uncompressed_point(&key);
        let statement = Statement {
            challenge: request.challenge.clone(),
            audience: enrolment.audience.clone(),
            issued_at: now,
            confirmation: confirmation.ok_or(Failure::Internal(Bug::KeyForm))?,
            device: enrolment.device_id.clone(),
            subject: request.subject.clone(),
            scope: request.scope.clone(),
            purpose: request.purpose,
            acr: request.acr.clone(),
            action: action.clone(),
            session: request.session,
            host_facts: None,
        };
        let statement = statement.encode().map_err(ArgumentError::Statement)?;
        let details = action.as_ref().map(Action::details);
        let asks = PromptText::new(request.purpose, details, &enrolment.authority);
        let prompts = match request.purpose {
            Purpose::Session | Purpose::Action if request.allow_credentials.is_empty() => {
                return Err(Failure::NoCredential);
            }
            Purpose::Session | Purpose::Action => vec![asks],
            Purpose::EnrolKey if request.allow_credentials.is_empty() => vec![asks],
            Purpose::EnrolKey => vec![PromptText::authorise_key(&enrolment.authority), asks],
            Purpose::Renew | Purpose::Workload | Purpose::EnrolDevice => Vec::new(),
        };
        Ok(Self {
            statement,
            device_chain: chain(&enrolment.device_chain)?,
            ak_chain: chain(&enrolment.ak_chain)?,
            rp_id: enrolment.rp_id.clone(),
            origin: format!("https://{}", enrolment.rp_id),
            prompts,
            request,
        })
    }

    /// Whether a person is needed.
    pub fn need(&self) -> Need {
        if self.prompts.is_empty() { Need::Machine } else { Need::Person }
    }

    /// Asks the person: an assertion, a new key, or both in this order. `step` is told before each.
    ///
    /// # Errors
    /// What the person or the key did.
    pub async fn ask(
        &self,
        keys: &mut Keys,
        step: &(dyn Fn(usize) + Send + Sync),
        line: &mut Line<'_>,
    ) -> Result<Answers, Failure> {
        if self.request.purpose != Purpose::EnrolKey {
            step(0);
            let (assertion, _) = self.assert(keys, line).await?;
            return Ok(Answers { assertion: Some(assertion), registration: None });
        }
        step(0);
        let authorised = match self.request.allow_credentials.as_slice() {
            [] => None,
            _ => Some(self.assert(keys, line).await?),
        };
        step(self.prompts.len().saturating_sub(1));
        let by = authorised.as_ref().map(|(_, asserted)| asserted);
        let registration = Some(self.register(keys, by, line).await?);
        Ok(Answers { assertion: authorised.map(|(assertion, _)| assertion), registration })
    }

    async fn assert(
        &self,
        keys: &mut Keys,
        line: &mut Line<'_>,
    ) -> Result<(FidoAssertion, Asserted), Failure> {
        let challenge = assertion_challenge(&self.statement);
        let client_data = self.client_data(WebAuthnCeremony::Authentication, &challenge);
        let hash = sha256(&client_data);
        // A key is only ever added by someone whom a key has verified.
        let required = self.request.user_verification || self.request.purpose == Purpose::EnrolKey;
        let allowed = &self.request.allow_credentials;
        let asserted = keys.assert(&self.rp_id, hash, allowed, required, line).await?;
        let answer = &asserted.assertion;
        let assertion = FidoAssertion {
            credential_id: answer.credential_id.clone(),
            authenticator_data: answer.auth_data.clone(),
            client_data,
            signature: answer.signature.clone(),
            observed: answer.uv_method.map(observed),
        };
        Ok((assertion, asserted))
    }

    async fn register(
        &self,
        keys: &mut Keys,
        authorised_by: Option<&Asserted>,
        line: &mut Line<'_>,
    ) -> Result<(FidoRegistration, Registered), Failure> {
        let challenge = registration_challenge(&self.statement);
        let client_data = self.client_data(WebAuthnCeremony::Registration, &challenge);
        let hash = sha256(&client_data);
        let subject = self.request.subject.as_deref().unwrap_or_default();
        let excluded = &self.request.exclude_credentials;
        let made = keys.register(&self.rp_id, subject, hash, excluded, authorised_by, line).await?;
        let registered = Registered { credential_id: made.credential_id, aaguid: made.aaguid };
        let registration =
            FidoRegistration { attestation_object: made.attestation_object, client_data };
        Ok((registration, registered))
    }

    fn client_data(&self, ceremony: WebAuthnCeremony, challenge: &[u8]) -> Vec<u8> {
        ClientData { ceremony, challenge, origin: &self.origin }.to_json()
    }

    /// Quotes, certifies where due, and signs everything with the TLS key.
    ///
    /// # Errors
    /// TPM failures; [`ArgumentError::Evidence`] when the parts do not fit.
    pub async fn prove(
        &self,
        tpm: &Tpm,
        pcrs: &[u8],
        answers: Answers,
    ) -> Result<Produced, Failure> {
        let assertion = answers.assertion.as_ref().map(FidoAssertion::encode);
        let registration = answers.registration.as_ref().map(|(part, _)| part.encode());
        let bound = qualifying_data(
            &self.statement,
            assertion.as_deref().unwrap_or_default(),
            registration.as_deref(),
        );
        let quote = tpm.quote(bound, pcrs).await?;
        let certification = match self.request.certify {
            true => Some(tpm.certify_tls_key(bound).await?),
            false => None,
        };
        let tpm_evidence = TpmEvidence {
            ak_chain: self.ak_chain.clone(),
            quote: SignedAttest { attest: quote.attest, signature: quote.signature },
            certification: certification.map(|made| CertifiedKey {
                signed: SignedAttest { attest: made.attest, signature: made.signature },
                public: made.public,
            }),
            pcrs: Some(quote.pcrs),
            event_log: None,
        };
        let unsigned = UnsignedEvidence::new(
            &self.statement,
            &self.device_chain,
            assertion.as_deref().map(KeyPart::SecurityKey),
            registration.as_deref().map(KeyPart::SecurityKey),
            &tpm_evidence,
        );
        let signature = tpm.sign_tls(sha256(&unsigned.to_be_signed())).await?;
        let evidence = unsigned.finish(signature).map_err(|error| match error {
            EvidenceError::TooLarge { .. } => ArgumentError::Evidence(error).into(),
            _ => Failure::Internal(Bug::Evidence),
        })?;
        Ok(Produced {
            evidence,
            asserted: answers.assertion,
            registered: answers.registration.map(|(_, registered)| registered),
        })
    }
}

/// The enrolment, if its key can still be used.
///
/// # Errors
/// [`Failure::NotEnrolled`]; `TpmCleared` when another key was made since.
pub fn usable(stored: &Stored) -> Result<&Enrolment, Failure> {
    let enrolment = stored.enrolment.as_ref().ok_or(Failure::NotEnrolled)?;
    match stored.pending_key {
        None => Ok(enrolment),
        Some(_) => Err(TpmError::Cleared.into()),
    }
}

fn chain(certificates: &[Base64]) -> Result<CertificateChain, Failure> {
    let certificates = certificates.iter().map(|der| der.0.clone()).collect();
    CertificateChain::new(certificates).ok_or(Failure::Internal(Bug::Evidence))
}
