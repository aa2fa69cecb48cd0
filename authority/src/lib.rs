//! The authority: enrolment, challenges, token exchange, policy, audit and the gateways' endpoint.

pub mod ca;
pub mod config;
pub mod decision;
pub mod documents;
pub mod enrol;
pub mod gateway;
pub mod keys;
pub mod metrics;
pub mod policy;
pub mod problem;
pub mod random;
pub mod revocation;
pub mod router;
pub mod server;
pub mod state;
pub mod status_list;
pub mod store;
pub mod tickets;
pub mod tls;
pub mod trust;
