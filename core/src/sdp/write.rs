//! A description that is being written, line by line.

/// Writes lines, each ended by CRLF.
pub(super) struct Writer {
    text: String,
}

impl Writer {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            text: String::with_capacity(capacity),
        }
    }

    pub(super) fn line(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.text.push_str(part));
        self.text.push_str("\r\n");
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}
