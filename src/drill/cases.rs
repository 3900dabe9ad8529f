//! The failure catalogue: what is done to the program, what has to follow, and what was seen.

use super::Outcome;
use super::life::{ANSWER, Bench, Life, Trouble};
use super::marks;
use super::steps::{
    Began, OURS, Step, allowed, becomes_ready, begin, comes_back, how, is, last_breath, named_pids, open_output, over,
    short, stop, unclean,
};
use crate::client::form::{bytes, cell};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};
use watchdog_engine::spec::{HeartbeatMode, OnHang, Policy, Ready, Scope};
use watchdog_engine::{signal_name, signal_number};

/// How long the output is flooded, and what has to be taken of it at least.
const FLOOD: Duration = Duration::from_secs(2);
const FLOOD_LEAST: u64 = 1 << 20;
/// Between two questions while it is flooded.
const FLOOD_ASK: Duration = Duration::from_millis(100);
/// A hang that is no hang for sure gets so many intervals more before it counts (product.md section 6).
const EXTENSIONS: u32 = 3;
/// A beat that has not come so long after it was due does not come.
const BEAT_SLACK: Duration = Duration::from_secs(1);

/// One case.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Why it cannot be tried with these settings.
    pub(super) why_not: fn(&Bench) -> Option<String>,
    pub(super) run: fn(&Bench, Instant) -> Verdict,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What came of it.
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    pub(super) seen: String,
    pub(super) tail: Vec<String>,
}

/// The same, or what ends the drill.
pub(super) type Verdict = Result<Seen, Trouble>;

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

impl Seen {
    pub(super) fn passed(seen: String) -> Verdict {
        Ok(Seen { outcome: Outcome::Passed, seen, tail: Vec::new() })
    }

    pub(super) fn skipped(why: &str) -> Seen {
        Seen { outcome: Outcome::Skipped, seen: why.to_string(), tail: Vec::new() }
    }

    pub(super) fn failed(life: &Life<'_>, seen: String) -> Verdict {
        Ok(Seen { outcome: Outcome::Failed, seen, tail: life.tail() })
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

fn ready(bench: &Bench, until: Instant) -> Verdict {
    match begin(bench, "ready", until)? {
        Began::Ready(life, _, seen) => {
            let seen = format!("{seen}, still there {} later", short(bench.settle));
            over(life, seen)
        }
        Began::Not(why) => Ok(why),
    }
}

fn term(bench: &Bench, until: Instant) -> Verdict {
    let (mut life, at) = match begin(bench, "term", until)? {
        Began::Ready(life, at, _) => (life, at),
        Began::Not(why) => return Ok(why),
    };
    let Some(stopped) = stop(&mut life, at, until)? else {
        return Seen::failed(&life, "it did not end in the time of the case".to_string());
    };
    match unclean(bench, &stopped) {
        Some(why) => Seen::failed(&life, why),
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
        return Seen::failed(&life, "it did not end in the time of the case".to_string());
    };
    let breath = last_breath(bench);
    let named = named_pids(&mut life, stopped.at, until.min(Instant::now() + breath))?;
    let still = |p: &&marks::Process| {
        named.contains(&i64::from(p.pid)) && (untold(p) || (!breath.is_zero() && marks::lives(p)))
    };
    let left: Vec<String> = before
        .iter()
        .filter(|p| Some(i64::from(p.pid)) != main)
        .filter(still)
        .map(|p| format!("{} (pid {})", p.name, p.pid))
        .collect();
    if !left.is_empty() {
        let what = format!("outlived it by its own doing and had to be ended: {}", left.join(", "));
        return Seen::failed(&life, what);
    }
    // One of them is the watchdog.
    let count = before.len().saturating_sub(1);
    over(life, format!("{count} process{} before, none afterwards", if count == 1 { "" } else { "es" }))
}

fn crash(bench: &Bench, until: Instant) -> Verdict {
    let (mut life, at) = match begin(bench, "crash", until)? {
        Began::Ready(life, at, _) => (life, at),
        Began::Not(why) => return Ok(why),
    };
    if life.ask("signal", json!({ "signal": "KILL" })).is_none() {
        return Seen::failed(&life, "the watchdog did not take the order to kill it".to_string());
    }
    let Some((at, exit)) = life.wait(at, until, is("exit", 1))? else {
        return Seen::failed(&life, "it was killed and did not end".to_string());
    };
    match comes_back(&mut life, at, &exit, until)? {
        Ok(seen) => over(life, format!("killed; {seen}")),
        Err(why) => Seen::failed(&life, format!("killed; {why}")),
    }
}

fn hang(bench: &Bench, until: Instant) -> Verdict {
    let (mut life, at) = match begin(bench, "hang", until)? {
        Began::Ready(life, at, _) => (life, at),
        Began::Not(why) => return Ok(why),
    };
    let beats = &bench.spec.heartbeat;
    let round = beats.interval * beats.misses.max(1) + beats.timeout;
    if !beats_within(&life, until.min(Instant::now() + round + BEAT_SLACK))? {
        return Ok(Seen::skipped(
            "it has not beaten, so its silence is not judged (by the native, notify or node dialect)",
        ));
    }
    if life.ask("signal", json!({ "signal": "STOP" })).is_none() {
        return Seen::failed(&life, "the watchdog did not take the order to stop it".to_string());
    }
    let began = Instant::now();
    let limit = until.min(began + round + beats.interval * EXTENSIONS + beats.hang_dump_timeout + OURS * 2);
    let Some((at, _)) = life.wait(at, limit, is("hang", 1))? else {
        return Seen::failed(&life, format!("it stood still for {} and nobody noticed", short(began.elapsed())));
    };
    let noticed = format!("noticed after {}", short(began.elapsed()));
    let final_word = |e: &Value| is("verdict", 1)(e) && matches!(e["action"].as_str(), Some("restart" | "record"));
    let Some((at, verdict)) = life.wait(at, limit, final_word)? else {
        return Seen::failed(&life, format!("{noticed}, and nothing followed"));
    };
    let noticed = format!("{noticed} ({})", cell(&verdict["verdict"]));
    if beats.on_hang == OnHang::Record {
        return over(life, format!("{noticed} and recorded (on_hang = record)"));
    }
    let Some((at, exit)) = life.wait(at, until, is("exit", 1))? else {
        return Seen::failed(&life, format!("{noticed}, and it did not end"));
    };
    match comes_back(&mut life, at, &exit, until)? {
        Ok(seen) => over(life, format!("{noticed}; {seen}")),
        Err(why) => Seen::failed(&life, format!("{noticed}; {why}")),
    }
}

/// Whether its beats are judged before this moment.
fn beats_within(life: &Life<'_>, until: Instant) -> Result<bool, Trouble> {
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
        Ok((_, seen)) => {
            let limit = allowed(bench).map_or("none".to_string(), short);
            over(life, format!("{late}: {seen}, start_timeout is {limit}"))
        }
        Err(why) => Seen::failed(&life, format!("{late}: {why}")),
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
        Err(why) => return Ok(Seen::skipped(&why)),
    };
    let (taken, slowest) = match pour(&life, &mut output, until.min(Instant::now() + FLOOD))? {
        Some(poured) => poured,
        None => {
            let why = format!("the watchdog did not answer within {} meanwhile", short(ANSWER));
            return Seen::failed(&life, why);
        }
    };
    drop(output);
    let amount = bytes(&json!(taken));
    if let Some((_, exit)) = life.wait(at, Instant::now(), is("exit", 1))? {
        return Seen::failed(&life, format!("it {} in the flood, after {amount}", how(&exit)));
    }
    if life.wait(at, Instant::now(), is("hang", 1))?.is_some() {
        return Seen::failed(&life, format!("it stopped beating in the flood, after {amount}"));
    }
    if taken < FLOOD_LEAST {
        return Seen::failed(&life, format!("only {amount} of its output were taken in {}", short(FLOOD)));
    }
    let Some(stopped) = stop(&mut life, at, until)? else {
        return Seen::failed(&life, "after it, it did not end in the time of the case".to_string());
    };
    let seen = format!("{amount} in {}, status within {}", short(FLOOD), short(slowest));
    match unclean(bench, &stopped).filter(|_| stopped.killed) {
        Some(why) => Seen::failed(&life, format!("{seen}; then {why}")),
        None => over(life, format!("{seen}, ended {} after the stop", stopped.took)),
    }
}

/// Writes as much as is taken, and asks the watchdog meanwhile: the bytes and its slowest answer. `None`: it gave none.
fn pour(life: &Life<'_>, output: &mut File, end: Instant) -> Step<Option<(u64, Duration)>> {
    let line = [b"drill: ".as_slice(), &[b'#'; 92], b"\n"].concat().repeat(40);
    let (mut taken, mut slowest, mut asked) = (0_u64, Duration::ZERO, Instant::now());
    while Instant::now() < end {
        match output.write(&line) {
            Ok(n) => taken += n as u64,
            Err(e) if e.kind() == ErrorKind::WouldBlock => life.bench.pause(1)?,
            // It has ended: that is seen by its events.
            Err(_) => break,
        }
        if asked.elapsed() < FLOOD_ASK {
            continue;
        }
        life.bench.pause(0)?;
        asked = Instant::now();
        if life.service().is_none() {
            return Ok(None);
        }
        slowest = slowest.max(asked.elapsed());
    }
    Ok(Some((taken, slowest)))
}
