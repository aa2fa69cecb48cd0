//! The exact request that a person approves (RFC 9396 `authorization_details`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::binding::sha256;

/// Longest action, in bytes of JSON.
pub const MAX_ACTION: usize = 8192;

/// The JSON bytes of one `authorization_details` array, kept as they came, with what they say.
///
/// Everything is hashed and compared over the bytes; [`Action::details`] is for showing and for
/// matching a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    bytes: Vec<u8>,
    details: ActionDetails,
}

/// One `authorization_details` object of type `signet_action`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionDetails {
    /// Always `signet_action`.
    #[serde(rename = "type")]
    pub kind: ActionKind,
    /// Named actions, such as `mesh.route.update`; what the prompt shows first.
    pub actions: Vec<String>,
    /// Origin of the resource server: one `https://host[:port]`.
    pub locations: Vec<String>,
    /// HTTP method, upper case.
    pub method: String,
    /// Request target: path and query as sent.
    pub path: String,
    /// `Content-Digest` of the body (RFC 9530 §2), `sha-256=:…:`; of the empty body when there is none.
    pub content_digest: String,
}

/// The one type of `authorization_details` that Signet knows (RFC 9396 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionKind {
    /// `signet_action`.
    #[serde(rename = "signet_action")]
    SignetAction,
}

/// An action that cannot be shown and checked.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ActionError {
    /// Empty or longer than [`MAX_ACTION`].
    #[error("the action is empty or longer than {MAX_ACTION} bytes")]
    Size,
    /// Not a JSON array of exactly one `signet_action` object with known members only.
    #[error("the action is not one signet_action object")]
    Shape,
    /// The method is not an upper-case HTTP token.
    #[error("the action's method is not an upper-case HTTP method")]
    Method,
    /// The path is not an absolute path, or could be read in two ways.
    #[error("the action's path is not an unambiguous absolute path")]
    Path,
    /// Not exactly one https origin.
    #[error("the action's location is not one https origin")]
    Location,
    /// No action is named, or a name holds anything but lower-case words and dots.
    #[error("the action's name is not of the form mesh.route.update")]
    Name,
    /// The digest is not one `sha-256=:…:` item.
    #[error("the action's content digest is not one sha-256 item")]
    Digest,
}

impl Action {
    /// Parses the bytes of an `authorization_details` array of one `signet_action`.
    ///
    /// # Errors
    /// See [`ActionError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ActionError> {
        if bytes.is_empty() || bytes.len() > MAX_ACTION {
            return Err(ActionError::Size);
        }
        let [details]: [ActionDetails; 1] =
            serde_json::from_slice(bytes).map_err(|_| ActionError::Shape)?;
        details.check()?;
        Ok(Self { bytes: bytes.to_vec(), details })
    }

    /// The action that says `details`.
    ///
    /// # Errors
    /// See [`ActionError`].
    pub fn new(details: ActionDetails) -> Result<Self, ActionError> {
        let bytes = serde_json::to_vec(&[&details]).map_err(|_| ActionError::Shape)?;
        Self::parse(&bytes)
    }

    /// The exact bytes that are signed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the bytes say.
    #[must_use]
    pub fn details(&self) -> &ActionDetails {
        &self.details
    }
}

impl ActionDetails {
    fn check(&self) -> Result<(), ActionError> {
        let named = |name: &String| {
            name.contains('.')
                && name.split('.').all(|word| {
                    !word.is_empty()
                        && word
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                })
        };
        if self.actions.is_empty() || self.actions.len() > 8 || !self.actions.iter().all(named) {
            return Err(ActionError::Name);
        }
        if self.method.is_empty() || !self.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(ActionError::Method);
        }
        if !is_unambiguous_path(&self.path) {
            return Err(ActionError::Path);
        }
        let [location] = self.locations.as_slice() else { return Err(ActionError::Location) };
        if !location.strip_prefix("https://").is_some_and(is_host_and_port) {
            return Err(ActionError::Location);
        }
        let digest = self
            .content_digest
            .strip_prefix("sha-256=:")
            .and_then(|rest| rest.strip_suffix(':'))
            .ok_or(ActionError::Digest)?;
        match STANDARD.decode(digest) {
            Ok(bytes) if bytes.len() == 32 => Ok(()),
            _ => Err(ActionError::Digest),
        }
    }
}

/// Whether this is a host name, an IPv4 address or an IPv6 address in brackets, in lower case, and a
/// port after it or none.
fn is_host_and_port(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let lower = !address.bytes().any(|byte| byte.is_ascii_uppercase());
            (lower && address.parse::<std::net::Ipv6Addr>().is_ok(), rest)
        }
        None => {
            let (name, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b);
            (!name.is_empty() && name.bytes().all(plain), rest)
        }
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let number = |port: &str| digits(port) && port.parse::<u16>().is_ok();
    host && (port.is_empty() || port.strip_prefix(':').is_some_and(number))
}

/// Whether a request target means the same to every proxy on its way: an absolute path of visible
/// ASCII without dot segments, doubled slashes, backslashes, parameters or fragments, in which
/// nothing is percent-encoded that some normalise away (RFC 3986 §6.2.2.2) or read as a separator.
#[must_use]
pub fn is_unambiguous_path(target: &str) -> bool {
    let visible = |byte: u8| (0x21..=0x7e).contains(&byte) && !b"\\#\"<>^`{|}".contains(&byte);
    if target.len() > 4096 || !target.starts_with('/') || !target.bytes().all(visible) {
        return false;
    }
    let path = target.split('?').next().unwrap_or(target);
    let dots = path.split('/').any(|segment| segment == "." || segment == "..");
    !dots && !path.contains("//") && !path.contains(';') && is_plainly_encoded(path)
}

/// Whether each `%` encodes a byte that cannot stand unencoded, and all together are UTF-8: an
/// encoded letter would slip past a rule that names the letter, an overlong slash past them all.
fn is_plainly_encoded(path: &str) -> bool {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(), digit()) else { return false };
        let byte = high << 4 | low;
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || byte.is_ascii_control() || b"/\\%;".contains(&byte) {
            return false;
        }
        decoded.push(byte);
    }
    std::str::from_utf8(&decoded).is_ok()
}

/// `Content-Digest` value of a body (RFC 9530 §2, SHA-256).
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256(body)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn action() -> Action {
        Action::new(details()).unwrap()
    }

    fn details() -> ActionDetails {
        ActionDetails {
            kind: ActionKind::SignetAction,
            actions: vec!["mesh.route.update".into()],
            locations: vec!["https://ctl.mesh.example".into()],
            method: "PUT".into(),
            path: "/v1/routes/payments?dry=0".into(),
            content_digest: content_digest(b"{\"hello\": \"world\"}"),
        }
    }

    #[test]
    fn rfc_9530_example() {
        // RFC 9530 appendix B, sha-256 of {"hello": "world"} without line feed.
        assert_eq!(
            content_digest(b"{\"hello\": \"world\"}"),
            "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
        );
    }

    #[test]
    fn a_location_is_one_host_and_at_most_one_port() {
        for good in ["a.example", "a.example:8443", "192.0.2.1:1", "[2001:db8::1]", "[::1]:443"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in [
            "",
            ":443",
            "a.example:",
            "a.example:+1",
            "a.example:65536",
            "a.example:1:2",
            "::1",
            "[::1",
            "[::1]443",
            "[a.example]",
            "[2001:DB8::1]",
            "A.example",
        ] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }

    #[test]
    fn paths_mean_one_thing() {
        for good in
            ["/", "/v1/a%20b", "/caf%C3%A9", "/a?b=%2e%2E&c=/../", "/a/b/", "/x@y:z!$&'()*+,=~"]
        {
            assert!(is_unambiguous_path(good), "{good}");
        }
        let bad = [
            "",
            "a",
            "*",
            "/a/../b",
            "/a/.",
            "/%2e%2e/b",
            "/a%2Fb",
            "/a%5cb",
            "/a%00",
            "/a%0a",
            "/a%252e",
            "//a",
            "/a//b",
            "/a;b",
            "/a%3Bb",
            "/a#b",
            "/a b",
            "/caf\u{e9}",
            "/%61dmin",
            "/a%7E",
            "/a%",
            "/a%4",
            "/a%+1",
            "/a%zz",
            "/a%c0%ae",
            "/a%ff",
            "/a\\b",
        ];
        for bad in bad {
            assert!(!is_unambiguous_path(bad), "{bad}");
        }
        let long = |length: usize| format!("/{}", "a".repeat(length - 1));
        assert!(is_unambiguous_path(&long(4096)) && !is_unambiguous_path(&long(4097)));
    }

    #[test]
    fn names_are_words_and_dots_and_not_too_many() {
        let named = |names: &[&str]| {
            let actions = names.iter().map(ToString::to_string).collect();
            Action::new(ActionDetails { actions, ..details() }).map(|_| ())
        };
        for good in ["a.b", "mesh2.route-table.update-7"] {
            assert_eq!(named(&[good]), Ok(()), "{good}");
        }
        for bad in ["", "update", ".", "a.", ".b", "a..b", "a.B", "a.b c", "a.b_c", "a.\u{e9}"] {
            assert_eq!(named(&[bad]), Err(ActionError::Name), "{bad}");
            assert_eq!(named(&["a.b", bad]), Err(ActionError::Name), "{bad}");
        }
        assert_eq!(named(&["a.b"; 8]), Ok(()));
        assert_eq!(
            (named(&["a.b"; 9]), named(&[])),
            (Err(ActionError::Name), Err(ActionError::Name))
        );
    }

    #[test]
    fn round_trip_and_bad_members() {
        let action = Action::new(details()).unwrap();
        assert_eq!(Action::parse(action.as_bytes()).unwrap().details(), &details());
        let with = |change: fn(&mut ActionDetails)| {
            let mut details = details();
            change(&mut details);
            Action::new(details).map(|_| ())
        };
        assert_eq!(with(|d| d.method = "put".into()), Err(ActionError::Method));
        assert_eq!(with(|d| d.path = "/a/../b".into()), Err(ActionError::Path));
        assert_eq!(with(|d| d.path = "/a/%2e%2e/b".into()), Err(ActionError::Path));
        assert_eq!(with(|d| d.locations = vec!["http://x".into()]), Err(ActionError::Location));
        assert_eq!(with(|d| d.locations = vec!["https://a@b".into()]), Err(ActionError::Location));
        assert_eq!(with(|d| d.actions = vec!["Approve this!".into()]), Err(ActionError::Name));
        assert_eq!(with(|d| d.content_digest = "sha-512=:AA==:".into()), Err(ActionError::Digest));
        assert_eq!(Action::parse(b"[]"), Err(ActionError::Shape));
        let padded = |length: usize| {
            let bytes = [action.as_bytes(), &vec![b' '; length - action.as_bytes().len()]].concat();
            Action::parse(&bytes).map(|_| ())
        };
        assert_eq!((padded(MAX_ACTION), padded(MAX_ACTION + 1)), (Ok(()), Err(ActionError::Size)));
        let unknown = br#"[{"type":"signet_action","actions":["a.b"],"locations":["https://x"],"method":"GET","path":"/","content_digest":"","note":"please"}]"#;
        assert_eq!(Action::parse(unknown), Err(ActionError::Shape));
    }
}
