//! What people want of a service, and the ladder, as the contract words them.

use super::witness::{Phase, Witness};
use crate::machine::sim::sometimes::Rare;
use crate::machine::{MonoTime, Service, Timer, Word};
use crate::spec::SignalNumber;
use std::time::Duration;

impl Witness {
    pub(super) fn start(&mut self, now: MonoTime) {
        self.up = true;
        match self.phase {
            Phase::Idle if self.next.is_some() => {
                self.seen.saw(Rare::StartInPause);
                self.start_now(now);
            }
            Phase::Idle => {
                if self.give_up_due.take().is_some() {
                    self.seen.saw(Rare::GiveUpCommandLate);
                    self.want.give_up_ends += 1;
                }
                (self.streak, self.total, self.last_delay, self.busy_since) = (0, 0, Duration::ZERO, None);
                self.window.clear();
                self.restarts.clear();
                self.start_now(now);
            }
            Phase::Sweep => (self.owed, self.aged) = (true, false),
            Phase::Alive if self.ending() => (self.owed, self.aged) = (true, false),
            Phase::Alive => {}
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
            return self.start(now);
        }
        if self.phase == Phase::Exec {
            self.seen.saw(Rare::RestartInExec);
        }
        if force {
            self.seen.saw(Rare::ForcedRestart);
        }
        self.up = true;
        (self.owed, self.aged) = (true, false);
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
            self.want.cancels += 1;
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
        if grace.is_zero() {
            return self.kill(now);
        }
        let due = now.after(grace);
        if self.run.dumping {
            if self.run.dues.get(Timer::Dump).is_some_and(|old| due < old) {
                self.run.dues.set(Timer::Dump, due);
            }
            return;
        }
        // So much of the grace is kept for the stop signal, where the worker is told by a word first.
        let before = grace - (grace / 4).min(Duration::from_secs(2));
        if let Some(old) = self.run.kill_due {
            if due < old {
                self.run.kill_due = Some(due);
                let signal_due = now.after(before);
                if self.run.dues.get(Timer::StopSignal).is_some_and(|at| signal_due < at) {
                    self.run.dues.set(Timer::StopSignal, signal_due);
                }
            }
            return;
        }
        self.run.dues.clear_all();
        self.run.kill_due = Some(due);
        self.run.latest = now.after(grace.saturating_mul(10));
        let life = &self.run.life;
        match life.hears.filter(|_| life.takes_word && signal == self.stop_signal()) {
            Some(dialect) => {
                self.seen.saw(Rare::WordFirst);
                self.say(dialect, Word::Shutdown(before));
                self.run.dues.set(Timer::StopSignal, now.after(before));
            }
            None => self.want.signals.push((signal, true, self.spec.stop.scope)),
        }
    }

    pub(super) fn kill(&mut self, now: MonoTime) {
        self.run.dues.clear_all();
        self.run.killed = Some(now);
        self.want.signals.push((libc::SIGKILL, false, self.spec.stop.scope));
        self.want.tell("kill-escalated");
        self.run.dues.set(Timer::KillWait, now.after(self.spec.stop.kill_wait));
    }

    pub(super) fn forward(&mut self, signal: SignalNumber) {
        if self.phase == Phase::Alive {
            self.want.signals.push((signal, false, self.spec.stop.scope));
        }
    }

    /// When the grace of a living worker is over.
    pub(super) fn grace_over(&self) -> Option<MonoTime> {
        self.run.kill_due.filter(|_| self.phase == Phase::Alive && self.run.killed.is_none())
    }

    /// All that is due at `now`: of a living worker in the order of time.
    pub(super) fn time(&mut self, now: MonoTime) -> Result<(), String> {
        for _ in Timer::ALL {
            if self.phase != Phase::Alive {
                break;
            }
            let grace = self.grace_over().filter(|at| *at <= now);
            if let Some(at) = grace.filter(|at| self.run.dues.next().is_none_or(|next| *at <= next)) {
                self.fire(now, Timer::Stop, now.since(at))?;
                continue;
            }
            let Some((timer, late)) = self.run.dues.take_due(now) else { break };
            self.fire(now, timer, late)?;
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

    /// The spread of an age is the machine's own chance: what it chose has to be within the rule.
    pub(super) fn learn_age(&mut self, s: &Service) -> Result<(), String> {
        let (true, Some(age), Some(ready)) = (self.running(), self.spec.max_age, self.run.ready) else { return Ok(()) };
        if self.run.dues.get(Timer::MaxAge).is_some() {
            return Ok(());
        }
        let spread = age.mul_f64(f64::from(self.spec.max_age_jitter) / 100.0) + Duration::from_micros(1);
        let chosen = s.timers.get(Timer::MaxAge).ok_or("age: nobody looks at its age")?;
        if chosen < ready.after(age.saturating_sub(spread)) || chosen > ready.after(age + spread) {
            return Err(format!("age: {chosen:?} is not max_age and its jitter after {ready:?}"));
        }
        self.run.dues.set(Timer::MaxAge, chosen);
        Ok(())
    }

    pub(super) fn age(&mut self, now: MonoTime) -> Result<(), String> {
        if !self.running() {
            return Err("age: recycled while it does not run".into());
        }
        self.seen.saw(Rare::MaxAge);
        self.want.aged += 1;
        (self.owed, self.aged) = (true, true);
        self.ask(now, self.stop_signal(), self.spec.stop.timeout);
        Ok(())
    }
}
