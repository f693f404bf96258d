//! The channels of a peer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline::fuzz::channels(data));
