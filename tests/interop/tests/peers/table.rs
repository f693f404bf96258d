//! The table that a run writes: cases by stacks and directions, with versions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use bowline_interop::bridge::Offerer;
use bowline_interop::foreign::Kind;

/// How a case ended with one stack in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As the case says.
    Passed,
    /// As the case says, with something worth telling.
    Noted(String),
    /// The other side fails, in the way that is known; the test has seen it fail in just that way.
    TheirFailure(String),
}

/// What a run found.
#[derive(Debug, Default)]
pub(crate) struct Table {
    versions: BTreeMap<Kind, String>,
    cells: BTreeMap<(&'static str, Kind, Offerer), Option<Outcome>>,
    figures: Vec<String>,
}

impl Table {
    pub(crate) fn version(&mut self, kind: Kind, version: &str) {
        self.versions.insert(kind, version.to_owned());
    }

    /// Enters how a case ended; `None` when it failed.
    pub(crate) fn enter(
        &mut self,
        case: &'static str,
        kind: Kind,
        offerer: Offerer,
        outcome: Option<Outcome>,
    ) {
        self.cells.insert((case, kind, offerer), outcome);
    }

    /// Enters a line that stands below the table.
    pub(crate) fn figure(&mut self, line: String) {
        self.figures.push(line);
    }

    /// Writes the table as Markdown, unless nothing was entered.
    pub(crate) fn write(&self) -> io::Result<()> {
        if self.cells.is_empty() && self.figures.is_empty() {
            return Ok(());
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop/table.md");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, self.markdown())
    }

    fn markdown(&self) -> String {
        let mut notes = Vec::new();
        let mut text = String::from("| case |");
        for kind in Kind::ALL {
            let version = self
                .versions
                .get(&kind)
                .map_or_else(|| kind.name(), String::as_str);
            let _ = write!(text, " {version} |");
        }
        text.push_str("\n| --- |");
        text.push_str(&" --- |".repeat(Kind::ALL.len()));
        let mut cases: Vec<_> = self.cells.keys().map(|(case, ..)| *case).collect();
        cases.dedup();
        for case in cases {
            let _ = write!(text, "\n| {case} |");
            for kind in Kind::ALL {
                let mut cell = |offerer| self.cell(case, kind, offerer, &mut notes);
                let (ours, theirs) = (cell(Offerer::Bowline), cell(Offerer::Peer));
                let _ = write!(text, " {ours} / {theirs} |");
            }
        }
        text.push_str("\n\nIn each cell: bowline offers / the peer offers.\n");
        for (number, note) in notes.iter().enumerate() {
            let _ = write!(text, "\n{}. {note}", number + 1);
        }
        for figure in &self.figures {
            let _ = write!(text, "\n\n{figure}");
        }
        text.push('\n');
        text
    }

    fn cell(
        &self,
        case: &'static str,
        kind: Kind,
        offerer: Offerer,
        notes: &mut Vec<String>,
    ) -> String {
        let mut noted = |mark: &str, note: &String| {
            let known = notes.iter().position(|known| known == note);
            let number = known.unwrap_or_else(|| {
                notes.push(note.clone());
                notes.len() - 1
            });
            format!("{mark} ({})", number + 1)
        };
        match self.cells.get(&(case, kind, offerer)) {
            None => "-".to_owned(),
            Some(None) => "**failed**".to_owned(),
            Some(Some(Outcome::Passed)) => "ok".to_owned(),
            Some(Some(Outcome::Noted(note))) => noted("ok", note),
            Some(Some(Outcome::TheirFailure(reason))) => {
                noted("theirs", &format!("theirs: {reason}"))
            }
        }
    }
}
