//! The seeds of the fuzz targets of whole programs, and small changes of them, on any compiler.
#![allow(clippy::expect_used, reason = "a test says by panicking that it failed")]

#[path = "../../fuzz/appraisal.rs"]
mod appraisal;
#[path = "../../fuzz/replay.rs"]
mod replay;

use signet_authority::gateway::fuzzing as gateway;

#[test]
fn appraisal() {
    replay::seeds("appraisal", appraisal::appraisal);
}

#[test]
fn dbus_request() {
    replay::seeds("dbus_request", signet_daemon::bus::fuzzing::request_mapping);
}

#[test]
fn peer_certificate() {
    replay::seeds("peer_certificate", gateway::peer_certificate);
}

#[test]
fn gateway_question() {
    replay::seeds("gateway_question", gateway::gateway_question);
}

#[test]
fn gateway_attributes() {
    replay::seeds("gateway_attributes", gateway::gateway_attributes);
}
