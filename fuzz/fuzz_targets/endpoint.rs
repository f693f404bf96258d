//! The whole core.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline_sim::script::run(data));
