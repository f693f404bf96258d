//! The table of all states and inputs, and the bounds. The model of two machines is in `model`.

use std::fmt::Write as _;
use std::iter;

use super::*;

mod model;

const OURS: u128 = 0xa;
const THEIRS: u128 = 0xb;
const OTHER: u128 = 0xc;
const OVER: u128 = 0xd;
const FRESH: u128 = 0xe;

#[test]
fn the_decision_of_every_state_for_every_input_is_the_reviewed_one() {
    let now = Instant::now();
    let mut table = String::new();
    for (role, us, them) in [("impolite", "a", "b"), ("polite", "b", "a")] {
        for (state, machine) in states(id(us), id(them), now) {
            writeln!(table, "{role}, {state}").expect("written");
            for (input, apply) in inputs() {
                let mut machine = machine.clone();
                let decision = apply(&mut machine, now);
                writeln!(
                    table,
                    "  {input:<42} {:<50} {}",
                    shown(decision),
                    next(&machine)
                )
                .expect("written");
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn restarts_that_we_want_pass_in_a_burst_and_then_one_for_each_interval() {
    let now = Instant::now();
    for us in ["a", "b"] {
        let them = if us == "a" { "b" } else { "a" };
        let mut machine = stable(id(us), id(them), now);
        let wanted = |machine: &mut Negotiation, now| machine.on_restart_wanted(now);
        for _ in 0..RESTART_BURST {
            assert!(!matches!(
                wanted(&mut machine, now),
                Decision::TooSoon { .. }
            ));
        }
        let until = now + RESTART_INTERVAL;
        let before = machine.state;
        assert_eq!(wanted(&mut machine, now), Decision::TooSoon { until });
        assert_eq!(machine.state, before);
        assert!(!matches!(
            wanted(&mut machine, until),
            Decision::TooSoon { .. }
        ));
    }
}

#[test]
fn a_thousand_offers_a_second_cause_no_more_than_the_bucket_lets_through() {
    let start = Instant::now();
    let mut machine = stable(id("b"), id("a"), start);
    let mut taken = 0;
    for n in 0..10_000u32 {
        let now = start + Duration::from_millis(u64::from(n));
        let restart = machine.handle_offer(session(THEIRS), Generation(n + 2), &[], now);
        let replacement = machine.handle_offer(session(1_000 + u128::from(n)), FIRST, &[], now);
        for decision in [restart, replacement] {
            match decision {
                Decision::AnswerRestart { .. } | Decision::Await { .. } => taken += 1,
                Decision::Defer | Decision::Ignore(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(
        taken,
        RESTART_BURST + 4,
        "10 s at one for each 2 s, the last of them not over"
    );
    assert!(machine.past().len() <= PAST_SESSIONS);
}

#[test]
fn requests_for_restarts_are_limited_and_deferred_beyond() {
    let now = Instant::now();
    let mut machine = stable(id("a"), id("b"), now);
    for generation in 1..=RESTART_BURST {
        let request = machine.handle_restart_request(session(THEIRS), Generation(generation), now);
        let next = Generation(generation + 1);
        assert_eq!(
            request,
            Decision::OfferRestart {
                session: session(THEIRS),
                generation: next
            }
        );
        machine.handle_answer(session(THEIRS), next, &[], now);
    }
    let current = Generation(RESTART_BURST + 1);
    let refused = machine.handle_restart_request(session(THEIRS), current, now);
    assert_eq!(refused, Decision::Defer);
    let later = now + RESTART_INTERVAL;
    let served = machine.handle_restart_request(session(THEIRS), current, later);
    assert!(matches!(served, Decision::OfferRestart { .. }));
}

#[test]
fn the_last_sessions_are_remembered_up_to_their_number() {
    let (mut machine, now) = (
        Negotiation::new(id("a"), id("b"), iter::empty()),
        Instant::now(),
    );
    for n in 0..=PAST_SESSIONS as u128 {
        machine.on_bye(session(n));
    }
    assert_eq!(machine.past().len(), PAST_SESSIONS);
    assert_eq!(machine.standing(session(0)), Standing::Unknown);
    assert_eq!(machine.standing(session(1)), Standing::Over);
    assert_eq!(machine.replaces().len(), MAX_REPLACES);
    assert_eq!(
        machine.replaces().last(),
        Some(&session(PAST_SESSIONS as u128))
    );
    let late = machine.handle_offer(session(1), FIRST, &[], now);
    assert_eq!(late, Decision::Ignore(SignalRefusal::Stale));
}

#[test]
fn the_last_sessions_that_were_left_before_are_over_and_are_named() {
    let now = Instant::now();
    let left = (0..=PAST_SESSIONS as u128).map(session);
    let mut machine = Negotiation::new(id("b"), id("a"), left);
    assert_eq!(machine.past().len(), PAST_SESSIONS);
    machine.on_connect(session(FRESH), now);
    let latest = (0..=PAST_SESSIONS as u128).rev().take(MAX_REPLACES);
    let named = machine.replaces().iter().rev().copied();
    assert!(named.eq(latest.map(session)), "{:?}", machine.replaces());
    let late = machine.handle_offer(session(1), FIRST, &[], now);
    assert_eq!(late, Decision::Ignore(SignalRefusal::Stale));
}

#[test]
fn a_generation_stays_at_its_highest_number() {
    let now = Instant::now();
    let mut machine = stable(id("a"), id("b"), now);
    machine.handle_offer(session(THEIRS), Generation(u32::MAX), &[], now);
    let highest = Generation(u32::MAX);
    let restart = machine.on_restart_wanted(now);
    assert_eq!(
        restart,
        Decision::OfferRestart {
            session: session(THEIRS),
            generation: highest
        }
    );
}

#[test]
fn the_time_that_a_negotiation_took_counts_from_the_offer() {
    let now = Instant::now();
    let later = now + Duration::from_millis(70);
    let mut machine = Negotiation::new(id("a"), id("b"), iter::empty());
    machine.on_connect(session(OURS), now);
    let took = Duration::from_millis(70);
    let expected = Decision::Complete {
        session: session(OURS),
        generation: FIRST,
        took,
    };
    assert_eq!(
        machine.handle_answer(session(OURS), FIRST, &[], later),
        expected
    );
    let mut machine = Negotiation::new(id("a"), id("b"), iter::empty());
    machine.handle_offer(session(THEIRS), FIRST, &[], now);
    let expected = Decision::Answer {
        session: session(THEIRS),
        dropped: None,
        took,
    };
    assert_eq!(machine.on_accept(later), expected);
}

/// One machine in each state. All remember `OVER`.
fn states(us: PeerId, peer: PeerId, now: Instant) -> Vec<(&'static str, Negotiation)> {
    let mut idle = Negotiation::new(us, peer, iter::empty());
    idle.on_bye(session(OVER));
    let mut offering = idle.clone();
    offering.on_connect(session(OURS), now);
    let mut awaiting = idle.clone();
    awaiting.handle_offer(session(THEIRS), FIRST, &[], now);
    let mut stable = awaiting.clone();
    stable.on_accept(now);
    stable.handle_offer(session(THEIRS), Generation(1), &[], now);
    let mut restarting = stable.clone();
    restarting.on_restart_wanted(now);
    let mut all = vec![
        ("idle", idle),
        ("offering", offering),
        ("awaiting", awaiting),
        ("stable", stable),
    ];
    if us < peer {
        all.push(("restarting", restarting));
    }
    all
}

fn stable(us: PeerId, peer: PeerId, now: Instant) -> Negotiation {
    let mut machine = Negotiation::new(us, peer, iter::empty());
    machine.handle_offer(session(THEIRS), FIRST, &[], now);
    machine.on_accept(now);
    machine.state = State::Stable {
        session: session(THEIRS),
        generation: Generation(1),
    };
    machine
}

type Input = Box<dyn Fn(&mut Negotiation, Instant) -> Decision>;

fn inputs() -> Vec<(String, Input)> {
    let mut all: Vec<(String, Input)> = vec![
        (
            "connect".into(),
            Box::new(|m, now| m.on_connect(session(FRESH), now)),
        ),
        ("accept".into(), Box::new(|m, now| m.on_accept(now))),
        ("refuse".into(), Box::new(|m, _| m.on_refuse())),
        (
            "restart wanted".into(),
            Box::new(|m, now| m.on_restart_wanted(now)),
        ),
    ];
    let offers = [
        (OTHER, 0, None),
        (OTHER, 0, Some(OURS)),
        (OTHER, 0, Some(THEIRS)),
        (OTHER, 1, None),
        (OVER, 0, None),
        (OURS, 0, None),
        (THEIRS, 0, None),
        (THEIRS, 1, None),
        (THEIRS, 2, None),
        (THEIRS, 5, None),
    ];
    for (of, generation, replaces) in offers {
        let mut name = format!("offer {} {generation}", label(of));
        if let Some(replaced) = replaces {
            write!(name, " replacing {}", label(replaced)).expect("written");
        }
        let (of, generation, replaces) = (
            session(of),
            Generation(generation),
            replaces.map(session).into_iter().collect::<Vec<_>>(),
        );
        all.push((
            name,
            Box::new(move |m, now| m.handle_offer(of, generation, &replaces, now)),
        ));
    }
    for (of, generation) in [
        (OURS, 0),
        (OURS, 1),
        (THEIRS, 0),
        (THEIRS, 1),
        (THEIRS, 2),
        (THEIRS, 3),
        (OTHER, 0),
        (OVER, 0),
    ] {
        let name = format!("answer {} {generation}", label(of));
        let (of, generation) = (session(of), Generation(generation));
        all.push((
            name,
            Box::new(move |m, now| m.handle_answer(of, generation, &[], now)),
        ));
    }
    for (of, generation) in [
        (OURS, 0),
        (THEIRS, 0),
        (THEIRS, 1),
        (THEIRS, 2),
        (OTHER, 0),
        (OVER, 0),
    ] {
        let name = format!("restart request {} {generation}", label(of));
        let (of, generation) = (session(of), Generation(generation));
        all.push((
            name,
            Box::new(move |m, now| m.handle_restart_request(of, generation, now)),
        ));
    }
    for of in [OURS, THEIRS, OTHER] {
        let of_session = session(of);
        let bye = move |m: &mut Negotiation, _| {
            m.on_bye(of_session);
            Decision::UnderWay
        };
        all.push((format!("bye {}", label(of)), Box::new(bye)));
    }
    all
}

fn shown(decision: Decision) -> String {
    let dropped = |dropped: Option<SessionId>| {
        dropped.map_or_else(String::new, |session| format!(", drop {}", of(session)))
    };
    match decision {
        Decision::Offer {
            session,
            dropped: d,
        } => format!("offer {}{}", of(session), dropped(d)),
        Decision::OfferRestart {
            session,
            generation,
        } => {
            format!("offer restart {} {generation}", of(session))
        }
        Decision::AskForRestart {
            session,
            generation,
        } => {
            format!("ask for restart {} {generation}", of(session))
        }
        Decision::Await {
            session,
            dropped: d,
        } => format!("await {}{}", of(session), dropped(d)),
        Decision::Answer {
            session,
            dropped: d,
            ..
        } => {
            format!("answer {}{}", of(session), dropped(d))
        }
        Decision::AnswerRestart {
            session,
            generation,
        } => {
            format!("answer restart {} {generation}", of(session))
        }
        Decision::Complete {
            session,
            generation,
            ..
        } => {
            format!("complete {} {generation}", of(session))
        }
        Decision::Refuse { session } => format!("refuse {}", of(session)),
        Decision::UnderWay => "-".into(),
        Decision::TooSoon { .. } => "too soon".into(),
        Decision::Defer => "defer".into(),
        Decision::Ignore(reason) => format!("ignore: {reason}"),
    }
}

/// The state, and the sessions that are over.
fn next(machine: &Negotiation) -> String {
    let state = match machine.state {
        State::Idle => "idle".into(),
        State::Offering { session, .. } => format!("offering {}", of(session)),
        State::Awaiting { session, .. } => format!("awaiting {}", of(session)),
        State::Stable {
            session,
            generation,
        } => format!("stable {} {generation}", of(session)),
        State::Restarting {
            session,
            generation,
            ..
        } => {
            format!("restarting {} {generation}", of(session))
        }
    };
    let past: Vec<_> = machine.past().iter().copied().map(of).collect();
    format!("{state:<22} ({} over)", past.join(", "))
}

fn of(id: SessionId) -> &'static str {
    [OURS, THEIRS, OTHER, OVER, FRESH]
        .into_iter()
        .find(|n| session(*n) == id)
        .map_or("?", label)
}

fn label(n: u128) -> &'static str {
    match n {
        OURS => "ours",
        THEIRS => "theirs",
        OTHER => "other",
        OVER => "past",
        FRESH => "fresh",
        _ => "?",
    }
}

fn session(n: u128) -> SessionId {
    format!("{n:032x}").parse().expect("valid")
}

fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("valid")
}
