use std::error::Error;
use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use bowline::{ChannelKind, Message};
use bowline_tokio::Connection;
use indicatif::{ProgressBar, ProgressStyle};

use super::cast::Cast;
use super::style::{Stage, millis};

/// Sends a file of `size` bytes from alice to bob, while they talk on the control channel. Gives the bytes per second.
pub(crate) async fn send(stage: &Stage, cast: &Cast, size: u64) -> Result<f64, Box<dyn Error>> {
    let (there, here) = (cast.alice.to(&cast.bob), cast.bob.to(&cast.alice));
    let began = Instant::now();
    let progress = bar(stage, size);
    let echo = tokio::spawn(echo(here.clone()));
    let transfer = async { tokio::try_join!(write(there, size), read(here, size, &progress)) };
    tokio::pin!(transfer);
    let mut round_trips = Vec::new();
    let (sent, received) = loop {
        let round_trip = ping(there);
        tokio::pin!(round_trip);
        tokio::select! {
            done = &mut transfer => {
                round_trips.push(round_trip.await?);
                break done?;
            }
            round_trip = &mut round_trip => round_trips.push(round_trip?),
        }
    };
    echo.abort();
    progress.finish_and_clear();
    if sent != received {
        return Err("the file arrived damaged".into());
    }
    let elapsed = began.elapsed();
    let throughput = rate(size, elapsed);
    let mib = size / (1_024 * 1_024);
    stage.line(
        "bob",
        &format!(
            "has the file: {mib} MiB in {}, {:.0} MB/s, hash matches",
            millis(elapsed),
            throughput / 1e6
        ),
    );
    round_trips.sort();
    if let (Some(middle), Some(worst)) =
        (round_trips.get(round_trips.len() / 2), round_trips.last())
    {
        let count = round_trips.len();
        let text = format!(
            "meanwhile {count} control round trips: median {}, worst {}",
            millis(*middle),
            millis(*worst)
        );
        stage.line("alice", &text);
    }
    Ok(throughput)
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

/// Sends what a generator gives. The channel holds it back to the pace of the reader.
async fn write(connection: &Connection, size: u64) -> Result<u64, Box<dyn Error>> {
    let mut hasher = DefaultHasher::new();
    let mut generator = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = size;
    while left > 0 {
        let len = left.min(CHUNK);
        let chunk = chunk(&mut generator, len);
        hasher.write(&chunk);
        connection.send(ChannelKind::File, chunk).await?;
        left -= len;
    }
    Ok(hasher.finish())
}

/// The next `len` bytes of a xorshift generator: nothing can compress them, and nobody needs them.
fn chunk(generator: &mut u64, len: u64) -> Vec<u8> {
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        *generator ^= *generator << 13;
        *generator ^= *generator >> 7;
        *generator ^= *generator << 17;
        generator.to_le_bytes()
    });
    words
        .take(usize::try_from(len).unwrap_or(usize::MAX))
        .collect()
}

async fn read(
    connection: &Connection,
    size: u64,
    progress: &ProgressBar,
) -> Result<u64, Box<dyn Error>> {
    let mut hasher = DefaultHasher::new();
    let mut came = 0;
    while came < size {
        let message = connection
            .recv_from(ChannelKind::File)
            .await
            .ok_or("the connection ended")?;
        hasher.write(&message.data);
        came += message.len() as u64;
        progress.set_position(came);
    }
    Ok(hasher.finish())
}

/// One round trip on the control channel, then a pause.
async fn ping(connection: &Connection) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    connection.send(ChannelKind::Control, "ping").await?;
    connection
        .recv_from(ChannelKind::Control)
        .await
        .ok_or("the connection ended")?;
    let round_trip = began.elapsed();
    tokio::time::sleep(PING_PAUSE).await;
    Ok(round_trip)
}

async fn echo(connection: Connection) {
    while let Some(Message { .. }) = connection.recv_from(ChannelKind::Control).await {
        if connection.send(ChannelKind::Control, "pong").await.is_err() {
            return;
        }
    }
}

#[allow(clippy::cast_precision_loss)] // It is for people.
fn rate(bytes: u64, elapsed: Duration) -> f64 {
    bytes as f64 / elapsed.as_secs_f64()
}

const CHUNK: u64 = 64 * 1_024;
const PING_PAUSE: Duration = Duration::from_millis(5);
