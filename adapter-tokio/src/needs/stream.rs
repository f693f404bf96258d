use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bowline::NeedId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{Answer, Job, Needs, Tls};

/// Buffers on their way to a stream, [`MAX_OUTGOING`] bytes at most, each whole.
pub(super) struct Outgoing {
    queue: mpsc::UnboundedSender<Buffer>,
    /// A permit for each byte that may still be queued.
    room: Arc<Semaphore>,
}

/// Bytes with the room that they take until they are written.
pub(super) struct Buffer {
    contents: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl Outgoing {
    fn new() -> (Self, mpsc::UnboundedReceiver<Buffer>) {
        let (queue, queued) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(MAX_OUTGOING));
        (Self { queue, room }, queued)
    }

    /// Queues all of `contents`, or nothing. Gives whether it did.
    pub(super) fn push(&self, contents: &[u8]) -> bool {
        let room = u32::try_from(contents.len())
            .ok()
            .and_then(|len| Arc::clone(&self.room).try_acquire_many_owned(len).ok());
        room.is_some_and(|room| {
            let contents = contents.to_vec();
            let buffer = Buffer {
                contents,
                _room: room,
            };
            self.queue.send(buffer).is_ok()
        })
    }

    /// Whether somebody writes what is pushed, or will.
    pub(super) fn is_stream(&self) -> bool {
        !self.queue.is_closed()
    }
}

/// What the task of a need is given.
pub(super) type Wanted = oneshot::Receiver<()>;

impl Needs {
    /// Notes a job, and gives what its task needs.
    pub(super) fn begin(&mut self, need: NeedId) -> (mpsc::UnboundedReceiver<Buffer>, Wanted) {
        let (outgoing, queued) = Outgoing::new();
        let (wanted, is_wanted) = oneshot::channel();
        let job = Job {
            outgoing,
            _wanted: wanted,
        };
        self.jobs.insert(need, job);
        (queued, is_wanted)
    }
}

/// Opens a stream and carries its bytes, until the other side or an error ends it or nobody wants it any more.
pub(super) async fn run(
    need: NeedId,
    remote: SocketAddr,
    server: Option<(Arc<Tls>, String)>,
    outgoing: mpsc::UnboundedReceiver<Buffer>,
    answering: mpsc::Sender<Answer>,
    mut wanted: Wanted,
) {
    let opened = tokio::select! {
        opened = timeout(CONNECT_PATIENCE, open(remote, server)) => opened,
        _ = &mut wanted => return,
    };
    let result = match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok((stream, local)) => {
            // It fails when the driver is gone, as all sends here.
            let _ = answering.send(Answer::Opened(need, local)).await;
            carry(stream, need, outgoing, &answering, wanted).await
        }
        Err(error) => Err(error),
    };
    debug!(%need, %remote, error = result.err().map(tracing::field::display), "a stream is over");
    let _ = answering.send(Answer::Closed(need)).await;
}

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects, and makes TLS with the server of a name where there is one.
///
/// # Errors
///
/// What went wrong, with either.
pub(crate) async fn open(
    remote: impl ToSocketAddrs,
    server: Option<(Arc<Tls>, String)>,
) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
    let stream = TcpStream::connect(remote).await?;
    // Checks and their answers must not wait for each other.
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let stream: Box<dyn Stream> = match server {
        Some((tls, name)) => Box::new(tls.connect(stream, name).await?),
        None => Box::new(stream),
    };
    Ok((stream, local))
}

async fn carry(
    stream: Box<dyn Stream>,
    need: NeedId,
    outgoing: mpsc::UnboundedReceiver<Buffer>,
    answering: &mpsc::Sender<Answer>,
    wanted: Wanted,
) -> io::Result<()> {
    let (reader, writer) = split(stream);
    let given_up = async {
        let _ = wanted.await;
        // The last word, a TURN client's farewell, is written meanwhile.
        sleep(LINGER).await;
    };
    tokio::select! {
        read = read(reader, need, answering) => read,
        written = write(writer, outgoing) => written,
        () = given_up => Ok(()),
    }
}

/// Reads until the other side ends it. What the driver has not taken holds the other side back.
async fn read(
    mut reader: impl AsyncRead + Unpin,
    need: NeedId,
    answering: &mpsc::Sender<Answer>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let count = reader.read(&mut buffer).await?;
        let contents = buffer.get(..count).unwrap_or_default();
        if contents.is_empty() {
            return Ok(());
        }
        let data = Answer::Data(need, contents.to_vec());
        if answering.send(data).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes what is queued, until nobody can queue any more.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::UnboundedReceiver<Buffer>,
) -> io::Result<()> {
    while let Some(buffer) = outgoing.recv().await {
        let written = async {
            writer.write_all(&buffer.contents).await?;
            writer.flush().await
        };
        timeout(STALL_PATIENCE, written).await??;
    }
    writer.shutdown().await
}

/// How long the connection and the handshake of TLS may take together.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long one buffer may take to leave before the stream counts as dead.
const STALL_PATIENCE: Duration = Duration::from_secs(30);
/// How long a stream that is closed may go on sending what it was given before.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that wait for a stream. What does not fit is dropped: it would be stale anyhow.
pub(super) const MAX_OUTGOING: usize = 256 * 1024;
/// Bytes taken in one read.
const READ_BUFFER: usize = 16 * 1024;
