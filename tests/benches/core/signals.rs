//! What signalling messages cost that are signed and sealed, beside the bound that each is given.

use std::time::{Duration, Instant};

use bowline::{
    Config, ConnectOptions, Endpoint, Identity, Input, Output, Protection, Seed, UnixTime,
};

use crate::meter::{Effort, Line, cpu, medians, nanos_each};

const NOW: UnixTime = UnixTime::from_millis(1_790_000_000_000);

/// A whole offer with four candidates. It comes when it is not fresh any more, which is looked at last: everything is
/// done but to use it.
pub(crate) fn signals(effort: Effort) -> Vec<Line> {
    let now = Instant::now();
    let mut bob = endpoint(2, Protection::Signed, now);
    let [sealed, signed] = [Protection::Sealed, Protection::Signed]
        .map(|protection| offer(&mut endpoint(1, protection, now), &bob, now));
    let unix_time = NOW.plus(Duration::from_secs(600));
    bob.handle_input(Input::WallClockSet { unix_time }, now);
    let plain = format!(
        r#"{{"v":1,"from":"alice","to":"bob","sdp":"{}"}}"#,
        "x".repeat(4_000)
    );
    let huge = "x".repeat(1_000_000);
    [
        ("a sealed offer opened", &sealed, OPENED, 400),
        ("a signed offer verified", &signed, OPENED, 400),
        ("a plain message refused", &plain, REFUSED, 100_000),
        ("a megabyte refused", &huge, REFUSED, 100_000),
    ]
    .map(|(what, text, bound, count)| {
        let count = effort.pick(1, count);
        let [bowline] = medians(effort, |_| {
            let work = || (0..count).for_each(|_| refuse(&mut bob, text, now));
            nanos_each(cpu(work).0, count) / 1e3
        });
        Line {
            what: what.to_owned(),
            unit: "us",
            reference: bound,
            bowline,
            target: Some(1.0),
        }
    })
    .into()
}

fn endpoint(key: u8, protection: Protection, now: Instant) -> Endpoint {
    let config = Config::builder()
        .protection(protection)
        .build()
        .expect("valid");
    let identity = Identity::from_private_key([key; 32]);
    let mut endpoint =
        Endpoint::new(config, identity, Seed::from([key; 32]), now, NOW).expect("a certificate");
    for host in 1..=4 {
        let local = ([192, 0, 2, host], 4_000).into();
        endpoint.handle_input(Input::SocketBound { local }, now);
    }
    endpoint
}

/// The text with which `from` calls `to`.
fn offer(from: &mut Endpoint, to: &Endpoint, now: Instant) -> String {
    from.connect(to.id(), ConnectOptions::default(), now)
        .expect("they have not met");
    let mut buf = Vec::new();
    loop {
        match from.poll_output(&mut buf) {
            Output::Signal(signal) => return signal.text,
            Output::Timeout(_) => panic!("an offer is made"),
            _ => {}
        }
    }
}

fn refuse(endpoint: &mut Endpoint, text: &str, now: Instant) {
    let refused = endpoint.stats().signals_refused;
    endpoint.handle_input(Input::Signal { text }, now);
    assert_eq!(endpoint.stats().signals_refused, refused + 1);
    let mut buf = Vec::new();
    while !matches!(endpoint.poll_output(&mut buf), Output::Timeout(_)) {}
}

/// What opening may cost, in microseconds.
const OPENED: f64 = 150.0;
/// What refusing may cost, in microseconds.
const REFUSED: f64 = 5.0;
