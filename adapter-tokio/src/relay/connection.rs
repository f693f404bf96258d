use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tracing::{debug, info};

use super::http::{Arrival, Guest, greet};
use super::limits::Bucket;
use super::rooms::{Feed, Ticket};
use super::route::Route;
use super::{Phase, REPLACED, Shared};

/// Serves one connection until it ends.
pub(super) async fn run(stream: TcpStream, tls: Option<TlsAcceptor>, shared: &Shared) {
    // Small messages that somebody waits for; without it they wait for each other.
    let _ = stream.set_nodelay(true);
    let greeting = async {
        match tls {
            None => greet(stream, shared).await,
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => greet(stream, shared).await,
                Err(error) => {
                    debug!(%error, "no TLS");
                    Err(Guest::Nobody)
                }
            },
        }
    };
    let greeted = timeout(shared.limits.hello, greeting).await;
    match greeted.unwrap_or(Err(Guest::Nobody)) {
        Ok(arrival) => serve(arrival, shared).await,
        Err(Guest::Visitor) => {}
        Err(Guest::Nobody) => shared.counters.unnamed.add(),
    }
}

async fn serve((ticket, feed, upgraded): Arrival, shared: &Shared) {
    let peer = ticket.peer;
    info!(%peer, "peer connected");
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(shared.limits.message))
        .max_frame_size(Some(shared.limits.message));
    let member = Member {
        stream: WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await,
        ticket,
        feed,
        shared,
    };
    let result = member.serve().await;
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

/// A connection that has a place in a room.
struct Member<'a> {
    ticket: Ticket,
    feed: Feed,
    stream: WebSocketStream<TokioIo<Upgraded>>,
    shared: &'a Shared,
}

impl Member<'_> {
    async fn serve(mut self) -> Result<(), tungstenite::Error> {
        let limits = &self.shared.limits;
        let mut bucket = Bucket::new(limits, Instant::now());
        let mut ping = interval(limits.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut offers = self.offers();
        let mut phase = self.shared.phase.subscribe();
        let mut leaving = None;
        // Before the presence, which makes members connect to each other.
        if let Some(offers) = &mut offers {
            offers.tick().await;
            self.offer().await?;
        }
        loop {
            tokio::select! {
                frame = self.stream.next() => {
                    heard = Instant::now();
                    match frame.transpose()? {
                        Some(frame) => self.on_frame(frame, &mut bucket, heard),
                        None => return Ok(()),
                    }
                }
                text = self.feed.messages.recv() => match text {
                    Some(text) => self.send(Message::Text(text)).await?,
                    None => return self.replaced().await,
                },
                Ok(()) = self.feed.presence.changed() => {
                    let text = self.feed.presence.borrow_and_update().clone();
                    self.send(Message::Text(text)).await?;
                }
                () = due(&mut offers) => self.offer().await?,
                within = draining(&mut phase), if leaving.is_none() => {
                    leaving = Some(Box::pin(sleep(part_of(within))));
                }
                () = until(&mut leaving) => return self.moved().await,
                _ = ping.tick() => {
                    if heard.elapsed() >= limits.idle {
                        return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
    }

    /// When ICE servers are to be told. Never in the room without a name, whose members expect envelopes only.
    fn offers(&self) -> Option<Interval> {
        let ice = self.shared.ice.as_ref();
        let ice = ice.filter(|_| self.ticket.room.is_some())?;
        let mut offers = interval(ice.interval());
        offers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(offers)
    }

    async fn offer(&mut self) -> Result<(), tungstenite::Error> {
        match (&self.shared.ice, &self.ticket.room) {
            (Some(ice), Some(room)) => {
                let frame = ice.frame(room, self.ticket.peer);
                self.send(Message::Text(frame)).await
            }
            (None, _) | (_, None) => Ok(()),
        }
    }

    fn on_frame(&self, frame: Message, bucket: &mut Bucket, now: Instant) {
        let counters = &self.shared.counters;
        match frame {
            Message::Text(_) | Message::Binary(_) if !bucket.take(frame.len(), now) => {
                counters.too_fast.add()
            }
            Message::Text(text) => match Route::of(&text) {
                Some(route) if route.from == self.ticket.peer => {
                    let rooms = &self.shared.rooms;
                    rooms.forward(&self.ticket, route.to, text, counters);
                }
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
        self.close(REPLACED.into(), "replaced").await
    }

    /// The relay drains. What was for the peer is sent first.
    async fn moved(mut self) -> Result<(), tungstenite::Error> {
        while let Ok(text) = self.feed.messages.try_recv() {
            self.send(Message::Text(text)).await?;
        }
        self.close(CloseCode::Restart, "draining").await
    }

    async fn close(
        &mut self,
        code: CloseCode,
        reason: &'static str,
    ) -> Result<(), tungstenite::Error> {
        let frame = CloseFrame {
            code,
            reason: Utf8Bytes::from_static(reason),
        };
        self.send(Message::Close(Some(frame))).await?;
        // RFC 6455 section 7.1.1: the other side closes first. A socket that is closed with something unread in it is reset, and
        // the reason would be lost with it.
        let ends = async { while let Some(Ok(_)) = self.stream.next().await {} };
        let _ = timeout(self.shared.limits.hello, ends).await;
        Ok(())
    }
}

/// Waits until the relay drains, and gives the time within which connections are to be closed.
async fn draining(phase: &mut watch::Receiver<Phase>) -> Duration {
    let mut within = Duration::ZERO;
    let drains = phase.wait_for(|phase| match phase {
        Phase::Serving => false,
        Phase::Draining { within: time } => {
            within = *time;
            true
        }
        Phase::Stopped => true,
    });
    let _ = drains.await;
    within
}

/// A random part of a time.
fn part_of(time: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness all come at once, which is as well.
    let _ = getrandom::fill(&mut byte);
    time * u32::from(byte[0]) / 255
}

async fn until(time: &mut Option<Pin<Box<Sleep>>>) {
    match time {
        Some(time) => time.await,
        None => std::future::pending().await,
    }
}

async fn due(offers: &mut Option<Interval>) {
    match offers {
        Some(offers) => {
            offers.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Most messages are far smaller than the library's 128 KiB, and there may be thousands of connections.
const READ_BUFFER: usize = 4 * 1_024;
