//! `envoy.service.auth.v3.Authorization/Check`: the same decision for Envoy's gRPC ext_authz. gRPC is
//! one length-prefixed message each way over HTTP/2 with a trailer, so no gRPC framework is needed
//! (decision 0031).

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Full};
use thiserror::Error;

use super::asker::{Asker, require_gateway};
use super::attributes::{self, Attributes};
use super::forwarded;
use super::http::{BODY, PARTIAL_BODY, answer};
use super::protobuf::Message;
use super::request::RawQuestion;
use crate::config::PeerCertificateSource;
use crate::state::Authority;
use crate::store::Event;

/// Where the method is served.
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// What names our headers for the upstream.
const OURS: &str = "x-signet-";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A call that is not gRPC as this method takes it.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Another content type.
    #[error("the call is not gRPC")]
    NotGrpc,
    /// Not one whole uncompressed message.
    #[error("the call is not one uncompressed message")]
    Frame,
    /// Not a `CheckRequest` about an HTTP request.
    #[error("the message is no CheckRequest about an HTTP request")]
    Message,
}

impl Unread {
    /// gRPC's number for it: invalid argument, or unimplemented.
    fn status(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::NotGrpc | Self::Message => "3",
            Self::Frame => "12",
        })
    }
}

pub(super) async fn check(
    State(authority): State<Arc<Authority>>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let gateway = match require_gateway(&authority, asker, Event::Authorize).await {
        Ok(gateway) => gateway,
        Err(problem) => return over_grpc(problem.into_response()).await,
    };
    let attributes = unframe(&headers, &body)
        .and_then(|message| Attributes::read(message).map_err(|_| Unread::Message));
    let attributes = match attributes {
        Ok(attributes) => attributes,
        Err(error) => {
            // Envoy lets nothing pass on a call that failed.
            tracing::warn!(gateway = %gateway.spiffe_id.get_ref(), "{error}");
            let kind = [(header::CONTENT_TYPE, "application/grpc")];
            return (kind, [(STATUS, error.status())]).into_response();
        }
    };
    let source = gateway.peer_certificate;
    let raw = RawQuestion {
        method: attributes.method,
        target: attributes.path,
        hosts: vec![attributes.host.as_bytes()],
        authorizations: attributes.values(header::AUTHORIZATION.as_str()),
        peers: peers(source, &attributes),
        source,
        body: body_as_sent(&headers, &attributes),
        gateway: gateway.spiffe_id.get_ref().as_str(),
        client: attributes.address.parse().ok(),
    };
    framed(&told(answer(&authority, &raw).await, source.header()).await)
}

/// An answer that this method's handler did not give, so that Envoy's client hears it too.
pub(crate) async fn over_grpc(response: Response) -> Response {
    framed(&told(response, None).await)
}

/// The values of the one source that is configured.
pub(super) fn peers<'a>(
    source: PeerCertificateSource,
    attributes: &Attributes<'a>,
) -> Vec<&'a [u8]> {
    match source.header() {
        Some(name) => attributes.values(name),
        None if attributes.certificate.is_empty() => Vec::new(),
        None => vec![attributes.certificate.as_bytes()],
    }
}

/// The body, if the gateway vouches in the call's metadata that it passes bodies on, and this one
/// whole and as bytes.
fn body_as_sent<'a>(metadata: &HeaderMap, attributes: &Attributes<'a>) -> Option<&'a [u8]> {
    let passed = forwarded::values(metadata, BODY) == [b"whole"];
    let partial = attributes.values(PARTIAL_BODY).iter().any(|value| *value != b"false");
    attributes.body.filter(|_| passed && !partial)
}

/// The one message of a unary call (gRPC over HTTP/2, "Length-Prefixed-Message").
fn unframe<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a [u8], Unread> {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if ![&b"application/grpc"[..], b"application/grpc+proto"].contains(&kind) {
        return Err(Unread::NotGrpc);
    }
    let (head, message) = body.split_first_chunk::<5>().ok_or(Unread::Frame)?;
    let [compressed, length @ ..] = *head;
    if compressed != 0 || usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(Unread::Frame);
    }
    Ok(message)
}

/// The answer over HTTP, as Envoy is told it over gRPC.
async fn told(response: Response, source: Option<&str>) -> Message {
    let (parts, body) = response.into_parts();
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let mut headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    if parts.status != StatusCode::OK {
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        return attributes::denied(parts.status.as_u16(), &headers, &body);
    }
    headers.retain(|(name, _)| name.starts_with(OURS));
    let metadata: Vec<_> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(OURS)?, value.as_str())))
        .collect();
    let remove = [Some(header::AUTHORIZATION.as_str()), source, Some(BODY)];
    let remove: Vec<_> = remove.into_iter().flatten().collect();
    attributes::permitted(&headers, &remove, &metadata)
}

/// One message, and the status of a call that was answered.
fn framed(message: &Message) -> Response {
    let message = message.as_ref();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let framed = [&[0], &length.to_be_bytes()[..], message].concat();
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(framed)).with_trailers(async move { Some(Ok(trailers)) });
    ([(header::CONTENT_TYPE, "application/grpc")], Body::new(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn call(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
        [&[flag], &length.to_be_bytes()[..], message].concat()
    }

    #[test]
    fn one_whole_message_is_read_and_nothing_else() {
        let grpc = headers(header::CONTENT_TYPE, "application/grpc");
        let good = call(0, 3, b"xyz");
        assert_eq!(unframe(&grpc, &good), Ok(&b"xyz"[..]));
        for wrong in [
            &b""[..],
            &good[..4],
            &good[..7],
            &call(1, 3, b"xyz"),
            &[good.clone(), good.clone()].concat(),
        ] {
            assert_eq!(unframe(&grpc, wrong), Err(Unread::Frame), "{wrong:02x?}");
        }
        for kind in ["application/json", "application/grpc-web", "application/grpc+json"] {
            assert_eq!(unframe(&headers(header::CONTENT_TYPE, kind), &good), Err(Unread::NotGrpc));
        }
        assert_eq!(unframe(&HeaderMap::new(), &good), Err(Unread::NotGrpc));
    }

    #[test]
    fn a_body_counts_only_as_bytes_and_when_the_gateway_vouches_for_it() {
        let vouched = headers(HeaderName::from_static(BODY), "whole");
        let seen = |metadata: &HeaderMap, http: Message| {
            let message = attributes::question(http, "");
            let attributes = Attributes::read(message.as_ref()).unwrap();
            body_as_sent(metadata, &attributes).map(<[u8]>::to_vec)
        };
        let http = || Message::default().with(12, "x");
        let partial = |value: &str| Message::default().with(1, PARTIAL_BODY).with(2, value);
        assert_eq!(seen(&vouched, http()), Some(b"x".to_vec()));
        assert_eq!(seen(&vouched, http().with(3, partial("false"))), Some(b"x".to_vec()));
        assert_eq!(seen(&vouched, Message::default()), Some(Vec::new()));
        assert_eq!(seen(&HeaderMap::new(), http()), None);
        assert_eq!(seen(&vouched, http().with(3, partial("true"))), None);
        assert_eq!(seen(&vouched, http().with(3, partial("false,true"))), None);
        assert_eq!(seen(&vouched, Message::default().with(11, "x")), None);
    }
}
