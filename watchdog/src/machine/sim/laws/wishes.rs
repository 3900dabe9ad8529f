//! What people want of a service, and the ladder, as the contract words them.

use super::wanted::Deeds;
use super::witness::{Phase, Witness};
use crate::machine::MonoTime;
use crate::machine::sim::sometimes::Rare;
use crate::spec::SignalNumber;
use std::time::Duration;

impl Witness {
    pub(super) fn start(&mut self) {
        self.up = true;
        match self.phase {
            Phase::Idle if self.next.is_some() => {
                self.seen.saw(Rare::StartInPause);
                self.start_now();
            }
            Phase::Idle => {
                if self.give_up_due.take().is_some() {
                    self.seen.saw(Rare::GiveUpCommandLate);
                    self.want.give_up_ends += 1;
                }
                (self.streak, self.total, self.last_delay, self.busy_since) = (0, 0, Duration::ZERO, None);
                self.window.clear();
                self.start_now();
            }
            Phase::Sweep => self.owed = true,
            Phase::Alive => self.owed |= self.run.kill_due.is_some(),
            Phase::Exec => {
                if !self.owed {
                    if self.run.requested {
                        self.seen.saw(Rare::StopTakenBack);
                    }
                    self.run.requested = false;
                    self.run.ladder = None;
                }
            }
        }
    }

    pub(super) fn stop(&mut self, now: MonoTime, signal: SignalNumber, grace: Duration) {
        self.up = false;
        self.owed = false;
        if self.phase == Phase::Idle {
            if self.next.take().is_some() {
                self.seen.saw(Rare::StopInBackoff);
                self.want.tell("stopped");
            } else if self.give_up_due.take().is_some() {
                self.want.give_up_ends += 1;
                self.leave = true;
            }
            return;
        }
        if self.phase == Phase::Exec {
            self.seen.saw(Rare::StopInExec);
        }
        self.ask(now, signal, grace);
    }

    pub(super) fn restart(&mut self, now: MonoTime, force: bool) {
        if self.phase == Phase::Idle {
            return self.start();
        }
        if self.phase == Phase::Exec {
            self.seen.saw(Rare::RestartInExec);
        }
        if force {
            self.seen.saw(Rare::ForcedRestart);
        }
        self.up = true;
        self.owed = true;
        let grace = if force { Duration::ZERO } else { self.spec.stop.timeout };
        self.ask(now, self.stop_signal(), grace);
    }

    /// Its end is asked for: at once, or as soon as there is a process.
    fn ask(&mut self, now: MonoTime, signal: SignalNumber, grace: Duration) {
        if self.run.stuck {
            return;
        }
        self.run.requested = true;
        if self.phase == Phase::Exec {
            let least = self.run.ladder.map_or(grace, |(_, old)| old.min(grace));
            self.run.ladder = Some((signal, least));
        } else {
            self.climb(now, signal, grace);
        }
    }

    pub(super) fn climb(&mut self, now: MonoTime, signal: SignalNumber, grace: Duration) {
        if self.phase == Phase::Sweep {
            if grace.is_zero() && self.run.sweep_killed.is_none() {
                self.sweep_kill(now);
            }
            return;
        }
        if self.phase != Phase::Alive || self.run.killed.is_some() {
            return;
        }
        let due = now.after(grace);
        let begun = self.run.kill_due.is_some();
        self.run.kill_due = Some(self.run.kill_due.map_or(due, |old| old.min(due)));
        if grace.is_zero() {
            self.kill(now);
        } else if !begun {
            self.want.signals.push((signal, true));
        }
    }

    fn kill(&mut self, now: MonoTime) {
        self.run.killed = Some(now);
        self.want.signals.push((libc::SIGKILL, false));
        self.want.tell("kill-escalated");
    }

    pub(super) fn forward(&mut self, signal: SignalNumber) {
        if self.phase == Phase::Alive {
            self.want.signals.push((signal, false));
        }
    }

    /// All that is due at `now`.
    pub(super) fn time(&mut self, now: MonoTime, aged: bool, saw: &Deeds) -> Result<(), String> {
        if aged {
            self.age(now)?;
        } else if let (true, Some(age), Some(ready)) = (self.running(), self.spec.max_age, self.run.ready) {
            let spread = age.mul_f64(f64::from(self.spec.max_age_jitter) / 100.0);
            if now > ready.after(age + spread + Duration::from_micros(1)) {
                return Err("age: older than max_age and its jitter".into());
            }
        }
        if self.phase == Phase::Alive {
            if self.run.killed.is_none() && self.run.kill_due.is_some_and(|due| due <= now) {
                self.seen.saw(Rare::Killed);
                self.kill(now);
            }
            let due = self.run.killed.map(|at| at.after(self.spec.stop.kill_wait));
            if !self.run.stuck && due.is_some_and(|due| due <= now) && saw.told.contains(&"stuck") {
                self.seen.saw(Rare::Stuck);
                self.run.stuck = true;
                self.want.tell("stuck");
            } else if !self.run.stuck && due.is_some_and(|due| due < now) {
                return Err("stuck: kill_wait is over and nobody says so".into());
            }
        }
        if self.phase == Phase::Sweep && self.run.sweep_killed.is_none() && self.run.sweep_due.is_some_and(|d| d <= now)
        {
            self.sweep_kill(now);
        }
        if self.next.is_some_and(|next| next.due <= now) {
            self.start_by_rule(now);
        }
        if self.give_up_due.take_if(|due| *due <= now).is_some() {
            self.seen.saw(Rare::GiveUpCommandLate);
            self.want.give_up_ends += 1;
            self.leave = true;
        }
        Ok(())
    }

    fn age(&mut self, now: MonoTime) -> Result<(), String> {
        let (true, Some(age), Some(ready)) = (self.running(), self.spec.max_age, self.run.ready) else {
            return Err("age: recycled while it does not run".into());
        };
        let spread = age.mul_f64(f64::from(self.spec.max_age_jitter) / 100.0);
        if now.after(Duration::from_micros(1)) < ready.after(age.saturating_sub(spread)) {
            return Err("age: recycled too early".into());
        }
        self.seen.saw(Rare::MaxAge);
        self.owed = true;
        self.ask(now, self.stop_signal(), self.spec.stop.timeout);
        Ok(())
    }
}
