//! `/v1/authorize/…`: the question as HTTP, the answer as HTTP. Only on the gateways' listener.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use signet_evidence::thumbprint::hex;
use signet_verifier::permit::Permit;

use super::asker::{Asker, require_gateway};
use super::decide::{Answer, Arbiter, Refusal, Undecided};
use super::forwarded::{Told, values};
use super::request::RawQuestion;
use super::{grpc, renewal};
use crate::config::{PeerCertificateSource, RequestForm};
use crate::decision;
use crate::problem::Problem;
use crate::random;
use crate::state::Authority;
use crate::store::Event;

/// Set by the gateway's configuration to `whole` where it passes bodies on; a request without a body
/// then has none. Every `x-signet-` header of a client is removed before.
pub(super) const BODY: &str = "x-signet-body";
/// Set by Envoy itself, over whatever a client sent: `true` when it held back a part of the body.
pub(super) const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";
/// Set by the gateway's configuration to the client's address.
const SOURCE: &str = "x-signet-source";

/// The routes of this endpoint.
pub fn routes() -> Router<Arc<Authority>> {
    Router::new()
        .route("/v1/authorize", any(authorize))
        .route("/v1/authorize/", any(authorize))
        .route("/v1/authorize/{*original}", any(authorize))
        .route(grpc::CHECK, post(grpc::check))
        .route("/v1/gateway/certificate", post(renewal::renew))
}

async fn authorize(
    State(authority): State<Arc<Authority>>,
    asker: Asker,
    request: Request,
) -> Response {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    // It is there already, and no longer than the door lets in.
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return Problem::malformed_request("send the whole body").into_response();
    };
    let gateway = match require_gateway(&authority, asker, Event::Authorize).await {
        Ok(gateway) => gateway,
        Err(problem) => return problem.into_response(),
    };
    let (name, source) = (gateway.spiffe_id.get_ref().as_str(), gateway.peer_certificate);
    let raw = question(name, gateway.request, source, &method, &uri, &headers, &body);
    answer(&authority, &raw).await
}

/// The question of `gateway` as it came over HTTP.
pub(super) fn question<'a>(
    gateway: &'a str,
    form: RequestForm,
    source: PeerCertificateSource,
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    body: &'a Bytes,
) -> RawQuestion<'a> {
    let told = Told::read(form, method, uri, headers);
    RawQuestion {
        method: told.method,
        target: told.target,
        hosts: told.hosts,
        authorizations: values(headers, header::AUTHORIZATION.as_str()),
        peers: source.header().map(|name| values(headers, name)).unwrap_or_default(),
        source,
        body: body_as_sent(headers, body),
        gateway,
        client: client(headers),
    }
}

/// The decision on one question, as it is told over HTTP.
pub(super) async fn answer(authority: &Authority, raw: &RawQuestion<'_>) -> Response {
    let sets = authority.in_force.sets();
    let arbiter = Arbiter {
        checker: &authority.checker(),
        seen: &authority.seen,
        sets: &sets,
        metrics: &authority.metrics,
        ledger: authority,
        now: authority.now(),
    };
    let id = hex(&random::bytes::<8>());
    match arbiter.authorize(raw, &id).await {
        Ok(Answer::Permit(permit)) => permitted(&permit, &id),
        Ok(Answer::Refuse(refusal)) => refused(&refusal),
        Err(Undecided::Store(error)) => decision::failed(authority, error).into_response(),
        Err(Undecided::Limited(limited)) => authority.limited(limited).into_response(),
        Err(Undecided::Overtaken) => Problem::overloaded().into_response(),
        Err(error @ Undecided::Permit(_)) => {
            tracing::error!(%error, decision = id, "no answer could be given");
            Problem::unavailable().into_response()
        }
    }
}

/// The client's address, if the gateway says exactly one.
fn client(headers: &HeaderMap) -> Option<IpAddr> {
    let values = values(headers, SOURCE);
    let [value] = values.as_slice() else { return None };
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The body, if the gateway vouches that it passes bodies on, and this one whole.
fn body_as_sent<'a>(headers: &HeaderMap, body: &'a Bytes) -> Option<&'a [u8]> {
    let passed = values(headers, BODY) == [b"whole"];
    let partial = values(headers, PARTIAL_BODY).iter().any(|value| value != b"false");
    (passed && !partial).then_some(body)
}

fn permitted(permit: &Permit, id: &str) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    let told = [
        ("x-signet-subject", permit.subject()),
        ("x-signet-device", permit.device()),
        ("x-signet-acr", permit.level().as_str()),
        ("x-signet-session", permit.session()),
        ("x-signet-action", permit.action()),
        ("x-signet-decision", id),
    ];
    for (name, text) in told {
        headers.insert(name, header_value(text));
    }
    response
}

fn refused(refusal: &Refusal) -> Response {
    let mut response = Problem::rejected(refusal.code, refusal.audience).into_response();
    if let Some(challenge) = &refusal.challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header_value(challenge));
    }
    response
}

/// A header's value; bytes that are not visible ASCII, and `%`, as `%XX`, so that no name can break
/// out of its header or mean two things upstream.
fn header_value(text: &str) -> HeaderValue {
    let escaped = text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => {
                let _ = write!(out, "%{byte:02X}");
            }
            visible => out.push(char::from(visible)),
        }
        out
    });
    // Visible ASCII and spaces only, which every header may hold.
    HeaderValue::from_str(&escaped).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_cannot_be_broken_out_of() {
        assert_eq!(header_value("alice").as_bytes(), b"alice");
        assert_eq!(header_value("a\r\nx-evil: 1").as_bytes(), b"a%0D%0Ax-evil: 1");
        assert_eq!(header_value("ünal 100%").as_bytes(), b"%C3%BCnal 100%25");
    }

    #[test]
    fn a_body_counts_only_when_the_gateway_vouches_for_it() {
        let body = Bytes::from_static(b"x");
        let seen = |sent: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(*name, HeaderValue::from_static(value));
            }
            body_as_sent(&headers, &body).is_some()
        };
        assert!(seen(&[(BODY, "whole")]));
        assert!(seen(&[(BODY, "whole"), (PARTIAL_BODY, "false")]));
        assert!(!seen(&[]));
        assert!(!seen(&[(PARTIAL_BODY, "false")]));
        assert!(!seen(&[(BODY, "part")]));
        assert!(!seen(&[(BODY, "whole"), (BODY, "whole")]));
        assert!(!seen(&[(BODY, "whole"), (PARTIAL_BODY, "true")]));
        assert!(!seen(&[(BODY, "whole"), (PARTIAL_BODY, "false"), (PARTIAL_BODY, "true")]));
    }
}
