//! ICE candidates: their lines, which of them may be used, and what STUN servers say of our addresses.
//!
//! The agent itself is the transport's. What stands here is what has to be decided before a candidate reaches it.

pub(crate) mod candidate;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg_attr(
    not(any(test, fuzzing)),
    expect(dead_code, reason = "the endpoint does not run a discovery yet")
)]
pub(crate) mod nat;
mod policy;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "gathering is the first to ask a server")
)]
pub(crate) mod stun;

pub(crate) use policy::{AddressPolicy, RemoteCandidates};
