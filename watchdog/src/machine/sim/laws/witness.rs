//! One service as an outsider sees it: from the events that were handed over and the contract, not from the machine. It
//! says what every call must lead to; `Deeds::compare` does the rest.

use super::life::Life;
use super::wanted::Deeds;
use crate::machine::sim::sometimes::{Rare, Sometimes};
use crate::machine::{Cause, Exit, MonoTime, Oom, SpawnFailure, Timers};
use crate::spec::{SignalNumber, Spec};
use std::time::Duration;

/// How far its process is, by what was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// None, and nothing of an old one.
    Idle,
    /// Asked for.
    Exec,
    /// Alive.
    Alive,
    /// Its main process is gone, others are not.
    Sweep,
}

/// A start to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) due: MonoTime,
    pub(super) after_pause: bool,
    /// A busy program file: not counted.
    pub(super) busy: bool,
}

/// The current run.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) spawned: MonoTime,
    pub(super) ready: Option<MonoTime>,
    pub(super) requested: bool,
    pub(super) key: Option<MonoTime>,
    pub(super) early: Option<(Exit, MonoTime, bool)>,
    /// Asked for while the exec was under way.
    pub(super) ladder: Option<(SignalNumber, Duration)>,
    /// When SIGKILL is due, once a stop began.
    pub(super) kill_due: Option<MonoTime>,
    pub(super) killed: Option<MonoTime>,
    pub(super) sweep_due: Option<MonoTime>,
    pub(super) sweep_killed: Option<MonoTime>,
    pub(super) stuck: bool,
    pub(super) exit: Option<Exit>,
    pub(super) stable: bool,
    pub(super) asked_for: MonoTime,
    /// What it says and does while it is up.
    pub(super) life: Life,
    /// Its end is our doing.
    pub(super) doomed: Option<Cause>,
    /// Made to show its stacks.
    pub(super) dumping: bool,
    /// No stop is put off beyond this.
    pub(super) latest: MonoTime,
    /// All that is due of a living worker, but the end of a grace.
    pub(super) dues: Timers,
}

/// What the outsider remembers.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    pub(super) spec: Spec,
    pub(super) up: bool,
    /// A start free of limits is owed.
    pub(super) owed: bool,
    /// That is for its age.
    pub(super) aged: bool,
    pub(super) generation: u64,
    pub(super) phase: Phase,
    pub(super) run: View,
    pub(super) next: Option<Next>,
    pub(super) streak: u32,
    pub(super) total: u32,
    pub(super) window: Vec<MonoTime>,
    /// All restarts by rule since a start that cleared the counters.
    pub(super) restarts: Vec<MonoTime>,
    pub(super) last_delay: Duration,
    /// What is judged is a start that came to nothing.
    pub(super) no_process: bool,
    pub(super) ever_ran: bool,
    pub(super) busy_since: Option<MonoTime>,
    pub(super) status: Option<u8>,
    pub(super) give_up_due: Option<MonoTime>,
    pub(super) leave: bool,
    /// How it came to rest, and since when: well, or failed. `None`: it was stopped, or it does not rest.
    pub(super) rest: Option<(bool, MonoTime)>,
    /// What this call must lead to.
    pub(super) want: Deeds,
    /// The delay the machine announced in this call, to be checked against the rules.
    pub(super) announced: Option<Duration>,
    pub(super) seen: Sometimes,
}

impl Witness {
    pub(super) fn new(spec: Spec) -> Witness {
        Witness {
            spec,
            up: true,
            owed: false,
            aged: false,
            generation: 0,
            phase: Phase::Idle,
            run: View::default(),
            next: None,
            streak: 0,
            total: 0,
            window: Vec::new(),
            restarts: Vec::new(),
            last_delay: Duration::ZERO,
            no_process: false,
            ever_ran: false,
            busy_since: None,
            status: None,
            give_up_due: None,
            leave: false,
            rest: None,
            want: Deeds::default(),
            announced: None,
            seen: Sometimes::default(),
        }
    }

    /// No process and none to come by itself.
    pub(super) fn resting(&self) -> bool {
        self.phase == Phase::Idle && self.next.is_none()
    }

    pub(super) fn running(&self) -> bool {
        self.phase == Phase::Alive && self.run.ready.is_some() && !self.ending()
    }

    /// On its way down.
    pub(super) fn ending(&self) -> bool {
        self.run.kill_due.is_some() || self.run.killed.is_some() || self.run.dumping
    }

    pub(super) fn stop_signal(&self) -> SignalNumber {
        self.spec.stop.signal.unwrap_or(libc::SIGTERM)
    }

    pub(super) fn start_now(&mut self, now: MonoTime) {
        self.generation += 1;
        self.phase = Phase::Exec;
        self.run = View { asked_for: now, ..View::default() };
        (self.owed, self.aged, self.next, self.leave, self.rest) = (false, false, None, false, None);
        self.want.spawns.push(self.generation);
    }

    // --- what is handed over ---

    pub(super) fn spawned(&mut self, now: MonoTime, generation: u64) -> Result<(), String> {
        if self.phase != Phase::Exec || generation != self.generation {
            return Ok(());
        }
        self.phase = Phase::Alive;
        self.run.spawned = now;
        (self.ever_ran, self.busy_since) = (true, None);
        self.want.tell("spawn");
        if let Some((exit, seen, empty)) = self.run.early.take() {
            self.seen.saw(Rare::EarlyEnd);
            return self.exited(now, generation, exit, seen, empty);
        }
        if self.up && !self.owed {
            self.await_ready(now);
        } else if let Some((signal, grace)) = self.run.ladder {
            self.climb(now, signal, grace);
        }
        Ok(())
    }

    pub(super) fn spawn_failed(&mut self, now: MonoTime, generation: u64, why: &SpawnFailure) -> Result<(), String> {
        if self.phase != Phase::Exec || generation != self.generation {
            return Ok(());
        }
        self.phase = Phase::Idle;
        if (why.step, why.errno) == (crate::machine::Step::PreStart, libc::ECANCELED) {
            self.busy_since = None;
            if self.up {
                self.seen.saw(Rare::HookCalledOffInVain);
                self.start_now(now);
            } else {
                self.want.tell("stopped");
            }
            return Ok(());
        }
        self.status = Some(match (why.step, why.errno) {
            (crate::machine::Step::Exec, libc::ENOENT) => 127,
            (crate::machine::Step::Exec, libc::EACCES | libc::ETXTBSY) => 126,
            _ => 125,
        });
        if why.errno == libc::ETXTBSY && !self.ever_ran && self.up {
            let since = *self.busy_since.get_or_insert(now);
            if now.since(since) < Duration::from_secs(5) {
                self.seen.saw(Rare::Busy);
                let due = now.after(Duration::from_millis(100));
                self.next = Some(Next { due, after_pause: false, busy: true });
                return Ok(());
            }
        }
        self.busy_since = None;
        self.want.tell("spawn-failed");
        if !self.up {
            self.want.tell("stopped");
        } else if !self.ever_ran && !passes(why) {
            self.seen.saw(Rare::FirstExecFails);
            self.leave = true;
            self.rest = Some((false, now));
            self.owed = false;
        } else if self.owed {
            self.start_now(now);
        } else {
            self.seen.saw(Rare::LaterExecFails);
            self.no_process = true;
            return self.verdict(now, None, true, false);
        }
        Ok(())
    }

    pub(super) fn exited(
        &mut self,
        now: MonoTime,
        generation: u64,
        exit: Exit,
        seen: MonoTime,
        empty: bool,
    ) -> Result<(), String> {
        if generation != self.generation {
            return Ok(());
        }
        if self.phase == Phase::Exec {
            self.run.early.get_or_insert((exit, seen, empty));
            return Ok(());
        }
        if self.phase != Phase::Alive {
            return Ok(());
        }
        let requested_for_age = self.owed && self.aged;
        let stop = &self.spec.stop;
        if let Some(at) = self.run.key {
            if seen.since(at) <= stop.timeout {
                self.seen.saw(Rare::KeyExit);
                (self.run.requested, self.up, self.owed, self.leave) = (true, false, false, true);
            } else {
                self.seen.saw(Rare::KeySurvived);
            }
        }
        let needs = self.spec.restart.stable_after.max(self.last_delay);
        self.run.stable = self.run.ready.is_some_and(|at| seen.since(at) >= needs);
        self.run.exit = Some(exit);
        if self.run.stable {
            if self.streak > 0 {
                self.seen.saw(Rare::StreakReset);
            }
            self.streak = 0;
        }
        self.status = Some(exit.code.unwrap_or_else(|| 128 + exit.signal.unwrap_or(0)) as u8);
        self.want.tell("exit");
        self.want.exit = Some((self.run.requested, seen.since(self.run.spawned)));
        self.report_end(exit, requested_for_age);
        if self.run.stuck {
            self.seen.saw(Rare::StuckFreed);
        }
        self.run.stuck = false;
        if empty {
            return self.gone(now);
        }
        self.seen.saw(Rare::Leftovers);
        self.phase = Phase::Sweep;
        self.want.tell("leftover-killed");
        let grace = self.spec.stop.timeout.min(Duration::from_secs(2));
        if grace.is_zero() {
            self.sweep_kill(now);
        } else {
            self.want.sweeps.push(libc::SIGTERM);
            self.run.sweep_due = Some(now.after(grace));
        }
        Ok(())
    }

    /// Its cause, and the flight recorder's page: for every kill of ours, and for every unclean death nobody asked for.
    fn report_end(&mut self, exit: Exit, for_its_age: bool) {
        let own = match (exit.oom, exit.signal) {
            (Oom::Worker, _) => Cause::Oom,
            (_, Some(_)) => Cause::Signalled,
            (_, None) => Cause::Exited,
        };
        let asked = if for_its_age { Cause::MaxAge } else { Cause::Requested };
        let cause = if self.run.requested { asked } else { self.run.doomed.unwrap_or(own) };
        self.want.ended_by = Some(cause);
        if exit.oom != Oom::No {
            self.seen.saw(Rare::OomDeath);
            self.want.tell("oom");
        }
        if self.run.doomed.is_some() && self.run.requested {
            self.seen.saw(Rare::DoomedAndAsked);
        }
        let unclean = self.early() || !self.spec.restart.success_on.has(exit.code, exit.signal);
        if self.run.killed.is_some() || self.run.doomed.is_some() || (unclean && !self.run.requested) {
            self.report(cause, true);
        }
    }

    pub(super) fn sweep_kill(&mut self, now: MonoTime) {
        self.seen.saw(Rare::SweepKilled);
        self.want.sweeps.push(libc::SIGKILL);
        self.run.sweep_killed = Some(now);
    }

    pub(super) fn tree(&mut self, now: MonoTime, generation: u64, empty: bool, told_stuck: bool) -> Result<(), String> {
        if self.phase != Phase::Sweep || generation != self.generation {
            return Ok(());
        }
        if empty {
            if self.run.stuck {
                self.seen.saw(Rare::StuckFreed);
            }
            return self.gone(now);
        }
        let Some(killed) = self.run.sweep_killed else { return Ok(()) };
        self.want.sweeps.push(libc::SIGKILL);
        if told_stuck && !self.run.stuck {
            if now < killed.after(self.spec.stop.kill_wait) {
                return Err("stuck: told before kill_wait was over".into());
            }
            self.seen.saw(Rare::StuckTree);
            self.run.stuck = true;
            self.want.tell("stuck");
        }
        Ok(())
    }

    /// Nothing of it lives: down, anew, or by the rules.
    fn gone(&mut self, now: MonoTime) -> Result<(), String> {
        self.phase = Phase::Idle;
        self.run.stuck = false;
        let Some(exit) = self.run.exit else { return Err("world: gone without an exit".into()) };
        if !self.up {
            self.want.tell("stopped");
            return Ok(());
        }
        if self.owed {
            self.start_now(now);
            return Ok(());
        }
        let good = &self.spec.restart.success_on;
        let asked = self.run.requested && exit.code.is_some_and(|c| c > 128 && good.signals.contains(&(c - 128)));
        let success = asked
            || exit.code.is_some_and(|c| good.codes.contains(&c))
            || exit.signal.is_some_and(|s| good.signals.contains(&s));
        // An end of our doing is a failure, whatever the code, and the code forbids nothing.
        let (doomed, early) = (self.run.doomed.is_some(), self.early());
        if doomed && success {
            self.seen.saw(Rare::DoomedSuccess);
        }
        if early && success && !doomed {
            self.seen.saw(Rare::LeftEarly);
        }
        self.verdict(now, Some(exit).filter(|_| !doomed), doomed || early || !success, self.run.stable)
    }
}

/// A failure that may pass by itself: the machine is short of something, or what the exec waits for did not answer.
fn passes(why: &SpawnFailure) -> bool {
    let short = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
    short.contains(&why.errno) || why.errno == libc::ETIMEDOUT
}
