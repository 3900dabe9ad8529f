//! What a worker hears, and whom of its own it calls then.

use super::{WatchdogGone, Worker};
use crate::connections::DrainPlan;
use crate::requests::LATENCY_BOUNDS_MS;
use crate::wire::{CHECKS_MAX, Check, Count, Distribution, Level, MESSAGE_MAX, NAME_MAX, ToWatchdog, ToWorker, cut};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Pings that wait for a beat; a watchdog asks one at a time.
const PINGS_MAX: usize = 16;

/// What has been heard and not yet been acted upon.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) pings: VecDeque<u64>,
    pub(super) shutdown: Option<Duration>,
    gone_told: bool,
    news: Vec<Event>,
}

/// Something to call back for.
#[derive(Debug)]
pub(super) enum Event {
    Shutdown(Duration),
    Reload,
    Tell(String),
    LowMemory,
    AskHealth,
    AskMetrics,
}

impl Inbox {
    pub(super) fn take(&mut self, message: ToWorker) {
        match message {
            ToWorker::Hello { .. } => {}
            ToWorker::Ping { nonce } => {
                if self.pings.len() == PINGS_MAX {
                    self.pings.pop_front();
                }
                self.pings.push_back(nonce);
            }
            ToWorker::Shutdown { grace_ms } => self.stop(Duration::from_millis(grace_ms)),
            ToWorker::Reload => self.news.push(Event::Reload),
            ToWorker::Tell { word } => self.news.push(Event::Tell(word)),
            ToWorker::LowMemory => self.news.push(Event::LowMemory),
            ToWorker::AskHealth => self.news.push(Event::AskHealth),
            ToWorker::AskMetrics => self.news.push(Event::AskMetrics),
        }
    }

    /// The first request counts; a later one is the watchdog's impatience.
    fn stop(&mut self, grace: Duration) {
        if self.shutdown.is_none() {
            self.shutdown = Some(grace);
            self.news.push(Event::Shutdown(grace));
        }
    }

    pub(super) fn watchdog_gone(&mut self, what: WatchdogGone) {
        if !mem::replace(&mut self.gone_told, true)
            && let WatchdogGone::Stop(grace) = what
        {
            self.stop(grace);
        }
    }

    pub(super) fn news(&mut self) -> Vec<Event> {
        mem::take(&mut self.news)
    }
}

type Plain = Arc<dyn Fn() + Send + Sync>;
type WithGrace = Arc<dyn Fn(Duration) + Send + Sync>;
type WithWord = Arc<dyn Fn(&str) + Send + Sync>;
type Probe = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Functions of the worker's own. Cloned out of their lock before they are called.
#[derive(Default)]
pub(super) struct Listeners {
    /// The grace, once the callbacks have been called.
    shutdown: Mutex<(Vec<WithGrace>, Option<Duration>)>,
    reload: Mutex<Vec<Plain>>,
    tell: Mutex<Vec<WithWord>>,
    low_memory: Mutex<Vec<Plain>>,
    checks: Mutex<BTreeMap<String, Probe>>,
}

impl Listeners {
    pub(super) fn shutdown_told(&self) -> Option<Duration> {
        self.shutdown.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Whom to call; whoever comes later calls itself.
    fn tell_shutdown(&self, grace: Duration) -> Vec<WithGrace> {
        let mut shutdown = self.shutdown.lock().unwrap_or_else(PoisonError::into_inner);
        shutdown.1 = Some(grace);
        mem::take(&mut shutdown.0)
    }
}

fn add<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}

fn all<T: Clone>(list: &Mutex<T>) -> T {
    list.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Callbacks run on the thread that calls [`Worker::beat`] or [`Worker::look`] (or on the helper thread), one after the
/// other, and should be short. They may use the worker.
impl Worker {
    /// Calls `callback` with the grace when a shutdown is asked for; at once if it has been. Tells the watchdog that the
    /// worker acts on one.
    pub fn on_shutdown(&self, callback: impl Fn(Duration) + Send + Sync + 'static) {
        self.takes_shutdown();
        let told = {
            let mut shutdown = self.0.listeners.shutdown.lock().unwrap_or_else(PoisonError::into_inner);
            match shutdown.1 {
                Some(grace) => grace,
                None => return shutdown.0.push(Arc::new(callback)),
            }
        };
        callback(told);
    }

    /// Calls `callback` between [`Worker::reloading`] and [`Worker::ready`], which are said for it, when the operator asks
    /// for a reload.
    pub fn on_reload(&self, callback: impl Fn() + Send + Sync + 'static) {
        add(&self.0.listeners.reload, Arc::new(callback) as Plain);
    }

    /// Calls `callback` with each word of the operator's own (`watchdog tell NAME WORD`).
    pub fn on_tell(&self, callback: impl Fn(&str) + Send + Sync + 'static) {
        add(&self.0.listeners.tell, Arc::new(callback) as WithWord);
    }

    /// Calls `callback` when memory is getting short: the time to give caches back.
    pub fn on_low_memory(&self, callback: impl Fn() + Send + Sync + 'static) {
        add(&self.0.listeners.low_memory, Arc::new(callback) as Plain);
    }

    /// A check that is made when the watchdog asks: `Ok` or `Err`, each with a message for people. 128 checks at most;
    /// names are cut to 64 bytes, messages to 256. The same name replaces the check.
    pub fn health_check(&self, name: &str, probe: impl Fn() -> Result<String, String> + Send + Sync + 'static) {
        let mut checks = self.0.listeners.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let name = cut(name, NAME_MAX);
        // One is kept free for the requests.
        if checks.len() + 1 < CHECKS_MAX || checks.contains_key(name) {
            checks.insert(name.to_string(), Arc::new(probe));
        }
    }

    /// Makes all checks now, as when the watchdog asks.
    #[must_use]
    pub fn health(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for (name, probe) in all(&self.0.listeners.checks) {
            checks.push(check(name, probe()));
        }
        if let Some(requests) = self.0.requests.get() {
            checks.push(check("requests".to_string(), requests.health()));
        }
        checks
    }

    pub(super) fn dispatch(&self, event: Event) {
        match event {
            Event::Shutdown(grace) => {
                // Told first: a table that is asked for from now on drains itself.
                let callbacks = self.0.listeners.tell_shutdown(grace);
                if let Some(connections) = self.0.connections.get() {
                    connections.drain(DrainPlan::within(grace));
                }
                callbacks.iter().for_each(|callback| callback(grace));
            }
            Event::Reload => {
                let callbacks = all(&self.0.listeners.reload);
                if !callbacks.is_empty() {
                    self.reloading();
                    callbacks.iter().for_each(|callback| callback());
                    self.ready();
                }
            }
            Event::Tell(word) => all(&self.0.listeners.tell).iter().for_each(|callback| callback(&word)),
            Event::LowMemory => all(&self.0.listeners.low_memory).iter().for_each(|callback| callback()),
            Event::AskHealth => self.say(&ToWatchdog::Health { checks: self.health() }),
            Event::AskMetrics => {
                let (counters, gauges) = self.numbers();
                self.say(&ToWatchdog::Metrics { counters, gauges });
                let histograms = self.histograms();
                if !histograms.is_empty() {
                    self.say(&ToWatchdog::Histograms { histograms });
                }
            }
        }
    }

    /// The worker's own numbers, then what the SDK counts.
    fn numbers(&self) -> (Vec<Count>, Vec<Level>) {
        let (mut counters, mut gauges) = self.0.metrics.snapshot();
        let mut count = |name: &str, value| counters.push(Count { name: name.to_string(), value });
        let mut level = |name: &str, value| gauges.push(Level { name: name.to_string(), value });
        if let Some(requests) = self.0.requests.get() {
            let totals = requests.totals();
            count("requests_total", totals.count);
            count("request_errors_total", totals.errors);
            for (class, number) in totals.classes.iter().enumerate() {
                count(&format!("requests_{class}xx_total"), *number);
            }
            // As histograms are told: each bound counts those before it too. All of them is requests_total.
            let mut within = 0;
            for (bound, number) in LATENCY_BOUNDS_MS.iter().zip(totals.latency) {
                within += number;
                count(&format!("requests_within_{bound}_ms_total"), within);
            }
            level("request_seconds_total", totals.took.as_secs_f64());
            level("request_longest_seconds", totals.longest.as_secs_f64());
        }
        if let Some(connections) = self.0.connections.get() {
            let totals = connections.totals();
            count("connections_accepted_total", totals.accepted);
            count("connections_refused_total", totals.refused);
            count("connections_drained_total", totals.drained);
            level("connections_open", totals.open as f64);
            level("connections_oldest_seconds", totals.oldest.as_secs_f64());
            level("connections_alarms", connections.alarms().len() as f64);
        }
        (counters, gauges)
    }

    /// The worker's own histograms, then that of its requests.
    fn histograms(&self) -> Vec<Distribution> {
        let mut all = self.0.metrics.distributions();
        if let Some(requests) = self.0.requests.get() {
            let totals = requests.totals();
            all.push(Distribution {
                name: "request_duration_seconds".to_string(),
                bounds: LATENCY_BOUNDS_MS.iter().map(|ms| *ms as f64 / 1000.0).collect(),
                counts: totals.latency.to_vec(),
                sum: totals.took.as_secs_f64(),
            });
        }
        all
    }
}

fn check(name: String, outcome: Result<String, String>) -> Check {
    let pass = outcome.is_ok();
    let (Ok(message) | Err(message)) = outcome;
    Check { name, pass, message: cut(&message, MESSAGE_MAX).to_string() }
}
