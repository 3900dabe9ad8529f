//! Timers are armed where a state asks for them, and nowhere else.

use super::Laws;
use crate::machine::sim::graph::Rare;
use crate::machine::{State, Supervisor, Timer};
use crate::spec::{Kind, Ready};
use std::time::Duration;

impl Laws {
    pub(super) fn timers(&mut self, machine: &Supervisor) -> Result<(), String> {
        for (n, s) in machine.services().iter().enumerate() {
            let armed = Timer::ALL.into_iter().filter(|t| s.timers.get(*t).is_some());
            let wrong = armed.into_iter().find(|t| !fits(*t, s.state));
            if let Some(timer) = wrong {
                return Err(format!("timers: {timer:?} of {} in {:?}", s.spec.name, s.state));
            }
            let was = self.shadow.were.get(n).map(|v| v.state);
            let fresh = was != Some(s.state);
            let doomed = s.run.as_ref().and_then(|r| r.doomed);
            match doomed {
                Some(crate::machine::Cause::StartTimeout) if fresh && s.state.has_process() => {
                    self.seen.saw(Rare::StartTimeout);
                }
                _ => {}
            }
            if s.cause == Some(crate::machine::Cause::MaxAge) && fresh {
                self.seen.saw(Rare::MaxAge);
            }
            if s.state == State::Failed && fresh && s.reason.contains("wait_for_file") {
                self.seen.saw(Rare::FileNever);
            }
            let waits =
                matches!(s.state, State::Starting { .. }) && s.living().is_some() && s.spec.kind == Kind::Service;
            let decides = super::super::specs::decides(&s.spec.probes);
            let by_itself = s.spec.ready == Ready::Reported;
            if waits && !by_itself && (s.spec.ready == Ready::Spawned || !decides) {
                return Err(format!("ready: {} waits for nothing", s.spec.name));
            }
            let gated = waits && !by_itself && self.startup_passed(n, &s.spec.probes);
            if gated && s.run.as_ref().and_then(|r| r.spawned) == Some(self.now) {
                self.seen.saw(Rare::ReadinessOnly);
            }
            if gated && s.timers.get(Timer::Start).is_some() {
                return Err(format!("timers: {} waits for readiness alone, and has a deadline", s.spec.name));
            }
            if waits && !gated && s.run.as_ref().and_then(|r| r.spawned) == Some(self.now) {
                self.start_limit(s, by_itself)?;
            }
        }
        Ok(())
    }

    /// start_timeout: one that was given stands; 30 s are stretched to what a startup probe may take; what only gates has none.
    fn start_limit(&self, s: &crate::machine::Service, by_itself: bool) -> Result<(), String> {
        let usual = Duration::from_secs(30);
        let least = |p: &crate::spec::ProbeSpec| {
            p.start_period + (p.interval + p.timeout) * p.failures + Duration::from_secs(5)
        };
        let startup = s.spec.probes.iter().filter(|p| !by_itself && p.roles.startup).map(least).max();
        let limit = match (s.spec.start_timeout, startup) {
            (Some(given), Some(_)) => Some(given),
            (Some(given), None) => by_itself.then_some(given),
            (None, Some(least)) => Some(least.max(usual)),
            (None, None) => by_itself.then_some(usual),
        };
        let spawned = s.run.as_ref().and_then(|r| r.spawned).unwrap_or(self.now);
        match (s.timers.get(Timer::Start), limit) {
            (Some(at), Some(limit)) if at == spawned.after(limit) => Ok(()),
            (None, None) => Ok(()),
            (other, _) => Err(format!("timers: the start of {} has until {other:?}, not {limit:?}", s.spec.name)),
        }
    }
}

fn fits(timer: Timer, state: State) -> bool {
    match timer {
        Timer::Restart => matches!(state, State::Backoff { .. } | State::CrashLoop { .. }),
        Timer::File | Timer::FileLimit => matches!(state, State::Waiting),
        Timer::GiveUp => state == State::Failed,
        Timer::MaxAge => matches!(state, State::Running { .. }),
        Timer::Start | Timer::Stays | Timer::Port => matches!(state, State::Starting { .. }),
        Timer::Probe => matches!(state, State::Starting { .. } | State::Running { .. }),
        Timer::Stop | Timer::KillWait | Timer::Sweep | Timer::StopSignal | Timer::Dump => {
            matches!(state, State::Stopping { .. })
        }
        Timer::Rescan => matches!(state, State::Stopping { .. } | State::Stuck { .. }),
        Timer::Beat | Timer::Lanes | Timer::Verdict | Timer::Sample => false,
        Timer::Health | Timer::Lost => true,
    }
}
