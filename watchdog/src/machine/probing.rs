//! When the probes of a run are tried, and what their results add up to. What follows for the service stands in
//! `Service::on_probed`.

use super::sentences::human;
use super::service::{Cx, Service};
use super::state::State;
use super::time::{MonoTime, Timer};
use super::verdict::{Sentence, Verdict};
use super::words::*;
use crate::spec::{Kind, ProbeSpec};
use serde::Serialize;

/// The probes of one run, in the order of the settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Probing {
    /// Each of them.
    pub all: Vec<Tried>,
}

/// One probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tried {
    /// The next try; `None`: one is under way, or it is not wanted (yet).
    pub due: Option<MonoTime>,
    /// A try is under way.
    pub under_way: bool,
    /// Successes in a row, at most as many as count.
    pub successes: u32,
    /// Failures in a row that count.
    pub failures: u32,
    /// When the first of its failures in a row came, counted or not.
    pub failing_since: Option<MonoTime>,
    /// It has succeeded (often enough) at least once.
    pub passed: bool,
    /// What holds of it now: successes in a row made it so, failures in a row take it back.
    pub good: bool,
    /// The last try that is over.
    pub last: Option<LastTry>,
}

/// A try that is over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastTry {
    /// When.
    pub at: MonoTime,
    /// How.
    pub answer: Answer,
    /// It failed while it was not counted.
    pub starting: bool,
}

impl Tried {
    /// Takes down one result. True: what holds of it has changed.
    fn note(&mut self, now: MonoTime, spec: &ProbeSpec, answer: Answer, counts: bool) -> bool {
        self.under_way = false;
        let before = self.good;
        let good = answer.outcome == Outcome::Success;
        self.failing_since = (!good).then(|| self.failing_since.unwrap_or(now));
        if good {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1).min(spec.successes);
            if self.successes >= spec.successes {
                (self.good, self.passed) = (true, true);
            }
        } else {
            self.successes = 0;
            if counts {
                self.failures = self.failures.saturating_add(1);
            }
            if self.failures >= spec.failures {
                self.good = false;
            }
        }
        // Only failures that count say something; before that it is still starting.
        let starting = !good && (!counts || !self.passed);
        self.last = Some(LastTry { at: now, answer, starting });
        let pause = if self.passed { spec.interval } else { spec.starting_interval };
        self.due = Some(now.after(pause));
        before != self.good
    }

    /// The word of the contract for what is known of it.
    pub fn result(&self, up: bool) -> &'static str {
        match (&self.last, up) {
            (_, false) => "disabled",
            (None, true) if self.under_way => "loading",
            (None, true) => "waiting",
            (Some(last), true) if last.starting => "starting",
            (Some(last), true) => last.answer.outcome.word(),
        }
    }
}

impl Service {
    /// Whether all probes that say so say that it is ready; true where there are none.
    pub fn probes_ready(&self) -> bool {
        let Some(run) = self.run.as_ref() else { return true };
        let all = self.spec.probes.iter().zip(&run.probing.all);
        all.filter(|(p, _)| p.roles.readiness).all(|(_, tried)| tried.good)
    }

    /// The run has begun: the first tries.
    pub(super) fn begin_probes(&mut self, cx: &mut Cx<'_>) {
        // A target has none, also where it is to be something else after its next start.
        let Some(run) = self.run.as_mut().filter(|_| self.spec.kind != Kind::Target) else { return };
        run.probing.all = vec![Tried::default(); self.spec.probes.len()];
        self.due_probes(cx.now);
        self.probe_timer();
    }

    /// Those that wait for nobody are due: the startup ones, and with them done all others.
    fn due_probes(&mut self, now: MonoTime) {
        let Some(run) = self.run.as_mut() else { return };
        let started = self.spec.probes.iter().zip(&run.probing.all).all(|(p, tried)| !p.roles.startup || tried.passed);
        for (spec, tried) in self.spec.probes.iter().zip(&mut run.probing.all) {
            let only_startup = spec.roles.startup && !spec.roles.readiness && !spec.roles.liveness;
            if only_startup && tried.passed {
                tried.due = None;
            } else if tried.due.is_none() && !tried.under_way && (spec.roles.startup || started) {
                tried.due = Some(now);
            }
        }
    }

    fn probe_timer(&mut self) {
        let due = self.run.as_ref().and_then(|r| r.probing.all.iter().filter_map(|t| t.due).min());
        match due {
            Some(at) => self.timers.set(Timer::Probe, at),
            None => self.timers.clear(Timer::Probe),
        }
    }

    /// Tries whatever is due.
    pub(super) fn probes_due(&mut self, cx: &mut Cx<'_>) {
        let (service, up) = (self.id, matches!(self.state, State::Starting { .. } | State::Running { .. }));
        let Some(run) = self.run.as_mut().filter(|_| up) else { return };
        let generation = run.generation;
        for (n, tried) in run.probing.all.iter_mut().enumerate() {
            if tried.due.is_some_and(|at| at <= cx.now) {
                (tried.due, tried.under_way) = (None, true);
                cx.out.push(Action::Probe { service, generation, probe: n as u16 });
            }
        }
        self.probe_timer();
    }

    /// Nothing of it is asked any more.
    pub(super) fn end_probes(&mut self, cx: &mut Cx<'_>) {
        let Some(run) = self.run.as_mut() else { return };
        let generation = run.generation;
        let mut under_way = false;
        for tried in &mut run.probing.all {
            under_way |= std::mem::take(&mut tried.under_way);
            tried.due = None;
        }
        if under_way {
            cx.out.push(Action::EndProbes { service: self.id, generation });
        }
    }

    /// A try is over.
    #[inline(never)]
    pub fn on_probed(&mut self, cx: &mut Cx<'_>, generation: Generation, probe: u16, answer: Answer) {
        if !matches!(self.state, State::Starting { .. } | State::Running { .. }) {
            return;
        }
        let n = usize::from(probe);
        let Some(spec) = self.spec.probes.get(n) else { return };
        let Some(run) = self.run.as_mut().filter(|r| r.generation == generation) else { return };
        let begun = run.spawned.unwrap_or(run.asked_at);
        let Some(tried) = run.probing.all.get_mut(n).filter(|t| t.under_way) else { return };
        let counts = cx.now.since(begun) >= spec.start_period;
        let known = tried.last.as_ref().map(|l| (l.answer.outcome, l.starting));
        let turned = tried.note(cx.now, spec, answer, counts);
        let (failures, now_known) = (tried.failures, tried.last.as_ref().map(|l| (l.answer.outcome, l.starting)));
        let lost = spec.roles.liveness && failures >= spec.failures;
        let (name, allowed, decides) = (spec.name.clone(), spec.failures, spec.roles.readiness);
        let message = tried.last.as_ref().map(|l| l.answer.message.clone()).unwrap_or_default();
        if known != now_known || failures == allowed {
            let what = What::Probe {
                probe: name.clone(),
                role: role(spec),
                result: tried.result(true),
                message: message.clone(),
                failures,
            };
            self.tell(cx, None, what);
        }
        self.due_probes(cx.now);
        self.probe_timer();
        match self.state {
            State::Starting { .. } if self.spec.ready_by_probes() && self.all_passed() => {
                self.on_ready(cx, ReadyBy::Probe);
            }
            State::Starting { .. } if self.spec.ready_by_probes() && self.startup_passed() => {
                self.timers.clear(Timer::Start);
            }
            State::Running { child, .. } if self.spec.kind == Kind::Probe && !self.probes_ready() => {
                let reason = format!("probe {name} failed {failures} times in a row (failures {allowed}): {message}");
                self.enter(cx, State::Starting { child }, Some(Cause::Probe), reason);
                self.probe_timer();
            }
            State::Running { .. } if lost && self.spec.kind != Kind::Probe => {
                let rule = format!("probe {name} failed {failures} times in a row (failures {allowed}): {message}");
                let (verdict, sentence) = (Verdict::Unhealthy, Sentence::Hung);
                self.tell(
                    cx,
                    Some(Cause::Probe),
                    What::Verdict { verdict, sentence, record: false, because: rule.clone() },
                );
                self.doom(cx, Cause::Probe, rule);
            }
            State::Running { .. } if turned && decides && self.living().is_some() => {
                self.reason = match self.probes_ready() {
                    true => "running; ready by its probes".into(),
                    false => format!(
                        "running, not ready: probe {name} failed {failures} times in a row (failures {allowed}): {message}"
                    ),
                };
            }
            State::Starting { .. }
            | State::Running { .. }
            | State::Stopped
            | State::Waiting
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Failed
            | State::Stuck { .. } => {}
        }
    }

    /// Every startup probe has passed, and every readiness probe says yes.
    fn all_passed(&self) -> bool {
        let Some(run) = self.run.as_ref() else { return false };
        let mut all = self.spec.probes.iter().zip(&run.probing.all);
        all.all(|(p, tried)| (!p.roles.startup || tried.passed) && (!p.roles.readiness || tried.good))
    }

    /// Every startup probe has passed: what is left to wait for only gates.
    pub(super) fn startup_passed(&self) -> bool {
        let Some(run) = self.run.as_ref() else { return false };
        self.spec.probes.iter().zip(&run.probing.all).all(|(p, tried)| !p.roles.startup || tried.passed)
    }

    /// How long its start may take, for people.
    pub(super) fn start_rule(&self) -> String {
        let limit = self.spec.start_limit().unwrap_or_default();
        let stretched = self.spec.start_timeout.is_none() && self.spec.start_needs() == Some(limit);
        let stretched = if stretched { " (stretched to what its startup probe may take)" } else { "" };
        format!("not ready within start_timeout {}{stretched}", human(limit))
    }
}

fn role(spec: &ProbeSpec) -> &'static str {
    let roles = spec.roles;
    match (roles.startup, roles.readiness, roles.liveness) {
        (true, false, false) => "startup",
        (false, true, false) => "readiness",
        (false, false, true) => "liveness",
        (false, true, true) => "readiness,liveness",
        (true, true, false) => "startup,readiness",
        (true, false, true) => "startup,liveness",
        (true, true, true) => "startup,readiness,liveness",
        (false, false, false) => "none",
    }
}

/// The roles of a probe as a word.
pub fn probe_role(spec: &ProbeSpec) -> &'static str {
    role(spec)
}
