//! Where secrets lie, and one way to read them all.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use zeroize::Zeroizing;

use super::pkcs11::{self, Location, TokenError};
use super::sealed::{self, Content, SealError};
use super::{KeyError, armour, passphrase, read_secret};

/// Where a secret lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In its file, as it is.
    File,
    /// In its file, under the passphrase.
    Passphrase,
    /// Provided by the service manager.
    Credential,
    /// In a PKCS#11 token: an HSM, or a TPM.
    Token,
}

/// A secret that was read.
pub(super) struct Secret {
    /// The key in PEM, the text, or the URI of a key that stays in its token.
    pub(super) text: Zeroizing<String>,
    /// The file that it was in.
    pub(super) path: PathBuf,
    pub(super) place: Place,
    /// The URI of the object that the text was in.
    object: Option<String>,
}

/// The directory of keys, and what the service manager provides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secrets<'a> {
    pub(super) directory: &'a Path,
    pub(super) credentials: Option<&'a Path>,
}

/// The way into a token: a key or an object, and the PIN.
type InToken = (Location, Zeroizing<String>);

impl Secrets<'_> {
    /// The secret called `name`.
    pub(super) fn read(&self, name: &str) -> Result<Secret, KeyError> {
        let (text, path, provided) = self.stored(name)?;
        let place = if provided { Place::Credential } else { Place::File };
        if sealed::is_sealed(&text) {
            let text = self.opened(&text, &path)?;
            return Ok(Secret { text, path, place: Place::Passphrase, object: None });
        }
        if !Location::is_one(&text) {
            return Ok(Secret { text, path, place, object: None });
        }
        let place = Place::Token;
        let (location, pin) = self.location(&text, &path)?;
        if !location.is_data {
            return Ok(Secret { text, path, place, object: None });
        }
        let content = pkcs11::content(&location, &pin)
            .map_err(|source| KeyError::Pkcs11 { path: path.clone(), source })?;
        Ok(Secret { text: content, path, place, object: Some(text.to_string()) })
    }

    /// What is stored under `name`: the text, its file, and whether the service manager provides it.
    pub(super) fn stored(
        &self,
        name: &str,
    ) -> Result<(Zeroizing<String>, PathBuf, bool), KeyError> {
        let provided = self.credentials.map(|folder| folder.join(name));
        let Some(path) = provided.filter(|path| path.exists()) else {
            let path = self.directory.join(name);
            return Ok((read_secret(&path)?, path, false));
        };
        // The service manager lets only us into that directory, whatever the file's mode says.
        match fs::read_to_string(&path) {
            Ok(secret) => Ok((Zeroizing::new(secret), path, true)),
            Err(source) => Err(KeyError::Io { path, source }),
        }
    }

    /// Where the key is that stays in its token; `None` for one that was read.
    pub(super) fn in_token(&self, secret: &Secret) -> Result<Option<InToken>, KeyError> {
        let stays = secret.object.is_none() && Location::is_one(&secret.text);
        stays.then(|| self.location(&secret.text, &secret.path)).transpose()
    }

    /// Where the object in a token is that a secret was read from.
    pub(super) fn object(&self, secret: &Secret) -> Result<Option<InToken>, KeyError> {
        let object = secret.object.as_deref();
        object.map(|uri| self.location(uri, &secret.path)).transpose()
    }

    fn location(&self, uri: &str, path: &Path) -> Result<InToken, KeyError> {
        let fault = |source| KeyError::Pkcs11 { path: path.to_owned(), source };
        let location = Location::parse(uri).map_err(fault)?;
        // A path of its own is taken as such: joining keeps it.
        let (text, pin_path, _) = self.stored(&location.pin_source)?;
        let pin = match sealed::is_sealed(&text) {
            true => self.opened(&text, &pin_path)?,
            false => text,
        };
        // To read a PIN out of a token takes a PIN, which may lie in a token: there is no end to that.
        if Location::is_one(&pin) {
            return Err(fault(TokenError::PinInToken(location.pin_source)));
        }
        Ok((location, pin))
    }

    /// 32 bytes, base64.
    pub(super) fn read_key(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let Secret { text, path, .. } = self.read(name)?;
        let malformed = || KeyError::Malformed { path: path.clone() };
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| malformed())?);
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed())?;
        Ok(Zeroizing::new(*bytes))
    }

    /// A secret text, or a key in PEM, under the passphrase that the others are under.
    pub(super) fn sealed(&self, text: &str) -> Result<Zeroizing<String>, KeyError> {
        let path = self.directory;
        let said = passphrase::existing(self.credentials)
            .map_err(|source| KeyError::Passphrase { path: path.to_owned(), source })?;
        seal(text, &said, path)
    }

    fn opened(&self, text: &str, path: &Path) -> Result<Zeroizing<String>, KeyError> {
        let said = passphrase::existing(self.credentials)
            .map_err(|source| KeyError::Passphrase { path: path.to_owned(), source })?;
        match sealed::open(text, &said) {
            Ok(Content::Text(text)) => Ok(text),
            Ok(Content::Key(der)) => Ok(Zeroizing::new(armour("PRIVATE KEY", &der))),
            Err(source) => {
                if source == SealError::Passphrase {
                    passphrase::forget();
                }
                Err(KeyError::Sealed { path: path.to_owned(), source })
            }
        }
    }
}

/// A secret text, or a key in PEM, under a passphrase. What cannot be opened again is not returned.
pub(super) fn seal(text: &str, said: &str, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let content = match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(key)) => {
            Content::Key(Zeroizing::new(key.secret_pkcs8_der().to_vec()))
        }
        _ => Content::Text(Zeroizing::new(text.to_owned())),
    };
    let failed = |source| KeyError::Sealed { path: path.to_owned(), source };
    let sealed = sealed::seal(&content, said).map_err(failed)?;
    sealed::open(&sealed, said).map_err(failed)?;
    Ok(Zeroizing::new(sealed))
}

/// Where this process's service manager provides secrets, if it does (systemd.exec(5)).
pub(super) fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}
