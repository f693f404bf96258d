//! The room as the user sees it: who is there, what they say, and the files.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, Instant};

use bowline::{Cause, ChannelKind, PeerId, PeerState};
use bowline_tokio::{ConnectError, Connection, Incoming};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::command::{Command, HELP};
use super::files::{Entry, Files};
use super::message::{Chat, MAX_TEXT};
use super::peer::{News, Order, Task};
use super::stats::{self, Sample};
use super::terminal::Terminal;
use crate::files::{Event, Side, Source, Step};
use crate::network::Place;
use crate::{oneshot, text};

/// Everybody in the room, and the user.
pub(crate) struct Room {
    place: Place,
    /// What we are called, where people are keys.
    called: Option<PeerId>,
    terminal: Terminal,
    /// Where every file goes that is offered, if they are not asked about.
    accept_files: Option<PathBuf>,
    members: BTreeMap<PeerId, Member>,
    /// Those who are present and cannot be met: they have no key and we have one, or the other way round.
    strangers: BTreeSet<PeerId>,
    files: Files,
    news: mpsc::Receiver<(PeerId, News)>,
    newsroom: mpsc::Sender<(PeerId, News)>,
}

/// Somebody else, with a task that keeps the connection.
struct Member {
    orders: mpsc::Sender<Order>,
    incoming: mpsc::Sender<Incoming>,
    connection: Option<Connection>,
    path: Option<bowline::Path>,
    sample: Sample,
    /// What it says it is called, where people are keys.
    name: Option<PeerId>,
    /// Why there is no connection.
    trouble: Option<ConnectError>,
}

impl Room {
    pub(crate) fn new(
        place: Place,
        called: Option<PeerId>,
        terminal: Terminal,
        accept_files: Option<PathBuf>,
    ) -> Self {
        let (newsroom, news) = mpsc::channel(NEWS);
        Self {
            place,
            called,
            terminal,
            accept_files,
            members: BTreeMap::new(),
            strangers: BTreeSet::new(),
            files: Files::default(),
            news,
            newsroom,
        }
    }

    pub(crate) fn welcome(&mut self, room: &str) {
        let own = self.own();
        self.tell(&format!(
            "in the room {room} as {own}; /help shows what can be done"
        ));
    }

    /// Talks until the user leaves.
    pub(crate) async fn run(&mut self) -> Result<(), Box<dyn Error>> {
        let mut events = self.place.endpoint.events();
        let mut clock = interval(SAMPLE_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.on_presence(&self.place.presence.peers());
        loop {
            tokio::select! {
                typed = self.terminal.next() => {
                    let Some(typed) = typed else {
                        return Ok(());
                    };
                    if !self.on_line(&typed.line) {
                        return Ok(());
                    }
                    typed.done();
                }
                Some((peer, news)) = self.news.recv() => self.on_news(peer, news),
                Some(peers) = self.place.presence.changed() => self.on_presence(&peers),
                incoming = self.place.endpoint.accept() => {
                    self.on_incoming(incoming.ok_or("the endpoint ended")?);
                }
                event = events.next() => {
                    if let Some(Ok(bowline::Event::PathChanged { peer, to, .. })) = event
                        && let Some(member) = self.members.get_mut(&peer)
                    {
                        member.path = Some(to);
                    }
                }
                Ok(()) = self.place.link.changed() => self.on_link(),
                _ = clock.tick() => self.sample(),
            }
        }
    }

    /// Gives whether the user stays.
    fn on_line(&mut self, line: &str) -> bool {
        // What had happened when the line was typed comes first: the user may speak of it.
        for _ in 0..NEWS {
            let Ok((peer, news)) = self.news.try_recv() else {
                break;
            };
            self.on_news(peer, news);
        }
        match Command::parse(line) {
            Command::Nothing => {}
            Command::Say(said) => self.say(&said),
            Command::Peers => self.show_peers(),
            Command::Send(rest) => self.send(&rest),
            Command::Accept { number, directory } => self.accept(number, directory),
            Command::Refuse(number) | Command::Cancel(number) => self.stop(number),
            Command::Files => self.show_files(),
            Command::Stats => self.show_stats(),
            Command::Explain(peer) => self.explain(peer.as_deref()),
            Command::Help => self.terminal.print(HELP),
            Command::Quit => return false,
            Command::Wrong(why) => self.tell(&why),
        }
        true
    }

    fn on_presence(&mut self, peers: &[PeerId]) {
        let here = self.place.endpoint.id();
        self.strangers.retain(|peer| peers.contains(peer));
        for peer in peers.iter().filter(|peer| **peer != here) {
            if peer.public_key().is_some() != self.called.is_some() {
                self.on_stranger(*peer);
            } else if !self.members.contains_key(peer) {
                self.add(*peer);
            }
        }
    }

    fn on_stranger(&mut self, peer: PeerId) {
        if self.strangers.len() < MAX_MEMBERS && self.strangers.insert(peer) {
            self.tell(&if self.called.is_some() {
                format!("{peer} is here without a key, and cannot be met")
            } else {
                format!(
                    "{} is here with a key, and meets keys only (--identity)",
                    peer.short()
                )
            });
        }
    }

    /// Starts the task of a peer that has come.
    fn add(&mut self, peer: PeerId) {
        if self.members.len() >= MAX_MEMBERS {
            debug!(%peer, "there are too many peers");
            return;
        }
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let (incoming, incoming_in) = mpsc::channel(1);
        let task = Task {
            peer,
            endpoint: self.place.endpoint.clone(),
            presence: self.place.presence.clone(),
            called: self.called,
            orders: orders_in,
            incoming: incoming_in,
            news: self.newsroom.clone(),
        };
        tokio::spawn(task.run());
        let member = Member {
            orders,
            incoming,
            connection: None,
            path: None,
            sample: Sample::default(),
            name: None,
            trouble: None,
        };
        self.members.insert(peer, member);
        let peer = self.called(peer);
        self.tell(&format!("{peer} is here"));
    }

    fn on_incoming(&mut self, incoming: Incoming) {
        match self.members.get(&incoming.peer()) {
            // One that cannot be taken now is refused, and comes again.
            Some(member) => drop(member.incoming.try_send(incoming)),
            None => incoming.refuse(),
        }
    }

    fn on_link(&mut self) {
        let link = self.place.link.borrow_and_update().clone();
        if link.up {
            self.tell("the relay is there");
        } else if let Some(error) = link.last_error {
            let error = text::printable(&error);
            self.tell(&format!("the relay cannot be reached: {error}"));
        }
    }

    fn on_news(&mut self, peer: PeerId, news: News) {
        match news {
            News::Connected(connection) => self.on_connected(peer, connection),
            News::Interrupted => {
                let peer = self.called(peer);
                self.tell(&format!("{peer} does not answer, and is looked for"));
            }
            News::Restored => {
                let peer = self.called(peer);
                self.tell(&format!("{peer} answers again"));
            }
            News::Ended(connection) => self.on_ended(peer, &connection),
            News::NotConnected(error) => self.on_not_connected(peer, error),
            News::Said(Chat::Text(said)) => {
                let (peer, said) = (self.called(peer), text::printable(&said));
                self.terminal.print(&format!("<{peer}> {said}"));
            }
            News::Said(Chat::Name(name)) => self.on_name(peer, name),
            News::Offering { number, transfer } => {
                if let Some(entry) = self.files.get_mut(number) {
                    entry.transfer = Some(transfer);
                }
            }
            News::NotOffered { number } => {
                self.files.remove(number);
                let peer = self.called(peer);
                self.tell(&format!(
                    "file {number} is one too many for {peer} at this time"
                ));
            }
            News::File(event) => self.on_file(peer, event),
            News::Gone => self.on_gone(peer),
        }
    }

    /// A name is for show, where people are keys: whoever has another key is somebody else.
    fn on_name(&mut self, peer: PeerId, name: PeerId) {
        if self.called.is_none() {
            return;
        }
        let before = self.called(peer);
        if let Some(member) = self.members.get_mut(&peer) {
            member.name = Some(name);
        }
        let after = self.called(peer);
        if before != after {
            self.tell(&format!("{before} is called {after}"));
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: Connection) {
        let took = connection.metrics().connect_time;
        let took = took.map_or_else(String::new, |took| format!(" in {}", text::duration(took)));
        if let Some(member) = self.members.get_mut(&peer) {
            member.connection = Some(connection);
            member.trouble = None;
            member.sample = Sample::default();
        }
        let peer = self.called(peer);
        self.tell(&format!("{peer} is connected{took}"));
    }

    fn on_ended(&mut self, peer: PeerId, connection: &Connection) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.connection = None;
            member.path = None;
        }
        for (number, entry) in self.files.remove_all(peer) {
            self.tell(&format!(
                "file {number}, {}, is interrupted; when it is sent again it goes on",
                entry.name
            ));
        }
        let (status, peer) = (connection.status(), self.called(peer));
        match (status.state, status.cause) {
            (PeerState::Closed, Some(Cause::RemoteClose)) => self.tell(&format!("{peer} has left")),
            (state, cause) => {
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                self.tell(&format!("{peer} is {state}{cause}"));
                if let Some(explanation) =
                    connection.explain().filter(|_| state == PeerState::Failed)
                {
                    self.print_lines(&explanation.to_string());
                }
            }
        }
    }

    fn on_not_connected(&mut self, peer: PeerId, error: ConnectError) {
        let called = self.called(peer);
        self.tell(&format!("{called} cannot be connected: {error}"));
        if let ConnectError::Ended {
            explanation: Some(explanation),
            ..
        } = &error
        {
            self.print_lines(&explanation.to_string());
        }
        if let Some(member) = self.members.get_mut(&peer) {
            member.trouble = Some(error);
        }
    }

    fn on_gone(&mut self, peer: PeerId) {
        let called = self.called(peer);
        self.members.remove(&peer);
        self.tell(&format!("{called} is not here any more"));
        // It may have come back in the meantime.
        self.on_presence(&self.place.presence.peers());
    }

    fn on_file(&mut self, peer: PeerId, event: Event) {
        match event {
            Event::Offered {
                transfer,
                name,
                size,
            } => {
                let name = name.as_str().to_owned();
                self.on_offered(peer, transfer, name, size);
            }
            Event::OfferRefused { name, reason } => {
                let name = text::excerpt(&name, SHOWN);
                let (peer, why) = (self.called(peer), oneshot::refusal(reason));
                self.tell(&format!(
                    "{peer} offered \"{name}\", which is refused: {why}"
                ));
            }
            Event::Transfer {
                side,
                transfer,
                step,
            } => {
                if let Some(number) = self.files.number(peer, side, transfer) {
                    self.on_step(number, step);
                }
            }
            Event::Message(..) => {}
        }
    }

    fn on_offered(&mut self, peer: PeerId, transfer: u32, name: String, size: u64) {
        let what = format!("{name}, {}", text::bytes(size));
        let number = self.files.add(Entry {
            peer,
            side: Side::Receiver,
            transfer: Some(transfer),
            name,
            size,
            received: 0,
            begun: false,
        });
        let called = self.called(peer);
        match self.accept_files.clone() {
            Some(directory) => {
                self.tell(&format!("{called} sends file {number}: {what}"));
                self.order(
                    peer,
                    Order::Accept {
                        transfer,
                        directory,
                    },
                );
            }
            None => self.tell(&format!(
                "{called} offers file {number}: {what} (/accept {number} or /refuse {number})"
            )),
        }
    }

    fn on_step(&mut self, number: u32, step: Step) {
        let Some(entry) = self.files.get_mut(number) else {
            return;
        };
        match step {
            Step::Began { offset } => {
                (entry.begun, entry.received) = (true, offset);
                if offset > 0 {
                    let line = format!(
                        "file {number}, {}, goes on at {}",
                        entry.name,
                        text::bytes(offset)
                    );
                    self.tell(&line);
                }
            }
            Step::Progress { received } => entry.received = received.min(entry.size),
            Step::Done { digest, path } => {
                let (peer, name) = (entry.peer, entry.name.clone());
                self.files.remove(number);
                let peer = self.called(peer);
                let line = match path {
                    Some(path) => {
                        let path = text::printable(&path.display().to_string());
                        format!("file {number} from {peer} is in {path}, verified, sha256 {digest}")
                    }
                    None => format!("{peer} has file {number}, {name}, verified, sha256 {digest}"),
                };
                self.tell(&line);
            }
            Step::Ended(ending) => {
                let (peer, name) = (entry.peer, entry.name.clone());
                self.files.remove(number);
                let (peer, why) = (self.called(peer), oneshot::ended(&ending));
                self.tell(&format!("file {number}, {name}, with {peer}: {why}"));
            }
        }
    }

    fn say(&mut self, said: &str) {
        let Some(chat) = Chat::text(said) else {
            self.tell(&format!(
                "that is too long: {} bytes of {MAX_TEXT}",
                said.len()
            ));
            return;
        };
        let message = chat.to_message();
        let results: Vec<_> = self
            .connected()
            .map(|(peer, connection)| {
                (
                    peer,
                    connection.try_send(ChannelKind::Reliable, message.clone()),
                )
            })
            .collect();
        if results.is_empty() {
            self.tell("nobody is connected");
        }
        for (peer, result) in results {
            if let Err(error) = result {
                let peer = self.called(peer);
                self.tell(&format!("{peer} does not get this: {error}"));
            }
        }
    }

    /// Offers a file. What follows the last space may be the name of a peer.
    fn send(&mut self, rest: &str) {
        let everybody: Vec<_> = self.connected().map(|(peer, _)| peer).collect();
        let one = rest
            .rsplit_once(char::is_whitespace)
            .and_then(|(file, last)| {
                let peer = everybody.iter().find(|peer| self.is_called(**peer, last))?;
                (!FilePath::new(rest).exists()).then_some((file.trim_end(), vec![*peer]))
            });
        let (file, peers) = one.unwrap_or((rest, everybody));
        if peers.is_empty() {
            self.tell("nobody is connected");
        }
        for peer in peers {
            self.offer(peer, FilePath::new(file));
        }
    }

    fn offer(&mut self, peer: PeerId, file: &FilePath) {
        let source = match Source::open(file) {
            Ok(source) => source,
            Err(error) => {
                let file = text::printable(&file.display().to_string());
                self.tell(&format!("{file} cannot be sent: {error}"));
                return;
            }
        };
        let (name, size) = (source.name().to_string(), source.size());
        let what = format!("{name}, {}", text::bytes(size));
        let number = self.files.add(Entry {
            peer,
            side: Side::Sender,
            transfer: None,
            name,
            size,
            received: 0,
            begun: false,
        });
        if self.order(peer, Order::Offer { number, source }) {
            let peer = self.called(peer);
            self.tell(&format!("file {number} is offered to {peer}: {what}"));
        } else {
            self.files.remove(number);
        }
    }

    fn accept(&mut self, number: u32, directory: Option<String>) {
        let directory = directory.map_or_else(|| PathBuf::from("."), PathBuf::from);
        if !directory.is_dir() {
            let shown = text::printable(&directory.display().to_string());
            self.tell(&format!("{shown} is no directory"));
            return;
        }
        let offered = self
            .files
            .get(number)
            .filter(|entry| entry.side == Side::Receiver && !entry.begun);
        let Some((peer, transfer)) = offered.and_then(|entry| Some((entry.peer, entry.transfer?)))
        else {
            self.tell(&format!("no file {number} is offered"));
            return;
        };
        self.order(
            peer,
            Order::Accept {
                transfer,
                directory,
            },
        );
    }

    fn stop(&mut self, number: u32) {
        let Some(entry) = self.files.get(number) else {
            self.tell(&format!("there is no file {number}"));
            return;
        };
        let (peer, side, name) = (entry.peer, entry.side, entry.name.clone());
        let Some(transfer) = entry.transfer else {
            self.tell("that was too quick; try again");
            return;
        };
        if self.order(peer, Order::Stop { side, transfer }) {
            self.files.remove(number);
            self.tell(&format!("file {number}, {name}, is stopped"));
        }
    }

    /// Gives whether it could be told to the peer's task.
    fn order(&mut self, peer: PeerId, order: Order) -> bool {
        let member = self.members.get(&peer);
        let sent = member.is_some_and(|member| member.orders.try_send(order).is_ok());
        if !sent {
            let peer = self.called(peer);
            self.tell(&format!("{peer} is busy or gone; try again"));
        }
        sent
    }

    fn show_peers(&mut self) {
        let here = self.place.endpoint.id();
        let mut lines = vec![format!("{}{} (you)", self.own(), self.key(here))];
        for (peer, member) in &self.members {
            let state = member.connection.as_ref().map(Connection::state);
            let state = state.map_or_else(|| "not connected".to_owned(), |state| state.to_string());
            lines.push(format!("{}{} {state}", self.called(*peer), self.key(*peer)));
        }
        self.terminal.print(&lines.join("\n"));
    }

    fn show_files(&mut self) {
        let lines = self.files.lines(|peer| self.called(peer));
        if lines.is_empty() {
            self.tell("no files are offered or under way");
        } else {
            self.terminal.print(&lines.join("\n"));
        }
    }

    fn show_stats(&mut self) {
        let rows: Vec<_> = self
            .members
            .iter()
            .map(|(peer, member)| {
                stats::row(
                    &self.called(*peer),
                    member.connection.as_ref(),
                    member.path,
                    &member.sample,
                )
            })
            .collect();
        self.terminal.print(&stats::table(&rows));
    }

    fn explain(&mut self, one: Option<&str>) {
        let is_meant = |peer: &PeerId| one.is_none_or(|one| self.is_called(*peer, one));
        let peers: Vec<_> = self.members.keys().copied().filter(is_meant).collect();
        for peer in &peers {
            let (called, line) = (self.called(*peer), self.explanation(*peer));
            self.print_lines(&format!("{called}: {line}"));
        }
        if peers.is_empty() {
            self.tell(if one.is_some() {
                "there is no such peer"
            } else {
                "nobody else is here"
            });
        }
    }

    fn explanation(&self, peer: PeerId) -> String {
        let Some(member) = self.members.get(&peer) else {
            return "gone".to_owned();
        };
        match (&member.connection, &member.trouble) {
            (Some(connection), _) => connection.explain().map_or_else(
                || connection.state().to_string(),
                |explanation| explanation.to_string(),
            ),
            (
                None,
                Some(ConnectError::Ended {
                    explanation: Some(explanation),
                    ..
                }),
            ) => explanation.to_string(),
            (None, Some(error)) => error.to_string(),
            (None, None) if self.place.endpoint.id() < peer => "being connected".to_owned(),
            (None, None) => format!("it is for {} to connect to us", self.called(peer)),
        }
    }

    fn sample(&mut self) {
        let now = Instant::now();
        for member in self.members.values_mut() {
            if let Some(connection) = &member.connection {
                member.sample.update(connection, now);
            }
        }
    }

    fn connected(&self) -> impl Iterator<Item = (PeerId, &Connection)> {
        let members = self.members.iter();
        members.filter_map(|(peer, member)| Some((*peer, member.connection.as_ref()?)))
    }

    /// How a peer is shown: by its name or, where people are keys, by what it says it is called and the beginning of its key.
    fn called(&self, peer: PeerId) -> String {
        let name = self.members.get(&peer).and_then(|member| member.name);
        self.shown(peer, name)
    }

    /// How we are shown to others.
    fn own(&self) -> String {
        self.shown(self.place.endpoint.id(), self.called)
    }

    fn shown(&self, peer: PeerId, name: Option<PeerId>) -> String {
        if self.called.is_none() {
            return peer.to_string();
        }
        let name = name.map_or_else(String::new, |name| name.to_string());
        format!("{name}#{}", peer.short())
    }

    /// The whole key of somebody whose beginning is shown.
    fn key(&self, peer: PeerId) -> String {
        self.called.map_or_else(String::new, |_| format!(" {peer}"))
    }

    /// Whether the user means this peer.
    fn is_called(&self, peer: PeerId, text: &str) -> bool {
        peer.as_str() == text || self.called(peer) == text
    }

    /// Prints what the room has to say, so that it cannot be taken for what somebody said.
    fn tell(&mut self, line: &str) {
        self.terminal.print(&format!("* {line}"));
    }

    /// Prints a text of several lines, each made harmless.
    fn print_lines(&mut self, lines: &str) {
        let lines: Vec<_> = lines.lines().map(text::printable).collect();
        self.terminal.print(&lines.join("\n"));
    }
}

/// Peers that are kept at one time. At the bound further ones are not seen.
const MAX_MEMBERS: usize = 256;
/// News that wait to be shown. At the bound the peers' tasks wait, and their peers with them.
const NEWS: usize = 64;
/// What waits to be done with one peer. At the bound the user is told.
const ORDERS: usize = 64;
/// How many characters of a refused name are shown.
const SHOWN: usize = 80;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
