//! Real gateways with the documented configurations, in front of a real authority: what passes, what
//! reaches the upstream, and every way around them that others found.

#![allow(clippy::unwrap_used)] // a test ends where its stage cannot be set

mod cases;
mod envoy;
mod manifests;
mod matrix;
mod outage;
mod rotation;
mod socket;
mod stage;
mod table;
