//! The operator's side of Signet: `signetd` over D-Bus, the authority over mTLS, tokens in a cache.
//!
//! The TLS key stays in the TPM: every handshake is signed by `signetd`. Nothing here judges
//! evidence or tokens; what this library shows of them is read, not verified.

pub mod approval;
pub mod authority;
pub mod ceremony;
pub mod daemon;
pub mod demand;
pub mod doctor;
pub mod enrolment;
pub mod inspection;
pub mod one_line;
mod private_socket;
pub mod proxy;
pub mod remote;
pub mod renewal;
pub mod settings;
pub mod step_up;
pub mod tls;
pub mod tokens;
pub mod workstation;

pub use authority::{Authority, AuthorityError};
pub use daemon::{Bus, Daemon, DaemonError};
pub use tokens::Tokens;
pub use workstation::Workstation;
