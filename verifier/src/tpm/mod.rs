//! TPM attestation: quotes, certifications, endorsement and credential activation.

mod attributes;
mod certification;
mod credential;
mod endorsement;
mod quote;
mod signed;
mod user_key;

pub use attributes::{AttestationKey, AttestationKeyError, EndorsementKey, TemplateError, TlsKey};
pub use certification::{CertificationError, VerifiedCertification};
pub use credential::{ActivationCredential, CredentialError, make_credential};
pub use endorsement::{EndorsementError, VerifiedEndorsement};
pub use quote::{QuoteError, VerifiedQuote};
pub use user_key::{UserKey, UserKeyError, UserKeyMethod};
