//! Names in the candidates of peers: the embedder resolves them.

use std::net::IpAddr;

use super::Endpoint;
use crate::id::PeerId;
use crate::need::{Need, NeedId};

impl Endpoint {
    /// Asks for the names that peers have told.
    pub(super) fn ask_for_names(&mut self) {
        let Self {
            ctx,
            gatherer,
            needs,
            ..
        } = self;
        while let Some((need, host)) = ctx.lookups.poll(|| gatherer.reserve_need()) {
            needs.push_back(Need::Resolve { need, host });
        }
    }

    /// Takes the addresses of a name, if it was a peer's.
    pub(super) fn is_resolved_for_peer(&mut self, need: NeedId, addresses: &[IpAddr]) -> bool {
        let Some((peer, named)) = self.ctx.lookups.on_answer(need) else {
            return false;
        };
        let addresses = &addresses[..addresses.len().min(Need::MAX_ADDRESSES)];
        if let Some(key) = self.by_id.get(&peer).copied() {
            self.with(key, |peer, ctx, now| {
                peer.on_resolved(&named, addresses, ctx, now);
            });
        }
        true
    }

    /// A peer is gone: what it named is of no use.
    pub(super) fn forget_names(&mut self, peer: PeerId) {
        let needs = self.ctx.lookups.forget(peer).into_iter();
        self.needs.extend(needs.map(|need| Need::Close { need }));
    }
}
