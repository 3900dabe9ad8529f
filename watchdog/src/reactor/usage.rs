//! What services use at this moment, for somebody who watches: measured when a client asks, never by a timer, and apart
//! from what limits are judged by, so that looking changes no judgement.

use super::Reactor;
use super::measure::Measured;
use crate::machine::*;
use crate::sys::sample::{Group, Sampler, Usage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// However many ask, nobody is measured more often.
const OFTEN: Duration = Duration::from_secs(1);
/// Who was not asked for so long begins anew: a mean over that time would say nothing of now.
const STALE: Duration = Duration::from_secs(10);

/// The last look at those who are watched. Nothing at all while nobody watches.
#[derive(Debug)]
pub(super) struct Watched {
    sampler: Sampler<ServiceId>,
    seen: BTreeMap<ServiceId, Seen>,
}

/// What one service was seen to use.
#[derive(Clone, Copy, Debug)]
struct Seen {
    generation: Generation,
    at: Duration,
    usage: Usage,
}

impl Reactor {
    /// Measures those of these services that run and were not measured just now, in one pass.
    #[inline(never)]
    pub(super) fn look_at_usage(&mut self, services: &[ServiceId]) {
        let now = self.clock.now();
        let mut watched = self.watched.take().unwrap_or_else(Watched::new);
        watched.forget_stale(now);
        let due: Vec<(ServiceId, Generation)> =
            services.iter().filter_map(|id| self.running(*id)).filter(|who| watched.is_due(*who, now)).collect();
        // Orphans are looked for in the whole table of processes: not for nobody.
        let strangers = if due.is_empty() { Vec::new() } else { self.stranger_children() };
        let groups: Vec<Measured> =
            due.into_iter().filter_map(|(id, generation)| self.to_sample(id, generation, &strangers)).collect();
        watched.measure(&groups, now);
        self.watched = Some(watched);
    }

    /// A service with a living process, and which.
    fn running(&self, id: ServiceId) -> Option<(ServiceId, Generation)> {
        let process = self.workers.get(id.0 as usize)?.proc.as_ref()?;
        Some((id, process.generation))
    }

    /// Puts what was seen of a service into its shape in `status`. `mean`: of one that was not looked at before, and that no
    /// limit has measured, the CPU time since its start.
    pub(super) fn show_usage(&self, id: ServiceId, mean: bool, shape: &mut Value) {
        let Some(watched) = self.watched.as_ref() else { return };
        let alive = self.running(id).map(|(_, generation)| generation);
        let Some(seen) = watched.seen.get(&id).filter(|seen| Some(seen.generation) == alive) else { return };
        shape["memory"]["rss_bytes"] = seen.usage.rss_bytes.into();
        let percent = |permille: u32| f64::from(permille) / 10.0;
        match seen.usage.cpu_permille() {
            Some(permille) => shape["cpu"]["percent"] = percent(permille).into(),
            None if mean && shape["cpu"]["percent"].is_null() => {
                shape["cpu"]["percent"] = self.mean_share(id, seen).map(percent).into();
            }
            None => {}
        }
    }

    /// CPU time of all its life as thousandths of one core.
    fn mean_share(&self, id: ServiceId, seen: &Seen) -> Option<u32> {
        let spawned = self.machine.services().get(id.0 as usize)?.run.as_ref()?.spawned?;
        let life = MonoTime(seen.at).since(spawned);
        let share = (seen.usage.so_far.as_micros() * 1000).checked_div(life.as_micros())?;
        Some(u32::try_from(share).unwrap_or(u32::MAX))
    }

    /// A generation is over, or a service.
    pub(super) fn forget_watched(&mut self, id: ServiceId) {
        if let Some(watched) = self.watched.as_mut() {
            watched.forget(id);
        }
    }

    /// Nobody is connected any more who could watch.
    pub(super) fn nobody_watches(&mut self) {
        self.watched = None;
    }
}

impl Watched {
    fn new() -> Watched {
        Watched { sampler: Sampler::new(), seen: BTreeMap::new() }
    }

    fn is_due(&self, (id, generation): (ServiceId, Generation), now: Duration) -> bool {
        self.seen.get(&id).is_none_or(|seen| seen.generation != generation || now.saturating_sub(seen.at) >= OFTEN)
    }

    fn measure(&mut self, groups: &[Measured], at: Duration) {
        if groups.is_empty() {
            return;
        }
        let keyed: Vec<Group<'_, ServiceId>> = groups.iter().map(Measured::group).collect();
        let usages = self.sampler.sample(&keyed);
        for (one, usage) in groups.iter().zip(usages) {
            self.seen.insert(one.id, Seen { generation: one.generation, at, usage });
        }
    }

    fn forget_stale(&mut self, now: Duration) {
        let stale: Vec<ServiceId> =
            self.seen.iter().filter(|(_, s)| now.saturating_sub(s.at) >= STALE).map(|(id, _)| *id).collect();
        for id in stale {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: ServiceId) {
        self.seen.remove(&id);
        self.sampler.forget(id);
    }
}
