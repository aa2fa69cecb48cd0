#![no_main]

#[path = "../appraisal.rs"]
mod appraisal;

libfuzzer_sys::fuzz_target!(
    init: signet_verifier::ecdsa::fuzzing::danger_accept_every_signature(),
    |input: &[u8]| appraisal::appraisal(input)
);
