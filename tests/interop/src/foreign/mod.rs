//! Peers that are no bowline: other people's WebRTC stacks, each in a program of its own that obeys this suite.
//!
//! A [`Stack`] is such a program, a [`ForeignConnection`] one peer connection in it. `protocol.rs` says what they are
//! told; `peers/` has the programs.

mod page;
mod pattern;
mod protocol;
mod stack;
pub(crate) mod wire;

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::Value;
use tokio::sync::mpsc;

pub use pattern::{crc32, numbered};
pub use protocol::{
    Burst, BurstReport, ChannelInit, Event, IceOptions, IceServerOptions, Mode, Received,
};
pub use stack::{Kind, Stack, StartError};

use crate::log::Log;
use protocol::Command;
use stack::Remote;

/// A peer connection in a foreign stack. It lives on there until [`ForeignConnection::close`].
#[derive(Debug)]
pub struct ForeignConnection {
    number: u64,
    remote: Remote,
    /// What happened to it.
    pub log: Log<Event>,
    candidates: Option<mpsc::UnboundedReceiver<String>>,
}

impl ForeignConnection {
    async fn create(remote: Remote, ice: IceOptions) -> Result<Self, String> {
        let (number, log, candidates) = remote.register();
        let candidates = Some(candidates);
        let connection = Self {
            number,
            remote,
            log,
            candidates,
        };
        connection.ask(&Command::Create { ice }).await?;
        Ok(connection)
    }

    /// Opens a channel, and gives its number.
    ///
    /// # Errors
    ///
    /// What the stack says.
    pub async fn open(&self, label: &str, init: ChannelInit) -> Result<u64, String> {
        let label = label.to_owned();
        let done = self.ask(&Command::Channel { label, init }).await?;
        done["channel"]
            .as_u64()
            .ok_or_else(|| format!("no channel in {done}"))
    }

    /// Sends a text message.
    ///
    /// # Errors
    ///
    /// What the stack says.
    pub async fn send_text(&self, channel: u64, text: &str) -> Result<(), String> {
        let text = Some(text.to_owned());
        self.ask(&Command::Send {
            channel,
            text,
            binary: None,
        })
        .await
        .map(drop)
    }

    /// Sends a binary message.
    ///
    /// # Errors
    ///
    /// What the stack says.
    pub async fn send_binary(&self, channel: u64, bytes: &[u8]) -> Result<(), String> {
        let binary = Some(BASE64.encode(bytes));
        self.ask(&Command::Send {
            channel,
            text: None,
            binary,
        })
        .await
        .map(drop)
    }

    /// Sends many messages, [`numbered`], and waits until the last is handed over.
    ///
    /// # Errors
    ///
    /// What the stack says.
    pub async fn burst(&self, channel: u64, burst: Burst) -> Result<BurstReport, String> {
        let done = self.ask(&Command::Burst { channel, burst }).await?;
        serde_json::from_value(done).map_err(|error| error.to_string())
    }

    /// Closes a channel.
    ///
    /// # Errors
    ///
    /// What the stack says.
    pub async fn shut(&self, channel: u64) -> Result<(), String> {
        self.ask(&Command::Shut { channel }).await.map(drop)
    }

    /// Closes the connection.
    ///
    /// # Errors
    ///
    /// What the stack says.
    pub async fn close(&self) -> Result<(), String> {
        self.ask(&Command::Close).await.map(drop)
    }

    /// Waits until the channel with this label is open, and gives its number and mode.
    ///
    /// # Panics
    ///
    /// When it is not within the limit of [`PATIENCE`].
    pub async fn opened(&self, label: &str) -> (u64, Mode) {
        let found = |events: &[Event]| {
            events.iter().find_map(|event| match event {
                Event::Open { channel, mode } if mode.label == label => {
                    Some((*channel, mode.clone()))
                }
                _ => None,
            })
        };
        self.log
            .within(PATIENCE, &format!("open channel {label:?}"), found)
            .await
    }

    /// Waits until the peer tells that this channel is open.
    ///
    /// # Panics
    ///
    /// When it does not within the limit of [`PATIENCE`].
    pub async fn open_is_told(&self, wanted: u64) {
        let is_open =
            |event: &Event| matches!(event, Event::Open { channel, .. } if *channel == wanted);
        let found = |events: &[Event]| events.iter().any(is_open).then_some(());
        self.log
            .within(PATIENCE, &format!("open channel {wanted}"), found)
            .await;
    }

    /// Waits until `count` messages came on a channel, and gives them.
    ///
    /// # Panics
    ///
    /// When they did not come within `limit`.
    pub async fn messages(&self, channel: u64, count: usize, limit: Duration) -> Vec<Received> {
        let what = format!("{count} messages on channel {channel}");
        let found = |events: &[Event]| {
            let received = received_on(events, channel);
            (received.len() >= count).then_some(received)
        };
        self.log.within(limit, &what, found).await
    }

    /// The messages that came on a channel so far.
    #[must_use]
    pub fn received(&self, channel: u64) -> Vec<Received> {
        received_on(&self.log.all(), channel)
    }

    pub(crate) async fn offer(&self) -> Result<String, String> {
        sdp(&self.ask(&Command::Offer { restart: false }).await?)
    }

    /// Another offer, which restarts ICE. Browsers alone look at that.
    pub(crate) async fn offer_restart(&self) -> Result<String, String> {
        sdp(&self.ask(&Command::Offer { restart: true }).await?)
    }

    pub(crate) async fn answer(&self, sdp_of_offer: String) -> Result<String, String> {
        sdp(&self.ask(&Command::Answer { sdp: sdp_of_offer }).await?)
    }

    pub(crate) async fn accept(&self, sdp: String) -> Result<(), String> {
        self.ask(&Command::Accept { sdp }).await.map(drop)
    }

    pub(crate) async fn candidate(&self, candidate: String) -> Result<(), String> {
        self.ask(&Command::Candidate { candidate }).await.map(drop)
    }

    /// The candidates that the peer tells, once.
    pub(crate) fn take_candidates(&mut self) -> Option<mpsc::UnboundedReceiver<String>> {
        self.candidates.take()
    }

    pub(crate) fn handle(&self) -> Self {
        let (number, remote, log) = (self.number, self.remote.clone(), self.log.clone());
        Self {
            number,
            remote,
            log,
            candidates: None,
        }
    }

    async fn ask(&self, command: &Command) -> Result<Value, String> {
        self.remote.ask(self.number, command).await
    }
}

/// How long a foreign peer may take for what is quick.
pub const PATIENCE: Duration = Duration::from_secs(10);

fn sdp(done: &Value) -> Result<String, String> {
    let sdp = done["sdp"]
        .as_str()
        .ok_or_else(|| format!("no sdp in {done}"))?;
    Ok(sdp.to_owned())
}

fn received_on(events: &[Event], wanted: u64) -> Vec<Received> {
    let messages = events.iter().filter_map(|event| match event {
        Event::Message { channel, message } if *channel == wanted => Some(message.clone()),
        _ => None,
    });
    messages.collect()
}
