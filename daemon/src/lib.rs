//! signetd: the Attester on the operator's workstation.

pub mod ceremony;
pub mod tpm;
