use std::time::Duration;

use bowline::{ChannelConfig, ChannelKind, Ordering, Reliability};
use bowline_sim::{Action, LinkConfig, Reader, World};

use super::{close_all, connected};

const MIB: usize = 1 << 20;

fn bulk(channel: ChannelKind, count: u32) -> Action {
    Action::Send {
        from: 0,
        to: 1,
        channel,
        size: 64 * 1024,
        count,
        text: false,
    }
}

#[test]
fn an_absent_reader_stops_its_channel_at_the_window_and_no_other() {
    let mut world = connected(1, LinkConfig::default());
    world.set_reader(1, Reader::Absent);
    world.apply(bulk(ChannelKind::File, 160));
    world.run_for(Duration::from_secs(30));
    let kept = usize::try_from(world.received(1, 0, ChannelKind::File).bytes).expect("small");
    assert!(
        (2 * MIB..=4 * MIB).contains(&kept),
        "{kept} bytes of a window of 4 MiB"
    );
    world
        .send(0, 1, ChannelKind::Control, "still alive")
        .expect("another channel");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.received(1, 0, ChannelKind::Control).messages, 1);
    world.set_reader(1, Reader::Prompt);
    let all = |w: &World| w.received(1, 0, ChannelKind::File).messages == 160;
    assert!(world.run_until(all, Duration::from_secs(60)));
    close_all(&mut world);
}

#[test]
fn a_slow_reader_gets_everything_at_its_own_pace() {
    let mut world = connected(2, LinkConfig::default());
    world.set_reader(1, Reader::Rate(512 * 1024));
    world.apply(bulk(ChannelKind::Reliable, 160));
    let all = |w: &World| w.received(1, 0, ChannelKind::Reliable).messages == 160;
    assert!(world.run_until(all, Duration::from_secs(60)));
    let took = world.now().as_secs_f64();
    assert!(
        (8.0..25.0).contains(&took),
        "10 MiB less a window of 4 at 0.5 MiB/s take 12 s: {took}"
    );
    world.run_for(Duration::from_secs(30));
    close_all(&mut world);
}

#[test]
fn a_control_message_overtakes_a_bulk_transfer() {
    let rate = LinkConfig {
        rate: Some(1_000_000),
        queue: 100_000,
        ..LinkConfig::default()
    };
    let mut world = connected(3, rate);
    world.apply(bulk(ChannelKind::File, 160));
    world.run_for(Duration::from_secs(3));
    let before = world.now();
    world
        .send(0, 1, ChannelKind::Control, "first")
        .expect("an empty queue");
    let arrived = |w: &World| w.received(1, 0, ChannelKind::Control).messages == 1;
    assert!(world.run_until(arrived, Duration::from_secs(20)));
    let took = world.now().since(before);
    assert!(
        took < Duration::from_secs(2),
        "{took:?} behind 10 MiB at 1 MB/s"
    );
    assert!(
        world.outstanding(0, 1, ChannelKind::File) > 20,
        "the transfer still runs"
    );
    world.run_for(Duration::from_secs(60));
    close_all(&mut world);
}

#[test]
fn custom_channels_of_every_mode_keep_their_promises_under_loss() {
    let mut world = connected(4, LinkConfig::default().lossy(0.1));
    let reliabilities = [
        Reliability::Reliable,
        Reliability::MaxRetransmits(1),
        Reliability::MaxLifetime(Duration::from_millis(200)),
    ];
    let mut channels = Vec::new();
    for (i, reliability) in reliabilities.into_iter().enumerate() {
        for ordering in [Ordering::Ordered, Ordering::Unordered] {
            let label = format!("{i}-{ordering:?}");
            let config = ChannelConfig {
                ordering,
                reliability,
                ..ChannelConfig::new(label)
            };
            let channel = world.open_channel(0, 1, config).expect("connected");
            channels.push((channel, reliability));
        }
    }
    world.run_for(Duration::from_secs(10));
    for i in 0..50 {
        for (channel, _) in &channels {
            world
                .send(0, 1, *channel, format!("message {i}"))
                .expect("open");
        }
        world.run_for(Duration::from_millis(20));
    }
    world.run_for(Duration::from_secs(60));
    world.assert_no_violation();
    for (channel, reliability) in channels {
        if reliability == Reliability::Reliable {
            assert_eq!(world.outstanding(0, 1, channel), 0);
            assert_eq!(world.confirmed(0, 1, channel), 50);
        }
    }
    close_all(&mut world);
}
