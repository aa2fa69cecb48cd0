//! Secrets under a passphrase: PKCS#8 with PBES2 (RFC 5958 §3, RFC 8018 §6.2), the form that `openssl pkcs8
//! -topk8` writes: PBKDF2 with HMAC-SHA-256, AES-256-CBC.
//!
//! CBC protects nothing against change; what comes out is believed only where it parses as the key that it
//! should be, and whoever can change these files can as well put other keys in their place.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

/// What such a file starts with (RFC 7468 §11).
const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// PBKDF2's rounds for what is sealed here (OWASP, 2023).
const ROUNDS: u32 = 600_000;
/// Most rounds that a file may ask for: a minute of work, or thereabouts.
const MAX_ROUNDS: u32 = 100_000_000;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
/// `id-PBES2`, `id-PBKDF2` (RFC 8018 §A), `id-hmacWithSHA256` (RFC 8018 §B.1.2), `aes256-CBC-PAD`.
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
const NULL: &[u8] = &[0x05, 0x00];

/// A sealed secret that does not open.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SealError {
    /// Another form, or another algorithm.
    #[error(
        "it is not encrypted by PBES2 with PBKDF2, HMAC-SHA-256 and AES-256-CBC; `openssl pkcs8 -topk8 -v2 \
         aes-256-cbc -v2prf hmacWithSHA256` writes that"
    )]
    Form,
    /// Not this passphrase.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// The system gives no random bytes.
    #[error("there is no randomness")]
    Random,
}

/// Whether a file holds a sealed secret.
pub(super) fn is_sealed(text: &str) -> bool {
    text.trim_start().starts_with(BEGIN)
}

/// `content`, a key in PKCS#8 (DER) or another secret text, under `passphrase`; PEM.
pub(super) fn seal(content: &Content, passphrase: &str) -> Result<String, SealError> {
    let parameters = Parameters { salt: salt(), rounds: ROUNDS };
    let key = derived(passphrase, &parameters)?;
    let key = UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(|_| SealError::Random)?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(|_| SealError::Random)?;
    let vector = crate::random::bytes::<16>();
    let mut bytes = content.to_der().to_vec();
    let context = EncryptionContext::Iv128(FixedLength::from(&vector));
    key.less_safe_encrypt(&mut bytes, context).map_err(|_| SealError::Random)?;
    let body = STANDARD.encode(encode(&parameters, &vector, &bytes));
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Ok(format!("{BEGIN}\n{}\n{END}\n", lines.join("\n")))
}

/// The secret in the sealed `text`.
pub(super) fn open(text: &str, passphrase: &str) -> Result<Content, SealError> {
    let body = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let body: String = body.ok_or(SealError::Form)?.split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| SealError::Form)?;
    let (parameters, vector, sealed) = decode(&der).ok_or(SealError::Form)?;
    let key = derived(passphrase, &parameters)?;
    let key = UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(|_| SealError::Form)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| SealError::Form)?;
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let context = DecryptionContext::Iv128(FixedLength::from(&vector));
    let opened = key.decrypt(&mut bytes, context).map_err(|_| SealError::Passphrase)?;
    Content::from_der(opened).ok_or(SealError::Passphrase)
}

/// What is sealed.
pub(super) enum Content {
    /// A private key, PKCS#8 (DER).
    Key(Zeroizing<Vec<u8>>),
    /// Another secret: a text.
    Text(Zeroizing<String>),
}

impl Content {
    /// A key as it is; a text as an OCTET STRING, so that neither is taken for the other.
    fn to_der(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Key(der) => der.clone(),
            Self::Text(text) => Zeroizing::new(tagged(OCTETS, text.as_bytes())),
        }
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let mut input = der;
        match *der.first()? {
            SEQUENCE => {
                take(&mut input, SEQUENCE).filter(|_| input.is_empty())?;
                Some(Self::Key(Zeroizing::new(der.to_vec())))
            }
            _ => {
                let text = take(&mut input, OCTETS).filter(|_| input.is_empty())?;
                Some(Self::Text(Zeroizing::new(std::str::from_utf8(text).ok()?.to_owned())))
            }
        }
    }
}

/// What a key is derived with.
#[derive(Clone, PartialEq, Eq)]
struct Parameters {
    salt: Vec<u8>,
    rounds: u32,
}

struct Derived {
    parameters: Parameters,
    /// Of the passphrase: another one has another key.
    passphrase: Zeroizing<String>,
    key: Zeroizing<[u8; 32]>,
}

/// Keys that were derived already: the files of a directory share one salt, so that a start derives
/// one. Memory of this program is locked.
static DERIVED: Mutex<Vec<Derived>> = Mutex::new(Vec::new());

/// The salt of the file that was opened last, or a new one.
fn salt() -> Vec<u8> {
    let known = DERIVED.lock().unwrap_or_else(PoisonError::into_inner);
    let last = known.last().filter(|last| last.parameters.rounds >= ROUNDS);
    last.map_or_else(|| crate::random::bytes::<16>().to_vec(), |last| last.parameters.salt.clone())
}

fn derived(passphrase: &str, parameters: &Parameters) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let mut known = DERIVED.lock().unwrap_or_else(PoisonError::into_inner);
    let same =
        |one: &&Derived| one.parameters == *parameters && one.passphrase.as_str() == passphrase;
    if let Some(found) = known.iter().find(same) {
        return Ok(found.key.clone());
    }
    let rounds = NonZeroU32::new(parameters.rounds).ok_or(SealError::Form)?;
    let mut key = Zeroizing::new([0; 32]);
    let (algorithm, secret) = (pbkdf2::PBKDF2_HMAC_SHA256, passphrase.as_bytes());
    pbkdf2::derive(algorithm, rounds, &parameters.salt, secret, key.as_mut_slice());
    known.push(Derived {
        parameters: parameters.clone(),
        passphrase: Zeroizing::new(passphrase.to_owned()),
        key: key.clone(),
    });
    Ok(key)
}

fn encode(parameters: &Parameters, vector: &[u8; 16], sealed: &[u8]) -> Vec<u8> {
    let mut rounds = parameters.rounds.to_be_bytes().to_vec();
    while rounds.len() > 1 && rounds[0] == 0 && rounds[1] < 0x80 {
        rounds.remove(0);
    }
    if rounds[0] >= 0x80 {
        rounds.insert(0, 0);
    }
    let function = tagged(SEQUENCE, &[&tagged(OBJECT, HMAC_SHA256), NULL].concat());
    let derivation = [tagged(OCTETS, &parameters.salt), tagged(INTEGER, &rounds), function];
    let derivation = [tagged(OBJECT, PBKDF2), tagged(SEQUENCE, &derivation.concat())].concat();
    let cipher = [tagged(OBJECT, AES_256_CBC), tagged(OCTETS, vector)].concat();
    let scheme = [tagged(SEQUENCE, &derivation), tagged(SEQUENCE, &cipher)].concat();
    let algorithm = [tagged(OBJECT, PBES2), tagged(SEQUENCE, &scheme)].concat();
    tagged(SEQUENCE, &[tagged(SEQUENCE, &algorithm), tagged(OCTETS, sealed)].concat())
}

fn decode(der: &[u8]) -> Option<(Parameters, [u8; 16], &[u8])> {
    let mut input = der;
    let mut info = take(&mut input, SEQUENCE).filter(|_| input.is_empty())?;
    let mut algorithm = take(&mut info, SEQUENCE)?;
    let sealed = take(&mut info, OCTETS).filter(|_| info.is_empty())?;
    take(&mut algorithm, OBJECT).filter(|name| *name == PBES2)?;
    let mut scheme = take(&mut algorithm, SEQUENCE)?;
    let (mut derivation, mut cipher) = (take(&mut scheme, SEQUENCE)?, take(&mut scheme, SEQUENCE)?);
    take(&mut derivation, OBJECT).filter(|name| *name == PBKDF2)?;
    let mut derivation = take(&mut derivation, SEQUENCE)?;
    let salt = take(&mut derivation, OCTETS)?.to_vec();
    let rounds = number(take(&mut derivation, INTEGER)?)?;
    if derivation.first() == Some(&INTEGER) {
        number(take(&mut derivation, INTEGER)?).filter(|length| *length == 32)?;
    }
    let mut function = take(&mut derivation, SEQUENCE)?;
    take(&mut function, OBJECT).filter(|name| *name == HMAC_SHA256)?;
    take(&mut cipher, OBJECT).filter(|name| *name == AES_256_CBC)?;
    let vector = take(&mut cipher, OCTETS)?.try_into().ok()?;
    (1..=MAX_ROUNDS).contains(&rounds).then_some((Parameters { salt, rounds }, vector, sealed))
}

/// A small positive INTEGER.
fn number(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let fits = bytes.len() <= 4;
    fits.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// A DER element (X.690 §8.1) of less than 64 KiB.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head: &[u8] = match (high, low) {
        (0, 0..=0x7f) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, content].concat()
}

/// Takes the element at the start of `input`, which has this tag, and returns what is in it.
fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, rest) = input.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), rest.get(2..)?),
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *input = after;
    (*found == tag).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: &Content) -> Option<String> {
        match of {
            Content::Text(text) => Some(text.to_string()),
            Content::Key(_) => None,
        }
    }

    #[test]
    fn a_sealed_secret_opens_with_its_passphrase_only() {
        let secret = Content::Text(Zeroizing::new("0+sounds like DER".to_owned()));
        let sealed = seal(&secret, "correct horse").unwrap();
        assert!(is_sealed(&sealed));
        assert_eq!(text(&open(&sealed, "correct horse").unwrap()), text(&secret));
        assert_ne!(seal(&secret, "correct horse").unwrap(), sealed, "each has its own vector");
        // A wrong passphrase gives bytes that are no content; one in 2^16 would pad well.
        assert!(matches!(open(&sealed, "battery staple"), Err(SealError::Passphrase)));
        let cut = sealed.replace("\n-----END", "AAAA\n-----END");
        assert!(matches!(open(&cut, "correct horse"), Err(SealError::Form)));
        for no in [
            "",
            BEGIN,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----",
        ] {
            assert!(matches!(open(no, "x"), Err(SealError::Form)), "{no}");
        }
    }

    #[test]
    fn numbers_and_lengths_are_der() {
        for length in [0, 1, 127, 128, 255, 256, 40_000] {
            let content = vec![7; length];
            let der = tagged(OCTETS, &content);
            assert_eq!(take(&mut der.as_slice(), OCTETS), Some(content.as_slice()), "{length}");
            assert_eq!(take(&mut der.get(..der.len() - 1).unwrap(), OCTETS), None, "{length}");
        }
        assert_eq!(number(&[0, 0x80]), Some(128));
        assert_eq!(number(&[1, 2, 3, 4, 5]), None);
    }
}
