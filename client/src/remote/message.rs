//! Control messages: JSON objects with a `kind`. Unknown kinds and members are refused; what is new
//! gets another [`VERSION`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frame::{Frame, Kind};

/// Version of the protocol.
pub const VERSION: u32 = 1;
/// Longest body of a request.
pub const MAX_BODY: usize = 1024 * 1024;

/// A header of a request or an answer: name, value.
pub type Header = (String, String);

/// What the far host says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FarMessage {
    /// First of all.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// Its own name, which nobody checks and the prompt shows so.
        host: String,
    },
    /// What is wanted; then the body, in body frames of `body_length` bytes together.
    Ask(Wanted),
    /// The gateway was reached, and its bytes follow.
    Connected {},
    /// The gateway was not reached.
    Unreachable {
        /// Why, for a person.
        message: String,
    },
}

/// A request that is to be approved and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only `action` is served.
    pub purpose: String,
    /// HTTP method.
    pub method: String,
    /// https URL.
    pub url: String,
    /// Names of the action.
    pub actions: Vec<String>,
    /// Headers; only those of a fixed list are taken.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Bytes of the body.
    #[serde(default)]
    pub body_length: u64,
    /// Assurance asked for.
    #[serde(default)]
    pub acr: Option<String>,
}

/// What the workstation says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StationMessage {
    /// The answer to the far host's hello.
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// What the person at the workstation is asked to do.
    Progress {
        /// In words.
        words: String,
    },
    /// It was approved: connect to the URL's host and port, and carry the bytes.
    Connect {},
    /// What the gateway answered; the body follows in body frames, then `end`.
    Answer {
        /// HTTP status.
        status: u16,
        /// Its headers.
        headers: Vec<Header>,
    },
    /// The end of the answer.
    End {},
    /// It was not done; the last message.
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// A code: of this protocol, of `signetd` or of the authority.
    pub code: String,
    /// What to do, for a person.
    pub message: String,
    /// Whether nothing was decided: a part that is missing or busy, not a no.
    pub unavailable: bool,
}

/// A message as a frame.
pub(super) fn framed(message: &impl Serialize) -> Frame {
    // Of strings and numbers only: this cannot fail.
    Frame { kind: Kind::Control, content: serde_json::to_vec(message).unwrap_or_default() }
}

/// The message in a frame; `None` when it holds none.
pub(super) fn read<T: DeserializeOwned>(frame: &Frame) -> Option<T> {
    if frame.kind != Kind::Control {
        return None;
    }
    serde_json::from_slice(&frame.content).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_documented_and_nothing_else_is_one() {
        let document = include_str!("../../../docs/remote.md");
        let mut known = 0;
        for line in document.lines() {
            let Some(text) = line.strip_prefix("| `{") else { continue };
            let (text, _) = text.split_once("}` |").unwrap();
            let text = format!("{{{text}}}");
            let frame = Frame { kind: Kind::Control, content: text.clone().into_bytes() };
            let far: Option<FarMessage> = read(&frame);
            let station: Option<StationMessage> = read(&frame);
            assert!(far.is_some() || station.is_some(), "{text}");
            let again = far.map(|message| framed(&message)).or(station.map(|one| framed(&one)));
            let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
            assert_eq!(value(&again.unwrap().content), value(&frame.content));
            known += 1;
        }
        assert_eq!(known, 10);
        for wrong in [
            r#"{"kind":"hello","version":1,"host":"a","extra":1}"#,
            r#"{"kind":"sign","message":"AAAA"}"#,
            r#"{"kind":"ask","purpose":"action","method":"GET"}"#,
            "[]",
            "",
        ] {
            let frame = Frame { kind: Kind::Control, content: wrong.into() };
            assert_eq!(read::<FarMessage>(&frame), None, "{wrong}");
        }
        let body = Frame { kind: Kind::Body, content: br#"{"kind":"connected"}"#.to_vec() };
        assert_eq!(read::<FarMessage>(&body), None);
    }
}
