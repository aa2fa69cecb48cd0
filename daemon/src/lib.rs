//! signetd: the Attester on the operator's workstation.
//!
//! Owns the TPM and the security keys, asks the person, puts Presence Evidence together and serves
//! it over D-Bus. Never judges what it makes, and never opens a network socket.

pub mod authenticator;
pub mod boot_log;
pub mod bus;
pub mod ceremony;
pub mod config;
mod der;
pub mod desk;
pub mod enrol;
pub mod failure;
pub mod logind;
pub mod platform;
pub mod polkit;
pub mod presence;
pub mod prompt;
pub mod sessions;
pub mod state;
pub mod tls_message;
pub mod tpm;
pub mod work;
