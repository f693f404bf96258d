use proptest::prelude::*;

use super::super::envelope::{Body, ByeReason};
use super::super::{jws, rollover};
use super::*;
use crate::id::Generation;
use crate::rng::{Rng, Seed};

const MAX: usize = 64 * 1024;
const WINDOW: Duration = Duration::from_secs(300);

#[test]
fn the_header_is_the_documented_one() {
    let header = decode(HEADER).expect("base64url");
    assert_eq!(header, br#"{"alg":"EdDSA","typ":"bowline"}"#);
}

#[test]
fn a_message_comes_out_as_it_went_in_and_dated() {
    for protection in [Protection::Signed, Protection::Sealed] {
        let (mut alice, bob) = (sealer(1, protection), sealer(2, protection));
        let message = bye(&alice, &bob);
        let text = alice.close(&message, at(7));
        let opened = bob.open(&text, text.len(), at(9)).expect("it is for us");
        let read = Envelope::decode(&opened, MAX).expect("valid");
        assert_eq!(read.sent_at, Some(at(7)));
        let undated = Envelope {
            sent_at: None,
            ..read
        };
        assert_eq!(undated, message);
    }
}

#[test]
fn what_is_sealed_shows_who_writes_to_whom_and_nothing_else() {
    let (mut alice, bob) = (sealer(1, Protection::Sealed), sealer(2, Protection::Sealed));
    let message = bye(&alice, &bob);
    let text = alice.close(&message, at(0));
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).expect("an object");
    let names: Vec<_> = object.keys().map(String::as_str).collect();
    assert_eq!(names, ["from", "sealed", "to", "v"]);
    let again = alice.close(&message, at(0));
    assert_ne!(again, text, "each is sealed with a key of its own");
}

#[test]
fn without_a_key_a_message_has_the_time_and_nothing_more() {
    let name = |name: &str| Identity::without_key(name.parse().expect("valid"));
    let mut alice = made(name("alice"), Protection::Sealed);
    let bob = made(name("bob"), Protection::Sealed);
    let message = bye(&alice, &bob);
    let text = alice.close(&message, at(0));
    assert_eq!(text, message.encode_at(at(0), None));
    assert_eq!(bob.open(&text, MAX, at(0)), Ok(Cow::Borrowed(&*text)));
}

#[test]
fn nothing_less_than_what_is_asked_for_is_taken() {
    let (mut alice, bob) = (sealer(1, Protection::Signed), sealer(2, Protection::Sealed));
    let from = Some(alice.id());
    let message = bye(&alice, &bob);
    let signed = alice.close(&message, at(0));
    assert_eq!(
        bob.open(&signed, MAX, at(0)),
        Err((SignalRefusal::Unsealed, from))
    );
    let plain = message.encode();
    for us in [&bob, &sealer(2, Protection::Signed)] {
        assert_eq!(
            us.open(&plain, MAX, at(0)),
            Err((SignalRefusal::Unsigned, from))
        );
    }
    // More is taken.
    let (mut alice, bob) = (sealer(1, Protection::Sealed), sealer(2, Protection::Signed));
    let sealed = alice.close(&message, at(0));
    assert!(bob.open(&sealed, MAX, at(0)).is_ok());
}

#[test]
fn the_length_comes_first_then_the_address_then_the_protection() {
    let (mut alice, bob) = (sealer(1, Protection::Sealed), sealer(2, Protection::Sealed));
    let from = Some(alice.id());
    let message = bye(&alice, &bob);
    let text = alice.close(&message, at(0));
    let refused = |us: &Sealer, text: &str| us.open(text, MAX, at(0)).map(|_| ());
    assert_eq!(
        bob.open(&text, text.len() - 1, at(0)),
        Err((SignalRefusal::TooLarge, None))
    );
    let carol = sealer(3, Protection::Sealed);
    assert_eq!(
        refused(&carol, &text),
        Err((SignalRefusal::Misaddressed, from))
    );
    assert_eq!(
        refused(&alice, &text),
        Err((SignalRefusal::Reflected, from))
    );
    let readdressed = text.replace(bob.id().as_str(), carol.id().as_str());
    assert_eq!(
        refused(&carol, &readdressed),
        Err((SignalRefusal::Forged, from)),
        "it is sealed to another"
    );
    let other = text.replace(alice.id().as_str(), carol.id().as_str());
    assert_eq!(
        refused(&bob, &other),
        Err((SignalRefusal::Forged, Some(carol.id()))),
        "the sender is bound to it"
    );
    for (bad, expected) in [
        (String::new(), (SignalRefusal::Malformed, None)),
        (
            text.replace("\"sealed\"", "\"closed\""),
            (SignalRefusal::Malformed, from),
        ),
        (
            text.replacen('{', "{\"signed\":\"a.b.c\",", 1),
            (SignalRefusal::Malformed, from),
        ),
        (
            text.replace("\"v\":2", "\"v\":3"),
            (SignalRefusal::Version, from),
        ),
        (
            text.replace("\"v\":2", "\"v\":2,\"to\":\"x\""),
            (SignalRefusal::Malformed, None),
        ),
    ] {
        let (why, _) = refused(&bob, &bad).expect_err("bad");
        assert_eq!(why, expected.0, "{bad}");
    }
}

#[test]
fn what_another_has_signed_is_not_taken_for_the_senders() {
    let (alice, bob) = (sealer(1, Protection::Signed), sealer(2, Protection::Signed));
    let mut mallory = sealer(3, Protection::Signed);
    let message = bye(&alice, &bob);
    // With mallory's key, in alice's name: inside, outside, and both.
    let inside = mallory.close(&message, at(0));
    let refused = |text: &str| bob.open(text, MAX, at(0)).expect_err("forged").0;
    assert_eq!(refused(&inside), SignalRefusal::Forged);
    let own = mallory.close(&bye(&mallory, &bob), at(0));
    assert!(bob.open(&own, MAX, at(0)).is_ok());
    let outside = own.replace(mallory.id().as_str(), alice.id().as_str());
    assert_eq!(refused(&outside), SignalRefusal::Forged);
    let outer_only = own.replacen(mallory.id().as_str(), alice.id().as_str(), 1);
    assert_eq!(refused(&outer_only), SignalRefusal::Forged);
    let to_carol = Envelope {
        to: sealer(4, Protection::Signed).id(),
        ..bye(&mallory, &bob)
    };
    let misdelivered = mallory
        .close(&to_carol, at(0))
        .replace(to_carol.to.as_str(), bob.id().as_str());
    assert_eq!(
        refused(&misdelivered),
        SignalRefusal::Forged,
        "signed for another"
    );
}

#[test]
fn a_message_is_fresh_for_the_window_either_way_and_not_a_millisecond_longer() {
    let (mut alice, bob) = (sealer(1, Protection::Sealed), sealer(2, Protection::Sealed));
    let from = Some(alice.id());
    let text = alice.close(&bye(&alice, &bob), at(1_000));
    let (window, tick) = (300_000, 1);
    let judged = |millis: u64| {
        let now = UnixTime::from_millis(millis);
        bob.open(&text, MAX, now).map(|_| ())
    };
    let signed = 1_000_000;
    assert_eq!(judged(signed + window), Ok(()));
    assert_eq!(judged(signed - window), Ok(()));
    let stale = Err((SignalRefusal::NotFresh, from));
    assert_eq!(judged(signed + window + tick), stale);
    assert_eq!(judged(signed - window - tick), stale);
}

#[test]
fn a_message_without_its_time_is_refused() {
    let (alice, bob) = (sealer(1, Protection::Signed), sealer(2, Protection::Signed));
    let keys = alice.keys.as_ref().expect("keyed");
    let message = bye(&alice, &bob).encode();
    let jws = sign(HEADER, &keys.signing, &message);
    let (from, to) = (alice.id(), bob.id());
    let text = format!(r#"{{"v":2,"from":"{from}","to":"{to}","signed":"{jws}"}}"#);
    assert_eq!(
        bob.open(&text, MAX, at(0)),
        Err((SignalRefusal::Malformed, Some(from)))
    );
}

#[test]
fn an_id_that_is_no_key_or_a_weak_one_is_nobody() {
    let alice = sealer(1, Protection::Sealed);
    let weak = PeerId::from_public_key(&[0; 32]);
    let off_curve = PeerId::from_public_key(&[2; 32]);
    let name = "alice".parse().expect("valid");
    for peer in [weak, off_curve, name] {
        assert!(!alice.can_reach(peer), "{peer}");
        let to = alice.id();
        let text = format!(r#"{{"v":2,"from":"{peer}","to":"{to}","signed":"a.b.c"}}"#);
        let us = sealer(1, Protection::Signed);
        assert_eq!(
            us.open(&text, MAX, at(0)),
            Err((SignalRefusal::Forged, Some(peer)))
        );
    }
    assert!(alice.can_reach(sealer(2, Protection::Sealed).id()));
}

#[test]
fn no_key_is_shown() {
    let alice = sealer(1, Protection::Sealed);
    let id = alice.id();
    assert_eq!(format!("{alice:?}"), format!("Sealer({id}, keyed: true)"));
}

proptest! {
    /// A bit that is damaged anywhere, or text that is cut, never opens as another message.
    #[test]
    fn what_is_damaged_is_refused_or_says_the_same(
        place in any::<prop::sample::Index>(),
        bit in 0..7_u32,
        signed in any::<bool>(),
    ) {
        let protection = if signed { Protection::Signed } else { Protection::Sealed };
        let (mut alice, bob) = (sealer(1, protection), sealer(2, protection));
        let text = alice.close(&bye(&alice, &bob), at(0));
        let whole = bob.open(&text, MAX, at(0)).expect("whole").into_owned();
        let mut bytes = text.into_bytes();
        let at_byte = place.index(bytes.len());
        bytes[at_byte] ^= 1 << bit;
        if let Ok(text) = std::str::from_utf8(&bytes)
            && let Ok(opened) = bob.open(text, MAX, at(0))
        {
            prop_assert_eq!(opened.into_owned(), whole);
        }
        if let Ok(cut) = std::str::from_utf8(&bytes[..at_byte]) {
            prop_assert!(bob.open(cut, MAX, at(0)).is_err());
        }
    }
}

fn sealer(n: u8, protection: Protection) -> Sealer {
    made(Identity::from_private_key([n; 32]), protection)
}

fn made(identity: Identity, protection: Protection) -> Sealer {
    let rng = Rng::new(&Seed::from([9; 32]));
    Sealer::new(identity, protection, WINDOW, rng)
}

fn bye(from: &Sealer, to: &Sealer) -> Envelope {
    Envelope {
        from: from.id(),
        to: to.id(),
        session: "00112233445566778899aabbccddeeff".parse().expect("valid"),
        generation: Generation(0),
        seq: 1,
        sent_at: None,
        rollover: None,
        body: Body::Bye {
            reason: ByeReason::Closed,
        },
    }
}

/// So many seconds after the epoch.
fn at(secs: u64) -> UnixTime {
    UnixTime::from_millis(secs * 1_000)
}

/// Examples for other implementations, and what each of them has to make of them.
#[test]
fn the_published_vectors_are_these() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors/signals.json");
    let made = vectors();
    if std::env::var_os("BOWLINE_WRITE_VECTORS").is_some() {
        std::fs::write(file, &made).expect("the file can be written");
    }
    let published = std::fs::read_to_string(file).expect("the file is there");
    assert!(
        published == made,
        "the format has changed: BOWLINE_WRITE_VECTORS=1 writes {file}"
    );
}

/// What `seal.js` has written with WebCrypto: both ways have to fit.
#[test]
fn what_javascript_has_signed_and_sealed_is_opened() {
    #[derive(Deserialize)]
    struct Made {
        now: u64,
        signals: Vec<String>,
    }
    let text = include_str!("../../../../docs/vectors/signals-from-javascript.json");
    let made: Made = serde_json::from_str(text).expect("valid");
    let bob = sealer(2, Protection::Signed);
    let now = UnixTime::from_millis(made.now);
    for signal in &made.signals {
        let opened = bob.open(signal, MAX, now).expect("it is for us");
        let envelope = Envelope::decode(&opened, MAX).expect("valid");
        assert_eq!(envelope.from, sealer(1, Protection::Signed).id());
        assert_eq!(envelope.sent_at, Some(now));
    }
    assert_eq!(made.signals.len(), 2);
}

/// Statements that Alice's key gives its place to Bob's, and some that are none.
fn rollovers(alice: &Identity, bob: &Identity) -> Vec<serde_json::Value> {
    let [alice_id, bob_id] = [alice, bob].map(Identity::id);
    let until = at(1_800_000_000).as_millis();
    let signed =
        |by: &Identity, text: &str| jws::sign(rollover::HEADER, by.key().expect("a key"), text);
    let claims = format!(r#"{{"old":"{alice_id}","new":"{bob_id}","until":{until}}}"#);
    let good = signed(alice, &signed(bob, &claims));
    let to_itself = claims.replace(bob_id.as_str(), alice_id.as_str());
    let cases = [
        ("signed by both", good.clone()),
        (
            "signed by the new one only",
            signed(bob, &signed(bob, &claims)),
        ),
        (
            "signed by the old one only",
            signed(alice, &signed(alice, &claims)),
        ),
        (
            "signed in the wrong order",
            signed(bob, &signed(alice, &claims)),
        ),
        ("signed once", signed(alice, &claims)),
        ("to itself", signed(alice, &signed(alice, &to_itself))),
        ("without an end", {
            let open = claims.replace(&format!(",\"until\":{until}"), "");
            signed(alice, &signed(bob, &open))
        }),
        ("with the header of a message", {
            good.replacen(rollover::HEADER, HEADER, 1)
        }),
        ("cut", good[..good.len() - 1].to_owned()),
    ];
    let case = |(name, text): (&str, String)| {
        let read = text.parse::<Rollover>().ok().map(|read| {
            serde_json::json!({
                "old": read.old_id(),
                "new": read.new_id(),
                "until": read.until().as_millis(),
            })
        });
        serde_json::json!({ "name": name, "text": text, "reads": read })
    };
    cases.into_iter().map(case).collect()
}

fn vectors() -> String {
    let [alice, bob, carol] = [1, 2, 3].map(|n| Identity::from_private_key([n; 32]));
    let jwk = |identity: &Identity| -> serde_json::Value {
        let text = identity.to_jwk().expect("it has a key");
        serde_json::from_str(&text).expect("valid")
    };
    let keys = serde_json::json!({ "alice": jwk(&alice), "bob": jwk(&bob) });
    let (alice_id, bob_id, carol_id) = (alice.id(), bob.id(), carol.id());
    let now = at(1_790_000_000);
    let close = |n: u8, protection, to: PeerId, when| {
        let mut from = sealer(n, protection);
        let message = Envelope {
            to,
            ..bye(&from, &from)
        };
        from.close(&message, when)
    };
    let signed = close(1, Protection::Signed, bob_id, now);
    let sealed = close(1, Protection::Sealed, bob_id, now);
    let jws = |edit: fn(&str) -> String| {
        let object: serde_json::Value = serde_json::from_str(&signed).expect("valid");
        let jws = object["signed"].as_str().expect("a string");
        signed.replace(jws, &edit(jws))
    };
    let later = |millis: i64| {
        let when = now.as_millis().saturating_add_signed(millis);
        close(1, Protection::Sealed, bob_id, UnixTime::from_millis(when))
    };
    let weak = PeerId::from_public_key(&[0; 32]);
    let cases = [
        ("signed", signed.clone()),
        ("sealed", sealed.clone()),
        ("as old as may be", later(-300_000)),
        ("as new as may be", later(300_000)),
        ("too old", later(-300_001)),
        ("too new", later(300_001)),
        ("the signature of another", {
            close(3, Protection::Signed, bob_id, now).replace(carol_id.as_str(), alice_id.as_str())
        }),
        ("another sender outside", {
            sealed.replace(alice_id.as_str(), carol_id.as_str())
        }),
        ("for another, sent on to us", {
            close(1, Protection::Sealed, carol_id, now).replace(carol_id.as_str(), bob_id.as_str())
        }),
        ("signed for another, sent on to us", {
            close(1, Protection::Signed, carol_id, now).replace(carol_id.as_str(), bob_id.as_str())
        }),
        ("for another", close(1, Protection::Sealed, carol_id, now)),
        ("our own", close(2, Protection::Sealed, alice_id, now)),
        ("a key for which everybody can sign", {
            signed.replace(alice_id.as_str(), weak.as_str())
        }),
        ("no signature", {
            jws(|jws| jws[..=jws.rfind('.').expect("a dot")].to_owned())
        }),
        ("an algorithm that is none", {
            jws(|jws| jws.replacen(HEADER, &encode(br#"{"alg":"none"}"#), 1))
        }),
        ("one more part", jws(|jws| format!("{jws}.AA"))),
        (
            "sealed, and cut",
            sealed
                .replace("\"}", "")
                .replacen("\"sealed\":\"", "\"sealed\":\"AAAA", 1)
                + "\"}",
        ),
        (
            "plain",
            bye(
                &sealer(1, Protection::Signed),
                &sealer(2, Protection::Signed),
            )
            .encode(),
        ),
        (
            "of another version",
            sealed.replacen("\"v\":2", "\"v\":3", 1),
        ),
        ("neither signed nor sealed", {
            format!(r#"{{"v":2,"from":"{alice_id}","to":"{bob_id}"}}"#)
        }),
        ("both signed and sealed", {
            signed.replacen("\"signed\"", "\"sealed\":\"AAAA\",\"signed\"", 1)
        }),
        ("an array", {
            let members: serde_json::Value = serde_json::from_str(&sealed).expect("valid");
            format!(r#"[2,"{alice_id}","{bob_id}",null,{}]"#, members["sealed"])
        }),
    ];
    let signals: Vec<_> = cases
        .into_iter()
        .map(|(name, text)| {
            let mut case = serde_json::json!({ "name": name, "text": text });
            for (demand, protection) in [
                ("sealed", Protection::Sealed),
                ("signed", Protection::Signed),
            ] {
                let opened = sealer(2, protection).open(&text, MAX, now);
                case[demand] = match opened {
                    Ok(message) => serde_json::json!({ "opens": message }),
                    Err((why, _)) => serde_json::json!({ "refused": why }),
                };
            }
            case
        })
        .collect();
    let all = serde_json::json!({
        "keys": keys,
        "now": now.as_millis(),
        "to": "bob",
        "signals": signals,
        "rollovers": rollovers(&alice, &bob),
    });
    serde_json::to_string_pretty(&all).expect("it has a form") + "\n"
}
