use proptest::prelude::*;

use super::super::identity::Identity;
use super::*;
use crate::linear::{LONG, assert_linear};

const MAX: usize = 64 * 1024;

#[test]
fn every_example_of_the_reference_decodes_and_every_type_has_one() {
    let source = include_str!("../envelope.rs");
    let kinds: Vec<_> = source
        .split("//! ```json\n")
        .skip(1)
        .map(|rest| {
            rest.split("//! ```")
                .next()
                .expect("closed")
                .replace("//!", "")
        })
        .map(|json| {
            Envelope::decode(&json, MAX)
                .expect("the example is valid")
                .kind()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            SignalKind::Offer,
            SignalKind::Answer,
            SignalKind::Candidate,
            SignalKind::EndOfCandidates,
            SignalKind::IceRestart,
            SignalKind::Bye,
            SignalKind::Ack,
        ]
    );
}

#[test]
fn the_json_form_is_the_documented_one() {
    let channels = serde_json::from_str(r#""ffeeddccbbaa99887766554433221100""#);
    let offer = envelope(Body::Offer {
        sdp: "v=0\r\n\0".into(),
        replaces: vec![],
        channels: Some(channels.expect("valid")),
        bowline: Some(Capabilities {
            version: 1,
            max_message_size: 9,
        }),
    });
    assert_eq!(
        offer.encode(),
        r#"{"v":1,"from":"alice","to":"bob","session":"00112233445566778899aabbccddeeff","generation":2,"#
            .to_owned()
            + r#""seq":7,"type":"offer","sdp":"v=0\r\n\u0000","channels":"ffeeddccbbaa99887766554433221100","#
            + r#""bowline":{"version":1,"max_message_size":9}}"#
    );
}

#[test]
fn a_message_at_the_size_limit_is_read_and_one_byte_more_is_refused_unread() {
    let text = envelope(Body::IceRestart).encode();
    assert!(Envelope::decode(&text, text.len()).is_ok());
    assert_eq!(
        Envelope::decode(&text, text.len() - 1),
        Err((SignalRefusal::TooLarge, None))
    );
}

#[test]
fn unknown_fields_are_ignored_also_nested_ones() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let text = message(&format!(
        r#""type":"ice-restart","software":"x/1","more":{deep}"#
    ));
    assert_eq!(Envelope::decode(&text, MAX), Ok(envelope(Body::IceRestart)));
    let text = message(
        r#""type":"answer","sdp":"s","bowline":{"version":1,"max_message_size":5,"new":{}}"#,
    );
    let bowline = Some(Capabilities {
        version: 1,
        max_message_size: 5,
    });
    let answer = Body::Answer {
        sdp: "s".into(),
        replaces: vec![],
        channels: None,
        bowline,
    };
    assert_eq!(Envelope::decode(&text, MAX), Ok(envelope(answer)));
}

#[test]
fn another_version_is_told_from_garbage_and_names_its_sender() {
    let alice = Some(peer("alice"));
    for (text, expected) in [
        (
            r#"{"v":2,"from":"alice","sealed":"..."}"#,
            (SignalRefusal::Version, alice),
        ),
        (r#"{"v":2,"from":7}"#, (SignalRefusal::Version, None)),
        (
            &message(r#""type":"ice-restart""#).replace("\"v\":1", "\"v\":0"),
            (SignalRefusal::Version, alice),
        ),
        (
            r#"{"v":1,"from":"alice"}"#,
            (SignalRefusal::Malformed, alice),
        ),
        (
            r#"{"v":"1","from":"alice"}"#,
            (SignalRefusal::Malformed, alice),
        ),
        (
            r#"{"from":"no such name!"}"#,
            (SignalRefusal::Malformed, None),
        ),
        (r#"{"v":1,"from":"alice""#, (SignalRefusal::Malformed, None)),
        ("", (SignalRefusal::Malformed, None)),
        ("[]", (SignalRefusal::Malformed, None)),
    ] {
        assert_eq!(Envelope::decode(text, MAX), Err(expected), "{text}");
    }
}

#[test]
fn a_message_that_breaks_a_rule_is_malformed_and_names_its_sender() {
    for fields in [
        r#""type":"shout""#,
        r#""type":"offer""#,
        r#""type":"offer","sdp":null"#,
        r#""type":"offer","sdp":5"#,
        r#""type":"offer","sdp":"s","replaces":["00"]"#,
        r#""type":"answer","sdp":"s","bowline":true"#,
        r#""type":"answer","sdp":"s","bowline":{"version":1}"#,
        r#""type":"answer","sdp":"s","sdp":"s""#,
        r#""type":"ice-candidate","candidate":"c""#,
        r#""type":"ice-candidate","ufrag":"abcd""#,
        r#""type":"ice-candidate","candidate":"c","ufrag":"""#,
        r#""type":"end-of-candidates""#,
        r#""type":"bye""#,
        r#""type":"bye","reason":"bored""#,
        r#""type":"ack","ack":7"#,
        r#""type":"ice-restart","v":1"#,
        r#""type":"ice-restart"}{"#,
    ] {
        let text = message(fields);
        let error = Envelope::decode(&text, MAX).expect_err(fields);
        assert_eq!(error.0, SignalRefusal::Malformed, "{fields}");
    }
    let deep = format!(r#""type":"ice-restart","sdp":{}"#, "[".repeat(10_000));
    let error = Envelope::decode(&message(&deep), MAX).expect_err("too deep");
    assert_eq!(error.0, SignalRefusal::Malformed);
    let error = Envelope::decode(&message(r#""type":"shout""#), MAX).expect_err("unknown");
    assert_eq!(error, (SignalRefusal::Malformed, Some(peer("alice"))));
}

#[test]
fn numbers_at_their_bounds_are_accepted_and_those_past_them_refused() {
    let highest = MAX_NUMBER.to_string();
    let past = (MAX_NUMBER + 1).to_string();
    let with_seq = |fields: &str, seq: &str| {
        let text = message(fields).replace("\"seq\":7", &format!("\"seq\":{seq}"));
        Envelope::decode(&text, MAX).is_ok()
    };
    let restart = r#""type":"ice-restart""#;
    assert!(with_seq(restart, "1") && with_seq(restart, &highest));
    assert!(!with_seq(restart, "0") && !with_seq(restart, &past));
    assert!(!with_seq(restart, "-1") && !with_seq(restart, "1.5"));
    let bye = r#""type":"bye","reason":"closed""#;
    assert!(with_seq(bye, "0") && with_seq(bye, "1") && !with_seq(bye, &past));
    let ack = |n: &str| with_seq(&format!(r#""type":"ack","ack":{n}"#), "0");
    assert!(ack("1") && ack(&highest) && !ack("0") && !ack(&past));
    let restart = message(restart);
    assert!(Envelope::decode(&restart.replace("n\":2", "n\":4294967295"), MAX).is_ok());
    assert!(Envelope::decode(&restart.replace("n\":2", "n\":4294967296"), MAX).is_err());
}

#[test]
fn candidates_and_fragments_at_their_bounds_are_accepted_and_longer_ones_refused() {
    let decodes = |candidate: usize, ufrag: usize| {
        let body = Body::Candidate {
            candidate: "c".repeat(candidate),
            ufrag: "u".repeat(ufrag),
        };
        Envelope::decode(&envelope(body).encode(), MAX).is_ok()
    };
    assert!(decodes(MAX_CANDIDATE, MAX_UFRAG));
    assert!(!decodes(MAX_CANDIDATE + 1, 4));
    assert!(!decodes(4, MAX_UFRAG + 1));
}

#[test]
fn as_many_replaced_sessions_as_the_bound_are_read_and_one_more_is_refused() {
    let decodes = |count: usize| {
        let replaces = vec!["00".repeat(16).parse().expect("valid"); count];
        let offer = Body::Offer {
            sdp: "v=0".into(),
            replaces,
            channels: None,
            bowline: None,
        };
        Envelope::decode(&envelope(offer).encode(), MAX).is_ok()
    };
    assert!(decodes(MAX_REPLACES) && !decodes(MAX_REPLACES + 1));
}

#[test]
fn an_empty_candidate_is_the_end_of_candidates() {
    let text = message(r#""type":"ice-candidate","candidate":"","ufrag":"abcd""#);
    let end = Body::EndOfCandidates {
        ufrag: "abcd".into(),
    };
    assert_eq!(Envelope::decode(&text, MAX), Ok(envelope(end)));
}

#[test]
fn our_own_and_misaddressed_messages_are_told_apart() {
    let message = envelope(Body::IceRestart);
    assert_eq!(message.check_addressed(peer("bob")), Ok(()));
    assert_eq!(
        message.check_addressed(peer("alice")),
        Err(SignalRefusal::Reflected)
    );
    assert_eq!(
        message.check_addressed(peer("carol")),
        Err(SignalRefusal::Misaddressed)
    );
}

#[test]
fn a_numbered_message_has_an_acknowledgement_and_that_has_none() {
    let ack = envelope(Body::IceRestart).ack().expect("numbered");
    assert_eq!((ack.from, ack.to, ack.seq), (peer("bob"), peer("alice"), 0));
    assert_eq!(ack.body, Body::Ack { ack: 7 });
    assert_eq!(ack.ack(), None);
}

#[test]
fn a_change_of_keys_is_of_the_sender_in_an_offer_or_a_bye() {
    let [old, new] = [1, 2].map(|n| Identity::from_private_key([n; 32]));
    let rollover = Rollover::new(&old, &new, UnixTime::from_millis(7)).expect("two keys");
    let bodies = || {
        let sdp = String::new;
        [
            Body::Offer {
                sdp: sdp(),
                replaces: vec![],
                channels: None,
                bowline: None,
            },
            Body::Answer {
                sdp: sdp(),
                replaces: vec![],
                channels: None,
                bowline: None,
            },
            Body::IceRestart,
            Body::Bye {
                reason: ByeReason::Closed,
            },
        ]
    };
    let read = |from: PeerId| {
        bodies().map(|body| {
            let sent = Envelope {
                from,
                ..envelope(body)
            };
            let text = sent.encode_at(UnixTime::from_millis(1), Some(&rollover));
            let read = Envelope::decode(&text, MAX).map(|read| read.rollover);
            read.map_err(|(refusal, _)| refusal)
        })
    };
    let (malformed, told) = (
        || Err(SignalRefusal::Malformed),
        || Ok(Some(Box::new(rollover.clone()))),
    );
    let of_old = [malformed(), malformed(), malformed(), told()];
    assert_eq!(read(old.id()), of_old);
    let of_new = [told(), malformed(), malformed(), malformed()];
    assert_eq!(read(new.id()), of_new);
    assert!(read(peer("alice")).iter().all(|read| *read == malformed()));
}

#[test]
fn debug_shows_neither_descriptions_nor_candidates_nor_credentials() {
    let secret = || "s3cret".to_owned();
    for body in [
        Body::Offer {
            sdp: secret(),
            replaces: vec![],
            channels: None,
            bowline: None,
        },
        Body::Answer {
            sdp: secret(),
            replaces: vec![],
            channels: None,
            bowline: None,
        },
        Body::Candidate {
            candidate: secret(),
            ufrag: secret(),
        },
        Body::EndOfCandidates { ufrag: secret() },
    ] {
        let shown = format!("{:?}", envelope(body));
        assert!(
            shown.contains("alice -> bob") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(envelope in any_envelope()) {
        prop_assert_eq!(Envelope::decode(&envelope.encode(), usize::MAX), Ok(envelope));
    }

    #[test]
    fn any_text_is_refused_or_read_without_panic(text in ".{0,200}") {
        let _ = Envelope::decode(&text, MAX);
    }

    #[test]
    fn any_fields_are_refused_or_read_without_panic(fields in r#"[\[\]{}",:0-9a-z\\u-]{0,60}"#) {
        let _ = Envelope::decode(&message(&fields), MAX);
    }

    #[test]
    fn a_flipped_bit_gives_an_error_or_another_message(
        envelope in any_envelope(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = envelope.encode().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(read) = Envelope::decode(&text, usize::MAX)
        {
            // Only the case of a hexadecimal digit in an escape carries no meaning.
            let same = text.eq_ignore_ascii_case(&envelope.encode());
            prop_assert!(read != envelope || same, "{}", text);
            prop_assert!(Envelope::decode(&read.encode(), usize::MAX) == Ok(read));
        }
    }
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).expect("valid")
}

fn envelope(body: Body) -> Envelope {
    Envelope {
        from: peer("alice"),
        to: peer("bob"),
        session: "00112233445566778899aabbccddeeff".parse().expect("valid"),
        generation: Generation(2),
        seq: 7,
        sent_at: None,
        rollover: None,
        body,
    }
}

/// The JSON of `envelope` with these fields for its body.
fn message(fields: &str) -> String {
    let header = r#""v":1,"from":"alice","to":"bob","session":"00112233445566778899aabbccddeeff""#;
    format!(r#"{{{header},"generation":2,"seq":7,{fields}}}"#)
}

fn any_envelope() -> impl Strategy<Value = Envelope> {
    let name = || "[A-Za-z0-9._-]{1,64}".prop_map(|name| peer(&name));
    (
        name(),
        name(),
        any_session(),
        any::<u32>(),
        1..=MAX_NUMBER,
        any::<Option<u64>>(),
        any_body(),
    )
        .prop_map(
            |(from, to, session, generation, number, time, body)| Envelope {
                from,
                to,
                session,
                generation: Generation(generation),
                seq: if matches!(body, Body::Ack { .. }) {
                    0
                } else {
                    number
                },
                sent_at: time.map(UnixTime::from_millis),
                rollover: None,
                body,
            },
        )
}

fn any_session() -> impl Strategy<Value = SessionId> {
    "[0-9a-f]{32}".prop_map(|text| text.parse().expect("valid"))
}

fn any_channels() -> impl Strategy<Value = ChannelsId> {
    "[0-9a-f]{32}".prop_map(|text| serde_json::from_str(&format!("{text:?}")).expect("valid"))
}

fn any_body() -> impl Strategy<Value = Body> {
    let description = || {
        let bowline =
            (any::<u32>(), any::<u64>()).prop_map(|(version, max_message_size)| Capabilities {
                version,
                max_message_size,
            });
        (
            any::<String>(),
            prop::collection::vec(any_session(), 0..=MAX_REPLACES),
            prop::option::of(any_channels()),
            prop::option::of(bowline),
        )
    };
    let ufrag = || "\\PC{1,60}";
    let reason = prop::sample::select(vec![
        ByeReason::Closed,
        ByeReason::Refused,
        ByeReason::Busy,
        ByeReason::UnknownSession,
        ByeReason::Failed,
    ]);
    prop_oneof![
        description().prop_map(|(sdp, replaces, channels, bowline)| Body::Offer {
            sdp,
            replaces,
            channels,
            bowline
        }),
        description().prop_map(|(sdp, replaces, channels, bowline)| Body::Answer {
            sdp,
            replaces,
            channels,
            bowline
        }),
        (".{1,60}", ufrag()).prop_map(|(candidate, ufrag)| Body::Candidate { candidate, ufrag }),
        ufrag().prop_map(|ufrag| Body::EndOfCandidates { ufrag }),
        Just(Body::IceRestart),
        reason.prop_map(|reason| Body::Bye { reason }),
        (1..=MAX_NUMBER).prop_map(|ack| Body::Ack { ack }),
    ]
}

#[test]
fn work_is_linear_in_the_length_of_a_message() {
    let head = r#"{"v":1,"from":"alice","to":"bob","session":"00112233445566778899aabbccddeeff","generation":0,"seq":1,"type":"offer","sdp":""#;
    let shapes = [
        (head, "x", "\"}"),
        (head, "\\n", "\"}"),
        (head, "\\u0041", "\"}"),
        (head, "\\ud83d\\ude00", "\"}"),
        (head, "\\", "\"}"),
        ("{", "\"x\":1,", "\"v\":1}"),
        ("{\"x\":[", "[],", "0]}"),
        ("{\"x\":[", "{\"y\":0},", "0]}"),
        (
            "{\"replaces\":[",
            "\"00112233445566778899aabbccddeeff\",",
            "\"\"]}",
        ),
        ("{\"seq\":", "1", "}"),
        ("{\"x\":1.", "1", "}"),
        ("{\"x\":1e", "9", "}"),
        ("{\"x\":-0.", "0", "1}"),
        ("{\"v\":2,\"from\":\"", "x", "\"}"),
        ("{\"v\":2,\"v\":", "2,\"v\":", "2}"),
        ("", "[", ""),
        ("", " ", "{}"),
        ("", "\"", ""),
    ];
    for (start, unit, end) in shapes {
        let text = |len: usize| format!("{start}{}{end}", unit.repeat(len / unit.len()));
        assert_linear(unit, LONG, text, |text| {
            if let Ok(envelope) = Envelope::decode(text, usize::MAX) {
                drop(envelope.encode());
            }
        });
    }
}
