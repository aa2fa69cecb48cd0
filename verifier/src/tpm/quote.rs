//! Quotes: the state in which a machine booted, and that it answered now.

use signet_evidence::tpm::{
    Attested, ClockInfo, HashAlgorithm, PcrError, PcrSelection, PcrValues, WireError, pcr_digest,
};
use thiserror::Error;

use super::attributes::AttestationKey;
use super::signed::{SignedAttestError, from_signed_attest_error, open};

/// Why a quote is not believed. Variants stand in the order of the checks; the first one wins.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum QuoteError {
    /// `TPMS_ATTEST` or `TPMT_SIGNATURE` is malformed.
    #[error("quote is malformed")]
    Malformed(#[source] WireError),
    /// Not ECDSA with SHA-256. RSA attestation keys are not supported.
    #[error("quote is not signed with ECDSA and SHA-256")]
    SignatureScheme,
    /// The AK did not sign this.
    #[error("the attestation key did not sign this quote")]
    SignatureInvalid,
    /// `magic` is not `TPM_GENERATED_VALUE` (Part 2 §6.2).
    #[error("magic is {found:#010x}: no TPM made this quote")]
    Magic {
        /// The magic found.
        found: u32,
    },
    /// The AK signed another kind of attestation (Part 2 §6.9).
    #[error("attestation type {found:#06x} is not a quote")]
    Type {
        /// The type found.
        found: u16,
    },
    /// `extraData` is not the qualifying data of this statement and assertion (protocol §2.2).
    #[error("quote was made over other qualifying data")]
    ExtraData,
    /// PCR values are missing, or were sent without being quoted.
    #[error("PCR values do not fit the quoted selection")]
    PcrSelection(#[source] PcrError),
    /// PCR values do not hash to `pcrDigest`.
    #[error("PCR values do not hash to the quoted digest")]
    PcrDigest,
}

from_signed_attest_error!(QuoteError);

/// A quote by an attestation key over the expected qualifying data (Part 3 §18.4).
#[derive(Debug)]
pub struct VerifiedQuote {
    clock_info: ClockInfo,
    firmware_version: u64,
    pcr_select: Vec<PcrSelection>,
    pcr_digest: Vec<u8>,
    pcr_values: Option<PcrValues>,
}

impl VerifiedQuote {
    /// Checks, in this order: signature by `ak`, magic, type, `extraData == qualifying_data`, and that
    /// `pcr_values` are exactly the selected ones and hash to the signed digest.
    ///
    /// # Errors
    /// See [`QuoteError`].
    pub fn verify(
        ak: &AttestationKey,
        attest: &[u8],
        signature: &[u8],
        qualifying_data: &[u8],
        pcr_values: Option<PcrValues>,
    ) -> Result<Self, QuoteError> {
        let opened = open(ak, attest, signature, qualifying_data, |attested| match attested {
            Attested::Quote(quote) => Some(quote),
            Attested::Certify(_) => None,
        })?;
        let quote = opened.info;
        if let Some(values) = &pcr_values {
            // The hash of the signing scheme, whatever the bank (Part 3 §18.4).
            let digest = pcr_digest(&quote.pcr_select, values, HashAlgorithm::Sha256)
                .map_err(QuoteError::PcrSelection)?;
            if digest != quote.pcr_digest {
                return Err(QuoteError::PcrDigest);
            }
        }
        Ok(Self {
            clock_info: opened.clock_info,
            firmware_version: opened.firmware_version,
            pcr_select: quote.pcr_select,
            pcr_digest: quote.pcr_digest,
            pcr_values,
        })
    }

    /// The TPM's clock and boot counters.
    #[must_use]
    pub fn clock_info(&self) -> ClockInfo {
        self.clock_info
    }

    /// Firmware version as the maker numbers it.
    #[must_use]
    pub fn firmware_version(&self) -> u64 {
        self.firmware_version
    }

    /// Which PCRs were quoted.
    #[must_use]
    pub fn pcr_select(&self) -> &[PcrSelection] {
        &self.pcr_select
    }

    /// SHA-256 over the selected values.
    #[must_use]
    pub fn pcr_digest(&self) -> &[u8] {
        &self.pcr_digest
    }

    /// The values behind the digest, if the evidence carried them.
    #[must_use]
    pub fn pcr_values(&self) -> Option<&PcrValues> {
        self.pcr_values.as_ref()
    }

    /// The same, for keeps.
    #[must_use]
    pub fn into_pcr_values(self) -> Option<PcrValues> {
        self.pcr_values
    }
}
