//! What a TPM signs about itself.

use super::name::Name;
use super::pcr::{PcrSelection, read_selections, write_selections};
use super::wire::{Reader, Structure, WireError, put_sized, put_u16};

/// `TPM_GENERATED_VALUE` (Part 2 §6.2): a restricted key never signs bytes that begin with it
/// unless the TPM made them itself.
pub const TPM_GENERATED_VALUE: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_CERTIFY` (Part 2 §6.9).
pub const TPM_ST_ATTEST_CERTIFY: u16 = 0x8017;
/// `TPM_ST_ATTEST_QUOTE` (Part 2 §6.9).
pub const TPM_ST_ATTEST_QUOTE: u16 = 0x8018;

/// Longest extraData: a `TPMT_HA` with SHA-512 (Part 2 §10.4.3).
const LONGEST_EXTRA_DATA: usize = 2 + 64;
const LONGEST_DIGEST: usize = 64;

/// `TPMS_ATTEST` (Part 2 §10.12.12), of a quote or a certification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmsAttest {
    /// Qualified name of the signing key.
    pub qualified_signer: Name,
    /// The caller's qualifying data, up to 66 bytes.
    pub extra_data: Vec<u8>,
    /// Clock and boot counters.
    pub clock_info: ClockInfo,
    /// Firmware version as the maker numbers it; obfuscated when the key is in the owner hierarchy.
    pub firmware_version: u64,
    /// What is attested.
    pub attested: Attested,
}

/// `TPMS_CLOCK_INFO` (Part 2 §10.11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds the TPM was powered since it was last cleared.
    pub clock: u64,
    /// TPM resets since the last clear.
    pub reset_count: u32,
    /// Resumes and restarts since the last reset.
    pub restart_count: u32,
    /// Whether `clock` is sure not to have been reported higher before.
    pub safe: bool,
}

/// `TPMU_ATTEST` (Part 2 §10.12.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attested {
    /// `TPM2_Quote`.
    Quote(QuoteInfo),
    /// `TPM2_Certify`.
    Certify(CertifyInfo),
}

/// `TPMS_QUOTE_INFO` (Part 2 §10.12.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteInfo {
    /// Which PCRs, in the order in which they were hashed.
    pub pcr_select: Vec<PcrSelection>,
    /// Digest over their values, by the hash of the signing scheme.
    pub pcr_digest: Vec<u8>,
}

/// `TPMS_CERTIFY_INFO` (Part 2 §10.12.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifyInfo {
    /// Name of the certified object.
    pub name: Name,
    /// Its qualified name.
    pub qualified_name: Name,
}

impl TpmsAttest {
    /// Parses a whole `TPMS_ATTEST`.
    ///
    /// # Errors
    /// [`WireError::Magic`] and [`WireError::AttestType`] come before any other complaint.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let found = reader.u32()?;
        if found != TPM_GENERATED_VALUE {
            return Err(WireError::Magic { found });
        }
        let kind = reader.u16()?;
        if !matches!(kind, TPM_ST_ATTEST_QUOTE | TPM_ST_ATTEST_CERTIFY) {
            return Err(WireError::AttestType(kind));
        }
        let qualified_signer = Name::read(&mut reader)?;
        let extra_data = reader.sized(Structure::ExtraData, LONGEST_EXTRA_DATA)?.to_vec();
        let clock_info = ClockInfo {
            clock: reader.u64()?,
            reset_count: reader.u32()?,
            restart_count: reader.u32()?,
            safe: reader.yes_no()?,
        };
        let firmware_version = reader.u64()?;
        let attested = if kind == TPM_ST_ATTEST_QUOTE {
            Attested::Quote(QuoteInfo {
                pcr_select: read_selections(&mut reader)?,
                pcr_digest: reader.sized(Structure::Digest, LONGEST_DIGEST)?.to_vec(),
            })
        } else {
            Attested::Certify(CertifyInfo {
                name: Name::read(&mut reader)?,
                qualified_name: Name::read(&mut reader)?,
            })
        };
        reader.finish()?;
        Ok(Self { qualified_signer, extra_data, clock_info, firmware_version, attested })
    }

    /// Marshals to the bytes [`TpmsAttest::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = TPM_GENERATED_VALUE.to_be_bytes().to_vec();
        put_u16(&mut out, self.kind());
        self.qualified_signer.write(&mut out);
        put_sized(&mut out, &self.extra_data);
        out.extend_from_slice(&self.clock_info.clock.to_be_bytes());
        out.extend_from_slice(&self.clock_info.reset_count.to_be_bytes());
        out.extend_from_slice(&self.clock_info.restart_count.to_be_bytes());
        out.push(u8::from(self.clock_info.safe));
        out.extend_from_slice(&self.firmware_version.to_be_bytes());
        match &self.attested {
            Attested::Quote(quote) => {
                write_selections(&mut out, &quote.pcr_select);
                put_sized(&mut out, &quote.pcr_digest);
            }
            Attested::Certify(certify) => {
                certify.name.write(&mut out);
                certify.qualified_name.write(&mut out);
            }
        }
        out
    }

    /// The `TPMI_ST_ATTEST` of what is attested.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self.attested {
            Attested::Quote(_) => TPM_ST_ATTEST_QUOTE,
            Attested::Certify(_) => TPM_ST_ATTEST_CERTIFY,
        }
    }
}
