//! When a connection counts as lost, and what is tried then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a path counts as degraded or lost, and what is tried to bring the connection back: the reconnection ladder.
///
/// A path is asked every three seconds whether it works, and every half second while it does not answer. `degraded_after`
/// and `lost_after` count from the first question that is not answered, and the path's own round trip time comes on top.
///
/// | rung | when | what |
/// | --- | --- | --- |
/// | standby | `degraded_after` | another path that answers takes over, without signalling |
/// | ICE restart | `lost_after`, or all paths are gone | new credentials and candidates; DTLS, SCTP and what is queued stay |
/// | rebuild | the restarts have failed, the transport has ended, or the peer does not know the session any more | a new transport under the same peer; messages go on where they stopped |
///
/// What is lost again within `stable_after` goes on with the rung and the attempt that it had reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reconnect {
    /// Without an answer for so long a path is degraded ([`Event::PathHealth`](crate::Event::PathHealth)).
    pub degraded_after: Duration,
    /// Without an answer for so long, and without another path, it is lost: the peer is
    /// [`Disconnected`](crate::PeerState::Disconnected).
    pub lost_after: Duration,
    /// The attempts to restart ICE (RFC 8445 section 9).
    pub restart: Backoff,
    /// The attempts to rebuild the transport.
    pub rebuild: Backoff,
    /// How long one attempt may take before it counts as failed.
    pub attempt_timeout: Duration,
    /// From `Disconnected` until the peer is given up: `Failed`.
    pub disconnect_budget: Duration,
    /// After so long without a loss the ladder begins with its first rung again.
    pub stable_after: Duration,
}

/// How often a rung is tried, and the rest before each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Attempts at most. 0 skips the rung.
    pub attempts: u32,
    /// The rest before the first attempt.
    pub first: Duration,
    /// The rest before the second attempt; doubles with each further one.
    pub delay: Duration,
    /// The longest rest.
    pub delay_max: Duration,
    /// What chance does to each rest.
    pub jitter: Jitter,
}

/// What chance does to a rest, so that many peers do not all come back at one instant. It is drawn from the endpoint's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jitter {
    /// Nothing.
    None,
    /// The rest is anything from nothing to the whole.
    Full,
    /// So much is added at most.
    Added(Duration),
}

impl Reconnect {
    /// The times of [`Preset::Standard`](super::Preset::Standard).
    pub(super) const STANDARD: Self = Self {
        degraded_after: Duration::from_millis(2_500),
        lost_after: Duration::from_secs(5),
        restart: Backoff {
            attempts: 3,
            ..AT_ONCE
        },
        rebuild: Backoff {
            attempts: 10,
            first: Duration::ZERO,
            delay: Duration::from_millis(300),
            delay_max: Duration::from_secs(7),
            jitter: Jitter::Full,
        },
        attempt_timeout: Duration::from_secs(8),
        disconnect_budget: Duration::from_secs(60),
        stable_after: Duration::from_secs(30),
    };

    /// One second and its doubles, five times.
    pub(super) const CLASSIC: Self = Self {
        restart: DOUBLING,
        rebuild: DOUBLING,
        disconnect_budget: Duration::from_secs(120),
        ..Self::STANDARD
    };

    /// Quick decisions, and soon the last.
    pub(super) const GAME: Self = Self {
        degraded_after: Duration::from_millis(1_500),
        lost_after: Duration::from_secs(3),
        restart: Backoff {
            attempts: 2,
            ..AT_ONCE
        },
        attempt_timeout: Duration::from_secs(4),
        disconnect_budget: Duration::from_secs(20),
        ..Self::STANDARD
    };

    /// Few datagrams: patience.
    pub(super) const BATTERY: Self = Self {
        degraded_after: Duration::from_secs(5),
        lost_after: Duration::from_secs(10),
        rebuild: Backoff {
            delay: Duration::from_secs(2),
            delay_max: Duration::from_secs(30),
            ..Self::STANDARD.rebuild
        },
        attempt_timeout: Duration::from_secs(15),
        disconnect_budget: Duration::from_secs(120),
        ..Self::STANDARD
    };
}

const AT_ONCE: Backoff = Backoff {
    attempts: 1,
    first: Duration::ZERO,
    delay: Duration::ZERO,
    delay_max: Duration::ZERO,
    jitter: Jitter::None,
};

const DOUBLING: Backoff = Backoff {
    attempts: 5,
    first: Duration::from_secs(1),
    delay: Duration::from_secs(2),
    delay_max: Duration::from_secs(30),
    jitter: Jitter::Added(Duration::from_secs(1)),
};
