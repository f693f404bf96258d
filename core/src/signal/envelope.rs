//! The signalling message and its JSON form, version 1.
//!
//! One message is one JSON object (RFC 8259) in UTF-8. The signalling link carries it as opaque text: one WebSocket
//! text message, one line, one record of a queue. Fields may stand in any order.
//!
//! # The header
//!
//! Every message has these fields:
//!
//! | field | type | meaning |
//! | --- | --- | --- |
//! | `v` | number | The version of this format: 1. Another one is refused without looking further. |
//! | `from` | string | The sender: 1 to 64 characters of `A-Z a-z 0-9 . _ -`. |
//! | `to` | string | The receiver, likewise. A link routes by this field alone. |
//! | `session` | string | 32 lower-case hexadecimal digits: 128 random bits, drawn by whoever makes the first offer. |
//! | `generation` | number | 0 for the first offer of a session and what belongs to it, one more for each ICE restart. Below 2^32. |
//! | `seq` | number | The number of the message among those of this sender in this session: 1, 2, 3 ... up to 2^53 − 1. 0 means unnumbered: neither acknowledged nor deduplicated. An `ack` is always unnumbered, a `bye` may be. |
//! | `type` | string | What the message is; see below. |
//!
//! One more is optional here, and must be in what is signed: `time`, when this copy was sent by the sender's clock, in
//! milliseconds since 1970-01-01 UTC. It tells which of two messages of one sender is the later one where no number does:
//! the first offer of another session, and the denial of a session.
//!
//! `rollover`, optional in a first offer and in a `bye`, is the statement of two keys that one takes the place of the other
//! ([`Rollover`]): in an offer that of the sender takes the place of an older one, in a `bye` a newer one takes that of the sender.
//!
//! A numbered message is sent again, unchanged but for its `time`, until an `ack` with its number comes. The receiver
//! acknowledges every copy and acts on the first.
//!
//! # The types
//!
//! **`offer`** starts a session (generation 0) or restarts ICE in one (higher generations). `sdp` is the description
//! (RFC 9429). `replaces`, if present, names the last sessions with the same peer that the sender has left, whoever
//! started them, at most 8, the latest last: what still comes of them is stale. `bowline`, if present, says that the sender is a bowline
//! peer, with the highest `version` of the bowline channel protocol that it speaks and the largest message that it
//! accepts, in bytes; browsers leave it out. `channels`, if present, names the channels that the sender has with this peer, from
//! earlier transports, and would go on with in this session.
//!
//! ```json
//! {"v":1,"from":"alice","to":"bob","session":"00112233445566778899aabbccddeeff","generation":0,"seq":1,
//!  "type":"offer","sdp":"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n","bowline":{"version":1,"max_message_size":262144}}
//! ```
//!
//! **`answer`** answers the offer of the same session and generation. It has the same fields. `channels` is that of the
//! offer if the sender has these channels still; otherwise they begin anew, under the name that the answer gives, 128 random bits. So a
//! process that has answered an old offer does not have those that an earlier process of its peer id had. A peer that gave up its
//! own offer for the one that it answers (glare) must name the session of its own in `replaces`.
//!
//! ```json
//! {"v":1,"from":"bob","to":"alice","session":"00112233445566778899aabbccddeeff","generation":0,"seq":1,
//!  "type":"answer","sdp":"v=0\r\no=- 3 4 IN IP4 127.0.0.1\r\n","replaces":["ffeeddccbbaa99887766554433221100"]}
//! ```
//!
//! **`ice-candidate`** carries one trickled candidate (RFC 8838). `candidate` is the attribute without `a=`
//! (RFC 8839 §5.1), at most 2,048 bytes, as `RTCIceCandidate.candidate` gives it; it belongs to the bundled first
//! media section (`sdpMLineIndex` 0). `ufrag` is the username fragment of the description that it belongs to, 1 to 256 bytes, as
//! `RTCIceCandidate.usernameFragment` gives it. It may arrive before that description. An empty `candidate` means
//! what `end-of-candidates` means, as in browsers.
//!
//! ```json
//! {"v":1,"from":"alice","to":"bob","session":"00112233445566778899aabbccddeeff","generation":0,"seq":2,
//!  "type":"ice-candidate","candidate":"candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host","ufrag":"abcd"}
//! ```
//!
//! **`end-of-candidates`** says that no more candidates follow in this generation (RFC 8838 §13). Those with a lower
//! `seq` may still be under way.
//!
//! ```json
//! {"v":1,"from":"alice","to":"bob","session":"00112233445566778899aabbccddeeff","generation":0,"seq":3,
//!  "type":"end-of-candidates","ufrag":"abcd"}
//! ```
//!
//! **`ice-restart`** asks the receiver to offer an ICE restart. `generation` is the current one, so that a request
//! that was served already is recognised. The peer whose name is the lower one, byte by byte, makes the restart
//! offers; the other asks.
//!
//! ```json
//! {"v":1,"from":"bob","to":"alice","session":"00112233445566778899aabbccddeeff","generation":0,"seq":2,
//!  "type":"ice-restart"}
//! ```
//!
//! **`bye`** ends the session. `reason` is `closed` (the application closed it), `refused` (it did not want the
//! offer), `busy` (a limit is reached), `unknown-session` (the sender has no such session: it restarted, or has left
//! it) or `failed` (the negotiation or the transport failed for good).
//!
//! ```json
//! {"v":1,"from":"bob","to":"alice","session":"00112233445566778899aabbccddeeff","generation":0,"seq":0,
//!  "type":"bye","reason":"unknown-session"}
//! ```
//!
//! **`ack`** acknowledges the message of the same session that has the number `ack`.
//!
//! ```json
//! {"v":1,"from":"bob","to":"alice","session":"00112233445566778899aabbccddeeff","generation":0,"seq":0,
//!  "type":"ack","ack":7}
//! ```
//!
//! # Leniency and growth
//!
//! Fields that are not named here are ignored, so that version 1 can grow; a field that is named has the type given
//! here in every message in which it appears. Duplicate fields, missing fields, an unknown `type` or `reason`, or a
//! number out of range make a message malformed. Control characters are escaped, as JSON demands.
//!
//! This is the plain form: nobody has signed it, and whoever runs the link can write anything. What is signed, or sealed,
//! stands in a wrapper around the whole object ([`seal`](super::seal)).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::rollover::Rollover;
use crate::event::{SignalKind, SignalRefusal};
use crate::id::{ChannelsId, Generation, PeerId, SessionId};
use crate::time::UnixTime;

/// One signalling message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The sender, as the message claims.
    pub(crate) from: PeerId,
    /// The receiver.
    pub(crate) to: PeerId,
    /// The session that the message is about.
    pub(crate) session: SessionId,
    /// The ICE generation that the message is about.
    pub(crate) generation: Generation,
    /// The number within session and direction, from 1; 0 when unnumbered.
    pub(crate) seq: u64,
    /// When this copy was sent, by the sender's clock. None of one that is to be sent, or whose sender does not say.
    pub(crate) sent_at: Option<UnixTime>,
    /// What the sender says of its key. None of one that is to be sent.
    pub(crate) rollover: Option<Box<Rollover>>,
    /// What it says.
    pub(crate) body: Body,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// A description that starts or restarts a session.
    Offer {
        /// The description.
        sdp: String,
        /// The last sessions with the same peer that the sender has left, the latest last. At most [`MAX_REPLACES`].
        replaces: Vec<SessionId>,
        /// The channels that the sender has, and would go on with in this session.
        channels: Option<ChannelsId>,
        /// What the sender can do, if it is a bowline peer.
        bowline: Option<Capabilities>,
    },
    /// The description that answers an offer.
    Answer {
        /// The description.
        sdp: String,
        /// The last sessions with the same peer that the sender has left, the latest last. At most [`MAX_REPLACES`].
        replaces: Vec<SessionId>,
        /// The channels from now on: those of the offer, if the sender has them too, or new ones.
        channels: Option<ChannelsId>,
        /// What the sender can do, if it is a bowline peer.
        bowline: Option<Capabilities>,
    },
    /// One candidate.
    Candidate {
        /// The attribute, without `a=`. Never empty.
        candidate: String,
        /// The username fragment of the description that it belongs to.
        ufrag: String,
    },
    /// No more candidates follow in this generation.
    EndOfCandidates {
        /// The username fragment of the description that it belongs to.
        ufrag: String,
    },
    /// The receiver is asked to restart ICE.
    IceRestart,
    /// The session is over.
    Bye {
        /// Why.
        reason: ByeReason,
    },
    /// A message arrived.
    Ack {
        /// Its number.
        ack: u64,
    },
}

/// What a bowline peer says of itself beside its description. Unknown fields are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capabilities {
    /// The highest version of the bowline channel protocol that the sender speaks.
    pub(crate) version: u32,
    /// The largest message that the sender accepts, in bytes.
    pub(crate) max_message_size: u64,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ByeReason {
    /// The application closed it.
    Closed,
    /// The application, or its silence, refused the offer.
    Refused,
    /// A limit is reached.
    Busy,
    /// The sender has no such session.
    UnknownSession,
    /// The negotiation or the transport failed for good.
    Failed,
}

impl Envelope {
    /// The JSON form.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn encode(&self) -> String {
        Wire::from(self).encode()
    }

    /// The JSON form that is sent at `now`, with what the sender says of its key.
    pub(crate) fn encode_at(&self, now: UnixTime, rollover: Option<&Rollover>) -> String {
        let sent = Wire {
            time: Some(now.as_millis()),
            rollover: rollover.map(Cow::Borrowed),
            ..Wire::from(self)
        };
        sent.encode()
    }

    /// Reads the JSON form, whose length is checked before anything else.
    ///
    /// # Errors
    ///
    /// [`SignalRefusal::TooLarge`], [`SignalRefusal::Version`] or [`SignalRefusal::Malformed`], with the sender that
    /// the text claims where that can be read.
    pub(crate) fn decode(text: &str, max: usize) -> Result<Self, (SignalRefusal, Option<PeerId>)> {
        if text.len() > max {
            return Err((SignalRefusal::TooLarge, None));
        }
        if let Some(wire) = object::<Wire<'_>>(text)
            && wire.v == VERSION
        {
            let from = wire.from;
            return Self::from_wire(wire).ok_or((SignalRefusal::Malformed, Some(from)));
        }
        let (version, from) = version_and_sender(text);
        let refusal = match version {
            Some(VERSION) | None => SignalRefusal::Malformed,
            Some(_) => SignalRefusal::Version,
        };
        Err((refusal, from))
    }

    /// Checks that the message is addressed to `us` and not our own.
    ///
    /// # Errors
    ///
    /// [`SignalRefusal::Reflected`] or [`SignalRefusal::Misaddressed`].
    pub(crate) fn check_addressed(&self, us: PeerId) -> Result<(), SignalRefusal> {
        check_addressed(us, self.from, self.to)
    }

    /// The acknowledgement of this message; `None` when it is unnumbered.
    pub(crate) fn ack(&self) -> Option<Self> {
        (self.seq != 0).then_some(Self {
            from: self.to,
            to: self.from,
            session: self.session,
            generation: self.generation,
            seq: 0,
            sent_at: None,
            rollover: None,
            body: Body::Ack { ack: self.seq },
        })
    }

    /// The end of the session of this message, in the first message from us in it.
    pub(crate) fn bye(&self, reason: ByeReason) -> Self {
        Self {
            from: self.to,
            to: self.from,
            session: self.session,
            generation: self.generation,
            seq: 1,
            sent_at: None,
            rollover: None,
            body: Body::Bye { reason },
        }
    }

    /// The kind of the message.
    pub(crate) fn kind(&self) -> SignalKind {
        match &self.body {
            Body::Offer { .. } => SignalKind::Offer,
            Body::Answer { .. } => SignalKind::Answer,
            Body::Candidate { .. } => SignalKind::Candidate,
            Body::EndOfCandidates { .. } => SignalKind::EndOfCandidates,
            Body::IceRestart => SignalKind::IceRestart,
            Body::Bye { .. } => SignalKind::Bye,
            Body::Ack { .. } => SignalKind::Ack,
        }
    }

    fn from_wire(mut wire: Wire<'_>) -> Option<Self> {
        let numbered = (1..=MAX_NUMBER).contains(&wire.seq);
        let unnumbered = wire.seq == 0;
        let fits = match wire.kind {
            Type::Ack => unnumbered,
            Type::Bye => unnumbered || numbered,
            Type::Offer
            | Type::Answer
            | Type::IceCandidate
            | Type::EndOfCandidates
            | Type::IceRestart => numbered,
        };
        let rollover = wire.rollover.take().map(Cow::into_owned);
        let is_of_sender = rollover.as_ref().is_none_or(|rollover| match wire.kind {
            Type::Offer => rollover.new_id() == wire.from,
            Type::Bye => rollover.old_id() == wire.from,
            Type::Answer
            | Type::IceCandidate
            | Type::EndOfCandidates
            | Type::IceRestart
            | Type::Ack => false,
        });
        (fits && is_of_sender).then_some(Self {
            from: wire.from,
            to: wire.to,
            session: wire.session,
            generation: wire.generation,
            seq: wire.seq,
            sent_at: wire.time.map(UnixTime::from_millis),
            rollover: rollover.map(Box::new),
            body: Body::from_wire(wire)?,
        })
    }
}

impl Body {
    fn from_wire(wire: Wire<'_>) -> Option<Self> {
        let Wire {
            sdp,
            replaces,
            channels,
            bowline,
            candidate,
            ufrag,
            reason,
            ack,
            ..
        } = wire;
        let replaces = replaces.into_owned();
        if replaces.len() > MAX_REPLACES {
            return None;
        }
        Some(match wire.kind {
            Type::Offer => Self::Offer {
                sdp: sdp?.into_owned(),
                replaces,
                channels,
                bowline,
            },
            Type::Answer => Self::Answer {
                sdp: sdp?.into_owned(),
                replaces,
                channels,
                bowline,
            },
            Type::IceCandidate => Self::candidate(candidate?.into_owned(), ufrag?.into_owned())?,
            Type::EndOfCandidates => Self::candidate(String::new(), ufrag?.into_owned())?,
            Type::IceRestart => Self::IceRestart,
            Type::Bye => Self::Bye { reason: reason? },
            Type::Ack => Self::Ack {
                ack: ack.filter(|ack| (1..=MAX_NUMBER).contains(ack))?,
            },
        })
    }

    /// A candidate of bounded size, or the end of candidates that an empty one means.
    fn candidate(candidate: String, ufrag: String) -> Option<Self> {
        let fits = candidate.len() <= MAX_CANDIDATE && (1..=MAX_UFRAG).contains(&ufrag.len());
        let body = if candidate.is_empty() {
            Self::EndOfCandidates { ufrag }
        } else {
            Self::Candidate { candidate, ufrag }
        };
        fits.then_some(body)
    }
}

/// Shows the header and the kind only: descriptions and candidates hold credentials and addresses.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            session,
            generation,
            seq,
            body,
            ..
        } = self;
        write!(
            f,
            "Envelope({from} -> {to}, {session}/{generation} #{seq}, {body:?})"
        )
    }
}

/// Shows the kind, and of the contents only what is no secret.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer { sdp, .. } => write!(f, "offer of {} bytes", sdp.len()),
            Self::Answer { sdp, .. } => write!(f, "answer of {} bytes", sdp.len()),
            Self::Candidate { .. } => f.write_str("ice-candidate"),
            Self::EndOfCandidates { .. } => f.write_str("end-of-candidates"),
            Self::IceRestart => f.write_str("ice-restart"),
            Self::Bye { reason } => write!(f, "bye {reason:?}"),
            Self::Ack { ack } => write!(f, "ack {ack}"),
        }
    }
}

/// The JSON object: one flat struct, so that depth and work are bounded by the length of the text.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    v: u64,
    from: PeerId,
    to: PeerId,
    session: SessionId,
    generation: Generation,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollover: Option<Cow<'a, Rollover>>,
    #[serde(rename = "type")]
    kind: Type,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdp: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    replaces: Cow<'a, [SessionId]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<ChannelsId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bowline: Option<Capabilities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ufrag: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ByeReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<u64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Type {
    Offer,
    Answer,
    IceCandidate,
    EndOfCandidates,
    IceRestart,
    Bye,
    Ack,
}

impl Wire<'_> {
    fn encode(&self) -> String {
        serde_json::to_string(self)
            .expect("a flat struct of strings and numbers always has a JSON form")
    }
}

impl<'a> From<&'a Envelope> for Wire<'a> {
    fn from(envelope: &'a Envelope) -> Self {
        let empty = Self {
            v: VERSION,
            from: envelope.from,
            to: envelope.to,
            session: envelope.session,
            generation: envelope.generation,
            seq: envelope.seq,
            time: envelope.sent_at.map(UnixTime::as_millis),
            rollover: envelope.rollover.as_deref().map(Cow::Borrowed),
            kind: Type::IceRestart,
            sdp: None,
            replaces: Cow::default(),
            channels: None,
            bowline: None,
            candidate: None,
            ufrag: None,
            reason: None,
            ack: None,
        };
        match &envelope.body {
            Body::Offer {
                sdp,
                replaces,
                channels,
                bowline,
            } => Self {
                kind: Type::Offer,
                sdp: Some(sdp.into()),
                replaces: replaces.into(),
                channels: *channels,
                bowline: *bowline,
                ..empty
            },
            Body::Answer {
                sdp,
                replaces,
                channels,
                bowline,
            } => Self {
                kind: Type::Answer,
                sdp: Some(sdp.into()),
                replaces: replaces.into(),
                channels: *channels,
                bowline: *bowline,
                ..empty
            },
            Body::Candidate { candidate, ufrag } => Self {
                kind: Type::IceCandidate,
                candidate: Some(candidate.into()),
                ufrag: Some(ufrag.into()),
                ..empty
            },
            Body::EndOfCandidates { ufrag } => Self {
                kind: Type::EndOfCandidates,
                ufrag: Some(ufrag.into()),
                ..empty
            },
            Body::IceRestart => empty,
            Body::Bye { reason } => Self {
                kind: Type::Bye,
                reason: Some(*reason),
                ..empty
            },
            Body::Ack { ack } => Self {
                kind: Type::Ack,
                ack: Some(*ack),
                ..empty
            },
        }
    }
}

/// Checks that something goes to `us`, and comes from somebody else.
pub(super) fn check_addressed(us: PeerId, from: PeerId, to: PeerId) -> Result<(), SignalRefusal> {
    if from == us {
        Err(SignalRefusal::Reflected)
    } else if to != us {
        Err(SignalRefusal::Misaddressed)
    } else {
        Ok(())
    }
}

/// Of which version a text that is no message claims to be, and whose. Reads one field at a time, so that a message of
/// another version, whatever else it holds, is told from garbage.
pub(super) fn version_and_sender(text: &str) -> (Option<u64>, Option<PeerId>) {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    #[derive(Deserialize)]
    struct Sender {
        from: PeerId,
    }
    let version = object(text).map(|Version { v }| v);
    let sender = object(text).map(|Sender { from }| from);
    (version, sender)
}

/// Reads a JSON object. An array of its members in the right order, which serde would take as well, is none.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let is_object = text.trim_ascii_start().starts_with('{');
    serde_json::from_str(text).ok().filter(|_| is_object)
}

/// The version of the format.
pub(super) const VERSION: u64 = 1;

/// How many replaced sessions a description names at most.
pub(crate) const MAX_REPLACES: usize = 8;

/// The highest `seq`: the largest whole number that every JSON implementation keeps exactly (RFC 8259 §6).
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The longest candidate, in bytes: three host names of 255 and a dozen extensions fit.
const MAX_CANDIDATE: usize = 2_048;

/// The longest username fragment, in bytes (RFC 8839 §5.4).
const MAX_UFRAG: usize = 256;

#[cfg(test)]
mod tests;
