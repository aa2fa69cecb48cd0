//! What can go wrong between the client and an HTTPS server.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError};
use serde::Deserialize;
use signet_evidence::RejectionCode;
use thiserror::Error;

use crate::tls::HandshakeSignError;

/// A call to the authority that did not succeed.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// Not a URL that an authority can have.
    #[error("the authority's URL must be https://host[:port] and nothing more")]
    Url,
    /// The HTTP client could not be made.
    #[error("cannot prepare HTTPS")]
    Client(#[source] reqwest::Error),
    /// No connection, or it broke.
    #[error("cannot reach the authority at {origin}: check the network, or ask who runs it")]
    Unreachable {
        /// Whom we called.
        origin: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The server is not the one that our trust anchors vouch for.
    #[error("the authority at {origin} is not to be trusted: {}", untrusted_advice(.fault))]
    Untrusted {
        /// Whom we called.
        origin: String,
        /// Why.
        fault: CertificateError,
    },
    /// The server ended the handshake.
    #[error(
        "{origin} broke off the connection ({alert:?}): this machine's certificate may have run out or been revoked; see `signet status`"
    )]
    BrokenOff {
        /// Whom we called.
        origin: String,
        /// The TLS alert (RFC 8446 §6.2).
        alert: AlertDescription,
    },
    /// This machine's certificate has run out.
    #[error(
        "this machine's certificate has run out: have an administrator make a ticket with `signet-authority ticket device --rebind`, then stop signetd, run `signetd --forget`, start it and run `signet enrol`"
    )]
    CertificateOver,
    /// The key for the connection could not be used.
    #[error("this machine's key could not be used for the connection: {cause}")]
    Key {
        /// Why, in the words of the deepest cause.
        cause: String,
        /// The signer's error.
        source: KeyFault,
    },
    /// The authority said no.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// An answer outside the protocol.
    #[error("the authority's answer (status {status}) is not of this protocol's version")]
    Answer {
        /// HTTP status.
        status: u16,
    },
    /// The token is not bound to the certificate that was asked for.
    #[error("the authority issues no certificates of operators: it is of an earlier version")]
    OtherCertificate,
    /// An answer larger than any of the protocol.
    #[error("the authority's answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

impl AuthorityError {
    /// Sorts a failed exchange with `origin`: the server's certificate, our key, or the network.
    #[must_use]
    pub fn of_exchange(origin: &str, error: reqwest::Error) -> Self {
        match tls_cause(&error) {
            Some(rustls::Error::InvalidCertificate(fault)) => {
                Self::Untrusted { origin: origin.to_owned(), fault: fault.clone() }
            }
            Some(rustls::Error::Other(other)) => {
                let source = KeyFault(other.0.clone());
                Self::Key { cause: deepest(&source), source }
            }
            Some(rustls::Error::AlertReceived(AlertDescription::CertificateExpired)) => {
                Self::CertificateOver
            }
            Some(rustls::Error::AlertReceived(alert)) => {
                Self::BrokenOff { origin: origin.to_owned(), alert: *alert }
            }
            _ => Self::Unreachable { origin: origin.to_owned(), source: error },
        }
    }

    /// The exact code, when the authority refused with one.
    #[must_use]
    pub fn rejection(&self) -> Option<RejectionCode> {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::CertificateOver => Some(RejectionCode::DeviceCertificateUntrusted),
            _ => None,
        }
    }

    /// Whether nothing was decided: a part that is missing or busy, not a no.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status >= 500 || refusal.status == 429,
            Self::Url
            | Self::Untrusted { .. }
            | Self::BrokenOff { .. }
            | Self::CertificateOver
            | Self::OtherCertificate => false,
            Self::Client(_)
            | Self::Unreachable { .. }
            | Self::Key { .. }
            | Self::Answer { .. }
            | Self::TooLarge { .. } => true,
        }
    }
}

/// The signer's error inside a failed handshake.
#[derive(Clone, Debug)]
pub struct KeyFault(Arc<dyn StdError + Send + Sync>);

impl KeyFault {
    /// The error of our own signer, if it is one.
    #[must_use]
    pub fn signer(&self) -> Option<&HandshakeSignError> {
        self.0.downcast_ref()
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for KeyFault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// A refusal in the authority's own words (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The exact code, where the caller is trusted with it and it is known here.
    pub code: Option<RejectionCode>,
    /// The code as it was sent: exact or coarse.
    pub name: String,
    /// What to do next.
    pub advice: String,
    /// What was found, each with what to do about it.
    pub findings: Vec<String>,
}

/// Findings that are shown of one refusal.
const MAX_FINDINGS: usize = 16;

impl StdError for Refusal {}

/// `refused (uv-missing): verify yourself to the key, by fingerprint or PIN`
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the authority refused ({}): {}", self.name, self.advice)?;
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// `application/problem+json`, with the members of an OAuth error (RFC 6749 §5.2) beside.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    findings: Vec<String>,
}

impl Refusal {
    /// Reads a problem document; a body that is none still gives a refusal by its status.
    #[must_use]
    pub fn read(status: u16, body: &[u8]) -> Self {
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let of_type = problem
            .kind
            .as_deref()
            .and_then(|kind| kind.strip_prefix("urn:signet:rejection:"))
            .map(str::to_owned);
        let findings =
            problem.findings.iter().take(MAX_FINDINGS).map(|text| printable(text)).collect();
        let name = problem.code.or(of_type).or(problem.error).map(|name| printable(&name));
        let code = name.as_deref().and_then(RejectionCode::from_name);
        let advice = problem
            .detail
            .or(problem.error_description)
            .or(problem.title)
            .map(|text| printable(&text))
            .or(code.map(|code| code.advice().to_owned()));
        Self {
            status,
            code,
            name: name.unwrap_or_else(|| format!("status {status}")),
            advice: advice.unwrap_or_else(|| "ask who runs the authority".to_owned()),
            findings,
        }
    }
}

/// A text from elsewhere without control characters, which a terminal might obey, and not too long.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(400).collect()
}

/// The TLS error beneath, if there is one. `io::Error` hides the error it wraps from `source()`.
#[must_use]
pub fn tls_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        return tls_cause(inner);
    }
    tls_cause(error.source()?)
}

fn deepest(error: &(dyn StdError + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}

fn untrusted_advice(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has run out, or this machine's clock is ahead; check the clock"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, so this machine's clock is behind; set the clock"
        }
        // A CA of the same name but another key, such as one that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is of another CA; check the CA file"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name; check the URL"
        }
        _ => "its certificate is not valid; ask who runs it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_documents() {
        let body = br#"{"type":"urn:signet:rejection:uv-missing","title":"x","status":403,"detail":"verify yourself","code":"uv-missing"}"#;
        let refusal = Refusal::read(403, body);
        assert_eq!(refusal.code, Some(RejectionCode::UvMissing));
        assert_eq!(refusal.to_string(), "the authority refused (uv-missing): verify yourself");
    }

    #[test]
    fn coarse_codes_and_oauth_errors() {
        let refusal = Refusal::read(400, br#"{"type":"urn:signet:rejection:malformed"}"#);
        assert_eq!((refusal.code, refusal.name.as_str()), (None, "malformed"));
        let refusal =
            Refusal::read(400, br#"{"error":"invalid_request","error_description":"no"}"#);
        assert_eq!((refusal.name.as_str(), refusal.advice.as_str()), ("invalid_request", "no"));
    }

    #[test]
    fn known_code_without_words_gets_its_advice() {
        let refusal = Refusal::read(403, br#"{"code":"session-ended"}"#);
        assert_eq!(refusal.advice, RejectionCode::SessionEnded.advice());
    }

    #[test]
    fn bodies_that_are_no_problem_documents() {
        for body in [&b""[..], b"<html>", b"[1]", br#"{"code":7}"#] {
            let refusal = Refusal::read(502, body);
            assert_eq!((refusal.code, refusal.name.as_str()), (None, "status 502"));
        }
    }

    #[test]
    fn a_server_cannot_write_to_the_terminal() {
        let refusal = Refusal::read(403, br#"{"detail":"\u001b[2Jgone\n","code":"a\u0007b"}"#);
        assert_eq!((refusal.name.as_str(), refusal.advice.as_str()), ("ab", "[2Jgone"));
    }
}
