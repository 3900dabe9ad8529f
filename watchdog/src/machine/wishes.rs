//! What people want of a service: up, down, anew, a signal; and the ladder that a stop climbs.

use super::news::Word;
use super::service::{Cx, KILL, Ladder, Service};
use super::state::{Goal, State, StopStep};
use super::talk::EXTEND_TIMES;
use super::time::{MonoTime, Timer};
use super::waiting::Leave;
use super::words::*;
use crate::spec::SignalNumber;
use std::time::Duration;

/// Of the grace of a worker that was told to end so much is kept for the stop signal: it may not act on the word after all.
fn signal_lead(grace: Duration) -> Duration {
    (grace / 4).min(Duration::from_secs(2))
}

impl Service {
    /// The usual ladder, with another grace if one was asked for.
    pub fn ladder(&self, grace: Option<Duration>) -> Ladder {
        Ladder { signal: self.stop_signal(), grace: grace.unwrap_or(self.spec.stop.timeout) }
    }

    /// Up, please. From a state without a process it starts at once, free of limits; a terminal one clears the counters.
    pub fn want_up(&mut self, cx: &mut Cx<'_>) {
        self.goal = Goal::Up;
        self.stopped_by = None;
        match self.state {
            State::Stopped | State::Done | State::Failed => {
                self.end_give_up(cx);
                self.book.clear();
                self.busy_since = None;
                self.spawn(cx, Some(Cause::Requested), "start asked for".into());
            }
            State::Backoff { .. } | State::CrashLoop { .. } => {
                self.spawn(cx, Some(Cause::Requested), "start asked for".into());
            }
            State::Stopping { .. } | State::Stuck { .. } => self.free_start = Some(Cause::Requested),
            State::Starting { .. } if self.free_start.is_none() => {
                // A stop that did not begin is forgotten, and with it that this run's end was asked for.
                self.pending = None;
                if let Some(run) = self.run.as_mut() {
                    run.end_requested = false;
                }
            }
            State::Starting { .. } | State::Running { .. } | State::Waiting => {}
        }
    }

    /// A stop that has not begun is not wanted any more. A restart is: it comes up by that as well.
    pub(super) fn take_back_a_stop(&mut self) {
        self.held = self.held.take().filter(|held| !matches!(held.leave, Leave::Down(_)));
    }

    /// Down, please.
    pub fn want_down(&mut self, cx: &mut Cx<'_>, ladder: Ladder, reason: &str) {
        self.goal = Goal::Down;
        self.free_start = None;
        match self.state {
            State::Starting { .. } | State::Running { .. } | State::Stopping { .. } => {
                self.mark_requested();
                self.begin_stop(cx, ladder, reason.into());
            }
            State::Backoff { .. } | State::CrashLoop { .. } => {
                self.rest(cx, Some(Cause::Requested), format!("{reason} while it waited for a restart"));
            }
            State::Waiting => self.rest(cx, Some(Cause::Requested), format!("{reason} while it waited to start")),
            State::Failed => self.leave |= self.end_give_up(cx),
            State::Stopped | State::Done | State::Stuck { .. } => {}
        }
    }

    /// A new generation, please.
    pub fn want_anew(&mut self, cx: &mut Cx<'_>, force: bool) {
        let ladder = self.ladder(force.then_some(Duration::ZERO));
        match self.state {
            State::Starting { .. } | State::Running { .. } | State::Stopping { .. } => {
                self.goal = Goal::Up;
                self.free_start = Some(Cause::Requested);
                self.mark_requested();
                self.begin_stop(cx, ladder, "restart asked for".into());
            }
            State::Stopped
            | State::Waiting
            | State::Done
            | State::Failed
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Stuck { .. } => self.want_up(cx),
        }
    }

    pub(super) fn mark_requested(&mut self) {
        if let Some(run) = self.run.as_mut() {
            run.end_requested = true;
        }
    }

    /// A key of the terminal reached the worker already, or TERM was rewritten into something else for it: if it ends
    /// soon, that was asked for.
    pub fn on_key(&mut self, now: MonoTime) {
        if let Some(run) = self.run.as_mut().filter(|r| r.alive) {
            run.asked_by_key = Some(now);
        }
    }

    /// Up to the first rung, or to the second if there is no grace. A ladder that is under way keeps its clock unless
    /// the new grace would end earlier.
    pub fn begin_stop(&mut self, cx: &mut Cx<'_>, ladder: Ladder, reason: String) {
        match self.state {
            State::Starting { .. } | State::Running { .. } if !self.spec.kind.has_process() => {
                self.leave_without_process(cx, reason);
            }
            State::Starting { child } | State::Running { child, .. } => {
                self.end_probes(cx);
                if self.living().is_none() {
                    // The exec is under way: on_spawned climbs it. The newest signal, the shortest grace.
                    let grace = self.pending.map_or(ladder.grace, |old| old.grace.min(ladder.grace));
                    self.pending = Some(Ladder { signal: ladder.signal, grace });
                    // It may not have begun: an earlier start of this turn has failed, a hook runs, ports are freed.
                    cx.out.push(Action::CancelSpawn { service: self.id, generation: child });
                    return;
                }
                let asked = self.free_start.unwrap_or(Cause::Requested);
                let run = self.run.as_mut();
                let doomed = run.as_ref().filter(|r| !r.end_requested).and_then(|r| r.doomed);
                let cause = Some(doomed.unwrap_or(asked));
                let latest = cx.now.after(ladder.grace.saturating_mul(EXTEND_TIMES));
                let told = run.as_ref().is_some_and(|r| r.talk.takes_shutdown && r.talk.hears.is_some());
                if let Some(run) = run {
                    run.stop_latest = Some(latest);
                }
                if ladder.grace.is_zero() {
                    return self.kill(cx, child, cause, ladder.grace, reason);
                }
                // An INT of a person is passed on as it is; else a worker that acts on the word gets the word first.
                let ask = told && ladder.signal == self.stop_signal();
                let step = if ask { StopStep::Ask } else { StopStep::Term };
                self.enter(cx, State::Stopping { child, step }, cause, reason);
                if ask {
                    let before = ladder.grace.saturating_sub(signal_lead(ladder.grace));
                    self.tell_worker(cx, Word::Shutdown(before));
                    self.timers.set(Timer::StopSignal, cx.now.after(before));
                } else {
                    self.signal(cx, ladder.signal, self.spec.stop.scope, true);
                }
                self.timers.set(Timer::Stop, cx.now.after(ladder.grace));
            }
            State::Stopping { child, step: StopStep::Ask | StopStep::Term } => {
                let at = cx.now.after(ladder.grace);
                if ladder.grace.is_zero() {
                    let (cause, reason) = (self.cause, std::mem::take(&mut self.reason));
                    self.kill(cx, child, cause, ladder.grace, reason);
                } else if self.timers.get(Timer::Stop).is_none_or(|old| at < old) {
                    self.timers.set(Timer::Stop, at);
                    let signal_at = cx.now.after(ladder.grace.saturating_sub(signal_lead(ladder.grace)));
                    if self.timers.get(Timer::StopSignal).is_some_and(|old| signal_at < old) {
                        self.timers.set(Timer::StopSignal, signal_at);
                    }
                }
            }
            State::Stopping { child, step: StopStep::Dump } if ladder.grace.is_zero() => {
                let (cause, reason) = (self.cause, std::mem::take(&mut self.reason));
                self.kill(cx, child, cause, ladder.grace, reason);
            }
            State::Stopping { step: StopStep::Dump, .. } => {
                // Whoever waits for the stop waits no longer than for any other.
                let at = cx.now.after(ladder.grace);
                if self.timers.get(Timer::Dump).is_some_and(|old| at < old) {
                    self.timers.set(Timer::Dump, at);
                }
            }
            State::Stopping { child, step: StopStep::Sweep } if ladder.grace.is_zero() => self.sweep_kill(cx, child),
            State::Stopping { step: StopStep::Kill | StopStep::Sweep | StopStep::SweepKill, .. }
            | State::Stopped
            | State::Waiting
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Failed
            | State::Stuck { .. } => {}
        }
    }

    /// A worker that was told to end has not: now the stop signal, as for any other. The grace goes on.
    pub(super) fn stop_signal_now(&mut self, cx: &mut Cx<'_>) {
        let State::Stopping { child, step: StopStep::Ask } = self.state else { return };
        self.timers.clear(Timer::StopSignal);
        self.state = State::Stopping { child, step: StopStep::Term };
        self.signal(cx, self.stop_signal(), self.spec.stop.scope, true);
    }

    pub(super) fn kill(
        &mut self,
        cx: &mut Cx<'_>,
        child: Generation,
        cause: Option<Cause>,
        grace: Duration,
        reason: String,
    ) {
        self.enter(cx, State::Stopping { child, step: StopStep::Kill }, cause, reason);
        self.tell(cx, cause, What::KillEscalated { grace });
        self.signal(cx, KILL, self.spec.stop.scope, false);
        self.timers.set(Timer::KillWait, cx.now.after(self.spec.stop.kill_wait));
    }

    /// Pass a signal on; it changes nothing here.
    pub fn forward(&self, cx: &mut Cx<'_>, signal: SignalNumber) {
        self.signal(cx, signal, self.spec.stop.scope, false);
    }
}
