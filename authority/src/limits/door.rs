//! What stands before every endpoint of a listener: the caller's limit, a bound on body and time to
//! send it, and a place among the requests under way. Each refuses before anything costly was done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited as LimitedBody};
use hyper::body::Body as _;
use signet_evidence::presence::MAX_EVIDENCE;

use super::Caller;
use super::gate::{Gate, Shed};
use crate::gateway;
use crate::problem::Problem;
use crate::state::Authority;

/// Largest request without evidence.
const MAX_BODY: usize = 96 * 1024;
/// Largest request with evidence: base64url of the largest, with room for the other members. Only for
/// those who connect with a certificate of ours.
const MAX_EVIDENCE_BODY: usize = MAX_EVIDENCE / 3 * 4 + 8 * 1024;

/// How long a request waits for its turn: longer than this, who asked is better told to come back.
const TURN: Duration = Duration::from_secs(1);

/// Questions of whoever watches this node: answered above all when there is too much to do.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Endpoints whose errors have the members of RFC 6749 §5.2.
const OAUTH: [&str; 3] = ["/v1/token", "/v1/revoke", "/v1/introspect"];

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// `listen`.
    Clients,
    /// `gateway_listen`, and the gateways' sockets.
    Gateways,
}

impl Listener {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Gateways => "gateways",
        }
    }
}

/// The door of one listener. What happens at one does not hold up the other.
pub struct Door {
    authority: Arc<Authority>,
    listener: Listener,
    gate: Gate,
}

impl Door {
    /// The door of this listener.
    #[must_use]
    pub fn new(authority: Arc<Authority>, listener: Listener) -> Arc<Self> {
        let limits = &authority.config.settings.limits;
        let load = authority.metrics.pressure.load(listener);
        let gate = Gate::new(limits.requests.get(), limits.waiting, TURN, load);
        Arc::new(Self { authority, listener, gate })
    }

    /// Lets a request for `route` in, or says why not.
    pub(crate) async fn admit(&self, route: &str, request: Request, next: Next) -> Response {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::of(&parts.extensions, self.listener);
        if let Err(limited) = self.authority.callers.count(&caller, Instant::now()) {
            return refusal(self.authority.limited(limited), route).await;
        }
        let body = match self.body(&caller, body).await {
            Ok(body) => body,
            Err(problem) => return refusal(problem, route).await,
        };
        parts.extensions.insert(caller);
        let request = Request::from_parts(parts, Body::from(body));
        if PROBES.contains(&route) {
            return next.run(request).await;
        }
        // Only now: whoever sends slowly keeps nobody else waiting.
        match self.gate.enter().await {
            Ok(_slot) => next.run(request).await,
            Err(shed) => refusal(self.shed(shed), route).await,
        }
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    async fn body(&self, caller: &Caller, body: Body) -> Result<Bytes, Problem> {
        let most = match caller {
            Caller::Address(_) => MAX_BODY,
            Caller::Machine(_) | Caller::Gateway(_) => MAX_EVIDENCE_BODY,
        };
        if body.size_hint().lower() > most as u64 {
            return Err(Problem::too_large());
        }
        let time = self.authority.config.settings.limits.body_timeout.duration();
        match tokio::time::timeout(time, LimitedBody::new(body, most).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large()),
            Ok(Err(_)) => Err(Problem::malformed_request("send the whole body")),
            Err(_) => {
                self.authority.metrics.pressure.slow(self.listener, "body");
                Err(Problem::too_slow())
            }
        }
    }

    fn shed(&self, shed: Shed) -> Problem {
        self.authority.metrics.pressure.shed(self.listener, shed.as_str());
        Problem::overloaded()
    }
}

/// The problem in the words of the endpoint that was asked.
async fn refusal(problem: Problem, route: &str) -> Response {
    match route {
        gateway::CHECK => gateway::over_grpc(problem.into_response()).await,
        route if OAUTH.contains(&route) => problem.oauth().into_response(),
        _ => problem.into_response(),
    }
}
