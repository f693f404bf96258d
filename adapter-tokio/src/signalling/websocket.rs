use std::collections::VecDeque;
use std::time::Duration;

use bowline::PeerId;
use futures_util::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tracing::{debug, info};

use super::room::{InvalidRoomName, Presence, RoomName, Told};
use super::{Link, MAX_MESSAGE, Signalling};
use crate::relay::REPLACED;

/// Makes a link to the relay at `url` (see [`Relay`](crate::relay::Relay)) that speaks as `id`.
///
/// It connects in the background, and again whenever the connection is lost: after 250 ms, then twice as long each
/// time up to 10 s, less a random part. Meanwhile up to 256 messages wait; of more the oldest are dropped and counted in
/// [`LinkStatus::dropped`](super::LinkStatus::dropped). It ends with its endpoint.
///
/// # Errors
///
/// [`InvalidUrl`] when `url` is not of the form `ws://host[:port][/path][?query]`. TLS (`wss:`) is not built in: put the
/// relay behind a tunnel, or carry the messages yourself with [`Signalling::pair`].
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn websocket(url: &str, id: PeerId) -> Result<Signalling, InvalidUrl> {
    let uri = with_query(url, &format!("peer={id}"))?;
    Ok(start(uri, None))
}

/// Makes a link to the relay at `url` that speaks as `id` in the room `room`, and tells who else is in it.
///
/// It is a link as [`websocket`] makes it, but that it reaches the peers of this room only. When two peers of a room want
/// to connect, let the one with the lower id call [`connect`](crate::Endpoint::connect) and the other accept. Where the room
/// is full, the link stays down, says so in [`LinkStatus::last_error`](super::LinkStatus::last_error), and tries again.
///
/// # Errors
///
/// [`JoinError`] when `url` is none for [`websocket`], or `room` is not a name of 1 to 64 characters of
/// `A-Z a-z 0-9 . _ -`.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn room(url: &str, room: &str, id: PeerId) -> Result<(Signalling, Presence), JoinError> {
    let room = RoomName::new(room)?;
    let uri = with_query(url, &format!("peer={id}&room={room}"))?;
    let (told, presence) = Presence::pair();
    Ok((start(uri, Some(told)), presence))
}

fn start(uri: Uri, told: Option<Told>) -> Signalling {
    let (signalling, link) = Signalling::pair();
    link.status.send_modify(|status| status.up = false);
    tokio::spawn(
        Carrier {
            uri,
            link,
            told,
            waiting: VecDeque::new(),
        }
        .run(),
    );
    signalling
}

/// Why [`room`] could not make a link.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The URL is none of a relay.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The name of the room is none.
    #[error(transparent)]
    Room(#[from] InvalidRoomName),
}

/// A URL that [`websocket`] refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a ws:// url: {0}")]
pub struct InvalidUrl(String);

/// The URL with `added` at the end of its query.
fn with_query(url: &str, added: &str) -> Result<Uri, InvalidUrl> {
    let invalid = || InvalidUrl(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| invalid())?;
    if uri.scheme_str() != Some("ws") || uri.host().is_none_or(str::is_empty) {
        return Err(invalid());
    }
    let query = uri
        .query()
        .map_or_else(|| added.to_owned(), |q| format!("{q}&{added}"));
    let target = format!("{}?{query}", uri.path());
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(target.parse().map_err(|_| invalid())?);
    Uri::from_parts(parts).map_err(|_| invalid())
}

/// The task that keeps one link.
struct Carrier {
    uri: Uri,
    link: Link,
    /// Where the relay's word on the room goes, if the link is in one.
    told: Option<Told>,
    waiting: VecDeque<Utf8Bytes>,
}

/// Why a connection ended.
enum End {
    /// The endpoint is gone: nobody needs the link.
    Endpoint,
    /// The connection is lost.
    Lost(String),
    /// Another process took our name: to fight for it at full speed helps nobody.
    Replaced,
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Carrier {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let end = self.connect_and_carry().await;
            if began.elapsed() > STABLE {
                pause = FIRST_PAUSE;
            }
            let reason = match end {
                End::Endpoint => return,
                End::Lost(reason) => reason,
                End::Replaced => {
                    pause = LONGEST_PAUSE;
                    "another connection has taken this name".to_owned()
                }
            };
            debug!(%reason, "the signalling link is down");
            self.link.status.send_modify(|status| {
                status.up = false;
                status.last_error = Some(reason);
            });
            if self.wait(jittered(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect_and_carry(&mut self) -> End {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let connecting = connect_async_with_config(self.uri.clone(), Some(config), true);
        let stream = tokio::select! {
            result = timeout(CONNECT_TIMEOUT, connecting) => match result {
                Ok(Ok((stream, _response))) => stream,
                Ok(Err(error)) => return End::Lost(error.to_string()),
                Err(_) => return End::Lost("the relay does not answer".to_owned()),
            },
            () = Self::enqueue_all(&mut self.link, &mut self.waiting) => return End::Endpoint,
        };
        info!("the signalling link is up");
        self.link.status.send_modify(|status| {
            status.up = true;
            status.connects += 1;
        });
        self.carry(stream)
            .await
            .unwrap_or_else(|error| End::Lost(error.to_string()))
    }

    /// Carries messages both ways until something ends.
    async fn carry(&mut self, mut stream: Stream) -> Result<End, tungstenite::Error> {
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            while let Some(text) = self.waiting.pop_front() {
                send(&mut stream, Message::Text(text)).await?;
            }
            tokio::select! {
                signal = self.link.outbound.recv() => match signal {
                    Some(signal) => enqueue(&mut self.link, &mut self.waiting, signal.text),
                    None => {
                        let _ = timeout(SEND_TIMEOUT, stream.close(None)).await;
                        return Ok(End::Endpoint);
                    }
                },
                frame = stream.next() => {
                    heard = Instant::now();
                    if let Some(end) = self.on_frame(frame.transpose()?) {
                        return Ok(end);
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Ok(End::Lost("the relay is silent".to_owned()));
                    }
                    send(&mut stream, Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
    }

    fn on_frame(&mut self, frame: Option<Message>) -> Option<End> {
        match frame {
            Some(Message::Text(text)) => {
                self.on_text(text.as_str());
                None
            }
            Some(Message::Close(Some(close))) if u16::from(close.code) == REPLACED => {
                Some(End::Replaced)
            }
            Some(Message::Close(_)) | None => {
                Some(End::Lost("the relay closed the connection".to_owned()))
            }
            Some(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                None
            }
        }
    }

    fn on_text(&self, text: &str) {
        if self.told.as_ref().is_some_and(|told| told.take(text)) {
            return;
        }
        if self.link.inbound.try_send(text.to_owned()).is_err() {
            self.link.status.send_modify(|status| status.dropped += 1);
        }
    }

    /// Waits, and takes what the endpoint wants carried meanwhile. None when the endpoint is gone.
    async fn wait(&mut self, pause: Duration) -> Option<()> {
        tokio::select! {
            () = sleep(pause) => Some(()),
            () = Self::enqueue_all(&mut self.link, &mut self.waiting) => None,
        }
    }

    /// Takes messages until the endpoint is gone.
    async fn enqueue_all(link: &mut Link, waiting: &mut VecDeque<Utf8Bytes>) {
        while let Some(signal) = link.outbound.recv().await {
            enqueue(link, waiting, signal.text);
        }
    }
}

fn enqueue(link: &mut Link, waiting: &mut VecDeque<Utf8Bytes>, text: String) {
    let too_long = text.len() > MAX_MESSAGE;
    if !too_long {
        waiting.push_back(text.into());
    }
    if too_long || (waiting.len() > MAX_WAITING && waiting.pop_front().is_some()) {
        link.status.send_modify(|status| status.dropped += 1);
    }
}

async fn send(stream: &mut Stream, message: Message) -> Result<(), tungstenite::Error> {
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    timeout(SEND_TIMEOUT, stream.send(message))
        .await
        .map_err(late)?
}

/// Half to all of `pause`, so that the peers of a relay that restarts do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [255];
    // Without randomness the whole pause is as good.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 510
}

/// Messages that wait for a connection.
const MAX_WAITING: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A connection that lasted this long counts as a success: the next pause is the first again.
const STABLE: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// A relay that sent nothing for this long, pongs included, is taken for dead.
const SILENCE: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_the_name_of_the_peer_in_its_query() {
        let with = |url| with_query(url, "peer=alice").map(|uri| uri.to_string());
        assert_eq!(with("ws://host").as_deref(), Ok("ws://host/?peer=alice"));
        assert_eq!(
            with("ws://host:1/a?b=c").as_deref(),
            Ok("ws://host:1/a?b=c&peer=alice")
        );
        assert_eq!(
            with("ws://[::1]:80/").as_deref(),
            Ok("ws://[::1]:80/?peer=alice")
        );
        for bad in ["", "host", "wss://host", "http://host", "ws:///x", "ws://"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_too_many_waiting_messages_the_oldest_go_and_are_counted() {
        let (near, mut link) = Signalling::pair();
        let mut waiting = VecDeque::new();
        for i in 0..=MAX_WAITING {
            enqueue(&mut link, &mut waiting, i.to_string());
        }
        assert_eq!(waiting.len(), MAX_WAITING);
        assert_eq!(waiting.front().map(Utf8Bytes::as_str), Some("1"));
        enqueue(&mut link, &mut waiting, "x".repeat(MAX_MESSAGE + 1));
        assert_eq!(near.status.borrow().dropped, 2);
    }

    #[test]
    fn a_pause_is_shortened_by_half_at_most() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(1));
            assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&pause));
        }
    }
}
