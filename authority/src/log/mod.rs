//! The audit log: a Merkle tree over all decisions, signed as it grows.
//!
//! The tree grows in the transaction of each record (`store`); this module signs it, proves things
//! about it and checks it. Whoever keeps a checkpoint notices when the past changes.

pub mod http;
mod prove;
mod sign;
pub mod verify;

pub use prove::{ProveError, consistency, cosigned, inclusion, receipt, root_at};
pub use sign::{AuditLog, ReloadError, SignError, keep_signed, log_name};
