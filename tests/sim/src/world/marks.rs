//! What of the fault menu happens to endpoints and applications. What links, boxes and servers do, they note themselves.

use std::time::Duration;

use bowline::{Event, PeerState};

use crate::action::Reader;
use crate::marks::{Mark, Marks};
use crate::net::HostId;
use crate::time::Time;

use super::World;

/// What an application calls for when it does not trust a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Repair {
    Restart,
    Rebuild,
}

impl World {
    /// What of the fault menu happened so far.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let mut marks = self.marks;
        marks.add(self.network.marks());
        marks.add(self.bus.marks());
        self.servers.iter().for_each(|at| marks.add(at.marks()));
        marks
    }

    /// A copy of something arrives that was sent at `sent`.
    pub(super) fn mark_age(&mut self, sent: Time, mark: Mark) {
        let age = self.clock.now().since(sent);
        self.marks.set_if(age >= OLD, mark);
    }

    /// An endpoint is given an input at the present.
    pub(super) fn mark_input(&mut self, host: HostId) {
        let now = self.clock.now();
        let again = std::mem::replace(&mut self.nodes[host].given, now) == now;
        self.marks.set_if(again, Mark::EqualInstants);
    }

    /// An endpoint is woken that wanted to be at `deadline`.
    pub(super) fn mark_wakeup(&mut self, deadline: Option<Time>) {
        let now = self.clock.now();
        let late = deadline.filter(|at| *at <= now);
        let late = late.is_some_and(|at| now.since(at) >= LATE);
        self.marks.set_if(late, Mark::LateTimeout);
        let early = deadline.is_some_and(|at| at > now);
        self.marks.set_if(early, Mark::SpuriousTimeout);
    }

    /// The endpoint of a host has vanished.
    pub(super) fn mark_crash(&mut self) {
        let down = self.nodes.iter().filter(|node| !node.listens()).count();
        self.marks.set(Mark::Crash);
        self.marks.set_if(down > 1, Mark::BothCrash);
    }

    /// A host has lost an address.
    pub(super) fn mark_lost(&mut self, host: HostId) {
        let node = &mut self.nodes[host];
        node.unplugged |= node.addresses.is_empty();
        self.marks.set(Mark::AddressLost);
    }

    /// A host has gained an address.
    pub(super) fn mark_gained(&mut self, host: HostId, foreign: bool) {
        let unplugged = std::mem::take(&mut self.nodes[host].unplugged);
        self.marks.set_if(foreign, Mark::AddressGained);
        self.marks.set_if(foreign && unplugged, Mark::Roam);
    }

    /// An application has called for a repair.
    pub(super) fn mark_repair(&mut self, from: HostId, to: HostId, repair: Repair) {
        let now = self.clock.now();
        let calls = &mut self.nodes[from].calls;
        let (since, count) = calls.entry((to, repair)).or_insert((now, 0));
        if now.since(*since) > STORM {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        let mark = match repair {
            Repair::Restart => Mark::RestartStorm,
            Repair::Rebuild => Mark::RebuildStorm,
        };
        self.marks.set_if(*count >= CALLS, mark);
    }

    /// An application is about to send.
    pub(super) fn mark_send(&mut self, from: HostId, to: HostId) {
        let mark = match self.model.life(from, to).map(|life| life.state) {
            Some(PeerState::New | PeerState::Connecting) => Mark::SendWhileConnecting,
            Some(PeerState::Disconnected) => Mark::SendWhileDisconnected,
            Some(PeerState::Failed | PeerState::Closed) => Mark::SendAfterEnd,
            Some(PeerState::Connected) | None => return,
        };
        self.marks.set(mark);
    }

    /// A message was accepted by an endpoint whose queues have so many bytes.
    pub(super) fn mark_queue(&mut self, bytes: usize) {
        self.marks.set_if(bytes <= TINY, Mark::TinyQueues);
        self.marks.set_if(bytes >= HUGE, Mark::HugeQueues);
    }

    /// An application is told something.
    pub(super) fn mark_event(&mut self, host: HostId, event: &Event) {
        let node = &self.nodes[host];
        match event {
            Event::Message { .. } => match node.spec.reader {
                Reader::Prompt => self.marks.set(Mark::CallInsideEvent),
                Reader::Rate(_) => self.marks.set(Mark::SlowReader),
                Reader::Absent => self.marks.set(Mark::AbsentReader),
            },
            Event::State { to, .. } if *to == PeerState::Connected => {
                let ipv6 = node.addresses.iter().all(std::net::SocketAddr::is_ipv6);
                self.marks.set_if(ipv6, Mark::Ipv6Only);
            }
            _ => {}
        }
    }
}

/// From this age on, a copy is one of somebody who has recorded it.
const OLD: Duration = Duration::from_secs(60);
/// What it means to be late by seconds.
const LATE: Duration = Duration::from_secs(1);
/// How many calls in what time are a storm.
const CALLS: u32 = 10;
const STORM: Duration = Duration::from_secs(5);
/// Queues of at most, and of at least, so many bytes are not of the usual size.
const TINY: usize = 16 * 1_024;
const HUGE: usize = 8 * 1_024 * 1_024;
