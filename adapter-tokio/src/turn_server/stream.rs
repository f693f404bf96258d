use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::frame::Frames;
use super::{Line, MAX_WAITING, Out, Shared, canonical, until};

/// Accepts connections for ever.
pub(super) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => start(stream, client, &shared, &stopped),
            Err(error) => {
                // Out of descriptors, mostly: to try again at once would only spin.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(
    stream: TcpStream,
    client: SocketAddr,
    shared: &Arc<Shared>,
    stopped: &watch::Receiver<bool>,
) {
    let limit = shared.config.limits.connections;
    let more = |open: usize| (open < limit).then_some(open + 1);
    let connections = &shared.connections;
    let taken = connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    if taken.is_err() {
        debug!("too many turn clients over tcp");
        return;
    }
    let place = Connected(Arc::clone(shared));
    let work = serve(stream, client, Arc::clone(shared), stopped.clone());
    tokio::spawn(until(stopped.clone(), async move {
        let _place = place;
        if let Err(error) = work.await {
            debug!(%client, %error, "a turn client over tcp is gone");
        }
    }));
}

/// One of the connections that there may be, given back when this is dropped.
struct Connected(Arc<Shared>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let at = canonical(stream.local_addr()?);
    let (reader, writer) = stream.into_split();
    let (out, queued) = mpsc::channel(MAX_WAITING);
    let line = Line {
        client: canonical(client),
        at,
        out: Out::Stream(out),
    };
    let result = tokio::select! {
        read = read(reader, &line, &shared, &stopped) => read,
        written = write(writer, queued) => written,
    };
    // Its allocation ends with the connection (RFC 8656 section 7.3 ties it to the five-tuple).
    shared.lock().remove(&line.key());
    result
}

/// Reads until the client ends it, breaks the rules, or has had no allocation for a while.
async fn read(
    mut reader: OwnedReadHalf,
    line: &Line,
    shared: &Arc<Shared>,
    stopped: &watch::Receiver<bool>,
) -> io::Result<()> {
    let (mut frames, mut buffer) = (Frames::default(), vec![0; READ_BUFFER]);
    loop {
        let Ok(count) = timeout(HELLO, reader.read(&mut buffer)).await else {
            if shared.lock().contains_key(&line.key()) {
                continue;
            }
            return Err(io::ErrorKind::TimedOut.into());
        };
        let bytes = buffer.get(..count?).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        frames.push(bytes);
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
        while let Some(frame) = frames.next().map_err(invalid)? {
            shared.on_message(line, &frame, stopped);
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut queued: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(message) = queued.recv().await {
        timeout(STALL, writer.write_all(&message)).await??;
    }
    Ok(())
}

/// How long somebody may be silent who has no allocation.
const HELLO: Duration = Duration::from_secs(10);
/// How long one message may take to leave before the connection counts as dead.
const STALL: Duration = Duration::from_secs(30);
/// Bytes taken in one read.
const READ_BUFFER: usize = 16 * 1_024;
/// How long to wait when connections cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
