//! The services of a file, as people start them: the harness for them, and the least that `up` must do.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::control::finish;
use common::{Run, procs, victim, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

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
fn a_second_int_skips_the_grace_and_the_order() {
    let deaf = "command = [\"sh\", \"-c\", \"trap '' TERM INT; echo up; while :; do sleep 0.05; done\"]\nready = \"line:up\"\n";
    let text = format!("[service.a]\n{deaf}[service.b]\n{deaf}requires = [\"a\"]\n");
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

#[test]
fn run_until_ready_says_what_was_not_ready_and_leaves_nobody_behind() {
    let until = |run: &Run, more: &[&str]| {
        let words: Vec<&str> = ["run-until-ready", "-f", "watchdog.toml"].iter().chain(more).copied().collect();
        let line: Vec<std::ffi::OsString> =
            std::iter::once(common::watchdog()).chain(words.iter().copied()).map(Into::into).collect();
        let mut command = run.command(&line);
        let child = command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        finish(child.stderr(std::process::Stdio::piped()).spawn().unwrap(), &words)
    };
    let run = Run::file(&format!(
        "[service.a]\n{SLEEPS}[service.b]\ntype = \"oneshot\"\ncommand = [\"true\"]\nrequires = [\"a\"]\n"
    ));
    until(&run, &[]).code(0);
    run.write_file(&format!("[service.slow]\n{}[service.api]\n{SLEEPS}requires = [\"slow\"]\n", ready_by("never")));
    let late = until(&run, &["--timeout", "300ms"]).code(1);
    assert!(late.err.contains("slow was not ready: started; waiting for a line"), "{}", late.err);
    assert!(late.err.contains("api was not ready: waiting for slow (ready)"), "{}", late.err);
    run.write_file("[service.bad]\ncommand = [\"false\"]\nrestart = \"never\"\nready = \"reported\"\n");
    let failed = until(&run, &[]).code(1);
    assert!(failed.err.contains("bad was not ready: exited with code 1"), "{}", failed.err);
    assert!(common::marked(&run.mark).is_empty(), "somebody is left");
}

#[test]
fn only_those_who_are_named_start_with_what_they_need() {
    let text = format!("[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}requires = [\"a\"]\n[service.c]\n{SLEEPS}");
    let dog = Run::quick_file(&text).switch("b").spawn();
    dog.wait_ready("b");
    assert_eq!((&dog.service("a")["state"], &dog.service("c")["state"]), (&"running".into(), &"stopped".into()));
    dog.verb(&["start", "c"]).code(0);
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
fn lines_have_their_service_in_front_or_are_json_or_are_not_there() {
    let text = "[service.a]\ncommand = [\"sh\", \"-c\", \"echo out; echo err >&2; exec sleep 1000\"]\n[service.longer]\ncommand = [\"sh\", \"-c\", \"echo hello; exec sleep 1000\"]\n";
    let dog = Run::quick_file(text).spawn();
    dog.wait_out("a      | out\n");
    dog.wait_out("a      | err\n");
    dog.wait_out("longer | hello\n");
    assert!(!dog.out().contains('\x1b'), "no terminal, no colours");
    dog.stop();
    let dog = Run::quick_file(text).flag("--output", "json").spawn();
    dog.wait_out("hello");
    dog.wait_out("err");
    let ended = dog.stop();
    let lines: Vec<Value> = ended.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let err = lines.iter().find(|l| l["line"] == "err").unwrap();
    assert_eq!((&err["service"], &err["stream"], &err["encoding"]), (&"a".into(), &"stderr".into(), &"utf8".into()));
    assert!(err["time"].as_str().unwrap().ends_with('Z') && err["partial"] == false && err["generation"] == 1);
    let dog = Run::quick_file(text).flag("--output", "none").spawn();
    dog.wait_ready("a");
    wait_for("the line in the ring", || dog.verb(&["logs", "a"]).out.contains("err").then_some(()));
    assert_eq!(dog.stop().out, "");
}

#[test]
fn a_reader_that_stalls_holds_up_neither_a_service_nor_the_end() {
    let text = "[service.a]\ncommand = [\"sh\", \"-c\", \"i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo a line of some length, number $i; done; touch done; exec sleep 1000\"]\n";
    let (reader, writer) = std::io::pipe().unwrap();
    let dog = Run::quick_file(text).stdout(writer.into()).spawn();
    wait_for("the end of the flood", || dog.path("done").exists().then_some(()));
    dog.wait_ready("a");
    dog.stop().code(0);
    drop(reader);
}

#[test]
fn a_terminal_shows_what_is_still_to_come_up_and_is_clean_afterwards() {
    let text = format!(
        "[service.db]\n{}[service.api]\ncommand = [\"sh\", \"-c\", \"printf '\\\\033[2Jcleared\\\\n'; exec sleep 1000\"]\nrequires = [\"db\"]\n",
        ready_by("go")
    );
    let (dog, mut term) = Run::file(&text).env("TERM", "xterm").without_env("NO_COLOR").in_terminal();
    term.wait_screen("0 of 2 ready");
    term.wait_screen("waiting for db (ready)");
    std::fs::write(dog.path("go"), "").unwrap();
    term.wait_screen("all 2 services are ready in ");
    term.wait_screen("cleared");
    assert!(term.screen().contains("\u{1b}[36mdb "), "colours: {:?}", term.screen());
    assert!(!term.screen().contains("\u{1b}[2J"), "a service cleared the screen: {:?}", term.screen());
    term.press("\x03");
    let ended = dog.wait().code(0);
    assert_eq!(ended.of("signal-sent").len(), 2, "Ctrl-C reaches the watchdog alone, each service gets one signal");
    let (dog, mut term) =
        Run::file(&text).env("TERM", "xterm").env("NO_COLOR", "1").switch("--no-progress").in_terminal();
    std::fs::write(dog.path("go"), "").unwrap();
    term.wait_screen("cleared");
    assert!(!term.screen().contains('\u{1b}') && !term.screen().contains("of 2 ready"), "{:?}", term.screen());
    term.press("\x03");
    dog.wait().code(0);
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
