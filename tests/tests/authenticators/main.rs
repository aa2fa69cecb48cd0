//! Every kind of authenticator from registration to lockout, on real firmware, TPM and authority: the
//! cells of the table in `docs/authenticators.md`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail the test")]

#[path = "../client/bench.rs"]
#[allow(dead_code, reason = "the suite of the command line uses the rest")]
mod bench;
mod button;
mod cells;
mod document;
mod fingerprint_key;
mod pin_key;
mod platform_fingerprint;
mod touch_key;
mod tpm_pin;
mod u2f_key;
