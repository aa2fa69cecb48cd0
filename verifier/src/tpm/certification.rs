//! Certifications: that the TLS key lives in the TPM which quotes.

use signet_evidence::header::CertifiedKey;
use signet_evidence::tpm::{Attested, ClockInfo, Name, TpmtPublic, WireError};
use thiserror::Error;

use super::attributes::{AttestationKey, TemplateError, TlsKey};
use super::signed::{SignedAttestError, from_signed_attest_error, open};
use crate::ecdsa::P256PublicKey;

/// Why a certification is not believed. Variants stand in the order of the checks.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CertificationError {
    /// `TPMS_ATTEST` or `TPMT_SIGNATURE` is malformed.
    #[error("certification is malformed")]
    Malformed(#[source] WireError),
    /// Not ECDSA with SHA-256. RSA attestation keys are not supported.
    #[error("certification is not signed with ECDSA and SHA-256")]
    SignatureScheme,
    /// The AK did not sign this.
    #[error("the attestation key did not sign this certification")]
    SignatureInvalid,
    /// `magic` is not `TPM_GENERATED_VALUE` (Part 2 §6.2).
    #[error("magic is {found:#010x}: no TPM made this certification")]
    Magic {
        /// The magic found.
        found: u32,
    },
    /// The AK signed another kind of attestation (Part 2 §6.9).
    #[error("attestation type {found:#06x} is not a certification")]
    Type {
        /// The type found.
        found: u16,
    },
    /// `extraData` is not the qualifying data of this statement and assertion (protocol §2.2).
    #[error("certification was made over other qualifying data")]
    ExtraData,
    /// `TPMT_PUBLIC` is malformed.
    #[error("public area of the certified key is malformed")]
    Public(#[source] WireError),
    /// The certified name is not that of the public area sent along (Part 1 §16).
    #[error("certified name is not the name of the key")]
    Name,
    /// The certified key could leave the TPM, or is of the wrong kind.
    #[error("certified key is not a TLS key made inside the TPM")]
    Template(#[source] TemplateError),
}

from_signed_attest_error!(CertificationError);

/// A key of whatever kind that an AK certified over the expected qualifying data.
pub(super) struct Certified {
    pub(super) public: TpmtPublic,
    name: Name,
    clock_info: ClockInfo,
}

/// All checks of a certification but those of the certified key's kind.
pub(super) fn certified(
    ak: &AttestationKey,
    attest: &[u8],
    signature: &[u8],
    qualifying_data: &[u8],
    public: &[u8],
) -> Result<Certified, CertificationError> {
    let opened = open(ak, attest, signature, qualifying_data, |attested| match attested {
        Attested::Certify(certify) => Some(certify),
        Attested::Quote(_) => None,
    })?;
    let name = opened.info.name;
    let public = TpmtPublic::parse(public).map_err(CertificationError::Public)?;
    if name != Name::of(&public) {
        return Err(CertificationError::Name);
    }
    Ok(Certified { public, name, clock_info: opened.clock_info })
}

/// A certification of the TLS key by an attestation key of the same TPM (Part 3 §18.2).
#[derive(Debug)]
pub struct VerifiedCertification {
    key: TlsKey,
    name: Name,
    clock_info: ClockInfo,
}

impl VerifiedCertification {
    /// Checks, in this order: signature by `ak`, magic, type, `extraData == qualifying_data`, that the
    /// certified name is that of `public` (a `TPMT_PUBLIC`), and its attributes.
    ///
    /// # Errors
    /// See [`CertificationError`].
    pub fn verify(
        ak: &AttestationKey,
        attest: &[u8],
        signature: &[u8],
        qualifying_data: &[u8],
        public: &[u8],
    ) -> Result<Self, CertificationError> {
        let certified = certified(ak, attest, signature, qualifying_data, public)?;
        Self::of(certified, TlsKey::from_public)
    }

    /// The same, where the certified key should be `expected`, which is not put on the curve again.
    pub(crate) fn verify_expecting(
        expected: &P256PublicKey,
        ak: &AttestationKey,
        CertifiedKey { signed, public }: &CertifiedKey,
        qualifying_data: &[u8],
    ) -> Result<Self, CertificationError> {
        let certified = certified(ak, &signed.attest, &signed.signature, qualifying_data, public)?;
        Self::of(certified, |public| TlsKey::expecting(expected, public))
    }

    fn of(
        Certified { public, name, clock_info }: Certified,
        key: impl FnOnce(&TpmtPublic) -> Result<TlsKey, TemplateError>,
    ) -> Result<Self, CertificationError> {
        let key = key(&public).map_err(CertificationError::Template)?;
        Ok(Self { key, name, clock_info })
    }

    /// The certified key.
    #[must_use]
    pub fn key(&self) -> &TlsKey {
        &self.key
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The TPM's clock and boot counters.
    #[must_use]
    pub fn clock_info(&self) -> ClockInfo {
        self.clock_info
    }
}
