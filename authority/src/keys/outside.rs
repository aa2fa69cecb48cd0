//! Our CAs under a CA of the organisation: a request for the key that is here, and the certificate that
//! comes back.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use signet_evidence::UnixTime;
use signet_verifier::certificate::{Certificate, TrustAnchors, VerifiedPath};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::ca_ring::{newest_ca, replace_certificate};
use super::{KeyError, Secrets, credentials, signer};
use crate::ca::CertificateAuthority;

/// Why a certificate is not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CertificateFault {
    /// Unreadable.
    #[error("it is not a certificate")]
    Unreadable,
    /// Certificates of this key under this name do not lead to it.
    #[error(
        "it is not a CA certificate of this key and name: ask for it with the request of `signet-authority \
         keys request`, with basicConstraints CA and keyCertSign"
    )]
    Other,
    /// Not valid now.
    #[error("it is not valid now")]
    Time,
}

/// A certificate request (PEM) for the key of the CA in the files `name`, under the name that it has.
///
/// # Errors
/// See [`KeyError`].
pub fn certificate_request(
    directory: &Path,
    name: &str,
    common_name: &str,
) -> Result<String, KeyError> {
    let credentials = credentials();
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    let (file, _) = newest_ca(secrets, name)?;
    let key = signer(secrets, &file)?;
    Ok(CertificateAuthority::request(common_name, key)?)
}

/// Takes `certificate` for the CA in the files `name`, in place of the one that it has. What it issued
/// stays good, because name and key stay.
///
/// # Errors
/// [`KeyError::Certificate`] when it is not one of that key and name; nothing changes then.
pub fn import_certificate(
    directory: &Path,
    name: &str,
    certificate: CertificateDer<'static>,
    now: UnixTime,
) -> Result<(), KeyError> {
    let path = directory.join(format!("{name}.pem"));
    let fault = |fault| KeyError::Certificate { path: path.clone(), fault };
    let parsed =
        Certificate::parse(&certificate).map_err(|_| fault(CertificateFault::Unreadable))?;
    if now < parsed.not_before() || now >= parsed.not_after() {
        return Err(fault(CertificateFault::Time));
    }
    let credentials = credentials();
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    // What the CA issued before must lead to the new certificate.
    let (_, before) = newest_ca(secrets, name)?;
    let issued =
        before.issue_gateway("spiffe://test/gateway/test", now, Duration::from_secs(60))?;
    let leads_here = |anchor: &CertificateDer<'static>| {
        let anchors = TrustAnchors::from_der([anchor]).ok()?;
        VerifiedPath::verify(&issued.certificate, &[], &anchors, None, now).ok()
    };
    let is_ca = X509Certificate::from_der(&certificate).is_ok_and(|(_, one)| one.is_ca());
    if !is_ca || leads_here(&certificate).is_none() {
        return Err(fault(CertificateFault::Other));
    }
    replace_certificate(directory, name, &certificate, now)
}
