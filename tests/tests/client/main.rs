//! The `signet` program against the real `signetd`, TPM, security key and authority.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail the test")]

mod bench;
mod ceremony;
mod enrolment;
mod fingers;
mod gateway;
mod inspection;
mod renewal;
mod session;
mod upkeep;
