//! What an endpoint knows of sessions, for the one that comes after it.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Endpoint;
use super::recorder::Step;
use crate::id::{PeerId, SessionId};

/// The sessions that an endpoint has had: what keeps late and replayed messages of them without effect.
///
/// It is for the endpoint of the next process with the same identity. Without it a new process takes the first offer of a session
/// that the old one had for a new one, while that is fresh (see [`ConfigBuilder::freshness`](crate::ConfigBuilder::freshness)) and
/// the network or whoever carries signalling brings it again: it leads nowhere, but the application is asked. It holds names and
/// random numbers, and nothing secret. An old one does no harm: what is not in it is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionMemory(Vec<(PeerId, SessionId)>);

impl Endpoint {
    /// The sessions that this endpoint has or had, at most [`max_ended_sessions`](crate::ConfigBuilder::max_ended_sessions)
    /// of those that are over: for [`Endpoint::remember_sessions`] in the next process. Save it at the end, and now and then
    /// where that may not be reached.
    #[must_use]
    pub fn session_memory(&self) -> SessionMemory {
        let live = self.by_id.iter().flat_map(|(peer, key)| {
            let slot = self.slots.get(*key).into_iter();
            slot.flat_map(|slot| slot.peer.sessions().map(|session| (*peer, session)))
        });
        SessionMemory(self.ctx.ended.all().chain(live).collect())
    }

    /// Takes the sessions of an earlier process for over. To be called before the first signal; of more than
    /// [`max_ended_sessions`](crate::ConfigBuilder::max_ended_sessions) the first are forgotten.
    pub fn remember_sessions(&mut self, memory: &SessionMemory, now: Instant) {
        self.begin(now, |_| Step::RememberSessions {
            memory: memory.clone(),
        });
        for (peer, session) in &memory.0 {
            self.ctx.ended.bury(*peer, *session);
        }
    }
}
