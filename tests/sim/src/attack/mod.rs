//! Attackers: hosts that do what no endpoint does.
//!
//! An [`Attacker`] takes the place of a host ([`World::take_over`]). It has the name and the addresses of that host,
//! hears all that any host sends, sends datagrams from any address and signals under any name. It can neither stop
//! nor change what others send: that is what the faults of links and bus are for.
//!
//! - [`StunFlood`] sends connectivity checks from many addresses, [`Checks`] says how good they are.
//! - [`CandidateFlood`] trickles candidates without end.
//! - [`EvilPeer`] completes ICE, DTLS ([`NullDtls`](crate::NullDtls)) and SCTP, and then sends whatever packets its
//!   [`Script`] makes: see [`script`].
//! - [`Impostor`] races the real peer in the DTLS handshake, from its address.
//! - [`Injector`] sends datagrams again that it heard on the path: damaged, cut, or late.
//! - [`Replayer`] keeps every signal, and sends all of them to everybody, again and again; [`Meddler`] alters them.
//! - [`OfferStorm`] negotiates as fast as it can.
//!
//! What they are good for is to see what an endpoint makes of them: its processor time, its memory, and what the
//! other peers notice. [`stun`], [`sctp`] and [`sdp`] are what they are made of, for attackers of your own.
//!
//! ```
//! use std::time::Duration;
//!
//! use bowline_sim::World;
//! use bowline_sim::attack::{Checks, StunFlood};
//!
//! let mut world = World::builder(1).peer("mallory").peer("victim").build();
//! let (mallory, victim) = (world.host("mallory"), world.host("victim"));
//! let target = world.addresses(victim)[0];
//! world.take_over(mallory, StunFlood::new(target, Checks::UnknownName, 1_000));
//!
//! world.run_until(|world| world.is_resting(mallory), Duration::from_secs(60));
//! world.run_for(Duration::from_secs(1));
//! let stats = world.endpoint(victim).expect("it runs").stats();
//! assert_eq!(stats.dropped.unknown_ufrag, 1_000);
//! assert_eq!(stats.datagrams_sent, 0);
//! ```
//!
//! [`World::take_over`]: crate::World::take_over

mod candidates;
mod crc;
mod evil;
mod flood;
mod impostor;
mod injector;
mod meddler;
mod replay;
pub mod script;
pub mod sctp;
pub mod sdp;
mod storm;
pub mod stun;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline::simulation::Protector;
use bowline::{PeerId, UnixTime};
use serde_json::Value;

use crate::marks::Mark;
use crate::time::Time;

pub use candidates::CandidateFlood;
pub use evil::EvilPeer;
pub use flood::{Checks, StunFlood};
pub use impostor::{Forgery, Impostor};
pub use injector::Injector;
pub use meddler::Meddler;
pub use replay::Replayer;
pub use script::Script;
pub use storm::{OfferStorm, Storm};

/// A host that attacks.
///
/// Each method may do something with the [`Hands`] that it gets. What it does happens at once.
pub trait Attacker {
    /// It takes its place.
    fn on_start(&mut self, _hands: &mut Hands<'_>) {}

    /// The time that [`Attacker::poll_timeout`] gave has come.
    fn on_timeout(&mut self, _hands: &mut Hands<'_>) {}

    /// A datagram came to one of its addresses.
    fn on_datagram(&mut self, _datagram: &Heard<'_>, _hands: &mut Hands<'_>) {}

    /// A signal came to its name.
    fn on_signal(&mut self, _text: &str, _hands: &mut Hands<'_>) {}

    /// An endpoint sent a datagram, wherever to. What attackers send is not heard.
    fn overhear_datagram(&mut self, _datagram: &Heard<'_>, _hands: &mut Hands<'_>) {}

    /// An endpoint sent a signal, whomever to. What attackers send is not heard.
    fn overhear_signal(&mut self, _signal: &HeardSignal<'_>, _hands: &mut Hands<'_>) {}

    /// When it wants to do something of its own accord. Asked after every other call.
    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// What happens when it does something.
    fn mark(&self) -> Option<Mark> {
        None
    }
}

/// A datagram that an attacker hears.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// From where.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// What.
    pub contents: &'a [u8],
}

/// A signal that an attacker hears.
#[derive(Debug, Clone, Copy)]
pub struct HeardSignal<'a> {
    /// Whom to.
    pub to: PeerId,
    /// What.
    pub text: &'a str,
    /// The number of the signal, by which the checkers know copies of it again.
    pub serial: u64,
}

/// What an attacker does.
#[derive(Debug)]
pub struct Hands<'a> {
    pub(crate) now: Time,
    pub(crate) instant: Instant,
    pub(crate) name: PeerId,
    pub(crate) addresses: &'a [SocketAddr],
    pub(crate) unix_time: UnixTime,
    pub(crate) protector: &'a mut Protector,
    pub(crate) deeds: Vec<Deed>,
}

/// One thing that an attacker does.
#[derive(Debug)]
pub(crate) enum Deed {
    Datagram {
        source: SocketAddr,
        destination: SocketAddr,
        contents: Vec<u8>,
    },
    Signal {
        to: PeerId,
        text: String,
        /// Of which signal it is a copy.
        copy_of: Option<u64>,
    },
}

impl Hands<'_> {
    /// The present.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The present, `after` later.
    #[must_use]
    pub fn in_a(&self, after: Duration) -> Time {
        self.now.after(after)
    }

    /// The present, as a protocol implementation takes it.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.instant
    }

    /// The name of the attacker's host.
    #[must_use]
    pub fn name(&self) -> PeerId {
        self.name
    }

    /// The addresses of the attacker's host: what is sent there comes to it.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.addresses
    }

    /// Sends a datagram from any address, its own or not.
    pub fn send(&mut self, source: SocketAddr, destination: SocketAddr, contents: Vec<u8>) {
        self.deeds.push(Deed::Datagram {
            source,
            destination,
            contents,
        });
    }

    /// Sends a signal, whoever it claims to be from.
    pub fn signal(&mut self, to: PeerId, text: impl Into<String>) {
        self.deeds.push(Deed::Signal {
            to,
            text: text.into(),
            copy_of: None,
        });
    }

    /// Sends a message of its own, dated and protected as those of the endpoints are.
    pub fn say(&mut self, to: PeerId, mut message: Value) {
        message["time"] = self.unix_time.as_millis().into();
        let text = self.protector.protect(to, message.to_string());
        self.signal(to, text);
    }

    /// Sends a copy of a signal that was overheard, to anybody.
    ///
    /// Where it had been used, the checkers see to it that the copy changes nothing.
    pub fn replay(&mut self, to: PeerId, text: impl Into<String>, serial: u64) {
        self.deeds.push(Deed::Signal {
            to,
            text: text.into(),
            copy_of: Some(serial),
        });
    }
}
