//! The rules for whole descriptions, alone and beside others.

use super::*;

/// What replaces what, and the fault with its line.
type Case = (&'static str, &'static str, usize, SdpFault);

#[test]
fn a_description_with_media_is_valid_by_itself_and_after_itself() {
    let description = parse(MEDIA);
    assert_eq!(description.validate(Role::Offer, &Rules::default()), Ok(()));
    assert_eq!(description.validate_after(&description), Ok(()));
    assert_eq!(
        parse(ANSWER).validate(Role::Answer, &Rules::default()),
        Ok(())
    );
    assert_eq!(parse(ANSWER).validate_answer(&description), Ok(()));
}

#[test]
fn each_rule_for_one_description_is_named_when_it_is_broken() {
    let cases: &[Case] = &[
        ("a=mid:v", "a=mid:d", 23, SdpFault::RepeatedMid),
        (
            "BUNDLE a v d",
            "BUNDLE a v d x",
            5,
            SdpFault::UnknownBundleMid,
        ),
        (
            "BUNDLE a v d",
            "BUNDLE a\r\na=group:BUNDLE d a",
            6,
            SdpFault::RepeatedBundleMid,
        ),
        ("BUNDLE a v d", "BUNDLE a d", 15, SdpFault::NoFingerprint),
        ("a=rtcp-mux", "a=x", 6, SdpFault::NoRtcpMux),
        ("ufrag:abcd", "ufrag:abc", 10, SdpFault::IceUfrag),
        ("ufrag:abcd", "ufrag:ab-d", 10, SdpFault::IceUfrag),
        (
            "pwd:aaaaaaaaaaaaaaaaaaaaaa",
            "pwd:aaaaaaaaaaaaaaaaaaaaa",
            11,
            SdpFault::IcePwd,
        ),
        (
            "a=sctp-port:5000",
            "a=sctp-port:0",
            21,
            SdpFault::NoSctpPort,
        ),
    ];
    for (old, new, line, fault) in cases {
        let found = edited(MEDIA, old, new).validate(Role::Offer, &Rules::default());
        assert_eq!(found, Err(fault.at(*line)), "{new}");
    }
}

#[test]
fn credentials_may_have_256_characters_and_no_more() {
    for (len, is_valid) in [(256, true), (257, false)] {
        let long = "x".repeat(len);
        for (old, new) in [("abcd", long.clone()), ("aaaaaaaaaaaaaaaaaaaaaa", long)] {
            let found = edited(MEDIA, old, &new).validate(Role::Offer, &Rules::default());
            assert_eq!(found.is_ok(), is_valid, "{len}");
        }
    }
}

#[test]
fn policies_allow_or_refuse_transports_of_their_own() {
    let own = MEDIA.replace("BUNDLE a v d", "BUNDLE a v") + TRANSPORT;
    let max = Rules {
        bundle: BundlePolicy::MaxBundle,
        ..Rules::default()
    };
    assert_eq!(parse(&own).validate(Role::Offer, &Rules::default()), Ok(()));
    assert_eq!(parse(MEDIA).validate(Role::Offer, &max), Ok(()));
    let alone = Err(SdpFault::NotBundled.at(21));
    assert_eq!(parse(&own).validate(Role::Offer, &max), alone);
    let rejected = own.replace("m=application 9", "m=application 0");
    assert_eq!(parse(&rejected).validate(Role::Offer, &max), Ok(()));

    let unmuxed = edited(MEDIA, "a=rtcp-mux", "a=x");
    let negotiate = Rules {
        rtcp_mux: RtcpMuxPolicy::Negotiate,
        ..Rules::default()
    };
    assert_eq!(unmuxed.validate(Role::Offer, &negotiate), Ok(()));
}

#[test]
fn a_later_description_keeps_the_order_of_the_sections_and_the_version() {
    let cases: &[Case] = &[
        ("o=- 1 2", "o=- 1 1", 2, SdpFault::OldVersion),
        ("m=video", "m=audio", 15, SdpFault::SectionKind),
        ("a=mid:v", "a=mid:w", 15, SdpFault::SectionMid),
        ("a=mid:v", "a=x", 15, SdpFault::SectionMid),
        ("ufrag:abcd", "ufrag:dcba", 10, SdpFault::HalfIceRestart),
        ("sha-256 00", "sha-256 01", 12, SdpFault::FingerprintChanged),
    ];
    let first = parse(MEDIA);
    for (old, new, line, fault) in cases {
        let later = edited(MEDIA, old, new);
        assert_eq!(later.validate_after(&first), Err(fault.at(*line)), "{new}");
    }
    let fewer = &MEDIA[..MEDIA.find("m=application").expect("one")];
    let missing = Err(SdpFault::MissingSection.at(0));
    assert_eq!(parse(fewer).validate_after(&first), missing);
    for (old, new) in [
        ("o=- 1 2", "o=- 1 3"),
        ("o=- 1 2", "o=- 9 1"),
        ("m=video 9", "m=video 0"),
        ("9 UDP", "9/2 UDP"),
    ] {
        assert_eq!(
            edited(MEDIA, old, new).validate_after(&first),
            Ok(()),
            "{new}"
        );
    }
}

#[test]
fn the_place_of_a_rejected_section_may_be_taken_by_another() {
    let rejected = parse(&MEDIA.replace("m=video 9", "m=video 0"));
    let recycled = MEDIA
        .replace("m=video", "m=audio")
        .replace("a=mid:v", "a=mid:w");
    assert_eq!(parse(&recycled).validate_after(&rejected), Ok(()));
}

#[test]
fn an_answer_fits_its_offer_section_for_section() {
    let cases: &[Case] = &[
        ("m=video", "m=audio", 14, SdpFault::SectionKind),
        (
            "m=video 9 UDP/TLS/RTP/SAVPF",
            "m=video 9 RTP/AVP",
            14,
            SdpFault::SectionKind,
        ),
        ("a=mid:v", "a=mid:w", 14, SdpFault::SectionMid),
        ("a=recvonly", "a=sendrecv", 14, SdpFault::WrongDirection),
        ("a=recvonly", "a=sendonly", 14, SdpFault::WrongDirection),
        (
            "BUNDLE a v d",
            "BUNDLE a v x",
            5,
            SdpFault::BundleNotOffered,
        ),
    ];
    let offer = parse(MEDIA);
    for (old, new, line, fault) in cases {
        let answer = edited(ANSWER, old, new);
        assert_eq!(
            answer.validate_answer(&offer),
            Err(fault.at(*line)),
            "{new}"
        );
    }
    let extra = format!("{ANSWER}m=audio 9 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n");
    let found = parse(&extra).validate_answer(&offer);
    assert_eq!(found, Err(SdpFault::ExtraSection.at(22)));
    let fewer = &ANSWER[..ANSWER.find("m=application").expect("one")];
    let missing = Err(SdpFault::MissingSection.at(0));
    assert_eq!(parse(fewer).validate_answer(&offer), missing);
    for (old, new) in [
        ("a=recvonly", "a=inactive"),
        ("m=video 9", "m=video 0"),
        ("BUNDLE a v d", "BUNDLE d"),
        ("a=group:BUNDLE a v d", "a=x"),
    ] {
        assert_eq!(
            edited(ANSWER, old, new).validate_answer(&offer),
            Ok(()),
            "{new}"
        );
    }
}

#[test]
fn an_answer_takes_nothing_that_was_not_offered() {
    let offers: &[Case] = &[
        ("m=video 9", "m=video 0", 14, SdpFault::AcceptedRejected),
        ("a=sendonly", "a=recvonly", 14, SdpFault::WrongDirection),
        ("a=rtcp-mux", "a=x", 6, SdpFault::RtcpMuxNotOffered),
        ("setup:actpass", "setup:passive", 12, SdpFault::WrongSetup),
        (
            "BUNDLE a v d",
            "BUNDLE a v\r\na=group:BUNDLE d",
            5,
            SdpFault::BundleNotOffered,
        ),
    ];
    let answer = parse(ANSWER);
    let passive = edited(ANSWER, "setup:passive", "setup:active");
    for (old, new, line, fault) in offers {
        let offer = edited(MEDIA, old, new);
        // The role of the answer fits one of them only.
        let answer = if *fault == SdpFault::WrongSetup {
            &answer
        } else {
            &passive
        };
        assert_eq!(
            answer.validate_answer(&offer),
            Err(fault.at(*line)),
            "{new}"
        );
    }
    let active = edited(MEDIA, "setup:actpass", "setup:active");
    assert_eq!(answer.validate_answer(&active), Ok(()));
    let wrong = Err(SdpFault::WrongSetup.at(12));
    assert_eq!(passive.validate_answer(&active), wrong);
}

#[test]
fn a_refusal_names_the_rfc_and_its_section() {
    for fault in SdpFault::ALL {
        let reference = fault.reference();
        let limits = [
            SdpFault::TooLong,
            SdpFault::TooManyLines,
            SdpFault::TooManySections,
            SdpFault::NoApplication,
            SdpFault::UnknownBundleMid,
            SdpFault::ConflictingIceCredentials,
        ];
        let rest = reference.strip_prefix("RFC ").unwrap_or_default();
        let is_rule = rest.split_once(" section ").is_some_and(|(rfc, section)| {
            rfc.len() == 4
                && rfc.parse::<u16>().is_ok()
                && section.starts_with(|c: char| c.is_ascii_digit())
        });
        assert_eq!(is_rule, !limits.contains(fault), "{reference}");
    }
}

fn parse(text: &str) -> Description {
    Description::parse(text).expect("well-formed")
}

fn edited(text: &str, old: &str, new: &str) -> Description {
    assert!(text.contains(old), "{old}");
    parse(&text.replacen(old, new, 1))
}

const TRANSPORT: &str = "a=ice-ufrag:efgh\r\n\
a=ice-pwd:bbbbbbbbbbbbbbbbbbbbbb\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\n";

/// Two media sections and one of data channels, on one transport.
const MEDIA: &str = "v=0\r\n\
o=- 1 2 IN IP4 0.0.0.0\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE a v d\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:a\r\n\
a=rtcp-mux\r\n\
a=ice-ufrag:abcd\r\n\
a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\n\
a=rtpmap:111 opus/48000/2\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:v\r\n\
a=sendonly\r\n\
a=rtpmap:96 VP8/90000\r\n\
a=rtcp-fb:96 nack\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:d\r\n\
a=sctp-port:5000\r\n";

const ANSWER: &str = "v=0\r\n\
o=- 7 1 IN IP4 0.0.0.0\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE a v d\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:a\r\n\
a=rtcp-mux\r\n\
a=ice-ufrag:efgh\r\n\
a=ice-pwd:bbbbbbbbbbbbbbbbbbbbbb\r\n\
a=setup:passive\r\n\
a=fingerprint:sha-256 20:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:v\r\n\
a=recvonly\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:d\r\n\
a=sctp-port:5000\r\n";
