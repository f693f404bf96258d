//! Running a NAT discovery from the endpoint's sockets.

use std::net::SocketAddr;
use std::time::Instant;

use super::Endpoint;
use super::recorder::Step;
use crate::config::TransportPolicy;
use crate::error::DiscoverNatError;
use crate::event::Event;
use crate::ice::AddressPolicy;
use crate::ice::nat::{NatDiscovery, NatOutput, NatReport};
use crate::need::{Need, NeedId};

/// What an endpoint knows of the NATs before it, and how it learns.
#[derive(Default)]
pub(super) struct Discovery {
    stage: Stage,
    report: Option<NatReport>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// The names of the servers are still being resolved, or no socket is bound.
    Wanted,
    Running {
        machine: Box<NatDiscovery>,
        /// The fresh socket that was asked for.
        need: Option<NeedId>,
    },
}

impl Endpoint {
    /// Finds out how the NATs and firewalls between this host and the world behave (RFC 5780), with the ICE servers that
    /// speak UDP. [`Event::NatDiscovered`] tells the result after some seconds at most.
    ///
    /// Filtering and hairpinning show only with a server that has two addresses (OTHER-ADDRESS).
    ///
    /// # Errors
    ///
    /// [`DiscoverNatError`]; nothing has begun then.
    pub fn discover_nat(&mut self, now: Instant) -> Result<(), DiscoverNatError> {
        self.begin(now, |_| Step::DiscoverNat);
        if !matches!(self.discovery.stage, Stage::Idle) {
            return Err(DiscoverNatError::Running);
        }
        if self.ctx.config.ice.policy == TransportPolicy::Relay {
            return Err(DiscoverNatError::Policy);
        }
        if !self.gatherer.has_stun_servers() {
            return Err(DiscoverNatError::NoServers);
        }
        self.discovery.stage = Stage::Wanted;
        self.drive_discovery();
        Ok(())
    }

    /// What the last [`Endpoint::discover_nat`] found out. It has an age: [`NatReport::age`].
    #[must_use]
    pub fn nat_report(&self) -> Option<&NatReport> {
        self.discovery.report.as_ref()
    }

    /// Begins a discovery that could not begin before, and takes what a running one says.
    pub(super) fn drive_discovery(&mut self) {
        if matches!(self.discovery.stage, Stage::Wanted)
            && let Some(servers) = self.gatherer.stun_servers()
        {
            let policy = AddressPolicy::new(&self.ctx.config);
            let sockets = self.gatherer.sockets();
            let rng = self.rng.split();
            let machine = NatDiscovery::new(&servers, sockets, policy, rng, self.now);
            self.discovery.stage = Stage::Running {
                machine: Box::new(machine),
                need: None,
            };
        }
        while let Stage::Running { machine, need } = &mut self.discovery.stage
            && let Some(output) = machine.poll_output()
        {
            match output {
                NatOutput::Transmit(outgoing) => {
                    self.stats.datagrams_sent += 1;
                    self.stats.bytes_sent += outgoing.contents.len() as u64;
                    self.transmits.push(outgoing.into());
                }
                NatOutput::NeedSocket { ip } => {
                    let fresh = self.gatherer.reserve_need();
                    *need = Some(fresh);
                    self.needs.push_back(Need::Bind { need: fresh, ip });
                }
                NatOutput::Done(report) => {
                    if let Some(need) = need.take() {
                        self.needs.push_back(Need::Close { need });
                    }
                    self.discovery.stage = Stage::Idle;
                    self.discovery.report = Some(report.clone());
                    let report = Box::new(report);
                    self.ctx.events.push_back(Event::NatDiscovered { report });
                }
            }
        }
    }

    /// Takes a datagram that belongs to the discovery.
    pub(super) fn is_for_discovery(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        contents: &[u8],
    ) -> bool {
        let Stage::Running { machine, .. } = &mut self.discovery.stage else {
            return false;
        };
        let taken = machine.handle_datagram(local, remote, contents, self.now);
        if taken {
            self.drive_discovery();
        }
        taken
    }

    /// Takes the fresh socket, if it was the discovery that asked.
    pub(super) fn is_bound_for_discovery(
        &mut self,
        answered: NeedId,
        local: Option<SocketAddr>,
    ) -> bool {
        let Stage::Running { machine, need } = &mut self.discovery.stage else {
            return false;
        };
        if *need != Some(answered) {
            return false;
        }
        match local {
            Some(local) => machine.socket_bound(local, self.now),
            None => {
                *need = None;
                machine.socket_failed(self.now);
            }
        }
        self.drive_discovery();
        true
    }
}

impl Discovery {
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Stage::Running { machine, .. } = &mut self.stage
            && machine.poll_timeout().is_some_and(|at| at <= now)
        {
            machine.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Running { machine, .. } => machine.poll_timeout(),
            Stage::Idle | Stage::Wanted => None,
        }
    }
}
