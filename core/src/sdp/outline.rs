//! The lines of a description: their numbers, their order and their number, before any tree is built.

use super::fault::{SdpError, SdpFault};
use super::value::is_token;

/// The most media sections that a description may have.
pub(super) const MAX_SECTIONS: usize = 64;

/// Where the lines are that the tree does not number.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// The line of each attribute, in the order of the text.
    pub(super) attributes: Vec<usize>,
    /// The line of each `m=`, in the order of the text.
    pub(super) sections: Vec<usize>,
}

impl Outline {
    /// Looks at each line once.
    ///
    /// Of the order of RFC 8866 section 5 it enforces `v=`, `o=`, `s=` at the start and `t=` before the first `m=`.
    /// Elsewhere lines may be misplaced, as those who edit descriptions do with `b=`.
    pub(super) fn scan(text: &str) -> Result<Self, SdpError> {
        let mut outline = Self::default();
        let mut head = b"vos".iter();
        let (mut timed, mut session_connection) = (false, false);
        // The line of the section that is read, until its `c=` is found.
        let mut unconnected = None;
        for (line, text) in text.lines().enumerate().map(|(i, text)| (i + 1, text)) {
            if text.is_empty() {
                continue;
            }
            let (kind, value) = split(text).ok_or(SdpFault::Line.at(line))?;
            if head.next().is_some_and(|due| *due != kind) {
                return Err(SdpFault::Order.at(line));
            }
            match kind {
                b't' => timed = true,
                b'c' if outline.sections.is_empty() => session_connection = true,
                b'c' => unconnected = None,
                b'a' => outline.attribute(line, value)?,
                b'm' => {
                    connected(unconnected)?;
                    unconnected = (!session_connection).then_some(line);
                    outline.section(line, timed)?;
                }
                _ => {}
            }
        }
        connected(unconnected)?;
        if head.next().is_some() {
            return Err(SdpFault::Order.at(0));
        }
        if !timed {
            return Err(SdpFault::NoTime.at(0));
        }
        Ok(outline)
    }

    fn attribute(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let name = value.split_once(':').map_or(value, |(name, _)| name);
        if !is_token(name) {
            return Err(SdpFault::AttributeName.at(line));
        }
        self.attributes.push(line);
        Ok(())
    }

    fn section(&mut self, line: usize, timed: bool) -> Result<(), SdpError> {
        if !timed {
            return Err(SdpFault::NoTime.at(line));
        }
        if self.sections.len() == MAX_SECTIONS {
            return Err(SdpFault::TooManySections.at(line));
        }
        self.sections.push(line);
        Ok(())
    }
}

/// The type letter and the value. NUL and a bare CR are not allowed in a value (RFC 8866 section 9).
fn split(line: &str) -> Option<(u8, &str)> {
    let (kind, value) = line.split_once('=')?;
    let [kind] = kind.as_bytes() else { return None };
    (kind.is_ascii_lowercase() && !value.contains(['\0', '\r'])).then_some((*kind, value))
}

fn connected(unconnected: Option<usize>) -> Result<(), SdpError> {
    unconnected.map_or(Ok(()), |line| Err(SdpFault::NoConnection.at(line)))
}
