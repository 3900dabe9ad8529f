//! The restart rules as the contract words them, in plain arithmetic of its own.

use super::witness::{Next, Witness};
use crate::machine::sim::sometimes::Rare;
use crate::machine::{Exit, MonoTime};
use crate::spec::{Delays, GiveUp, Policy};
use std::time::Duration;

impl Witness {
    /// An end that nobody asked for.
    pub(super) fn verdict(
        &mut self,
        now: MonoTime,
        exit: Option<Exit>,
        failure: bool,
        stable: bool,
    ) -> Result<(), String> {
        let no_process = std::mem::take(&mut self.no_process);
        let rules = self.spec.restart.clone();
        let wanted = match rules.policy {
            Policy::Always | Policy::UnlessStopped => true,
            Policy::OnFailure => failure,
            Policy::OnSuccess => !failure,
            Policy::Never => false,
        };
        // Ended by a rule and not restarted: 1 whatever the code, and people are told.
        let by_rule = self.run.doomed.is_some() && !no_process;
        if !wanted && by_rule {
            self.status = Some(1);
            self.want.tell("gave-up");
            self.want.gave_up_with = Some(1);
            self.seen.saw(Rare::EndedByRule);
        }
        if !wanted {
            self.seen.saw(Rare::NotWanted);
            if failure && !no_process && self.early() {
                self.status = self.status.filter(|status| *status != 0).or(Some(1));
                if !by_rule {
                    self.want.tell("gave-up");
                    self.want.gave_up_with = self.status;
                }
            }
            self.leave = true;
            self.rest = Some((!failure, now));
            return Ok(());
        }
        if exit.is_some_and(|e| rules.no_restart_on.has(e.code, e.signal)) {
            self.seen.saw(Rare::GiveUpListed);
            self.give_up(now, self.status.unwrap_or(125));
            return Ok(());
        }
        let status = if by_rule { 1 } else { self.status.unwrap_or(1) };
        if rules.limit > 0 && self.streak >= rules.limit {
            self.seen.saw(Rare::GiveUpStreak);
        } else if rules.total.is_some_and(|t| self.total >= t) {
            self.seen.saw(Rare::GiveUpTotal);
        } else {
            return self.another_try(now, failure, stable, no_process);
        }
        if status == 0 {
            self.seen.saw(Rare::StatusOne);
        }
        self.give_up(now, if status == 0 { 1 } else { status });
        Ok(())
    }

    fn give_up(&mut self, now: MonoTime, status: u8) {
        self.status = Some(status);
        self.rest = Some((false, now));
        self.want.tell("gave-up");
        self.want.gave_up_with = Some(status);
        match self.spec.restart.give_up {
            GiveUp::Exit | GiveUp::StopAll => self.leave = true,
            GiveUp::Stay => {}
            GiveUp::Exec(_) => {
                self.seen.saw(Rare::GiveUpCommand);
                self.want.give_up_runs += 1;
                self.give_up_due = Some(now.after(Duration::from_secs(30)));
            }
        }
    }

    fn another_try(&mut self, now: MonoTime, failure: bool, stable: bool, no_process: bool) -> Result<(), String> {
        let rules = self.spec.restart.clone();
        let inside = self.window.iter().filter(|at| now.since(**at) < rules.crash_loop_window).count();
        if self.window.iter().any(|at| now.since(*at) == rules.crash_loop_window) {
            self.seen.saw(Rare::WindowEdge);
        }
        if rules.crash_loop_limit > 0 && inside >= rules.crash_loop_limit as usize {
            self.seen.saw(Rare::CrashLoop);
            self.want.tell("crash-loop");
            self.last_delay = rules.crash_loop_pause;
            let due = now.after(rules.crash_loop_pause);
            self.next = Some(Next { due, after_pause: true, busy: false });
            return Ok(());
        }
        self.want.tell("restart-scheduled");
        let Some(delay) = self.announced else {
            return Err("delay: a restart is due and none was announced".into());
        };
        let at_once = failure && stable && rules.fast_first;
        if at_once {
            self.seen.saw(Rare::FastFirst);
            if !delay.is_zero() {
                return Err(format!("delay: the first failure after a stable run waits {delay:?}"));
            }
        } else {
            self.check_delay(&rules.delays, delay)?;
        }
        self.last_delay = delay;
        self.next = Some(Next { due: now.after(delay), after_pause: false, busy: false });
        // One that came to nothing is tried again in another turn: a loop that starts and fails hears nobody.
        if delay.is_zero() && !no_process {
            self.start_by_rule(now);
        }
        Ok(())
    }

    fn check_delay(&self, delays: &Delays, delay: Duration) -> Result<(), String> {
        let n = self.streak as usize;
        let middle = match delays {
            Delays::List(list) => list[n.min(list.len() - 1)].as_secs_f64(),
            Delays::Growing { first, factor_milli, max } => {
                let grown = first.as_secs_f64() * (f64::from(*factor_milli) / 1000.0).powi(n.min(10_000) as i32);
                grown.min(max.as_secs_f64())
            }
        };
        // 584 years are "never": nanoseconds in 64 bits.
        let middle = middle.min(Duration::from_nanos(u64::MAX).as_secs_f64());
        let spread = middle * f64::from(self.spec.restart.jitter) / 100.0;
        let (low, high, slack) = (middle - spread, middle + spread, middle * 1e-6 + 1e-6);
        let delay = delay.as_secs_f64();
        if delay < low - slack || delay > high + slack {
            return Err(format!("delay: {delay} s before restart {} is not within {low}..{high}", n + 1));
        }
        Ok(())
    }

    /// A start by rule, now.
    pub(super) fn start_by_rule(&mut self, now: MonoTime) {
        let Some(next) = self.next else { return };
        if !next.busy {
            self.streak += 1;
            self.total += 1;
            self.restarts.push(now);
            if next.after_pause {
                self.window.clear();
            }
            let window = self.spec.restart.crash_loop_window;
            self.window.retain(|at| now.since(*at) <= window);
            self.window.push(now);
        }
        self.start_now(now);
    }
}
