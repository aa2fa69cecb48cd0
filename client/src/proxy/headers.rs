//! What of a request and of an answer goes on to the other side.

use hyper::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName,
    HeaderValue, LOCATION, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::{HeaderMap, Version};

/// Headers of one connection (RFC 9110 §7.6.1), in one way or another.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Protocols that a connection may change to: websockets, and what `kubectl exec` of before 2024 speaks.
const UPGRADES: [&str; 2] = ["websocket", "spdy/3.1"];

/// How the tool sees the target: its origin there, and what stands before each path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// `http://host[:port]`.
    pub(super) origin: String,
    /// Empty, or `/~SECRET`.
    pub(super) prefix: String,
}

/// The protocol that a request wants to change to, where that is one that passes. Others, such as h2c,
/// are ignored, as RFC 9110 §7.8 lets a server do.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = list(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"));
    let mut all = headers.get_all(UPGRADE).iter();
    let (only, more) = (all.next()?, all.next());
    let known = UPGRADES.iter().any(|name| only.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
    (asks && more.is_none() && known).then(|| only.clone())
}

/// Takes out what belongs to the tool's connection, and what only signet says. What a tool names in
/// `Connection` goes first: it cannot take out what is set later.
pub(super) fn to_gateway(headers: &mut HeaderMap, version: Version, view: &View, target: &str) {
    let trailers = list(headers, &TE).any(|word| word.eq_ignore_ascii_case("trailers"));
    strip_hops(headers);
    for name in [AUTHORIZATION, HOST, EXPECT, CONTENT_LENGTH] {
        headers.remove(name);
    }
    if trailers {
        // gRPC does not go without (RFC 9113 §8.2.2 lets it pass).
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    one_cookie(headers);
    // Who compares these with the host compares them with the gateway's.
    for name in [ORIGIN, REFERER] {
        let seen = headers.get(&name).and_then(|value| value.to_str().ok());
        let here = seen.and_then(|seen| seen.strip_prefix(view.origin.as_str()));
        let rest = here.filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let value = rest.and_then(|rest| HeaderValue::from_str(&format!("{target}{rest}")).ok());
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
    via(headers, version);
}

/// Takes out what belongs to the gateway's connection, and leads redirections back here.
pub(super) fn to_tool(headers: &mut HeaderMap, version: Version, view: &View, target: &str) {
    strip_hops(headers);
    // Another way to the gateway is a way around us.
    headers.remove(ALT_SVC);
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let inside = location.and_then(|location| match location.strip_prefix(target) {
        Some(rest) => Some((view.origin.as_str(), rest)),
        None => location.starts_with('/').then_some(("", location)),
    });
    if let Some((origin, rest)) = inside
        && (rest.is_empty() || rest.starts_with(['/', '?']))
        && !rest.starts_with("//")
        && let Ok(value) = HeaderValue::from_str(&format!("{origin}{}{rest}", view.prefix))
    {
        headers.insert(LOCATION, value);
    }
    via(headers, version);
}

fn strip_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = list(headers, &CONNECTION)
        .filter_map(|word| word.parse().ok())
        // Not what frames the message for everybody.
        .filter(|name| *name != CONTENT_LENGTH && *name != TRAILER)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// HTTP/2 may split cookies (RFC 9113 §8.2.3); HTTP/1.1 must not.
fn one_cookie(headers: &mut HeaderMap) {
    let mut all = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let Some(first) = all.next() else { return };
    let mut whole = first.to_vec();
    for next in all {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(next);
    }
    if let Ok(mut whole) = HeaderValue::from_bytes(&whole) {
        whole.set_sensitive(true);
        headers.insert(COOKIE, whole);
    }
}

/// RFC 9110 §7.6.3.
fn via(headers: &mut HeaderMap, version: Version) {
    let value = match version {
        Version::HTTP_2 => "2 signet",
        Version::HTTP_10 => "1.0 signet",
        _ => "1.1 signet",
    };
    headers.append(VIA, HeaderValue::from_static(value));
}

/// The words of a header that is a list.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn sent(all: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = headers(all);
        let view = View { origin: "http://127.0.0.1:8123".into(), prefix: String::new() };
        to_gateway(&mut headers, Version::HTTP_11, &view, "https://ctl.example:8443");
        headers.remove(VIA);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_does_not_pass() {
        let left = sent(&[
            ("connection", "close, X-Mine, te"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic secret"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("expect", "100-continue"),
            ("host", "elsewhere"),
            ("authorization", "Bearer mine"),
        ]);
        let expected = [("http2-settings", "x"), ("te", "trailers")];
        let mut left: Vec<(&str, &str)> =
            left.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        left.sort_unstable();
        assert_eq!(left, expected);
    }

    #[test]
    fn cookies_are_one_and_origins_are_the_gateways() {
        let left = sent(&[
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("origin", "http://127.0.0.1:8123"),
            ("referer", "http://127.0.0.1:8123/a?b"),
        ]);
        assert!(left.contains(&("cookie".into(), "a=1; b=2".into())), "{left:?}");
        assert!(left.contains(&("origin".into(), "https://ctl.example:8443".into())), "{left:?}");
        let referer = ("referer".into(), "https://ctl.example:8443/a?b".into());
        assert!(left.contains(&referer), "{left:?}");
        assert_eq!(sent(&[("referer", "http://127.0.0.1:81234/x")]), []);
    }

    #[test]
    fn redirections_lead_back_here() {
        let target = "https://ctl.example";
        let led = |location: &str, prefix: &str| {
            let view = View { origin: "http://127.0.0.1:8123".into(), prefix: prefix.into() };
            let mut headers = headers(&[("location", location), ("alt-svc", "h3=\":443\"")]);
            to_tool(&mut headers, Version::HTTP_2, &view, target);
            assert_eq!(headers.get(ALT_SVC), None);
            headers.get(LOCATION).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(led("https://ctl.example/a", ""), "http://127.0.0.1:8123/a");
        assert_eq!(led("https://ctl.example/a", "/~s"), "http://127.0.0.1:8123/~s/a");
        assert_eq!(led("/a", "/~s"), "/~s/a");
        assert_eq!(led("/a", ""), "/a");
        for elsewhere in ["https://ctl.example.evil/a", "https://ctl.example:9/a", "//evil/a"] {
            assert_eq!(led(elsewhere, "/~s"), elsewhere);
        }
    }

    #[test]
    fn only_known_protocols_are_changed_to() {
        let asked = |all: &[(&str, &str)]| upgrade(&headers(all)).is_some();
        assert!(asked(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]));
        assert!(asked(&[("connection", "upgrade"), ("upgrade", "SPDY/3.1")]));
        assert!(!asked(&[("connection", "upgrade"), ("upgrade", "h2c")]));
        assert!(!asked(&[("connection", "close"), ("upgrade", "websocket")]));
        let two = [("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")];
        assert!(!asked(&two));
    }
}
