//! Presence Evidence, the statement, the challenge, and the TPM and WebAuthn structures they carry.
