//! Tests of the whole module.

mod rewrites;
mod rules;

use proptest::prelude::*;

use super::own::AnnounceError;
use super::*;
use crate::event::NegotiationFault;
use crate::linear::{LONG, assert_linear};

#[test]
fn an_offer_of_the_transport_itself_is_read_in_full() {
    let remote = offer(OFFER).expect("valid");
    assert_eq!((remote.ufrag(), remote.pwd()), ("Ks4t", PWD));
    assert_eq!(remote.max_message_size(), Some(262_144));
    assert_eq!(
        remote.candidates().collect::<Vec<_>>(),
        ["candidate:1 1 udp 2130706175 192.0.2.7 50000 typ host"]
    );
    assert!(remote.has_sha256() && remote.is_end_of_candidates());
    let section = remote.section().expect("a data channel section");
    assert_eq!(
        (section.mid(), section.sctp_port()),
        (Some("0"), Some(5_000))
    );
    assert_eq!((section.index(), section.line()), (0, 7));
    assert_eq!((section.media(), section.port()), ("application", 9));
    assert!(section.is_data_channel() && !section.is_rejected() && !section.is_rtp());
    let transport = section.transport();
    assert_eq!(transport.setup(), Some(Setup::Actpass));
    let fingerprints: Vec<_> = transport.fingerprints().collect();
    assert_eq!(fingerprints.len(), 1);
    assert_eq!(fingerprints[0].hash, HashFunction::Sha256);
    assert_eq!(
        (fingerprints[0].bytes.len(), fingerprints[0].bytes[0]),
        (32, 0xD2)
    );
    assert!(transport.is_trickling());
    let description = Description::parse(OFFER).expect("valid");
    assert_eq!(description.origin(), ("1", "2"));
    assert!(!description.is_ice_lite());
    let bundles: Vec<Vec<_>> = description.bundles().map(Iterator::collect).collect();
    assert_eq!(bundles, [["0"]]);
}

#[test]
fn work_is_linear_in_the_length_of_a_description() {
    let head = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\n";
    let timed = format!("{head}t=0 0\r\n");
    let in_session = [
        "a=x\r\n",
        "a=x:y\r\n",
        "a=group:BUNDLE 0\r\n",
        "a=group:BUNDLE 1\r\n",
        "a=fingerprint:md5 00\r\n",
        "a=ice-options:x trickle\r\n",
        "b=AS:1\r\n",
        "\r\n",
        "\n",
        "a=ice-lite\r\n",
        "a=mid:0\r\n",
    ];
    for unit in in_session {
        assert_linear_text(unit, |len| long_text(&timed, unit, len));
    }
    let in_section = [
        "a=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\n",
        "a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n",
        "a=fingerprint:x 00\r\n",
        "a=x\r\n",
        "a=end-of-candidates\r\n",
        "b=AS:1\r\n",
        "i=x\r\n",
        "c=IN IP4 0.0.0.0\r\n",
    ];
    for unit in in_section {
        assert_linear_text(unit, |len| long_text(OFFER, unit, len));
    }
    let before_time = [
        "t=0 0\r\n",
        "e=x\r\n",
        "p=x\r\n",
        "r=7d 1h 0 25h\r\n",
        "z=0 1\r\n",
    ];
    for unit in before_time {
        assert_linear_text(unit, |len| long_text(&timed, unit, len));
        assert_linear_text(unit, |len| long_text(head, unit, len) + OFFER);
    }
}

#[test]
fn work_is_linear_in_the_length_of_one_line() {
    for (start, unit) in [
        ("a=group:BUNDLE 0", " x"),
        ("a=group:BUNDLE", " 0"),
        ("a=ice-options:", "x "),
        ("a=fingerprint:sha-256 00", ":00"),
        ("a=fingerprint:x 00", ":00"),
        ("a=candidate:", "x "),
        ("a=x:", "="),
        ("a=", ":"),
        ("b=", "x"),
        ("z=", "0 1 "),
        ("r=", "1 "),
        ("o=", " "),
        ("m=", "m="),
        ("m=application 9 UDP/DTLS/SCTP ", "x "),
    ] {
        // At the front, where it is read, and at the end.
        assert_linear_text(start, |len| {
            let line = format!(
                "{start}{}\r\n",
                unit.repeat((len - OFFER.len() - 99) / unit.len())
            );
            OFFER.replacen("a=group:BUNDLE 0\r\n", &line, 1)
        });
        assert_linear_text(start, |len| {
            let line = format!(
                "{start}{}",
                unit.repeat((len - OFFER.len() - 99) / unit.len())
            );
            format!("{OFFER}{line}")
        });
    }
}

#[test]
fn work_is_linear_with_as_many_sections_as_there_may_be() {
    let section = |n: usize, attributes: usize| {
        let attributes = "a=ice-ufrag-x:abcd\r\n".repeat(attributes);
        format!("m=audio 9 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\na=mid:x{n}\r\n{attributes}")
    };
    assert_linear_text("sections", |len| {
        let attributes = len / 64 / 20 - 10;
        let others: String = (0..63).map(|n| section(n, attributes)).collect();
        let mids = " x62".repeat(len / 16);
        let group = format!("a=group:BUNDLE 0{mids}\r\n");
        OFFER.replacen("a=group:BUNDLE 0\r\n", &group, 1) + &others
    });
}

/// Everything that is done with a description, the limit on its length left aside.
fn assert_linear_text(name: &str, make: impl Fn(usize) -> String) {
    assert_linear(name, LONG, make, |text| {
        if let Ok(description) = Description::read(text, usize::MAX) {
            let offer = Remote::new(description.clone(), Role::Offer, None);
            drop(Remote::new(
                description.clone(),
                Role::Answer,
                offer.as_ref().ok(),
            ));
            let _ = description.validate_answer(&description);
        }
        drop(for_transport(text, None));
        drop(announce(
            text,
            Announcement {
                ice_ufrag: "ours",
                ice_pwd: PWD,
                candidates: &[],
                end_of_candidates: true,
            },
        ));
    });
}

fn long_text(head: &str, unit: &str, len: usize) -> String {
    format!("{head}{}", unit.repeat((len - head.len()) / unit.len()))
}

#[test]
fn a_fault_has_the_number_of_its_line() {
    let faults = [
        ("v=0", "v=1", 1, SdpFault::Version),
        ("o=- 1", "i=- 1", 2, SdpFault::Order),
        ("o=- 1", "x=- 1", 2, SdpFault::UnknownType),
        ("o=- 1 2", "o=- 1 x", 2, SdpFault::Field),
        ("s=-\r\nt=0 0", "t=0 0\r\ns=-", 3, SdpFault::Order),
        ("s=-", "s=-\r\ns=-", 4, SdpFault::Repeated),
        ("t=0 0", "v=0\r\nt=0 0", 4, SdpFault::Repeated),
        ("t=0 0", "r=7d 1h\r\nt=0 0", 4, SdpFault::Order),
        ("t=0 0", "t=0 0\r\nr=7d 1x", 5, SdpFault::Field),
        ("t=0 0", "t=0 0\r\nz=1 -1h 2", 5, SdpFault::Field),
        ("t=0 0", "t=0", 4, SdpFault::Field),
        ("t=0 0", "a=x", 7, SdpFault::NoTime),
        ("m=application 9", "m=application 65536", 7, SdpFault::Field),
        ("m=application 9", "m=application +9", 7, SdpFault::Field),
        ("m=application 9", "m=application 9/x", 7, SdpFault::Field),
        (" webrtc-datachannel", " ", 7, SdpFault::Field),
        ("c=IN IP4", "c=IN", 8, SdpFault::Field),
        (
            "c=IN",
            "c=IN IP4 0.0.0.0\r\nt=0 0\r\nc=IN",
            9,
            SdpFault::Order,
        ),
        ("c=IN", "b=AS:+1\r\nc=IN", 8, SdpFault::Field),
        ("c=IN", "y=IN", 8, SdpFault::UnknownType),
        ("c=IN", "b=AS:1\r\na=x:", 7, SdpFault::NoConnection),
        ("BUNDLE 0", "BUNDLE (0)", 5, SdpFault::Group),
        ("a=mid:0", "a= mid:0", 9, SdpFault::AttributeName),
        ("a=mid:0", "a=", 9, SdpFault::AttributeName),
        ("a=mid:0", "a=mid:0\0", 9, SdpFault::Line),
        ("a=mid:0", "a=mid:0\rx", 9, SdpFault::Line),
        ("a=mid:0", "mid", 9, SdpFault::Line),
        ("a=mid:0", "a=mid:0 1", 9, SdpFault::Mid),
        ("a=mid:0", "a=mid:0\r\n\r\na=mid:0", 11, SdpFault::Repeated),
        ("sha-256 D2:FA", "sha-256 D2:F", 13, SdpFault::Fingerprint),
        ("sha-256 D2:FA", "sha-256 D2:+A", 13, SdpFault::Fingerprint),
        ("sha-256 D2:FA", "sha-256 D2", 13, SdpFault::Fingerprint),
        ("sha-256 D2:FA", "sha-1 D2:FA", 13, SdpFault::Fingerprint),
        ("setup:actpass", "setup:", 14, SdpFault::Setup),
        ("sctp-port:5000", "sctp-port:65536", 15, SdpFault::SctpPort),
        ("size:262144", "size:-1", 16, SdpFault::MaxMessageSize),
    ];
    for (old, new, line, reason) in faults {
        assert!(OFFER.contains(old), "{old}");
        let parsed = Description::parse(&OFFER.replacen(old, new, 1));
        assert_eq!(
            parsed.map_err(|e| (e.line, e.reason)),
            Err((line, reason)),
            "{new}"
        );
    }
}

#[test]
fn a_rule_of_sessions_is_named_when_it_is_broken() {
    use NegotiationFault as Fault;
    let fp = "a=fingerprint:sha-256 ";
    let cases = [
        (
            "m=application",
            "m=audio",
            SdpFault::NoApplication,
            Fault::NoApplication,
        ),
        (
            "m=application 9",
            "m=application 0",
            SdpFault::RejectedApplication,
            Fault::NoApplication,
        ),
        ("a=mid:0", "a=x", SdpFault::NoMid, Fault::Unsupported),
        (
            "BUNDLE 0",
            "BUNDLE 0 7",
            SdpFault::UnknownBundleMid,
            Fault::Unsupported,
        ),
        (
            "a=sctp-port:5000",
            "a=x",
            SdpFault::NoSctpPort,
            Fault::Unsupported,
        ),
        (
            "a=sctp-port:5000",
            "a=sctp-port:0",
            SdpFault::NoSctpPort,
            Fault::Unsupported,
        ),
        (
            "a=ice-ufrag:Ks4t",
            "a=x",
            SdpFault::NoIceCredentials,
            Fault::IceCredentials,
        ),
        (
            "a=ice-pwd:",
            "a=x:",
            SdpFault::NoIceCredentials,
            Fault::IceCredentials,
        ),
        (fp, "a=x:", SdpFault::NoFingerprint, Fault::Fingerprint),
        (
            fp,
            "a=fingerprint:whirlpool ",
            SdpFault::WeakFingerprint,
            Fault::Fingerprint,
        ),
        ("a=setup:actpass", "a=x", SdpFault::NoSetup, Fault::Setup),
        (
            "a=setup:actpass",
            "a=setup:holdconn",
            SdpFault::WrongSetup,
            Fault::Setup,
        ),
    ];
    for (old, new, reason, fault) in cases {
        assert!(OFFER.contains(old), "{old}");
        let error = offer(&OFFER.replacen(old, new, 1)).expect_err(new);
        assert_eq!(
            (error.reason, error.negotiation_fault()),
            (reason, fault),
            "{new}"
        );
    }
}

#[test]
fn an_answer_has_to_choose_its_role_and_an_offer_may() {
    let role = |setup: &str, role| {
        let text = OFFER.replace("setup:actpass", &format!("setup:{setup}"));
        let description = Description::parse(&text).expect("well-formed");
        description.validate(role, &Rules::default())
    };
    assert_eq!(role("active", Role::Offer), Ok(()));
    assert_eq!(role("active", Role::Answer), Ok(()));
    assert_eq!(role("passive", Role::Answer), Ok(()));
    let wrong = SdpError {
        line: 14,
        reason: SdpFault::WrongSetup,
    };
    assert_eq!(role("actpass", Role::Answer), Err(wrong));
    assert_eq!(role("holdconn", Role::Answer), Err(wrong));
}

#[test]
fn weak_fingerprints_are_ignored_beside_a_strong_one_and_refused_alone() {
    let weak = format!("a=fingerprint:sha-1 {}\r\n", hex(20));
    let strong = format!("a=fingerprint:sha-512 {}\r\n", hex(64));
    let md5 = format!("a=fingerprint:md5 {}\r\n", hex(16));
    let validate = |lines: &str, fingerprints| {
        let description = Description::parse(&with_fingerprints(lines)).expect("well-formed");
        let rules = Rules {
            fingerprints,
            ..Rules::default()
        };
        let validated = description.validate(Role::Offer, &rules);
        validated.map_err(|e| (e.line, e.reason))
    };
    let refused = Err((13, SdpFault::WeakFingerprint));
    assert_eq!(validate(&weak, FingerprintPolicy::Strong), refused);
    assert_eq!(validate(&weak, FingerprintPolicy::AllowWeak), Ok(()));
    assert_eq!(validate(&md5, FingerprintPolicy::AllowWeak), refused);
    let both = format!("{weak}{strong}");
    assert_eq!(validate(&both, FingerprintPolicy::Strong), Ok(()));
    let remote = offer(&with_fingerprints(&both)).expect("valid");
    assert!(!remote.has_sha256());
}

#[test]
fn the_largest_message_is_never_read_as_less_than_it_is() {
    let size = |line: &str| {
        let text = OFFER.replace("a=max-message-size:262144", line);
        offer(&text).map(|remote| remote.max_message_size())
    };
    assert_eq!(size("a=x"), Ok(Some(65_536)));
    assert_eq!(size("a=max-message-size:0"), Ok(None));
    assert_eq!(
        size("a=max-message-size:99999999999"),
        Ok(Some(99_999_999_999))
    );
    assert_eq!(
        size("a=max-message-size:18446744073709551617"),
        Ok(Some(u64::MAX))
    );
}

#[test]
fn the_tagged_section_of_a_bundle_speaks_for_the_data_channel() {
    let answer = |text: &str| {
        let description = Description::parse(text).expect("well-formed");
        Remote::new(description, Role::Answer, None)
    };
    let remote = answer(BUNDLED).expect("valid");
    assert_eq!(remote.ufrag(), "7sFv");
    assert_eq!(
        remote.section().and_then(|section| section.mid()),
        Some("d1")
    );
    assert_eq!(
        remote.candidates().collect::<Vec<_>>(),
        ["candidate:1 1 udp 1 192.0.2.1 9 typ host"]
    );
    let loose = BUNDLED.replace("BUNDLE a1 d1", "BUNDLE a1");
    assert_eq!(
        answer(&loose).map_err(|e| e.reason),
        Err(SdpFault::NoFingerprint)
    );
}

#[test]
fn a_description_in_which_two_readers_find_different_peers_is_refused() {
    let session = |line: &str| OFFER.replacen("t=0 0\r\n", &format!("t=0 0\r\n{line}\r\n"), 1);
    let reason = |line: &str| {
        offer(&session(line))
            .map(|_| ())
            .map_err(|e| (e.line, e.reason))
    };
    let fingerprint = format!("a=fingerprint:sha-256 {}", hex(32));
    assert_eq!(
        reason(&fingerprint),
        Err((5, SdpFault::ConflictingFingerprints))
    );
    assert_eq!(
        reason("a=ice-ufrag:other"),
        Err((5, SdpFault::ConflictingIceCredentials))
    );
    assert_eq!(
        reason("a=setup:active"),
        Err((5, SdpFault::ConflictingSetup))
    );
    assert_eq!(reason("a=setup:actpass"), Ok(()));
    let section = AUDIO
        .replace("a=mid:a1", "a=mid:1")
        .replace("7sFv", "other");
    let before = OFFER.replacen("m=application", &format!("{section}m=application"), 1);
    assert_eq!(
        offer(&before).map_err(|e| e.reason),
        Err(SdpFault::ConflictingIceCredentials)
    );
    let after = offer(&format!("{OFFER}{section}"));
    assert!(after.is_ok(), "what comes after is not taken by anyone");
}

#[test]
fn a_restart_changes_both_credentials_and_never_the_certificate() {
    let first = offer(OFFER).expect("valid");
    let again = |text: &str| {
        let description = Description::parse(text).expect("well-formed");
        let by_the_rfcs = description.validate_after(&first_description());
        let by_us = Remote::new(description, Role::Offer, Some(&first)).map(|_| ());
        (
            by_the_rfcs.map_err(|e| e.reason),
            by_us.map_err(|e| e.reason),
        )
    };
    assert_eq!(again(OFFER), (Ok(()), Ok(())));
    let ufrag = OFFER.replace("Ks4t", "Zz9y");
    let pwd = OFFER.replace(PWD, "anotherPasswordOfEnoughLength");
    let both = ufrag.replace(PWD, "anotherPasswordOfEnoughLength");
    assert_eq!(again(&both), (Ok(()), Ok(())));
    let half = Err(SdpFault::HalfIceRestart);
    assert_eq!(again(&ufrag), (half, half));
    assert_eq!(again(&pwd), (half, half));
    let other = with_fingerprints(&format!("a=fingerprint:sha-256 {}\r\n", hex(32)));
    let changed = Err(SdpFault::FingerprintChanged);
    assert_eq!(again(&other), (changed, changed));
    let restart = other
        .replace("Ks4t", "Zz9y")
        .replace(PWD, "anotherPasswordOfEnoughLength");
    assert_eq!(again(&restart), (Ok(()), changed));
}

#[test]
fn the_form_before_rfc_8841_is_understood() {
    let legacy = OFFER
        .replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5001")
        .replace("a=sctp-port:5000", "a=sctpmap:5001 webrtc-datachannel 256");
    let remote = offer(&legacy).expect("valid");
    assert_eq!(remote.section().and_then(|s| s.sctp_port()), Some(5_001));
}

#[test]
fn a_rejected_data_channel_gives_way_to_another() {
    let head = OFFER.split("m=").next().expect("a head");
    let section = &OFFER[head.len()..];
    let rejected = section
        .replace("m=application 9", "m=application 0")
        .replace("mid:0", "mid:1");
    let text = format!("{head}{rejected}{section}");
    let remote = offer(&text).expect("valid");
    assert_eq!(remote.section().and_then(|s| s.mid()), Some("0"));
    let only = format!(
        "{head}{}",
        section.replace("m=application 9", "m=application 0")
    );
    assert!(offer(&format!("{only}a=bundle-only\r\n")).is_ok());
}

#[test]
fn sections_and_length_are_accepted_up_to_their_limits() {
    let more = |count: usize| {
        let section =
            |i: usize| format!("m=audio 9 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\na=mid:x{i}\r\n");
        format!("{OFFER}{}", (1..count).map(section).collect::<String>())
    };
    assert_eq!(
        Description::parse(&more(64)).map(|d| d.sections().len()),
        Ok(64)
    );
    assert_eq!(
        Description::parse(&more(65)).map_err(|e| e.reason),
        Err(SdpFault::TooManySections)
    );
    let padded = |len: usize| format!("{OFFER}a=x:{}\r\n", "y".repeat(len - OFFER.len() - 6));
    assert!(offer(&padded(Description::MAX_LEN)).is_ok());
    let refused = |text: &str| offer(text).map_err(|e| (e.line, e.reason)).map(|_| ());
    let longer = padded(Description::MAX_LEN + 1);
    assert_eq!(refused(&longer), Err((0, SdpFault::TooLong)));
    let lines = |count: usize| {
        let more = count - OFFER.lines().count();
        format!("{OFFER}{}", "\na=x\n".repeat(more))
    };
    assert_eq!(refused(&lines(Description::MAX_LINES)), Ok(()));
    let more = refused(&lines(Description::MAX_LINES + 1));
    let at = 2 * (Description::MAX_LINES + 1) - OFFER.lines().count();
    assert_eq!(more, Err((at, SdpFault::TooManyLines)));
}

#[test]
fn a_flood_within_the_limits_is_read_to_its_end() {
    let fill = |line: &str| {
        OFFER.to_owned() + &line.repeat((Description::MAX_LEN - OFFER.len()) / line.len())
    };
    let candidate = format!("a=candidate:{}\r\n", "x".repeat(50));
    let candidates = offer(&fill(&candidate)).map(|r| r.candidates().count());
    assert_eq!(
        candidates,
        Ok((Description::MAX_LEN - OFFER.len()) / candidate.len() + 1)
    );
    assert!(offer(&fill("\n")).is_ok());
    let mids = " 0".repeat((Description::MAX_LEN - OFFER.len()) / 2);
    assert!(offer(&OFFER.replace("BUNDLE 0", &format!("BUNDLE 0{mids}"))).is_ok());
    let groups = "a=group:LS 0 0 0 0 0 0 0 0 0 0 0 0\r\n".repeat(20_000);
    assert!(offer(&OFFER.replacen("m=", &format!("{groups}m="), 1)).is_ok());
}

#[test]
fn neither_an_error_nor_debug_output_shows_the_password() {
    let description = Description::parse(OFFER).expect("valid");
    let remote = offer(OFFER).expect("valid");
    assert!(!format!("{description:?} {remote:?}").contains(PWD));
    let error = offer(&OFFER.replace(PWD, "hunter2")).expect_err("too short");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert_eq!(
        error.to_string(),
        "line 11: malformed ice password (RFC 8839 section 5.4)"
    );
}

#[test]
fn rewriting_replaces_credentials_and_candidates_and_nothing_else() {
    let candidates = [
        "candidate:2 1 udp 5 192.0.2.9 4000 typ host".to_owned(),
        "candidate:1 1 udp 9 192.0.2.8 4000 typ host".to_owned(),
    ];
    let with = Announcement {
        ice_ufrag: "ourUfrag",
        ice_pwd: "ourPasswordOf22Letters",
        candidates: &candidates,
        end_of_candidates: true,
    };
    let text = announce(&OFFER.replace("\r\n", "\n"), with).expect("valid");
    insta::assert_snapshot!(text.replace("\r\n", "\n"));
    assert_eq!(text.matches("\r\n").count(), text.matches('\n').count());
    let remote = offer(&text).expect("valid");
    assert!(remote.candidates().eq(&candidates));
}

#[test]
fn candidates_go_into_the_first_section() {
    let candidates = ["candidate:1 1 udp 9 192.0.2.8 4000 typ host".to_owned()];
    let with = Announcement {
        candidates: &candidates,
        ..CREDENTIALS
    };
    let text = announce(BUNDLED, with).expect("valid");
    let at = text.find("candidate:").expect("written");
    assert!(text.find("m=audio").is_some_and(|m| m < at));
    assert!(text.find("m=application").is_some_and(|m| m > at));
    assert_eq!(text.matches("a=ice-ufrag:abcd\r\n").count(), 1);
}

#[test]
fn a_token_that_could_leave_its_line_is_not_written() {
    for bad in [
        "",
        "abc",
        "ab cd",
        "abcd\r\na=x",
        "abcd\n",
        "abcd\0",
        "äbcd",
    ] {
        let with = Announcement {
            ice_ufrag: bad,
            ..CREDENTIALS
        };
        assert_eq!(
            announce(OFFER, with),
            Err(AnnounceError::Credentials),
            "{bad:?}"
        );
        let with = Announcement {
            ice_pwd: bad,
            ..CREDENTIALS
        };
        assert_eq!(
            announce(OFFER, with),
            Err(AnnounceError::Credentials),
            "{bad:?}"
        );
    }
    for bad in [
        "",
        "candidate:",
        "a=candidate:1",
        "candidate:1\r\na=x",
        "candidate:1\0",
        "candidate:é",
    ] {
        let candidates = [bad.to_owned()];
        let with = Announcement {
            candidates: &candidates,
            ..CREDENTIALS
        };
        assert_eq!(
            announce(OFFER, with),
            Err(AnnounceError::Candidate),
            "{bad:?}"
        );
    }
}

#[test]
fn a_text_without_credentials_or_section_is_not_rewritten() {
    let head = OFFER.split("m=").next().expect("a head");
    assert_eq!(announce(head, CREDENTIALS), Err(AnnounceError::Incomplete));
    let text = OFFER.replace("a=ice-pwd", "a=x");
    assert_eq!(announce(&text, CREDENTIALS), Err(AnnounceError::Incomplete));
}

#[test]
fn the_transport_sees_neither_candidates_nor_weak_fingerprints() {
    let strong = format!("a=fingerprint:sha-512 {}\r\n", hex(64));
    let text = with_fingerprints(&format!("a=fingerprint:SHA-1 {}\r\n{strong}", hex(20)));
    let seen = for_transport(&text, None);
    assert!(!seen.contains("candidate"));
    assert!(!seen.contains("SHA-1"));
    assert!(seen.contains(&strong));
    let unchanged = OFFER.lines().filter(|line| !line.contains("candidate"));
    let expected: String = unchanged.map(|line| format!("{line}\r\n")).collect();
    assert_eq!(for_transport(OFFER, None), expected);
}

#[test]
fn the_transport_does_not_see_our_own_init_in_an_answer() {
    let theirs = sctp_init(OFFER);
    assert_eq!(theirs, Some("AQAAAA=="));
    for (offered, seen) in [(theirs, None), (Some("AQAAAQ=="), theirs), (None, theirs)] {
        assert_eq!(
            sctp_init(&for_transport(OFFER, offered)),
            seen,
            "{offered:?}"
        );
    }
}

#[test]
fn what_is_printed_are_the_lines_that_were_read() {
    let text = OFFER
        .replace("a=x", "")
        .replacen("a=mid:0\r\n", "a=mid:0\n\n\r\na=x:\na=y\r\n", 1);
    let description = Description::parse(&text).expect("valid");
    let lines = text.lines().filter(|line| !line.is_empty());
    assert!(description.to_string().split_terminator("\r\n").eq(lines));
    assert_eq!(
        Description::parse(description.as_str()),
        Ok(description.clone())
    );
    assert_eq!(
        format!("{description:?}"),
        "Description { lines: 21, sections: 1, .. }"
    );
}

#[test]
fn codecs_have_the_names_that_the_text_or_rfc_3551_gives_them() {
    let maps =
        "a=rtpmap:96 VP8/90000\r\na=rtpmap:96 H264/90000\r\na=rtpmap:x y/1\r\na=rtpmap:97\r\n";
    let audio = AUDIO.replace("SAVPF 0\r\n", "SAVPF 96 97 96 0 128 x\r\n");
    let text = format!("{OFFER}{audio}{maps}");
    let description = Description::parse(&text).expect("valid");
    let section = description.section("a1").expect("a section");
    let codecs: Vec<_> = section
        .codecs()
        .iter()
        .map(|c| (c.payload_type, c.name))
        .collect();
    assert_eq!(codecs, [(96, Some("VP8")), (97, None), (0, Some("PCMU"))]);
    assert!(section.is_rtp() && section.has_rtcp_mux());
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = offer(&text);
        let _ = for_transport(&text, None);
        let _ = announce(&text, CREDENTIALS);
    }

    #[test]
    fn no_edit_of_an_offer_panics(
        at in 0..OFFER.len(), cut in 0..40_usize, insert in "[ -~\r\n\0é:=]{0,12}",
    ) {
        let end = (at + cut).min(OFFER.len());
        let _ = offer(&format!("{}{insert}{}", &OFFER[..at], &OFFER[end..]));
    }

    #[test]
    fn what_is_rewritten_stays_valid(
        ufrag in "[A-Za-z0-9+/]{4,256}",
        pwd in "[A-Za-z0-9+/]{22,256}",
        candidates in prop::collection::vec("candidate:[!-~][ -~]{0,60}", 0..20),
        end_of_candidates: bool,
    ) {
        let with = Announcement { ice_ufrag: &ufrag, ice_pwd: &pwd, candidates: &candidates, end_of_candidates };
        let text = announce(OFFER, with).expect("allowed");
        let remote = offer(&text).expect("valid");
        prop_assert!(remote.candidates().eq(&candidates));
        prop_assert_eq!((remote.ufrag(), remote.pwd()), (ufrag.as_str(), pwd.as_str()));
        prop_assert_eq!(remote.is_end_of_candidates(), end_of_candidates);
        prop_assert_eq!(announce(&text, with), Ok(text.clone()));
    }

    #[test]
    fn hostile_tokens_never_add_a_line(token in "[ -~\r\n\0]{0,300}") {
        let candidates = [format!("candidate:{token}")];
        for with in [
            Announcement { ice_ufrag: &token, ..CREDENTIALS },
            Announcement { ice_pwd: &token, ..CREDENTIALS },
            Announcement { candidates: &candidates, ..CREDENTIALS },
        ] {
            if let Ok(text) = announce(OFFER, with) {
                let expected = OFFER.lines().filter(|line| !line.contains("candidate")).count();
                prop_assert_eq!(text.lines().count(), expected + with.candidates.len());
            }
        }
    }
}

fn offer(text: &str) -> Result<Remote, SdpError> {
    Remote::new(Description::parse(text)?, Role::Offer, None)
}

fn first_description() -> Description {
    Description::parse(OFFER).expect("valid")
}

fn with_fingerprints(lines: &str) -> String {
    let own = OFFER
        .lines()
        .find(|line| line.starts_with("a=fingerprint"))
        .expect("one");
    OFFER.replace(&format!("{own}\r\n"), lines)
}

fn hex(len: usize) -> String {
    vec!["AB"; len].join(":")
}

const CREDENTIALS: Announcement<'static> = Announcement {
    ice_ufrag: "abcd",
    ice_pwd: "abcdefghijklmnopqrstuv",
    candidates: &[],
    end_of_candidates: false,
};

const PWD: &str = "nK3tWpQ8vM2xYc7LrH5dFbGz";

const OFFER: &str = "v=0\r\n\
o=- 1 2 IN IP4 0.0.0.0\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE 0\r\n\
a=msid-semantic: WMS *\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:0\r\n\
a=ice-ufrag:Ks4t\r\n\
a=ice-pwd:nK3tWpQ8vM2xYc7LrH5dFbGz\r\n\
a=ice-options:trickle\r\n\
a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n\
a=setup:actpass\r\n\
a=sctp-port:5000\r\n\
a=max-message-size:262144\r\n\
a=sctp-init:AQAAAA==\r\n\
a=candidate:1 1 udp 2130706175 192.0.2.7 50000 typ host\r\n\
a=end-of-candidates\r\n";

/// A section with a transport of its own.
const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:a1\r\n\
a=rtcp-mux\r\n\
a=ice-ufrag:7sFv\r\n\
a=ice-pwd:dOTZKZNVlO9RSGsEGM63JXT2\r\n\
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n\
a=setup:active\r\n";

const BUNDLED: &str = "v=0\r\n\
o=- 1 1 IN IP4 0.0.0.0\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:LS a1\r\n\
a=group:BUNDLE a1 d1\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:a1\r\n\
a=rtcp-mux\r\n\
a=ice-ufrag:7sFv\r\n\
a=ice-pwd:dOTZKZNVlO9RSGsEGM63JXT2\r\n\
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n\
a=setup:active\r\n\
a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:d1\r\n\
a=sctp-port:5000\r\n";
