//! What the pool knows, for those who ask why there is no path.

use std::net::SocketAddr;
use std::time::Instant;

use super::servers::Server;
use super::{Gatherer, is_udp};
use crate::event::ServerFault;

/// What the pool knows, for the diagnosis.
#[derive(Debug, Default)]
pub(crate) struct PoolView {
    /// Whether a socket is bound.
    pub(crate) has_sockets: bool,
    /// Whether there is a candidate of IPv4, and one of IPv6.
    pub(crate) families: (bool, bool),
    /// Whether there is a relayed candidate.
    pub(crate) has_relay: bool,
    /// Whether two servers see a socket of ours at different addresses. `None`: fewer than two have answered.
    pub(crate) mapping_varies: Option<bool>,
    /// Whether a datagram of ours was answered, by a peer or by a server.
    pub(crate) udp_works: bool,
    pub(crate) servers: Vec<ServerStatus>,
    /// Of which state of the pool this is.
    revision: u64,
}

/// What is known of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerStatus {
    pub(crate) uri: String,
    pub(crate) is_relay: bool,
    pub(crate) is_udp: bool,
    pub(crate) answered: bool,
    pub(crate) fault: Option<ServerFault>,
    /// When it was asked first.
    pub(crate) asked_at: Option<Instant>,
}

impl Gatherer {
    /// Brings a view up to date, if anything has changed.
    pub(crate) fn refresh(&self, view: &mut PoolView) {
        if view.revision == self.revision {
            return;
        }
        let status = |server: &Server| ServerStatus {
            uri: server.ice.to_string(),
            is_relay: server.ice.is_relay(),
            is_udp: is_udp(server),
            answered: server.answered,
            fault: server.told,
            asked_at: server.asked_at,
        };
        let has = |family: fn(&SocketAddr) -> bool| {
            let mut candidates = self.candidates.iter();
            candidates.any(|candidate| family(&candidate.address))
        };
        let servers: Vec<_> = self.servers.iter().map(status).collect();
        *view = PoolView {
            has_sockets: !self.bases.is_empty(),
            families: (has(SocketAddr::is_ipv4), has(SocketAddr::is_ipv6)),
            has_relay: !self.by_relayed.is_empty(),
            mapping_varies: self.reflexive.varies(),
            udp_works: view.udp_works || servers.iter().any(|s| s.is_udp && s.answered),
            servers,
            revision: self.revision,
        };
    }
}
