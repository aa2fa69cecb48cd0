//! Certificates of the gateway's front: what operators' machines see when they connect to it. They
//! are the mesh operator's own and have nothing to do with Signet.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::HouseError;

/// The files.
#[derive(Clone, Debug)]
pub struct MeshCertificates {
    /// CA that clients of the gateway trust, PEM.
    pub ca: PathBuf,
    /// The gateway's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl MeshCertificates {
    /// Makes a CA and a certificate for localhost in a new folder.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn make(folder: &Path) -> Result<Self, HouseError> {
        fs::create_dir_all(folder)?;
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Mesh CA of the test bench");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_certificate = ca.self_signed(&ca_key)?;
        let key = KeyPair::generate()?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate =
            CertificateParams::new(names)?.signed_by(&key, &Issuer::new(ca, ca_key))?;
        let made = Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("gateway.pem"),
            key: folder.join("gateway.key"),
        };
        fs::write(&made.ca, ca_certificate.pem())?;
        fs::write(&made.certificate, certificate.pem())?;
        fs::write(&made.key, key.serialize_pem())?;
        Ok(made)
    }
}
