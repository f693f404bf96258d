//! One endpoint with many peers of which most are idle.

use std::time::Duration;

use bowline::{Config, Input};

use crate::meter::{cpu, nanos_each};
use crate::pair::{Dtls, Kept, Net, Pace};

/// Endpoint 0 with `peers` connected ones around it, and a few datagrams of each of the first ten.
pub(crate) struct Crowd {
    net: Net,
    sample: Vec<Kept>,
}

impl Crowd {
    pub(crate) fn new(peers: usize) -> Self {
        let config = Config::builder()
            .metrics_interval(None)
            .build()
            .expect("valid");
        let mut net = Net::new(
            peers + 1,
            &config,
            Dtls::Null,
            Pace::Virtual(Duration::from_millis(1)),
        );
        for peer in 1..=peers {
            net.connect(&[(peer, 0)]);
        }
        net.kept = Some((0, Vec::new()));
        for peer in 1..=SPEAKERS {
            net.send_one(peer, 0);
        }
        let sample = net.kept.take().map(|(_, kept)| kept).unwrap_or_default();
        assert!(sample.len() >= SPEAKERS);
        Self { net, sample }
    }

    /// The nanoseconds for a datagram from one of ten peers, while the others are idle. The datagrams are old ones, which
    /// the transport drops as soon as it sees their numbers: what is left is finding their peer.
    pub(crate) fn datagram(&mut self, rounds: u64) -> f64 {
        let Self { net, sample } = self;
        let (spent, ()) = cpu(|| {
            for _ in 0..rounds {
                for Kept {
                    local,
                    remote,
                    contents,
                } in sample.iter()
                {
                    let segment_size = contents.len();
                    let (local, remote) = (*local, *remote);
                    net.input(
                        0,
                        Input::Datagrams {
                            local,
                            remote,
                            contents,
                            segment_size,
                        },
                    );
                }
            }
        });
        nanos_each(spent, rounds * sample.len() as u64)
    }

    /// The nanoseconds for a datagram that belongs to nobody.
    pub(crate) fn stray(&mut self, count: u64) -> f64 {
        let Self { net, sample } = self;
        let Kept {
            local, contents, ..
        } = &sample[0];
        let remote = "203.0.113.1:9".parse().expect("an address");
        let input = Input::Datagrams {
            local: *local,
            remote,
            contents,
            segment_size: contents.len(),
        };
        let (spent, ()) = cpu(|| (0..count).for_each(|_| net.input(0, input)));
        nanos_each(spent, count)
    }

    /// The nanoseconds for a wake-up at which no peer has anything due.
    pub(crate) fn wakeup(&mut self, count: u64) -> f64 {
        let (spent, ()) = cpu(|| (0..count).for_each(|_| self.net.input(0, Input::Timeout)));
        nanos_each(spent, count)
    }
}

/// Peers whose datagrams are measured.
const SPEAKERS: usize = 10;
