//! Which candidates are used, by their type and as the application judges.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::candidate::Kind;
use crate::config::CandidateType;
use crate::id::PeerId;
use crate::tape::Tape;

/// A candidate that the application judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CandidateInfo {
    /// Whose it is. `None`: ours.
    pub peer: Option<PeerId>,
    /// What kind of address it is.
    pub candidate_type: CandidateType,
    /// The address that it names, IPv4-mapped ones as the IPv4 addresses they are.
    pub address: SocketAddr,
}

impl From<Kind> for CandidateType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Host => Self::Host,
            Kind::ServerReflexive | Kind::PeerReflexive => Self::ServerReflexive,
            Kind::Relay => Self::Relayed,
        }
    }
}

/// The judgement. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct CandidateFilter {
    denied: Vec<CandidateType>,
    judge: Option<Arc<Judge>>,
    /// The verdicts are on it, as a recording cannot judge again.
    tape: Tape,
}

type Judge = dyn Fn(&CandidateInfo) -> bool + Send + Sync;

impl CandidateFilter {
    /// Allows everything but these types.
    pub(crate) fn new(denied: &[CandidateType]) -> Self {
        Self {
            denied: denied.to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn set_judge(&mut self, judge: Arc<Judge>) {
        self.judge = Some(judge);
    }

    pub(crate) fn set_tape(&mut self, tape: Tape) {
        self.tape = tape;
    }

    /// Whether candidates of a type may be used at all.
    pub(crate) fn allows_type(&self, candidate_type: CandidateType) -> bool {
        !self.denied.contains(&candidate_type)
    }

    pub(crate) fn allows(&self, candidate: &CandidateInfo) -> bool {
        self.allows_type(candidate.candidate_type) && self.judge(candidate)
    }

    fn judge(&self, candidate: &CandidateInfo) -> bool {
        let Some(judge) = &self.judge else {
            return true;
        };
        if self.tape.is_playing() {
            return self.tape.replay("judge").unwrap_or(false);
        }
        let verdict = judge(candidate);
        self.tape.keep("judge", &verdict, false);
        verdict
    }
}

impl fmt::Debug for CandidateFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CandidateFilter")
            .field("denied", &self.denied)
            .field("judges", &self.judge.is_some())
            .finish_non_exhaustive()
    }
}
