//! What a file may be called.
//!
//! A name comes from a peer, and becomes part of a path. So it is taken as it is or not at all: a name that had to be
//! repaired first would be one that its sender chose in order to have it repaired. What [`FileName::new`] lets through
//! is one component of a path, on every system, hidden on none, and shows on a screen what it is.

use std::fmt;

use thiserror::Error;

use super::digest::Hasher;
use crate::text;

/// The name of a file, without any path. It is safe to join to a directory, and to print.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName(String);

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`BadName`], which says what is wrong with it.
    pub(crate) fn new(name: &str) -> Result<Self, BadName> {
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        if name.len() > MAX_LEN {
            return Err(BadName::TooLong);
        }
        if name.contains(['/', '\\']) || (cfg!(windows) && name.contains(WINDOWS_FORBIDDEN)) {
            return Err(BadName::Separator);
        }
        if name.chars().any(text::is_deceptive) {
            return Err(BadName::Deceptive);
        }
        // These are also the names `.` and `..`.
        if name.starts_with('.') {
            return Err(BadName::Hidden);
        }
        if name.ends_with(['.', ' ']) {
            return Err(BadName::Ending);
        }
        if is_reserved(name) || name.ends_with(PART) {
            return Err(BadName::Reserved);
        }
        Ok(Self(name.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with a number before its extension, `photo (1).jpg`. The number 0 leaves it as it is.
    pub(crate) fn numbered(&self, number: u32) -> Self {
        if number == 0 {
            return self.clone();
        }
        let (stem, extension) = self.split();
        let mark = format!(" ({number})");
        let stem = shortened(stem, MAX_LEN - mark.len() - extension.len());
        Self(format!("{stem}{mark}{extension}"))
    }

    /// What the file is called while it is not complete.
    pub(crate) fn part(&self) -> String {
        if self.0.len() + PART.len() <= MAX_LEN {
            return format!("{self}{PART}");
        }
        let mut hasher = Hasher::new();
        hasher.update(self.0.as_bytes());
        let mark = format!("-{:.16}{PART}", hasher.digest().to_string());
        format!("{}{mark}", shortened(&self.0, MAX_LEN - mark.len()))
    }

    /// What stands before the last dot, and the rest. An extension that is unusually long is none.
    fn split(&self) -> (&str, &str) {
        match self.0.rfind('.') {
            Some(dot) if self.0.len() - dot <= MAX_EXTENSION => self.0.split_at(dot),
            _ => (&self.0, ""),
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The beginning of `text` that has at most `most` bytes.
fn shortened(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rfind(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Whether Windows takes the name for a device, whatever follows the first dot.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_uppercase();
    let numbered = ["COM", "LPT"].iter().any(|device| {
        let number = stem.strip_prefix(device).map(|rest| rest.chars());
        number.is_some_and(|mut rest| {
            rest.next().is_some_and(|c| "0123456789¹²³".contains(c)) && rest.next().is_none()
        })
    });
    numbered || ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&&*stem)
}

/// A name that [`FileName::new`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum BadName {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("it has a character that separates the parts of a path")]
    Separator,
    #[error("it has a character that is not shown or changes how others are shown")]
    Deceptive,
    #[error("it begins with a dot")]
    Hidden,
    #[error("it ends with a dot or a space")]
    Ending,
    #[error("it is reserved")]
    Reserved,
}

/// The longest name that common file systems take, in bytes.
const MAX_LEN: usize = 255;
/// The longest extension that is kept behind a number, in bytes with its dot.
const MAX_EXTENSION: usize = 16;
/// How the name of an incomplete file ends.
const PART: &str = ".bowline-part";
/// A drive, a stream of a file, or what the system refuses.
const WINDOWS_FORBIDDEN: [char; 7] = [':', '<', '>', '"', '|', '?', '*'];

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_refused_for_the_right_reason() {
        let too_long = ["a".repeat(MAX_LEN + 1), "ä".repeat(MAX_LEN / 2 + 1)];
        let table = [
            ("", BadName::Empty),
            (&too_long[0], BadName::TooLong),
            (&too_long[1], BadName::TooLong),
            ("/etc/passwd", BadName::Separator),
            ("../up", BadName::Separator),
            ("a/b", BadName::Separator),
            ("a\\b", BadName::Separator),
            ("..\\up", BadName::Separator),
            ("C:\\boot.ini", BadName::Separator),
            ("a\0b", BadName::Deceptive),
            ("a\nb", BadName::Deceptive),
            ("\x1b[31mred", BadName::Deceptive),
            ("a\u{7f}", BadName::Deceptive),
            ("a\u{9b}31m", BadName::Deceptive),
            ("gpj\u{202e}.exe", BadName::Deceptive),
            ("a\u{2066}b", BadName::Deceptive),
            ("a\u{200f}b", BadName::Deceptive),
            ("a\u{2028}b", BadName::Deceptive),
            ("a\u{feff}b", BadName::Deceptive),
            ("a\u{200b}b", BadName::Deceptive),
            ("a\u{e0041}b", BadName::Deceptive),
            (".", BadName::Hidden),
            ("..", BadName::Hidden),
            ("...", BadName::Hidden),
            (".bashrc", BadName::Hidden),
            ("a.", BadName::Ending),
            ("a ", BadName::Ending),
            (" ", BadName::Ending),
            ("con", BadName::Reserved),
            ("NUL.txt", BadName::Reserved),
            ("aux .tar.gz", BadName::Reserved),
            ("Com1", BadName::Reserved),
            ("LPT9.log", BadName::Reserved),
            ("com².x", BadName::Reserved),
            ("conin$", BadName::Reserved),
            ("a.bowline-part", BadName::Reserved),
        ];
        for (name, fault) in table {
            assert_eq!(FileName::new(name), Err(fault), "{name:?}");
        }
    }

    #[test]
    fn an_honest_name_is_kept() {
        let longest = "a".repeat(MAX_LEN);
        for name in [
            "a",
            "photo.jpg",
            "tar.tar.gz",
            "Überraschung für dich!.odt",
            "日本語",
            "family 👨\u{200d}👩\u{200d}👧.png",
            "COM10",
            "console",
            "x (1).txt",
            "- -rf",
            &longest,
        ] {
            assert_eq!(FileName::new(name).map(|n| n.0), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_number_stands_before_the_extension() {
        let numbered = |name, n| FileName::new(name).expect("valid").numbered(n).0;
        assert_eq!(numbered("a.txt", 0), "a.txt");
        assert_eq!(numbered("a.txt", 1), "a (1).txt");
        assert_eq!(numbered("a.tar.gz", 12), "a.tar (12).gz");
        assert_eq!(numbered("README", 2), "README (2)");
        let no_extension = format!("1.{}", "x".repeat(30));
        assert_eq!(numbered(&no_extension, 1), format!("{no_extension} (1)"));
        let long = format!("{}.txt", "ä".repeat(125));
        let shortened = numbered(&long, 3);
        assert_eq!(shortened, format!("{}ä (3).txt", "ä".repeat(122)));
        assert!(shortened.len() <= MAX_LEN);
    }

    #[test]
    fn a_long_name_has_a_part_of_its_own_that_is_short_enough() {
        let part = |name: &str| FileName::new(name).expect("valid").part();
        assert_eq!(part("a.txt"), "a.txt.bowline-part");
        let (one, other) = ("x".repeat(250) + "1", "x".repeat(250) + "2");
        assert_ne!(part(&one), part(&other));
        for name in [&one, &"ö".repeat(127)] {
            let part = part(name);
            assert!(part.len() <= MAX_LEN && part.ends_with(PART), "{part}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_peer_sends_stays_in_the_directory(
            name in prop_oneof!["\\PC{0,300}", any::<String>(), "[./\\\\a ]{0,8}", "[\\x00-\\x20a.]{1,4}"],
            number in 0..10_000_u32,
        ) {
            let Ok(name) = FileName::new(&name) else { return Ok(()) };
            let variants = [name.0.clone(), name.numbered(number).0, name.part(), name.numbered(number).part()];
            for variant in variants {
                let path = Path::new(&variant);
                let mut parts = path.components();
                prop_assert!(matches!(parts.next(), Some(Component::Normal(only)) if only == &*variant));
                prop_assert!(parts.next().is_none());
                let joined = Path::new("/d").join(path);
                prop_assert_eq!(joined.parent(), Some(Path::new("/d")));
                prop_assert!(variant.len() <= MAX_LEN && !variant.starts_with('.'));
                prop_assert_eq!(text::printable(&variant), variant.clone());
            }
        }
    }
}
