//! The signalling bus: carries the text messages of endpoints to each other, with the same faults as a link.
//!
//! It never alters a message. A duplicate is marked, so that a checker can tell that it changed nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::marks::{Mark, Marks};
use crate::net::link::{Link, Verdict};
use crate::net::{Accounts, Class, DropCause, HostId, LinkConfig, short};
use crate::rng::Purpose;
use crate::time::Time;

/// A signalling message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    /// When it was sent first.
    pub(crate) sent: Time,
    /// Unique for each message that was sent; copies share it.
    pub(crate) serial: u64,
    pub(crate) text: String,
}

/// The bus.
#[derive(Debug)]
pub struct Bus {
    seed: u64,
    default: LinkConfig,
    links: BTreeMap<(HostId, HostId), Link>,
    /// Hosts whose way to the bus is down, and which know it.
    down: BTreeSet<HostId>,
    /// Whether one was.
    was_down: bool,
    accounts: Accounts,
    serial: u64,
}

impl Bus {
    /// A bus whose ways are like `default` until they are set. Damage and filters of it have no effect.
    #[must_use]
    pub fn new(seed: u64, default: LinkConfig) -> Self {
        Self {
            seed,
            default,
            links: BTreeMap::new(),
            down: BTreeSet::new(),
            was_down: false,
            accounts: Accounts::default(),
            serial: 0,
        }
    }

    /// Sets one direction between two hosts.
    pub fn set_link(&mut self, from: HostId, to: HostId, config: LinkConfig) {
        self.link(from, to).config = config;
    }

    /// Loses all that `from` signals to `to` before `until`.
    pub fn partition(&mut self, from: HostId, to: HostId, until: Time) {
        self.link(from, to).partition(until);
    }

    /// The way of a host to the bus is up or down. Returns whether it was not before.
    pub(crate) fn set_up(&mut self, host: HostId, up: bool) -> bool {
        self.was_down |= !up;
        if up {
            self.down.remove(&host)
        } else {
            self.down.insert(host)
        }
    }

    pub(crate) fn is_up(&self, host: HostId) -> bool {
        !self.down.contains(&host)
    }

    /// Ends every fault, but for hosts that are down.
    pub fn heal(&mut self) {
        self.default = self.default.healed();
        self.links.values_mut().for_each(Link::heal);
    }

    /// What became of every message so far.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.accounts
    }

    /// What the ways did so far, and what they dropped.
    pub(crate) fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        for link in self.links.values() {
            marks.set_if(link.marks.has(Mark::Duplicate), Mark::SignalDuplicate);
            marks.set_if(link.marks.has(Mark::Reorder), Mark::SignalReorder);
        }
        let dropped = |cause| self.accounts.dropped_by(cause) > 0;
        marks.set_if(dropped(DropCause::Loss), Mark::SignalLoss);
        marks.set_if(dropped(DropCause::Partition), Mark::SignalPartition);
        marks.set_if(self.was_down, Mark::SignallingDown);
        marks
    }

    /// Decides what becomes of a message: when it arrives, and when it arrives again.
    pub(crate) fn send(
        &mut self,
        from: HostId,
        to: Option<HostId>,
        text: String,
        now: Time,
    ) -> Result<(Parcel, Time, Option<Time>), DropCause> {
        self.accounts.on_sent(text.len());
        let cause = match to {
            None => DropCause::Unrouted,
            Some(to) if !self.is_up(from) || !self.is_up(to) => DropCause::Partition,
            Some(to) => match self.link(from, to).pass(text.len(), Class::Other, now) {
                Verdict::Arrives { at, again, .. } => {
                    self.accounts.on_underway(1 + u64::from(again.is_some()));
                    self.serial += 1;
                    return Ok((
                        Parcel {
                            from,
                            to,
                            sent: now,
                            serial: self.serial,
                            text,
                        },
                        at,
                        again,
                    ));
                }
                Verdict::Dropped(cause) => cause,
            },
        };
        self.accounts.on_dropped(cause);
        Err(cause)
    }

    pub(crate) fn arrive(&mut self, taken: bool) {
        self.accounts.on_arrived(taken);
    }

    fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let Self {
            seed,
            default,
            links,
            ..
        } = self;
        links.entry((from, to)).or_insert_with(|| {
            let (from, to) = (short(from), short(to));
            Link::new(default.clone(), *seed, |fault| Purpose::Bus {
                from,
                to,
                fault,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_message_share_its_serial_and_all_are_accounted_for() {
        let mut bus = Bus::new(
            1,
            LinkConfig {
                duplicate: 1.0,
                ..LinkConfig::default()
            },
        );
        let (first, at, again) = bus
            .send(0, Some(1), "x".into(), Time::ZERO)
            .expect("no loss");
        assert!(again.is_some_and(|again| again >= at));
        let (second, ..) = bus
            .send(0, Some(1), "x".into(), Time::ZERO)
            .expect("no loss");
        assert_ne!(first.serial, second.serial);
        assert_eq!(bus.accounts().in_flight, 4);
        for taken in [true, true, true, false] {
            bus.arrive(taken);
        }
        assert!(bus.accounts().balance());
        assert_eq!(bus.accounts().delivered, 3);
    }

    #[test]
    fn a_message_to_nobody_is_counted() {
        let mut bus = Bus::new(1, LinkConfig::default());
        assert_eq!(
            bus.send(0, None, String::new(), Time::ZERO).err(),
            Some(DropCause::Unrouted)
        );
        assert!(bus.accounts().balance());
    }
}
