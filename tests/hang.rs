//! Hangs: who is found, who is not, what is given before a kill, and what is kept of it (HAN-01..08, 25).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::talk::BEAT;
use common::{Dog, Ended, Run, about, lines, procs, skip, stays, wait_for, wait_line, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Answers for a while in its first life, then this; a good worker in the second.
fn hangs_once(run: Run, how: &[&str]) -> Dog {
    run.talks_once(&[&["hello", "serve:500"], how].concat(), &["hello", "serve"]).spawn()
}

/// The first hang is found and ended by this signal; the second life beats.
fn healed(dog: Dog, verdict: &str, signal: &str) -> Ended {
    let second = dog.worker_pid(2);
    wait_for("an armed second life", || Some(dog.armed()).filter(|_| dog.status()["pid"] == second));
    let exit = dog.event("exit", 1);
    assert_eq!((&exit["cause"], &exit["signal"]), (&json!("hang"), &json!(signal)), "{exit}");
    // where everybody waits for a processor it is excused three times, and then hung all the same
    let (found, action) = dog.verdicts().last().cloned().unwrap();
    assert!(action == "restart" && (found == verdict || found == "starved"), "{:?}", dog.verdicts());
    let ended = dog.stop().count("hang", 1).count("spawn", 2);
    ended.order(&["spawn", "ready", "hang", "verdict", "exit", "restart-scheduled", "spawn"])
}

fn reports(dog: &Dog) -> Vec<Value> {
    let answer = dog.verb(&["report", "list", "--json"]).code(0).json();
    answer["reports"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

fn millis(event: &Value) -> u64 {
    event["mono_ms"].as_u64().unwrap()
}

/// HAN-02: waits and nothing will wake it
#[test]
fn a_deadlocked_worker_shows_its_stacks_and_is_started_again() {
    let ended = healed(hangs_once(Run::beating(), &["sleep:1000000"]), "deadlocked", "ABRT");
    let hang = &ended.of("hang")[0];
    assert_eq!((&hang["dialect"], &hang["misses"], &hang["cause"]), (&json!("native"), &json!(2), &json!("hang")));
    // after the first ping without an answer (misses - 1) x interval + timeout
    assert!(hang["silent_ms"].as_u64().unwrap() >= 400, "{hang}");
    let verdict = &ended.of("verdict")[0];
    assert!(millis(verdict) - millis(hang) >= 200, "two looks, a short time apart: {verdict}");
    assert_eq!(ended.of("restart-scheduled")[0]["cause"], "hang");
    let pings: Vec<String> = ended.lines("talk").into_iter().filter(|l| l.starts_with("ping ")).collect();
    assert!(pings.len() >= 2, "{pings:?}");
}

/// HAN-02: works and does not come round
#[test]
fn a_spinning_worker_is_found_to_spin() {
    let ended = healed(hangs_once(Run::beating(), &["spin"]), "spinning", "ABRT");
    let reason = ended.of("verdict")[0]["reason"].as_str().unwrap().to_string();
    assert!(reason.contains("CPU") || reason.contains("waited"), "{}", ended.story());
}

/// HAN-02: a blocked loop of Node
#[test]
fn a_blocked_loop_of_node_is_found_to_spin() {
    let script = "process.on('message', m => { if (m.type === 'ping') process.send({type: 'pong', id: m.id}) });\
                  const fs = require('fs');\
                  if (!fs.existsSync('once')) { fs.writeFileSync('once', ''); setTimeout(() => { for (;;); }, 600) }";
    let Some(run) = Run::beating().node(script) else { return };
    let ended = healed(run.spawn(), "spinning", "ABRT");
    assert_eq!(ended.of("hang")[0]["dialect"], "node");
}

/// HAN-01: stopped: three intervals more, then it is hung
#[test]
fn a_stopped_worker_gets_its_extensions_before_it_is_killed() {
    let dog = hangs_once(Run::beating(), &["stop-self"]);
    let hang = dog.event("hang", 1);
    let last = dog.event("verdict", 4);
    // a stopped process gets its ABRT when it is continued, which the watchdog does with it
    dog.event("exit", 1);
    let all = dog.verdicts();
    let actions: Vec<&str> = all.iter().map(|v| v.1.as_str()).collect();
    assert!(all.iter().all(|v| v.0 == "stopped"), "{all:?}");
    assert_eq!(actions, ["extend", "extend", "extend", "restart"], "{all:?}");
    assert_eq!(dog.events_of("verdict")[2]["extension"], 3);
    assert!(millis(&last) - millis(&hang) >= 3 * 200, "three intervals: {last}");
    let second = dog.worker_pid(2);
    assert!(procs::alive(second));
    dog.stop().count("hang", 1).count("spawn", 2);
}

/// HAN-01: the stop comes from outside
#[test]
fn a_worker_that_was_stopped_by_somebody_is_gone_within_its_extensions() {
    let dog = Run::beating().talks(&["hello", "serve"]).spawn();
    dog.armed();
    let pid = dog.worker_pid(1);
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    let hang = dog.event("hang", 1);
    assert!(hang["silent_ms"].as_u64().unwrap() >= 200, "{hang}");
    let exit = dog.event("exit", 1);
    assert_eq!(exit["cause"], "hang", "{exit}");
    assert!(!procs::alive(pid));
    assert_ne!(dog.worker_pid(2), pid);
    dog.stop();
}

/// Section 6: an extension is there to be used
#[test]
fn a_stopped_worker_that_is_continued_in_time_lives() {
    let run = Run::beating().flag("--heartbeat-interval", "1s");
    let dog = run.talks(&["hello", "serve"]).spawn();
    dog.armed();
    let pid = dog.worker_pid(1);
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    dog.event("verdict", 1);
    assert_eq!(dog.status()["health"], "unhealthy");
    kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
    wait_for("health", || (dog.status()["health"] == "healthy").then_some(()));
    let reason = dog.status()["reason"].as_str().unwrap().to_string();
    assert!(reason.contains("beats again"), "{reason}");
    let pings = dog.heard("ping");
    wait_for("more pings", || (dog.heard("ping") >= pings + 2).then_some(()));
    assert_eq!(dog.status()["pid"], pid);
    dog.stop().count("hang", 1).count("spawn", 1).count("kill-escalated", 0);
}

/// HAN-05: an answer in time is life
#[test]
fn a_slow_answer_within_the_timeout_lives_and_a_slower_one_does_not() {
    let run = || Run::beating().flag("--heartbeat-interval", "600ms").flag("--heartbeat-timeout", "600ms");
    let dog = run().talks(&["hello", "serve:0:350"]).spawn();
    dog.armed();
    wait_for("eight pings", || (dog.heard("ping") >= 8).then_some(()));
    assert!(dog.heartbeat()["rtt_p50_us"].as_u64().unwrap() >= 350_000, "{}", dog.heartbeat());
    dog.stop().count("hang", 0).count("spawn", 1);
    let dog = run().talks(&["hello", "serve:900", "serve:0:1500"]).spawn();
    dog.event("hang", 1);
    dog.event("exit", 1);
    assert_eq!(dog.stop().of("exit")[0]["cause"], "hang");
}

/// HAN-05: deaf from the start is no worker of ours, until beats are required
#[test]
fn a_worker_that_greets_and_never_answers_is_judged_only_where_beats_are_required() {
    let dog = Run::beating().talks(&["hello", "ready", "deaf"]).spawn();
    dog.hears("ping 1");
    stays("not judged", BEAT * 8, || dog.events_of("hang").is_empty());
    assert_eq!(dog.heartbeat()["armed"], false);
    dog.stop().count("hang", 0);
    let dog = Run::beating().flag("--heartbeat", "required").talks(&["hello", "ready", "deaf"]).spawn();
    dog.event("exit", 1);
    assert_eq!(dog.stop().of("exit")[0]["cause"], "hang");
}

/// HAN-06
#[test]
fn only_an_answer_to_the_ping_that_is_out_counts() {
    for (lie, lives) in [("unasked:0", false), ("replay", false), ("double", true)] {
        let lie = lie.trim_end_matches(":0");
        let dog = Run::beating().talks(&["hello", "serve:500", lie]).spawn();
        dog.armed();
        if lives {
            wait_for("ten pings", || (dog.heard("ping") >= 10).then_some(()));
            dog.stop().count("hang", 0).count("proto-error", 0);
        } else {
            dog.event("hang", 1);
            dog.event("exit", 1);
            assert_eq!(dog.stop().of("exit")[0]["cause"], "hang", "{lie}");
        }
    }
}

/// HAN-07: no SDK, no judgement: not by pings, not by READY
#[test]
fn a_worker_that_never_beats_is_never_judged() {
    for steps in [&["term", "exit:0"][..], &["n:READY=1|STATUS=here", "term", "exit:0"]] {
        let dog = Run::beating().talks(steps).spawn();
        let pid = dog.worker_pid(1);
        stays("nobody judges it", BEAT * 8, || dog.events_of("hang").is_empty() && procs::alive(pid));
        assert_eq!(dog.heartbeat()["armed"], false);
        dog.stop().code(0).count("hang", 0).count("spawn", 1);
    }
    let dog = Run::beating().program(["sleep", "1000"]).spawn();
    dog.worker_pid(1);
    stays("nobody judges it", BEAT * 8, || dog.events_of("hang").is_empty());
    assert_eq!(dog.heartbeat()["dialect"], Value::Null);
    dog.stop().code(143).count("hang", 0).count("channel-lost", 0);
}

/// Section 3: heartbeat = required
#[test]
fn where_beats_are_required_silence_from_ready_on_is_a_hang() {
    let run = Run::beating().flag("--heartbeat", "required").flag("--restart-limit", "1");
    let began = Instant::now();
    let ended = run.program(["sleep", "1000"]).run().count("hang", 2).count("spawn", 2).count("gave-up", 1);
    // WATCHDOG_USEC: interval x misses, and the two looks
    assert!(began.elapsed() >= BEAT * 4, "{:?}", began.elapsed());
    assert!(ended.of("exit").iter().all(|e| e["cause"] == "hang"), "{}", ended.story());
    let first = millis(&ended.of("hang")[0]) - millis(&ended.of("ready")[0]);
    assert!((400..4000).contains(&first), "{first} ms after ready");
}

/// Section 3: heartbeat = off
#[test]
fn where_beats_are_off_nobody_is_asked_or_judged() {
    let dog = Run::beating().flag("--heartbeat", "off").talks(&["hello", "n:WATCHDOG=1", "deaf"]).spawn();
    dog.hears("hello");
    stays("not judged", BEAT * 8, || dog.events_of("hang").is_empty());
    assert_eq!(dog.heard("ping"), 0);
    dog.stop().count("hang", 0).count("spawn", 1);
}

/// Section 3: on_hang = record: one report, nobody is signalled, and it may beat again
#[test]
fn a_hang_that_is_only_recorded_kills_nobody() {
    let run = Run::beating().flag("--on-hang", "record");
    let dog = run.talks(&["hello", "serve:500", "sleep:2500", "note:back", "serve"]).spawn();
    let pid = dog.worker_pid(1);
    let verdict = dog.event("verdict", 1);
    assert_eq!(verdict["action"], "record", "{verdict}");
    dog.hears("back");
    wait_for("its recovery", || (dog.status()["health"] == "healthy").then_some(()));
    assert_eq!(dog.status()["pid"], pid);
    let all = reports(&dog);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((&all[0]["cause"], &all[0]["verdict"]), (&json!("hang"), &json!("deadlocked")), "{all:?}");
    let ended = dog.stop().count("hang", 1).count("spawn", 1).count("kill-escalated", 0);
    assert!(ended.of("signal-sent").iter().all(|s| s["signal"] != "ABRT"), "{}", ended.story());
}

/// Section 3: hang_dump_timeout
#[test]
fn a_hung_worker_that_ignores_the_dump_signal_is_killed_after_its_time() {
    let run = Run::beating().flag("--hang-dump-timeout", "700ms").arranged(["--ignore", "ABRT"]);
    let dog = run.talks(&["hello", "serve:500", "sleep:1000000"]).spawn();
    let exit = dog.event("exit", 1);
    assert_eq!((&exit["signal"], &exit["cause"]), (&json!("KILL"), &json!("hang")), "{exit}");
    let ended = dog.stop();
    let at = |kind: &str| millis(&ended.of(kind)[0]);
    assert_eq!(ended.of("signal-sent")[0]["signal"], "ABRT", "{}", ended.story());
    assert!(at("kill-escalated") - at("signal-sent") >= 650, "{}", ended.story());
}

/// Section 3: hang_signal, and 0 for no dump at all
#[test]
fn the_dump_signal_is_the_one_that_was_chosen_or_none() {
    let dog = Run::beating().flag("--hang-signal", "QUIT").talks(&["hello", "serve:500", "sleep:1000000"]).spawn();
    assert_eq!(dog.event("exit", 1)["signal"], "QUIT");
    dog.stop();
    let dog = Run::beating().flag("--hang-dump-timeout", "0").talks(&["hello", "serve:500", "sleep:1000000"]).spawn();
    assert_eq!(dog.event("exit", 1)["signal"], "KILL");
    let ended = dog.stop();
    let before = ended.events.iter().take_while(|e| e["event"] != "exit");
    assert!(before.filter(|e| e["event"] == "signal-sent").all(|e| e["signal"] == "KILL"), "{}", ended.story());
}

/// Section 6: a debugger holds it: nobody kills it
#[test]
fn a_traced_worker_is_not_killed() {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let dog = Run::beating().talks(&["hello", "serve:600", "sleep:1000000"]).spawn();
    let pid = dog.worker_pid(1);
    let mut tracer = std::process::Command::new("strace");
    tracer.args(["-qq", "-o", "/dev/null", "-p", &pid.to_string()]).env("WDTEST", dog.run.mark());
    let mut tracer = tracer.spawn().unwrap();
    let traced = within(Duration::from_secs(5), || procs::status_field(pid, "TracerPid") != 0);
    if !traced {
        let _ = (tracer.kill(), tracer.wait());
        return skip("strace may not attach here");
    }
    dog.event("verdict", 1);
    stays("it lives while it is traced", BEAT * 8, || procs::alive(pid));
    assert!(dog.verdicts().iter().all(|v| v.0 == "traced"), "{:?}", dog.verdicts());
    let _ = (tracer.kill(), tracer.wait());
    // and is judged when the debugger has gone
    assert_eq!(dog.event("exit", 1)["cause"], "hang");
    dog.stop();
}

/// HAN-25: we were not there to hear it
#[test]
fn a_watchdog_that_was_stopped_itself_asks_again_before_it_judges() {
    let dog = Run::beating().talks(&["hello", "serve"]).spawn();
    dog.armed();
    let pid = dog.worker_pid(1);
    dog.signal(Signal::SIGSTOP);
    wait_for("state T", || (procs::state(dog.pid()) == Some('T')).then_some(()));
    std::thread::sleep(Duration::from_millis(2000));
    dog.signal(Signal::SIGCONT);
    let stall = dog.event("stall", 1);
    assert!(stall["late_ms"].as_u64().is_none_or(|ms| ms >= 1000), "{stall}");
    let pings = dog.heard("ping");
    wait_for("pings again", || (dog.heard("ping") >= pings + 3).then_some(()));
    assert!(procs::alive(pid));
    dog.stop().count("hang", 0).count("spawn", 1);
}

/// HAN-25: its look-alike is found all the same
#[test]
fn a_worker_that_hung_while_the_watchdog_was_stopped_is_found_later() {
    let dog = hangs_once(Run::beating(), &["sleep:1000000"]);
    dog.armed();
    dog.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(1500));
    dog.signal(Signal::SIGCONT);
    assert_eq!(dog.event("exit", 1)["cause"], "hang");
    dog.worker_pid(2);
    dog.stop().count("spawn", 2);
}

/// Ctrl-Z stops both, and fg is not the moment to judge
#[test]
fn a_keyboard_stop_is_no_hang() {
    let (dog, mut term) = Run::beating().talks(&["hello", "serve"]).in_terminal();
    dog.armed();
    let pid = dog.worker_pid(1);
    term.press("\x1a");
    term.note("stopped");
    wait_for("the worker to be stopped too", || (procs::state(pid) == Some('T')).then_some(()));
    std::thread::sleep(Duration::from_millis(1500));
    term.foreground();
    let pings = dog.heard("ping");
    wait_for("pings again", || (dog.heard("ping") >= pings + 4).then_some(()));
    assert_eq!((dog.events_of("hang").len(), procs::alive(pid)), (0, true));
    dog.signal(Signal::SIGTERM);
    term.note("exited 143");
    dog.wait().count("spawn", 1).count("hang", 0);
}

/// Section 13: what `status` shows of a heartbeat
#[test]
fn status_shows_the_heartbeat() {
    let dog = Run::beating().talks(&["hello", "serve:1500", "sleep:1000000"]).spawn();
    wait_for("round trips", || dog.heartbeat()["rtt_p99_us"].as_u64());
    let shown = dog.heartbeat();
    assert_eq!((&shown["dialect"], &shown["armed"], &shown["misses"]), (&json!("native"), &json!(true), &json!(0)));
    assert!(shown["last_ms"].as_u64().unwrap() < 1000, "{shown}");
    assert!(shown["rtt_p50_us"].as_u64() <= shown["rtt_p99_us"].as_u64(), "{shown}");
    wait_for("a missed one", || dog.heartbeat()["misses"].as_u64().filter(|n| *n > 0));
    assert_eq!(dog.verb(&["health", "worker"]).code, 1);
    dog.event("exit", 1);
    dog.stop();
}

/// Sections 5 and 6: hangs are failures and use up the restarts
#[test]
fn a_worker_that_hangs_again_and_again_is_given_up() {
    let run = Run::beating().flag("--restart-limit", "2");
    let ended = run.talks(&["hello", "serve:400", "sleep:1000000"]).run().code(1);
    let ended = ended.count("spawn", 3).count("hang", 3).count("gave-up", 1);
    assert!(ended.of("exit").iter().all(|e| e["cause"] == "hang"), "{}", ended.story());
    assert_eq!(lines(&ended.run.path("talk")).iter().filter(|l| l.starts_with("start")).count(), 3);
}

/// A stop during a hang wins over the restart, and is not kept waiting by the dump (stop_timeout)
#[test]
fn a_hung_worker_that_is_stopped_stays_down() {
    let run = Run::beating().arranged(["--ignore", "ABRT"]).flag("--hang-dump-timeout", "60s");
    let dog = run.talks(&["hello", "serve:500", "sleep:1000000"]).spawn();
    wait_line(&dog.path("talk"), "start");
    wait_for("the dump signal", || dog.events_of("signal-sent").first().cloned());
    let began = Instant::now();
    dog.verb(&["stop", "worker"]).code(0);
    about(began.elapsed(), 500);
    assert_eq!(dog.status()["state"], "stopped");
    dog.stop().count("spawn", 1);
}
