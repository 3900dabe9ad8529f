//! What becomes of requests: counts, durations, the last errors, and whether too many of them go wrong.

use crate::clock;
use crate::wire::{MESSAGE_MAX, cut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds that are looked back when it is asked whether requests go well.
const WINDOW: usize = 60;
/// More errors than this share of the window's requests are too many, in percent.
const SHARE_PERCENT: u64 = 10;
/// More errors than this in the window are too many, whatever their share.
const ERRORS: u64 = 10;
/// Last errors that are kept.
const KEPT: usize = 100;
/// Upper bounds of the histogram's buckets in milliseconds; one more bucket has none.
pub const LATENCY_BOUNDS_MS: [u64; 13] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000];

/// One request that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// Its status, as of HTTP.
    pub status: u16,
    /// Why, for people; cut to 256 bytes.
    pub message: String,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: Instant,
}

/// All that is known of the requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTotals {
    /// Requests that ended.
    pub count: u64,
    /// Those of them that went wrong.
    pub errors: u64,
    /// Time they took together.
    pub took: Duration,
    /// The longest of them.
    pub longest: Duration,
    /// By the first digit of the status: 1xx is at 1, 5xx at 5, what is no status at 0.
    pub classes: [u64; 6],
    /// By duration: at `i` those of at most `LATENCY_BOUNDS_MS[i]`, but of more than the bound before it; the last has none.
    pub latency: [u64; LATENCY_BOUNDS_MS.len() + 1],
}

/// One second of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    count: u64,
    errors: u64,
}

#[derive(Debug)]
struct Record {
    start: Instant,
    totals: RequestTotals,
    seconds: [Second; WINDOW],
    last: VecDeque<RequestError>,
}

impl Record {
    fn new(start: Instant) -> Record {
        let seconds = [Second::default(); WINDOW];
        Record { start, totals: RequestTotals::default(), seconds, last: VecDeque::new() }
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }

    fn record(&mut self, now: Instant, status: u16, took: Duration, error: Option<&str>) {
        let failed = error.is_some() || status >= 500;
        let number = self.second(now);
        let second = &mut self.seconds[(number % WINDOW as u64) as usize];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        second.count += 1;
        second.errors += u64::from(failed);
        let totals = &mut self.totals;
        totals.count += 1;
        totals.errors += u64::from(failed);
        totals.took = totals.took.saturating_add(took);
        totals.longest = totals.longest.max(took);
        totals.classes[Some(usize::from(status / 100)).filter(|class| *class < 6).unwrap_or(0)] += 1;
        let bucket = LATENCY_BOUNDS_MS.iter().position(|ms| took <= Duration::from_millis(*ms));
        totals.latency[bucket.unwrap_or(LATENCY_BOUNDS_MS.len())] += 1;
        if failed {
            if self.last.len() == KEPT {
                self.last.pop_front();
            }
            let message = cut(error.unwrap_or_default(), MESSAGE_MAX).to_string();
            self.last.push_back(RequestError { status, message, took, at: now });
        }
    }

    /// Requests and errors of the last 60 s, to the second.
    fn window(&self, now: Instant) -> (u64, u64) {
        let number = self.second(now);
        let recent = self.seconds.iter().filter(|s| s.number + WINDOW as u64 > number);
        recent.fold((0, 0), |(count, errors), s| (count + s.count, errors + s.errors))
    }

    fn health(&self, now: Instant) -> Result<String, String> {
        let (count, errors) = self.window(now);
        let told = format!("{errors} errors in {count} requests of the last {WINDOW} s");
        if errors > ERRORS || errors * 100 > count * SHARE_PERCENT { Err(told) } else { Ok(told) }
    }
}

/// Records requests; clones record into the same one. Unhealthy when more than 10 % of the last minute's requests, or more
/// than 10 of them, went wrong. Given by [`Worker::requests`](crate::Worker::requests); works without a watchdog too.
///
/// ```
/// let recorder = worker_sdk::RequestRecorder::default();
/// let request = recorder.start();
/// request.finish(200);
/// assert!(recorder.health().is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct RequestRecorder(Arc<Mutex<Record>>);

impl Default for RequestRecorder {
    fn default() -> RequestRecorder {
        RequestRecorder(Arc::new(Mutex::new(Record::new(clock::now()))))
    }
}

impl RequestRecorder {
    /// A request begins.
    #[must_use]
    pub fn start(&self) -> Request {
        Request { recorder: self.clone(), start: clock::now() }
    }

    /// A request has ended. It went wrong if there is an `error`, or with a status of 500 or more.
    pub fn record(&self, status: u16, took: Duration, error: Option<&str>) {
        self.with(|record| record.record(clock::now(), status, took, error));
    }

    /// What there was so far.
    #[must_use]
    pub fn totals(&self) -> RequestTotals {
        self.with(|record| record.totals.clone())
    }

    /// The last errors, at most 100, the oldest first.
    #[must_use]
    pub fn last_errors(&self) -> Vec<RequestError> {
        self.with(|record| record.last.iter().cloned().collect())
    }

    /// Whether requests go well, with the numbers of the last minute in words.
    ///
    /// # Errors
    /// The same words, when too many went wrong.
    pub fn health(&self) -> Result<String, String> {
        self.with(|record| record.health(clock::now()))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Record) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that has begun. One that is dropped without an end is not counted.
#[derive(Debug)]
pub struct Request {
    recorder: RequestRecorder,
    start: Instant,
}

impl Request {
    /// It ended with this status.
    pub fn finish(self, status: u16) {
        self.recorder.record(status, clock::now().saturating_duration_since(self.start), None);
    }

    /// It went wrong.
    pub fn fail(self, status: u16, why: &str) {
        self.recorder.record(status, clock::now().saturating_duration_since(self.start), Some(why));
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, RequestRecorder};
    use crate::clock;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn more_than_a_tenth_or_more_than_ten_errors_in_a_minute_are_too_many() {
        let start = clock::now();
        let mut record = Record::new(start);
        (0..90).for_each(|_| record.record(start, 200, MS, None));
        (0..10).for_each(|_| record.record(start, 500, MS, None));
        assert!(record.health(start).is_ok(), "exactly a tenth, exactly ten");
        (0..1000).for_each(|_| record.record(start, 200, MS, None));
        record.record(start, 200, MS, Some("eleventh"));
        assert!(record.health(start).is_err());
        assert!(record.health(start + Duration::from_secs(60)).is_ok(), "a minute later");
        let mut small = Record::new(start);
        (0..8).for_each(|_| small.record(start, 200, MS, None));
        small.record(start, 503, MS, None);
        assert!(small.health(start).is_err(), "one of nine");
    }

    #[test]
    fn a_request_is_timed_from_its_start_and_counted_at_its_end() {
        let recorder = RequestRecorder::default();
        drop(recorder.start());
        recorder.start().finish(200);
        let slow = recorder.start();
        std::thread::park_timeout(MS * 2);
        slow.fail(404, &"why".repeat(200));
        recorder.clone().start().finish(503);
        let totals = recorder.totals();
        assert_eq!((totals.count, totals.errors, totals.classes[2], totals.classes[5]), (3, 2, 1, 1));
        assert!(totals.longest >= MS && totals.took >= totals.longest, "{totals:?}");
        let last = recorder.last_errors();
        assert_eq!((last.len(), last[0].status, last[0].message.len(), last[1].status), (2, 404, 256, 503));
        assert!(last[0].took >= MS && last[0].at <= last[1].at);
    }

    #[test]
    fn classes_latencies_and_the_last_hundred() {
        let start = clock::now();
        let mut record = Record::new(start);
        (0..150).for_each(|n| record.record(start, 500 + n % 10, MS * 7, None));
        record.record(start, 404, Duration::from_secs(60), None);
        record.record(start, 999, Duration::ZERO, None);
        assert_eq!(record.totals.classes, [1, 0, 0, 0, 1, 150]);
        assert_eq!((record.totals.latency[0], record.totals.latency[3], record.totals.latency[13]), (1, 150, 1));
        assert_eq!(record.last.len(), 100);
        assert_eq!(record.totals.longest, Duration::from_secs(60));
    }
}
