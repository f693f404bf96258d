//! A stream of TURN messages, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline::fuzz::turn_stream(data));
