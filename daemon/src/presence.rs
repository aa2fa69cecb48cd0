//! From a request to evidence: what is asked, what the person's key signs, what the TPM signs.
//!
//! The order is that of protocol §2.2: the statement is fixed first, then the touch, then the quote
//! over both, then the outer signature over everything.

use std::path::PathBuf;

use signet_evidence::binding::{
    Sha256, assertion_challenge, qualifying_data, registration_challenge, sha256,
};
use signet_evidence::header::{CertifiedKey, SignedAttest};
use signet_evidence::presence::EvidenceError;
use signet_evidence::webauthn::{Ceremony as WebAuthnCeremony, ClientData};
use signet_evidence::{
    Action, Assertion, CertificateChain, FidoAssertion, FidoRegistration, KeyPart, KeyThumbprint,
    Purpose, Registration, SessionId, Statement, TpmEvidence, UnixTime, UnsignedEvidence,
};

use crate::authenticator::{Asserted, AssertionQuestion, Keys, Line, observed};
use crate::boot_log::BootLog;
use crate::ceremony::Need;
use crate::enrol::point;
use crate::failure::{ArgumentError, Bug, Failure};
use crate::platform::{Means, Part, Plan, Platform};
use crate::prompt::{PromptText, Quoted};
use crate::state::{Base64, Enrolment, Stored};
use crate::tpm::{Certification, Quote, Tpm, TpmError, Urgency};

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
    /// Credentials of keys that can only be touched (session, action).
    pub touch_credentials: Vec<Vec<u8>>,
    /// Credentials that the new key must not hold already (enrol-key).
    pub exclude_credentials: Vec<Vec<u8>>,
    /// Whether the key must verify its user.
    pub user_verification: bool,
    /// Whether the AK certifies the TLS key.
    pub certify: bool,
    /// SHA-256 of the event log that the authority has of this machine.
    pub known_event_log: Option<Sha256>,
    /// What the person shall use; for enrol-key what the new key shall be.
    pub means: Option<Means>,
    /// The requester's own words to the person; never signed.
    pub reason: Option<Quoted>,
    /// The far host that the requester names; never signed.
    pub remote: Option<Quoted>,
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
    /// Names of the action that is approved.
    actions: Vec<String>,
    /// What a platform key does, where one answers or is made.
    part: Option<Part>,
    /// What the person is told, step by step; empty when nobody is asked.
    pub prompts: Vec<PromptText>,
}

/// What the person's keys signed.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    assertion: Option<Assertion>,
    key: Option<PathBuf>,
    registration: Option<(Registration, Registered)>,
}

/// The credential that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Credential id.
    pub credential_id: Vec<u8>,
    /// Model of the security key; none for platform keys.
    pub aaguid: Option<[u8; 16]>,
}

/// The result of a request.
#[derive(Clone, Debug)]
pub struct Produced {
    /// Presence Evidence.
    pub evidence: Vec<u8>,
    /// The credential that asserted.
    pub asserted: Option<Assertion>,
    /// Device node of the security key that asserted.
    pub key: Option<PathBuf>,
    /// The credential that was made.
    pub registered: Option<Registered>,
}

impl Request {
    fn names_no_credential(&self) -> bool {
        self.allow_credentials.is_empty() && self.touch_credentials.is_empty()
    }
}

impl Prepared {
    /// Fixes the statement. `part` is what a platform key does, with the host's facts for it.
    ///
    /// # Errors
    /// [`Failure::NotEnrolled`], [`Failure::InvalidArgument`], [`Failure::NoCredential`].
    pub fn new(
        request: Request,
        part: Option<Part>,
        stored: &Stored,
        now: UnixTime,
    ) -> Result<Self, Failure> {
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
            host_facts: part
                .as_ref()
                .and_then(|part| part.plan().facts())
                .map(|facts| facts.clone().into()),
        };
        let statement = statement.encode().map_err(ArgumentError::Statement)?;
        let details = action.as_ref().map(Action::details);
        let mut asks = PromptText::new(request.purpose, details, &enrolment.authority);
        match &part {
            None => {}
            Some(Part::Sign(key, _)) => asks.method = Some(key.method),
            Some(Part::Make(_, plan)) => {
                asks = PromptText::platform_key(plan.method(), &enrolment.authority);
            }
        }
        let prompts = match request.purpose {
            Purpose::Session | Purpose::Action if request.names_no_credential() => {
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
            actions: details.map(|details| details.actions.clone()).unwrap_or_default(),
            part,
            prompts,
            request,
        })
    }

    /// What was asked for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The names of the action that is approved.
    pub fn action_names(&self) -> &[String] {
        &self.actions
    }

    /// What the evidence is for.
    pub fn purpose(&self) -> Purpose {
        self.request.purpose
    }

    /// The session it is about, where the authority has one already.
    pub fn session(&self) -> Option<SessionId> {
        self.request.session
    }

    /// What the person is asked to use.
    pub fn means(&self) -> Means {
        match &self.part {
            None => Means::SecurityKey,
            Some(part) => Means::Platform(part.plan().method()),
        }
    }

    /// Whether a security key has to be there.
    pub fn needs_security_key(&self) -> bool {
        self.part.is_none()
            || self.request.purpose == Purpose::EnrolKey
                && !self.request.allow_credentials.is_empty()
    }

    /// Whether a person is needed.
    pub fn need(&self) -> Need {
        if self.prompts.is_empty() { Need::Machine } else { Need::Person }
    }

    /// How soon the TPM should serve it.
    pub fn urgency(&self) -> Urgency {
        match self.request.purpose {
            Purpose::Session | Purpose::Action | Purpose::EnrolKey => Urgency::Person,
            Purpose::Renew | Purpose::EnrolDevice => Urgency::Renewal,
            Purpose::Workload => Urgency::Background,
        }
    }

    /// Asks the person: an assertion, a new key, or both in this order. `step` is told before each;
    /// `keys` are there where [`Self::needs_security_key`] says so.
    ///
    /// # Errors
    /// What the person or the key did.
    pub async fn ask(
        &self,
        mut keys: Option<&mut Keys>,
        platform: &Platform,
        step: &(dyn Fn(usize) + Send + Sync),
        line: &mut Line<'_>,
    ) -> Result<Answers, Failure> {
        step(0);
        if let Some(Part::Sign(key, plan)) = &self.part {
            let assertion = platform.assert(key, plan, &self.statement, line).await?;
            let assertion = Some(Assertion::Platform(assertion));
            return Ok(Answers { assertion, key: None, registration: None });
        }
        let enrols = self.request.purpose == Purpose::EnrolKey;
        let authorised = match self.request.allow_credentials.as_slice() {
            [] if enrols => None,
            _ => Some(self.assert(keys.as_deref_mut(), line).await?),
        };
        let by = authorised.as_ref().map(|(_, asserted)| asserted);
        let registration = match &self.part {
            _ if !enrols => None,
            Some(Part::Make(user, plan)) => {
                step(self.prompts.len().saturating_sub(1));
                Some(self.make(platform, user, plan, line).await?)
            }
            _ => {
                step(self.prompts.len().saturating_sub(1));
                Some(self.register(keys, by, line).await?)
            }
        };
        let (assertion, asserted) = authorised.unzip();
        let key = asserted.and_then(|asserted| asserted.path);
        Ok(Answers { assertion: assertion.map(Assertion::SecurityKey), key, registration })
    }

    async fn make(
        &self,
        platform: &Platform,
        user: &str,
        plan: &Plan,
        line: &mut Line<'_>,
    ) -> Result<(Registration, Registered), Failure> {
        let (made, id) = platform.register(plan, user, &self.statement, line).await?;
        let registered = Registered { credential_id: id.as_bytes().to_vec(), aaguid: None };
        Ok((Registration::Platform(made), registered))
    }

    async fn assert(
        &self,
        keys: Option<&mut Keys>,
        line: &mut Line<'_>,
    ) -> Result<(FidoAssertion, Asserted), Failure> {
        let challenge = assertion_challenge(&self.statement);
        let client_data = self.client_data(WebAuthnCeremony::Authentication, &challenge);
        let hash = sha256(&client_data);
        // A key is only ever added by someone whom a key has verified.
        let required = self.request.user_verification || self.request.purpose == Purpose::EnrolKey;
        let keys = keys.ok_or(Failure::NoAuthenticator)?;
        let question = AssertionQuestion {
            rp_id: &self.rp_id,
            client_data_hash: hash,
            allow_list: &self.request.allow_credentials,
            touch_list: &self.request.touch_credentials,
            required,
        };
        let asserted = keys.assert(&question, line).await?;
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
        keys: Option<&mut Keys>,
        authorised_by: Option<&Asserted>,
        line: &mut Line<'_>,
    ) -> Result<(Registration, Registered), Failure> {
        let challenge = registration_challenge(&self.statement);
        let client_data = self.client_data(WebAuthnCeremony::Registration, &challenge);
        let hash = sha256(&client_data);
        let subject = self.request.subject.as_deref().unwrap_or_default();
        let excluded = &self.request.exclude_credentials;
        let keys = keys.ok_or(Failure::NoAuthenticator)?;
        let made = keys.register(&self.rp_id, subject, hash, excluded, authorised_by, line).await?;
        let aaguid = Some(made.aaguid);
        let registered = Registered { credential_id: made.credential_id, aaguid };
        let registration =
            FidoRegistration { attestation_object: made.attestation_object, client_data };
        Ok((Registration::SecurityKey(registration), registered))
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
        boot_log: &BootLog,
        answers: Answers,
    ) -> Result<Produced, Failure> {
        let assertion = answers.assertion.as_ref().map(|assertion| match assertion {
            Assertion::SecurityKey(key) => Encoded::SecurityKey(key.encode()),
            Assertion::Platform(key) => Encoded::Platform(key.encode()),
        });
        let registration = answers.registration.as_ref().map(|(made, _)| match made {
            Registration::SecurityKey(key) => Encoded::SecurityKey(key.encode()),
            Registration::Platform(key) => Encoded::Platform(key.encode()),
        });
        let bound = qualifying_data(
            &self.statement,
            assertion.as_ref().map(|assertion| assertion.part().bytes()).unwrap_or_default(),
            registration.as_ref().map(|registration| registration.part().bytes()),
        );
        let statement = self.statement.clone();
        let (device_chain, ak_chain) = (self.device_chain.clone(), self.ak_chain.clone());
        let (boot_log, event_log) =
            (boot_log.clone(), boot_log.sent(self.request.known_event_log.as_ref()));
        let put_together = move |quote: Quote, certification: Option<Certification>| {
            boot_log.quoted(&quote.pcrs);
            let tpm_evidence = TpmEvidence {
                ak_chain: ak_chain.clone(),
                quote: SignedAttest { attest: quote.attest, signature: quote.signature },
                certification: certification.map(|made| CertifiedKey {
                    signed: SignedAttest { attest: made.attest, signature: made.signature },
                    public: made.public,
                }),
                pcrs: Some(quote.pcrs),
                event_log: Some(event_log.clone()),
            };
            let assertion = assertion.as_ref().map(Encoded::part);
            let registration = registration.as_ref().map(Encoded::part);
            let unsigned = UnsignedEvidence::new(
                &statement,
                &device_chain,
                assertion,
                registration,
                &tpm_evidence,
            );
            let digest = sha256(&unsigned.to_be_signed());
            (unsigned, digest)
        };
        let certify = self.request.certify;
        let (unsigned, signature) = tpm.attest(bound, pcrs, certify, put_together).await?;
        let evidence = unsigned.finish(signature).map_err(|error| match error {
            EvidenceError::TooLarge { .. } => ArgumentError::Evidence(error).into(),
            _ => Failure::Internal(Bug::Evidence),
        })?;
        Ok(Produced {
            evidence,
            asserted: answers.assertion,
            key: answers.key,
            registered: answers.registration.map(|(_, registered)| registered),
        })
    }
}

/// An encoded assertion or registration.
enum Encoded {
    SecurityKey(Vec<u8>),
    Platform(Vec<u8>),
}

impl Encoded {
    fn part(&self) -> KeyPart<'_> {
        match self {
            Self::SecurityKey(bytes) => KeyPart::SecurityKey(bytes),
            Self::Platform(bytes) => KeyPart::Platform(bytes),
        }
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
