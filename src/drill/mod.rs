//! `drill`: the failure catalogue against a program. Each case runs it under a watchdog of its own, does something to it
//! and says what was seen; nothing of it is left at the end, also when somebody breaks it off.

#![expect(
    clippy::disallowed_methods,
    reason = "a client waits for real time and starts our own binary; the rule is for the engine"
)]

mod cases;
mod life;
mod marks;
mod report;
mod steps;

use crate::cli::Drill;
use crate::settings::{self, Fault, Flag, Resolved, World, nearest, table};
use crate::{complain, logging};
use cases::{CASES, Case, Seen};
use life::{Bench, Ground, Trouble};
use report::Report;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a case may take in all, where nobody says so.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a program has to stay after it is ready.
const SETTLE: Duration = Duration::from_secs(1);
/// How much later the start of `slow-start` is.
const SLOW: Duration = Duration::from_secs(3);

/// Beats and restarts faster than people want them otherwise.
const QUICK: [(&str, &str); 5] = [
    ("heartbeat_interval", "1s"),
    ("heartbeat_timeout", "1s"),
    ("heartbeat_misses", "2"),
    ("hang_dump_timeout", "1s"),
    ("restart_delay", "100ms"),
];

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}

/// One case that is over.
#[derive(Debug)]
struct Done {
    case: &'static Case,
    outcome: Outcome,
    /// What was seen, or why there was nothing to see.
    seen: String,
    took: Duration,
    /// The last lines of the program where it failed.
    tail: Vec<String>,
}

/// Runs the cases. 0: all passed or were skipped; 1: one has failed; 125: the drill itself could not go on.
pub(crate) fn run(drill: &Drill, world: &World) -> u8 {
    let picked = match picked(&drill.only) {
        Ok(picked) => picked,
        Err(fault) => return complain(&[fault]),
    };
    // What is wrong with the settings is said once, before anything is started.
    let flags = flags(drill, world);
    let resolved = match settings::resolve(&flags, drill.command.clone(), world) {
        Ok(resolved) => resolved,
        Err(faults) => return complain(&faults),
    };
    for warning in &resolved.warnings {
        logging::say(warning);
    }
    let bench = match bench(drill, &flags, resolved) {
        Ok(bench) => bench,
        Err(why) => {
            logging::say(&format!("drill: {why}"));
            return settings::BROKEN;
        }
    };
    let mut report = Report::begin(drill, &bench.program);
    let broken = go(&bench, &picked, &mut report);
    // The folder goes before anybody reads that all is over.
    drop(bench);
    let told = report.end();
    match broken {
        Some(Trouble::Signal(number)) => {
            logging::say("drill: broken off: everything that it started is ended");
            u8::try_from(128 + number).unwrap_or(u8::MAX)
        }
        Some(Trouble::Broken(why)) => {
            logging::say(&format!("drill: {why}"));
            settings::BROKEN
        }
        None => told,
    }
}

/// All cases, one after the other; what ends the drill before its time.
fn go(bench: &Bench, picked: &[&'static Case], report: &mut Report) -> Option<Trouble> {
    let mut never_ready = false;
    for case in picked {
        let began = Instant::now();
        let skipped = |why: &str| Seen::skipped(why);
        let seen = match (case.why_not)(bench) {
            Some(why) => skipped(&why),
            None if never_ready => skipped("it does not become ready"),
            None => match (case.run)(bench, began + bench.patience) {
                Ok(seen) => seen,
                Err(trouble) => return Some(trouble),
            },
        };
        never_ready |= case.name == "ready" && seen.outcome == Outcome::Failed;
        let Seen { outcome, seen, tail } = seen;
        report.add(Done { case, outcome, seen, took: began.elapsed(), tail });
    }
    None
}

/// The cases of `--only`, in their own order; all where nobody says so.
fn picked(only: &[String]) -> Result<Vec<&'static Case>, Fault> {
    for name in only {
        if !CASES.iter().any(|case| case.name == name) {
            let all: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            let fault = Fault::usage(format!("drill: --only: {name:?} is none of {}", all.join(", ")));
            return Err(fault.or_nearest(nearest(name, all)));
        }
    }
    Ok(CASES.iter().filter(|case| only.is_empty() || only.iter().any(|name| name == case.name)).collect())
}

/// The settings of a drill: those that were given, behind some that make it quicker where nobody says otherwise.
fn flags(drill: &Drill, world: &World) -> Vec<Flag> {
    let given = |key: &str| world.variable(&table::variable(key)).is_some();
    // A file has its own mind about all of them.
    let has_file = given("config") || drill.flags.iter().any(|(setting, _)| setting.key == "config");
    let quick = QUICK.iter().filter(|(key, _)| !has_file && !given(key));
    let quick = quick.filter_map(|(key, value)| Some((table::find(key)?, OsString::from(value))));
    // What it writes is told where a case fails, so it passes through the watchdog.
    let captured = table::find("log").map(|setting| (setting, OsString::from("capture")));
    quick.chain(drill.flags.iter().cloned()).chain(captured).collect()
}

fn bench(drill: &Drill, flags: &[Flag], resolved: Resolved) -> Result<Bench, String> {
    let program = drill.command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Bench {
        program,
        spec: *resolved.spec,
        flags: flags.iter().map(written).collect(),
        command: drill.command.clone(),
        patience: drill.timeout.unwrap_or(PATIENCE),
        settle: drill.settle.unwrap_or(SETTLE),
        slow: drill.slow.unwrap_or(SLOW),
        ground: Ground::new()?,
    })
}

/// A setting as it was given.
fn written((setting, value): &Flag) -> OsString {
    let mut word = OsString::from(setting.flag());
    word.push("=");
    word.push(value);
    word
}

/// A program that starts late: waits, then becomes it. Ends only where it cannot.
pub(crate) fn start_late(delay: Duration, command: &[OsString]) -> u8 {
    std::thread::sleep(delay);
    let Some((program, arguments)) = command.split_first() else { return settings::USAGE };
    let failed = Command::new(program).args(arguments).exec();
    logging::say(&format!("{}: {}", program.to_string_lossy(), settings::reason(&failed)));
    if failed.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
}
