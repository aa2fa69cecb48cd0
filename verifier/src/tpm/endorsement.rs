//! Endorsement: that the TPM is one its maker vouches for.

use signet_evidence::tpm::PublicParameters;
use signet_evidence::{CertificateThumbprint, UnixTime};
use thiserror::Error;

use super::attributes::EndorsementKey;
use crate::certificate::{CertificateKey, KeyPurpose, PathError, TrustAnchors, VerifiedPath};

/// Why an endorsement is not believed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum EndorsementError {
    /// The EK certificate does not lead to one of the makers' roots.
    #[error("endorsement certificate does not lead to a trusted TPM maker")]
    Untrusted(#[source] PathError),
    /// The certificate is for another key.
    #[error("endorsement certificate is for another key")]
    KeyMismatch,
}

/// An endorsement key with its maker's certificate.
#[derive(Debug)]
pub struct VerifiedEndorsement {
    key: EndorsementKey,
    certificate: CertificateThumbprint,
    anchor: CertificateThumbprint,
}

impl VerifiedEndorsement {
    /// Checks that `certificate` (DER, without NV padding) leads over `intermediates` to one of
    /// `makers` at `now`, is for endorsement keys (2.23.133.8.1), and certifies `key`.
    ///
    /// # Errors
    /// See [`EndorsementError`].
    pub fn verify(
        key: EndorsementKey,
        certificate: &[u8],
        intermediates: &[Vec<u8>],
        makers: &TrustAnchors,
        now: UnixTime,
    ) -> Result<Self, EndorsementError> {
        let purpose = Some(KeyPurpose::EndorsementKey);
        let path = VerifiedPath::verify(certificate, intermediates, makers, purpose, now)
            .map_err(EndorsementError::Untrusted)?;
        if !certifies(path.leaf().key(), &key) {
            return Err(EndorsementError::KeyMismatch);
        }
        Ok(Self { key, certificate: path.leaf().thumbprint(), anchor: path.anchor() })
    }

    /// The endorsement key.
    #[must_use]
    pub fn key(&self) -> &EndorsementKey {
        &self.key
    }

    /// SHA-256 of its certificate.
    #[must_use]
    pub fn certificate(&self) -> CertificateThumbprint {
        self.certificate
    }

    /// Which of the makers' certificates vouches for it.
    #[must_use]
    pub fn anchor(&self) -> CertificateThumbprint {
        self.anchor
    }
}

fn certifies(certified: &CertificateKey, key: &EndorsementKey) -> bool {
    match (certified, &key.public().parameters) {
        (CertificateKey::P256(certified), PublicParameters::Ecc(ecc)) => {
            certified.uncompressed_point().as_slice() == ecc.uncompressed_point()
        }
        (CertificateKey::P384(certified), PublicParameters::Ecc(ecc)) => {
            *certified == ecc.uncompressed_point()
        }
        (CertificateKey::Rsa { modulus, exponent }, PublicParameters::Rsa(rsa)) => {
            let found = exponent
                .iter()
                .try_fold(0_u32, |value, byte| Some(value.checked_mul(256)? | u32::from(*byte)));
            *modulus == rsa.modulus && found == Some(rsa.public_exponent())
        }
        _ => false,
    }
}
