//! Replays the corpora of `tests/corpora` and compares the verdicts with the expected ones (see its `NOTICE.md`).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::endpoint::gate::{Gate, classify};
use crate::endpoint::io::{Input, Output};
use crate::endpoint::stun::StunView;
use crate::ice::candidate::Candidate;
use crate::ice::turn::Framing;
use crate::ice::{AddressPolicy, RemoteCandidates};
use crate::id::PeerId;
use crate::rng::Seed;
use crate::sdp::{Description, Remote, Role, Rules, SdpError, Section};
use crate::signal::Identity;
use crate::time::UnixTime;

#[test]
fn valid_files_are_accepted_and_invalid_ones_refused_at_their_layer() {
    let mut wrong = Vec::new();
    for row in rows_of_parsers() {
        let verdict = verdict(&row);
        let as_expected = match row.expected.as_str() {
            "valid" => verdict.reaches(row.accepting_layer()),
            "invalid" => verdict.stops_at(row.refusing_layer()),
            "tolerated" => continue,
            expected => panic!("{expected} is no verdict"),
        };
        let differs = DIFFERENCES.iter().any(|(file, _)| *file == row.file);
        if as_expected == differs {
            wrong.push(format!("{} ({}): {}", row.file, row.expected, verdict.text));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn verdicts_on_tolerated_files_are_stable() {
    let verdicts: Vec<String> = rows_of_parsers()
        .filter(|row| row.expected == "tolerated")
        .map(|row| format!("{}: {}", row.file, verdict(&row).text))
        .collect();
    insta::assert_snapshot!(verdicts.join("\n"));
}

/// Each error was read against what the manifest finds wrong with the file.
#[test]
fn invalid_files_are_refused_for_the_right_reason() {
    let verdicts: Vec<String> = rows_of_parsers()
        .filter(|row| row.expected == "invalid")
        .map(|row| format!("{} ({})\n  {}", row.file, row.why, verdict(&row).text))
        .collect();
    insta::assert_snapshot!(verdicts.join("\n"));
}

#[test]
fn channel_data_is_whole_in_valid_files_and_in_no_others() {
    for row in rows().iter().filter(|row| row.kind == CHANNEL_DATA) {
        let mut framing = Framing::default();
        framing.push(&row.contents);
        let first = framing.next();
        if row.expected == "valid" {
            let len = usize::from(u16::from_be_bytes([row.contents[2], row.contents[3]]));
            assert_eq!(first, Ok(Some(0..4 + len)), "{}", row.file);
            assert_eq!(framing.next(), Ok(None), "{}", row.file);
        } else {
            assert!(matches!(first, Ok(None) | Err(_)), "{}", row.file);
        }
    }
}

/// There is no allocation here: what a TURN channel carries is known for what it is, well-formed or not, and dropped.
#[test]
fn channel_data_is_dropped_and_counted() {
    let now = Instant::now();
    let local = SocketAddr::from(([192, 0, 2, 1], 4_000));
    let mut endpoint = Endpoint::new(
        Config::default(),
        Identity::without_key(PeerId::new("alice").expect("valid")),
        Seed::from([1; 32]),
        now,
        UnixTime::from_millis(0),
    )
    .expect("a certificate");
    endpoint.handle_input(Input::SocketBound { local }, now);
    let files: Vec<Row> = rows()
        .into_iter()
        .filter(|row| row.kind == CHANNEL_DATA)
        .collect();
    for row in &files {
        assert_eq!(classify(&row.contents), Gate::Unsupported, "{}", row.file);
        let input = Input::Datagrams {
            local,
            remote: SocketAddr::from(([192, 0, 2, 2], 3_478)),
            contents: &row.contents,
            segment_size: row.contents.len(),
        };
        endpoint.handle_input(input, now);
    }
    let dropped = endpoint.stats().dropped.unsupported;
    assert_eq!((files.len(), dropped), (6, 6));
    let output = endpoint.poll_output(&mut Vec::new());
    assert_eq!(output, Output::Timeout(None), "no state is made");
}

#[test]
fn the_files_are_those_of_the_manifest() {
    let rows = rows();
    assert_eq!(rows.len(), 487);
    for row in rows {
        assert_eq!(row.contents.len(), row.bytes, "{}", row.file);
    }
}

/// Where our verdict is another than the expected one, and why.
const DIFFERENCES: [(&str, &str); 7] = [
    (
        "candidate/str0m__candidate-01.txt",
        "its foundation is not made of ice-chars (RFC 8839 section 5.1)",
    ),
    (
        "sdp/bowline-synthetic__ufrag-257.sdp",
        "refused by the rules of sessions: the parser takes what valid files of other projects have for credentials",
    ),
    (
        "sdp/bowline-synthetic__ufrag-3.sdp",
        "refused by the rules of sessions: the parser takes what valid files of other projects have for credentials",
    ),
    (
        "sdp/bowline-synthetic__rejected-section.sdp",
        "the parser accepts it; without its only section there is no session",
    ),
    (
        "sdp/mozilla-webrtc-sdp__sipcc-12.sdp",
        "an early form without mid, which RFC 9429 section 5.2.1 wants in every section",
    ),
    (
        "sdp/sdp-transform__ts-refclk-media.sdp",
        "obeys RFC 8866; only the parsers that were asked do not know its lines",
    ),
    (
        "sdp/sdp-transform__ts-refclk-sess.sdp",
        "obeys RFC 8866; only the parsers that were asked do not know its lines",
    ),
];

/// One line of the manifest, with the contents of its file.
struct Row {
    file: String,
    kind: String,
    expected: String,
    layer: String,
    why: String,
    features: String,
    bytes: usize,
    contents: Vec<u8>,
}

impl Row {
    /// A description without a data channel, ICE and DTLS is a test of the parser only.
    fn accepting_layer(&self) -> Layer {
        let usable = ["dc", "ice", "dtls"]
            .iter()
            .all(|f| self.features.split(',').any(|g| g == *f));
        if self.kind == "sdp" && usable {
            Layer::Policy
        } else {
            Layer::Session
        }
    }

    /// The gate drops what is no ICE check, well-formed or not.
    fn refusing_layer(&self) -> &[Layer] {
        match (self.kind.as_str(), self.layer.as_str()) {
            ("stun", _) => &[Layer::Syntax, Layer::Session],
            (_, "syntax") => &[Layer::Syntax],
            (_, "session") => &[Layer::Session],
            (_, layer) => panic!("{layer} has no invalid files"),
        }
    }
}

/// The layers in their order: what passes one goes on to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Syntax,
    Session,
    Policy,
}

struct Verdict {
    /// The layer that refused, if one did.
    refused: Option<Layer>,
    text: String,
}

impl Verdict {
    fn reaches(&self, layer: Layer) -> bool {
        self.refused.is_none_or(|refused| refused >= layer)
    }

    fn stops_at(&self, layers: &[Layer]) -> bool {
        self.refused
            .is_some_and(|refused| layers.contains(&refused))
    }
}

fn refused(layer: Layer, reason: impl std::fmt::Display) -> Verdict {
    Verdict {
        refused: Some(layer),
        text: format!("{layer:?}: {reason}"),
    }
}

fn accepted() -> Verdict {
    Verdict {
        refused: None,
        text: "accepted".to_owned(),
    }
}

fn verdict(row: &Row) -> Verdict {
    let text = std::str::from_utf8(&row.contents);
    match (row.kind.as_str(), text) {
        ("stun", _) => stun_verdict(&row.contents),
        (_, Err(_)) => refused(Layer::Syntax, "not utf-8"),
        ("sdp", Ok(text)) => sdp_verdict(text),
        ("candidate", Ok(line)) => candidate_verdict(line),
        (kind, _) => panic!("{kind} is no kind"),
    }
}

fn sdp_verdict(text: &str) -> Verdict {
    let description = match Description::parse(text) {
        Ok(description) => description,
        Err(error) => return refused(Layer::Syntax, error),
    };
    let is_for_data = description.sections().any(|s| Section::is_data_channel(&s));
    let session = |role| -> Result<(), SdpError> {
        description.validate(role, &Rules::default())?;
        if is_for_data {
            Remote::new(description.clone(), role, None)?;
        }
        Ok(())
    };
    // Whether it offers or answers is not in the text: what is wrong with both is wrong with it.
    match session(Role::Offer) {
        Ok(()) => accepted(),
        Err(error) if session(Role::Answer).is_err() => refused(Layer::Session, error),
        Err(_) => accepted(),
    }
}

fn candidate_verdict(line: &str) -> Verdict {
    let candidate = match Candidate::parse(line) {
        Ok(candidate) => candidate,
        Err(error) => return refused(Layer::Syntax, error),
    };
    let policy = AddressPolicy::new(&Config::default());
    let ufrag = candidate.ufrag().unwrap_or_default();
    match RemoteCandidates::new(policy, ufrag, 1).admit(line) {
        Ok(_) => accepted(),
        Err(refusal) => refused(Layer::Policy, refusal),
    }
}

fn stun_verdict(datagram: &[u8]) -> Verdict {
    if let Err(fault) = StunView::parse(datagram) {
        return refused(Layer::Syntax, format!("{fault:?}"));
    }
    match classify(datagram) {
        Gate::Request { .. } | Gate::Response { .. } | Gate::Indication => accepted(),
        gate @ (Gate::Dtls | Gate::Unsupported | Gate::Drop(_)) => {
            refused(Layer::Session, format!("{gate:?}"))
        }
    }
}

/// Those that a parser of ours reads.
fn rows_of_parsers() -> impl Iterator<Item = Row> {
    rows().into_iter().filter(|row| row.kind != CHANNEL_DATA)
}

fn rows() -> Vec<Row> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora");
    let manifest = fs::read_to_string(root.join("MANIFEST.tsv")).expect("a manifest");
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        Row {
            file: columns[0].to_owned(),
            kind: columns[1].to_owned(),
            expected: columns[5].to_owned(),
            layer: columns[6].to_owned(),
            why: columns[7].to_owned(),
            features: columns[8].to_owned(),
            bytes: columns[9].parse().expect("a length"),
            contents: fs::read(root.join(columns[0])).expect("a file"),
        }
    };
    manifest.lines().skip(1).map(row).collect()
}

const CHANNEL_DATA: &str = "channeldata";
