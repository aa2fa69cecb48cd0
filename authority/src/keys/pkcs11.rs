//! Secrets in a token (PKCS#11): a hardware security module, or a TPM through tpm2-pkcs11.
//!
//! A key's file then holds a URI (RFC 7512) in place of the key:
//! `pkcs11:token=signet;object=token-1?module-path=/usr/lib/…/module.so&pin-source=pkcs11.pin`. The PIN is in the file
//! that `pin-source` names, in the keys' directory or provided by the service manager. With `type=data`
//! it names a private data object that holds what the file would hold: for secrets that the token cannot use
//! itself, it keeps them at rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use signet_evidence::binding::sha256;
use signet_verifier::log::LogSigner;
use signet_verifier::token::{Jwk, SigningUnavailable, TokenSigner};
use thiserror::Error;
use zeroize::Zeroizing;

use super::KeyUse;
use crate::percent;

/// `secp256r1` (RFC 5480 §2.1.1.1), DER.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `id-Ed25519` (RFC 8410 §3), DER.
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const SCHEME: &str = "pkcs11:";

/// A token that cannot be used.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Not such a URI.
    #[error(
        "not a URI such as \
         pkcs11:token=NAME;object=NAME?module-path=/usr/lib/module.so&pin-source=pkcs11.pin"
    )]
    Uri,
    /// No token of that name.
    #[error(
        "no token called {0:?} is there; `pkcs11-tool --module … --list-slots` shows which are"
    )]
    NoToken(String),
    /// No key of that name, or not one of the right kind.
    #[error("the token has no {kind} key called {name:?}")]
    NoKey {
        /// What was looked for.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The PIN would have to be read out of a token.
    #[error(
        "its pin-source {0:?} is itself in a token; a PIN is in a file or in what the service manager provides"
    )]
    PinInToken(String),
    /// The token, or its module.
    #[error("the token cannot be used")]
    Token(#[from] Error),
}

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    module: PathBuf,
    token: String,
    object: String,
    /// The file with the PIN.
    pub(super) pin_source: String,
    /// A data object to be read, and no key to be used.
    pub(super) is_data: bool,
}

impl Location {
    /// Whether a key's file holds a URI.
    pub(super) fn is_one(text: &str) -> bool {
        text.trim_start().starts_with(SCHEME)
    }

    pub(super) fn parse(text: &str) -> Result<Self, TokenError> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or(TokenError::Uri)?;
        let (path, query) = rest.split_once('?').ok_or(TokenError::Uri)?;
        let mut parts = BTreeMap::new();
        for part in path.split(';').chain(query.split('&')) {
            let (name, value) = part.split_once('=').ok_or(TokenError::Uri)?;
            let known = ["token", "object", "module-path", "pin-source", "type"].contains(&name);
            // What is not understood could name another key.
            if !known
                || parts.insert(name, percent::decoded(value).ok_or(TokenError::Uri)?).is_some()
            {
                return Err(TokenError::Uri);
            }
        }
        let mut take = |name| parts.remove(name).filter(|value| !value.is_empty());
        let all = (take("module-path"), take("token"), take("object"), take("pin-source"));
        let (Some(module), Some(token), Some(object), Some(pin_source)) = all else {
            return Err(TokenError::Uri);
        };
        let is_data = match take("type").as_deref() {
            None | Some("private") => false,
            Some("data") => true,
            Some(_) => return Err(TokenError::Uri),
        };
        if Self::is_one(&pin_source) {
            return Err(TokenError::PinInToken(pin_source));
        }
        let pin_source = pin_source.strip_prefix("file:").unwrap_or(&pin_source).to_owned();
        Ok(Self { module: module.into(), token, object, pin_source, is_data })
    }

    /// The URI of another key in the same token.
    pub(super) fn of_object(&self, object: &str) -> String {
        let module = self.module.display().to_string();
        format!(
            "{SCHEME}token={};object={}{}?module-path={}&pin-source={}\n",
            escaped(&self.token),
            escaped(object),
            if self.is_data { ";type=data" } else { "" },
            escaped(&module),
            escaped(&self.pin_source)
        )
    }

    fn with_object(&self, object: &str) -> Self {
        Self { object: object.to_owned(), ..self.clone() }
    }
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The module at `path`; a process initialises each one once.
fn module(path: &Path) -> Result<Pkcs11, TokenError> {
    static MODULES: OnceLock<Mutex<BTreeMap<PathBuf, Pkcs11>>> = OnceLock::new();
    let modules = MODULES.get_or_init(Mutex::default);
    let mut modules = modules.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

/// One private key in a token, and the way to it.
struct Key {
    location: Location,
    pin: Zeroizing<String>,
    session: Mutex<Option<(Session, ObjectHandle)>>,
}

impl Key {
    fn new(location: Location, pin: Zeroizing<String>) -> Self {
        Self { location, pin, session: Mutex::default() }
    }

    fn open(&self) -> Result<(Session, ObjectHandle), TokenError> {
        let session = login(&self.location, &self.pin, false)?;
        let private = self.find(&session, ObjectClass::PRIVATE_KEY, "private")?;
        Ok((session, private))
    }

    fn find(
        &self,
        session: &Session,
        class: ObjectClass,
        kind: &'static str,
    ) -> Result<ObjectHandle, TokenError> {
        find(session, &self.location.object, class, kind)
    }

    /// The public key as the token has it: `CKA_EC_POINT`, a DER octet string.
    fn public(&self, kind: KeyType) -> Result<Vec<u8>, TokenError> {
        let (session, private) = self.open()?;
        let public = self.find(&session, ObjectClass::PUBLIC_KEY, "public")?;
        let wanted = [AttributeType::EcPoint, AttributeType::KeyType];
        let mut point = None;
        let mut is_kind = false;
        for attribute in session.get_attributes(public, &wanted)? {
            match attribute {
                Attribute::EcPoint(bytes) => point = Some(bytes),
                Attribute::KeyType(found) => is_kind = found == kind,
                _ => {}
            }
        }
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some((session, private));
        let name = || self.location.object.clone();
        let point = point.filter(|_| is_kind);
        point.ok_or_else(|| TokenError::NoKey { kind: "suitable", name: name() })
    }

    /// Signs; a session that ended, as after a reset of the token, is opened anew once.
    fn sign(&self, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<[u8; 64], SigningUnavailable> {
        let mut held = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 {
            let open = match held.take() {
                Some(open) => open,
                None => self.open().map_err(|_| SigningUnavailable::Failed)?,
            };
            if let Ok(signature) = open.0.sign(mechanism, open.1, data) {
                *held = Some(open);
                return signature.try_into().map_err(|_| SigningUnavailable::Failed);
            }
        }
        Err(SigningUnavailable::Failed)
    }
}

fn find(
    session: &Session,
    name: &str,
    class: ObjectClass,
    kind: &'static str,
) -> Result<ObjectHandle, TokenError> {
    let label = Attribute::Label(name.as_bytes().to_vec());
    let found = session.find_objects(&[Attribute::Class(class), label])?;
    match found.as_slice() {
        [one] => Ok(*one),
        // Two of one name: which one is meant is not ours to guess.
        _ => Err(TokenError::NoKey { kind, name: name.to_owned() }),
    }
}

/// What the data object at `location` holds: a text, or a key in PKCS#8 (DER), which is returned in PEM.
pub(super) fn content(location: &Location, pin: &str) -> Result<Zeroizing<String>, TokenError> {
    let session = login(location, pin, false)?;
    let object = find(&session, &location.object, ObjectClass::DATA, "data")?;
    for attribute in session.get_attributes(object, &[AttributeType::Value])? {
        if let Attribute::Value(bytes) = attribute {
            let bytes = Zeroizing::new(bytes);
            let text = match std::str::from_utf8(&bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => super::armour("PRIVATE KEY", &bytes),
            };
            return Ok(Zeroizing::new(text));
        }
    }
    Err(TokenError::NoKey { kind: "readable data", name: location.object.clone() })
}

/// Puts `text` into a private data object called `object` beside the one at `location`; returns its URI.
pub(super) fn store(
    location: &Location,
    pin: &str,
    object: &str,
    text: &str,
) -> Result<String, TokenError> {
    let session = login(location, pin, true)?;
    session.create_object(&[
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(object.as_bytes().to_vec()),
        Attribute::Value(text.as_bytes().to_vec()),
    ])?;
    Ok(location.of_object(object))
}

fn login(location: &Location, pin: &str, writes: bool) -> Result<Session, TokenError> {
    let module = module(&location.module)?;
    for slot in module.get_slots_with_initialized_token()? {
        if module.get_token_info(slot)?.label().trim_end() != location.token {
            continue;
        }
        let session =
            if writes { module.open_rw_session(slot) } else { module.open_ro_session(slot) }?;
        let pin = AuthPin::new(pin.trim_end_matches('\n').into());
        match session.login(UserType::User, Some(&pin)) {
            // All sessions of a process with a token are logged in together.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => return Ok(session),
            Err(error) => return Err(error.into()),
        }
    }
    Err(TokenError::NoToken(location.token.clone()))
}

/// A P-256 key in a token, for access tokens.
pub(super) struct Pkcs11Signer {
    key: Key,
    point: [u8; 65],
    key_id: String,
}

impl Pkcs11Signer {
    pub(super) fn open(location: Location, pin: Zeroizing<String>) -> Result<Self, TokenError> {
        let key = Key::new(location, pin);
        let encoded = key.public(KeyType::EC)?;
        // OCTET STRING of 65 bytes.
        let point = encoded.strip_prefix(&[0x04, 0x41]).unwrap_or(&encoded).try_into();
        let name = || key.location.object.clone();
        let point = point.map_err(|_| TokenError::NoKey { kind: "P-256", name: name() })?;
        Ok(Self { key_id: Jwk::of_point(&point).kid, key, point })
    }
}

impl TokenSigner for Pkcs11Signer {
    fn key_id(&self) -> &str {
        &self.key_id
    }

    fn public_point(&self) -> &[u8; 65] {
        &self.point
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SigningUnavailable> {
        self.key.sign(&Mechanism::Ecdsa, &sha256(message))
    }
}

/// An Ed25519 key in a token, for the audit log.
pub(super) struct Pkcs11LogSigner {
    key: Key,
    public: [u8; 32],
}

impl Pkcs11LogSigner {
    pub(super) fn open(location: Location, pin: Zeroizing<String>) -> Result<Self, TokenError> {
        let key = Key::new(location, pin);
        let encoded = key.public(KeyType::EC_EDWARDS)?;
        let public = encoded.strip_prefix(&[0x04, 0x20]).unwrap_or(&encoded).try_into();
        let name = || key.location.object.clone();
        let public = public.map_err(|_| TokenError::NoKey { kind: "Ed25519", name: name() })?;
        Ok(Self { key, public })
    }
}

impl LogSigner for Pkcs11LogSigner {
    fn public_key(&self) -> [u8; 32] {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SigningUnavailable> {
        let pure = EddsaParams::new(EddsaSignatureScheme::Ed25519);
        self.key.sign(&Mechanism::Eddsa(pure), message)
    }
}

/// Makes a key called `object` beside the one at `location`, which never leaves the token.
pub(super) fn generate(
    location: &Location,
    pin: &Zeroizing<String>,
    object: &str,
    usage: KeyUse,
) -> Result<String, TokenError> {
    let session = login(location, pin, true)?;
    let (curve, mechanism) = match usage {
        KeyUse::Token | KeyUse::Ca(_) => (P256, Mechanism::EccKeyPairGen),
        KeyUse::Log => (ED25519, Mechanism::EccEdwardsKeyPairGen),
    };
    let label = Attribute::Label(object.as_bytes().to_vec());
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curve.to_vec()),
        label.clone(),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        label,
    ];
    session.generate_key_pair(&mechanism, &public, &private)?;
    Ok(location.with_object(object).of_object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_one_key_and_nothing_else() {
        let text =
            "pkcs11:token=my%20token;object=token-1?module-path=/usr/lib/m.so&pin-source=file:p";
        let location = Location::parse(text).unwrap();
        assert_eq!((location.token.as_str(), location.pin_source.as_str()), ("my token", "p"));
        let again = Location::parse(&location.of_object("token-2")).unwrap();
        assert_eq!(again, location.with_object("token-2"));
        let data = "pkcs11:token=a;object=b;type=data?module-path=/m&pin-source=p";
        let data = Location::parse(data).unwrap();
        assert!(data.is_data && Location::parse(&data.of_object("c")).unwrap().is_data);
        for wrong in [
            "",
            "pkcs11:token=a;object=b",
            "pkcs11:token=a?module-path=/m&pin-source=p",
            "pkcs11:token=a;object=b;object=c?module-path=/m&pin-source=p",
            "pkcs11:token=a;object=b;type=cert?module-path=/m&pin-source=p",
            "pkcs11:token=a;object=b;serial=1?module-path=/m&pin-source=p",
            "pkcs11:token=a;object=%zz?module-path=/m&pin-source=p",
            "pkcs11:token=;object=b?module-path=/m&pin-source=p",
        ] {
            assert!(matches!(Location::parse(wrong), Err(TokenError::Uri)), "{wrong}");
        }
    }
}
