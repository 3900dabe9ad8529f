//! The worker itself: what it says to the watchdog, and what it hears.

mod events;
mod helper;

pub use helper::Helper;

use crate::channel::{Channel, Ended};
use crate::clock;
use crate::connections::{ConnectionTracker, DrainPlan};
use crate::env;
use crate::lanes::{Lane, LaneFile};
use crate::metrics::{Counter, Gauge, Histogram, Registry};
use crate::requests::RequestRecorder;
use crate::stacks::{self, Hold};
use crate::wire::{LANES_MAX, PROTOCOL, TEXT_MAX, ToWatchdog, cut};
use events::{Inbox, Listeners};
use std::fmt;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

/// What a worker does when the watchdog is gone without having asked for a shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchdogGone {
    /// Go on working, unsupervised. The default: whether workers outlive their watchdog is for its `on_watchdog_death`.
    #[default]
    GoOn,
    /// As if it had asked for a shutdown with this grace.
    Stop(Duration),
}

/// What is changed under the lock. It is held for as long as a system call that does not wait, never while code of the
/// worker's own runs.
#[derive(Debug, Default)]
struct State {
    channel: Channel,
    inbox: Inbox,
    gone: WatchdogGone,
    beaten: bool,
    lanes: Option<Arc<LaneFile>>,
    /// Whether the watchdog has been told of the lanes.
    lanes_told: bool,
    /// Whether the worker acts on a shutdown, and whether the watchdog has been told so.
    takes_shutdown: bool,
    takes_shutdown_told: bool,
}

/// The state, as long as this thread has it.
struct Held<'a> {
    // Dropped in this order: the lock is free when a question that has waited is answered.
    state: MutexGuard<'a, State>,
    _hold: Hold,
}

impl Deref for Held<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

struct Shared {
    stream: UnixStream,
    /// The other end when nobody supervises: held, so that ours is never readable.
    nobody: Option<UnixStream>,
    state: Mutex<State>,
    listeners: Listeners,
    metrics: Registry,
    requests: OnceLock<RequestRecorder>,
    connections: OnceLock<ConnectionTracker>,
}

/// The worker's side of the channel. Clones are the same worker and may be used from any thread; no call ever waits for
/// the watchdog. Without a watchdog every call does nothing, or what a program alone would want.
#[derive(Clone)]
pub struct Worker(Arc<Shared>);

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("supervised", &self.is_supervised()).finish_non_exhaustive()
    }
}

impl Worker {
    /// Takes the channel out of the environment (`WATCHDOG_CHANNEL`) and greets. To be called once, at the start of
    /// `main`: the variable can only be removed while no other thread runs. The descriptor is close-on-exec from here on.
    ///
    /// A variable that is missing, or names anything but a Unix socket, gives a worker that nobody supervises.
    ///
    /// # Errors
    /// The process can have no more descriptors.
    pub fn from_env() -> io::Result<Worker> {
        match env::take_channel() {
            Some(stream) => Worker::on(stream),
            None => Worker::unsupervised(),
        }
    }

    /// A worker on a channel that came by another way than the environment.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub fn on(stream: UnixStream) -> io::Result<Worker> {
        stream.set_nonblocking(true)?;
        let worker = Worker::new(stream, None);
        let shared = Arc::downgrade(&worker.0);
        stacks::install(move |frames, until| last_words(&shared, frames, until));
        worker.say(&ToWatchdog::Hello { protocol: PROTOCOL });
        Ok(worker)
    }

    /// A worker that nobody supervises.
    ///
    /// # Errors
    /// The process can have no more descriptors.
    pub fn unsupervised() -> io::Result<Worker> {
        let (stream, nobody) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        Ok(Worker::new(stream, Some(nobody)))
    }

    fn new(stream: UnixStream, nobody: Option<UnixStream>) -> Worker {
        Worker(Arc::new(Shared {
            stream,
            nobody,
            state: Mutex::default(),
            listeners: Listeners::default(),
            metrics: Registry::default(),
            requests: OnceLock::new(),
            connections: OnceLock::new(),
        }))
    }

    /// Whether there is a watchdog at the other end.
    #[must_use]
    pub fn is_supervised(&self) -> bool {
        self.0.nobody.is_none() && self.state().channel.ended().is_none()
    }

    /// Why the channel has ended, if it has. Its descriptor then stays readable for ever: take it out of the poll loop.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.state().channel.ended()
    }

    /// News that were dropped because the watchdog did not read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.state().channel.dropped()
    }

    /// The work can begin; also the end of a reload.
    pub fn ready(&self) {
        self.say(&ToWatchdog::Ready);
    }

    /// What the worker is doing, for people; cut to 4096 bytes.
    pub fn status(&self, text: &str) {
        self.say(&ToWatchdog::Status { text: cut(text, TEXT_MAX).to_string() });
    }

    /// The worker is ending, asked or not: its exit is no crash.
    pub fn stopping(&self) {
        self.say(&ToWatchdog::Stopping);
    }

    /// The worker reads its configuration again; [`Worker::ready`] says that it has.
    pub fn reloading(&self) {
        self.say(&ToWatchdog::Reloading);
    }

    /// What the worker is doing now (starting, stopping, one long step between two beats) may take so long from now on.
    pub fn extend(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.say(&ToWatchdog::Extend { millis });
    }

    /// The loop has gone round: answers the pings that have arrived, calls back what was asked for, goes on with a drain.
    ///
    /// To be called from the loop that does the work, at least once per heartbeat interval: then a loop that is stuck is
    /// noticed, because nobody answers in its place. The first call arms the heartbeat. Costs one system call, and two for a
    /// ping; allocates nothing for them.
    pub fn beat(&self) {
        self.look();
        if self.0.nobody.is_none() {
            let (stream, mut state) = (&self.0.stream, self.state());
            let State { channel, inbox, beaten, .. } = &mut *state;
            if !*beaten {
                *beaten = true;
                channel.send(stream, &ToWatchdog::Beat);
            }
            while let Some(nonce) = inbox.pings.pop_front() {
                channel.send(stream, &ToWatchdog::Pong { nonce });
            }
            channel.flush(stream);
        }
        if let Some(connections) = self.0.connections.get() {
            connections.turn();
        }
    }

    /// Reads what the watchdog has said and calls back, without being a sign of life: pings wait for [`Worker::beat`].
    pub fn look(&self) {
        if self.0.nobody.is_some() {
            return;
        }
        let news = {
            let (stream, mut state) = (&self.0.stream, self.state());
            let State { channel, inbox, gone, .. } = &mut *state;
            channel.receive(stream, |message| inbox.take(message));
            channel.flush(stream);
            if channel.ended() == Some(Ended::Gone) {
                inbox.watchdog_gone(*gone);
            }
            inbox.news()
        };
        self.tell_rest();
        // Without the lock: callbacks may use the worker.
        for event in news {
            self.dispatch(event);
        }
    }

    /// Whether to end. Reads the channel, as [`Worker::look`] does. The first call tells the watchdog that the worker acts on
    /// a shutdown.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.shutdown_requested().is_some()
    }

    /// Whether to end, and how long that may take, counted from when it was asked. Reads the channel. The first call tells
    /// the watchdog that the worker acts on a shutdown.
    #[must_use]
    pub fn shutdown_requested(&self) -> Option<Duration> {
        self.takes_shutdown();
        self.look();
        self.state().inbox.shutdown
    }

    /// What to do when the watchdog dies. Default: [`WatchdogGone::GoOn`].
    pub fn when_watchdog_is_gone(&self, what: WatchdogGone) {
        self.state().gone = what;
    }

    /// A loop with a deadline of its own: its [`Lane::beat`] must be called at least so often. 64 lanes at most, names cut
    /// to 40 bytes. The watchdog names the lane that is late.
    #[must_use]
    pub fn lane(&self, name: &str, deadline: Duration) -> Lane {
        if self.0.nobody.is_some() {
            return Lane::default();
        }
        let lane = {
            let mut state = self.state();
            if state.lanes.is_none() {
                state.lanes = LaneFile::new().ok().map(Arc::new);
            }
            state.lanes.as_ref().map_or_else(Lane::default, |file| Lane::in_file(file, name, deadline))
        };
        self.tell_rest();
        lane
    }

    /// A number that only grows, told when the watchdog asks. 344 names at most, cut to 64 bytes.
    #[must_use]
    pub fn counter(&self, name: &str) -> Counter {
        self.0.metrics.counter(name)
    }

    /// A number that goes up and down, told when the watchdog asks. 344 names at most, cut to 64 bytes.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Gauge {
        self.0.metrics.gauge(name)
    }

    /// The histogram of this name, with these upper bounds, told when the watchdog asks; the bounds of the first call hold.
    /// At most 31 of them, with 32 bounds each.
    ///
    /// ```
    /// let worker = worker_sdk::Worker::from_env()?;
    /// let sizes = worker.histogram("upload_bytes", &[1e3, 1e6, 1e9]);
    /// sizes.observe(52_000.0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn histogram(&self, name: &str, bounds: &[f64]) -> Histogram {
        self.0.metrics.histogram(name, bounds)
    }

    /// The recorder of requests. From the first call on it is part of health and numbers.
    #[must_use]
    pub fn requests(&self) -> RequestRecorder {
        self.0.requests.get_or_init(RequestRecorder::default).clone()
    }

    /// The table of connections. From the first call on it is part of the numbers, and a shutdown drains it within its
    /// grace; the watchdog is told that the worker acts on one.
    #[must_use]
    pub fn connections(&self) -> ConnectionTracker {
        self.takes_shutdown();
        let connections = self.0.connections.get_or_init(ConnectionTracker::default).clone();
        // Asked for after the shutdown was: nobody has drained it then.
        if let Some(grace) = self.0.listeners.shutdown_told() {
            connections.drain(DrainPlan::within(grace));
        }
        connections
    }

    /// Tells the watchdog of every panic from now on, before whatever was set to happen then.
    pub fn report_panics(&self) {
        let shared = Arc::downgrade(&self.0);
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            if let Some(shared) = shared.upgrade().filter(|s| s.nobody.is_none()) {
                // Whoever panics may hold the lock itself: rather silent than stuck.
                let state = match shared.state.try_lock() {
                    Ok(state) => Some(state),
                    Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
                    Err(TryLockError::WouldBlock) => None,
                };
                if let Some(mut state) = state {
                    let message = cut(&what.to_string(), TEXT_MAX).to_string();
                    state.channel.send(&shared.stream, &ToWatchdog::Panic { message });
                }
            }
            before(what);
        }));
    }

    /// Says something, unless nobody listens.
    fn say(&self, message: &ToWatchdog) {
        if self.0.nobody.is_none() {
            self.state().channel.send(&self.0.stream, message);
        }
    }

    /// The worker acts on a shutdown: from now on the watchdog asks before it sends a signal.
    fn takes_shutdown(&self) {
        if self.0.nobody.is_none() && !mem::replace(&mut self.state().takes_shutdown, true) {
            self.tell_rest();
        }
    }

    /// Says what must be said once and not get lost: later if there is no room now.
    fn tell_rest(&self) {
        let mut state = self.state();
        if state.channel.ended().is_some() {
            return;
        }
        if state.takes_shutdown && !state.takes_shutdown_told {
            state.takes_shutdown_told = state.channel.send(&self.0.stream, &ToWatchdog::TakesShutdown);
        }
        if state.lanes_told {
            return;
        }
        if let Some(file) = state.lanes.as_ref().and_then(|lanes| lanes.to_send().ok()) {
            state.lanes_told = state.channel.send_lanes(&self.0.stream, LANES_MAX, file);
        }
    }

    fn state(&self) -> Held<'_> {
        let hold = Hold::begin();
        Held { state: self.0.state.lock().unwrap_or_else(PoisonError::into_inner), _hold: hold }
    }
}

/// Says something in a signal handler, by then. `false`: whoever was interrupted has the lock, or the watchdog does not
/// read.
fn last_words(shared: &Weak<Shared>, frames: &[u8], until: Instant) -> bool {
    let Some(shared) = shared.upgrade() else { return false };
    let wait = || {
        stacks::pause();
        clock::now() < until
    };
    loop {
        let mut state = match shared.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) if wait() => continue,
            Err(TryLockError::WouldBlock) => return false,
        };
        return state.channel.last_words(&shared.stream, frames, wait);
    }
}

impl AsFd for Worker {
    /// The channel, for one's own poll loop: when it is readable, call [`Worker::beat`]. Without a watchdog it is never
    /// readable.
    ///
    /// In such a loop only `beat` should read it: [`Worker::look`], and [`Worker::should_stop`], which calls it, would take a
    /// ping out of it, and nothing would be readable to call for the beat that answers. [`Worker::on_shutdown`] says when to end.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.stream.as_fd()
    }
}

impl AsRawFd for Worker {
    /// The same, for reactors that want a number.
    fn as_raw_fd(&self) -> RawFd {
        self.0.stream.as_raw_fd()
    }
}
