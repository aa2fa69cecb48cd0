//! TPM makers' certificates: a directory of files, and a manifest that says where each was taken from.
//!
//! What the manifest lists has to have the digest that stands there; what it does not list is an anchor of
//! the operator's own. Nothing is ever fetched while an endorsement is verified.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use signet_evidence::CertificateThumbprint;
use signet_evidence::thumbprint::unhex;
use signet_verifier::certificate::{Certificate, CertificateError};
use thiserror::Error;

use crate::keys::{KeyError, read_certificates};

/// Name of the manifest in the directory.
pub const MANIFEST: &str = "manifest.toml";

/// What a maker's certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A chain may end there.
    Anchor,
    /// Stands between an anchor and endorsement certificates.
    Intermediate,
}

/// One entry of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// File in the directory; one certificate, PEM or DER.
    pub file: String,
    /// Who makes the TPMs.
    pub maker: String,
    /// What it is for.
    pub role: Role,
    /// SHA-256 of the DER, hex.
    pub sha256: String,
    /// Where it was taken from.
    pub source: String,
    /// When: YYYY-MM-DD.
    pub fetched: String,
}

/// A manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Which state of the data this is; a date.
    pub version: String,
    /// The certificates.
    #[serde(default, rename = "certificate")]
    pub certificates: Vec<Listed>,
}

/// Certificates that cannot be used.
#[derive(Debug, Error)]
pub enum MakersError {
    /// The directory or the manifest.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate file.
    #[error("a TPM maker's certificate cannot be read")]
    File(#[from] KeyError),
    /// Not a manifest.
    #[error("{} is not a manifest: correct the line below", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A file that is not what the manifest says.
    #[error("{} is not the certificate that {MANIFEST} lists: fetch it again from {origin}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Where it was taken from.
        origin: String,
    },
    /// Not a certificate.
    #[error("{} is not a certificate", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
}

/// A certificate of the directory.
#[derive(Clone, Debug)]
pub struct MakerCertificate {
    /// Its file.
    pub path: PathBuf,
    /// DER.
    pub der: Vec<u8>,
    /// What the manifest says of it; `None` for one of the operator's own.
    pub listed: Option<Listed>,
}

impl MakerCertificate {
    /// What it is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.listed.as_ref().map_or(Role::Anchor, |listed| listed.role)
    }
}

/// The certificates of a directory.
#[derive(Clone, Debug, Default)]
pub struct MakerCertificates {
    /// Version of the manifest, if there is one.
    pub version: Option<String>,
    /// The certificates, by file name.
    pub certificates: Vec<MakerCertificate>,
}

impl MakerCertificates {
    /// Reads a directory: every file with a certificate's extension.
    ///
    /// # Errors
    /// See [`MakersError`].
    pub fn load(directory: &Path) -> Result<Self, MakersError> {
        let manifest = read_manifest(directory)?;
        let unlisted = |source| MakersError::Unreadable { path: directory.to_owned(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(unlisted)? {
            let path = entry.map_err(unlisted)?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("pem" | "crt" | "cer" | "der")) {
                files.push(path);
            }
        }
        files.sort();
        let mut found = Self {
            version: manifest.as_ref().map(|m| m.version.clone()),
            certificates: Vec::new(),
        };
        let entries = manifest.map(|manifest| manifest.certificates).unwrap_or_default();
        // A listed file that is gone is missed: the manifest says what is trusted.
        files.extend(
            entries.iter().map(|listed| directory.join(&listed.file)).filter(|path| !path.exists()),
        );
        for path in files {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let listed = entries.iter().find(|listed| listed.file == name).cloned();
            for der in read_certificates(&path)? {
                if let Some(listed) = &listed {
                    check(&path, &der, listed)?;
                }
                Certificate::parse(&der)
                    .map_err(|source| MakersError::Certificate { path: path.clone(), source })?;
                found.certificates.push(MakerCertificate {
                    path: path.clone(),
                    der: der.to_vec(),
                    listed: listed.clone(),
                });
            }
        }
        Ok(found)
    }

    /// Those that a chain may end at.
    pub fn anchors(&self) -> impl Iterator<Item = &[u8]> {
        let anchors = self.certificates.iter().filter(|one| one.role() == Role::Anchor);
        anchors.map(|one| one.der.as_slice())
    }

    /// Those that only stand between.
    #[must_use]
    pub fn intermediates(&self) -> Vec<Vec<u8>> {
        let between = self.certificates.iter().filter(|one| one.role() == Role::Intermediate);
        between.map(|one| one.der.clone()).collect()
    }
}

/// The manifest of a directory, if it has one.
///
/// # Errors
/// See [`MakersError`].
pub fn read_manifest(directory: &Path) -> Result<Option<Manifest>, MakersError> {
    let path = directory.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(MakersError::Unreadable { path, source }),
    };
    let manifest = toml::from_str(&text);
    manifest.map(Some).map_err(|source| MakersError::Manifest { path, source: Box::new(source) })
}

fn check(path: &Path, der: &[u8], listed: &Listed) -> Result<(), MakersError> {
    let found = CertificateThumbprint::of_der(der);
    if unhex(&listed.sha256).as_deref() == Some(found.0.as_slice()) {
        return Ok(());
    }
    Err(MakersError::Digest { path: path.to_owned(), origin: listed.source.clone() })
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// The certificates that come with this program: file name and PEM. Their manifest is
        /// [`SHIPPED_MANIFEST`].
        pub const SHIPPED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../tpm-makers/", $name)))),*];
    };
}

shipped!(
    "amd-ftpm-ecc-phx.pem",
    "amd-ftpm-rsa-phx.pem",
    "gcp-ek-ak-v3.pem",
    "gcp-ek-ak.pem",
    "gcp-tpm-ek-1.pem",
    "gcp-tpm-ek-2.pem",
    "infineon-rsa.pem",
    "intel-spth-epid.pem",
    "intel.pem",
    "nuvoton-2111.pem",
    "st-ecc-01-intermediate.pem",
    "st-ecc-01.pem",
    "st-rsa-05.pem",
    "st-rsa.pem",
);

/// The manifest of [`SHIPPED`].
pub const SHIPPED_MANIFEST: &str = include_str!("../tpm-makers/manifest.toml");

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped_in(directory: &Path) -> MakerCertificates {
        for (name, pem) in SHIPPED {
            fs::write(directory.join(name), pem).unwrap();
        }
        fs::write(directory.join(MANIFEST), SHIPPED_MANIFEST).unwrap();
        MakerCertificates::load(directory).unwrap()
    }

    #[test]
    fn what_is_shipped_is_what_its_manifest_lists() {
        let folder = tempfile::tempdir().unwrap();
        let found = shipped_in(folder.path());
        assert!(found.certificates.iter().all(|one| one.listed.is_some()));
        assert_eq!(found.certificates.len(), SHIPPED.len());
        let manifest: Manifest = toml::from_str(SHIPPED_MANIFEST).unwrap();
        assert_eq!(manifest.certificates.len(), SHIPPED.len());
        assert_eq!(found.anchors().count() + found.intermediates().len(), SHIPPED.len());
        signet_verifier::certificate::TrustAnchors::from_der(found.anchors()).unwrap();
    }

    #[test]
    fn a_file_that_was_exchanged_is_noticed_and_names_its_source() {
        let folder = tempfile::tempdir().unwrap();
        shipped_in(folder.path());
        fs::copy(folder.path().join("intel.pem"), folder.path().join("st-rsa.pem")).unwrap();
        let error = MakerCertificates::load(folder.path()).unwrap_err();
        assert!(matches!(&error, MakersError::Digest { path, .. } if path.ends_with("st-rsa.pem")));
        assert!(error.to_string().contains("fetch it again from https://"), "{error}");
        fs::remove_file(folder.path().join("st-rsa.pem")).unwrap();
        assert!(matches!(
            MakerCertificates::load(folder.path()),
            Err(MakersError::File(KeyError::Io { .. }))
        ));
    }
}
