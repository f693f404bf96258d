use std::error::Error;
use std::time::{Duration, Instant};

use bowline::{ChannelKind, SendError};
use bowline_tokio::Connection;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::timeout;

use super::cast::Cast;
use super::style::{Stage, millis};

/// Sends a file of `size` bytes from alice to bob, while they talk on the control channel. Gives the bytes per second.
pub(crate) async fn send(stage: &Stage, cast: &Cast, size: u64) -> Result<f64, Box<dyn Error>> {
    let (there, here) = (cast.alice.to(&cast.bob), cast.bob.to(&cast.alice));
    let file = File::new(size)?;
    let progress = bar(stage, size);
    let began = Instant::now();
    let echo = tokio::spawn(echo(here.clone()));
    let writing = tokio::spawn(write(there.clone(), file.clone()));
    let mut reading = tokio::spawn(read(here.clone(), file, progress.clone()));
    let mut round_trips = Vec::new();
    let read = loop {
        round_trips.push(ping(there).await?);
        // A pause, unless the file comes first.
        if let Ok(read) = timeout(PING_PAUSE, &mut reading).await {
            break read;
        }
    };
    let elapsed = began.elapsed();
    read??;
    writing.await??;
    echo.abort();
    progress.finish_and_clear();
    tell(stage, size, elapsed, &mut round_trips);
    Ok(rate(size, elapsed))
}

fn tell(stage: &Stage, size: u64, elapsed: Duration, round_trips: &mut [Duration]) {
    let (mib, speed) = (size / MIB, rate(size, elapsed) / 1e6);
    let took = millis(elapsed);
    stage.line(
        "bob",
        &format!("has the file: {mib} MiB in {took}, {speed:.0} MB/s, every byte compared"),
    );
    round_trips.sort();
    if let (Some(middle), Some(worst)) =
        (round_trips.get(round_trips.len() / 2), round_trips.last())
    {
        let (count, middle, worst) = (round_trips.len(), millis(*middle), millis(*worst));
        let text = format!("meanwhile {count} control round trips: median {middle}, worst {worst}");
        stage.line("alice", &text);
    }
}

/// A file: a random block again and again, each time shifted by one chunk that is not a power of two.
#[derive(Clone)]
struct File {
    block: Bytes,
    size: u64,
}

impl File {
    fn new(size: u64) -> Result<Self, Box<dyn Error>> {
        let mut block = vec![0; BLOCK + CHUNK];
        getrandom::fill(&mut block).map_err(|error| format!("no randomness: {error}"))?;
        Ok(Self {
            block: block.into(),
            size,
        })
    }

    /// The chunks, in order. They share the memory of the block.
    fn chunks(&self) -> impl Iterator<Item = Bytes> + '_ {
        let starts = (0..self.size).step_by(CHUNK);
        starts.enumerate().map(|(number, start)| {
            let len = CHUNK.min(usize::try_from(self.size - start).unwrap_or(CHUNK));
            let offset = number * SHIFT % BLOCK;
            self.block.slice(offset..offset + len)
        })
    }
}

fn bar(stage: &Stage, size: u64) -> ProgressBar {
    if !stage.is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "          alice -> bob [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec}",
    );
    let bar = ProgressBar::with_draw_target(Some(size), indicatif::ProgressDrawTarget::stdout());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Sends the file. The channel holds it back to the pace of the reader.
async fn write(connection: Connection, file: File) -> Result<(), SendError> {
    for chunk in file.chunks() {
        connection.send(ChannelKind::File, chunk).await?;
    }
    Ok(())
}

/// Receives the file, and compares it with what it should be.
async fn read(connection: Connection, file: File, progress: ProgressBar) -> Result<(), String> {
    for chunk in file.chunks() {
        let message = connection
            .recv_from(ChannelKind::File)
            .await
            .ok_or("the connection ended")?;
        if message.data != chunk {
            return Err("the file arrived damaged".to_owned());
        }
        progress.inc(chunk.len() as u64);
    }
    Ok(())
}

/// One round trip on the control channel.
async fn ping(connection: &Connection) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    connection.send(ChannelKind::Control, "ping").await?;
    connection
        .recv_from(ChannelKind::Control)
        .await
        .ok_or("the connection ended")?;
    Ok(began.elapsed())
}

async fn echo(connection: Connection) {
    while let Some(_ping) = connection.recv_from(ChannelKind::Control).await {
        if connection.send(ChannelKind::Control, "pong").await.is_err() {
            return;
        }
    }
}

#[allow(clippy::cast_precision_loss)] // It is for people.
fn rate(bytes: u64, elapsed: Duration) -> f64 {
    bytes as f64 / elapsed.as_secs_f64()
}

const MIB: u64 = 1_024 * 1_024;
const BLOCK: usize = 1_024 * 1_024;
const CHUNK: usize = 64 * 1_024;
const SHIFT: usize = 4_099;
const PING_PAUSE: Duration = Duration::from_millis(5);
