//! What the endpoint tells the application.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::channel::kind::{Message, Ordering, Reliability};
use crate::diagnosis::Explanation;
use crate::ice::nat::NatReport;
use crate::id::{ChannelId, Generation, MessageId, PeerId, RoomId, SessionId};
use crate::metrics::PeerMetrics;
use crate::sdp::{Change, SdpError};
use crate::signal::Rollover;

/// Something that happened. Every event of one peer comes before its terminal one, and none after.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A peer exists: by `connect`, or because a remote peer made an offer (then [`Event::Incoming`] follows).
    Initialised {
        /// The peer.
        peer: PeerId,
    },
    /// A remote peer asks to connect. Answer with `accept` or `refuse` before `deadline`.
    Incoming {
        /// The peer that asks.
        peer: PeerId,
        /// The session it proposes.
        session: SessionId,
        /// When the offer is refused if nothing is done.
        deadline: Instant,
    },
    /// One key takes the place of another one, and both have signed that: who knows the old one may know the new one from now
    /// on. It comes with each message that says so while the grace period lasts, so more than once: before [`Event::Incoming`]
    /// when the new one offers a connection, and when the old one ends one, or refuses it. An end is told by the transport
    /// too, so the [`Event::State`] of it may come first.
    KeyRollover {
        /// Which, and until when both are in use.
        rollover: Box<Rollover>,
    },
    /// The state of a peer changed. [`PeerState::Failed`] and [`PeerState::Closed`] are terminal: an
    /// [`Event::Metrics`] with the last figures comes before, nothing of this peer comes after, and the peer is gone.
    State {
        /// The peer.
        peer: PeerId,
        /// The state before.
        from: PeerState,
        /// The state now.
        to: PeerState,
        /// Why.
        cause: Cause,
        /// When.
        at: Instant,
        /// Until when this state may last, where it waits for something.
        deadline: Option<Instant>,
        /// With [`PeerState::Failed`], and where the peer refused: what was seen to be wrong just before.
        explanation: Option<Box<Explanation>>,
    },
    /// Somebody is in a room that was not there before. It may be connected to us, now or later, or through others.
    MemberJoined {
        /// The room.
        room: RoomId,
        /// Who.
        peer: PeerId,
    },
    /// Somebody is not in a room any more.
    MemberLeft {
        /// The room.
        room: RoomId,
        /// Who.
        peer: PeerId,
        /// Whether it went without a word: nobody reaches it.
        lost: bool,
    },
    /// Somebody has published something in a room. Each comes at most once, and those of one member mostly in the order of
    /// their numbers.
    Published {
        /// The room.
        room: RoomId,
        /// Who. Where peers are keys, it has signed it.
        from: PeerId,
        /// Its number among those that `from` has published since it joined, from 1: a gap is a message that was lost, or
        /// comes late.
        number: u64,
        /// The message.
        message: Message,
    },
    /// A channel can be used. Messages sent before have waited for this.
    ChannelOpen {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// The label that both sides see.
        label: String,
        /// The subprotocol that both sides see.
        protocol: String,
        /// Whether order is kept.
        ordering: Ordering,
        /// How hard it tries.
        reliability: Reliability,
        /// Whether the remote side opened it.
        remote: bool,
    },
    /// A channel is gone. What it had not delivered is told by [`Event::NotDelivered`] before.
    ChannelClosed {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
    },
    /// A channel failed. It is reopened while the connection lives, and what it holds is sent again then.
    ChannelError {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// What went wrong.
        error: ChannelFault,
    },
    /// A channel that refused a message has room again.
    Writable {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
    },
    /// A message came. Give its room back with [`Peer::release`](crate::Peer::release) once it is consumed.
    Message {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// The message.
        message: Message,
    },
    /// All messages of the channel up to this one were handed to the transport.
    Sent {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// The last message handed over.
        through: MessageId,
    },
    /// All messages of a reliable channel up to this one reached the peer, but those of which [`Event::NotDelivered`] was told.
    Delivered {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// The last message that arrived.
        through: MessageId,
    },
    /// These messages will not be delivered, or it is unknown whether they were.
    NotDelivered {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// The first of them.
        first: MessageId,
        /// The last of them.
        last: MessageId,
        /// Whether some of them may have arrived: they were handed to the transport and not acknowledged.
        maybe: bool,
    },
    /// A signalling message was handed out for the first time.
    SignalSent {
        /// The peer it is for.
        peer: PeerId,
        /// Its kind.
        kind: SignalKind,
    },
    /// A signalling message was received for the first time, and used.
    SignalReceived {
        /// The peer it is from.
        peer: PeerId,
        /// Its kind.
        kind: SignalKind,
    },
    /// A signalling message was refused. Nothing changed because of it.
    SignalRefused {
        /// The peer it claims to be from, where that could be read.
        peer: Option<PeerId>,
        /// Why.
        reason: SignalRefusal,
    },
    /// A candidate was given to the ICE agent.
    CandidateAdded {
        /// The peer.
        peer: PeerId,
        /// Whether it is ours or the peer's.
        side: Side,
        /// Its transport address.
        address: SocketAddr,
    },
    /// A remote candidate was not used.
    CandidateIgnored {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: CandidateRefusal,
    },
    /// An offer and its answer were applied.
    NegotiationDone {
        /// The peer.
        peer: PeerId,
        /// The session.
        session: SessionId,
        /// The generation that they started.
        generation: Generation,
        /// How long it took, from our offer or from the peer's.
        took: Duration,
    },
    /// An offer or answer could not be used.
    NegotiationFailed {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: NegotiationFault,
        /// Where a description breaks a rule: the line, as it was read, and the rule.
        error: Option<SdpError>,
    },
    /// An offer or answer was changed, as [`Sdp`](crate::config::Sdp) wants it, and is used like that.
    DescriptionRewritten {
        /// The peer.
        peer: PeerId,
        /// Whether it is ours, and was changed before it was sent, or the peer's.
        side: Side,
        /// What was changed, in its order.
        changes: Vec<Change>,
    },
    /// Datagrams take another path now. It is told of when the first one takes it.
    PathChanged {
        /// The peer.
        peer: PeerId,
        /// The path before, if there was one.
        from: Option<Path>,
        /// The path now.
        to: Path,
        /// Whether our end of it is on a TURN server.
        relayed: bool,
        /// Why it is another one.
        why: PathChange,
    },
    /// The path in use does not answer any more, or answers again. A path that works takes over from one that does not; when
    /// there is none the peer is [`PeerState::Disconnected`] soon after
    /// ([`Reconnect`](crate::Reconnect) has the times).
    PathHealth {
        /// The peer.
        peer: PeerId,
        /// How the path is.
        health: PathHealth,
    },
    /// The connection is lost, and this will be tried at `at` ([`Reconnect`](crate::Reconnect)).
    ReconnectScheduled {
        /// The peer.
        peer: PeerId,
        /// What will be tried.
        rung: Rung,
        /// The how manieth attempt of this rung it is, from 1.
        attempt: u32,
        /// When.
        at: Instant,
        /// When the peer is given up.
        deadline: Option<Instant>,
    },
    /// An attempt to bring the connection back begins.
    ReconnectAttempt {
        /// The peer.
        peer: PeerId,
        /// What is tried.
        rung: Rung,
        /// The how manieth attempt of this rung it is, from 1.
        attempt: u32,
    },
    /// A lost connection is back. The change to [`PeerState::Connected`] follows.
    Restored {
        /// The peer.
        peer: PeerId,
        /// What was tried last, by this side. `None` when nothing was: the path came back, or the peer brought it back.
        rung: Option<Rung>,
        /// Attempts in all.
        attempts: u32,
        /// How long it was lost.
        took: Duration,
        /// What has survived.
        kept: Kept,
    },
    /// The search for candidates that all peers share began or ended.
    Gathering {
        /// How far it is.
        state: GatheringState,
    },
    /// A NAT discovery has ended.
    NatDiscovered {
        /// What it found out.
        report: Box<NatReport>,
    },
    /// An ICE server cannot be used now. It is tried again, but for faults that only other credentials or servers mend.
    IceServerFailed {
        /// Its URI.
        server: String,
        /// Why.
        fault: ServerFault,
    },
    /// The metrics of a peer: in intervals while it is connected, and once at its end.
    Metrics {
        /// The peer.
        peer: PeerId,
        /// The figures.
        metrics: Box<PeerMetrics>,
    },
}

/// The life of a peer.
///
/// ```text
/// New --> Connecting --> Connected <--> Disconnected
///  |          |              |               |
///  +----------+------+-------+---------------+----> Failed | Closed   (terminal)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// The peer is known; nothing was agreed. A remote offer waits here for the application.
    New,
    /// Descriptions are exchanged, checks run, DTLS and SCTP come up.
    Connecting,
    /// The path and the channels are up.
    Connected,
    /// The path is lost; it is being repaired. Messages are kept.
    Disconnected,
    /// Given up. Terminal.
    Failed,
    /// Ended by one of the two sides. Terminal.
    Closed,
}

impl PeerState {
    /// Whether this state is the last one.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Failed | Self::Closed)
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Closed => "closed",
        })
    }
}

/// Why the state of a peer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The application called `connect`.
    ConnectRequested,
    /// The application called `accept`.
    Accepted,
    /// The application called `refuse`, or did not answer in time.
    Refused,
    /// The peer refused.
    PeerRefused,
    /// The peer has as many peers as it may.
    PeerBusy,
    /// The path, DTLS and the channels are up.
    Established,
    /// The path is up again.
    PathRestored,
    /// No datagram of the peer came for too long.
    PathLost,
    /// The transport has ended, and is built anew.
    TransportLost(TransportFault),
    /// The transport is built anew, because one of the two sides wants it.
    Rebuilt,
    /// The application called `close` and everything is drained.
    LocalClose,
    /// The peer closed.
    RemoteClose,
    /// The peer does not know this session any more: it restarted.
    PeerForgot,
    /// The peer started another session in place of this one.
    Replaced,
    /// A deadline passed in this phase.
    Timeout(Phase),
    /// The negotiation failed for good.
    Negotiation(NegotiationFault),
    /// The transport failed for good.
    Transport(TransportFault),
    /// The peer broke a rule; see the fault.
    Misbehaviour(PeerFault),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectRequested => f.write_str("connect requested"),
            Self::Accepted => f.write_str("accepted"),
            Self::Refused => f.write_str("refused by us"),
            Self::PeerRefused => f.write_str("refused by the peer"),
            Self::PeerBusy => f.write_str("the peer is busy"),
            Self::Established => f.write_str("established"),
            Self::PathRestored => f.write_str("path restored"),
            Self::PathLost => f.write_str("path lost"),
            Self::TransportLost(fault) => write!(f, "transport lost: {fault}"),
            Self::Rebuilt => f.write_str("transport built anew"),
            Self::LocalClose => f.write_str("closed by us"),
            Self::RemoteClose => f.write_str("closed by the peer"),
            Self::PeerForgot => f.write_str("the peer forgot the session"),
            Self::Replaced => f.write_str("replaced by a new session"),
            Self::Timeout(phase) => write!(f, "timed out {phase}"),
            Self::Negotiation(fault) => write!(f, "negotiation failed: {fault}"),
            Self::Transport(fault) => write!(f, "transport failed: {fault}"),
            Self::Misbehaviour(fault) => write!(f, "the peer misbehaved: {fault}"),
        }
    }
}

/// What a peer that is not connected waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// For the application to accept or refuse.
    Accept,
    /// For the peer to acknowledge our offer.
    Signalling,
    /// For the peer's answer.
    Answer,
    /// For a connectivity check to succeed.
    Checks,
    /// For the DTLS handshake and the channels.
    Handshake,
    /// For the lost path to come back.
    Restart,
    /// For the last messages to be delivered.
    Drain,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accept => "waiting for the application to accept",
            Self::Signalling => "waiting for the peer to acknowledge the offer",
            Self::Answer => "waiting for the peer's answer",
            Self::Checks => "waiting for a connectivity check to succeed",
            Self::Handshake => "waiting for the secure handshake",
            Self::Restart => "waiting for the path to come back",
            Self::Drain => "waiting for the last messages to be delivered",
        })
    }
}

/// How far the search for candidates is (W3C `RTCIceGatheringState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatheringState {
    /// It has not begun: no socket is bound.
    New,
    /// Servers have still to answer.
    Gathering,
    /// Every server has answered or failed.
    Complete,
}

impl fmt::Display for GatheringState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Gathering => "gathering",
            Self::Complete => "complete",
        })
    }
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Ours.
    Local,
    /// The peer's.
    Remote,
}

/// The pair of addresses that datagrams go between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// Whether the path in use answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathHealth {
    /// It answers, or another one that does takes over.
    Good,
    /// Connectivity checks on it are not answered.
    Degraded,
}

impl fmt::Display for PathHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Degraded => "degraded",
        })
    }
}

/// What brings a lost connection back: a rung of the reconnection ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rung {
    /// New ICE credentials and candidates; the transport stays (RFC 8445 section 9).
    IceRestart,
    /// A new transport.
    Rebuild,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::IceRestart => "ice restart",
            Self::Rebuild => "rebuild",
        })
    }
}

/// What of a connection has survived its loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kept {
    /// All of it: DTLS, SCTP and the channels.
    Transport,
    /// The channels, on a new transport: every message goes on exactly once and in order.
    Channels,
    /// Nothing that the peer had: it is a new process, or no bowline peer. What it had not acknowledged was told as
    /// [`Event::NotDelivered`], what was not sent yet is sent to it.
    Queues,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Transport => "the transport",
            Self::Channels => "the channels",
            Self::Queues => "what was not sent",
        })
    }
}

/// Why datagrams take another path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathChange {
    /// It is the first one.
    First,
    /// The candidate that the old one began with is gone: a socket was closed, or a TURN allocation lost.
    CandidateGone,
    /// Nothing that was asked on the old one was answered any more.
    Silent,
    /// The new one is preferred: it is more direct, or came up with an ICE restart.
    Preferred,
}

impl fmt::Display for PathChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::First => "it is the first",
            Self::CandidateGone => "our old address is gone",
            Self::Silent => "the old one fell silent",
            Self::Preferred => "it is preferred",
        })
    }
}

/// The kinds of signalling messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SignalKind {
    /// A session description that starts or restarts a session.
    Offer,
    /// The description that answers it.
    Answer,
    /// One candidate.
    Candidate,
    /// No more candidates come in this generation.
    EndOfCandidates,
    /// A request that the other side restarts ICE.
    IceRestart,
    /// The end of the session.
    Bye,
    /// The acknowledgement of one message.
    Ack,
}

impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Candidate => "ice-candidate",
            Self::EndOfCandidates => "end-of-candidates",
            Self::IceRestart => "ice-restart",
            Self::Bye => "bye",
            Self::Ack => "ack",
        })
    }
}

macro_rules! faults {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* #[error($text)] $variant,)*
        }
    };
}

faults! {
    /// Why a signalling message was refused.
    SignalRefusal {
        /// Longer than the limit.
        TooLarge => "longer than the limit",
        /// Not a message of a version that is understood.
        Malformed => "malformed",
        /// Of a version that is not understood.
        Version => "unknown version",
        /// Not signed, by an endpoint whose peers are keys.
        Unsigned => "not signed",
        /// Signed and not sealed, where [`Protection::Sealed`](crate::Protection::Sealed) is asked for.
        Unsealed => "not sealed",
        /// Its signature is not the sender's, or it was not sealed to us.
        Forged => "forged or damaged",
        /// Signed too long ago, or in the future, by our clock: replayed, held back, or one of the clocks is wrong
        /// ([`Signalling::freshness`](crate::config::Signalling::freshness)).
        NotFresh => "not fresh",
        /// For somebody else.
        Misaddressed => "addressed to another peer",
        /// Our own, sent back.
        Reflected => "reflected",
        /// Of a session that is not known, or not any more.
        UnknownSession => "unknown session",
        /// Of an earlier generation, or not expected in this state.
        Stale => "stale",
        /// A limit on peers or candidates is reached.
        Busy => "a limit is reached",
    }
}

faults! {
    /// Why a remote candidate was not used.
    CandidateRefusal {
        /// Not a candidate line of RFC 8839.
        Malformed => "malformed",
        /// Of a transport that is not supported.
        Transport => "unsupported transport",
        /// A host name that is not looked up, or was not found. Where the peer is, its checks will tell.
        HostName => "a host name",
        /// Of a type that is not used, or one that the application does not want.
        Filtered => "not wanted",
        /// An address that is never a peer's: unspecified, multicast, broadcast, or loopback where it is off.
        Address => "an address that is not allowed",
        /// A family that is switched off.
        Family => "an address family that is switched off",
        /// The same candidate came before.
        Duplicate => "a duplicate",
        /// More candidates than the limit.
        TooMany => "more than the limit",
        /// Of another generation.
        Generation => "of another generation",
        /// After end-of-candidates.
        AfterEnd => "after end-of-candidates",
    }
}

faults! {
    /// Why an offer or an answer could not be used.
    NegotiationFault {
        /// Not a session description.
        Malformed => "malformed description",
        /// No data channel section.
        NoApplication => "no data channel section",
        /// No ICE credentials, or weak ones.
        IceCredentials => "missing or weak ice credentials",
        /// No certificate fingerprint of an accepted hash.
        Fingerprint => "missing or weak certificate fingerprint",
        /// A DTLS role that does not fit.
        Setup => "wrong dtls role",
        /// Another certificate without a new session.
        FingerprintChanged => "the fingerprint changed",
        /// The description was well-formed and could not be applied.
        Unsupported => "unsupported description",
    }
}

faults! {
    /// Why a transport failed for good.
    TransportFault {
        /// The DTLS handshake or a record failed, a wrong certificate included.
        Dtls => "dtls failed",
        /// The SCTP association ended.
        Sctp => "sctp ended",
    }
}

faults! {
    /// Why an ICE server cannot be used.
    ServerFault {
        /// Its name could not be resolved.
        Unresolved => "its name could not be resolved",
        /// It does not answer, or no connection to it could be opened.
        Unreachable => "it does not answer",
        /// Wrong credentials: 401 to a request that had them, or 441.
        Unauthorized => "wrong credentials (401)",
        /// The time of the credentials is over by our clock, and the server refuses them.
        Expired => "the credentials have expired",
        /// The time of the credentials is not over by our clock, and the server refuses them: one of the clocks may be wrong.
        ClockSkew => "the credentials are refused before their time is over",
        /// 403: forbidden by the server's policy.
        Forbidden => "forbidden (403)",
        /// 437: the server has an allocation of these addresses that it does not take for ours, or lost ours.
        Mismatch => "allocation mismatch (437)",
        /// 440 or 443: it has no address of this family.
        Family => "address family not supported (440)",
        /// 442: it does not relay UDP.
        Transport => "transport not supported (442)",
        /// 486: too many allocations of this user.
        Quota => "allocation quota reached (486)",
        /// 508: it has no port left.
        Capacity => "insufficient capacity (508)",
        /// 300: it names other servers in a circle, too many, or ones that may not be used.
        Redirect => "redirected in a circle (300)",
        /// Any other error, or an answer that makes no sense.
        Protocol => "an unexpected answer",
    }
}

faults! {
    /// Which rule a peer broke.
    PeerFault {
        /// It sent messages in fragments too small to be honest.
        TinyFragments => "tiny fragments",
        /// It left out messages on which many others wait.
        OutOfSequence => "messages out of sequence",
        /// It opened more channels than the limit.
        TooManyChannels => "too many channels",
        /// It sent a message larger than the limit.
        MessageTooLarge => "message too large",
        /// It sent a frame that is not of the channel protocol.
        Frame => "malformed frame",
        /// It sent more than the receive window allows.
        WindowExceeded => "receive window exceeded",
    }
}

faults! {
    /// What went wrong with one channel.
    ChannelFault {
        /// The peer or the transport reset it.
        Reset => "reset",
        /// It did not open in time.
        OpenTimeout => "did not open in time",
    }
}
