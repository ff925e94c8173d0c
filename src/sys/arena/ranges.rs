//! Which parts of the arena are free: numbers only, no memory is touched here.

use std::collections::{BTreeMap, BTreeSet};

/// The free ranges of `0..size`. Invariant: they don't overlap or touch; both maps hold the same.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Start of a free range to its length.
    by_start: BTreeMap<usize, usize>,
    /// Length and start of a free range: the first that is long enough fits best.
    by_len: BTreeSet<(usize, usize)>,
    free: usize,
}

impl Ranges {
    /// All of `0..size` free.
    pub fn all(size: usize) -> Self {
        let mut ranges = Self {
            by_start: BTreeMap::new(),
            by_len: BTreeSet::new(),
            free: 0,
        };
        if size > 0 {
            ranges.insert(0, size);
        }
        ranges
    }

    /// How much is free.
    pub fn free(&self) -> usize {
        self.free
    }

    /// Takes `len` (not zero) out of the smallest range that has it, from its start, so that the
    /// large untouched rest stays whole.
    pub fn take(&mut self, len: usize) -> Option<usize> {
        let &(found, start) = self.by_len.range((len, 0)..).next()?;
        self.remove(start, found);
        if found > len {
            self.insert(start + len, found - len);
        }
        Some(start)
    }

    /// Gives back what [`Ranges::take`] gave, joining it with its free neighbours.
    pub fn give_back(&mut self, start: usize, len: usize) {
        let (mut from, mut to) = (start, start + len);
        if let Some((&before, &len)) = self.by_start.range(..start).next_back() {
            assert!(before + len <= start, "a block was given back twice");
            if before + len == start {
                self.remove(before, len);
                from = before;
            }
        }
        if let Some((&after, &len)) = self.by_start.range(start..).next() {
            assert!(to <= after, "a block was given back twice");
            if after == to {
                self.remove(after, len);
                to += len;
            }
        }
        self.insert(from, to - from);
    }

    fn insert(&mut self, start: usize, len: usize) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
        self.free += len;
    }

    fn remove(&mut self, start: usize, len: usize) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
        self.free -= len;
    }
}
