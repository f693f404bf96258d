//! One life of a peer at one host: from its initialisation to its terminal event.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;

use bowline::{ChannelId, Generation, Message, PeerState, SessionId};

use crate::findings::{Findings, Invariant};
use crate::hash::RollingHash;

use super::flow::{Flow, Mode, hash_message};
use super::is_documented;

/// What one application did with one peer, and was told about it.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) state: PeerState,
    pub(crate) session: Option<SessionId>,
    /// Those before: transports that were built anew.
    pub(crate) past: Vec<SessionId>,
    /// What was sent, by channel.
    pub(crate) flows: BTreeMap<ChannelId, Flow>,
    /// What came, by channel.
    pub(crate) inbox: BTreeMap<ChannelId, Digest>,
    pub(crate) labels: BTreeMap<ChannelId, String>,
    /// The modes of the channels that were opened.
    pub(crate) modes: BTreeMap<ChannelId, Mode>,
    /// The generations of descriptions that were agreed on.
    pub(crate) agreed: BTreeSet<(SessionId, Generation)>,
    /// Whether the application has closed it.
    pub(crate) closing: bool,
    pub(crate) crashed: bool,
    /// Whether this side called `connect`.
    pub(crate) called: bool,
    /// Whether both sides called `connect` before either knew of the other's call.
    pub(crate) glare: bool,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            state: PeerState::New,
            session: None,
            past: Vec::new(),
            flows: BTreeMap::new(),
            inbox: BTreeMap::new(),
            labels: BTreeMap::new(),
            modes: BTreeMap::new(),
            agreed: BTreeSet::new(),
            closing: false,
            crashed: false,
            called: false,
            glare: false,
        }
    }
}

impl Life {
    /// Whether nothing more may be told about it.
    pub(crate) fn is_over(&self) -> bool {
        self.crashed || self.state.is_terminal()
    }

    pub(crate) fn channel_labelled(&self, label: &str) -> Option<ChannelId> {
        self.labels
            .iter()
            .find(|(_, known)| *known == label)
            .map(|(channel, _)| *channel)
    }

    /// Lets `on` act on the flow of `channel`. To be told of a channel on which nothing was sent is a violation.
    pub(crate) fn flow(
        &mut self,
        channel: ChannelId,
        on: impl FnOnce(&mut Flow, &mut Findings),
        findings: &mut Findings,
    ) {
        match self.flows.get_mut(&channel) {
            Some(flow) => on(flow, findings),
            None => findings.check(Invariant::ExactlyOnceOrTold, false, || {
                format!("told of messages on channel {channel}, where none was sent")
            }),
        }
    }

    pub(crate) fn on_state(
        &mut self,
        from: PeerState,
        to: PeerState,
        at: impl Fn(&str) -> String,
        findings: &mut Findings,
    ) {
        let continues = from == self.state;
        findings.check(Invariant::StateMachine, continues, || {
            at("the state before is another")
        });
        findings.check(Invariant::StateMachine, is_documented(from, to), || {
            at("undocumented")
        });
        self.state = to;
        if to == PeerState::Connected {
            findings.check(Invariant::Authentication, self.session.is_some(), || {
                at("connected before any negotiation")
            });
        }
        if to.is_terminal() {
            for (channel, flow) in &self.flows {
                flow.check_settled(|what| format!("channel {channel}: {}", at(what)), findings);
            }
        }
    }
}

/// What came on one channel: how much, and a hash of all of it in its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
    /// The hash.
    pub hash: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, message: &Message) {
        self.messages += 1;
        self.bytes += message.len() as u64;
        let mut hash = RollingHash::new();
        hash.write_u64(self.hash);
        hash.write_u64(hash_message(message));
        self.hash = hash.finish();
    }
}
