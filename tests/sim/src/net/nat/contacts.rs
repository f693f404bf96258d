//! Whom an inside address has sent to, and when: what filtering goes by.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;

use super::config::Filtering;

/// The remote addresses that an inside address has sent to.
#[derive(Debug, Default)]
pub(super) struct Contacts(BTreeMap<SocketAddr, Time>);

impl Contacts {
    /// Something was sent to `remote`, or was let in from there where that counts.
    pub(super) fn touch(&mut self, remote: SocketAddr, now: Time) {
        if self.0.len() >= MAX_CONTACTS && !self.0.contains_key(&remote) {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at).map(|(a, _)| *a);
            oldest.and_then(|address| self.0.remove(&address));
        }
        self.0.insert(remote, now);
    }

    /// Whether `remote` is let in.
    pub(super) fn allow(
        &self,
        filtering: Filtering,
        remote: SocketAddr,
        now: Time,
        expiry: Duration,
    ) -> bool {
        let alive = |at: &Time| now.since(*at) < expiry;
        match filtering {
            Filtering::EndpointIndependent => self.0.values().any(alive),
            Filtering::AddressDependent => {
                let port = |port| SocketAddr::new(remote.ip(), port);
                self.0
                    .range(port(0)..=port(u16::MAX))
                    .any(|(_, at)| alive(at))
            }
            Filtering::AddressAndPortDependent => self.0.get(&remote).is_some_and(alive),
        }
    }

    /// Whether nobody is let in any more.
    pub(super) fn are_dead(&self, now: Time, expiry: Duration) -> bool {
        self.0.values().all(|at| now.since(*at) >= expiry)
    }
}

/// Remote addresses that one inside address may answer. One more, and the one of longest ago is forgotten.
const MAX_CONTACTS: usize = 1_024;
