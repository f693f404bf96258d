//! Datagrams that are heard on the path, and sent again otherwise.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::marks::Mark;
use crate::time::Time;

use super::{Attacker, Hands, Heard};

/// Takes one datagram in so many that it hears, and sends it once more in the name of its sender: damaged, cut in half, or as it
/// was but late.
#[derive(Debug)]
pub struct Injector {
    every: u64,
    left: u32,
    spared: Vec<u16>,
    heard: u64,
    late: VecDeque<(Time, SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Injector {
    /// Takes one datagram in `every`, and `count` of them in all.
    #[must_use]
    pub fn new(every: u64, count: u32) -> Self {
        Self {
            every: every.max(1),
            left: count,
            spared: Vec::new(),
            heard: 0,
            late: VecDeque::new(),
        }
    }

    /// Leaves what is from or to one of these ports.
    #[must_use]
    pub fn sparing(self, ports: Vec<u16>) -> Self {
        Self {
            spared: ports,
            ..self
        }
    }
}

impl Attacker for Injector {
    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        while let Some((at, ..)) = self.late.front()
            && *at <= hands.now()
            && let Some((_, source, destination, contents)) = self.late.pop_front()
        {
            hands.send(source, destination, contents);
        }
    }

    fn overhear_datagram(&mut self, datagram: &Heard<'_>, hands: &mut Hands<'_>) {
        self.heard += 1;
        let (source, destination) = (datagram.source, datagram.destination);
        let mut ports = [source.port(), destination.port()].into_iter();
        let is_spared = ports.any(|port| self.spared.contains(&port));
        if self.left == 0 || is_spared || !self.heard.is_multiple_of(self.every) {
            return;
        }
        self.left -= 1;
        let mut contents = datagram.contents.to_vec();
        match self.left % 3 {
            0 => {
                let place = usize::try_from(self.heard).unwrap_or_default() % contents.len().max(1);
                if let Some(byte) = contents.get_mut(place) {
                    *byte ^= 0x10;
                }
                hands.send(source, destination, contents);
            }
            1 => {
                contents.truncate(contents.len() / 2);
                hands.send(source, destination, contents);
            }
            _ => {
                let at = hands.in_a(LATE);
                self.late.push_back((at, source, destination, contents));
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.late.front().map(|(at, ..)| *at)
    }

    fn mark(&self) -> Option<Mark> {
        Some(Mark::Injector)
    }
}

/// How late a datagram comes once more.
const LATE: Duration = Duration::from_secs(3);
