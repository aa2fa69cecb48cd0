#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| signet_ctap::fuzzing::u2f_response(input));
