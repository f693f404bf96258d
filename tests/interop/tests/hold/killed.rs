//! A process is killed, and another takes its place without its memory.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bowline::{Config, Message};
use bowline_interop::host::Host;
use bowline_interop::log::Log;
use bowline_interop::process::Group;
use bowline_tokio::signalling::{Link, Signalling};
use bowline_tokio::{Connection, Delivery, Receipt};
use tokio::sync::{mpsc, watch};

use crate::lan::{self, Party, id};
use crate::peer;
use crate::traffic::{BACK, CHANNEL, PACE, number, soon};

/// Of each number that we send it is told what became of it. Neither life of the other process gets one twice or out of
/// order, nor do we.
pub(crate) async fn a_process_is_killed_and_starts_again() {
    let hosts = lan::pair();
    let (near, link) = Signalling::pair();
    let alice = Party::on(&hosts[0], "alice", Config::default(), near).await;
    let wire = Wire::carry(link);

    let mut first = Life::start(&hosts[1], 1, &wire);
    let connecting = alice.endpoint.connect(id(peer::NAME));
    let connection = soon("the connection", connecting).await.expect("comes up");
    let (over, watched) = watch::channel(false);
    let sender = tokio::spawn(send(connection.clone(), watched));
    let heard = Log::default();
    let listener = tokio::spawn(listen(connection.clone(), heard.clone()));
    first.has_got(ENOUGH).await;
    let got_first = first.kill();

    let mut second = Life::start(&hosts[1], 2, &wire);
    second.has_got(ENOUGH).await;
    let of_second = |all: &[u64]| (of_life(all, 2).len() >= ENOUGH).then_some(());
    let what = "numbers of the second life";
    heard.within(BACK, what, of_second).await;
    over.send(true).expect("the sender watches");
    let receipts = sender.await.expect("it is open");
    let outcomes = soon("every outcome", outcomes(&connection, &receipts)).await;
    let last = receipts.len() as u64 - 1;
    let arrived = |all: &[u64]| all.contains(&last).then_some(());
    second.got.within(BACK, "the last number", arrived).await;
    listener.abort();
    let got_second = second.kill();

    check_sent(&outcomes, &got_first, &got_second);
    check_heard(&heard.all());
}

/// What we have sent, against what both lives have got.
fn check_sent(outcomes: &[Delivery], first: &[u64], second: &[u64]) {
    for got in [first, second] {
        let rises = got.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(rises, "in order, and each once: {got:?}");
    }
    let lives = [first, second].map(|got| got.iter().copied().collect::<BTreeSet<_>>());
    let both: Vec<_> = lives[0].intersection(&lives[1]).collect();
    assert!(both.is_empty(), "both lives got {both:?}");
    let mut untaken = first.last().copied();
    for (number, outcome) in (0..).zip(outcomes) {
        let arrived = lives.iter().any(|got| got.contains(&number));
        match outcome {
            // What was in the process, and not taken yet, has died with it.
            Delivery::Delivered if !arrived => {
                let after = untaken.map(|last| last + 1);
                assert_eq!(Some(number), after, "delivered, and nobody has it");
                untaken = after;
            }
            Delivery::Lost => assert!(!arrived, "{number} was told to be lost"),
            Delivery::Delivered | Delivery::Unknown | Delivery::Sent => {}
        }
    }
    let count = |wanted| outcomes.iter().filter(|o| **o == wanted).count();
    println!(
        "{} sent, {} delivered, {} unknown, {} lost; the first life got {}, the second {}",
        outcomes.len(),
        count(Delivery::Delivered),
        count(Delivery::Unknown),
        count(Delivery::Lost),
        first.len(),
        second.len()
    );
    assert_eq!(count(Delivery::Sent), 0, "the channel is reliable");
}

/// What both lives have sent: each from its beginning and without a gap, the second after the first.
fn check_heard(heard: &[u64]) {
    let [first, second] = [1, 2].map(|life| of_life(heard, life));
    for numbers in [&first, &second] {
        let whole: Vec<u64> = (0..numbers.len() as u64).collect();
        assert_eq!(*numbers, whole, "without a gap, and each once");
    }
    let in_order = heard.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(in_order, "nothing of the first life comes after the second");
}

/// The numbers that a life of the other process has sent.
fn of_life(numbers: &[u64], life: u64) -> Vec<u64> {
    let of = numbers.iter().filter(|number| **number >> 32 == life);
    of.map(|number| number & 0xffff_ffff).collect()
}

async fn send(connection: Connection, over: watch::Receiver<bool>) -> Vec<Receipt> {
    let mut ticks = tokio::time::interval(PACE);
    let mut receipts = Vec::new();
    while !*over.borrow() {
        let number = receipts.len() as u64;
        let message = Message::binary(number.to_be_bytes().to_vec());
        receipts.push(connection.send(CHANNEL, message).await.expect("it is open"));
        ticks.tick().await;
    }
    receipts
}

async fn listen(connection: Connection, heard: Log<u64>) {
    while let Some(message) = connection.recv_from(CHANNEL).await {
        heard.push(number(&message));
    }
}

async fn outcomes(connection: &Connection, receipts: &[Receipt]) -> Vec<Delivery> {
    let mut outcomes = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        outcomes.push(connection.delivered(*receipt).await);
    }
    outcomes
}

/// Signalling between our endpoint and whichever process is there.
struct Wire {
    inbound: mpsc::Sender<String>,
    stdin: Arc<Mutex<Option<ChildStdin>>>,
}

impl Wire {
    fn carry(link: Link) -> Self {
        let stdin: Arc<Mutex<Option<ChildStdin>>> = Arc::default();
        let Link {
            mut outbound,
            inbound,
            status,
        } = link;
        let into = stdin.clone();
        tokio::spawn(async move {
            let _kept = status;
            while let Some(signal) = outbound.recv().await {
                let mut stdin = into.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(stdin) = stdin.as_mut() {
                    // A process that is gone hears nothing.
                    let _ = writeln!(stdin, "{}", signal.text);
                }
            }
        });
        Self { inbound, stdin }
    }
}

/// One life of the other process.
struct Life {
    program: Group,
    /// What it says that it has got.
    got: Log<u64>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Life {
    fn start(host: &Host, start: u64, wire: &Wire) -> Self {
        let itself = std::env::current_exe().expect("this program");
        let mut command = host.command(itself.to_str().expect("a plain path"));
        command.args([peer::ROLE, &start.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Group::spawn(&mut command).expect("starts");
        let leader = program.leader();
        let stdin = leader.stdin.take();
        *wire.stdin.lock().unwrap_or_else(PoisonError::into_inner) = stdin;
        let stdout = BufReader::new(leader.stdout.take().expect("piped"));
        let got = Log::default();
        let (log, inbound) = (got.clone(), wire.inbound.clone());
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                match line.strip_prefix(peer::SIGNAL) {
                    Some(signal) => drop(inbound.blocking_send(signal.to_owned())),
                    // The last line of a process that is killed may be cut.
                    None => drop(line.parse().map(|number| log.push(number))),
                }
            }
        });
        Self {
            program,
            got,
            reader: Some(reader),
        }
    }

    /// Waits until it has got some more numbers.
    async fn has_got(&self, count: usize) {
        let enough = |all: &[u64]| (all.len() >= count).then_some(());
        self.got
            .within(BACK, "numbers at the process", enough)
            .await;
    }

    /// Kills it. Gives what it has got.
    fn kill(&mut self) -> Vec<u64> {
        self.program.kill();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        self.got.all()
    }
}

/// Numbers after which a life has shown that it works.
const ENOUGH: usize = 100;
