//! What two programs say to each other about files. `docs/PROTOCOL.md` has the whole of it.
//!
//! Texts go on the channel `control`, except [`FileMessage::End`], which follows the chunks on `file`. A codec holds no
//! state: whether a message is due is for [`Exchange`](super::Exchange) to say.

use bowline::Message;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// A text about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum FileMessage {
    /// The sender has a file.
    #[serde(rename = "file-offer")]
    Offer {
        transfer: u32,
        name: String,
        size: u64,
    },
    /// The receiver wants it, and has the first `offset` bytes already, which have this digest.
    #[serde(rename = "file-accept")]
    Accept {
        transfer: u32,
        offset: u64,
        sha256: Digest,
        window: u64,
    },
    /// The receiver does not want it.
    #[serde(rename = "file-refuse")]
    Refuse { transfer: u32, reason: Refusal },
    /// The receiver has stored so much of it, from the beginning of the file.
    #[serde(rename = "file-progress")]
    Progress { transfer: u32, received: u64 },
    /// There are no more chunks.
    #[serde(rename = "file-end")]
    End { transfer: u32, sha256: Digest },
    /// The file is complete, verified, durable and in place.
    #[serde(rename = "file-done")]
    Done { transfer: u32 },
    /// The receiver gives up.
    #[serde(rename = "file-failed")]
    Failed { transfer: u32, reason: Failure },
    /// Either side changed its mind.
    #[serde(rename = "file-cancel")]
    Cancel {
        transfer: u32,
        by: Side,
        reason: Cancellation,
    },
}

/// Why a file is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Refusal {
    Declined,
    Name,
    Size,
    Busy,
    Storage,
    #[serde(other)]
    Unknown,
}

/// Why a receiver gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Failure {
    Checksum,
    Storage,
    Protocol,
    #[serde(other)]
    Unknown,
}

/// Why a transfer was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cancellation {
    Cancelled,
    Source,
    #[serde(other)]
    Unknown,
}

/// Which side of a transfer speaks. Each side numbers what it sends, so that a number alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Sender,
    Receiver,
}

impl FileMessage {
    /// Reads a text. None when it is something else, or nothing that is known here.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        serde_json::from_str(text).ok()
    }

    pub(crate) fn to_message(&self) -> Message {
        let text = serde_json::to_string(self).expect("plain data has no keys that are not texts");
        Message::text(text)
    }
}

/// Some bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) transfer: u32,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
}

impl Chunk {
    /// The number of bytes before the data.
    pub(crate) const HEADER: usize = 12;
    /// The most data that a chunk carries.
    pub(crate) const MAX_DATA: usize = 64 * 1024;

    /// Reads a binary message. None when it is no chunk: too short, too long or without data.
    pub(crate) fn parse(message: &Bytes) -> Option<Self> {
        let (transfer, rest) = message.split_first_chunk()?;
        let (offset, data) = rest.split_first_chunk()?;
        if data.is_empty() || data.len() > Self::MAX_DATA {
            return None;
        }
        Some(Self {
            transfer: u32::from_be_bytes(*transfer),
            offset: u64::from_be_bytes(*offset),
            data: message.slice(Self::HEADER..),
        })
    }

    /// What stands before the data.
    pub(crate) fn header(transfer: u32, offset: u64) -> [u8; Self::HEADER] {
        let mut header = [0; Self::HEADER];
        header[..4].copy_from_slice(&transfer.to_be_bytes());
        header[4..].copy_from_slice(&offset.to_be_bytes());
        header
    }
}

/// The largest file: what every peer can count exactly, a browser included.
pub(crate) const MAX_SIZE: u64 = (1 << 53) - 1;
/// The longest text that is read. No valid one comes near, a name of 255 escaped bytes included.
pub(crate) const MAX_TEXT: usize = 8 * 1_024;

#[cfg(test)]
mod tests {
    use super::super::digest::Hasher;
    use super::*;

    #[test]
    fn every_message_is_written_as_the_protocol_says_and_read_back() {
        let sha256 = Hasher::new().digest();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let table = [
            (
                FileMessage::Offer {
                    transfer: 1,
                    name: "a\"b".into(),
                    size: MAX_SIZE,
                },
                r#"{"type":"file-offer","transfer":1,"name":"a\"b","size":9007199254740991}"#
                    .to_owned(),
            ),
            (
                FileMessage::Accept {
                    transfer: 2,
                    offset: 3,
                    sha256,
                    window: 4,
                },
                format!(
                    r#"{{"type":"file-accept","transfer":2,"offset":3,"sha256":"{empty}","window":4}}"#
                ),
            ),
            (
                FileMessage::Refuse {
                    transfer: 1,
                    reason: Refusal::Declined,
                },
                r#"{"type":"file-refuse","transfer":1,"reason":"declined"}"#.to_owned(),
            ),
            (
                FileMessage::Progress {
                    transfer: u32::MAX,
                    received: 5,
                },
                r#"{"type":"file-progress","transfer":4294967295,"received":5}"#.to_owned(),
            ),
            (
                FileMessage::End {
                    transfer: 1,
                    sha256,
                },
                format!(r#"{{"type":"file-end","transfer":1,"sha256":"{empty}"}}"#),
            ),
            (
                FileMessage::Done { transfer: 1 },
                r#"{"type":"file-done","transfer":1}"#.to_owned(),
            ),
            (
                FileMessage::Failed {
                    transfer: 1,
                    reason: Failure::Checksum,
                },
                r#"{"type":"file-failed","transfer":1,"reason":"checksum"}"#.to_owned(),
            ),
            (
                FileMessage::Cancel {
                    transfer: 1,
                    by: Side::Sender,
                    reason: Cancellation::Source,
                },
                r#"{"type":"file-cancel","transfer":1,"by":"sender","reason":"source"}"#.to_owned(),
            ),
        ];
        for (message, text) in table {
            assert_eq!(message.to_message().as_text(), Some(&*text));
            assert_eq!(FileMessage::parse(&text), Some(message));
        }
    }

    #[test]
    fn unknown_fields_and_reasons_are_read_over() {
        let text = r#"{"colour":"red","type":"file-refuse","reason":"mood","transfer":7}"#;
        let reason = Refusal::Unknown;
        let expected = FileMessage::Refuse {
            transfer: 7,
            reason,
        };
        assert_eq!(FileMessage::parse(text), Some(expected));
    }

    #[test]
    fn what_is_no_file_message_is_none() {
        let padding = " ".repeat(MAX_TEXT);
        let long = format!(r#"{{"type":"file-done","transfer":1}}{padding}"#);
        for text in [
            "",
            "[]",
            r#"{"type":"chat","text":"hello"}"#,
            r#"{"type":"file-done"}"#,
            r#"{"type":"file-done","transfer":-1}"#,
            r#"{"type":"file-done","transfer":4294967296}"#,
            r#"{"type":"file-offer","transfer":1,"name":"a","size":1.5}"#,
            r#"{"type":"file-end","transfer":1,"sha256":"00"}"#,
            &long,
        ] {
            assert_eq!(FileMessage::parse(text), None, "{text:.60}");
        }
    }

    #[test]
    fn a_chunk_carries_one_byte_to_64_kib() {
        let message = |data: usize| {
            let mut message = Chunk::header(0x0102_0304, 0x0506).to_vec();
            message.resize(Chunk::HEADER + data, 9);
            Bytes::from(message)
        };
        for data in [1, Chunk::MAX_DATA] {
            let chunk = Chunk::parse(&message(data)).expect("valid");
            assert_eq!((chunk.transfer, chunk.offset), (0x0102_0304, 0x0506));
            assert_eq!(chunk.data, vec![9; data]);
        }
        assert_eq!(Chunk::parse(&message(0)), None);
        assert_eq!(Chunk::parse(&message(Chunk::MAX_DATA + 1)), None);
        assert_eq!(Chunk::parse(&Bytes::from_static(&[0; 11])), None);
    }
}
