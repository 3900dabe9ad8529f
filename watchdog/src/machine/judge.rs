//! After an end: is it a failure, is there another try, and when. The rules themselves are in `restart.rs`.

use super::restart::{Limit, Ruling};
use super::sentences::{human, policy_word, restart_rule};
use super::service::{Cx, Service};
use super::state::State;
use super::time::Timer;
use super::words::*;
use crate::spec::{GiveUp, Policy};
use std::time::Duration;

/// Longest run of a give-up command.
const GIVE_UP_COMMAND: Duration = Duration::from_secs(30);

impl Service {
    pub(super) fn judge(&mut self, cx: &mut Cx<'_>, cause: Cause, failure: bool, stable: bool, how: String) {
        let rules = &self.spec.restart;
        let wants = match rules.policy {
            Policy::Always | Policy::UnlessStopped => true,
            Policy::OnFailure => failure,
            Policy::OnSuccess => !failure,
            Policy::Never => false,
        };
        let end = if failure { State::Failed } else { State::Done };
        let policy = policy_word(rules.policy);
        // Ended by a rule of ours: what the code says is of no use to the one who reads our status.
        let by_rule = self.run.as_ref().is_some_and(|r| r.doomed.is_some());
        if !wants {
            self.leave = true;
            let early = failure && self.left_too_early();
            if early {
                self.status = self.status.filter(|s| *s != 0).or(Some(1));
            }
            let verdict = if failure { "a failure" } else { "a success" };
            let rule = format!("{how}: {verdict}, not restarted (restart = {policy})");
            if early && !by_rule {
                let exit_status = self.status.unwrap_or(1);
                let what = What::GaveUp { restarts: self.book.total, exit_status, rule: rule.clone() };
                self.tell(cx, Some(cause), what);
            }
            if by_rule {
                self.status = Some(1);
                let what = What::GaveUp { restarts: self.book.total, exit_status: 1, rule: rule.clone() };
                self.tell(cx, Some(cause), what);
            }
            return self.enter(cx, end, Some(cause), rule);
        }
        // The code of a run that we ended says nothing of whether trying again is useless.
        let own_end = matches!(cause, Cause::Exited | Cause::Signalled | Cause::Oom);
        let exit = self.ended.as_ref().filter(|_| own_end).map(|e| e.exit);
        if exit.is_some_and(|e| rules.no_restart_on.has(e.code, e.signal)) {
            let rule = format!("{how}: listed in no_restart_on, so not restarted");
            return self.give_up(cx, cause, rule, self.status.unwrap_or(125));
        }
        let roll = cx.dice.roll();
        let ruling = self.book.judge(cx.now, rules, stable, failure, roll);
        let rules = &self.spec.restart;
        self.crashed = failure && !matches!(ruling, Ruling::GiveUp(_));
        match ruling {
            Ruling::After { delay, attempt } => {
                let rule = restart_rule(rules, attempt, delay, stable && failure && rules.fast_first);
                self.tell(
                    cx,
                    Some(cause),
                    What::RestartScheduled { attempt, limit: rules.limit, delay, rule: format!("{how}; {rule}") },
                );
                self.enter(cx, State::Backoff { attempt }, Some(cause), format!("{how}; {rule}"));
                self.timers.set(Timer::Restart, cx.now.after(delay));
                // What came to nothing at once may do so for ever: not within one turn, in which nobody is heard.
                if delay.is_zero() && cause != Cause::SpawnFailed {
                    self.restart_due(cx);
                }
            }
            Ruling::Pause { delay, attempt, counted } => {
                let window = rules.crash_loop_window;
                self.tell(cx, Some(cause), What::CrashLoop { restarts: counted, window, pause: delay });
                let reason = format!(
                    "{how}; {counted} restarts within crash_loop_window {}: pause of {} (crash_loop_pause)",
                    human(window),
                    human(delay)
                );
                self.enter(cx, State::CrashLoop { attempt }, Some(cause), reason);
                self.timers.set(Timer::Restart, cx.now.after(delay));
            }
            Ruling::GiveUp(limit) => {
                let rule = match limit {
                    Limit::Streak(n) => format!(
                        "{how}; gave up: {n} consecutive restarts (restart_limit {n}), none of them ready for {} (stable_after)",
                        human(rules.stable_after)
                    ),
                    Limit::Total(n) => format!("{how}; gave up: {n} restarts in all (restart_total {n})"),
                };
                let status = self.status.filter(|s| *s != 0 && !by_rule).unwrap_or(1);
                self.give_up(cx, Cause::RestartLimit, rule, status);
            }
        }
    }

    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, cause: Cause, rule: String, exit_status: u8) {
        self.status = Some(exit_status);
        self.tell(cx, Some(cause), What::GaveUp { restarts: self.book.total, exit_status, rule: rule.clone() });
        self.enter(cx, State::Failed, Some(cause), rule);
        match self.spec.restart.give_up {
            GiveUp::Exit | GiveUp::StopAll => self.leave = true,
            GiveUp::Stay => {}
            GiveUp::Exec(_) => {
                cx.out.push(Action::RunGiveUp { service: self.id });
                self.timers.set(Timer::GiveUp, cx.now.after(GIVE_UP_COMMAND));
            }
        }
    }

    /// Ends the give-up command if it runs.
    pub(super) fn end_give_up(&mut self, cx: &mut Cx<'_>) -> bool {
        let runs = self.timers.get(Timer::GiveUp).is_some();
        if runs {
            self.timers.clear(Timer::GiveUp);
            cx.out.push(Action::EndGiveUp { service: self.id });
        }
        runs
    }

    /// The give-up command is over. Its timer says that it runs; news of one that was ended means nothing.
    pub fn on_give_up_ran(&mut self) {
        match self.state {
            State::Failed if self.timers.get(Timer::GiveUp).is_some() => {
                self.timers.clear(Timer::GiveUp);
                self.leave = true;
            }
            State::Failed
            | State::Stopped
            | State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Stuck { .. } => {}
        }
    }

    pub(super) fn restart_due(&mut self, cx: &mut Cx<'_>) {
        let (after_pause, counted) = match self.state {
            State::Backoff { attempt } => (false, attempt > 0),
            State::CrashLoop { .. } => (true, true),
            State::Stopped
            | State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Done
            | State::Failed
            | State::Stuck { .. } => return,
        };
        if counted {
            self.book.count(cx.now, &self.spec.restart, after_pause);
        }
        let (cause, reason) = (self.cause, std::mem::take(&mut self.reason));
        self.spawn(cx, cause, reason);
    }
}
