//! What quote and certification have in common: a restricted key signed a structure of the TPM's.

use signet_evidence::tpm::{
    Attested, ClockInfo, HashAlgorithm, TpmsAttest, TpmtSignature, WireError,
};

use super::attributes::AttestationKey;

/// Why a signed `TPMS_ATTEST` is not believed, in the order of the checks.
pub(super) enum SignedAttestError {
    Malformed(WireError),
    SignatureScheme,
    SignatureInvalid,
    Magic(u32),
    Type(u16),
    ExtraData,
}

/// What an AK signed, of one type.
pub(super) struct Opened<T> {
    pub(super) clock_info: ClockInfo,
    pub(super) firmware_version: u64,
    pub(super) info: T,
}

/// Checks signature, magic, type and extraData, in this order. The signature comes first, so that
/// nothing but the AK's own words is parsed. `of_type` takes the one type that is expected.
pub(super) fn open<T>(
    ak: &AttestationKey,
    attest: &[u8],
    signature: &[u8],
    qualifying_data: &[u8],
    of_type: impl FnOnce(Attested) -> Option<T>,
) -> Result<Opened<T>, SignedAttestError> {
    use SignedAttestError as E;
    let signature = TpmtSignature::parse(signature).map_err(|error| match error {
        WireError::SignatureAlgorithm(_) | WireError::HashAlgorithm(_) => E::SignatureScheme,
        other => E::Malformed(other),
    })?;
    let TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r_s } = &signature else {
        return Err(E::SignatureScheme);
    };
    ak.public_key().verify_fixed(attest, r_s).map_err(|_| E::SignatureInvalid)?;
    let attest = TpmsAttest::parse(attest).map_err(|error| match error {
        WireError::Magic { found } => E::Magic(found),
        WireError::AttestType(found) => E::Type(found),
        other => E::Malformed(other),
    })?;
    let found = attest.kind();
    let info = of_type(attest.attested).ok_or(E::Type(found))?;
    if attest.extra_data != qualifying_data {
        return Err(E::ExtraData);
    }
    let (clock_info, firmware_version) = (attest.clock_info, attest.firmware_version);
    Ok(Opened { clock_info, firmware_version, info })
}

/// The variants that quote and certification errors share, one to one.
macro_rules! from_signed_attest_error {
    ($error:ident) => {
        impl From<SignedAttestError> for $error {
            fn from(error: SignedAttestError) -> Self {
                match error {
                    SignedAttestError::Malformed(source) => Self::Malformed(source),
                    SignedAttestError::SignatureScheme => Self::SignatureScheme,
                    SignedAttestError::SignatureInvalid => Self::SignatureInvalid,
                    SignedAttestError::Magic(found) => Self::Magic { found },
                    SignedAttestError::Type(found) => Self::Type { found },
                    SignedAttestError::ExtraData => Self::ExtraData,
                }
            }
        }
    };
}
pub(super) use from_signed_attest_error;
