//! NAT discovery, among servers that answer anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline::fuzz::nat_discovery(data));
