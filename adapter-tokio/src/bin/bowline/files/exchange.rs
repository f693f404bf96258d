//! All transfers with one peer, and what else it says.

use std::collections::VecDeque;
use std::future::pending;
use std::path::PathBuf;

use bowline::{ChannelId, ChannelKind, Message};
use bowline_tokio::{CloseReport, Connection};
use tracing::debug;

use super::digest::Digest;
use super::message::{Cancellation, Chunk, Failure, FileMessage, Refusal, Side};
use super::name::FileName;
use super::part::Place;
use super::receiving::{Receiving, Turn};
use super::sending::{self, Accept, Sending};
use super::source::Source;

/// The transfers over one connection. It reads everything that comes on the connection, and hands on what is not of
/// files.
pub(crate) struct Exchange {
    connection: Connection,
    sending: Sending,
    receiving: Receiving,
    out: Outbox,
    /// Whether the connection is over, so that nothing can be said or heard any more.
    ended: bool,
}

/// What goes out: to the peer, and to whoever uses the exchange.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// For the channel `control`. While anything is in it nothing is read from the peer, which bounds it.
    messages: VecDeque<Message>,
    pub(crate) events: VecDeque<Event>,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The peer offers a file: to be answered by [`Exchange::accept`] or [`Exchange::stop`].
    Offered {
        transfer: u32,
        name: FileName,
        size: u64,
    },
    /// An offer was refused at once. The name is as it came.
    OfferRefused { name: String, reason: Refusal },
    /// A transfer went on; `side` is ours in it.
    Transfer {
        side: Side,
        transfer: u32,
        step: Step,
    },
    /// A message that is not of files.
    Message(ChannelId, Message),
}

/// A step of a transfer.
#[derive(Debug)]
pub(crate) enum Step {
    /// Data flows, from this offset on.
    Began { offset: u64 },
    /// So much is stored at the receiver.
    Progress { received: u64 },
    /// It is complete, verified and in place. The path where we are the receiver.
    Done {
        digest: Digest,
        path: Option<PathBuf>,
    },
    /// It is over without success.
    Ended(Ending),
}

/// How a transfer ended without success.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The receiver does not want it.
    Refused(Refusal),
    /// The receiver, or we about a side that broke the rules, gave up.
    Failed { reason: Failure, detail: String },
    /// The other side changed its mind.
    Cancelled { by: Side, reason: Cancellation },
    /// Our file cannot be read.
    Source(String),
}

impl Outbox {
    pub(crate) fn say(&mut self, message: &FileMessage) {
        self.messages.push_back(message.to_message());
    }

    pub(crate) fn refuse(&mut self, transfer: u32, reason: Refusal) {
        self.say(&FileMessage::Refuse { transfer, reason });
    }

    pub(crate) fn step(&mut self, side: Side, transfer: u32, step: Step) {
        self.events.push_back(Event::Transfer {
            side,
            transfer,
            step,
        });
    }
}

/// What ended a wait.
enum Ready {
    /// The first message of the outbox is queued, or cannot be any more.
    Said,
    Heard(Option<(ChannelId, Message)>),
    Received(Turn),
    Sent(sending::Report),
}

impl Exchange {
    /// Begins to read `connection`. A file is sent at `limit` bytes in each second at most.
    pub(crate) fn new(connection: Connection, limit: Option<u64>) -> Self {
        Self {
            connection,
            sending: Sending::new(limit),
            receiving: Receiving::new(),
            out: Outbox::default(),
            ended: false,
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether a file is under way, or we offer one.
    pub(crate) fn is_busy(&self) -> bool {
        self.sending.is_busy() || self.receiving.is_busy()
    }

    /// Offers a file, and gives the number of the transfer.
    ///
    /// # Errors
    ///
    /// The file, when too many are offered or under way.
    pub(crate) fn offer(&mut self, source: Source) -> Result<u32, Source> {
        self.sending.offer(source, &mut self.out)
    }

    /// Accepts an offer, at the place that `place` makes of its name. Nothing happens when it is no longer there.
    pub(crate) fn accept(&mut self, transfer: u32, place: impl FnOnce(FileName) -> Place) {
        self.receiving.accept(transfer, place);
    }

    /// Refuses an offer, or stops a transfer in which we are `side`. Nothing happens when there is none.
    pub(crate) fn stop(&mut self, side: Side, transfer: u32) {
        let out = &mut self.out;
        match side {
            Side::Sender => self.sending.stop(transfer, Cancellation::Cancelled, out),
            Side::Receiver => self.receiving.stop(transfer, Refusal::Declined, out),
        }
    }

    /// The next event. `None` once the connection has ended, and every file that came whole is in place. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.out.events.pop_front() {
                return Some(event);
            }
            if self.ended && !self.receiving.is_finishing() {
                return None;
            }
            match self.wait().await {
                Ready::Said => drop(self.out.messages.pop_front()),
                Ready::Heard(Some((channel, message))) => self.on_message(channel, message),
                Ready::Heard(None) => self.ended = true,
                Ready::Received(turn) => self.receiving.handle(turn, &mut self.out),
                Ready::Sent(report) => self.sending.handle(report, &mut self.out),
            }
        }
    }

    /// Says what is still to be said and closes the connection gracefully. What was received of files that are not
    /// complete is in their parts afterwards.
    pub(crate) async fn close(mut self) -> CloseReport {
        for message in std::mem::take(&mut self.out.messages) {
            // It fails when the connection has ended, which the report tells, and when the peer does not listen.
            let _ = self.connection.try_send(ChannelKind::Control, message);
        }
        drop(self.sending);
        let report = self.connection.close().await;
        self.receiving.end().await;
        report
    }

    /// Leaves the connection, which closes in the background. What was received is in the parts afterwards.
    pub(crate) async fn abandon(self) {
        drop((self.sending, self.connection));
        self.receiving.end().await;
    }

    async fn wait(&mut self) -> Ready {
        let connection = &self.connection;
        let next = self.out.messages.front().filter(|_| !self.ended);
        let listens = !self.ended && next.is_none() && !self.receiving.is_stuck();
        let say = async {
            match next {
                Some(message) => connection.send(ChannelKind::Control, message.clone()).await,
                None => pending().await,
            }
        };
        let hear = async {
            if listens {
                connection.recv().await
            } else {
                pending().await
            }
        };
        tokio::select! {
            _ = say => Ready::Said,
            heard = hear => Ready::Heard(heard),
            turn = self.receiving.wait() => Ready::Received(turn),
            report = self.sending.wait() => Ready::Sent(report),
        }
    }

    fn on_message(&mut self, channel: ChannelId, message: Message) {
        if channel == ChannelKind::Control.id() {
            match message.as_text().and_then(FileMessage::parse) {
                Some(message) => self.on_text(message),
                None => debug!("something else came on the channel control"),
            }
        } else if channel == ChannelKind::File.id() {
            self.on_file(&message);
        } else {
            self.out.events.push_back(Event::Message(channel, message));
        }
    }

    fn on_file(&mut self, message: &Message) {
        if message.text {
            match message.as_text().and_then(FileMessage::parse) {
                Some(FileMessage::End { transfer, sha256 }) => {
                    self.receiving.on_end(transfer, sha256, &mut self.out);
                }
                _ => debug!("a text on the channel file is no end of a file"),
            }
        } else {
            match Chunk::parse(&message.data) {
                Some(chunk) => self.receiving.on_chunk(chunk, &mut self.out),
                None => debug!("a message on the channel file is no chunk"),
            }
        }
    }

    fn on_text(&mut self, message: FileMessage) {
        let (sending, receiving, out) = (&mut self.sending, &mut self.receiving, &mut self.out);
        match message {
            FileMessage::Offer {
                transfer,
                name,
                size,
            } => receiving.on_offer(transfer, &name, size, out),
            FileMessage::Accept {
                transfer,
                offset,
                sha256,
                window,
            } => {
                let accept = Accept::new(transfer, offset, sha256, window);
                sending.on_accept(&self.connection, accept, out);
            }
            FileMessage::Refuse { transfer, reason } => sending.on_refuse(transfer, reason, out),
            FileMessage::Progress { transfer, received } => {
                sending.on_progress(transfer, received, out);
            }
            FileMessage::Done { transfer } => sending.on_done(transfer, out),
            FileMessage::Failed { transfer, reason } => sending.on_failed(transfer, reason, out),
            FileMessage::Cancel {
                transfer,
                by: Side::Sender,
                reason,
            } => receiving.on_cancel(transfer, reason, out),
            FileMessage::Cancel {
                transfer,
                by: Side::Receiver,
                reason,
            } => sending.on_cancel(transfer, reason, out),
            FileMessage::End { .. } => debug!("the end of a file came on the wrong channel"),
        }
    }
}
