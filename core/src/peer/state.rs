//! The life of a peer: facts go in, one place assigns the state.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::event::{Cause, NegotiationFault, PeerFault, PeerState, Phase, TransportFault};

/// Where a peer is in its life. What the application sees of it is [`Life::visible`].
///
/// ```text
///                 Connect, Accept                 Secured + channels
///   Offered ---------------------> Connecting ------------------------> Connected <----+
///      |                               |                                  |    |       | PathUp
///      |                               |                         PathDown |    |       |
///      |                               |                                  v    |       |
///      |                               |                            Disconnected ------+
///      |                               |                                  |    |
///      |                               |   Close             Close        |    | Close
///      |                               |                                  v    v
///      |                               |                                 Draining
///      |                               |                                    | Drained, Deadline
///      |                               |                                    v
///      |                               |                                 Leaving
///      v                               v                                    v
///   Ended(Closed | Failed) <-------- any fact that ends, or the deadline of the phase
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// A remote offer waits for the application.
    Offered,
    /// Descriptions, checks and handshakes are under way.
    Connecting(Phase),
    /// The path and the channels are up.
    Connected,
    /// The path is lost and being repaired.
    Disconnected,
    /// The application closed; the queues are being emptied.
    Draining { from: PeerState },
    /// The farewell is said; its answer is awaited for a short while.
    Leaving { from: PeerState },
    /// Over.
    Ended(PeerState),
}

/// What can happen to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The application accepted the offer.
    Accepted,
    /// The application refused the offer.
    Refused,
    /// A later phase of connecting began.
    Progress(Phase),
    /// The path, DTLS and the channels are up.
    Established,
    /// A pair works again.
    PathUp,
    /// No pair works any more.
    PathDown,
    /// The transport is of no use any more, and another one is built.
    TransportLost(Cause),
    /// The application closed the connection.
    Close,
    /// Nothing is queued any more.
    Drained,
    /// The peer answered our farewell.
    FarewellAnswered,
    /// The peer ended the session.
    Bye(Cause),
    /// Another session took the place of this one.
    Replaced,
    /// An offer or answer could not be used.
    NegotiationFailed(NegotiationFault),
    /// The transport is dead.
    TransportFailed(TransportFault),
    /// The peer broke a rule.
    Misbehaved(PeerFault),
    /// The deadline of the phase passed.
    Deadline,
}

/// A change that the application is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) from: PeerState,
    pub(crate) to: PeerState,
    pub(crate) cause: Cause,
}

/// The state of one peer, since when it lasts and until when it may.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    life: Life,
    since: Instant,
    deadline: Option<Instant>,
}

impl Lifecycle {
    /// A peer to which the application wants to connect.
    pub(crate) fn connecting(timeout: Duration, now: Instant) -> Self {
        Self {
            life: Life::Connecting(Phase::Signalling),
            since: now,
            deadline: now.checked_add(timeout),
        }
    }

    /// A peer that made an offer.
    pub(crate) fn offered(config: &Config, now: Instant) -> Self {
        Self {
            life: Life::Offered,
            since: now,
            deadline: now.checked_add(config.timing.accept_timeout),
        }
    }

    /// A peer that is in this state since `now`.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn starting_in(life: Life, config: &Config, now: Instant) -> Self {
        Self {
            life,
            since: now,
            deadline: phase_time(life, config).and_then(|time| now.checked_add(time)),
        }
    }

    /// Takes a fact. Returns the change that the application must be told, if there is one.
    pub(crate) fn on_fact(
        &mut self,
        fact: Fact,
        config: &Config,
        now: Instant,
    ) -> Option<Transition> {
        let (next, cause) = next(self.life, fact)?;
        self.transition_to(next, fact, config, now);
        cause.map(|(from, cause)| Transition {
            from,
            to: next.visible(),
            cause,
        })
    }

    /// Whether `fact` would end this peer in a way that needs an explanation: failed, or refused by the peer.
    pub(crate) fn is_explained(&self, fact: Fact) -> bool {
        match next(self.life, fact) {
            Some((Life::Ended(PeerState::Failed), _)) => true,
            Some((_, Some((_, cause)))) => matches!(cause, Cause::PeerRefused | Cause::PeerBusy),
            Some((_, None)) | None => false,
        }
    }

    pub(crate) fn life(&self) -> Life {
        self.life
    }

    pub(crate) fn visible(&self) -> PeerState {
        self.life.visible()
    }

    /// Since when the present state or phase lasts.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn transition_to(&mut self, next: Life, fact: Fact, config: &Config, now: Instant) {
        tracing::debug!(from = ?self.life, to = ?next, ?fact, "transition");
        // The phases of connecting share one deadline: 15 s are for all of them.
        let keeps = matches!(
            (self.life, next),
            (Life::Connecting(_), Life::Connecting(_))
        );
        if !keeps {
            self.deadline = phase_time(next, config).and_then(|time| now.checked_add(time));
        }
        self.life = next;
        self.since = now;
    }
}

impl Life {
    /// The state that the application sees.
    pub(crate) const fn visible(self) -> PeerState {
        match self {
            Self::Offered => PeerState::New,
            Self::Connecting(_) => PeerState::Connecting,
            Self::Connected => PeerState::Connected,
            Self::Disconnected => PeerState::Disconnected,
            Self::Draining { from } | Self::Leaving { from } => from,
            Self::Ended(state) => state,
        }
    }

    /// What is waited for.
    pub(crate) const fn phase(self) -> Option<Phase> {
        match self {
            Self::Offered => Some(Phase::Accept),
            Self::Connecting(phase) => Some(phase),
            Self::Disconnected => Some(Phase::Restart),
            Self::Draining { .. } | Self::Leaving { .. } => Some(Phase::Drain),
            Self::Connected | Self::Ended(_) => None,
        }
    }
}

fn phase_time(life: Life, config: &Config) -> Option<Duration> {
    let timing = &config.timing;
    match life {
        Life::Offered => Some(timing.accept_timeout),
        Life::Connecting(_) => Some(timing.connect_timeout),
        Life::Disconnected if planted!(FailureUntold) => None,
        Life::Disconnected => Some(config.reconnect.disconnect_budget),
        Life::Draining { .. } => Some(timing.close_drain),
        Life::Leaving { .. } => Some(timing.close_linger),
        Life::Connected | Life::Ended(_) => None,
    }
}

/// The whole table. `None`: nothing changes. The second part is what the application is told, if anything.
fn next(life: Life, fact: Fact) -> Option<(Life, Option<(PeerState, Cause)>)> {
    use Life::{Connected, Connecting, Disconnected, Draining, Ended, Leaving, Offered};
    let from = life.visible();
    let told = |to: Life, cause: Cause| Some((to, Some((from, cause))));
    let quietly = |to: Life| Some((to, None));
    if let Ended(_) = life {
        return None;
    }
    match fact {
        Fact::Accepted => match life {
            Offered => told(Connecting(Phase::Checks), Cause::Accepted),
            Connecting(_)
            | Connected
            | Disconnected
            | Draining { .. }
            | Leaving { .. }
            | Ended(_) => None,
        },
        Fact::Refused => match life {
            Offered => told(Ended(PeerState::Closed), Cause::Refused),
            Connecting(_)
            | Connected
            | Disconnected
            | Draining { .. }
            | Leaving { .. }
            | Ended(_) => None,
        },
        Fact::Progress(phase) => match life {
            Connecting(current) if phase > current => quietly(Connecting(phase)),
            Offered
            | Connecting(_)
            | Connected
            | Disconnected
            | Draining { .. }
            | Leaving { .. }
            | Ended(_) => None,
        },
        Fact::Established => match life {
            Connecting(_) | Disconnected => told(Connected, Cause::Established),
            Offered | Connected | Draining { .. } | Leaving { .. } | Ended(_) => None,
        },
        Fact::PathUp => match life {
            Disconnected => told(Connected, Cause::PathRestored),
            Offered | Connecting(_) | Connected | Draining { .. } | Leaving { .. } | Ended(_) => {
                None
            }
        },
        Fact::PathDown => next(life, Fact::TransportLost(Cause::PathLost)),
        Fact::TransportLost(cause) => match life {
            Connected => told(Disconnected, cause),
            // While connecting, more candidates may come; the deadline decides. While closing, likewise.
            Offered
            | Connecting(_)
            | Disconnected
            | Draining { .. }
            | Leaving { .. }
            | Ended(_) => None,
        },
        Fact::Close => match life {
            Offered => told(Ended(PeerState::Closed), Cause::Refused),
            Connecting(_) => told(Ended(PeerState::Closed), Cause::LocalClose),
            Connected | Disconnected => quietly(Draining { from }),
            Draining { .. } | Leaving { .. } | Ended(_) => None,
        },
        Fact::Drained => match life {
            Draining { .. } => quietly(Leaving { from }),
            Offered | Connecting(_) | Connected | Disconnected | Leaving { .. } | Ended(_) => None,
        },
        Fact::FarewellAnswered => match life {
            Leaving { .. } => told(Ended(PeerState::Closed), Cause::LocalClose),
            Offered | Connecting(_) | Connected | Disconnected | Draining { .. } | Ended(_) => None,
        },
        Fact::Bye(cause) => match life {
            // Both sides close: our application asked for it as well.
            Leaving { .. } => told(Ended(PeerState::Closed), Cause::LocalClose),
            Offered | Connecting(_) | Connected | Disconnected | Draining { .. } => {
                told(Ended(PeerState::Closed), cause)
            }
            Ended(_) => None,
        },
        Fact::Replaced => told(Ended(PeerState::Closed), Cause::Replaced),
        Fact::NegotiationFailed(fault) => match life {
            Offered | Connecting(_) => told(Ended(PeerState::Failed), Cause::Negotiation(fault)),
            // The transport that is up does not depend on the new descriptions.
            Connected | Disconnected | Draining { .. } | Leaving { .. } | Ended(_) => None,
        },
        Fact::TransportFailed(fault) => match life {
            Leaving { .. } => told(Ended(PeerState::Closed), Cause::LocalClose),
            Offered | Connecting(_) | Connected | Disconnected | Draining { .. } => {
                told(Ended(PeerState::Failed), Cause::Transport(fault))
            }
            Ended(_) => None,
        },
        Fact::Misbehaved(fault) => told(Ended(PeerState::Failed), Cause::Misbehaviour(fault)),
        Fact::Deadline => match life {
            Offered => told(Ended(PeerState::Closed), Cause::Refused),
            Connecting(phase) => told(Ended(PeerState::Failed), Cause::Timeout(phase)),
            Disconnected => told(Ended(PeerState::Failed), Cause::Timeout(Phase::Restart)),
            Draining { .. } if planted!(DrainWithoutEnd) => None,
            Draining { .. } => quietly(Leaving { from }),
            Leaving { .. } => told(Ended(PeerState::Closed), Cause::LocalClose),
            Connected | Ended(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const LIVES: [Life; 9] = [
        Life::Offered,
        Life::Connecting(Phase::Signalling),
        Life::Connecting(Phase::Handshake),
        Life::Connected,
        Life::Disconnected,
        Life::Draining {
            from: PeerState::Connected,
        },
        Life::Leaving {
            from: PeerState::Connected,
        },
        Life::Ended(PeerState::Failed),
        Life::Ended(PeerState::Closed),
    ];

    const FACTS: [Fact; 17] = [
        Fact::Accepted,
        Fact::Refused,
        Fact::Progress(Phase::Answer),
        Fact::Established,
        Fact::PathUp,
        Fact::PathDown,
        Fact::TransportLost(Cause::Rebuilt),
        Fact::Close,
        Fact::Drained,
        Fact::FarewellAnswered,
        Fact::Bye(Cause::RemoteClose),
        Fact::Bye(Cause::PeerRefused),
        Fact::Replaced,
        Fact::NegotiationFailed(NegotiationFault::Fingerprint),
        Fact::TransportFailed(TransportFault::Dtls),
        Fact::Misbehaved(PeerFault::Frame),
        Fact::Deadline,
    ];

    #[test]
    fn the_table_of_states_and_facts_is_as_reviewed() {
        let mut table = String::new();
        for life in LIVES {
            writeln!(table, "{life:?}").expect("a string grows");
            for fact in FACTS {
                let outcome = match next(life, fact) {
                    None => "-".to_owned(),
                    Some((to, None)) => format!("{to:?}, untold"),
                    Some((to, Some((from, cause)))) => {
                        format!("{to:?}, told {from} -> {}: {cause}", to.visible())
                    }
                };
                writeln!(table, "  {:<40} {outcome}", format!("{fact:?}")).expect("a string grows");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn nothing_follows_the_end() {
        for ended in [
            Life::Ended(PeerState::Failed),
            Life::Ended(PeerState::Closed),
        ] {
            assert!(FACTS.into_iter().all(|fact| next(ended, fact).is_none()));
        }
    }

    #[test]
    fn every_state_that_waits_has_a_deadline_and_leaves_at_it() {
        let config = Config::default();
        for life in LIVES {
            let waits = life.phase().is_some();
            assert_eq!(phase_time(life, &config).is_some(), waits, "{life:?}");
            assert_eq!(next(life, Fact::Deadline).is_some(), waits, "{life:?}");
        }
    }

    #[test]
    fn the_phases_of_connecting_share_one_deadline() {
        let config = Config::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(3);
        let mut lifecycle = Lifecycle::connecting(config.timing().connect_timeout, start);
        let told = lifecycle.on_fact(Fact::Progress(Phase::Handshake), &config, later);
        assert_eq!(told, None);
        assert_eq!(
            lifecycle.deadline(),
            Some(start + config.timing().connect_timeout)
        );
        assert_eq!(lifecycle.since(), later);
    }
}
