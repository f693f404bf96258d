//! Recordings: they replay to what happened, hide what is secret, and can be damaged without harm.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bowline::{
    CandidateInfo, CandidateRefusal, ChannelConfig, ChannelKind, Config, Event, Message, Output,
    RecordError, Replay, ReplayError,
};
use proptest::prelude::*;

use crate::common::{World, id, millis, secs};
use crate::rooms;

/// What no recording without payloads may hold.
const SECRET: &str = "the-treasure-is-under-the-old-oak";

/// A recording in memory.
#[derive(Clone, Default)]
pub(crate) struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("not poisoned").clone()
    }
}

impl Write for Tape {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A recorded run: what was written, and what Alice was told in it.
struct Recorded {
    tape: Vec<u8>,
    events: Vec<(Duration, Event)>,
    started: Instant,
    passwords: Vec<String>,
}

/// Alice and Bob over a bad network: all kinds, a restart, a custom channel, and a close.
fn record(payloads: bool) -> Recorded {
    let mut world = World::new_unbound(&["alice", "bob"], &Config::default());
    let (tape, started) = (Tape::default(), world.now);
    world
        .endpoint(0)
        .record(tape.clone(), payloads)
        .expect("nothing has happened");
    // Where Bob is, his checks show.
    let now = world.now;
    let ours_alone = |candidate: &CandidateInfo| candidate.peer.is_none();
    world.endpoint(0).set_candidate_filter(ours_alone, now);
    world.bind();
    let mut n = 0_u64;
    world.network(move |_, parcel| {
        n += 1;
        let delay = millis(5 + n * 7 % 20);
        match n % 10 {
            3 => vec![],
            7 => vec![(delay, parcel.clone()), (delay * 2, parcel)],
            _ => vec![(delay, parcel)],
        }
    });
    world.connect(0, "bob");
    world.run(secs(10));
    assert!(world.is_connected(0, "bob"));
    for round in 0..20 {
        let now = world.now;
        for (side, other) in [(0, "bob"), (1, "alice")] {
            let mut peer = world.peer(side, other);
            for kind in ChannelKind::ALL {
                peer.send(kind, SECRET, now).expect("queued");
                peer.send(kind, Message::binary(SECRET.repeat(100)), now)
                    .expect("queued");
            }
            if round == 5 && side == 0 {
                peer.restart_ice(now);
                let custom = peer
                    .open_channel(ChannelConfig::new("custom"), now)
                    .expect("opens");
                peer.send(custom, SECRET, now).expect("queued");
            }
        }
        world.run(millis(100));
    }
    let now = world.now;
    world
        .endpoint(0)
        .broadcast(ChannelKind::Control, Message::text(SECRET), now);
    world.run(secs(20));
    let now = world.now;
    world.peer(0, "bob").close(now);
    world.run(secs(20));
    assert!(world.end(0).is_some());
    let events = world
        .timed_events(0)
        .map(|(at, e)| (at - started, e))
        .collect();
    let passwords = world.passwords();
    Recorded {
        tape: tape.bytes(),
        events,
        started,
        passwords,
    }
}

/// The same recording for all tests: with payloads, or without.
fn recorded(payloads: bool) -> &'static Recorded {
    static RECORDED: [OnceLock<Recorded>; 2] = [OnceLock::new(), OnceLock::new()];
    RECORDED[usize::from(payloads)].get_or_init(|| record(payloads))
}

/// What a recording replays to, with times counted from `start`.
fn replay(tape: &[u8], start: Instant) -> Result<Vec<(Duration, Event)>, ReplayError> {
    let mut events = Vec::new();
    for step in Replay::new(tape, start)? {
        let step = step?;
        events.extend(step.outputs.into_iter().filter_map(|output| match output {
            Output::Event(event) => Some((step.at, event)),
            _ => None,
        }));
    }
    Ok(events)
}

/// Alice in a room with Bob and Carol, at first with a signalling server and then without.
fn record_room(keyed: bool, payloads: bool) -> Recorded {
    let mut world = World::new_unbound(&["alice", "bob", "carol"], &Config::default());
    if keyed {
        (0..3).for_each(|n| world.enkey(n, n as u8 + 1));
    }
    let (tape, started) = (Tape::default(), world.now);
    let alice = world.endpoint(0);
    alice
        .record(tape.clone(), payloads)
        .expect("nothing has happened");
    world.bind();
    let ids: Vec<_> = world.nodes.iter().map(|node| node.endpoint.id()).collect();
    let rooms: Vec<_> = (0..3).map(|n| rooms::join(&mut world, n)).collect();
    for (n, room) in rooms.iter().enumerate() {
        rooms::introduce(&mut world, n, *room, &ids);
    }
    world.run(secs(3));
    (0..3).for_each(|n| {
        rooms::publish(&mut world, n, rooms[n], SECRET);
    });
    world.run(secs(1));
    rooms::lose_signalling(&mut world);
    for (n, peer) in [(0, 1), (1, 2), (2, 0)] {
        let now = world.now;
        world
            .endpoint(n)
            .peer(ids[peer])
            .expect("exists")
            .restart_ice(now);
        world.run(secs(2));
    }
    assert!(world.stats(0).mesh.relayed > 0 && world.stats(0).mesh.delivered > 0);
    let now = world.now;
    world.endpoint(1).room(rooms[1]).expect("there").leave(now);
    world.run(secs(5));
    let now = world.now;
    world.endpoint(0).close(now);
    world.run(secs(10));
    let events = world.timed_events(0);
    let events = events.map(|(at, event)| (at - started, event)).collect();
    // Where they are sealed nobody can know them.
    let passwords = if keyed { Vec::new() } else { world.passwords() };
    Recorded {
        tape: tape.bytes(),
        events,
        started,
        passwords,
    }
}

#[test]
fn a_recording_of_a_room_replays_and_hides_what_passed_through() {
    for (keyed, payloads) in [(false, true), (false, false), (true, true), (true, false)] {
        let recorded = record_room(keyed, payloads);
        let replayed = replay(&recorded.tape, recorded.started);
        let replayed = replayed.unwrap_or_else(|error| panic!("{keyed} {payloads}: {error}"));
        let text = String::from_utf8_lossy(&recorded.tape);
        if payloads {
            assert_eq!(replayed, recorded.events, "{keyed}");
        } else {
            let kinds = |events: &[(Duration, Event)]| -> Vec<_> {
                let kind = |(at, event): &(_, _)| (*at, std::mem::discriminant::<Event>(event));
                events.iter().map(kind).collect()
            };
            assert_eq!(kinds(&replayed), kinds(&recorded.events), "{keyed}");
            assert!(!text.contains(SECRET));
            let shows = |password: &&String| text.contains(password.as_str());
            assert_eq!(recorded.passwords.iter().find(shows), None);
        }
    }
}

#[test]
fn a_recording_replays_to_the_same_events_at_the_same_times_every_time() {
    let recorded = recorded(true);
    assert!(recorded.events.len() > 300, "{}", recorded.events.len());
    let is_filtered = |event: &Event| matches!(event, Event::CandidateIgnored { reason, .. } if *reason == CandidateRefusal::Filtered);
    assert!(recorded.events.iter().any(|(_, event)| is_filtered(event)));
    for _ in 0..2 {
        let replayed = replay(&recorded.tape, recorded.started).expect("replays");
        assert_eq!(replayed.len(), recorded.events.len());
        for (replayed, recorded) in replayed.iter().zip(&recorded.events) {
            assert_eq!(replayed, recorded);
        }
    }
}

#[test]
fn without_payloads_everything_but_the_contents_is_the_same() {
    let recorded = recorded(false);
    let replayed = replay(&recorded.tape, recorded.started).expect("replays");
    let blank = |(at, event): &(Duration, Event)| {
        let event = match event.clone() {
            Event::Message {
                peer,
                channel,
                message,
            } => {
                let message = Message {
                    data: vec![0; message.len()].into(),
                    ..message
                };
                Event::Message {
                    peer,
                    channel,
                    message,
                }
            }
            other => other,
        };
        (*at, event)
    };
    let expected: Vec<_> = recorded.events.iter().map(blank).collect();
    assert!(replayed == expected, "replayed otherwise");
}

#[test]
fn a_recording_may_start_at_any_instant() {
    let recorded = recorded(true);
    let later = recorded.started + secs(100_000);
    let names = |events: &[(Duration, Event)]| -> Vec<_> {
        let name = |(at, e): &(Duration, Event)| (*at, std::mem::discriminant(e));
        events.iter().map(name).collect()
    };
    let replayed = replay(&recorded.tape, later).expect("replays");
    assert_eq!(names(&replayed), names(&recorded.events));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_recording_without_payloads_holds_no_secret() {
    let recorded = recorded(false);
    let text = String::from_utf8(recorded.tape.clone()).expect("text");
    assert!(!recorded.passwords.is_empty());
    for password in &recorded.passwords {
        assert!(!text.contains(password.as_str()), "an ice password");
    }
    assert!(
        !text.contains(SECRET) && !text.contains(&hex(SECRET.as_bytes())),
        "a message"
    );
    // The endpoint's seed is thirty-two times 1.
    for seed in [[1_u8; 32], [2; 32]] {
        assert!(!text.contains(&hex(&seed)), "the seed");
        assert!(
            !text.contains(&format!("{seed:?}").replace(' ', "")),
            "the seed"
        );
    }
    let allowed = ["bowline-recording"];
    for key in ["private", "PRIVATE KEY"] {
        assert!(!text.contains(key), "{allowed:?}");
    }
}

#[test]
fn a_recording_with_payloads_holds_them() {
    let recorded = recorded(true);
    let text = String::from_utf8(recorded.tape.clone()).expect("text");
    assert!(text.contains(&hex(SECRET.as_bytes())), "messages");
    assert!(
        recorded
            .passwords
            .iter()
            .any(|password| text.contains(password.as_str()))
    );
}

#[test]
fn a_recording_begins_before_anything_else() {
    let mut world = World::pair();
    assert_eq!(world.endpoint(0).record(Vec::new(), true), Err(RecordError));
    let mut world = World::new_unbound(&["alice", "bob"], &Config::default());
    world
        .endpoint(0)
        .record(Vec::new(), true)
        .expect("nothing has happened");
    assert_eq!(
        world.endpoint(0).record(Vec::new(), true),
        Err(RecordError),
        "once"
    );
    world.connect(1, "alice");
    assert_eq!(world.endpoint(1).record(Vec::new(), true), Err(RecordError));
}

#[test]
fn a_recorder_that_fails_does_not_disturb_the_endpoint() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(buf.len())
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(buf.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut world = World::new_unbound(&["alice", "bob"], &Config::default());
    world
        .endpoint(0)
        .record(Full(10_000), true)
        .expect("nothing has happened");
    world.bind();
    world.connect(0, "bob");
    world.run(secs(1));
    assert!(world.is_connected(0, "bob"));
}

#[test]
fn what_is_no_recording_is_refused() {
    let start = Instant::now();
    for text in [
        "",
        "\n",
        "{}",
        "null\n",
        "\u{0}",
        "{\"bowline-recording\":2}\n",
    ] {
        assert!(
            matches!(
                Replay::new(text.as_bytes(), start),
                Err(ReplayError::Header)
            ),
            "{text:?}"
        );
    }
    assert!(Replay::new(&[0xff, 0xfe, b'\n'][..], start).is_err());
}

#[test]
fn a_line_that_is_missing_is_noticed_or_harmless() {
    let recorded = recorded(false);
    let lines: Vec<_> = recorded
        .tape
        .split_inclusive(|byte| *byte == b'\n')
        .collect();
    let mut diverged = 0;
    for missing in (1..lines.len().min(400)).step_by(13) {
        let tape: Vec<u8> = lines
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != missing)
            .flat_map(|(_, l)| l.to_vec())
            .collect();
        match replay(&tape, recorded.started) {
            Err(ReplayError::Diverged { .. } | ReplayError::Line { .. }) => diverged += 1,
            Err(other) => panic!("{other}"),
            Ok(_) => {}
        }
    }
    assert!(diverged > 10, "{diverged}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_recording_never_panics(
        cut in 0.0..1.0_f64,
        edits in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 0..4),
        digits in any::<bool>(),
    ) {
        let recorded = recorded(false);
        let mut tape = recorded.tape.clone();
        // Most of the lines are at the end of long runs: damage the beginning too.
        let len = tape.len();
        tape.truncate(((len as f64) * cut * cut) as usize);
        for (at, byte) in edits {
            let at = ((tape.len() as f64) * at * at) as usize;
            if let Some(place) = tape.get_mut(at) {
                *place = if digits && place.is_ascii_digit() { b'0' + byte % 10 } else { byte };
            }
        }
        let _ = replay(&tape, recorded.started);
    }
}

#[test]
fn a_handle_to_a_peer_is_there_between_two_steps() {
    let recorded = recorded(false);
    let mut replay = Replay::new(&recorded.tape[..], recorded.started).expect("a recording");
    let mut seen = false;
    while let Some(step) = replay.next() {
        step.expect("replays");
        seen |= replay.peer(id("bob")).is_some();
    }
    assert!(seen);
    assert!(replay.peer(id("bob")).is_none(), "gone after the end");
}
