//! The one-page view: `TRANSITIONS.md` is what this test prints. `UPDATE_EXPECT=1 cargo test` writes it anew; every
//! change of behaviour then shows as a changed cell.

use super::stage::{Stage, deeds, places};
use crate::machine::{Action, State, StopStep, Timer, Word};
use std::fmt::Write;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/TRANSITIONS.md");

#[test]
fn the_table_of_transitions_is_up_to_date() {
    let fresh = table();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(FILE, &fresh).expect("TRANSITIONS.md can be written");
        return;
    }
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    for (kept, fresh) in kept.lines().zip(fresh.lines()) {
        assert_eq!(kept, fresh, "UPDATE_EXPECT=1 cargo test -p watchdog-engine transitions");
    }
    assert_eq!(kept.lines().count(), fresh.lines().count());
}

fn table() -> String {
    let mut text = String::from(
        "# Transitions\n\nWritten by a test (`machine/tests/transitions.rs`), not by hand. Rows are events, columns are \
         states; a cell is the new\nstate and what is done. `·`: nothing; in brackets what changes without a deed. \
         Settings: on-failure, delay 1 s, the second\ncrash is a crash loop, 78 gives up with a command, memory_limit \
         judged by one sample. An armed worker is a native one that\nanswered; the one that waits for READY has ready = \
         reported; the one that waits has wait_for_file, in vain for what was stopped by hand; a probe may fail once. Wishes told to people are left out.\n",
    );
    for down in [false, true] {
        let columns = places(down);
        let goal = if down { "Down" } else { "Up" };
        let _ = write!(text, "\n## Goal {goal}\n\n| |");
        columns.iter().for_each(|(name, _)| {
            let _ = write!(text, " {name} |");
        });
        let _ = write!(text, "\n|---|{}\n", "---|".repeat(columns.len()));
        for (event, deed) in deeds() {
            let _ = write!(text, "| {event} |");
            for (_, stage) in &columns {
                let _ = write!(text, " {} |", cell(stage, &deed(stage.clone())));
            }
            text.push('\n');
        }
    }
    text
}

fn cell(before: &Stage, after: &Stage) -> String {
    let mut words = Vec::new();
    if name(before.state()) != name(after.state()) {
        words.push(format!("→{}", name(after.state())));
    }
    words.extend(after.out.iter().filter_map(word));
    words.extend(unseen(before, after));
    if words.is_empty() { "·".into() } else { words.join(" ") }
}

/// What changed in a run that goes on, without anything being done.
fn unseen(before: &Stage, after: &Stage) -> Vec<String> {
    let (was, is) = (before.service(), after.service());
    let (Some(old), Some(new)) = (&was.run, &is.run) else { return Vec::new() };
    if old.generation != new.generation || name(was.state) != name(is.state) || before.now != after.now {
        return Vec::new();
    }
    let mut words = Vec::new();
    let mut say = |it_is_so: bool, word: &str| it_is_so.then(|| words.push(word.to_string()));
    say(!old.beats.armed && new.beats.armed, "(armed)");
    say(old.beats.armed && !new.beats.armed, "(disarmed)");
    say(old.hang.is_some() && new.hang.is_none(), "(forgiven)");
    say(old.beats.excused() != new.beats.excused() || old.beats.disturbed != new.beats.disturbed, "(excused)");
    say(
        old.beats.recent.last() != new.beats.recent.last() || old.beats.recent.len() < new.beats.recent.len(),
        "(alive)",
    );
    say(was.timers.get(Timer::Lost).is_none() && is.timers.get(Timer::Lost).is_some(), "(lost in 100 ms)");
    for (timer, word) in [(Timer::Start, "(start put off)"), (Timer::Stop, "(stop put off)")] {
        say(was.timers.get(timer) < is.timers.get(timer), word);
    }
    words
}

fn name(state: State) -> String {
    let step = match state {
        State::Stopping { step: StopStep::Ask, .. } => " ask",
        State::Stopping { step: StopStep::Dump, .. } => " dump",
        State::Stopping { step: StopStep::Term, .. } => " term",
        State::Stopping { step: StopStep::Kill, .. } => " kill",
        State::Stopping { step: StopStep::Sweep, .. } => " sweep",
        State::Stopping { step: StopStep::SweepKill, .. } => " sweep-kill",
        State::Starting { child } | State::Running { child, .. } | State::Stuck { child } => {
            return format!("{} {}", state.word(), child.0);
        }
        State::Stopped
        | State::Waiting
        | State::Backoff { .. }
        | State::CrashLoop { .. }
        | State::Done
        | State::Failed => "",
    };
    format!("{}{step}", state.word())
}

fn word(action: &Action) -> Option<String> {
    let signal = |n: i32| crate::signal_name(n);
    Some(match action {
        Action::Spawn { generation, .. } => format!("spawn({})", generation.0),
        Action::Signal { signal: n, wake, .. } => format!("signal({}{})", signal(*n), if *wake { ",wake" } else { "" }),
        Action::Sweep { signal: n, .. } => format!("sweep({})", signal(*n)),
        Action::LookAtTree { .. } => "look".into(),
        Action::CancelSpawn { .. } => "cancel".into(),
        Action::Say { word, .. } => match word {
            Word::Ping(_) => "ping".into(),
            Word::Shutdown(_) => "say(shutdown)".into(),
            Word::Reload => "say(reload)".into(),
            Word::Tell(_) => "say(tell)".into(),
            Word::LowMemory => "say(low-memory)".into(),
            Word::AskHealth => "ask(health)".into(),
            Word::AskMetrics => "ask(metrics)".into(),
        },
        Action::LookAtLanes { .. } => "lanes".into(),
        Action::LookAtPort { .. } => "port".into(),
        Action::Inspect { second, .. } => if *second { "inspect(2)" } else { "inspect(1)" }.into(),
        Action::Measure { .. } => "measure".into(),
        Action::Gather { .. } => "gather".into(),
        Action::Report(order) => format!("report({})", order.cause.word()),
        Action::RunGiveUp { .. } => "run-give-up".into(),
        Action::EndGiveUp { .. } => "end-give-up".into(),
        Action::Farewell { .. } => "farewell".into(),
        Action::Suspend => "suspend".into(),
        Action::Probe { probe, .. } => format!("probe({probe})"),
        Action::EndProbes { .. } => "end-probes".into(),
        Action::LookAtFile { .. } => "file".into(),
        Action::ReadFileAgain { .. } => "read-file".into(),
        Action::ReopenLogs => "reopen-logs".into(),
        Action::Answer { .. } => "answer".into(),
        Action::Exit(status) => format!("exit({status})"),
        Action::Tell(notice) if notice.what.name().ends_with("-requested") => return None,
        Action::Tell(notice) => format!("*{}*", notice.what.name()),
    })
}
