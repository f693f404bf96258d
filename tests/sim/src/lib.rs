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
mod scenario;
mod svg;
mod time;
mod trace;
mod world;

pub use action::{Action, Incoming, Reader};
pub use bus::Bus;
pub use driver::Driver;
pub use findings::{Invariant, Premises, Violation};
pub use hash::RollingHash;
pub use model::Digest;
pub use net::{Accounts, Burst, Class, DropCause, HostId, LinkConfig, Network};
pub use rng::{Draw, Purpose, Stream};
pub use scenario::{
    PeerPlan, Report, RunOptions, Scenario, ScenarioError, Step, liveness_bound,
};
pub use svg::draw;
pub use time::{Clock, Time};
pub use trace::{Entry, Hashes, Passage, Record, Trace, What};
pub use world::builder::{Dtls, PeerSpec, WorldBuilder, addresses};
pub use world::{Refused, Stats, World};
