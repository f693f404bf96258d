//! Where two parsers of descriptions disagree, and why.

use bowline::fuzz::{Described, describe};
use webrtc_sdp::attribute_type::{SdpAttribute, SdpAttributeType};
use webrtc_sdp::error::SdpParserError;
use webrtc_sdp::media_type::SdpMedia;
use webrtc_sdp::{SdpSession, parse_sdp};

/// Why only one of the two reads a description, or why they read different things in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Only we have limits on the length and the number of sections.
    Limits,
    /// It trims lines and values, and takes letters and names in either case. We take them as RFC 8866 has them.
    Lexis,
    /// It passes over attributes that it does not know, also where the order of lines leaves no place for any.
    Order,
    /// It takes the first of a line or an attribute that stands twice, or the last. Two readers would read two things,
    /// so we refuse.
    Repeated,
    /// Fields of lines that are no attributes: each has forms that the other does not take.
    Fields,
    /// Attribute values that RFC 5888, 8122, 8841 and 8842 do not allow, and that it takes.
    Values,
    /// It reads attributes that mean nothing to a data channel peer, and refuses malformed ones.
    Uninterpreted,
    /// It refuses values that we judge when a description is to be used, ICE credentials first of all, and numbers that we
    /// take for the largest one.
    Later,
    /// It refuses an attribute at a level where it has no meaning; we ignore it there.
    Placement,
    /// It refuses a flag that has a value; we ignore the value.
    FlagWithValue,
    /// It reads candidates with the description; we read them one by one, and a bad one spoils no other.
    Candidate,
    /// It passes over fingerprints of functions that it does not know.
    Hash,
    /// It checks rules of media sections: rids, simulcast, extensions, multiplexing.
    MediaRules,
    /// It leaves out sections of protocols that it does not know, and what is wrong with them.
    LeftOut,
    /// It refuses what is shorter than any description that it can imagine.
    Short,
}

/// Compares. `None`: both refuse, or both read the same.
///
/// # Panics
///
/// When they disagree for no known reason.
#[must_use]
pub fn difference(text: &str) -> Option<Difference> {
    match (describe(text), parse_sdp(text, false)) {
        (Err(_), Err(_)) => None,
        (_, Ok(theirs)) if has_left_out(&theirs, "m=") => Some(Difference::LeftOut),
        (Err((line, fault)), Ok(_)) => Some(
            why_only_theirs(&fault)
                .unwrap_or_else(|| panic!("only webrtc-sdp reads it, {fault} at {line}: {text:?}")),
        ),
        (Ok(_), Err(error)) => Some(
            why_only_ours(text, &error)
                .unwrap_or_else(|| panic!("only we read it, {error}: {text:?}")),
        ),
        (Ok(_), Ok(_)) if has_odd_lexis(text) => Some(Difference::Lexis),
        (Ok(_), Ok(theirs)) if has_left_out(&theirs, "a=fingerprint") => Some(Difference::Hash),
        (Ok(ours), Ok(theirs)) => {
            assert_same(&ours, &theirs, text);
            None
        }
    }
}

/// Whether it has passed over a line that begins so.
fn has_left_out(theirs: &SdpSession, start: &str) -> bool {
    let mut warnings = theirs.warnings.iter();
    warnings.any(|warning| match warning {
        SdpParserError::Line { line, .. } | SdpParserError::Unsupported { line, .. } => {
            line.to_lowercase().trim().starts_with(start)
        }
        SdpParserError::Sequence { .. } => false,
    })
}

/// By the name of our fault.
fn why_only_theirs(fault: &str) -> Option<Difference> {
    Some(match fault {
        "TooLong" | "TooManyLines" | "TooManySections" => Difference::Limits,
        "Line" | "AttributeName" => Difference::Lexis,
        "Order" | "NoTime" => Difference::Order,
        "Repeated" => Difference::Repeated,
        "Version" | "Field" => Difference::Fields,
        "Fingerprint" | "Setup" | "Mid" | "Group" | "SctpPort" | "MaxMessageSize" => {
            Difference::Values
        }
        _ => return None,
    })
}

fn why_only_ours(text: &str, error: &SdpParserError) -> Option<Difference> {
    match error {
        SdpParserError::Sequence { message, .. } => why_sequence(message),
        SdpParserError::Line { .. } if text.len() < SHORTEST => Some(Difference::Short),
        SdpParserError::Line { line, .. } | SdpParserError::Unsupported { line, .. } => {
            why_line(line)
        }
    }
}

fn why_sequence(message: &str) -> Option<Difference> {
    let known = [
        ("not allowed at", Difference::Placement),
        ("already exists", Difference::Repeated),
        ("Extmap", Difference::MediaRules),
        ("rtcp-mux-only", Difference::MediaRules),
        ("Rid", Difference::MediaRules),
        ("RIDs", Difference::MediaRules),
        ("at least 4 lines", Difference::Short),
        ("invalid type in media section", Difference::Order),
        ("at wrong level", Difference::Order),
    ];
    let found = known.iter().find(|(part, _)| message.contains(part));
    found.map(|(_, reason)| *reason)
}

fn why_line(line: &str) -> Option<Difference> {
    let Some(attribute) = line.strip_prefix("a=") else {
        let is_line = line.as_bytes().get(1) == Some(&b'=');
        return is_line.then_some(Difference::Fields);
    };
    let name = attribute.split(':').next().unwrap_or_default();
    match name {
        "bundle-only" | "end-of-candidates" | "ice-lite" => Some(Difference::FlagWithValue),
        "candidate" => Some(Difference::Candidate),
        "fingerprint" | "setup" | "ice-ufrag" | "ice-pwd" | "mid" | "sctp-port"
        | "max-message-size" => Some(Difference::Later),
        "group" | "ice-options" | "sctpmap" => Some(Difference::Values),
        _ => Some(Difference::Uninterpreted),
    }
}

/// Whether a line has a name in another case, or white space that it trims.
fn has_odd_lexis(text: &str) -> bool {
    text.lines().any(|line| {
        let name = line.split(':').next().unwrap_or_default();
        let is_lower = name == name.to_lowercase();
        let attribute = line.starts_with("a=");
        let is_padded = |after: char| {
            let value = line.split_once(after).map_or("", |(_, value)| value);
            value != value.trim()
        };
        (attribute && !is_lower) || line != line.trim() || is_padded('=') || is_padded(':')
    })
}

/// In a description with one section there is no doubt which values count.
fn assert_same(ours: &Described, theirs: &SdpSession, text: &str) {
    assert_eq!(ours.sections, theirs.media.len(), "{text:?}");
    let [section] = theirs.media.as_slice() else {
        return;
    };
    if !ours.is_data_channel {
        return;
    }
    let levels = [section.get_attributes(), &theirs.attribute];
    let ice = first_with(
        levels,
        &[SdpAttributeType::IceUfrag, SdpAttributeType::IcePwd],
    );
    let ufrag = ice.iter().find_map(|a| match a {
        SdpAttribute::IceUfrag(ufrag) => Some(ufrag.clone()),
        _ => None,
    });
    let pwd = ice.iter().find_map(|a| match a {
        SdpAttribute::IcePwd(pwd) => Some(pwd.clone()),
        _ => None,
    });
    assert_eq!((&ours.ufrag, &ours.pwd), (&ufrag, &pwd), "{text:?}");
    let fingerprints = first_with(levels, &[SdpAttributeType::Fingerprint]);
    let fingerprints: Vec<_> = fingerprints
        .iter()
        .filter_map(|a| match a {
            SdpAttribute::Fingerprint(fingerprint) => Some(fingerprint.fingerprint.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(ours.fingerprints, fingerprints, "{text:?}");
    let setup = first_with(levels, &[SdpAttributeType::Setup]);
    let setup = setup.first().map(|setup| setup.to_string());
    let word = setup
        .as_ref()
        .map(|s| s.rsplit(':').next().unwrap_or(s).to_owned());
    assert_eq!(ours.setup, word, "{text:?}");
    assert_section(ours, section, text);
    let is_lite = theirs.get_attribute(SdpAttributeType::IceLite).is_some();
    assert_eq!(ours.ice_lite, is_lite, "{text:?}");
}

fn assert_section(ours: &Described, section: &SdpMedia, text: &str) {
    match section.get_attribute(SdpAttributeType::Mid) {
        Some(SdpAttribute::Mid(mid)) => assert_eq!(ours.mid.as_ref(), Some(mid), "{text:?}"),
        _ => assert_eq!(ours.mid, None, "{text:?}"),
    }
    if let Some(SdpAttribute::SctpPort(port)) = section.get_attribute(SdpAttributeType::SctpPort) {
        assert_eq!(ours.sctp_port.map(u64::from), Some(*port), "{text:?}");
    }
    let size = match section.get_attribute(SdpAttributeType::MaxMessageSize) {
        Some(SdpAttribute::MaxMessageSize(0)) => u64::MAX,
        Some(SdpAttribute::MaxMessageSize(size)) => *size,
        _ => 65_536,
    };
    assert_eq!(ours.max_message_size, Some(size), "{text:?}");
    let candidates = section.get_attributes_of_type(SdpAttributeType::Candidate);
    assert!(candidates.len() <= ours.candidates, "{text:?}");
}

/// The attributes of these types at the first level that has any.
fn first_with<'a>(
    levels: [&'a Vec<SdpAttribute>; 2],
    types: &[SdpAttributeType],
) -> Vec<&'a SdpAttribute> {
    let at = |level: &'a Vec<SdpAttribute>| {
        let is_wanted = |a: &&SdpAttribute| types.contains(&SdpAttributeType::from(*a));
        level.iter().filter(is_wanted).collect::<Vec<_>>()
    };
    levels
        .map(at)
        .into_iter()
        .find(|l| !l.is_empty())
        .unwrap_or_default()
}

/// The shortest text that webrtc-sdp takes for a description.
const SHORTEST: usize = 51;

#[cfg(test)]
mod tests;
