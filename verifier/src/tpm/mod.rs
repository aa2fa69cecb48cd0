//! TPM attestation: quotes, certifications, endorsement and credential activation.

mod attributes;
mod certification;
mod credential;
mod endorsement;
mod quote;
mod signed;

pub use attributes::{AttestationKey, AttestationKeyError, EndorsementKey, TemplateError, TlsKey};
pub use certification::{CertificationError, VerifiedCertification};
pub use credential::{ActivationCredential, CredentialError, make_credential};
pub use endorsement::{EndorsementError, VerifiedEndorsement};
pub use quote::{QuoteError, VerifiedQuote};
