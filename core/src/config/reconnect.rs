//! When a path counts as lost, and what is tried then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a path counts as degraded or lost, and how long it is tried to bring it back.
///
/// A path is asked every three seconds whether it works, and every half second while it does not answer. The times below
/// count from the first question that is not answered, and the path's own round trip time comes on top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reconnect {
    /// Without an answer for so long a path is degraded ([`Event::PathHealth`](crate::Event::PathHealth)): another one that
    /// works takes over, without signalling.
    pub degraded_after: Duration,
    /// Without an answer for so long, and without another path, it is lost: the peer is
    /// [`Disconnected`](crate::PeerState::Disconnected) and ICE restarts.
    pub lost_after: Duration,
    /// How long one ICE restart may take before the next is tried.
    pub restart_timeout: Duration,
    /// From `Disconnected` until the peer is given up: `Failed`.
    pub disconnect_budget: Duration,
}
