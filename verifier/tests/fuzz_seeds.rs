//! The fuzz targets' seeds, and small changes of them, on any compiler.
#![allow(clippy::expect_used, reason = "a test says by panicking that it failed")]

#[path = "../../fuzz/replay.rs"]
#[allow(clippy::disallowed_methods, reason = "the test reads its seeds")]
mod replay;
#[path = "../../fuzz/verifier.rs"]
mod verifier;

#[test]
fn mds_blob() {
    replay::seeds("mds_blob", verifier::mds_blob);
}

#[test]
fn attestation_statement() {
    replay::seeds("attestation_statement", verifier::attestation_statement);
}

#[test]
fn ek_certificate() {
    replay::seeds("ek_certificate", verifier::ek_certificate);
}

#[test]
fn jwt() {
    replay::seeds("jwt", verifier::jwt);
}

#[test]
fn cwt() {
    replay::seeds("cwt", verifier::cwt);
}

#[test]
fn status_list() {
    replay::seeds("status_list", verifier::status_list);
}

#[test]
fn authorization() {
    replay::seeds("authorization", verifier::authorization);
}

#[test]
fn log_note() {
    replay::seeds("log_note", verifier::log_note);
}
