//! The fuzz targets' seeds, and small changes of them, on any compiler.

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
