//! authenticatorClientPIN (CTAP 2.1 §6.5).

use aws_lc_rs::digest::{SHA256, digest};
use ciborium::Value;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::cbor::{self, DecodeError, Fields};
use crate::channel::Watch;
use crate::key::{CommandError, Key};
use crate::pin_protocol::{PinProtocol, SharedSecret, Token};

const CLIENT_PIN: u8 = 0x06;
/// Longest PIN in UTF-8.
pub(crate) const MAX_PIN_BYTES: usize = 63;
const PADDED_PIN: usize = 64;

/// Sub-commands of clientPIN.
#[derive(Debug, Clone, Copy)]
enum Sub {
    PinRetries = 0x01,
    KeyAgreement = 0x02,
    SetPin = 0x03,
    ChangePin = 0x04,
    PinToken = 0x05,
    TokenUsingUv = 0x06,
    UvRetries = 0x07,
    TokenUsingPin = 0x09,
}

/// What a token may be used for (CTAP 2.1 §6.5.5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    /// makeCredential.
    pub const MAKE_CREDENTIAL: Self = Self(0x01);
    /// getAssertion.
    pub const GET_ASSERTION: Self = Self(0x02);
    /// credentialManagement.
    pub const CREDENTIAL_MANAGEMENT: Self = Self(0x04);
    /// bioEnrollment.
    pub const BIO_ENROLLMENT: Self = Self(0x08);
    /// authenticatorConfig.
    pub const CONFIGURATION: Self = Self(0x20);
}

/// Tries left for the PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinRetries {
    /// Tries left until the key must be reset.
    pub left: u32,
    /// No more tries until the key is plugged in again.
    pub power_cycle_needed: bool,
}

impl Key {
    /// Tries left for the PIN.
    pub async fn pin_retries(&mut self) -> Result<PinRetries, CommandError> {
        let answer = self.client_pin(Sub::PinRetries, [], &mut |_| {}).await?;
        Ok(PinRetries::from_fields(answer)?)
    }

    /// Tries left for built-in user verification.
    pub async fn uv_retries(&mut self) -> Result<u32, CommandError> {
        let mut answer = self.client_pin(Sub::UvRetries, [], &mut |_| {}).await?;
        Ok(answer.unsigned(0x05)?.ok_or(DecodeError::Missing(0x05))?)
    }

    /// Sets the first PIN, at most 63 bytes in NFC.
    pub async fn client_pin_set(&mut self, new: &str) -> Result<(), CommandError> {
        let new = normalized(new);
        let secret = self.agree().await?;
        let new = secret.encrypt(&padded(&new)[..])?;
        let members = [
            (0x03, secret.platform_key.clone()),
            (0x04, secret.authenticate(&new)),
            (0x05, Value::Bytes(new)),
        ];
        self.client_pin(Sub::SetPin, members, &mut |_| {}).await.map(drop)
    }

    /// Changes the PIN.
    pub async fn client_pin_change(&mut self, old: &str, new: &str) -> Result<(), CommandError> {
        let (old, new) = (normalized(old), normalized(new));
        let secret = self.agree().await?;
        let new = secret.encrypt(&padded(&new)[..])?;
        let old = secret.encrypt(&hashed(&old)[..])?;
        let members = [
            (0x03, secret.platform_key.clone()),
            (0x04, secret.authenticate(&[&new[..], &old[..]].concat())),
            (0x05, Value::Bytes(new)),
            (0x06, Value::Bytes(old)),
        ];
        self.client_pin(Sub::ChangePin, members, &mut |_| {}).await.map(drop)
    }

    /// Exchanges the PIN for a token. Keys without permissions give one that is good for all.
    pub async fn token_by_pin(
        &mut self,
        pin: &str,
        permissions: Permissions,
        rp_id: Option<&str>,
    ) -> Result<Token, CommandError> {
        let secret = self.agree().await?;
        let mut members = vec![
            (0x03, secret.platform_key.clone()),
            (0x06, Value::Bytes(secret.encrypt(&hashed(&normalized(pin))[..])?)),
        ];
        let sub = if self.info().has_permissions() {
            members.push((0x09, permissions.0.into()));
            members.extend(rp_id.map(|id| (0x0A, id.into())));
            Sub::TokenUsingPin
        } else {
            Sub::PinToken
        };
        let answer = self.client_pin(sub, members, &mut |_| {}).await?;
        token_of(&secret, answer)
    }

    /// Lets the key verify its user (finger) and give a token. Keys retry inside as they see fit.
    pub async fn token_by_uv(
        &mut self,
        permissions: Permissions,
        rp_id: Option<&str>,
        watch: &mut Watch<'_>,
    ) -> Result<Token, CommandError> {
        let secret = self.agree().await?;
        let mut members = vec![(0x03, secret.platform_key.clone()), (0x09, permissions.0.into())];
        members.extend(rp_id.map(|id| (0x0A, id.into())));
        let answer = self.client_pin(Sub::TokenUsingUv, members, watch).await?;
        token_of(&secret, answer)
    }

    async fn agree(&mut self) -> Result<SharedSecret, CommandError> {
        let mut answer = self.client_pin(Sub::KeyAgreement, [], &mut |_| {}).await?;
        Ok(SharedSecret::agree(self.pin_protocol()?, answer.required(0x01)?)?)
    }

    fn pin_protocol(&self) -> Result<PinProtocol, CommandError> {
        self.info().pin_protocols.first().copied().ok_or(CommandError::NoPinProtocol)
    }

    async fn client_pin(
        &mut self,
        sub: Sub,
        members: impl IntoIterator<Item = (i64, Value)>,
        watch: &mut Watch<'_>,
    ) -> Result<Fields, CommandError> {
        let protocol = self.pin_protocol()?;
        let head = [(0x01, protocol.value()), (0x02, (sub as u8).into())];
        let members = head.into_iter().chain(members);
        let request = Value::Map(members.map(|(key, value)| (key.into(), value)).collect());
        self.call(CLIENT_PIN, Some(&request), watch).await
    }
}

impl PinRetries {
    pub(crate) fn from_fields(mut answer: Fields) -> Result<Self, DecodeError> {
        Ok(Self {
            left: answer.unsigned(0x03)?.ok_or(DecodeError::Missing(0x03))?,
            power_cycle_needed: answer.flag(0x04)?.unwrap_or(false),
        })
    }
}

pub(crate) fn token_of(secret: &SharedSecret, mut answer: Fields) -> Result<Token, CommandError> {
    let encrypted = answer.bytes(0x02)?.ok_or(DecodeError::Missing(0x02))?;
    Ok(secret.decrypt_token(&encrypted)?)
}

/// The PIN in Unicode NFC (§6.5.1), so that every keyboard types the same one.
pub(crate) fn normalized(pin: &str) -> Zeroizing<String> {
    // NFC makes UTF-8 at most three times as long; room for it, so that no copy is left behind.
    let mut normalized = Zeroizing::new(String::with_capacity(3 * pin.len()));
    normalized.extend(pin.nfc());
    normalized
}

/// The PIN padded with zeros to 64 bytes; longer PINs were refused before.
fn padded(pin: &str) -> Zeroizing<[u8; PADDED_PIN]> {
    let mut padded = Zeroizing::new([0; PADDED_PIN]);
    let length = pin.len().min(MAX_PIN_BYTES);
    padded[..length].copy_from_slice(&pin.as_bytes()[..length]);
    padded
}

/// The first half of the PIN's SHA-256.
fn hashed(pin: &str) -> Zeroizing<[u8; 16]> {
    let mut hash = Zeroizing::new([0; 16]);
    hash.copy_from_slice(&digest(&SHA256, pin.as_bytes()).as_ref()[..16]);
    hash
}

/// Helper of management commands: the encoded sub-command parameters.
pub(super) fn encoded(parameters: Option<&Value>) -> Vec<u8> {
    parameters.map(cbor::encode).unwrap_or_default()
}
