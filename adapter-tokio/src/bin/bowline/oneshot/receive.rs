use std::error::Error;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline::PeerId;
use bowline_tokio::Connection;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::code::Code;
use super::progress::Progress;
use super::{Role, ended, enter, refusal, replaced, until_interrupted};
use crate::files::{self, Digest, Event, Exchange, FileName, Side, Step};
use crate::network::{Network, Place};
use crate::text;

/// Receive the file of somebody who told you a code.
///
/// Shows what is coming, and asks when there is a terminal to ask at. A file is in its place only when it is complete and
/// its checksum is right; until then it is in a file beside it whose name ends with .bowline-part, from which an interrupted
/// transfer goes on: run the same command again. No file is overwritten unasked: "photo (1).jpg" is taken instead.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline receive lusab-babad-gutih
  bowline receive lusab-babad-gutih --output downloads --yes
  bowline receive lusab-babad-gutih --output photo.jpg --overwrite")]
pub(crate) struct Arguments {
    /// The code that the sender was shown.
    code: Code,
    #[command(flatten)]
    network: Network,
    /// Where to put the file: a directory, or a name for it.
    #[arg(long, short, value_name = "DIR|FILE", default_value = ".")]
    output: PathBuf,
    /// Replaces a file that is there already.
    #[arg(long)]
    overwrite: bool,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
    /// How long to wait for the other side, at first and when it is gone, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = super::WAIT)]
    wait: u64,
}

/// Receives the file.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let output = Output::new(&arguments.output, arguments.overwrite)?;
    let mut place = enter(&arguments.network, &arguments.code, Role::Receiver).await?;
    let waiting = place.endpoint.clone();
    let mut receiver = Receiver {
        arguments: &arguments,
        output,
        consent: None,
        progress: None,
    };
    until_interrupted(&waiting, receiver.obtain(&mut place)).await
}

/// Where the file goes.
struct Output {
    directory: PathBuf,
    /// Its name there, when it is not to be the sender's.
    name: Option<FileName>,
    overwrite: bool,
}

impl Output {
    /// # Errors
    ///
    /// What is wrong with the path, for people.
    fn new(path: &Path, overwrite: bool) -> Result<Self, String> {
        if path.is_dir() {
            let directory = path.to_owned();
            let name = None;
            return Ok(Self {
                directory,
                name,
                overwrite,
            });
        }
        let shown = text::printable(&path.display().to_string());
        let name = path.file_name().and_then(|name| name.to_str());
        let name = FileName::new(name.unwrap_or_default())
            .map_err(|error| format!("{shown} is no name for a file: {error}"))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !directory.is_dir() {
            return Err(format!("{shown} is in no directory"));
        }
        let name = Some(name);
        Ok(Self {
            directory,
            name,
            overwrite,
        })
    }

    fn place(&self, offered: FileName) -> files::Place {
        files::Place {
            directory: self.directory.clone(),
            name: self.name.clone().unwrap_or(offered),
            overwrite: self.overwrite,
        }
    }
}

struct Receiver<'a> {
    arguments: &'a Arguments,
    output: Output,
    /// What the user has agreed to: it is not asked again after an interruption.
    consent: Option<(FileName, u64)>,
    progress: Option<Progress>,
}

/// How it went with one sender.
enum Outcome {
    Done {
        digest: Digest,
        path: PathBuf,
    },
    /// It is over.
    Failed(String),
    /// The sender is gone.
    Lost,
}

impl Receiver<'_> {
    /// Asks one sender after the other until the file is here.
    async fn obtain(&mut self, place: &mut Place) -> Result<(), Box<dyn Error>> {
        loop {
            let connection = self.next_sender(place).await?;
            self.say("connected");
            let sender = connection.peer();
            let mut exchange = Exchange::new(connection, None);
            let gone = replaced(place.presence.clone(), sender, Role::Sender);
            let outcome = tokio::select! {
                outcome = self.take(&mut exchange) => outcome?,
                () = gone => Outcome::Lost,
            };
            match outcome {
                Outcome::Done { digest, path } => {
                    exchange.close().await;
                    self.tell(digest, &path);
                    return Ok(());
                }
                Outcome::Failed(why) => {
                    exchange.close().await;
                    return Err(why.into());
                }
                Outcome::Lost => {
                    exchange.abandon().await;
                    let patience = text::duration(self.patience());
                    self.say(&format!(
                        "the sender is gone; waiting up to {patience} for it to come back"
                    ));
                }
            }
        }
    }

    async fn take(&mut self, exchange: &mut Exchange) -> Result<Outcome, Box<dyn Error>> {
        loop {
            let step = match timeout(self.patience(), exchange.next()).await {
                Err(_) => return Ok(Outcome::Failed("the sender does not go on".to_owned())),
                Ok(None) => return Ok(Outcome::Lost),
                Ok(Some(Event::Offered {
                    transfer,
                    name,
                    size,
                })) => {
                    if exchange.is_busy() {
                        exchange.stop(Side::Receiver, transfer);
                    } else if self.wants(&name, size).await {
                        self.progress = Some(Progress::new(size));
                        exchange.accept(transfer, |name| self.output.place(name));
                    } else {
                        exchange.stop(Side::Receiver, transfer);
                        return Ok(Outcome::Failed("declined".to_owned()));
                    }
                    continue;
                }
                Ok(Some(Event::OfferRefused { name, reason })) => {
                    let name = text::excerpt(&name, SHOWN);
                    let why = refusal(reason);
                    return Ok(Outcome::Failed(format!("\"{name}\" is refused: {why}")));
                }
                Ok(Some(Event::Transfer {
                    side: Side::Receiver,
                    step,
                    ..
                })) => step,
                Ok(Some(Event::Transfer { .. } | Event::Message(..))) => continue,
            };
            match step {
                Step::Began { offset } => self.on_began(offset),
                Step::Progress { received } => {
                    self.progress.iter_mut().for_each(|p| p.set(received))
                }
                Step::Done { digest, path } => {
                    let path = path.unwrap_or_default();
                    return Ok(Outcome::Done { digest, path });
                }
                Step::Ended(ending) => return Ok(Outcome::Failed(ended(&ending))),
            }
        }
    }

    fn on_began(&mut self, offset: u64) {
        if let Some(progress) = &mut self.progress {
            progress.begin(offset);
        }
    }

    /// Shows what is offered, and asks if there is anybody to ask.
    async fn wants(&mut self, name: &FileName, size: u64) -> bool {
        let offered = (name.clone(), size);
        if self.consent.as_ref() == Some(&offered) {
            return true;
        }
        let what = format!("{name}, {}", text::bytes(size));
        let asks = !self.arguments.yes && std::io::stdin().is_terminal();
        let wanted = if asks {
            ask(&format!("receive {what}? [Y/n] ")).await
        } else {
            println!("receiving {what}");
            true
        };
        if wanted {
            self.consent = Some(offered);
        }
        wanted
    }

    /// Connects to the sender that is in the room, or comes.
    async fn next_sender(&self, place: &mut Place) -> Result<Connection, Box<dyn Error>> {
        let patience = self.patience();
        let deadline = Instant::now() + patience;
        let mut told = false;
        loop {
            let senders = place
                .presence
                .peers()
                .into_iter()
                .filter(|peer| Role::Sender.has(*peer));
            for sender in senders {
                if let Some(connection) = self.connect(place, sender).await {
                    return Ok(connection);
                }
                told = true;
            }
            if !told {
                self.say(&format!(
                    "waiting up to {} for the sender",
                    text::duration(patience)
                ));
                told = true;
            }
            // One that could not be reached is tried again; one that comes, at once.
            let change = async {
                tokio::select! {
                    changed = place.presence.changed() => changed.is_some(),
                    () = sleep(RETRY) => true,
                }
            };
            match timeout_at(deadline, change).await {
                Ok(true) => {}
                Ok(false) => return Err("the relay is gone".into()),
                Err(_) => {
                    return Err(
                        format!("no sender came within {}", text::duration(patience)).into(),
                    );
                }
            }
        }
    }

    async fn connect(&self, place: &Place, sender: PeerId) -> Option<Connection> {
        let connected = tokio::select! {
            connected = place.endpoint.connect(sender) => connected,
            () = replaced(place.presence.clone(), sender, Role::Sender) => return None,
        };
        connected
            .inspect_err(|error| {
                let why = text::printable(&error.to_string());
                self.say(&format!("the sender cannot be reached: {why}"));
            })
            .ok()
    }

    fn tell(&self, digest: Digest, path: &Path) {
        let path = text::printable(&path.display().to_string());
        if let Some(progress) = &self.progress {
            progress.finish(&format!("received {path}"), digest);
        }
    }

    fn say(&self, line: &str) {
        match &self.progress {
            Some(progress) => progress.say(line),
            None => println!("{line}"),
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.arguments.wait)
    }
}

/// Asks a question at the terminal. What is not a no is a yes, but the end of input is none.
async fn ask(question: &str) -> bool {
    print!("{question}");
    let _ = std::io::stdout().flush();
    let (answered, answer) = oneshot::channel();
    // A thread of its own: what waits for a line cannot be stopped, and must not hold up the end of the program.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let yes = matches!(line.trim(), "" | "y" | "Y" | "yes" | "Yes");
        let _ = answered.send(read.is_ok_and(|count| count > 0) && yes);
    });
    answer.await.unwrap_or(false)
}

/// The pause before a sender that could not be reached is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How many characters of a refused name are shown.
const SHOWN: usize = 80;
