//! PIN/UV auth protocols one and two (CTAP 2.1 §6.5.6, §6.5.7).

use aws_lc_rs::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{hkdf, hmac, rand};
use ciborium::Value;
use zeroize::Zeroizing;

use crate::cbor::{self, Fields};

const BLOCK: usize = 16;

/// Cryptography of the PIN/UV protocol failed: the key sent an unusable public key or ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key agreement with the security key failed")]
pub struct PinProtocolError;

impl From<aws_lc_rs::error::Unspecified> for PinProtocolError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}

/// Number of a PIN/UV auth protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinProtocol {
    /// AES-256-CBC with IV zero, HMAC cut to 16 bytes.
    One,
    /// Separate keys by HKDF, random IV, whole HMAC.
    Two,
}

impl PinProtocol {
    /// The protocol with this number, if we speak it.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    pub(crate) fn value(self) -> Value {
        Value::from(self.number())
    }

    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    fn authenticate(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
        let length = match self {
            Self::One => 16,
            Self::Two => 32,
        };
        tag.as_ref()[..length].to_vec()
    }
}

/// A pinUvAuthToken: permission to act for a short while. Never shown, wiped when dropped.
pub struct Token {
    protocol: PinProtocol,
    bytes: Zeroizing<Vec<u8>>,
}

impl Token {
    /// `pinUvAuthParam` over a message.
    pub(crate) fn authenticate(&self, message: &[u8]) -> Value {
        Value::Bytes(self.protocol.authenticate(&self.bytes, message))
    }

    /// The protocol under which the key gave it.
    pub fn protocol(&self) -> PinProtocol {
        self.protocol
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// A secret shared with the key for one clientPIN exchange.
pub(crate) struct SharedSecret {
    protocol: PinProtocol,
    /// HMAC key and AES key; equal under protocol one.
    hmac: Zeroizing<[u8; 32]>,
    aes: Zeroizing<[u8; 32]>,
    /// Our public key as COSE_Key, for the key.
    pub(crate) platform_key: Value,
}

impl SharedSecret {
    /// `encapsulate`: agrees with the key's COSE_Key.
    pub(crate) fn agree(
        protocol: PinProtocol,
        key_agreement: Value,
    ) -> Result<Self, PinProtocolError> {
        let peer = point_of(key_agreement).ok_or(PinProtocolError)?;
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())?;
        let platform_key =
            cose_key(private.compute_public_key()?.as_ref()).ok_or(PinProtocolError)?;
        let peer = UnparsedPublicKey::new(&ECDH_P256, peer);
        let (hmac, aes) =
            agreement::agree_ephemeral(private, peer, PinProtocolError, |z| derive(protocol, z))?;
        Ok(Self { protocol, hmac, aes, platform_key })
    }

    pub(crate) fn authenticate(&self, message: &[u8]) -> Value {
        Value::Bytes(self.protocol.authenticate(&self.hmac[..], message))
    }

    /// Encrypts whole blocks.
    pub(crate) fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, PinProtocolError> {
        match self.protocol {
            PinProtocol::One => encrypt_blocks(&self.aes, [0; BLOCK], plaintext),
            PinProtocol::Two => {
                let mut iv = [0; BLOCK];
                rand::fill(&mut iv)?;
                let mut out = iv.to_vec();
                out.extend_from_slice(&encrypt_blocks(&self.aes, iv, plaintext)?);
                Ok(out)
            }
        }
    }

    /// Decrypts whole blocks.
    pub(crate) fn decrypt(
        &self,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, PinProtocolError> {
        match self.protocol {
            PinProtocol::One => decrypt_blocks(&self.aes, [0; BLOCK], ciphertext),
            PinProtocol::Two => {
                let (iv, blocks) = ciphertext.split_first_chunk().ok_or(PinProtocolError)?;
                decrypt_blocks(&self.aes, *iv, blocks)
            }
        }
    }

    /// Decrypts a pinUvAuthToken.
    pub(crate) fn decrypt_token(&self, ciphertext: &[u8]) -> Result<Token, PinProtocolError> {
        let bytes = self.decrypt(ciphertext)?;
        let fits = match self.protocol {
            PinProtocol::One => bytes.len() == 16 || bytes.len() == 32,
            PinProtocol::Two => bytes.len() == 32,
        };
        if fits { Ok(Token { protocol: self.protocol, bytes }) } else { Err(PinProtocolError) }
    }
}

type Keys = (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>);

/// `kdf(Z)`; Z is the x-coordinate of the shared point.
fn derive(protocol: PinProtocol, z: &[u8]) -> Result<Keys, PinProtocolError> {
    let mut hmac = Zeroizing::new([0; 32]);
    let mut aes = Zeroizing::new([0; 32]);
    match protocol {
        PinProtocol::One => {
            hmac.copy_from_slice(digest(&SHA256, z).as_ref());
            aes.copy_from_slice(&hmac[..]);
        }
        PinProtocol::Two => {
            let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[0; 32]).extract(z);
            prk.expand(&[b"CTAP2 HMAC key"], hkdf::HKDF_SHA256)?.fill(&mut hmac[..])?;
            prk.expand(&[b"CTAP2 AES key"], hkdf::HKDF_SHA256)?.fill(&mut aes[..])?;
        }
    }
    Ok((hmac, aes))
}

/// AES-256-CBC without padding. aws-lc-rs offers CBC only with PKCS#7 padding, which adds one whole
/// block to whole blocks; that block is cut off again.
fn encrypt_blocks(
    key: &[u8; 32],
    iv: [u8; BLOCK],
    plaintext: &[u8],
) -> Result<Vec<u8>, PinProtocolError> {
    if !plaintext.len().is_multiple_of(BLOCK) {
        return Err(PinProtocolError);
    }
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key)?)?;
    // Room for the padding, so that the plaintext is not left behind by a reallocation.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + BLOCK));
    buffer.extend_from_slice(plaintext);
    key.less_safe_encrypt(&mut *buffer, EncryptionContext::Iv128(FixedLength::from(iv)))?;
    Ok(buffer[..plaintext.len()].to_vec())
}

/// The inverse. The padding block that aws-lc-rs wants to see at the end is made with the same key:
/// the encryption of nothing under the last ciphertext block as IV.
fn decrypt_blocks(
    key: &[u8; 32],
    iv: [u8; BLOCK],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, PinProtocolError> {
    let last = ciphertext.last_chunk::<BLOCK>().ok_or(PinProtocolError)?;
    if !ciphertext.len().is_multiple_of(BLOCK) {
        return Err(PinProtocolError);
    }
    let padder = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key)?)?;
    let mut padding = Vec::with_capacity(BLOCK);
    padder.less_safe_encrypt(&mut padding, EncryptionContext::Iv128(FixedLength::from(*last)))?;
    let mut buffer = Zeroizing::new(Vec::with_capacity(ciphertext.len() + BLOCK));
    buffer.extend_from_slice(ciphertext);
    buffer.extend_from_slice(&padding);
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key)?)?;
    let length = key.decrypt(&mut buffer, DecryptionContext::Iv128(FixedLength::from(iv)))?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// Uncompressed SEC1 point of an EC2 COSE_Key on P-256 (RFC 9053 §7.1.1).
fn point_of(key: Value) -> Option<Vec<u8>> {
    let mut fields = Fields::from_value(key).ok()?;
    if fields.unsigned(1).ok()? != Some(2) || fields.unsigned(-1).ok()? != Some(1) {
        return None;
    }
    let (x, y) = (fields.bytes(-2).ok()??, fields.bytes(-3).ok()??);
    (x.len() == 32 && y.len() == 32).then(|| [&[0x04][..], &x, &y].concat())
}

fn cose_key(point: &[u8]) -> Option<Value> {
    let (x, y) = point.strip_prefix(&[0x04])?.split_at_checked(32)?;
    Some(cbor::map([
        (1, Some(2.into())),
        (3, Some((-25).into())),
        (-1, Some(1.into())),
        (-2, Some(cbor::bytes(x))),
        (-3, Some(cbor::bytes(y))),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38A F.2.5, first two blocks of CBC-AES256.Encrypt.
    #[test]
    fn cbc_matches_nist() {
        let key = *b"\x60\x3d\xeb\x10\x15\xca\x71\xbe\x2b\x73\xae\xf0\x85\x7d\x77\x81\
            \x1f\x35\x2c\x07\x3b\x61\x08\xd7\x2d\x98\x10\xa3\x09\x14\xdf\xf4";
        let iv: [u8; 16] = std::array::from_fn(|i| i as u8);
        let plaintext = b"\x6b\xc1\xbe\xe2\x2e\x40\x9f\x96\xe9\x3d\x7e\x11\x73\x93\x17\x2a\
            \xae\x2d\x8a\x57\x1e\x03\xac\x9c\x9e\xb7\x6f\xac\x45\xaf\x8e\x51";
        let ciphertext = b"\xf5\x8c\x4c\x04\xd6\xe5\xf1\xba\x77\x9e\xab\xfb\x5f\x7b\xfb\xd6\
            \x9c\xfc\x4e\x96\x7e\xdb\x80\x8d\x67\x9f\x77\x7b\xc6\x70\x2c\x7d";
        assert_eq!(encrypt_blocks(&key, iv, plaintext).unwrap(), ciphertext);
        assert_eq!(decrypt_blocks(&key, iv, ciphertext).unwrap()[..], plaintext[..]);
        assert_eq!(decrypt_blocks(&key, iv, &ciphertext[..17]), Err(PinProtocolError));
        assert_eq!(decrypt_blocks(&key, iv, &[]), Err(PinProtocolError));
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let mut point = vec![0x04];
        point.extend_from_slice(&[1; 64]);
        let key = cose_key(&point).unwrap();
        assert_eq!(SharedSecret::agree(PinProtocol::Two, key).map(drop), Err(PinProtocolError));
        assert_eq!(
            SharedSecret::agree(PinProtocol::One, Value::Null).map(drop),
            Err(PinProtocolError)
        );
    }

    #[test]
    fn tokens_show_nothing() {
        let token = Token { protocol: PinProtocol::Two, bytes: Zeroizing::new(vec![0xAB; 32]) };
        assert_eq!(format!("{token:?}"), "Token { protocol: Two, .. }");
    }
}
