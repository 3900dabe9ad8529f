//! What the kernel shows of a process that says nothing: two looks at it, a short time apart, and what changed between
//! them. Its memory, its arguments and its environment are never read. A process that goes away meanwhile is nothing to
//! be seen, and no error.

use super::cgroup::{self, Place};
use super::proc::{shown, text};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Threads that are looked at.
const MAX_THREADS: usize = 4096;
/// Threads that are shown to people.
const SHOWN_THREADS: usize = 512;
/// Bytes of a text that are shown.
const SHOWN_TEXT: usize = 64;
/// Bytes read of a small file in /proc, and of `status` with its list of groups.
const SMALL: u64 = 4096;
const STATUS: u64 = 64 * 1024;
/// A clock tick as /proc counts them: USER_HZ is 100 on every machine that we build for.
const TICK: Duration = Duration::from_millis(10);

/// A process at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// Start time of the process: with its number, its identity.
    start: Option<u64>,
    threads: BTreeMap<i32, Thread>,
    /// Its control group and those around it: for how long each was held back since it was made.
    throttled: Vec<(PathBuf, Duration)>,
}

/// One thread at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Thread {
    state: u8,
    /// It ran for so long.
    cpu: Duration,
    /// It was ready to run and waited for so long, as of the last time that it got a processor.
    waited: Duration,
    /// It got a processor so many times.
    turns: u64,
}

/// What happened between two looks. The members mean what those of the machine's evidence mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Between the looks, as the caller measured it.
    pub span: Duration,
    /// CPU time of all threads.
    pub cpu: Duration,
    /// Longest time that one thread waited for a processor.
    pub waited: Duration,
    /// Longest time that its control group, or one around it, was held back.
    pub throttled: Duration,
    /// PSI `some avg10` of the machine, percent.
    pub pressure_percent: u8,
    /// Threads at the second look.
    pub threads: u32,
    /// Threads in uninterruptible sleep at both looks.
    pub blocked: u32,
    /// Stopped by a signal.
    pub stopped: bool,
    /// A debugger holds it.
    pub traced: bool,
    /// Nothing could be seen, or it is another process by now.
    pub blind: bool,
}

/// One thread, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadFact {
    /// Its number.
    pub tid: i32,
    /// Its name, which it chose itself.
    pub name: String,
    /// R, S, D, T, t, Z, X, I.
    pub state: char,
    /// The function of the kernel in which it waits; `0` when it does not, empty where the kernel does not say.
    pub wchan: String,
    /// The number of its system call, `-1` when it is in none, or `running`; empty where the kernel does not say.
    pub syscall: String,
    /// It ran for so long in all.
    pub cpu: Duration,
}

/// Takes the first look.
#[must_use]
pub(crate) fn look(pid: i32) -> Look {
    let threads = tids(pid, MAX_THREADS).into_iter().filter_map(|tid| Some((tid, thread(pid, tid)?))).collect();
    Look { start: super::proc::stat(pid).map(|stat| stat.start), threads, throttled: throttled(pid) }
}

/// Takes the second look, `span` after the first.
#[must_use]
#[inline(never)]
pub(crate) fn compare(before: &Look, pid: i32, span: Duration) -> Facts {
    between(before, &look(pid), pid, span, tracer(pid), pressure())
}

fn between(before: &Look, now: &Look, pid: i32, span: Duration, tracer: bool, pressure_percent: u8) -> Facts {
    let mut facts = Facts { span, pressure_percent, ..Facts::default() };
    let alive = || now.threads.values().filter(|t| !matches!(t.state, b'Z' | b'X'));
    facts.blind = before.start != now.start || before.threads.is_empty() || alive().next().is_none();
    if facts.blind {
        return facts;
    }
    for (tid, thread) in &now.threads {
        let earlier = before.threads.get(tid);
        // A thread that was not there before has started since.
        let (cpu, waited) = spent(earlier.copied().unwrap_or_default(), *thread, span);
        facts.cpu += cpu;
        facts.waited = facts.waited.max(waited);
        facts.blocked += u32::from(thread.state == b'D' && earlier.is_some_and(|t| t.state == b'D'));
    }
    facts.threads = u32::try_from(now.threads.len()).unwrap_or(u32::MAX);
    let is_stopped = |thread: &Thread| thread.state == b'T';
    facts.stopped = now.threads.get(&pid).is_some_and(is_stopped) || alive().all(is_stopped);
    facts.traced = tracer || alive().any(|t| t.state == b't');
    let held = |(dir, now): &(PathBuf, Duration)| {
        let (_, then) = before.throttled.iter().find(|(other, _)| other == dir)?;
        Some(now.saturating_sub(*then))
    };
    facts.throttled = now.throttled.iter().filter_map(held).max().unwrap_or_default();
    facts
}

/// CPU time and waiting of one thread between two looks.
fn spent(before: Thread, now: Thread, span: Duration) -> (Duration, Duration) {
    let cpu = now.cpu.saturating_sub(before.cpu);
    // The kernel adds up the waiting when it ends: of a thread that never got its turn it shows none.
    let starved = before.state == b'R' && now.state == b'R' && cpu.is_zero() && now.turns == before.turns;
    (cpu, if starved { span } else { now.waited.saturating_sub(before.waited).min(span) })
}

/// Numbers of its threads, at most so many, ascending.
fn tids(pid: i32, max: usize) -> Vec<i32> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut tids: Vec<i32> = dir.flatten().take(max).filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    tids.sort_unstable();
    tids
}

fn thread(pid: i32, tid: i32) -> Option<Thread> {
    let (_, state, ticks) = parse_stat(&text(format!("/proc/{pid}/task/{tid}/stat"), SMALL)?)?;
    let exact = text(format!("/proc/{pid}/task/{tid}/schedstat"), SMALL).and_then(|line| parse_schedstat(&line));
    let (ran, waited, turns) = exact.unwrap_or_default();
    // The exact one comes first, but on a processor without a tick (nohz_full) it can stand still while the other goes on.
    Some(Thread { state, cpu: ran.max(ticks), waited, turns })
}

/// Name, state and CPU time of a line as in proc_pid_stat(5). The name may hold blanks and parentheses.
fn parse_stat(line: &str) -> Option<(&str, u8, Duration)> {
    let (before, after) = line.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // Fields 14 and 15; the state was the third.
    let user: u32 = fields.nth(10)?.parse().unwrap_or(u32::MAX);
    let system: u32 = fields.next()?.parse().unwrap_or(u32::MAX);
    Some((name, state, TICK.saturating_mul(user).saturating_add(TICK.saturating_mul(system))))
}

/// Time on a processor, time waiting for one, number of turns.
fn parse_schedstat(line: &str) -> Option<(Duration, Duration, u64)> {
    let mut fields = line.split_ascii_whitespace().map(|n| n.parse::<u64>().ok());
    let (ran, waited) = (Duration::from_nanos(fields.next()??), Duration::from_nanos(fields.next()??));
    Some((ran, waited, fields.next()??))
}

/// Whether a debugger is attached, also one that lets it run at this moment.
fn tracer(pid: i32) -> bool {
    let Some(status) = text(format!("/proc/{pid}/status"), STATUS) else { return false };
    status.lines().find_map(|l| l.strip_prefix("TracerPid:")).is_some_and(|n| n.trim() != "0")
}

/// Share of the last ten seconds in which some task waited for a processor; 0 where the kernel does not say.
fn pressure() -> u8 {
    text("/proc/pressure/cpu", SMALL).and_then(|t| parse_pressure(&t)).unwrap_or(0)
}

fn parse_pressure(text: &str) -> Option<u8> {
    let some = text.lines().find_map(|l| l.strip_prefix("some avg10="))?;
    let whole = some.split(['.', ' ']).next()?;
    Some(whole.parse::<u8>().ok()?.min(100))
}

/// A group is held back by its own limit and by those of all groups around it, and each counts for itself.
fn throttled(pid: i32) -> Vec<(PathBuf, Duration)> {
    let Some(place) = Place::of(&pid.to_string()) else { return Vec::new() };
    let of = |dir: &std::path::Path| {
        let stat = text(dir.join("cpu.stat"), SMALL)?;
        Some((dir.to_owned(), Duration::from_micros(cgroup::value_in(&stat, "throttled_usec")?)))
    };
    place.chain().filter_map(of).collect()
}

/// Its threads for people, those with the lowest numbers first.
#[must_use]
pub(crate) fn threads(pid: i32) -> Vec<ThreadFact> {
    tids(pid, MAX_THREADS).into_iter().take(SHOWN_THREADS).filter_map(|tid| fact(pid, tid)).collect()
}

fn fact(pid: i32, tid: i32) -> Option<ThreadFact> {
    let file = |name: &str| text(format!("/proc/{pid}/task/{tid}/{name}"), SMALL);
    let stat = file("stat")?;
    let (name, state, _) = parse_stat(&stat)?;
    // Only the first word: the others are the arguments of the call and addresses.
    let first = |text: String| shown(text.split_ascii_whitespace().next().unwrap_or_default(), SHOWN_TEXT);
    Some(ThreadFact {
        tid,
        name: shown(name, SHOWN_TEXT),
        state: char::from(state),
        wchan: file("wchan").map(first).unwrap_or_default(),
        syscall: file("syscall").map(first).unwrap_or_default(),
        cpu: thread(pid, tid)?.cpu,
    })
}

#[cfg(test)]
mod tests;
