//! The directory of keys and certificates: 0700, its secrets 0600, never in the database.
//!
//! Each secret is in one of four places, and all of them are read the same way: in its file; in its file
//! under a passphrase; in what the service manager provides under the file's name
//! (`LoadCredentialEncrypted=`, `$CREDENTIALS_DIRECTORY`), which counts instead of the file; or in a PKCS#11
//! token, an HSM or a TPM, where the file holds the key's URI.

mod ca_ring;
mod keep;
mod listed;
mod log_ring;
mod outside;
mod own;
mod passphrase;
mod pkcs11;
mod plan;
mod protect;
mod ring;
mod sealed;
mod secrets;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use signet_evidence::UnixTime;
use signet_verifier::challenge::ChallengeKey;
use signet_verifier::log::{FileLogSigner, LogSigner};
use signet_verifier::token::{FileSigner, SigningUnavailable, TokenSigner};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::ca::{CertificateAuthority, IssueError, key_of_pem, new_key, new_log_key};
use crate::store::IntegrityKey;

pub use ca_ring::{CaRing, CaTimes, ListedCa, RotatedCa, rotate_ca};
pub use keep::{Shown, keep};
pub use listed::{AnyKey, Due, list};
pub use log_ring::{LOG_OVERLAP, LogRing, RotatedLog, rotate_log};
pub use outside::{CertificateFault, certificate_request, import_certificate};
pub use own::{OwnCertificate, OwnCertificateError};
pub use passphrase::PassphraseError;
pub use pkcs11::TokenError;
use pkcs11::{Pkcs11LogSigner, Pkcs11Signer};
pub use protect::{protect, unprotect};
pub use sealed::SealError;
pub use secrets::Place;
use secrets::{Secrets, credentials};

pub use ring::{AHEAD, KeyState, ListedKey, OVERLAP, TokenKeys, Urgency, newest, rotate};

/// Files of the CAs, and their names.
pub const CERTIFICATE_AUTHORITIES: [(&str, &str); 4] = [
    ("device-ca", "Signet device CA"),
    ("ak-ca", "Signet attestation key CA"),
    ("gateway-ca", "Signet gateway CA"),
    ("server-ca", "Signet authority CA"),
];

/// Everything that is secret, loaded.
pub struct Keys {
    /// Sign tokens and status lists.
    pub token: TokenKeys,
    /// Makes and checks challenges.
    pub challenge: ChallengeKey,
    /// Issues machines' certificates.
    pub device_ca: CaRing,
    /// Issues attestation keys' certificates.
    pub ak_ca: CaRing,
    /// Issues gateways' certificates.
    pub gateway_ca: CaRing,
    /// Issues this authority's own certificate; clients trust it.
    pub server_ca: CaRing,
}

/// The authority's own TLS certificate and key.
pub struct ServerIdentity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// Keys cannot be made or read.
#[derive(Debug, Error)]
pub enum KeyError {
    /// `init` would overwrite it.
    #[error("{} exists already; choose another directory, or remove it yourself", path.display())]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read a secret.
    #[error("{} can be read by others; run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Not what the name says.
    #[error("{} does not hold what its name says; restore it from your backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A certificate that is not one for our key.
    #[error("the certificate cannot take the place of {}'s: {fault}", path.display())]
    Certificate {
        /// The file whose place it should take.
        path: PathBuf,
        /// Why not.
        fault: outside::CertificateFault,
    },
    /// A key in a token (PKCS#11).
    #[error("the key that {} names cannot be used", path.display())]
    Pkcs11 {
        /// The file with its URI.
        path: PathBuf,
        /// Why.
        source: TokenError,
    },
    /// A secret under a passphrase, and no passphrase.
    #[error("cannot open {}", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PassphraseError,
    },
    /// A secret under a passphrase.
    #[error("cannot open {}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SealError,
    },
    /// A certificate could not be made.
    #[error("cannot issue a certificate")]
    Issue(#[from] IssueError),
    /// The token key is of no use.
    #[error("a signing key cannot be used")]
    Token(#[from] SigningUnavailable),
}

/// Makes all keys and CA certificates in the new directory `directory`.
///
/// # Errors
/// See [`KeyError`]; nothing that exists is touched.
pub fn create(directory: &Path, now: UnixTime) -> Result<(), KeyError> {
    if directory.exists() {
        return Err(KeyError::Exists { path: directory.to_owned() });
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| KeyError::Io { path: directory.to_owned(), source })?;
    for name in ["challenge.key", "integrity.key"] {
        let text = Zeroizing::new(STANDARD.encode(*crate::random::secret::<32>()));
        write_secret(&directory.join(name), text.as_bytes())?;
    }
    write_secret(&directory.join("token.key"), new_key()?.as_bytes())?;
    write_secret(&directory.join("log.key"), new_log_key()?.as_bytes())?;
    for (file, name) in CERTIFICATE_AUTHORITIES {
        let key = new_key()?;
        let certificate = CertificateAuthority::self_signed(name, key_of_pem(&key)?, now)?;
        write_secret(&directory.join(format!("{file}.key")), key.as_bytes())?;
        write_public(&directory.join(format!("{file}.pem")), pem(&certificate).as_bytes())?;
    }
    Ok(())
}

/// Loads all keys.
///
/// # Errors
/// See [`KeyError`].
pub fn load(directory: &Path) -> Result<Keys, KeyError> {
    load_from(Secrets { directory, credentials: credentials().as_deref() })
}

fn load_from(secrets: Secrets<'_>) -> Result<Keys, KeyError> {
    let ca = |name: &'static str| CaRing::load(secrets, name);
    Ok(Keys {
        token: TokenKeys::load(secrets)?,
        challenge: ChallengeKey::new(&secrets.read_key("challenge.key")?),
        device_ca: ca("device-ca")?,
        ak_ca: ca("ak-ca")?,
        gateway_ca: ca("gateway-ca")?,
        server_ca: ca("server-ca")?,
    })
}

impl Keys {
    /// The CAs, in the order of [`CERTIFICATE_AUTHORITIES`].
    #[must_use]
    pub fn authorities(&self) -> [&CaRing; 4] {
        [&self.device_ca, &self.ak_ca, &self.gateway_ca, &self.server_ca]
    }

    /// That each CA's certificate is one of its key; whoever serves asks this first. `directory` is
    /// where they are from.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] with the certificate that is not.
    pub fn check(&self, directory: &Path) -> Result<(), KeyError> {
        self.authorities().into_iter().try_for_each(|ca| ca.check(directory))
    }
}

/// The CA of the authority's own certificate as its files are now.
fn load_server_ca(directory: &Path, now: UnixTime) -> Result<Arc<CertificateAuthority>, KeyError> {
    let credentials = credentials();
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    Ok(CaRing::load(secrets, "server-ca")?.issuer(now))
}

/// Makes the log's key where there is none: for directories from before there was a log.
///
/// # Errors
/// See [`KeyError`].
pub fn ensure_log(directory: &Path) -> Result<(), KeyError> {
    let credentials = credentials();
    let provided = credentials.is_some_and(|folder| folder.join("log.key").exists());
    let path = directory.join("log.key");
    if provided || path.exists() || log_ring::is_planned(directory) {
        return Ok(());
    }
    write_secret(&path, new_log_key()?.as_bytes())
}

/// Loads the key that marks the authority's own rows.
///
/// # Errors
/// See [`KeyError`].
pub fn load_integrity(directory: &Path) -> Result<IntegrityKey, KeyError> {
    let credentials = credentials();
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    Ok(IntegrityKey::new(&secrets.read_key("integrity.key")?))
}

/// The authority's TLS certificate for `names`: a new key and certificate at each start, so that no
/// long-lived one lies about.
fn server_identity(
    ca: &CertificateAuthority,
    names: &[String],
    now: UnixTime,
    lifetime: Duration,
) -> Result<ServerIdentity, KeyError> {
    let issued = ca.issue_server(names, now, lifetime)?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())
        .map_err(|_| KeyError::Malformed { path: "server key".into() })?;
    let mut chain = vec![issued.certificate];
    // A client that trusts the organisation's root has to be shown what is between.
    if !ca.is_self_signed() {
        chain.push(ca.certificate().clone());
    }
    Ok(ServerIdentity { chain, key })
}

/// Writes a secret to a new file of mode 0600.
///
/// # Errors
/// See [`KeyError`].
pub fn write_secret(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    write_new(path, content, 0o600)
}

/// Writes public data to a new file of mode 0644.
///
/// # Errors
/// See [`KeyError`].
pub fn write_public(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    write_new(path, content, 0o644)
}

/// Writes the public token keys in PEM for gateways that check signatures with a file: the key that signs
/// to `token-key.pem`, and the one that will sign, or signed before, to `token-key-other.pem` (the same key
/// where there is no other). Returns whether anything changed.
///
/// # Errors
/// See [`KeyError`].
pub fn write_token_keys(folder: &Path, keys: &TokenKeys, now: UnixTime) -> Result<bool, KeyError> {
    let signing = keys.signer(now);
    let others = keys.published(now).into_iter().filter(|key| key.kid != signing.key_id());
    // Members are in the order of their time: the newest other is the next one, if there is a next one.
    let other = others.filter_map(|key| key.point()).next_back().unwrap_or(*signing.public_point());
    let mut changed = false;
    for (name, point) in
        [("token-key.pem", signing.public_point()), ("token-key-other.pem", &other)]
    {
        let (path, text) = (folder.join(name), public_key_pem(point));
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            replace_public(&path, text.as_bytes())?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Puts public data in a file's place, whole or not at all.
fn replace_public(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    replace(path, content, 0o644)
}

/// Puts a secret in a file's place, whole or not at all.
fn replace_secret(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    replace(path, content, 0o600)
}

fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => write_new(&new, content, mode)?,
    }
    fs::rename(&new, path).map_err(io)
}

/// The P-256 key of a file, wherever it is.
fn signer(secrets: Secrets<'_>, file: &str) -> Result<Arc<dyn TokenSigner>, KeyError> {
    let secret = secrets.read(file)?;
    let Some((location, pin)) = secrets.in_token(&secret)? else {
        return Ok(Arc::new(FileSigner::from_pkcs8(&pkcs8(&secret.text, &secret.path)?)?));
    };
    let opened = Pkcs11Signer::open(location, pin);
    Ok(Arc::new(opened.map_err(|source| KeyError::Pkcs11 { path: secret.path, source })?))
}

/// The log key of a file, wherever it is.
fn log_signer(secrets: Secrets<'_>, file: &str) -> Result<Arc<dyn LogSigner>, KeyError> {
    let secret = secrets.read(file)?;
    let Some((location, pin)) = secrets.in_token(&secret)? else {
        return Ok(Arc::new(FileLogSigner::from_pkcs8(&pkcs8(&secret.text, &secret.path)?)?));
    };
    let opened = Pkcs11LogSigner::open(location, pin);
    Ok(Arc::new(opened.map_err(|source| KeyError::Pkcs11 { path: secret.path, source })?))
}

/// What a new key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyUse {
    /// Tokens: P-256.
    Token,
    /// The audit log: Ed25519.
    Log,
    /// The CA in the files of this name: P-256.
    Ca(&'static str),
}

/// A new key in the same kind of place as that in `before`; returns its file.
fn new_key_beside(
    directory: &Path,
    before: &str,
    usage: KeyUse,
    now: UnixTime,
) -> Result<String, KeyError> {
    let credentials = credentials();
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    let random = crate::random::bytes::<4>();
    let word = match usage {
        KeyUse::Token => "token",
        KeyUse::Log => "log",
        KeyUse::Ca(name) => name,
    };
    let name = format!("{word}-{}-{}", now.0, signet_evidence::thumbprint::hex(&random));
    let secret = secrets.read(before)?;
    let at = |source| KeyError::Pkcs11 { path: secret.path.clone(), source };
    let made = || if usage == KeyUse::Log { new_log_key() } else { new_key() };
    let text = match (secrets.in_token(&secret)?, secrets.object(&secret)?) {
        (Some((location, pin)), _) => {
            Zeroizing::new(pkcs11::generate(&location, &pin, &name, usage).map_err(at)?)
        }
        (None, Some((location, pin))) => {
            Zeroizing::new(pkcs11::store(&location, &pin, &name, &made()?).map_err(at)?)
        }
        (None, None) if secret.place == Place::Passphrase => secrets.sealed(&made()?)?,
        (None, None) => made()?,
    };
    let file = format!("{name}.key");
    write_secret(&directory.join(&file), text.as_bytes())?;
    Ok(file)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), KeyError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(io)?;
    file.write_all(content).map_err(io)?;
    file.sync_all().map_err(io)
}

/// `certificate` as PEM text (RFC 7468).
#[must_use]
pub fn pem(certificate: &CertificateDer<'_>) -> String {
    armour("CERTIFICATE", certificate)
}

/// The P-256 key of an uncompressed point as `SubjectPublicKeyInfo` in PEM (RFC 5480, RFC 7468), the form
/// that gateways which check signatures by themselves read.
#[must_use]
pub fn public_key_pem(point: &[u8; 65]) -> String {
    /// SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of 65 bytes }.
    const HEAD: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    armour("PUBLIC KEY", &[&HEAD[..], point].concat())
}

fn armour(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    Ok(Zeroizing::new(fs::read_to_string(path).map_err(io)?))
}

fn pkcs8(pem: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| KeyError::Malformed { path: path.to_owned() })?;
    Ok(Zeroizing::new(key.secret_der().to_vec()))
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, KeyError> {
    CertificateDer::from_pem_file(path).map_err(|_| KeyError::Malformed { path: path.to_owned() })
}

/// All certificates in a PEM file, or the one in a DER file.
///
/// # Errors
/// See [`KeyError`].
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let bytes = fs::read(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    let malformed = |_| KeyError::Malformed { path: path.to_owned() };
    if bytes.starts_with(&[0x30]) {
        return Ok(vec![bytes.into()]);
    }
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(malformed)?;
    if certificates.is_empty() {
        return Err(KeyError::Malformed { path: path.to_owned() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provided_secret_counts_instead_of_the_file_which_need_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, provided) = (folder.path().join("keys"), folder.path().join("provided"));
        create(&directory, UnixTime(1_800_000_000)).unwrap();
        fs::create_dir(&provided).unwrap();
        let secrets = Secrets { directory: &directory, credentials: Some(&provided) };
        let point = || *load_from(secrets).unwrap().token.signer(UnixTime(0)).public_point();
        let before = point();
        for name in ["token.key", "device-ca.key", "challenge.key"] {
            fs::rename(directory.join(name), provided.join(name)).unwrap();
            // systemd gives access by an ACL, which shows in the group's bits.
            fs::set_permissions(provided.join(name), fs::Permissions::from_mode(0o440)).unwrap();
        }
        assert_eq!(point(), before);

        let without = load_from(Secrets { credentials: None, ..secrets }).err();
        let Some(KeyError::Io { path, .. }) = without else { panic!("it has keys") };
        assert!(path.starts_with(&directory), "{}", path.display());
        fs::write(provided.join("token.key"), "no key").unwrap();
        let Some(KeyError::Malformed { path }) = load_from(secrets).err() else { panic!("a key?") };
        assert_eq!(path, provided.join("token.key"));
    }
}
