//! Starts whose exec has not come: a child that changes its user or its directory runs beside us, because both can hold it
//! up for as long as others like. It has its time and is killed after that; the loop never waits for it.

use super::launch::{self, Launched};
use super::{Proc, Reactor};
use crate::machine::*;
use crate::sys::reap::Dead;
use crate::sys::spawn::{Failed, Progress, Status};
use crate::sys::{panic, signals};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// From the clone to the exec.
const EXEC_WITHIN: Duration = Duration::from_secs(10);
/// The same once a stop was asked for: nearly always the exec comes at once, and then the program has its grace.
const EXEC_WITHIN_A_STOP: Duration = Duration::from_secs(1);
/// Children that were killed and are not gone (a file system that does not answer); with so many of them none is started.
const MAX_KILLED: usize = 64;

/// A start whose exec has not come.
pub(super) struct Launching {
    launched: Launched,
    status: Status,
    token: usize,
    until: Duration,
    /// A stop was asked for.
    called_off: bool,
}

impl Reactor {
    /// Waits for the exec of a child that is on its way.
    #[inline(never)]
    pub(super) fn await_exec(&mut self, id: ServiceId, launched: Launched, status: Status) {
        self.next_token += 1;
        let token = self.next_token;
        let number = status.as_fd().as_raw_fd();
        // Where that fails, the end of its time brings it to light.
        let _ = self.poll.registry().register(&mut SourceFd(&number), Token(token), Interest::READABLE);
        let pid = launched.proc.pid;
        self.mains.insert(pid, id);
        self.remember(id, pid);
        let until = self.clock.now() + EXEC_WITHIN;
        if let Some(worker) = self.workers.get_mut(id.0 as usize) {
            worker.launching = Some(Box::new(Launching { launched, status, token, until, called_off: false }));
            self.launching.insert(token, id);
        }
    }

    /// For a panic of ours: what this one gets then.
    pub(super) fn remember(&self, id: ServiceId, pid: i32) {
        let death = self.machine.services().get(id.0 as usize).map_or(0, |s| launch::death_signal(&s.spec));
        panic::remember(pid, death);
    }

    /// With so many that were killed in vain, another child would only be one more.
    pub(super) fn too_many_killed(&self) -> bool {
        self.loose.len() >= MAX_KILLED
    }

    /// Something has come from a child on its way.
    pub(super) fn serve_launch(&mut self, token: usize) {
        let Some(id) = self.launching.get(&token).copied() else { return };
        let Some(one) = self.workers.get_mut(id.0 as usize).and_then(|w| w.launching.as_mut()) else { return };
        match one.status.look() {
            Progress::At(_) => {}
            Progress::Over => self.exec_came(id),
            Progress::Failed(failed) => {
                let failure = self.why(id, failed);
                self.exec_failed(id, failure);
            }
        }
    }

    /// When the first of them has had its time.
    pub(super) fn launches_deadline(&self) -> Option<Duration> {
        let all = self.launching.values().filter_map(|id| self.workers.get(id.0 as usize)?.launching.as_ref());
        all.map(|one| one.until).min()
    }

    /// Kills those that have had their time.
    pub(super) fn end_late_launches(&mut self) {
        let now = self.clock.now();
        let late = |id: &ServiceId| {
            let one = self.workers.get(id.0 as usize).and_then(|w| w.launching.as_ref());
            one.is_some_and(|one| one.until <= now)
        };
        let all: Vec<(usize, ServiceId)> =
            self.launching.iter().filter(|(_, id)| late(id)).map(|(token, id)| (*token, *id)).collect();
        for (token, id) in all {
            // What has come meanwhile counts.
            self.serve_launch(token);
            let Some(one) = self.workers.get_mut(id.0 as usize).and_then(|w| w.launching.as_mut()) else { continue };
            let failure = match (one.called_off, one.status.look()) {
                (_, Progress::Over) => continue,
                (true, _) => SpawnFailure { step: Step::PreStart, errno: libc::ECANCELED, path: String::new() },
                (false, Progress::At(stage)) => self.why(id, Failed::at(stage, Errno::ETIMEDOUT)),
                (false, Progress::Failed(failed)) => self.why(id, failed),
            };
            self.exec_failed(id, failure);
        }
    }

    /// It is not wanted any more. Its exec may have come already, and then it has its grace: it gets a moment to show.
    pub(super) fn hurry_launch(&mut self, id: ServiceId, generation: Generation) {
        let until = self.clock.now() + EXEC_WITHIN_A_STOP;
        let worker = self.workers.get_mut(id.0 as usize);
        if let Some(one) = worker.and_then(|w| w.launching.as_mut())
            && one.launched.proc.generation == generation
        {
            one.until = one.until.min(until);
            one.called_off = true;
        }
    }

    /// It was reaped. True: before its exec, and that has been told. False: it was no such child, or has run its program.
    pub(super) fn ended_before_exec(&mut self, id: ServiceId, dead: &Dead) -> bool {
        let Some(one) = self.workers.get_mut(id.0 as usize).and_then(|w| w.launching.as_mut()) else { return false };
        if one.launched.proc.pid != dead.pid {
            return false;
        }
        match one.status.failure() {
            Some(failed) => {
                let failure = self.why(id, failed);
                if let Some(one) = self.take_launch(id) {
                    self.forget_launch(id, &one.launched.proc, failure);
                }
                true
            }
            None => {
                self.exec_came(id);
                false
            }
        }
    }

    fn why(&self, id: ServiceId, failed: Failed) -> SpawnFailure {
        match self.machine.services().get(id.0 as usize) {
            Some(service) => launch::describe(&service.spec, failed),
            None => SpawnFailure { step: Step::Exec, errno: failed.errno as i32, path: String::new() },
        }
    }

    fn take_launch(&mut self, id: ServiceId) -> Option<Box<Launching>> {
        let one = self.workers.get_mut(id.0 as usize)?.launching.take()?;
        self.launching.remove(&one.token);
        let _ = self.poll.registry().deregister(&mut SourceFd(&one.status.as_fd().as_raw_fd()));
        Some(one)
    }

    fn exec_came(&mut self, id: ServiceId) {
        if let Some(one) = self.take_launch(id) {
            let event = self.runs(id, one.launched);
            self.feed(event);
        }
    }

    /// No program came of it. It may not be gone: its user may have stopped it, and then only SIGKILL ends it.
    fn exec_failed(&mut self, id: ServiceId, failure: SpawnFailure) {
        let Some(one) = self.take_launch(id) else { return };
        let proc = &one.launched.proc;
        // Not reaped yet: the number is its own.
        let _ = signals::send(proc.pid, proc.pidfd.as_ref().map(AsFd::as_fd), libc::SIGKILL);
        self.loose.push(proc.pid);
        self.forget_launch(id, proc, failure);
    }

    fn forget_launch(&mut self, service: ServiceId, proc: &Proc, failure: SpawnFailure) {
        self.mains.remove(&proc.pid);
        panic::forget(proc.pid);
        self.feed(Event::SpawnFailed { service, generation: proc.generation, failure });
    }
}
