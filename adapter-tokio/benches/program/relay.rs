//! What `bowline serve` takes for clients that are there, and how long messages take through it.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::usage::{Fault, Watched};

type Client = WebSocketStream<TcpStream>;

/// Connects so many clients that do nothing, then sends so many messages a second between others for some time.
pub(crate) async fn run(idle: u64, rate: u64, seconds: u64) -> Result<(), Fault> {
    let mut server = start()?;
    let address = server.line("page      http://")?;
    let address = address.split('/').next().unwrap_or_default().to_owned();
    server.discard_output();
    server.look()?;
    let before = server.usage.peak;
    let began = Instant::now();
    let mut there = Vec::new();
    for number in 0..idle {
        // Rooms of four, as people make them.
        let query = format!("peer=p{number}&room=r{}", number / 4);
        there.push(connect(&address, &query).await?);
    }
    server.look()?;
    let peak = server.usage.peak;
    println!(
        "{idle} idle clients: {:.1} MB at most, {:.1} kB for each, connected in {:.1} s",
        peak as f64 / 1e6,
        (peak - before) as f64 / 1e3 / idle as f64,
        began.elapsed().as_secs_f64()
    );
    let used = server.usage.user + server.usage.system;
    let mut delays = load(&address, rate, seconds).await?;
    server.look()?;
    let used = server.usage.user + server.usage.system - used;
    drop(there);
    server.child.kill()?;
    server.child.wait()?;
    delays.sort_unstable();
    let wanted = rate * seconds;
    let at = |part: f64| {
        let last = delays.len().saturating_sub(1);
        let index = (last as f64 * part).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let delay = delays.get(index as usize).copied();
        delay.unwrap_or_default().as_secs_f64() * 1e3
    };
    println!(
        "{rate} messages a second: {} of {wanted} arrived, after {:.2} ms in the middle, p99 {:.2} ms, at most {:.2} ms; \
         {:.1} us of the server for each",
        delays.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        used.as_secs_f64() * 1e6 / delays.len().max(1) as f64
    );
    Ok(())
}

fn start() -> Result<Watched, Fault> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--no-turn"]);
    command.args([
        "--connections",
        "30000",
        "--connections-per-address",
        "30000",
    ]);
    Watched::start(command.stdout(Stdio::piped()))
}

async fn connect(address: &str, query: &str) -> Result<Client, Fault> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (client, _) = client_async(format!("ws://{address}/?{query}"), stream).await?;
    Ok(client)
}

/// Pairs of clients, of which one sends at its part of the rate. Gives how long each message took.
async fn load(address: &str, rate: u64, seconds: u64) -> Result<Vec<Duration>, Fault> {
    let began = Arc::new(Instant::now());
    let (go, gone) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for pair in 0..PAIRS {
        let from = connect(address, &format!("peer=a{pair}&room=load{pair}")).await?;
        let to = connect(address, &format!("peer=b{pair}&room=load{pair}")).await?;
        // Each reads what it is told, or the server would wait for it.
        let (sink, presence) = from.split();
        let (_, stream) = to.split();
        let count = rate * seconds / PAIRS;
        let pace = Duration::from_secs_f64(PAIRS as f64 / rate as f64);
        let (clock, mut start) = (Arc::clone(&began), gone.clone());
        tokio::spawn(presence.for_each(|_| std::future::ready(())));
        tokio::spawn(async move {
            // It ends with the load.
            let _ = start.wait_for(|go| *go).await;
            send(sink, pair, count, pace, &clock).await
        });
        tasks.spawn(receive(stream, count, Arc::clone(&began)));
    }
    go.send_replace(true);
    let mut delays = Vec::new();
    while let Some(received) = tasks.join_next().await {
        delays.extend(received?);
    }
    Ok(delays)
}

async fn send(
    mut sink: SplitSink<Client, Message>,
    pair: u64,
    count: u64,
    pace: Duration,
    clock: &Instant,
) -> Result<(), Fault> {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let body = "x".repeat(BODY);
    for _ in 0..count {
        ticks.tick().await;
        let at = clock.elapsed().as_nanos();
        let text =
            format!(r#"{{"from":"a{pair}","to":"b{pair}","at":"{at:020}","body":"{body}"}}"#);
        sink.send(Message::text(text)).await?;
    }
    Ok(())
}

async fn receive(
    mut stream: SplitStream<Client>,
    count: u64,
    clock: Arc<Instant>,
) -> Vec<Duration> {
    let mut delays = Vec::new();
    let all = async {
        while let Some(Ok(frame)) = stream.next().await {
            let Message::Text(text) = frame else {
                continue;
            };
            let Some((_, rest)) = text.split_once(r#""at":""#) else {
                continue;
            };
            let at = rest.get(..20).and_then(|at| at.parse().ok());
            delays.push(clock.elapsed() - Duration::from_nanos(at.unwrap_or_default()));
            if delays.len() as u64 == count {
                break;
            }
        }
    };
    // What is lost is seen in the figures.
    let _ = tokio::time::timeout(PATIENCE, all).await;
    delays
}

/// As many clients send, and as many receive.
const PAIRS: u64 = 100;
/// About what a sealed candidate takes.
const BODY: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
