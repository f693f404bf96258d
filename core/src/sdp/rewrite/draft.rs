//! A description and what is to be changed in its lines.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::sdp::description::Description;
use crate::sdp::fault::SdpError;
use crate::sdp::write::Writer;

/// Changes of a description that are not made yet.
pub(super) struct Draft<'a> {
    description: &'a Description,
    edits: BTreeMap<usize, Edit>,
    /// Lines that come before the one of an index.
    inserted: BTreeMap<usize, Vec<String>>,
}

/// What becomes of a line.
enum Edit {
    Drop,
    Replace(String),
}

impl<'a> Draft<'a> {
    pub(super) fn of(description: &'a Description) -> Self {
        Self {
            description,
            edits: BTreeMap::new(),
            inserted: BTreeMap::new(),
        }
    }

    /// The description as it is without the changes.
    pub(super) fn description(&self) -> &'a Description {
        self.description
    }

    pub(super) fn drop(&mut self, index: usize) {
        self.edits.insert(index, Edit::Drop);
    }

    pub(super) fn replace(&mut self, index: usize, line: String) {
        self.edits.insert(index, Edit::Replace(line));
    }

    /// Puts a line before another, after those that were put there already.
    pub(super) fn insert(&mut self, index: usize, line: String) {
        self.inserted.entry(index).or_default().push(line);
    }

    /// Makes the changes. What comes of it is read like any other text.
    pub(super) fn finish(mut self) -> Result<Description, SdpError> {
        let added = self.inserted.values().flatten().map(|line| line.len() + 2);
        let text = self.description.as_str();
        let mut out = Writer::new(text.len() + added.sum::<usize>());
        for (index, line) in text.lines().enumerate() {
            self.write_inserted(index, &mut out);
            match self.edits.get(&index) {
                None => out.line(&[line]),
                Some(Edit::Replace(line)) => out.line(&[line]),
                Some(Edit::Drop) => {}
            }
        }
        self.write_inserted(text.lines().count(), &mut out);
        Description::parse(&Zeroizing::new(out.into_text()))
    }

    fn write_inserted(&mut self, index: usize, out: &mut Writer) {
        for line in self.inserted.remove(&index).into_iter().flatten() {
            out.line(&[&line]);
        }
    }
}
