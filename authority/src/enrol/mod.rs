//! Enrolment of machines (protocol §4.1) and security keys (§4.2).

mod pending;

pub use pending::PendingEnrolments;
