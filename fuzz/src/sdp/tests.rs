use std::fs;
use std::path::Path;

use super::*;

#[test]
fn each_known_difference_has_an_example() {
    for (old, new, expected) in EXAMPLES {
        assert!(OFFER.contains(old), "{old}");
        let text = OFFER.replacen(old, new, 1);
        assert_eq!(difference(&text), Some(expected), "{old} -> {new}");
    }
    let sections = "m=audio 9 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n".repeat(64);
    let many = OFFER.replacen("m=app", &format!("{sections}m=app"), 1);
    assert_eq!(difference(&many), Some(Difference::Limits));
    let short = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
    assert_eq!(difference(short), Some(Difference::Short));
    assert_eq!(difference(OFFER), None);
}

#[test]
fn descriptions_of_the_corpora_differ_for_known_reasons_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["fuzz/corpus/sdp", "core/tests/corpora/sdp"] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let data = fs::read(entry.expect("an entry").path()).expect("a file");
            crate::sdp_differential(&data);
        }
    }
}

#[test]
#[should_panic(expected = "left")]
fn a_value_that_is_read_differently_is_found() {
    let ours = describe(OFFER).expect("valid");
    let theirs = parse_sdp(&OFFER.replace("mid:0", "mid:1"), false).expect("valid");
    assert_same(&ours, &theirs, OFFER);
}

const OFFER: &str = "v=0\r\n\
o=- 1 2 IN IP4 127.0.0.1\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE 0\r\n\
a=setup:actpass\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:0\r\n\
a=ice-ufrag:abcd\r\n\
a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n\
a=fingerprint:sha-1 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13\r\n\
a=setup:active\r\n\
a=sctp-port:5000\r\n\
a=max-message-size:262144\r\n\
a=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\n";

/// What replaces what in [`OFFER`], and the difference that it makes.
const EXAMPLES: [(&str, &str, Difference); 14] = [
    ("a=mid", "A=mid", Difference::Lexis),
    ("ufrag:abcd", "ufrag: abcd", Difference::Lexis),
    ("o=- 1", "a=x\r\no=- 1", Difference::Order),
    ("a=mid:0", "a=mid:0\r\na=mid:0", Difference::Repeated),
    ("t=0 0", "t=0 0\r\nr=7d 1h 0 25h", Difference::Fields),
    ("BUNDLE 0", "BUNDLE (0)", Difference::Values),
    (
        "a=mid:0",
        "a=mid:0\r\na=rtpmap:x",
        Difference::Uninterpreted,
    ),
    ("ufrag:abcd", "ufrag:", Difference::Later),
    ("a=group", "a=mid:0\r\na=group", Difference::Placement),
    (
        "a=group",
        "a=ice-lite:x\r\na=group",
        Difference::FlagWithValue,
    ),
    ("typ host", "typ", Difference::Candidate),
    ("sha-1 00", "sha-9 00", Difference::Hash),
    (
        "a=mid:0",
        "a=mid:0\r\na=rtcp-mux-only",
        Difference::MediaRules,
    ),
    (
        "webrtc-datachannel",
        "webrtc-datachannel\r\nm=x 9 y z",
        Difference::LeftOut,
    ),
];
