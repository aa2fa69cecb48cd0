#![no_main]

#[allow(dead_code)] // each target uses its own
#[path = "../evidence.rs"]
mod evidence;

libfuzzer_sys::fuzz_target!(|input: &[u8]| evidence::statement(input));
