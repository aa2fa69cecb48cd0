//! The tower side: a layer that lets a request pass when its token is good for the connection that it came
//! over, and answers all others.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, Ready, ready};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::json;
use signet_evidence::RejectionCode;
use signet_evidence::rejection::CoarseCode;
use signet_verifier::AssuranceLevel;
use signet_verifier::bearer::{self, Challenge};
use signet_verifier::token::TokenClaims;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Access, Admitted, Peer, Refused, Watch};

/// Lets requests pass whose token [`Watch::check`] admits, with an [`Arc`] of [`Admitted`] in their
/// extensions and without their `authorization` header.
///
/// The certificate is that of [`Peer`], which [`Peer::mark`] puts into the extensions; a request without
/// one is refused. The token is that of exactly one `authorization` header. `GET`, `HEAD`, `OPTIONS` and
/// `TRACE` are reads, everything else is a write, unless [`WatchLayer::access`] says otherwise.
///
/// Others are answered: 401 with a challenge (RFC 6750, RFC 9470) where another token would help, 403
/// where none or only one of another scope would, 503 where nothing is known well enough to decide.
#[derive(Clone, Debug)]
pub struct WatchLayer {
    watch: Watch,
    demands: Demands,
}

/// What is asked of a token besides that it is good.
#[derive(Clone, Debug, Default)]
struct Demands {
    access: Option<Access>,
    presence: Option<Presence>,
    scope: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Presence {
    at_least: AssuranceLevel,
    max_age: Duration,
}

impl WatchLayer {
    pub(crate) fn new(watch: Watch) -> Self {
        Self { watch, demands: Demands::default() }
    }

    /// Every request is of this kind, whatever its method.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.demands.access = Some(access);
        self
    }

    /// A person must have proved their presence at this level or above, at most so long ago.
    #[must_use]
    pub fn presence(mut self, at_least: AssuranceLevel, max_age: Duration) -> Self {
        self.demands.presence = Some(Presence { at_least, max_age });
        self
    }

    /// The token's scope must include this (RFC 6749 §3.3).
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        self.demands.scope = Some(scope.into());
        self
    }
}

impl<S> Layer<S> for WatchLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind a [`WatchLayer`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    guard: WatchLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.guard.admit(&request) {
            Ok(admitted) => {
                request.headers_mut().remove(AUTHORIZATION);
                request.extensions_mut().insert(Arc::new(admitted));
                Either::Left(self.inner.call(request))
            }
            Err(refusal) => Either::Right(ready(Ok(refusal.response()))),
        }
    }
}

impl WatchLayer {
    fn admit<B>(&self, request: &Request<B>) -> Result<Admitted, Refusal> {
        let peer = request.extensions().get::<Peer>().and_then(|peer| peer.thumbprint());
        let peer = peer.ok_or(Refusal::new(RejectionCode::CertificateMissing))?;
        let values: Vec<_> =
            request.headers().get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect();
        let token = bearer::token(&values).map_err(|rejection| Refusal::new(rejection.code()))?;
        let access = self.demands.access.unwrap_or_else(|| access_of(request.method()));
        let admitted = self.watch.check(token, peer, access).map_err(Refusal::of)?;
        self.demand(admitted.token.claims())?;
        Ok(admitted)
    }

    /// What is asked of a good token besides.
    fn demand(&self, claims: &TokenClaims) -> Result<(), Refusal> {
        let scope = self.demands.scope.as_deref();
        if let Some(Presence { at_least, max_age }) = self.demands.presence {
            let level = claims.assurance().is_some_and(|level| level >= at_least);
            let age = claims.presence_age(self.watch.now()).is_some_and(|age| age <= max_age);
            if !(level && age && claims.signet.human) {
                let levels: Vec<_> =
                    AssuranceLevel::ALL.into_iter().filter(|level| *level >= at_least).collect();
                let levels = &levels;
                let asked = Challenge::Presence { levels, max_age, no_pin: false, scope };
                return Err(Refusal::with(RejectionCode::PresenceRequired, &asked));
            }
        }
        let granted = claims.scope.as_deref().unwrap_or_default();
        match scope {
            Some(scope) if !granted.split(' ').any(|one| one == scope) => {
                Err(Refusal::with(RejectionCode::PolicyDenied, &Challenge::Scope(scope)))
            }
            _ => Ok(()),
        }
    }
}

fn access_of(method: &Method) -> Access {
    // `is_safe` is RFC 9110 §9.2.1: GET, HEAD, OPTIONS, TRACE.
    if method.is_safe() { Access::Read } else { Access::Write }
}

/// An answer that is no.
struct Refusal {
    /// `None` where nothing was decided.
    code: Option<RejectionCode>,
    challenge: Option<String>,
}

impl Refusal {
    fn new(code: RejectionCode) -> Self {
        let challenge = Challenge::for_code(code).map(|challenge| challenge.header());
        Self { code: Some(code), challenge }
    }

    fn with(code: RejectionCode, challenge: &Challenge<'_>) -> Self {
        Self { code: Some(code), challenge: Some(challenge.header()) }
    }

    fn of(refused: Refused) -> Self {
        let undecided = Self { code: None, challenge: None };
        tracing::debug!(error = &refused as &dyn std::error::Error, "a request was refused");
        refused.code().map_or(undecided, Self::new)
    }

    fn status(&self) -> StatusCode {
        match self.code.map(RejectionCode::coarse) {
            None => StatusCode::SERVICE_UNAVAILABLE,
            Some(CoarseCode::TokenRequired | CoarseCode::TokenInvalid | CoarseCode::StepUp) => {
                StatusCode::UNAUTHORIZED
            }
            Some(_) => StatusCode::FORBIDDEN,
        }
    }

    /// As the authority answers: who has no good token hears no more than the coarse code.
    fn response<R: From<String>>(&self) -> Response<R> {
        let status = self.status();
        let (family, word, detail) = match self.code {
            None => ("problem", "unavailable", "try again in a moment"),
            Some(code) => match code.coarse() {
                coarse @ (CoarseCode::TokenRequired | CoarseCode::TokenInvalid) => {
                    ("rejection", coarse.as_str(), "log in")
                }
                _ => ("rejection", code.as_str(), code.advice()),
            },
        };
        let kind = format!("urn:signet:{family}:{word}");
        let body = json!({"type": kind, "status": status.as_u16(), "detail": detail, "code": word});
        let mut response = Response::new(R::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // What is no header's value was never a scope's (RFC 6749 §3.3).
        let challenge = self.challenge.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(challenge)) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
