//! What cases have in common: a start that is waited for, a stop that is judged, a return after an end.

use super::Outcome;
use super::cases::{Seen, Verdict};
use super::life::{Bench, Life, Trouble};
use crate::client::form::{cell, time};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};
use watchdog_engine::spec::{Ready, START_TIMEOUT, SWEEP_GRACE};
use watchdog_engine::{signal_name, signal_number};

/// What a step has seen, or what ends the drill.
pub(super) type Step<T> = Result<T, Trouble>;

/// What the watchdog may take for its own part.
pub(super) const OURS: Duration = Duration::from_secs(5);
/// A process that should be gone by the stop signal has this long after the main one.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// Whether this event is of this kind and life.
pub(super) fn is(kind: &'static str, generation: u64) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == kind && event["generation"].as_u64() == Some(generation)
}

/// The first of these kinds of this life.
pub(super) fn any(kinds: &'static [&'static str], generation: u64) -> impl Fn(&Value) -> bool {
    move |event| kinds.iter().any(|kind| is(kind, generation)(event))
}

/// A number of milliseconds between two events.
pub(super) fn between(first: &Value, second: &Value) -> String {
    let at = |event: &Value| event["mono_ms"].as_u64().unwrap_or(0);
    short(Duration::from_millis(at(second).saturating_sub(at(first))))
}

pub(super) fn short(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1000 => format!("{ms}ms"),
        ms => time(&json!(u64::try_from(ms).unwrap_or(u64::MAX))),
    }
}

/// `exited with code 3`, `was ended by SEGV`
pub(super) fn how(exit: &Value) -> String {
    match (exit["code"].as_i64(), exit["signal"].as_str()) {
        (_, Some(signal)) => format!("was ended by {signal}"),
        (Some(code), None) => format!("exited with code {code}"),
        (None, None) => "ended".to_string(),
    }
}

/// A life that became ready, the place of that event, and what to say of it; or why not.
pub(super) enum Began<'a> {
    Ready(Life<'a>, usize, String),
    Not(Seen),
}

/// Starts it and waits until it is ready and has stayed for a while.
pub(super) fn begin<'a>(bench: &'a Bench, case: &str, until: Instant) -> Step<Began<'a>> {
    let mut life = Life::begin(bench, case, None)?;
    match becomes_ready(&mut life, 0, 1, until)? {
        Ok((at, seen)) => Ok(Began::Ready(life, at, seen)),
        Err(why) => Ok(Began::Not(Seen::failed(&life, why)?)),
    }
}

/// How long its start may take; one that is ready when its program runs is waited for as long as any other.
pub(super) fn allowed(bench: &Bench) -> Option<Duration> {
    let waits_for_itself = !matches!(bench.spec.ready, Ready::Auto | Ready::Spawned);
    bench.spec.start_limit().or((!waits_for_itself).then_some(START_TIMEOUT))
}

/// Waits for this life to be ready and to stay; the place of the event, and what was seen.
pub(super) fn becomes_ready(
    life: &mut Life<'_>,
    from: usize,
    generation: u64,
    until: Instant,
) -> Step<Result<(usize, String), String>> {
    let allowed = allowed(life.bench);
    let limit = allowed.map_or(until, |allowed| until.min(Instant::now() + allowed + OURS));
    let kinds = &["ready", "exit", "spawn-failed"];
    let Some((at, event)) = life.wait(from, limit, any(kinds, generation))? else {
        return Ok(Err(never(life, limit)));
    };
    if event["event"] == "spawn-failed" {
        return Ok(Err(format!("it could not be started: {}: {}", cell(&event["path"]), cell(&event["errno"]))));
    }
    if event["event"] == "exit" {
        let late = event["cause"] == "start-timeout";
        let timeout = short(allowed.unwrap_or_default());
        return Ok(Err(if late {
            format!("it was not ready within {timeout} (start_timeout) and was ended")
        } else {
            format!("it {} after {} without being ready", how(&event), time(&event["uptime_ms"]))
        }));
    }
    let spawn = life.events().iter().find(|e| is("spawn", generation)(e)).cloned().unwrap_or_default();
    let seen = format!("ready after {} ({})", between(&spawn, &event), cell(&event["ready_by"]));
    let stays = until.min(Instant::now() + life.bench.settle);
    match life.wait(at, stays, is("exit", generation))? {
        Some((_, exit)) => Ok(Err(format!("{seen}, but it {} after {}", how(&exit), time(&exit["uptime_ms"])))),
        None => Ok(Ok((at, seen))),
    }
}

/// Why nothing came of a start.
pub(super) fn never(life: &Life<'_>, limit: Instant) -> String {
    match life.last_error().filter(|_| Instant::now() < limit) {
        Some(error) => error,
        None => format!("it was not ready in the time of the case ({})", short(life.bench.patience)),
    }
}

/// The end of a case that has passed: nobody may be left, whoever would have been to blame.
pub(super) fn over(life: Life<'_>, seen: String) -> Verdict {
    let left = life.end()?;
    match left.is_empty() {
        true => Seen::passed(seen),
        false => Ok(Seen {
            outcome: Outcome::Failed,
            seen: format!("{seen}; the watchdog left behind: pid {left:?}"),
            tail: Vec::new(),
        }),
    }
}

/// An end that was asked for.
pub(super) struct Stopped {
    /// From the signal to the death of the main process.
    pub(super) took: String,
    pub(super) exit: Value,
    /// It did not go by itself.
    pub(super) killed: bool,
    pub(super) at: usize,
}

/// Asks for a stop and waits for the end of the main process. `None`: not in the time of the case.
pub(super) fn stop(life: &mut Life<'_>, from: usize, until: Instant) -> Step<Option<Stopped>> {
    let limit = until.min(Instant::now() + life.bench.spec.stop.timeout + life.bench.spec.stop.kill_wait + OURS);
    let _open = life.wish("stop", json!({}));
    let Some((asked_at, asked)) = life.wait(from, limit, |e| e["event"] == "stop-requested")? else { return Ok(None) };
    let Some((at, exit)) = life.wait(asked_at, limit, |e| e["event"] == "exit")? else { return Ok(None) };
    let killed = life.events()[asked_at..at].iter().any(|e| e["event"] == "kill-escalated");
    Ok(Some(Stopped { took: between(&asked, &exit), exit, killed, at }))
}

/// What is wrong with an end that was asked for.
pub(super) fn unclean(bench: &Bench, stopped: &Stopped) -> Option<String> {
    let (stop, ends) = (&bench.spec.stop, &bench.spec.restart.success_on);
    let sent = stop.signal.unwrap_or_else(|| signal_number("TERM").unwrap_or(15));
    let name = signal_name(sent);
    if stopped.killed {
        return Some(format!("it did not end within {} (stop_timeout) of {name} and was killed", short(stop.timeout)));
    }
    let clean = |signal: i32| signal == sent || ends.signals.contains(&signal);
    let by_signal = stopped.exit["signal"].as_str().and_then(signal_number);
    let code = stopped.exit["code"].as_i64().and_then(|code| i32::try_from(code).ok());
    let is_clean = match (by_signal, code) {
        (Some(signal), _) => clean(signal),
        (None, Some(code)) => ends.codes.contains(&code) || clean(code - 128),
        (None, None) => false,
    };
    let what = how(&stopped.exit);
    (!is_clean).then(|| format!("it {what} {} after {name}: no clean status (success_on)", stopped.took))
}

/// Waits for the next life to be ready.
pub(super) fn comes_back(
    life: &mut Life<'_>,
    from: usize,
    exit: &Value,
    until: Instant,
) -> Step<Result<String, String>> {
    let again = |e: &Value| is("spawn", 2)(e) || e["event"] == "gave-up" || is("spawn-failed", 2)(e);
    let Some((at, event)) = life.wait(from, until, again)? else {
        return Ok(Err("it was not started again in the time of the case".to_string()));
    };
    if event["event"] == "gave-up" {
        return Ok(Err(format!("it was not started again: {}", cell(&event["reason"]))));
    }
    Ok(match becomes_ready(life, at, 2, until)? {
        Ok((at, _)) => Ok(format!("the next one was ready {} later", between(exit, &life.events()[at]))),
        Err(why) => Err(format!("the next one: {why}")),
    })
}

/// How long whoever was told to end has for it: before the watchdog kills, and none where it gives none.
pub(super) fn last_breath(bench: &Bench) -> Duration {
    LAST_BREATH.min(bench.spec.stop.timeout.min(SWEEP_GRACE) / 2)
}

/// Whom the watchdog found when the main process was gone, after a moment in which whoever was told may go.
pub(super) fn named_pids(life: &mut Life<'_>, at: usize, breath: Instant) -> Step<Vec<i64>> {
    let found = life.wait(at, breath, |e| e["event"] == "leftover-killed")?;
    let Some((_, event)) = found else { return Ok(Vec::new()) };
    let pids = event["pids"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    while Instant::now() < breath {
        life.bench.pause(10)?;
    }
    Ok(pids)
}

/// The pipe that this process writes its output to, for one more writer.
pub(super) fn open_output(pid: i64) -> Result<File, String> {
    let path = format!("/proc/{pid}/fd/1");
    let target = std::fs::read_link(&path).map_err(|e| format!("its output cannot be found: {e}"))?;
    if !target.to_string_lossy().starts_with("pipe:") {
        return Err("it writes its output to a place of its own, not to us".to_string());
    }
    let mut options = File::options();
    // O_NONBLOCK: a description of our own, so this is nobody else's.
    options.write(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    options.open(&path).map_err(|e| format!("its output cannot be opened: {e}"))
}
