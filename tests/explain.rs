//! Each path that kills, twice: who must die by it, and the look-alike that must live; `explain` names the rule and its
//! numbers to both.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, procs, stays, wait_for, wait_line, wait_lines};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// The sentences for people.
fn explain(dog: &Dog) -> String {
    dog.verb(&["explain", "worker"]).code(0).out
}

#[track_caller]
fn tells(dog: &Dog, parts: &[&str]) -> String {
    let text = explain(dog);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    text
}

fn deaf(run: Run) -> Dog {
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog
}

fn slow(run: Run, after: &str) -> Dog {
    let (file, pid) = (run.at("finished"), run.at("pid"));
    let dog = run.worker(["graceful", &file, "--pid-file", &pid, "--after", after, "--code", "5"]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog
}

const KILLED: &str = "SIGKILL sent";

/// stop_timeout: dies
#[test]
fn a_deaf_worker_is_told_the_grace_it_overran() {
    let dog = deaf(Run::quick().flag("--stop-timeout", "350ms"));
    dog.verb(&["stop", "worker"]).code(0);
    tells(&dog, &["a stop was asked for by a client", "still alive after its grace of 350ms: SIGKILL", KILLED]);
    dog.stop().code(137);
}

/// stop_timeout: lives until its own end
#[test]
fn a_slow_worker_is_told_the_grace_it_has() {
    let dog = slow(Run::quick().flag("--stop-timeout", "20s"), "900");
    let stopping = dog.start_verb(&["stop", "worker"]);
    wait_for("the stop", || explain(&dog).contains("next: SIGKILL in").then_some(()));
    tells(&dog, &["stop_timeout 20s", "a stop was asked for by a client"]);
    common::control::finish(stopping, &["stop"]).code(0);
    let text = tells(&dog, &["exited with code 5", "as asked"]);
    assert!(!text.contains(KILLED), "{text}");
    dog.stop().count("kill-escalated", 0);
}

/// stop --timeout and restart --force: the grace of one request
#[test]
fn the_grace_of_one_request_is_told_as_it_was() {
    let dog = deaf(Run::quick().flag("--stop-timeout", "1h"));
    dog.verb(&["restart", "--force", "worker"]).code(0);
    tells(&dog, &["a restart was asked for by a client", "grace of 0ms: SIGKILL", "stop_timeout 1h"]);
    wait_lines(&dog.path("pid"), 2);
    dog.verb(&["stop", "--timeout", "250ms", "worker"]).code(0);
    tells(&dog, &["grace of 250ms: SIGKILL"]);
    dog.stop();
}

/// restart without --force: the same worker is asked and has its whole grace
#[test]
fn a_restart_without_force_leaves_the_grace() {
    let dog = slow(Run::quick().flag("--stop-timeout", "20s"), "400");
    dog.verb(&["restart", "worker"]).code(0);
    let text = tells(&dog, &["a restart was asked for by a client", "exited with code 5", "stop_timeout 20s"]);
    assert!(!text.contains(KILLED), "{text}");
    wait_lines(&dog.path("pid"), 2);
    dog.stop().code(5).count("kill-escalated", 0);
}

/// the sweep: what outlives its main process dies
#[test]
fn leftovers_are_told_by_pid() {
    let run = Run::quick().flag("--restart-limit", "1").flag("--give-up", "stay");
    let file = run.at("tree");
    let words = ["escape-tree", &file, "--how", "setsid", "--ignore-term", "--main-exits", "50", "--main-code", "1"];
    let dog = run.worker(words).spawn();
    dog.event("leftover-killed", 2);
    dog.wait_state("failed");
    let left = dog.events_of("leftover-killed")[1]["pids"][0].to_string();
    tells(&dog, &["1 process(es) of its tree outlived it", &left, "the end of all that is left of its tree"]);
    dog.stop().code(1);
}

/// the sweep: a child in a session of its own beside a living main process lives
#[test]
fn children_of_a_living_worker_are_no_leftovers() {
    let run = Run::quick();
    let file = run.at("tree");
    let dog = run.worker(["escape-tree", &file, "--how", "setsid"]).spawn();
    wait_lines(&dog.path("tree"), 2);
    stays("both live", Duration::from_millis(300), || procs::survivors(&dog.path("tree")).len() == 2);
    let text = tells(&dog, &["next: nothing, as long as it runs", "the end of all that is left of its tree"]);
    assert!(!text.contains("outlived it"), "{text}");
    dog.stop();
}

/// max_age: recycled
#[test]
fn an_old_worker_is_told_its_age() {
    let run = Run::quick().flag("--max-age", "400ms").flag("--max-age-jitter", "0%");
    let dog = run.worker(["sleep"]).spawn();
    dog.event("spawn", 2);
    // the number is that of the run that ended: how long it lived
    tells(&dog, &["it reached its max_age: recycled", "SIGTERM sent", "ended by SIGTERM after 4"]);
    dog.stop();
}

/// max_age: younger, and lives
#[test]
fn a_young_worker_is_told_when_it_will_be_recycled() {
    let run = Run::quick().flag("--max-age", "2h").flag("--max-age-jitter", "0%");
    let dog = run.worker(["sleep"]).spawn();
    dog.worker_pid(1);
    tells(&dog, &["next: it is recycled for its age in 1h", "(max_age)"]);
    dog.stop().count("spawn", 1);
}

/// restart_limit: given up
#[test]
fn a_worker_given_up_is_told_the_limit() {
    let run = Run::quick().flag("--restart-delay", "5ms").flag("--restart-limit", "2").flag("--give-up", "stay");
    let dog = run.worker(["exit", "9"]).spawn();
    dog.event("gave-up", 1);
    tells(&dog, &["exited with code 9", "restart_limit 2, 2 of them used", "final status 9", "next: nothing before a"]);
    dog.stop().code(9);
}

/// restart_limit: one crash fewer, and it goes on
#[test]
fn a_worker_within_its_limit_is_told_what_is_left() {
    let run = Run::quick().flag("--restart-delay", "5ms").flag("--restart-limit", "2").flag("--give-up", "stay");
    let dog = common::flaky::flaky(run, &["2"]).spawn();
    wait_for("the third start", || (common::flaky::starts(&dog.path("log")) == 3).then_some(()));
    tells(&dog, &["restart_limit 2, 2 of them used", "next: nothing, as long as it runs", "stable_after"]);
    dog.stop().code(0).count("gave-up", 0);
}

/// the crash loop: the pause and its numbers
#[test]
fn a_crash_loop_is_told_with_its_window() {
    let run = Run::quick().flag("--restart-delay", "5ms").flag("--restart-limit", "0").flag("--crash-loop-limit", "2");
    let dog = run.worker(["exit", "9"]).spawn();
    dog.event("crash-loop", 1);
    tells(&dog, &["crash loop: 2 restarts within 1m", "pause of 1m", "next: the pause ends in"]);
    dog.stop().code(9);
}

/// no beat, no limit: a worker that is stopped, silent or busy is left alone, and told so
#[test]
fn a_stopped_worker_and_a_busy_one_are_told_that_nothing_is_enforced() {
    const NOTHING: &str = "it has not beaten, so silence is not judged";
    const UNMEASURED: &str = "no limit of memory or CPU is set, so nothing is measured";
    let dog = Run::quick().worker(["sleep"]).spawn();
    let pid = dog.worker_pid(1);
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    wait_for("state T", || (procs::state(pid) == Some('T')).then_some(()));
    stays("it is left alone", Duration::from_millis(600), || procs::state(pid) == Some('T'));
    tells(&dog, &[NOTHING, UNMEASURED, "is running"]);
    dog.stop().count("spawn", 1);
    let dog = Run::quick().program(["sh", "-c", "while :; do :; done"]).flag("--name", "worker").spawn();
    dog.worker_pid(1);
    stays("it is left alone", Duration::from_millis(600), || dog.events_of("exit").is_empty());
    tells(&dog, &[NOTHING, "is running"]);
    dog.stop().count("spawn", 1);
}

/// a signal that is no stop: forwarded, survived, and nothing comes after it
#[test]
fn a_worker_that_handles_a_forwarded_signal_lives() {
    let run = Run::quick();
    let log = run.at("log");
    let dog = run.worker(["signal-log", &log, "--exit-on", "TERM"]).spawn();
    wait_line(&dog.path("log"), "READY");
    for signal in [Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1] {
        dog.signal(signal);
        wait_line(&dog.path("log"), &signal.as_str()[3..]);
    }
    let text = tells(&dog, &["next: nothing, as long as it runs"]);
    assert!(!text.contains("a stop was asked for"), "{text}");
    dog.stop().code(0).count("spawn", 1);
}
