//! Counters and gauges: what a worker counts, told when the watchdog asks.

use crate::wire::{self, Count, Level, NAME_MAX, cut};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Names kept free for what the SDK itself counts (requests, connections).
const RESERVED: usize = 40;
/// Most counters, and most gauges, of a worker's own.
const OWN_MAX: usize = wire::METRICS_MAX - RESERVED;

/// A number that only grows. Clones count into the same one.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// So far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down, 0 at first. Clones set the same one.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// What it is now.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// What it was set to.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// All of a worker's own numbers.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    counters: Mutex<BTreeMap<String, Counter>>,
    gauges: Mutex<BTreeMap<String, Gauge>>,
}

impl Registry {
    pub(crate) fn counter(&self, name: &str) -> Counter {
        named(&self.counters, name)
    }

    pub(crate) fn gauge(&self, name: &str) -> Gauge {
        named(&self.gauges, name)
    }

    pub(crate) fn snapshot(&self) -> (Vec<Count>, Vec<Level>) {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = counters.iter().map(|(name, c)| Count { name: name.clone(), value: c.value() }).collect();
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let gauges = gauges.iter().map(|(name, g)| Level { name: name.clone(), value: g.value() }).collect();
        (counters, gauges)
    }
}

/// The one of this name; beyond the limit one that nobody is told of.
fn named<T: Clone + Default>(all: &Mutex<BTreeMap<String, T>>, name: &str) -> T {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let name = cut(name, NAME_MAX);
    if let Some(known) = all.get(name) {
        return known.clone();
    }
    let new = T::default();
    if all.len() < OWN_MAX {
        all.insert(name.to_string(), new.clone());
    }
    new
}

#[cfg(test)]
mod tests {
    use super::{OWN_MAX, Registry};

    #[test]
    fn one_name_is_one_number_and_names_are_bounded() {
        let all = Registry::default();
        all.counter("jobs").increment();
        all.counter("jobs").add(2);
        all.gauge("depth").set(1.5);
        assert_eq!((all.counter("jobs").value(), all.gauge("depth").value()), (3, 1.5));
        (0..1000).for_each(|n| all.counter(&n.to_string()).increment());
        assert_eq!(all.snapshot().0.len(), OWN_MAX);
    }
}
