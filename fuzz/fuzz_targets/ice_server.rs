//! URIs of STUN and TURN servers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline::fuzz::ice_server(data));
