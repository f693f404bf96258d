//! `bowline chat`: people in one room, from terminals and from pages.

mod command;
mod files;
mod message;
mod peer;
mod room;
mod stats;
mod terminal;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use bowline::{Identity, PeerId};
use bowline_tokio::identity;
use bowline_tokio::signalling::RoomName;

use crate::network::Network;
use room::Room;
use terminal::Terminal;

/// Talk with everybody in a room, and exchange files.
///
/// Everybody who names the same room at the same relay is connected with everybody else, encrypted and without the relay
/// in between. There is no password: whoever knows the name of the room can enter it, under any name. With --identity
/// people are keys instead, shown as NAME#KEY, and the relay can neither pretend to be one of them nor listen. Those who are
/// and those who are not do not meet. On a terminal the line can be edited, and the arrow keys bring earlier ones back;
/// elsewhere each line of the input is one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline chat kitchen
  bowline chat kitchen --name alice --relay ws://relay.example:9000
  bowline chat kitchen --identity ~/.bowline.jwk
  bowline chat kitchen --accept-files downloads

In the room, /help shows what can be done.")]
pub(crate) struct Arguments {
    /// The room: 1 to 64 characters of A-Z a-z 0-9 . _ -
    #[arg(value_parser = room_name)]
    room: String,
    /// What others see. The default is the name of your account.
    #[arg(long, value_parser = PeerId::new)]
    name: Option<PeerId>,
    /// Be the key in this file, which is made when there is none. Keep it where nobody else can read it.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    network: Network,
    /// Takes every file that is offered, into this directory.
    #[arg(long, value_name = "DIR")]
    accept_files: Option<PathBuf>,
}

fn room_name(text: &str) -> Result<String, String> {
    match RoomName::new(text) {
        Ok(name) => Ok(name.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Talks until the user leaves.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(directory) = arguments
        .accept_files
        .as_ref()
        .filter(|path| !path.is_dir())
    {
        let shown = crate::text::printable(&directory.display().to_string());
        return Err(format!("{shown} is no directory").into());
    }
    let name = match arguments.name {
        Some(name) => name,
        None => account()?,
    };
    let (identity, called) = match arguments.identity {
        Some(file) => (identity::load_or_create(file)?, Some(name)),
        None => (Identity::without_key(name), None),
    };
    let place = arguments.network.enter(&arguments.room, identity)?;
    let endpoint = place.endpoint.clone();
    let terminal = Terminal::open()?;
    let mut room = Room::new(place, called, terminal, arguments.accept_files);
    room.welcome(&arguments.room);
    let result = tokio::select! {
        result = room.run() => result,
        signal = tokio::signal::ctrl_c() => signal.map_err(Into::into),
    };
    // A peer that is gone does not answer.
    let _ = tokio::time::timeout(FAREWELL, endpoint.close()).await;
    result
}

/// The name of the user's account, or one that nobody else has.
fn account() -> Result<PeerId, Box<dyn Error>> {
    let name = ["USER", "LOGNAME", "USERNAME"]
        .iter()
        .find_map(|variable| PeerId::new(&std::env::var(variable).ok()?).ok());
    if let Some(name) = name {
        return Ok(name);
    }
    let mut number = [0; 2];
    getrandom::fill(&mut number).map_err(|error| format!("no randomness: {error}"))?;
    Ok(PeerId::new(&format!(
        "guest-{:04x}",
        u16::from_be_bytes(number)
    ))?)
}

/// How long the last goodbye may take.
const FAREWELL: Duration = Duration::from_secs(3);
