//! Tests of the whole module.

use proptest::prelude::*;

use super::fault::SdpFault;
use super::value::Setup;
use super::*;
use crate::event::NegotiationFault;
use crate::linear::{LONG, assert_linear};

#[test]
fn an_offer_of_the_transport_itself_is_read_in_full() {
    let remote = offer(OFFER).expect("valid");
    assert_eq!(remote.ufrag, "Ks4t");
    assert_eq!(remote.pwd.expose(), PWD);
    assert_eq!(remote.setup, Setup::Actpass);
    assert_eq!((remote.mid.as_str(), remote.sctp_port), ("0", 5_000));
    assert_eq!(remote.max_message_size, 262_144);
    assert_eq!(remote.fingerprints.len(), 1);
    assert_eq!(remote.fingerprints[0].hash, HashFunction::Sha256);
    assert_eq!(remote.fingerprints[0].bytes.len(), 32);
    assert_eq!(
        remote.candidates,
        ["candidate:1 1 udp 2130706175 192.0.2.7 50000 typ host"]
    );
    assert!(remote.trickle && remote.end_of_candidates && remote.sctp_init);
    assert!(!remote.ice_lite && !remote.ice_restart);
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
        if let Ok(description) = Description::read(text) {
            for role in [Role::Offer, Role::Answer] {
                drop(validate(&description, role, None));
            }
        }
        drop(for_transport(text, None));
        drop(rewrite(
            text,
            Rewrite {
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
        ("o=- 1", "x=- 1", 2, SdpFault::Order),
        ("o=- 1 2", "o=- 1 x", 2, SdpFault::Field),
        ("s=-\r\nt=0 0", "t=0 0\r\ns=-", 3, SdpFault::Order),
        ("t=0 0", "a=x", 7, SdpFault::NoTime),
        ("m=application 9", "m=application 65536", 7, SdpFault::Field),
        ("c=IN", "b=AS:1\r\nx=IN", 7, SdpFault::NoConnection),
        ("a=mid:0", "a= mid:0", 9, SdpFault::AttributeName),
        ("a=mid:0", "a=", 9, SdpFault::AttributeName),
        ("a=mid:0", "a=mid:0\0", 9, SdpFault::Line),
        ("a=mid:0", "a=mid:0\rx", 9, SdpFault::Line),
        ("a=mid:0", "mid", 9, SdpFault::Line),
        ("a=mid:0", "a=mid:0 1", 9, SdpFault::Mid),
        ("a=mid:0", "a=mid:0\r\n\r\na=mid:0", 11, SdpFault::Repeated),
        ("ufrag:Ks4t", "ufrag:Ks4", 10, SdpFault::IceUfrag),
        ("ufrag:Ks4t", "ufrag:Ks-t", 10, SdpFault::IceUfrag),
        (PWD, "tooshort", 11, SdpFault::IcePwd),
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
        assert_eq!(parsed, Err(SdpError { line, reason }), "{new}");
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
        validate(&Description::parse(&text).expect("well-formed"), role, None).map(|r| r.setup)
    };
    assert_eq!(role("active", Role::Offer), Ok(Setup::Active));
    assert_eq!(role("active", Role::Answer), Ok(Setup::Active));
    assert_eq!(role("passive", Role::Answer), Ok(Setup::Passive));
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
    let with = |lines: &str| offer(&with_fingerprints(lines)).map(|r| r.fingerprints);
    assert_eq!(
        with(&weak).map_err(|e| e.reason),
        Err(SdpFault::WeakFingerprint)
    );
    let hashes = |lines: &str| with(lines).map(|f| f.iter().map(|f| f.hash).collect::<Vec<_>>());
    assert_eq!(
        hashes(&format!("{weak}{strong}")),
        Ok(vec![HashFunction::Sha512])
    );
    let md5 = format!("a=fingerprint:md5 {}\r\n", hex(16));
    assert_eq!(
        hashes(&md5).map_err(|e| e.reason),
        Err(SdpFault::WeakFingerprint)
    );
}

#[test]
fn the_largest_message_is_never_read_as_less_than_it_is() {
    let size = |line: &str| {
        let text = OFFER.replace("a=max-message-size:262144", line);
        offer(&text).map(|remote| remote.max_message_size)
    };
    assert_eq!(size("a=x"), Ok(65_536));
    assert_eq!(size("a=max-message-size:0"), Ok(u64::MAX));
    assert_eq!(size("a=max-message-size:99999999999"), Ok(99_999_999_999));
    assert_eq!(
        size("a=max-message-size:18446744073709551617"),
        Ok(u64::MAX)
    );
}

#[test]
fn the_tagged_section_of_a_bundle_speaks_for_the_data_channel() {
    let remote = validate(
        &Description::parse(BUNDLED).expect("valid"),
        Role::Answer,
        None,
    )
    .expect("valid");
    assert_eq!((remote.ufrag.as_str(), remote.mid.as_str()), ("7sFv", "d1"));
    assert_eq!(
        remote.candidates,
        ["candidate:1 1 udp 1 192.0.2.1 9 typ host"]
    );
    let loose = BUNDLED.replace("BUNDLE a1 d1", "BUNDLE a1");
    assert_eq!(
        validate(
            &Description::parse(&loose).expect("valid"),
            Role::Answer,
            None
        )
        .map_err(|e| e.reason),
        Err(SdpFault::NoFingerprint),
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
    let section =
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=ice-ufrag:other\r\n";
    let before = OFFER.replacen("m=application", &format!("{section}m=application"), 1);
    assert_eq!(
        offer(&before).map_err(|e| e.reason),
        Err(SdpFault::ConflictingIceCredentials)
    );
    assert!(
        offer(&format!("{OFFER}{section}")).is_ok(),
        "what comes after is not taken by anyone"
    );
}

#[test]
fn a_restart_changes_both_credentials_and_never_the_certificate() {
    let first = offer(OFFER).expect("valid");
    let again = |text: &str| {
        validate(
            &Description::parse(text).expect("well-formed"),
            Role::Offer,
            Some(&first),
        )
    };
    assert_eq!(again(OFFER).map(|r| r.ice_restart), Ok(false));
    let ufrag = OFFER.replace("Ks4t", "Zz9y");
    let pwd = OFFER.replace(PWD, "anotherPasswordOfEnoughLength");
    let both = ufrag.replace(PWD, "anotherPasswordOfEnoughLength");
    assert_eq!(again(&both).map(|r| r.ice_restart), Ok(true));
    for half in [&ufrag, &pwd] {
        assert_eq!(
            again(half).map_err(|e| e.reason),
            Err(SdpFault::HalfIceRestart)
        );
    }
    let other = with_fingerprints(&format!("a=fingerprint:sha-256 {}\r\n", hex(32)));
    let error = again(&other).expect_err("changed");
    assert_eq!(
        error.negotiation_fault(),
        NegotiationFault::FingerprintChanged
    );
    let restart = other
        .replace("Ks4t", "Zz9y")
        .replace(PWD, "anotherPasswordOfEnoughLength");
    assert_eq!(
        again(&restart).map_err(|e| e.reason),
        Err(SdpFault::FingerprintChanged)
    );
}

#[test]
fn the_form_before_rfc_8841_is_understood() {
    let legacy = OFFER
        .replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5001")
        .replace("a=sctp-port:5000", "a=sctpmap:5001 webrtc-datachannel 256");
    assert_eq!(offer(&legacy).map(|r| r.sctp_port), Ok(5_001));
}

#[test]
fn a_rejected_data_channel_gives_way_to_another() {
    let head = OFFER.split("m=").next().expect("a head");
    let section = &OFFER[head.len()..];
    let rejected = section
        .replace("m=application 9", "m=application 0")
        .replace("mid:0", "mid:1");
    let text = format!("{head}{rejected}{section}");
    assert_eq!(offer(&text).map(|r| r.mid), Ok("0".to_owned()));
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
    assert_eq!(Description::parse(&more(64)).map(|d| d.sections), Ok(64));
    assert_eq!(
        Description::parse(&more(65)).map_err(|e| e.reason),
        Err(SdpFault::TooManySections)
    );
    let padded = |len: usize| format!("{OFFER}a=x:{}\r\n", "y".repeat(len - OFFER.len() - 6));
    assert!(offer(&padded(Description::MAX_LEN)).is_ok());
    assert_eq!(
        offer(&padded(Description::MAX_LEN + 1)),
        Err(SdpError {
            line: 0,
            reason: SdpFault::TooLong
        }),
    );
}

#[test]
fn a_flood_of_a_mebibyte_is_read_to_its_end() {
    let fill = |line: &str| {
        OFFER.to_owned() + &line.repeat((Description::MAX_LEN - OFFER.len()) / line.len())
    };
    let candidates = offer(&fill("a=candidate:x\r\n")).map(|r| r.candidates.len());
    assert_eq!(
        candidates,
        Ok((Description::MAX_LEN - OFFER.len()) / 15 + 1)
    );
    assert!(offer(&fill("a=x\n")).is_ok());
    assert!(offer(&fill("\n")).is_ok());
    let mids = " 0".repeat((Description::MAX_LEN - OFFER.len()) / 2);
    assert!(offer(&OFFER.replace("BUNDLE 0", &format!("BUNDLE 0{mids}"))).is_ok());
    let groups = "a=group:BUNDLE x\r\n".repeat((Description::MAX_LEN - OFFER.len()) / 18);
    assert!(offer(&OFFER.replacen("m=", &format!("{groups}m="), 1)).is_ok());
}

#[test]
fn neither_an_error_nor_debug_output_shows_the_password() {
    let description = Description::parse(OFFER).expect("valid");
    let remote = offer(OFFER).expect("valid");
    assert!(!format!("{description:?} {remote:?}").contains(PWD));
    let error = Description::parse(&OFFER.replace(PWD, "hunter2")).expect_err("too short");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert_eq!(error.to_string(), "line 11: malformed ice password");
}

#[test]
fn rewriting_replaces_credentials_and_candidates_and_nothing_else() {
    let candidates = [
        "candidate:2 1 udp 5 192.0.2.9 4000 typ host".to_owned(),
        "candidate:1 1 udp 9 192.0.2.8 4000 typ host".to_owned(),
    ];
    let with = Rewrite {
        ice_ufrag: "ourUfrag",
        ice_pwd: "ourPasswordOf22Letters",
        candidates: &candidates,
        end_of_candidates: true,
    };
    let text = rewrite(&OFFER.replace("\r\n", "\n"), with).expect("valid");
    insta::assert_snapshot!(text.replace("\r\n", "\n"));
    assert_eq!(text.matches("\r\n").count(), text.matches('\n').count());
    assert_eq!(offer(&text).map(|r| r.candidates), Ok(candidates.to_vec()));
}

#[test]
fn candidates_go_into_the_first_section() {
    let candidates = ["candidate:1 1 udp 9 192.0.2.8 4000 typ host".to_owned()];
    let with = Rewrite {
        candidates: &candidates,
        ..CREDENTIALS
    };
    let text = rewrite(BUNDLED, with).expect("valid");
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
        let with = Rewrite {
            ice_ufrag: bad,
            ..CREDENTIALS
        };
        assert_eq!(
            rewrite(OFFER, with),
            Err(RewriteError::Credentials),
            "{bad:?}"
        );
        let with = Rewrite {
            ice_pwd: bad,
            ..CREDENTIALS
        };
        assert_eq!(
            rewrite(OFFER, with),
            Err(RewriteError::Credentials),
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
        let with = Rewrite {
            candidates: &candidates,
            ..CREDENTIALS
        };
        assert_eq!(
            rewrite(OFFER, with),
            Err(RewriteError::Candidate),
            "{bad:?}"
        );
    }
}

#[test]
fn a_text_without_credentials_or_section_is_not_rewritten() {
    let head = OFFER.split("m=").next().expect("a head");
    assert_eq!(rewrite(head, CREDENTIALS), Err(RewriteError::Incomplete));
    let text = OFFER.replace("a=ice-pwd", "a=x");
    assert_eq!(rewrite(&text, CREDENTIALS), Err(RewriteError::Incomplete));
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

/// Found by the fuzz target `sdp`.
#[test]
fn an_sctp_init_without_a_value_is_none() {
    for empty in ["a=sctp-init", "a=sctp-init:"] {
        let text = OFFER.replace("a=sctp-init:AQAAAA==", empty);
        for text in [for_transport(&text, None), text] {
            let description = Description::parse(&text).expect("the grammar allows it");
            let remote = validate(&description, Role::Offer, None).expect("it is not needed");
            assert!(!remote.sctp_init, "{empty}");
        }
    }
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

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = offer(&text);
        let _ = for_transport(&text, None);
        let _ = rewrite(&text, CREDENTIALS);
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
        let with = Rewrite { ice_ufrag: &ufrag, ice_pwd: &pwd, candidates: &candidates, end_of_candidates };
        let text = rewrite(OFFER, with).expect("allowed");
        let remote = offer(&text).expect("valid");
        prop_assert_eq!(&remote.candidates, &candidates);
        prop_assert_eq!((&remote.ufrag, remote.pwd.expose()), (&ufrag, pwd.as_str()));
        prop_assert_eq!(remote.end_of_candidates, end_of_candidates);
        prop_assert_eq!(rewrite(&text, with), Ok(text.clone()));
    }

    #[test]
    fn hostile_tokens_never_add_a_line(token in "[ -~\r\n\0]{0,300}") {
        let candidates = [format!("candidate:{token}")];
        for with in [
            Rewrite { ice_ufrag: &token, ..CREDENTIALS },
            Rewrite { ice_pwd: &token, ..CREDENTIALS },
            Rewrite { candidates: &candidates, ..CREDENTIALS },
        ] {
            if let Ok(text) = rewrite(OFFER, with) {
                let expected = OFFER.lines().filter(|line| !line.contains("candidate")).count();
                prop_assert_eq!(text.lines().count(), expected + with.candidates.len());
            }
        }
    }
}

fn offer(text: &str) -> Result<Remote, SdpError> {
    validate(&Description::parse(text)?, Role::Offer, None)
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

const CREDENTIALS: Rewrite<'static> = Rewrite {
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

const BUNDLED: &str = "v=0\r\n\
o=- 1 1 IN IP4 0.0.0.0\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:LS a1\r\n\
a=group:BUNDLE a1 d1\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:a1\r\n\
a=ice-ufrag:7sFv\r\n\
a=ice-pwd:dOTZKZNVlO9RSGsEGM63JXT2\r\n\
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n\
a=setup:active\r\n\
a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:d1\r\n\
a=sctp-port:5000\r\n";
