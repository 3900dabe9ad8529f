//! Clocks: what can be done without setting the machine's (CLK-*).
//!
//! CLK-01, CLK-02, CLK-05 and CLK-06 need a wall clock that jumps while we run: the simulator has one. Here a time
//! namespace gives the watchdog a monotonic clock and an uptime that nobody else has.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Run, can_unshare, lines, skip, wait_for};
use std::time::Duration;

/// CLK-03, its still half: a machine that has been up for ten years
#[test]
fn a_huge_monotonic_clock_changes_nothing() {
    let kinds = ["--time", "--monotonic", "315360000", "--boottime", "315360000", "--fork"];
    if !can_unshare(&kinds) {
        return skip("needs root for a time namespace");
    }
    let run = Run::quick().flag("--stable-after", "300ms").flag("--restart-delay", "200ms");
    let log = run.at("log");
    let run = run.under(["unshare"].iter().chain(&kinds).chain(&["--"]));
    let ended = run.worker(["flaky", &log, "2", "--then-exit", "0"]).run().code(0).count("spawn", 3);
    let mono = ended.events[0]["mono_ms"].as_u64().unwrap();
    assert!(mono < 400_000_000_000, "{mono}");
    for e in ended.of("exit") {
        assert!(e["uptime_ms"].as_u64().unwrap() < 20_000, "{e}");
    }
}

/// CLK-04: times are RFC 3339 in UTC, whatever the zone of the caller
#[test]
fn event_times_are_utc_whatever_the_zone() {
    let ended = Run::once().env("TZ", "Asia/Kathmandu").worker(["exit", "0"]).run().code(0);
    for e in &ended.events {
        let time = e["time"].as_str().unwrap();
        assert!(time.len() >= 20 && &time[10..11] == "T" && time.ends_with('Z'), "{time}");
    }
    let now = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H"]).output().unwrap();
    let now = String::from_utf8_lossy(&now.stdout).trim().to_string();
    let first = ended.events[0]["time"].as_str().unwrap().to_string();
    // the hour may have turned since
    assert!(first.starts_with(&now) || first[..10] == now[..10], "{first} and {now}");
}

/// CLK-03, its moving half, as far as SIGSTOP can play a suspended machine: a pause may end early, never twice
#[test]
fn a_pause_that_was_slept_through_ends_once() {
    let run = Run::quick().flag("--restart-delay", "300ms");
    let log = run.at("log");
    let dog = run.worker(["flaky", &log, "1"]).spawn();
    dog.event("restart-scheduled", 1);
    dog.signal(nix::sys::signal::Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(900));
    dog.signal(nix::sys::signal::Signal::SIGCONT);
    wait_for("the second start", || (lines(&dog.path("log")).len() == 3).then_some(()));
    dog.stop().code(0).count("spawn", 2);
}

/// CLK-01, CLK-02, CLK-05, CLK-06
#[test]
#[ignore = "simulator only: a test may not set the machine's wall clock"]
fn jumps_of_the_wall_clock_move_no_timer() {}
