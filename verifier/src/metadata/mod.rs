//! FIDO metadata (FIDO Metadata Service v3.0 and v3.1): what makers and the FIDO Alliance say of
//! models of security keys.
//!
//! [`Metadata::verify`] takes the signed BLOB apart and believes it only as far as its chain leads to
//! a configured root. What is kept is the part that decides something here: how a model verifies its
//! user, which roots vouch for it, and what became of it since ([`ModelEntry::condition`]).

mod blob;
mod date;
mod entry;
mod jws;
mod status;
mod verification;

pub use blob::{BlobError, LARGEST_BLOB, Metadata, Rollback, Signer};
pub use entry::{AttestationKeyId, ModelEntry, ModelIdentity};
pub use jws::JwsError;
pub use status::{ModelCondition, ModelStatus, StatusReport};

/// Entry points for fuzzing: what stands behind the signature, without one.
#[doc(hidden)]
pub mod fuzzing {
    use super::{BlobError, Metadata};

    /// Reads a payload that nobody signed. Of no use to anybody else: what it gives is not believed.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub fn payload(bytes: &[u8]) -> Result<Metadata, BlobError> {
        Metadata::read(bytes)
    }
}
