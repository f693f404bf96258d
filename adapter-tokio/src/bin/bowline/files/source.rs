use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc;

use super::digest::{Digest, Hasher};
use super::message::{Chunk, MAX_SIZE};
use super::name::{BadName, FileName};

/// A file that is offered, held open, so that it is the same one that is sent.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    name: FileName,
    size: u64,
    modified: Option<SystemTime>,
}

impl Source {
    /// Opens a file. It may block.
    ///
    /// # Errors
    ///
    /// [`SourceError`].
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        // Before it is opened: to open a pipe waits for somebody who writes.
        if !path.metadata()?.is_file() {
            return Err(SourceError::NoFile);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() > MAX_SIZE {
            return Err(SourceError::TooLarge);
        }
        let name = path.file_name().and_then(|name| name.to_str());
        Ok(Self {
            name: FileName::new(name.ok_or(SourceError::NoText)?)?,
            size: metadata.len(),
            modified: modified(&metadata),
            file,
        })
    }

    pub(crate) fn name(&self) -> &FileName {
        &self.name
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Reads the file for its receiver, who has `offset` bytes with the digest `prefix`, into `blocks`. It blocks, and
    /// ends when the file ends, cannot be read, or nobody takes the blocks any more.
    pub(crate) fn read(mut self, resume: Resume, blocks: &mpsc::Sender<Block>) {
        let end = match self.read_all(resume, blocks) {
            Ok(Some(digest)) => Block::End(digest),
            // Nobody listens.
            Ok(None) => return,
            Err(error) => Block::Failed(error.to_string()),
        };
        let _ = blocks.blocking_send(end);
    }

    fn read_all(
        &mut self,
        resume: Resume,
        blocks: &mpsc::Sender<Block>,
    ) -> io::Result<Option<Digest>> {
        let (mut hasher, mut offset) = self.take_up(&resume)?;
        if blocks.blocking_send(Block::Begin { offset }).is_err() {
            return Ok(None);
        }
        while offset < self.size {
            let most = (self.size - offset).min(resume.chunk as u64);
            let len = usize::try_from(most).unwrap_or(resume.chunk);
            let mut message = vec![0; Chunk::HEADER + len];
            let (header, data) = message.split_at_mut(Chunk::HEADER);
            header.copy_from_slice(&Chunk::header(resume.transfer, offset));
            self.file.read_exact(data)?;
            hasher.update(data);
            offset += most;
            let chunk = Block::Chunk {
                through: offset,
                message: message.into(),
            };
            if blocks.blocking_send(chunk).is_err() {
                return Ok(None);
            }
        }
        let metadata = self.file.metadata()?;
        if metadata.len() != self.size || modified(&metadata) != self.modified {
            return Err(io::Error::other("it has changed meanwhile"));
        }
        Ok(Some(hasher.digest()))
    }

    /// Goes to where the receiver's bytes end, if they are those of this file, or else to the beginning.
    fn take_up(&mut self, resume: &Resume) -> io::Result<(Hasher, u64)> {
        self.file.rewind()?;
        let mut hasher = Hasher::new();
        if resume.offset == 0 || resume.offset > self.size {
            return Ok((hasher, 0));
        }
        let mut prefix = (&self.file).take(resume.offset);
        let mut buffer = vec![0; BUFFER];
        loop {
            match prefix.read(&mut buffer)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        if hasher.digest() == resume.prefix {
            return Ok((hasher, resume.offset));
        }
        self.file.rewind()?;
        Ok((Hasher::new(), 0))
    }
}

fn modified(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}

/// How to read a file for a receiver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resume {
    pub(crate) transfer: u32,
    /// What the receiver has, in bytes.
    pub(crate) offset: u64,
    /// The digest of that.
    pub(crate) prefix: Digest,
    /// The most data in one chunk, at least 1.
    pub(crate) chunk: usize,
}

/// A step of reading.
#[derive(Debug)]
pub(crate) enum Block {
    /// The first: what comes begins here.
    Begin { offset: u64 },
    /// A chunk, with its header. The file is read up to `through`.
    Chunk { through: u64, message: Bytes },
    /// The last: the digest of the whole file.
    End(Digest),
    /// The last: the file cannot be read, or changed.
    Failed(String),
}

/// A file that cannot be offered.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no regular file; a directory can be sent as an archive")]
    NoFile,
    #[error("it is larger than {MAX_SIZE} bytes")]
    TooLarge,
    #[error("its name is not UTF-8")]
    NoText,
    #[error("its name would be refused: {0}")]
    Name(#[from] BadName),
}

const BUFFER: usize = 256 * 1_024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::part::tests::Scratch;
    use super::*;

    fn digest(data: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(data);
        hasher.digest()
    }

    fn resume(offset: u64, prefix: &[u8]) -> Resume {
        Resume {
            transfer: 7,
            offset,
            prefix: digest(prefix),
            chunk: 4,
        }
    }

    /// What is read: where it begins, the data of each chunk, and how it ends.
    fn read(source: Source, resume: Resume) -> (u64, Vec<Vec<u8>>, Result<Digest, String>) {
        let (blocks, mut reading) = mpsc::channel(100);
        source.read(resume, &blocks);
        drop(blocks);
        let Some(Block::Begin { offset }) = reading.blocking_recv() else {
            panic!("the first block is the beginning");
        };
        let (mut next, mut chunks) = (offset, Vec::new());
        loop {
            match reading.blocking_recv().expect("there is an end") {
                Block::Chunk { through, message } => {
                    let chunk = Chunk::parse(&message).expect("valid");
                    assert_eq!((chunk.transfer, chunk.offset), (7, next));
                    next += chunk.data.len() as u64;
                    assert_eq!(next, through);
                    chunks.push(chunk.data.to_vec());
                }
                Block::End(digest) => return (offset, chunks, Ok(digest)),
                Block::Failed(why) => return (offset, chunks, Err(why)),
                Block::Begin { .. } => panic!("it begins once"),
            }
        }
    }

    #[test]
    fn a_file_is_read_from_where_its_receiver_is() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a");
        fs::write(&path, "abcdefghij").expect("writes");
        let open = || Source::open(&path).expect("opens");
        let whole = Ok(digest(b"abcdefghij"));
        let (fresh, rest, end) = (
            vec![b"abcd".to_vec(), b"efgh".to_vec(), b"ij".to_vec()],
            vec![b"ghij".to_vec()],
            Vec::new(),
        );
        for (resume, offset, chunks) in [
            (resume(0, b""), 0, &fresh),
            (resume(6, b"abcdef"), 6, &rest),
            (resume(10, b"abcdefghij"), 10, &end),
            // What the receiver has is of another file, or longer than this one.
            (resume(6, b"abcdeX"), 0, &fresh),
            (resume(11, b"abcdefghijk"), 0, &fresh),
        ] {
            assert_eq!(
                read(open(), resume),
                (offset, chunks.clone(), whole.clone())
            );
        }
    }

    #[test]
    fn an_empty_file_has_no_chunks() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a");
        fs::write(&path, "").expect("writes");
        let source = Source::open(&path).expect("opens");
        assert_eq!(read(source, resume(0, b"")), (0, vec![], Ok(digest(b""))));
    }

    #[test]
    fn a_file_that_changes_meanwhile_fails() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a");
        for change in ["abc", "abcdefgh"] {
            fs::write(&path, "abcdef").expect("writes");
            let source = Source::open(&path).expect("opens");
            fs::write(&path, change).expect("writes");
            let (_, _, end) = read(source, resume(0, b""));
            end.expect_err("fails");
        }
    }

    #[test]
    fn what_cannot_be_offered_says_why() {
        let scratch = Scratch::new();
        let why = |path: &Path| Source::open(path).expect_err("refused").to_string();
        assert!(why(&scratch.0).starts_with("it is no regular file"));
        assert!(why(&scratch.0.join("none")).starts_with("No such file"));
        let hidden = scratch.0.join(".hidden");
        fs::write(&hidden, "").expect("writes");
        assert_eq!(
            why(&hidden),
            "its name would be refused: it begins with a dot"
        );
        let large = scratch.0.join("large");
        // A file with a hole, where the file system allows one so large.
        let file = File::create(&large).expect("creates");
        if file.set_len(MAX_SIZE + 1).is_ok() {
            assert!(why(&large).starts_with("it is larger than"));
        }
    }
}
