//! The pool of candidates, with servers and sockets that do anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowline::fuzz::gather(data));
