//! The earliest timer of each service, and of all of them the first: rows above each other, where each entry is the earliest
//! of a few of the row below. So neither setting one nor asking for the first looks at all services.

use super::time::MonoTime;
use serde::Serialize;

/// Entries of one row that stand behind one of the next.
const WIDTH: usize = 16;

/// When each service has to be looked at, by place.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Dues {
    /// The first row has one entry for each service, the last one has one in all.
    rows: Vec<Vec<Option<MonoTime>>>,
}

impl Dues {
    /// For so many services; a new one has no timer.
    pub(super) fn resize(&mut self, count: usize) {
        let mut row = self.rows.first().cloned().unwrap_or_default();
        row.resize(count, None);
        self.rows.clear();
        while row.len() > 1 {
            let above = row.chunks(WIDTH).map(earliest).collect();
            self.rows.push(std::mem::replace(&mut row, above));
        }
        self.rows.push(row);
    }

    /// The earliest timer of one.
    pub(super) fn set(&mut self, place: usize, due: Option<MonoTime>) {
        let Some(entry) = self.rows.first_mut().and_then(|row| row.get_mut(place)) else { return };
        *entry = due;
        let mut at = place;
        for n in 1..self.rows.len() {
            at /= WIDTH;
            let least = self.rows[n - 1].chunks(WIDTH).nth(at).and_then(earliest);
            // Nothing above depends on the rest.
            if std::mem::replace(&mut self.rows[n][at], least) == least {
                return;
            }
        }
    }

    /// The first of all.
    pub(super) fn next(&self) -> Option<MonoTime> {
        self.rows.last().and_then(|row| row.first().copied().flatten())
    }

    /// The first place from this one on that has a timer which is due.
    pub(super) fn due_from(&self, place: usize, now: MonoTime) -> Option<usize> {
        let mut at = place;
        for (n, row) in self.rows.iter().enumerate() {
            let end = row.len().min((at / WIDTH + 1).saturating_mul(WIDTH));
            if let Some(found) = (at..end).find(|at| is_due(row[*at], now)) {
                return Some(self.below(n, found, now));
            }
            at = at / WIDTH + 1;
        }
        None
    }

    /// The first place behind an entry that is due.
    fn below(&self, row: usize, mut at: usize, now: MonoTime) -> usize {
        for row in self.rows[..row].iter().rev() {
            let from = at * WIDTH;
            at = (from..row.len()).find(|at| is_due(row[*at], now)).unwrap_or(from);
        }
        at
    }
}

fn earliest(some: &[Option<MonoTime>]) -> Option<MonoTime> {
    some.iter().flatten().copied().min()
}

fn is_due(due: Option<MonoTime>, now: MonoTime) -> bool {
    due.is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(n: u64) -> MonoTime {
        MonoTime(Duration::from_secs(n))
    }

    proptest! {
        /// The same answers as from a look at all of them, whatever is set, taken away and added.
        #[test]
        fn the_first_is_the_first_of_all(
            counts in proptest::collection::vec(0usize..700, 1..4),
            steps in proptest::collection::vec((0usize..700, proptest::option::of(0u64..50)), 0..200),
            now in 0u64..50,
        ) {
            let (mut dues, mut all) = (Dues::default(), Vec::new());
            for count in counts {
                dues.resize(count);
                all.resize(count, None);
                for (place, due) in &steps {
                    dues.set(*place, due.map(at));
                    if let Some(entry) = all.get_mut(*place) {
                        *entry = due.map(at);
                    }
                }
                prop_assert_eq!(dues.next(), all.iter().flatten().copied().min());
                let expected: Vec<usize> = (0..count).filter(|n| is_due(all[*n], at(now))).collect();
                let mut found = Vec::new();
                while let Some(place) = dues.due_from(found.last().map_or(0, |last| last + 1), at(now)) {
                    found.push(place);
                }
                prop_assert_eq!(found, expected);
            }
        }
    }
}
