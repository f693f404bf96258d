//! What a scraper reads of an endpoint: parsed here by the rules of OpenMetrics 1.0, without the code that wrote it.

use std::collections::{BTreeMap, BTreeSet};

use bowline::{ChannelConfig, ChannelKind};
use bowline_tokio::{Delivery, Endpoint, openmetrics};

use crate::common::{Pair, pair, soon};

/// The samples of a text, by their name and labels as they stand there.
type Samples = BTreeMap<String, f64>;

/// Reads a text strictly: as much of the format as there is use of.
fn parse(text: &str) -> Samples {
    assert!(
        text.ends_with("# EOF\n"),
        "ends with the mark and a line feed"
    );
    let mut families = BTreeSet::new();
    let mut samples = Samples::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert_eq!(lines.next(), None, "nothing comes after the end");
            return samples;
        }
        let head = line.strip_prefix("# TYPE ").expect("a family begins");
        let (family, kind) = head.split_once(' ').expect("a name and a kind");
        assert!(is_name(family), "{family}");
        assert!(families.insert(family.to_owned()), "{family} is there once");
        let unit = lines.next_if(|line| line.starts_with("# UNIT "));
        if let Some(unit) = unit {
            let unit = unit.strip_prefix(&format!("# UNIT {family} "));
            let unit = unit.expect("the unit of this family");
            assert!(family.ends_with(&format!("_{unit}")), "{family}: {unit}");
        }
        let has_unit = ["_bytes", "_seconds"]
            .iter()
            .any(|unit| family.ends_with(unit));
        assert_eq!(unit.is_some(), has_unit, "{family}");
        let help = lines.next().expect("more than a type");
        assert!(help.starts_with(&format!("# HELP {family} ")), "{help}");
        let name = match kind {
            "counter" => format!("{family}_total"),
            "gauge" => family.to_owned(),
            other => panic!("{family} is a {other}"),
        };
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let labels = series.strip_prefix(&name).expect("a sample of this family");
            assert!(are_labels(labels), "{line}");
            let value: f64 = value.parse().expect("a number");
            assert!(value.is_finite() && value >= 0.0, "{line}");
            let is_new = samples.insert(series.to_owned(), value).is_none();
            assert!(is_new, "{series} is there once");
        }
    }
    panic!("the text has no end");
}

/// A name of a family or a label.
fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_allowed)
}

/// Nothing, or names with values in quotation marks, between braces. In a value a quotation mark, a backslash and a line
/// feed would have to be escaped; there are none.
fn are_labels(labels: &str) -> bool {
    let inside = labels
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let Some(inside) = inside else {
        return labels.is_empty();
    };
    inside.split(',').all(|label| {
        let (name, value) = label.split_once('=').unwrap_or_default();
        let value = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        is_name(name) && value.is_some_and(|value| !value.contains(['"', '\\', '\n']))
    })
}

/// What an endpoint says now of one series.
fn sample(endpoint: &Endpoint, series: &str) -> Option<f64> {
    parse(&endpoint.openmetrics()).get(series).copied()
}

#[tokio::test]
async fn an_endpoint_without_peers_has_its_own_figures_alone() {
    let Pair { alice, .. } = pair().await;
    alice.close().await;
    let samples = parse(&alice.openmetrics());
    assert_eq!(samples.get("bowline_peers"), Some(&0.0));
    assert!(samples.keys().all(|series| !series.contains("peer=")));
    let causes = samples.keys().filter(|series| series.contains("cause="));
    assert_eq!(causes.count(), 9);
    assert!(openmetrics::CONTENT_TYPE.contains("version=1.0.0"));
}

#[tokio::test]
async fn the_text_tells_what_two_peers_have_sent_each_other() {
    let Pair {
        alice,
        bob,
        to_bob,
        to_alice,
    } = pair().await;
    let mut receipt = None;
    for _ in 0..3 {
        let sent = to_bob.send(ChannelKind::Reliable, vec![7; 1_000]).await;
        receipt = Some(sent.expect("queued"));
    }
    let receipt = receipt.expect("three");
    assert_eq!(
        soon("the delivery", to_bob.delivered(receipt)).await,
        Delivery::Delivered
    );

    let [here, there] = [&alice, &bob].map(|endpoint| parse(&endpoint.openmetrics()));
    let reliable = |name: &str, peer: &str| {
        format!("bowline_channel_{name}{{peer=\"{peer}\",channel=\"reliable\"}}")
    };
    for name in ["accepted_messages_total", "sent_messages_total"] {
        assert_eq!(here.get(&reliable(name, "bob")), Some(&3.0), "{name}");
    }
    assert_eq!(
        here.get(&reliable("sent_bytes_total", "bob")),
        Some(&3_000.0)
    );
    assert_eq!(
        here.get(&reliable("unacknowledged_messages", "bob")),
        Some(&0.0)
    );
    assert_eq!(here.get(&reliable("queue_age_seconds", "bob")), None);
    assert_eq!(
        there.get(&reliable("received_bytes_total", "alice")),
        Some(&3_000.0)
    );
    let channels = here
        .keys()
        .filter(|series| series.starts_with("bowline_channel_sent_bytes"));
    assert_eq!(channels.count(), 4);

    assert_eq!(here.get("bowline_peers_connected"), Some(&1.0));
    let peer = |name: &str| {
        here.get(&format!("bowline_peer_{name}{{peer=\"bob\"}}"))
            .copied()
    };
    assert!(peer("sent_bytes_total") > Some(3_000.0));
    assert_eq!(peer("relayed"), Some(0.0));
    let (least, latest) = (peer("rtt_min_seconds"), peer("rtt_latest_seconds"));
    assert!(
        least.is_some() && least <= latest && latest < Some(10.0),
        "{least:?} {latest:?}"
    );
    assert!(peer("connected_seconds_total") > Some(0.0));
    drop(to_alice);
}

#[tokio::test]
async fn a_custom_channel_has_its_number_and_no_text_of_the_peer() {
    let Pair {
        bob,
        to_bob,
        to_alice,
        ..
    } = pair().await;
    let hostile = "\"} 1\n# EOF\nbowline_peers{x=\"\\";
    let opened = to_bob.open_channel(ChannelConfig::new(hostile));
    let channel = opened.expect("opens");
    to_bob.send(channel, "hello").await.expect("queued");
    let arrived = soon("the message", to_alice.recv())
        .await
        .expect("connected");
    let series = format!(
        "bowline_channel_received_messages_total{{peer=\"alice\",channel=\"{}\"}}",
        arrived.0
    );
    assert_eq!(sample(&bob, &series), Some(1.0));
    assert!(!bob.openmetrics().contains("x="));
}
