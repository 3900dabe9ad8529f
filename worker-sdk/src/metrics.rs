//! Counters, gauges and histograms: what a worker counts, told when the watchdog asks.

use crate::wire::{self, BOUNDS_MAX, Count, Distribution, HISTOGRAMS_MAX, Level, NAME_MAX, cut};
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

/// How values are distributed, such as the times that something takes. Clones observe into the same one.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    bounds: Vec<f64>,
    /// One more than there are bounds.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &[f64]) -> Histogram {
        let mut bounds: Vec<f64> = bounds.iter().copied().filter(|bound| bound.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds.truncate(BOUNDS_MAX);
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Buckets { bounds, counts, sum: AtomicU64::new(0) }))
    }

    /// One more value; one that is no number is passed over.
    pub fn observe(&self, value: f64) {
        let Buckets { bounds, counts, sum } = &*self.0;
        let Some(count) = counts.get(bounds.partition_point(|bound| *bound < value)).filter(|_| !value.is_nan()) else {
            return;
        };
        count.fetch_add(1, Ordering::Relaxed);
        let more = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // Gives up never: it always has an answer.
        let _ = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn distribution(&self, name: &str) -> Distribution {
        Distribution {
            name: name.to_string(),
            bounds: self.0.bounds.clone(),
            counts: self.0.counts.iter().map(|n| n.load(Ordering::Relaxed)).collect(),
            sum: f64::from_bits(self.0.sum.load(Ordering::Relaxed)),
        }
    }
}

/// All of a worker's own numbers.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    counters: Mutex<BTreeMap<String, Counter>>,
    gauges: Mutex<BTreeMap<String, Gauge>>,
    histograms: Mutex<BTreeMap<String, Histogram>>,
}

impl Registry {
    pub(crate) fn counter(&self, name: &str) -> Counter {
        named(&self.counters, name, OWN_MAX, Counter::default)
    }

    pub(crate) fn gauge(&self, name: &str) -> Gauge {
        named(&self.gauges, name, OWN_MAX, Gauge::default)
    }

    /// The bounds of the first call for a name hold.
    pub(crate) fn histogram(&self, name: &str, bounds: &[f64]) -> Histogram {
        // One is kept free for the requests.
        named(&self.histograms, name, HISTOGRAMS_MAX - 1, || Histogram::new(bounds))
    }

    pub(crate) fn distributions(&self) -> Vec<Distribution> {
        let histograms = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        histograms.iter().map(|(name, h)| h.distribution(name)).collect()
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
fn named<T: Clone>(all: &Mutex<BTreeMap<String, T>>, name: &str, most: usize, new: impl FnOnce() -> T) -> T {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let name = cut(name, NAME_MAX);
    if let Some(known) = all.get(name) {
        return known.clone();
    }
    let new = new();
    if all.len() < most {
        all.insert(name.to_string(), new.clone());
    }
    new
}

#[cfg(test)]
mod tests {
    use super::{HISTOGRAMS_MAX, OWN_MAX, Registry};

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

    #[test]
    fn a_value_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed() {
        let all = Registry::default();
        let took = all.histogram("took", &[1.0, f64::NAN, 0.5, 1.0, f64::INFINITY]);
        for value in [0.25, 0.5, 0.75, 1.0, 8.0, f64::NAN, f64::INFINITY, -1.0] {
            took.observe(value);
        }
        all.histogram("took", &[7.0]).observe(0.5);
        let told = all.distributions();
        assert_eq!((told[0].bounds.as_slice(), told[0].counts.as_slice()), (&[0.5, 1.0][..], &[4, 2, 2][..]));
        assert!(told[0].sum.is_infinite());
        (0..100).for_each(|n| all.histogram(&n.to_string(), &vec![0.0; 99]).observe(1.0));
        assert_eq!(all.distributions().len(), HISTOGRAMS_MAX - 1);
    }
}
