//! A session whose answers can be recorded, or taken from a recording.
//!
//! Every call goes through the [`Tape`], one line each; nothing else of a session is ever looked at from above.

use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::session::{Datagram, RemoteStream, Session, SessionEvent, Written};
use crate::channel::{Room, StreamConfig, StreamKey, header_len};
use crate::config::Config;
use crate::crypto::Crypto;
use crate::event::{NegotiationFault, Path};
use crate::ice::gather::LocalCandidate;
use crate::id::PeerId;
use crate::rng::Rng;
use crate::tape::{Stamp, Tape, Taped, without_passwords};

/// A [`Session`], or the recording of one.
pub(crate) struct TapedSession {
    /// `None` when a recording answers in its place.
    live: Option<Session>,
    tape: Tape,
    ufrags: Ufrags,
    /// Whether messages have a frame header.
    framed: bool,
}

/// The user name fragments under which checks arrive: of the description in force, and of the pending offer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ufrags {
    pub(crate) current: String,
    pub(crate) pending: Option<String>,
}

impl TapedSession {
    pub(crate) fn new(
        tape: Tape,
        crypto: &Crypto,
        config: &Config,
        rng: Rng,
        now: Instant,
    ) -> Self {
        let live = (!tape.is_playing()).then(|| Session::new(crypto, config, rng, now));
        let mut session = Self {
            live,
            tape,
            ufrags: Ufrags::default(),
            framed: false,
        };
        session.refresh_ufrags();
        session
    }

    pub(crate) fn add_local_candidate(
        &mut self,
        candidate: LocalCandidate,
        now: Instant,
    ) -> Option<String> {
        self.call("add_local_candidate", None, |s| {
            s.add_local_candidate(candidate, now)
        })
    }

    pub(crate) fn remove_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        if let Some(live) = &mut self.live {
            live.remove_local_candidate(candidate, now);
        }
    }

    pub(crate) fn create_offer(&mut self, ended: bool, now: Instant) -> Option<String> {
        let offer = self.call("create_offer", Sdp(None), |s| {
            Sdp(s.create_offer(ended, now))
        });
        self.refresh_ufrags();
        offer.0
    }

    pub(crate) fn accept_offer(
        &mut self,
        text: &str,
        ended: bool,
        now: Instant,
    ) -> Result<String, NegotiationFault> {
        let fallback = Answered(Err(NegotiationFault::Unsupported));
        let answer = self.call("accept_offer", fallback, |s| {
            Answered(s.accept_offer(text, ended, now))
        });
        self.refresh_ufrags();
        answer.0
    }

    pub(crate) fn accept_answer(
        &mut self,
        text: &str,
        now: Instant,
    ) -> Result<(), NegotiationFault> {
        let fallback = Err(NegotiationFault::Unsupported);
        let outcome = self.call("accept_answer", fallback, |s| s.accept_answer(text, now));
        self.refresh_ufrags();
        outcome
    }

    /// Who the peer is, and whether it is a bowline peer: then messages have a frame header from now on.
    pub(crate) fn set_peer(&mut self, peer: PeerId, is_bowline: bool) {
        self.framed = is_bowline;
        if let Some(live) = &self.live {
            live.expect_owner(peer, is_bowline);
        }
    }

    pub(crate) fn add_remote_candidate(&mut self, line: &str, now: Instant) -> bool {
        self.call("add_remote_candidate", false, |s| {
            s.add_remote_candidate(line, now)
        })
    }

    pub(crate) fn open_stream(
        &mut self,
        key: StreamKey,
        config: &StreamConfig,
        now: Instant,
    ) -> bool {
        self.call("open_stream", false, |s| s.open_stream(key, config, now))
    }

    pub(crate) fn adopt_stream(&mut self, remote: RemoteStream, key: StreamKey) {
        if let Some(live) = &mut self.live {
            live.adopt_stream(remote, key);
        }
    }

    pub(crate) fn reject_stream(&mut self, remote: RemoteStream, now: Instant) {
        if let Some(live) = &mut self.live {
            live.reject_stream(remote, now);
        }
    }

    pub(crate) fn close_stream(&mut self, key: StreamKey, now: Instant) {
        if let Some(live) = &mut self.live {
            live.close_stream(key, now);
        }
    }

    pub(crate) fn write(&mut self, key: StreamKey, binary: bool, data: &[u8]) -> Written {
        self.call("write", Written::NotNow, |s| s.write(key, binary, data))
    }

    pub(crate) fn settle(&mut self, now: Instant) {
        if let Some(live) = &mut self.live {
            live.settle(now);
        }
    }

    pub(crate) fn limit_window(&mut self, room: Room, now: Instant) {
        if let Some(live) = &mut self.live {
            live.limit_window(room, now);
        }
    }

    pub(crate) fn close(&mut self, now: Instant) {
        if let Some(live) = &mut self.live {
            live.close(now);
        }
    }

    pub(crate) fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) {
        if let Some(live) = &mut self.live {
            live.handle_datagram(local, remote, contents, now);
        }
    }

    pub(crate) fn catch_up(&mut self, now: Instant) {
        if let Some(live) = &mut self.live {
            live.catch_up(now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(live) = &mut self.live {
            live.handle_timeout(now);
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Datagram> {
        self.call("poll_transmit", None, Session::poll_transmit)
    }

    pub(crate) fn poll_event(&mut self) -> Option<SessionEvent> {
        self.call("poll_event", None, Session::poll_event)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let (Some(live), start) = (&self.live, self.tape.start()) else {
            let stamp: Option<Stamp> = self.tape.replay("poll_timeout").flatten();
            return Some(self.tape.start()? + stamp?.offset());
        };
        let deadline = live.poll_timeout();
        if let Some(start) = start {
            let stamp = deadline.map(|at| Stamp::new(at.saturating_duration_since(start)));
            self.tape.keep("poll_timeout", &stamp, self.framed);
        }
        deadline
    }

    pub(crate) fn is_alive(&self) -> bool {
        let Some(live) = &self.live else {
            return self.tape.replay("is_alive").unwrap_or(false);
        };
        let alive = live.is_alive();
        self.tape.keep("is_alive", &alive, self.framed);
        alive
    }

    pub(crate) fn buffered(&mut self, key: StreamKey) -> usize {
        self.call("buffered", 0, |s| s.buffered(key))
    }

    /// The answer is kept, and not the password.
    pub(crate) fn has_password(
        &mut self,
        ufrag: &str,
        is_right: impl FnOnce(&str) -> bool,
    ) -> bool {
        self.call("has_password", false, |s| {
            s.password(ufrag).is_some_and(is_right)
        })
    }

    /// What the judge says of an answer to a check. Kept, because it needs the peer's password.
    pub(crate) fn judge_answer(&mut self, judge: impl FnOnce() -> bool) -> bool {
        self.call("judge_answer", false, |_| judge())
    }

    pub(crate) fn leave_pair(&mut self, silent: Path, standby: Path, now: Instant) {
        if let Some(live) = &mut self.live {
            live.leave_pair(silent, standby, now);
        }
    }

    pub(crate) fn ufrags(&self) -> &Ufrags {
        &self.ufrags
    }

    fn refresh_ufrags(&mut self) {
        self.ufrags = self.call("ufrags", Ufrags::default(), |s| Ufrags {
            current: s.ufrag().to_owned(),
            pending: s.pending_ufrag().map(str::to_owned),
        });
    }

    fn call<R: Taped>(
        &mut self,
        call: &'static str,
        fallback: R,
        live: impl FnOnce(&mut Session) -> R,
    ) -> R {
        match &mut self.live {
            Some(session) => {
                let answer = live(session);
                self.tape.keep(call, &answer, self.framed);
                answer
            }
            None => self.tape.replay(call).unwrap_or(fallback),
        }
    }
}

/// A description of ours, in which the password is redacted.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Sdp(Option<String>);

impl Taped for Sdp {
    fn redacted(&self, _: bool) -> Option<Self> {
        Some(Self(self.0.as_deref().map(without_passwords)))
    }
}

/// A description of ours or the reason why there is none.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Answered(Result<String, NegotiationFault>);

impl Taped for Answered {
    fn redacted(&self, _: bool) -> Option<Self> {
        Some(Self(
            self.0
                .as_deref()
                .map(without_passwords)
                .map_err(|fault| *fault),
        ))
    }
}

impl Taped for Result<(), NegotiationFault> {}
impl Taped for Written {}
impl Taped for Ufrags {}

impl Taped for Option<Datagram> {
    /// Secured datagrams are kept as their first byte, which tells their protocol, and their length. STUN holds no
    /// secret (its integrity is a keyed hash) and tells which check answers which.
    fn redacted(&self, _: bool) -> Option<Self> {
        let datagram = self.as_ref()?;
        let secured = datagram.contents.first().is_some_and(|first| *first > 3);
        secured.then(|| {
            let mut contents = datagram.contents.clone();
            contents.iter_mut().skip(1).for_each(|byte| *byte = 0);
            Some(Datagram {
                contents,
                ..datagram.clone()
            })
        })
    }
}

impl Taped for Option<SessionEvent> {
    /// Messages are kept as their frame header and their length.
    fn redacted(&self, framed: bool) -> Option<Self> {
        match self {
            Some(SessionEvent::Data {
                stream: stream @ StreamKey::Channel(_),
                binary,
                data,
            }) => {
                let header = if framed { header_len(data) } else { 0 };
                let mut data = data.clone();
                data.iter_mut().skip(header).for_each(|byte| *byte = 0);
                Some(Some(SessionEvent::Data {
                    stream: *stream,
                    binary: *binary,
                    data,
                }))
            }
            Some(_) | None => None,
        }
    }
}
