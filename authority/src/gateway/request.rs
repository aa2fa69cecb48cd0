//! A gateway's question, read strictly: each thing that decides has exactly one value.

use std::net::IpAddr;

use axum::http::Method;
use signet_evidence::action::{content_digest, is_unambiguous_path};
use signet_evidence::{CertificateThumbprint, RejectionCode};
use signet_verifier::Rejection;
use signet_verifier::bearer;
use signet_verifier::permit::RequestLine;
use thiserror::Error;

use super::certificate;
use crate::config::PeerCertificateSource;

/// Longest host that is looked at, in bytes (RFC 1035 §2.3.4, and a port).
const MAX_HOST: usize = 260;

/// A question as it arrived: what the gateway received, and what the gateway itself says of the
/// connection. Nothing is believed yet.
#[derive(Debug)]
pub struct RawQuestion<'a> {
    /// Method of the original request; empty when the gateway does not name exactly one.
    pub method: &'a str,
    /// Path and query of the original request, raw; empty when the gateway does not name exactly one.
    pub target: &'a str,
    /// Every `host` value.
    pub hosts: Vec<&'a [u8]>,
    /// Every `authorization` value.
    pub authorizations: Vec<&'a [u8]>,
    /// Every value of the one peer certificate source that is configured for this gateway.
    pub peers: Vec<&'a [u8]>,
    /// That source.
    pub source: PeerCertificateSource,
    /// The whole body; `None` when the gateway did not pass it on.
    pub body: Option<&'a [u8]>,
    /// SPIFFE ID of the gateway, from its own certificate.
    pub gateway: &'a str,
    /// The client's address, where the gateway says it.
    pub client: Option<IpAddr>,
}

/// Why a question could be read in two ways, or not at all.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum QuestionFault {
    /// Dot segments, encoded slashes or dots, or characters that some proxy would rewrite.
    #[error("the path could be read in two ways")]
    Path,
    /// No method, several, or none that is a method.
    #[error("there is not exactly one method")]
    Method,
    /// No host, several, or none that is a host.
    #[error("there is not exactly one host")]
    Host,
    /// Several certificates are reported, or something that is not of the configured form.
    #[error("the gateway does not report exactly one client certificate")]
    Peer,
}

/// A question with one meaning.
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) host: String,
    pub(super) token: &'a str,
    pub(super) peer: CertificateThumbprint,
    content_digest: Option<String>,
}

impl<'a> Question<'a> {
    /// Reads a question: method, target, host, certificate, token, in this order.
    pub(super) fn parse(raw: &RawQuestion<'a>) -> Result<Self, Rejection> {
        let ambiguous = |fault| Rejection::because(RejectionCode::TargetAmbiguous, fault);
        if Method::from_bytes(raw.method.as_bytes()).is_err() {
            return Err(ambiguous(QuestionFault::Method));
        }
        if !is_unambiguous_path(raw.target) {
            return Err(ambiguous(QuestionFault::Path));
        }
        Ok(Self {
            method: raw.method,
            target: raw.target,
            host: host(&raw.hosts).ok_or_else(|| ambiguous(QuestionFault::Host))?,
            peer: certificate::thumbprint(raw.source, &raw.peers)?,
            token: bearer::token(&raw.authorizations)?,
            content_digest: raw.body.map(content_digest),
        })
    }

    pub(super) fn line(&self) -> RequestLine<'_> {
        RequestLine {
            method: self.method,
            host: &self.host,
            target: self.target,
            content_digest: self.content_digest.as_deref(),
        }
    }
}

fn host(values: &[&[u8]]) -> Option<String> {
    let [value] = values else { return None };
    let text = std::str::from_utf8(value).ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if text.is_empty() || text.len() > MAX_HOST || !text.bytes().all(plain) {
        return None;
    }
    Some(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &[u8] = b"1111111111111111111111111111111111111111111111111111111111111111";

    fn raw<'a>() -> RawQuestion<'a> {
        RawQuestion {
            method: "GET",
            target: "/v1/x?y=1",
            hosts: vec![b"Ctl.Mesh.Example:8443"],
            authorizations: vec![b"Bearer abc.def.ghi"],
            peers: vec![PEER],
            source: PeerCertificateSource::Sha256Header,
            body: None,
            gateway: "spiffe://mesh.example/gateway/edge",
            client: None,
        }
    }

    fn refusal(change: impl FnOnce(&mut RawQuestion<'_>)) -> String {
        let mut raw = raw();
        change(&mut raw);
        Question::parse(&raw).map(|_| ()).unwrap_err().chain()
    }

    #[test]
    fn one_of_each_is_read() {
        let question = Question::parse(&raw()).map_err(|e| e.chain()).unwrap();
        assert_eq!(question.token, "abc.def.ghi");
        assert_eq!(question.peer, CertificateThumbprint([0x11; 32]));
        let line = question.line();
        assert_eq!((line.host, line.target), ("ctl.mesh.example:8443", "/v1/x?y=1"));
        assert_eq!(line.content_digest, None);
        let lower = RawQuestion { authorizations: vec![b"bearer abc"], ..raw() };
        assert!(Question::parse(&lower).is_ok());
    }

    #[test]
    fn nothing_that_decides_may_be_missing_twice_or_odd() {
        let ambiguous = "target-ambiguous: the path could be read in two ways";
        for target in ["/a/../b", "/a/%2e%2E/b", "/a%2fb", "/a//b", "/a\\b", "*", "/a#b", "/a;b"] {
            assert_eq!(refusal(|raw| raw.target = target), ambiguous, "{target}");
        }
        let method = "target-ambiguous: there is not exactly one method";
        for odd in ["", "GET PUT", "GET,PUT", "G\u{e9}T"] {
            assert_eq!(refusal(|raw| raw.method = odd), method, "{odd}");
        }
        let host = "target-ambiguous: there is not exactly one host";
        assert_eq!(refusal(|raw| raw.hosts = vec![]), host);
        assert_eq!(refusal(|raw| raw.hosts = vec![b"a", b"b"]), host);
        assert_eq!(refusal(|raw| raw.hosts = vec![b"user@a"]), host);
        let peer =
            "certificate-missing: the gateway does not report exactly one client certificate";
        assert_eq!(refusal(|raw| raw.peers = vec![]), "certificate-missing");
        assert_eq!(refusal(|raw| raw.peers = vec![PEER, PEER]), peer);
        assert_eq!(refusal(|raw| raw.peers = vec![b""]), peer);
        assert_eq!(refusal(|raw| raw.peers = vec![&PEER[1..]]), peer);
        assert_eq!(refusal(|raw| raw.peers = vec![b"1111,1111"]), peer);
    }

    #[test]
    fn a_token_in_the_query_is_none() {
        let query = |raw: &mut RawQuestion<'_>| {
            raw.authorizations = vec![];
            raw.target = "/v1/x?access_token=abc.def.ghi";
        };
        assert_eq!(refusal(query), "token-missing");
    }
}
