//! A panic of the watchdog: one line, the workers stopped as `on_watchdog_death` says, status 125.

use super::{message, reap, signals};
use nix::poll::{PollTimeout, poll};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What a panic has to know. The loop may be in any state then, so it is kept here as well.
static WORLD: Mutex<World> = Mutex::new(World { workers: Vec::new(), sockets: Vec::new(), message: None });

struct World {
    /// Main processes that are not reaped yet, and their parent-death signal (0: they are to go on).
    workers: Vec<(i32, i32)>,
    sockets: Vec<PathBuf>,
    message: Option<PathBuf>,
}

/// Between the signal and SIGKILL, in steps of the second.
const GRACE_STEPS: u32 = 500;
const STEP_MS: u16 = 10;

fn world<T>(change: impl FnOnce(&mut World) -> T) -> T {
    change(&mut WORLD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A worker is there.
pub(crate) fn remember(pid: i32, signal: i32) {
    world(|w| w.workers.push((pid, signal)));
}

/// A worker was reaped: its number is not its own any more.
pub(crate) fn forget(pid: i32) {
    world(|w| w.workers.retain(|(p, _)| *p != pid));
}

/// A socket of ours, to be removed.
pub(crate) fn remember_socket(path: &Path) {
    world(|w| w.sockets.push(path.to_owned()));
}

/// The file for the reason of the end.
pub(crate) fn remember_message(path: &Path) {
    world(|w| w.message = Some(path.to_owned()));
}

/// One line instead of a backtrace, then the end of the workers, then ours (case DEA-04).
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let what = info.payload().downcast_ref::<&str>().map(|s| (*s).to_owned());
        let what = what.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_default();
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let what: String = what.chars().filter(|c| !c.is_control()).take(200).collect();
        let line = format!("watchdog: internal error{place}: {what}; the worker is stopped\n");
        // Not through the log: it may be what panicked. A closed stderr is nobody's problem any more.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        let _ = world(|w| w.message.take()).map(|path| message::leave(&path, &line));
        stop_all();
        #[expect(clippy::disallowed_methods, reason = "the one place that must end without returning")]
        std::process::exit(125);
    }));
}

/// The signal to each, a grace, SIGKILL to who is left. Waiting is right here: there is no loop any more.
fn stop_all() {
    let (workers, sockets) = world(|w| (std::mem::take(&mut w.workers), std::mem::take(&mut w.sockets)));
    let mut left: Vec<i32> = workers.iter().filter(|(_, signal)| *signal != 0).map(|(pid, _)| *pid).collect();
    for (pid, signal) in workers.iter().filter(|(_, signal)| *signal != 0) {
        let _ = signals::kill(*pid, *signal);
    }
    for _ in 0..GRACE_STEPS {
        while let Ok(dead) = reap::reap_one() {
            left.retain(|pid| *pid != dead.pid);
        }
        if left.is_empty() {
            break;
        }
        let _ = poll(&mut [], PollTimeout::from(STEP_MS));
    }
    for pid in left {
        let _ = signals::kill(pid, libc::SIGKILL);
    }
    for path in sockets {
        let _ = std::fs::remove_file(path);
    }
}
