//! Signed notes (c2sp.org/signed-note): a text, and signatures of known keys under it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signet_evidence::UnixTime;
use signet_evidence::binding::sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::token::SigningUnavailable;

/// Longest note that is read.
const MAX_NOTE: usize = 64 * 1024;
/// Most signatures that are looked at.
const MAX_SIGNATURES: usize = 64;
/// What a signature line starts with: an em dash and a space.
const SIGNATURE_LINE: &str = "\u{2014} ";

/// Not a signed note that can be believed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoteError {
    /// Longer than any note of ours.
    #[error("the note is too long")]
    TooLong,
    /// No text, no signatures, or control characters.
    #[error("not a signed note (c2sp.org/signed-note)")]
    Format,
    /// No signature by that key.
    #[error("the note has no signature by {0}")]
    Unsigned(String),
    /// A signature that is not by the key that it names.
    #[error("the note's signature by {0} is wrong")]
    Signature(String),
}

/// Not a key as notes name them.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoteKeyError {
    /// Not `name+hash+key`.
    #[error("not a key of the form NAME+HASH+KEY (c2sp.org/signed-note)")]
    Format,
    /// Another algorithm than Ed25519.
    #[error("the key is not an Ed25519 key of a log or a witness")]
    Algorithm,
    /// The hash is not that of name and key.
    #[error("the key does not belong to its name and hash: copy it again")]
    Hash,
}

/// What a key signs; the signature type of signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// A note: a log's checkpoints.
    Log = 1,
    /// A cosignature with its time (c2sp.org/tlog-cosignature): a witness's.
    Witness = 4,
}

/// A public key with the name that its signature lines carry. Displayed as signed-note's verifier key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NoteKey {
    name: String,
    kind: SignatureKind,
    key: [u8; 32],
}

impl NoteKey {
    /// The key `key` (Ed25519) of a log or witness called `name`.
    ///
    /// # Errors
    /// [`NoteKeyError::Format`] for a name with spaces or `+`.
    pub fn new(name: &str, kind: SignatureKind, key: [u8; 32]) -> Result<Self, NoteKeyError> {
        if !is_key_name(name) {
            return Err(NoteKeyError::Format);
        }
        Ok(Self { name: name.to_owned(), kind, key })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// `SHA-256(name ‖ 0x0a ‖ type ‖ key)`, the first four bytes.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let kind = self.kind as u8;
        let digest = sha256(&[self.name.as_bytes(), b"\n", &[kind], &self.key].concat());
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Checks this key's signature on a note.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`], [`NoteError::Signature`].
    pub fn verify(&self, note: &Note) -> Result<(), NoteError> {
        self.verify_over(note, note.text.as_bytes(), 0)
    }

    /// Checks this witness's cosignature on a note, and returns its time.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`], [`NoteError::Signature`].
    pub fn verify_cosignature(&self, note: &Note) -> Result<UnixTime, NoteError> {
        let wrong = || NoteError::Signature(self.name.clone());
        let signature = note.signature_of(self)?;
        let time = signature.get(..8).and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
        let time = UnixTime(i64::try_from(u64::from_be_bytes(time)).map_err(|_| wrong())?);
        self.verify_over(note, &cosigned_message(time, &note.text), 8)?;
        Ok(time)
    }

    fn verify_over(&self, note: &Note, message: &[u8], skip: usize) -> Result<(), NoteError> {
        let wrong = || NoteError::Signature(self.name.clone());
        let signature = note.signature_of(self)?.get(skip..).ok_or_else(wrong)?;
        UnparsedPublicKey::new(&ED25519, self.key).verify(message, signature).map_err(|_| wrong())
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = STANDARD.encode([&[self.kind as u8], self.key.as_slice()].concat());
        write!(f, "{}+{id:08x}+{key}", self.name)
    }
}

impl FromStr for NoteKey {
    type Err = NoteKeyError;

    fn from_str(text: &str) -> Result<Self, NoteKeyError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteKeyError::Format);
        };
        let id = u32::from_str_radix(id, 16).map_err(|_| NoteKeyError::Format)?;
        let key = STANDARD.decode(key).map_err(|_| NoteKeyError::Format)?;
        let (kind, key) = key.split_first().ok_or(NoteKeyError::Format)?;
        let kind = match kind {
            1 => SignatureKind::Log,
            4 => SignatureKind::Witness,
            _ => return Err(NoteKeyError::Algorithm),
        };
        let key = Self::new(name, kind, key.try_into().map_err(|_| NoteKeyError::Algorithm)?)?;
        if key.id() == id.to_be_bytes() { Ok(key) } else { Err(NoteKeyError::Hash) }
    }
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The first bytes of the key's hash.
    pub key_id: [u8; 4],
    /// What the key made; its form depends on the key's kind.
    pub signature: Vec<u8>,
}

impl NoteSignature {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// [`NoteError::Format`].
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let rest = line.strip_prefix(SIGNATURE_LINE).ok_or(NoteError::Format)?;
        let (name, signature) = rest.split_once(' ').ok_or(NoteError::Format)?;
        let signature = STANDARD.decode(signature).map_err(|_| NoteError::Format)?;
        let (id, signature) = signature.split_first_chunk().ok_or(NoteError::Format)?;
        if !is_key_name(name) || signature.is_empty() {
            return Err(NoteError::Format);
        }
        Ok(Self { name: name.to_owned(), key_id: *id, signature: signature.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.as_slice(), &self.signature].concat();
        write!(f, "{SIGNATURE_LINE}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A text with signatures. Nothing in it is believed before a key's `verify`. Displayed as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// The note of `text`, which ends in a newline, without signatures yet.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, signatures: Vec::new() }
    }

    /// Reads a signed note.
    ///
    /// # Errors
    /// [`NoteError::TooLong`], [`NoteError::Format`].
    pub fn parse(bytes: &str) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::TooLong);
        }
        if bytes.chars().any(|letter| letter < ' ' && letter != '\n') {
            return Err(NoteError::Format);
        }
        let (text, lines) = bytes.rsplit_once("\n\n").ok_or(NoteError::Format)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Format)?;
        let signatures: Vec<NoteSignature> = lines
            .split('\n')
            .take(MAX_SIGNATURES + 1)
            .map(NoteSignature::parse)
            .collect::<Result<_, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::TooLong);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The text with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, by whomever.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature line.
    pub fn add(&mut self, signature: NoteSignature) {
        self.signatures.push(signature);
    }

    /// Adds a signature by `signer`, whose key is called `name`.
    ///
    /// # Errors
    /// [`SigningUnavailable`].
    pub fn sign(&mut self, name: &str, signer: &dyn LogSigner) -> Result<(), SigningUnavailable> {
        let key = signing_key(name, SignatureKind::Log, signer)?;
        let signature = signer.sign(self.text.as_bytes())?.to_vec();
        self.add(NoteSignature { name: name.to_owned(), key_id: key.id(), signature });
        Ok(())
    }

    /// The line by which the witness `name` says that at `time` this checkpoint continued all that it
    /// had seen of the log (c2sp.org/tlog-cosignature, `cosignature/v1`).
    ///
    /// # Errors
    /// [`SigningUnavailable`].
    pub fn cosign(
        &self,
        name: &str,
        signer: &dyn LogSigner,
        time: UnixTime,
    ) -> Result<NoteSignature, SigningUnavailable> {
        let key = signing_key(name, SignatureKind::Witness, signer)?;
        let stamp = u64::try_from(time.0).map_err(|_| SigningUnavailable::Failed)?.to_be_bytes();
        let signature = signer.sign(&cosigned_message(time, &self.text))?;
        let signature = [stamp.as_slice(), &signature].concat();
        Ok(NoteSignature { name: name.to_owned(), key_id: key.id(), signature })
    }

    fn signature_of(&self, key: &NoteKey) -> Result<&[u8], NoteError> {
        let (name, id) = (key.name(), key.id());
        let mut of_key = self.signatures.iter().filter(|one| one.name == name && one.key_id == id);
        of_key
            .next()
            .map(|one| one.signature.as_slice())
            .ok_or_else(|| NoteError::Unsigned(name.to_owned()))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// An Ed25519 key that signs and never shows itself.
pub trait LogSigner: Send + Sync {
    /// The public key (RFC 8032 §5.1.5).
    fn public_key(&self) -> [u8; 32];

    /// Ed25519 over `message`, 64 bytes.
    ///
    /// # Errors
    /// [`SigningUnavailable`].
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SigningUnavailable>;
}

/// An Ed25519 key in memory, from a PKCS#8 file.
pub struct FileLogSigner(Ed25519KeyPair, [u8; 32]);

impl FileLogSigner {
    /// The key in `pkcs8` (DER, RFC 8410).
    ///
    /// # Errors
    /// [`SigningUnavailable::LogKeyFormat`].
    pub fn from_pkcs8(pkcs8: &Zeroizing<Vec<u8>>) -> Result<Self, SigningUnavailable> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
            .map_err(|_| SigningUnavailable::LogKeyFormat)?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| SigningUnavailable::LogKeyFormat)?;
        Ok(Self(pair, public))
    }

    /// A new key, as PKCS#8 (DER).
    ///
    /// # Errors
    /// [`SigningUnavailable::Failed`] when the system gives no random bytes.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, SigningUnavailable> {
        let key = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new())
            .map_err(|_| SigningUnavailable::Failed)?;
        Ok(Zeroizing::new(key.as_ref().to_vec()))
    }
}

impl LogSigner for FileLogSigner {
    fn public_key(&self) -> [u8; 32] {
        self.1
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SigningUnavailable> {
        self.0.sign(message).as_ref().try_into().map_err(|_| SigningUnavailable::Failed)
    }
}

/// `text` as a key's name: what signed-note forbids in names becomes `-`.
#[must_use]
pub fn key_name(text: &str) -> String {
    let allowed = |letter: char| {
        let forbidden = letter.is_whitespace() || letter.is_control() || letter == '+';
        if forbidden { '-' } else { letter }
    };
    text.chars().map(allowed).collect()
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && key_name(name) == name
}

fn signing_key(
    name: &str,
    kind: SignatureKind,
    signer: &dyn LogSigner,
) -> Result<NoteKey, SigningUnavailable> {
    NoteKey::new(name, kind, signer.public_key()).map_err(|_| SigningUnavailable::LogKeyFormat)
}

fn cosigned_message(time: UnixTime, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {}\n{text}", time.0).into_bytes()
}
