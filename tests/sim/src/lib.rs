//! Crate docs follow.
#![forbid(unsafe_code)]

mod action;
mod bus;
mod driver;
mod findings;
mod hash;
mod model;
mod net;
mod queue;
mod rng;
mod time;
