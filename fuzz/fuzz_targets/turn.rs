//! An allocation on a TURN server that says anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline::fuzz::turn(data));
