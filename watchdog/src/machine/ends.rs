//! The end of one service's process: what is left of its tree is ended too, and only then anything follows.

use super::sentences::{describe_end, end_cause, human};
use super::service::{Cx, KILL, Service, TERM};
use super::state::{EarlyEnd, Ended, Goal, State, StopStep};
use super::time::{MonoTime, Timer};
use super::words::*;
use crate::spec::{Kind, Ready, SWEEP_GRACE};
use std::time::Duration;

/// A main process that ends well so soon and leaves others behind has put the program into the background.
const BACKGROUND: Duration = Duration::from_secs(10);
/// Between two looks at a tree that was killed and is not gone.
pub(super) const RESCAN: Duration = Duration::from_millis(10);
/// Between two looks at a tree that was asked to go.
pub(super) const SWEEP_LOOK: Duration = Duration::from_millis(50);
/// Between two looks at a tree that would not die.
pub(super) const STUCK_LOOK: Duration = Duration::from_secs(1);

impl Service {
    /// The main process was reaped.
    pub fn on_exited(
        &mut self,
        cx: &mut Cx<'_>,
        generation: Generation,
        exit: Exit,
        seen_alive: MonoTime,
        left: Vec<i32>,
    ) {
        let Some(run) = self.run.as_mut().filter(|r| r.generation == generation) else { return };
        if !run.alive {
            if run.spawned.is_none() && matches!(self.state, State::Starting { .. }) {
                // Reaped before the success of its exec was read: kept until that news is here.
                run.early_end.get_or_insert_with(|| Box::new(EarlyEnd { exit, seen_alive, left }));
            }
            return;
        }
        run.alive = false;
        let by_key = run.asked_by_key.is_some_and(|at| seen_alive.since(at) <= self.spec.stop.timeout);
        run.end_requested |= by_key;
        let (spawned, ready) = (run.spawned.unwrap_or(run.asked_at), run.ready);
        let (pid, requested, doomed) = (run.pid, run.end_requested, run.doomed);
        let needs = self.book.stable_needs(&self.spec.restart);
        let stable = ready.is_some_and(|at| seen_alive.since(at) >= needs);
        let uptime = seen_alive.since(spawned);
        if stable {
            self.book.rested();
        }
        self.status = Some(exit.status());
        let asked = self.free_start.unwrap_or(Cause::Requested);
        let cause = if requested { asked } else { doomed.unwrap_or(end_cause(&exit)) };
        let killed = matches!(self.state, State::Stopping { step: StopStep::Kill, .. } | State::Stuck { .. });
        let rule = if self.run_is_being_ended() { self.reason.clone() } else { String::new() };
        let (at, rule_of_it) = (cx.now, rule.clone());
        let ended = Ended { generation, pid, exit, at, uptime, stable, requested, cause, rule: rule_of_it };
        self.ended = Some(Box::new(ended));
        self.tell(cx, Some(cause), What::Exit { exit, uptime, requested });
        if exit.oom != Oom::No {
            self.tell(cx, Some(Cause::Oom), What::Oom { oom: exit.oom });
        }
        let unclean = self.left_too_early() || !self.spec.restart.success_on.has(exit.code, exit.signal);
        if killed || doomed.is_some() || (unclean && !requested) {
            self.report(cx, cause, rule, true);
        }
        if by_key {
            self.goal = Goal::Down;
            self.free_start = None;
            self.leave = true;
        }
        let by_itself = !requested && doomed.is_none() && exit.code == Some(0);
        let hides = by_itself && uptime < BACKGROUND && self.spec.kind == Kind::Service;
        match left.is_empty() {
            true => self.tree_gone(cx),
            false => self.sweep(cx, generation, Some(cause), left, hides),
        }
    }

    /// The main process is gone and this is left of its tree: TERM, then KILL. `hides`: it has put itself into the
    /// background, which is said once.
    fn sweep(&mut self, cx: &mut Cx<'_>, child: Generation, cause: Option<Cause>, left: Vec<i32>, hides: bool) {
        let reason = format!(
            "{} of its tree outlived it and {} being ended",
            left.len(),
            if left.len() == 1 { "is" } else { "are" }
        );
        self.enter(cx, State::Stopping { child, step: StopStep::Sweep }, cause, reason);
        let background = hides && !std::mem::replace(&mut self.told_background, true);
        self.tell(cx, cause, What::LeftoverKilled { pids: left.clone(), background });
        self.left = left;
        let grace = self.spec.stop.timeout.min(SWEEP_GRACE);
        if grace.is_zero() {
            return self.sweep_kill(cx, child);
        }
        cx.out.push(Action::Sweep { service: self.id, generation: child, signal: TERM });
        self.timers.set(Timer::Sweep, cx.now.after(grace));
        self.timers.set(Timer::Rescan, cx.now.after(SWEEP_LOOK));
    }

    pub(super) fn sweep_kill(&mut self, cx: &mut Cx<'_>, child: Generation) {
        let reason = self.reason.clone();
        self.enter(cx, State::Stopping { child, step: StopStep::SweepKill }, self.cause, reason);
        cx.out.push(Action::Sweep { service: self.id, generation: child, signal: KILL });
        self.timers.set(Timer::Rescan, cx.now.after(RESCAN));
        self.timers.set(Timer::KillWait, cx.now.after(self.spec.stop.kill_wait));
    }

    pub(super) fn look(&mut self, cx: &mut Cx<'_>, child: Generation, again: Duration) {
        cx.out.push(Action::LookAtTree { service: self.id, generation: child });
        self.timers.set(Timer::Rescan, cx.now.after(again));
    }

    /// Killed and not gone. A main process is reaped when it dies; what else is left has to be looked at.
    pub(super) fn stuck(&mut self, cx: &mut Cx<'_>, child: Generation) {
        let main = self.living().is_some();
        let pids = if main { self.run.iter().filter_map(|r| r.pid).collect() } else { self.left.clone() };
        let waited = human(self.spec.stop.kill_wait);
        let reason = format!("killed and not gone after {waited} (kill_wait): pid {pids:?}");
        self.tell(cx, self.cause, What::Stuck { pids });
        self.enter(cx, State::Stuck { child }, self.cause, reason);
        if !main {
            self.timers.set(Timer::Rescan, cx.now.after(STUCK_LOOK));
        }
    }

    /// A new look at what is left.
    pub fn on_tree(&mut self, cx: &mut Cx<'_>, generation: Generation, left: Vec<i32>) {
        let (child, again) = match self.state {
            State::Stopping { child, step: StopStep::Sweep } => (child, false),
            State::Stopping { child, step: StopStep::SweepKill } | State::Stuck { child } => (child, true),
            State::Stopping { step: StopStep::Ask | StopStep::Dump | StopStep::Term | StopStep::Kill, .. }
            | State::Stopped
            | State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Failed => return,
        };
        if child != generation || self.living().is_some() {
            return;
        }
        if left.is_empty() {
            return self.tree_gone(cx);
        }
        self.left = left;
        if again {
            // Forked since the last look, or slow to die: again, until nothing is left or the time is over.
            cx.out.push(Action::Sweep { service: self.id, generation, signal: KILL });
            if matches!(self.state, State::Stopping { .. }) && self.timers.get(Timer::KillWait).is_none() {
                self.stuck(cx, child);
            }
        }
    }

    /// Nothing of the old tree lives: the one place from which a new start is possible.
    pub(super) fn tree_gone(&mut self, cx: &mut Cx<'_>) {
        self.left.clear();
        let Some(ended) = self.ended.clone() else { return };
        let how = describe_end(&ended);
        if self.goal == Goal::Down {
            let (cause, why) = self.why_down();
            return self.rest(cx, Some(cause), format!("{why}; {how}"));
        }
        if let Some(cause) = self.free_start.take() {
            let why = match cause {
                Cause::MaxAge => "recycled for its age (max_age)",
                Cause::Dependency => "stopped for a service that it requires",
                Cause::ConfigChanged => "restarted for its new settings",
                Cause::Requested
                | Cause::Exited
                | Cause::Signalled
                | Cause::SpawnFailed
                | Cause::RestartLimit
                | Cause::StartTimeout
                | Cause::Hang
                | Cause::Memory
                | Cause::Cpu
                | Cause::Oom
                | Cause::Probe => "restart asked for",
            };
            return self.spawn(cx, Some(cause), format!("{why}; {how}"));
        }
        let failure = self.is_failure(&ended);
        let doomed = self.run.as_ref().and_then(|r| r.doomed);
        let why = match doomed {
            Some(cause) => format!("ended by us ({}): {}; {how}", cause.word(), ended.rule),
            None if self.left_too_early() => format!("{how}: a failed start, {}", self.how_long_it_had_to_stay()),
            None => how,
        };
        self.judge(cx, doomed.unwrap_or(end_cause(&ended.exit)), failure, ended.stable, why);
    }

    /// Whose wish it is that it is down.
    pub fn why_down(&self) -> (Cause, String) {
        if self.removed {
            (Cause::ConfigChanged, "stopped: it is not in the file any more".into())
        } else if self.asked.is_none() && !self.wanted {
            (Cause::Dependency, "stopped: nothing needs it any more".into())
        } else {
            (Cause::Requested, self.why_stopped())
        }
    }

    fn run_is_being_ended(&self) -> bool {
        matches!(self.state, State::Stopping { .. } | State::Stuck { .. })
    }

    /// A requested end is never judged, so 128+n, which counts as success only when a stop was asked for, needs no word.
    /// An end that was our doing is a failure, whatever the code.
    pub(super) fn is_failure(&self, ended: &Ended) -> bool {
        self.run.as_ref().is_some_and(|r| r.doomed.is_some())
            || self.left_too_early()
            || !self.spec.restart.success_on.has(ended.exit.code, ended.exit.signal)
    }

    fn how_long_it_had_to_stay(&self) -> String {
        let stays = if let Ready::Alive(stays) = self.spec.ready { stays } else { Duration::ZERO };
        format!("for it was to stay for {} (ready = alive)", human(stays))
    }

    /// It had to be there for a while to count as started (`ready = alive`) and was not: a failed start, whatever its code.
    pub fn left_too_early(&self) -> bool {
        let stays = self.spec.kind == Kind::Service && matches!(self.spec.ready, Ready::Alive(_));
        stays && self.run.as_ref().is_some_and(|r| r.spawned.is_some() && r.ready.is_none())
    }

    pub(super) fn rest(&mut self, cx: &mut Cx<'_>, cause: Option<Cause>, reason: String) {
        self.enter(cx, State::Stopped, cause, reason);
        self.tell(cx, cause, What::Stopped);
    }
}
