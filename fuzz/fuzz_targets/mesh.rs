//! Rooms, whose members say anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline::fuzz::mesh(data));
