//! `clientDataJSON`: built byte for byte, checked byte for byte.
//!
//! L3 §5.8.1.1 fixes how clients serialise it, so that verifiers with limited means may compare
//! bytes in place of parsing JSON (§5.8.1.2). Here the host itself is the client, so the text must be
//! exactly the four members and nothing more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

/// What the authenticator was asked for: the `type` member (L3 §5.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceremony {
    /// `webauthn.create`.
    Registration,
    /// `webauthn.get`.
    Authentication,
}

impl Ceremony {
    /// The value of `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registration => "webauthn.create",
            Self::Authentication => "webauthn.get",
        }
    }
}

/// What a `clientDataJSON` must say (L3 §5.8.1, `CollectedClientData`).
///
/// There is no parsed form: the expected values are known before the bytes come, so the bytes are
/// compared with them.
#[derive(Clone, Copy, Debug)]
pub struct ClientData<'a> {
    /// Registration or authentication.
    pub ceremony: Ceremony,
    /// The challenge, before base64url.
    pub challenge: &'a [u8],
    /// The origin, such as `https://presence.mesh.example`.
    pub origin: &'a str,
}

/// Why a `clientDataJSON` is not the one expected. Members are checked in their order.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ClientDataError {
    /// Not the serialisation of L3 §5.8.1.1, at the byte given.
    #[error("client data is not in the serialisation of WebAuthn L3 at byte {at}")]
    Malformed {
        /// Offset of the first byte that fits nothing.
        at: usize,
    },
    /// `type` differs (L3 §7.1 step 7, §7.2 step 10).
    #[error("client data is for another ceremony")]
    Type,
    /// `challenge` differs (L3 §7.1 step 8, §7.2 step 11).
    #[error("client data answers another challenge")]
    Challenge,
    /// `origin` differs (L3 §7.1 step 9, §7.2 step 12).
    #[error("client data names another origin")]
    Origin,
    /// `crossOrigin` is true (L3 §7.1 step 10, §7.2 step 13).
    #[error("client data was made in a cross-origin frame")]
    CrossOrigin,
    /// `topOrigin` is present (L3 §7.1 step 11, §7.2 step 14).
    #[error("client data names a top origin")]
    TopOrigin,
    /// Members follow `crossOrigin`, or bytes follow the object.
    #[error("client data has more than its four members")]
    ExtraMembers,
}

impl ClientData<'_> {
    /// The serialisation of L3 §5.8.1.1 with the four members `type`, `challenge`, `origin` and
    /// `crossOrigin: false`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = b"{\"type\":".to_vec();
        write_string(&mut out, self.ceremony.as_str());
        out.extend_from_slice(b",\"challenge\":");
        write_string(&mut out, &URL_SAFE_NO_PAD.encode(self.challenge));
        out.extend_from_slice(b",\"origin\":");
        write_string(&mut out, self.origin);
        out.extend_from_slice(b",\"crossOrigin\":false}");
        out
    }

    /// Checks received bytes with the limited verification algorithm (L3 §5.8.1.2), made stricter:
    /// the four members, and nothing after them.
    ///
    /// # Errors
    /// The first member that differs. See [`ClientDataError`].
    pub fn check(&self, json: &[u8]) -> Result<(), ClientDataError> {
        use ClientDataError as E;
        let mut rest = Rest { json, at: 0 };
        rest.string(b"{\"type\":", self.ceremony.as_str(), E::Type)?;
        let challenge = URL_SAFE_NO_PAD.encode(self.challenge);
        rest.string(b",\"challenge\":", &challenge, E::Challenge)?;
        rest.string(b",\"origin\":", self.origin, E::Origin)?;
        rest.literal(b",\"crossOrigin\":")?;
        if rest.skip(b"true") {
            return Err(E::CrossOrigin);
        }
        rest.literal(b"false")?;
        match rest.left() {
            b"}" => Ok(()),
            left if left.starts_with(b",\"topOrigin\":") => Err(E::TopOrigin),
            left if left.starts_with(b",") || left.starts_with(b"}") => Err(E::ExtraMembers),
            _ => Err(E::Malformed { at: rest.at }),
        }
    }
}

/// `CCDToString` (L3 §5.8.1.1).
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

struct Rest<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn left(&self) -> &'a [u8] {
        self.json.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, literal: &[u8]) -> bool {
        let found = self.left().starts_with(literal);
        if found {
            self.at += literal.len();
        }
        found
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), ClientDataError> {
        if self.skip(literal) { Ok(()) } else { Err(ClientDataError::Malformed { at: self.at }) }
    }

    /// `key` and then `value` as a string; `mismatch` when there is another string.
    fn string(
        &mut self,
        key: &[u8],
        value: &str,
        mismatch: ClientDataError,
    ) -> Result<(), ClientDataError> {
        self.literal(key)?;
        let mut expected = Vec::new();
        write_string(&mut expected, value);
        if self.skip(&expected) {
            return Ok(());
        }
        // A string stands here, but not this one; anything else is no client data at all.
        if self.left().starts_with(b"\"") {
            Err(mismatch)
        } else {
            Err(ClientDataError::Malformed { at: self.at })
        }
    }
}
