//! What a worker is measured to use, and the ends of it that are our doing: an order to end, and the report.

use super::news::*;
use super::service::{Cx, Service};
use super::state::State;
use super::time::{MonoTime, Timer};
use super::words::*;
use crate::spec::LimitAction;
use std::time::Duration;

impl Service {
    pub(super) fn measure_later(&mut self, cx: &mut Cx<'_>) {
        if self.spec.limits.any() && matches!(self.state, State::Running { .. }) {
            // At the same moments for all services, so that one pass serves them.
            let every = self.spec.limits.interval.as_nanos().max(1);
            let next = (cx.now.0.as_nanos() / every + 1).saturating_mul(every);
            let next = Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
            self.timers.set(Timer::Sample, MonoTime(next));
        }
    }

    /// It was measured.
    pub fn on_sampled(&mut self, cx: &mut Cx<'_>, generation: Generation, sample: Sample) {
        if !matches!(self.state, State::Running { .. }) {
            return;
        }
        let Some(run) = self.run.as_mut().filter(|r| r.alive && r.generation == generation) else { return };
        for c in run.usage.take(sample, &self.spec.limits) {
            let cause = match c.what {
                Measure::Memory => Cause::Memory,
                Measure::Cpu => Cause::Cpu,
            };
            let what = What::Threshold {
                what: c.what,
                value: c.value,
                limit: c.limit,
                samples: c.samples,
                action: c.action,
                soft: c.soft,
            };
            let rule = super::sentences::threshold(&c);
            self.tell(cx, Some(cause), what);
            if c.soft {
                self.tell_worker(cx, Word::LowMemory);
            } else if c.action == LimitAction::Restart && matches!(self.state, State::Running { .. }) {
                self.doom(cx, cause, rule);
            }
        }
    }

    /// Its end is our doing, in order: the usual ladder, and a failure whatever its exit code.
    pub(super) fn doom(&mut self, cx: &mut Cx<'_>, cause: Cause, rule: String) {
        let Some(generation) = self.living() else { return };
        cx.out.push(Action::Gather { service: self.id, generation });
        if let Some(run) = self.run.as_mut() {
            run.doomed = Some(cause);
        }
        let ladder = self.ladder(None);
        self.begin_stop(cx, ladder, rule);
    }

    /// Everything that is known of this run, written down.
    pub(super) fn report(&self, cx: &mut Cx<'_>, cause: Cause, rule: String, over: bool) {
        let Some(run) = self.run.clone() else { return };
        let ended = self.ended.clone().filter(|_| over);
        let (service, generation) = (self.id, run.generation);
        cx.out.push(Action::Report(Box::new(ReportOrder { service, generation, cause, rule, run, ended })));
    }
}
