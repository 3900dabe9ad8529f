//! Restarting: how often, how long after, and when not (RES-*).
#![allow(clippy::unwrap_used)]

mod common;
use common::{Dog, Run, lines, procs, stays, wait_for, wait_lines};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// `start`/`end` lines of the flaky victim: kind, pid, milliseconds.
fn marks(path: &Path) -> Vec<(String, i32, u64)> {
    let read = |l: &String| {
        let mut w = l.split(' ');
        let kind = w.next().unwrap().to_string();
        let pid = w.next().unwrap().parse().unwrap();
        (kind, pid, w.next().unwrap().parse::<u64>().unwrap() / 1_000_000)
    };
    lines(path).iter().map(read).collect()
}

fn starts(path: &Path) -> usize {
    marks(path).iter().filter(|m| m.0 == "start").count()
}

/// Milliseconds from each `end` to the next `start`.
fn gaps(path: &Path) -> Vec<u64> {
    let all = marks(path);
    all.windows(2).filter(|w| w[0].0 == "end" && w[1].0 == "start").map(|w| w[1].2 - w[0].2).collect()
}

fn flaky(run: Run, more: &[&str]) -> Run {
    let log = run.at("log");
    let mut words = vec!["flaky", &log];
    words.extend(more);
    run.worker(words)
}

/// Never two lives at the same time: start and end take turns.
fn no_overlap(path: &Path) {
    let kinds: Vec<String> = marks(path).into_iter().map(|m| m.0).collect();
    let turns = kinds.iter().enumerate().all(|(i, k)| *k == if i % 2 == 0 { "start" } else { "end" });
    assert!(turns, "two generations overlap: {kinds:?}");
}

/// RES-01
#[test]
fn three_crashes_are_four_starts_and_then_it_stays() {
    let dog = flaky(Run::quick(), &["3"]).spawn();
    wait_lines(&dog.path("log"), 7);
    stays("it stays up", Duration::from_millis(400), || starts(&dog.path("log")) == 4);
    let ended = dog.stop().code(0).count("spawn", 4).count("restart-scheduled", 3);
    no_overlap(&ended.run.path("log"));
    for (at, e) in ended.of("restart-scheduled").iter().enumerate() {
        assert_eq!(e["attempt"], at as u64 + 1, "{e}");
        assert_eq!(e["limit"], 5, "{e}");
        assert!(e["delay_ms"].is_u64(), "{e}");
    }
}

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

/// RES-04
#[test]
fn delays_grow_by_the_factor_up_to_the_cap() {
    let run = Run::quick()
        .flag("--restart-delay", "100ms")
        .flag("--restart-delay-max", "400ms")
        .switch("--fast-first-restart=false");
    let ended = flaky(run, &["100"]).run().code(1).count("spawn", 6);
    let said: Vec<u64> = ended.of("restart-scheduled").iter().map(|e| e["delay_ms"].as_u64().unwrap()).collect();
    assert_eq!(said, [100, 200, 400, 400, 400]);
    for (gap, wanted) in gaps(&ended.run.path("log")).into_iter().zip(said) {
        common::about(Duration::from_millis(gap), wanted);
    }
}

/// restart_delay as a list
#[test]
fn a_list_of_delays_is_taken_as_it_stands() {
    let run = Run::quick().flag("--restart-delay", "10ms,30ms,20ms");
    let ended = flaky(run, &["100"]).run().code(1);
    let said: Vec<u64> = ended.of("restart-scheduled").iter().map(|e| e["delay_ms"].as_u64().unwrap()).collect();
    assert_eq!(said, [10, 30, 20, 20, 20]);
}

/// restart_delay_jitter
#[test]
fn jitter_spreads_a_delay_within_its_percentage() {
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2 {
        let run = Run::new().flag("--restart-delay", "100ms").flag("--restart-delay-factor", "1");
        let run = run.flag("--restart-delay-jitter", "50%").flag("--stop-timeout", "500ms");
        let ended = flaky(run, &["100"]).run().code(1).count("spawn", 6);
        for e in ended.of("restart-scheduled") {
            let delay = e["delay_ms"].as_u64().unwrap();
            assert!((50..=150).contains(&delay), "{delay}");
            seen.insert(delay);
        }
    }
    assert!(seen.len() > 3, "all the same: {seen:?}");
}

/// RES-05
#[test]
fn a_stable_run_resets_the_streak() {
    let settings = |up: &str| {
        let run = Run::quick().flag("--restart-delay", "20ms").flag("--stable-after", "300ms");
        flaky(run.flag("--restart-limit", "2").flag("--crash-loop-limit", "0"), &["5", "--up", up])
    };
    // each run outlives stable_after: never two unstable ones in a row
    let dog = settings("450").spawn();
    wait_for("six starts", || (starts(&dog.path("log")) == 6).then_some(()));
    dog.stop().code(0).count("gave-up", 0);
    // and half of it does not count
    settings("100").run().code(1).count("spawn", 3).count("gave-up", 1);
}

/// fast_first_restart
#[test]
fn the_first_failure_after_a_stable_run_restarts_at_once() {
    let settings = |fast: &str| {
        let run = Run::quick().flag("--restart-delay", "700ms").flag("--restart-delay-factor", "1");
        let run = run.flag("--stable-after", "200ms").flag("--crash-loop-limit", "0").switch(fast);
        let dog = flaky(run, &["2", "--up", "900"]).spawn();
        wait_for("three starts", || (starts(&dog.path("log")) == 3).then_some(()));
        let ended = dog.stop().code(0);
        (ended.of("restart-scheduled"), gaps(&ended.run.path("log")))
    };
    let (said, gaps) = settings("--fast-first-restart");
    assert_eq!(said[0]["delay_ms"], 0, "{said:?}");
    assert!(gaps[0] < 600, "at once: {gaps:?}");
    let (said, gaps) = settings("--fast-first-restart=false");
    assert_eq!(said[0]["delay_ms"], 700, "{said:?}");
    assert!(gaps[0] >= 600, "after the delay: {gaps:?}");
}

/// fast_first_restart needs a run that was stable
#[test]
fn the_first_failure_of_an_unstable_run_waits() {
    let run = Run::quick().flag("--restart-delay", "400ms");
    let dog = flaky(run, &["1"]).spawn();
    wait_for("two starts", || (starts(&dog.path("log")) == 2).then_some(()));
    assert!(gaps(&dog.path("log"))[0] >= 330, "{:?}", gaps(&dog.path("log")));
    dog.stop().code(0);
}

/// RES-06
#[test]
fn the_crash_loop_window_slides() {
    let run = Run::quick().flag("--restart-delay", "10ms").flag("--restart-delay-factor", "1").flag("--restart-limit", "0");
    let run = run.flag("--crash-loop-limit", "3").flag("--crash-loop-window", "400ms").flag("--crash-loop-pause", "20s");
    // one crash each 250 ms: never more than two restarts in 400 ms
    let dog = flaky(run, &["5", "--up", "250"]).spawn();
    wait_for("six starts", || (starts(&dog.path("log")) == 6).then_some(()));
    dog.stop().code(0).count("crash-loop", 0);
}

/// crash_loop_*: this many restarts and one more due: wait, window cleared, go on
#[test]
fn a_crash_loop_pauses_and_goes_on() {
    let run = Run::quick().flag("--restart-delay", "10ms").flag("--restart-delay-factor", "1").flag("--restart-limit", "0");
    let run = run.flag("--crash-loop-limit", "3").flag("--crash-loop-window", "20s").flag("--crash-loop-pause", "700ms");
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

/// RES-07
#[test]
fn a_term_during_a_pause_ends_at_once_and_starts_nothing() {
    let run = Run::quick().flag("--restart-delay", "10s");
    let dog = flaky(run, &["100", "--code", "8"]).spawn();
    dog.event("restart-scheduled", 1);
    let ended = dog.stop().code(8).before(6000).count("spawn", 1);
    assert_eq!(starts(&ended.run.path("log")), 1);
}

/// RES-08
#[test]
fn a_start_during_a_pause_is_one_start_and_the_timer_is_dead() {
    let run = Run::quick().flag("--restart-delay", "1500ms");
    let dog = flaky(run, &["1"]).spawn();
    dog.event("restart-scheduled", 1);
    let both = [dog.start_verb(&["start", "worker"]), dog.start_verb(&["start", "worker"])];
    for child in both {
        common::control::finish(child, &["start"]).code(0);
    }
    assert!(gaps(&dog.path("log"))[0] < 1400, "before the timer");
    stays("no second start", Duration::from_millis(1800), || starts(&dog.path("log")) == 2);
    dog.stop().code(0).count("spawn", 2);
}

/// RES-09
#[test]
fn two_restarts_at_the_same_instant_never_overlap() {
    let dog = flaky(Run::quick(), &["0", "--slow-end", "20"]).spawn();
    wait_lines(&dog.path("log"), 1);
    for _ in 0..10 {
        let both = [dog.start_verb(&["restart", "worker"]), dog.start_verb(&["restart", "worker"])];
        for child in both {
            let verb = common::control::finish(child, &["restart"]);
            assert!([0, 4].contains(&verb.code), "{verb:?}");
        }
    }
    let ended = dog.stop();
    // the last one may not have listened to TERM yet
    assert!([0, 143].contains(&ended.code), "{}", ended.story());
    no_overlap(&ended.run.path("log"));
    let n = ended.of("spawn").len();
    assert!((11..=21).contains(&n), "{n} starts of 10 pairs");
}

/// RES-10
#[test]
fn a_stop_beats_the_policy_however_the_worker_ends() {
    for more in [&["--stop-code", "0"][..], &["--stop-code", "1"], &["--slow-end", "900"]] {
        let run = Run::quick().flag("--restart", "always").flag("--restart-delay", "10ms").flag("--stop-timeout", "300ms");
        let dog = flaky(run, &[&["0"], more].concat()).spawn();
        wait_lines(&dog.path("log"), 1);
        dog.verb(&["stop", "worker"]).code(0);
        assert_eq!(dog.status()["state"], "stopped");
        stays("stopped", Duration::from_millis(300), || starts(&dog.path("log")) == 1);
        dog.stop().count("spawn", 1);
    }
}

/// RES-11
#[test]
fn restarts_by_an_operator_are_free_and_without_delay() {
    let run = Run::quick().flag("--restart-delay", "30s").flag("--restart-limit", "2").flag("--crash-loop-limit", "2");
    let dog = flaky(run, &["0"]).spawn();
    wait_lines(&dog.path("log"), 1);
    for _ in 0..12 {
        dog.verb(&["restart", "worker"]).code(0);
    }
    let log = dog.path("log");
    wait_for("the last start", || marks(&log).last().filter(|m| m.0 == "start" && m.1 == dog.worker_pid(13)).map(drop));
    let state = dog.status();
    assert_eq!((&state["streak"], &state["generation"], &state["state"]), (&0.into(), &13.into(), &"running".into()), "{state}");
    dog.stop().code(0).count("spawn", 13).count("gave-up", 0).count("crash-loop", 0);
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
    for (list, life, wanted) in [("3,ABRT", ["exit", "3"], 1), ("3,ABRT", ["die", "ABRT"], 1), ("3,ABRT", ["exit", "78"], 2)] {
        let run = Run::quick().flag("--restart", "always").flag("--restart-limit", "1").flag("--restart-delay", "5ms");
        run.flag("--no-restart-on", list).worker(life).run().count("spawn", wanted);
    }
}

/// success_on
#[test]
fn what_counts_as_success_can_be_said() {
    let run = |list: &str| Run::quick().flag("--restart-limit", "1").flag("--restart-delay", "5ms").flag("--success-on", list);
    run("3").worker(["exit", "3"]).run().code(3).count("spawn", 1);
    run("3").worker(["exit", "0"]).run().count("spawn", 2);
    run("0,KILL").worker(["die", "KILL"]).run().code(137).count("spawn", 1);
    run("0").worker(["die", "TERM"]).run().code(143).count("spawn", 2);
}

/// RES-14
#[test]
fn the_next_start_waits_for_the_end_of_the_old_one() {
    let run = Run::quick().flag("--stop-timeout", "5s");
    let dog = flaky(run, &["0", "--slow-end", "700"]).spawn();
    wait_lines(&dog.path("log"), 1);
    dog.verb(&["restart", "worker"]).code(0);
    wait_lines(&dog.path("log"), 3);
    let ended = dog.stop().code(0).count("kill-escalated", 0);
    no_overlap(&ended.run.path("log"));
}

/// RES-15
#[test]
fn leftovers_of_a_crash_are_gone_before_the_next_start() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = Run::quick();
    let log = run.at("log");
    let dog = run.worker(["port", &log, &port.to_string(), "2"]).spawn();
    wait_for("three starts", || (lines(&dog.path("log")).len() >= 6).then_some(()));
    let ended = dog.stop().code(143).count("spawn", 3).count("leftover-killed", 2);
    assert!(!ended.lines("log").contains(&"taken".to_string()), "{:?}", ended.lines("log"));
    ended.order(&["spawn", "exit", "leftover-killed", "spawn", "exit", "leftover-killed", "spawn"]);
}

/// RES-16
#[test]
fn no_delay_at_all_is_allowed_and_bounded_by_the_limits() {
    let run = Run::quick().flag("--restart-delay", "0").flag("--restart-limit", "40").flag("--crash-loop-limit", "0");
    let ended = flaky(run, &["1000"]).run().code(1).count("spawn", 41);
    no_overlap(&ended.run.path("log"));
}

/// RES-18, its short form
#[test]
fn two_hundred_restarts_leave_no_descriptor_and_little_memory() {
    let run = Run::quick().flag("--restart-delay", "1ms").flag("--restart-delay-factor", "1");
    let run = run.flag("--restart-limit", "0").flag("--crash-loop-limit", "0").flag("--log", "capture");
    let dog = flaky(run, &["200"]).spawn();
    dog.event("spawn", 50);
    wait_for("the socket", || dog.path("run").exists().then_some(()));
    let rss = procs::status_field(dog.pid(), "VmRSS");
    dog.event("spawn", 201);
    wait_for("the last start", || (starts(&dog.path("log")) == 201).then_some(()));
    let fds = procs::fd_count(dog.pid());
    assert!(procs::status_field(dog.pid(), "VmRSS") < rss + rss / 10 + 512, "memory grows");
    assert!(fds < 24, "{fds} descriptors");
    dog.stop().code(0).count("spawn", 201);
}

/// RES-19
#[test]
fn time_that_we_slept_through_earns_no_reset() {
    let run = Run::quick().flag("--restart-delay", "20ms").flag("--stable-after", "800ms").flag("--restart-limit", "2");
    let dog = flaky(run.flag("--crash-loop-limit", "0"), &["100", "--up", "100"]).spawn();
    for nth in 1..=3 {
        // the worker dies while we are stopped, for longer than stable_after
        dog.event("spawn", nth);
        dog.signal(Signal::SIGSTOP);
        wait_for("its death", || (marks(&dog.path("log")).len() == 2 * nth).then_some(()));
        std::thread::sleep(Duration::from_millis(900));
        dog.signal(Signal::SIGCONT);
    }
    dog.wait().code(1).count("spawn", 3).count("gave-up", 1);
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
