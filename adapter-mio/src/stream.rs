//! Streams to servers: TCP connections in the poll, with or without TLS inside.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline::{Input, NeedId};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// The streams of a driver. Deregistered when dropped.
pub(crate) struct Streams {
    registry: Registry,
    first: Token,
    /// By token.
    slots: [Option<Stream>; Self::MAX],
    /// How servers are verified. `None`: no TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    buffer: Vec<u8>,
}

impl Streams {
    /// How many there may be. A further one is closed at once.
    pub(crate) const MAX: usize = 32;

    /// Streams that take the tokens from `first` on, [`Streams::MAX`] of them.
    pub(crate) fn new(registry: Registry, first: Token) -> Self {
        Self {
            registry,
            first,
            slots: std::array::from_fn(|_| None),
            tls: None,
            buffer: vec![0; READ_BUFFER],
        }
    }

    /// Begins to connect. What comes of it shows in [`Streams::drive`].
    ///
    /// # Errors
    ///
    /// What the operating system says at once; or there are too many streams, TLS is not set up, or the name cannot be one.
    pub(crate) fn connect(
        &mut self,
        need: NeedId,
        remote: SocketAddr,
        tls: Option<String>,
        now: Instant,
    ) -> io::Result<()> {
        let mut free = self.slots.iter_mut().enumerate();
        let free = free.find(|(_, slot)| slot.is_none());
        let (index, slot) = free.ok_or_else(|| io::Error::other("too many streams"))?;
        let tls = tls
            .map(|name| client(self.tls.as_ref(), name))
            .transpose()?;
        let mut io = TcpStream::connect(remote)?;
        let token = Token(self.first.0 + index);
        self.registry
            .register(&mut io, token, Interest::READABLE | Interest::WRITABLE)?;
        *slot = Some(Stream {
            need,
            io,
            tls,
            phase: Phase::Connecting(now + CONNECT_PATIENCE),
            outgoing: VecDeque::new(),
            readable: false,
        });
        Ok(())
    }

    /// Queues whole messages for a stream. Gives whether it took them: all, or none.
    pub(crate) fn send(&mut self, need: NeedId, contents: &[u8], now: Instant) -> bool {
        self.find(need)
            .and_then(|index| self.slots.get_mut(index)?.as_mut())
            .is_some_and(|stream| stream.push(contents, now))
    }

    /// Gives a stream up. What it was given before still leaves, for a moment.
    pub(crate) fn close(&mut self, need: NeedId, now: Instant) {
        let Some(index) = self.find(need) else {
            return;
        };
        if let Some(stream) = self.slots.get_mut(index).and_then(Option::as_mut) {
            let is_open = matches!(stream.phase, Phase::Open { .. });
            stream.phase = Phase::Closing(now + LINGER);
            if !is_open || stream.send(now).is_err() || stream.is_drained() {
                self.remove(index);
            }
        }
    }

    /// The index of the stream with this token, if the token is of this table.
    pub(crate) fn index_of(&self, token: Token) -> Option<usize> {
        let index = token.0.checked_sub(self.first.0)?;
        (index < Self::MAX).then_some(index)
    }

    pub(crate) fn on_readable(&mut self, index: usize) {
        if let Some(stream) = self.slots.get_mut(index).and_then(Option::as_mut) {
            stream.readable = true;
        }
    }

    /// Does what one stream can do now, and tells `each` what came of it. Reads a bounded amount, nothing without
    /// `may_read`.
    pub(crate) fn drive(
        &mut self,
        index: usize,
        may_read: bool,
        now: Instant,
        mut each: impl FnMut(Input<'_>),
    ) {
        let Some(stream) = self.slots.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let buffer = may_read.then_some(&mut *self.buffer);
        let result = stream.advance(buffer, now, &mut each);
        let (need, is_closing) = (stream.need, matches!(stream.phase, Phase::Closing(_)));
        let is_over = match &result {
            Ok(()) => is_closing && stream.is_drained(),
            Err(error) => {
                tracing::debug!(%need, %error, "a stream is over");
                true
            }
        };
        if is_over {
            self.remove(index);
            if !is_closing {
                each(Input::StreamClosed { need });
            }
        }
    }

    /// Gives those up whose time is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant, mut each: impl FnMut(Input<'_>)) {
        for index in 0..Self::MAX {
            let slot = self.slots.get(index).and_then(Option::as_ref);
            let Some(stream) = slot.filter(|s| s.deadline().is_some_and(|at| at <= now)) else {
                continue;
            };
            let (need, is_closing) = (stream.need, matches!(stream.phase, Phase::Closing(_)));
            self.remove(index);
            if !is_closing {
                each(Input::StreamClosed { need });
            }
        }
    }

    /// When [`Streams::handle_timeout`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.slots
            .iter()
            .flatten()
            .filter_map(Stream::deadline)
            .min()
    }

    /// The needs whose streams are not given up.
    pub(crate) fn needs(&self) -> impl Iterator<Item = NeedId> + '_ {
        let streams = self.slots.iter().flatten();
        streams
            .filter(|stream| !matches!(stream.phase, Phase::Closing(_)))
            .map(|stream| stream.need)
    }

    pub(crate) fn any_readable(&self) -> bool {
        self.slots.iter().flatten().any(|stream| stream.readable)
    }

    fn find(&self, need: NeedId) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.as_ref()
                .is_some_and(|s| s.need == need && !matches!(s.phase, Phase::Closing(_)))
        })
    }

    fn remove(&mut self, index: usize) {
        if let Some(mut stream) = self.slots.get_mut(index).and_then(Option::take)
            && let Err(error) = self.registry.deregister(&mut stream.io)
        {
            tracing::debug!(%error, "the stream was not registered any more");
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for index in 0..Self::MAX {
            self.remove(index);
        }
    }
}

struct Stream {
    need: NeedId,
    io: TcpStream,
    tls: Option<ClientConnection>,
    phase: Phase,
    /// At most [`MAX_OUTGOING`].
    outgoing: VecDeque<u8>,
    /// There may be more to read: no edge will tell.
    readable: bool,
}

/// ```text
/// Connecting --> Open --> Closing
/// ```
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The connection, or TLS on it, is being made until then.
    Connecting(Instant),
    /// It carries bytes.
    Open {
        /// When it counts as dead unless the other side takes something.
        stalled_at: Option<Instant>,
    },
    /// Nobody wants it any more. It sends what it has, until then at the latest.
    Closing(Instant),
}

impl Stream {
    fn advance(
        &mut self,
        buffer: Option<&mut [u8]>,
        now: Instant,
        each: &mut impl FnMut(Input<'_>),
    ) -> io::Result<()> {
        if matches!(self.phase, Phase::Connecting(_)) {
            let Some(local) = self.establish()? else {
                self.readable = false;
                return Ok(());
            };
            self.phase = Phase::Open { stalled_at: None };
            // What came with the end of the handshake is inside of TLS by now: no edge will tell.
            self.readable = true;
            let need = self.need;
            each(Input::StreamOpened { need, local });
        }
        self.send(now)?;
        match (self.phase, buffer) {
            (Phase::Open { .. }, Some(buffer)) => self.receive(buffer, each),
            (Phase::Open { .. }, None) => Ok(()),
            (Phase::Connecting(_) | Phase::Closing(_), _) => {
                self.readable = false;
                Ok(())
            }
        }
    }

    /// Gives our address once the connection, and TLS on it, are there.
    fn establish(&mut self) -> io::Result<Option<SocketAddr>> {
        if let Some(error) = self.io.take_error()? {
            return Err(error);
        }
        match self.io.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(None),
            Err(error) => return Err(error),
        }
        // Checks and their answers must not wait for each other.
        self.io.set_nodelay(true)?;
        if let Some(tls) = self.tls.as_mut().filter(|tls| tls.is_handshaking()) {
            match tls.complete_io(&mut self.io) {
                Ok(_) if !tls.is_handshaking() => {}
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.io.local_addr().map(Some)
    }

    /// Queues all of `contents` or nothing, and sends what the system takes.
    fn push(&mut self, contents: &[u8], now: Instant) -> bool {
        if self.outgoing.len() + contents.len() > MAX_OUTGOING {
            return false;
        }
        self.outgoing.extend(contents);
        if matches!(self.phase, Phase::Open { .. }) {
            // An error shows itself again when the stream is driven, which its edge brings about.
            let _ = self.send(now);
        }
        true
    }

    fn send(&mut self, now: Instant) -> io::Result<()> {
        let before = self.outgoing.len();
        let result = self.send_waiting();
        let sent = before - self.outgoing.len();
        if let Phase::Open { stalled_at } = &mut self.phase {
            if self.outgoing.is_empty() {
                *stalled_at = None;
            } else if sent > 0 || stalled_at.is_none() {
                *stalled_at = Some(now + STALL_PATIENCE);
            }
        }
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    fn send_waiting(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let (contents, _) = self.outgoing.as_slices();
            let sent = match &mut self.tls {
                Some(tls) => rustls::Stream::new(tls, &mut self.io).write(contents)?,
                None => self.io.write(contents)?,
            };
            self.outgoing.drain(..sent);
        }
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.io).flush(),
            None => Ok(()),
        }
    }

    /// Reads a bounded number of times.
    fn receive(&mut self, buffer: &mut [u8], each: &mut impl FnMut(Input<'_>)) -> io::Result<()> {
        let need = self.need;
        for _ in 0..MAX_READS {
            if !self.readable {
                return Ok(());
            }
            let read = match &mut self.tls {
                Some(tls) => rustls::Stream::new(tls, &mut self.io).read(buffer),
                None => self.io.read(buffer),
            };
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let contents = buffer.get(..count).unwrap_or_default();
                    each(Input::StreamData { need, contents });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether all that it was given is with the system.
    fn is_drained(&self) -> bool {
        self.outgoing.is_empty() && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Connecting(deadline) | Phase::Closing(deadline) => Some(deadline),
            Phase::Open { stalled_at } => stalled_at,
        }
    }
}

fn client(config: Option<&Arc<ClientConfig>>, name: String) -> io::Result<ClientConnection> {
    let config = config.ok_or_else(|| io::Error::other("TLS is not set up"))?;
    let name = ServerName::try_from(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)
}

/// How long the connection and the handshake of TLS may take together.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long the other side may take nothing of what waits before the stream counts as dead.
const STALL_PATIENCE: Duration = Duration::from_secs(30);

/// How long a stream that is closed may go on sending what it was given before.
const LINGER: Duration = Duration::from_secs(1);

/// The most bytes that wait for one stream. What does not fit is dropped: it would be stale anyhow.
const MAX_OUTGOING: usize = 256 * 1024;

/// Bytes taken in one read.
const READ_BUFFER: usize = 16 * 1024;

/// How many times one stream is read in one turn.
const MAX_READS: usize = 16;

#[cfg(test)]
mod tests;
