//! Two programs over real sockets, and one against a peer that breaks the rules.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bowline::{ChannelKind, Config, Identity, PeerId};
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::{Connection, Endpoint};
use bytes::Bytes;

use super::digest::Hasher;
use super::exchange::{Ending, Event, Exchange, Step};
use super::message::{Cancellation, Chunk, Failure, FileMessage, Refusal, Side};
use super::part::Place;
use super::part::tests::Scratch;
use super::receiving::{MAX_TRANSFERS, WINDOW};
use super::source::Source;
use super::{Digest, sending};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_arrives_whole_and_both_sides_know_its_digest() {
    let scratch = Scratch::new();
    let data = content(1_000_003);
    let mut pair = pair().await;
    pair.offer(&scratch, "a.bin", &data);
    let (transfer, name, size) = pair.offered().await;
    assert_eq!((&*name, size), ("a.bin", data.len() as u64));
    pair.accept(transfer, &scratch, "got.bin");
    let (sent, received) = pair.stories().await;
    let done = format!("done {}", digest(&data));
    assert_eq!(
        (sent.first(), sent.last()),
        (Some(&"began 0".to_owned()), Some(&done))
    );
    assert_eq!(sent.iter().rev().nth(1), Some(&"stored 1000003".to_owned()));
    assert_eq!(received.last(), Some(&format!("{done} got.bin")));
    assert_eq!(fs::read(scratch.0.join("got.bin")).expect("exists"), data);
    assert_eq!(scratch.names(), ["a.bin", "got.bin"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_arrives() {
    let scratch = Scratch::new();
    let mut pair = pair().await;
    pair.offer(&scratch, "empty", b"");
    let (transfer, ..) = pair.offered().await;
    pair.accept(transfer, &scratch, "got");
    let (sent, received) = pair.stories().await;
    let done = format!("done {}", digest(b""));
    assert_eq!(sent, ["began 0", &*done]);
    assert_eq!(received, [format!("{done} got")]);
    assert_eq!(fs::read(scratch.0.join("got")).expect("exists"), b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_gone_on_with_and_a_damaged_one_begun_anew() {
    for (damage, begin) in [(false, "began 300000"), (true, "began 0")] {
        let scratch = Scratch::new();
        let data = content(700_000);
        let mut part = data[..300_000].to_vec();
        part[100_000] ^= u8::from(damage);
        fs::write(scratch.0.join("got.bowline-part"), part).expect("writes");
        let mut pair = pair().await;
        pair.offer(&scratch, "a.bin", &data);
        let (transfer, ..) = pair.offered().await;
        pair.accept(transfer, &scratch, "got");
        let (sent, received) = pair.stories().await;
        assert_eq!(sent.first().map(String::as_str), Some(begin));
        assert_eq!(
            received.last(),
            Some(&format!("done {} got", digest(&data)))
        );
        assert_eq!(fs::read(scratch.0.join("got")).expect("exists"), data);
        assert_eq!(scratch.names(), ["a.bin", "got"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_can_be_declined_and_a_transfer_cancelled_by_either_side() {
    let scratch = Scratch::new();
    let mut pair = pair().await;
    let data = content(30_000_000);
    pair.offer(&scratch, "a.bin", &data);
    let (transfer, ..) = pair.offered().await;
    pair.there.stop(Side::Receiver, transfer);
    let sent = until(&mut pair.there, &mut Vec::new(), story(&mut pair.here)).await;
    assert_eq!(sent, ["refused Declined"]);

    for side in [Side::Sender, Side::Receiver] {
        let number = pair.offer(&scratch, "a.bin", &data);
        let (transfer, ..) = pair.offered().await;
        pair.accept(transfer, &scratch, "got");
        let middle = async {
            let stored = |event: &Event| {
                matches!(
                    event,
                    Event::Transfer {
                        step: Step::Progress { .. },
                        ..
                    }
                )
            };
            while !stored(&pair.here.next().await.expect("connected")) {}
        };
        until(&mut pair.there, &mut Vec::new(), middle).await;
        let (stopped, other, number) = match side {
            Side::Sender => (&mut pair.here, &mut pair.there, number),
            Side::Receiver => (&mut pair.there, &mut pair.here, transfer),
        };
        stopped.stop(side, number);
        let told = until(stopped, &mut Vec::new(), story(other)).await;
        assert_eq!(told.last(), Some(&format!("cancelled by {side:?}")));
    }
    assert_eq!(scratch.names(), ["a.bin", "got.bowline-part"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_cannot_choose_the_path_or_an_impossible_size() {
    let (mut exchange, peer) = one_and_a_raw_peer().await;
    let offers = [
        ("../up", 1, Refusal::Name),
        ("/etc/passwd", 1, Refusal::Name),
        ("C:\\boot.ini", 1, Refusal::Name),
        (".bashrc", 1, Refusal::Name),
        ("a\u{202e}b", 1, Refusal::Name),
        ("a\x1b[2J", 1, Refusal::Name),
        ("", 1, Refusal::Name),
        ("a", 1 << 53, Refusal::Size),
    ];
    for (name, size, reason) in offers {
        let (transfer, name) = (9, name.to_owned());
        say(
            &peer,
            &FileMessage::Offer {
                transfer,
                name: name.clone(),
                size,
            },
        )
        .await;
        let event = soon(exchange.next()).await.expect("connected");
        assert!(
            matches!(event, Event::OfferRefused { name: n, reason: r } if (&n, r) == (&name, reason))
        );
        let answer = until(&mut exchange, &mut Vec::new(), hear(&peer)).await;
        assert_eq!(answer, FileMessage::Refuse { transfer, reason });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_offer_too_many_is_refused_as_busy() {
    let (mut exchange, peer) = one_and_a_raw_peer().await;
    let last = u32::try_from(MAX_TRANSFERS).expect("few");
    for transfer in 0..=last {
        let (name, size) = ("a".to_owned(), 1);
        say(
            &peer,
            &FileMessage::Offer {
                transfer,
                name,
                size,
            },
        )
        .await;
        let event = soon(exchange.next()).await.expect("connected");
        let offered = matches!(event, Event::Offered { transfer: t, .. } if t == transfer);
        assert_eq!(offered, transfer < last);
    }
    let answer = until(&mut exchange, &mut Vec::new(), hear(&peer)).await;
    let reason = Refusal::Busy;
    assert_eq!(
        answer,
        FileMessage::Refuse {
            transfer: last,
            reason
        }
    );
    // What we offer has a bound, too.
    let scratch = Scratch::new();
    fs::write(scratch.0.join("a"), "a").expect("writes");
    let offer = |exchange: &mut Exchange| {
        exchange.offer(Source::open(&scratch.0.join("a")).expect("opens"))
    };
    for _ in 0..sending::MAX_TRANSFERS {
        offer(&mut exchange).expect("there is room");
    }
    offer(&mut exchange).expect_err("there is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_checksum_fails_and_leaves_no_file() {
    let scratch = Scratch::new();
    let (mut exchange, peer) = accepted(&scratch, 5, 0).await;
    chunk(&peer, 0, b"hello").await;
    let (transfer, sha256) = (1, digest(b"HELLO"));
    let end = FileMessage::End { transfer, sha256 };
    peer.send(ChannelKind::File, end.to_message())
        .await
        .expect("queued");
    let mut told = Vec::new();
    let answers = until(&mut exchange, &mut told, hear_until_end(&peer)).await;
    assert_eq!(
        told.last().map(String::as_str),
        Some("failed Checksum: the file is not what was sent")
    );
    let reason = Failure::Checksum;
    assert_eq!(answers, FileMessage::Failed { transfer, reason });
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_break_the_rules_end_the_transfer_and_nothing_else() {
    let size = 2 * WINDOW;
    let begin: &[(u64, usize)] = &[(0, 10)];
    let table: [(&[(u64, usize)], &str); 5] = [
        (
            &[(0, 10), (5, 10)],
            "a chunk begins at 5, which is not its turn",
        ),
        (&[(7, 10)], "a chunk begins at 7, which is not its turn"),
        (
            &[(0, 10), (u64::MAX - 3, 10)],
            "a chunk begins at 18446744073709551612, which is not its turn",
        ),
        (begin, "the file ended early"),
        (&[], "the file ended early"),
    ];
    for (chunks, detail) in table {
        let scratch = Scratch::new();
        let (mut exchange, peer) = accepted(&scratch, size, 0).await;
        for (offset, len) in chunks {
            chunk(&peer, *offset, &vec![1; *len]).await;
        }
        let (transfer, sha256) = (1, digest(b""));
        let end = FileMessage::End { transfer, sha256 };
        peer.send(ChannelKind::File, end.to_message())
            .await
            .expect("queued");
        let mut told = Vec::new();
        let answer = until(&mut exchange, &mut told, hear_until_end(&peer)).await;
        assert_eq!(told.last(), Some(&format!("failed Protocol: {detail}")));
        let reason = Failure::Protocol;
        assert_eq!(answer, FileMessage::Failed { transfer, reason });
        assert_eq!(scratch.names(), ["got.bowline-part"]);
        // The connection goes on.
        let (transfer, name, size) = (2, "b".to_owned(), 1);
        say(
            &peer,
            &FileMessage::Offer {
                transfer,
                name,
                size,
            },
        )
        .await;
        let next = soon(exchange.next()).await;
        assert!(
            matches!(next, Some(Event::Offered { transfer: 2, .. })),
            "{next:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_data_than_was_offered_ends_the_transfer() {
    let scratch = Scratch::new();
    let (mut exchange, peer) = accepted(&scratch, 5, 0).await;
    chunk(&peer, 0, b"hello!").await;
    let mut told = Vec::new();
    let _ = until(&mut exchange, &mut told, hear_until_end(&peer)).await;
    assert_eq!(
        told,
        ["failed Protocol: there is more data than was offered"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_done_too_early_is_not_believed() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("a"), "content").expect("writes");
    let (mut exchange, peer) = one_and_a_raw_peer().await;
    let source = Source::open(&scratch.0.join("a")).expect("opens");
    let transfer = exchange.offer(source).expect("there is room");
    let answers = async {
        assert!(matches!(
            hear(&peer).await,
            FileMessage::Offer { size: 7, .. }
        ));
        say(&peer, &FileMessage::Done { transfer }).await;
        hear(&peer).await
    };
    let mut told = Vec::new();
    let answer = until(&mut exchange, &mut told, answers).await;
    assert_eq!(
        told,
        ["failed Protocol: the receiver is done before the file is"]
    );
    let (by, reason) = (Side::Sender, Cancellation::Cancelled);
    assert_eq!(
        answer,
        FileMessage::Cancel {
            transfer,
            by,
            reason
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_stays_within_the_window() {
    let scratch = Scratch::new();
    let data = content(300_000);
    fs::write(scratch.0.join("a"), &data).expect("writes");
    let (mut exchange, peer) = one_and_a_raw_peer().await;
    let source = Source::open(&scratch.0.join("a")).expect("opens");
    let transfer = exchange.offer(source).expect("there is room");
    let receiver = async {
        hear(&peer).await;
        let (offset, sha256, window) = (0, digest(b""), 1_000);
        say(
            &peer,
            &FileMessage::Accept {
                transfer,
                offset,
                sha256,
                window,
            },
        )
        .await;
        let mut got = Vec::new();
        while got.len() < data.len() {
            // All that may come before we say that we have it, and no more.
            let before = got.len();
            while got.len() < data.len().min(before + 1_000) {
                let message = soon(peer.recv_from(ChannelKind::File))
                    .await
                    .expect("connected");
                let chunk = Chunk::parse(&message.data).expect("valid");
                assert_eq!(chunk.offset, got.len() as u64);
                got.extend_from_slice(&chunk.data);
            }
            if before == 0 {
                let more = peer.recv_from(ChannelKind::File);
                let more = tokio::time::timeout(Duration::from_millis(300), more).await;
                assert!(more.is_err(), "more than the window is under way");
            }
            let received = got.len() as u64;
            say(&peer, &FileMessage::Progress { transfer, received }).await;
        }
        assert_eq!(got, data);
        let end = soon(peer.recv_from(ChannelKind::File))
            .await
            .expect("connected");
        let sha256 = digest(&data);
        assert_eq!(
            end.as_text().and_then(FileMessage::parse),
            Some(FileMessage::End { transfer, sha256 })
        );
        say(&peer, &FileMessage::Done { transfer }).await;
    };
    let (told, ()) = tokio::join!(story(&mut exchange), receiver);
    assert_eq!(told.last(), Some(&format!("done {}", digest(&data))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_chunks_arrive_whole_however_many_they_are() {
    let scratch = Scratch::new();
    let data = content(3_000);
    let (mut exchange, peer) = accepted(&scratch, data.len() as u64, 0).await;
    let sender = async {
        for (offset, byte) in data.iter().enumerate() {
            chunk(&peer, offset as u64, &[*byte]).await;
        }
        let (transfer, sha256) = (1, digest(&data));
        let end = FileMessage::End { transfer, sha256 };
        peer.send(ChannelKind::File, end.to_message())
            .await
            .expect("queued");
        hear_until_end(&peer).await
    };
    let mut told = Vec::new();
    let answer = until(&mut exchange, &mut told, sender).await;
    assert_eq!(answer, FileMessage::Done { transfer: 1 });
    assert_eq!(told.last(), Some(&format!("done {} got", digest(&data))));
}

/// Two programs.
struct Pair {
    here: Exchange,
    there: Exchange,
    _endpoints: [Endpoint; 2],
}

impl Pair {
    fn offer(&mut self, scratch: &Scratch, name: &str, data: &[u8]) -> u32 {
        let path = scratch.0.join(name);
        fs::write(&path, data).expect("writes");
        let source = Source::open(&path).expect("opens");
        self.here.offer(source).expect("there is room")
    }

    /// What the other side is offered.
    async fn offered(&mut self) -> (u32, String, u64) {
        let event = until(&mut self.here, &mut Vec::new(), self.there.next()).await;
        match event {
            Some(Event::Offered {
                transfer,
                name,
                size,
            }) => (transfer, name.to_string(), size),
            other => panic!("an offer was expected, not {other:?}"),
        }
    }

    /// What each side saw of the transfer, this side first.
    async fn stories(&mut self) -> (Vec<String>, Vec<String>) {
        let mut received = Vec::new();
        let sent = until(&mut self.there, &mut received, story(&mut self.here)).await;
        if !received.last().is_some_and(|step| is_end(step)) {
            received.extend(story(&mut self.there).await);
        }
        (sent, received)
    }

    fn accept(&mut self, transfer: u32, scratch: &Scratch, name: &str) {
        let place = scratch.place(name);
        self.there.accept(transfer, |_| place);
    }
}

async fn pair() -> Pair {
    let (endpoints, here, there) = connected().await;
    Pair {
        here: Exchange::new(here, None),
        there: Exchange::new(there, None),
        _endpoints: endpoints,
    }
}

async fn one_and_a_raw_peer() -> (Exchange, Connection) {
    let (endpoints, here, there) = connected().await;
    // They live as long as their connections.
    drop(endpoints);
    (Exchange::new(here, None), there)
}

/// A program that has accepted the transfer 1 of so many bytes, and what it said it has of it.
async fn accepted(scratch: &Scratch, size: u64, offset: u64) -> (Exchange, Connection) {
    let (mut exchange, peer) = one_and_a_raw_peer().await;
    let (transfer, name) = (1, "a".to_owned());
    say(
        &peer,
        &FileMessage::Offer {
            transfer,
            name,
            size,
        },
    )
    .await;
    let event = soon(exchange.next()).await;
    assert!(matches!(event, Some(Event::Offered { transfer: 1, .. })));
    let place = Place {
        ..scratch.place("got")
    };
    exchange.accept(1, |_| place);
    let answer = until(&mut exchange, &mut Vec::new(), hear(&peer)).await;
    assert!(
        matches!(answer, FileMessage::Accept { offset: o, window: WINDOW, .. } if o == offset),
        "{answer:?}"
    );
    (exchange, peer)
}

async fn connected() -> ([Endpoint; 2], Connection, Connection) {
    let hub = MemoryHub::new();
    let endpoint = |name: &str| {
        let id = PeerId::new(name).expect("valid");
        let config = Config::builder().loopback(true).ipv6(false).build();
        Endpoint::builder(Identity::without_key(id))
            .config(config.expect("valid"))
            .bind_address("127.0.0.1:0".parse().expect("valid"))
            .signalling(hub.join(id))
            .bind()
            .expect("binds")
    };
    let (alice, bob) = (endpoint("alice"), endpoint("bob"));
    let accepting = async { bob.accept().await.expect("open").accept().await };
    let both = async { tokio::join!(alice.connect(bob.id()), accepting) };
    let (there, here) = soon(both).await;
    (
        [alice, bob],
        there.expect("comes up"),
        here.expect("comes up"),
    )
}

/// The steps of a transfer, until it is over.
async fn story(exchange: &mut Exchange) -> Vec<String> {
    let mut told = Vec::new();
    while !told.last().is_some_and(|step: &String| is_end(step)) {
        let event = soon(exchange.next()).await.expect("connected");
        told.extend(shown(event));
    }
    told
}

/// Lets an exchange work until `future` is ready, and notes the steps of its transfer.
async fn until<T>(
    exchange: &mut Exchange,
    told: &mut Vec<String>,
    future: impl Future<Output = T>,
) -> T {
    let working = async {
        while let Some(event) = exchange.next().await {
            told.extend(shown(event));
        }
        panic!("the connection ended");
    };
    tokio::select! {
        value = soon(future) => value,
        () = working => unreachable!("it works until the connection ends"),
    }
}

fn is_end(step: &str) -> bool {
    !step.starts_with("began") && !step.starts_with("stored")
}

fn shown(event: Event) -> Option<String> {
    let Event::Transfer { step, .. } = event else {
        return None;
    };
    Some(match step {
        Step::Began { offset } => format!("began {offset}"),
        Step::Progress { received } => format!("stored {received}"),
        Step::Done { digest, path } => {
            let name = path.as_deref().and_then(Path::file_name);
            let name = name.map(|name| format!(" {}", name.display()));
            format!("done {digest}{}", name.unwrap_or_default())
        }
        Step::Ended(Ending::Refused(reason)) => format!("refused {reason:?}"),
        Step::Ended(Ending::Failed { reason, detail }) => format!("failed {reason:?}: {detail}"),
        Step::Ended(Ending::Cancelled { by, .. }) => format!("cancelled by {by:?}"),
        Step::Ended(Ending::Source(detail)) => format!("source: {detail}"),
    })
}

async fn say(peer: &Connection, message: &FileMessage) {
    let sent = peer.send(ChannelKind::Control, message.to_message()).await;
    sent.expect("queued");
}

async fn hear(peer: &Connection) -> FileMessage {
    let message = soon(peer.recv_from(ChannelKind::Control)).await;
    let message = message.expect("connected");
    message
        .as_text()
        .and_then(FileMessage::parse)
        .expect("valid")
}

/// The answer that ends a transfer.
async fn hear_until_end(peer: &Connection) -> FileMessage {
    loop {
        match hear(peer).await {
            FileMessage::Progress { .. } => {}
            answer => return answer,
        }
    }
}

async fn chunk(peer: &Connection, offset: u64, data: &[u8]) {
    let message = [&Chunk::header(1, offset), data].concat();
    let sent = peer.send(ChannelKind::File, Bytes::from(message)).await;
    sent.expect("queued");
}

fn digest(data: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(data);
    hasher.digest()
}

/// Bytes that do not repeat soon.
fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 31 + i / 251 + i / 65_537) % 256).expect("is a byte"))
        .collect()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(30), future).await;
    waited.expect("it comes in time")
}
