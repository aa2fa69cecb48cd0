//! What a person is told before touching the key. Made from the structured action and the stored
//! enrolment, never from words of the requester.

use std::fmt;

use aws_lc_rs::rand;
use signet_ctap::operation::Config;
use signet_evidence::{ActionDetails, Purpose};

use crate::authenticator::Task;
use crate::failure::{Bug, Failure};
use crate::platform::Method;

/// The two lines of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptText {
    /// What kind of thing is asked.
    pub title: String,
    /// What exactly; of a critical action the names, the method, the host and the path.
    pub action: String,
    /// What is asked for, where it is no security key.
    pub method: Option<Method>,
}

impl PromptText {
    /// The text for a request with this purpose; `authority` is the enrolled URL.
    pub fn new(purpose: Purpose, action: Option<&ActionDetails>, authority: &str) -> Self {
        let host = host(authority);
        match (purpose, action) {
            (_, Some(details)) => Self {
                title: "Approve one request".to_owned(),
                action: format!(
                    "{}: {} {}{}",
                    details.actions.join(", "),
                    details.method,
                    details.locations.first().map_or("", |location| self::host(location)),
                    details.path
                ),
                method: None,
            },
            (Purpose::EnrolKey, None) => Self {
                title: "Enrol this security key".to_owned(),
                action: format!("new key for {host}"),
                method: None,
            },
            _ => Self {
                title: "Sign in".to_owned(),
                action: format!("new session at {host}"),
                method: None,
            },
        }
    }

    /// The text for upkeep of a key. Names that the requester gives are not shown.
    pub fn upkeep(task: &Task) -> Self {
        let (title, action) = match task {
            Task::AddFinger { .. } => (
                "Add a finger to the security key",
                "lay the new finger on the key and lift it again, as often as the key wants",
            ),
            Task::ListFingers => {
                ("Show the fingers on the security key", "the key wants its PIN for this")
            }
            Task::Sensor => (
                "Show what the security key's fingerprint reader is like",
                "nothing is asked for it",
            ),
            Task::RenameFinger { .. } => {
                ("Rename a finger on the security key", "the key wants its PIN for this")
            }
            Task::RemoveFinger { .. } => (
                "Remove a finger from the security key",
                "it can unlock the key no more after this",
            ),
            Task::SetPin => ("Set the security key's PIN", "choose a PIN that only you know"),
            Task::ChangePin => {
                ("Change the security key's PIN", "first the present PIN, then the new one")
            }
            Task::ListCredentials => {
                ("Show what the security key stores", "the key wants its PIN for this")
            }
            Task::Reset => (
                "Erase the security key",
                "its PIN, its fingers and every sign-in on it are lost, also those of other services",
            ),
            Task::Configure(Config::AlwaysUv(true)) => (
                "Let the security key always ask for finger or PIN",
                "a touch alone is not enough for it after this",
            ),
            Task::Configure(Config::AlwaysUv(false)) => (
                "Let the security key ask for finger or PIN only when it must",
                "a touch alone can be enough for it after this",
            ),
            Task::Configure(Config::MinPinLength { .. }) => (
                "Change what the security key demands of its PIN",
                "the PIN may have to be changed; only erasing the key takes this back",
            ),
            Task::Configure(Config::EnterpriseAttestation) => (
                "Let the security key tell its serial number",
                "to the organisations it was made for; only erasing the key takes this back",
            ),
            Task::RemoveCredential { .. } => (
                "Delete a sign-in from the security key",
                "where it was used, this key cannot sign in after this",
            ),
        };
        Self { title: title.to_owned(), action: action.to_owned(), method: None }
    }

    /// As [`Self::new`] for [`Purpose::EnrolKey`], when an enrolled key must agree first.
    pub fn authorise_key(authority: &str) -> Self {
        Self {
            title: "Allow another security key".to_owned(),
            action: format!("touch a key that is enrolled at {}", host(authority)),
            method: None,
        }
    }

    /// The text for a new platform key.
    pub fn platform_key(method: Method, authority: &str) -> Self {
        let title = match method {
            Method::Pin => "Choose a PIN for this machine",
            Method::Fingerprint => "Enrol your finger at this machine",
        };
        let action = format!("new key for {}", host(authority));
        Self { title: title.to_owned(), action, method: Some(method) }
    }

    /// The text for another PIN of a platform key.
    pub fn platform_pin(method: Method) -> Self {
        Self {
            title: "Change the PIN of this machine's own key".to_owned(),
            action: "first the present PIN, then the new one".to_owned(),
            method: Some(method),
        }
    }
}

/// Most characters of a requester's own words.
const MOST_QUOTED: usize = 200;

/// Words of a requester, made harmless: whatever would move, hide or reorder text is spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    /// At most 200 characters; `None` for more, or none.
    pub fn new(text: &str) -> Option<Self> {
        let sound = !text.is_empty() && text.chars().count() <= MOST_QUOTED;
        let spelled = text.chars().flat_map(|character| {
            let plain = shows_as_itself(character);
            let escaped = (!plain).then(|| character.escape_unicode());
            plain.then_some(character).into_iter().chain(escaped.into_iter().flatten())
        });
        sound.then(|| Self(spelled.collect()))
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character is one place of visible text. Others are controls (C0, C1, line and paragraph
/// separators), bidirectional and other invisible format characters (Unicode TR #9, TR #36), tags,
/// variation selectors, private use, and a backslash, which begins what is spelled out.
fn shows_as_itself(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\\' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}'
        )
}

/// A number of two digits for the person to compare.
///
/// # Errors
/// [`Bug::Randomness`].
pub fn number() -> Result<u32, Failure> {
    let mut bytes = [0; 4];
    rand::fill(&mut bytes).map_err(|_| Failure::Internal(Bug::Randomness))?;
    // 90 divides 2^32 with a remainder that nobody can use.
    Ok(10 + u32::from_be_bytes(bytes) % 90)
}

/// Three different numbers in their order, one of them this.
///
/// # Errors
/// [`Bug::Randomness`].
pub fn choices(right: u32) -> Result<Vec<u32>, Failure> {
    let mut choices = vec![right];
    while choices.len() < 3 {
        let other = number()?;
        if !choices.contains(&other) {
            choices.push(other);
        }
    }
    choices.sort_unstable();
    Ok(choices)
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_evidence::ActionKind;

    #[test]
    fn the_words_are_those_of_the_action() {
        let details = ActionDetails {
            kind: ActionKind::SignetAction,
            actions: vec!["mesh.route.update".into()],
            locations: vec!["https://ctl.mesh.example".into()],
            method: "PUT".into(),
            path: "/v1/routes/payments".into(),
            content_digest: String::new(),
        };
        let text = PromptText::new(Purpose::Action, Some(&details), "https://authority.example/x");
        assert_eq!(text.action, "mesh.route.update: PUT ctl.mesh.example/v1/routes/payments");
        let text = PromptText::new(Purpose::Session, None, "https://authority.example:8443/x");
        assert_eq!(text.action, "new session at authority.example:8443");
    }

    #[test]
    fn quoted_words_can_neither_move_nor_hide_nor_reorder_text() {
        let spelled = |text: &str| Quoted::new(text).map(|quoted| quoted.to_string());
        let plain = "Zertifikat für „Straße“ erneuern, 証明書 <b>now</b> & 'so'";
        assert_eq!(spelled(plain).as_deref(), Some(plain));
        for (text, expected) in [
            ("a\nApprove: yes", "a\\u{a}Approve: yes"),
            ("\u{1b}[2J\u{9b}1A", "\\u{1b}[2J\\u{9b}1A"),
            ("gpj.\u{202e}exe\u{2066}", "gpj.\\u{202e}exe\\u{2066}"),
            ("in\u{200b}visi\u{feff}ble\u{e0041}", "in\\u{200b}visi\\u{feff}ble\\u{e0041}"),
            ("\\u{a}", "\\u{5c}u{a}"),
            ("a\u{2028}b\u{85}c\u{0}", "a\\u{2028}b\\u{85}c\\u{0}"),
        ] {
            assert_eq!(spelled(text).as_deref(), Some(expected), "{text:?}");
        }
        assert!(spelled(&"x".repeat(200)).is_some());
        assert_eq!((spelled(&"x".repeat(201)), spelled("")), (None, None));
    }

    #[test]
    fn three_numbers_of_two_digits_and_one_is_right() {
        for _ in 0..200 {
            let right = number().unwrap();
            let offered = choices(right).unwrap();
            assert!(offered.contains(&right) && offered.len() == 3);
            assert!(offered.windows(2).all(|pair| pair[0] < pair[1]), "{offered:?}");
            assert!(offered.iter().all(|number| (10..=99).contains(number)), "{offered:?}");
        }
    }
}
