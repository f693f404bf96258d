//! What the tests of a discovery brought, and what follows from it. Nothing here sends or waits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::report::{Family, Filtering, Mapping, NatKind, NatReport, ServerAnswer, ServerEvidence};
use crate::ice::policy::AddressPolicy;
use crate::ice::stun::{Binding, BindingFault};

/// What came of one request.
pub(super) type Answered = Result<Binding, BindingFault>;

/// The tests that follow the first answers (RFC 5780 sections 4.3 and 4.4). "Other" is what OTHER-ADDRESS names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    /// Mapping II: the shared socket asks the server's other IP address.
    OtherIp,
    /// Mapping III: the shared socket asks the server's other IP address at its other port.
    OtherIpAndPort,
    /// Filtering I: the fresh socket asks the server.
    Fresh,
    /// Filtering II: the fresh socket asks the server to answer from its other IP address and port.
    ChangeBoth,
    /// Filtering III: the fresh socket asks the server to answer from its other port.
    ChangePort,
    /// The fresh socket sends to the outer address of the shared one.
    HairpinToShared,
    /// The shared socket sends to the outer address of the fresh one. Behind a NAT that filters, each of the two opens
    /// the way for the other, as the checks of two peers would.
    HairpinToFresh,
}

/// One server that is asked first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The server.
    pub(super) server: SocketAddr,
    /// The shared socket of its family.
    pub(super) shared: SocketAddr,
    /// What came of it, in the end.
    pub(super) answered: Option<Answered>,
}

/// The server and the socket of the further tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The endpoint's socket.
    pub(super) shared: SocketAddr,
    /// The server.
    pub(super) server: SocketAddr,
    /// Where it saw the shared socket. Mapping I.
    pub(super) mapped: SocketAddr,
    /// What else it listens on, when it is of use: of the same family, and another IP address and another port.
    pub(super) other: Option<SocketAddr>,
}

impl Chosen {
    fn of(asked: &Asked, policy: &AddressPolicy) -> Option<Self> {
        let binding = asked.answered?.ok()?;
        let server = asked.server;
        let is_other = |other: &SocketAddr| {
            other.ip() != server.ip()
                && other.port() != server.port()
                && Family::of(*other) == Family::of(server)
        };
        // The server's word makes us send there.
        let allowed = |other| policy.check_remote(other).ok();
        Some(Self {
            shared: asked.shared,
            server,
            mapped: binding.mapped,
            other: binding.other.and_then(allowed).filter(is_other),
        })
    }

    /// Whether the address is another one outside. That of a socket which is bound to no address in particular always is.
    pub(super) fn is_translated(&self) -> bool {
        (self.shared.ip(), self.shared.port()) != (self.mapped.ip(), self.mapped.port())
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The servers, in the caller's order.
    pub(super) asked: Vec<Asked>,
    /// Set when all of them have ended.
    pub(super) chosen: Option<Chosen>,
    /// The socket that nobody else uses.
    pub(super) fresh: Option<SocketAddr>,
    /// The tests that have ended.
    pub(super) tests: BTreeMap<Test, Answered>,
    /// Whether our own request came back from outside.
    pub(super) hairpin_seen: bool,
}

impl Facts {
    /// The server for the further tests: over IPv4 before IPv6, with a usable other address before without, and
    /// otherwise the first in the caller's order.
    pub(super) fn choose(&self, policy: &AddressPolicy) -> Option<Chosen> {
        let all = || self.asked.iter().filter_map(|a| Chosen::of(a, policy));
        let rank = |c: &Chosen| (c.server.is_ipv6(), c.other.is_none());
        all().min_by_key(rank)
    }

    /// The report on what was seen.
    pub(super) fn report(&self, now: Instant) -> NatReport {
        let translated = self.chosen.map(|chosen| chosen.is_translated());
        let (mapping, filtering) = (self.mapping(), self.filtering());
        let kind = if self.is_blocked() {
            NatKind::Blocked
        } else {
            NatKind::of(translated, mapping, filtering)
        };
        NatReport {
            kind,
            family: self.chosen.map(|chosen| Family::of(chosen.server)),
            translated,
            mapping,
            filtering,
            hairpin: self.hairpin(),
            port_preserved: self.port_preserved(),
            mapped_ipv4: self.mapped(Family::Ipv4),
            mapped_ipv6: self.mapped(Family::Ipv6),
            servers: self.asked.iter().map(evidence).collect(),
            at: now,
        }
    }

    /// RFC 5780 section 4.2. An error is an answer too.
    fn is_blocked(&self) -> bool {
        let silent = |asked: &Asked| asked.answered == Some(Err(BindingFault::TimedOut));
        !self.asked.is_empty() && self.asked.iter().all(silent)
    }

    fn mapping(&self) -> Option<Mapping> {
        let chosen = self.chosen?;
        if !chosen.is_translated() {
            return Some(Mapping::EndpointIndependent);
        }
        self.tested_mapping(chosen)
            .or_else(|| self.compared_mapping(chosen))
    }

    /// RFC 5780 section 4.3. Without the third answer, the worse of the two that are left.
    fn tested_mapping(&self, chosen: Chosen) -> Option<Mapping> {
        let second = self.mapped_of(Test::OtherIp)?;
        if second == chosen.mapped {
            return Some(Mapping::EndpointIndependent);
        }
        if self.mapped_of(Test::OtherIpAndPort) == Some(second) {
            return Some(Mapping::AddressDependent);
        }
        Some(Mapping::AddressAndPortDependent)
    }

    /// By what servers of different addresses saw of the shared socket. Of two answers that differ it cannot be told
    /// whether the address or the port made the difference: it is taken for the worse.
    fn compared_mapping(&self, chosen: Chosen) -> Option<Mapping> {
        let family = Family::of(chosen.server);
        let seen = || {
            self.seen()
                .filter(|(server, _)| Family::of(*server) == family)
        };
        if seen().any(|(_, mapped)| mapped != chosen.mapped) {
            return Some(Mapping::AddressAndPortDependent);
        }
        seen()
            .any(|(server, _)| server.ip() != chosen.server.ip())
            .then_some(Mapping::EndpointIndependent)
    }

    /// RFC 5780 section 4.4. That nothing comes means something only where the other address is known to live, and
    /// an answer only where it came from the address that was wanted.
    fn filtering(&self) -> Option<Filtering> {
        let Chosen { server, other, .. } = self.chosen?;
        let other = other?;
        let other_port = SocketAddr::new(server.ip(), other.port());
        self.mapped_of(Test::OtherIp)?;
        match self.answerer_of(Test::ChangeBoth)? {
            Some(from) => (from == other).then_some(Filtering::EndpointIndependent),
            None => match self.answerer_of(Test::ChangePort)? {
                Some(from) => (from == other_port).then_some(Filtering::AddressDependent),
                None => Some(Filtering::AddressAndPortDependent),
            },
        }
    }

    fn hairpin(&self) -> Option<bool> {
        let was_sent = self.tests.contains_key(&Test::HairpinToShared);
        (self.hairpin_seen || was_sent).then_some(self.hairpin_seen)
    }

    fn port_preserved(&self) -> Option<bool> {
        let mapped = self.mapped_of(Test::Fresh)?;
        Some(mapped.port() == self.fresh?.port())
    }

    fn mapped(&self, family: Family) -> Option<SocketAddr> {
        let of_family = |(server, _): &(SocketAddr, _)| Family::of(*server) == family;
        self.seen().find(of_family).map(|(_, mapped)| mapped)
    }

    /// The servers that answered, and where they saw the shared socket.
    fn seen(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
        self.asked.iter().filter_map(|asked| {
            let binding = asked.answered?.ok()?;
            Some((asked.server, binding.mapped))
        })
    }

    fn mapped_of(&self, test: Test) -> Option<SocketAddr> {
        let binding = self.tests.get(&test)?.ok()?;
        Some(binding.mapped)
    }

    /// From where a test was answered, or that it was not. `None`: it did not run, or the server cannot do it.
    fn answerer_of(&self, test: Test) -> Option<Option<SocketAddr>> {
        match self.tests.get(&test)? {
            Ok(binding) => Some(Some(binding.from)),
            Err(BindingFault::TimedOut) => Some(None),
            Err(BindingFault::Refused { .. } | BindingFault::Unusable | BindingFault::Family) => {
                None
            }
        }
    }
}

fn evidence(asked: &Asked) -> ServerEvidence {
    let answer = match asked.answered {
        Some(Ok(binding)) => ServerAnswer::Mapped(binding.mapped),
        Some(Err(BindingFault::Refused { code })) => ServerAnswer::Refused(code),
        Some(Err(BindingFault::Unusable | BindingFault::Family)) => ServerAnswer::Useless,
        Some(Err(BindingFault::TimedOut)) | None => ServerAnswer::None,
    };
    ServerEvidence {
        server: asked.server,
        answer,
        rtt: asked.answered.and_then(|answered| answered.ok()?.rtt),
    }
}
