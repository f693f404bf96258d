//! Candidate lines, as str0m reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline::fuzz::candidate_differential(data));
