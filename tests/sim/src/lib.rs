//! A deterministic simulator for [`bowline`] endpoints: hosts, a network, a signalling bus and a clock, all of them
//! virtual. Use it to test an application of bowline, as bowline tests itself.
//!
//! A [`World`] has endpoints on hosts. Time passes only when it is told to: a simulated hour of two idle peers takes
//! a fraction of a second. Everything random comes from one seed, so a run that failed can be repeated. After each event
//! checkers compare what the applications saw with a reference model; [`Invariant`] lists the rules.
//!
//! ```
//! use std::time::Duration;
//!
//! use bowline::ChannelKind;
//! use bowline_sim::{LinkConfig, World};
//!
//! let link = LinkConfig::with_latency(Duration::from_millis(40)).lossy(0.05);
//! let mut world = World::builder(7).link(link).peer("alice").peer("bob").build();
//! let (alice, bob) = (world.host("alice"), world.host("bob"));
//!
//! world.connect(alice, bob).expect("alice knows nobody yet");
//! assert!(world.run_until(|world| world.connected(alice, bob), Duration::from_secs(15)));
//!
//! world.send(alice, bob, ChannelKind::Reliable, "hello").expect("the queue is empty");
//! let arrived = |world: &World| world.received(bob, alice, ChannelKind::Reliable).messages == 1;
//! assert!(world.run_until(arrived, Duration::from_secs(15)));
//! world.assert_no_violation();
//! ```
//!
//! # Scenarios
//!
//! A [`Scenario`] writes a run down as JSON: topology, links, and each call and fault with its time.
//! [`Scenario::random`] draws one from a seed, [`Scenario::run`] plays it and gives a [`Report`], and
//! [`Report::write_to`] leaves `scenario.json`, which replays it, and `sequence.svg`, a figure of what happened.
//! [`Report::shrunk`] makes one that fails smaller. A [`Swarm`] tries many seeds and counts what was put to the test.
//!
//! # Attackers
//!
//! [`attack`] has hosts that flood, forge, replay and break every rule, to see what an endpoint makes of them.
//!
//! # What is simulated, and what is not
//!
//! Links lose, delay, reorder, duplicate, damage and drop datagrams, limit their rate and size, and are cut one way or
//! both ([`LinkConfig`], [`Action`]). The bus does the same with signals, but never alters one. Hosts have several IPv4 and
//! IPv6 addresses, lose and gain them, crash and start again.
//!
//! Boxes stand between some hosts and the internet ([`NatConfig`]): they translate addresses in the ways of RFC 4787, one
//! behind the other if need be, filter, hairpin, forget, reboot and are renumbered, have firewalls ([`Firewall`]), and let IPv6
//! hosts reach IPv4 ones as a NAT64 with its DNS64 does. The boxes of one's own network see a datagram when it is sent, those
//! of the receiver's when it arrives. [`has_path`] says what theory expects of two of them. Hosts that are behind none are public, whatever their addresses look like.
//!
//! Servers ([`ServerSpec`]) answer STUN, with the behaviour discovery of RFC 5780, and relay as TURN does, with passwords or
//! time-limited credentials. They crash, and misbehave in many ways ([`Misbehaviour`]). The network has datagrams only: a
//! stream to a TURN server is [`World::handle_stream`] and [`World::take_streams`].
//!
//! DTLS is replaced by [`NullDtls`] unless [`Dtls::Real`] is asked for: the same flights and sizes without
//! cryptography. That is why this crate enables the feature `simulation` of bowline. **Never depend on it outside of
//! tests.**
//!
//! # Determinism
//!
//! The same seed gives the same events, states and deadlines (level 1, [`Trace::hash_events`]) and the same sizes and
//! times of datagrams (level 2, [`Trace::hash_sizes`]), also when all `Instant`s are moved by a constant
//! ([`WorldBuilder::shift`]). The nonces of TURN servers differ between runs, their lengths do not. Each kind of fault on each link has a random stream of its own: taking one fault away
//! does not change what the others do.
#![forbid(unsafe_code)]

mod action;
pub mod attack;
mod bus;
mod check;
mod driver;
mod findings;
mod hash;
mod marks;
mod model;
mod net;
mod null_dtls;
mod queue;
mod rng;
mod scenario;
pub mod script;
mod server;
mod svg;
mod swarm;
mod time;
mod trace;
mod world;

pub use action::{Action, Incoming, Pace, Reader};
pub use bus::Bus;
pub use driver::Driver;
pub use findings::{Invariant, Premises, Violation};
pub use hash::RollingHash;
pub use marks::{Mark, Marks};
pub use model::Digest;
pub use net::{
    Accounts, Burst, Class, DropCause, Filtering, Firewall, GatewayId, HostId, LinkConfig, Mapping,
    NatConfig, Network, Ports, has_path,
};
pub use null_dtls::NullDtls;
pub use rng::{Draw, Purpose, Stream};
pub use scenario::{
    AttackPlan, PeerPlan, Report, RunOptions, Scenario, ScenarioError, Step, liveness_bound,
};
pub use server::{Asked, Misbehaviour, ServerId, ServerSpec};
pub use svg::draw;
pub use swarm::{DRIVERS, Speed, Swarm, TWICE_EVERY, Tally, Trial};
pub use time::{Clock, Time};
pub use trace::{Entry, Hashes, Passage, Record, Trace, What};
pub use world::builder::{Dtls, GatewaySpec, PeerSpec, WorldBuilder, addresses, keyed_id};
pub use world::{Refused, Stats, StreamOutput, World};
