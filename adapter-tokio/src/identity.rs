//! The key pair of an endpoint in a file.
//!
//! The file holds a JSON Web Key ([`Identity::to_jwk`]), which is the secret itself: it is made so that only its owner can
//! read it (mode 0600), and refused when others can.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use bowline::{Identity, InvalidIdentity};
use tempfile::NamedTempFile;
use thiserror::Error;
use zeroize::Zeroizing;

/// A new identity, of the randomness of the operating system.
///
/// # Errors
///
/// [`IdentityError::Randomness`].
pub fn generate() -> Result<Identity, IdentityError> {
    let mut private = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *private).map_err(|_| IdentityError::Randomness)?;
    Ok(Identity::from_private_key(*private))
}

/// The identity in the file `path`; when there is no such file, a new one, which is saved there first.
///
/// Of several processes that do this at once, all get the same identity.
///
/// # Errors
///
/// [`IdentityError`].
pub fn load_or_create(path: impl AsRef<Path>) -> Result<Identity, IdentityError> {
    let path = path.as_ref();
    match load(path) {
        Err(IdentityError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
        loaded => return loaded,
    }
    let fresh = generate()?;
    match save(&fresh, path) {
        Ok(()) => Ok(fresh),
        // Somebody was faster.
        Err(IdentityError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => load(path),
        Err(error) => Err(error),
    }
}

/// Reads the identity in the file `path`.
///
/// # Errors
///
/// [`IdentityError`].
pub fn load(path: impl AsRef<Path>) -> Result<Identity, IdentityError> {
    let file = File::open(path)?;
    check_private(&file)?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(Identity::from_jwk(&text)?)
}

/// Writes `identity` into a new file, which only its owner can read. The whole file appears at once.
///
/// # Errors
///
/// [`IdentityError::Io`], of the kind [`AlreadyExists`](io::ErrorKind::AlreadyExists) when there is one, and
/// [`IdentityError::NoKey`].
pub fn save(identity: &Identity, path: impl AsRef<Path>) -> Result<(), IdentityError> {
    let path = path.as_ref();
    let text = identity.to_jwk().ok_or(IdentityError::NoKey)?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    // Its mode is 0600 from the beginning.
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)
        .map_err(|failed| failed.error)?;
    Ok(())
}

/// An identity that could not be read, written or made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("the file of the identity: {0}")]
    Io(#[from] io::Error),
    /// Others than the owner of the file can read or write it. Its mode should be 0600.
    #[error("others can read the file of the identity: its mode is {mode:03o}")]
    Exposed {
        /// The mode of the file.
        mode: u32,
    },
    /// The file holds no key pair.
    #[error(transparent)]
    Invalid(#[from] InvalidIdentity),
    /// The identity is a name only.
    #[error("the identity has no key")]
    NoKey,
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Randomness,
}

#[cfg(unix)]
fn check_private(file: &File) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt;

    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(IdentityError::Exposed { mode })
    }
}

#[cfg(not(unix))]
fn check_private(_: &File) -> Result<(), IdentityError> {
    Ok(())
}

/// The most that is read of a file, in bytes: a key pair takes 130.
const MAX_FILE: u64 = 4_096;

#[cfg(test)]
mod tests {
    use bowline::PeerId;

    use super::*;

    #[test]
    fn an_identity_is_made_once_and_the_same_ever_after() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.jwk");
        let first = load_or_create(&path).expect("made");
        assert_eq!(load_or_create(&path).expect("read").id(), first.id());
        assert_eq!(load(&path).expect("read").id(), first.id());
        assert_ne!(generate().expect("made").id(), first.id());
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .collect();
        assert_eq!(left.len(), 1, "no temporary file stays");
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.jwk");
        let [first, second] = [1, 2].map(|n| Identity::from_private_key([n; 32]));
        save(&first, &path).expect("saved");
        let error = save(&second, &path).expect_err("it is there");
        assert!(matches!(error, IdentityError::Io(e) if e.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(load(&path).expect("read").id(), first.id());
    }

    #[test]
    fn what_is_no_key_pair_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.jwk");
        let name = Identity::without_key(PeerId::new("alice").expect("valid"));
        assert!(matches!(save(&name, &path), Err(IdentityError::NoKey)));
        for text in ["", "{}", &" ".repeat(10_000)] {
            let mut file = NamedTempFile::new().expect("a file");
            file.write_all(text.as_bytes()).expect("written");
            assert!(matches!(load(file.path()), Err(IdentityError::Invalid(_))));
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone_and_refused_otherwise() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.jwk");
        load_or_create(&path).expect("made");
        let mode = |path: &Path| {
            let metadata = std::fs::metadata(path).expect("it is there");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode(&path), 0o600);
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&path, open).expect("it is ours");
        let error = load_or_create(&path).expect_err("others can read it");
        assert!(
            matches!(error, IdentityError::Exposed { mode: 0o640 }),
            "{error}"
        );
    }
}
