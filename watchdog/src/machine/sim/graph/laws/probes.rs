//! Probes by the witness's own count: which try may be under way, what its answer adds up to, and what follows.

use super::reload::Kept;
use super::shadow::View;
use super::{Call, Laws};
use crate::machine::sim::graph::Rare;
use crate::machine::sim::graph::specs::decides;
use crate::machine::{
    Action, Actions, Cause, Event, Generation, MonoTime, Outcome, Service, State, StopStep, Supervisor, What,
};
use crate::spec::{Kind, ProbeSpec, Ready};

/// The probes of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Count {
    generation: Generation,
    begun: MonoTime,
    all: Vec<One>,
}

#[derive(Clone, Debug, Default)]
struct One {
    under_way: bool,
    failures: u32,
    successes: u32,
    passed: bool,
    good: bool,
}

/// What one answer adds up to.
struct Sum {
    failures: u32,
    lost: bool,
    unready: bool,
    ready: bool,
}

impl One {
    /// One answer, and what is rare about it.
    fn note(&mut self, spec: &ProbeSpec, good: bool, counts: bool) -> Option<Rare> {
        self.under_way = false;
        if !good {
            self.successes = 0;
            self.failures += u32::from(counts);
            self.good &= self.failures < spec.failures;
            return (!counts).then_some(Rare::ProbeInStartPeriod);
        }
        let last_moment = self.failures + 1 == spec.failures && spec.failures > 1 && self.passed;
        (self.failures, self.successes) = (0, self.successes + 1);
        if self.successes >= spec.successes {
            (self.good, self.passed) = (true, true);
        }
        last_moment.then_some(Rare::ProbeLastMoment)
    }
}

impl Count {
    pub(super) fn new(generation: Generation, begun: MonoTime, probes: usize) -> Count {
        Count { generation, begun, all: vec![One::default(); probes] }
    }

    /// Every startup probe has passed.
    fn started(&self, specs: &[ProbeSpec]) -> bool {
        specs.iter().zip(&self.all).all(|(p, one)| !p.roles.startup || one.passed)
    }

    fn ready(&self, specs: &[ProbeSpec]) -> bool {
        let mut all = specs.iter().zip(&self.all);
        all.all(|(p, one)| (!p.roles.startup || one.passed) && (!p.roles.readiness || one.good))
    }
}

impl Laws {
    /// Whether nothing but readiness is waited for any more, by the probes of this service.
    pub(super) fn startup_passed(&self, n: usize, specs: &[ProbeSpec]) -> bool {
        self.counts[n].started(specs)
    }

    /// The answer first, for what follows from it is in this call; then what is tried anew.
    pub(super) fn probes(
        &mut self,
        now: MonoTime,
        call: &Call,
        out: &Actions,
        machine: &Supervisor,
    ) -> Result<(), String> {
        let answered = match call {
            Call::Handle(Event::Probed { service, generation, probe, answer }) => {
                self.answered(now, service.0 as usize, *generation, usize::from(*probe), answer.outcome, machine)?
            }
            _ => None,
        };
        self.nobody_is_struck_but(answered, machine)?;
        for action in out {
            match action {
                Action::EndProbes { service, .. } => {
                    self.counts[service.0 as usize].all.iter_mut().for_each(|one| one.under_way = false);
                }
                Action::Tell(notice) if matches!(notice.what, What::Spawn) => {
                    let Some(id) = notice.service else { continue };
                    self.begin_count(id.0 as usize, now, machine);
                }
                _ => {}
            }
        }
        for (n, s) in machine.services().iter().enumerate() {
            let fresh = s.spec.kind == Kind::Probe && s.last > self.counts[n].generation && s.state.has_process();
            let asked = s.living().is_some() || !s.spec.kind.has_process();
            let changed = |kept: &Kept| kept.probes != s.spec.probes;
            let refitted = matches!(call, Call::Apply { .. }) && asked && self.kept.get(n).is_some_and(changed);
            if fresh || (refitted && self.shadow.views[n].active()) {
                self.begin_count(n, now, machine);
            }
        }
        out.iter().try_for_each(|action| match action {
            Action::Probe { service, generation, probe } => {
                self.tried(service.0 as usize, *generation, usize::from(*probe), machine)
            }
            _ => Ok(()),
        })
    }

    /// Also when a reload has changed its probes: all of them are counted anew.
    pub(super) fn begin_count(&mut self, n: usize, now: MonoTime, machine: &Supervisor) {
        let s = &machine.services()[n];
        let begun = s.run.as_ref().and_then(|r| r.spawned).unwrap_or(now);
        self.counts[n] = Count::new(s.last, begun, s.spec.probes.len());
    }

    fn tried(&mut self, n: usize, generation: Generation, probe: usize, machine: &Supervisor) -> Result<(), String> {
        let s = &machine.services()[n];
        let name = &s.spec.name;
        let count = &mut self.counts[n];
        // A later deed of the same call may end it.
        let was_up = self.shadow.were.get(n).is_some_and(|v| v.active() && !v.pending);
        if self.shadow.were.get(n).is_some_and(|v| v.last == generation && s.last > generation) && was_up {
            return Ok(());
        }
        let up = was_up || matches!(s.state, State::Starting { .. } | State::Running { .. });
        if generation != s.last || count.generation != generation || !up {
            return Err(format!("probe: {name} is tried in generation {generation:?}, and is {:?}", s.state));
        }
        let started = s.spec.probes.iter().zip(&count.all).all(|(p, one)| !p.roles.startup || one.passed);
        let Some((spec, one)) = s.spec.probes.get(probe).zip(count.all.get_mut(probe)) else {
            return Err(format!("probe: {name} has no probe {probe}"));
        };
        if one.under_way || !(started || spec.roles.startup) {
            return Err(format!(
                "probe: {name}: a second try of {probe}, or one before the startup probes ({started})"
            ));
        }
        one.under_way = up && matches!(s.state, State::Starting { .. } | State::Running { .. });
        Ok(())
    }

    /// One answer. The service that has to be struck for it.
    fn answered(
        &mut self,
        now: MonoTime,
        n: usize,
        generation: Generation,
        probe: usize,
        outcome: Outcome,
        machine: &Supervisor,
    ) -> Result<Option<usize>, String> {
        let Some(was) = self.shadow.were.get(n).cloned() else { return Ok(None) };
        let s = &machine.services()[n];
        let count = &mut self.counts[n];
        let open = was.active() && !was.pending && count.generation == generation && was.last == generation;
        let Some((spec, one)) =
            s.spec.probes.get(probe).zip(count.all.get_mut(probe)).filter(|(_, one)| open && one.under_way)
        else {
            self.seen.saw(Rare::ProbeStale);
            return Ok(None);
        };
        let counts = now.since(count.begun) >= spec.start_period;
        let before = one.good;
        one.note(spec, outcome == Outcome::Success, counts).into_iter().for_each(|rare| self.seen.saw(rare));
        let sum = Sum {
            failures: one.failures,
            lost: spec.roles.liveness && one.failures >= spec.failures,
            unready: before && !one.good && spec.roles.readiness,
            ready: count.ready(&s.spec.probes),
        };
        if machine.is_ending() {
            let (ran, runs) = (matches!(was.state, State::Running { .. }), matches!(s.state, State::Running { .. }));
            return Ok((ran && sum.lost && !runs).then_some(n));
        }
        match s.spec.kind {
            Kind::Probe => self.stands_by_probes(&was, s, &sum).map(|()| None),
            _ => Ok(self.follows_from(&was, s, &sum)?.then_some(n)),
        }
    }

    /// A service of probes is up exactly while they say so.
    fn stands_by_probes(&mut self, was: &View, s: &Service, sum: &Sum) -> Result<(), String> {
        let runs = matches!(s.state, State::Running { .. });
        if matches!(was.state, State::Running { .. }) && !runs {
            self.seen.saw(Rare::ProbeServiceDrops);
        }
        if was.held.is_none() && runs != sum.ready && s.last == was.last && was.active() {
            return Err(format!("probe: {} is {:?}, and its probes say {}", s.spec.name, s.state, sum.ready));
        }
        Ok(())
    }

    /// One with a process: struck where liveness is lost while it runs, ready where its probes decide, and else nothing.
    fn follows_from(&mut self, was: &View, s: &Service, sum: &Sum) -> Result<bool, String> {
        let (ran, runs) = (matches!(was.state, State::Running { .. }), matches!(s.state, State::Running { .. }));
        if ran && sum.lost {
            self.seen.saw(Rare::ProbeStruck);
            let stops =
                matches!(s.state, State::Stopping { step: StopStep::Term | StopStep::Ask | StopStep::Kill, .. });
            if !stops || s.cause != Some(Cause::Probe) && was.held.is_none() {
                return Err(format!("probe: {} failed {} times and is {:?}", s.spec.name, sum.failures, s.state));
            }
            return Ok(true);
        }
        if sum.unready && ran {
            self.seen.saw(Rare::ProbeUnready);
        }
        let decides = decides(&s.spec.probes) && matches!(s.spec.ready, Ready::Auto | Ready::Probe);
        let starting = matches!(was.state, State::Starting { .. }) && was.living && s.spec.kind == Kind::Service;
        if starting && decides && !was.leaving() && sum.ready != runs {
            return Err(format!("probe: {} is {:?}, and its probes say {}", s.spec.name, s.state, sum.ready));
        }
        if starting && runs {
            self.seen.saw(Rare::ProbeReady);
        }
        Ok(false)
    }

    /// No run is ended for its probes but that one.
    fn nobody_is_struck_but(&self, who: Option<usize>, machine: &Supervisor) -> Result<(), String> {
        for (n, s) in machine.services().iter().enumerate() {
            let by_probe = s.run.as_ref().is_some_and(|r| r.doomed == Some(Cause::Probe));
            let before = self.shadow.were.get(n).is_some_and(|v| v.doomed && v.last == s.last);
            if by_probe && !before && who != Some(n) {
                return Err(format!("probe: {} is ended for its probes, and they say nothing of it", s.spec.name));
            }
        }
        Ok(())
    }
}
