//! The services of a file, as people start them: the harness for them, and the least that `up` must do.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::control::finish;
use common::{Run, Verb, procs, victim, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

const DEAF: &str =
    "command = [\"sh\", \"-c\", \"trap '' TERM INT; echo up; while :; do sleep 0.05; done\"]\nready = \"line:up\"\n";
const SLEEPS: &str = "command = [\"sleep\", \"1000\"]\n";

/// A service that is ready when a file is there.
fn ready_by(file: &str) -> String {
    let script = format!("while [ ! -e {file} ]; do sleep 0.02; done; echo up now; exec sleep 1000");
    format!("command = [\"sh\", \"-c\", {script:?}]\nready = \"line:up now\"\nstart_timeout = \"60s\"\n")
}

/// Section 9: every service of the file runs, each with its own evidence, and all are gone at the end
#[test]
fn the_services_of_a_file_run_beside_each_other_and_end_together() {
    let (a, b) = (victim(&["sleep"]), victim(&["sleep"]));
    let dog = Run::quick_file(&format!("[service.a]\n{a}\n[service.b]\n{b}\nrequires = [\"a\"]\n")).spawn();
    assert_eq!(dog.wait_ready("a")["state"], "running");
    assert_eq!(dog.wait_ready("b")["state"], "running");
    let pids = [dog.pid_of("a", 1), dog.pid_of("b", 1)];
    assert!(pids.iter().all(|pid| procs::alive(*pid)) && pids[0] != pids[1]);
    let ended = dog.stop().code(0);
    assert_eq!(ended.of("exit").len(), 2, "{}", ended.story());
    assert!(pids.iter().all(|pid| !procs::alive(*pid)));
}

#[test]
fn term_int_and_quit_end_all_of_it_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let dog = Run::quick_file(&format!("[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}requires = [\"a\"]\n")).spawn();
        dog.wait_ready("b");
        dog.signal(signal);
        let ended = dog.wait().code(0);
        let sent = ended.of("signal-sent");
        assert_eq!(sent.len(), 2, "one to each: {}", ended.story());
    }
}

#[test]
fn a_second_term_changes_nothing_and_is_not_passed_on() {
    let dog = Run::quick_file(&format!("[service.a]\n{DEAF}")).flag("--stop-timeout", "700ms").spawn();
    dog.wait_ready("a");
    dog.signal(Signal::SIGTERM);
    dog.event("signal-sent", 1);
    let began = std::time::Instant::now();
    dog.signal(Signal::SIGTERM);
    let ended = dog.wait().code(0).count("kill-escalated", 1);
    assert_eq!(ended.of("signal-sent").iter().filter(|e| e["signal"] == "TERM").count(), 1, "{}", ended.story());
    common::about(began.elapsed(), 700);
}

#[test]
fn a_shutdown_that_was_asked_for_ends_all_with_0() {
    let dog = Run::quick_file(&format!("[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}requires = [\"a\"]\n")).spawn();
    dog.wait_ready("b");
    dog.verb(&["shutdown"]).code(0);
    let ended = dog.wait().code(0);
    let gone: Vec<_> = ended.of("stopped").iter().map(|e| e["service"].clone()).collect();
    assert_eq!(gone, ["b", "a"], "dependents first");
}

#[test]
fn a_hup_reads_the_file_again_and_restarts_nobody_for_nothing() {
    let dog = Run::quick_file(&format!("[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}requires = [\"a\"]\n")).spawn();
    dog.wait_ready("b");
    dog.signal(Signal::SIGHUP);
    let reload = dog.event("reload", 1);
    for key in ["added", "removed", "changed", "restarted", "deferred"] {
        assert_eq!(reload[key], Value::Array(Vec::new()), "{key}");
    }
    dog.stop().code(0).count("spawn", 2);
}

#[test]
fn one_that_gave_up_can_be_started_again() {
    let text = format!(
        "[service.a]\ncommand = [\"sh\", \"-c\", \"test -e there || exit 9; exec sleep 1000\"]\nrestart_limit = 1\n[service.b]\n{SLEEPS}"
    );
    let mut dog = Run::quick_file(&text).spawn();
    assert_eq!(dog.wait_service_state("a", "failed")["last_exit"]["code"], 9);
    assert!(dog.verb(&["status"]).out.lines().any(|l| l.starts_with("a ") && l.contains("failed")));
    assert!(dog.alive() && dog.service("b")["ready"] == true);
    std::fs::write(dog.path("there"), "").unwrap();
    dog.verb(&["start", "a"]).code(0);
    assert_eq!((&dog.service("a")["state"], &dog.service("a")["streak"]), (&"running".into(), &0.into()));
    dog.stop().code(0);
}

#[test]
fn a_second_int_skips_the_grace_and_the_order() {
    let text = format!("[service.a]\n{DEAF}[service.b]\n{DEAF}requires = [\"a\"]\n");
    let dog = Run::quick_file(&text).flag("--stop-timeout", "60s").spawn();
    dog.wait_ready("b");
    dog.signal(Signal::SIGINT);
    dog.event("signal-sent", 1);
    dog.signal(Signal::SIGINT);
    dog.wait().code(0);
}

#[test]
fn it_is_over_when_all_is_done_and_not_while_somebody_may_come_back() {
    let text = "[service.a]\ntype = \"oneshot\"\ncommand = [\"true\"]\n[service.b]\ncommand = [\"true\"]\nrequires = [\"a\"]\n\
                [service.all]\ntype = \"target\"\nrequires = [{ service = \"b\", condition = \"completed\" }]\n\
                [service.never]\ncommand = [\"sleep\", \"1000\"]\nautostart = false\n";
    Run::quick_file(text).run().code(0);
    let text = format!("[service.a]\ncommand = [\"true\"]\n[service.b]\n{SLEEPS}");
    let mut dog = Run::quick_file(&text).spawn();
    dog.wait_service_state("a", "done");
    dog.verb(&["stop", "b"]).code(0);
    assert!(dog.alive(), "b was stopped by hand and can be started");
    dog.verb(&["start", "b"]).code(0);
    dog.stop().code(0);
}

#[test]
fn a_failure_is_a_state_unless_the_file_says_that_it_is_the_end() {
    let text = |give_up: &str| {
        format!(
            "[service.db]\n{SLEEPS}[service.api]\ncommand = [\"sh\", \"-c\", \"sleep 0.1; exit 7\"]\nrestart_limit = 1\nrequires = [\"db\"]\n{give_up}"
        )
    };
    let mut dog = Run::quick_file(&text("")).spawn();
    assert_eq!(dog.wait_service_state("api", "failed")["last_exit"]["code"], 7);
    assert!(dog.alive() && dog.service("db")["state"] == "running");
    dog.stop().code(0);
    for give_up in ["stop-all", "exit"] {
        let ended = Run::quick_file(&text(&format!("give_up = \"{give_up}\"\n"))).run().code(7);
        let last: Vec<&Value> = ended.events.iter().filter(|e| e["event"] == "exit").collect();
        assert_eq!(last.last().unwrap()["service"], "db", "{}", ended.story());
    }
}

/// `run-until-ready` in the surroundings of a run that was not started.
fn until_ready(run: &Run, more: &[&str]) -> Verb {
    let words: Vec<&str> = ["run-until-ready", "-f", "watchdog.toml"].iter().chain(more).copied().collect();
    let line: Vec<std::ffi::OsString> =
        std::iter::once(common::watchdog()).chain(words.iter().copied()).map(Into::into).collect();
    let mut command = run.command(&line);
    let child = command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    finish(child.stderr(std::process::Stdio::piped()).spawn().unwrap(), &words)
}

#[test]
fn run_until_ready_says_to_programs_who_is_ready_and_who_is_not() {
    let ok = format!(
        "[service.a]\n{SLEEPS}log = \"tee\"\n[service.b]\ntype = \"oneshot\"\ncommand = [\"echo\", \"hi\"]\nrequires = [\"a\"]\n"
    );
    let run = Run::file(&format!(
        "{ok}[service.c]\ntype = \"target\"\nrequires = [\"b\"]\n[service.d]\n{SLEEPS}autostart = false\n"
    ));
    let told = until_ready(&run, &["--json"]).code(0).json();
    assert_eq!(told["ready"], true, "{told}");
    let of = |told: &Value, key: &str| {
        told["services"].as_array().unwrap().iter().map(|s| s[key].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(&told, "name"), of(&told, "ready")),
        (vec!["a".into(), "b".into(), "c".into()], vec![Value::Bool(true); 3])
    );
    assert_eq!(of(&told, "state"), ["running", "done", "running"]);
    assert!(told["waited_ms"].as_u64().is_some_and(|ms| ms < 20_000), "{told}");

    run.write_file(&format!("[service.slow]\n{}[service.api]\n{SLEEPS}requires = [\"slow\"]\n", ready_by("never")));
    let told = until_ready(&run, &["--json", "--timeout", "300ms"]).code(1).json();
    assert_eq!((&told["ready"], of(&told, "state")), (&false.into(), vec!["starting".into(), "waiting".into()]));
    assert_eq!(told["services"][1]["reason"], "waiting for slow (ready)");
    assert!(told["waited_ms"].as_u64().is_some_and(|ms| (300..20_000).contains(&ms)), "{told}");

    run.write_file(&format!(
        "[service.bad]\ncommand = [\"false\"]\nrestart = \"never\"\nready = \"reported\"\n[service.fine]\n{SLEEPS}"
    ));
    let told = until_ready(&run, &["--json"]).code(1).json();
    let bad = &told["services"][0];
    assert_eq!((&told["ready"], &bad["state"], &bad["ready"]), (&false.into(), &"failed".into(), &false.into()));
    assert!(bad["reason"].as_str().unwrap().starts_with("exited with code 1"), "{told}");
    assert_eq!(told["services"][1]["ready"], true, "{told}");

    run.write_file("[service.bad]\ncomand = 1\n");
    let told = until_ready(&run, &["--json"]).code(125).json();
    assert_eq!(told, serde_json::json!({ "ready": false, "services": [], "waited_ms": 0 }));
    until_ready(&run, &["--json", "--output", "json"]).code(2);
    assert!(common::marked(&run.mark).is_empty(), "somebody is left");
}

#[test]
fn run_until_ready_says_what_was_not_ready_and_leaves_nobody_behind() {
    let run = Run::file(&format!(
        "[service.a]\n{SLEEPS}[service.b]\ntype = \"oneshot\"\ncommand = [\"true\"]\nrequires = [\"a\"]\n"
    ));
    until_ready(&run, &[]).code(0);
    run.write_file(&format!("[service.slow]\n{}[service.api]\n{SLEEPS}requires = [\"slow\"]\n", ready_by("never")));
    let late = until_ready(&run, &["--timeout", "300ms"]).code(1);
    assert!(late.err.contains("slow was not ready: started; waiting for a line"), "{}", late.err);
    assert!(late.err.contains("api was not ready: waiting for slow (ready)"), "{}", late.err);
    run.write_file("[service.bad]\ncommand = [\"false\"]\nrestart = \"never\"\nready = \"reported\"\n");
    let failed = until_ready(&run, &[]).code(1);
    assert!(failed.err.contains("bad was not ready: exited with code 1"), "{}", failed.err);
    assert!(common::marked(&run.mark).is_empty(), "somebody is left");
}

#[test]
fn only_those_who_are_named_start_with_what_they_need() {
    let text = format!(
        "[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}requires = [\"a\"]\n[service.c]\n{SLEEPS}[service.d]\n{SLEEPS}autostart = false\n"
    );
    let dog = Run::quick_file(&text).switch("b").spawn();
    dog.wait_ready("b");
    let why = |name: &str| dog.service(name)["reason"].as_str().unwrap().to_string();
    assert_eq!(why("c"), "it was not named on the command line, and starts when another needs it");
    assert_eq!(why("d"), "it starts when another needs it (autostart = false)");
    assert_eq!((&dog.service("a")["state"], &dog.service("c")["state"]), (&"running".into(), &"stopped".into()));
    dog.verb(&["start", "c"]).code(0);
    dog.stop().code(0);
}

#[test]
fn one_replica_that_is_named_starts_alone_with_what_it_needs() {
    let text = format!("[service.db]\n{SLEEPS}[service.web]\n{SLEEPS}replicas = 2\nrequires = [\"db\"]\n");
    let dog = Run::quick_file(&text).switch("web@1").spawn();
    dog.wait_ready("web@1");
    assert_eq!(
        (dog.service("db")["ready"].clone(), dog.service("web@0")["state"].clone()),
        (true.into(), "stopped".into())
    );
    dog.stop().code(0);
}

#[test]
fn usr1_reopens_the_files_of_output() {
    let text = "[service.a]\ncommand = [\"sh\", \"-c\", \"n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done\"]\nlog_file = \"a.log\"\n";
    let dog = Run::quick_file(text).spawn();
    wait_for("lines in the file", || std::fs::read_to_string(dog.path("a.log")).ok()?.contains("line 5").then_some(()));
    std::fs::rename(dog.path("a.log"), dog.path("old.log")).unwrap();
    dog.signal(Signal::SIGUSR1);
    wait_for("lines in the new file", || {
        std::fs::read_to_string(dog.path("a.log")).ok().filter(|t| t.lines().count() > 3)
    });
    let (old, new) =
        (std::fs::read_to_string(dog.path("old.log")).unwrap(), std::fs::read_to_string(dog.path("a.log")).unwrap());
    let number = |line: Option<&str>| line.unwrap().trim_start_matches("line ").parse::<u32>().unwrap();
    assert_eq!(number(old.lines().last()) + 1, number(new.lines().next()), "no line is lost");
    dog.stop().code(0);
}

#[test]
fn two_watchdogs_of_one_name_are_one_too_many() {
    let text = format!("[watchdog]\nname = \"one\"\n[service.a]\n{SLEEPS}");
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("a");
    let second = dog.verb(&["up", "-f", "watchdog.toml"]).code(125);
    assert!(second.err.contains("in use"), "{second:?}");
    dog.stop().code(0);
}
