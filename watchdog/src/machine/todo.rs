//! Who is to be looked at, let go, or started: places in the list of services, each at most once in each queue.

use serde::Serialize;
use std::collections::{BTreeSet, VecDeque};

/// Places that wait for their turn.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Queue {
    list: VecDeque<usize>,
    queued: Vec<bool>,
}

impl Queue {
    /// At the end, if it is not in it.
    pub(super) fn add(&mut self, n: usize) {
        if self.queued.len() <= n {
            self.queued.resize(n + 1, false);
        }
        if let Some(queued) = self.queued.get_mut(n).filter(|q| !**q) {
            *queued = true;
            self.list.push_back(n);
        }
    }

    /// The first.
    pub(super) fn take(&mut self) -> Option<usize> {
        let n = self.list.pop_front()?;
        if let Some(queued) = self.queued.get_mut(n) {
            *queued = false;
        }
        Some(n)
    }
}

/// What follows from the events of this call.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Todo {
    /// Whether it is wanted: known of all before anything follows from it.
    pub(super) wish: Queue,
    /// Whether it may stay.
    pub(super) look: Queue,
    /// Whether nobody has to be gone before it any more.
    pub(super) go: Queue,
    /// Whether nothing is in the way of its start: whoever is needed comes before those who need it, so that each is judged
    /// by what all before it have come to. Its rank in the order of the start, and its place.
    pub(super) start: BTreeSet<(usize, usize)>,
}
