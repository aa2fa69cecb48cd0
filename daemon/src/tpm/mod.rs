//! The workstation's TPM: the only place in Signet that speaks to one.
//!
//! [`Tpm`] is a cheap handle. Behind it one thread owns the connection, takes requests from a
//! bounded queue one at a time, keeps the attestation key (AK) and the TLS key loaded and opens
//! the connection again when it was lost. Everything that comes out is plain bytes in the TPM's
//! own wire format, so no type of the TPM library is seen elsewhere.
//!
//! | key | where | why |
//! |---|---|---|
//! | EK | endorsement hierarchy, TCG template, made on demand | identity, credential activation only |
//! | AK | endorsement hierarchy, made again at each start from the TPM's seed and a stored salt | its quotes carry the true reset count; survives `TPM2_Clear` |
//! | TLS key | child of the storage root key, kept as a blob on disk | dies with `TPM2_Clear`, which forces re-enrolment |
//! | user keys | children of the storage root key, blobs on disk, loaded for one signature | stand for a person (PIN or fingerprint); die with `TPM2_Clear` |
//!
//! A TPM holds three objects and three sessions at a time, also behind the kernel's resource
//! manager. At rest two objects are in use (AK, TLS key); each operation needs one more.
//!
//! Two habits of libtss2 to know: it writes its own warnings to standard error (`TSS2_LOG=all+none`
//! in the unit), and it opens device and sockets without close-on-exec, so a child process
//! spawned by the daemon would inherit the open TPM. The daemon must not spawn programs itself.

mod activation;
mod actor;
mod attestation;
mod certificate;
mod endorsement;
mod error;
mod health;
mod link;
mod properties;
mod queue;
mod recovery;
mod session;
mod template;
mod tls_key;
mod user_key;

pub use actor::{PersistentHandles, Tpm, TpmConfig};
pub use attestation::{AttestationKey, Certification, PcrBank, Quote};
pub use endorsement::{Endorsement, EndorsementKey, EndorsementKind};
pub use error::{BlobError, ResponseCode, TpmError};
pub use health::Health;
pub use properties::{Clock, Lockout, Properties};
pub use queue::Urgency;
pub use tls_key::{BoundTo, TlsKey};
pub use user_key::{CertifiedUserKey, PinValue, ReleaseRequest, Releaser, UserKey, name};
