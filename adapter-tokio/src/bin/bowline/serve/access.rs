//! `bowline token`: what lets somebody into a server with an access key.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline::PeerId;
use bowline_tokio::relay::AccessKey;
use bowline_tokio::signalling::RoomName;

/// Make a token that lets somebody into the rooms of a server with an access key.
///
/// It goes into the URL of the relay: wss://HOST/?token=TOKEN, and into that of the page. It is a JSON Web Token (HS256), so
/// that other programs can make it too: `exp`, and `sub` for the name of a peer and `room` where they are bound.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  head -c 32 /dev/urandom | base64 > key.txt              a key, for `bowline serve --access-key key.txt`
  bowline token --access-key key.txt                      for an hour, any name and any room
  bowline token --access-key key.txt --room kitchen --peer alice --lifetime 86400")]
pub(crate) struct Arguments {
    /// The file with the key of the server.
    #[arg(long, value_name = "FILE")]
    access_key: PathBuf,
    /// For this room only.
    #[arg(long, value_name = "NAME", value_parser = RoomName::new)]
    room: Option<RoomName>,
    /// For this name only.
    #[arg(long, value_name = "NAME", value_parser = PeerId::new)]
    peer: Option<PeerId>,
    /// How long it holds, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    lifetime: u32,
}

/// Prints a token.
pub(crate) fn token(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let lifetime = Duration::from_secs(arguments.lifetime.into());
    let key = key(&arguments.access_key)?;
    println!(
        "{}",
        key.issue(arguments.peer, arguments.room.as_ref(), lifetime)
    );
    Ok(())
}

/// The key in a file, without the white space around it.
pub(super) fn key(file: &Path) -> Result<AccessKey, Box<dyn Error>> {
    let key = super::read(file)?;
    let key = AccessKey::new(key.trim_ascii());
    Ok(key.map_err(|error| format!("{}: {error}", file.display()))?)
}
