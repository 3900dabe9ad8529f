//! The failure catalogue: what is done to the program, what has to follow, and what was seen.

use super::Outcome;
use super::life::{ANSWER, Bench, Life, Trouble};
use super::marks;
use crate::client::form::{bytes, cell, time};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};
use watchdog_engine::spec::{HeartbeatMode, OnHang, Policy, Ready, Scope};
use watchdog_engine::{signal_name, signal_number};

/// A process that should be gone by the stop signal has this long after the main one.
const LAST_BREATH: Duration = Duration::from_millis(500);
/// How long the output is flooded, and what has to be taken of it at least.
const FLOOD: Duration = Duration::from_secs(2);
const FLOOD_LEAST: u64 = 1 << 20;
/// Between two questions while it is flooded.
const FLOOD_ASK: Duration = Duration::from_millis(100);
/// A hang that is no hang for sure gets so many intervals more before it counts (product.md section 6).
const EXTENSIONS: u32 = 3;
/// A beat that has not come so long after it was due does not come.
const BEAT_SLACK: Duration = Duration::from_secs(1);
/// What the watchdog may take for its own part.
const OURS: Duration = Duration::from_secs(5);

/// One case.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Why it cannot be tried with these settings.
    pub(super) why_not: fn(&Bench) -> Option<String>,
    pub(super) run: fn(&Bench, Instant) -> std::result::Result<Result, Trouble>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What came of it.
pub(super) struct Result {
    pub(super) outcome: Outcome,
    pub(super) seen: String,
    pub(super) tail: Vec<String>,
}

type Verdict = std::result::Result<Result, Trouble>;

/// All of them, in the order in which they are tried.
pub(super) static CASES: [Case; 7] = [
    Case { name: "ready", title: "it becomes ready in time and stays", why_not: always, run: ready },
    Case {
        name: "term",
        title: "the stop signal ends it in the grace, with a clean status",
        why_not: always,
        run: term,
    },
    Case { name: "leftovers", title: "nothing of it is left behind", why_not: always, run: leftovers },
    Case { name: "crash", title: "after a crash it starts again", why_not: unless_restarted, run: crash },
    Case {
        name: "hang",
        title: "it is noticed when it stops answering, and started again",
        why_not: unless_judged,
        run: hang,
    },
    Case { name: "slow-start", title: "a slow start is not killed", why_not: unless_waited_for, run: slow_start },
    Case { name: "flood", title: "a flood of output blocks nobody", why_not: always, run: flood },
];

impl Result {
    fn passed(seen: String) -> Verdict {
        Ok(Result { outcome: Outcome::Passed, seen, tail: Vec::new() })
    }

    pub(super) fn skipped(why: &str) -> Result {
        Result { outcome: Outcome::Skipped, seen: why.to_string(), tail: Vec::new() }
    }

    fn failed(life: &Life<'_>, seen: String) -> Verdict {
        Ok(Result { outcome: Outcome::Failed, seen, tail: life.tail() })
    }
}

fn always(_: &Bench) -> Option<String> {
    None
}

fn unless_restarted(bench: &Bench) -> Option<String> {
    match bench.spec.restart.policy {
        Policy::Never => Some("restart = never: nobody starts it again".to_string()),
        Policy::OnSuccess => Some("restart = on-success: nobody starts it again after a crash".to_string()),
        Policy::Always | Policy::OnFailure | Policy::UnlessStopped => None,
    }
}

fn unless_judged(bench: &Bench) -> Option<String> {
    let off = bench.spec.heartbeat.mode == HeartbeatMode::Off;
    off.then(|| "heartbeat = off: silence is not judged".to_string()).or_else(|| unless_restarted(bench))
}

fn unless_waited_for(bench: &Bench) -> Option<String> {
    matches!(bench.spec.ready, Ready::Auto | Ready::Spawned).then(|| {
        "it counts as ready when it is spawned, so nobody waits for its start: say --ready reported, fd, line:TEXT or port:N"
            .to_string()
    })
}

/// Whether this event is of this kind and life.
fn is(kind: &'static str, generation: u64) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == kind && event["generation"].as_u64() == Some(generation)
}

/// The first of these kinds of this life.
fn any(kinds: &'static [&'static str], generation: u64) -> impl Fn(&Value) -> bool {
    move |event| kinds.iter().any(|kind| is(kind, generation)(event))
}

/// A number of milliseconds between two events.
fn between(first: &Value, second: &Value) -> String {
    let at = |event: &Value| event["mono_ms"].as_u64().unwrap_or(0);
    short(Duration::from_millis(at(second).saturating_sub(at(first))))
}

fn short(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1000 => format!("{ms}ms"),
        ms => time(&json!(u64::try_from(ms).unwrap_or(u64::MAX))),
    }
}

/// `exited with code 3`, `was ended by SEGV`
fn how(exit: &Value) -> String {
    match (exit["code"].as_i64(), exit["signal"].as_str()) {
        (_, Some(signal)) => format!("was ended by {signal}"),
        (Some(code), None) => format!("exited with code {code}"),
        (None, None) => "ended".to_string(),
    }
}

/// A life that became ready, the place of that event, and what to say of it; or why not.
enum Began<'a> {
    Ready(Life<'a>, usize, String),
    Not(Result),
}

/// Starts it and waits until it is ready and has stayed for a while.
fn begin<'a>(bench: &'a Bench, case: &str, until: Instant) -> std::result::Result<Began<'a>, Trouble> {
    let mut life = Life::begin(bench, case, None)?;
    match becomes_ready(&mut life, 0, 1, until)? {
        Ok((at, seen)) => Ok(Began::Ready(life, at, seen)),
        Err(why) => Ok(Began::Not(Result::failed(&life, why)?)),
    }
}

/// Waits for this life to be ready and to stay; the place of the event, and what was seen.
fn becomes_ready(
    life: &mut Life<'_>,
    from: usize,
    generation: u64,
    until: Instant,
) -> std::result::Result<std::result::Result<(usize, String), String>, Trouble> {
    let limit = until.min(Instant::now() + life.bench.spec.start_timeout + OURS);
    let kinds = &["ready", "exit", "spawn-failed"];
    let Some((at, event)) = life.wait(from, limit, any(kinds, generation))? else {
        return Ok(Err(never(life, limit)));
    };
    if event["event"] == "spawn-failed" {
        return Ok(Err(format!("it could not be started: {}: {}", cell(&event["path"]), cell(&event["errno"]))));
    }
    if event["event"] == "exit" {
        let late = event["cause"] == "start-timeout";
        let timeout = short(life.bench.spec.start_timeout);
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
fn never(life: &Life<'_>, limit: Instant) -> String {
    match life.last_error().filter(|_| Instant::now() < limit) {
        Some(error) => error,
        None => format!("it was not ready in the time of the case ({})", short(life.bench.patience)),
    }
}

/// The end of a case that has passed: nobody may be left, whoever would have been to blame.
fn over(life: Life<'_>, seen: String) -> Verdict {
    let left = life.end()?;
    match left.is_empty() {
        true => Result::passed(seen),
        false => Ok(Result {
            outcome: Outcome::Failed,
            seen: format!("{seen}; the watchdog left behind: pid {left:?}"),
            tail: Vec::new(),
        }),
    }
}

fn ready(bench: &Bench, until: Instant) -> Verdict {
    match begin(bench, "ready", until)? {
        Began::Ready(life, _, seen) => {
            let seen = format!("{seen}, still there {} later", short(bench.settle));
            over(life, seen)
        }
        Began::Not(why) => Ok(why),
    }
}

/// An end that was asked for.
struct Stopped {
    /// From the signal to the death of the main process.
    took: String,
    exit: Value,
    /// It did not go by itself.
    killed: bool,
    at: usize,
}

/// Asks for a stop and waits for the end of the main process. `None`: not in the time of the case.
fn stop(life: &mut Life<'_>, from: usize, until: Instant) -> std::result::Result<Option<Stopped>, Trouble> {
    let limit = until.min(Instant::now() + life.bench.spec.stop.timeout + life.bench.spec.stop.kill_wait + OURS);
    let _open = life.wish("stop", json!({}));
    let Some((asked_at, asked)) = life.wait(from, limit, |e| e["event"] == "stop-requested")? else { return Ok(None) };
    let Some((at, exit)) = life.wait(asked_at, limit, |e| e["event"] == "exit")? else { return Ok(None) };
    let killed = life.events()[asked_at..at].iter().any(|e| e["event"] == "kill-escalated");
    Ok(Some(Stopped { took: between(&asked, &exit), exit, killed, at }))
}

/// What is wrong with an end that was asked for.
fn unclean(bench: &Bench, stopped: &Stopped) -> Option<String> {
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

fn term(bench: &Bench, until: Instant) -> Verdict {
    let (mut life, at) = match begin(bench, "term", until)? {
        Began::Ready(life, at, _) => (life, at),
        Began::Not(why) => return Ok(why),
    };
    let Some(stopped) = stop(&mut life, at, until)? else {
        return Result::failed(&life, "it did not end in the time of the case".to_string());
    };
    match unclean(bench, &stopped) {
        Some(why) => Result::failed(&life, why),
        None => {
            let name = signal_name(bench.spec.stop.signal.unwrap_or_else(|| signal_number("TERM").unwrap_or(15)));
            over(life, format!("it {} {} after {name}", how(&stopped.exit), stopped.took))
        }
    }
}

/// Who outlives the main process although it was told to end, or was not told because it has left.
fn leftovers(bench: &Bench, until: Instant) -> Verdict {
    let (mut life, at) = match begin(bench, "leftovers", until)? {
        Began::Ready(life, at, _) => (life, at),
        Began::Not(why) => return Ok(why),
    };
    let before = marks::of(&life.mark);
    let main = life.service().and_then(|s| s["pid"].as_i64());
    // Who has left the group of the main process does not get the signal that goes to it.
    let group = before.iter().find(|p| Some(i64::from(p.pid)) == main).map(|p| p.group);
    let untold = |p: &&marks::Process| match bench.spec.stop.scope {
        Scope::Main => Some(i64::from(p.pid)) != main,
        Scope::Group => group.is_some() && Some(p.group) != group,
        Scope::Tree => false,
    };
    let Some(stopped) = stop(&mut life, at, until)? else {
        return Result::failed(&life, "it did not end in the time of the case".to_string());
    };
    let named = named_pids(&mut life, stopped.at, until)?;
    let still = |p: &&marks::Process| named.contains(&i64::from(p.pid)) && (untold(p) || marks::lives(p));
    let left: Vec<String> = before
        .iter()
        .filter(|p| Some(i64::from(p.pid)) != main)
        .filter(still)
        .map(|p| format!("{} (pid {})", p.name, p.pid))
        .collect();
    if !left.is_empty() {
        let what = format!("outlived it by its own doing and had to be ended: {}", left.join(", "));
        return Result::failed(&life, what);
    }
    // One of them is the watchdog.
    let count = before.len().saturating_sub(1);
    over(life, format!("{count} process{} before, none afterwards", if count == 1 { "" } else { "es" }))
}

/// Whom the watchdog found when the main process was gone, after a moment in which whoever was told may go.
fn named_pids(life: &mut Life<'_>, at: usize, until: Instant) -> std::result::Result<Vec<i64>, Trouble> {
    let breath = until.min(Instant::now() + LAST_BREATH);
    let found = life.wait(at, breath, |e| e["event"] == "leftover-killed")?;
    let Some((_, event)) = found else { return Ok(Vec::new()) };
    let pids = event["pids"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    while Instant::now() < breath {
        life.bench.pause(10)?;
    }
    Ok(pids)
}

fn crash(bench: &Bench, until: Instant) -> Verdict {
    let (mut life, at) = match begin(bench, "crash", until)? {
        Began::Ready(life, at, _) => (life, at),
        Began::Not(why) => return Ok(why),
    };
    if life.ask("signal", json!({ "signal": "KILL" })).is_none() {
        return Result::failed(&life, "the watchdog did not take the order to kill it".to_string());
    }
    let Some((at, exit)) = life.wait(at, until, is("exit", 1))? else {
        return Result::failed(&life, "it was killed and did not end".to_string());
    };
    match comes_back(&mut life, at, &exit, until)? {
        Ok(seen) => over(life, format!("killed; {seen}")),
        Err(why) => Result::failed(&life, format!("killed; {why}")),
    }
}

/// Waits for the next life to be ready.
fn comes_back(
    life: &mut Life<'_>,
    from: usize,
    exit: &Value,
    until: Instant,
) -> std::result::Result<std::result::Result<String, String>, Trouble> {
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

fn hang(bench: &Bench, until: Instant) -> Verdict {
    let (mut life, at) = match begin(bench, "hang", until)? {
        Began::Ready(life, at, _) => (life, at),
        Began::Not(why) => return Ok(why),
    };
    let beats = &bench.spec.heartbeat;
    let round = beats.interval * beats.misses.max(1) + beats.timeout;
    if !beats_within(&life, until.min(Instant::now() + round + BEAT_SLACK))? {
        return Ok(Result::skipped(
            "it has not beaten, so its silence is not judged (by the native, notify or node dialect)",
        ));
    }
    if life.ask("signal", json!({ "signal": "STOP" })).is_none() {
        return Result::failed(&life, "the watchdog did not take the order to stop it".to_string());
    }
    let began = Instant::now();
    let limit = until.min(began + round + beats.interval * EXTENSIONS + beats.hang_dump_timeout + OURS * 2);
    let Some((at, _)) = life.wait(at, limit, is("hang", 1))? else {
        return Result::failed(&life, format!("it stood still for {} and nobody noticed", short(began.elapsed())));
    };
    let noticed = format!("noticed after {}", short(began.elapsed()));
    let final_word = |e: &Value| is("verdict", 1)(e) && matches!(e["action"].as_str(), Some("restart" | "record"));
    let Some((at, verdict)) = life.wait(at, limit, final_word)? else {
        return Result::failed(&life, format!("{noticed}, and nothing followed"));
    };
    let noticed = format!("{noticed} ({})", cell(&verdict["verdict"]));
    if beats.on_hang == OnHang::Record {
        return over(life, format!("{noticed} and recorded (on_hang = record)"));
    }
    let Some((at, exit)) = life.wait(at, until, is("exit", 1))? else {
        return Result::failed(&life, format!("{noticed}, and it did not end"));
    };
    match comes_back(&mut life, at, &exit, until)? {
        Ok(seen) => over(life, format!("{noticed}; {seen}")),
        Err(why) => Result::failed(&life, format!("{noticed}; {why}")),
    }
}

/// Whether its beats are judged before this moment.
fn beats_within(life: &Life<'_>, until: Instant) -> std::result::Result<bool, Trouble> {
    loop {
        let service = life.service().unwrap_or_default();
        if service["heartbeat"]["armed"] == Value::Bool(true) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        life.bench.pause(50)?;
    }
}

fn slow_start(bench: &Bench, until: Instant) -> Verdict {
    let mut life = Life::begin(bench, "slow-start", Some(bench.slow))?;
    let late = format!("begun {} late", short(bench.slow));
    match becomes_ready(&mut life, 0, 1, until)? {
        Ok((_, seen)) => over(life, format!("{late}: {seen}, start_timeout is {}", short(bench.spec.start_timeout))),
        Err(why) => Result::failed(&life, format!("{late}: {why}")),
    }
}

fn flood(bench: &Bench, until: Instant) -> Verdict {
    let (mut life, at) = match begin(bench, "flood", until)? {
        Began::Ready(life, at, _) => (life, at),
        Began::Not(why) => return Ok(why),
    };
    let pid = life.service().and_then(|s| s["pid"].as_i64()).unwrap_or(0);
    let mut output = match open_output(pid) {
        Ok(output) => output,
        Err(why) => return Ok(Result::skipped(&why)),
    };
    let (mut taken, mut slowest, mut asked) = (0_u64, Duration::ZERO, Instant::now());
    let line = [b"drill: ".as_slice(), &[b'#'; 92], b"\n"].concat().repeat(40);
    let end = until.min(Instant::now() + FLOOD);
    while Instant::now() < end {
        match output.write(&line) {
            Ok(n) => taken += n as u64,
            Err(e) if e.kind() == ErrorKind::WouldBlock => bench.pause(1)?,
            Err(_) => break,
        }
        if asked.elapsed() < FLOOD_ASK {
            continue;
        }
        bench.pause(0)?;
        asked = Instant::now();
        if life.service().is_none() {
            return Result::failed(&life, format!("the watchdog did not answer within {} meanwhile", short(ANSWER)));
        }
        slowest = slowest.max(asked.elapsed());
    }
    drop(output);
    let amount = bytes(&json!(taken));
    if let Some((_, exit)) = life.wait(at, Instant::now(), is("exit", 1))? {
        return Result::failed(&life, format!("it {} in the flood, after {amount}", how(&exit)));
    }
    if life.wait(at, Instant::now(), is("hang", 1))?.is_some() {
        return Result::failed(&life, format!("it stopped beating in the flood, after {amount}"));
    }
    if taken < FLOOD_LEAST {
        return Result::failed(&life, format!("only {amount} of its output were taken in {}", short(FLOOD)));
    }
    let Some(stopped) = stop(&mut life, at, until)? else {
        return Result::failed(&life, "after it, it did not end in the time of the case".to_string());
    };
    let seen = format!("{amount} in {}, status within {}", short(FLOOD), short(slowest));
    match unclean(bench, &stopped).filter(|_| stopped.killed) {
        Some(why) => Result::failed(&life, format!("{seen}; then {why}")),
        None => over(life, format!("{seen}, ended {} after the stop", stopped.took)),
    }
}

/// The pipe that this process writes its output to, for one more writer.
fn open_output(pid: i64) -> std::result::Result<File, String> {
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
