//! Three `bowline serve` that share their rooms over NATS, of which one is killed each second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bowline::{Config, Identity, PeerId, Signal};
use bowline_interop::nats::Nats;
use bowline_interop::process::Group;
use bowline_interop::program::{self, find_lines, spawn};
use bowline_tokio::signalling::{Presence, Relays, Signalling};
use bowline_tokio::{Endpoint, IncomingPolicy};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::traffic::soon;

/// 500 clients in 100 rooms send numbered envelopes to each other and repeat what is not acknowledged, as endpoints do, and ten
/// pairs of endpoints connect again and again, while one server is killed each second. Every envelope arrives, every
/// connection comes up, and everybody is told of everybody in the end.
pub(crate) async fn one_of_three_is_killed_each_second() {
    let nats = Nats::start();
    let start = |at| Server::start(at, &nats);
    let mut servers = [(); 3].map(|()| start(SocketAddr::from(([127, 0, 0, 1], 0))));
    let relays = Relays::new(servers.iter().map(Server::url)).expect("valid");

    let (storm, watched) = watch::channel(Storm::On);
    let settled = Arc::new(AtomicUsize::new(0));
    let (mut clients, mut presences, mut links) = (JoinSet::new(), Vec::new(), Vec::new());
    for room in 0..CLIENTS / ROOM {
        let members: Vec<_> = (0..ROOM).map(|at| id(&format!("c{room}-{at}"))).collect();
        for (at, me) in members.iter().enumerate() {
            let (link, presence) = relays.room(&format!("r.{room}"), *me).expect("valid");
            links.push(link.status());
            presences.push((presence, members.clone()));
            let next = members[(at + 1) % ROOM];
            let client = Client::new(*me, next, link);
            clients.spawn(client.run(watched.clone(), Arc::clone(&settled)));
        }
    }
    converge(&mut presences).await;

    let mut pairs = JoinSet::new();
    for number in 0..PAIRS {
        pairs.spawn(connect_again_and_again(
            relays.clone(),
            number,
            watched.clone(),
        ));
    }
    let mut seconds = interval(Duration::from_secs(1));
    for kill in 0..KILLS {
        seconds.tick().await;
        let server = &mut servers[kill % 3];
        let address = server.address;
        // As what supervises it would, at once and at the same address.
        server.program.kill();
        *server = start(address);
    }
    storm.send(Storm::Over).expect("all watch");
    let connects: usize = soon("the last connections", pairs.join_all())
        .await
        .into_iter()
        .sum();
    let all_settled = async {
        while settled.load(Ordering::SeqCst) < CLIENTS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the last acknowledgements", all_settled).await;
    converge(&mut presences).await;
    storm.send(Storm::Ended).expect("all watch");
    let told: BTreeMap<_, _> = clients
        .join_all()
        .await
        .into_iter()
        .map(|told| (told.me, told))
        .collect();

    for client in told.values() {
        let sent: BTreeSet<_> = (0..client.sent).collect();
        let received = &told[&client.next].received;
        assert_eq!(received, &sent, "from {} to {}", client.me, client.next);
    }
    let sent: u64 = told.values().map(|client| client.sent).sum();
    let repeated: u64 = told.values().map(|client| client.repeated).sum();
    let reconnects: u64 = links.iter().map(|link| link.borrow().connects - 1).sum();
    let published = servers[0]
        .figure("bowline_relay_published_messages_total")
        .await;
    println!(
        "{sent} envelopes, {repeated} repeated, {reconnects} times another server, {connects} connections"
    );
    // That the servers were killed was felt, and that they share their rooms was needed.
    assert!(reconnects > u64::try_from(CLIENTS).expect("fits") && repeated > 0);
    assert!(connects > PAIRS && published > 0.0);
    let two = async {
        // The dead are missed after a while.
        while servers[0].figure("bowline_relay_servers").await > 2.0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon("the end of the dead", two).await;
}

/// While the bus is away, those at the other server are missed; when it is back, so are they, and what is sent arrives.
pub(crate) async fn the_bus_is_away_for_a_while() {
    let mut nats = Nats::start();
    let names = ["alice", "bob"].map(id);
    let servers = names.map(|_| Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), &nats));
    let mut links = Vec::new();
    let mut presences = Vec::new();
    for (server, name) in servers.iter().zip(names) {
        let relays = Relays::new([server.url()]).expect("valid");
        let (link, presence) = relays.room("kitchen", name).expect("valid");
        links.push(link);
        presences.push((presence, names.to_vec()));
    }
    converge(&mut presences).await;
    assert_eq!(servers[0].ask("/health").await, "ok\n");

    nats.kill();
    let mut alone = presences.clone();
    for ((_, members), name) in alone.iter_mut().zip(names) {
        *members = vec![name];
    }
    converge(&mut alone).await;
    assert_eq!(servers[0].ask("/health").await, "no connection to nats\n");

    nats.start_again();
    converge(&mut presences).await;
    let (from, to) = (names[0], names[1]);
    let text = format!(r#"{{"from":"{from}","to":"{to}"}}"#);
    let signal = Signal {
        to,
        text: text.clone(),
    };
    links[0].send(signal).await.expect("the link is there");
    let received = soon("the message", links[1].recv()).await;
    assert_eq!(received, Some(text));
    // And nobody was at another place meanwhile.
    assert!(
        links
            .iter()
            .all(|link| link.status().borrow().connects == 1)
    );
}

/// Waits until everybody is told of everybody in its room.
async fn converge(presences: &mut [(Presence, Vec<PeerId>)]) {
    for (presence, members) in presences {
        let told = async {
            while presence.peers() != *members {
                presence.changed().await.expect("the link is there");
            }
        };
        soon("the presence of all", told).await;
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storm {
    On,
    /// Nobody sends anything new.
    Over,
    Ended,
}

struct Server {
    address: SocketAddr,
    monitor: SocketAddr,
    program: Group,
}

impl Server {
    fn start(at: SocketAddr, nats: &Nats) -> Self {
        let mut command = Command::new(program::path());
        command.args(["serve", "--no-turn", "--monitor", "127.0.0.1:0"]);
        command.args(["--connections-per-address", "1000", "--listen"]);
        command.args([&at.to_string(), "--nats", &nats.url()]);
        let mut program = spawn(&mut command);
        let told = find_lines(&mut program, ["page      http://", "monitor   http://"]);
        let [address, monitor] = told.map(|rest| {
            let address = rest.split('/').next().unwrap_or_default();
            address.parse().expect("an address")
        });
        Self {
            address,
            monitor,
            program,
        }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// What its monitor answers.
    async fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.monitor).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        soon("the answer", read).await.expect("text");
        let (_, body) = text.split_once("\r\n\r\n").expect("a head");
        body.to_owned()
    }

    /// One of its figures.
    async fn figure(&self, name: &str) -> f64 {
        let text = self.ask("/metrics").await;
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
        let value = values.next_back().expect("it is there");
        value.trim().parse().expect("a number")
    }
}

/// One end of a link, which sends to the next peer in its room and repeats what that has not acknowledged.
struct Client {
    link: Signalling,
    /// When each was sent last.
    unacknowledged: BTreeMap<u64, Instant>,
    told: Told,
}

/// What a client has done.
struct Told {
    me: PeerId,
    next: PeerId,
    sent: u64,
    repeated: u64,
    received: BTreeSet<u64>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    from: PeerId,
    to: PeerId,
    #[serde(flatten)]
    body: Body,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    Number(u64),
    Ack(u64),
}

impl Client {
    fn new(me: PeerId, next: PeerId, link: Signalling) -> Self {
        let told = Told {
            me,
            next,
            sent: 0,
            repeated: 0,
            received: BTreeSet::new(),
        };
        Self {
            link,
            unacknowledged: BTreeMap::new(),
            told,
        }
    }

    async fn run(mut self, mut storm: watch::Receiver<Storm>, settled: Arc<AtomicUsize>) -> Told {
        let (mut pace, mut repeat) = (interval(PACE), interval(REPEAT));
        let mut is_settled = false;
        loop {
            let now = *storm.borrow_and_update();
            tokio::select! {
                _ = pace.tick(), if now == Storm::On => {
                    let number = self.told.sent;
                    self.told.sent += 1;
                    self.unacknowledged.insert(number, Instant::now());
                    self.send(self.told.next, Body::Number(number)).await;
                }
                _ = repeat.tick() => self.repeat().await,
                text = self.link.recv() => {
                    let text = text.expect("the link is there");
                    self.hear(serde_json::from_str(&text).expect("an envelope")).await;
                }
                changed = storm.changed() => changed.expect("the storm ends"),
            }
            if now == Storm::Ended {
                return self.told;
            }
            if now == Storm::Over && self.unacknowledged.is_empty() && !is_settled {
                is_settled = true;
                settled.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    async fn hear(&mut self, envelope: Envelope) {
        match envelope.body {
            Body::Number(number) => {
                self.told.received.insert(number);
                self.send(envelope.from, Body::Ack(number)).await;
            }
            Body::Ack(number) => {
                self.unacknowledged.remove(&number);
            }
        }
    }

    async fn repeat(&mut self) {
        let late = |(number, sent): (&u64, &Instant)| (sent.elapsed() >= REPEAT).then_some(*number);
        let late: Vec<_> = self.unacknowledged.iter().filter_map(late).collect();
        for number in late {
            self.told.repeated += 1;
            self.unacknowledged.insert(number, Instant::now());
            self.send(self.told.next, Body::Number(number)).await;
        }
    }

    async fn send(&self, to: PeerId, body: Body) {
        let from = self.told.me;
        let text = serde_json::to_string(&Envelope { from, to, body }).expect("JSON");
        let sent = self.link.send(Signal { to, text }).await;
        sent.expect("the link is there");
    }
}

/// Two endpoints that connect and hang up until the storm is over. Gives how many connections there were.
async fn connect_again_and_again(
    relays: Relays,
    number: usize,
    storm: watch::Receiver<Storm>,
) -> usize {
    let names = ["a", "b"].map(|name| id(&format!("e{number}-{name}")));
    let [alice, bob] = names.map(|name| {
        let (link, _presence) = relays.room("endpoints", name).expect("valid");
        let config = Config::builder().loopback(true).ipv6(false).build();
        let endpoint = Endpoint::builder(Identity::without_key(name))
            .config(config.expect("valid"))
            .bind_address(SocketAddr::from(([127, 0, 0, 1], 0)))
            .incoming(IncomingPolicy::Accept)
            .signalling(link);
        endpoint.bind().expect("binds")
    });
    let mut connects = 0;
    while *storm.borrow() == Storm::On {
        let connection = soon("a connection", alice.connect(names[1])).await;
        soon("the end of it", connection.expect("comes up").close()).await;
        connects += 1;
    }
    bob.close().await;
    connects
}

fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("valid")
}

const CLIENTS: usize = 500;
/// Of them in one room.
const ROOM: usize = 5;
/// Pairs of endpoints.
const PAIRS: usize = 10;
const KILLS: usize = 30;
/// Between two envelopes of a client.
const PACE: Duration = Duration::from_millis(250);
/// After which one is sent again, as the endpoint begins with.
const REPEAT: Duration = Duration::from_millis(500);
