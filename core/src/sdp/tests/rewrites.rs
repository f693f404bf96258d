//! Named changes of descriptions.

use crate::config::CandidateType;

use super::*;

#[test]
fn preferred_codecs_come_first_and_the_others_keep_their_order() {
    let (text, changes) = rewritten(&[Rewrite::PreferCodecs(tokens(&["h264", "AV1", "VP9"]))]);
    let video = "m=video 9 UDP/TLS/RTP/SAVPF 98 100 96 97 99 35 36";
    assert!(text.contains(video), "{text}");
    let ordered = Change::CodecsOrdered {
        section: 1,
        payload_types: vec![98, 100, 96, 97, 99, 35, 36],
    };
    assert_eq!(changes, [ordered]);
    assert_eq!(sorted_lines(&text).len(), sorted_lines(MEDIA).len());
}

#[test]
fn a_codec_goes_with_what_is_said_of_it_and_what_depends_on_it() {
    let (text, changes) = rewritten(&[Rewrite::RemoveCodec(token("VP8"))]);
    // VP8, its retransmission, the redundancy that packs it, and the retransmission of that.
    let removed = Change::CodecRemoved {
        section: 1,
        payload_types: vec![35, 36, 96, 97],
    };
    assert_eq!(changes, [removed]);
    assert_eq!(
        difference(MEDIA, &text),
        [
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 35 36 100",
            "a=rtpmap:96 VP8/90000",
            "a=rtcp-fb:96 nack",
            "a=imageattr:96 send *",
            "a=rtpmap:97 rtx/90000",
            "a=fmtp:97 rtx-time=3000; apt=96",
            "a=rtpmap:35 red/90000",
            "a=fmtp:35 98/96",
            "a=rtpmap:36 rtx/90000",
            "a=fmtp:36 apt=35",
            "a=rid:1 send pt=96,98;max-width=1280",
            "a=rid:2 send pt=96",
        ]
    );
    assert_eq!(
        difference(&text, MEDIA),
        [
            "m=video 9 UDP/TLS/RTP/SAVPF 98 99 100",
            "a=rid:1 send pt=98;max-width=1280",
            "a=rid:2 send",
        ]
    );
}

#[test]
fn a_codec_of_a_static_payload_type_needs_no_name_in_the_text() {
    let (text, changes) = rewritten(&[Rewrite::RemoveCodec(token("pcmu"))]);
    assert!(text.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111 13\r\n"));
    let removed = Change::CodecRemoved {
        section: 0,
        payload_types: vec![0],
    };
    assert_eq!(changes, [removed]);
}

#[test]
fn the_last_codec_of_a_section_stays() {
    let all = ["opus", "PCMU"].map(|name| Rewrite::RemoveCodec(token(name)));
    let (text, changes) = rewritten(&all);
    // Comfort noise alone is nothing to hear.
    assert!(
        text.contains("m=audio 9 UDP/TLS/RTP/SAVPF 0 13\r\n"),
        "{text}"
    );
    assert_eq!(changes.len(), 1);
}

#[test]
fn bandwidth_is_set_where_it_belongs_and_only_in_the_sections_meant() {
    let on = |sections, limit| Rewrite::Bandwidth { sections, limit };
    let (text, changes) = rewritten(&[
        on(Sections::Media(token("video")), Bandwidth::As(2_000)),
        on(Sections::Mid(token("a")), Bandwidth::Tias(64_000)),
    ]);
    assert_eq!(difference(MEDIA, &text), ["b=AS:1000", "b=AS:1"]);
    assert_eq!(difference(&text, MEDIA), ["b=TIAS:64000", "b=AS:2000"]);
    assert!(
        text.contains("c=IN IP4 0.0.0.0\r\nb=TIAS:64000\r\na=mid:a\r\n"),
        "{text}"
    );
    assert!(
        text.contains("b=AS:2000\r\nb=TIAS:9\r\na=mid:v\r\n"),
        "{text}"
    );
    let set = |section, limit| Change::BandwidthSet { section, limit };
    let expected = [
        set(1, Bandwidth::As(2_000)),
        set(0, Bandwidth::Tias(64_000)),
    ];
    assert_eq!(changes, expected);
    let both = [Bandwidth::As(3), Bandwidth::Tias(2), Bandwidth::As(1)];
    let (once, _) = rewritten(&both.map(|limit| on(Sections::All, limit)));
    let (twice, _) = rewritten(
        &[both, both]
            .concat()
            .into_iter()
            .map(|l| on(Sections::All, l))
            .collect::<Vec<_>>(),
    );
    assert_eq!(once, twice, "each stays where it is");
    let (_, changes) = rewritten(&[on(Sections::All, Bandwidth::As(u64::MAX))]);
    assert_eq!(changes.len(), 3);
    let (_, changes) = rewritten(&[on(Sections::Mid(token("none")), Bandwidth::As(1))]);
    assert_eq!(changes, []);
}

#[test]
fn candidates_are_stripped_by_everything_that_the_pattern_sets() {
    let all = [
        "candidate:1 1 udp 9 192.0.2.1 4000 typ host",
        "candidate:2 1 TCP 8 192.0.2.1 9 typ host tcptype active",
        "candidate:3 1 UDP 7 198.51.100.1 4000 typ srflx raddr 0.0.0.0 rport 0",
        "candidate:4 1 udp 6 2001:db8::1 4000 typ prflx raddr :: rport 0",
        "candidate:5 1 udp 5 203.0.113.1 4000 typ relay raddr 0.0.0.0 rport 0",
        "candidate:6 1 udp 4 a.local 4000 typ host",
        "candidate:x",
    ];
    let lines: String = all.iter().map(|line| format!("a={line}\r\n")).collect();
    let text = OFFER.replacen(
        "a=candidate:1 1 udp 2130706175 192.0.2.7 50000 typ host\r\n",
        &lines,
        1,
    );
    let left = |filter| {
        let description = Description::parse(&text).expect("valid");
        let rewrites = [Rewrite::StripCandidates(filter)];
        let (left, changes) = description.rewrite(Role::Offer, &rewrites).expect("fits");
        let section = left.section("0").expect("a section");
        let candidates = section.transport().candidates();
        let left: Vec<usize> = candidates
            .map(|line| {
                all.iter()
                    .position(|own| *own == line)
                    .expect("one of them")
            })
            .collect();
        let stripped = Change::CandidatesStripped {
            section: Some(0),
            count: all.len() - left.len(),
        };
        assert_eq!(changes, [stripped]);
        left
    };
    let any = CandidatePattern::default();
    assert_eq!(left(any), [0; 0]);
    let of_type = |candidate_type| CandidatePattern {
        candidate_type: Some(candidate_type),
        ..any
    };
    assert_eq!(left(of_type(CandidateType::Host)), [2, 3, 4, 6]);
    assert_eq!(
        left(of_type(CandidateType::ServerReflexive)),
        [0, 1, 4, 5, 6]
    );
    assert_eq!(left(of_type(CandidateType::Relayed)), [0, 1, 2, 3, 5, 6]);
    let over = |transport| CandidatePattern {
        transport: Some(transport),
        ..any
    };
    assert_eq!(left(over(CandidateTransport::Tcp)), [0, 2, 3, 4, 5, 6]);
    assert_eq!(left(over(CandidateTransport::Udp)), [1, 6]);
    let within = |network: &str| CandidatePattern {
        network: Some(network.parse().expect("a range")),
        ..any
    };
    assert_eq!(left(within("192.0.2.0/24")), [2, 3, 4, 5, 6]);
    let udp_in_range = CandidatePattern {
        transport: Some(CandidateTransport::Udp),
        ..within("192.0.2.0/24")
    };
    assert_eq!(left(udp_in_range), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn who_leaves_the_role_open_chooses_it_and_nobody_else() {
    let (text, changes) = rewritten(&[Rewrite::ForceSetup(DtlsRole::Server)]);
    assert_eq!(difference(MEDIA, &text), ["a=setup:actpass"]);
    assert_eq!(difference(&text, MEDIA), ["a=setup:passive"]);
    let forced = Change::SetupForced {
        section: Some(0),
        setup: Setup::Passive,
    };
    assert_eq!(changes, [forced]);
    let decided = Description::parse(&text).expect("valid");
    let client = [Rewrite::ForceSetup(DtlsRole::Client)];
    let (same, changes) = decided.rewrite(Role::Answer, &client).expect("fits");
    assert_eq!((same, changes), (decided, vec![]));
}

#[test]
fn transport_cc_is_offered_once_and_never_in_an_answer() {
    let (text, changes) = rewritten(&[Rewrite::RequireTransportCc]);
    assert_eq!(difference(MEDIA, &text), [""; 0]);
    let uri = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    assert_eq!(
        difference(&text, MEDIA),
        [
            format!("a=extmap:2 {uri}"),
            "a=rtcp-fb:111 transport-cc".to_owned(),
            "a=rtcp-fb:0 transport-cc".to_owned(),
            format!("a=extmap:2 {uri}"),
            "a=rtcp-fb:96 transport-cc".to_owned(),
            "a=rtcp-fb:100 transport-cc".to_owned(),
        ]
    );
    let added = |section| Change::TransportCcAdded { section };
    assert_eq!(changes, [added(0), added(1)]);
    let answer = Description::parse(MEDIA).expect("valid");
    let require = [Rewrite::RequireTransportCc];
    let (same, changes) = answer.rewrite(Role::Answer, &require).expect("fits");
    assert_eq!((same, changes), (answer, vec![]));
}

#[test]
fn transport_cc_has_the_id_that_it_has_elsewhere_or_a_free_one() {
    let uri = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    let require = |text: &str| {
        let description = Description::parse(text).expect("valid");
        let rewritten = description.rewrite(Role::Offer, &[Rewrite::RequireTransportCc]);
        rewritten.expect("fits")
    };
    let elsewhere = MEDIA.replacen(
        "a=mid:v",
        &format!("a=mid:v\r\na=extmap:7/sendonly {uri} x"),
        1,
    );
    let (there, _) = require(&elsewhere);
    assert_eq!(
        there.as_str().matches(&format!("a=extmap:7 {uri}")).count(),
        1
    );
    let taken: String = (1..=14)
        .map(|id| format!("a=extmap:{id} urn:x\r\n"))
        .collect();
    let full = MEDIA.replacen("a=mid:v\r\n", &format!("a=mid:v\r\n{taken}"), 1);
    assert_eq!(require(&full).1, []);
    let all = MEDIA.replace("a=mid:a", "a=mid:a\r\na=rtcp-fb:* transport-cc");
    let (all, changes) = require(&all);
    assert!(!all.as_str().contains("a=rtcp-fb:111 transport-cc"));
    assert_eq!(changes.len(), 2);
    let rejected = MEDIA.replace("m=video 9", "m=video 0");
    assert_eq!(require(&rejected).1.len(), 1);
}

#[test]
fn a_description_at_its_limit_takes_nothing_more() {
    let room = Description::MAX_LEN - MEDIA.len() - 6;
    let full = format!("{MEDIA}a=x:{}", "y".repeat(room));
    let description = Description::parse(&full).expect("valid");
    let limit = Rewrite::Bandwidth {
        sections: Sections::All,
        limit: Bandwidth::As(1),
    };
    let refused = description
        .rewrite(Role::Offer, &[limit])
        .map_err(|e| e.reason);
    assert_eq!(refused, Err(SdpFault::TooLong));
}

#[test]
fn rewrites_are_linear_in_the_length_of_a_description() {
    let all = [
        Rewrite::PreferCodecs(tokens(&["VP9", "VP8"])),
        Rewrite::RemoveCodec(token("VP8")),
        Rewrite::StripCandidates(CandidatePattern::default()),
        Rewrite::ForceSetup(DtlsRole::Client),
        Rewrite::RequireTransportCc,
    ];
    let lines = [
        "a=fmtp:97 apt=96\r\n",
        "a=fmtp:35 96/96/96/96/96/96/96/96\r\n",
        "a=rtpmap:96 VP8/90000\r\n",
        "a=rid:1 send pt=96,96,96,96,96\r\n",
        "a=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\n",
        "a=extmap:1 x\r\n",
        "a=rtcp-fb:96 nack\r\n",
        "b=AS:1\r\n",
    ];
    let work = |text: &String| {
        let description = Description::read(text, usize::MAX).expect("well-formed");
        for rewrite in &all {
            let _ = description.rewrite(Role::Offer, std::slice::from_ref(rewrite));
        }
    };
    for unit in lines {
        let make =
            |len: usize| format!("{MEDIA}{VIDEO}{}", unit.repeat((len - 2_000) / unit.len()));
        assert_linear(unit, LONG, make, work);
    }
    for (start, unit) in [
        ("m=video 9 RTP/AVP 96", " 97"),
        ("m=video 9 RTP/AVP 96", " x"),
        ("m=video 9 RTP/AVP 96\r\na=fmtp:35 96", "/96"),
        ("m=video 9 RTP/AVP 96\r\na=fmtp:97 apt=96", ";apt=96"),
        ("m=video 9 RTP/AVP 96\r\na=rid:1 send pt=96", ",96"),
    ] {
        let end = "\r\nc=IN IP4 0.0.0.0\r\n";
        let make = |len: usize| {
            format!(
                "{MEDIA}{start}{}{end}",
                unit.repeat((len - 2_000) / unit.len())
            )
        };
        assert_linear(start, LONG, make, work);
    }
}

proptest! {
    /// Whatever is changed, and in whatever order: what is printed is read as the same, the rules hold that held before,
    /// it follows what it was, and to change it again makes no difference.
    #[test]
    fn what_is_rewritten_is_valid_and_stays_as_it_is(
        text in media(), rewrites in prop::collection::vec(rewrite(), 0..6), is_answer: bool,
    ) {
        let role = if is_answer { Role::Answer } else { Role::Offer };
        let description = Description::parse(&text).expect("well-formed");
        let (rewritten, changes) = description.rewrite(role, &rewrites).expect("fits");
        prop_assert_eq!(Description::parse(rewritten.as_str()), Ok(rewritten.clone()));
        prop_assert_eq!(rewritten.validate(Role::Offer, &Rules::default()), Ok(()));
        prop_assert_eq!(rewritten.validate_after(&description), Ok(()));
        prop_assert!(rewritten == description || !changes.is_empty());
        let (again, _) = rewritten.rewrite(role, &rewrites).expect("fits");
        prop_assert_eq!(again.as_str(), rewritten.as_str());
    }

    /// A codec that is gone leaves nothing behind that speaks of it.
    #[test]
    fn no_line_speaks_of_a_payload_type_that_was_removed(text in media(), codec in codec_name()) {
        let description = Description::parse(&text).expect("well-formed");
        let remove = [Rewrite::RemoveCodec(codec.clone())];
        let (rewritten, changes) = description.rewrite(Role::Offer, &remove).expect("fits");
        for change in changes {
            let Change::CodecRemoved { section, payload_types } = change else {
                panic!("{change:?}");
            };
            let section = rewritten.sections().nth(section).expect("the section");
            prop_assert!(section.codecs().iter().all(|c| c.name != Some(codec.as_str())));
            for own in payload_types {
                prop_assert!(section.formats().all(|format| format != own.to_string()));
                let parts = [format!(":{own} "), format!("apt={own}"), format!("/{own}")];
                let mut lines = section.lines().filter(|line| line.text.starts_with("a="));
                prop_assert!(lines.all(|line| parts.iter().all(|part| !line.text.contains(part.as_str()))));
            }
        }
    }

    #[test]
    fn a_token_has_no_character_that_ends_a_word_or_a_line(text in "[ -~\r\n\0é]{0,300}|[0-9A-Za-z_-]{1,300}") {
        let is_word = !text.is_empty() && !text.contains(|c: char| !c.is_ascii_graphic() || "\"(),/:;<=>?@[\\]".contains(c));
        let is_token = is_word && text.len() <= Token::MAX_LEN;
        prop_assert_eq!(text.parse::<Token>().is_ok(), is_token);
    }
}

#[test]
fn a_token_is_refused_beyond_its_length_and_when_it_is_read_back() {
    let long = "x".repeat(Token::MAX_LEN);
    assert!(long.parse::<Token>().is_ok());
    assert_eq!(format!("{long}x").parse::<Token>(), Err(InvalidToken));
    let rewrite = Rewrite::RemoveCodec(token("VP8"));
    let json = serde_json::to_string(&rewrite).expect("serialises");
    assert_eq!(json, r#"{"RemoveCodec":"VP8"}"#);
    assert_eq!(
        serde_json::from_str::<Rewrite>(&json).expect("the same"),
        rewrite
    );
    assert!(serde_json::from_str::<Rewrite>(r#"{"RemoveCodec":"VP8\r\na=x"}"#).is_err());
}

fn token(text: &str) -> Token {
    text.parse().expect("a token")
}

fn tokens(all: &[&str]) -> Vec<Token> {
    all.iter().map(|text| token(text)).collect()
}

fn rewritten(rewrites: &[Rewrite]) -> (String, Vec<Change>) {
    let description = Description::parse(MEDIA).expect("valid");
    let (rewritten, changes) = description.rewrite(Role::Offer, rewrites).expect("fits");
    (rewritten.to_string(), changes)
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The lines of one text that the other has not, as often as it has not, in their order.
fn difference<'a>(of: &'a str, without: &str) -> Vec<&'a str> {
    let mut others = sorted_lines(without);
    let mut is_lacking = |line: &&str| match others.iter().position(|other| other == line) {
        Some(at) => {
            others.remove(at);
            false
        }
        None => true,
    };
    of.lines().filter(|line| is_lacking(line)).collect()
}

fn codec_name() -> impl Strategy<Value = Token> {
    prop::sample::select(vec!["VP8", "H264", "opus", "rtx", "red", "PCMU"]).prop_map(token)
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    let codec_list = prop::collection::vec(codec_name(), 0..4);
    let sections = prop_oneof![
        Just(Sections::All),
        prop::sample::select(vec!["audio", "video", "application"])
            .prop_map(|m| Sections::Media(token(m))),
        prop::sample::select(vec!["0", "1", "7"]).prop_map(|mid| Sections::Mid(token(mid))),
    ];
    let limit = prop_oneof![
        any::<u64>().prop_map(Bandwidth::As),
        any::<u64>().prop_map(Bandwidth::Tias)
    ];
    let types = vec![
        CandidateType::Host,
        CandidateType::ServerReflexive,
        CandidateType::Relayed,
    ];
    let transports = vec![CandidateTransport::Udp, CandidateTransport::Tcp];
    let pattern = (
        prop::option::of(prop::sample::select(types)),
        prop::option::of(prop::sample::select(transports)),
        prop::option::of(Just("192.0.2.0/24".parse().expect("a range"))),
    );
    let pattern = pattern.prop_map(|(candidate_type, transport, network)| CandidatePattern {
        candidate_type,
        transport,
        network,
    });
    let roles = prop::sample::select(vec![DtlsRole::Client, DtlsRole::Server]);
    prop_oneof![
        codec_list.prop_map(Rewrite::PreferCodecs),
        codec_name().prop_map(Rewrite::RemoveCodec),
        (sections, limit).prop_map(|(sections, limit)| Rewrite::Bandwidth { sections, limit }),
        pattern.prop_map(Rewrite::StripCandidates),
        roles.prop_map(Rewrite::ForceSetup),
        Just(Rewrite::RequireTransportCc),
    ]
}

/// Offers with one to four sections of media, each with some codecs, and data channels.
fn media() -> impl Strategy<Value = String> {
    let lines = vec![
        "b=AS:100",
        "b=TIAS:5",
        "a=candidate:1 1 udp 9 192.0.2.1 4000 typ host",
        "a=candidate:2 1 tcp 9 198.51.100.1 4000 typ relay raddr 0.0.0.0 rport 0",
        "a=rtcp-fb:96 transport-cc",
        "a=rtcp-fb:* nack",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "a=rid:1 send pt=96,98",
        "a=unknown:x y",
        "i=about",
    ];
    let extra = prop::sample::subsequence(lines, 0..=6);
    let codecs = prop::sample::subsequence(CODECS.to_vec(), 1..=CODECS.len()).prop_shuffle();
    let port = prop_oneof![4 => Just(9), 1 => Just(0)];
    let section = (any::<bool>(), port, codecs, extra);
    prop::collection::vec(section, 1..=4).prop_map(|sections| {
        let mut text = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned();
        for (index, (is_video, port, codecs, extra)) in sections.into_iter().enumerate() {
            let media = if is_video { "video" } else { "audio" };
            let formats: Vec<_> = codecs.iter().map(|(format, _)| *format).collect();
            let formats = formats.join(" ");
            let lines: String = codecs.iter().map(|(_, lines)| *lines).collect();
            let extra: String = extra.iter().map(|line| format!("{line}\r\n")).collect();
            text += &format!(
                "m={media} {port} UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\n{extra}a=mid:{index}\r\n\
                 a=rtcp-mux\r\n{TRANSPORT}{lines}",
            );
        }
        text + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:d\r\na=sctp-port:5000\r\n"
            + TRANSPORT
    })
}

const TRANSPORT: &str = "a=ice-ufrag:abcd\r\n\
a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\n";

const CODECS: [(&str, &str); 7] = [
    ("96", "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n"),
    ("97", "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"),
    (
        "98",
        "a=rtpmap:98 H264/90000\r\na=fmtp:98 packetization-mode=1\r\n",
    ),
    ("99", "a=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n"),
    ("63", "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"),
    ("111", "a=rtpmap:111 opus/48000/2\r\n"),
    ("0", ""),
];

const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 35\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 VP8/90000\r\n\
a=rtpmap:97 rtx/90000\r\na=rtpmap:35 red/90000\r\na=rtpmap:98 H264/90000\r\n";

const MEDIA: &str = "v=0\r\n\
o=- 1 2 IN IP4 0.0.0.0\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE a v d\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 0 13\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:a\r\n\
a=ice-ufrag:abcd\r\n\
a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\n\
a=rtcp-mux\r\n\
a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
a=rtpmap:111 opus/48000/2\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 35 36 100\r\n\
c=IN IP4 0.0.0.0\r\n\
b=AS:1000\r\n\
b=TIAS:9\r\n\
a=mid:v\r\n\
a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
a=rtpmap:96 VP8/90000\r\n\
a=rtcp-fb:96 nack\r\n\
a=rtcp-fb:98 transport-cc\r\n\
a=imageattr:96 send *\r\n\
a=rtpmap:97 rtx/90000\r\n\
a=fmtp:97 rtx-time=3000; apt=96\r\n\
a=rtpmap:98 H264/90000\r\n\
a=fmtp:98 packetization-mode=1\r\n\
a=rtpmap:99 rtx/90000\r\n\
a=fmtp:99 apt=98\r\n\
a=rtpmap:35 red/90000\r\n\
a=fmtp:35 98/96\r\n\
a=rtpmap:36 rtx/90000\r\n\
a=fmtp:36 apt=35\r\n\
a=rtpmap:100 VP9/90000\r\n\
a=rid:1 send pt=96,98;max-width=1280\r\n\
a=rid:2 send pt=96\r\n\
b=AS:1\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:d\r\n\
a=sctp-port:5000\r\n";
