//! The `signet` program against the real `signetd`, TPM, security key and authority.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail the test")]

mod agent;
#[allow(dead_code, reason = "the suite of the authenticators uses the rest")]
mod bench;
mod ceremony;
mod doctor;
mod enrolment;
mod fingers;
mod gateway;
mod held_back;
mod inspection;
mod notifications;
mod people;
mod proxy;
mod reappraisal;
mod remote;
mod renewal;
mod session;
mod step_up;
mod upkeep;
