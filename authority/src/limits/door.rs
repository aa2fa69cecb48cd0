//! What stands before every endpoint of a listener: the caller's limit, a bound on body and time to
//! send it, and a place among the requests under way. Each refuses before anything costly was done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
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

/// Lets a request in, or says why not.
pub async fn admit(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let (mut parts, body) = request.into_parts();
    let caller = Caller::of(&parts.extensions, door.listener);
    if let Err(limited) = door.authority.callers.count(&caller, Instant::now()) {
        return refusal(door.authority.limited(limited), route).await;
    }
    let body = match door.body(&caller, body).await {
        Ok(body) => body,
        Err(problem) => return refusal(problem, route).await,
    };
    parts.extensions.insert(caller);
    let request = Request::from_parts(parts, Body::from(body));
    if PROBES.contains(&route) {
        return next.run(request).await;
    }
    // Only now: whoever sends slowly keeps nobody else waiting.
    match door.gate.enter().await {
        Ok(_slot) => next.run(request).await,
        Err(shed) => refusal(door.shed(shed), route).await,
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
