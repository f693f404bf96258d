//! Descriptions, as webrtc-sdp reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline_fuzz::sdp_differential(data));
