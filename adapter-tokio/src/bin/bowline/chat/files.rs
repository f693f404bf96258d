//! The files that are offered or under way, under the numbers by which the user names them.

use std::collections::BTreeMap;

use bowline::PeerId;

use crate::files::Side;
use crate::text;

/// All files, by number.
#[derive(Debug, Default)]
pub(crate) struct Files {
    entries: BTreeMap<u32, Entry>,
    last: u32,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) peer: PeerId,
    pub(crate) side: Side,
    /// Its number with the peer. None while an offer of ours is on the way to the exchange.
    pub(crate) transfer: Option<u32>,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) received: u64,
    /// Whether data flows.
    pub(crate) begun: bool,
}

impl Files {
    /// Adds a file, and gives its number.
    pub(crate) fn add(&mut self, entry: Entry) -> u32 {
        self.last += 1;
        self.entries.insert(self.last, entry);
        self.last
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Entry> {
        self.entries.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<Entry> {
        self.entries.remove(&number)
    }

    /// The number under which the user knows a transfer.
    pub(crate) fn number(&self, peer: PeerId, side: Side, transfer: u32) -> Option<u32> {
        let is_it = |entry: &Entry| {
            (entry.peer, entry.side, entry.transfer) == (peer, side, Some(transfer))
        };
        self.entries
            .iter()
            .find(|(_, entry)| is_it(entry))
            .map(|(number, _)| *number)
    }

    /// Removes all files of a peer, and gives them with their numbers.
    pub(crate) fn remove_all(&mut self, peer: PeerId) -> Vec<(u32, Entry)> {
        let (removed, kept): (BTreeMap<_, _>, _) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|(_, entry)| entry.peer == peer);
        self.entries = kept;
        removed.into_iter().collect()
    }

    /// A line for each, with what its peer is called.
    pub(crate) fn lines(&self, called: impl Fn(PeerId) -> String) -> Vec<String> {
        let line = |entry: &Entry| entry.line(&called(entry.peer));
        let entries = self.entries.iter();
        entries
            .map(|(number, entry)| format!("{number}  {}", line(entry)))
            .collect()
    }
}

impl Entry {
    fn line(&self, peer: &str) -> String {
        let direction = match self.side {
            Side::Sender => "to",
            Side::Receiver => "from",
        };
        let state = if self.begun {
            format!(
                "{} of {}",
                text::bytes(self.received),
                text::bytes(self.size)
            )
        } else {
            format!("offered, {}", text::bytes(self.size))
        };
        format!("{} {direction} {peer}: {state}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_number_and_by_what_its_peer_calls_it() {
        let peer = |name: &str| PeerId::new(name).expect("valid");
        let entry = |name: &str, side, transfer| Entry {
            peer: peer(name),
            side,
            transfer,
            name: "a.txt".to_owned(),
            size: 2_000,
            received: 1_000,
            begun: transfer.is_some(),
        };
        let mut files = Files::default();
        let one = files.add(entry("alice", Side::Sender, None));
        let two = files.add(entry("alice", Side::Receiver, Some(7)));
        let three = files.add(entry("bob", Side::Sender, Some(7)));
        assert_eq!((one, two, three), (1, 2, 3));
        assert_eq!(files.number(peer("alice"), Side::Receiver, 7), Some(two));
        assert_eq!(files.number(peer("alice"), Side::Sender, 7), None);
        assert_eq!(
            files.lines(|peer| peer.to_string()),
            [
                "1  a.txt to alice: offered, 2.00 kB",
                "2  a.txt from alice: 1.00 kB of 2.00 kB",
                "3  a.txt to bob: 1.00 kB of 2.00 kB",
            ]
        );
        let numbers = |files: Vec<(u32, Entry)>| files.iter().map(|(n, _)| *n).collect::<Vec<_>>();
        assert_eq!(numbers(files.remove_all(peer("alice"))), [one, two]);
        assert_eq!(numbers(files.remove_all(peer("alice"))), [0; 0]);
        // A number is not given twice.
        assert_eq!(
            files.remove(three).map(|entry| entry.peer),
            Some(peer("bob"))
        );
        assert_eq!(files.add(entry("bob", Side::Sender, None)), 4);
    }
}
