//! Descriptions that are changed on their way, and answers that do not answer.

use bowline::sdp::{
    Bandwidth, CandidatePattern, Change, Description, DtlsRole, Rewrite, SdpError, SdpFault,
    Sections, Setup,
};
use bowline::{
    CandidateRefusal, Config, ConfigBuilder, Event, Input, Message, NegotiationFault, Side,
};

use crate::common::{Parcel, World, address, id, json, millis, secs};

const ALICE: usize = 0;
const BOB: usize = 1;

/// What is wrong with a description, how it is made so, and what it is refused for.
type Spoilt = (&'static str, fn(&str) -> String, SdpFault);

#[test]
fn our_offer_is_changed_before_it_is_sent_and_used_as_it_was_sent() {
    for (role, setup, answer) in [
        (DtlsRole::Client, Setup::Active, Setup::Passive),
        (DtlsRole::Server, Setup::Passive, Setup::Active),
    ] {
        let limit = Bandwidth::As(30);
        let mut world = world_where(ALICE, |config| {
            let sections = Sections::All;
            config
                .rewrite_sent(Rewrite::ForceSetup(role))
                .rewrite_sent(Rewrite::Bandwidth { sections, limit })
        });
        call(&mut world);
        let offer = sent(&world, "offer");
        assert!(offer.as_str().contains("b=AS:30\r\n"));
        assert_eq!(setups(&world), (Some(setup), Some(answer)));
        let section = 0;
        let forced = Change::SetupForced {
            section: Some(section),
            setup,
        };
        let set = Change::BandwidthSet { section, limit };
        assert_eq!(rewritten(&world, ALICE), [(Side::Local, vec![forced, set])]);
        assert_eq!(rewritten(&world, BOB), []);
    }
}

#[test]
fn an_offer_that_came_is_changed_before_it_is_read() {
    let force = Rewrite::ForceSetup(DtlsRole::Server);
    let mut world = world_where(BOB, |config| config.rewrite_received(force.clone()));
    call(&mut world);
    // Alice left the choice to Bob, who was told that she had chosen.
    let chosen = (Some(Setup::Actpass), Some(Setup::Active));
    assert_eq!(setups(&world), chosen);
    let forced = Change::SetupForced {
        section: Some(0),
        setup: Setup::Passive,
    };
    assert_eq!(
        rewritten(&world, BOB),
        [(Side::Remote, vec![forced.clone()])]
    );
    // So is each description, that of a restart too.
    let now = world.now;
    world.peer(ALICE, "bob").restart_ice(now);
    world.run(secs(2));
    let again = (Side::Remote, vec![forced]);
    assert_eq!(rewritten(&world, BOB), [again.clone(), again]);
    assert_eq!(rewritten(&world, ALICE), []);
}

#[test]
fn candidates_that_are_stripped_are_sent_neither_in_a_description_nor_by_themselves() {
    let strip = Rewrite::StripCandidates(CandidatePattern::default());
    let mut world = world_where(ALICE, |config| config.rewrite_sent(strip.clone()));
    call(&mut world);
    let offer = sent(&world, "offer");
    assert_eq!(candidates(&offer), 0);
    let stripped = Change::CandidatesStripped {
        section: Some(0),
        count: 1,
    };
    assert_eq!(rewritten(&world, ALICE), [(Side::Local, vec![stripped])]);
    assert_eq!(trickled(&world), 0);
    // Without the rewrite she tells of her other socket.
    let mut told = world_where(ALICE, |config| config);
    call(&mut told);
    assert_eq!((candidates(&sent(&told, "offer")), trickled(&told)), (1, 1));
}

#[test]
fn candidates_that_came_are_stripped_wherever_they_came() {
    let strip = Rewrite::StripCandidates(CandidatePattern::default());
    let mut world = world_where(BOB, |config| config.rewrite_received(strip.clone()));
    call(&mut world);
    let added = |event: &Event| {
        let remote = Side::Remote;
        matches!(event, Event::CandidateAdded { side, .. } if *side == remote)
    };
    assert!(!world.events(BOB).iter().any(added));
    let reasons = world.events(BOB).iter().filter_map(|event| match event {
        Event::CandidateIgnored { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [CandidateRefusal::Filtered]);
}

#[test]
fn an_answer_that_does_not_fit_our_offer_ends_the_attempt_with_the_rule_that_it_breaks() {
    const EXTRA: &str = "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:x\r\n";
    let cases: [Spoilt; 3] = [
        (
            "a section more",
            |sdp| format!("{sdp}{EXTRA}"),
            SdpFault::ExtraSection,
        ),
        (
            "another mid",
            |sdp| {
                let mid = sdp.lines().find_map(|line| line.strip_prefix("a=mid:"));
                let mid = mid.expect("there");
                sdp.replace(&format!("BUNDLE {mid}"), "BUNDLE other")
                    .replace(&format!("mid:{mid}"), "mid:other")
            },
            SdpFault::SectionMid,
        ),
        (
            "another protocol",
            |sdp| sdp.replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5000"),
            SdpFault::SectionKind,
        ),
    ];
    for (name, spoil, fault) in cases {
        let mut world = World::pair();
        world.network(move |_, mut parcel| {
            if parcel.kind().as_deref() == Some("answer")
                && let Parcel::Signal { text, .. } = &mut parcel
            {
                let mut envelope = json(text);
                let sdp = envelope["sdp"].as_str().expect("text");
                envelope["sdp"] = spoil(sdp).into();
                *text = envelope.to_string();
            }
            vec![(millis(10), parcel)]
        });
        world.connect(ALICE, "bob");
        world.run(secs(1));
        let failed = world.events(ALICE).iter().find_map(|event| match event {
            Event::NegotiationFailed {
                peer,
                reason,
                error,
            } => Some((*peer, *reason, error.map(|e| e.reason))),
            _ => None,
        });
        let expected = (id("bob"), NegotiationFault::Unsupported, Some(fault));
        assert_eq!(failed, Some(expected), "{name}");
    }
}

#[test]
fn a_refusal_is_told_with_its_line_and_rule() {
    let mut world = World::pair();
    world.network(|_, mut parcel| {
        if parcel.kind().as_deref() == Some("answer")
            && let Parcel::Signal { text, .. } = &mut parcel
        {
            *text = text.replace("o=", "y=");
        }
        vec![(millis(10), parcel)]
    });
    world.connect(ALICE, "bob");
    world.run(secs(1));
    let failed = Event::NegotiationFailed {
        peer: id("bob"),
        reason: NegotiationFault::Malformed,
        error: Some(SdpError {
            line: 2,
            reason: SdpFault::UnknownType,
        }),
    };
    assert!(
        world.events(ALICE).contains(&failed),
        "{:?}",
        world.events(ALICE)
    );
}

/// Alice and Bob, one of whom is configured so. Neither has all of its candidates before it has a second socket.
fn world_where(who: usize, configure: impl Fn(ConfigBuilder) -> ConfigBuilder) -> World {
    let silent = || "stun:192.0.2.99".parse().expect("a uri");
    let plain = || Config::builder().ice_server(silent());
    let mut world = World::new(&["alice", "bob"], &plain().build().expect("valid"));
    let config = configure(plain()).build().expect("valid");
    world.restart(who, 7, &config);
    world
}

/// Alice calls, and when both have answered she has another socket. They are connected then, and hear each other.
fn call(world: &mut World) {
    world.connect(ALICE, "bob");
    world.run(millis(100));
    let now = world.now;
    let local = address(8);
    world
        .endpoint(ALICE)
        .handle_input(Input::SocketBound { local }, now);
    world.run(secs(2));
    assert!(world.is_connected(ALICE, "bob") && world.is_connected(BOB, "alice"));
    let now = world.now;
    let mut bob = world.peer(ALICE, "bob");
    bob.send(bowline::ChannelKind::Reliable, "heard", now)
        .expect("queued");
    world.run(millis(500));
    assert!(
        world
            .messages(BOB)
            .iter()
            .any(|(_, m)| *m == Message::text("heard"))
    );
}

/// The last description of a kind that was sent.
fn sent(world: &World, kind: &str) -> Description {
    let mut texts = world.sent.iter().filter_map(|(_, parcel)| match parcel {
        Parcel::Signal { text, .. } if parcel.kind().as_deref() == Some(kind) => Some(json(text)),
        _ => None,
    });
    let envelope = texts.next_back().expect("one was sent");
    let sdp = envelope["sdp"].as_str().expect("text");
    Description::parse(sdp).expect("valid")
}

/// The DTLS roles of the offer and of the answer.
fn setups(world: &World) -> (Option<Setup>, Option<Setup>) {
    let setup = |kind| {
        let description = sent(world, kind);
        description
            .sections()
            .next()
            .and_then(|s| s.transport().setup())
    };
    (setup("offer"), setup("answer"))
}

fn candidates(description: &Description) -> usize {
    let mut sections = description.sections();
    sections
        .next()
        .map_or(0, |s| s.transport().candidates().count())
}

/// How many candidates Alice sent by themselves.
fn trickled(world: &World) -> usize {
    let kinds = world.sent.iter().filter_map(|(_, parcel)| parcel.kind());
    kinds.filter(|kind| kind == "ice-candidate").count()
}

fn rewritten(world: &World, n: usize) -> Vec<(Side, Vec<Change>)> {
    let told = world.events(n).iter().filter_map(|event| match event {
        Event::DescriptionRewritten { side, changes, .. } => Some((*side, changes.clone())),
        _ => None,
    });
    told.collect()
}
