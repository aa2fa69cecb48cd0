//! Entry points for fuzzing: what a gateway passes on of a stranger's request. In builds with debug assertions
//! only: no program that is released has them.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::attributes::Attributes;
use super::request::{Question, RawQuestion};
use super::{certificate, grpc, http};
use crate::config::{PeerCertificateSource, RequestForm};

const GATEWAY: &str = "spiffe://mesh.example/gateway";
const SOURCES: [PeerCertificateSource; 5] = [
    PeerCertificateSource::Sha256Header,
    PeerCertificateSource::XfccJson,
    PeerCertificateSource::EscapedPem,
    PeerCertificateSource::DerBase64,
    PeerCertificateSource::Attributes,
];

fn source(byte: u8) -> PeerCertificateSource {
    SOURCES[usize::from(byte) % SOURCES.len()]
}

/// The first byte is the source, the rest one report of a certificate: it names one certificate in this form, and
/// none once anything stands beside it.
pub fn peer_certificate(input: &[u8]) {
    let Some((first, report)) = input.split_first() else { return };
    let source = source(*first);
    let Ok(thumbprint) = certificate::thumbprint(source, &[report]) else { return };
    assert_eq!(certificate::thumbprint(source, &[report]).ok(), Some(thumbprint));
    assert!(certificate::thumbprint(source, &[report, report]).is_err(), "two reports");
    for joint in [&b""[..], b",", b" "] {
        let twice = [report, joint, report].concat();
        assert!(certificate::thumbprint(source, &[&twice]).is_err(), "two in one report");
    }
}

/// The first byte is the source and the form; a line `METHOD TARGET`, lines `name: value`, an empty line, a
/// body: a question over HTTP.
pub fn gateway_question(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let end = rest.windows(2).position(|two| two == b"\n\n");
    let (head, body) = rest.split_at(end.unwrap_or(rest.len()));
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    let Some(space) = line.iter().position(|byte| *byte == b' ') else { return };
    let (Ok(method), Ok(uri)) =
        (Method::from_bytes(&line[..space]), Uri::try_from(&line[space + 1..]))
    else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.windows(2).position(|two| two == b": ") else { return };
        let name = HeaderName::from_bytes(&line[..colon]);
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 2..])) else {
            return;
        };
        headers.append(name, value);
    }
    let form = if first & 0x80 == 0 { RequestForm::Path } else { RequestForm::Forwarded };
    let body = Bytes::copy_from_slice(body.strip_prefix(b"\n\n").unwrap_or_default());
    let source = source(first & 0x7F);
    one_meaning(&http::question(GATEWAY, form, source, &method, &uri, &headers, &body));
}

/// The first byte is the source, the rest Envoy's `CheckRequest`: a question over gRPC.
pub fn gateway_attributes(input: &[u8]) {
    let Some((first, message)) = input.split_first() else { return };
    let Ok(attributes) = Attributes::read(message) else { return };
    let source = source(*first);
    one_meaning(&RawQuestion {
        method: attributes.method,
        target: attributes.path,
        hosts: vec![attributes.host.as_bytes()],
        authorizations: attributes.values(header::AUTHORIZATION.as_str()),
        peers: grpc::peers(source, &attributes),
        source,
        body: attributes.body,
        gateway: GATEWAY,
        client: None,
    });
}

/// Each thing that decides is in a question that is read once, and as it came.
fn one_meaning(raw: &RawQuestion<'_>) {
    let Ok(question) = Question::parse(raw) else { return };
    let line = question.line();
    assert_eq!((line.method, line.target), (raw.method, raw.target));
    let path = line.target.split('?').next().unwrap_or_default();
    assert!(path.starts_with('/') && !path.contains("//"));
    assert!(raw.hosts.len() == 1 && raw.hosts[0].eq_ignore_ascii_case(line.host.as_bytes()));
    assert!(raw.peers.len() == 1 && raw.authorizations.len() == 1);
    assert_eq!(line.content_digest.is_some(), raw.body.is_some());
}
