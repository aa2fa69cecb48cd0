//! Token Status List (draft-ietf-oauth-status-list-20): one bit a session, set when it was revoked.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::json;
use signet_evidence::UnixTime;
use signet_verifier::token::{SigningUnavailable, TokenSigner};

/// Sessions in one list. A list of this size is 8 KiB before compression.
pub const LIST_LENGTH: u64 = 65_536;
/// Media type of the JWT form (§14.8).
pub const MEDIA_TYPE: &str = "application/statuslist+jwt";
/// How long a gateway may use a list without asking again, in seconds.
pub const TIME_TO_LIVE: i64 = 10;
/// How long a list may be used at all, in seconds.
const LIFETIME: i64 = 60;

/// One list of one-bit statuses (§4.1): bit `i % 8` of byte `i / 8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusList {
    bits: Vec<u8>,
}

impl StatusList {
    /// A list of `length` entries, all valid; `length` is rounded up to whole bytes.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self { bits: vec![0; usize::try_from(length.div_ceil(8)).unwrap_or(0)] }
    }

    /// Marks entry `index` invalid; beyond the list nothing happens.
    pub fn set(&mut self, index: u64) {
        let byte = usize::try_from(index / 8).ok().and_then(|at| self.bits.get_mut(at));
        if let Some(byte) = byte {
            *byte |= 1 << (index % 8);
        }
    }

    /// The `lst` member: zlib (RFC 1950) at the highest level, base64url (§4.2).
    #[must_use]
    pub fn encoded(&self) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        // Writing to a `Vec` does not fail.
        let compressed = encoder.write_all(&self.bits).and_then(|()| encoder.finish());
        URL_SAFE_NO_PAD.encode(compressed.unwrap_or_default())
    }

    /// The signed list (§5.1).
    ///
    /// # Errors
    /// [`SigningUnavailable`].
    pub fn to_jwt(
        &self,
        uri: &str,
        now: UnixTime,
        signer: &dyn TokenSigner,
    ) -> Result<String, SigningUnavailable> {
        let header = json!({"alg": "ES256", "kid": signer.key_id(), "typ": "statuslist+jwt"});
        let claims = json!({
            "sub": uri,
            "iat": now.0,
            "exp": now.0.saturating_add(LIFETIME),
            "ttl": TIME_TO_LIVE,
            "status_list": {"bits": 1, "lst": self.encoded()},
        });
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = signer.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::PathBuf;

    use flate2::read::ZlibDecoder;

    use super::*;

    fn published(name: &str) -> String {
        let folder =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/published/status-list");
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let (_, rest) = text.split_once("\"lst\": \"").unwrap();
        rest.split('"').next().unwrap().split_whitespace().collect()
    }

    fn inflate(list: &str) -> Vec<u8> {
        let mut bits = Vec::new();
        let compressed = URL_SAFE_NO_PAD.decode(list).unwrap();
        ZlibDecoder::new(compressed.as_slice()).read_to_end(&mut bits).unwrap();
        bits
    }

    #[test]
    fn the_published_example_of_sixteen_statuses() {
        let mut list = StatusList::new(16);
        for index in [0, 3, 4, 5, 7, 8, 9, 13, 15] {
            list.set(index);
        }
        assert_eq!(list.bits, [0xb9, 0xa3]);
        assert_eq!(inflate(&published("status_list_encoding_json.md")), list.bits);
        assert_eq!(inflate(&list.encoded()), list.bits);
    }

    #[test]
    fn the_published_example_of_a_million_statuses() {
        let mut list = StatusList::new(1 << 20);
        for index in [
            0, 1993, 25460, 159_495, 495_669, 554_353, 645_645, 723_232, 854_545, 934_534,
            1_000_345,
        ] {
            list.set(index);
        }
        assert_eq!(inflate(&published("status_list_encoding1_long_json.md")), list.bits);
    }

    #[test]
    fn an_index_beyond_the_list_changes_nothing() {
        let mut list = StatusList::new(8);
        list.set(8);
        list.set(u64::MAX);
        assert_eq!(list, StatusList::new(8));
    }
}
