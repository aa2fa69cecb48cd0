#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| signet_ctap::fuzzing::ctap_response(input));
