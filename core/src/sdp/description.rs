//! A session description: its lines, each of which obeys its grammar.
//!
//! One pass looks at each byte a constant number of times and keeps the lines as they are, so that what is printed is what
//! was read: unknown attributes, their order and their number with it. A tree of fields would lose that (`sdp-types`
//! drops lines and moves others, and knows no line numbers), and costs an allocation for each.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::fault::{SdpError, SdpFault};
use super::line::{Kind, Line, words};
use super::section::Section;
use super::write::Writer;

/// A session description (RFC 8866). Every value in it that is interpreted here obeys its grammar.
///
/// Whether the values make sense together is decided by [`validate`](Self::validate) and, beside another description, by
/// [`validate_after`](Self::validate_after) and [`validate_answer`](Self::validate_answer). `Display` prints the lines as
/// they were read, each ended by CRLF and without empty ones; what is printed is read as the same description. `Debug`
/// shows no line, because ICE passwords are in them.
///
/// ```
/// use bowline::sdp::{Description, Role, Rules};
///
/// # fn main() -> Result<(), bowline::sdp::SdpError> {
/// # let text = "v=0\no=- 1 2 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\n\
/// #     c=IN IP4 0.0.0.0\na=mid:0\na=ice-ufrag:Ks4t\na=ice-pwd:nK3tWpQ8vM2xYc7LrH5dFbGz\n\
/// #     a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\n\
/// #     a=setup:actpass\na=sctp-port:5000\n";
/// let offer = Description::parse(text)?;
/// offer.validate(Role::Offer, &Rules::default())?;
/// for section in offer.sections() {
///     println!("{} {:?}: {} candidates", section.media(), section.mid(), section.transport().candidates().count());
/// }
///
/// let error = Description::parse(&text.replace("actpass", "maybe")).expect_err("there is no such role");
/// assert_eq!(error.to_string(), "line 11: malformed setup (RFC 4145 section 4)");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Description {
    /// Zeroed when dropped, because ICE passwords are in it.
    text: Zeroizing<String>,
    lines: Vec<Line>,
    /// The head, and after it the media sections.
    levels: Vec<Level>,
}

impl Description {
    /// The longest description that is read, in bytes. A longer one is refused unread.
    pub const MAX_LEN: usize = 1024 * 1024;
    /// The most lines that are read. A description with more is refused at the first of them.
    pub const MAX_LINES: usize = 32 * 1024;
    /// The most media sections that are read. A description with more is refused at the first of them.
    pub const MAX_SECTIONS: usize = 64;

    /// Reads a description. Lines may end with LF alone.
    ///
    /// # Errors
    ///
    /// [`SdpError`] at the first line that does not obey its grammar, or that is beyond a limit.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > Self::MAX_LEN {
            return Err(SdpFault::TooLong.at(0));
        }
        Self::read(text, Self::MAX_LINES)
    }

    /// Reads a text of any length and of so many lines.
    pub(super) fn read(text: &str, max_lines: usize) -> Result<Self, SdpError> {
        let mut reader = Reader::new(text);
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            if reader.lines.len() == max_lines {
                return Err(SdpFault::TooManyLines.at(number));
            }
            reader.line(number, line)?;
        }
        reader.finish()
    }

    /// The text, as `Display` prints it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The media sections, in their order.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = Section<'_>> {
        (1..self.levels.len()).map(|level| Section::new(self, level))
    }

    /// The section with that identification tag.
    #[must_use]
    pub fn section(&self, mid: &str) -> Option<Section<'_>> {
        self.sections().find(|section| section.mid() == Some(mid))
    }

    /// The identification of the session, and the version of its description (RFC 8866 section 5.2).
    #[must_use]
    pub fn origin(&self) -> (&str, &str) {
        let origin = self.first(self.head(), Kind::Origin);
        let mut fields = words(origin.map_or("", |at| at.value)).skip(1);
        let mut next = || fields.next().unwrap_or_default();
        (next(), next())
    }

    /// Whether the describing side is an ICE lite agent, so that the other side has to control (RFC 8445 section 6.1.1).
    #[must_use]
    pub fn is_ice_lite(&self) -> bool {
        self.first(self.head(), Kind::IceLite).is_some()
    }

    /// The identification tags of each BUNDLE group (RFC 9143).
    pub fn bundles(&self) -> impl Iterator<Item = impl Iterator<Item = &str>> {
        self.bundle_lines().map(|(_, tags)| tags)
    }

    /// The BUNDLE groups with the numbers of their lines.
    pub(super) fn bundle_lines(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = &str>)> {
        self.all(self.head(), Kind::Group).filter_map(|group| {
            let mut parts = words(group.value);
            (parts.next() == Some("BUNDLE")).then_some((group.line, parts))
        })
    }

    pub(super) fn head(&self) -> &Level {
        self.level(0)
    }

    /// The head at 0, and after it the sections.
    pub(super) fn level(&self, index: usize) -> &Level {
        self.levels.get(index).unwrap_or(&Level::NONE)
    }

    /// How many levels there are.
    pub(super) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// The first line of a kind at a level.
    pub(super) fn first(&self, level: &Level, kind: Kind) -> Option<Value<'_>> {
        self.value(level.first(kind) as usize)
    }

    /// All lines of a kind at a level.
    pub(super) fn all(&self, level: &Level, kind: Kind) -> impl Iterator<Item = Value<'_>> + Clone {
        let lines = level.first(kind).min(level.end)..level.end;
        lines
            .filter_map(|index| self.value(index as usize))
            .filter(move |line| line.kind == kind)
    }

    /// The level of each section that is in a BUNDLE group, and that of the one which speaks for it. A section that is in
    /// two groups counts in the first.
    fn speakers(&self) -> BTreeMap<usize, usize> {
        let levels = self.mids();
        let mut speakers = BTreeMap::new();
        for (_, mut tags) in self.bundle_lines() {
            let Some(speaker) = tags.next().and_then(|tag| levels.get(tag)) else {
                continue;
            };
            for level in tags.filter_map(|tag| levels.get(tag)).chain([speaker]) {
                speakers.entry(*level).or_insert(*speaker);
            }
        }
        speakers
    }

    /// The levels of the sections by their identification tags, the first where several have the same.
    pub(super) fn mids(&self) -> BTreeMap<&str, usize> {
        let mut levels = BTreeMap::new();
        for (level, section) in (1..).zip(self.sections()) {
            if let Some(mid) = section.mid() {
                levels.entry(mid).or_insert(level);
            }
        }
        levels
    }

    /// The lines at a level.
    pub(super) fn lines_of(&self, level: &Level) -> impl Iterator<Item = Value<'_>> {
        (level.start..level.end).filter_map(|index| self.value(index as usize))
    }

    /// The head and the sections, in their order.
    pub(super) fn all_levels(&self) -> impl Iterator<Item = (Option<usize>, &Level)> {
        (0_usize..)
            .map(|level| level.checked_sub(1))
            .zip(&self.levels)
    }

    /// What stands in a line.
    fn value(&self, index: usize) -> Option<Value<'_>> {
        let line = self.lines.get(index)?;
        let text = self.text.get(line.start as usize..line.end as usize)?;
        let value = text.get(2..).unwrap_or_default();
        let value = match (text.starts_with("a="), value.split_once(':')) {
            (true, Some((_, value))) => value,
            (true, None) => "",
            (false, _) => value,
        };
        Some(Value {
            index,
            line: line.number as usize,
            kind: line.kind,
            text,
            value,
        })
    }
}

impl FromStr for Description {
    type Err = SdpError;

    fn from_str(text: &str) -> Result<Self, SdpError> {
        Self::parse(text)
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description")
            .field("lines", &self.lines.len())
            .field("sections", &self.sections().len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Description {
    /// Whether both print alike.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Description {}

/// The lines before the first media section, or those of a section with its `m=`.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) start: u32,
    pub(super) end: u32,
    /// The first line of each kind.
    firsts: [u32; Kind::COUNT],
    /// The level of the section that speaks for the transport of this one: itself, or where it is in a BUNDLE group the one
    /// that the group names first (RFC 9143 section 7.2).
    pub(super) speaker: usize,
}

impl Level {
    const NONE: Self = Self::new(0, 0);

    const fn new(start: u32, speaker: usize) -> Self {
        Self {
            start,
            end: start,
            firsts: [NONE; Kind::COUNT],
            speaker,
        }
    }

    /// Takes the next line. Returns false when there was one of its kind before.
    fn add(&mut self, kind: Kind, index: u32) -> bool {
        self.end = index + 1;
        let is_first = !self.has(kind);
        if is_first && let Some(first) = self.firsts.get_mut(kind as usize) {
            *first = index;
        }
        is_first
    }

    fn first(&self, kind: Kind) -> u32 {
        self.firsts.get(kind as usize).copied().unwrap_or(NONE)
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.first(kind) != NONE
    }
}

/// A line, and what stands in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    /// Which of the lines that are kept it is.
    pub(super) index: usize,
    /// Its number in the text that was read, counted from 1.
    pub(super) line: usize,
    pub(super) kind: Kind,
    /// The whole line.
    pub(super) text: &'a str,
    /// What follows the type, or the name of the attribute and a colon.
    pub(super) value: &'a str,
}

/// A description that is being read.
struct Reader {
    out: Writer,
    lines: Vec<Line>,
    levels: Vec<Level>,
    /// What the first lines have to be.
    due: std::array::IntoIter<Kind, 3>,
}

impl Reader {
    fn new(text: &str) -> Self {
        let ends = text.bytes().filter(|b| *b == b'\n').count();
        Self {
            // It never grows, which would leave a copy behind that is not zeroed.
            out: Writer::new(text.len() + ends + 2),
            lines: Vec::with_capacity(ends.min(Description::MAX_LINES)),
            levels: vec![Level::new(0, 0)],
            due: [Kind::Version, Kind::Origin, Kind::Name].into_iter(),
        }
    }

    /// Of the order of RFC 8866 section 5 it enforces `v=`, `o=`, `s=` at the start, `t=` before the first `m=`, and that
    /// lines of the head are in no section. Elsewhere lines may be misplaced, as those who edit descriptions do with `b=`.
    fn line(&mut self, number: usize, text: &str) -> Result<(), SdpError> {
        let (kind, value) = Kind::of(text).map_err(|fault| fault.at(number))?;
        if self.due.next().is_some_and(|due| due != kind) {
            return Err(SdpFault::Order.at(number));
        }
        let in_section = self.levels.len() > 1;
        let is_misplaced = match kind {
            Kind::Media => {
                self.begin_section(number)?;
                false
            }
            Kind::Repeat => in_section || !self.has(0, Kind::Time),
            kind => in_section && kind.is_of_the_head(),
        };
        if is_misplaced {
            return Err(SdpFault::Order.at(number));
        }
        kind.check(value).map_err(|fault| fault.at(number))?;
        let index = offset(self.lines.len());
        let start = offset(self.out.len());
        self.out.line(&[text]);
        self.lines.push(Line {
            number: offset(number),
            start,
            end: start + offset(text.len()),
            kind,
        });
        let level = self.levels.last_mut();
        if level.is_some_and(|level| !level.add(kind, index) && kind.stands_once(in_section)) {
            return Err(SdpFault::Repeated.at(number));
        }
        Ok(())
    }

    fn begin_section(&mut self, number: usize) -> Result<(), SdpError> {
        if !self.has(0, Kind::Time) {
            return Err(SdpFault::NoTime.at(number));
        }
        self.end_section()?;
        if self.levels.len() > Description::MAX_SECTIONS {
            return Err(SdpFault::TooManySections.at(number));
        }
        let (start, speaker) = (offset(self.lines.len()), self.levels.len());
        self.levels.push(Level::new(start, speaker));
        Ok(())
    }

    /// RFC 8866 section 5.7: a section has a `c=`, unless the head has one.
    fn end_section(&self) -> Result<(), SdpError> {
        let last = self.levels.len() - 1;
        let is_connected = [0, last]
            .iter()
            .any(|level| self.has(*level, Kind::Connection));
        if last == 0 || is_connected {
            return Ok(());
        }
        let start = self.levels.last().map_or(0, |level| level.start as usize);
        let line = self.lines.get(start).map_or(0, |line| line.number as usize);
        Err(SdpFault::NoConnection.at(line))
    }

    fn finish(mut self) -> Result<Description, SdpError> {
        if self.due.next().is_some() {
            return Err(SdpFault::Order.at(0));
        }
        if !self.has(0, Kind::Time) {
            return Err(SdpFault::NoTime.at(0));
        }
        self.end_section()?;
        let mut description = Description {
            text: Zeroizing::new(self.out.into_text()),
            lines: self.lines,
            levels: self.levels,
        };
        for (level, speaker) in description.speakers() {
            if let Some(level) = description.levels.get_mut(level) {
                level.speaker = speaker;
            }
        }
        Ok(description)
    }

    fn has(&self, level: usize, kind: Kind) -> bool {
        self.levels.get(level).is_some_and(|level| level.has(kind))
    }
}

/// Indices into a text that [`Description::MAX_LEN`] bounds.
fn offset(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

/// No line.
const NONE: u32 = u32::MAX;
