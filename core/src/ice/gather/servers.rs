//! The servers and where they are: names become addresses, once for a set of servers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::event::ServerFault;
use crate::ice::server::{Host, IceServer};

/// One server of the set in use.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) ice: IceServer,
    pub(super) place: Place,
    /// What it was told to have, last: told again only when it changes.
    pub(super) told: Option<ServerFault>,
    /// When it was first asked for something, for those who want to know how long it has been silent.
    pub(super) asked_at: Option<Instant>,
    /// Whether it has ever answered.
    pub(super) answered: bool,
    failures: u32,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Its name is to be resolved, from then on.
    Unknown { at: Instant },
    /// That was asked for.
    Resolving,
    /// At these addresses, the preferred first; at least one.
    Known(Vec<IpAddr>),
}

impl Server {
    pub(super) fn new(ice: IceServer, now: Instant) -> Self {
        let place = match ice.host() {
            Host::Ip(ip) => Place::Known(vec![*ip]),
            Host::Name(_) => Place::Unknown { at: now },
        };
        Self {
            ice,
            place,
            told: None,
            asked_at: None,
            answered: false,
            failures: 0,
        }
    }

    /// A server that takes the place of `former` ones: what is known of it, and where its name leads, stays known.
    pub(super) fn after(former: &[Self], ice: IceServer, now: Instant) -> Self {
        let mut server = Self::new(ice, now);
        let mut same_host = former
            .iter()
            .filter(|old| old.ice.host() == server.ice.host());
        if let Some(old) = same_host.clone().find(|old| old.ice == server.ice) {
            server.told = old.told;
            server.asked_at = old.asked_at;
            server.answered = old.answered;
            server.failures = old.failures;
        }
        // A resolution that was under way is asked for again.
        if let Some(known) = same_host.find(|old| matches!(old.place, Place::Known(_))) {
            server.place = known.place.clone();
        }
        server
    }

    /// The name to be resolved now.
    pub(super) fn wants_resolving(&self, now: Instant) -> Option<&str> {
        match (&self.place, self.ice.host()) {
            (Place::Unknown { at }, Host::Name(name)) if *at <= now => Some(name),
            _ => None,
        }
    }

    /// When its name is to be resolved again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.place {
            Place::Unknown { at } => Some(at),
            Place::Resolving | Place::Known(_) => None,
        }
    }

    /// Its name has these addresses. Returns false when there is none that can be used.
    pub(super) fn on_resolved(&mut self, addresses: Vec<IpAddr>, now: Instant) -> bool {
        if addresses.is_empty() {
            let at = now + backoff(self.failures);
            self.failures += 1;
            self.place = Place::Unknown { at };
            return false;
        }
        self.failures = 0;
        self.place = Place::Known(addresses);
        true
    }

    /// Its addresses.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        match &self.place {
            Place::Known(addresses) => addresses,
            Place::Unknown { .. } | Place::Resolving => &[],
        }
    }

    /// Its addresses, with its port.
    pub(super) fn socket_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let port = self.ice.port();
        self.addresses()
            .iter()
            .map(move |ip| SocketAddr::new(*ip, port))
    }

    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.socket_addresses().any(|known| known == address)
    }
}

/// How long is waited after so many failures before: 2 s, doubling, up to 5 minutes.
pub(super) fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF.saturating_mul(1 << failures.min(16));
    doubled.min(BACKOFF_MAX)
}

const BACKOFF: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_resolved_is_tried_again_ever_later() {
        let mut now = Instant::now();
        let mut server = Server::new("stun:example.org".parse().expect("valid"), now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(server.wants_resolving(now), Some("example.org"));
            assert!(!server.on_resolved(Vec::new(), now));
            let at = server.poll_timeout().expect("a deadline");
            pauses.push((at - now).as_secs());
            now = at;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }

    #[test]
    fn an_address_needs_no_resolving() {
        let server = Server::new("stun:192.0.2.1".parse().expect("valid"), Instant::now());
        assert_eq!(server.addresses().len(), 1);
        assert_eq!(server.poll_timeout(), None);
    }
}
