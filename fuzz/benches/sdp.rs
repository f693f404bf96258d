//! What reading and checking an offer of Chromium costs, beside webrtc-sdp and str0m:
//! `RUSTFLAGS="--cfg fuzzing" cargo bench --bench sdp` in `fuzz/`. The flag is for the library of this package, which is not measured.
//!
//! The three take turns, and each figure is the median of its turns. `--test` reads each offer once.

use std::hint::black_box;
use std::time::Instant;

use bowline::sdp::{Description, Role, Rules};
use str0m::change::SdpOffer;

/// An offer of data channels, as Chromium writes it.
const DATA: &str = concat!(
    "v=0\r\n",
    "o=- 4611731400430051336 2 IN IP4 127.0.0.1\r\n",
    "s=-\r\n",
    "t=0 0\r\n",
    "a=group:BUNDLE 0\r\n",
    "a=extmap-allow-mixed\r\n",
    "a=msid-semantic: WMS\r\n",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    "c=IN IP4 0.0.0.0\r\n",
    "a=ice-ufrag:Gn7Z\r\n",
    "a=ice-pwd:qL2xJxXqU3Yq0bUQ7cJqQ1mB\r\n",
    "a=ice-options:trickle\r\n",
    "a=fingerprint:sha-256 1C:A0:57:40:5C:A5:9B:5D:1C:7B:9A:0E:1A:55:0B:9F:",
    "D3:A1:25:2F:93:0F:2F:0B:8D:52:A7:2C:1D:3A:2E:77\r\n",
    "a=setup:actpass\r\n",
    "a=mid:0\r\n",
    "a=sctp-port:5000\r\n",
    "a=max-message-size:262144\r\n",
);
/// One of audio, video and data channels.
const MEDIA: &str = include_str!("../../core/tests/corpora/sdp/str0m__chrome104-1-offer-Send.sdp");

fn main() {
    let once = std::env::args().any(|arg| arg == "--test");
    let (turns, count) = if once { (1, 1) } else { (15, 2_000) };
    println!(
        "{:<24} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "ns for each", "webrtc-sdp", "str0m", "bowline", "ratio", "ratio"
    );
    for (name, text) in [("data", DATA), ("audio, video and data", MEDIA)] {
        let readers: [fn(&str) -> bool; 3] = [webrtc_sdp, str0m, bowline];
        let mut taken = readers.map(|_| Vec::new());
        for _ in 0..turns {
            for (read, taken) in readers.iter().zip(&mut taken) {
                let begun = Instant::now();
                let all = (0..count).all(|_| read(black_box(text)));
                assert!(all, "{name} is valid");
                taken.push(begun.elapsed().as_nanos() / count);
            }
        }
        let [theirs, str0ms, ours] = taken.map(median);
        println!(
            "{name:<24} {theirs:>10.0} {str0ms:>10.0} {ours:>10.0} {:>8.2} {:>8.2}",
            ours / theirs,
            ours / str0ms
        );
    }
}

fn webrtc_sdp(text: &str) -> bool {
    black_box(webrtc_sdp::parse_sdp(text, true)).is_ok()
}

fn str0m(text: &str) -> bool {
    black_box(SdpOffer::from_sdp_string(text)).is_ok()
}

fn bowline(text: &str) -> bool {
    let description = Description::parse(text);
    let checked = description.map(|read| (read.validate(Role::Offer, &Rules::default()), read));
    black_box(checked).is_ok_and(|(valid, _)| valid.is_ok())
}

fn median(mut taken: Vec<u128>) -> f64 {
    taken.sort_unstable();
    taken[taken.len() / 2] as f64
}
