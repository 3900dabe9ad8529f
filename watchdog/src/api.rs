//! The engine as a library: a Rust program that supervises others. See `examples/library.rs`.
//!
//! The engine takes its process over: it blocks all signals and reads them as data, reaps every child, and adopts orphans.
//! So it belongs into the main thread of a program that leaves signals and children to it. The program may have threads of
//! its own; they are started after [`Watchdog::handle`] (from then on all signals are blocked, and a thread begins with
//! the mask of its parent) and speak to the engine through that [`Handle`].

use crate::logs::Stream;
use crate::machine::{MonoTime, Notice, Readiness, Service, State};
use crate::reactor::{self, Wish};
use crate::spec::{Instance, Spec};
use crate::sys::signals::{Inherited, Signals};
use mio::{Poll, Token, Waker};
use serde::Serialize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

/// The token of the waker in the loop's poll.
pub(crate) const WAKER: Token = Token(4);

/// Reads the services anew when a reload asks for them; `Err`: what is wrong with them, and nothing is changed.
pub type Loader = Box<dyn FnMut() -> Result<Reread, Vec<String>>>;

/// What a [`Loader`] has read.
#[derive(Clone, Debug, Default)]
pub struct Reread {
    /// All services.
    pub specs: Vec<Spec>,
    /// The keys of what was read for the watchdog itself and differs from what it was started with: people are told that
    /// it has to be started again for them.
    pub needs_watchdog_restart: Vec<String>,
}

impl From<Vec<Spec>> for Reread {
    fn from(specs: Vec<Spec>) -> Reread {
        Reread { specs, needs_watchdog_restart: Vec::new() }
    }
}

/// One line of output of a service whose `log` is `capture` or `tee`.
#[derive(Clone, Copy, Debug)]
pub struct OutputLine<'a> {
    /// Full name of the service.
    pub service: &'a str,
    /// Which incarnation wrote it.
    pub generation: u64,
    /// Written to its stderr rather than its stdout.
    pub stderr: bool,
    /// When its end was read.
    pub at: SystemTime,
    /// Without the newline. Any bytes; at most 16 KiB, a longer line comes in pieces.
    pub bytes: &'a [u8],
    /// No newline followed: it was cut, or the process ended in its middle.
    pub partial: bool,
    /// It goes to our own stdout or stderr already (`log = tee`).
    pub passed_on: bool,
}

/// Where all services are at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    pub(crate) now: MonoTime,
    pub(crate) services: &'a [Service],
    pub(crate) ending: bool,
}

/// How far those are that are wanted, hidden ones with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub wanted: usize,
    /// Ready, or done.
    pub ready: usize,
    /// Neither, and nothing will change that by itself: failed, or waiting in vain.
    pub given_up: usize,
}

/// One service in a [`Snapshot`], for people and machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceState {
    /// Full name, such as `web` or `web@1`.
    pub name: String,
    /// The word of the state, as in `status`.
    pub state: &'static str,
    /// Ready, or done.
    pub ready: bool,
    /// Nothing more happens by itself: it is stopped, done or failed.
    pub at_rest: bool,
    /// Wanted by a person, by its `autostart`, or by another service that needs it.
    pub wanted: bool,
    /// Why it is where it is, as a sentence.
    pub reason: String,
    /// What its start waits for, by name.
    pub waiting_on: Vec<String>,
    /// Nothing that will happen by itself ends that wait.
    pub hopeless: bool,
    /// Its main process.
    pub pid: Option<i32>,
    /// Which incarnation; 0: none yet.
    pub generation: u64,
    /// Automatic restarts in all.
    pub restarts: u32,
    /// Since when it is in this state.
    pub since: Duration,
    /// Left out of listings unless it is named.
    pub hidden: bool,
}

impl<'a> Snapshot<'a> {
    /// All services, in the order of the file.
    pub fn services(&self) -> impl Iterator<Item = ServiceState> + 'a {
        let now = self.now;
        self.services.iter().filter(|s| !s.removed).map(move |s| state_of(s, now))
    }

    /// How far they are, without a copy of anything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for s in self.services {
            let readiness = s.readiness();
            counts.wanted += usize::from(readiness != Readiness::Unasked);
            counts.ready += usize::from(matches!(readiness, Readiness::Ready | Readiness::Over));
            counts.given_up += usize::from(readiness == Readiness::Lost);
        }
        counts
    }

    /// Those of [`Counts::wanted`] that are not ready, in the order of the file.
    pub fn not_ready(&self) -> impl Iterator<Item = ServiceState> + 'a {
        let now = self.now;
        self.services.iter().filter(|s| s.readiness().is_missing()).map(move |s| state_of(s, now))
    }

    /// Whether the end of all of them has begun.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending
    }

    /// Since the watchdog began.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.now.0
    }

    /// How many services there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.iter().filter(|s| !s.removed).count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The service that a notice is about.
    #[must_use]
    pub fn about(&self, notice: &Notice) -> Option<ServiceState> {
        let service = self.services.get(notice.service?.0 as usize)?;
        Some(state_of(service, self.now))
    }
}

/// Nothing that will happen by itself ends its wait.
fn is_hopeless(s: &Service) -> bool {
    s.hopeless && matches!(s.state, State::Waiting)
}

fn state_of(s: &Service, now: MonoTime) -> ServiceState {
    ServiceState {
        name: s.spec.name.clone(),
        state: s.state.word(),
        ready: s.is_ready(),
        at_rest: s.state.is_terminal(),
        wanted: s.wanted,
        reason: s.why(now),
        waiting_on: s.waiting_on.clone(),
        hopeless: is_hopeless(s),
        pid: s.run.as_ref().filter(|r| r.alive).and_then(|r| r.pid),
        generation: s.last.0,
        restarts: s.book.total,
        since: now.since(s.since),
        hidden: s.spec.hidden,
    }
}

/// Who watches a watchdog. Called in the loop: it must not block, and everything it does holds up all services.
pub trait Observer {
    /// A line of output. What is written to `screen` goes to our own stdout, as far as its reader takes it; it never
    /// holds a worker up.
    fn line(&mut self, line: &OutputLine<'_>, screen: &mut Vec<u8>) {
        let _ = (line, screen);
    }

    /// Something happened.
    fn notice(&mut self, notice: &Notice, snapshot: &Snapshot<'_>, screen: &mut Vec<u8>) {
        let _ = (notice, snapshot, screen);
    }

    /// A turn of the loop is over: what was logged meanwhile may be shown, and what many events have changed, once.
    fn turn(&mut self, snapshot: &Snapshot<'_>, screen: &mut Vec<u8>) {
        let _ = (snapshot, screen);
    }

    /// All that was written to `screen` since it was last found empty is dropped: the reader is too far behind.
    fn dropped(&mut self) {}

    /// We were stopped (Ctrl-Z) and go on: others have had the terminal meanwhile.
    fn resumed(&mut self) {}

    /// The end: nothing is shown after it.
    fn end(&mut self, screen: &mut Vec<u8>) {
        let _ = screen;
    }
}

/// An observer made of two closures.
struct Closures<L, N>(L, N);

impl<L: FnMut(&OutputLine<'_>), N: FnMut(&Notice, &Snapshot<'_>)> Observer for Closures<L, N> {
    fn line(&mut self, line: &OutputLine<'_>, _screen: &mut Vec<u8>) {
        (self.0)(line);
    }

    fn notice(&mut self, notice: &Notice, snapshot: &Snapshot<'_>, _screen: &mut Vec<u8>) {
        (self.1)(notice, snapshot);
    }
}

/// Services that are about to be supervised.
pub struct Watchdog {
    pub(crate) instance: Instance,
    pub(crate) specs: Vec<Box<Spec>>,
    pub(crate) loader: Option<Loader>,
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) inbox: Option<Inbox>,
}

/// The engine's end of all handles.
pub(crate) struct Inbox {
    pub(crate) poll: Poll,
    pub(crate) wishes: Receiver<Wish>,
    /// Kept: a last wish would be lost with the last handle's descriptor.
    pub(crate) waker: Arc<Waker>,
    pub(crate) signals: Signals,
    pub(crate) inherited: Inherited,
}

impl Watchdog {
    /// Nothing happens before [`Watchdog::run`].
    #[must_use]
    pub fn new<S: Into<Box<Spec>>>(instance: Instance, specs: impl IntoIterator<Item = S>) -> Watchdog {
        let specs = specs.into_iter().map(Into::into).collect();
        Watchdog { instance, specs, loader: None, observer: None, inbox: None }
    }

    /// What a reload (`reload`, SIGHUP, a changed file of variables) reads the services from. Without it there is none.
    #[must_use]
    pub fn reload_from(mut self, loader: Loader) -> Watchdog {
        self.loader = Some(loader);
        self
    }

    /// Who watches.
    #[must_use]
    pub fn observe(mut self, observer: Box<dyn Observer>) -> Watchdog {
        self.observer = Some(observer);
        self
    }

    /// Callbacks for output and events: the short form of [`Watchdog::observe`].
    #[must_use]
    pub fn on(
        self,
        line: impl FnMut(&OutputLine<'_>) + 'static,
        notice: impl FnMut(&Notice, &Snapshot<'_>) + 'static,
    ) -> Watchdog {
        self.observe(Box::new(Closures(line, notice)))
    }

    /// A way to speak to it from another thread while it runs. Blocks all signals of this thread, and so of those that it
    /// starts from now on: they are the engine's.
    ///
    /// # Errors
    /// The kernel gives no more descriptors.
    pub fn handle(&mut self) -> std::io::Result<Handle> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, wishes) = channel();
        let (signals, inherited) = Signals::open().map_err(|e| std::io::Error::from_raw_os_error(e.errno as i32))?;
        self.inbox = Some(Inbox { poll, wishes, waker: waker.clone(), signals, inherited });
        Ok(Handle { sender, waker })
    }

    /// Supervises until it is over. The status is what the process should end with: the worker's, or 125 with one line in
    /// the log if the watchdog itself cannot start.
    #[must_use]
    pub fn run(self) -> u8 {
        reactor::run_all(self)
    }
}

/// Speaks to a running [`Watchdog`]. Cheap to clone, and may be sent to any thread. Wishes of a watchdog that has ended
/// come to nothing.
#[derive(Clone)]
pub struct Handle {
    sender: Sender<Wish>,
    waker: Arc<Waker>,
}

impl Handle {
    fn wish(&self, wish: Wish) {
        if self.sender.send(wish).is_ok() {
            let _ = self.waker.wake();
        }
    }

    /// Up, please, with all that it needs. A name means all replicas; one that is unknown is passed over.
    pub fn start(&self, name: &str) {
        self.wish(Wish::Start(name.into()));
    }

    /// Down, please, its dependents first.
    pub fn stop(&self, name: &str) {
        self.wish(Wish::Stop(name.into()));
    }

    /// A new incarnation, free of limits and delays.
    pub fn restart(&self, name: &str) {
        self.wish(Wish::Restart(name.into()));
    }

    /// The end of all services in reverse order, and of the watchdog.
    pub fn shutdown(&self) {
        self.wish(Wish::Shutdown);
    }

    /// Where all services are. `None`: the watchdog has ended, or did not answer within the time.
    #[must_use]
    pub fn snapshot(&self, patience: Duration) -> Option<Vec<ServiceState>> {
        let (sender, receiver) = channel();
        self.wish(Wish::Snapshot(sender));
        receiver.recv_timeout(patience).ok()
    }
}

impl OutputLine<'_> {
    pub(crate) fn stream_is_stderr(stream: Stream) -> bool {
        stream == Stream::Stderr
    }
}
