//! A table whose keys are found in constant time and never name a later entry.

/// The place of an entry, and which of the entries that have been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerKey {
    index: u32,
    generation: u32,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    /// Apart, so that a table that grows does not copy them, nor hold room for as many again.
    value: Option<Box<T>>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> PeerKey {
        if let Some(index) = self.free.pop()
            && let Some(entry) = self.entries.get_mut(index as usize)
        {
            entry.generation = entry.generation.wrapping_add(1);
            entry.value = Some(Box::new(value));
            return PeerKey {
                index,
                generation: entry.generation,
            };
        }
        let index =
            u32::try_from(self.entries.len()).expect("the limit on peers is far below 2^32");
        self.entries.push(Entry {
            generation: 0,
            value: Some(Box::new(value)),
        });
        PeerKey {
            index,
            generation: 0,
        }
    }

    pub(crate) fn remove(&mut self, key: PeerKey) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        self.free.push(key.index);
        Some(*value)
    }

    pub(crate) fn get(&self, key: PeerKey) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        entry
            .value
            .as_deref()
            .filter(|_| entry.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        entry
            .value
            .as_deref_mut()
            .filter(|_| entry.generation == key.generation)
    }

    /// The values in the order of their places.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries
            .iter()
            .filter_map(|entry| entry.value.as_deref())
    }
}

#[cfg(test)]
impl PeerKey {
    pub(crate) const fn first_of(index: u32) -> Self {
        Self {
            index,
            generation: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_names_the_next_entry_in_its_place() {
        let mut slots = Slots::new();
        let old = slots.insert("old");
        assert_eq!(slots.remove(old), Some("old"));
        let new = slots.insert("new");
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.get_mut(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&"new"));
        assert_eq!(slots.entries.len(), 1);
    }
}
