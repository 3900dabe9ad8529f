//! Restarting: how often, how long after, and when not (RES-*).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::flaky::{flaky, gaps, marks, no_overlap, starts};
use common::{Run, lines, procs, stays, wait_for, wait_lines};
use nix::sys::signal::Signal;
use std::time::Duration;

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

/// restart_delay_factor
#[test]
fn the_factor_is_the_one_that_was_set() {
    for (factor, wanted) in [("1", [20, 20, 20]), ("1.5", [20, 30, 45]), ("3", [20, 60, 180])] {
        let run = Run::quick().flag("--restart-delay", "20ms").flag("--restart-delay-factor", factor);
        let ended = flaky(run.flag("--restart-limit", "3"), &["100"]).run().code(1);
        let said: Vec<u64> = ended.of("restart-scheduled").iter().map(|e| e["delay_ms"].as_u64().unwrap()).collect();
        assert_eq!(said, wanted, "factor {factor}");
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
    wait_for("the second start", || (starts(&dog.path("log")) == 2).then_some(()));
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
    assert_eq!(
        (&state["streak"], &state["generation"], &state["state"]),
        (&0.into(), &13.into(), &"running".into()),
        "{state}"
    );
    dog.stop().code(0).count("spawn", 13).count("gave-up", 0).count("crash-loop", 0);
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
    let ended = dog.wait().code(1).count("spawn", 3).count("gave-up", 1);
    for exit in ended.of("exit") {
        assert!(exit["uptime_ms"].as_u64().unwrap() < 800, "nor is it told as a life: {exit}");
    }
}

/// RES-05: stable is as long as stable_after and as the pause before it
#[test]
fn a_run_shorter_than_the_pause_before_it_is_not_stable() {
    let run = Run::quick().flag("--restart-delay", "1200ms").flag("--restart-delay-factor", "1");
    let run = run.flag("--stable-after", "50ms").switch("--fast-first-restart=false").flag("--restart-limit", "2");
    // the first one is stable: no pause was before it
    let ended = flaky(run, &["4", "--up", "150"]).run().code(1).count("spawn", 3).count("gave-up", 1);
    let attempts: Vec<u64> = ended.of("restart-scheduled").iter().map(|e| e["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2]);
}

/// RES-16: ten seconds of a crash without delay and without a limit cost little, for the crash loop pauses
#[test]
fn ten_seconds_without_a_delay_stay_within_their_budget() {
    let run = Run::quick().flag("--restart-delay", "0").flag("--restart-limit", "0");
    let dog = run.worker(["exit", "1"]).spawn();
    dog.event("crash-loop", 1);
    std::thread::sleep(Duration::from_secs(10).saturating_sub(dog.began.elapsed()));
    let ticks = procs::cpu_ticks(dog.pid());
    assert!(ticks < 150, "{ticks} ticks of 10 ms in 10 s are more than 15 % of a core");
    let ended = dog.stop().code(1).count("spawn", 6).count("crash-loop", 1);
    assert!(ended.run.path("events").metadata().unwrap().len() < 1 << 20);
}

/// A start that fails again and again without a pause: the watchdog hears everybody all the same
#[test]
fn a_start_that_fails_without_a_pause_keeps_nobody_from_being_heard() {
    let run = Run::new().flag("--restart-delay", "0s").flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let program = run.path("program");
    std::fs::write(&program, "#!/bin/sh\nrm -f \"$0\"\nexit 1\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let dog = run.program([&program]).spawn();
    dog.event("spawn-failed", 20);
    dog.verb(&["status"]).code(0);
    dog.stop();
}
