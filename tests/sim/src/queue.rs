//! The one queue of everything that will happen, ordered by time and then by the order in which it was scheduled.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::time::Time;

/// What will happen, and when.
#[derive(Debug)]
pub(crate) struct EventQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    scheduled: u64,
}

impl<T> EventQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            scheduled: 0,
        }
    }

    pub(crate) fn push(&mut self, at: Time, item: T) {
        self.heap.push(Entry {
            at,
            order: self.scheduled,
            item,
        });
        self.scheduled += 1;
    }

    /// When the next item is due.
    pub(crate) fn next_time(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next item that is due at `now` or was before.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<T> {
        if self.next_time()? > now {
            return None;
        }
        self.heap.pop().map(|entry| entry.item)
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Time,
    order: u64,
    item: T,
}

/// The heap gives its greatest first: the earliest is the greatest.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_by_time_and_at_one_time_in_the_order_of_scheduling() {
        let mut queue = EventQueue::new();
        for (at, item) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b')] {
            queue.push(Time::from_millis(at), item);
        }
        let now = Time::from_millis(2);
        let all: String = std::iter::from_fn(|| queue.pop_due(now)).collect();
        assert_eq!(all, "abcd");
    }

    #[test]
    fn an_item_is_not_given_before_its_time() {
        let mut queue = EventQueue::new();
        queue.push(Time::from_millis(2), ());
        assert_eq!(queue.pop_due(Time::from_millis(1)), None);
        assert_eq!(queue.pop_due(Time::from_millis(2)), Some(()));
    }
}
