//! A hundred scripts, each played twice: by the pure machine on a virtual clock, and by the real binary with real
//! processes. The events, the states at rest, the answers and the end have to be the same.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
#[path = "replay/model.rs"]
mod model;
#[path = "replay/script.rs"]
mod script;

use common::{Control, Dog, Run, lines, procs, within};
use model::{Step, Story};
use nix::sys::signal::Signal;
use script::{Dice, Order, Script};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const SEEDS: u64 = 100;
const SHORTEST: usize = 12;
/// At the same time: they wait more than they work.
const AT_ONCE: usize = 12;
/// The next step comes within this time, or it does not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The script of a seed: the first one its dice give whose order is determined and in which enough happens.
fn script_of(seed: u64) -> (Script, Story) {
    let mut dice = Dice::new(seed);
    let told = |script: Script| model::story(&script, |s| is_about(s, seed)).map(|story| (script, story));
    (0..10_000).find_map(|_| told(dice.script(seed % 5))).expect("a script whose order is determined")
}

/// What the story of a seed has to have in it, so that what is rare by chance is not rare here.
fn is_about(story: &Story, seed: u64) -> bool {
    if story.steps.len() < SHORTEST || story.starts < 1 + seed as usize % 3 {
        return false;
    }
    let lines = story.lines();
    let rests: Vec<&String> = lines.iter().filter(|l| l.starts_with("-- ")).collect();
    let (waits, stops) = (["up backoff", "up crash-loop"], ["down stopping", "up stopping"]);
    let is = |line: &str, states: &[&str]| states.iter().any(|s| line[3..].starts_with(s));
    let orders = |line: &str, words: &[&str]| words.iter().any(|w| line.ends_with(&format!("then {w}")));
    match seed % 5 {
        // a pause is cut short, and the next run stays
        0 => rests
            .windows(2)
            .any(|w| is(w[0], &waits) && orders(w[0], &["Start", "Restart", "Force"]) && is(w[1], &["up running"])),
        // people go on asking while it is being stopped
        1 => rests.iter().filter(|r| is(r, &stops)).count() >= 2,
        // what outlives its parent, and what does not hear TERM
        2 => ["leftover-killed", "kill-escalated"].iter().any(|kind| lines.iter().any(|l| l.starts_with(kind))),
        // several pauses in a row
        3 => lines.iter().filter(|l| l.starts_with("restart-scheduled") || l.starts_with("crash-loop")).count() >= 3,
        _ => true,
    }
}

/// Each kind of event, order and rest occurs, so that nobody thins the scripts out unseen.
#[test]
fn the_scripts_have_everything_in_them() {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for seed in 0..SEEDS {
        for line in script_of(seed).1.lines() {
            let mut words = line.split(' ');
            let kind = match words.next().unwrap() {
                "--" => format!("rest {}", words.nth(1).unwrap()),
                "==" => words.next().unwrap().to_string(),
                event => event.to_string(),
            };
            *seen.entry(kind).or_default() += 1;
            if let Some((_, order)) = line.split_once("; then ") {
                *seen.entry(format!("order {}", order.split('(').next().unwrap())).or_default() += 1;
            }
        }
    }
    let events = "spawn ready exit restart-scheduled gave-up crash-loop stop-requested start-requested \
                  restart-requested signal-requested signal-sent kill-escalated leftover-killed stopped answer the";
    let rests = "running stopping stopped backoff crash-loop failed";
    let orders = "Stop StopWithin Start Restart Force Signal Freeze Wait Shutdown Term Int";
    let named =
        |prefix: &'static str, words: &'static str| words.split_whitespace().map(move |w| format!("{prefix}{w}"));
    for wanted in named("", events).chain(named("rest ", rests)).chain(named("order ", orders)) {
        assert!(seen.get(&wanted).is_some_and(|n| *n >= 3), "{wanted}: too rare in {seen:#?}");
    }
}

#[test]
fn a_hundred_scripts_tell_the_same_story_twice() {
    // one seed again
    let only: Option<u64> = std::env::var("WDTEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = only.map_or(0..SEEDS, |seed| seed..seed + 1);
    let (next, broken) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while !broken.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Err(difference) = replay(seed) {
                        broken.store(true, Ordering::Relaxed);
                        failures.lock().unwrap().push(difference);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Plays one script with the binary; the difference, if there is one.
fn replay(seed: u64) -> Result<(), String> {
    let (script, story) = script_of(seed);
    let mut told = Told::default();
    let end = catch_unwind(AssertUnwindSafe(|| play(&script, &story, &mut told)));
    let trouble = match end {
        Ok(Ok(())) if told.lines == story.lines() => return Ok(()),
        Ok(Ok(())) => "another order".to_string(),
        Ok(Err(what)) => what,
        Err(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(_) => "a panic".into(),
        },
    };
    let flags: Vec<String> = script.flags().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    Err(format!(
        "seed {seed}: {trouble}\n--- settings\n{}\n--- lives\n{}--- machine\n{}\n--- binary\n{}\n",
        flags.join(" "),
        script.lives(),
        story.lines().join("\n"),
        told.lines.join("\n")
    ))
}

/// What the binary did so far.
#[derive(Default)]
struct Told {
    lines: Vec<String>,
    /// Events that are among the lines already.
    taken: usize,
    /// For each event that the story has: when it came.
    times: Vec<u64>,
}

impl Told {
    /// Takes what is new in the events file.
    fn take(&mut self, events: &[Value]) {
        let events: Vec<&Value> = events.iter().filter(|e| !beside(e)).collect();
        for event in &events[self.taken.min(events.len())..] {
            let line = real_line(event);
            if !(line.ends_with(" tree") && self.lines.last() == Some(&line)) {
                self.lines.push(line);
                self.times.push(event["mono_ms"].as_u64().unwrap());
            }
        }
        self.taken = events.len();
    }
}

/// Events whose moment or number is the machine's own affair (the computer's, that is).
fn beside(event: &Value) -> bool {
    ["orphan-reaped", "stall", "log-dropped"].iter().any(|name| event["event"] == *name)
}

fn play(script: &Script, story: &Story, told: &mut Told) -> Result<(), String> {
    let set =
        |run: Run, (name, value): (_, String)| if value.is_empty() { run.switch(name) } else { run.flag(name, value) };
    let run = script.flags().into_iter().fold(Run::new(), set);
    let lives = run.at("lives");
    std::fs::write(&lives, script.lives()).unwrap();
    let mut dog = run.worker(["play", &lives]).spawn();
    let mut waiting = Vec::new();
    let (mut expected, mut ending) = (0, false);
    for step in &story.steps {
        match step {
            Step::Event { .. } => expected += 1,
            Step::Rest { ups, order, .. } => {
                let there = within(PATIENCE, || {
                    told.take(&dog.events());
                    told.times.len() >= expected && lines(&dog.path("lives.up")).len() >= *ups
                });
                if !there {
                    return Err("it did not come to rest".into());
                }
                let status = status(&dog)?;
                told.take(&dog.events());
                told.lines.push(model::rest_line(&status, *order));
                waiting.extend(obey(&dog, *order, ending));
                ending |= matches!(order, Order::Term | Order::Int | Order::Shutdown);
            }
        }
    }
    let over = within(PATIENCE, || !dog.alive());
    told.take(&dog.events());
    if !over {
        return Err("it did not end".into());
    }
    let answers: Vec<String> = waiting.into_iter().map(answer).collect();
    let ended = dog.wait();
    told.take(&ended.events);
    told.lines.extend(model::last_lines(&answers, ended.code));
    in_time(story, told)
}

/// No pause and no grace is shorter than it is on the virtual clock. (How much longer is a matter of the computer.)
fn in_time(story: &Story, told: &Told) -> Result<(), String> {
    let events = story.steps.iter().filter_map(|step| match step {
        Step::Event { line, not_before } => Some((line, not_before.as_millis() as u64)),
        Step::Rest { .. } => None,
    });
    for ((line, wanted), times) in events.skip(1).zip(told.times.windows(2)) {
        let took = times[1].saturating_sub(times[0]);
        let timed = ["spawn ", "kill-escalated "].iter().any(|kind| line.starts_with(kind));
        // the stamp of the first may be late on a busy computer: a difference that small says nothing
        if timed && wanted >= 200 && took * 20 < wanted * 13 {
            return Err(format!("{line}: {took} ms after the event before it, and not {wanted}"));
        }
    }
    Ok(())
}

fn status(dog: &Dog) -> Result<String, String> {
    let stream = std::os::unix::net::UnixStream::connect(dog.socket()).map_err(|e| format!("status: {e}"))?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = Control::over(stream).call("status", json!({}));
    let s = &answer["result"]["services"][0];
    let word = |key: &str| s[key].as_str().unwrap_or("null").to_string();
    let (goal, state, cause) = (word("goal"), word("state"), word("cause"));
    let (generation, streak, restarts) = (&s["generation"], &s["streak"], &s["restarts"]);
    let due = !s["next_restart_in_ms"].is_null();
    Ok(format!("{goal} {state} cause {cause} generation {generation} streak {streak} restarts {restarts} due {due}"))
}

/// Does what the script says, and returns the connection on which the answer comes.
fn obey(dog: &Dog, order: Order, ending: bool) -> Option<Control> {
    let (verb, args) = match order {
        Order::Term => {
            dog.signal(Signal::SIGTERM);
            return None;
        }
        Order::Int => {
            dog.signal(Signal::SIGINT);
            return None;
        }
        Order::Stop => ("stop", json!({})),
        Order::StopWithin(ms) => ("stop", json!({"timeout_ms": ms})),
        Order::Start => ("start", json!({})),
        Order::Restart => ("restart", json!({})),
        Order::Force => ("restart", json!({"force": true})),
        Order::Signal(signal) => ("signal", json!({"signal": signal.to_string()})),
        Order::Freeze => ("signal", json!({"signal": "STOP"})),
        Order::Wait(what) => ("wait", json!({"for": what})),
        Order::Shutdown => ("shutdown", json!({})),
    };
    let mut client = dog.control();
    client.ask(&json!({"id": 7, "verb": verb, "services": [], "args": args}));
    // it is refused where there is nobody to signal, or no more; a stop wakes a stopped worker if it is stopped by then
    if matches!(order, Order::Freeze) && dog.status()["pid"].is_i64() && !ending {
        let pid = dog.status()["pid"].as_i64().unwrap() as i32;
        within(PATIENCE, || procs::state(pid) == Some('T'));
    }
    Some(client)
}

fn answer(mut client: Control) -> String {
    let Some(line) = client.line() else { return "none".into() };
    let answer: Value = serde_json::from_str(&line).unwrap();
    if client.line().is_some() {
        return "two answers".into();
    }
    match (&answer["ok"], &answer["result"]["reached"]) {
        (Value::Bool(true), Value::Bool(reached)) => format!("reached {reached}"),
        (Value::Bool(true), _) if answer["result"]["reason"].is_string() => "not so".into(),
        (Value::Bool(true), _) => "ok".into(),
        _ => answer["error"]["code"].as_str().unwrap_or("null").to_string(),
    }
}

/// An event without what depends on time.
fn real_line(event: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let (name, generation) = (word(&event["event"]), word(&event["generation"]));
    let some = |keys: &[&str]| keys.iter().map(|k| format!("{k} {}", word(&event[k]))).collect::<Vec<_>>().join(" ");
    let by = || {
        let by = &event["by"];
        format!("by {} {}", word(&by["kind"]), word(&by["signal"]))
    };
    let more = match name.as_str() {
        "signal-sent" => return format!("{name} {generation} {} {}", word(&event["signal"]), word(&event["scope"])),
        "exit" => some(&["code", "signal", "requested"]),
        "restart-scheduled" => some(&["attempt", "limit", "delay_ms"]),
        "gave-up" => some(&["restarts", "exit_status"]),
        "crash-loop" => some(&["restarts", "window_ms", "pause_ms"]),
        "stop-requested" | "start-requested" | "restart-requested" => by(),
        "signal-requested" => format!("{} {}", some(&["signal"]), by()),
        "leftover-killed" | "stuck" => format!("{} pids", event["pids"].as_array().map_or(0, Vec::len)),
        _ => String::new(),
    };
    format!("{name} {generation} cause {} {more}", word(&event["cause"])).trim_end().to_string()
}
