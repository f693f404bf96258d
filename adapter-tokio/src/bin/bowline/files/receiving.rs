//! The files that one peer sends to us.
//!
//! Each that is accepted has a thread that writes and hashes. What waits for it is bounded by the window that the sender
//! was told, and by a number of pieces; when that many wait, nothing more is taken from the peer, and the channel's own
//! credit holds it back.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tracing::debug;

use super::digest::Digest;
use super::exchange::{Ending, Event, Outbox, Step};
use super::message::{Cancellation, Chunk, Failure, FileMessage, MAX_SIZE, Refusal, Side};
use super::name::FileName;
use super::part::{Part, Place};

/// What comes from one peer.
pub(crate) struct Receiving {
    transfers: BTreeMap<u32, Incoming>,
    /// Tells a writer from that of an earlier transfer with the same number.
    next_serial: u64,
    /// A piece that its writer has no room for.
    stuck: Option<(mpsc::Sender<Piece>, Piece)>,
    writers: JoinSet<()>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
}

/// A file that comes.
struct Incoming {
    name: FileName,
    size: u64,
    state: State,
}

/// ```text
/// Offered --> Opening --> Receiving --> Finishing --> (removed)
/// ```
///
/// Each may be removed at any time: cancelled, failed, or refused while it is offered.
enum State {
    /// The user is to decide.
    Offered,
    /// The writer looks at what is there already.
    Opening { writer: Writer },
    /// Chunks come.
    Receiving {
        writer: Writer,
        /// What was accepted: where the first chunk may begin, if not at 0.
        accepted: u64,
        /// Where the next chunk begins. None before the first.
        next: Option<u64>,
        /// What is written.
        stored: u64,
    },
    /// Everything came; the writer verifies it and puts it in place.
    Finishing { serial: u64 },
}

/// The near end of a thread that writes. It stops when this is dropped, and leaves what it has as a part.
struct Writer {
    serial: u64,
    pieces: mpsc::Sender<Piece>,
}

/// What a writer is to do.
enum Piece {
    /// Data from this offset on: the next, or 0 to begin anew.
    Data { offset: u64, data: Bytes },
    /// There is no more, and the whole has this digest.
    End(Digest),
}

/// What a writer tells.
struct Report {
    transfer: u32,
    serial: u64,
    news: News,
}

enum News {
    Opened { stored: u64, prefix: Digest },
    Stored(u64),
    Placed { path: PathBuf, digest: Digest },
    Failed { reason: Failure, detail: String },
}

impl Receiving {
    pub(crate) fn new() -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS);
        Self {
            transfers: BTreeMap::new(),
            next_serial: 0,
            stuck: None,
            writers: JoinSet::new(),
            reports,
            reporter,
        }
    }

    /// Whether anything has been accepted and is not over.
    pub(crate) fn is_busy(&self) -> bool {
        let offered = |transfer: &Incoming| matches!(transfer.state, State::Offered);
        !self.transfers.values().all(offered)
    }

    /// Whether a file has come whole and is not in place yet.
    pub(crate) fn is_finishing(&self) -> bool {
        let finishing = |transfer: &Incoming| matches!(transfer.state, State::Finishing { .. });
        self.transfers.values().any(finishing)
    }

    /// Whether a piece waits for its writer, so that nothing more shall be taken from the peer.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    pub(crate) fn on_offer(&mut self, transfer: u32, name: &str, size: u64, out: &mut Outbox) {
        if self.transfers.contains_key(&transfer) {
            debug!(transfer, "an offer repeats a number that is in use");
            return;
        }
        let refusal = match FileName::new(name) {
            Err(_) => Refusal::Name,
            Ok(_) if size > MAX_SIZE => Refusal::Size,
            Ok(_) if self.transfers.len() >= MAX_TRANSFERS => Refusal::Busy,
            Ok(name) => {
                out.events.push_back(Event::Offered {
                    transfer,
                    name: name.clone(),
                    size,
                });
                let state = State::Offered;
                self.transfers
                    .insert(transfer, Incoming { name, size, state });
                return;
            }
        };
        out.refuse(transfer, refusal);
        out.events.push_back(Event::OfferRefused {
            name: name.to_owned(),
            reason: refusal,
        });
    }

    /// Accepts an offer, at the place that `place` makes of its name. Nothing happens when it is no longer there.
    pub(crate) fn accept(&mut self, transfer: u32, place: impl FnOnce(FileName) -> Place) {
        let Some(incoming) = self.transfers.get_mut(&transfer) else {
            return;
        };
        if !matches!(incoming.state, State::Offered) {
            return;
        }
        let (pieces, queue) = mpsc::channel(PIECES);
        let serial = self.next_serial;
        self.next_serial += 1;
        let (reporter, size) = (self.reporter.clone(), incoming.size);
        let place = place(incoming.name.clone());
        self.writers.spawn_blocking(move || {
            let report = move |news| {
                // Nobody listens any more when the connection is over.
                let _ = reporter.blocking_send(Report {
                    transfer,
                    serial,
                    news,
                });
            };
            write(place, size, queue, report);
        });
        incoming.state = State::Opening {
            writer: Writer { serial, pieces },
        };
    }

    /// Refuses an offer, or stops a transfer. Nothing happens when there is none.
    pub(crate) fn stop(&mut self, transfer: u32, reason: Refusal, out: &mut Outbox) {
        match self.transfers.remove(&transfer).map(|t| t.state) {
            None => {}
            Some(State::Offered) => out.refuse(transfer, reason),
            Some(State::Opening { .. } | State::Receiving { .. } | State::Finishing { .. }) => {
                out.say(&FileMessage::Cancel {
                    transfer,
                    by: Side::Receiver,
                    reason: Cancellation::Cancelled,
                });
            }
        }
    }

    pub(crate) fn on_cancel(&mut self, transfer: u32, reason: Cancellation, out: &mut Outbox) {
        if self.transfers.remove(&transfer).is_some() {
            let by = Side::Sender;
            out.step(
                Side::Receiver,
                transfer,
                Step::Ended(Ending::Cancelled { by, reason }),
            );
        }
    }

    pub(crate) fn on_chunk(&mut self, chunk: Chunk, out: &mut Outbox) {
        let transfer = chunk.transfer;
        let Some(incoming) = self.transfers.get_mut(&transfer) else {
            // It may have been under way when the transfer was stopped.
            return;
        };
        let begins = incoming.is_unbegun();
        match incoming.take(&chunk) {
            Ok(pieces) => {
                let (offset, data) = (chunk.offset, chunk.data);
                if begins {
                    out.step(Side::Receiver, transfer, Step::Began { offset });
                }
                self.pass(pieces, Piece::Data { offset, data });
            }
            Err(detail) => self.fail(transfer, Failure::Protocol, detail, out),
        }
    }

    pub(crate) fn on_end(&mut self, transfer: u32, digest: Digest, out: &mut Outbox) {
        let Some(incoming) = self.transfers.get_mut(&transfer) else {
            return;
        };
        match incoming.end() {
            Ok(pieces) => self.pass(pieces, Piece::End(digest)),
            Err(detail) => self.fail(transfer, Failure::Protocol, detail, out),
        }
    }

    /// Waits for news of a writer, or for room for the piece that is stuck. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> Turn {
        let stuck = &self.stuck;
        let room = async {
            match stuck {
                // When the writer is gone the piece is not needed.
                Some((pieces, _)) => pieces.clone().reserve_owned().await.ok(),
                None => pending().await,
            }
        };
        tokio::select! {
            Some(report) = self.reports.recv() => Turn(Ready::Report(report)),
            permit = room => Turn(Ready::Room(permit)),
        }
    }

    /// Does what [`Receiving::wait`] gave.
    pub(crate) fn handle(&mut self, turn: Turn, out: &mut Outbox) {
        match turn.0 {
            Ready::Report(report) => self.on_report(report, out),
            Ready::Room(permit) => {
                if let Some(((_, piece), permit)) = self.stuck.take().zip(permit) {
                    permit.send(piece);
                }
            }
        }
    }

    /// Waits until what was received is in the parts, and the parts are unlocked.
    pub(crate) async fn end(mut self) {
        self.reports.close();
        self.transfers.clear();
        self.stuck = None;
        while self.writers.join_next().await.is_some() {}
    }

    fn on_report(&mut self, report: Report, out: &mut Outbox) {
        let transfer = report.transfer;
        let Some(incoming) = self.transfers.get_mut(&transfer) else {
            return;
        };
        if incoming.serial() != Some(report.serial) {
            return;
        }
        match report.news {
            News::Opened { stored, prefix } => {
                incoming.on_opened(stored);
                out.say(&FileMessage::Accept {
                    transfer,
                    offset: stored,
                    sha256: prefix,
                    window: WINDOW,
                });
            }
            News::Stored(received) => {
                incoming.on_stored(received, transfer, out);
            }
            News::Placed { path, digest } => {
                self.transfers.remove(&transfer);
                out.say(&FileMessage::Done { transfer });
                let path = Some(path);
                out.step(Side::Receiver, transfer, Step::Done { digest, path });
            }
            News::Failed { reason, detail } => self.fail(transfer, reason, detail, out),
        }
        // Those that have ended have nothing more to say.
        while self.writers.try_join_next().is_some() {}
    }

    /// Hands a piece to its writer.
    fn pass(&mut self, pieces: mpsc::Sender<Piece>, piece: Piece) {
        match pieces.try_send(piece) {
            Ok(()) => {}
            Err(TrySendError::Full(piece)) => self.stuck = Some((pieces, piece)),
            // The writer has failed; its report is on the way.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    fn fail(&mut self, transfer: u32, reason: Failure, detail: String, out: &mut Outbox) {
        let failed = self.transfers.remove(&transfer);
        // Nothing has been accepted yet, so to the sender it is a refusal.
        if matches!(failed.map(|t| t.state), Some(State::Opening { .. })) {
            out.refuse(transfer, Refusal::Storage);
        } else {
            out.say(&FileMessage::Failed { transfer, reason });
        }
        out.step(
            Side::Receiver,
            transfer,
            Step::Ended(Ending::Failed { reason, detail }),
        );
    }
}

impl Incoming {
    fn serial(&self) -> Option<u64> {
        match &self.state {
            State::Offered => None,
            State::Opening { writer } | State::Receiving { writer, .. } => Some(writer.serial),
            State::Finishing { serial } => Some(*serial),
        }
    }

    /// Whether the first chunk is still to come.
    fn is_unbegun(&self) -> bool {
        matches!(self.state, State::Receiving { next: None, .. })
    }

    fn on_opened(&mut self, stored: u64) {
        let state = std::mem::replace(&mut self.state, State::Offered);
        self.state = match state {
            State::Opening { writer } => State::Receiving {
                writer,
                accepted: stored,
                next: None,
                stored,
            },
            State::Offered | State::Receiving { .. } | State::Finishing { .. } => state,
        };
    }

    /// Notes what is written, and tells the sender.
    fn on_stored(&mut self, received: u64, transfer: u32, out: &mut Outbox) {
        if let State::Receiving { stored, .. } = &mut self.state {
            *stored = received;
        }
        out.say(&FileMessage::Progress { transfer, received });
        out.step(Side::Receiver, transfer, Step::Progress { received });
    }

    /// Checks a chunk, and gives where its data goes.
    fn take(&mut self, chunk: &Chunk) -> Result<mpsc::Sender<Piece>, String> {
        let State::Receiving {
            writer,
            accepted,
            next,
            stored,
        } = &mut self.state
        else {
            return Err("a chunk came out of turn".to_owned());
        };
        let due = match next {
            Some(next) => *next == chunk.offset,
            None => chunk.offset == *accepted || chunk.offset == 0,
        };
        if !due {
            return Err(format!(
                "a chunk begins at {}, which is not its turn",
                chunk.offset
            ));
        }
        if next.is_none() {
            *stored = chunk.offset;
        }
        let through = chunk.offset.saturating_add(chunk.data.len() as u64);
        if through > self.size {
            return Err("there is more data than was offered".to_owned());
        }
        if through - *stored > WINDOW {
            return Err("there is more data under way than was agreed".to_owned());
        }
        *next = Some(through);
        Ok(writer.pieces.clone())
    }

    /// Checks that everything came, and gives where that is to be said.
    fn end(&mut self) -> Result<mpsc::Sender<Piece>, String> {
        let State::Receiving {
            writer,
            accepted,
            next,
            ..
        } = &self.state
        else {
            return Err("an end came out of turn".to_owned());
        };
        if next.unwrap_or(*accepted) != self.size {
            return Err("the file ended early".to_owned());
        }
        let (serial, pieces) = (writer.serial, writer.pieces.clone());
        self.state = State::Finishing { serial };
        Ok(pieces)
    }
}

/// What there is to do.
pub(crate) struct Turn(Ready);

enum Ready {
    Report(Report),
    Room(Option<mpsc::OwnedPermit<Piece>>),
}

/// Writes one file until it is complete, or there are no more pieces.
fn write(place: Place, size: u64, mut pieces: mpsc::Receiver<Piece>, report: impl Fn(News)) {
    let storage = |error: std::io::Error| News::Failed {
        reason: Failure::Storage,
        detail: error.to_string(),
    };
    let mut part = match Part::open(place, size) {
        Ok(part) => part,
        Err(error) => return report(storage(error)),
    };
    let (mut told, prefix) = (part.stored(), part.digest());
    report(News::Opened {
        stored: told,
        prefix,
    });
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Data { offset, data } => {
                if offset != part.stored() {
                    if let Err(error) = part.restart() {
                        return report(storage(error));
                    }
                    told = 0;
                }
                if let Err(error) = part.append(&data) {
                    return report(storage(error));
                }
                if part.stored() - told >= TELL_EVERY || part.stored() == size {
                    told = part.stored();
                    report(News::Stored(told));
                }
            }
            Piece::End(digest) if digest == part.digest() => {
                return report(match part.complete() {
                    Ok(path) => News::Placed { path, digest },
                    Err(error) => storage(error),
                });
            }
            Piece::End(_) => {
                part.discard();
                return report(News::Failed {
                    reason: Failure::Checksum,
                    detail: "the file is not what was sent".to_owned(),
                });
            }
        }
    }
}

/// Offers and transfers of one peer at one time. At the bound an offer is refused as busy.
pub(crate) const MAX_TRANSFERS: usize = 16;
/// The bytes of one transfer that may be under way or wait for the disk. At the bound the sender waits; one that does
/// not has broken the protocol.
pub(crate) const WINDOW: u64 = 4 * 1_024 * 1_024;
/// How many bytes are stored before the sender is told. Less than a quarter of the window, as agreed; and often, for
/// those who watch.
const TELL_EVERY: u64 = 256 * 1_024;
/// Pieces that wait for one writer. At the bound nothing more is taken from the peer: only tiny pieces get there, or a
/// disk that is slower than the path.
const PIECES: usize = 256;
/// Reports that wait. At the bound the writers wait.
const REPORTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_the_window_that_was_agreed() {
        let (pieces, _queue) = mpsc::channel(1);
        let writer = Writer { serial: 0, pieces };
        let mut incoming = Incoming {
            name: FileName::new("a").expect("valid"),
            size: 10 * WINDOW,
            state: State::Opening { writer },
        };
        let chunk = |offset, len: usize| Chunk {
            transfer: 1,
            offset,
            data: vec![0; len].into(),
        };
        // It has the first two bytes, and the sender goes on there.
        incoming.on_opened(2);
        let len = Chunk::MAX_DATA;
        let mut next = 2;
        while next + len as u64 <= 2 + WINDOW {
            incoming.take(&chunk(next, len)).expect("within the window");
            next += len as u64;
        }
        assert_eq!(next, 2 + WINDOW, "the window is filled to its last byte");
        let refused = incoming.take(&chunk(next, 1)).expect_err("beyond");
        assert_eq!(refused, "there is more data under way than was agreed");
        incoming.on_stored(3, 1, &mut Outbox::default());
        incoming.take(&chunk(next, 1)).expect("one byte was stored");
    }
}
