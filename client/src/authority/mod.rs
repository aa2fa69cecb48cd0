//! The authority over HTTPS.

mod base64url;
mod error;
mod messages;
mod tickets;

use std::fmt;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use base64url::Base64Url;
pub(crate) use base64url::{all, encode_all};
pub use error::{AuthorityError, KeyFault, Refusal, printable, tls_cause};
use messages::{
    AuthenticatorList, BeginEnrolment, EnrolAuthenticator, FinishEnrolment, RenewDevice,
    Revocation, Signed, TokenExchange,
};
pub use messages::{
    Challenge, ChallengeRequest, DeviceRenewed, EnrolledAuthenticator, EnrolmentBegun,
    EnrolmentFinished, ListedAuthenticator, Shown, TokenResponse,
};

use crate::daemon::{Activation, EndorsementKey, EnrolmentKeys};
pub use tickets::{RequestedTicket, RequestedTickets, TicketApproval, TicketTerms};

use crate::renewal::unix_now;
use crate::tokens::AccessToken;

/// Largest answer that is read.
const MAX_ANSWER: usize = 1024 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// An authority and the connections to it.
#[derive(Clone)]
pub struct Authority {
    http: Client,
    base: Url,
    /// The last second of the certificate that we show; an authority that breaks off after it does
    /// so for that reason.
    certificate_end: Option<i64>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// An HTTPS client over our own TLS configuration: no redirects, no plain HTTP, no cookies.
///
/// # Errors
/// [`AuthorityError::Client`].
pub fn https_client(tls: ClientConfig) -> Result<Client, AuthorityError> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        .timeout(ANSWER_LIMIT)
        .user_agent(concat!("signet/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(AuthorityError::Client)
}

impl Authority {
    /// The authority at `url`, spoken to with `tls` (see [`crate::tls::client_config`]).
    ///
    /// # Errors
    /// [`AuthorityError::Url`] or [`AuthorityError::Client`].
    pub fn new(url: &str, tls: ClientConfig) -> Result<Self, AuthorityError> {
        let base = Url::parse(url).map_err(|_| AuthorityError::Url)?;
        let bare = base.path() == "/" && base.query().is_none() && base.fragment().is_none();
        let anonymous = base.username().is_empty() && base.password().is_none();
        if base.scheme() != "https" || !bare || !anonymous || !base.has_host() {
            return Err(AuthorityError::Url);
        }
        Ok(Self { http: https_client(tls)?, base, certificate_end: None })
    }

    /// The same, shown a client certificate that ends at `not_after` (Unix seconds).
    #[must_use]
    pub fn with_certificate_end(self, not_after: Option<i64>) -> Self {
        Self { certificate_end: not_after, ..self }
    }

    /// The authority's origin, `https://host[:port]`.
    #[must_use]
    pub fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Starts a device's enrolment; the ticket is the only credential.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn begin_enrolment(
        &self,
        ticket: &str,
        keys: &EnrolmentKeys,
        endorsement: &EndorsementKey,
    ) -> Result<EnrolmentBegun, AuthorityError> {
        let body = BeginEnrolment {
            ticket,
            ek_kind: &endorsement.kind,
            ek_public: Base64Url(endorsement.public.clone()),
            ek_certificate: endorsement.certificate.clone().map(Base64Url),
            ek_chain: encode_all(&keys.endorsement_chain),
            ak_public: Base64Url(keys.ak_public.clone()),
            tls_public: Base64Url(keys.tls_public.clone()),
        };
        self.post("v1/enrol/device/begin", &body).await
    }

    /// Ends a device's enrolment with the TPM's answer.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn finish_enrolment(
        &self,
        enrolment_id: &str,
        activation: &Activation,
    ) -> Result<EnrolmentFinished, AuthorityError> {
        let signed = |attest: &[u8], signature: &[u8]| Signed {
            attest: Base64Url(attest.to_vec()),
            signature: Base64Url(signature.to_vec()),
        };
        let pcrs = activation.pcrs.iter();
        let body = FinishEnrolment {
            enrolment_id,
            proof: Base64Url(activation.proof.clone()),
            certify: signed(&activation.certify_attest, &activation.certify_signature),
            quote: signed(&activation.quote_attest, &activation.quote_signature),
            pcrs: pcrs
                .map(|(index, value)| (index.to_string(), Base64Url(value.clone())))
                .collect(),
            csr: Base64Url(activation.csr.clone()),
        };
        self.post("v1/enrol/device/finish", &body).await
    }

    /// New certificates for this machine, by evidence of purpose `enrol-device`.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn renew_device(&self, evidence: &[u8]) -> Result<DeviceRenewed, AuthorityError> {
        let evidence = Base64Url(evidence.to_vec());
        self.post("v1/enrol/device/renew", &RenewDevice { evidence }).await
    }

    /// Asks for a challenge.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn challenge(
        &self,
        request: &ChallengeRequest<'_>,
    ) -> Result<Challenge, AuthorityError> {
        self.post("v1/challenge", request).await
    }

    /// Enrols an authenticator by the evidence of its registration.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn enrol_authenticator(
        &self,
        evidence: &[u8],
        ticket: Option<&str>,
        name: Option<&str>,
    ) -> Result<EnrolledAuthenticator, AuthorityError> {
        let evidence = Base64Url(evidence.to_vec());
        self.post("v1/enrol/authenticator", &EnrolAuthenticator { evidence, ticket, name }).await
    }

    /// The operator's authenticators.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn authenticators(&self) -> Result<Vec<ListedAuthenticator>, AuthorityError> {
        let request = self.request(Method::GET, "v1/authenticators")?;
        Ok(self.answer::<AuthenticatorList>(request).await?.authenticators)
    }

    /// Removes one of the operator's authenticators; its sessions end with it.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn remove_authenticator(&self, credential_id: &[u8]) -> Result<(), AuthorityError> {
        let path = format!("v1/authenticators/{}", Base64Url::encode(credential_id));
        let request = self.request(Method::DELETE, &path)?;
        self.send(request).await.map(|_| ())
    }

    /// Exchanges evidence for a token (RFC 8693).
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn exchange(&self, evidence: &[u8]) -> Result<TokenResponse, AuthorityError> {
        self.exchange_as(evidence, Shown::Machine).await
    }

    /// The same, for a token that is bound to the certificate of `shown`.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn exchange_as(
        &self,
        evidence: &[u8],
        shown: Shown,
    ) -> Result<TokenResponse, AuthorityError> {
        let subject_token = Base64Url::encode(evidence);
        let form = TokenExchange {
            grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
            subject_token: &subject_token,
            subject_token_type: "urn:signet:token-type:evidence",
            certificate: (shown == Shown::Operator).then_some("operator"),
        };
        let request = self.request(Method::POST, "v1/token")?.form(&form);
        let response: TokenResponse = self.answer(request).await?;
        // An earlier authority does not know the parameter, and binds the token to the machine's.
        if (shown == Shown::Operator) == response.certificate.is_empty() {
            return Err(AuthorityError::OtherCertificate);
        }
        Ok(response)
    }

    /// Revokes a token of ours (RFC 7009).
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn revoke(&self, token: &AccessToken) -> Result<(), AuthorityError> {
        let form = Revocation { token: token.secret() };
        self.send(self.request(Method::POST, "v1/revoke")?.form(&form)).await.map(|_| ())
    }

    /// Whether the authority answers and is ready.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn ready(&self) -> Result<(), AuthorityError> {
        self.send(self.request(Method::GET, "readyz")?).await.map(|_| ())
    }

    /// The authority's clock (`Date`, RFC 9110 §6.6.1) in Unix seconds, whether it is ready or not;
    /// `None` when it does not tell.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn date(&self) -> Result<Option<i64>, AuthorityError> {
        let response = self.exchanged(self.request(Method::GET, "readyz")?).await?;
        let date = response.headers().get(reqwest::header::DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(since.and_then(|since| i64::try_from(since.as_secs()).ok()))
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, AuthorityError> {
        let url = self.base.join(path).map_err(|_| AuthorityError::Url)?;
        Ok(self.http.request(method, url))
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, AuthorityError> {
        self.answer(self.request(Method::POST, path)?.json(body)).await
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, AuthorityError> {
        let (status, body) = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|_| AuthorityError::Answer { status })
    }

    /// Sends, and once more when no connection could be made: an authority may have been restarted
    /// under a connection that we kept.
    async fn exchanged(&self, request: RequestBuilder) -> Result<Response, AuthorityError> {
        let again = request.try_clone();
        match (request.send().await, again) {
            (Ok(response), _) => Ok(response),
            (Err(error), Some(again)) if error.is_connect() && tls_cause(&error).is_none() => {
                again.send().await.map_err(|error| self.sorted(error))
            }
            (Err(error), _) => Err(self.sorted(error)),
        }
    }

    async fn send(
        &self,
        request: RequestBuilder,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), AuthorityError> {
        let mut response = self.exchanged(request).await?;
        let status = response.status();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| self.sorted(error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(AuthorityError::TooLarge { limit: MAX_ANSWER });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok((status.as_u16(), body));
        }
        Err(Box::new(Refusal::read(status.as_u16(), &body)).into())
    }

    fn sorted(&self, error: reqwest::Error) -> AuthorityError {
        let sorted = AuthorityError::of_exchange(&self.origin(), error);
        let over = self.certificate_end.is_some_and(|end| unix_now() > end);
        match sorted {
            // The alert may get lost when the authority closes the connection at once.
            AuthorityError::Unreachable { source, .. } if over && !source.is_connect() => {
                AuthorityError::CertificateOver
            }
            AuthorityError::BrokenOff { .. } if over => AuthorityError::CertificateOver,
            sorted => sorted,
        }
    }
}
