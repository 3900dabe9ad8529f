//! `drill`: each case passes with a program that is good and fails with one that is bad, says what it saw, and leaves
//! nobody and nothing behind.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::control::finish;
use common::file::free_port;
use common::procs::{end_all, marked};
use common::{Run, Verb, skip, wait_for, watchdog, worker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::ffi::OsString;
use std::process::{Command, Stdio};

/// A drill in surroundings of its own, with its folder inside of them.
struct Drill {
    run: Run,
    words: Vec<OsString>,
}

impl Drill {
    /// `settings` with blanks between, and a program.
    fn of(settings: &str, program: &[&str]) -> Drill {
        let run = Run::new();
        std::fs::create_dir(run.path("tmp")).unwrap();
        let tmp = run.at("tmp");
        let run = run.env("TMPDIR", tmp);
        let mut words: Vec<OsString> = vec![watchdog().into(), "drill".into(), "--settle=200ms".into()];
        words.extend(settings.split_whitespace().map(OsString::from));
        words.push("--".into());
        words.extend(program.iter().map(OsString::from));
        Drill { run, words }
    }

    fn victim(settings: &str, words: &[&str]) -> Drill {
        let program = worker().to_string_lossy().into_owned();
        Drill::of(settings, &[&[program.as_str()], words].concat())
    }

    fn script(settings: &str, script: &str) -> Drill {
        Drill::of(settings, &["sh", "-c", script])
    }

    fn start(&self) -> std::process::Child {
        let mut command = self.run.command(&self.words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs it; afterwards nobody is left, and nothing in the folder.
    #[track_caller]
    fn go(&self) -> Verb {
        let answer = finish(self.start(), &["drill"]);
        self.clean();
        answer
    }

    #[track_caller]
    fn clean(&self) {
        let left = marked(self.run.mark());
        end_all(self.run.mark());
        assert!(left.is_empty(), "still alive: {left:?}");
        let files: Vec<_> = std::fs::read_dir(self.run.path("tmp")).unwrap().flatten().map(|e| e.path()).collect();
        assert!(files.is_empty(), "{files:?}");
    }

    /// That this case ends so and says this; the others do not matter.
    #[track_caller]
    fn case(&self, name: &str, result: &str, says: &str) {
        let mut words = self.words.clone();
        words.splice(2..2, ["--json".into(), format!("--only={name}").into()]);
        let mut command = self.run.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let answer = finish(command.spawn().unwrap(), &["drill"]);
        self.clean();
        let object = answer.json();
        let case = &object["cases"][0];
        assert_eq!((&case["name"], &case["result"]), (&name.into(), &result.into()), "{object}\n{}", answer.err);
        assert!(case["seen"].as_str().unwrap().contains(says), "{says:?}: {object}");
        assert_eq!(answer.code, i32::from(result == "failed"), "{object}");
        assert_eq!(object["ok"], result != "failed");
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        end_all(self.run.mark());
    }
}

/// Ends without its lock only where it is told to end: after a crash it does not start again.
const LOCKS: &str = "test -e lock && exit 4; touch lock; trap 'rm lock; exit 0' TERM; while :; do sleep 0.05; done";

#[test]
fn a_good_program_passes_all_of_it_and_a_table_says_what_was_seen() {
    let drill = Drill::victim("--ready reported --slow 500ms --junit junit.xml", &["talk", "hello", "ready", "serve"]);
    let answer = drill.go().code(0);
    for row in [
        "passed   ready ",
        "passed   term ",
        "passed   leftovers ",
        "passed   crash ",
        "passed   hang ",
        "passed   slow-start ",
        "passed   flood ",
        "7 passed, 0 failed, 0 skipped",
    ] {
        assert!(answer.out.contains(row), "{row}: {answer:?}");
    }
    for seen in [
        "(native)",
        "was ended by TERM",
        "none afterwards",
        "killed; the next one was ready",
        "(stopped); the next one",
        "begun 500ms late",
        "MiB in 2s",
        "status within",
    ] {
        assert!(answer.out.contains(seen), "{seen}: {answer:?}");
    }
    assert!(!answer.out.contains('\u{1b}') && answer.err.is_empty(), "{answer:?}");
    let junit = std::fs::read_to_string(drill.run.path("junit.xml")).unwrap();
    assert!(junit.contains("tests=\"7\" failures=\"0\" errors=\"0\" skipped=\"0\""), "{junit}");
}

#[test]
fn a_plain_program_is_not_asked_for_what_it_never_promised() {
    let answer = Drill::of("--json", &["sleep", "1000"]).go().code(0).json();
    let result = |name: &str| {
        let cases = answer["cases"].as_array().unwrap();
        cases.iter().find(|c| c["name"] == name).unwrap().clone()
    };
    for (name, wanted, says) in [
        ("ready", "passed", "ready after"),
        ("crash", "passed", "killed"),
        ("hang", "skipped", "it has not beaten"),
        ("slow-start", "skipped", "counts as ready when it is spawned"),
        ("flood", "passed", "ended"),
    ] {
        let case = result(name);
        assert!(case["result"] == wanted && case["seen"].as_str().unwrap().contains(says), "{case}");
    }
    assert_eq!((&answer["ok"], &answer["passed"], &answer["skipped"]), (&true.into(), &5.into(), &2.into()));
}

#[test]
fn a_server_of_others_passes() {
    if Command::new("python3").arg("-V").output().is_err() {
        return skip("no python3");
    }
    let port = free_port().to_string();
    let ready = format!("--ready port:{port} --only ready,term,leftovers,crash,slow-start --slow 300ms");
    let answer = Drill::of(&ready, &["python3", "-m", "http.server", &port, "--bind", "127.0.0.1"]).go().code(0);
    assert!(answer.out.contains("5 passed, 0 failed, 0 skipped") && answer.out.contains("(port)"), "{answer:?}");
}

#[test]
fn what_never_becomes_ready_fails_and_nothing_more_is_tried() {
    let drill = Drill::of("--ready reported --start-timeout 300ms --json", &["sleep", "1000"]);
    let object = drill.go().code(1).json();
    assert!(
        object["cases"][0]["seen"].as_str().unwrap().contains("not ready within 300ms (start_timeout)"),
        "{object}"
    );
    assert_eq!((&object["failed"], &object["skipped"]), (&1.into(), &6.into()), "{object}");
    assert_eq!(object["cases"][3]["seen"], "it does not become ready");
    Drill::script("", "echo no disk here; exit 3").case("ready", "failed", "it exited with code 3");
    Drill::of("", &["/no/such/program"]).case("ready", "failed", "/no/such/program");
}

#[test]
fn the_last_lines_of_a_failure_are_told_in_every_form() {
    let drill = Drill::script("--only ready --junit j.xml", "echo '<no disk>'; exit 3");
    let answer = drill.go().code(1);
    assert!(answer.out.contains("| <no disk>"), "{answer:?}");
    let junit = std::fs::read_to_string(drill.run.path("j.xml")).unwrap();
    assert!(junit.contains("&lt;no disk&gt;</failure>") && junit.contains("failures=\"1\""), "{junit}");
}

#[test]
fn who_does_not_end_or_ends_wrongly_fails_term() {
    Drill::victim("--stop-timeout 300ms", &["ignore-term"]).case(
        "term",
        "failed",
        "did not end within 300ms (stop_timeout) of TERM",
    );
    Drill::victim("", &["graceful", "file", "--code", "9"]).case("term", "failed", "it exited with code 9");
    Drill::victim("", &["graceful", "file", "--code", "0"]).case("term", "passed", "it exited with code 0");
    Drill::victim("", &["graceful", "file", "--code", "143"]).case("term", "passed", "it exited with code 143");
    Drill::victim("--success-on 0,9", &["graceful", "file", "--code", "9"]).case("term", "passed", "code 9");
    Drill::victim("--stop-signal QUIT", &["graceful", "file", "--on", "QUIT"]).case("term", "passed", "after QUIT");
}

#[test]
fn who_leaves_somebody_behind_fails_leftovers_and_who_takes_all_along_does_not() {
    Drill::victim("", &["escape-tree", "pids", "--how", "setsid"]).case(
        "leftovers",
        "failed",
        "outlived it by its own doing",
    );
    Drill::victim("", &["escape-tree", "pids", "--how", "child", "--ignore-term"]).case(
        "leftovers",
        "failed",
        "outlived",
    );
    let short = &["escape-tree", "pids", "--how", "child", "--ignore-term"];
    Drill::victim("--stop-timeout 300ms", short).case("leftovers", "failed", "outlived");
    let quits = "sleep 1000 & trap 'kill $!; wait; exit 0' TERM; while :; do sleep 0.05; done";
    Drill::script("", quits).case("leftovers", "passed", "none afterwards");
}

#[test]
fn who_does_not_start_again_fails_crash() {
    Drill::script("", LOCKS).case("crash", "failed", "the next one: ");
    Drill::script("--restart never", LOCKS).case("crash", "skipped", "restart = never");
    let cleans = LOCKS.replace("test -e lock && exit 4; ", "");
    Drill::script("", &cleans).case("crash", "passed", "the next one was ready");
}

#[test]
fn who_beats_and_does_not_come_back_fails_hang() {
    // the first life answers pings; every later one ends
    let talk = ["talk", "--once", "lived", "hello", "ready", "serve", "--", "exit:4"];
    Drill::victim("", &talk).case("hang", "failed", "the next one: ");
    Drill::victim("--on-hang record", &["talk", "hello", "ready", "serve"]).case("hang", "passed", "recorded");
    Drill::victim("--heartbeat off", &["talk", "hello", "ready", "serve"]).case("hang", "skipped", "heartbeat = off");
}

#[test]
fn a_start_that_is_given_too_little_time_fails_slow_start() {
    let says = "echo up; exec sleep 1000";
    Drill::script("--ready line:up --slow 600ms --start-timeout 300ms", says).case(
        "slow-start",
        "failed",
        "not ready within 300ms",
    );
    Drill::script("--ready line:up --slow 600ms --start-timeout 20s", says).case(
        "slow-start",
        "passed",
        "begun 600ms late",
    );
}

#[test]
fn who_ends_in_the_flood_or_cannot_be_flooded_is_told() {
    Drill::script("", "sleep 1.5; exit 6").case("flood", "failed", "it exited with code 6 in the flood");
    Drill::script("", "exec sleep 1000 >/dev/null").case("flood", "skipped", "a place of its own");
}

#[test]
fn a_case_has_an_end_whatever_the_program_does() {
    let drill = Drill::of("--ready reported --start-timeout 10m --timeout 500ms --json", &["sleep", "1000"]);
    let object = drill.go().code(1).json();
    assert!(
        object["cases"][0]["seen"].as_str().unwrap().contains("not ready in the time of the case (500ms)"),
        "{object}"
    );
}

#[test]
fn a_wrong_line_is_2_and_nothing_is_started() {
    for (words, says) in [
        (&["drill"][..], "no program"),
        (&["drill", "./server"], "did you mean: watchdog drill -- ./server"),
        (&["drill", "--only", "crahs", "--", "true"], "crash"),
        (&["drill", "--stop-timeout", "5", "--", "true"], "--stop-timeout"),
        (&["drill", "--settle", "1", "--", "true"], "--settle"),
    ] {
        let run = Run::new();
        let line: Vec<OsString> = std::iter::once(watchdog()).chain(words.iter().copied()).map(Into::into).collect();
        let mut command = run.command(&line);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let answer = finish(command.spawn().unwrap(), words).code(2);
        assert!(answer.err.contains(says) && answer.out.is_empty(), "{answer:?}");
    }
}

/// A drill whose program runs now.
fn under_way() -> (Drill, std::process::Child) {
    let drill = Drill::victim("--settle 1h --timeout 1h", &["escape-tree", "pids", "--how", "setsid"]);
    let child = drill.start();
    let path = drill.run.path("pids");
    wait_for("the program and who escaped", || (common::lines(&path).len() >= 2).then_some(()));
    (drill, child)
}

#[test]
fn who_breaks_it_off_finds_nobody_left() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (drill, child) = under_way();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let answer = finish(child, &["drill"]).code(128 + signal as i32);
        drill.clean();
        assert!(answer.err.contains("broken off"), "{answer:?}");
    }
}

#[test]
fn a_drill_that_is_killed_takes_its_watchdog_and_the_program_along() {
    let (drill, mut child) = under_way();
    child.kill().unwrap();
    child.wait().unwrap();
    let mark = drill.run.mark().to_string();
    wait_for("the end of all of them", || marked(&mark).is_empty().then_some(()));
}

#[test]
fn json_is_one_object_with_every_member() {
    let object: Value = Drill::of("--json --only ready", &["sleep", "1000"]).go().code(0).json();
    for member in ["program", "ok", "passed", "failed", "skipped", "cases"] {
        assert!(object.get(member).is_some(), "{member}: {object}");
    }
    for member in ["name", "title", "result", "seen", "took_ms", "log_tail"] {
        assert!(object["cases"][0].get(member).is_some(), "{member}: {object}");
    }
    assert_eq!(object["program"], "sleep");
}
