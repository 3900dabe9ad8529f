//! The worker's side of watchdog: it says that it is ready, answers heartbeats from the loop that does the work, and ends
//! in order when it is asked to. Blocking, without a runtime, and nothing but bincode behind it.
//!
//! Without a watchdog everything here does nothing, so the same program runs under one, alone and in a debugger.
//! [`Supervised`] says who supervises.
//!
//! # A worker, from start to end
//!
//! ```
//! use std::time::Duration;
//! use worker_sdk::{WatchdogGone, Worker};
//!
//! // First thing in main: takes the channel out of the environment while there is one thread.
//! let worker = Worker::from_env()?;
//! worker.report_panics();
//! worker.when_watchdog_is_gone(WatchdogGone::Stop(Duration::from_secs(10)));
//! worker.on_tell(|word| println!("the operator says {word}"));
//! worker.health_check("queue", || Ok("12 of 1000 places taken".to_string()));
//! let jobs = worker.counter("jobs_total");
//!
//! worker.status("reading the index");
//! worker.extend(Duration::from_secs(60)); // this start may take a minute
//! worker.ready();
//!
//! while !worker.should_stop() {
//!     worker.beat(); // only a loop that goes round answers
//!     jobs.increment();
//! #   break;
//! }
//! worker.stopping();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Which sign of life
//!
//! | call | proves | when |
//! |---|---|---|
//! | [`Worker::beat`] in the loop that works | this loop goes round | the program has one loop |
//! | [`Worker::lane`] in each loop | each of them does, by name | it has several |
//! | [`Worker::answer_in_background`] | the process lives and is scheduled | it has none, or lanes do the rest |
//!
//! A worker with a poll loop of its own puts [`Worker`] into it (it is [`AsFd`](std::os::fd::AsFd)) and beats when it is
//! readable: `examples/tokio.rs` does so in a tokio service. A step that takes longer than the deadline says so first:
//! [`Worker::extend`].
//!
//! # When a loop is stuck
//!
//! The watchdog sees that a lane, or the worker as a whole, does not beat within its deadline, and gives its verdict. Before
//! it kills a hung worker it sends SIGABRT and waits, 5 s by default. A supervised worker uses that time to say where it is
//! stuck: the SDK has a handler that asks the thread of each lane (the one that beat it last) and the main thread for their
//! stacks, and sends them, by the names of the lanes, into the watchdog's report. Then the process dies of SIGABRT, core
//! dump and all. `examples/lanes.rs stuck` shows it.
//!
//! - Functions have names unless the program was stripped, lines if it has debug information
//!   (`debug = "line-tables-only"` in the profile).
//! - A program that is linked with musl says which lanes there are, but no frames: musl lacks what is needed to follow a
//!   stack from a signal handler. Build it for glibc to see them.
//! - A thread that was interrupted inside the allocator cannot show its stack, and may keep others from it; then the dump
//!   is missing or in part, and the worker dies a few seconds later all the same.
//! - A capture takes some tens of kilobytes of the interrupted thread's own stack.
//! - If the watchdog does not read, the stacks are written to standard error, each line with `watchdog: ` before it.
//! - The handler answers the watchdog only, which is the parent of the process: not behind a shell that stays between. `abort()`, and a SIGABRT from anybody else, do what they always did. A program
//!   with a handler of its own, or that ignores SIGABRT, before it makes its [`Worker`], keeps it and has no such dump; so
//!   does one that nobody supervises.
//!
//! # Ending
//!
//! [`Worker::should_stop`] asks, [`Worker::on_shutdown`] is called, [`Worker::shutdown_requested`] says how much time there
//! is. A server takes [`Worker::connections`] along: a shutdown then turns new ones away, asks the others to end, waits,
//! and ends what is left within the grace: `examples/http.rs`. The first use of any of these four tells the watchdog that
//! the worker acts on such a request: only then it is asked, and gets the stop signal when its time is over. A worker that
//! uses none of them gets the stop signal at once. The SDK installs no signal handler: a worker that wants to
//! end in order on a bare SIGTERM, without a watchdog, needs its own.
//!
//! # Another language
//!
//! `docs/protocol.md` specifies every byte; [`wire`] is its implementation.

#![warn(missing_docs)]

mod channel;
mod clock;
mod connections;
#[expect(
    unsafe_code,
    reason = "descriptors and variables of the environment: std wants promises that only the start keeps"
)]
mod env;
#[expect(unsafe_code, reason = "atomics in a memory file, and a descriptor sent along: std offers neither")]
mod lanes;
mod listeners;
mod metrics;
mod requests;
#[expect(unsafe_code, reason = "a signal handler, and a signal for one thread: std offers neither")]
mod stacks;
mod supervised;
pub mod wire;
mod worker;

pub use channel::Ended;
pub use connections::{
    Connection, ConnectionAlarm, ConnectionEvent, ConnectionInfo, ConnectionTotals, ConnectionTracker, DrainPhase,
    DrainPlan, Refused,
};
pub use lanes::Lane;
pub use listeners::Listeners;
pub use metrics::{Counter, Gauge, Histogram};
pub use requests::{LATENCY_BOUNDS_MS, Request, RequestError, RequestRecorder, RequestTotals};
pub use supervised::Supervised;
pub use worker::{Helper, WatchdogGone, Worker};
