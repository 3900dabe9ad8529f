//! Channels of workers that lie, flood, fall silent or go away; and the words that go the other way (HAN-09..19, STO-15).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::talk::BEAT;
use common::{Dog, Ended, Run, procs, stays, wait_for, wait_line, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::time::{Duration, Instant};

const ANSWERING: &str = "process.on('message', m => { if (m.type === 'ping') process.send({type: 'pong', id: m.id}) });";

fn rss(dog: &Dog) -> u64 {
    procs::status_field(dog.pid(), "VmRSS")
}

/// `status` is quick, memory stays where it was, and TERM is obeyed, whatever the worker does meanwhile.
fn bears(dog: Dog, time: Duration) -> Ended {
    let before = rss(&dog);
    let (mut slowest, began) = (Duration::ZERO, Instant::now());
    while began.elapsed() < time {
        let asked = Instant::now();
        assert!(dog.status()["pid"].is_i64());
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(slowest < Duration::from_secs(2), "status took {slowest:?}");
    let grown = rss(&dog).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    dog.stop().before(30_000).count("kill-escalated", 0)
}

/// The channel ends with one event, and the worker lives on unjudged.
fn channel_ends(dog: Dog, kind: &str) -> Ended {
    let event = dog.event(kind, 1);
    let pid = dog.worker_pid(1);
    assert_eq!(event["dialect"], dog.heartbeat()["dialect"], "{event}");
    stays("it lives", BEAT * 6, || procs::alive(pid));
    assert_eq!(dog.heartbeat()["armed"], false);
    dog.verb(&["tell", dog.status()["name"].as_str().unwrap(), "anything"]).code(4);
    dog.stop().count(kind, 1).count("hang", 0).count("spawn", 1)
}

/// HAN-09
#[test]
fn a_flood_of_frames_keeps_nobody_out() {
    let dog = Run::beating().talks(&["hello", "status:begins", "flood:0"]).spawn();
    wait_for("its first word", || (dog.status()["status_text"] == "begins").then_some(()));
    bears(dog, Duration::from_secs(3)).code(143).count("hang", 0).count("proto-error", 0);
}

/// HAN-09 in Node
#[test]
fn a_flood_of_nodes_messages_keeps_nobody_out() {
    let script = format!("{ANSWERING} const f = () => {{ for (let i = 0; i < 500; i++) process.send({{type: 'beat'}}); \
                          setImmediate(f) }}; f();");
    let Some(run) = Run::new().flag("--stop-timeout", "5s").node(&script) else { return };
    let dog = run.spawn();
    dog.armed();
    bears(dog, Duration::from_secs(3)).count("proto-error", 0);
}

/// HAN-10: once, and no turn of the loop is spent on it
#[test]
fn a_worker_that_closes_its_channel_is_noted_once_and_left_alone() {
    let dog = Run::beating().talks(&["hello", "serve:500", "close", "sleep:1000000"]).spawn();
    dog.event("channel-lost", 1);
    let (ticks, began) = (procs::cpu_ticks(dog.pid()), Instant::now());
    stays("quiet", Duration::from_millis(1000), || dog.events_of("channel-lost").len() == 1);
    let spent = (procs::cpu_ticks(dog.pid()) - ticks) * 10;
    assert!(u128::from(spent) * 3 < began.elapsed().as_millis(), "{spent} ms of CPU for the end of a channel");
    channel_ends(dog, "channel-lost").code(143);
}

/// HAN-10 in Node
#[test]
fn a_node_worker_that_disconnects_is_noted_once() {
    let script = format!("{ANSWERING} setTimeout(() => process.disconnect(), 700); setInterval(() => 0, 1000);");
    let Some(run) = Run::beating().node(&script) else { return };
    let dog = run.spawn();
    dog.armed();
    channel_ends(dog, "channel-lost");
}

/// HAN-10: a worker that ends closes its channel too, and that is no news
#[test]
fn an_ordinary_end_is_not_the_loss_of_a_channel() {
    Run::once().talks(&["hello", "ready", "serve:200", "exit:5"]).run().code(5).count("channel-lost", 0);
    let dog = Run::beating().talks(&["hello", "serve"]).spawn();
    dog.armed();
    dog.stop().code(143).count("channel-lost", 0);
}

/// HAN-10, HAN-11: where beats are required there is no way out by closing the ear
#[test]
fn a_lost_channel_is_a_hang_where_beats_are_required() {
    for (end, kind) in [("close", "channel-lost"), ("bytes:0500000001000000ff", "proto-error")] {
        let run = Run::beating().flag("--heartbeat", "required");
        let dog = run.talks(&["hello", "serve:500", end, "sleep:1000000"]).spawn();
        dog.event(kind, 1);
        assert_eq!(dog.event("exit", 1)["cause"], "hang");
        let ended = dog.stop();
        ended.order(&["ready", kind, "hang", "verdict", "exit"]);
    }
}

/// HAN-11, HAN-12: one proto-error, nobody is killed
#[test]
fn garbage_ends_the_channel_and_nothing_else() {
    let garbage = [
        "bytes:ffffffffffffffff",           // a length of 4 GiB
        "bytes:01000100",                   // one byte more than the limit
        "bytes:0500000001000000ff",         // a byte left over
        "bytes:0300000001000000",           // less than a variant
        "bytes:0c00000002000000ffffffffffffffff", // a text longer than its frame
        "bytes:0d000000020000000100000000000000ff", // no UTF-8
        "body:65537",
        "hello:7",
    ];
    for one in garbage {
        let dog = Run::beating().talks(&["hello", "serve:400", one, "sleep:1000000"]).spawn();
        dog.armed();
        let before = rss(&dog);
        let event = dog.event("proto-error", 1);
        assert!(event["error"].as_str().is_some_and(|e| !e.is_empty()), "{event}");
        let grown = rss(&dog).saturating_sub(before);
        assert!(grown < 8 * 1024, "{one}: {grown} KiB more");
        channel_ends(dog, "proto-error");
    }
}

/// HAN-11: what comes before the greeting, and a greeting of another protocol (HAN-15)
#[test]
fn a_channel_that_begins_badly_is_refused() {
    for (steps, word) in [(["ready"], ""), (["hello:2"], "2"), (["bytes:04000000e8030000"], "")] {
        let dog = Run::beating().talks(&[&steps[..], &["sleep:1000000"]].concat()).spawn();
        let event = dog.event("proto-error", 1);
        assert!(event["error"].as_str().unwrap().contains(word), "{event}");
        let pid = dog.worker_pid(1);
        stays("it lives", BEAT * 3, || procs::alive(pid));
        dog.stop().count("proto-error", 1).count("hang", 0).count("spawn", 1);
    }
}

/// HAN-11, HAN-14 in Node: no JSON, a line that is too long, and one that is not
#[test]
fn garbage_of_node_ends_the_channel_and_nothing_else() {
    let raw = "const fs = require('fs'); const fd = +process.env.CH; setInterval(() => 0, 1000);";
    let wrongs = ["'no json\\n'", "'x'.repeat(70000) + '\\n'", "'{\"type\":\"pong\"'.repeat(6000)"];
    for wrong in wrongs {
        let script = format!("{ANSWERING} {raw} setTimeout(() => fs.writeSync(fd, {wrong}), 700);");
        let Some(run) = Run::beating().node(&script) else { return };
        let path = run.at("worker.js");
        let line = "CH=$NODE_CHANNEL_FD; export CH; exec node \"$0\"";
        let dog = run.flag("--dialects", "node").program(["sh", "-c", line, &path]).spawn();
        dog.armed();
        channel_ends(dog, "proto-error");
    }
    let script = format!("{ANSWERING} process.send({{type: 'status', text: 'x'.repeat(60000)}});");
    let Some(run) = Run::beating().node(&script) else { return };
    let dog = run.spawn();
    wait_for("a status of 4 KiB", || dog.status()["status_text"].as_str().filter(|t| t.len() == 4096).map(drop));
    dog.stop().count("proto-error", 0);
}

/// HAN-13: half a frame is no life; one that is completed in time is
#[test]
fn incomplete_bytes_do_not_count_as_life_and_dripping_ones_do_when_they_are_whole() {
    let dog = Run::beating().talks(&["hello", "serve:500", "bytes:0c00000003000000ff", "sleep:1000000"]).spawn();
    assert_eq!(dog.event("exit", 1)["cause"], "hang");
    dog.stop();
    let run = Run::beating().flag("--heartbeat-timeout", "2s");
    let dog = run.talks(&["hello", "serve:400", "drip:10"]).spawn();
    wait_for("eight pings", || (dog.heard("ping") >= 8).then_some(()));
    dog.stop().count("hang", 0).count("proto-error", 0);
}

/// HAN-14, HAN-15: what a later version says is skipped, up to the limit of a frame, with one note
#[test]
fn unknown_words_are_skipped_with_one_note() {
    let run = Run::beating().flag("--log-level", "info");
    let steps = ["hello", "bytes:04000000e8030000", "bytes:08000000e903000001020304", "body:65535", "body:65536", "serve"];
    let dog = run.talks(&steps).spawn();
    dog.armed();
    let ended = dog.stop().count("proto-error", 0).count("channel-lost", 0).count("hang", 0);
    assert_eq!(ended.err.matches("means nothing here").count(), 1, "{}", ended.story());
}

/// HAN-15 in Node: an application says to its parent what it likes
#[test]
fn strange_messages_of_node_mean_nothing() {
    let script = format!("{ANSWERING} for (const m of [1, null, 'hi', [1], {{}}, {{type: 7}}, {{cmd: 'NODE_X'}}]) process.send(m);");
    let Some(run) = Run::beating().node(&script) else { return };
    let dog = run.spawn();
    dog.armed();
    dog.stop().count("proto-error", 0).count("hang", 0);
}

/// HAN-16
#[test]
fn a_worker_that_never_reads_is_found_and_costs_nothing() {
    let run = Run::beating().flag("--on-hang", "record").flag("--heartbeat-interval", "20ms");
    let dog = run.talks(&["hello", "serve:500", "sleep:1000000"]).spawn();
    dog.armed();
    dog.event("hang", 1);
    let (before, mut control) = (rss(&dog), dog.control());
    let word = "w".repeat(4000);
    for _ in 0..3000 {
        let request = json!({"id": 7, "verb": "tell", "services": ["worker"], "args": {"word": word}});
        control.ask(&request);
        let answer = control.answer();
        assert_eq!(answer["ok"], true, "{answer}");
    }
    let grown = rss(&dog).saturating_sub(before);
    assert!(grown < 4 * 1024, "12 MB of words made it {grown} KiB larger");
    dog.stop().count("spawn", 1);
}

/// HAN-17
#[test]
fn an_heir_of_the_channel_speaks_for_nobody() {
    let run = Run::quick().flag("--restart-limit", "1");
    let began = Instant::now();
    let dog = run.talks(&["hello", "status:mine", "serve:400", "heir", "sleep:300", "exit:3"]).spawn();
    let exit = dog.event("exit", 1);
    assert_eq!(exit["code"], 3, "{exit}");
    assert!(exit["uptime_ms"].as_u64().unwrap() < 5000, "promptly, by the status of the child: {exit}");
    let ended = dog.wait().code(3).count("spawn", 2).count("exit", 2);
    assert!(began.elapsed() < Duration::from_secs(20));
    // the next generation has a channel of its own, which begins with a greeting
    assert_eq!(ended.lines("talk").iter().filter(|l| l.starts_with("hello")).count(), 2);
    let at = ended.events.iter().position(|e| e["event"] == "spawn" && e["generation"] == 2).unwrap();
    let second: Vec<_> = ended.events[at..].iter().filter(|e| e["event"] == "status").collect();
    assert!(second.iter().all(|e| e["generation"] == 2), "{}", ended.story());
    assert_eq!(second[0]["text"], "mine");
}

/// HAN-18
#[test]
fn a_thief_of_pings_harms_only_its_own_worker() {
    let dog = Run::beating().talks(&["hello", "serve:500", "thief", "serve"]).spawn();
    dog.armed();
    let end = within(Duration::from_secs(4), || !dog.events_of("exit").is_empty());
    let cause = dog.events_of("exit").first().map(|e| e["cause"].clone());
    assert!(!end || cause == Some(json!("hang")), "{cause:?}");
    dog.stop();
}

/// HAN-19
#[test]
fn descriptors_on_the_channel_are_closed() {
    let dog = Run::quick().talks(&["hello", "status:before", "term", "descriptors:300", "status:after", "serve"]).spawn();
    let shown = |text: &str| wait_for(text, || (dog.status()["status_text"] == text).then_some(()));
    shown("before");
    let count = || procs::fd_count(dog.pid());
    let before = wait_for("a settled count", || Some(count()).filter(|n| *n == count()));
    kill(Pid::from_raw(dog.worker_pid(1)), Signal::SIGTERM).unwrap();
    shown("after");
    assert!(within(Duration::from_secs(5), || count() <= before), "{} descriptors, were {before}", count());
    dog.stop().count("proto-error", 0);
}

/// Hundreds of generations leave no descriptor behind
#[test]
fn channels_are_closed_with_their_generation() {
    let run = Run::quick().flag("--restart", "always").flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let run = run.flag("--restart-delay", "1ms").flag("--restart-delay-factor", "1").flag("--dialects", "native,notify,node,fd");
    let dog = run.talks(&["hello", "ready", "n:READY=1", "fd:up", "beat", "exit:0"]).spawn();
    dog.event("spawn", 20);
    let most = || (0..20).map(|_| procs::fd_count(dog.pid())).max().unwrap();
    let early = most();
    dog.event("spawn", 150);
    let late = most();
    assert!(late <= early + 8, "{early} descriptors, and {late} later");
    dog.stop();
}

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
    let cases = [(obeys, 0, &[][..]), (ANSWERING.into(), 143, &["TERM"]), (crashes, 134, &[]), (silent, 143, &["TERM"])];
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
    let script = format!("{ANSWERING} process.on('message', m => {{ if (m.type === 'tell') process.send({{type: 'status', text: m.word}}); \
                          if (m.type === 'reload') process.send({{type: 'reloading'}}) }});");
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

/// Section 3, on_watchdog_death: the end of the watchdog is the end of the channel
#[test]
fn a_worker_hears_that_its_watchdog_has_died() {
    let run = Run::beating().flag("--on-watchdog-death", "keep").leaves_alive();
    let dog = run.talks(&["hello", "serve"]).spawn();
    dog.armed();
    let pid = dog.worker_pid(1);
    dog.signal(Signal::SIGKILL);
    dog.hears("eof");
    assert!(procs::alive(pid));
    dog.wait();
}
