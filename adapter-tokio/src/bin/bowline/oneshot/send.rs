use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use bowline::PeerState;
use bowline_tokio::{Connection, Incoming};
use tokio::time::timeout;

use super::code::Code;
use super::pace::Pace;
use super::progress::Progress;
use super::{Role, ended, enter, until_interrupted};
use crate::files::{Digest, Event, Exchange, Side, Source, Step};
use crate::network::{Network, Place};
use crate::text;

/// Send a file to somebody who gets a code from you.
///
/// Prints the code, waits for `bowline receive CODE` on the other side, and sends the file straight to it, encrypted. The
/// relay carries a few messages so that both sides find each other. Whoever knows the code can take the file, and whoever
/// runs the relay sees the code.
///
/// Whatever is interrupted, here or there, goes on where it was: run the same command with the same code again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline send photo.jpg
  bowline send photo.jpg --relay ws://relay.example:9000
  bowline send disk.img --code lusab-babad-gutih    goes on with an interrupted transfer")]
pub(crate) struct Arguments {
    /// The file.
    file: PathBuf,
    /// Takes this code again, in place of a new one.
    #[arg(long)]
    code: Option<Code>,
    #[command(flatten)]
    network: Network,
    /// Sends so many bytes in each second at most, as 500k or 2M.
    #[arg(long, value_name = "BYTES")]
    limit_rate: Option<Pace>,
    /// How long to wait for the other side, at first and when it is gone, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = super::WAIT)]
    wait: u64,
}

/// Sends the file.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // Before anybody is asked to wait for it.
    let source = arguments.open()?;
    let code = match &arguments.code {
        Some(code) => code.clone(),
        None => Code::random().map_err(|error| format!("no randomness: {error}"))?,
    };
    let mut place = enter(&arguments.network, &code, Role::Sender).await?;
    println!("{}, {}", source.name(), text::bytes(source.size()));
    println!("code: {code}");
    println!(
        "on the other side: bowline receive {code}{}",
        arguments.network.option()
    );
    let waiting = place.endpoint.clone();
    let result = until_interrupted(&waiting, deliver(&arguments, &mut place, source)).await;
    result.map_err(|error| {
        let file = text::printable(&arguments.file.display().to_string());
        let option = arguments.network.option();
        format!("{error}\nto go on: bowline send {file} --code {code}{option}").into()
    })
}

/// Serves one receiver after the other until one has the file.
async fn deliver(
    arguments: &Arguments,
    place: &mut Place,
    source: Source,
) -> Result<(), Box<dyn Error>> {
    let mut progress = Progress::new(source.size());
    let mut source = Some(source);
    let mut knocking = None;
    loop {
        let connection = match knocking.take() {
            Some(incoming) => answer(incoming, &progress).await,
            None => Some(arguments.next_receiver(place, &progress).await?),
        };
        let Some(connection) = connection else {
            continue;
        };
        progress.say("connected");
        let source = match source.take() {
            Some(source) => source,
            None => arguments.open()?,
        };
        let mut exchange = Exchange::new(connection, arguments.limit_rate.map(Pace::bytes));
        exchange
            .offer(source)
            .map_err(|_| "nothing else is offered")?;
        match serve(&mut exchange, place, &mut progress, arguments.patience()).await? {
            Outcome::Done(digest) => {
                progress.finish("sent", digest);
                exchange.close().await;
                return Ok(());
            }
            Outcome::Failed(why) => {
                exchange.close().await;
                return Err(why.into());
            }
            Outcome::Replaced(incoming) => {
                knocking = Some(incoming);
                exchange.abandon().await;
                progress.say("the receiver has come back");
            }
            Outcome::Lost => {
                exchange.abandon().await;
                let patience = text::duration(arguments.patience());
                progress.say(&format!(
                    "the receiver is gone; waiting up to {patience} for it to come back"
                ));
            }
        }
    }
}

/// How it went with one receiver.
enum Outcome {
    Done(Digest),
    /// It is over.
    Failed(String),
    /// The receiver is gone, and this is it again.
    Replaced(Incoming),
    /// The receiver is gone.
    Lost,
}

async fn serve(
    exchange: &mut Exchange,
    place: &Place,
    progress: &mut Progress,
    patience: Duration,
) -> Result<Outcome, Box<dyn Error>> {
    let peer = exchange.connection().peer();
    loop {
        let event = tokio::select! {
            event = timeout(patience, exchange.next()) => event,
            incoming = place.endpoint.accept() => {
                let incoming = incoming.ok_or("the endpoint ended")?;
                let dead = exchange.connection().state() != PeerState::Connected
                    || !place.presence.peers().contains(&peer);
                if dead && Role::Receiver.has(incoming.peer()) {
                    return Ok(Outcome::Replaced(incoming));
                }
                incoming.refuse();
                continue;
            }
        };
        let step = match event {
            Err(_) => return Ok(Outcome::Failed("the receiver does not answer".to_owned())),
            Ok(None) => return Ok(Outcome::Lost),
            Ok(Some(Event::Transfer {
                side: Side::Sender,
                step,
                ..
            })) => step,
            // We take no files.
            Ok(Some(Event::Offered { transfer, .. })) => {
                exchange.stop(Side::Receiver, transfer);
                continue;
            }
            Ok(Some(Event::Transfer { .. } | Event::OfferRefused { .. } | Event::Message(..))) => {
                continue;
            }
        };
        match step {
            Step::Began { offset } => progress.begin(offset),
            Step::Progress { received } => progress.set(received),
            Step::Done { digest, .. } => return Ok(Outcome::Done(digest)),
            Step::Ended(ending) => return Ok(Outcome::Failed(ended(&ending))),
        }
    }
}

/// Accepts a connection. None when it does not come up.
async fn answer(incoming: Incoming, progress: &Progress) -> Option<Connection> {
    match incoming.accept().await {
        Ok(connection) => Some(connection),
        Err(error) => {
            progress.say(&format!(
                "a receiver could not connect: {}",
                text::printable(&error.to_string())
            ));
            None
        }
    }
}

impl Arguments {
    fn open(&self) -> Result<Source, String> {
        let file = text::printable(&self.file.display().to_string());
        Source::open(&self.file).map_err(|error| format!("{file} cannot be sent: {error}"))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.wait)
    }

    async fn next_receiver(
        &self,
        place: &Place,
        progress: &Progress,
    ) -> Result<Connection, Box<dyn Error>> {
        let come = async {
            loop {
                let incoming = place.endpoint.accept().await.ok_or("the endpoint ended")?;
                if !Role::Receiver.has(incoming.peer()) {
                    incoming.refuse();
                } else if let Some(connection) = answer(incoming, progress).await {
                    return Ok(connection);
                }
            }
        };
        let patience = self.patience();
        timeout(patience, come).await.unwrap_or_else(|_| {
            Err(format!("no receiver came within {}", text::duration(patience)).into())
        })
    }
}
