//! One other person in the room: connected while both are there, again and again.

use std::path::PathBuf;
use std::time::Duration;

use bowline::{ChannelKind, Kept, PeerId, PeerState};
use bowline_tokio::signalling::Presence;
use bowline_tokio::{ConnectError, Connection, Endpoint, Incoming, Status};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::message::Chat;
use crate::files::{self, Event, Exchange, Place, Side, Source};

/// The task of one peer.
pub(crate) struct Task {
    pub(crate) peer: PeerId,
    pub(crate) endpoint: Endpoint,
    pub(crate) presence: Presence,
    /// What we are called, where people are keys.
    pub(crate) called: Option<PeerId>,
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Connections that the peer begins.
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    pub(crate) news: mpsc::Sender<(PeerId, News)>,
}

/// What the user wants of a peer. Nothing happens while it is not connected.
#[derive(Debug)]
pub(crate) enum Order {
    Offer { number: u32, source: Source },
    Accept { transfer: u32, directory: PathBuf },
    Stop { side: Side, transfer: u32 },
}

/// What there is to tell of a peer.
pub(crate) enum News {
    Connected(Connection),
    /// The path is lost, and looked for.
    Interrupted,
    Restored,
    Ended(Connection),
    NotConnected(ConnectError),
    Said(Chat),
    /// The offer that the user numbered so has this number with the peer.
    Offering {
        number: u32,
        transfer: u32,
    },
    /// There are too many others.
    NotOffered {
        number: u32,
    },
    File(Event),
    /// It is gone, and so is its task.
    Gone,
}

impl Task {
    /// Works until the peer has left the room and the connection has ended.
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut knocking = None;
        while knocking.is_some() || self.is_present() {
            let connected = match knocking.take() {
                Some(incoming) => Some(Incoming::accept(incoming).await),
                None => self.meet().await,
            };
            match connected {
                Some(Ok(connection)) => {
                    pause = FIRST_PAUSE;
                    knocking = self.talk(connection).await;
                }
                Some(Err(error)) => {
                    self.tell(News::NotConnected(error)).await;
                    knocking = self.rest(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                None => {}
            }
        }
        self.tell(News::Gone).await;
    }

    /// Connects, or waits for the peer to do so. None when it leaves meanwhile.
    async fn meet(&mut self) -> Option<Result<Connection, ConnectError>> {
        let begins = self.begins();
        let left = left(self.presence.clone(), self.peer);
        let connect = async {
            if begins {
                self.endpoint.connect(self.peer).await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            connected = connect => Some(connected),
            incoming = self.incoming.recv() => match incoming {
                Some(incoming) => Some(incoming.accept().await),
                None => std::future::pending().await,
            },
            () = left => None,
            () = ignore(&mut self.orders) => None,
        }
    }

    /// Talks over a connection until it ends. Gives the next one, when the peer has begun it already.
    async fn talk(&mut self, connection: Connection) -> Option<Incoming> {
        if let Some(name) = self.called {
            // One that has ended already says so below.
            let _ = connection.try_send(ChannelKind::Reliable, Chat::Name(name).to_message());
        }
        self.tell(News::Connected(connection.clone())).await;
        let mut status = connection.watch_status();
        let mut exchange = Exchange::new(connection.clone(), None);
        let back = back(self.presence.clone(), self.peer, self.begins());
        tokio::pin!(back);
        let mut was = PeerState::Connected;
        let mut next = None;
        loop {
            tokio::select! {
                event = exchange.next() => match event {
                    Some(event) => self.on_event(event).await,
                    None => break,
                },
                Some(order) = self.orders.recv() => self.on_order(order, &mut exchange).await,
                // A peer has one connection: this one is over, but for what came before.
                Some(incoming) = self.incoming.recv() => next = Some(incoming),
                Ok(()) = status.changed() => {
                    let Status { state: now, kept, .. } = *status.borrow_and_update();
                    self.on_state(was, now).await;
                    if now == PeerState::Connected && kept == Some(Kept::Queues) {
                        // It is a new process, which knows nothing of files under way.
                        connection.close().await;
                        break;
                    }
                    was = now;
                }
                // Whether it is the same process that has come back is for it to say.
                () = &mut back => {
                    connection.restart_ice();
                    back.set(self::back(self.presence.clone(), self.peer, true));
                }
            }
        }
        exchange.abandon().await;
        self.tell(News::Ended(connection)).await;
        next
    }

    async fn on_event(&self, event: Event) {
        let news = match event {
            Event::Message(channel, message) => {
                let chat = (channel == ChannelKind::Reliable.id()).then(|| Chat::parse(&message));
                match chat.flatten() {
                    Some(chat) => News::Said(chat),
                    None => return,
                }
            }
            event => News::File(event),
        };
        self.tell(news).await;
    }

    async fn on_order(&self, order: Order, exchange: &mut Exchange) {
        match order {
            Order::Offer { number, source } => {
                let news = match exchange.offer(source) {
                    Ok(transfer) => News::Offering { number, transfer },
                    Err(_) => News::NotOffered { number },
                };
                self.tell(news).await;
            }
            Order::Accept {
                transfer,
                directory,
            } => {
                exchange.accept(transfer, |name: files::FileName| Place {
                    directory,
                    name,
                    overwrite: false,
                });
            }
            Order::Stop { side, transfer } => exchange.stop(side, transfer),
        }
    }

    async fn on_state(&self, was: PeerState, now: PeerState) {
        match (was, now) {
            (PeerState::Connected, PeerState::Disconnected) => self.tell(News::Interrupted).await,
            (PeerState::Disconnected, PeerState::Connected) => self.tell(News::Restored).await,
            // Ends are told when everything that came before is.
            _ => {}
        }
    }

    /// Waits before another attempt, unless the peer makes one.
    async fn rest(&mut self, pause: Duration) -> Option<Incoming> {
        tokio::select! {
            () = sleep(pause) => None,
            () = left(self.presence.clone(), self.peer) => None,
            Some(incoming) = self.incoming.recv() => Some(incoming),
            () = ignore(&mut self.orders) => None,
        }
    }

    /// Whether it is for us to connect: the one with the lower name does.
    fn begins(&self) -> bool {
        self.endpoint.id() < self.peer
    }

    fn is_present(&self) -> bool {
        self.presence.peers().contains(&self.peer)
    }

    async fn tell(&self, news: News) {
        // Nobody listens when the program ends.
        let _ = self.news.send((self.peer, news)).await;
    }
}

/// Waits until `peer` is not in the room.
async fn left(mut presence: Presence, peer: PeerId) {
    while presence.peers().contains(&peer) {
        if presence.changed().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until `peer` has left the room and come back, if that is of interest.
async fn back(mut presence: Presence, peer: PeerId, interest: bool) {
    if !interest {
        std::future::pending::<()>().await;
    }
    left(presence.clone(), peer).await;
    while !presence.peers().contains(&peer) {
        if presence.changed().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Takes orders that come at the wrong time, for ever.
async fn ignore(orders: &mut mpsc::Receiver<Order>) {
    while orders.recv().await.is_some() {}
    std::future::pending().await
}

/// The pause after an attempt that failed; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
