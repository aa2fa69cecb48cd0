//! Keys in software that sign the same bytes the same way each time.

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use signet_evidence::tpm::{HashAlgorithm, TpmtSignature};
use signet_evidence::webauthn::CoseKey;

use crate::attester::{Fault, der_signature};
use crate::world::Software;

/// A P-256 key that signs by RFC 6979, so that what is forged with it can be forged again.
pub struct SoftwareKey(SigningKey);

impl SoftwareKey {
    /// The key of a scalar.
    ///
    /// # Errors
    /// [`Fault`] where it is none.
    pub fn from_scalar(scalar: &[u8]) -> Result<Self, Fault> {
        Ok(Self(SigningKey::from_slice(scalar)?))
    }

    /// The world's key for `role`.
    ///
    /// # Errors
    /// [`Fault`] where the world has none.
    pub fn of(software: &Software, role: &str) -> Result<Self, Fault> {
        Self::from_scalar(&software.secrets.get(role).ok_or("no such key in software")?.0)
    }

    /// The public key, an uncompressed point.
    pub fn point(&self) -> [u8; 65] {
        let mut point = [0; 65];
        point.copy_from_slice(self.0.verifying_key().to_sec1_point(false).as_bytes());
        point
    }

    /// The public key as a credential's.
    pub fn cose_key(&self) -> CoseKey {
        CoseKey::from_uncompressed_point(&self.point())
    }

    /// ECDSA with SHA-256: r ‖ s.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.0.sign(message);
        signature.to_bytes().into()
    }

    /// The same as `Ecdsa-Sig-Value`.
    pub fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        der_signature(&self.sign(message))
    }

    /// The same as `TPMT_SIGNATURE`.
    pub fn sign_tpm(&self, message: &[u8]) -> Vec<u8> {
        let r_s = self.sign(message);
        TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r_s }.to_bytes()
    }
}
