//! Authenticator data (WebAuthn L3 §6.1), read only as far as a client needs it.

use crate::cbor::{self, DecodeError};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const ATTESTED_CREDENTIAL: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// What a key signs beside the client data hash.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthenticatorData {
    /// SHA-256 of the RP ID.
    pub rp_id_hash: [u8; 32],
    /// Flag UP: someone touched the key.
    pub user_present: bool,
    /// Flag UV: the key verified its user.
    pub user_verified: bool,
    /// Signature counter.
    pub counter: u32,
    /// The new credential, in answers to makeCredential.
    pub credential: Option<AttestedCredential>,
    /// Extension outputs, a CBOR map.
    pub extensions: Option<ciborium::Value>,
}

/// Attested credential data (WebAuthn L3 §6.5.2).
#[derive(Debug, Clone, PartialEq)]
pub struct AttestedCredential {
    /// Model of the key.
    pub aaguid: [u8; 16],
    /// Credential id, at most 1023 bytes.
    pub id: Vec<u8>,
    /// COSE_Key of the credential.
    pub public_key: ciborium::Value,
}

impl AuthenticatorData {
    /// Reads exactly these bytes; anything left over is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        const BAD: DecodeError = DecodeError::AuthenticatorData;
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(BAD)?;
        let (&flags, rest) = rest.split_first().ok_or(BAD)?;
        let (counter, mut rest) = rest.split_first_chunk::<4>().ok_or(BAD)?;
        let mut credential = None;
        if flags & ATTESTED_CREDENTIAL != 0 {
            let (parsed, after) = AttestedCredential::parse(rest)?;
            credential = Some(parsed);
            rest = after;
        }
        let mut extensions = None;
        if flags & EXTENSIONS != 0 {
            let (parsed, after) = cbor::decode_prefix(rest)?;
            extensions = Some(parsed);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(BAD);
        }
        Ok(Self {
            rp_id_hash: *rp_id_hash,
            user_present: flags & USER_PRESENT != 0,
            user_verified: flags & USER_VERIFIED != 0,
            counter: u32::from_be_bytes(*counter),
            credential,
            extensions,
        })
    }

    /// Output of the extension `name`.
    pub fn extension(&self, name: &str) -> Option<&ciborium::Value> {
        let entries = self.extensions.as_ref()?.as_map()?;
        entries.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
    }
}

impl AttestedCredential {
    fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        const BAD: DecodeError = DecodeError::AuthenticatorData;
        const MAX_ID: usize = 1023;
        let (aaguid, rest) = bytes.split_first_chunk::<16>().ok_or(BAD)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(BAD)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_ID {
            return Err(BAD);
        }
        let (id, rest) = rest.split_at_checked(length).ok_or(BAD)?;
        let (public_key, rest) = cbor::decode_prefix(rest)?;
        Ok((Self { aaguid: *aaguid, id: id.to_vec(), public_key }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_flags_and_counter() {
        let mut bytes = vec![7; 32];
        bytes.extend_from_slice(&[0x05, 0, 0, 1, 2]);
        let data = AuthenticatorData::parse(&bytes).unwrap();
        assert_eq!((data.user_present, data.user_verified, data.counter), (true, true, 258));
        bytes.push(0);
        assert_eq!(AuthenticatorData::parse(&bytes), Err(DecodeError::AuthenticatorData));
        assert_eq!(AuthenticatorData::parse(&bytes[..36]), Err(DecodeError::AuthenticatorData));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), flags: u8) {
            if let Some(byte) = bytes.get_mut(32) { *byte = flags }
            let _ = AuthenticatorData::parse(&bytes);
        }
    }
}
