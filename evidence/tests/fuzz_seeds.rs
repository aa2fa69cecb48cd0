//! The fuzz targets' seeds, and small changes of them, on any compiler.
#![allow(clippy::expect_used, reason = "a test says by panicking that it failed")]

#[path = "../../fuzz/evidence.rs"]
mod evidence;
#[path = "../../fuzz/replay.rs"]
#[allow(clippy::disallowed_methods, reason = "the test reads its seeds")]
mod replay;

#[test]
fn attestation_object() {
    replay::seeds("attestation_object", evidence::attestation_object);
}

#[test]
fn authenticator_data() {
    replay::seeds("authenticator_data", evidence::authenticator_data);
}

#[test]
fn event_log() {
    replay::seeds("event_log", evidence::event_log);
}

#[test]
fn tpms_attest() {
    replay::seeds("tpms_attest", evidence::tpms_attest);
}

#[test]
fn tpmt_public() {
    replay::seeds("tpmt_public", evidence::tpmt_public);
}

#[test]
fn evidence() {
    replay::seeds("evidence", evidence::evidence);
}

#[test]
fn statement() {
    replay::seeds("statement", evidence::statement);
}

#[test]
fn tpmt_signature() {
    replay::seeds("tpmt_signature", evidence::tpmt_signature);
}

#[test]
fn client_data() {
    replay::seeds("client_data", evidence::client_data);
}

#[test]
fn action() {
    replay::seeds("action", evidence::action);
}
