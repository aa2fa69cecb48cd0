//! Enrolment of machines (protocol §4.1) and security keys (§4.2).

pub mod authenticator;
pub mod device;
mod pending;
pub mod renewal;

pub use pending::PendingEnrolments;
