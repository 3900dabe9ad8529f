//! Memory and CPU of workers, in one pass for all that are due; and whether the kernel killed for want of memory.

use super::Reactor;
use super::after::Unread;
use crate::machine::*;
use crate::spec::{LimitScope, MemoryLimit, Spec};
use crate::sys::sample::{Group, Sampler};
use crate::sys::{cgroup, tree};
use std::collections::BTreeSet;

/// What `auto` takes of the control group's limit, percent.
const AUTO_PERCENT: u64 = 90;

/// One generation that is measured.
pub(super) struct Measured {
    pub(super) id: ServiceId,
    pub(super) generation: Generation,
    pids: Vec<i32>,
    /// Its whole tree, so that children that have ended count as well.
    tree: bool,
}

impl Measured {
    pub(super) fn group(&self) -> Group<'_, ServiceId> {
        Group { key: self.id, pids: &self.pids, with_children: self.tree }
    }
}

/// How often the kernel has killed for want of memory: in our own control group, and on the whole machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OomCount {
    own: Option<u64>,
    system: Option<u64>,
}

impl OomCount {
    /// Before the first worker, as cheap as can be: the count of our own group needs two more files to be found, and is
    /// known without only where the group is as old as we are (PID 1 of a container).
    fn at_start(init: bool) -> OomCount {
        OomCount { own: init.then_some(0), system: cgroup::system_oom_kills() }
    }

    fn now(own: &mut cgroup::OwnKills) -> OomCount {
        OomCount { own: own.count(), system: cgroup::system_oom_kills() }
    }

    fn since(self, before: OomCount) -> OomCount {
        let more = |is: Option<u64>, was: Option<u64>| is.zip(was).map(|(is, was)| is.saturating_sub(was));
        OomCount { own: more(self.own, before.own), system: more(self.system, before.system) }
    }
}

/// `memory_limit = auto`, found once: 90 % of what the control group allows, nothing where it allows everything.
pub(super) fn resolve_auto(spec: &mut Spec) {
    if spec.limits.memory == Some(MemoryLimit::Auto) {
        let found = cgroup::memory_limit();
        if found.is_none() {
            log::warn!("{}: memory_limit = auto: the control group has no limit, so there is none here", spec.name);
        }
        spec.limits.memory = found.map(|limit| {
            MemoryLimit::Bytes(u64::try_from(u128::from(limit) * u128::from(AUTO_PERCENT) / 100).unwrap_or(limit))
        });
    }
}

impl Reactor {
    /// Measures everybody who is due.
    pub(super) fn measure(&mut self) {
        if self.to_measure.is_empty() {
            return;
        }
        let due = std::mem::take(&mut self.to_measure);
        let strangers = self.stranger_children();
        let groups: Vec<Measured> =
            due.into_iter().filter_map(|(id, generation)| self.to_sample(id, generation, &strangers)).collect();
        let keyed: Vec<Group<'_, ServiceId>> = groups.iter().map(Measured::group).collect();
        let usages = self.sampler.get_or_insert_with(Sampler::new).sample(&keyed);
        let at = self.now();
        for (Measured { id: service, generation, .. }, usage) in groups.into_iter().zip(usages) {
            let sample = Sample { at, rss_bytes: usage.rss_bytes, cpu_permille: usage.cpu_permille() };
            self.feed(Event::Sampled { service, generation, sample });
        }
    }

    /// The same with what the sampler has to know.
    pub(super) fn to_sample(&self, id: ServiceId, generation: Generation, strangers: &[i32]) -> Option<Measured> {
        let scope = self.machine.services().get(id.0 as usize)?.spec.limits.scope;
        let pids = self.measured(id, generation, strangers)?;
        Some(Measured { id, generation, pids, tree: scope == LimitScope::Tree })
    }

    /// Whose memory and time count for this service.
    pub(super) fn measured(&self, id: ServiceId, generation: Generation, strangers: &[i32]) -> Option<Vec<i32>> {
        let worker = self.workers.get(id.0 as usize)?;
        let main = worker.proc.as_ref().filter(|p| p.generation == generation)?.pid;
        let scope = self.machine.services().get(id.0 as usize)?.spec.limits.scope;
        Some(match (scope, &worker.group) {
            (LimitScope::Main, _) => vec![main],
            (LimitScope::Tree, Some(group)) => group.pids(),
            (LimitScope::Tree, None) => {
                let mut all = tree::descendants(&[main]);
                // And who lost his parent and came to us: his memory is the worker's all the same.
                let seen: BTreeSet<i32> = all.iter().copied().collect();
                let escaped = tree::left(strangers, &worker.marks);
                all.extend(escaped.into_iter().filter(|pid| !seen.contains(pid)));
                all
            }
        })
    }

    /// A generation is over: nothing of it is subtracted from the next one.
    pub(super) fn forget_usage(&mut self, id: ServiceId) {
        if let Some(sampler) = self.sampler.as_mut() {
            sampler.forget(id);
        }
        self.forget_watched(id);
    }

    /// How things stood when the first worker was started, to compare with: what is read later could hold the very kill that
    /// ended it. Read while that worker is still loading, and no further than the one line.
    pub(super) fn count_oom_kills(&mut self) {
        let init = self.init;
        self.oom_before.get_or_insert_with(|| OomCount::at_start(init));
    }

    /// Whether this was a kill for want of memory. The counter of the worker's own control group says so for sure, that
    /// of ours where it has grown; that somebody on this machine was killed meanwhile is only probable.
    #[inline(never)]
    pub(super) fn oom(&mut self, end: &Unread) -> Oom {
        let own = end.counter.as_ref().and_then(cgroup::Counter::oom_kills);
        match (own, end.foreign_kill) {
            (Some(1..), true) => return Oom::Worker,
            (Some(1..), false) => return Oom::Child,
            (Some(0), _) | (None, false) => return Oom::No,
            (None, true) => {}
        }
        let unexplained = match &mut self.oom_round {
            Some(round) => round,
            None => {
                let now = OomCount::now(&mut self.own_kills);
                let before = self.oom_before.replace(now);
                self.oom_round.insert(before.map_or(OomCount::default(), |before| now.since(before)))
            }
        };
        // Each such kill explains one death.
        let mut one = |count: fn(&mut OomCount) -> &mut Option<u64>| {
            count(unexplained).as_mut().filter(|n| **n > 0).map(|n| *n -= 1).is_some()
        };
        if one(|count| &mut count.own) {
            Oom::Worker
        } else if one(|count| &mut count.system) {
            Oom::Probable
        } else {
            Oom::No
        }
    }
}
