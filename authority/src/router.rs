//! The two routers: what clients may ask, and what gateways may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use crate::enrol::{authenticator, device, renewal};
use signet_evidence::thumbprint::hex;
use tracing::Instrument;
use tracing::field::Empty;

use crate::limits::{Door, Listener};
use crate::problem::Problem;
use crate::state::Authority;
use crate::trace::{self, TraceContext};
use crate::{approvals, challenge, documents, events, gateway, introspection, log, revoke, token};

/// Endpoints of `listen`.
pub fn clients(authority: Arc<Authority>) -> Router {
    let router = Router::new()
        .merge(public_documents())
        .route("/v1/challenge", post(challenge::issue))
        .route("/v1/token", post(token::exchange))
        .route("/v1/revoke", post(revoke::revoke))
        .route("/v1/enrol/device/begin", post(device::begin))
        .route("/v1/enrol/device/finish", post(device::finish))
        .route("/v1/enrol/device/renew", post(renewal::renew))
        .route("/v1/enrol/authenticator", post(authenticator::enrol))
        .route("/v1/tickets", get(approvals::list).post(approvals::ask))
        .route("/v1/tickets/{id}/approvals", post(approvals::approve))
        .route("/v1/authenticators", get(authenticator::list))
        .route("/v1/authenticators/{credential_id}", delete(authenticator::remove));
    finish(router, authority, Listener::Clients)
}

/// Endpoints of `gateway_listen`.
pub fn gateways(authority: Arc<Authority>) -> Router {
    let router = Router::new()
        .merge(public_documents())
        .merge(gateway::routes())
        .merge(events::routes())
        .merge(log::http::routes())
        .route("/v1/introspect", post(introspection::introspect))
        .route("/metrics", get(documents::metrics));
    finish(router, authority, Listener::Gateways)
}

fn public_documents() -> Router<Arc<Authority>> {
    Router::new()
        .route("/jwks.json", get(documents::jwks))
        .route("/.well-known/oauth-authorization-server", get(documents::metadata))
        .route("/ca/{file}", get(documents::ca_bundle))
        .route("/status/{number}", get(documents::status_list))
        .route("/healthz", get(documents::healthz))
        .route("/readyz", get(documents::readyz))
}

fn finish(router: Router<Arc<Authority>>, authority: Arc<Authority>, listener: Listener) -> Router {
    let door = Door::new(authority.clone(), listener);
    router
        .fallback(async || Problem::not_found())
        .layer(middleware::from_fn_with_state(door, measure))
        .with_state(authority)
}

/// Names each request, bounds its time and records it; the door lets it in.
async fn measure(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let context = TraceContext::of(request.headers());
    let span = tracing::info_span!(
        "request",
        trace = %context.id,
        parent = context.parent.map(|parent| hex(&parent)),
        "http.request.method" = request.method().as_str(),
        "http.route" = route,
        "http.response.status_code" = Empty,
    );
    let answered = async {
        let response = answer(&door, route, request, next).await;
        span.record("http.response.status_code", u64::from(response.status().as_u16()));
        response
    };
    trace::within(context, answered.instrument(span.clone())).await
}

async fn answer(door: &Door, route: &str, request: Request, next: Next) -> Response {
    let (started, authority) = (Instant::now(), door.authority());
    let limit: Duration = authority.config.settings.limits.request_timeout.duration();
    let response = match tokio::time::timeout(limit, door.admit(route, request, next)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("request took too long");
            Problem::unavailable().into_response()
        }
    };
    let (status, took) = (response.status().as_u16(), started.elapsed());
    tracing::debug!(status, took_ms = took.as_millis() as u64, "answered");
    authority.metrics.answered(route, status, took);
    response
}
