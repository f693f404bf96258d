//! ICE candidates: their lines, which of them may be used, and what STUN servers say of our addresses.
//!
//! The agent itself is the transport's. What stands here is what has to be decided before a candidate reaches it.

pub(crate) mod candidate;
mod filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod gather;
mod names;
pub(crate) mod nat;
mod policy;
pub(crate) mod server;
pub(crate) mod stun;
pub(crate) mod turn;

pub use filter::CandidateInfo;
pub use server::{IceServer, IceServerError, ServerTransport};

pub(crate) use filter::CandidateFilter;
pub(crate) use names::{Lookups, Named};
pub(crate) use policy::{Accepted, AddressPolicy, Admitted, RemoteCandidates};
