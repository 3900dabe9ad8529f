//! Thresholds, as the table of settings words them.

use super::witness::Witness;
use crate::machine::sim::sometimes::Rare;
use crate::machine::{Cause, Measure, MonoTime, Sample, Timer, Word};
use crate::spec::{LimitAction, MemoryLimit};

/// What was measured of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// Samples in a row above the limit.
    over: u32,
    cpu: Vec<Option<u32>>,
    /// What status has to show.
    pub(super) last: Option<Sample>,
    /// Told, and not calm since: soft level, memory, CPU.
    told: [bool; 3],
}

impl Witness {
    /// All services are measured at the same moments.
    pub(super) fn sample_later(&mut self, now: MonoTime) {
        if self.running() && self.spec.limits.any() {
            let every = self.spec.limits.interval;
            let turns = now.0.as_nanos() / every.as_nanos();
            self.run.dues.set(Timer::Sample, MonoTime(every * (turns as u32 + 1)));
        }
    }

    pub(super) fn sampled(&mut self, now: MonoTime, generation: u64, sample: &Sample) {
        if generation != self.generation || !self.running() {
            return self.seen.saw(Rare::SampleInVain);
        }
        let limits = self.spec.limits.clone();
        let usage = &mut self.run.life.usage;
        usage.last = Some(*sample);
        usage.cpu.push(sample.cpu_permille);
        let mut crossed = Vec::new();
        if let Some(rss) = sample.rss_bytes {
            if let Some(soft) = limits.memory_soft
                && crosses(&mut usage.told[0], rss, soft, rss > soft)
            {
                self.seen.saw(Rare::SoftTold);
                crossed.push((Measure::Memory, rss, LimitAction::Warn, true));
            }
            if let Some(MemoryLimit::Bytes(limit)) = limits.memory {
                usage.over = if rss > limit { usage.over + 1 } else { 0 };
                let far = rss > limit / 10 * 11;
                let due = rss > limit && (far || usage.over >= limits.memory_samples);
                if crosses(&mut usage.told[1], rss, limit, due) {
                    self.seen.saw(if far && usage.over < limits.memory_samples {
                        Rare::MemoryAtOnce
                    } else {
                        Rare::MemoryBySamples
                    });
                    crossed.push((Measure::Memory, rss, limits.memory_action, false));
                }
            }
        }
        let wanted = limits.cpu_samples as usize;
        let last: Vec<u64> = usage.cpu.iter().rev().take(wanted).map_while(|c| c.map(u64::from)).collect();
        if let Some(limit) = limits.cpu.filter(|_| last.len() == wanted) {
            let (mean, limit) = (last.iter().sum::<u64>() / wanted as u64, u64::from(limit) * 10);
            if crosses(&mut usage.told[2], mean, limit, mean > limit) {
                self.seen.saw(Rare::CpuCrossed);
                crossed.push((Measure::Cpu, mean, limits.cpu_action, false));
            }
        }
        // What ends the run comes last.
        crossed.sort_by_key(|c| c.2 == LimitAction::Restart);
        for (what, value, action, soft) in crossed {
            self.want.tell("threshold");
            self.want.thresholds.push((what, value, soft));
            if soft {
                self.say_if_it_hears(Word::LowMemory);
            } else if action == LimitAction::Warn {
                self.seen.saw(Rare::WarnedOnly);
            } else if self.running() {
                let cause = if what == Measure::Memory { Cause::Memory } else { Cause::Cpu };
                self.doom(now, cause);
            }
        }
    }
}

/// Once, until it was below 95 % of the level again.
fn crosses(told: &mut bool, value: u64, level: u64, over: bool) -> bool {
    if value * 100 <= level * 95 {
        *told = false;
    }
    let now = over && !*told;
    *told |= over;
    now
}
