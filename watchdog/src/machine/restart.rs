//! When to start again: streak, delays, window. Arithmetic only; the rules are product.md's table of settings.

use super::time::MonoTime;
use crate::spec::{Delays, Restart};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

/// Restarts whose times are kept for people.
const RECENT: usize = 64;
/// So many automatic restarts close together, or in a row without a stable run, are no accident any more.
const AGAIN_AND_AGAIN: u32 = 2;

/// What is remembered of past restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Book {
    /// Consecutive restarts of runs that never became stable.
    pub streak: u32,
    /// Automatic restarts in all; only grows.
    pub total: u32,
    /// What `total` was when `start` cleared the counters: `restart_total` counts from there.
    pub forgiven: u32,
    /// When the automatic restarts of the sliding window happened.
    pub window: VecDeque<MonoTime>,
    /// When the last automatic restarts were, at most `RECENT`; what `status` says of one that flaps is read from it.
    pub recent: VecDeque<MonoTime>,
    /// The delay that was last applied; a run must outlast it to count as stable.
    pub last_delay: Duration,
}

/// The rule that ended the restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Limit {
    /// `restart_limit` consecutive unstable restarts.
    Streak(u32),
    /// `restart_total` restarts.
    Total(u32),
}

/// What follows an end after which the policy wants a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Ruling {
    /// Start after this delay.
    After {
        /// The pause.
        delay: Duration,
        /// 1 for the first restart of a streak.
        attempt: u32,
    },
    /// Too many in the window: pause, then start.
    Pause {
        /// `crash_loop_pause`.
        delay: Duration,
        /// As above.
        attempt: u32,
        /// How many restarts the window held.
        counted: u32,
    },
    /// Stop trying.
    GiveUp(Limit),
}

impl Book {
    /// Back to the beginning: `start` from a terminal state.
    pub fn clear(&mut self) {
        *self = Book { total: self.total, forgiven: self.total, ..Book::default() };
    }

    /// A run was stable: its end, whatever it was, finds the streak at zero.
    pub fn rested(&mut self) {
        self.streak = 0;
    }

    /// How long a run has to have been ready to reset the streak.
    pub fn stable_needs(&self, rules: &Restart) -> Duration {
        rules.stable_after.max(self.last_delay)
    }

    /// Judges one end. `stable`: the run was ready for [`Book::stable_needs`]; `failure`: it was one; `roll` in
    /// 0..=u32::MAX is the dice for the jitter. Order: streak, total, crash loop.
    pub fn judge(&mut self, now: MonoTime, rules: &Restart, stable: bool, failure: bool, roll: u32) -> Ruling {
        if stable {
            self.rested();
        }
        if rules.limit > 0 && self.streak >= rules.limit {
            return Ruling::GiveUp(Limit::Streak(rules.limit));
        }
        if let Some(total) = rules.total.filter(|t| self.total.saturating_sub(self.forgiven) >= *t) {
            return Ruling::GiveUp(Limit::Total(total));
        }
        let attempt = self.streak.saturating_add(1);
        while self.window.front().is_some_and(|t| now.since(*t) >= rules.crash_loop_window) {
            self.window.pop_front();
        }
        let counted = u32::try_from(self.window.len()).unwrap_or(u32::MAX);
        if rules.crash_loop_limit > 0 && counted >= rules.crash_loop_limit {
            self.last_delay = rules.crash_loop_pause;
            return Ruling::Pause { delay: rules.crash_loop_pause, attempt, counted };
        }
        let at_once = stable && failure && rules.fast_first;
        let delay =
            if at_once { Duration::ZERO } else { jittered(nth_delay(&rules.delays, attempt), rules.jitter, roll) };
        self.last_delay = delay;
        Ruling::After { delay, attempt }
    }

    /// Whether it restarts again and again: inside `crash_loop_window`, or in a row without a stable run. How often, and
    /// since when.
    pub fn again_and_again(&self, now: MonoTime, rules: &Restart) -> Option<(u32, MonoTime)> {
        let close = self.recent.iter().filter(|at| now.since(**at) < rules.crash_loop_window).count();
        let close = u32::try_from(close).unwrap_or(u32::MAX);
        let count = if close >= AGAIN_AND_AGAIN { close } else { self.streak };
        let first = self.recent.len().saturating_sub(count as usize);
        (count >= AGAIN_AND_AGAIN).then(|| Some((count, *self.recent.get(first)?))).flatten()
    }

    /// An automatic restart happens now.
    pub fn count(&mut self, now: MonoTime, rules: &Restart, after_pause: bool) {
        self.streak = self.streak.saturating_add(1);
        self.total = self.total.saturating_add(1);
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if after_pause {
            self.window.clear();
        }
        if rules.crash_loop_limit > 0 {
            // Never more than the limit is ever needed: the window stays bounded whatever the settings.
            while self.window.len() >= rules.crash_loop_limit as usize {
                self.window.pop_front();
            }
            self.window.push_back(now);
        }
    }
}

/// The delay before the n-th restart of a streak (n from 1), without jitter.
pub fn nth_delay(delays: &Delays, attempt: u32) -> Duration {
    match delays {
        Delays::List(list) => {
            let at = (attempt.saturating_sub(1) as usize).min(list.len().saturating_sub(1));
            list.get(at).copied().unwrap_or_default()
        }
        Delays::Growing { first, factor_milli, max } => {
            let mut delay = *first;
            for _ in 1..attempt {
                let grown = delay.as_nanos().saturating_mul(u128::from(*factor_milli)) / 1000;
                let grown = Duration::from_nanos(u64::try_from(grown).unwrap_or(u64::MAX));
                // Fixed (factor 1), zero and capped delays stay where they are: no need to count on.
                if grown == delay || delay >= *max {
                    break;
                }
                delay = grown;
            }
            delay.min(*max)
        }
    }
}

/// `delay` moved by up to `percent` of itself, both ways; `roll` 0 is the lowest, `u32::MAX` the highest.
pub(super) fn jittered(delay: Duration, percent: u8, roll: u32) -> Duration {
    let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    let span = (u128::from(nanos) * u128::from(percent.min(100))) / 100;
    let low = u128::from(nanos) - span;
    let moved = low + (2 * span * u128::from(roll)) / u128::from(u32::MAX);
    Duration::from_nanos(u64::try_from(moved).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing(first: u64, factor_milli: u32, max: u64) -> Delays {
        Delays::Growing { first: Duration::from_millis(first), factor_milli, max: Duration::from_millis(max) }
    }

    #[test]
    fn delays_grow_to_the_cap_and_lists_repeat_their_last_entry() {
        let d = growing(1000, 2000, 60_000);
        let ms: Vec<u128> = (1..=8).map(|n| nth_delay(&d, n).as_millis()).collect();
        assert_eq!(ms, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        let list = Delays::List([1, 1, 5, 30].map(Duration::from_secs).to_vec());
        let s: Vec<u64> = (1..=6).map(|n| nth_delay(&list, n).as_secs()).collect();
        assert_eq!(s, [1, 1, 5, 30, 30, 30]);
        assert_eq!(nth_delay(&growing(500, 1000, 60_000), 1_000_000).as_millis(), 500);
        assert_eq!(nth_delay(&growing(0, 2000, 60_000), u32::MAX), Duration::ZERO);
    }

    #[test]
    fn jitter_reaches_both_ends_and_never_wraps() {
        let d = Duration::from_secs(10);
        assert_eq!(jittered(d, 20, 0).as_secs(), 8);
        assert_eq!(jittered(d, 20, u32::MAX).as_secs(), 12);
        assert_eq!(jittered(d, 0, 77), d);
        assert_eq!(jittered(Duration::MAX, 100, u32::MAX), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn the_window_edge_is_exclusive_on_the_old_side() {
        let rules = Restart { limit: 0, crash_loop_limit: 2, jitter: 0, ..Restart::default() };
        let mut book = Book::default();
        let t = |s| MonoTime(Duration::from_secs(s));
        book.count(t(0), &rules, false);
        book.count(t(30), &rules, false);
        assert!(matches!(book.clone().judge(t(59), &rules, false, true, 0), Ruling::Pause { counted: 2, .. }));
        assert!(matches!(book.judge(t(60), &rules, false, true, 0), Ruling::After { .. }));
    }

    #[test]
    fn the_limit_is_judged_before_the_crash_loop() {
        let rules = Restart { jitter: 0, ..Restart::default() };
        let mut book = Book::default();
        for _ in 0..5 {
            assert!(matches!(book.judge(MonoTime::ZERO, &rules, false, true, 0), Ruling::After { .. }));
            book.count(MonoTime::ZERO, &rules, false);
        }
        assert_eq!(book.judge(MonoTime::ZERO, &rules, false, true, 0), Ruling::GiveUp(Limit::Streak(5)));
    }
}
