//! What a tool hears when its request does not go through: what is wrong and what to do, as
//! `application/problem+json` (RFC 9457), or a page where a browser asks, with `Proxy-Status` (RFC 9209), so
//! that nobody takes it for the gateway's answer.

use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::json;
use thiserror::Error;

use super::body::{Body, full};
use super::local_ca::LocalCaError;
use super::upstream::UpstreamError;
use crate::demand::DemandError;
use crate::one_line::words;
use crate::tokens::TokensError;

/// Seconds in which nobody is asked again after a no.
pub(super) const REST: u64 = 30;
/// Most bytes of a body that are kept to be sent once more.
pub(super) const MAX_REPLAY: usize = 1024 * 1024;

/// How a tool is asked for the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// It uses us as a proxy.
    Proxy,
    /// It uses us as a server.
    Server,
}

/// Why a request did not go through.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Malformed(&'static str),
    #[error(
        "this port wants the secret of its user, from the file that `signet proxy` named at its start: as the proxy's password, as a bearer token, or in the path as /~SECRET/"
    )]
    Secret(Challenge),
    #[error("{0:?} is no target of this proxy: start `signet proxy` with --to for it")]
    NotATarget(String),
    #[error("this proxy has several targets: name one by its host")]
    WhichTarget,
    #[error(
        "requests of other sites' pages do not pass: type the address, or open it from a bookmark"
    )]
    CrossSite,
    #[error("a secret in the path is not for browsers, where pages read it: use the PAC file")]
    BrowserPath,
    #[error("signet sets the authorization header: send none")]
    Authorization,
    #[error("TRACE would show the token: it does not pass")]
    Trace,
    #[error("no tunnel for https can be opened: {}", words(.0))]
    LocalCa(#[from] LocalCaError),
    #[error("there is nothing at this path: the PAC file is /.signet/proxy.pac")]
    NothingHere,
    #[error("{}", words(.0))]
    Tokens(#[from] TokensError),
    #[error("{}", words(.0))]
    Upstream(#[from] UpstreamError),
    #[error("{}", words(.0))]
    Demand(#[from] DemandError),
    #[error("you refused a request just now: nothing is asked for {REST} s; send it again then")]
    Resting,
    #[error(
        "the gateway wants this very request approved, and it has more than {MAX_REPLAY} bytes: send it with `signet request`"
    )]
    TooLarge,
    #[error("the request's body did not come to an end in time for its approval: send it again")]
    BodyTooSlow,
    #[error("the request's body broke off: send it again")]
    BodyBroken,
    #[error(
        "presence was proved, but the request has too many bytes to be sent again by itself: send it once more"
    )]
    SendAgain,
    #[error("this proxy ends: start it again")]
    Ending,
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Authorization | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::Secret(Challenge::Proxy) => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::Secret(Challenge::Server) => StatusCode::UNAUTHORIZED,
            Self::WhichTarget => StatusCode::MISDIRECTED_REQUEST,
            Self::NotATarget(_) | Self::CrossSite | Self::BrowserPath | Self::Resting => {
                StatusCode::FORBIDDEN
            }
            Self::Trace => StatusCode::METHOD_NOT_ALLOWED,
            Self::NothingHere => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Tokens(TokensError::NotLoggedIn | TokensError::PresenceOver) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Tokens(error) if !error.is_unavailable() => StatusCode::FORBIDDEN,
            Self::Demand(error) if !error.is_unavailable() => StatusCode::FORBIDDEN,
            Self::Upstream(error) => error.status(),
            Self::Tokens(_)
            | Self::Demand(_)
            | Self::LocalCa(_)
            | Self::SendAgain
            | Self::Ending => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its name, for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Secret(_) => "secret",
            Self::NotATarget(_) => "not-a-target",
            Self::WhichTarget => "which-target",
            Self::CrossSite => "cross-site",
            Self::BrowserPath => "browser-path",
            Self::Authorization => "authorization-sent",
            Self::Trace => "trace",
            Self::LocalCa(_) => "local-ca",
            Self::NothingHere => "nothing-here",
            Self::Tokens(TokensError::NotLoggedIn) => "not-logged-in",
            Self::Tokens(TokensError::PresenceOver) => "presence-over",
            Self::Tokens(error) => {
                error.rejection().map_or("unavailable", signet_evidence::RejectionCode::as_str)
            }
            Self::Upstream(error) => error.code(),
            Self::Demand(error) => {
                let rejection = error.presence().and_then(|error| error.rejection());
                rejection.map_or("presence-not-proved", signet_evidence::RejectionCode::as_str)
            }
            Self::Resting => "resting",
            Self::TooLarge => "too-large",
            Self::BodyTooSlow | Self::BodyBroken => "body",
            Self::SendAgain => "send-again",
            Self::Ending => "ending",
        }
    }

    /// `Proxy-Status` error type (RFC 9209 §2.3).
    fn kind(&self) -> &'static str {
        match self {
            Self::Upstream(error) => error.kind(),
            Self::Malformed(_) | Self::BodyBroken | Self::BodyTooSlow => "http_request_error",
            Self::NotATarget(_) | Self::WhichTarget => "destination_not_found",
            Self::LocalCa(_) | Self::Ending => "proxy_internal_error",
            _ => "http_request_denied",
        }
    }

    /// The answer; to a gRPC client as a status of its own kind, which it shows.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response<Body> {
        let is_grpc = asked
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let detail = words(self);
        let mut accepted = asked.get_all(ACCEPT).iter();
        let is_browser = accepted.any(|kinds| {
            kinds.as_bytes().windows(HTML.len()).any(|kind| kind.eq_ignore_ascii_case(HTML))
        });
        let mut response = match (is_grpc, is_browser) {
            (true, _) => self.as_grpc(&detail),
            (false, true) => self.as_page(&detail),
            (false, false) => self.as_problem(&detail),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("accept"));
        let status = format!("signet; error={}; details=\"{}\"", self.kind(), self.code());
        if let Ok(status) = HeaderValue::from_str(&status) {
            headers.insert(HeaderName::from_static("proxy-status"), status);
        }
        match self {
            Self::Secret(Challenge::Proxy) => {
                headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static(BASIC));
            }
            Self::Secret(Challenge::Server) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
            }
            // RFC 9110 §15.5.2 wants a challenge in every 401.
            Self::Tokens(TokensError::NotLoggedIn | TokensError::PresenceOver) => {
                let challenge = "Bearer realm=\"signet\", error=\"invalid_token\"";
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::SendAgain => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("0"));
            }
            Self::Resting => {
                headers.insert(RETRY_AFTER, HeaderValue::from(REST));
            }
            _ => {}
        }
        response
    }

    fn as_problem(&self, detail: &str) -> Response<Body> {
        let status = self.status();
        let problem = json!({
            "type": format!("urn:signet:proxy:{}", self.code()),
            "title": TITLE,
            "status": status.as_u16(),
            "code": self.code(),
            "detail": detail,
        });
        let mut response = Response::new(full(format!("{problem}\n")));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    /// For a person in front of a browser. Nothing in it is loaded, run or framed.
    fn as_page(&self, detail: &str) -> Response<Body> {
        let (status, code) = (self.status(), self.code());
        let page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>signet proxy: {code}</title>\n<style>{STYLE}</style>\n\
             <h1>{TITLE}</h1>\n<p>{}</p>\n\
             <footer>{status}, <code>{code}</code>. This is the answer of the proxy on your machine, and not the \
             gateway's.</footer>\n",
            marked_up(detail)
        );
        let mut response = Response::new(full(page));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    /// Trailers-only (gRPC over HTTP/2, "Responses").
    fn as_grpc(&self, detail: &str) -> Response<Body> {
        let code = match self.status() {
            StatusCode::BAD_REQUEST => 3,
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => 16,
            StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => 7,
            StatusCode::PAYLOAD_TOO_LARGE => 8,
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => 4,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => 14,
            _ => 2,
        };
        let message: String = format!("signet proxy ({}): {detail}", self.code())
            .bytes()
            .map(|byte| match byte {
                b'%' | ..=0x1f | 0x7f.. => format!("%{byte:02X}"),
                byte => char::from(byte).to_string(),
            })
            .collect();
        let mut response = Response::new(full(""));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(code));
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        response
    }
}

const TITLE: &str = "signet proxy did not pass the request on";
const HTML: &[u8] = b"text/html";
const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem;\
                     color-scheme:light dark}h1{font-size:1.4rem}p{overflow-wrap:anywhere}footer{opacity:.7;\
                     font-size:.9rem}";
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Words for a page: nothing in them is markup but `commands`.
fn marked_up(detail: &str) -> String {
    let mut text = String::with_capacity(detail.len());
    let mut inside = false;
    for character in detail.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            '`' => {
                text.push_str(if inside { "</code>" } else { "<code>" });
                inside = !inside;
            }
            other => text.push(other),
        }
    }
    if inside {
        text.push_str("</code>");
    }
    text
}

const BASIC: &str = "Basic realm=\"signet proxy: any name, the secret as password\"";

#[cfg(test)]
mod tests {
    use super::*;

    /// No request comes upon it: what is under way when the proxy ends is finished, or cut off.
    #[test]
    fn an_end_is_told() {
        let answer = Refusal::Ending.answer(&HeaderMap::new());
        assert_eq!((answer.status().as_u16(), Refusal::Ending.code()), (503, "ending"));
    }

    #[test]
    fn a_page_holds_no_markup_of_others() {
        let bad = "a <img src=x onerror=\"f('&')\"> `one";
        let expected =
            "a &lt;img src=x onerror=&quot;f(&#39;&amp;&#39;)&quot;&gt; <code>one</code>";
        assert_eq!(marked_up(bad), expected);
        let mut asked = HeaderMap::new();
        asked.insert(ACCEPT, HeaderValue::from_static("image/avif, TEXT/HTML;q=0.9"));
        let answer = Refusal::NotATarget("<script>".into()).answer(&asked);
        assert_eq!(answer.headers().get(CONTENT_TYPE).unwrap(), "text/html; charset=utf-8");
        assert_eq!(answer.headers().get(CONTENT_SECURITY_POLICY).unwrap(), PAGE_POLICY);
    }

    #[test]
    fn a_refusal_says_what_to_do_in_the_tools_own_terms() {
        let refusal = Refusal::Tokens(TokensError::NotLoggedIn);
        let answer = refusal.answer(&HeaderMap::new());
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            answer.headers().get("proxy-status").unwrap(),
            "signet; error=http_request_denied; details=\"not-logged-in\""
        );
        let mut grpc = HeaderMap::new();
        grpc.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        let answer = Refusal::NotATarget("ä%".into()).answer(&grpc);
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers().get("grpc-status").unwrap(), "7");
        let message = answer.headers().get("grpc-message").unwrap().to_str().unwrap();
        assert!(message.contains("(not-a-target): \"%C3%A4%25\""), "{message}");
    }
}
