//! TPM 2.0 structures as they travel in Evidence (TCG Trusted Platform Module Library, Part 2).
//!
//! Strict in both directions: every length is bounded, a structure must fill its bytes exactly, and
//! what parses marshals to the same bytes again. Nothing here is verified: these are the sender's
//! values until `signet-verifier` has checked a signature over them.

mod algorithm;
mod attest;
mod attributes;
mod name;
mod pcr;
mod policy;
mod public;
mod signature;
mod wire;

pub use algorithm::{EccCurve, HashAlgorithm, Scheme, Symmetric};
pub use attest::{
    Attested, CertifyInfo, ClockInfo, QuoteInfo, TPM_GENERATED_VALUE, TPM_ST_ATTEST_CERTIFY,
    TPM_ST_ATTEST_QUOTE, TpmsAttest,
};
pub use attributes::ObjectAttributes;
pub use name::Name;
pub use pcr::{PcrError, PcrSelection, PcrValues, pcr_digest};
pub use policy::{FINGERPRINT_POLICY_REF, policy_auth_value, policy_signed};
pub use public::{EccParameters, PublicParameters, RsaParameters, TpmtPublic};
pub use signature::TpmtSignature;
pub use wire::{Structure, WireError};
