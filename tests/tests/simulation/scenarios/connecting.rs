use std::time::Duration;

use bowline::{CandidateRefusal, Cause, ChannelKind, Config, Event, PeerState, Phase};
use bowline_sim::{Action, Incoming, LinkConfig, PeerSpec, Time, World};

use super::{CONNECT, close_all, connected, pair, states};

#[test]
fn both_sides_calling_at_once_gives_one_session() {
    for (seed, bus_ms, lead_us) in [
        (1, 20, 0),
        (2, 20, 1),
        (3, 20, 39_999),
        (4, 300, 150_000),
        (5, 0, 0),
    ] {
        let bus = LinkConfig::with_latency(Duration::from_millis(bus_ms));
        let mut world = World::builder(seed)
            .bus(bus)
            .peer("alice")
            .peer("bob")
            .build();
        world.connect(0, 1).expect("alice knows nobody");
        world.run_for(Duration::from_micros(lead_us));
        // A call after the offer has come finds a peer that exists.
        let _late = world.connect(1, 0);
        assert!(
            world.run_until(|world| world.connected(0, 1), CONNECT),
            "seed {seed}"
        );
        world.run_for(Duration::from_secs(20));
        world.check_agreement(0, 1);
        assert!(world.connected(0, 1), "seed {seed}");
        close_all(&mut world);
    }
}

#[test]
fn signals_that_come_twice_late_and_in_another_order_change_nothing() {
    for seed in 0..20 {
        let bus = LinkConfig {
            duplicate: 0.7,
            reorder: 0.5,
            reorder_by: Duration::from_secs(2),
            duplicate_by: Duration::from_secs(20),
            ..LinkConfig::with_latency(Duration::from_millis(30))
        };
        let mut world = World::builder(seed)
            .bus(bus)
            .peer("alice")
            .peer("bob")
            .build();
        world.connect(0, 1).expect("alice knows nobody");
        assert!(
            world.run_until(|world| world.connected(0, 1), CONNECT),
            "seed {seed}"
        );
        world.run_for(Duration::from_secs(30));
        world.check_agreement(0, 1);
        assert!(world.connected(0, 1), "seed {seed}");
        close_all(&mut world);
    }
}

#[test]
fn a_call_back_to_one_who_called_and_hung_up_carries_messages() {
    let bus = LinkConfig::with_latency(Duration::from_millis(54));
    let mut world = World::builder(269)
        .bus(bus)
        .peer("alice")
        .peer("bob")
        .build();
    world.connect(0, 1).expect("alice knows nobody");
    world.run_for(Duration::from_millis(9));
    world.connect(1, 0).expect("bob knows nobody");
    world.run_for(Duration::from_millis(3));
    world.close(0, 1).expect("connecting");
    world.run_for(CONNECT);
    if !world.connected(0, 1) {
        world.connect(0, 1).expect("both have ended");
        assert!(world.run_until(|world| world.connected(0, 1), CONNECT));
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let kind = ChannelKind::Reliable;
        world.send(from, to, kind, "hello").expect("connected");
        let arrived = world.run_until(
            |world| world.received(to, from, kind).messages == 1,
            CONNECT,
        );
        assert!(arrived, "{from} -> {to}");
    }
    close_all(&mut world);
}

#[test]
fn a_refusal_is_told_to_the_caller() {
    let spec = PeerSpec {
        incoming: Incoming::Refuse,
        ..PeerSpec::new("bob")
    };
    let mut world = World::builder(1).peer("alice").peer_with(spec).build();
    world.connect(0, 1).expect("alice knows nobody");
    world.run_for(Duration::from_secs(30));
    assert_eq!(causes(&world, 0).last(), Some(&Cause::PeerRefused));
    assert_eq!(causes(&world, 1), [Cause::Refused]);
    close_all(&mut world);
}

#[test]
fn an_offer_that_nobody_answers_is_refused_at_its_deadline() {
    let config = Config::builder()
        .accept_timeout(Duration::from_secs(10))
        .build()
        .expect("valid");
    let spec = PeerSpec {
        incoming: Incoming::Wait,
        config,
        ..PeerSpec::new("bob")
    };
    let mut world = World::builder(1).peer("alice").peer_with(spec).build();
    world.connect(0, 1).expect("alice knows nobody");
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.state(1, 0), Some(PeerState::New));
    world.run_for(Duration::from_secs(1));
    assert_eq!(causes(&world, 1), [Cause::Refused]);
    assert_eq!(causes(&world, 0).last(), Some(&Cause::PeerRefused));
    close_all(&mut world);
}

#[test]
fn an_offer_can_be_accepted_late() {
    let spec = PeerSpec {
        incoming: Incoming::Wait,
        ..PeerSpec::new("bob")
    };
    let mut world = World::builder(1).peer("alice").peer_with(spec).build();
    world.connect(0, 1).expect("alice knows nobody");
    world.at(Time::from_secs(10), Action::Accept { host: 1, peer: 0 });
    assert!(world.run_until(|world| world.connected(0, 1), CONNECT));
    close_all(&mut world);
}

#[test]
fn a_peer_that_is_not_there_fails_at_the_deadline() {
    let mut world = pair(1, LinkConfig::default());
    world.crash(1);
    world.connect(0, 1).expect("alice knows nobody");
    world.run_for(Duration::from_secs(16));
    assert_eq!(
        states(&world, 0),
        [PeerState::Connecting, PeerState::Failed]
    );
    assert_eq!(
        causes(&world, 0).last(),
        Some(&Cause::Timeout(Phase::Signalling))
    );
    close_all(&mut world);
}

#[test]
fn candidates_beyond_the_limit_are_reported_and_the_rest_connects() {
    let spec = PeerSpec {
        ipv4: 65,
        ..PeerSpec::new("alice")
    };
    let mut world = World::builder(1).peer_with(spec).peer("bob").build();
    world.connect(0, 1).expect("alice knows nobody");
    let up = world.run_until(|world| world.connected(0, 1), CONNECT);
    world.assert_no_violation();
    assert!(up);
    let refused = world.events(1).iter().filter(|(_, event)| {
        matches!(
            event,
            Event::CandidateIgnored {
                reason: CandidateRefusal::TooMany,
                ..
            }
        )
    });
    assert_eq!(refused.count(), 1, "64 of 65 are taken");
    close_all(&mut world);
}

#[test]
fn eight_peers_form_a_mesh() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let link = LinkConfig::default().lossy(0.02);
    let mut world = names
        .iter()
        .fold(World::builder(1).link(link), |b, name| b.peer(name))
        .build();
    let pairs: Vec<_> = (0..8)
        .flat_map(|a| (a + 1..8).map(move |b| (a, b)))
        .collect();
    for (a, b) in &pairs {
        world.connect(*a, *b).expect("every pair once");
    }
    let all = |world: &World| pairs.iter().all(|(a, b)| world.connected(*a, *b));
    assert!(world.run_until(all, CONNECT));
    for (a, b) in &pairs {
        world.check_agreement(*a, *b);
    }
    close_all(&mut world);
}

#[test]
fn loss_slows_a_connect_and_does_not_stop_it() {
    let mut table = String::from("loss  p50 ms  p95 ms  failed\n");
    for percent in [0u8, 5, 10, 20, 30] {
        let loss = f64::from(percent) / 100.0;
        let mut times: Vec<u64> = (0..100).filter_map(|seed| connect_ms(seed, loss)).collect();
        times.sort_unstable();
        let failed = 100 - times.len();
        let (p50, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
        table.push_str(&format!("{percent:>3} %{p50:>8}{p95:>8}{failed:>8}\n"));
        assert!(failed <= usize::from(percent) / 10, "{table}");
        assert!(p50 <= 400 + u64::from(percent) * 60, "{table}");
    }
    println!("{table}");
}

/// How long a connect takes at a round trip of 100 ms, until both sides are connected.
fn connect_ms(seed: u64, loss: f64) -> Option<u64> {
    let latency = Duration::from_millis(50);
    let link = LinkConfig::with_latency(latency).lossy(loss);
    let bus = LinkConfig::with_latency(latency);
    let mut world = World::builder(seed)
        .link(link)
        .bus(bus)
        .peer("alice")
        .peer("bob")
        .build();
    world.connect(0, 1).expect("alice knows nobody");
    let up = world.run_until(|world| world.connected(0, 1), CONNECT);
    world.assert_no_violation();
    up.then(|| world.now().as_nanos() / 1_000_000)
}

#[test]
fn two_idle_peers_are_woken_seldom() {
    let mut world = connected(1, LinkConfig::default());
    world.run_for(Duration::from_secs(60));
    let before = world.wakeups(0);
    world.run_for(Duration::from_secs(600));
    let each_minute = (world.wakeups(0) - before) / 10;
    assert!(
        each_minute <= 60,
        "{each_minute} wake-ups in an idle minute"
    );
    close_all(&mut world);
}

fn causes(world: &World, host: usize) -> Vec<Cause> {
    let events = world.events(host).iter();
    events
        .filter_map(|(_, event)| match event {
            Event::State { cause, .. } => Some(*cause),
            _ => None,
        })
        .collect()
}
