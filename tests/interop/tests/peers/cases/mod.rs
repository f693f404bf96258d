//! The cases. Their list, with what each is for, is in `docs/TESTING.md`.

mod channels;
mod connecting;
mod ending;
mod flow;
mod messages;
mod restarts;
mod sizes;
mod trickle;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bowline::{ChannelConfig, ChannelId, Message, Ordering, Reliability};
use bowline_interop::duo::Duo;
use bowline_interop::foreign::{ChannelInit, Kind, Mode, Received, crc32};
use bowline_tokio::OpenedChannel;

use crate::{Bench, Case, Failure, Pace, Verdict};

macro_rules! cases {
    ($($name:ident: $pace:ident $function:path,)*) => {
        /// All cases, in the order in which they run.
        pub(crate) const ALL: [Case; { [$(stringify!($name)),*].len() }] = [$(Case {
            name: stringify!($name),
            pace: Pace::$pace,
            run: |bench| Box::pin($function(bench)),
        }),*];
    };
}

cases! {
    p13_exit: Own ending::a_killed_peer_is_missed_and_given_up,
    p01_in_band: Shared connecting::one_message_each_way_on_an_in_band_channel,
    p01_through_mio: Shared connecting::a_message_comes_back_from_a_mio_loop,
    p02_active: Shared connecting::bowline_as_dtls_client,
    p02_passive: Shared connecting::bowline_as_dtls_server,
    p03_kinds: Shared messages::text_and_binary_arrive_unchanged,
    p04_empty: Shared messages::empty_messages_arrive_once_and_in_their_place,
    p05_labels: Shared channels::labels_and_protocols_are_equal_on_both_sides,
    p06_modes: Shared channels::the_six_types_read_back_equal,
    p07_negotiated: Shared channels::an_agreed_stream_opens_without_announcement,
    p08_ids: Shared channels::twenty_channels_at_once_get_ids_by_role,
    p09_largest: Shared sizes::the_largest_message_arrives_and_a_larger_one_is_refused,
    p09_absent: Shared sizes::an_absent_limit_means_64_kib,
    p09_unlimited: Shared sizes::a_limit_of_0_means_none,
    p10_bulk: Shared messages::a_hundred_large_messages_each_way_keep_order_and_bytes,
    p11_sending: Shared flow::the_queue_is_bounded_and_one_event_follows_each_refusal,
    p11_receiving: Shared flow::what_a_slow_reader_has_not_read_is_kept_for_it,
    p12_closing: Shared channels::either_side_closes_a_channel_without_error,
    p13_close: Shared ending::the_end_of_a_connection_is_told_within_a_second,
    p14_restart_by_peer: Shared restarts::the_peer_restarts_ice_under_load,
    p15_restart_by_bowline: Shared restarts::bowline_restarts_ice_under_load,
    p16_trickle: Shared trickle::candidates_come_before_and_after_the_description,
    p17_mdns: Shared trickle::a_peer_behind_mdns_names_is_found_by_its_checks,
    connect_time: Alone connecting::how_long_connecting_takes,
}

/// The cases of a stack. With werift all but the first need what that one shows to fail; the mio loop is tried with one
/// browser and one other stack; browsers alone restart ICE here and hide addresses.
pub(crate) fn of(kind: Kind) -> impl Iterator<Item = Case> {
    let is_tested = move |case: &Case| match (kind, case.name) {
        (Kind::Werift, name) => name == "p01_in_band",
        (_, "p14_restart_by_peer" | "p15_restart_by_bowline" | "p17_mdns") => {
            matches!(kind, Kind::Chromium | Kind::Firefox)
        }
        (_, "p01_through_mio") => matches!(kind, Kind::Chromium | Kind::Aiortc),
        _ => true,
    };
    ALL.into_iter().filter(is_tested)
}

/// What is known to fail with werift, in place of its case.
pub(crate) fn known_failure_of_werift(
    bench: Bench,
) -> Pin<Box<dyn Future<Output = Verdict> + Send>> {
    Box::pin(connecting::known_failure_of_werift(bench))
}

/// A channel, by the names that both sides have for it.
#[derive(Debug, Clone, Copy)]
struct Line {
    ours: ChannelId,
    theirs: u64,
}

/// A channel that bowline opens.
async fn opened_by_us(duo: &Duo, config: ChannelConfig) -> Result<Line, Failure> {
    let label = config.label.clone();
    let ours = duo.bowline.open_channel(config)?;
    let (theirs, _) = duo.peer.opened(&label).await;
    Ok(Line { ours, theirs })
}

/// A channel that the peer opens, as bowline sees it.
async fn opened_by_them(
    duo: &Duo,
    label: &str,
    init: ChannelInit,
) -> Result<(Line, OpenedChannel), Failure> {
    let theirs = duo.peer.open(label, init).await?;
    let opened = announced(duo, label).await?;
    duo.peer.open_is_told(theirs).await;
    let ours = opened.id;
    Ok((Line { ours, theirs }, opened))
}

/// The next channel with this label that the peer announces.
async fn announced(duo: &Duo, label: &str) -> Result<OpenedChannel, Failure> {
    let wanted = async {
        loop {
            let opened = duo
                .bowline
                .accept_channel()
                .await
                .ok_or("the connection ended")?;
            if opened.label == label {
                return Ok(opened);
            }
        }
    };
    tokio::time::timeout(QUICK, wanted).await?
}

/// A channel in whose announcing the offerer takes its part.
async fn opened_by_offerer(duo: &Duo) -> Result<Line, Failure> {
    match duo.first {
        Some(theirs) => {
            let opened = announced(duo, bowline_interop::duo::FIRST).await?;
            duo.peer.open_is_told(theirs).await;
            let ours = opened.id;
            Ok(Line { ours, theirs })
        }
        None => opened_by_us(duo, ChannelConfig::new("ours")).await,
    }
}

/// Sends a message each way and waits for both.
async fn talk(duo: &Duo, line: Line) -> Result<(), Failure> {
    let before = duo.peer.received(line.theirs).len();
    duo.bowline.send(line.ours, "from bowline").await?;
    duo.peer.send_text(line.theirs, "from the peer").await?;
    let received = duo.peer.messages(line.theirs, before + 1, QUICK).await;
    expect_equal(&received[before..], &[Message::text("from bowline")]);
    let received = take(duo, line.ours, 1).await?;
    assert_eq!(received, [Message::text("from the peer")]);
    Ok(())
}

/// The next messages of a channel.
async fn take(duo: &Duo, channel: ChannelId, count: usize) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        let next = tokio::time::timeout(QUICK, duo.bowline.recv_from(channel)).await;
        let next = next.map_err(|_| format!("only {} of {count} messages came", messages.len()))?;
        messages.push(next.ok_or("the channel ended")?);
    }
    Ok(messages)
}

/// That the peer received these messages.
fn expect_equal(received: &[Received], sent: &[Message]) {
    let of = |message: &Message| (message.text, message.len(), crc32(&message.data));
    let sent: Vec<_> = sent.iter().map(of).collect();
    let received: Vec<_> = received.iter().map(|r| (r.text, r.size, r.crc)).collect();
    assert_eq!(received, sent);
}

/// The mode as browsers name it.
fn mode(config: &ChannelConfig) -> (bool, Option<u16>, Option<u16>) {
    let ordered = config.ordering == Ordering::Ordered;
    match config.reliability {
        Reliability::Reliable => (ordered, None, None),
        Reliability::MaxRetransmits(n) => (ordered, Some(n), None),
        Reliability::MaxLifetime(time) => (ordered, None, u16::try_from(time.as_millis()).ok()),
    }
}

/// The same channel, as the peer is asked to open it.
fn init(config: &ChannelConfig) -> ChannelInit {
    let (ordered, max_retransmits, max_packet_life_time) = mode(config);
    ChannelInit {
        ordered: Some(ordered),
        max_retransmits,
        max_packet_life_time,
        protocol: Some(config.protocol.clone()),
        negotiated: config.negotiated.map(|_| true),
        id: config.negotiated,
    }
}

/// The mode of which the peer tells, `None` if it does not tell any.
fn told(mode: &Mode) -> Option<(bool, Option<u16>, Option<u16>)> {
    Some((
        mode.ordered?,
        mode.max_retransmits,
        mode.max_packet_life_time,
    ))
}

/// How long what is quick may take.
const QUICK: Duration = Duration::from_secs(5);
