#![allow(
    clippy::disallowed_methods,
    reason = "what runs a machine brings its clock"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::frame::{Branch, Header, MAX_NAMES, MAX_ROOMS, Name, Route, redacted};
use super::members::{Change, Members, Record, Standing};
use super::ring::{Place, neighbours};
use super::tree::Tree;
use super::*;
use crate::crypto::sha256;
use crate::rng::Seed;
use crate::signal::{Identity, Protection};

const SECOND: Duration = Duration::from_secs(1);

fn id(n: usize) -> PeerId {
    format!("member-{n:04}").parse().expect("valid")
}

fn place(n: usize) -> Place {
    Place::new(sha256(&n.to_be_bytes()))
}

fn record(n: usize, incarnation: u64, standing: Standing) -> Record {
    Record {
        peer: id(n),
        incarnation,
        standing,
        signature: None,
    }
}

fn all_standings() -> [Standing; 4] {
    [
        Standing::Here,
        Standing::Suspect,
        Standing::Lost,
        Standing::Left,
    ]
}

fn token(n: u8) -> Token {
    Token([n; 16])
}

fn name(number: u64) -> Name {
    named(1, number)
}

fn named(epoch: u64, number: u64) -> Name {
    Name {
        from: id(1),
        epoch,
        number,
    }
}

fn header() -> Header {
    Header {
        room: token(7),
        name: name(9),
        time: 1_000,
        text: true,
        signature: None,
    }
}

#[test]
fn a_later_incarnation_counts_and_of_one_the_worse() {
    let now = Instant::now();
    let mut words = Vec::new();
    for incarnation in [1, 2] {
        words.extend(all_standings().map(|standing| record(0, incarnation, standing)));
    }
    for (n, first) in words.iter().enumerate() {
        for (m, second) in words.iter().enumerate() {
            let mut members = Members::new(10, SECOND);
            members.merge(*first, || place(0), now);
            let was = members.record(id(0));
            let change = members.merge(*second, || place(0), now);
            let is_news = match was {
                Some(_) => m > n,
                None => second.standing.is_member(),
            };
            assert_eq!(change != Change::Nothing, is_news, "{first:?} {second:?}");
            let latest = if is_news { Some(*second) } else { was };
            assert_eq!(members.record(id(0)), latest);
        }
    }
}

#[test]
fn whoever_does_not_contradict_is_given_up_and_forgotten_later() {
    let now = Instant::now();
    let mut members = Members::new(10, SECOND);
    let join = members.merge(record(0, 1, Standing::Here), || place(0), now);
    assert_eq!(join, Change::Joined);
    let doubt = members.merge(record(0, 1, Standing::Suspect), || place(0), now);
    assert_eq!(doubt, Change::News);
    assert_eq!(members.poll_timeout(), Some(now + SECOND));
    assert_eq!(members.poll(now), None);
    let lost = record(0, 1, Standing::Lost);
    assert_eq!(members.poll(now + SECOND), Some(lost));
    let gone = members.merge(lost, || place(0), now + SECOND);
    assert_eq!(gone, Change::Gone { lost: true });
    assert!(!members.contains(id(0)));
    let back = members.merge(record(0, 2, Standing::Here), || place(0), now + SECOND);
    assert_eq!(back, Change::Joined);
    let left = members.merge(record(0, 2, Standing::Left), || place(0), now);
    assert_eq!(left, Change::Gone { lost: false });
    assert_eq!(members.poll(now + 299 * SECOND), None);
    assert!(members.record(id(0)).is_some());
    assert_eq!(members.poll(now + 300 * SECOND), None);
    assert!(members.record(id(0)).is_none() && members.poll_timeout().is_none());
}

#[test]
fn at_the_bound_those_who_are_gone_make_room_and_nobody_else_does() {
    let now = Instant::now();
    let mut members = Members::new(2, SECOND);
    for n in 0..2 {
        members.merge(record(n, 1, Standing::Here), || place(n), now);
    }
    let more = record(2, 1, Standing::Here);
    assert_eq!(members.merge(more, || place(2), now), Change::Nothing);
    members.merge(record(0, 1, Standing::Left), || place(0), now);
    assert_eq!(members.merge(more, || place(2), now), Change::Joined);
    assert!(members.record(id(0)).is_none());
}

/// A room of so many.
fn crowd(count: usize) -> (Members, Vec<(PeerId, Place)>) {
    let now = Instant::now();
    let mut members = Members::new(count + 1, SECOND);
    for n in 0..count {
        members.merge(record(n, 1, Standing::Here), || place(n), now);
    }
    (members, (0..count).map(|n| (id(n), place(n))).collect())
}

#[test]
fn all_are_connected_to_all_up_to_the_limit() {
    for count in 1..=13 {
        let (members, all) = crowd(count);
        for (us, place) in &all {
            let wanted = neighbours((*us, place), &members, &[], (12, 8));
            let is_full = count <= 12;
            assert_eq!(
                wanted.len() == count - 1,
                is_full || wanted.len() == 12,
                "{count}"
            );
            assert!(!wanted.contains(us));
        }
    }
}

#[test]
fn in_a_large_room_both_sides_want_a_connection_and_all_are_in_one_piece_without_one() {
    for (count, average) in [(30, 8), (500, 8), (500, 4), (500, 12)] {
        let (members, all) = crowd(count);
        let graph: BTreeMap<_, _> = all
            .iter()
            .map(|(us, place)| (*us, neighbours((*us, place), &members, &[], (12, average))))
            .collect();
        let mut links = 0;
        for (us, wanted) in &graph {
            links += wanted.len();
            assert!(wanted.len() < 4 * average, "{us}: {}", wanted.len());
            assert!(wanted.iter().all(|other| graph[other].contains(us)));
        }
        assert!(links <= count * average && links > count * average * 3 / 4);
        for (gone, _) in all.iter().take(20) {
            let start = all.iter().map(|(peer, _)| *peer).find(|peer| peer != gone);
            let mut reached = BTreeSet::from([*gone]);
            let mut next: VecDeque<_> = start.into_iter().collect();
            while let Some(peer) = next.pop_front() {
                if reached.insert(peer) {
                    next.extend(graph[&peer].iter().copied());
                }
            }
            assert_eq!(reached.len(), count, "without {gone}");
        }
    }
}

#[test]
fn a_publication_counts_once_whatever_the_order() {
    let now = Instant::now();
    let mut tree = Tree::default();
    let mut arrive = |number| {
        let arrival = tree.on_arrival(name(number), 10, now);
        assert!(tree.has(name(number)));
        arrival
    };
    for number in [5, 3, 4, 130, 200] {
        assert_eq!(arrive(number), Arrival::Fresh, "{number}");
        assert_eq!(arrive(number), Arrival::Duplicate, "{number}");
    }
    // The window ends 128 behind the latest.
    assert_eq!(arrive(73), Arrival::Fresh);
    assert_eq!(arrive(72), Arrival::Duplicate);
    assert!(!tree.has(name(199)) && tree.has(name(1)) && !tree.has(name(201)));
}

#[test]
fn numbers_begin_anew_with_another_stay_and_what_is_of_an_earlier_one_is_over() {
    let now = Instant::now();
    let mut tree = Tree::default();
    assert_eq!(tree.on_arrival(named(2, 7), 10, now), Arrival::Fresh);
    assert_eq!(tree.on_arrival(named(3, 1), 10, now), Arrival::Fresh);
    assert_eq!(tree.on_arrival(named(2, 8), 10, now), Arrival::Duplicate);
    assert!(tree.has(named(2, 9)) && !tree.has(named(3, 2)));
}

#[test]
fn an_origin_has_its_pace_and_the_room_its_bound() {
    let now = Instant::now();
    let mut tree = Tree::default();
    for number in 1..=128 {
        assert_eq!(tree.on_arrival(name(number), 1, now), Arrival::Fresh);
    }
    assert_eq!(tree.on_arrival(name(129), 1, now), Arrival::TooFast);
    let later = now + Duration::from_millis(25);
    assert_eq!(tree.on_arrival(name(129), 1, later), Arrival::Fresh);
    let stranger = Name {
        from: id(2),
        ..name(1)
    };
    assert_eq!(tree.on_arrival(stranger, 1, later), Arrival::TooFast);
    assert_eq!(tree.on_arrival(stranger, 2, later), Arrival::Fresh);
}

#[test]
fn what_is_kept_is_bounded_by_count_bytes_and_time() {
    let now = Instant::now();
    let message = |len: usize| Message::binary(vec![0; len]);
    let mut tree = Tree::default();
    for number in 1..=513 {
        tree.keep(name(number), message(1), now);
    }
    assert!(tree.kept(name(1)).is_none() && tree.kept(name(2)).is_some());
    tree.keep(name(600), message(4 * 1024 * 1024), now);
    assert!(tree.kept(name(513)).is_none() && tree.kept(name(600)).is_some());
    tree.keep(name(601), message(1), now + 60 * SECOND);
    assert!(tree.kept(name(600)).is_none() && tree.kept(name(601)).is_some());
}

#[test]
fn every_frame_is_read_as_it_was_written() {
    let (room, route) = (token(1), route(1, 2, 3));
    let branch = Branch {
        root: id(1),
        depth: Some(3),
        parent: true,
    };
    for frame in [
        Frame::Hello {
            relays: true,
            rooms: vec![token(1), token(2)],
        },
        Frame::Digest {
            room,
            buckets: vec![1, u32::MAX],
        },
        Frame::Members {
            room,
            records: all_standings().map(|s| record(1, 2, s)).to_vec(),
            buckets: 3,
        },
        Frame::Tree { room, branch },
        Frame::Have {
            room,
            messages: vec![name(1)],
        },
        Frame::Want {
            room,
            messages: vec![name(1)],
        },
        Frame::Route(route),
    ] {
        let said = Said::Frame(frame);
        assert_eq!(Said::read(&said.write()), Some(said));
    }
    for payload in [&b""[..], b"payload"] {
        let said = Said::Publication(header(), Bytes::from_static(payload));
        assert_eq!(Said::read(&said.write()), Some(said));
    }
}

#[test]
fn what_is_no_frame_is_not_read() {
    let names = |count| Frame::Have {
        room: token(1),
        messages: vec![name(1); count],
    };
    let rooms = |count| Frame::Hello {
        relays: true,
        rooms: vec![token(1); count],
    };
    let reads = |frame: Frame| Said::read(&Said::Frame(frame).write()).is_some();
    assert!(reads(names(MAX_NAMES)) && !reads(names(MAX_NAMES + 1)));
    assert!(reads(rooms(MAX_ROOMS)) && !reads(rooms(MAX_ROOMS + 1)));
    for text in ["", "{}", r#"{"type":"other"}"#, r#"{"type":"prune"}"#, "[]"] {
        assert_eq!(Said::read(&Message::text(text)), None, "{text}");
    }
    let mut unnumbered = header();
    unnumbered.name.number = 0;
    assert_eq!(Said::read(&frame::publication(&unnumbered, b"")), None);
    let whole = frame::publication(&header(), b"").data;
    for len in 0..whole.len() {
        let cut = Message::binary(whole.slice(..len));
        assert_eq!(Said::read(&cut), None, "{len} bytes");
    }
}

#[test]
fn a_recording_has_no_payload_and_no_password() {
    let payload = redacted(&frame::publication(&header(), b"secret"));
    let zeros = Said::Publication(header(), Bytes::from_static(&[0; 6]));
    assert_eq!(Said::read(&payload), Some(zeros));
    let mut route = route(1, 2, 3);
    route.text = r#"{"sdp":"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"}"#.to_owned();
    let redacted = redacted(&Said::Frame(Frame::Route(route)).write());
    assert!(!String::from_utf8_lossy(&redacted.data).contains("0123456789012345678901"));
}

fn route(from: usize, to: usize, id_: u64) -> Route {
    Route {
        from: id(from),
        to: id(to),
        id: id_,
        hops: 3,
        flood: false,
        text: "text".to_owned(),
    }
}

/// A member with neighbours in one room, all in memory.
struct Bench {
    mesh: Mesh,
    sealer: Sealer,
    now: Instant,
}

impl Bench {
    fn new(config: &Config, neighbours: usize) -> Self {
        let now = Instant::now();
        let seed = |n| crate::rng::Rng::new(&Seed::from([n; 32]));
        let mut bench = Self {
            mesh: Mesh::new(id(0), config, sha256, seed(1)),
            sealer: Sealer::replaying(id(0), None, seed(2)),
            now,
        };
        let unix = UnixTime::from_millis(1_000);
        let Self { mesh, sealer, .. } = &mut bench;
        mesh.join("room", sealer, unix, now).expect("joins");
        for n in 1..=neighbours {
            bench.mesh.on_state(id(n), PeerState::Connected, now);
            bench.mesh.on_link_up(id(n));
            let room = bench.mesh.rooms.values().next().expect("joined");
            let rooms = vec![room.proof(id(n), id(0))];
            let relays = true;
            bench.hear(n, Frame::Hello { relays, rooms });
        }
        bench.outputs();
        bench
    }

    fn hear(&mut self, from: usize, frame: Frame) {
        let message = Said::Frame(frame).write();
        let unix = UnixTime::from_millis(1_000);
        self.mesh
            .on_message(id(from), &message, &self.sealer, unix, self.now);
    }

    fn outputs(&mut self) -> Vec<MeshOutput> {
        std::iter::from_fn(|| self.mesh.poll_output()).collect()
    }

    /// To whom signals went.
    fn routed(&mut self) -> Vec<(PeerId, Route)> {
        let routed = |output| match output {
            MeshOutput::Send { to, message } => match Said::read(&message) {
                Some(Said::Frame(Frame::Route(route))) => Some((to, route)),
                _ => None,
            },
            _ => None,
        };
        self.outputs().into_iter().filter_map(routed).collect()
    }
}

#[test]
fn a_signal_goes_everywhere_until_a_way_is_known_and_never_twice() {
    let mut bench = Bench::new(&Config::default(), 4);
    bench.hear(1, Frame::Route(route(8, 9, 1)));
    let routed = bench.routed();
    let to: Vec<_> = routed.iter().map(|(to, _)| *to).collect();
    assert_eq!(to, [id(2), id(3), id(4)], "not back");
    assert!(
        routed
            .iter()
            .all(|(_, route)| route.flood && route.hops == 2)
    );
    bench.hear(2, Frame::Route(route(8, 9, 1)));
    assert_eq!(bench.routed(), [], "it has passed");
    // The answer takes the way on which the question came.
    bench.hear(3, Frame::Route(route(9, 8, 2)));
    let to: Vec<_> = bench.routed().iter().map(|(to, _)| *to).collect();
    assert_eq!(to, [id(1)]);
    // And so does what follows; but what goes everywhere goes everywhere.
    bench.hear(1, Frame::Route(route(8, 9, 3)));
    assert_eq!(bench.routed().len(), 1);
    let flood = Route {
        flood: true,
        ..route(8, 9, 4)
    };
    bench.hear(1, Frame::Route(flood));
    assert_eq!(bench.routed().len(), 3);
    // A neighbour gets what is for it.
    bench.hear(1, Frame::Route(route(8, 4, 5)));
    assert_eq!(bench.routed()[0].0, id(4));
    // A way that is gone is none.
    bench
        .mesh
        .on_state(id(3), PeerState::Disconnected, bench.now);
    bench.hear(1, Frame::Route(route(8, 9, 6)));
    let to: Vec<_> = bench.routed().iter().map(|(to, _)| *to).collect();
    assert_eq!(to, [id(2), id(4)]);
}

#[test]
fn what_was_passed_on_often_enough_goes_no_further_and_nothing_does_against_our_will() {
    let mut bench = Bench::new(&Config::default(), 2);
    let spent = Route {
        hops: 0,
        ..route(8, 9, 1)
    };
    bench.hear(1, Frame::Route(spent.clone()));
    assert_eq!(bench.routed(), []);
    let for_us = Route { to: id(0), ..spent };
    bench.hear(1, Frame::Route(Route { id: 2, ..for_us }));
    let text = "text".to_owned();
    assert_eq!(bench.outputs(), [MeshOutput::Deliver { text }]);
    let config = Config::builder().relays(false).build().expect("valid");
    let mut unwilling = Bench::new(&config, 2);
    unwilling.hear(1, Frame::Route(route(8, 9, 1)));
    unwilling.hear(1, Frame::Route(route(8, 2, 2)));
    assert_eq!(unwilling.routed(), []);
    assert_eq!(unwilling.mesh.stats().not_relayed, 2);
}

#[test]
fn an_origin_has_so_many_signals_passed_on_at_once_and_no_more() {
    let mut bench = Bench::new(&Config::default(), 2);
    for n in 1..=129 {
        bench.hear(1, Frame::Route(route(8, 9, n)));
    }
    assert_eq!(bench.routed().len(), 128);
    bench.hear(1, Frame::Route(route(7, 9, 1)));
    assert_eq!(bench.routed().len(), 1, "another one may");
    // A neighbour that makes up origins has a limit of its own.
    for n in 0..2_000 {
        bench.hear(1, Frame::Route(route(100 + n, 9, 1)));
    }
    assert_eq!(bench.routed().len(), 1_024 - 130);
}

#[test]
fn a_stranger_to_the_room_has_nothing_passed_on() {
    let mut bench = Bench::new(&Config::default(), 2);
    bench.mesh.on_state(id(5), PeerState::Connected, bench.now);
    bench.mesh.on_link_up(id(5));
    bench.outputs();
    bench.hear(5, Frame::Route(route(5, 1, 1)));
    let room = bench.mesh.rooms.values().next().expect("joined").token;
    let records = vec![record(77, 1, Standing::Here)];
    let buckets = 0;
    bench.hear(
        5,
        Frame::Members {
            room,
            records,
            buckets,
        },
    );
    assert_eq!(bench.outputs(), []);
    assert!(!bench.mesh.knows(id(77)));
}

#[test]
fn what_is_not_answered_goes_everywhere() {
    let mut bench = Bench::new(&Config::default(), 3);
    let room = bench.mesh.rooms.values().next().expect("joined").token;
    let records = vec![record(9, 1, Standing::Here)];
    let news = Frame::Members {
        room,
        records,
        buckets: 0,
    };
    bench.hear(1, news);
    bench.outputs();
    bench.hear(2, Frame::Route(route(9, 0, 1)));
    bench.outputs();
    for _ in 0..3 {
        bench.mesh.route(id(9), "offer");
        assert_eq!(bench.routed().len(), 1, "the way that is known");
    }
    bench.mesh.route(id(9), "offer");
    assert_eq!(bench.routed().len(), 3);
    bench.hear(2, Frame::Route(route(9, 0, 2)));
    bench.outputs();
    bench.mesh.route(id(9), "offer");
    assert_eq!(bench.routed().len(), 1);
}

proptest! {
    #[test]
    fn no_message_panics_and_what_is_read_is_written_alike(data: Vec<u8>, text: bool) {
        let message = Message { data: data.into(), text };
        if let Some(said) = Said::read(&message) {
            prop_assert_eq!(Said::read(&said.write()), Some(said));
        }
        let _ = redacted(&message);
    }
}

/// A member that is a key, with a neighbour that is one too, and a third that it hears of.
#[test]
fn of_a_key_others_say_what_it_has_signed_and_doubt_it() {
    let now = Instant::now();
    let rng = |n| crate::rng::Rng::new(&Seed::from([n; 32]));
    let sealer = |n: u8| {
        let identity = Identity::from_private_key([n; 32]);
        Sealer::new(identity, Protection::Signed, 300 * SECOND, rng(n))
    };
    let [us, near, far] = [1, 2, 3].map(sealer);
    let unix = UnixTime::from_millis(1_000);
    let mut mesh = Mesh::new(us.id(), &Config::default(), sha256, rng(9));
    let id = mesh.join("room", &us, unix, now).expect("joins");
    mesh.on_state(near.id(), PeerState::Connected, now);
    mesh.on_link_up(near.id());
    let room = mesh.rooms.values().next().expect("joined");
    let (token, proof) = (room.token, room.proof(near.id(), us.id()));
    let say = |mesh: &mut Mesh, frame: Frame| {
        let before = mesh.stats().forged;
        mesh.on_message(near.id(), &Said::Frame(frame).write(), &us, unix, now);
        mesh.stats().forged == before
    };
    let (relays, rooms) = (true, vec![proof]);
    assert!(say(&mut mesh, Frame::Hello { relays, rooms }));
    let branch = Branch {
        root: near.id(),
        depth: Some(0),
        parent: true,
    };
    let room = token;
    assert!(say(&mut mesh, Frame::Tree { room, branch }));
    let tell = |mesh: &mut Mesh, record: Record| {
        let (room, records, buckets) = (token, vec![record], 0);
        say(
            mesh,
            Frame::Members {
                room,
                records,
                buckets,
            },
        )
    };
    let unsigned = |of: &Sealer, incarnation, standing| Record {
        peer: of.id(),
        incarnation,
        standing,
        signature: None,
    };
    let signed = |of: &Sealer, by: &Sealer, incarnation, standing| {
        let mut record = unsigned(of, incarnation, standing);
        record.signature = by.sign(|| record.signed(token));
        record
    };
    use Standing::{Here, Left, Lost, Suspect};
    let members = |mesh: &Mesh| mesh.members(id);
    for forged in [
        unsigned(&far, 5, Here),
        unsigned(&far, 5, Suspect),
        signed(&far, &near, 5, Here),
    ] {
        assert!(!tell(&mut mesh, forged), "{forged:?}");
        assert_eq!(members(&mesh), [], "{forged:?}");
    }
    let here = signed(&far, &far, 5, Here);
    assert!(tell(&mut mesh, here));
    assert_eq!(members(&mesh), [far.id()]);
    for forged in [
        Record {
            incarnation: MAX_NUMBER,
            ..here
        },
        Record {
            incarnation: 6,
            standing: Lost,
            ..here
        },
        Record {
            standing: Left,
            ..here
        },
        signed(&far, &near, 5, Left),
    ] {
        assert!(!tell(&mut mesh, forged), "{forged:?}");
        assert_eq!(members(&mesh), [far.id()], "{forged:?}");
    }
    // What is known is no news, whoever has signed it; and whoever is known can be doubted.
    assert!(tell(&mut mesh, unsigned(&far, 4, Lost)));
    assert!(tell(&mut mesh, unsigned(&far, 5, Suspect)));
    assert!(tell(&mut mesh, signed(&far, &far, 6, Here)));
    assert!(tell(&mut mesh, signed(&far, &far, 6, Left)));
    assert_eq!(members(&mesh), []);

    // Of ourselves likewise. What we contradict we sign.
    let own = |mesh: &mut Mesh| {
        mesh.handle_timeout(now + SECOND);
        let said = std::iter::from_fn(|| mesh.poll_output()).filter_map(|output| match output {
            MeshOutput::Send { message, .. } => Said::read(&message),
            _ => None,
        });
        let records = said.filter_map(|said| match said {
            Said::Frame(Frame::Members { records, .. }) => Some(records),
            _ => None,
        });
        records.flatten().find(|record| record.peer == us.id())
    };
    assert!(!tell(&mut mesh, unsigned(&us, 9_000, Here)));
    assert!(!tell(&mut mesh, unsigned(&us, 1_000, Left)));
    assert_eq!(own(&mut mesh), None);
    assert!(tell(&mut mesh, unsigned(&us, 1_000, Lost)));
    assert_eq!(own(&mut mesh), Some(signed(&us, &us, 1_001, Here)));
    assert!(tell(&mut mesh, signed(&us, &us, 2_000, Here)));
    assert_eq!(own(&mut mesh), Some(signed(&us, &us, 2_001, Here)));
}

#[test]
fn an_incarnation_at_the_bound_is_read_and_a_higher_one_is_not() {
    for (incarnation, is_read) in [(MAX_NUMBER, true), (MAX_NUMBER + 1, false)] {
        let frame = Frame::Members {
            room: token(1),
            records: vec![record(1, incarnation, Standing::Here)],
            buckets: 0,
        };
        let said = Said::Frame(frame);
        assert_eq!(Said::read(&said.write()), is_read.then_some(said));
    }
}
