//! P5 to P8 and P12: what a channel is, which stream it gets, and how it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline::{ChannelConfig, Event, Ordering, Reliability};
use bowline_interop::bridge::{Offerer, attribute};
use bowline_interop::duo::{Duo, Meeting};
use bowline_interop::foreign::{ChannelInit, Event as ForeignEvent, Kind, Mode};

use super::{
    Line, QUICK, announced, init, mode, opened_by_offerer, opened_by_them, opened_by_us, talk, told,
};
use crate::table::Outcome;
use crate::{Bench, Failure, Verdict};

/// P5: empty, ASCII, and three bytes a character.
pub(super) async fn labels_and_protocols_are_equal_on_both_sides(bench: Bench) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    for (label, protocol) in [
        ("", ""),
        ("label", ""),
        ("", "protocol"),
        ("chat", "text/1"),
        ("世界你好", "你好"),
    ] {
        let ours = ChannelConfig {
            protocol: protocol.to_owned(),
            ..ChannelConfig::new(label)
        };
        let id = duo.bowline.open_channel(ours)?;
        let seen = |events: &[ForeignEvent]| {
            events.iter().find_map(|event| match event {
                ForeignEvent::Open { channel, mode }
                    if mode.label == label && mode.protocol == protocol =>
                {
                    Some(*channel)
                }
                _ => None,
            })
        };
        let theirs = duo
            .peer
            .log
            .within(QUICK, &format!("{label:?} {protocol:?}"), seen)
            .await;
        talk(&duo, Line { ours: id, theirs }).await?;

        let wanted = ChannelInit {
            protocol: Some(protocol.to_owned()),
            ..ChannelInit::default()
        };
        if bench.kind == Kind::Aiortc && !label.is_ascii() {
            is_announced_in_vain(&duo, label, wanted).await?;
            continue;
        }
        let (line, opened) = opened_by_them(&duo, label, wanted).await?;
        assert_eq!(
            (opened.label.as_str(), opened.protocol.as_str()),
            (label, protocol)
        );
        talk(&duo, line).await?;
    }
    duo.part().await;
    if bench.kind == Kind::Aiortc {
        let reason = "in the announcement of a channel it counts the characters of label and protocol where RFC 8832 \
                      wants the bytes; bowline closes a channel whose label is then no UTF-8 (the other way it works)";
        return Ok(Outcome::TheirFailure(reason.to_owned()));
    }
    Ok(Outcome::Passed)
}

/// The peer opens a channel whose announcement is malformed: that channel is closed, and nothing else happens.
async fn is_announced_in_vain(duo: &Duo, label: &str, init: ChannelInit) -> Result<(), Failure> {
    let theirs = duo.peer.open(label, init).await?;
    let closed =
        |e: &ForeignEvent| matches!(e, ForeignEvent::Closed { channel } if *channel == theirs);
    let found = |events: &[ForeignEvent]| events.iter().any(closed).then_some(());
    let what = "the channel closed that was announced wrongly";
    duo.peer.log.within(QUICK, what, found).await;
    let announced = |e: &Event| matches!(e, Event::ChannelOpen { remote: true, label, .. } if !label.is_ascii());
    assert_eq!(duo.events.count(announced), 0);
    talk(
        duo,
        opened_by_us(duo, ChannelConfig::new("unharmed")).await?,
    )
    .await
}

/// P6: with the reliability parameter at both ends of its range.
pub(super) async fn the_six_types_read_back_equal(bench: Bench) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    let mut silent = false;
    for config in every_type() {
        let label = format!("ours {}", config.label);
        duo.bowline.open_channel(ChannelConfig {
            label: label.clone(),
            ..config.clone()
        })?;
        let (_, seen) = duo.peer.opened(&label).await;
        match told(&seen) {
            Some(seen) => assert_eq!(seen, mode(&config), "{label}"),
            None => silent = true,
        }
        let label = format!("theirs {}", config.label);
        let (_, opened) = opened_by_them(&duo, &label, init(&config)).await?;
        let seen = (opened.ordering, opened.reliability);
        assert_eq!(seen, (config.ordering, config.reliability), "{label}");
    }
    duo.part().await;
    if silent {
        let note = "its API does not tell the type of a channel that the other side opened: checked towards bowline only";
        return Ok(Outcome::Noted(note.to_owned()));
    }
    Ok(Outcome::Passed)
}

fn every_type() -> Vec<ChannelConfig> {
    let milliseconds = |n| Reliability::MaxLifetime(Duration::from_millis(n));
    let reliabilities = [
        Reliability::Reliable,
        Reliability::MaxRetransmits(0),
        Reliability::MaxRetransmits(u16::MAX),
        milliseconds(0),
        milliseconds(u16::MAX.into()),
    ];
    let mut all = Vec::new();
    for ordering in [Ordering::Ordered, Ordering::Unordered] {
        for reliability in reliabilities {
            let label = format!("{ordering:?} {reliability:?}");
            all.push(ChannelConfig {
                ordering,
                reliability,
                ..ChannelConfig::new(label)
            });
        }
    }
    all
}

/// P7: stream 42, which both sides know of.
pub(super) async fn an_agreed_stream_opens_without_announcement(bench: Bench) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    let config = ChannelConfig {
        negotiated: Some(AGREED),
        ..ChannelConfig::new("agreed")
    };
    let theirs = duo.peer.open("agreed", init(&config)).await?;
    let ours = duo.bowline.open_channel(config)?;
    let (opened, mode) = duo.peer.opened("agreed").await;
    assert_eq!(opened, theirs);
    assert!(mode.id.is_none_or(|id| id == AGREED), "{mode:?}");
    talk(&duo, Line { ours, theirs }).await?;
    let at_peer = |event: &ForeignEvent| matches!(event, ForeignEvent::Channel { mode, .. } if mode.label == "agreed");
    assert_eq!(
        duo.peer.log.count(at_peer),
        0,
        "nothing was announced to the peer"
    );
    let at_bowline = |event: &Event| matches!(event, Event::ChannelOpen { label, remote: true, .. } if label == "agreed");
    assert_eq!(
        duo.events.count(at_bowline),
        0,
        "nothing was announced to bowline"
    );
    duo.part().await;
    Ok(Outcome::Passed)
}

/// P8: RFC 8832 section 6: the DTLS client has the even ones.
pub(super) async fn twenty_channels_at_once_get_ids_by_role(bench: Bench) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    let mut lines = Vec::new();
    let mut opening = Vec::new();
    for n in 0..EACH {
        opening.push((
            n,
            duo.bowline
                .open_channel(ChannelConfig::new(format!("ours {n}")))?,
        ));
    }
    for n in 0..EACH {
        lines.push((
            duo.peer
                .open(&format!("theirs {n}"), ChannelInit::default())
                .await?,
            n,
        ));
    }
    let bowline_is_client = (bench.offerer == Offerer::Peer)
        == (attribute(&answer(&duo, bench.offerer), "setup") == Some("active"));
    let (mut ids, mut untold) = (BTreeSet::new(), false);
    let mut check = |mode: &Mode, by_bowline: bool| {
        let Some(id) = mode.id else {
            untold = true;
            return;
        };
        assert!(ids.insert(id), "{id} is used once");
        assert_eq!(
            id % 2 == 0,
            by_bowline == bowline_is_client,
            "{id}, opened by bowline: {by_bowline}"
        );
    };
    for (n, ours) in opening {
        let (theirs, mode) = duo.peer.opened(&format!("ours {n}")).await;
        check(&mode, true);
        talk(&duo, Line { ours, theirs }).await?;
    }
    for (theirs, n) in lines {
        let label = format!("theirs {n}");
        let (_, mode) = duo.peer.opened(&label).await;
        check(&mode, false);
        let ours = announced(&duo, &label).await?.id;
        talk(&duo, Line { ours, theirs }).await?;
    }
    duo.part().await;
    if untold {
        let note = "its API does not tell the stream id: seen only that twenty channels open at once and carry data";
        return Ok(Outcome::Noted(note.to_owned()));
    }
    Ok(Outcome::Passed)
}

fn answer(duo: &Duo, offerer: Offerer) -> String {
    match offerer {
        Offerer::Bowline => duo.by_peer(),
        Offerer::Peer => duo.by_bowline(),
    }
}

/// P12: by the side that opened it and by the other.
pub(super) async fn either_side_closes_a_channel_without_error(bench: Bench) -> Verdict {
    // In connections of their own: an id that has just become free is not given out again, which is another matter.
    for (we_open, we_close) in [(true, true), (true, false), (false, true), (false, false)] {
        let duo = Meeting::new(bench.offerer)
            .connect(&*bench.stack().await?)
            .await?;
        let kept = opened_by_offerer(&duo).await?;
        let label = format!("opened by us {we_open}, closed by us {we_close}");
        let line = if we_open {
            opened_by_us(&duo, ChannelConfig::new(&label)).await?
        } else {
            opened_by_them(&duo, &label, ChannelInit::default())
                .await?
                .0
        };
        talk(&duo, line).await?;
        close(&duo, line, we_close).await?;
        // What would come late has come before this.
        talk(&duo, kept).await?;
        nothing_after_closed(&duo, line, we_close, &label);
        duo.part().await;
    }
    Ok(Outcome::Passed)
}

async fn close(duo: &Duo, line: Line, we_close: bool) -> Result<(), Failure> {
    if we_close {
        duo.bowline.close_channel(line.ours)?;
    } else {
        duo.peer.shut(line.theirs).await?;
    }
    let at_peer = |events: &[ForeignEvent]| events.iter().any(|e| is_closed(e, line)).then_some(());
    duo.peer
        .log
        .within(QUICK, "closed at the peer", at_peer)
        .await;
    let at_bowline =
        |events: &[Event]| events.iter().any(|e| is_closed_here(e, line)).then_some(());
    duo.events
        .within(QUICK, "closed at bowline", at_bowline)
        .await;
    Ok(())
}

fn is_closed(event: &ForeignEvent, line: Line) -> bool {
    matches!(event, ForeignEvent::Closed { channel } if *channel == line.theirs)
}

fn is_closed_here(event: &Event, line: Line) -> bool {
    matches!(event, Event::ChannelClosed { channel, .. } if *channel == line.ours)
}

fn nothing_after_closed(duo: &Duo, line: Line, we_close: bool, label: &str) {
    let theirs: Vec<_> = duo
        .peer
        .log
        .all()
        .into_iter()
        .filter(|e| e.channel() == Some(line.theirs))
        .collect();
    let end: Vec<_> = theirs
        .iter()
        .skip_while(|e| {
            !matches!(
                e,
                ForeignEvent::Closing { .. } | ForeignEvent::Closed { .. }
            )
        })
        .collect();
    let closed = end.iter().filter(|e| is_closed(e, line)).count();
    assert!(
        closed == 1 && end.len() <= 2 && is_closed(end[end.len() - 1], line),
        "{label}: {end:?}"
    );
    if !we_close && end.len() == 2 {
        panic!("{label}: closing is for those whose peer closes: {end:?}");
    }
    let faults = |event: &Event| matches!(event, Event::ChannelError { channel, .. } if *channel == line.ours);
    assert_eq!(duo.events.count(faults), 0, "{label}: no error");
    assert_eq!(
        duo.events.count(|e| is_closed_here(e, line)),
        1,
        "{label}: closed once"
    );
    let ours: Vec<_> = duo
        .events
        .all()
        .into_iter()
        .filter(|e| channel_of(e) == Some(line.ours))
        .collect();
    assert!(
        ours.last().is_some_and(|e| is_closed_here(e, line)),
        "{label}: nothing after closed: {ours:?}"
    );
    assert!(duo.bowline.try_send(line.ours, "late").is_err(), "{label}");
}

fn channel_of(event: &Event) -> Option<bowline::ChannelId> {
    match event {
        Event::ChannelOpen { channel, .. }
        | Event::ChannelClosed { channel, .. }
        | Event::ChannelError { channel, .. }
        | Event::Writable { channel, .. }
        | Event::Message { channel, .. }
        | Event::Sent { channel, .. }
        | Event::Delivered { channel, .. }
        | Event::NotDelivered { channel, .. } => Some(*channel),
        _ => None,
    }
}

/// The stream that both sides know of.
const AGREED: u16 = 42;
/// Channels that each side opens at once.
const EACH: usize = 10;
