//! The header that brings a token and the header that asks for one: the one place where either is read
//! or written (RFC 6750 §2.1 and §3, RFC 9470 §3).

use std::fmt::Write;
use std::time::Duration;

use signet_evidence::RejectionCode;
use signet_evidence::rejection::CoarseCode;
use thiserror::Error;

use crate::assurance::AssuranceLevel;
use crate::rejection::Rejection;

/// The protection space, the same at every gateway and service of an authority.
const REALM: &str = "signet";

/// What the levels of `acr_values` cannot say (RFC 9470 §3: for a person to read).
const NO_PIN: &str = "prove your presence with a key on which no PIN can stand in for your finger";

/// Several credentials, of which each reader might take another.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("there is more than one authorization header")]
pub struct SeveralCredentials;

/// The token of RFC 6750 §2.1 among all values of `authorization`. The other two ways of that standard,
/// form and query, are not read.
///
/// # Errors
/// `token-missing`: none, or another scheme. `token-malformed`: several values, or no token's letters.
pub fn token<'a>(values: &[&'a [u8]]) -> Result<&'a str, Rejection> {
    let value = match values {
        [] => return Err(RejectionCode::TokenMissing.into()),
        [value] => value,
        _ => return Err(Rejection::because(RejectionCode::TokenMalformed, SeveralCredentials)),
    };
    let malformed = || Rejection::new(RejectionCode::TokenMalformed);
    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(RejectionCode::TokenMissing.into());
    }
    let token = token.trim_matches(' ');
    // `b64token` of RFC 6750 §2.1: a comma, say, would smuggle in a second credential.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(plain) {
        return Err(malformed());
    }
    Ok(token)
}

/// What a client must do to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// Come with a token.
    TokenRequired,
    /// Come with another token.
    TokenInvalid(RejectionCode),
    /// Prove presence, then come again.
    Presence {
        /// Levels that would do.
        levels: &'a [AssuranceLevel],
        /// Longest age of presence; zero asks for a touch for this very request.
        max_age: Duration,
        /// Only a key on which no PIN can stand in for a finger would do.
        no_pin: bool,
        /// The scope to ask for with it, where there is one.
        scope: Option<&'a str>,
    },
    /// Come with a token of this scope.
    Scope(&'a str),
}

impl Challenge<'_> {
    /// The challenge for a refusal that is the token's fault; `None` when no token would help.
    #[must_use]
    pub fn for_code(code: RejectionCode) -> Option<Self> {
        match code.coarse() {
            CoarseCode::TokenRequired => Some(Self::TokenRequired),
            CoarseCode::TokenInvalid => Some(Self::TokenInvalid(code)),
            _ => None,
        }
    }

    /// The value of `WWW-Authenticate`.
    #[must_use]
    pub fn header(&self) -> String {
        let mut value = format!("Bearer realm=\"{REALM}\"");
        let mut add = |name: &str, text: &str| {
            // All texts are ours but a scope, in which neither can be (RFC 6749 §3.3).
            let text = text.replace(['"', '\\'], "");
            let _ = write!(value, ", {name}=\"{text}\"");
        };
        match self {
            // RFC 6750 §3.1: no error code when no token was sent.
            Self::TokenRequired => {}
            Self::TokenInvalid(code) => {
                add("error", "invalid_token");
                add("error_description", description(*code));
            }
            Self::Presence { levels, max_age, no_pin, scope } => {
                add("error", "insufficient_user_authentication");
                let advice = match no_pin {
                    false => RejectionCode::PresenceRequired.advice(),
                    true => NO_PIN,
                };
                add("error_description", advice);
                let levels: Vec<&str> = levels.iter().map(|level| level.as_str()).collect();
                add("acr_values", &levels.join(" "));
                add("max_age", &max_age.as_secs().to_string());
                if let Some(scope) = scope {
                    add("scope", scope);
                }
            }
            Self::Scope(scope) => {
                add("error", "insufficient_scope");
                add("error_description", "ask for a token with this scope");
                add("scope", scope);
            }
        }
        value
    }
}

/// What somebody whose token failed may know. That the token is used up, for another request, or
/// run out helps its owner and tells a thief nothing; which check of a foreign token failed would.
fn description(code: RejectionCode) -> &'static str {
    use RejectionCode::{ActionMismatch, TokenExpired, TokenRedeemed};
    match code {
        TokenExpired | TokenRedeemed | ActionMismatch => code.advice(),
        _ => "log in",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(values: &[&[u8]]) -> String {
        token(values).unwrap_err().chain()
    }

    #[test]
    fn one_bearer_token_and_no_other_way() {
        assert_eq!(token(&[b"Bearer abc.def"]).unwrap(), "abc.def");
        assert_eq!(token(&[b"bearer  abc "]).unwrap(), "abc");
        assert_eq!(refusal(&[]), "token-missing");
        assert_eq!(refusal(&[b"Basic eDp5"]), "token-missing");
        assert_eq!(
            refusal(&[b"Bearer a", b"Bearer a"]),
            "token-malformed: there is more than one authorization header"
        );
        for value in
            [&b"Bearer"[..], b"Bearer ", b"Bearer a, Bearer b", b"Bearer a b", b"Bearer \xff"]
        {
            assert_eq!(refusal(&[value]), "token-malformed");
        }
    }

    #[test]
    fn challenges() {
        assert_eq!(
            Challenge::for_code(RejectionCode::TokenMissing).unwrap().header(),
            "Bearer realm=\"signet\""
        );
        assert_eq!(
            Challenge::for_code(RejectionCode::TokenBindingMismatch).unwrap().header(),
            "Bearer realm=\"signet\", error=\"invalid_token\", error_description=\"log in\""
        );
        assert_eq!(Challenge::for_code(RejectionCode::TargetAmbiguous), None);
        assert_eq!(Challenge::for_code(RejectionCode::PolicyDenied), None);
        let presence = Challenge::Presence {
            levels: &[AssuranceLevel::Uv, AssuranceLevel::UvHardware],
            max_age: Duration::ZERO,
            no_pin: false,
            scope: Some("mesh.route.update"),
        };
        assert_eq!(
            presence.header(),
            "Bearer realm=\"signet\", error=\"insufficient_user_authentication\", \
             error_description=\"prove your presence for this request\", \
             acr_values=\"signet.uv signet.uv-hw\", max_age=\"0\", scope=\"mesh.route.update\""
        );
        assert_eq!(
            Challenge::Scope("a.\"b").header(),
            "Bearer realm=\"signet\", error=\"insufficient_scope\", \
             error_description=\"ask for a token with this scope\", scope=\"a.b\""
        );
    }

    /// What helps its owner is said; which check a foreign token failed is not.
    #[test]
    fn a_failed_token_is_told_no_more_than_its_owner_needs() {
        use RejectionCode::{ActionMismatch, TokenExpired, TokenRedeemed};
        for &code in RejectionCode::ALL {
            let Some(Challenge::TokenInvalid(_)) = Challenge::for_code(code) else { continue };
            let told = [TokenExpired, TokenRedeemed, ActionMismatch].contains(&code);
            let due = if told { code.advice() } else { "log in" };
            let header = Challenge::TokenInvalid(code).header();
            assert!(header.ends_with(&format!("error_description=\"{due}\"")), "{header}");
        }
    }

    #[test]
    fn every_advice_can_stand_between_quotes() {
        for code in RejectionCode::ALL {
            assert!(!code.advice().contains(['"', '\\']), "{code}");
        }
    }
}
