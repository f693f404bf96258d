//! ICE candidates: their lines, and which of them may be used.
//!
//! The agent itself is the transport's. What stands here is what has to be decided before a candidate reaches it.

pub(crate) mod candidate;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod policy;
mod server;

pub use server::{IceServer, IceServerError, ServerTransport};

pub(crate) use policy::{AddressPolicy, RemoteCandidates};
