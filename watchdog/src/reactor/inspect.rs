//! What the kernel shows of a worker, when the machine asks: two looks at one that does not beat, its port, and who is
//! its main process now.

use super::Reactor;
use crate::machine::*;
use crate::sys::evidence::{self, Facts, Look};
use crate::sys::sockets::{self, AcceptQueue};
use crate::sys::{clock, panic, proc, signals, tree};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The first of two looks.
pub(super) struct First {
    generation: Generation,
    look: Look,
    at: Duration,
}

/// Who a main process said is the main process when it ends itself (MAINPID).
pub(super) struct Successor {
    pub(super) pid: i32,
    /// The process itself: its number may be another's by then.
    pub(super) pidfd: OwnedFd,
}

impl Successor {
    /// What it is, if it still is: as long as it can be signalled, its number is its own.
    pub(super) fn stat(&self) -> Option<proc::Stat> {
        let stat = proc::stat(self.pid)?;
        signals::pidfd_send(self.pidfd.as_fd(), 0).ok().map(|()| stat)
    }
}

/// What was taken down before a kill.
pub(super) struct Gathered {
    pub(super) generation: Generation,
    pub(super) threads: Vec<evidence::ThreadFact>,
    pub(super) descriptors: Vec<(i32, String)>,
    pub(super) descriptors_total: usize,
    pub(super) queues: Vec<AcceptQueue>,
}

impl Reactor {
    pub(super) fn main_of(&self, id: ServiceId, generation: Generation) -> Option<i32> {
        let proc = self.workers.get(id.0 as usize)?.proc.as_ref()?;
        (proc.generation == generation).then_some(proc.pid)
    }

    /// One of the two looks; the second brings the evidence.
    #[inline(never)]
    pub(super) fn inspect(&mut self, id: ServiceId, generation: Generation, second: bool) -> Option<Event> {
        let main = self.main_of(id, generation)?;
        let now = self.clock.now();
        let worker = self.workers.get_mut(id.0 as usize)?;
        if !second {
            worker.first_look = Some(Box::new(First { generation, look: evidence::look(main), at: now }));
            return None;
        }
        let first = worker.first_look.take().filter(|f| f.generation == generation);
        let facts = match &first {
            Some(first) => evidence::compare(&first.look, main, now.saturating_sub(first.at)),
            None => Facts { blind: true, ..Facts::default() },
        };
        let slept = clock::slept_offset().saturating_sub(worker.slept);
        worker.slept = clock::slept_offset();
        Some(Event::Evidence { service: id, generation, evidence: evidence_of(facts, slept) })
    }

    /// Threads and descriptors, as they are just before a kill.
    pub(super) fn gather(&mut self, id: ServiceId, generation: Generation) {
        let Some(main) = self.main_of(id, generation) else { return };
        let (descriptors, descriptors_total) = sockets::descriptors(main);
        let gathered = Gathered {
            generation,
            threads: evidence::threads(main),
            descriptors,
            descriptors_total,
            queues: sockets::accept_queues(main),
        };
        if let Some(worker) = self.workers.get_mut(id.0 as usize) {
            worker.gathered = Some(Box::new(gathered));
        }
    }

    /// The same, where a look that led to the kill did not do so: what it is doing now is why it has to be killed.
    pub(super) fn gather_once(&mut self, id: ServiceId, generation: Generation) {
        let gathered = self.workers.get(id.0 as usize).and_then(|w| w.gathered.as_ref());
        if gathered.is_none_or(|g| g.generation != generation) {
            self.gather(id, generation);
        }
    }

    /// Whether a process of its tree listens on this port.
    pub(super) fn look_at_port(&self, service: ServiceId, generation: Generation, port: u16) -> Option<Event> {
        let main = self.main_of(service, generation)?;
        let open = sockets::listens_on(&tree::descendants(&[main]), port);
        open.then_some(Event::SeenReady { service, generation, by: ReadyBy::Port })
    }

    /// A main process that named another one of its tree before it ended (MAINPID) hands over to it, where that one lives,
    /// is a child of ours by now, and the main process of no other service. True: the service goes on under another pid.
    pub(super) fn passes_on(&mut self, id: ServiceId) -> bool {
        let me = self.me;
        let goes_on = self.machine.services().get(id.0 as usize).is_some_and(Service::may_hand_over);
        if goes_on {
            // What it said last may have had to wait.
            self.look_at_named(id);
        }
        let Some(worker) = self.workers.get_mut(id.0 as usize) else { return false };
        let next = worker.named.take_next();
        worker.named.forget();
        let Some(successor) = next.filter(|_| goes_on) else { return false };
        let Some(now) = successor.stat().filter(|s| s.ppid == me && s.state != b'Z') else { return false };
        let Successor { pid: next, pidfd } = successor;
        if self.mains.contains_key(&next) {
            return false;
        }
        // One that was there when the stop signal was sent, alone or with its group, has it already.
        let told = worker.told.contains(&next) || (worker.told_group == Some(now.group) && began(now) < worker.told_at);
        let Some(proc) = worker.proc.as_mut() else { return false };
        let old = proc.pid;
        (proc.pid, proc.pidfd, proc.own_group) = (next, Some(pidfd), now.group == next);
        let generation = proc.generation;
        self.mains.remove(&old);
        self.mains.insert(next, id);
        panic::forget(old);
        panic::remember(next, 0);
        log::info!("generation {}: pid {old} has ended and hands over to pid {next} (MAINPID)", generation.0);
        self.feed(Event::HandedOver { service: id, generation, pid: next, told });
        true
    }
}

/// When a process began, since the start of the machine; the kernel notes it in hundredths of a second, rounded down.
fn began(stat: proc::Stat) -> Duration {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let per_second = ticks.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(100);
    Duration::from_millis(stat.start.saturating_add(1).saturating_mul(1000) / per_second)
}

fn evidence_of(facts: Facts, suspended: Duration) -> Evidence {
    let Facts { span, cpu, waited, throttled, pressure_percent, threads, blocked, stopped, traced, blind } = facts;
    Evidence {
        span,
        cpu,
        waited,
        throttled,
        pressure_percent,
        threads,
        blocked,
        stopped,
        traced,
        late: Duration::ZERO,
        suspended,
        blind,
    }
}
