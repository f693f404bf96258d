use std::time::Duration;

use super::*;
use crate::findings::Invariant;
use crate::time::{Clock, Time};
use crate::trace::{Passage, Record};

fn trace(entries: usize) -> Trace {
    let mut trace = Trace::new(Record::Everything);
    for i in 0..entries {
        let at = Time::from_millis(i as u64 * 100);
        let arrives = Passage::Arrives(at.after(Duration::from_millis(10)));
        trace.on_signal(at, (i % 2, Some(1 - i % 2)), 700, arrives);
        trace.on_datagram(at, (0, Some(1)), &[22; 40], arrives);
        trace.on_datagram(
            at,
            (0, Some(1)),
            &[22; 60],
            Passage::Dropped(crate::DropCause::Loss),
        );
    }
    trace.on_action(Clock::new(Duration::ZERO).now(), None, || {
        "a <cut> & more".to_owned()
    });
    trace
}

#[test]
fn a_figure_names_hosts_times_losses_and_violations_and_escapes_text() {
    let violation = Violation {
        invariant: Invariant::Order,
        at: Time::from_millis(50),
        text: "swapped".to_owned(),
    };
    let svg = draw(&trace(2), &["alice", "bob"], &[violation]);
    for part in [
        "alice",
        "bob",
        "0.100",
        "DTLS x2, 100 B, 1 lost",
        "swapped",
        "a &lt;cut&gt; &amp; more",
    ] {
        assert!(svg.contains(part), "{part}");
    }
}

#[test]
fn the_size_of_a_figure_is_bounded() {
    let svg = draw(&trace(5_000), &["alice", "bob"], &[]);
    assert!(svg.contains("rows are left out"));
    assert!(svg.len() < (rows::MAX_ROWS + 50) * 700, "{}", svg.len());
}

#[test]
fn no_two_texts_stand_in_one_row() {
    let svg = draw(&trace(50), &["alice", "bob"], &[]);
    let rows: Vec<&str> = svg
        .lines()
        .filter(|line| line.starts_with("<text") && !line.contains("class=\"time\""))
        .filter_map(|line| line.split(" y=\"").nth(1)?.split('"').next())
        .collect();
    let mut unique = rows.clone();
    unique.sort_unstable();
    unique.dedup();
    // The names share the first row and stand apart in it.
    assert_eq!(unique.len(), rows.len() - 1);
}
