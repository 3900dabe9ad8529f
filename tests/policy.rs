//! Whether it is started again at all: policies, limits, what counts as a success, and giving up (RES-*).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::flaky::{flaky, gaps, marks, no_overlap, starts};
use common::{Dog, Run, stays, wait_for, wait_lines};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// RES-02
#[test]
fn a_limit_of_five_is_exactly_six_starts() {
    let run = Run::quick().flag("--restart-delay", "20ms").flag("--restart-delay-factor", "1");
    let ended = flaky(run, &["100", "--code", "9"]).run().code(9).count("spawn", 6).count("gave-up", 1);
    assert_eq!(starts(&ended.run.path("log")), 6);
    let gave_up = &ended.of("gave-up")[0];
    assert_eq!((&gave_up["restarts"], &gave_up["exit_status"]), (&5.into(), &9.into()), "{gave_up}");
    assert_eq!(gave_up["cause"], "restart-limit", "{gave_up}");
    assert!(ended.err.contains('5') || ended.err.is_empty(), "{}", ended.err);
}

/// RES-02, RES-03
#[test]
fn a_limit_of_n_allows_n_restarts_and_not_one_more() {
    for n in [1_usize, 2, 3] {
        let run = Run::quick().flag("--restart-delay", "10ms").flag("--restart-limit", n.to_string());
        flaky(run, &["100"]).run().code(1).count("spawn", n + 1).count("gave-up", 1);
        let run = Run::quick().flag("--restart-delay", "10ms").flag("--restart-limit", n.to_string());
        let dog = flaky(run, &[&n.to_string()]).spawn();
        wait_for("the last start", || (starts(&dog.path("log")) == n + 1).then_some(()));
        dog.stop().code(0).count("gave-up", 0);
    }
}

/// restart_limit = 0
#[test]
fn a_limit_of_zero_never_gives_up() {
    let run = Run::quick().flag("--restart-delay", "5ms").flag("--restart-delay-factor", "1");
    let run = run.flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let dog = flaky(run, &["1000"]).spawn();
    dog.event("spawn", 25);
    let ended = dog.stop().count("gave-up", 0);
    no_overlap(&ended.run.path("log"));
}

/// RES-06
#[test]
fn the_crash_loop_window_slides() {
    let run =
        Run::quick().flag("--restart-delay", "10ms").flag("--restart-delay-factor", "1").flag("--restart-limit", "0");
    let run =
        run.flag("--crash-loop-limit", "3").flag("--crash-loop-window", "400ms").flag("--crash-loop-pause", "20s");
    // one crash each 250 ms: never more than two restarts in 400 ms
    let dog = flaky(run, &["5", "--up", "250"]).spawn();
    wait_for("six starts", || (starts(&dog.path("log")) == 6).then_some(()));
    dog.stop().code(0).count("crash-loop", 0);
}

/// crash_loop_*: this many restarts and one more due: wait, window cleared, go on
#[test]
fn a_crash_loop_pauses_and_goes_on() {
    let run =
        Run::quick().flag("--restart-delay", "10ms").flag("--restart-delay-factor", "1").flag("--restart-limit", "0");
    let run =
        run.flag("--crash-loop-limit", "3").flag("--crash-loop-window", "20s").flag("--crash-loop-pause", "700ms");
    let dog = flaky(run, &["5"]).spawn();
    dog.event("crash-loop", 1);
    let state = dog.status();
    assert_eq!(state["state"], "crash-loop", "{state}");
    assert!(state["next_restart_in_ms"].as_u64().unwrap() <= 700, "{state}");
    wait_for("six starts", || (starts(&dog.path("log")) == 6).then_some(()));
    let ended = dog.stop().code(0).count("crash-loop", 1).count("gave-up", 0);
    let gaps = gaps(&ended.run.path("log"));
    assert!(gaps[3] >= 615 && gaps.iter().enumerate().all(|(i, g)| i == 3 || *g < 600), "{gaps:?}");
}

/// restart_limit is judged before the crash loop
#[test]
fn the_limit_is_judged_before_the_crash_loop() {
    let run = Run::quick().flag("--restart-delay", "10ms").flag("--restart-delay-factor", "1");
    flaky(run, &["100"]).run().code(1).count("spawn", 6).count("crash-loop", 0).count("gave-up", 1);
}

/// restart_total
#[test]
fn the_total_counts_over_stable_runs() {
    let run = Run::quick().flag("--restart-delay", "10ms").flag("--stable-after", "50ms").flag("--restart-total", "2");
    flaky(run, &["100", "--up", "150"]).run().code(1).count("spawn", 3).count("gave-up", 1);
}

/// RES-10
#[test]
fn a_stop_beats_the_policy_however_the_worker_ends() {
    for more in [&["--stop-code", "0"][..], &["--stop-code", "1"], &["--slow-end", "900"]] {
        let run =
            Run::quick().flag("--restart", "always").flag("--restart-delay", "10ms").flag("--stop-timeout", "300ms");
        let dog = flaky(run, &[&["0"], more].concat()).spawn();
        wait_lines(&dog.path("log"), 1);
        dog.verb(&["stop", "worker"]).code(0);
        assert_eq!(dog.status()["state"], "stopped");
        stays("stopped", Duration::from_millis(300), || starts(&dog.path("log")) == 1);
        dog.stop().count("spawn", 1);
    }
}

/// RES-12
#[test]
fn the_policy_table_is_as_written() {
    // policy, what the worker does, restarted?
    let table: &[(&str, &[&str], bool)] = &[
        ("never", &["exit", "0"], false),
        ("never", &["exit", "1"], false),
        ("never", &["die", "SEGV"], false),
        ("on-failure", &["exit", "0"], false),
        ("on-failure", &["exit", "1"], true),
        ("on-failure", &["die", "SEGV"], true),
        ("on-failure", &["die", "KILL"], true),
        ("on-failure", &["die", "TERM"], false),
        ("on-failure", &["die", "INT"], false),
        ("on-failure", &["die", "HUP"], false),
        ("on-failure", &["die", "PIPE"], false),
        ("on-failure", &["exit", "143"], true),
        ("on-success", &["exit", "0"], true),
        ("on-success", &["die", "TERM"], true),
        ("on-success", &["exit", "1"], false),
        ("on-success", &["die", "SEGV"], false),
        ("always", &["exit", "0"], true),
        ("always", &["exit", "1"], true),
        ("always", &["die", "TERM"], true),
        ("unless-stopped", &["exit", "0"], true),
        ("unless-stopped", &["exit", "1"], true),
    ];
    for (policy, life, again) in table {
        let run = Run::quick().flag("--restart", policy).flag("--restart-delay", "5ms").flag("--restart-limit", "1");
        let ended = run.worker(*life).run();
        let wanted = if *again { 2 } else { 1 };
        assert_eq!(ended.of("spawn").len(), wanted, "{policy} {life:?}\n{}", ended.story());
        assert_eq!(ended.of("gave-up").len(), usize::from(*again), "{policy} {life:?}\n{}", ended.story());
    }
}

/// RES-13
#[test]
fn codes_and_signals_that_forbid_a_restart_are_obeyed() {
    for code in ["78", "125"] {
        let run = Run::quick().flag("--restart", "always").worker(["exit", code]);
        run.run().code(code.parse().unwrap()).count("spawn", 1);
    }
    for (list, life, wanted) in
        [("3,ABRT", ["exit", "3"], 1), ("3,ABRT", ["die", "ABRT"], 1), ("3,ABRT", ["exit", "78"], 2)]
    {
        let run = Run::quick().flag("--restart", "always").flag("--restart-limit", "1").flag("--restart-delay", "5ms");
        run.flag("--no-restart-on", list).worker(life).run().count("spawn", wanted);
    }
}

/// success_on
#[test]
fn what_counts_as_success_can_be_said() {
    let run = |list: &str| {
        Run::quick().flag("--restart-limit", "1").flag("--restart-delay", "5ms").flag("--success-on", list)
    };
    run("3").worker(["exit", "3"]).run().code(3).count("spawn", 1);
    run("3").worker(["exit", "0"]).run().count("spawn", 2);
    run("0,KILL").worker(["die", "KILL"]).run().code(137).count("spawn", 1);
    run("0").worker(["die", "TERM"]).run().code(143).count("spawn", 2);
}

/// give_up = stay: the watchdog waits for a start, which clears the counters
#[test]
fn stay_waits_for_a_start_that_clears_the_counters() {
    let run = Run::quick().flag("--give-up", "stay").flag("--restart-limit", "1").flag("--restart-delay", "5ms");
    let dog = flaky(run, &["3"]).spawn();
    dog.event("gave-up", 1);
    let state = dog.wait_state("failed");
    assert!(state["cause"].is_string() && state["reason"].is_string(), "{state}");
    dog.verb(&["health"]).code(1);
    assert_eq!(starts(&dog.path("log")), 2);
    // the third run crashes too, and the fourth stays: within a fresh limit of one
    dog.verb(&["start", "worker"]);
    wait_for("the fourth start", || (starts(&dog.path("log")) == 4).then_some(()));
    dog.stop().code(0).count("gave-up", 1);
}

/// give_up = stop-all ends with the worker's status
#[test]
fn stop_all_ends_with_the_status_of_the_failed_one() {
    let run = Run::quick().flag("--give-up", "stop-all").flag("--restart-limit", "1").flag("--restart-delay", "5ms");
    flaky(run, &["100", "--code", "21"]).run().code(21).count("gave-up", 1);
}

/// give_up = exec:COMMAND runs a command, then ends as exit does
#[test]
fn exec_runs_a_command_before_the_end() {
    let run = Run::quick().flag("--restart-limit", "1").flag("--restart-delay", "5ms");
    let told = run.at("told");
    let command = format!("exec:touch {told}");
    let ended = flaky(run.flag("--give-up", command), &["100", "--code", "22"]).run().code(22).count("gave-up", 1);
    assert!(Path::new(&told).exists());
    drop(ended);
}

/// max_age: a graceful recycle that is free
#[test]
fn max_age_recycles_gracefully_and_costs_nothing() {
    let run = Run::quick().flag("--max-age", "300ms").flag("--max-age-jitter", "0").flag("--restart-limit", "1");
    let run = run.flag("--restart-delay", "30s").flag("--stop-timeout", "5s");
    let dog = flaky(run, &["0", "--slow-end", "50"]).spawn();
    wait_for("four starts", || (starts(&dog.path("log")) >= 4).then_some(()));
    let ended = dog.stop().count("gave-up", 0).count("kill-escalated", 0);
    no_overlap(&ended.run.path("log"));
    let exits = ended.of("exit");
    assert!(exits[..3].iter().all(|e| e["cause"] == "max-age"), "{exits:?}");
    let all = marks(&ended.run.path("log"));
    let life = all[1].2 - all[0].2;
    common::about(Duration::from_millis(life), 350);
}

/// a foreign SIGTERM to the worker is a success for on-failure and not a request of ours
#[test]
fn a_foreign_term_of_the_worker_ends_us_under_on_failure() {
    let dog: Dog = Run::quick().worker(["sleep"]).spawn();
    kill(Pid::from_raw(dog.worker_pid(1)), Signal::SIGTERM).unwrap();
    let ended = dog.wait().code(143).count("spawn", 1);
    assert_eq!(ended.of("exit")[0]["requested"], Value::Bool(false));
}

/// max_age_jitter: no two lives need be equally long, and none leaves the percentage
#[test]
fn the_jitter_of_max_age_spreads_the_lives() {
    let run = Run::quick().flag("--max-age", "150ms").flag("--max-age-jitter", "80%");
    let dog = run.worker(["sleep"]).spawn();
    dog.event("spawn", 21);
    let ended = dog.stop();
    let time = |e: &Value| e["mono_ms"].as_u64().unwrap();
    let asked: Vec<u64> = ended.of("restart-requested").iter().map(time).collect();
    let lives: Vec<u64> = ended.of("ready").iter().map(time).zip(asked).map(|(ready, asked)| asked - ready).collect();
    assert!(lives.len() >= 20 && lives.iter().all(|l| *l >= 29), "never before the percentage: {lives:?}");
    assert!(lives.iter().max().unwrap() - lives.iter().min().unwrap() > 60, "all the same: {lives:?}");
    assert!(lives.iter().any(|l| *l < 140), "never to the lower side: {lives:?}");
}

/// its look-alike: a worker that is younger than its max_age lives, and is told when
#[test]
fn a_worker_younger_than_its_max_age_lives() {
    let dog = flaky(Run::quick().flag("--max-age", "1h"), &["0"]).spawn();
    wait_lines(&dog.path("log"), 1);
    stays("it lives", Duration::from_millis(400), || dog.events_of("exit").is_empty());
    dog.stop().code(0).count("spawn", 1).count("restart-requested", 0);
}
