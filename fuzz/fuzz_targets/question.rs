//! See `tests/properties/parsers.rs`.

#![no_main]

#[path = "../../tests/properties/parsers.rs"]
#[expect(dead_code, reason = "each target is one of the properties")]
mod parsers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| parsers::question(data));
