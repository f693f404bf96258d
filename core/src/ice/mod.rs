//! ICE candidates: their lines, and which of them may be used.
//!
//! The agent itself is the transport's. What stands here is what has to be decided before a candidate reaches it.

mod candidate;
mod policy;

pub(crate) use candidate::{Address, Candidate, CandidateError, Kind, Transport, priority};
pub(crate) use policy::{Accepted, AddressPolicy, RemoteCandidates};
