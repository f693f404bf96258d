use super::*;

fn link(config: LinkConfig) -> Link {
    Link::new(config, 1, |fault| Purpose::Link {
        from: 0,
        to: 1,
        fault,
    })
}

fn arrival(verdict: Verdict) -> Option<Time> {
    match verdict {
        Verdict::Arrives { at, .. } => Some(at),
        Verdict::Dropped(_) => None,
    }
}

fn arrivals(link: &mut Link, count: u64) -> Vec<Option<Time>> {
    (0..count)
        .map(|ms| arrival(link.pass(100, Class::Dtls, Time::from_millis(ms))))
        .collect()
}

#[test]
fn a_perfect_link_only_delays() {
    let all = arrivals(&mut link(LinkConfig::default()), 3);
    assert_eq!(all, [10, 11, 12].map(|ms| Some(Time::from_millis(ms))));
}

#[test]
fn loss_comes_at_its_rate() {
    let mut link = link(LinkConfig::default().lossy(0.1));
    let lost = arrivals(&mut link, 10_000)
        .iter()
        .filter(|a| a.is_none())
        .count();
    assert!((900..1_100).contains(&lost), "{lost}");
}

#[test]
fn burst_loss_comes_in_runs_longer_than_independent_loss() {
    let burst = Burst {
        enter: 0.01,
        leave: 0.1,
        loss: 1.0,
    };
    let mut link = link(LinkConfig {
        burst: Some(burst),
        ..LinkConfig::default()
    });
    let all = arrivals(&mut link, 100_000);
    let lost = all.iter().filter(|a| a.is_none()).count();
    let runs = all
        .windows(2)
        .filter(|w| w[0].is_some() && w[1].is_none())
        .count();
    assert!(
        (8_000..10_200).contains(&lost),
        "1/11 of the time is bad: {lost}"
    );
    assert!(
        (8..13).contains(&(lost / runs)),
        "a run has 10 on average: {}",
        lost / runs
    );
}

#[test]
fn jitter_alone_keeps_the_order_and_reordering_breaks_it() {
    let swaps = |config| {
        let all: Vec<Time> = arrivals(&mut link(config), 1_000)
            .into_iter()
            .flatten()
            .collect();
        all.windows(2).filter(|w| w[1] < w[0]).count()
    };
    let jitter = Duration::from_millis(50);
    assert_eq!(
        swaps(LinkConfig {
            jitter,
            ..LinkConfig::default()
        }),
        0
    );
    assert!(
        swaps(LinkConfig {
            reorder: 0.2,
            ..LinkConfig::default()
        }) > 50
    );
}

#[test]
fn a_rate_limit_spaces_datagrams_and_its_queue_drops_the_tail() {
    let config = LinkConfig {
        rate: Some(1_000),
        queue: 300,
        ..LinkConfig::default()
    };
    let mut link = link(config);
    let at = |link: &mut Link| arrival(link.pass(100, Class::Dtls, Time::ZERO));
    let ms = |ms| Some(Time::from_millis(ms));
    assert_eq!(
        [at(&mut link), at(&mut link), at(&mut link)],
        [ms(110), ms(210), ms(310)]
    );
    let full = link.pass(1, Class::Dtls, Time::ZERO);
    assert_eq!(full, Verdict::Dropped(DropCause::Queue), "300 bytes wait");
    let later = link.pass(100, Class::Dtls, Time::from_millis(100));
    assert_eq!(arrival(later), ms(410), "100 bytes have left");
}

#[test]
fn a_datagram_of_the_mtu_passes_and_a_larger_one_vanishes() {
    let mut link = link(LinkConfig {
        mtu: 1_200,
        ..LinkConfig::default()
    });
    assert!(arrival(link.pass(1_200, Class::Dtls, Time::ZERO)).is_some());
    let verdict = link.pass(1_201, Class::Dtls, Time::ZERO);
    assert_eq!(verdict, Verdict::Dropped(DropCause::Mtu));
}

#[test]
fn a_partition_drops_until_its_end() {
    let mut link = link(LinkConfig::default());
    link.partition(Time::from_millis(5));
    let verdict = link.pass(1, Class::Stun, Time::from_millis(4));
    assert_eq!(verdict, Verdict::Dropped(DropCause::Partition));
    assert!(arrival(link.pass(1, Class::Stun, Time::from_millis(5))).is_some());
}

#[test]
fn a_filter_drops_its_class_only() {
    let mut link = link(LinkConfig {
        filter: vec![Class::Stun],
        ..LinkConfig::default()
    });
    let verdict = link.pass(1, Class::Stun, Time::ZERO);
    assert_eq!(verdict, Verdict::Dropped(DropCause::Filter));
    assert!(arrival(link.pass(1, Class::Dtls, Time::ZERO)).is_some());
}

#[test]
fn damage_changes_what_it_says() {
    let mut contents = vec![0; 4];
    Damage::Flipped([9, 9, 0]).apply(&mut contents);
    assert_eq!(contents, [1, 2, 0, 0]);
    Damage::Truncated(1).apply(&mut contents);
    assert_eq!(contents, [1]);
}

#[test]
fn one_kind_of_fault_does_not_shift_the_draws_of_another() {
    let lost = |config| {
        arrivals(&mut link(config), 500)
            .iter()
            .map(Option::is_none)
            .collect()
    };
    let plain: Vec<bool> = lost(LinkConfig::default().lossy(0.3));
    let more = LinkConfig {
        duplicate: 0.5,
        reorder: 0.5,
        flip: 0.5,
        ..LinkConfig::default()
    };
    assert_eq!(plain, lost(more.lossy(0.3)));
}

#[test]
fn a_link_survives_a_round_trip_through_json() {
    let link = LinkConfig {
        filter: vec![Class::Dtls],
        loss: 0.1,
        ..LinkConfig::default()
    };
    let json = serde_json::to_string(&link).expect("plain data");
    assert_eq!(
        serde_json::from_str::<LinkConfig>(&json).expect("the same shape"),
        link
    );
}

#[test]
fn a_clogged_link_gives_out_everything_at_once_when_it_is_free() {
    let mut link = link(LinkConfig::default());
    link.clog(Time::from_secs(2));
    let all = arrivals(&mut link, 3);
    assert_eq!(all, [Some(Time::from_secs(2)); 3]);
    link.heal();
    let later = link.pass(1, Class::Dtls, Time::from_secs(3));
    assert_eq!(arrival(later), Some(Time::from_millis(3_010)));
    assert!(link.marks.has(Mark::Clog));
}

#[test]
fn a_spike_holds_up_what_follows_and_a_replay_comes_much_later() {
    let mut link = link(LinkConfig {
        spike: 0.01,
        spike_by: Duration::from_secs(5),
        replay: 0.01,
        replay_by: Duration::from_secs(300),
        ..LinkConfig::default()
    });
    let (mut last, mut longest, mut replayed) = (Time::ZERO, Duration::ZERO, 0);
    for ms in 0..2_000 {
        let now = Time::from_millis(ms * 100);
        let Verdict::Arrives { at, again, .. } = link.pass(100, Class::Dtls, now) else {
            panic!("nothing is lost");
        };
        assert!(at >= last, "the order is kept");
        last = at;
        longest = longest.max(at.since(now));
        replayed += usize::from(again.is_some_and(|again| again.since(at).as_secs() > 60));
    }
    assert!(longest > Duration::from_secs(3), "{longest:?}");
    assert!((5..40).contains(&replayed), "{replayed}");
    assert!(link.marks.has(Mark::DelaySpike) && !link.marks.has(Mark::Duplicate));
}
