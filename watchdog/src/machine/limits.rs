//! Measurements against thresholds. Arithmetic only; the rules are product.md's table of settings.

use super::news::Sample;
use super::words::Measure;
use crate::spec::{LimitAction, Limits, MemoryLimit};
use serde::Serialize;
use std::collections::VecDeque;

/// Samples kept for the report and for status.
const CURVE: usize = 120;
/// So far above the limit nobody waits for a second sample, percent of the limit.
const AT_ONCE_PERCENT: u64 = 110;
/// A soft level is told again only after the worker was below this share of it, percent.
const CALM_PERCENT: u64 = 95;

/// What was measured of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The last samples, the oldest first.
    pub curve: VecDeque<Sample>,
    /// Samples in a row above the memory limit.
    pub memory_over: u32,
    /// The soft level was told of, and it has not been calm since.
    pub soft_told: bool,
    /// The same for limits that only warn.
    pub memory_told: bool,
    /// The same.
    pub cpu_told: bool,
}

/// A threshold that was crossed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Which.
    pub what: Measure,
    /// Bytes, or thousandths of a core.
    pub value: u64,
    /// The same unit.
    pub limit: u64,
    /// Samples it was judged by.
    pub samples: u32,
    /// What follows.
    pub action: LimitAction,
    /// The soft level.
    pub soft: bool,
}

impl Usage {
    /// The last measurement.
    pub fn last(&self) -> Option<&Sample> {
        self.curve.back()
    }

    /// Takes a sample down, and says what was crossed by it: at most one of each kind, what restarts last.
    pub fn take(&mut self, sample: Sample, limits: &Limits) -> Vec<Crossing> {
        if self.curve.len() >= CURVE {
            self.curve.pop_front();
        }
        self.curve.push_back(sample);
        let mut crossed = Vec::new();
        if let Some(rss) = sample.rss_bytes {
            crossed.extend(self.soft(rss, limits));
            crossed.extend(self.memory(rss, limits));
        }
        crossed.extend(self.cpu(limits));
        crossed.sort_by_key(|c| !c.soft && c.action == LimitAction::Restart);
        crossed
    }

    fn soft(&mut self, rss: u64, limits: &Limits) -> Option<Crossing> {
        let limit = limits.memory_soft?;
        if calm(rss, limit) {
            self.soft_told = false;
        }
        let told = self.soft_told;
        if rss <= limit || told {
            return None;
        }
        self.soft_told = true;
        let (what, action) = (Measure::Memory, LimitAction::Warn);
        Some(Crossing { what, value: rss, limit, samples: 1, action, soft: true })
    }

    fn memory(&mut self, rss: u64, limits: &Limits) -> Option<Crossing> {
        let Some(MemoryLimit::Bytes(limit)) = limits.memory else { return None };
        if rss <= limit {
            self.memory_over = 0;
            self.memory_told &= !calm(rss, limit);
            return None;
        }
        self.memory_over = self.memory_over.saturating_add(1);
        let far = u128::from(rss) * 100 > u128::from(limit) * u128::from(AT_ONCE_PERCENT);
        let due = far || self.memory_over >= limits.memory_samples.max(1);
        if !due || self.memory_told {
            return None;
        }
        self.memory_told = true;
        let (what, action) = (Measure::Memory, limits.memory_action);
        Some(Crossing { what, value: rss, limit, samples: self.memory_over, action, soft: false })
    }

    fn cpu(&mut self, limits: &Limits) -> Option<Crossing> {
        let limit = u64::from(limits.cpu?) * 10;
        let samples = limits.cpu_samples.max(1);
        let wanted = (samples as usize).min(CURVE);
        let last: Vec<u64> =
            self.curve.iter().rev().map_while(|s| s.cpu_permille.map(u64::from)).take(wanted).collect();
        if last.len() < wanted {
            return None;
        }
        let mean = last.iter().sum::<u64>() / wanted as u64;
        if mean <= limit {
            self.cpu_told &= !calm(mean, limit);
            return None;
        }
        if self.cpu_told {
            return None;
        }
        self.cpu_told = true;
        let (what, action) = (Measure::Cpu, limits.cpu_action);
        Some(Crossing { what, value: mean, limit, samples, action, soft: false })
    }
}

fn calm(value: u64, limit: u64) -> bool {
    u128::from(value) * 100 <= u128::from(limit) * u128::from(CALM_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MonoTime;

    fn sample(rss: u64, cpu: Option<u32>) -> Sample {
        Sample { at: MonoTime::ZERO, rss_bytes: Some(rss), cpu_permille: cpu }
    }

    fn limits() -> Limits {
        Limits { memory: Some(MemoryLimit::Bytes(100)), memory_soft: Some(80), cpu: Some(80), ..Limits::default() }
    }

    fn kinds(usage: &mut Usage, s: Sample) -> Vec<(Measure, bool)> {
        usage.take(s, &limits()).iter().map(|c| (c.what, c.soft)).collect()
    }

    #[test]
    fn three_samples_in_a_row_or_one_far_above() {
        let mut usage = Usage::default();
        for rss in [101, 102, 99, 105, 106] {
            assert!(!kinds(&mut usage, sample(rss, None)).contains(&(Measure::Memory, false)), "{rss}");
        }
        assert!(kinds(&mut usage, sample(110, None)).contains(&(Measure::Memory, false)), "the third in a row");
        let mut usage = Usage::default();
        assert!(kinds(&mut usage, sample(111, None)).contains(&(Measure::Memory, false)), "above 110 %");
    }

    #[test]
    fn the_soft_level_is_told_once_until_it_was_calm() {
        let mut usage = Usage::default();
        let told: Vec<bool> =
            [81, 90, 79, 85, 76, 81].iter().map(|rss| !kinds(&mut usage, sample(*rss, None)).is_empty()).collect();
        assert_eq!(told, [true, false, false, false, false, true]);
    }

    #[test]
    fn cpu_is_the_mean_of_the_last_samples_and_the_first_has_none() {
        let mut usage = Usage::default();
        assert!(kinds(&mut usage, sample(1, None)).is_empty());
        for _ in 0..4 {
            assert!(kinds(&mut usage, sample(1, Some(1000))).is_empty());
        }
        assert_eq!(kinds(&mut usage, sample(1, Some(1000))), [(Measure::Cpu, false)]);
        assert!(kinds(&mut usage, sample(1, Some(1000))).is_empty(), "told once");
        let mut bursts = Usage::default();
        for n in 0..50 {
            assert!(kinds(&mut bursts, sample(1, Some(if n % 10 == 0 { 1000 } else { 0 }))).is_empty());
        }
    }

    #[test]
    fn what_cannot_be_measured_is_not_judged_and_the_curve_is_bounded() {
        let mut usage = Usage::default();
        for _ in 0..500 {
            let blind = Sample { at: MonoTime::ZERO, rss_bytes: None, cpu_permille: None };
            assert!(usage.take(blind, &limits()).is_empty());
        }
        assert_eq!(usage.curve.len(), CURVE);
    }
}
