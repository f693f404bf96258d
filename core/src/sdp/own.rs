//! Descriptions on their way from and to the transport underneath: ours with our credentials and candidates in them, remote
//! ones without what the transport must not see.

use thiserror::Error;

use super::value::{Fingerprint, HashFunction, is_pwd, is_ufrag};
use super::write::Writer;

/// What [`announce`] puts into a description of ours.
#[derive(Clone, Copy)]
pub(crate) struct Announcement<'a> {
    /// The user name fragment, in place of every one in the text.
    pub(crate) ice_ufrag: &'a str,
    /// The password, in place of every one in the text.
    pub(crate) ice_pwd: &'a str,
    /// Candidate lines in the order in which they are written, each `candidate:..` without `a=`.
    pub(crate) candidates: &'a [String],
    /// Whether no candidate follows: `a=end-of-candidates` is written after them (RFC 8840 section 8.2).
    pub(crate) end_of_candidates: bool,
}

/// Why [`announce`] wrote nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum AnnounceError {
    /// The user name fragment or the password is not made of ice-chars, or has a wrong length (RFC 8839 section 5.4).
    #[error("ice credentials that are not allowed in a description")]
    Credentials,
    /// A candidate line is not a single line of visible characters.
    #[error("a candidate that is not allowed in a description")]
    Candidate,
    /// The text has no credentials to replace, or no media section to add candidates to.
    #[error("a description without credentials or media section")]
    Incomplete,
}

/// Puts our credentials and candidates into `text`, a description made by the transport.
///
/// All `a=candidate` and `a=end-of-candidates` lines of the text are removed, every `a=ice-ufrag` and `a=ice-pwd` is
/// replaced, and the candidates are added at the end of the first media section, which carries the transport of its
/// whole BUNDLE group (RFC 9143 section 7.1.3). Lines end with CRLF.
///
/// # Errors
///
/// [`AnnounceError`] when a token could break out of its line, or when there is no place for one.
pub(crate) fn announce(text: &str, with: Announcement<'_>) -> Result<String, AnnounceError> {
    if !is_ufrag(with.ice_ufrag) || !is_pwd(with.ice_pwd) {
        return Err(AnnounceError::Credentials);
    }
    if !with.candidates.iter().all(|line| is_candidate_line(line)) {
        return Err(AnnounceError::Candidate);
    }
    let mut out = Writer::new(text.len() + with.candidates.iter().map(String::len).sum::<usize>());
    let (mut sections, mut ufrags, mut pwds) = (0_usize, 0_usize, 0_usize);
    for line in lines(text) {
        match attribute_name(line) {
            Some("candidate" | "end-of-candidates") => continue,
            Some("ice-ufrag") => {
                ufrags += 1;
                out.line(&["a=ice-ufrag:", with.ice_ufrag]);
                continue;
            }
            Some("ice-pwd") => {
                pwds += 1;
                out.line(&["a=ice-pwd:", with.ice_pwd]);
                continue;
            }
            Some(_) | None => {}
        }
        if line.starts_with("m=") {
            sections += 1;
            if sections == 2 {
                candidates(&mut out, with);
            }
        }
        out.line(&[line]);
    }
    if sections == 1 {
        candidates(&mut out, with);
    }
    if sections == 0 || ufrags == 0 || pwds == 0 {
        return Err(AnnounceError::Incomplete);
    }
    Ok(out.into_text())
}

/// A validated remote description as the transport may see it: without candidates, without weak fingerprints and without
/// the SCTP INIT of our own offer, `offered`, where this answers it.
///
/// The transport would take every candidate of the text without limit or filter, and it prefers a sha-1 fingerprint
/// to any but sha-256, so that a strong one beside it would not be checked. Candidates are added one by one, after
/// the candidate policy has admitted them. An INIT of ours comes back from answerers that repeat what they do not know
/// (libdatachannel does); the transport would take it for theirs.
pub(crate) fn for_transport(text: &str, offered: Option<&str>) -> String {
    let mut out = Writer::new(text.len());
    for line in lines(text) {
        let keep = match attribute_name(line) {
            Some("candidate" | "end-of-candidates") => false,
            Some("fingerprint") => !is_weak_fingerprint(line),
            Some("sctp-init") => sctp_init(line) != offered,
            Some(_) | None => true,
        };
        if keep {
            out.line(&[line]);
        }
    }
    out.into_text()
}

/// The SCTP INIT that a description of ours holds (SNAP).
pub(crate) fn sctp_init(text: &str) -> Option<&str> {
    lines(text).find_map(|line| line.strip_prefix("a=sctp-init:"))
}

/// The SHA-256 fingerprints of a validated description, as bytes.
pub(crate) fn sha256_fingerprints(text: &str) -> Vec<Vec<u8>> {
    let values = lines(text).filter_map(|line| line.strip_prefix("a=fingerprint:"));
    values
        .filter_map(Fingerprint::read)
        .filter(|fingerprint| fingerprint.hash == HashFunction::Sha256)
        .map(|fingerprint| fingerprint.bytes)
        .collect()
}

fn candidates(out: &mut Writer, with: Announcement<'_>) {
    for candidate in with.candidates {
        out.line(&["a=", candidate]);
    }
    if with.end_of_candidates {
        out.line(&["a=end-of-candidates"]);
    }
}

/// The lines that are not empty, without their ends.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty())
}

fn attribute_name(line: &str) -> Option<&str> {
    let attribute = line.strip_prefix("a=")?;
    Some(
        attribute
            .split_once(':')
            .map_or(attribute, |(name, _)| name),
    )
}

fn is_candidate_line(line: &str) -> bool {
    line.strip_prefix("candidate:")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| matches!(b, b' '..=b'~')))
}

/// Whether `line` is a fingerprint that [`Description::validate`](super::Description::validate) would not count.
fn is_weak_fingerprint(line: &str) -> bool {
    let hash = line
        .strip_prefix("a=fingerprint:")
        .and_then(|rest| rest.split(' ').next());
    !hash.is_some_and(|hash| HashFunction::from_name(hash).is_strong())
}
