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
//! readable. A step that takes longer than the deadline says so first: [`Worker::extend`].
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
pub use metrics::{Counter, Gauge};
pub use requests::{LATENCY_BOUNDS_MS, Request, RequestError, RequestRecorder, RequestTotals};
pub use supervised::Supervised;
pub use worker::{Helper, WatchdogGone, Worker};
