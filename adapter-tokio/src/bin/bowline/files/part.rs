//! Where a file is kept until it is complete, and how it comes into its place.
//!
//! What has come of `photo.jpg` is in `photo.jpg.bowline-part` beside it, so that the last step is one within the same
//! file system. That step happens after the checksum has matched and the data is on the disk, so a file under its own
//! name is always whole. An incomplete one stays: it is what an interrupted transfer goes on from. Its bytes are not
//! trusted for that, their digest is compared with the sender's.
//!
//! The program that writes a part holds a lock on it, which the operating system takes back when the program dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use super::digest::{Digest, Hasher};
use super::name::FileName;

/// Where a file shall go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) name: FileName,
    /// Whether to replace what has the name. Otherwise a free name is taken.
    pub(crate) overwrite: bool,
}

/// An incomplete file, locked.
#[derive(Debug)]
pub(crate) struct Part {
    place: Place,
    file: File,
    path: PathBuf,
    hasher: Hasher,
    stored: u64,
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.digest().fmt(f)
    }
}

impl Part {
    /// Opens what there is of a file of `size` bytes, or makes an empty part. What is longer than the file is not of it.
    ///
    /// A part that another transfer writes is left to it, and one with the next number taken.
    ///
    /// # Errors
    ///
    /// What the operating system says, and [`io::ErrorKind::InvalidInput`] when the part's name belongs to something
    /// that is no regular file, a link for example.
    pub(crate) fn open(place: Place, size: u64) -> io::Result<Self> {
        for number in 0..MAX_NUMBER {
            let path = place.directory.join(place.name.numbered(number).part());
            if let Some(file) = open_locked(&path)? {
                let mut part = Self {
                    place,
                    file,
                    path,
                    hasher: Hasher::new(),
                    stored: 0,
                };
                part.take_up(size)?;
                return Ok(part);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The number of bytes from the beginning of the file that are here.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// The digest of what is here.
    pub(crate) fn digest(&self) -> Digest {
        self.hasher.digest()
    }

    pub(crate) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.hasher.update(data);
        self.stored += data.len() as u64;
        Ok(())
    }

    /// Forgets what is here.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hasher = Hasher::new();
        self.stored = 0;
        Ok(())
    }

    /// Puts the complete file in its place, and gives the path.
    ///
    /// # Errors
    ///
    /// What the operating system says. The part is still there then.
    pub(crate) fn complete(self) -> io::Result<PathBuf> {
        self.file.sync_all()?;
        let target = if self.place.overwrite {
            let target = self.place.directory.join(self.place.name.as_str());
            fs::rename(&self.path, &target)?;
            target
        } else {
            self.move_to_free_name()?
        };
        sync_directory(&self.place.directory)?;
        Ok(target)
    }

    /// Removes it: what it has is not what was sent.
    pub(crate) fn discard(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            warn!(%error, "a damaged part could not be removed");
        }
    }

    /// Reads what is there, for its digest.
    fn take_up(&mut self, size: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > size {
            return self.restart();
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                count => {
                    self.hasher.update(&buffer[..count]);
                    self.stored += count as u64;
                }
            }
        }
    }

    fn move_to_free_name(&self) -> io::Result<PathBuf> {
        for number in 0..MAX_NUMBER {
            let name = self.place.name.numbered(number);
            let target = self.place.directory.join(name.as_str());
            match move_new(&self.path, &target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                moved => return moved.map(|()| target),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// Opens a part and locks it. None when somebody else has it.
fn open_locked(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..OPEN_ATTEMPTS {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(path)?.is_file() {
                    let reason = format!("{} is no regular file", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
                }
                options.open(path)
            }
            opened => opened,
        }?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => debug!(%error, "this file system has no locks"),
            Ok(()) => {}
        }
        // Whoever had the lock before may have moved the file to its place meanwhile, and a link may stand there now.
        if is_at(&file, path) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Whether `path` itself, and not what it may link to, is the open `file`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Whether `path` is not a link: all that can be said without the identity of files.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|named| named.is_file())
}

/// Moves a file to a name that nothing has.
///
/// A second link cannot replace anything. Where there are none, an empty file takes the name, and the rename replaces
/// that; a crash between the two leaves the empty file.
fn move_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(error) => {
            debug!(%error, "this file system has no links");
            rename_new(from, to)
        }
    }
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    File::create_new(to)?;
    fs::rename(from, to).inspect_err(|_| {
        // What failed before says more than this.
        let _ = fs::remove_file(to);
    })
}

/// Makes the names in a directory durable, where that is a thing to ask for.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// How many names are tried for one file.
const MAX_NUMBER: u32 = 1_000;
/// How often a part is opened anew because it was moved away in the very moment.
const OPEN_ATTEMPTS: u32 = 4;
const BUFFER: usize = 256 * 1_024;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory of its own for a test, removed at the end.
    pub(in crate::files) struct Scratch(pub(in crate::files) PathBuf);

    impl Scratch {
        pub(in crate::files) fn new() -> Self {
            let mut name = [0; 8];
            getrandom::fill(&mut name).expect("there is randomness");
            let path = std::env::temp_dir().join(format!("bowline-{:x}", u64::from_be_bytes(name)));
            fs::create_dir(&path).expect("makes a directory");
            Self(path)
        }

        pub(in crate::files) fn place(&self, name: &str) -> Place {
            Place {
                directory: self.0.clone(),
                name: FileName::new(name).expect("valid"),
                overwrite: false,
            }
        }

        pub(in crate::files) fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).expect("is a directory");
            let name = |entry: io::Result<fs::DirEntry>| entry.expect("exists").file_name();
            let mut names: Vec<_> = entries
                .map(|entry| name(entry).into_string().expect("text"))
                .collect();
            names.sort();
            names
        }

        fn read(&self, name: &str) -> Vec<u8> {
            fs::read(self.0.join(name)).expect("exists")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn digest(data: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(data);
        hasher.digest()
    }

    #[test]
    fn a_complete_file_is_moved_to_its_name() {
        let scratch = Scratch::new();
        let mut part = Part::open(scratch.place("a.txt"), 6).expect("opens");
        part.append(b"abc").expect("writes");
        part.append(b"def").expect("writes");
        assert_eq!(scratch.names(), ["a.txt.bowline-part"]);
        assert_eq!((part.stored(), part.digest()), (6, digest(b"abcdef")));
        assert_eq!(part.complete().expect("moves"), scratch.0.join("a.txt"));
        assert_eq!(scratch.names(), ["a.txt"]);
        assert_eq!(scratch.read("a.txt"), b"abcdef");
    }

    #[test]
    fn a_part_is_taken_up_where_it_ended() {
        let scratch = Scratch::new();
        let mut part = Part::open(scratch.place("a"), 6).expect("opens");
        part.append(b"abc").expect("writes");
        drop(part);
        let mut part = Part::open(scratch.place("a"), 6).expect("opens");
        assert_eq!((part.stored(), part.digest()), (3, digest(b"abc")));
        part.append(b"def").expect("writes");
        part.complete().expect("moves");
        assert_eq!(scratch.read("a"), b"abcdef");
    }

    #[test]
    fn a_part_longer_than_the_file_is_not_of_it() {
        let scratch = Scratch::new();
        let mut part = Part::open(scratch.place("a"), 6).expect("opens");
        part.append(b"abcdef").expect("writes");
        drop(part);
        assert_eq!(
            Part::open(scratch.place("a"), 6).expect("opens").stored(),
            6
        );
        let part = Part::open(scratch.place("a"), 5).expect("opens");
        assert_eq!((part.stored(), part.digest()), (0, digest(b"")));
        assert_eq!(scratch.read("a.bowline-part"), b"");
    }

    #[test]
    fn a_restart_forgets_what_was_there() {
        let scratch = Scratch::new();
        let mut part = Part::open(scratch.place("a"), 9).expect("opens");
        part.append(b"wrong").expect("writes");
        part.restart().expect("truncates");
        part.append(b"abc").expect("writes");
        assert_eq!((part.stored(), part.digest()), (3, digest(b"abc")));
        part.complete().expect("moves");
        assert_eq!(scratch.read("a"), b"abc");
    }

    #[test]
    fn what_has_the_name_is_kept_unless_the_user_asks() {
        let scratch = Scratch::new();
        fs::write(scratch.0.join("a.txt"), "old").expect("writes");
        for expected in ["a (1).txt", "a (2).txt"] {
            let mut part = Part::open(scratch.place("a.txt"), 3).expect("opens");
            part.append(b"new").expect("writes");
            assert_eq!(part.complete().expect("moves"), scratch.0.join(expected));
        }
        assert_eq!(scratch.read("a.txt"), b"old");

        let mut place = scratch.place("a.txt");
        place.overwrite = true;
        let mut part = Part::open(place, 3).expect("opens");
        part.append(b"new").expect("writes");
        assert_eq!(part.complete().expect("moves"), scratch.0.join("a.txt"));
        assert_eq!(scratch.read("a.txt"), b"new");
    }

    #[test]
    fn two_transfers_of_one_name_have_parts_of_their_own() {
        let scratch = Scratch::new();
        let mut one = Part::open(scratch.place("a"), 3).expect("opens");
        let mut other = Part::open(scratch.place("a"), 5).expect("opens");
        one.append(b"one").expect("writes");
        other.append(b"other").expect("writes");
        one.complete().expect("moves");
        other.complete().expect("moves");
        assert_eq!(scratch.names(), ["a", "a (1)"]);
        assert_eq!(
            (scratch.read("a"), scratch.read("a (1)")),
            (b"one".into(), b"other".into())
        );
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        let scratch = Scratch::new();
        let outside = scratch.0.join("outside");
        fs::write(&outside, "precious").expect("writes");
        let link = |name: &str, to: &Path| {
            std::os::unix::fs::symlink(to, scratch.0.join(name)).expect("links");
        };
        link("a.bowline-part", &outside);
        let refused = Part::open(scratch.place("a"), 3).expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        link("b.bowline-part", &scratch.0.join("not there"));
        Part::open(scratch.place("b"), 3).expect_err("refused");
        fs::create_dir(scratch.0.join("c.bowline-part")).expect("makes");
        Part::open(scratch.place("c"), 3).expect_err("refused");

        link("d", &outside);
        for overwrite in [false, true] {
            let mut place = scratch.place("d");
            place.overwrite = overwrite;
            let mut part = Part::open(place, 3).expect("opens");
            part.append(b"new").expect("writes");
            part.complete().expect("moves");
        }
        assert_eq!(scratch.read("outside"), b"precious");
        assert_eq!(
            (scratch.read("d"), scratch.read("d (1)")),
            (b"new".into(), b"new".into())
        );
    }

    #[test]
    fn where_there_are_no_links_a_file_is_moved_without_replacing_one() {
        let scratch = Scratch::new();
        let path = |name: &str| scratch.0.join(name);
        fs::write(path("from"), "new").expect("writes");
        fs::write(path("to"), "old").expect("writes");
        let refused = rename_new(&path("from"), &path("to")).expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (scratch.read("from"), scratch.read("to")),
            (b"new".into(), b"old".into())
        );
        rename_new(&path("from"), &path("free")).expect("moves");
        assert_eq!(scratch.names(), ["free", "to"]);
        rename_new(&path("gone"), &path("other")).expect_err("there is nothing");
        assert_eq!(scratch.names(), ["free", "to"]);
    }

    #[test]
    fn a_damaged_part_is_removed() {
        let scratch = Scratch::new();
        let mut part = Part::open(scratch.place("a"), 3).expect("opens");
        part.append(b"bad").expect("writes");
        part.discard();
        assert!(scratch.names().is_empty());
    }
}
