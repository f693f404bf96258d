use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bowline::PeerId;
use futures_util::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tracing::{debug, info};

use super::room::{InvalidRoomName, Presence, RoomName, Told};
use super::{Link, MAX_MESSAGE, Signalling};
use crate::needs::{Stream, Tls, Untrusted, open};
use crate::relay::REPLACED;

/// Makes a link to the relay at `url` that speaks as `id`: that of [`Relays::websocket`], for one relay.
///
/// # Errors
///
/// [`InvalidUrl`] when `url` is none for [`Relays::new`].
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn websocket(url: &str, id: PeerId) -> Result<Signalling, InvalidUrl> {
    Ok(Relays::new([url])?.websocket(id))
}

/// Makes a link to the relay at `url` that speaks as `id` in the room `room`, and tells who else is in it: that of
/// [`Relays::room`], for one relay.
///
/// # Errors
///
/// [`JoinError`] when `url` is none for [`Relays::new`], or `room` is not a name of 1 to 64 characters of
/// `A-Z a-z 0-9 . _ -`.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn room(url: &str, room: &str, id: PeerId) -> Result<(Signalling, Presence), JoinError> {
    Ok(Relays::new([url])?.room(room, id)?)
}

/// Where relays are (see [`Relay`](crate::relay::Relay)): one, or several that share their rooms.
///
/// A link begins with any of them. It connects in the background, and again whenever the connection is lost, then to another
/// one: after 250 ms, and twice as long each time that all have failed, up to 10 s, less a random part. Meanwhile up to 256 messages wait; of more
/// the oldest are dropped and counted in [`LinkStatus::dropped`](super::LinkStatus::dropped). It ends with its endpoint.
///
/// ```
/// use bowline_tokio::signalling::Relays;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let relays = Relays::new(["wss://a.relay.example", "wss://b.relay.example/?token=TOKEN"])?;
/// let (signalling, presence) = relays.room("kitchen", "alice".parse()?)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Relays {
    uris: Vec<Uri>,
    roots: Vec<Vec<u8>>,
    tls: Arc<Tls>,
}

impl Relays {
    /// Takes the URLs of relays, of the form `ws://HOST[:PORT][/PATH][?QUERY]`, or `wss:` for TLS. An access token is in the
    /// query: `?token=TOKEN`.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] for one that is not of this form, or when there is none.
    pub fn new<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, InvalidUrl> {
        let uris = urls.into_iter().map(|url| parse(url.as_ref()));
        let uris: Vec<_> = uris.collect::<Result<_, _>>()?;
        if uris.is_empty() {
            return Err(InvalidUrl(String::new()));
        }
        Ok(Self {
            uris,
            roots: Vec::new(),
            tls: Arc::new(Tls::of_machine()),
        })
    }

    /// Trusts the relays that this certificate (DER) stands for, or has signed, besides those that the machine trusts. May be
    /// called again for further certificates.
    ///
    /// # Errors
    ///
    /// [`InvalidCertificate`] when it cannot be read.
    pub fn root_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
    ) -> Result<Self, InvalidCertificate> {
        self.roots.push(certificate.into());
        let tls = Tls::new(self.roots.clone()).map_err(|Untrusted| InvalidCertificate)?;
        self.tls = Arc::new(tls);
        Ok(self)
    }

    /// Makes a link that speaks as `id`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn websocket(&self, id: PeerId) -> Signalling {
        self.start(&format!("peer={id}"), None)
    }

    /// Makes a link that speaks as `id` in the room `room`, and tells who else is in it.
    ///
    /// It is a link as [`websocket`](Self::websocket) makes it, but that it reaches the peers of this room only. When two
    /// peers of a room want to connect, let the one with the lower id call [`connect`](crate::Endpoint::connect) and the other
    /// accept. Where the room is full, the link stays down, says so in
    /// [`LinkStatus::last_error`](super::LinkStatus::last_error), and tries again.
    ///
    /// # Errors
    ///
    /// [`InvalidRoomName`] when `room` is not a name of 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn room(&self, room: &str, id: PeerId) -> Result<(Signalling, Presence), InvalidRoomName> {
        let room = RoomName::new(room)?;
        let (told, presence) = Presence::pair();
        let signalling = self.start(&format!("peer={id}&room={room}"), Some(told));
        Ok((signalling, presence))
    }

    fn start(&self, query: &str, told: Option<Told>) -> Signalling {
        let (signalling, link) = Signalling::pair();
        link.status.send_modify(|status| status.up = false);
        // One that is as long as a URL may be is left out.
        let uris = self.uris.iter().filter_map(|uri| with_query(uri, query));
        let carrier = Carrier {
            uris: uris.collect(),
            tls: Arc::clone(&self.tls),
            link,
            told,
            waiting: VecDeque::new(),
            up_since: None,
        };
        tokio::spawn(carrier.run());
        signalling
    }
}

/// Shows no queries: there may be tokens in them.
impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.uris.iter().map(Uri::authority);
        f.debug_list().entries(hosts.flatten()).finish()
    }
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

/// A URL that [`Relays::new`] refused; shown without its query.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a ws:// or wss:// url: {0}")]
pub struct InvalidUrl(String);

/// What [`Relays::root_certificate`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a certificate in DER")]
pub struct InvalidCertificate;

fn parse(url: &str) -> Result<Uri, InvalidUrl> {
    let shown = url.split('?').next().unwrap_or_default();
    let uri: Option<Uri> = url.parse().ok();
    let valid = uri.filter(|uri| {
        let scheme = matches!(uri.scheme_str(), Some("ws" | "wss"));
        scheme && uri.host().is_some_and(|host| !host.is_empty())
    });
    valid.ok_or_else(|| InvalidUrl(shown.to_owned()))
}

/// The URL with `added` at the end of its query.
fn with_query(uri: &Uri, added: &str) -> Option<Uri> {
    let query = uri
        .query()
        .map_or_else(|| added.to_owned(), |q| format!("{q}&{added}"));
    let target = format!("{}?{query}", uri.path());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The task that keeps one link.
struct Carrier {
    uris: Vec<Uri>,
    tls: Arc<Tls>,
    link: Link,
    /// Where the relay's word on the room goes, if the link is in one.
    told: Option<Told>,
    waiting: VecDeque<Utf8Bytes>,
    /// When the connection came up, where there is one.
    up_since: Option<Instant>,
}

/// Why a connection ended.
enum End {
    /// The endpoint is gone: nobody needs the link.
    Endpoint,
    /// The connection is lost.
    Lost(String),
    /// Another process took our name: to fight for it at full speed helps nobody.
    Replaced,
    /// The relay is about to end, and says so: another one is there, or it will be again soon.
    Moved,
}

type Socket = WebSocketStream<Box<dyn Stream>>;

impl Carrier {
    async fn run(mut self) {
        let relays = self.uris.len();
        let mut at = usize::from(random_byte()) % relays.max(1);
        // In a row, of connections that did not last.
        let mut failures = 0;
        loop {
            let end = self.connect_and_carry(at).await;
            let lasted = self.up_since.take().map(|since| since.elapsed());
            failures = match lasted {
                Some(time) if time > STABLE => 0,
                Some(_) | None => failures + 1,
            };
            let (reason, pause) = match end {
                End::Endpoint => return,
                End::Lost(reason) => (reason, pause_after(failures, relays)),
                End::Replaced => {
                    let reason = "another connection has taken this name".to_owned();
                    (reason, LONGEST_PAUSE)
                }
                End::Moved => ("the relay is about to end".to_owned(), FIRST_PAUSE),
            };
            debug!(%reason, "the signalling link is down");
            self.link.status.send_modify(|status| {
                status.up = false;
                status.last_error = Some(reason);
            });
            if self.wait(jittered(pause)).await.is_none() {
                return;
            }
            at = another(at, relays, random_byte());
        }
    }

    async fn connect_and_carry(&mut self, at: usize) -> End {
        let Some(uri) = self.uris.get(at) else {
            return End::Lost("the url is too long".to_owned());
        };
        let connecting = connect(uri.clone(), Arc::clone(&self.tls));
        let stream = tokio::select! {
            result = timeout(CONNECT_TIMEOUT, connecting) => match result {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return End::Lost(error.to_string()),
                Err(_) => return End::Lost("the relay does not answer".to_owned()),
            },
            () = Self::enqueue_all(&mut self.link, &mut self.waiting) => return End::Endpoint,
        };
        info!("the signalling link is up");
        self.up_since = Some(Instant::now());
        self.link.status.send_modify(|status| {
            status.up = true;
            status.connects += 1;
        });
        self.carry(stream)
            .await
            .unwrap_or_else(|error| End::Lost(error.to_string()))
    }

    /// Carries messages both ways until something ends.
    async fn carry(&mut self, mut stream: Socket) -> Result<End, tungstenite::Error> {
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
            Some(Message::Close(Some(close)))
                if matches!(close.code, CloseCode::Restart | CloseCode::Away) =>
            {
                Some(End::Moved)
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

async fn connect(uri: Uri, tls: Arc<Tls>) -> Result<Socket, tungstenite::Error> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_secure = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let server = is_secure.then(|| (tls, host.to_owned()));
    let (stream, _) = open((host, port), server).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let (socket, _) = client_async_with_config(uri, stream, Some(config)).await?;
    Ok(socket)
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

async fn send(stream: &mut Socket, message: Message) -> Result<(), tungstenite::Error> {
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    timeout(SEND_TIMEOUT, stream.send(message))
        .await
        .map_err(late)?
}

/// Which relay to try after one. Not always the next: those of a relay that dies would all go to the same.
fn another(at: usize, relays: usize, random: u8) -> usize {
    match relays.saturating_sub(1) {
        0 => at,
        others => (at + 1 + usize::from(random) % others) % relays,
    }
}

/// How long to wait after so many failures in a row: longer after each time that all relays have failed.
fn pause_after(failures: usize, relays: usize) -> Duration {
    let rounds = failures.saturating_sub(1) / relays.max(1);
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let pause = 2_u32
        .checked_pow(rounds)
        .map(|times| FIRST_PAUSE.saturating_mul(times));
    pause.map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
}

/// Half to all of `pause`, so that the peers of a relay that restarts do not come back in step.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause * u32::from(random_byte()) / 510
}

/// Without randomness the highest is as good.
fn random_byte() -> u8 {
    let mut byte = [255];
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

/// Messages that wait for a connection.
const MAX_WAITING: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A connection that lasted this long counts as a success: the next pause is the first again.
const STABLE: Duration = Duration::from_secs(1);
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
        let with = |url| {
            let uri = parse(url)?;
            Ok::<_, InvalidUrl>(with_query(&uri, "peer=alice").expect("a URL").to_string())
        };
        assert_eq!(with("ws://host").as_deref(), Ok("ws://host/?peer=alice"));
        assert_eq!(
            with("ws://host:1/a?b=c").as_deref(),
            Ok("ws://host:1/a?b=c&peer=alice")
        );
        assert_eq!(
            with("ws://[::1]:80/").as_deref(),
            Ok("ws://[::1]:80/?peer=alice")
        );
        assert_eq!(
            with("wss://host/?token=x").as_deref(),
            Ok("wss://host/?token=x&peer=alice")
        );
        for bad in ["", "host", "http://host", "ws:///x", "ws://", "wss://"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        let refused = Relays::new(["http://host/?token=secret"]).expect_err("no ws");
        assert_eq!(
            refused.to_string(),
            "not a ws:// or wss:// url: http://host/"
        );
        let relays = Relays::new(["ws://a:1/?token=secret", "wss://b"]).expect("valid");
        assert_eq!(format!("{relays:?}"), "[a:1, b]");
        let none: [&str; 0] = [];
        assert!(Relays::new(none).is_err());
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
    fn after_a_relay_any_other_is_tried() {
        let tried = |at, relays| {
            let tried = (0..=255).map(|random| another(at, relays, random));
            tried.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(tried(1, 3), [0, 2].into());
        assert_eq!(tried(2, 3), [0, 1].into());
        assert_eq!(tried(1, 2), [0].into());
        assert_eq!((tried(0, 1), tried(0, 0)), ([0].into(), [0].into()));
    }

    #[test]
    fn pauses_double_after_each_round_up_to_the_longest() {
        let pauses = |relays, failures: &[usize]| {
            let pauses = failures.iter().map(|n| pause_after(*n, relays).as_millis());
            pauses.collect::<Vec<_>>()
        };
        let one = pauses(1, &[0, 1, 2, 3, 6, 7, 100, usize::MAX]);
        assert_eq!(one, [250, 250, 500, 1_000, 8_000, 10_000, 10_000, 10_000]);
        assert_eq!(pauses(3, &[1, 3, 4, 6, 7]), [250, 250, 500, 500, 1_000]);
    }

    #[test]
    fn a_pause_is_shortened_by_half_at_most() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(1));
            assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&pause));
        }
    }
}
