//! The body of the fuzz target `sdp`: what is read stands in the text, and what is written is read alike.

use crate::fuzz::text_of;

use super::description::Description;
use super::value::Located;
use super::{Remote, Rewrite, Role, for_transport, rewrite, validate};

/// Reads, validates and rewrites a description.
///
/// # Panics
///
/// When a rule does not hold.
pub fn sdp(data: &[u8]) {
    let Some(text) = text_of(data) else { return };
    match Description::parse(text) {
        Ok(description) => {
            check_places(text, &description);
            check_for_transport(text, &description);
            check_rewritten(text, &description);
            check_injection(text);
        }
        Err(error) => assert!(error.line <= text.lines().count(), "{error}"),
    }
}

/// Each value stands in the line that is given for it.
fn check_places(text: &str, description: &Description) {
    let lines: Vec<&str> = text.lines().collect();
    let at = |line: usize| *lines.get(line - 1).expect("a line of the text");
    if let Some(Located { line, value }) = &description.ufrag {
        assert_eq!(at(*line), format!("a=ice-ufrag:{value}"));
    }
    if let Some(Located { line, value }) = &description.pwd {
        assert_eq!(at(*line), format!("a=ice-pwd:{}", value.expose()));
    }
    if let Some(Located { line, .. }) = &description.setup {
        assert!(at(*line).starts_with("a=setup:"));
    }
    for Located { line, .. } in &description.fingerprints {
        assert!(at(*line).starts_with("a=fingerprint:"));
    }
    for Located { line, value } in &description.candidates {
        // One without a value has no colon either, and is refused later.
        let line = at(*line)
            .strip_prefix("a=")
            .map(|a| a.strip_suffix(':').unwrap_or(a));
        assert_eq!(line, Some(value.strip_suffix(':').unwrap_or(value)));
    }
    if let Some(application) = &description.application {
        assert!(at(application.line).starts_with("m=application "));
    }
    let media = lines.iter().filter(|line| line.starts_with("m=")).count();
    assert_eq!(description.sections, media);
}

/// What the transport sees is the same peer, without candidates and without weak fingerprints.
fn check_for_transport(text: &str, description: &Description) {
    let stripped = for_transport(text, None);
    assert_eq!(for_transport(&stripped, None), stripped, "a fix point");
    for role in [Role::Offer, Role::Answer] {
        let Ok(remote) = validate(description, role, None) else {
            continue;
        };
        let seen = Description::parse(&stripped).expect("what was removed was not needed");
        assert_eq!((seen.candidates.len(), seen.end_of_candidates), (0, false));
        assert!(seen.fingerprints.iter().all(|f| f.value.hash.is_strong()));
        let bare = Remote {
            candidates: Vec::new(),
            end_of_candidates: false,
            ..remote.clone()
        };
        assert_eq!(validate(&seen, role, None), Ok(bare));
        let again = Remote {
            ice_restart: false,
            ..remote.clone()
        };
        assert_eq!(validate(description, role, Some(&remote)), Ok(again));
    }
}

/// What we write in place of credentials and candidates is what is read.
fn check_rewritten(text: &str, description: &Description) {
    let candidates = ["candidate:1 1 udp 1 192.0.2.1 4000 typ host".to_owned()];
    let with = Rewrite {
        ice_ufrag: "ours",
        ice_pwd: "a+password+of+22/chars",
        candidates: &candidates,
        end_of_candidates: true,
    };
    let Ok(written) = rewrite(text, with) else {
        return;
    };
    assert_eq!(
        rewrite(&written, with).as_ref(),
        Ok(&written),
        "a fix point"
    );
    let read = Description::parse(&written).expect("what was written obeys the grammar");
    assert_eq!(read.sections, description.sections);
    if let Some(ufrag) = &read.ufrag {
        assert_eq!(ufrag.value, with.ice_ufrag);
    }
    if let Some(pwd) = &read.pwd {
        assert_eq!(pwd.value.expose(), with.ice_pwd);
    }
    assert_eq!(read.ufrag.is_some(), description.ufrag.is_some());
    assert!(
        read.candidates.iter().all(|c| c.value == candidates[0]),
        "no candidate of the text is left"
    );
}

/// No token ends its line and begins another.
fn check_injection(text: &str) {
    let hostile = text.get(text.len().saturating_sub(40)..).unwrap_or(text);
    let candidates = [format!("candidate:{hostile}")];
    for (ufrag, pwd) in [(hostile, hostile), ("ours", "a+password+of+22/chars")] {
        let with = Rewrite {
            ice_ufrag: ufrag,
            ice_pwd: pwd,
            candidates: &candidates,
            end_of_candidates: false,
        };
        if let Ok(written) = rewrite(text, with) {
            let added = written.lines().count();
            assert!(added <= super::lines(text).count() + candidates.len());
        }
    }
}

/// What a description says, for a comparison with what another parser reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// How many media sections there are.
    pub sections: usize,
    /// Whether one of them is a data channel section.
    pub is_data_channel: bool,
    /// The ICE user name fragment of its transport.
    pub ufrag: Option<String>,
    /// The password.
    pub pwd: Option<String>,
    /// The bytes of each fingerprint.
    pub fingerprints: Vec<Vec<u8>>,
    /// The DTLS role, as in the text.
    pub setup: Option<String>,
    /// The identification tag of the section.
    pub mid: Option<String>,
    /// The SCTP port.
    pub sctp_port: Option<u16>,
    /// The largest message, in bytes.
    pub max_message_size: Option<u64>,
    /// How many candidates there are.
    pub candidates: usize,
    /// Whether the peer is an ICE lite agent.
    pub ice_lite: bool,
}

/// Reads a description.
///
/// # Errors
///
/// The line, and the name of the fault.
pub fn describe(text: &str) -> Result<Described, (usize, String)> {
    let read = Description::parse(text).map_err(|e| (e.line, format!("{:?}", e.reason)))?;
    let application = read.application.as_ref();
    Ok(Described {
        sections: read.sections,
        is_data_channel: application.is_some(),
        ufrag: read.ufrag.map(|ufrag| ufrag.value),
        pwd: read.pwd.map(|pwd| pwd.value.expose().to_owned()),
        fingerprints: read
            .fingerprints
            .iter()
            .map(|f| f.value.bytes.clone())
            .collect(),
        setup: read
            .setup
            .map(|setup| format!("{:?}", setup.value).to_lowercase()),
        mid: application.and_then(|a| a.mid.clone()),
        sctp_port: application.and_then(|a| a.sctp_port),
        max_message_size: application.map(|a| a.max_message_size),
        candidates: read.candidates.len(),
        ice_lite: read.ice_lite,
    })
}
