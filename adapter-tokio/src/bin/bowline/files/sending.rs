//! The files that we send to one peer.
//!
//! Each that the peer accepted has a thread that reads and hashes, and a task that hands the chunks to the channel as
//! far as the receiver's window goes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bowline::{ChannelKind, Message};
use bowline_tokio::Connection;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::digest::Digest;
use super::exchange::{Ending, Outbox, Step};
use super::message::{Cancellation, Chunk, Failure, FileMessage, Refusal, Side};
use super::source::{Block, Resume, Source};

/// What goes to one peer.
pub(crate) struct Sending {
    transfers: BTreeMap<u32, Outgoing>,
    next: u32,
    /// The most bytes of one file in each second.
    limit: Option<u64>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
}

/// A file that goes.
///
/// ```text
/// Offered --> Streaming --> (removed)
/// ```
enum Outgoing {
    /// The peer is to decide.
    Offered(Source),
    /// Chunks go, or the receiver finishes.
    Streaming {
        _task: Task,
        /// What the receiver has stored.
        received: watch::Sender<u64>,
        /// The digest of the file, once it has been sent.
        digest: Arc<OnceLock<Digest>>,
    },
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a task tells.
pub(crate) struct Report {
    transfer: u32,
    news: News,
}

enum News {
    Began { offset: u64 },
    Failed { detail: String },
}

impl Sending {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS);
        Self {
            transfers: BTreeMap::new(),
            next: 1,
            limit,
            reports,
            reporter,
        }
    }

    /// Whether anything is offered or under way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.transfers.is_empty()
    }

    /// Offers a file, and gives the number of the transfer.
    ///
    /// # Errors
    ///
    /// The file, when [`MAX_TRANSFERS`] are offered or under way.
    pub(crate) fn offer(&mut self, source: Source, out: &mut Outbox) -> Result<u32, Source> {
        if self.transfers.len() >= MAX_TRANSFERS {
            return Err(source);
        }
        let transfer = self.next;
        self.next = self.next.wrapping_add(1);
        out.say(&FileMessage::Offer {
            transfer,
            name: source.name().as_str().to_owned(),
            size: source.size(),
        });
        self.transfers.insert(transfer, Outgoing::Offered(source));
        Ok(transfer)
    }

    /// Stops a transfer. Nothing happens when there is none.
    pub(crate) fn stop(&mut self, transfer: u32, reason: Cancellation, out: &mut Outbox) {
        if self.transfers.remove(&transfer).is_some() {
            let by = Side::Sender;
            out.say(&FileMessage::Cancel {
                transfer,
                by,
                reason,
            });
        }
    }

    pub(crate) fn on_accept(&mut self, connection: &Connection, accept: Accept, out: &mut Outbox) {
        let transfer = accept.resume.transfer;
        match self.transfers.remove(&transfer) {
            Some(Outgoing::Offered(_)) if accept.window == 0 => {
                self.misbehaved(transfer, "the receiver's window is empty", out);
            }
            Some(Outgoing::Offered(source)) => {
                let outgoing = self.stream(connection.clone(), source, accept);
                self.transfers.insert(transfer, outgoing);
            }
            // It repeats itself, which changes nothing.
            Some(streaming @ Outgoing::Streaming { .. }) => {
                self.transfers.insert(transfer, streaming);
            }
            None => {}
        }
    }

    pub(crate) fn on_refuse(&mut self, transfer: u32, reason: Refusal, out: &mut Outbox) {
        if self.transfers.remove(&transfer).is_some() {
            out.step(Side::Sender, transfer, Step::Ended(Ending::Refused(reason)));
        }
    }

    pub(crate) fn on_progress(&mut self, transfer: u32, stored: u64, out: &mut Outbox) {
        if let Some(Outgoing::Streaming { received, .. }) = self.transfers.get(&transfer) {
            received.send_replace(stored);
            out.step(Side::Sender, transfer, Step::Progress { received: stored });
        }
    }

    pub(crate) fn on_done(&mut self, transfer: u32, out: &mut Outbox) {
        let digest = match self.transfers.get(&transfer) {
            Some(Outgoing::Streaming { digest, .. }) => digest.get().copied(),
            Some(Outgoing::Offered(_)) => None,
            None => return,
        };
        match digest {
            Some(digest) => {
                self.transfers.remove(&transfer);
                let path = None;
                out.step(Side::Sender, transfer, Step::Done { digest, path });
            }
            None => self.misbehaved(transfer, "the receiver is done before the file is", out),
        }
    }

    pub(crate) fn on_failed(&mut self, transfer: u32, reason: Failure, out: &mut Outbox) {
        if self.transfers.remove(&transfer).is_some() {
            let detail = "at the receiver".to_owned();
            out.step(
                Side::Sender,
                transfer,
                Step::Ended(Ending::Failed { reason, detail }),
            );
        }
    }

    pub(crate) fn on_cancel(&mut self, transfer: u32, reason: Cancellation, out: &mut Outbox) {
        if self.transfers.remove(&transfer).is_some() {
            let by = Side::Receiver;
            out.step(
                Side::Sender,
                transfer,
                Step::Ended(Ending::Cancelled { by, reason }),
            );
        }
    }

    /// Waits for news of a task. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> Report {
        self.reports.recv().await.expect("this side has a sender")
    }

    /// Does what [`Sending::wait`] gave.
    pub(crate) fn handle(&mut self, report: Report, out: &mut Outbox) {
        let transfer = report.transfer;
        if !self.transfers.contains_key(&transfer) {
            return;
        }
        match report.news {
            News::Began { offset } => out.step(Side::Sender, transfer, Step::Began { offset }),
            News::Failed { detail } => {
                self.stop(transfer, Cancellation::Source, out);
                out.step(Side::Sender, transfer, Step::Ended(Ending::Source(detail)));
            }
        }
    }

    fn misbehaved(&mut self, transfer: u32, detail: &str, out: &mut Outbox) {
        self.transfers.remove(&transfer);
        let (by, reason) = (Side::Sender, Cancellation::Cancelled);
        out.say(&FileMessage::Cancel {
            transfer,
            by,
            reason,
        });
        let (reason, detail) = (Failure::Protocol, detail.to_owned());
        out.step(
            Side::Sender,
            transfer,
            Step::Ended(Ending::Failed { reason, detail }),
        );
    }

    fn stream(&self, connection: Connection, source: Source, accept: Accept) -> Outgoing {
        let (received, watched) = watch::channel(0);
        let digest = Arc::new(OnceLock::new());
        let stream = Stream {
            connection,
            transfer: accept.resume.transfer,
            window: accept.window,
            received: watched,
            digest: Arc::clone(&digest),
            limit: self.limit,
            reporter: self.reporter.clone(),
        };
        let (blocks, reading) = mpsc::channel(READ_AHEAD);
        let resume = accept.resume;
        tokio::task::spawn_blocking(move || source.read(resume, &blocks));
        Outgoing::Streaming {
            _task: Task(tokio::spawn(stream.run(reading))),
            received,
            digest,
        }
    }
}

/// What a receiver said to an offer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accept {
    resume: Resume,
    window: u64,
}

impl Accept {
    pub(crate) fn new(transfer: u32, offset: u64, prefix: Digest, window: u64) -> Self {
        let chunk = usize::try_from(window).map_or(CHUNK, |window| CHUNK.min(window));
        let resume = Resume {
            transfer,
            offset,
            prefix,
            chunk,
        };
        Self { resume, window }
    }
}

/// One file on its way.
struct Stream {
    connection: Connection,
    transfer: u32,
    window: u64,
    received: watch::Receiver<u64>,
    digest: Arc<OnceLock<Digest>>,
    limit: Option<u64>,
    reporter: mpsc::Sender<Report>,
}

impl Stream {
    /// Sends what is read. When the connection or the transfer ends first, whoever ended it knows.
    async fn run(mut self, mut blocks: mpsc::Receiver<Block>) {
        let (mut start, mut began) = (0, Instant::now());
        while let Some(block) = blocks.recv().await {
            let sent = match block {
                Block::Begin { offset } => {
                    (start, began) = (offset, Instant::now());
                    self.report(News::Began { offset }).await
                }
                Block::Chunk { through, message } => {
                    self.pace(through - start, began).await;
                    self.send_within_window(start, through, message).await
                }
                Block::End(digest) => {
                    // First noted, then sent: the answer finds it.
                    let _ = self.digest.set(digest);
                    let (transfer, sha256) = (self.transfer, digest);
                    let end = FileMessage::End { transfer, sha256 };
                    self.send(end.to_message()).await
                }
                Block::Failed(detail) => self.report(News::Failed { detail }).await,
            };
            if sent.is_none() {
                return;
            }
        }
    }

    async fn send_within_window(
        &mut self,
        start: u64,
        through: u64,
        message: bytes::Bytes,
    ) -> Option<()> {
        let window = self.window;
        let has_room = |received: &u64| through <= start.max(*received).saturating_add(window);
        self.received.wait_for(has_room).await.ok()?;
        self.send(Message::binary(message)).await
    }

    async fn send(&self, message: Message) -> Option<()> {
        let sent = self.connection.send(ChannelKind::File, message).await;
        sent.ok().map(|_| ())
    }

    async fn report(&self, news: News) -> Option<()> {
        let transfer = self.transfer;
        self.reporter.send(Report { transfer, news }).await.ok()
    }

    /// Waits until so many bytes may have been sent.
    async fn pace(&self, sent: u64, began: Instant) {
        if let Some(limit) = self.limit {
            #[allow(clippy::cast_precision_loss)] // A pace need not be exact.
            let due = Duration::from_secs_f64(sent as f64 / limit as f64);
            sleep_until(began + due).await;
        }
    }
}

/// Offers and transfers to one peer at one time. At the bound an offer is handed back.
pub(crate) const MAX_TRANSFERS: usize = 16;
/// The data in a chunk: with its header it fills what every peer takes as one message.
const CHUNK: usize = Chunk::MAX_DATA - Chunk::HEADER;
/// Blocks that are read and not sent. At the bound the reader waits.
const READ_AHEAD: usize = 8;
/// Reports that wait. At the bound the tasks wait.
const REPORTS: usize = 64;
