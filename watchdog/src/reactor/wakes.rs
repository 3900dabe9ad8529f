//! A stopped process keeps a signal pending until it is continued. Who is stopped stands in /proc, process by process: it is
//! looked for a moment after the signal, since most have ended by then.

use super::Reactor;
use crate::machine::*;
use crate::spec::Scope;
use crate::sys::{proc, tree};
use std::collections::BTreeMap;
use std::time::Duration;

/// From the signal to the look.
const WAIT: Duration = Duration::from_millis(20);

/// The services that were signalled and are to be looked at.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    due: Option<Duration>,
    signalled: BTreeMap<ServiceId, (Generation, Scope)>,
}

impl Wakes {
    /// This generation was signalled.
    pub(super) fn add(&mut self, id: ServiceId, generation: Generation, scope: Scope, now: Duration) {
        self.signalled.insert(id, (generation, scope));
        self.due.get_or_insert(now + WAIT);
    }

    /// Its main process is dead.
    pub(super) fn forget(&mut self, id: ServiceId) {
        self.signalled.remove(&id);
        if self.signalled.is_empty() {
            self.due = None;
        }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }
}

impl Reactor {
    /// Continues those that were signalled a moment ago and are stopped.
    pub(super) fn wake_in_time(&mut self) {
        if self.wakes.due.is_none_or(|due| due > self.clock.now()) {
            return;
        }
        self.wakes.due = None;
        for (id, (generation, scope)) in std::mem::take(&mut self.wakes.signalled) {
            self.wake(id, generation, scope);
        }
    }

    fn wake(&self, id: ServiceId, generation: Generation, scope: Scope) {
        let proc = self.workers.get(id.0 as usize).and_then(|w| w.proc.as_ref());
        let Some(main) = proc.filter(|p| p.generation == generation).map(|p| p.pid) else { return };
        let stopped = |pid: i32| proc::stat(pid).is_some_and(|s| s.state == b'T');
        if stopped(main) {
            self.signal_main(id, libc::SIGCONT);
        }
        if scope != Scope::Main {
            for pid in tree::descendants(&[main]).into_iter().skip(1).filter(|p| stopped(*p)) {
                tree::signal_each(&[pid], libc::SIGCONT, false);
            }
        }
    }
}
