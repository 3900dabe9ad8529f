//! Memory and CPU time of processes that are ours, through sysinfo: one pass for all of them, nobody else's looked at.
//!
//! CPU time is what the kernel has counted for each process, subtracted here: sysinfo's own percentages depend on when
//! else they were asked for. It counts in ticks of 10 ms, so less than a second between two samples says little. Children that
//! came and went between two samples count as well: their parent has their time when it has waited for them.

use super::clock::{self, Clock};
use super::proc::{self, Stat};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// sysinfo forgets a process that is gone only when it is asked for it again, and nobody asks for children that are
/// gone: with so many more than are wanted, it begins anew.
const STALE_MAX: usize = 64;
/// Threads of a process whose main thread is gone that are looked at.
const MAX_THREADS: usize = 64;
/// Bytes read of a small file in /proc.
const SMALL: u64 = 4096;
/// Start times in /proc are in clock ticks: USER_HZ is 100 on every machine that we build for.
const TICK_MS: u64 = 10;

/// What a group of processes uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Resident memory of all that could be measured; pages that several of them share count in each. `None`: none could.
    pub rss_bytes: Option<u64>,
    /// CPU time since the sample before. `None`: there was none.
    pub cpu: Option<Duration>,
    /// Time since the sample before.
    pub elapsed: Duration,
    /// CPU time so far of those that are there, with that of their children where those count.
    pub so_far: Duration,
}

impl Usage {
    /// CPU time as thousandths of one core: with several it may be more than 1000.
    #[must_use]
    pub(crate) fn cpu_permille(&self) -> Option<u32> {
        let share = (self.cpu?.as_micros() * 1000).checked_div(self.elapsed.as_micros())?;
        Some(u32::try_from(share).unwrap_or(u32::MAX))
    }
}

/// Processes that are measured together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a, K> {
    /// Whose they are.
    pub key: K,
    /// They.
    pub pids: &'a [i32],
    /// Children of theirs that ended and were waited for count as well.
    pub with_children: bool,
}

/// Keeps what is needed to subtract. Costs nothing before the first sample.
#[derive(Debug)]
pub(crate) struct Sampler<K> {
    clock: Clock,
    system: Option<System>,
    groups: BTreeMap<K, Past>,
}

/// The sample before of one group.
#[derive(Debug)]
struct Past {
    at: Duration,
    since_boot: Duration,
    /// By number.
    known: BTreeMap<i32, Stat>,
}

impl<K: Ord + Copy> Sampler<K> {
    /// Without a sample.
    #[must_use]
    pub(crate) fn new() -> Sampler<K> {
        Sampler { clock: Clock::start(), system: None, groups: BTreeMap::new() }
    }

    /// Measures groups of processes, in one pass; the answers are in the order of the groups.
    pub(crate) fn sample(&mut self, groups: &[Group<'_, K>]) -> Vec<Usage> {
        let pids: Vec<Pid> = groups
            .iter()
            .flat_map(|group| group.pids.iter())
            .filter_map(|pid| Some(Pid::from(usize::try_from(*pid).ok()?)))
            .collect();
        let system = self.system.take().filter(|s| s.processes().len() <= pids.len() + STALE_MAX);
        let Some(mut system) = system.or_else(|| System::new().ok()) else {
            return vec![Usage::default(); groups.len()];
        };
        // `nothing` alone would list the threads of each process as well.
        let kind = ProcessRefreshKind::nothing().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, kind);
        let (at, since_boot) = (self.clock.now(), clock::since_boot());
        let mut usages = Vec::with_capacity(groups.len());
        for group in groups {
            let past = self.groups.get(&group.key);
            let (usage, known) = measure(&system, group, past, at);
            usages.push(usage);
            self.groups.insert(group.key, Past { at, since_boot, known });
        }
        self.system = Some(system);
        usages
    }

    /// The next sample of this group is its first: for a new generation of a service, and for one that is gone.
    pub(crate) fn forget(&mut self, key: K) {
        self.groups.remove(&key);
        if self.groups.is_empty() {
            self.system = None;
        }
    }
}

fn measure<K>(
    system: &System,
    group: &Group<'_, K>,
    past: Option<&Past>,
    at: Duration,
) -> (Usage, BTreeMap<i32, Stat>) {
    let mut usage = Usage { elapsed: past.map_or(Duration::ZERO, |p| at.saturating_sub(p.at)), ..Usage::default() };
    let mut known = BTreeMap::new();
    for pid in group.pids {
        let found = usize::try_from(*pid).ok().and_then(|n| system.process(Pid::from(n)));
        let (Some(process), Some(stat)) = (found, proc::stat(*pid)) else { continue };
        if let Some(bytes) = resident(*pid, process) {
            usage.rss_bytes = Some(usage.rss_bytes.unwrap_or(0).saturating_add(bytes));
        }
        known.insert(*pid, stat);
    }
    let children = |stat: &Stat| if group.with_children { stat.children } else { 0 };
    let ticks: u64 = known.values().map(|stat| stat.own.saturating_add(children(stat))).sum();
    usage.so_far = Duration::from_millis(ticks.saturating_mul(TICK_MS));
    // A group of which nothing is there uses nothing that could be known.
    usage.cpu = past.filter(|_| !known.is_empty()).map(|past| spent(past, &known, group.with_children));
    (usage, known)
}

/// CPU time since the sample before. Of a process that has ended meanwhile the parent has all, also what was counted of it
/// before: that is taken off again, so that nothing counts twice.
fn spent(past: &Past, known: &BTreeMap<i32, Stat>, with_children: bool) -> Duration {
    let goes_on = |pid: &i32| past.known.get(pid).zip(known.get(pid)).filter(|(then, now)| then.start == now.start);
    let mut inherited: BTreeMap<i32, u64> = BTreeMap::new();
    if with_children {
        for (pid, then) in past.known.iter().filter(|(pid, _)| goes_on(pid).is_none()) {
            if let Some(heir) = heir(past, *pid, &goes_on) {
                *inherited.entry(heir).or_default() += then.own.saturating_add(then.children);
            }
        }
    }
    let ticks = known.iter().map(|(pid, now)| {
        let mine = |children: u64| if with_children { children } else { 0 };
        match goes_on(pid) {
            Some((then, _)) => {
                let counted = inherited.get(pid).copied().unwrap_or(0);
                let children = now.children.saturating_sub(then.children).saturating_sub(counted);
                now.own.saturating_sub(then.own).saturating_add(mine(children))
            }
            // It is new: all of it, if it began since. One that came from elsewhere is only remembered.
            None if began(now) >= past.since_boot => now.own.saturating_add(mine(now.children)),
            None => 0,
        }
    });
    Duration::from_millis(ticks.sum::<u64>().saturating_mul(TICK_MS))
}

/// Which process that goes on has got the time of one that is gone: the next one above it, as it was before.
fn heir<'a>(past: &Past, gone: i32, goes_on: &impl Fn(&i32) -> Option<(&'a Stat, &'a Stat)>) -> Option<i32> {
    let mut at = gone;
    for _ in 0..past.known.len() {
        at = past.known.get(&at)?.ppid;
        if goes_on(&at).is_some() {
            return Some(at);
        }
    }
    None
}

/// When it began, on the clock of [`clock::since_boot`]; exact to a tick, where sysinfo rounds to seconds.
fn began(stat: &Stat) -> Duration {
    Duration::from_millis(stat.start.saturating_mul(TICK_MS))
}

/// A process whose main thread has ended (pthread_exit) shows as a zombie without memory, while its other threads live on
/// and hold all of it (case THR-08). `None`: it is a zombie, and nothing of it lives.
fn resident(pid: i32, process: &Process) -> Option<u64> {
    if process.status() != ProcessStatus::Zombie || process.memory() > 0 {
        return Some(process.memory());
    }
    of_threads(pid)
}

/// Memory of a process as one of its threads has it.
pub(super) fn of_threads(pid: i32) -> Option<u64> {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten()?;
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let pages = threads.flatten().take(MAX_THREADS).find_map(|thread| {
        let statm = proc::text(thread.path().join("statm"), SMALL)?;
        statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().filter(|pages| *pages > 0)
    })?;
    pages.checked_mul(u64::try_from(page).ok()?)
}

#[cfg(test)]
mod tests;
