//! The words that go to a worker, and what it says of itself: end, reload, your own word, how are you (STO-15).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Ended, Run, wait_for, wait_line};
use serde_json::json;
use std::time::{Duration, Instant};

/// Node, answering pings.
const ANSWERING: &str =
    "process.on('message', m => { if (m.type === 'ping') process.send({type: 'pong', id: m.id}) });";

fn told(dog: Dog, more: u64) -> (Ended, Duration) {
    let began = Instant::now();
    let ended = dog.stop();
    assert!(began.elapsed() < Duration::from_millis(more), "{:?}\n{}", began.elapsed(), ended.story());
    (ended, began.elapsed())
}

fn signals(ended: &Ended) -> Vec<String> {
    let before = ended.events.iter().take_while(|e| e["event"] != "exit");
    let sent = before.filter(|e| e["event"] == "signal-sent" && e["signal"] != "CONT");
    sent.map(|e| e["signal"].as_str().unwrap().to_string()).collect()
}

/// STO-15: it obeys: no signal at all
#[test]
fn a_worker_that_obeys_the_word_ends_without_a_signal() {
    let run = Run::quick().flag("--stop-timeout", "8s");
    let dog = run.talks(&["--at-shutdown", "exit:0", "hello", "takes", "serve"]).spawn();
    dog.armed();
    let (ended, _) = told(dog, 6000);
    let ended = ended.code(0).count("kill-escalated", 0).count("channel-lost", 0);
    assert!(signals(&ended).is_empty(), "{}", ended.story());
    let line = wait_line(&ended.run.path("talk"), "shutdown ");
    let grace: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((4000..=8000).contains(&grace), "{line}");
    assert_eq!(ended.of("exit")[0]["requested"], true);
}

/// STO-15: it does not: the stop signal inside the same grace, then KILL
#[test]
fn a_worker_that_ignores_the_word_gets_the_stop_signal_before_the_kill() {
    let run = || Run::quick().flag("--stop-timeout", "2s");
    let dog = run().talks(&["hello", "takes", "serve"]).spawn();
    dog.armed();
    let (ended, took) = told(dog, 7000);
    assert!(took >= Duration::from_millis(1400), "it had time: {took:?}");
    let ended = ended.code(143).count("kill-escalated", 0);
    assert_eq!(signals(&ended), ["TERM"]);
    let dog = run().arranged(["--ignore", "TERM"]).talks(&["hello", "takes", "serve"]).spawn();
    dog.armed();
    let (ended, took) = told(dog, 8000);
    assert!(took >= Duration::from_millis(1850), "one grace, not less: {took:?}");
    let ended = ended.code(137).count("kill-escalated", 1);
    assert_eq!(signals(&ended), ["TERM", "KILL"]);
}

/// STO-15: who did not say that it takes the word is not made to wait for it
#[test]
fn a_worker_that_does_not_take_the_word_gets_the_signal_at_once() {
    let dog = Run::quick().flag("--stop-timeout", "20s").talks(&["hello", "serve"]).spawn();
    dog.armed();
    let (ended, _) = told(dog, 6000);
    assert_eq!(signals(&ended.code(143)), ["TERM"]);
}

/// STO-15: its own end is its own
#[test]
fn a_worker_that_crashes_at_the_word_ends_with_its_own_status() {
    for (how, code) in [("die:SEGV", 139), ("exit:9", 9)] {
        let run = Run::quick().flag("--stop-timeout", "8s").arranged(["--rlimit", "4=0:0"]);
        let dog = run.talks(&["--at-shutdown", how, "hello", "takes", "serve"]).spawn();
        dog.armed();
        let (ended, _) = told(dog, 6000);
        let ended = ended.code(code).count("spawn", 1);
        assert!(signals(&ended).is_empty(), "{}", ended.story());
    }
}

/// STO-15: a channel that is lost in the middle of it is not waited for
#[test]
fn a_worker_that_loses_its_channel_while_it_ends_gets_the_signal() {
    let run = Run::quick().flag("--stop-timeout", "20s");
    let dog = run.talks(&["hello", "takes", "serve:1500", "close", "sleep:1000000"]).spawn();
    dog.armed();
    let (ended, _) = told(dog, 10_000);
    assert_eq!(signals(&ended.code(143)), ["TERM"]);
}

/// STO-15 in Node: obeys, ignores, crashes, does not listen
#[test]
fn node_workers_are_told_to_end() {
    let obeys = format!("{ANSWERING} process.on('message', m => {{ if (m.type === 'shutdown') process.exit(0) }});");
    let crashes = obeys.replace("process.exit(0)", "process.abort()");
    let silent = "setInterval(() => 0, 1000);".to_string();
    let cases =
        [(obeys, 0, &[][..]), (ANSWERING.into(), 143, &["TERM"]), (crashes, 134, &[]), (silent, 143, &["TERM"])];
    for (script, code, wanted) in cases {
        let run = Run::quick().flag("--stop-timeout", "3s").arranged(["--rlimit", "4=0:0"]).node(&script);
        let Some(run) = run else { return };
        let dog = run.spawn();
        if script.contains("pong") {
            dog.armed();
        } else {
            dog.worker_pid(1);
        }
        let ended = dog.stop().code(code).count("kill-escalated", 0);
        assert_eq!(signals(&ended), wanted, "{script}");
    }
}

/// Section 2: `tell` and `reload` by a native channel
#[test]
fn words_reach_a_native_worker() {
    let dog = Run::quick().talks(&["hello", "serve"]).spawn();
    dog.hears("hello");
    wait_for("an ear", || (dog.verb(&["tell", "worker", "clear", "the cache"]).code == 0).then_some(()));
    dog.verb(&["reload", "worker"]).code(0);
    assert!(dog.hears("tell ").starts_with("tell clear the cache"));
    dog.hears("reload");
    dog.hears("ask-health");
    dog.stop().count("reload-requested", 1).count("spawn", 1);
}

/// The same by Node's
#[test]
fn words_reach_a_node_worker() {
    let script = format!(
        "{ANSWERING} process.on('message', m => {{ if (m.type === 'tell') process.send({{type: 'status', text: m.word}}); \
                          if (m.type === 'reload') process.send({{type: 'reloading'}}) }});"
    );
    let Some(run) = Run::quick().node(&script) else { return };
    let dog = run.spawn();
    dog.armed();
    let name = dog.status()["name"].as_str().unwrap().to_string();
    dog.verb(&["tell", &name, "flush"]).code(0);
    wait_for("its answer", || (dog.status()["status_text"] == "flush").then_some(()));
    dog.verb(&["reload"]).code(0);
    dog.event("reload", 1);
    dog.stop();
}

/// Refused for who cannot hear; by a signal for who was given one
#[test]
fn words_for_a_deaf_worker_are_refused_and_a_reload_may_be_a_signal() {
    let dog = Run::quick().program(["sleep", "1000"]).spawn();
    dog.worker_pid(1);
    let refused = dog.verb(&["tell", "sleep", "anything"]).code(4);
    assert!(refused.err.contains("cannot be told"), "{refused:?}");
    dog.verb(&["reload"]).code(4);
    dog.stop();
    let run = Run::quick().flag("--reload-signal", "USR1");
    let log = run.at("log");
    let dog = run.worker(["signal-log", &log, "--exit-on", "TERM"]).spawn();
    wait_line(&dog.path("log"), "READY");
    dog.verb(&["reload"]).code(0);
    wait_line(&dog.path("log"), "USR1");
    dog.verb(&["stop", "worker"]).code(0);
    dog.verb(&["reload"]).code(4);
    dog.stop().count("spawn", 1);
}

/// Section 7: what a worker says of its health is asked for, shown, and changes
#[test]
fn checks_of_a_worker_are_its_health() {
    let steps = ["hello", "health:db=pass,queue=full", "serve:700", "health:db=pass,queue=pass", "serve"];
    let dog = Run::beating().talks(&steps).spawn();
    let health = |wanted: &str| wait_for(wanted, || (dog.status()["health"] == wanted).then_some(()));
    health("unhealthy");
    let said = dog.verb(&["health", "worker"]).code(1);
    assert!(format!("{}{}", said.out, said.err).contains("queue fails: full"), "{said:?}");
    health("healthy");
    dog.verb(&["health", "worker"]).code(0);
    wait_for("questions", || (dog.heard("ask-health") >= 3 && dog.heard("ask-metrics") >= 2).then_some(()));
    dog.stop().count("spawn", 1).count("hang", 0);
}

/// Sections 6 and 7: last words, stacks and numbers are in the report
#[test]
fn the_last_words_of_a_worker_are_in_its_report() {
    let steps = ["hello", "metrics:jobs=3", "panic:index out of bounds", "stack:consumer:0: f", "exit:101"];
    let run = Run::quick().flag("--restart-delay", "60s");
    let dir = run.at("reports");
    let dog = run.flag("--report-dir", dir).talks(&steps).spawn();
    dog.wait_state("backoff");
    let answer = dog.verb(&["report", "last", "--json"]).code(0).json();
    let report = if answer["report"].is_object() { &answer["report"] } else { &answer };
    assert_eq!((&report["panic"], &report["code"]), (&json!("index out of bounds"), &json!(101)), "{report}");
    assert_eq!(report["stacks"], json!([{"thread": "consumer", "text": "0: f"}]));
    assert_eq!(report["metrics"], json!({"counters": {"jobs": 3}, "gauges": {"load": 0.5}}));
    dog.stop();
}
