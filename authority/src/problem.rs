//! Errors as callers see them: problem documents (RFC 9457), for OAuth endpoints with the members of
//! RFC 6749 §5.2 besides.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use signet_evidence::RejectionCode;
use signet_evidence::rejection::CoarseCode;

use crate::limits::{Limit, Limited};
use crate::store::StoreError;
use crate::trace;

/// How much a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Nobody proved who they are: the coarse code only.
    Anyone,
    /// Connected with an enrolled machine's or gateway's certificate: the exact code.
    Enrolled,
}

/// A refusal or failure on its way to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    family: &'static str,
    /// The kind's last word.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    title: &'static str,
    detail: Cow<'static, str>,
    findings: Vec<String>,
    error: Option<&'static str>,
    /// Seconds.
    retry_after: Option<NonZeroU32>,
}

/// The members as they travel.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    /// Names the request, as log lines and audit records do.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    findings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'a str>,
}

const REJECTION: &str = "rejection";
const PROBLEM: &str = "problem";

impl Problem {
    /// A refusal.
    #[must_use]
    pub fn rejected(code: RejectionCode, audience: Audience) -> Self {
        let (word, detail) = match audience {
            Audience::Anyone => (code.coarse().as_str(), coarse_advice(code.coarse())),
            Audience::Enrolled => (code.as_str(), code.advice()),
        };
        let title = title(code.coarse());
        Self::new(REJECTION, word, status(code.coarse()), title, detail)
    }

    /// A request that is not of the documented form.
    #[must_use]
    pub fn malformed_request(detail: impl Into<Cow<'static, str>>) -> Self {
        let title = "The request is not of the documented form";
        Self::new(PROBLEM, "request-malformed", StatusCode::BAD_REQUEST, title, detail)
    }

    /// A request body above its limit.
    #[must_use]
    pub fn too_large() -> Self {
        let detail = "send a smaller request";
        let title = "The request is too large";
        Self::new(PROBLEM, "request-too-large", StatusCode::PAYLOAD_TOO_LARGE, title, detail)
    }

    /// No such thing.
    #[must_use]
    pub fn not_found() -> Self {
        let detail = "check the path, and that the thing still exists";
        Self::new(PROBLEM, "not-found", StatusCode::NOT_FOUND, "Not found", detail)
    }

    /// The authority cannot decide now; nothing was granted.
    #[must_use]
    pub fn unavailable() -> Self {
        let detail =
            "try again in a moment; if it stays, tell the authority's operator to look at its log";
        let title = "The authority cannot answer now";
        Self::new(PROBLEM, "unavailable", StatusCode::SERVICE_UNAVAILABLE, title, detail)
            .after(Duration::from_secs(5))
    }

    /// More is under way than this node does at once; nothing was looked at.
    #[must_use]
    pub fn overloaded() -> Self {
        let detail = "try again in a moment, or ask another node";
        let title = "The authority has too much to do now";
        Self::new(PROBLEM, "overloaded", StatusCode::SERVICE_UNAVAILABLE, title, detail)
            .after(Duration::from_secs(2))
    }

    /// A caller who has to wait.
    #[must_use]
    pub fn limited(limited: Limited) -> Self {
        let (code, title, detail) = match limited.limit {
            Limit::Address => (
                "limit-address",
                "Too many requests from this address",
                "wait as long as Retry-After says",
            ),
            Limit::Machine => (
                "limit-machine",
                "Too many requests of this machine",
                "wait as long as Retry-After says; is a program asking in a loop?",
            ),
            Limit::Gateway => (
                "limit-gateway",
                "Too many requests of this gateway",
                "wait as long as Retry-After says, or raise limits.gateway",
            ),
            Limit::MachineTokens => (
                "limit-machine-tokens",
                "This machine asked for too many tokens",
                "wait as long as Retry-After says; a token is good for more than one request",
            ),
            Limit::OperatorTokens => (
                "limit-operator-tokens",
                "This operator's machines asked for too many tokens",
                "wait as long as Retry-After says; a token is good for more than one request",
            ),
            Limit::Guesses => (
                "limit-guesses",
                "Too many wrong tickets",
                "wait as long as Retry-After says, and check the ticket before the next try",
            ),
            Limit::Verifiers => (
                "limit-verifiers",
                "This gateway has as many event streams as it may",
                "end others, or raise limits.verifiers in the authority's settings",
            ),
        };
        Self::new(PROBLEM, code, StatusCode::TOO_MANY_REQUESTS, title, detail)
            .after(limited.retry_after)
    }

    /// A body that did not come in time.
    #[must_use]
    pub fn too_slow() -> Self {
        let detail = "send the whole body at once, over a better connection";
        let title = "The request's body did not come in time";
        Self::new(PROBLEM, "request-too-slow", StatusCode::REQUEST_TIMEOUT, title, detail)
    }

    /// The same problem, with when to try again: in whole seconds (RFC 9110 §10.2.3), at least one, so
    /// that nobody asks again at once.
    fn after(mut self, time: Duration) -> Self {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.retry_after = NonZeroU32::new(seconds).or(Some(NonZeroU32::MIN));
        self
    }

    /// The same problem as an OAuth endpoint says it (RFC 6749 §5.2; RFC 8693 §2.2.2).
    #[must_use]
    pub fn oauth(mut self) -> Self {
        self.error = Some(match self.status {
            429 | 503 => "temporarily_unavailable",
            _ => "invalid_request",
        });
        // RFC 6749 §5.2: refusals of the token endpoint are 400.
        if matches!(self.status, 401 | 403) {
            self.status = 400;
        }
        self
    }

    /// The same problem with this OAuth error code.
    #[must_use]
    pub fn with_oauth_error(mut self, error: &'static str) -> Self {
        self.error = Some(error);
        self
    }

    /// The same problem with what was found, each with what to do.
    #[must_use]
    pub fn with_findings(mut self, findings: Vec<String>) -> Self {
        self.findings = findings;
        self
    }

    /// A gateway that the settings do not name.
    #[must_use]
    pub fn gateway_unknown() -> Self {
        let title = "This gateway may not ask";
        let detail = "name the gateway under [[gateways]] in the authority's settings";
        Self::new(PROBLEM, "gateway-unknown", StatusCode::FORBIDDEN, title, detail)
    }

    fn new(
        family: &'static str,
        code: &'static str,
        status: StatusCode,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            family,
            code,
            status: status.as_u16(),
            title,
            detail: detail.into(),
            findings: Vec::new(),
            error: None,
            retry_after: None,
        }
    }

    fn document(&self) -> Document<'_> {
        Document {
            kind: format!("urn:signet:{}:{}", self.family, self.code),
            title: self.title,
            status: self.status,
            detail: &self.detail,
            code: self.code,
            instance: trace::current().map(|id| format!("urn:signet:trace:{id}")),
            findings: &self.findings,
            error: self.error,
            error_description: self.error.map(|_| &*self.detail),
        }
    }
}

/// A store that fails grants nothing; the log says why.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "the store failed; the request was refused");
        Self::unavailable()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.get().into());
        }
        response
    }
}

fn status(code: CoarseCode) -> StatusCode {
    use CoarseCode::*;
    match code {
        Malformed | WrongProfile | StaleNonce | BadSignature | BadQuote | BadAssertion
        | BadAttestation | BadEnrolment => StatusCode::BAD_REQUEST,
        KeyMismatch | UnknownDevice | BootPolicy | ClockRegression | Rebooted | Denied => {
            StatusCode::FORBIDDEN
        }
        TokenRequired | TokenInvalid | StepUp => StatusCode::UNAUTHORIZED,
    }
}

fn title(code: CoarseCode) -> &'static str {
    use CoarseCode::*;
    match code {
        Malformed => "The evidence is malformed",
        WrongProfile => "The evidence is not for this",
        StaleNonce => "The challenge is not fresh",
        KeyMismatch => "The keys do not match",
        BadSignature => "The evidence's signature is wrong",
        UnknownDevice => "The machine is not enrolled",
        BadQuote => "The TPM quote is not good",
        BootPolicy => "The machine's state is not allowed",
        ClockRegression => "The TPM was cleared or replaced",
        Rebooted => "The machine was restarted",
        BadAssertion => "The security key's answer is not good",
        BadAttestation => "The security key cannot be enrolled",
        BadEnrolment => "The machine cannot be enrolled",
        Denied => "Not allowed",
        TokenRequired => "A token is required",
        TokenInvalid => "The token is not good here",
        StepUp => "Prove your presence",
    }
}

/// Advice that tells a stranger nothing about the exact reason.
fn coarse_advice(code: CoarseCode) -> &'static str {
    use CoarseCode::*;
    match code {
        Malformed | WrongProfile => "use a client of the same protocol version",
        StaleNonce => "ask for a new challenge and try again",
        KeyMismatch | UnknownDevice => "enrol this machine with a ticket from an administrator",
        BadSignature | BadQuote | BadAssertion => "try again",
        BootPolicy | ClockRegression | Rebooted => "ask an administrator",
        BadAttestation | BadEnrolment => {
            "ask an administrator; the authority's audit record says why"
        }
        Denied => "ask an administrator for a new ticket",
        TokenRequired | TokenInvalid => "log in",
        StepUp => "prove your presence for this request",
    }
}
