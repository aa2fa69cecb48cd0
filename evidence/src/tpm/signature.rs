//! Signatures as a TPM returns them.

use super::algorithm::{HashAlgorithm, TPM_ALG_ECDSA, TPM_ALG_RSASSA};
use super::public::LONGEST_RSA;
use super::wire::{Reader, Structure, WireError, put_sized, put_u16};

/// Length of one half of a P-256 signature.
const HALF: usize = 32;

/// `TPMT_SIGNATURE` (Part 2 §11.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmtSignature {
    /// ECDSA over P-256.
    Ecdsa {
        /// Hash of the scheme.
        hash: HashAlgorithm,
        /// `r ‖ s`, each 32 bytes big-endian: what ECDSA libraries call "fixed".
        r_s: [u8; 64],
    },
    /// RSASSA-PKCS1-v1_5.
    Rsassa {
        /// Hash of the scheme.
        hash: HashAlgorithm,
        /// The signature, as long as the modulus.
        signature: Vec<u8>,
    },
}

impl TpmtSignature {
    /// Parses a whole `TPMT_SIGNATURE`. `r` and `s` may be shorter than 32 bytes: some TPMs drop
    /// leading zeros.
    ///
    /// # Errors
    /// [`WireError::SignatureAlgorithm`] for other schemes; [`WireError::TooLong`] for larger curves.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let algorithm = reader.u16()?;
        if !matches!(algorithm, TPM_ALG_ECDSA | TPM_ALG_RSASSA) {
            return Err(WireError::SignatureAlgorithm(algorithm));
        }
        let hash = HashAlgorithm::from_id(reader.u16()?)?;
        let signature = if algorithm == TPM_ALG_ECDSA {
            let mut r_s = [0; 2 * HALF];
            for half in r_s.chunks_exact_mut(HALF) {
                let value = reader.sized(Structure::EccParameter, HALF)?;
                half[HALF - value.len()..].copy_from_slice(value);
            }
            Self::Ecdsa { hash, r_s }
        } else {
            let signature = reader.sized(Structure::RsaParameter, LONGEST_RSA)?.to_vec();
            Self::Rsassa { hash, signature }
        };
        reader.finish()?;
        Ok(signature)
    }

    /// Marshals, with `r` and `s` at their full 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Ecdsa { hash, r_s } => {
                put_u16(&mut out, TPM_ALG_ECDSA);
                put_u16(&mut out, hash.id());
                r_s.chunks_exact(HALF).for_each(|half| put_sized(&mut out, half));
            }
            Self::Rsassa { hash, signature } => {
                put_u16(&mut out, TPM_ALG_RSASSA);
                put_u16(&mut out, hash.id());
                put_sized(&mut out, signature);
            }
        }
        out
    }

    /// Hash of the signing scheme: the one a quote's PCR digest is made with.
    #[must_use]
    pub fn hash(&self) -> HashAlgorithm {
        match self {
            Self::Ecdsa { hash, .. } | Self::Rsassa { hash, .. } => *hash,
        }
    }
}
