//! How well a service is: one word, and what is wrong with it as a sentence. Computed when it is asked for, from the state
//! and the times of what was noticed, so that nothing has to wake up for it. `status`, `explain`, `health` and all pages
//! say what stands here.

use super::sentences::{asked_by, human};
use super::service::Service;
use super::state::{Goal, Run, State};
use super::time::MonoTime;
use super::words::Outcome;
use serde::Serialize;

/// The word, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is wrong.
    Healthy,
    /// Nothing can be said: it is coming up, waits, or is down on purpose.
    Unknown,
    /// It works and gives reason to worry: its answers are late, or it restarts again and again.
    Degraded,
    /// It does not work, or says so itself.
    Unhealthy,
}

impl Health {
    /// The word in status.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Unknown => "unknown",
            Health::Degraded => "degraded",
            Health::Unhealthy => "unhealthy",
        }
    }
}

/// What keeps a service from being healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Never `Healthy`.
    pub health: Health,
    /// Since when. `None`: since its state, which is no trouble.
    pub since: Option<MonoTime>,
    /// The check, its message, the rule and its numbers.
    pub text: String,
}

impl Service {
    /// How well it is.
    #[must_use]
    pub fn health(&self, now: MonoTime) -> Health {
        self.trouble(now).map_or(Health::Healthy, |trouble| trouble.health)
    }

    /// What is wrong, if anything is.
    #[must_use]
    pub fn trouble(&self, now: MonoTime) -> Option<Trouble> {
        let by_state = |health| Trouble { health, since: Some(self.since), text: self.reason.clone() };
        match self.state {
            State::Running { .. } => self.trouble_of_run(now),
            State::Done => None,
            State::Starting { .. } => {
                let text = self.failed_try().map_or_else(String::new, |(text, _)| format!("; {text}"));
                Some(Trouble { text: format!("{}{text}", self.reason), ..by_state(Health::Unknown) })
            }
            State::Waiting => Some(by_state(Health::Unknown)),
            State::Stopped | State::Stopping { .. } if self.is_down_on_purpose() => {
                Some(Trouble { since: None, ..by_state(Health::Unknown) })
            }
            State::Stopped
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Failed
            | State::Stuck { .. } => Some(by_state(Health::Unhealthy)),
        }
    }

    /// It is down, or on its way there, because nothing wants it up: a stop by hand, `autostart`, or no service that needs
    /// it. No error, and nothing to wake anyone for.
    #[must_use]
    pub fn is_down_on_purpose(&self) -> bool {
        let down = matches!(self.state, State::Stopped | State::Stopping { .. });
        down && !self.wanted && self.goal == Goal::Down
    }

    /// Why it is where it is, without the time since when: of a healthy service its state, else what is wrong.
    #[must_use]
    pub fn why(&self, now: MonoTime) -> String {
        match self.trouble(now) {
            Some(trouble) => trouble.text,
            None => self.well(),
        }
    }

    /// Of one that is healthy; a failure that does not count yet is not hidden.
    fn well(&self) -> String {
        let failed = self.failed_try().filter(|_| matches!(self.state, State::Running { .. }));
        failed.map_or_else(|| self.reason.clone(), |(text, _)| format!("{}; {text}", self.reason))
    }

    /// The worst comes first: it does not beat, it says so itself, its probes fail, its beats are late, it flaps.
    fn trouble_of_run(&self, now: MonoTime) -> Option<Trouble> {
        let run = self.run.as_ref().filter(|r| r.alive);
        run.and_then(|r| self.silence(r))
            .or_else(|| run.and_then(failing_checks))
            .or_else(|| self.failing_probes())
            .or_else(|| run.and_then(|r| self.late_beats(r, now)))
            .or_else(|| self.flapping(now))
    }

    fn silence(&self, run: &Run) -> Option<Trouble> {
        let hang = run.hang.as_ref()?;
        let judged = !hang.found.is_empty();
        let text = match &hang.lane {
            // A verdict has left its sentence.
            _ if judged => self.reason.clone(),
            Some((_, name)) => format!("lane {name:?} has not beaten for {}", human(hang.silent)),
            None if hang.triggered => "it asked to be treated as hung (WATCHDOG=trigger)".into(),
            None => format!("no sign of life for {} (heartbeat)", human(hang.silent)),
        };
        let since = MonoTime(hang.since.0.saturating_sub(hang.silent));
        Some(Trouble { health: Health::Unhealthy, since: Some(since), text })
    }

    fn failing_probes(&self) -> Option<Trouble> {
        if self.probes_ready() {
            return None;
        }
        let (text, since) = match self.failed_try() {
            Some((text, since)) => (format!("running, not ready: {text}"), since),
            None => ("running, not ready: its probes have not succeeded yet".into(), None),
        };
        Some(Trouble { health: Health::Unhealthy, since: since.or(Some(self.since)), text })
    }

    /// The first probe whose last try has failed, one that decides about readiness before others: what it said, and since
    /// when it fails.
    fn failed_try(&self) -> Option<(String, Option<MonoTime>)> {
        let run = self.run.as_ref()?;
        let failing = |of_readiness: bool| {
            let all = self.spec.probes.iter().zip(&run.probing.all);
            let mut mine = all.filter(move |(p, _)| p.roles.readiness == of_readiness);
            mine.find(|(_, tried)| tried.last.as_ref().is_some_and(|l| l.answer.outcome != Outcome::Success))
        };
        let (spec, tried) = failing(true).or_else(|| failing(false))?;
        let message = &tried.last.as_ref()?.answer.message;
        let name = &spec.name;
        // Counted as far as it counts: the sentence does not change while nothing else does.
        let text = match tried.failures.min(spec.failures) {
            0 => format!("probe {name} has not succeeded yet: {message}"),
            1 => format!("probe {name} failed once (failures {}): {message}", spec.failures),
            n => format!("probe {name} failed {n} times in a row (failures {}): {message}", spec.failures),
        };
        Some((text, tried.failing_since))
    }

    fn late_beats(&self, run: &Run, now: MonoTime) -> Option<Trouble> {
        let rules = &self.spec.heartbeat;
        if !run.beats.is_late(now, rules) {
            return None;
        }
        let text = match run.beats.misses {
            0 => "its heartbeat is late".to_string(),
            n => format!("its heartbeat is late: {n} of {} pings without an answer (heartbeat_misses)", rules.misses),
        };
        Some(Trouble { health: Health::Degraded, since: run.beats.last, text })
    }

    /// It restarts again and again, and the present run has not been ready long enough to be trusted.
    fn flapping(&self, now: MonoTime) -> Option<Trouble> {
        let rules = &self.spec.restart;
        let ready = self.run.as_ref().and_then(|r| r.ready)?;
        let needs = self.book.stable_needs(rules);
        if now.since(ready) >= needs {
            return None;
        }
        let (count, since) = self.book.again_and_again(now, rules)?;
        let span = match now.since(since) <= rules.crash_loop_window {
            true => rules.crash_loop_window,
            false => now.since(since),
        };
        let text = format!(
            "restarted {count} times in {}; healthy again when it has been ready for {} (stable_after)",
            seconds(span),
            human(needs)
        );
        Some(Trouble { health: Health::Degraded, since: Some(since), text })
    }

    /// Why it is not wanted up, for one that is down on purpose.
    pub(super) fn why_stopped(&self) -> String {
        match &self.stopped_by {
            Some(by) => format!("stopped on request by {}", asked_by(by)),
            None => "stopped as asked".into(),
        }
    }
}

/// Minutes as seconds, so that it reads like the setting: `60 s`.
fn seconds(span: std::time::Duration) -> String {
    match span.as_secs() {
        n @ 1..600 => format!("{n} s"),
        _ => human(span),
    }
}

fn failing_checks(run: &Run) -> Option<Trouble> {
    let texts: Vec<String> =
        run.talk.failing().map(|check| format!("check {} fails: {}", check.name, check.message)).collect();
    let since = run.talk.failing_since();
    (!texts.is_empty()).then(|| Trouble { health: Health::Unhealthy, since, text: texts.join("; ") })
}

/// What a service is to the question whether all are ready. Hidden ones are no exception: hidden means out of listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// Nothing wants it up, or it is not in the file any more: no part of the question.
    Unasked,
    /// It is ready; a oneshot: it is done.
    Ready,
    /// It ended well and is not to run again: nothing is missing.
    Over,
    /// Not ready, and on its way.
    Coming,
    /// Not ready, and nothing that will happen by itself changes that.
    Lost,
}

impl Readiness {
    /// All are ready when this is true of none.
    #[must_use]
    pub fn is_missing(self) -> bool {
        match self {
            Readiness::Coming | Readiness::Lost => true,
            Readiness::Unasked | Readiness::Ready | Readiness::Over => false,
        }
    }
}

impl Service {
    /// It is wanted up by a person, by its `autostart`, or by a service that needs it.
    #[must_use]
    pub fn is_minded(&self) -> bool {
        !self.removed && (self.wanted || self.goal == Goal::Up)
    }

    /// The one answer to "is it ready?", for `run-until-ready`, `/ready`, the page, the view of `up`, and what is said to
    /// the service manager above.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if !self.is_minded() {
            return Readiness::Unasked;
        }
        if self.is_ready() {
            return Readiness::Ready;
        }
        match self.state {
            State::Done => Readiness::Over,
            State::Failed | State::Stopped | State::Stuck { .. } => Readiness::Lost,
            State::Waiting if self.hopeless => Readiness::Lost,
            State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. } => Readiness::Coming,
        }
    }
}
