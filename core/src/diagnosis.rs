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
    /// What seems to be wrong, as one sentence without a full stop.
    pub cause: String,
    /// What was seen that speaks for it.
    pub evidence: String,
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
