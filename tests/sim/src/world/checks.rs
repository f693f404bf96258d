//! The checkers that look at the whole world: where datagrams go, and what is left at rest.

use std::net::SocketAddr;
use std::time::Duration;

use crate::findings::Invariant;
use crate::net::{Class, HostId};
use crate::server::ServerId;

use super::World;

impl World {
    /// Checks that two hosts agree on each other: same state, same session. For use at rest.
    pub fn check_agreement(&mut self, a: HostId, b: HostId) {
        self.model.check_agreement(a, b, &mut self.findings);
    }

    /// Checks that a host that closed everything has nothing left: no peers and no deadline.
    pub fn check_cleanup(&mut self, host: HostId) {
        let node = &self.nodes[host];
        let Some(endpoint) = &node.endpoint else {
            return;
        };
        let peers = endpoint.peers().count();
        self.findings.check(Invariant::Cleanup, peers == 0, || {
            format!("{host} keeps {peers} peers")
        });
        let deadline = node.deadline;
        self.findings
            .check(Invariant::Cleanup, deadline.is_none(), || {
                format!("{host} keeps the deadline {deadline:?}")
            });
    }

    /// Checks that what a host tells of its configuration, of itself and of its peers has no secret in it.
    pub fn check_secrets(&mut self, host: HostId) {
        let now = self.clock.instant();
        let node = &mut self.nodes[host];
        let Some(endpoint) = &mut node.endpoint else {
            return;
        };
        let mut text = format!("{:?} {:?}", node.spec.config, endpoint.stats());
        for peer in endpoint.peers().collect::<Vec<_>>() {
            if let Ok(peer) = endpoint.peer(peer) {
                let (explanation, metrics) = (peer.explain(now), peer.metrics(now));
                text += &format!("{explanation} {explanation:?} {metrics:?}");
            }
        }
        let findings = &mut self.findings;
        self.secrets.check(node.id.as_str(), &text, findings);
    }

    /// Checks that a server relays for nobody, one lifetime after everybody has closed.
    pub fn check_allocations(&mut self, server: ServerId) {
        let left = self.allocations(server);
        self.findings.check(Invariant::TurnCare, left == 0, || {
            format!("server {server} has {left} allocations left")
        });
    }

    /// Adds a finding of a caller's own checker.
    pub fn check(&mut self, invariant: Invariant, holds: bool, text: impl FnOnce() -> String) {
        self.findings.check(invariant, holds, text);
    }

    /// Panics when a rule did not hold.
    ///
    /// # Panics
    ///
    /// With the list of violations.
    pub fn assert_no_violation(&self) {
        let list: Vec<_> = self
            .findings
            .violations
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(list.is_empty(), "seed {}:\n{}", self.seed, list.join("\n"));
    }

    /// An address that is not known yet may become so in this drain: the event may follow the datagram.
    pub(super) fn check_destination(&mut self, host: HostId, destination: SocketAddr) {
        let ip = destination.ip();
        let never = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
        self.findings.check(Invariant::KnownAddresses, !never, || {
            format!("{host} wrote to {destination}, which is no peer's")
        });
        if !self.nodes[host].known.contains(&destination) && !self.is_server(host, destination) {
            self.nodes[host].strangers.push(destination);
        }
    }

    /// What goes through a relay is not seen here: it is addressed to the server.
    pub(super) fn check_consent(
        &mut self,
        host: HostId,
        tuple: (SocketAddr, SocketAddr),
        contents: &[u8],
    ) {
        if !Class::of(contents).is_dtls() {
            return;
        }
        let now = self.clock.now();
        let answered = self.nodes[host].answers.get(&tuple).copied();
        let given = answered.is_some_and(|at| now.since(at) <= CONSENT + self.laziness(host));
        self.findings.check(Invariant::Consent, given, || {
            let (local, remote) = tuple;
            format!("{host} sent data from {local} to {remote}, which answered at {answered:?}")
        });
    }
}

/// How long an answer is consent to send (RFC 7675 section 5.1).
const CONSENT: Duration = Duration::from_secs(30);
