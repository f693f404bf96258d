//! The body of the fuzz target `sdp`: what is read stands in the text, and what is written is read alike.

use crate::fuzz::text_of;

use super::{
    Announcement, Bandwidth, CandidatePattern, CandidateTransport, Description, DtlsRole, Remote,
    Rewrite, Role, Rules, SdpError, Sections, announce, for_transport,
};

/// Reads, validates, rewrites and prints a description.
///
/// # Panics
///
/// When a rule does not hold.
pub fn sdp(data: &[u8]) {
    let Some(text) = text_of(data) else { return };
    match Description::parse(text) {
        Ok(description) => {
            check_printed(text, &description);
            check_validated(text, &description);
            check_rewritten(&description);
            check_for_transport(text, &description);
            check_announced(text, &description);
            check_injection(text);
        }
        Err(error) => check_line(text, error),
    }
}

/// What is printed are the lines that were read, and they are read as the same.
fn check_printed(text: &str, description: &Description) {
    let printed = description.to_string();
    let lines = text.lines().filter(|line| !line.is_empty());
    assert!(lines.eq(printed.lines()));
    assert!(printed.lines().count() * 2 == printed.matches(['\r', '\n']).count());
    let again = Description::parse(&printed).expect("it was read");
    assert_eq!(again.to_string(), printed, "a fix point");
    let media = text.lines().filter(|line| line.starts_with("m=")).count();
    assert_eq!(description.sections().len(), media);
    for section in description.sections() {
        let line = text.lines().nth(section.line() - 1);
        assert!(line.is_some_and(|line| line.starts_with(&format!("m={} ", section.media()))));
    }
}

/// A description fits itself, and a fault is in a line of the text.
fn check_validated(text: &str, description: &Description) {
    for role in [Role::Offer, Role::Answer] {
        match description.validate(role, &Rules::default()) {
            Ok(()) => assert_eq!(description.validate_after(description), Ok(())),
            Err(error) => check_line(text, error),
        }
    }
    if let Err(error) = description.validate_answer(description) {
        check_line(text, error);
    }
}

fn check_line(text: &str, error: SdpError) {
    assert!(error.line <= text.lines().count(), "{error}");
}

/// What is changed is read as it is printed, is valid if it was, and stays as it is when it is changed again.
fn check_rewritten(description: &Description) {
    let token = |text: &str| text.parse().expect("a token");
    let rewrites = [
        Rewrite::PreferCodecs(vec![token("VP9"), token("opus")]),
        Rewrite::RemoveCodec(token("VP8")),
        Rewrite::Bandwidth {
            sections: Sections::All,
            limit: Bandwidth::As(1),
        },
        Rewrite::StripCandidates(CandidatePattern {
            transport: Some(CandidateTransport::Tcp),
            ..CandidatePattern::default()
        }),
        Rewrite::ForceSetup(DtlsRole::Client),
        Rewrite::RequireTransportCc,
    ];
    let Ok((rewritten, changes)) = description.rewrite(Role::Offer, &rewrites) else {
        return;
    };
    assert!(*description == rewritten || !changes.is_empty());
    let read = Description::parse(rewritten.as_str());
    assert_eq!(read.as_ref(), Ok(&rewritten), "a fix point");
    if description.validate(Role::Offer, &Rules::default()).is_ok() {
        assert_eq!(rewritten.validate(Role::Offer, &Rules::default()), Ok(()));
        assert_eq!(rewritten.validate_after(description), Ok(()));
    }
    if let Ok((again, _)) = rewritten.rewrite(Role::Offer, &rewrites) {
        assert_eq!(again.as_str(), rewritten.as_str(), "a fix point");
    }
}

/// What the transport sees is the same peer, without candidates and without weak fingerprints.
fn check_for_transport(text: &str, description: &Description) {
    let stripped = for_transport(text, None);
    assert_eq!(for_transport(&stripped, None), stripped, "a fix point");
    for role in [Role::Offer, Role::Answer] {
        let Ok(remote) = Remote::new(description.clone(), role, None) else {
            continue;
        };
        let seen = Description::parse(&stripped).expect("what was removed was not needed");
        let seen = Remote::new(seen, role, None).expect("nor by a session");
        assert_eq!(
            (seen.candidates().count(), seen.is_end_of_candidates()),
            (0, false)
        );
        let same = |remote: &Remote| {
            let words = [remote.ufrag().to_owned(), remote.pwd().to_owned()];
            (words, remote.max_message_size(), remote.has_sha256())
        };
        assert_eq!(same(&seen), same(&remote));
        let again = Remote::new(description.clone(), role, Some(&remote));
        assert_eq!(again, Ok(remote), "a description can follow itself");
    }
}

/// What we write in place of credentials and candidates is what is read.
fn check_announced(text: &str, description: &Description) {
    let candidates = ["candidate:1 1 udp 1 192.0.2.1 4000 typ host".to_owned()];
    let with = Announcement {
        ice_ufrag: "ours",
        ice_pwd: "a+password+of+22/chars",
        candidates: &candidates,
        end_of_candidates: true,
    };
    let Ok(written) = announce(text, with) else {
        return;
    };
    assert_eq!(
        announce(&written, with).as_ref(),
        Ok(&written),
        "a fix point"
    );
    let read = Description::parse(&written).expect("what was written obeys the grammar");
    assert_eq!(read.sections().len(), description.sections().len());
    for section in read.sections() {
        let transport = section.transport();
        assert!(
            transport
                .ice_ufrag()
                .is_none_or(|ufrag| ufrag == with.ice_ufrag)
        );
        assert!(transport.ice_pwd().is_none_or(|pwd| pwd == with.ice_pwd));
        assert!(
            transport.candidates().all(|line| line == candidates[0]),
            "none of the text is left"
        );
    }
}

/// No token ends its line and begins another.
fn check_injection(text: &str) {
    let hostile = text.get(text.len().saturating_sub(40)..).unwrap_or(text);
    let candidates = [format!("candidate:{hostile}")];
    for (ufrag, pwd) in [(hostile, hostile), ("ours", "a+password+of+22/chars")] {
        let with = Announcement {
            ice_ufrag: ufrag,
            ice_pwd: pwd,
            candidates: &candidates,
            end_of_candidates: false,
        };
        if let Ok(written) = announce(text, with) {
            let added = written.lines().count();
            assert!(
                added <= text.lines().filter(|line| !line.is_empty()).count() + candidates.len()
            );
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
    let mut channels = read.sections().filter(|section| section.is_data_channel());
    let application = channels.next();
    let transport = application.map(|section| section.transport());
    let fingerprints = transport.into_iter().flat_map(|t| t.fingerprints());
    Ok(Described {
        sections: read.sections().len(),
        is_data_channel: application.is_some(),
        ufrag: transport.and_then(|t| t.ice_ufrag().map(str::to_owned)),
        pwd: transport.and_then(|t| t.ice_pwd().map(str::to_owned)),
        fingerprints: fingerprints.map(|f| f.bytes).collect(),
        setup: transport.and_then(|t| t.setup()).map(|s| s.to_string()),
        mid: application.and_then(|a| a.mid().map(str::to_owned)),
        sctp_port: application.and_then(|a| a.sctp_port()),
        max_message_size: application.map(|a| a.max_message_size().unwrap_or(u64::MAX)),
        candidates: transport.map_or(0, |t| t.candidates().count()),
        ice_lite: read.is_ice_lite(),
    })
}
