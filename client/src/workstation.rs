//! An enrolled workstation: its `signetd`, its authority, and what the two do together.

use std::future::{Future, pending};
use std::sync::Arc;

use rustls::ClientConfig;
use signet_evidence::{Purpose, RejectionCode, SessionId};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::authority::{
    Authority, AuthorityError, Base64Url, Challenge, ChallengeRequest, EnrolledAuthenticator,
    Shown, TokenResponse, all,
};
use crate::ceremony::{Attendant, CannotAsk, CeremonyError, Question, attend};
use crate::daemon::{
    Bus, Daemon, DaemonError, Enrolment, Means, PresenceRequest, RegistrationRequest, Step,
};
use crate::renewal::CertificateLife;
use crate::tls::{ClientIdentity, DaemonSigner, HandshakeSignError, TlsConfigError, client_config};

/// A workstation that is enrolled, with connections to both its sides.
#[derive(Clone, Debug)]
pub struct Workstation {
    daemon: Daemon,
    enrolment: Enrolment,
    authority: Authority,
    identity: ClientIdentity,
    reason: Option<String>,
    remote: Option<String>,
    shown: Shown,
}

/// Why the workstation cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// `signetd` cannot be reached.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Not enrolled yet.
    #[error("this machine is not enrolled: run `signet enrol` with a ticket from an administrator")]
    NotEnrolled,
    /// The authority's certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// The signer cannot be started.
    #[error(transparent)]
    Signer(#[from] HandshakeSignError),
    /// The authority's URL cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// What to prove.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What for.
    pub purpose: Purpose,
    /// Rights asked for.
    pub scope: Option<&'a str>,
    /// Assurance asked for.
    pub acr: Option<&'a str>,
    /// Exact bytes of the action.
    pub action: Option<&'a [u8]>,
    /// The session that goes on.
    pub session: Option<SessionId>,
    /// What to prove it with.
    pub means: Means,
}

/// Evidence that was made for a challenge.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Presence Evidence.
    pub evidence: Vec<u8>,
    /// The operator; none for workloads.
    pub subject: Option<String>,
    /// How the host saw the person verified.
    pub observed: Option<String>,
}

/// Why nothing was proved.
#[derive(Debug, Error)]
pub enum PresenceError {
    /// The authority refused, or cannot be reached.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// `signetd` or the person did not do it.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The authority speaks for another audience or relying party than at enrolment.
    #[error(
        "the authority now calls itself {found:?}, and was {enrolled:?} at enrolment: enrol this machine again"
    )]
    Renamed {
        /// As it is now; printable.
        found: String,
        /// As it was at enrolment.
        enrolled: String,
    },
}

impl From<DaemonError> for PresenceError {
    fn from(error: DaemonError) -> Self {
        Self::Ceremony(error.into())
    }
}

impl PresenceError {
    /// The authority's code, when it refused with one.
    #[must_use]
    pub fn rejection(&self) -> Option<RejectionCode> {
        match self {
            Self::Authority(error) => error.rejection(),
            _ => None,
        }
    }

    /// Whether nothing was decided: a part that is missing or busy, not a no.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Authority(error) => error.is_unavailable(),
            Self::Ceremony(error) => error.is_unavailable(),
            Self::Renamed { .. } => false,
        }
    }
}

/// Nobody: for what needs no person. A prompt for a PIN cannot be answered.
#[derive(Clone, Copy, Debug)]
pub struct Unattended;

impl Attendant for Unattended {
    fn show(&self, _step: &Step) {}

    async fn secret(&self, _question: Question) -> Result<Zeroizing<String>, CannotAsk> {
        Err(CannotAsk::NoTerminal)
    }

    fn interrupted(&self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

impl Workstation {
    /// Connects to `signetd` and prepares the way to the authority, which is called first when
    /// something is asked of it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(bus: &Bus) -> Result<Self, OpenError> {
        let daemon = Daemon::connect(bus).await?;
        let enrolment = daemon.enrolment().await?.ok_or(OpenError::NotEnrolled)?;
        let signer = Arc::new(DaemonSigner::start(bus.clone())?);
        let identity = ClientIdentity::new(enrolment.certificates.clone(), signer);
        let tls = client_config(&enrolment.trust_anchors, Some(identity.clone()))?;
        let leaf = enrolment.certificates.first();
        let life = leaf.and_then(|der| CertificateLife::of_der(der));
        let authority = Authority::new(&enrolment.authority, tls)?
            .with_certificate_end(life.map(|life| life.not_after));
        Ok(Self {
            daemon,
            enrolment,
            authority,
            identity,
            reason: None,
            remote: None,
            shown: Shown::Machine,
        })
    }

    /// As it is, with words of the requester for the person, which a prompt shows as such.
    #[must_use]
    pub fn saying(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }

    /// As it is, asking for a far host of this name, which a prompt shows as not proved.
    #[must_use]
    pub fn for_remote(mut self, host: String) -> Self {
        self.remote = Some(host);
        self
    }

    /// As it is, with tokens that are bound to certificates of the operator.
    #[must_use]
    pub fn as_operator(mut self) -> Self {
        self.shown = Shown::Operator;
        self
    }

    /// Of whom the certificates are that tokens are bound to.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown
    }

    /// `signetd`.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// How this machine is enrolled.
    #[must_use]
    pub fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// This machine's certificate and its key.
    pub(crate) fn identity(&self) -> &ClientIdentity {
        &self.identity
    }

    /// TLS with this machine's key towards servers under `anchors` (DER); with none, under the
    /// authority's own.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub fn tls_towards(&self, anchors: Option<&[Vec<u8>]>) -> Result<ClientConfig, TlsConfigError> {
        let anchors = anchors.unwrap_or(&self.enrolment.trust_anchors);
        client_config(anchors, Some(self.identity.clone()))
    }

    /// The same, shown with the certificate of a token; with none, with the machine's.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub fn tls_with(
        &self,
        certificate: &[Vec<u8>],
        anchors: Option<&[Vec<u8>]>,
    ) -> Result<ClientConfig, TlsConfigError> {
        if certificate.is_empty() {
            return self.tls_towards(anchors);
        }
        let anchors = anchors.unwrap_or(&self.enrolment.trust_anchors);
        client_config(anchors, Some(self.identity.under(certificate)))
    }

    /// A token for evidence, bound to the certificate that gateways are shown.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn exchange(&self, evidence: &[u8]) -> Result<TokenResponse, AuthorityError> {
        self.authority.exchange_as(evidence, self.shown).await
    }

    /// Asks the authority for a challenge and has `signetd` answer it.
    ///
    /// # Errors
    /// See [`PresenceError`].
    pub async fn prove(
        &self,
        ask: &Ask<'_>,
        attendant: &impl Attendant,
    ) -> Result<Proof, PresenceError> {
        let challenge = self
            .challenge(&ChallengeRequest {
                purpose: ask.purpose.as_str(),
                subject: None,
                scope: ask.scope,
                acr: ask.acr,
                action: ask.action.map(|bytes| Base64Url(bytes.to_vec())),
                session: ask.session.map(|session| session.to_string()),
            })
            .await?;
        let subject = challenge.subject.filter(|subject| !subject.is_empty());
        let allow_credentials = all(challenge.allow_credentials);
        let touch_credentials = all(challenge.touch_credentials);
        let request = self
            .daemon
            .request_presence(&PresenceRequest {
                purpose: ask.purpose,
                challenge: &challenge.challenge.0,
                subject: subject.as_deref(),
                scope: ask.scope,
                acr: ask.acr,
                action: ask.action,
                session: ask.session.map(|session| session.0),
                allow_credentials: &allow_credentials,
                touch_credentials: &touch_credentials,
                user_verification: &challenge.user_verification,
                known_event_log: challenge.event_log.as_ref().map(|digest| digest.0.as_slice()),
                means: ask.means,
                reason: self.reason.as_deref(),
                remote: self.remote.as_deref(),
            })
            .await?;
        let completion = attend(request, attendant).await?.presence()?;
        Ok(Proof { evidence: completion.evidence, subject, observed: completion.observed })
    }

    /// A token for exactly the action of these bytes, by a touch of its own.
    ///
    /// # Errors
    /// See [`PresenceError`].
    pub async fn approve(
        &self,
        action: &[u8],
        acr: Option<&str>,
        means: Means,
        attendant: &impl Attendant,
    ) -> Result<TokenResponse, PresenceError> {
        let purpose = Purpose::Action;
        let ask = Ask { purpose, scope: None, acr, action: Some(action), session: None, means };
        let proof = self.prove(&ask, attendant).await?;
        let response = self.exchange(&proof.evidence).await?;
        attendant.warn(&response.warnings);
        Ok(response)
    }

    /// Registers an authenticator for the operator. With a ticket nobody else need agree; without,
    /// one of the operator's keys does, unless there is none yet.
    ///
    /// # Errors
    /// See [`PresenceError`].
    pub async fn add_authenticator(
        &self,
        ticket: Option<&str>,
        name: Option<&str>,
        means: Means,
        attendant: &impl Attendant,
    ) -> Result<EnrolledAuthenticator, PresenceError> {
        let listed = self.authority.authenticators().await?;
        let decoded = |id: &String| Base64Url::decode(id);
        let exclude: Vec<_> =
            listed.iter().filter_map(|listed| decoded(&listed.credential_id)).collect();
        let mut authorise_with = Vec::new();
        if ticket.is_none() {
            let active = listed.iter().filter(|listed| !listed.revoked);
            authorise_with = active.filter_map(|listed| decoded(&listed.credential_id)).collect();
        }
        let purpose = Purpose::EnrolKey.as_str();
        let challenge =
            self.challenge(&ChallengeRequest { purpose, ..ChallengeRequest::default() }).await?;
        let request = self
            .daemon
            .register_authenticator(&RegistrationRequest {
                challenge: &challenge.challenge.0,
                subject: challenge.subject.as_deref().unwrap_or_default(),
                exclude_credentials: &exclude,
                authorise_with: &authorise_with,
                known_event_log: challenge.event_log.as_ref().map(|digest| digest.0.as_slice()),
                means,
                reason: self.reason.as_deref(),
            })
            .await?;
        let completion = attend(request, attendant).await?.presence()?;
        Ok(self.authority.enrol_authenticator(&completion.evidence, ticket, name).await?)
    }

    async fn challenge(&self, request: &ChallengeRequest<'_>) -> Result<Challenge, PresenceError> {
        let challenge = self.authority.challenge(request).await?;
        let names = [
            (&challenge.audience, &self.enrolment.audience),
            (&challenge.rp_id, &self.enrolment.rp_id),
        ];
        for (found, enrolled) in names {
            if found != enrolled {
                let found = crate::authority::printable(found);
                return Err(PresenceError::Renamed { found, enrolled: enrolled.clone() });
            }
        }
        Ok(challenge)
    }
}
