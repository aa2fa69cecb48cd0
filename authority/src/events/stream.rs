//! `GET /v1/events` and `POST /v1/events/ack`. Only on the gateways' listener.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::stream::unfold;
use serde::Deserialize;
use signet_evidence::SessionId;
use signet_evidence::thumbprint::hex;
use signet_verifier::events::{Acknowledged, Acknowledgement, Hello, name};

use super::hub::{Seat, VerifierId, encode, event_of, place};
use super::{CHUNK, HEARTBEAT, LONGEST_RESUME};
use crate::decision;
use crate::documents;
use crate::extract::StrictJson;
use crate::gateway::{Asker, require_gateway};
use crate::limits::{Limit, Limited};
use crate::problem::Problem;
use crate::random;
use crate::state::Authority;
use crate::store::{Event, StoreError};
use crate::tls::{Busy, Closer};

/// The routes of this endpoint.
pub fn routes() -> Router<Arc<Authority>> {
    Router::new().route("/v1/events", get(events)).route("/v1/events/ack", post(acknowledge))
}

/// Where a stream should begin, and for whom.
#[derive(Deserialize)]
struct Wanted {
    /// The `id` of the last event that was applied; `Last-Event-ID` says the same.
    after: Option<String>,
    /// 32 hex digits.
    instance: Option<String>,
}

async fn events(
    State(authority): State<Arc<Authority>>,
    asker: Asker,
    closer: Option<Extension<Closer>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let gateway = require_gateway(&authority, asker, Event::Introspect).await?;
    let Query(wanted) = wanted.map_err(|_| malformed())?;
    let instance = match &wanted.instance {
        Some(text) => SessionId::from_hex(text).ok_or_else(malformed)?.0,
        None => random::bytes(),
    };
    let id = VerifierId { gateway: gateway.spiffe_id.get_ref().as_str().to_owned(), instance };
    let most = authority.config.settings.limits.verifiers;
    let closer = closer.map(|Extension(closer)| closer);
    // The stream outlives this request.
    let busy = closer.as_ref().map(Closer::busy);
    let seat = authority.events.join(id, most, closer);
    let limited = Limited { limit: Limit::Verifiers, retry_after: HEARTBEAT };
    let mut seat = seat.map_err(|_| authority.limited(limited))?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = last.or(wanted.after.as_deref());
    let first = beginning(&authority, after, seat.position, &instance).await;
    let mut pending = first.map_err(|error| decision::failed(&authority, error))?;
    pending.extend(std::mem::take(&mut seat.latest));
    let body = Body::from_stream(unfold((pending, seat, busy), next));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn malformed() -> Problem {
    Problem::malformed_request(
        "send at most instance (32 hex digits) and after (the id of the last event)",
    )
}

/// `hello`, and what was revoked since `after` where that is known and little.
async fn beginning(
    authority: &Authority,
    after: Option<&str>,
    head: i64,
    instance: &[u8; 16],
) -> Result<VecDeque<Bytes>, StoreError> {
    let run = authority.events.run();
    let known = after.and_then(|id| id.strip_prefix(run)?.strip_prefix('-')?.parse::<i64>().ok());
    let known = known.filter(|after| (head - LONGEST_RESUME..=head).contains(after));
    let missed = match known {
        Some(after) if after < head => authority.store.revocations_after(after).await?,
        _ => Vec::new(),
    };
    // Read later than `head`: lists hold at least what was revoked up to it.
    let (below, lists) = authority.revocations.lists();
    let hello = Hello {
        instance: hex(instance),
        run: run.to_owned(),
        position: missed.last().map_or(head, |last| last.sequence),
        reset: known.is_none(),
        below: place(below),
        lists: if known.is_none() { lists } else { Vec::new() },
        heartbeat_ms: u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX),
        time: authority.now().0,
    };
    let begins = known.unwrap_or(head);
    let mut pending = VecDeque::from([encode(run, name::HELLO, begins, &hello)]);
    let mut after = begins;
    for chunk in missed.chunks(CHUNK) {
        let event = event_of(after, chunk);
        after = event.position;
        pending.push_back(encode(run, name::REVOCATION, after, &event));
    }
    Ok(pending)
}

/// What is to be sent first, where the rest comes from, and the connection's use.
type Following = (VecDeque<Bytes>, Seat, Option<Busy>);

/// The next event; the end when the reader fell behind or the authority stops.
async fn next(
    (mut pending, mut seat, busy): Following,
) -> Option<(Result<Bytes, Infallible>, Following)> {
    let event = match pending.pop_front() {
        Some(event) => event,
        None => {
            let (events, stop) = (&mut seat.events, &mut seat.stop);
            tokio::select! {
                event = events.recv() => event.ok()?,
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        }
    };
    Some((Ok(event), (pending, seat, busy)))
}

/// # Errors
/// 404 when the verifier has no stream to this node: it should begin one.
async fn acknowledge(
    State(authority): State<Arc<Authority>>,
    asker: Asker,
    StrictJson(acknowledgement): StrictJson<Acknowledgement>,
) -> Result<Json<Acknowledged>, Problem> {
    let gateway = require_gateway(&authority, asker, Event::Introspect).await?;
    let instance = SessionId::from_hex(&acknowledgement.instance).ok_or_else(malformed)?.0;
    let id = VerifierId { gateway: gateway.spiffe_id.get_ref().as_str().to_owned(), instance };
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let latencies = authority.events.acknowledge(&id, acknowledgement.position, at);
    for latency in latencies.ok_or_else(Problem::not_found)? {
        authority.metrics.revocation_applied(latency);
    }
    // Looked up after the acknowledgement came: what is newer is on its way.
    let view = &authority.revocations;
    let age = view.age().unwrap_or(Duration::MAX);
    Ok(Json(Acknowledged {
        position: view.position(),
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        time: authority.now().0,
        keys: documents::keys_tag(&authority),
    }))
}
