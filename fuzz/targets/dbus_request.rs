#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| signet_daemon::bus::fuzzing::request_mapping(input));
