//! CAs of this user's own, one for each host that is served, so that tools that speak nothing but https
//! can be answered inside their tunnels.
//!
//! Each can vouch for its host and for nothing else (name constraints, RFC 5280 §4.2.1.10): whoever takes
//! a key stands before the user's own tools as that one host, and as no other.

use std::fs::DirBuilder;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::tokens::{CacheError, TokenCache, read_private, write_private};

/// How long a CA counts: whoever was given its certificate is given another one then.
const CA_LIFETIME: Duration = Duration::from_secs(730 * 86_400);
/// A CA that ends sooner gets another certificate, with the same name and key.
const CA_RENEWAL: i64 = 30 * 86_400;
/// How long the certificate of a host counts; its key lives no longer than the process.
pub(super) const LEAF_LIFETIME: Duration = Duration::from_secs(86_400);
/// Certificates count from a little earlier: a tool's clock may be another one, as in a container.
const BACKDATE: Duration = Duration::from_secs(300);
/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`).
const MAX_NAME: usize = 64;
/// Most bytes of a key's or a certificate's file.
const MAX_FILE: u64 = 8 * 1024;

/// Why there is no CA.
#[derive(Debug, Error)]
pub enum LocalCaError {
    /// Nowhere to keep it.
    #[error("there is no place for the proxy's CA: set HOME or XDG_STATE_HOME")]
    NoFolder,
    /// Its folder or one of its files is not safe, or cannot be used.
    #[error(transparent)]
    File(#[from] CacheError),
    /// A file or the folder cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key's file holds something else.
    #[error("{0} holds no key of `signet proxy`: remove it, and a new CA is made")]
    NotAKey(PathBuf),
    /// A certificate could not be made.
    #[error("no certificate could be made for {host}")]
    Certificate {
        /// The host.
        host: String,
        /// Why.
        source: rcgen::Error,
    },
    /// What was made cannot be used.
    #[error("the certificate that was made for the tunnel cannot be used")]
    Tls(#[from] rustls::Error),
    /// No random numbers.
    #[error("the system gives no random numbers: restart the machine")]
    Randomness,
}

/// The folder of the CAs.
#[derive(Clone, Debug)]
pub struct CaFolder(PathBuf);

impl CaFolder {
    /// The folder in `state`, which is the value of `XDG_STATE_HOME`, or below `home`, as the XDG Base
    /// Directory Specification has it; nothing is made yet.
    #[must_use]
    pub fn find(state: Option<PathBuf>, home: Option<PathBuf>) -> Option<Self> {
        let state = state.filter(|path| path.is_absolute());
        let home = home.filter(|path| path.is_absolute());
        let state = state.or_else(|| home.map(|home| home.join(".local/state")))?;
        Some(Self(state.join("signet/proxy-ca")))
    }

    /// The CA for `host`, a name or an address without brackets. It is made where there is none, and
    /// gets another certificate, with the same key, when its last month has begun. `now` is in Unix
    /// seconds.
    ///
    /// # Errors
    /// See [`LocalCaError`].
    pub fn open(&self, host: &str, now: i64) -> Result<HostCa, LocalCaError> {
        if let Some(above) = self.0.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(above);
            made.map_err(|source| LocalCaError::Write { path: above.to_owned(), source })?;
        }
        // Two processes must not make two.
        let folder = TokenCache::at(self.0.clone())?;
        let _lock = folder.lock()?;
        let (key_file, file) =
            (self.0.join(format!("{host}.key")), self.0.join(format!("{host}.pem")));
        let key = Key::in_file(&key_file)?;
        let host = host.to_owned();
        if let Some(bytes) = read_private(&file, MAX_FILE)?
            && let Ok(pem) = String::from_utf8(bytes.to_vec())
            && let Ok(certificate) = CertificateDer::from_pem_slice(pem.as_bytes())
            && let Some(not_after) = ends(&certificate, &key)
            && not_after > now.saturating_add(CA_RENEWAL)
        {
            return Ok(HostCa { host, file, pem, certificate, not_after, key });
        }
        let made = authority(&host, &key, now)?.self_signed(&key).map_err(failed(&host))?;
        let (pem, certificate) = (made.pem(), made.der().clone());
        write_private(&file, pem.as_bytes())
            .map_err(|source| LocalCaError::Write { path: file.clone(), source })?;
        let not_after = ends(&certificate, &key).unwrap_or(now);
        Ok(HostCa { host, file, pem, certificate, not_after, key })
    }
}

/// The CA of one host.
pub struct HostCa {
    host: String,
    file: PathBuf,
    pem: String,
    certificate: CertificateDer<'static>,
    not_after: i64,
    key: Key,
}

impl HostCa {
    /// What it vouches for.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The file of its certificate, PEM.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its certificate, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(digest(&SHA256, &self.certificate).as_ref())
    }

    /// The last second in which it counts, in Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// A fresh key with a certificate for the host, from `now` on, in Unix seconds.
    pub(super) fn leaf(
        &self,
        now: i64,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), LocalCaError> {
        let (key, pkcs8) = Key::generate()?;
        let failed = failed(&self.host);
        let mut params = parameters("signet proxy".to_owned(), now, LEAF_LIFETIME)?;
        let name = CertificateParams::new([self.host.clone()]).map_err(&failed)?;
        params.subject_alt_names = name.subject_alt_names;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(&failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(&failed)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
        Ok((certificate.der().clone(), pkcs8.into()))
    }
}

/// A P-256 key.
struct Key(EcdsaKeyPair);

impl Key {
    fn generate() -> Result<(Self, Zeroizing<Vec<u8>>), LocalCaError> {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new());
        let pkcs8 = made.map_err(|_| LocalCaError::Randomness)?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8);
        Ok((Self(pair.map_err(|_| LocalCaError::Randomness)?), pkcs8))
    }

    /// The key in `path` (PKCS#8, DER), which is made where there is none: mode 0600.
    fn in_file(path: &Path) -> Result<Self, LocalCaError> {
        if let Some(pkcs8) = read_private(path, MAX_FILE)? {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8);
            return pair.map(Self).map_err(|_| LocalCaError::NotAKey(path.to_owned()));
        }
        let (key, pkcs8) = Self::generate()?;
        write_private(path, &pkcs8)
            .map_err(|source| LocalCaError::Write { path: path.to_owned(), source })?;
        Ok(key)
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(host: &str) -> impl Fn(rcgen::Error) -> LocalCaError + '_ {
    |source| LocalCaError::Certificate { host: host.to_owned(), source }
}

/// The last second of a certificate of this key; `None` for another key's, and for what is none.
fn ends(certificate: &CertificateDer<'_>, key: &Key) -> Option<i64> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let of_key = parsed.public_key().subject_public_key.data.as_ref() == key.der_bytes();
    of_key.then(|| parsed.validity().not_after.timestamp())
}

fn authority(host: &str, key: &Key, now: i64) -> Result<CertificateParams, LocalCaError> {
    // Names of CAs differ where keys do, as validators expect: after a new one, and from machine to machine.
    let mark = hex(digest(&SHA256, key.der_bytes()).as_ref().get(..4).unwrap_or_default());
    let name = format!("signet proxy {mark} for {host}");
    let name = if name.len() > MAX_NAME { format!("signet proxy {mark}") } else { name };
    let mut params = parameters(name, now, CA_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(only(host));
    Ok(params)
}

/// This host and no other name. A kind of name that nothing is said of would be free, so addresses are
/// excluded beside a name, and names beside an address; names in e-mail are not for TLS servers.
fn only(host: &str) -> NameConstraints {
    let every = vec![
        GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
        GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
    ];
    let (permitted, excluded) = match host.parse() {
        Ok(IpAddr::V4(address)) => {
            let this = CidrSubnet::V4(address.octets(), [0xff; 4]);
            (GeneralSubtree::IpAddress(this), vec![GeneralSubtree::DnsName(String::new())])
        }
        Ok(IpAddr::V6(address)) => {
            let this = CidrSubnet::V6(address.octets(), [0xff; 16]);
            (GeneralSubtree::IpAddress(this), vec![GeneralSubtree::DnsName(String::new())])
        }
        Err(_) => (GeneralSubtree::DnsName(host.to_owned()), every),
    };
    NameConstraints { permitted_subtrees: vec![permitted], excluded_subtrees: excluded }
}

fn parameters(
    name: String,
    now: i64,
    lifetime: Duration,
) -> Result<CertificateParams, LocalCaError> {
    let start = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.max(0).unsigned_abs());
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| LocalCaError::Randomness)?;
    // Positive, and no leading zero.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.not_before = start - BACKDATE;
    params.not_after = start + lifetime;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial.to_vec().into());
    // Nothing but servers of TLS, whatever a stolen key would sign.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

#[cfg(test)]
mod tests;
