#![no_main]

#[allow(dead_code)] // each target uses its own
#[path = "../verifier.rs"]
mod verifier;

libfuzzer_sys::fuzz_target!(|input: &[u8]| verifier::jwt(input));
