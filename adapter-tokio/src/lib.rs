//! Async WebRTC peers on tokio.
#![forbid(unsafe_code)]

pub mod relay;
pub mod signalling;
mod socket;
