//! U2F, the generation before CTAP2: touch only (U2F Raw Message Formats 1.2).

use crate::cbor::DecodeError;
use crate::channel::Watch;
use crate::key::{CommandError, Key};
use crate::status::StatusWord;

const REGISTER: u8 = 0x01;
const AUTHENTICATE: u8 = 0x02;
const VERSION: u8 = 0x03;

/// Longest key handle; its length is one byte.
pub(crate) const MAX_KEY_HANDLE: usize = 255;
/// Uncompressed SEC1 point on P-256.
const POINT: usize = 65;

/// Control byte of an authentication request (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    CheckOnly = 0x07,
    EnforceUserPresence = 0x03,
}

/// Answer to a registration request (§4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct U2fRegistration {
    /// Public key, uncompressed SEC1 point on P-256.
    pub public_point: [u8; POINT],
    /// Credential id.
    pub key_handle: Vec<u8>,
    /// Attestation certificate, DER.
    pub certificate: Vec<u8>,
    /// ECDSA signature by the certificate's key, DER.
    pub signature: Vec<u8>,
}

impl U2fRegistration {
    /// Reads an answer without its status word.
    pub fn parse(answer: &[u8]) -> Result<Self, DecodeError> {
        const BAD: DecodeError = DecodeError::U2f;
        const RESERVED: u8 = 0x05;
        let (&reserved, rest) = answer.split_first().ok_or(BAD)?;
        let (public_point, rest) = rest.split_first_chunk::<POINT>().ok_or(BAD)?;
        let (&length, rest) = rest.split_first().ok_or(BAD)?;
        let (key_handle, rest) = rest.split_at_checked(length.into()).ok_or(BAD)?;
        let (certificate, signature) =
            der_sequence(rest).and_then(|length| rest.split_at_checked(length)).ok_or(BAD)?;
        let whole = der_sequence(signature) == Some(signature.len());
        if reserved != RESERVED || public_point[0] != 0x04 || key_handle.is_empty() || !whole {
            return Err(BAD);
        }
        Ok(Self {
            public_point: *public_point,
            key_handle: key_handle.to_vec(),
            certificate: certificate.to_vec(),
            signature: signature.to_vec(),
        })
    }
}

/// Answer to an authentication request (§5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct U2fAssertion {
    /// Bit 0: somebody touched the key.
    pub user_presence: u8,
    /// Signature counter.
    pub counter: u32,
    /// ECDSA signature over application parameter, user presence, counter and challenge parameter, DER.
    pub signature: Vec<u8>,
}

impl U2fAssertion {
    /// Reads an answer without its status word.
    pub fn parse(answer: &[u8]) -> Result<Self, DecodeError> {
        const BAD: DecodeError = DecodeError::U2f;
        let (&user_presence, rest) = answer.split_first().ok_or(BAD)?;
        let (counter, signature) = rest.split_first_chunk::<4>().ok_or(BAD)?;
        if der_sequence(signature) != Some(signature.len()) {
            return Err(BAD);
        }
        let counter = u32::from_be_bytes(*counter);
        Ok(Self { user_presence, counter, signature: signature.to_vec() })
    }
}

/// Length of the DER SEQUENCE at the start of `bytes`, header included, if all of it is there.
fn der_sequence(bytes: &[u8]) -> Option<usize> {
    const SEQUENCE: u8 = 0x30;
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (header, length) = match first {
        0..=0x7F => (2, usize::from(first)),
        // Certificates are shorter than 64 KiB.
        0x81 => (3, usize::from(*rest.first()?)),
        0x82 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        _ => return None,
    };
    let whole = header + length;
    (tag == SEQUENCE && whole <= bytes.len()).then_some(whole)
}

impl Key {
    /// The version it speaks, `U2F_V2`.
    pub async fn u2f_version(&mut self) -> Result<String, CommandError> {
        let answer = self.u2f(VERSION, 0, &[], &mut |_| {}).await?;
        String::from_utf8(answer).map_err(|_| DecodeError::U2f.into())
    }

    /// Makes a credential, or answers [`StatusWord::CONDITIONS_NOT_SATISFIED`] until touched.
    pub async fn u2f_register(
        &mut self,
        challenge: &[u8; 32],
        application: &[u8; 32],
        watch: &mut Watch<'_>,
    ) -> Result<U2fRegistration, CommandError> {
        let data = [&challenge[..], application].concat();
        let answer = self.u2f(REGISTER, 0, &data, watch).await?;
        Ok(U2fRegistration::parse(&answer)?)
    }

    /// Whether the key made this key handle for this application. No touch.
    pub async fn u2f_knows(
        &mut self,
        application: &[u8; 32],
        key_handle: &[u8],
    ) -> Result<bool, CommandError> {
        let data = authentication(&[0; 32], application, key_handle);
        match self.u2f(AUTHENTICATE, Control::CheckOnly as u8, &data, &mut |_| {}).await {
            // "despite the name, this signals a success condition"
            Err(CommandError::StatusWord(StatusWord::CONDITIONS_NOT_SATISFIED)) => Ok(true),
            // Some keys judge the length of a foreign handle first.
            Err(CommandError::StatusWord(StatusWord::WRONG_DATA | StatusWord::WRONG_LENGTH)) => {
                Ok(false)
            }
            Err(error) => Err(error),
            // A key that signs although it was only asked whether it knows.
            Ok(_) => Err(DecodeError::U2f.into()),
        }
    }

    /// Signs, or answers [`StatusWord::CONDITIONS_NOT_SATISFIED`] until touched.
    pub async fn u2f_authenticate(
        &mut self,
        challenge: &[u8; 32],
        application: &[u8; 32],
        key_handle: &[u8],
        watch: &mut Watch<'_>,
    ) -> Result<U2fAssertion, CommandError> {
        let data = authentication(challenge, application, key_handle);
        let control = Control::EnforceUserPresence as u8;
        let answer = self.u2f(AUTHENTICATE, control, &data, watch).await?;
        Ok(U2fAssertion::parse(&answer)?)
    }

    /// Sends an APDU with extended lengths (§3.1) and returns the data of the answer.
    async fn u2f(
        &mut self,
        instruction: u8,
        parameter: u8,
        data: &[u8],
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u8>, CommandError> {
        const CLASS: u8 = 0;
        let mut request = vec![CLASS, instruction, parameter, 0, 0];
        if !data.is_empty() {
            // At most 32 + 32 + 1 + 255 bytes.
            request.extend_from_slice(&(data.len() as u16).to_be_bytes());
            request.extend_from_slice(data);
        }
        // As long an answer as there is.
        request.extend_from_slice(&[0, 0]);
        let mut answer = self.channel().message(&request, watch).await?;
        let at = answer.len().checked_sub(2).ok_or(DecodeError::Empty)?;
        let word = StatusWord(u16::from_be_bytes([answer[at], answer[at + 1]]));
        answer.truncate(at);
        tracing::debug!(instruction, %word, "u2f command");
        match word {
            StatusWord::NO_ERROR => Ok(answer),
            word => Err(CommandError::StatusWord(word)),
        }
    }
}

/// Data of an authentication request; `key_handle` has at most [`MAX_KEY_HANDLE`] bytes.
fn authentication(challenge: &[u8; 32], application: &[u8; 32], key_handle: &[u8]) -> Vec<u8> {
    let handle = &key_handle[..key_handle.len().min(MAX_KEY_HANDLE)];
    [&challenge[..], application, &[handle.len() as u8], handle].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registration(certificate: &[u8], signature: &[u8]) -> Vec<u8> {
        [&[5, 4][..], &[7; 64], &[3], b"abc", certificate, signature].concat()
    }

    #[test]
    fn a_registration_is_taken_apart() {
        let certificate = [&[0x30, 0x82, 0x01, 0x00][..], &[9; 256]].concat();
        let signature = [0x30, 0x03, 1, 2, 3];
        let read = U2fRegistration::parse(&registration(&certificate, &signature)).unwrap();
        assert_eq!((&read.key_handle[..], &read.certificate), (&b"abc"[..], &certificate));
        assert_eq!(read.signature, signature);
        let trailing = registration(&certificate, &[0x30, 0x03, 1, 2, 3, 4]);
        assert_eq!(U2fRegistration::parse(&trailing), Err(DecodeError::U2f));
        let cut = &trailing[..trailing.len() - 2];
        assert_eq!(U2fRegistration::parse(cut), Err(DecodeError::U2f));
        let mut compressed = registration(&certificate, &signature);
        compressed[1] = 0x02;
        assert_eq!(U2fRegistration::parse(&compressed), Err(DecodeError::U2f));
    }

    #[test]
    fn an_assertion_is_taken_apart() {
        let read = U2fAssertion::parse(&[1, 0, 0, 1, 2, 0x30, 1, 9]).unwrap();
        assert_eq!((read.user_presence, read.counter), (1, 258));
        assert_eq!(read.signature, [0x30, 1, 9]);
        assert_eq!(U2fAssertion::parse(&[1, 0, 0, 1, 2, 0x30, 2, 9]), Err(DecodeError::U2f));
        assert_eq!(U2fAssertion::parse(&[1, 0, 0]), Err(DecodeError::U2f));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(tail: Vec<u8>) {
            let _ = U2fRegistration::parse(&tail);
            let _ = U2fRegistration::parse(&[&[5, 4][..], &[7; 64], &tail].concat());
            let _ = U2fAssertion::parse(&tail);
        }
    }
}
