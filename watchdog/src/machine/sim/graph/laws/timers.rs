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
            let reported = s.spec.ready == Ready::Reported || (s.spec.ready != Ready::Spawned && decides);
            if waits && !reported {
                return Err(format!("ready: {} waits for nothing", s.spec.name));
            }
            if waits && s.run.as_ref().and_then(|r| r.spawned) == Some(self.now) {
                self.start_limit(s, decides && s.spec.ready != Ready::Reported)?;
            }
        }
        Ok(())
    }

    /// start_timeout, stretched where probes decide.
    fn start_limit(&self, s: &crate::machine::Service, stretched: bool) -> Result<(), String> {
        let least = |p: &crate::spec::ProbeSpec| {
            p.start_period + (p.interval + p.timeout) * p.failures + Duration::from_secs(5)
        };
        let deciding = s.spec.probes.iter().filter(|p| stretched && (p.roles.readiness || p.roles.startup));
        let limit = deciding.map(least).max().unwrap_or_default().max(s.spec.start_timeout);
        let spawned = s.run.as_ref().and_then(|r| r.spawned).unwrap_or(self.now);
        match s.timers.get(Timer::Start) {
            Some(at) if at == spawned.after(limit) => Ok(()),
            other => Err(format!("timers: the start of {} has until {other:?}, not {limit:?}", s.spec.name)),
        }
    }
}

fn fits(timer: Timer, state: State) -> bool {
    match timer {
        Timer::Restart => matches!(state, State::Backoff { .. } | State::CrashLoop { .. }),
        Timer::File | Timer::FileLimit => matches!(state, State::Waiting),
        Timer::GiveUp => state == State::Failed,
        Timer::MaxAge => matches!(state, State::Running { .. }),
        Timer::Start | Timer::Port => matches!(state, State::Starting { .. }),
        Timer::Probe => matches!(state, State::Starting { .. } | State::Running { .. }),
        Timer::Stop | Timer::KillWait | Timer::Sweep | Timer::StopSignal | Timer::Dump => {
            matches!(state, State::Stopping { .. })
        }
        Timer::Rescan => matches!(state, State::Stopping { .. } | State::Stuck { .. }),
        Timer::Beat | Timer::Lanes | Timer::Verdict | Timer::Sample => false,
        Timer::Health | Timer::Lost => true,
    }
}
