//! Crate docs follow.
#![forbid(unsafe_code)]

mod bus;
mod hash;
mod net;
mod queue;
mod rng;
mod time;
