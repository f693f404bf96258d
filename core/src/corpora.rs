//! Replays the corpora of `tests/corpora` and compares the verdicts with the expected ones (see its `NOTICE.md`).

use std::fs;
use std::path::Path;

use crate::config::Config;
use crate::endpoint::gate::{Gate, classify};
use crate::endpoint::stun::StunView;
use crate::ice::candidate::Candidate;
use crate::ice::{AddressPolicy, RemoteCandidates};
use crate::sdp::{Description, Role, SdpError, validate};

#[test]
fn valid_files_are_accepted_and_invalid_ones_refused_at_their_layer() {
    let mut wrong = Vec::new();
    for row in rows() {
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
    let verdicts: Vec<String> = rows()
        .iter()
        .filter(|row| row.expected == "tolerated")
        .map(|row| format!("{}: {}", row.file, verdict(row).text))
        .collect();
    insta::assert_snapshot!(verdicts.join("\n"));
}

#[test]
fn the_files_are_those_of_the_manifest() {
    let rows = rows();
    assert_eq!(rows.len(), 481);
    for row in rows {
        assert_eq!(row.contents.len(), row.bytes, "{}", row.file);
    }
}

/// Where our verdict is another than the expected one, and why.
const DIFFERENCES: [(&str, &str); 5] = [
    (
        "candidate/str0m__candidate-01.txt",
        "its foundation is not made of ice-chars (RFC 8839 section 5.1)",
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
    let session = |role| validate(&description, role, None).map(|_| ());
    let either: Result<(), SdpError> = session(Role::Offer).or_else(|_| session(Role::Answer));
    match either {
        Ok(()) => accepted(),
        Err(error) => refused(Layer::Session, error),
    }
}

fn candidate_verdict(line: &str) -> Verdict {
    let candidate = match Candidate::parse(line) {
        Ok(candidate) => candidate,
        Err(error) => return refused(Layer::Syntax, error),
    };
    let policy = AddressPolicy::new(Config::default().transport());
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
            features: columns[8].to_owned(),
            bytes: columns[9].parse().expect("a length"),
            contents: fs::read(root.join(columns[0])).expect("a file"),
        }
    };
    manifest
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with("channeldata/"))
        .map(row)
        .collect()
}
