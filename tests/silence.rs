//! Silence of workers that beat by themselves: their own patience, and what they may announce (HAN-20, section 6).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Run, about};
use std::time::Duration;

/// HAN-20: beats by notify, then silence
#[test]
fn silence_after_beats_by_notify_is_a_hang_within_its_interval() {
    let dog = Run::beating().talks(&["n-beats:100:8", "note:silent", "sleep:1000000"]).spawn();
    let armed = dog.armed();
    assert_eq!(armed["dialect"], "notify", "{armed}");
    let silent = dog.hears("silent");
    assert!(dog.events_of("hang").is_empty(), "it beat");
    let hang = dog.event("hang", 1);
    assert_eq!(hang["dialect"], "notify", "{hang}");
    // WATCHDOG_USEC is interval x misses
    assert!((350..3000).contains(&hang["silent_ms"].as_u64().unwrap()), "{hang} {silent}");
    assert_eq!(dog.event("exit", 1)["cause"], "hang");
    dog.stop();
}

/// WATCHDOG_USEC from the worker: its own patience from then on
#[test]
fn a_worker_may_change_how_long_it_may_be_silent() {
    let steps = ["n:WATCHDOG=1", "n:WATCHDOG_USEC=2000000|WATCHDOG=1", "note:silent", "sleep:1000000"];
    let dog = Run::beating().talks(&steps).spawn();
    dog.hears("silent");
    let hang = dog.event("hang", 1);
    about(Duration::from_millis(hang["silent_ms"].as_u64().unwrap()), 2000);
    dog.stop();
}

/// HAN-20: WATCHDOG=trigger
#[test]
fn a_worker_that_asks_to_be_treated_as_hung_is() {
    let run = Run::beating().flag("--heartbeat-interval", "60s");
    let dog = run.talks_once(&["n:WATCHDOG=1", "n:WATCHDOG=trigger", "sleep:1000000"], &["sleep:1000000"]).spawn();
    let exit = dog.event("exit", 1);
    assert_eq!(exit["cause"], "hang", "{exit}");
    assert!(exit["uptime_ms"].as_u64().unwrap() < 10_000, "at once: {exit}");
    dog.worker_pid(2);
    dog.stop().count("hang", 1);
}

/// EXTEND_TIMEOUT_USEC while it runs: a long piece of work is announced
#[test]
fn a_worker_may_announce_a_long_silence() {
    let run = Run::beating().flag("--heartbeat-interval", "300ms");
    let dog =
        run.talks(&["n:WATCHDOG=1", "n:EXTEND_TIMEOUT_USEC=2500000", "sleep:1800", "note:done", "n-beats:100:1000"]);
    let dog = dog.spawn();
    dog.hears("done");
    dog.stop().count("hang", 0).count("spawn", 1);
}

/// STOPPING: a worker that ends by itself has the time that a stop of ours would give it, and no more
#[test]
fn a_worker_that_says_that_it_ends_may_be_silent_meanwhile() {
    let run = || Run::beating().flag("--stop-timeout", "4s").flag("--restart", "never");
    let steps = ["n-beats:100:5", "n:STOPPING=1|STATUS=draining", "sleep:1500", "exit:0"];
    run().talks(&steps).run().code(0).count("hang", 0);
    let steps = ["hello", "serve:500", "stopping", "sleep:1500", "exit:0"];
    run().talks(&steps).run().code(0).count("hang", 0);
    let run = run().flag("--stop-timeout", "1s");
    let ended = run.talks(&["n-beats:100:5", "n:STOPPING=1", "n:STOPPING=1", "sleep:1000000"]).run().code(1);
    let hang = &ended.of("hang")[0];
    assert!((900..6000).contains(&hang["silent_ms"].as_u64().unwrap()), "{hang}");
}
