use std::time::Instant;

use bowline::PeerId;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};
use tracing::{debug, info};

use super::limits::Bucket;
use super::route::{Route, peer_of};
use super::{REPLACED, Shared};

/// Serves one connection until it ends.
pub(super) async fn run(stream: TcpStream, shared: &Shared) {
    // Small messages that somebody waits for; without it they wait for each other.
    let _ = stream.set_nodelay(true);
    let Some((peer, stream)) = timeout(shared.limits.hello, greet(stream, shared))
        .await
        .ok()
        .flatten()
    else {
        shared.counters.unnamed.add();
        return;
    };
    info!(%peer, "peer connected");
    let (ticket, drain) = shared.join(peer);
    let result = Member {
        peer,
        stream,
        drain,
        shared,
    }
    .serve()
    .await;
    shared.leave(&ticket);
    if let Err(
        tungstenite::Error::Capacity(_)
        | tungstenite::Error::Protocol(_)
        | tungstenite::Error::Utf8(_),
    ) = result
    {
        shared.counters.broken.add();
    }
    info!(%peer, error = result.err().map(tracing::field::display), "peer disconnected");
}

/// Upgrades the connection and learns its name.
async fn greet(stream: TcpStream, shared: &Shared) -> Option<(PeerId, WebSocketStream<TcpStream>)> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(shared.limits.message))
        .max_frame_size(Some(shared.limits.message));
    let mut peer = None;
    #[allow(clippy::result_large_err)] // The type is tungstenite's.
    let read_name = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        peer = peer_of(request.uri().query());
        if peer.is_some() {
            Ok(response)
        } else {
            Err(no_name())
        }
    };
    let upgraded = accept_hdr_async_with_config(stream, read_name, Some(config)).await;
    let stream = upgraded
        .inspect_err(|error| debug!(%error, "not a peer"))
        .ok()?;
    Some((peer?, stream))
}

fn no_name() -> ErrorResponse {
    let mut response = ErrorResponse::new(Some("connect to /?peer=ID\n".to_owned()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// A connection that has said its name.
struct Member<'a> {
    peer: PeerId,
    stream: WebSocketStream<TcpStream>,
    drain: mpsc::Receiver<Utf8Bytes>,
    shared: &'a Shared,
}

impl Member<'_> {
    async fn serve(mut self) -> Result<(), tungstenite::Error> {
        let limits = &self.shared.limits;
        let mut bucket = Bucket::new(limits, Instant::now());
        let mut ping = interval(limits.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                frame = self.stream.next() => {
                    heard = Instant::now();
                    match frame.transpose()? {
                        Some(frame) => self.on_frame(frame, &mut bucket, heard),
                        None => return Ok(()),
                    }
                }
                text = self.drain.recv() => match text {
                    Some(text) => self.send(Message::Text(text)).await?,
                    None => return self.replaced().await,
                },
                _ = ping.tick() => {
                    if heard.elapsed() >= limits.idle {
                        return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
    }

    fn on_frame(&self, frame: Message, bucket: &mut Bucket, now: Instant) {
        let counters = &self.shared.counters;
        match frame {
            Message::Text(_) | Message::Binary(_) if !bucket.take(frame.len(), now) => {
                counters.too_fast.add()
            }
            Message::Text(text) => match Route::of(&text) {
                Some(route) if route.from == self.peer => self.shared.forward(route.to, text),
                Some(_) => counters.wrong_sender.add(),
                None => counters.malformed.add(),
            },
            Message::Binary(_) => counters.malformed.add(),
            // The library answers pings and closes.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }

    /// Sends, or fails when the peer does not read: it has one queue full then, and would be one forever.
    async fn send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        timeout(self.shared.limits.hello, self.stream.send(message))
            .await
            .map_err(late)?
    }

    async fn replaced(mut self) -> Result<(), tungstenite::Error> {
        self.shared.counters.replaced.add();
        let frame = CloseFrame {
            code: REPLACED.into(),
            reason: Utf8Bytes::from_static("replaced"),
        };
        self.send(Message::Close(Some(frame))).await
    }
}

/// Most messages are far smaller than the library's 128 KiB, and there may be thousands of connections.
const READ_BUFFER: usize = 4 * 1_024;
