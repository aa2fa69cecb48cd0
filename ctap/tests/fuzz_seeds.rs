//! The fuzz targets' seeds, and small changes of them, on any compiler.

#[path = "../../fuzz/replay.rs"]
mod replay;

use signet_ctap::fuzzing;

#[test]
fn ctaphid_reassembly() {
    replay::seeds("ctaphid_reassembly", fuzzing::ctaphid_reassembly);
}

#[test]
fn ctap_response() {
    replay::seeds("ctap_response", fuzzing::ctap_response);
}

#[test]
fn u2f_response() {
    replay::seeds("u2f_response", fuzzing::u2f_response);
}
