//! What a gateway asks for in `WWW-Authenticate` (RFC 6750 §3, RFC 9470 §3).

use std::time::Duration;

/// Longest header value that is read.
const MAX_HEADER: usize = 8192;

/// A `Bearer` challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BearerChallenge {
    /// `error`.
    pub error: Option<String>,
    /// `error_description`, for a person.
    pub description: Option<String>,
    /// `acr_values`: assurance that would do, in order of preference (RFC 9470 §3).
    pub acr_values: Vec<String>,
    /// `max_age`: how long ago presence may have been proved; zero means for this very request.
    pub max_age: Option<Duration>,
    /// `scope`: rights that are due; for a critical action, its names.
    pub scope: Vec<String>,
}

/// What would satisfy a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepUp {
    /// A touch for exactly this request; the names of the action.
    Action {
        /// Such as `mesh.route.update`.
        names: Vec<String>,
    },
    /// Fresh presence in the session.
    Presence {
        /// Assurance that would do, in order of preference.
        acr_values: Vec<String>,
        /// Rights that are due.
        scope: Vec<String>,
    },
}

impl BearerChallenge {
    /// Reads the first `Bearer` challenge of a header value; `None` when there is none, or it is
    /// not well formed.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > MAX_HEADER {
            return None;
        }
        let parameters = bearer_parameters(header)?;
        let mut challenge = Self::default();
        for (name, value) in parameters {
            let words = || value.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
            match name.as_str() {
                "error" => challenge.error = Some(value),
                "error_description" => challenge.description = Some(value),
                "acr_values" => challenge.acr_values = words().collect(),
                "scope" => challenge.scope = words().collect(),
                "max_age" => challenge.max_age = Some(Duration::from_secs(value.parse().ok()?)),
                _ => {}
            }
        }
        Some(challenge)
    }

    /// What would satisfy it, when presence is what it asks for (RFC 9470 §3).
    #[must_use]
    pub fn step_up(&self) -> Option<StepUp> {
        match self.error.as_deref() {
            Some("insufficient_user_authentication") => {}
            // RFC 6750 §3.1. More rights need a touch too (protocol §3.2).
            Some("insufficient_scope") if !self.scope.is_empty() => {
                return Some(StepUp::Presence {
                    acr_values: self.acr_values.clone(),
                    scope: self.scope.clone(),
                });
            }
            _ => return None,
        }
        if self.max_age == Some(Duration::ZERO) {
            return Some(StepUp::Action { names: self.scope.clone() });
        }
        Some(StepUp::Presence { acr_values: self.acr_values.clone(), scope: self.scope.clone() })
    }
}

/// The parameters of the first Bearer challenge: names in lower case, quoted strings unquoted.
fn bearer_parameters(header: &str) -> Option<Vec<(String, String)>> {
    let start = bearer_start(header)?;
    let mut rest = header.get(start..)?.trim_start();
    let mut parameters = Vec::new();
    while !rest.is_empty() {
        let (name, after) = token(rest)?;
        // A token without `=` begins the next challenge (RFC 9110 §11.6.1).
        let Some(value) = after.trim_start().strip_prefix('=') else { break };
        let (value, after) = value_of(value.trim_start())?;
        parameters.push((name.to_ascii_lowercase(), value));
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
    Some(parameters)
}

/// Where the parameters of the first Bearer challenge begin; quoted strings are passed over.
fn bearer_start(header: &str) -> Option<usize> {
    let (mut quoted, mut escaped, mut at_word) = (false, false, true);
    for (at, byte) in header.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b' ' | b',' => at_word = true,
            _ if at_word => {
                at_word = false;
                let word = header.get(at..at + 6);
                let ends = matches!(header.as_bytes().get(at + 6), None | Some(b' '));
                if ends && word.is_some_and(|word| word.eq_ignore_ascii_case("Bearer")) {
                    return Some(at + 6);
                }
            }
            _ => {}
        }
    }
    None
}

fn token(text: &str) -> Option<(&str, &str)> {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !part(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ if character.is_control() => return None,
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9470_examples() {
        let header = r#"Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="myACR""#;
        let challenge = BearerChallenge::parse(header).unwrap();
        let scope = vec![];
        let acr_values = vec!["myACR".to_owned()];
        assert_eq!(challenge.step_up(), Some(StepUp::Presence { acr_values, scope }));
        let header = r#"Bearer error="insufficient_user_authentication", error_description="More recent authentication is required", max_age="5""#;
        let challenge = BearerChallenge::parse(header).unwrap();
        assert_eq!(challenge.max_age, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_touch_for_this_request() {
        let header = r#"Bearer error="insufficient_user_authentication", acr_values="signet.uv-hw signet.uv", max_age=0, scope="mesh.route.update""#;
        let names = vec!["mesh.route.update".to_owned()];
        let challenge = BearerChallenge::parse(header).unwrap();
        assert_eq!(challenge.step_up(), Some(StepUp::Action { names }));
    }

    #[test]
    fn more_rights_need_a_touch() {
        let header = r#"Bearer realm="signet", error="insufficient_scope", scope="a.b""#;
        let step_up = BearerChallenge::parse(header).unwrap().step_up();
        let (acr_values, scope) = (vec![], vec!["a.b".to_owned()]);
        assert_eq!(step_up, Some(StepUp::Presence { acr_values, scope }));
    }

    #[test]
    fn other_schemes_and_other_errors() {
        let header = r#"Basic realm="a, Bearer b", bearer  error=invalid_token, Digest x=1"#;
        let challenge = BearerChallenge::parse(header).unwrap();
        assert_eq!(challenge.error.as_deref(), Some("invalid_token"));
        assert_eq!(challenge.step_up(), None);
        assert_eq!(BearerChallenge::parse("Bearer"), Some(BearerChallenge::default()));
        assert_eq!(BearerChallenge::parse("Negotiate abc"), None);
    }

    #[test]
    fn malformed_headers_ask_for_nothing() {
        for bad in [
            r#"Bearer error="unterminated"#,
            r#"Bearer error="a" scope="b""#,
            r#"Bearer ="a""#,
            r#"Bearer max_age=-1"#,
            r#"Bearer max_age=99999999999999999999"#,
            &format!("Bearer error={}", "a".repeat(MAX_HEADER)),
        ] {
            assert_eq!(BearerChallenge::parse(bad), None, "{bad}");
        }
    }
}
