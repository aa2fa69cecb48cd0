//! `WWW-Authenticate`: the one place where it is written (RFC 6750 §3, RFC 9470 §3).

use std::fmt::Write;

use signet_evidence::RejectionCode;
use signet_evidence::rejection::CoarseCode;

use crate::policy::StepUp;

/// The protection space, the same at every gateway of this authority.
const REALM: &str = "signet";

/// What the levels of `acr_values` cannot say (RFC 9470 §3: for a person to read).
const NO_PIN: &str = "prove your presence with a key on which no PIN can stand in for your finger";

/// What a client must do to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge<'a> {
    /// Come with a token.
    TokenRequired,
    /// Come with another token.
    TokenInvalid(RejectionCode),
    /// Prove presence, then come again.
    Presence { action: &'a str, step_up: &'a StepUp },
    /// Come with a token whose scope includes this action.
    Scope { action: &'a str },
}

impl<'a> Challenge<'a> {
    /// The challenge for a refusal that is the token's fault; `None` when no token would help.
    pub(super) fn for_code(code: RejectionCode) -> Option<Self> {
        match code.coarse() {
            CoarseCode::TokenRequired => Some(Self::TokenRequired),
            CoarseCode::TokenInvalid => Some(Self::TokenInvalid(code)),
            _ => None,
        }
    }

    /// The header's value. Every text in it is ours or an action's name, so nothing needs escaping.
    pub(super) fn header(&self) -> String {
        let mut value = format!("Bearer realm=\"{REALM}\"");
        let mut add = |name: &str, text: &str| {
            let _ = write!(value, ", {name}=\"{text}\"");
        };
        match self {
            // RFC 6750 §3.1: no error code when no token was sent.
            Self::TokenRequired => {}
            Self::TokenInvalid(code) => {
                add("error", "invalid_token");
                add("error_description", description(*code));
            }
            Self::Presence { action, step_up } => {
                add("error", "insufficient_user_authentication");
                add(
                    "error_description",
                    match step_up.no_pin {
                        false => RejectionCode::PresenceRequired.advice(),
                        true => NO_PIN,
                    },
                );
                let levels: Vec<&str> = step_up.levels.iter().map(|level| level.as_str()).collect();
                add("acr_values", &levels.join(" "));
                add("max_age", &step_up.max_age.as_secs().to_string());
                add("scope", action);
            }
            Self::Scope { action } => {
                add("error", "insufficient_scope");
                add("error_description", "ask for a token with this scope");
                add("scope", action);
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
    use std::time::Duration;

    use signet_verifier::AssuranceLevel;

    use super::*;

    #[test]
    fn headers() {
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
        let step_up = StepUp {
            levels: vec![AssuranceLevel::Uv, AssuranceLevel::UvHardware],
            max_age: Duration::ZERO,
            single_use: true,
            no_pin: false,
            rules: vec![],
        };
        assert_eq!(
            Challenge::Presence { action: "mesh.route.update", step_up: &step_up }.header(),
            "Bearer realm=\"signet\", error=\"insufficient_user_authentication\", \
             error_description=\"prove your presence for this request\", \
             acr_values=\"signet.uv signet.uv-hw\", max_age=\"0\", scope=\"mesh.route.update\""
        );
        assert_eq!(
            Challenge::Scope { action: "a.b" }.header(),
            "Bearer realm=\"signet\", error=\"insufficient_scope\", \
             error_description=\"ask for a token with this scope\", scope=\"a.b\""
        );
    }

    #[test]
    fn every_advice_can_stand_between_quotes() {
        for code in RejectionCode::ALL {
            assert!(!code.advice().contains(['"', '\\']), "{code}");
        }
    }
}
