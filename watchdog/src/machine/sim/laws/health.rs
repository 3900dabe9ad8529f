//! What is said of a service must be so: one that restarts again and again is not called healthy, one whose own checks
//! fail is unhealthy and the check is named, and one that was stopped on purpose is no error.

use super::witness::Witness;
use crate::machine::sim::sometimes::Rare;
use crate::machine::{Health, MonoTime, Service, State};

/// Restarts of which the machine keeps the time.
const KEPT: usize = 64;

/// One service, after any call.
pub(super) fn health(now: MonoTime, w: &mut Witness, s: &Service) -> Result<(), String> {
    let (word, trouble) = (s.health(now), s.trouble(now));
    let text = trouble.as_ref().map_or("", |t| t.text.as_str());
    if word == Health::Healthy && trouble.is_some() || trouble.as_ref().is_some_and(|t| t.since > Some(now)) {
        return Err(format!("health: {word:?} with {trouble:?}"));
    }
    if w.running() {
        let again = w.restarted_again_and_again(now);
        let says = text.starts_with("restarted ");
        if again.is_some() && word < Health::Degraded {
            return Err(format!("health: {word:?} after {again:?} restarts that nothing has made good"));
        }
        if says && !again.is_some_and(|n| text.starts_with(&format!("restarted {n} times in "))) {
            return Err(format!("health: {text:?} after {again:?} restarts"));
        }
        let failing = w.run.life.failing.as_slice();
        let named = failing.iter().all(|name| text.contains(name)) || w.run.life.hang.is_some();
        if !failing.is_empty() && (word != Health::Unhealthy || !named) {
            return Err(format!("health: {word:?} ({text}) while {failing:?} fail"));
        }
        if says {
            w.seen.saw(Rare::Flapping);
        }
        if !failing.is_empty() {
            w.seen.saw(Rare::CheckFails);
        }
    }
    if matches!(s.state, State::Stopped) && !s.wanted && word != Health::Unknown {
        return Err(format!("health: {word:?} although nothing wants it up"));
    }
    Ok(())
}

impl Witness {
    /// How often, if that is a reason not to trust it: two restarts or more inside the window, or without a stable run
    /// between them, and the present run has not been ready for long enough.
    fn restarted_again_and_again(&self, now: MonoTime) -> Option<usize> {
        let rules = &self.spec.restart;
        let needs = rules.stable_after.max(self.last_delay);
        let trusted = self.run.ready.is_none_or(|at| now.since(at) >= needs);
        let known = self.restarts.iter().rev().take(KEPT);
        let close = known.filter(|at| now.since(**at) < rules.crash_loop_window).count();
        let count = if close >= 2 { close } else { self.streak as usize };
        (!trusted && count >= 2).then_some(count)
    }
}
