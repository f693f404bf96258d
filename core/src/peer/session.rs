//! The only owner of `str0m::Rtc`.
//!
//! str0m asks its caller for a discipline: one mutation, then drain the output to the next timeout, then the next
//! mutation. Here every method that changes something ends in [`Session::settle`], so callers cannot get it wrong; the
//! exceptions only append to a queue: after a batch of [`Session::write`] the caller settles once, and after a batch of
//! [`Session::handle_datagram`] it catches up once.
//!
//! What str0m 0.25 leaves to its user is done here, each with the reason beside it: ICE credentials come from our own
//! CSPRNG, on restarts too; time is fed after every mutation, because an answerer would never start its checks
//! otherwise, and twice before the path is up, because a queued STUN request makes str0m return early; what would make
//! it panic (a stream id in use, a label larger than its buffer) is refused; its errors on received data are ignored as
//! long as it stays alive; and after a close the farewell is repeated, because a lost one would leave both sides up.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{
    ChannelConfig as StrChannelConfig, ChannelId as StrChannelId, Reliability as StrReliability,
};
use str0m::config::DtlsVersion;
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::{Candidate as StrCandidate, Event as StrEvent, IceConnectionState, IceCreds};
use str0m::{Input as StrInput, Output as StrOutput, Reason, Rtc};

use super::echoes::{Echoes, is_secured};
use crate::channel::kind::{Ordering, Reliability};
use crate::channel::{
    PLACEHOLDER_STREAM, Room, StreamConfig, StreamKey, is_too_long_in_band, max_streams,
};
use crate::config::CandidateType;
use crate::config::{Config, DtlsMode};
use crate::crypto::{Crypto, Retransmitted, SessionCrypto};
use crate::event::{NegotiationFault, Path, PeerFault, TransportFault};
use crate::ice::gather::LocalCandidate;
use crate::id::PeerId;
use crate::rng::Rng;
use crate::sdp::{self, Announcement};
use crate::tape::bytes_text;

/// One transport to one peer: ICE, DTLS and SCTP.
pub(crate) struct Session {
    rtc: Rtc,
    crypto: SessionCrypto,
    rng: Rng,
    /// The credentials that our checks and the peer's are authenticated with now.
    credentials: IceCreds,
    pending: Option<PendingOffer>,
    /// Our candidates, in the order in which they are announced.
    local: Vec<LocalCandidate>,
    /// The peer's candidates of this generation, as lines.
    remote: Vec<String>,
    streams: BTreeMap<StreamKey, Stream>,
    /// The stream that made str0m offer a data channel section.
    placeholder: Option<StrChannelId>,
    /// Streams that were closed while they waited for their id. They are closed when they have it.
    unwanted: Vec<StrChannelId>,
    /// Streams that the peer opened and that wait for their key.
    remote_streams: BTreeMap<u64, StrChannelId>,
    remote_streams_seen: u64,
    events: VecDeque<Pending>,
    transmits: VecDeque<Datagram>,
    echoes: Echoes,
    deadline: Option<Instant>,
    /// Secured datagrams that DTLS has and that have not been read.
    unread: usize,
    secured: bool,
    /// Whether a remote description was applied: then the next offer restarts ICE.
    negotiated: bool,
    ice_up: bool,
    failed: bool,
    closing: Option<Closing>,
}

/// An offer that was sent and waits for its answer.
struct PendingOffer {
    inner: SdpPendingOffer,
    /// The credentials that it announces.
    announced: IceCreds,
    /// The SCTP INIT in it.
    sctp_init: Option<String>,
}

/// A stream and how far it is.
struct Stream {
    id: StrChannelId,
    negotiated: Option<u16>,
    open: bool,
}

impl Stream {
    /// str0m has opened it: closes it if it is `unwanted`, and else says so to `events`.
    fn on_opened(
        &mut self,
        key: StreamKey,
        rtc: &mut Rtc,
        unwanted: &mut Vec<StrChannelId>,
        events: &mut VecDeque<Pending>,
    ) {
        self.open = true;
        if let Some(at) = unwanted.iter().position(|id| *id == self.id) {
            unwanted.swap_remove(at);
            rtc.direct_api().close_data_channel(self.id);
        } else {
            events.push_back(Pending::Own(SessionEvent::StreamOpen(key)));
        }
    }
}

/// An event that waits to be polled. Those of str0m are translated only then, because a stream that the peer opened
/// gets its key from the one who polled its announcement.
#[allow(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation for each message"
)]
enum Pending {
    Own(SessionEvent),
    /// Apart, because one is a thousand bytes and the queue keeps its room.
    Str(Box<StrEvent>),
}

/// The datagrams of our farewell, to be repeated until the peer answers.
struct Closing {
    farewell: Vec<Datagram>,
    next: Instant,
    pause: Duration,
}

/// A datagram to send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Datagram {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    #[serde(with = "bytes_text")]
    pub(crate) contents: Vec<u8>,
}

/// What a session tells its peer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SessionEvent {
    /// A pair was nominated and works.
    PathUp,
    /// No pair works any more.
    PathDown,
    /// DTLS is up and the peer's certificate is the announced one.
    Secured,
    /// A stream can be written to.
    StreamOpen(StreamKey),
    /// The peer announced a stream in-band. [`Session::adopt_stream`] or [`Session::reject_stream`] must follow.
    RemoteStream {
        handle: RemoteStream,
        config: StreamConfig,
    },
    /// A stream was reset.
    StreamClosed(StreamKey),
    /// A message came.
    Data {
        stream: StreamKey,
        binary: bool,
        #[serde(with = "bytes_text")]
        data: Vec<u8>,
    },
    /// SCTP has sent something again.
    Retransmitted(Retransmitted),
    /// The peer closed.
    Closed,
    /// DTLS saw another certificate than the announced one, and may yet see the right one.
    WrongCertificate,
    /// The transport failed for good.
    Failed(TransportFault),
    /// The peer broke a rule.
    Misbehaved(PeerFault),
}

/// A stream that the peer opened and that has no key yet: the how manieth of them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RemoteStream(u64);

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Written {
    /// SCTP took it.
    Yes,
    /// There is no room now, or the stream is not open.
    NotNow,
}

impl Session {
    pub(crate) fn new(crypto: &Crypto, config: &Config, mut rng: Rng, now: Instant) -> Self {
        let mut session_crypto = crypto.session(max_streams(config.channels()), rng.split());
        session_crypto.hold_retransmissions(true);
        let (throwaway, credentials) = (credentials(&mut rng), credentials(&mut rng));
        let rtc = session_crypto.enter(|| {
            // str0m logs the credentials it starts with, password and all: these are never announced.
            rtc_config(crypto, config)
                .set_local_ice_credentials(throwaway)
                .build(now)
        });
        let mut session = Self {
            rtc,
            crypto: session_crypto,
            rng,
            credentials,
            pending: None,
            local: Vec::new(),
            remote: Vec::new(),
            streams: BTreeMap::new(),
            placeholder: None,
            unwanted: Vec::new(),
            remote_streams: BTreeMap::new(),
            remote_streams_seen: 0,
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            echoes: Echoes::default(),
            deadline: None,
            unread: 0,
            secured: false,
            negotiated: false,
            ice_up: false,
            failed: false,
            closing: None,
        };
        session.settle(now);
        session.use_credentials(session.credentials.clone());
        session
    }

    /// Adds a candidate of ours. Returns its candidate line, unless str0m refuses it or has it.
    pub(crate) fn add_local_candidate(
        &mut self,
        candidate: LocalCandidate,
        now: Instant,
    ) -> Option<String> {
        let theirs = str_candidate(candidate)?;
        let line = theirs.to_sdp_string();
        if self.local.contains(&candidate) {
            return None;
        }
        if let Some(base) = self.hidden_base(candidate) {
            let rtc = &mut self.rtc;
            self.crypto
                .enter(|| rtc.add_local_candidate(base).is_some());
        }
        let rtc = &mut self.rtc;
        self.crypto
            .enter(|| rtc.add_local_candidate(theirs).is_some())
            .then_some(())?;
        self.local.push(candidate);
        self.settle(now);
        Some(line)
    }

    /// Stops using a candidate of ours.
    pub(crate) fn remove_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        let Some(theirs) = str_candidate(candidate) else {
            return;
        };
        self.local.retain(|known| *known != candidate);
        let base = self.hidden_base(candidate);
        let rtc = &mut self.rtc;
        self.crypto.enter(|| {
            for theirs in [theirs].into_iter().chain(base) {
                rtc.direct_api().invalidate_candidate(&theirs);
            }
        });
        self.settle(now);
    }

    /// The socket behind a server-reflexive address, as long as no candidate of ours has it: where host addresses are not
    /// announced. The agent has to know it all the same, since it hears only checks that come to a host candidate.
    fn hidden_base(&self, candidate: LocalCandidate) -> Option<StrCandidate> {
        let is_known = self.local.iter().any(|known| known.base == candidate.base);
        if candidate.kind != CandidateType::ServerReflexive || is_known {
            return None;
        }
        StrCandidate::host(candidate.base, Protocol::Udp).ok()
    }

    /// Makes an offer: the first, or one that restarts ICE when there is a session already. `ended` says that no candidate
    /// follows it.
    pub(crate) fn create_offer(&mut self, ended: bool, now: Instant) -> Option<String> {
        let restart = self.negotiated;
        let (rtc, crypto) = (&mut self.rtc, &mut self.crypto);
        let (offer, pending, stream) = crypto.enter(|| {
            let mut api = rtc.sdp_api();
            let stream = if restart {
                api.ice_restart(true);
                None
            } else {
                // An offer needs the application section, and str0m adds it with the first channel. This one is
                // pre-negotiated: a foreign peer never hears of it. Nor is it META, whose stream id such a peer may use.
                Some(api.add_channel_with_config(placeholder_config()))
            };
            api.apply().map(|(offer, pending)| (offer, pending, stream))
        })?;
        self.placeholder = self.placeholder.or(stream);
        let announced = if restart {
            credentials(&mut self.rng)
        } else {
            self.credentials.clone()
        };
        let text = self.announce(&offer.to_sdp_string(), &announced, ended)?;
        self.pending = Some(PendingOffer {
            inner: pending,
            announced,
            sctp_init: sdp::sctp_init(&text).map(str::to_owned),
        });
        self.settle(now);
        Some(text)
    }

    /// Takes the peer's offer, already validated, and answers it. `ended` says that no candidate follows the answer.
    pub(crate) fn accept_offer(
        &mut self,
        text: &str,
        ended: bool,
        now: Instant,
    ) -> Result<String, NegotiationFault> {
        let offer = SdpOffer::from_sdp_string(&sdp::for_transport(text, None))
            .map_err(|_| NegotiationFault::Unsupported)?;
        self.pending = None;
        self.crypto
            .expect_certificate(sdp::sha256_fingerprints(text));
        let (rtc, crypto) = (&mut self.rtc, &mut self.crypto);
        let minted_before = rtc.direct_api().local_ice_credentials();
        let answer = crypto
            .enter(|| rtc.sdp_api().accept_offer(offer))
            .map_err(|_| NegotiationFault::Unsupported)?;
        if rtc.direct_api().local_ice_credentials() != minted_before {
            // The offer restarted ICE, and str0m minted credentials from its weak generator.
            let replacement = credentials(&mut self.rng);
            self.use_credentials(replacement);
        }
        self.on_generation();
        let text = self.announce(&answer.to_sdp_string(), &self.credentials, ended);
        self.settle(now);
        text.ok_or(NegotiationFault::Unsupported)
    }

    /// The peer is `peer`, and perhaps a bowline peer: its certificate has to fit to that.
    pub(crate) fn expect_owner(&self, peer: PeerId, is_bowline: bool) {
        self.crypto.expect_owner(peer, is_bowline);
    }

    /// Takes the peer's answer, already validated, to the pending offer.
    pub(crate) fn accept_answer(
        &mut self,
        text: &str,
        now: Instant,
    ) -> Result<(), NegotiationFault> {
        let offered = self.pending.as_ref().and_then(|p| p.sctp_init.as_deref());
        let answer = SdpAnswer::from_sdp_string(&sdp::for_transport(text, offered))
            .map_err(|_| NegotiationFault::Unsupported)?;
        let pending = self.pending.take().ok_or(NegotiationFault::Unsupported)?;
        self.crypto
            .expect_certificate(sdp::sha256_fingerprints(text));
        let (rtc, crypto) = (&mut self.rtc, &mut self.crypto);
        crypto
            .enter(|| rtc.sdp_api().accept_answer(pending.inner, answer))
            .map_err(|_| NegotiationFault::Unsupported)?;
        self.use_credentials(pending.announced);
        self.on_generation();
        self.settle(now);
        Ok(())
    }

    /// Gives a remote candidate, already checked, to the ICE agent. Returns whether str0m could read it.
    pub(crate) fn add_remote_candidate(&mut self, line: &str, now: Instant) -> bool {
        let Ok(candidate) = StrCandidate::from_sdp_string(line) else {
            return false;
        };
        let rtc = &mut self.rtc;
        self.crypto.enter(|| rtc.add_remote_candidate(candidate));
        self.remote.push(line.to_owned());
        self.settle(now);
        true
    }

    /// Forgets what the agent knows of a pair that is `silent`, so that it goes over to the `standby` at once instead of
    /// when it has given the pair up. It is searched anew: the agent takes it back when it works again.
    pub(crate) fn leave_pair(&mut self, silent: Path, standby: Path, now: Instant) {
        // Candidates can be left, not pairs: the one that the standby does without.
        let is_ours = silent.local != standby.local;
        let left: Vec<StrCandidate> = if is_ours {
            let host = StrCandidate::host(silent.local, Protocol::Udp).ok();
            let ours = self.local.iter().filter(|c| c.sends_from(silent.local));
            ours.filter_map(|c| str_candidate(*c)).chain(host).collect()
        } else {
            let lines = self.remote.iter();
            let theirs = lines.filter_map(|line| StrCandidate::from_sdp_string(line).ok());
            theirs.filter(|c| c.addr() == silent.remote).collect()
        };
        let rtc = &mut self.rtc;
        self.crypto.enter(|| {
            for candidate in left {
                if !rtc.direct_api().invalidate_candidate(&candidate) {
                    continue;
                }
                if is_ours {
                    rtc.add_local_candidate(candidate);
                } else {
                    rtc.add_remote_candidate(candidate);
                }
            }
        });
        self.settle(now);
    }

    /// Opens a stream. Returns false when it cannot be opened: the id is in use, or the label does not fit.
    pub(crate) fn open_stream(
        &mut self,
        key: StreamKey,
        config: &StreamConfig,
        now: Instant,
    ) -> bool {
        if let Some(stream) = self.streams.get(&key) {
            if stream.open {
                self.events
                    .push_back(Pending::Own(SessionEvent::StreamOpen(key)));
            }
            return true;
        }
        let is_too_long = is_too_long_in_band(&config.label, &config.protocol, config.negotiated);
        if config.negotiated.is_some_and(|id| self.is_taken(id)) || is_too_long {
            return false;
        }
        let rtc = &mut self.rtc;
        let wanted = stream_config(config);
        let id = self
            .crypto
            .enter(|| rtc.direct_api().create_data_channel(wanted));
        self.streams.insert(
            key,
            Stream {
                id,
                negotiated: config.negotiated,
                open: false,
            },
        );
        self.settle(now);
        true
    }

    /// Whether a stream has this id, or waits for it. str0m panics when another is to get it.
    fn is_taken(&mut self, id: u16) -> bool {
        let waits = self.streams.values().any(|s| s.negotiated == Some(id));
        let api = self.rtc.direct_api();
        waits || api.channel_id_by_sctp_stream_id(id).is_some()
    }

    /// Gives a stream that the peer opened its key.
    pub(crate) fn adopt_stream(&mut self, remote: RemoteStream, key: StreamKey) {
        if let Some(id) = self.remote_streams.remove(&remote.0) {
            self.streams.insert(
                key,
                Stream {
                    id,
                    negotiated: None,
                    open: true,
                },
            );
        }
    }

    /// Closes a stream that the peer opened and that is not wanted.
    pub(crate) fn reject_stream(&mut self, remote: RemoteStream, now: Instant) {
        let Some(id) = self.remote_streams.remove(&remote.0) else {
            return;
        };
        let rtc = &mut self.rtc;
        self.crypto
            .enter(|| rtc.direct_api().close_data_channel(id));
        self.settle(now);
    }

    /// Resets a stream.
    pub(crate) fn close_stream(&mut self, key: StreamKey, now: Instant) {
        let Some(stream) = self.streams.get(&key) else {
            return;
        };
        let (rtc, id) = (&mut self.rtc, stream.id);
        let is_known = self.crypto.enter(|| {
            let mut api = rtc.direct_api();
            api.close_data_channel(id);
            api.sctp_stream_id_by_channel_id(id).is_some()
        });
        if !is_known {
            // str0m closes nothing that still waits for its stream id, but will open it all the same.
            self.unwanted.push(id);
        }
        self.settle(now);
    }

    /// Writes one message to a stream. After the last of a batch, call [`Session::settle`].
    pub(crate) fn write(&mut self, key: StreamKey, binary: bool, data: &[u8]) -> Written {
        let Some(stream) = self.streams.get(&key) else {
            return Written::NotNow;
        };
        let (rtc, id) = (&mut self.rtc, stream.id);
        let marker;
        let data = if data.is_empty() {
            // str0m puts nothing on the wire for an empty message and breaks the stream; see `crypto`.
            marker = self.crypto.empty_message_marker(!binary);
            &marker[..]
        } else {
            data
        };
        let written = self.crypto.enter(|| {
            rtc.channel(id)
                .map(|mut channel| channel.write(binary, data))
        });
        match written {
            Some(Ok(true)) => Written::Yes,
            Some(Ok(false) | Err(_)) | None => Written::NotNow,
        }
    }

    /// Tells a foreign peer how much it may send.
    pub(crate) fn limit_window(&mut self, room: Room, now: Instant) {
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let (left, step) = (bytes(room.left), bytes(room.step));
        if self.crypto.limit_window(left, step, room.spare == 0) {
            self.settle(now);
        }
    }

    /// Says farewell: DTLS close_notify, repeated until the peer answers. Pending data is discarded.
    pub(crate) fn close(&mut self, now: Instant) {
        if self.closing.is_some() || !self.is_alive() {
            return;
        }
        self.settle(now);
        let sent_before = self.transmits.len();
        let rtc = &mut self.rtc;
        if self.crypto.enter(|| rtc.close()).is_err() {
            self.failed = true;
        }
        self.drain(now);
        let farewell = self.transmits.iter().skip(sent_before).cloned().collect();
        self.closing = Some(Closing {
            farewell,
            next: now + FAREWELL_PAUSE,
            pause: FAREWELL_PAUSE,
        });
    }

    /// Takes a datagram. After the last of a batch, call [`Session::catch_up`].
    ///
    /// Secured ones wait for their batch, so that SCTP looks at what is under way and acknowledges once for several.
    pub(crate) fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) {
        let may_wait = self.secured && self.ice_up && is_secured(contents);
        let Ok(contents) = DatagramRecv::try_from(contents) else {
            return;
        };
        let receive = Receive {
            proto: Protocol::Udp,
            source: remote,
            destination: local,
            contents,
        };
        let rtc = &mut self.rtc;
        // An error here is the sender's: str0m stays usable unless it says that it is not alive.
        let _ = self
            .crypto
            .enter(|| rtc.handle_input(StrInput::Receive(now, receive)));
        self.unread += 1;
        if !may_wait || self.unread == MAX_UNREAD {
            self.catch_up(now);
        }
    }

    /// Reads the datagrams that wait.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if self.unread == 0 {
            return;
        }
        self.drain(now);
        if !self.ice_up || self.is_due(now) {
            self.settle(now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
        self.transmits.extend(self.echoes.due(now));
        if let Some(closing) = &mut self.closing
            && self.rtc.is_alive()
            && now >= closing.next
        {
            self.transmits.extend(closing.farewell.iter().cloned());
            closing.pause *= 2;
            closing.next = now + closing.pause;
        }
    }

    /// Feeds the time and collects the output, until nothing is left to do at `now`.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.drain(now);
        // While the path is searched for, str0m returns early for each check that it had queued before it knew the
        // peer's credentials, and what it owes besides waits for its next turn: 50 ms later, unless it comes now.
        let least = if self.ice_up { 1 } else { 2 };
        let mut owes_check = false;
        for turn in 0..MAX_TURNS {
            if turn >= least && !self.is_due(now) && !owes_check {
                break;
            }
            let sent = self.transmits.len();
            let rtc = &mut self.rtc;
            if self
                .crypto
                .enter(|| rtc.handle_input(StrInput::Timeout(now)))
                .is_err()
            {
                self.failed = self.failed || !self.rtc.is_alive();
            }
            self.drain(now);
            owes_check = self.transmits.len() > sent && self.waits_between_checks(now);
        }
    }

    /// Whether the agent, which has sent a check, may wait before the next one for its pace only. On an established
    /// connection it need not: what is checked are the pairs that work, and the endpoint has a pace for addresses that
    /// have not asked for checks. So one turn for all pairs wakes nobody twice.
    fn waits_between_checks(&self, now: Instant) -> bool {
        let is_established = self.ice_up && self.secured && self.pending.is_none();
        let at_pace = self.deadline.is_some_and(|at| at <= now + CHECK_PACE);
        is_established && at_pace && self.rtc.last_timeout_reason() == Reason::Ice
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Datagram> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<SessionEvent> {
        while let Some(pending) = self.events.pop_front() {
            let event = match pending {
                Pending::Own(event) => Some(event),
                Pending::Str(event) => self.translate(*event),
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let repeat = self
            .closing
            .as_ref()
            .filter(|_| self.rtc.is_alive())
            .map(|c| c.next);
        [self.deadline, repeat, self.echoes.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the transport works or is still saying farewell.
    pub(crate) fn is_alive(&self) -> bool {
        self.rtc.is_alive() && !self.failed
    }

    /// The user name fragment under which the peer's checks arrive now.
    pub(crate) fn ufrag(&self) -> &str {
        &self.credentials.ufrag
    }

    /// The user name fragment that the pending offer announces.
    pub(crate) fn pending_ufrag(&self) -> Option<&str> {
        self.pending
            .as_ref()
            .map(|pending| pending.announced.ufrag.as_str())
    }

    /// The password that belongs to a user name fragment of ours.
    pub(crate) fn password(&self, ufrag: &str) -> Option<&str> {
        let announced = self.pending.as_ref().map(|pending| &pending.announced);
        let mut ours = [&self.credentials].into_iter().chain(announced);
        ours.find(|ours| ours.ufrag == ufrag)
            .map(|ours| ours.pass.as_str())
    }

    /// Bytes written to a stream that the peer's SCTP has not acknowledged.
    pub(crate) fn buffered(&mut self, key: StreamKey) -> usize {
        let Some(stream) = self.streams.get(&key) else {
            return 0;
        };
        let id = stream.id;
        self.rtc
            .channel(id)
            .map_or(0, |mut channel| channel.buffered_amount())
    }

    /// Both descriptions of a generation are applied.
    fn on_generation(&mut self) {
        self.negotiated = true;
        self.ice_up = false;
        self.remote.clear();
    }

    /// Replaces what str0m minted from its weak generator.
    fn use_credentials(&mut self, credentials: IceCreds) {
        self.credentials = credentials.clone();
        let rtc = &mut self.rtc;
        self.crypto
            .enter(|| rtc.direct_api().set_local_ice_credentials(credentials));
    }

    fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }

    /// The description as it is sent: with our credentials in place of str0m's and our candidates in our order.
    fn announce(&self, text: &str, announced: &IceCreds, ended: bool) -> Option<String> {
        let candidates: Vec<String> = self
            .local
            .iter()
            .filter_map(|candidate| str_candidate(*candidate))
            .map(|candidate| candidate.to_sdp_string())
            .collect();
        let announcement = Announcement {
            ice_ufrag: &announced.ufrag,
            ice_pwd: &announced.pass,
            candidates: &candidates,
            end_of_candidates: ended,
        };
        sdp::announce(text, announcement).ok()
    }

    /// Takes everything that str0m has to say at `now`.
    fn drain(&mut self, now: Instant) {
        let Self {
            rtc,
            crypto,
            transmits,
            echoes,
            events,
            unwanted,
            streams,
            ice_up,
            secured,
            ..
        } = self;
        self.unread = 0;
        let (mut errors, mut delivered) = (0, 0);
        let mut followers = crypto.followers();
        let drained = crypto.enter(|| {
            // A drain takes what SCTP may have under way, at most. The bound guards against a transport that spins.
            for _ in 0..MAX_DRAIN {
                match rtc.poll_output() {
                    Ok(StrOutput::Timeout(at)) => {
                        // It does not tell that an agreed stream is open when the peer's data came before ours was.
                        let mut waiting = streams
                            .iter_mut()
                            .filter(|(_, stream)| stream.negotiated.is_some() && !stream.open);
                        match waiting.find(|(_, stream)| rtc.channel(stream.id).is_some()) {
                            Some((key, stream)) => stream.on_opened(*key, rtc, unwanted, events),
                            None => return Some(at),
                        }
                    }
                    Ok(StrOutput::Transmit(t)) => {
                        let first = Vec::from(t.contents);
                        let rest = is_secured(&first).then(&mut followers);
                        for contents in [first].into_iter().chain(rest.into_iter().flatten()) {
                            let datagram = Datagram {
                                source: t.source,
                                destination: t.destination,
                                contents,
                            };
                            echoes.on_sent(&datagram, now);
                            transmits.push_back(datagram);
                        }
                    }
                    Ok(StrOutput::Event(event)) => {
                        if let StrEvent::ChannelOpen(id, _) = &event
                            && let Some((key, stream)) =
                                streams.iter_mut().find(|(_, stream)| stream.id == *id)
                        {
                            stream.on_opened(*key, rtc, unwanted, events);
                            continue;
                        }
                        if let StrEvent::IceConnectionStateChange(state) = &event {
                            *ice_up = state.is_connected();
                        }
                        *secured = *secured || matches!(event, StrEvent::Connected);
                        delivered += u64::from(matches!(event, StrEvent::ChannelData(_)));
                        events.push_back(Pending::Str(Box::new(event)));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "transport error");
                        errors += 1;
                        if errors >= MAX_DRAIN_ERRORS || !rtc.is_alive() {
                            return None;
                        }
                    }
                }
            }
            None
        });
        self.crypto.on_delivered(delivered);
        // A flight that cannot be sent for want of a path must not use up its repetitions.
        self.crypto.hold_retransmissions(!self.ice_up);
        self.deadline = drained.filter(|at| at.saturating_duration_since(now) < NEVER);
        if let Some(again) = self.crypto.take_retransmitted() {
            let event = SessionEvent::Retransmitted(again);
            self.events.push_back(Pending::Own(event));
        }
        if self.crypto.take_wrong_certificate() {
            let event = SessionEvent::WrongCertificate;
            self.events.push_back(Pending::Own(event));
        }
        if let Some(fault) = self.crypto.fault() {
            self.fail(SessionEvent::Misbehaved(fault));
        }
        if drained.is_none() && self.closing.is_none() {
            self.fail(SessionEvent::Failed(TransportFault::Dtls));
        }
    }

    fn fail(&mut self, event: SessionEvent) {
        if !self.failed {
            self.failed = true;
            self.events.push_back(Pending::Own(event));
        }
    }

    fn translate(&mut self, event: StrEvent) -> Option<SessionEvent> {
        match event {
            StrEvent::Connected => Some(SessionEvent::Secured),
            StrEvent::IceConnectionStateChange(state) => match state {
                IceConnectionState::Connected | IceConnectionState::Completed => {
                    Some(SessionEvent::PathUp)
                }
                IceConnectionState::Disconnected => Some(SessionEvent::PathDown),
                IceConnectionState::New | IceConnectionState::Checking => None,
            },
            StrEvent::ChannelOpen(id, label) => self.on_channel_open(id, label),
            StrEvent::ChannelData(data) => {
                let stream = self.key_of(data.id)?;
                Some(SessionEvent::Data {
                    stream,
                    binary: data.binary,
                    data: data.data,
                })
            }
            StrEvent::ChannelClose(id) => {
                let key = self.key_of(id)?;
                self.streams.remove(&key);
                Some(SessionEvent::StreamClosed(key))
            }
            StrEvent::Closed => Some(SessionEvent::Closed),
            // Media, statistics and thresholds, none of which is switched on.
            _ => None,
        }
    }

    fn on_channel_open(&mut self, id: StrChannelId, label: String) -> Option<SessionEvent> {
        if self.placeholder == Some(id) {
            return None;
        }
        let channel = self.rtc.channel(id)?;
        let config = channel.config()?;
        let config = StreamConfig {
            label,
            protocol: config.protocol.clone(),
            ordering: if config.ordered {
                Ordering::Ordered
            } else {
                Ordering::Unordered
            },
            reliability: match config.reliability {
                StrReliability::Reliable => Reliability::Reliable,
                StrReliability::MaxRetransmits { retransmits } => {
                    Reliability::MaxRetransmits(retransmits)
                }
                StrReliability::MaxPacketLifetime { lifetime } => {
                    Reliability::MaxLifetime(Duration::from_millis(lifetime.into()))
                }
            },
            negotiated: None,
        };
        self.remote_streams_seen += 1;
        let handle = RemoteStream(self.remote_streams_seen);
        self.remote_streams.insert(handle.0, id);
        Some(SessionEvent::RemoteStream { handle, config })
    }

    fn key_of(&self, id: StrChannelId) -> Option<StreamKey> {
        self.streams
            .iter()
            .find(|(_, stream)| stream.id == id)
            .map(|(key, _)| *key)
    }
}

/// A candidate as str0m has it. Related addresses are made up by str0m: ours tell nobody of the private network.
fn str_candidate(candidate: LocalCandidate) -> Option<StrCandidate> {
    let LocalCandidate {
        kind,
        address,
        base,
    } = candidate;
    match kind {
        CandidateType::Host => StrCandidate::host(address, Protocol::Udp),
        CandidateType::ServerReflexive => {
            StrCandidate::server_reflexive(address, base, Protocol::Udp)
        }
        CandidateType::Relayed => StrCandidate::relayed(address, base, Protocol::Udp),
    }
    .ok()
}

fn rtc_config(crypto: &Crypto, config: &Config) -> str0m::RtcConfig {
    let transport = config.transport();
    let channels = config.channels();
    let mut rtc = Rtc::builder()
        .set_crypto_provider(crypto.provider())
        .set_dtls_cert(crypto.certificate())
        .set_dtls_version(match transport.dtls {
            DtlsMode::Auto => DtlsVersion::Auto,
            DtlsMode::V13 => DtlsVersion::Dtls13,
            DtlsMode::V12 => DtlsVersion::Dtls12,
        })
        .set_snap_enabled(transport.snap)
        .set_mtu(transport.mtu..=usize::MAX)
        .set_stats_interval(None)
        // Our own backlog control decides how much SCTP holds; this bound must only never refuse one whole message.
        .set_sctp_max_buffered_amount(channels.backlog_max + channels.max_message_size + SLACK)
        .clear_codecs()
        .clear_extension_map();
    rtc.set_initial_stun_rto(config.timing().stun_retry);
    rtc.set_max_stun_rto(CHECK_INTERVAL);
    rtc
}

fn stream_config(config: &StreamConfig) -> StrChannelConfig {
    StrChannelConfig {
        label: config.label.clone(),
        ordered: config.ordering == Ordering::Ordered,
        reliability: match config.reliability {
            Reliability::Reliable => StrReliability::Reliable,
            Reliability::MaxRetransmits(retransmits) => {
                StrReliability::MaxRetransmits { retransmits }
            }
            Reliability::MaxLifetime(lifetime) => StrReliability::MaxPacketLifetime {
                lifetime: u16::try_from(lifetime.as_millis()).unwrap_or(u16::MAX),
            },
        },
        negotiated: config.negotiated,
        protocol: config.protocol.clone(),
    }
}

fn placeholder_config() -> StrChannelConfig {
    StrChannelConfig {
        negotiated: Some(PLACEHOLDER_STREAM),
        ..StrChannelConfig::default()
    }
}

/// RFC 8445 §5.3: at least 24 bits for the fragment and 128 for the password. Each character carries 6.
fn credentials(rng: &mut Rng) -> IceCreds {
    IceCreds {
        ufrag: rng.ice_chars(16),
        pass: rng.ice_chars(32),
    }
}

/// Secured datagrams that wait to be read together. DTLS would hold more.
const MAX_UNREAD: usize = 8;
/// How often the agent checks a pair that works.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// The pause of the agent between two checks (RFC 8445 section 14.2).
const CHECK_PACE: Duration = Duration::from_millis(50);
/// Turns that str0m gets at one instant. It queues at most 100 early checks.
const MAX_TURNS: usize = 128;
/// Outputs of one drain. SCTP has 65,535 chunks under way at most, and rarely a thousand datagrams.
const MAX_DRAIN: usize = 65_536;
/// Errors of one drain after which a transport that still calls itself alive is given up.
const MAX_DRAIN_ERRORS: usize = 8;
/// Room above the backlog for frame headers and internal messages.
const SLACK: usize = 1024 * 1024;
/// str0m says "never" with a time that is years away.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);
/// The first repetition of a farewell; doubles.
const FAREWELL_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChannelId;
    use crate::rng::Seed;

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 4_000))
    }

    fn session(host: u8, now: Instant) -> Session {
        session_with(LocalCandidate::host(address(host)), now)
    }

    fn session_with(candidate: LocalCandidate, now: Instant) -> Session {
        let seed = match candidate.base {
            SocketAddr::V4(base) => base.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        };
        let mut rng = Rng::new(&Seed::from([seed; 32]));
        let config = Config::default();
        let crypto =
            Crypto::new(None, config.transport(), config.timing(), &mut rng).expect("made");
        let mut session = Session::new(&crypto, &config, rng, now);
        session.add_local_candidate(candidate, now);
        session
    }

    /// A socket behind a NAT, as a server sees it.
    fn translated() -> LocalCandidate {
        LocalCandidate {
            kind: CandidateType::ServerReflexive,
            address: address(13),
            base: address(3),
        }
    }

    fn agreed(stream: u16) -> StreamConfig {
        StreamConfig {
            label: "label".into(),
            protocol: String::new(),
            ordering: Ordering::Ordered,
            reliability: Reliability::Reliable,
            negotiated: Some(stream),
        }
    }

    /// Lets both sides talk for `time`, and gives the events of the first.
    fn talk(sides: &mut [Session; 2], now: &mut Instant, time: Duration) -> Vec<SessionEvent> {
        let end = *now + time;
        let mut events = Vec::new();
        while *now < end {
            *now += Duration::from_millis(5);
            for (from, to) in [(0, 1), (1, 0)] {
                sides[from].handle_timeout(*now);
                while let Some(datagram) = sides[from].poll_transmit() {
                    let Datagram {
                        source,
                        destination,
                        contents,
                    } = datagram;
                    let LocalCandidate { address, base, .. } = translated();
                    let source = if source == base { address } else { source };
                    let destination = if destination == address {
                        base
                    } else {
                        destination
                    };
                    sides[to].handle_datagram(destination, source, &contents, *now);
                }
                sides[to].catch_up(*now);
            }
            events.extend(std::iter::from_fn(|| sides[0].poll_event()));
        }
        events
    }

    #[test]
    fn a_socket_that_is_announced_by_its_outer_address_alone_hears_checks() {
        let mut now = Instant::now();
        let mut sides = [session_with(translated(), now), session(2, now)];
        let offer = sides[0].create_offer(true, now).expect("an offer");
        assert!(!offer.contains("192.0.2.3 "), "the socket is not announced");
        let answer = sides[1].accept_offer(&offer, true, now).expect("an answer");
        sides[0].accept_answer(&answer, now).expect("fits");
        let outer = "candidate:1 1 udp 1694498815 192.0.2.13 4000 typ srflx raddr 0.0.0.0 rport 0";
        assert!(sides[1].add_remote_candidate(outer, now));
        let events = talk(&mut sides, &mut now, Duration::from_secs(2));
        let secured = |event: &SessionEvent| matches!(event, SessionEvent::Secured);
        assert!(events.iter().any(secured), "{events:?}");
    }

    /// str0m panics when a stream is opened whose id another one waits for, and it closes none that waits.
    #[test]
    fn a_stream_that_is_closed_before_it_has_its_id_is_closed_when_it_has_it() {
        let mut now = Instant::now();
        let mut sides = [session(1, now), session(2, now)];
        let [first, second] = [10, 11].map(|n| StreamKey::Channel(ChannelId(n)));
        let offer = sides[0].create_offer(true, now).expect("an offer");
        assert!(sides[0].open_stream(first, &agreed(6), now));
        sides[0].close_stream(first, now);
        assert!(
            !sides[0].open_stream(second, &agreed(6), now),
            "it is still waited for"
        );

        let answer = sides[1].accept_offer(&offer, true, now).expect("an answer");
        sides[0].accept_answer(&answer, now).expect("fits");
        for (at, text) in [(0, &answer), (1, &offer)] {
            for line in text
                .lines()
                .filter_map(|line| line.strip_prefix("a=candidate"))
            {
                assert!(sides[at].add_remote_candidate(&format!("candidate{line}"), now));
            }
        }
        let events = talk(&mut sides, &mut now, Duration::from_secs(2));
        let is = |wanted: fn(&SessionEvent) -> bool| events.iter().filter(|e| wanted(e)).count();
        assert_eq!(is(|e| matches!(e, SessionEvent::Secured)), 1);
        assert_eq!(is(|e| matches!(e, SessionEvent::StreamOpen(_))), 0);
        assert_eq!(is(|e| matches!(e, SessionEvent::StreamClosed(_))), 1);
        assert!(sides[0].open_stream(second, &agreed(6), now));
    }
}
