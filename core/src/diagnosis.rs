//! Why a peer is not connected.

use std::fmt;
use std::time::Duration;

use crate::event::{PeerState, Phase};

/// Why a peer is not connected: ranked, with evidence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The state.
    pub state: PeerState,
    /// What it waits for.
    pub phase: Option<Phase>,
    /// For how long it has waited.
    pub waited: Duration,
    /// How long it will still wait, when there is a deadline.
    pub remaining: Option<Duration>,
    /// Likely causes, the most likely first.
    pub findings: Vec<Finding>,
}

/// One likely cause.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What seems to be wrong, for programs.
    pub suspect: Suspect,
    /// What seems to be wrong, as one sentence without a full stop.
    pub cause: String,
    /// What was seen that speaks for it.
    pub evidence: String,
}

/// What may keep two peers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Suspect {
    /// The application here has not accepted the peer.
    Application,
    /// Signalling does not reach the peer, or the peer is not there.
    Signalling,
    /// The peer got the offer and does not answer it.
    Unanswered,
    /// The peer refused.
    Refused,
    /// No socket is bound here.
    NoSocket,
    /// The peer named no address that can be used.
    NoRemoteCandidate,
    /// UDP does not leave or enter the network here.
    UdpBlocked,
    /// UDP passes in one direction only.
    OneWay,
    /// The addresses of the two do not reach each other.
    Unreachable,
    /// A STUN server does not answer.
    StunSilent,
    /// A TURN server does not answer.
    TurnUnreachable,
    /// A TURN server refuses the credentials.
    TurnUnauthorized,
    /// The time of the credentials for a TURN server is over.
    CredentialsExpired,
    /// A TURN server refuses credentials whose time is not over here: a clock is wrong.
    ClockSkew,
    /// A TURN server gives no more allocations, to this user or at all.
    TurnQuota,
    /// An ICE server fails in another way.
    Server,
    /// The NAT gives every destination another port, and there is no relay.
    NatWithoutRelay,
    /// The two have no address of one family, and none relays between them.
    NoCommonFamily,
    /// Small datagrams pass and large ones do not.
    LargeDatagrams,
    /// The peer shows another certificate than its description announced.
    WrongFingerprint,
    /// The path worked, and nothing comes any more.
    PathLost,
    /// The peer does not confirm what was sent.
    Unconfirmed,
}

impl Explanation {
    /// That of a peer which has ended.
    pub(crate) fn ended() -> Self {
        Self {
            state: PeerState::Closed,
            phase: None,
            waited: Duration::ZERO,
            remaining: None,
            findings: Vec::new(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        if let Some(phase) = self.phase {
            write!(f, ", {phase} for {:.1} s", self.waited.as_secs_f64())?;
        }
        if let Some(remaining) = self.remaining {
            write!(f, ", {:.1} s left", remaining.as_secs_f64())?;
        }
        for finding in &self.findings {
            write!(f, "\n- {} ({})", finding.cause, finding.evidence)?;
        }
        Ok(())
    }
}
