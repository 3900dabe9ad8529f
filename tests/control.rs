//! The control socket: every verb's exit code and JSON shape (CTL-*, product.md sections 2 and 13).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, lines, wait_for, wait_line, wait_lines};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn sleeper(run: Run) -> Dog {
    let pid = run.at("pid");
    let dog = run.worker(["sleep", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog
}

/// Unknown is null, never left out: every member of a shape is there.
#[track_caller]
fn members(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value.get(name).is_some(), "{name} is left out of {value}");
    }
}

/// Section 13: status
#[test]
fn status_has_its_whole_shape() {
    let dog = sleeper(Run::quick());
    let answer = dog.verb(&["status", "--json"]).code(0).json();
    members(&answer["instance"], &["name", "pid", "version", "state", "uptime_ms", "control", "file"]);
    assert_eq!(answer["instance"]["pid"], dog.pid());
    assert_eq!(answer["instance"]["state"], "running");
    assert_eq!(answer["instance"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(answer["instance"]["control"], dog.socket().to_string_lossy().as_ref());
    let s = &answer["services"][0];
    let names = "name title type goal state ready health cause reason pid generation started_at since uptime_ms status_text \
                 waiting_on restarts streak restart_limit next_restart_in_ms ready_by command heartbeat memory cpu \
                 last_exit probes last_report";
    members(s, &names.split_whitespace().collect::<Vec<_>>());
    for (key, value) in [
        ("name", json!("worker")),
        ("goal", json!("up")),
        ("state", json!("running")),
        ("ready", json!(true)),
        ("pid", json!(dog.worker_pid(1))),
        ("generation", json!(1)),
        ("restarts", json!(0)),
        ("streak", json!(0)),
        ("restart_limit", json!(5)),
        ("next_restart_in_ms", Value::Null),
        ("waiting_on", json!([])),
        ("last_exit", Value::Null),
    ] {
        assert_eq!(s[key], value, "{key}: {s}");
    }
    assert!(["healthy", "unknown"].contains(&s["health"].as_str().unwrap()), "{s}");
    let started = s["started_at"].as_str().unwrap();
    assert!(started.ends_with('Z') && started.contains('T'), "RFC 3339 in UTC: {started}");
    // for people too, and by name; an unknown name is 3 with the nearest
    assert!(dog.verb(&["status"]).code(0).out.contains("worker"));
    dog.verb(&["status", "worker"]).code(0);
    let unknown = dog.verb(&["status", "wroker"]).code(3);
    assert!(unknown.err.contains("worker"), "names the nearest: {unknown:?}");
    dog.stop();
}

/// Section 13: last_exit, restarts, next_restart_in_ms
#[test]
fn status_of_a_crashed_service_tells_the_last_exit() {
    let dog = Run::quick().flag("--restart-delay", "20s").worker(["exit", "9"]).spawn();
    dog.event("restart-scheduled", 1);
    let s = dog.wait_state("backoff");
    let last = &s["last_exit"];
    members(last, &["time", "generation", "pid", "code", "signal", "core", "oom", "uptime_ms", "cause"]);
    assert_eq!(
        (&last["code"], &last["signal"], &last["generation"], &last["cause"]),
        (&9.into(), &Value::Null, &1.into(), &"exited".into())
    );
    let next = s["next_restart_in_ms"].as_u64().unwrap();
    assert!((15_000..=20_000).contains(&next), "{s}");
    assert_eq!((&s["pid"], &s["ready"]), (&Value::Null, &false.into()), "{s}");
    dog.stop().code(9);
}

/// Section 2: start, stop, restart
#[test]
fn start_stop_and_restart_do_what_they_say() {
    let dog = sleeper(Run::quick());
    dog.verb(&["start", "worker"]).code(0);
    assert_eq!(dog.events_of("spawn").len(), 1, "start on running is done already");
    dog.verb(&["stop", "worker"]).code(0);
    let s = dog.status();
    assert_eq!((&s["state"], &s["goal"], &s["pid"]), (&"stopped".into(), &"down".into(), &Value::Null), "{s}");
    dog.verb(&["stop", "worker"]).code(0);
    dog.verb(&["health", "worker"]).code(1);
    dog.verb(&["signal", "HUP", "worker"]).code(4);
    dog.verb(&["start", "worker"]).code(0);
    assert_eq!(dog.status()["generation"], 2);
    let answer = dog.verb(&["restart", "worker", "--json"]).code(0).json();
    assert_eq!(answer["services"][0]["generation"], 3, "{answer}");
    assert_eq!(answer["services"][0]["state"], "running", "answered when the new one is ready: {answer}");
    dog.verb(&["restart", "nobody"]).code(3);
    dog.verb(&["stop", "nobody"]).code(3);
    let asked = dog.event("restart-requested", 1);
    assert_eq!(asked["by"]["kind"], "control", "{asked}");
    assert_eq!(asked["by"]["uid"], nix::unistd::getuid().as_raw(), "{asked}");
    dog.stop().code(143).count("spawn", 3);
}

/// Section 2: a start that comes to nothing is "no", with the reason; the watchdog stays (give_up = stay)
#[test]
fn a_start_that_fails_is_1_with_the_reason() {
    let run = Run::quick().flag("--give-up", "stay").flag("--restart-limit", "1").flag("--name", "worker");
    let script = run.path("script");
    std::fs::write(&script, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let dog = run.program([&script]).spawn();
    dog.wait_state("running");
    dog.verb(&["stop", "worker"]).code(0);
    std::fs::remove_file(&script).unwrap();
    let verb = dog.verb(&["start", "worker"]).code(1);
    assert!(verb.err.contains("gave up") && verb.err.contains("ENOENT"), "{verb:?}");
    let answer = dog.verb(&["start", "worker", "--json"]).code(1).json();
    assert_eq!(answer["services"][0]["state"], "failed", "{answer}");
    assert!(answer["reason"].as_str().unwrap().starts_with("worker: "), "{answer}");
    dog.verb(&["shutdown"]).code(0);
    dog.wait();
}

/// Section 2: restart --force does not wait for the grace
#[test]
fn restart_by_force_does_not_ask() {
    let run = Run::quick().flag("--stop-timeout", "30s");
    let (pid, count) = (run.at("pid"), run.at("count"));
    let dog = run.worker(["ignore-term", "--pid-file", &pid, "--count", &count]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let began = Instant::now();
    dog.verb(&["restart", "--force", "worker"]).code(0);
    assert!(began.elapsed() < Duration::from_secs(10));
    wait_lines(&dog.path("pid"), 2);
    dog.verb(&["stop", "--timeout", "100ms", "worker"]).code(0);
    assert_eq!(dog.status()["state"], "stopped");
    dog.stop().count("spawn", 2);
}

/// Section 2: signal
#[test]
fn a_signal_by_name_or_number_reaches_the_worker() {
    let run = Run::quick();
    let log = run.at("log");
    let dog = run.worker(["signal-log", &log, "--exit-on", "TERM"]).spawn();
    wait_line(&dog.path("log"), "READY");
    for (name, arrives) in [("HUP", "HUP"), ("SIGUSR1", "USR1"), ("12", "USR2")] {
        dog.verb(&["signal", name, "worker"]).code(0);
        wait_line(&dog.path("log"), arrives);
    }
    for bad in ["NOSUCH", "0", "99", "-1"] {
        let verb = dog.verb(&["signal", bad, "worker"]);
        assert_eq!(verb.code, 2, "{bad}: {verb:?}");
    }
    assert_eq!(lines(&dog.path("log")).len(), 4);
    dog.stop().code(0);
}

/// Section 13: events
#[test]
fn events_are_told_from_the_first_and_followed() {
    let dog = sleeper(Run::quick());
    let told = dog.verb(&["events", "--json"]).code(0).json_lines();
    assert_eq!(told[0]["event"], "spawn", "{told:?}");
    for e in &told {
        members(e, &["seq", "time", "mono_ms", "event", "service", "generation", "pid", "cause"]);
    }
    let mut control = dog.control();
    control.ask(&json!({"id": 3, "verb": "events", "services": [], "args": {"follow": true}}));
    assert_eq!(control.answer()["item"]["event"], "spawn");
    dog.verb(&["restart", "worker"]).code(0);
    let mut kinds = Vec::new();
    while !kinds.contains(&"spawn".to_string()) {
        kinds.push(control.answer()["item"]["event"].as_str().unwrap().to_string());
    }
    for kind in ["restart-requested", "signal-sent", "exit"] {
        assert!(kinds.contains(&kind.to_string()), "{kind} in {kinds:?}");
    }
    assert!(!dog.verb(&["events"]).code(0).out.is_empty());
    dog.stop();
}

/// Section 13: ls
#[test]
fn ls_lists_what_runs_here() {
    let dog = sleeper(Run::quick().flag("--name", "listed"));
    let list = dog.verb(&["ls", "--json"]).code(0).json();
    let one = &list["watchdogs"][0];
    members(one, &["name", "pid", "control", "version", "uptime_ms", "services", "ready", "failed"]);
    assert_eq!(
        (&one["name"], &one["pid"], &one["services"], &one["ready"]),
        (&"listed".into(), &dog.pid().into(), &1.into(), &1.into())
    );
    assert!(dog.verb(&["ls"]).code(0).out.contains("listed"));
    dog.verb(&["status", "-i", "listed"]).code(0);
    dog.verb(&["status", "-i", &format!("listed.{}", dog.pid())]);
    dog.verb(&["status", "-i", "nobody"]).code(3);
    dog.stop();
}

/// Section 2: health is for a Docker HEALTHCHECK
#[test]
fn health_is_0_or_1() {
    let dog = sleeper(Run::quick());
    let answer = dog.verb(&["health", "--json"]).code(0).json();
    members(&answer, &["service", "health", "reason"]);
    dog.verb(&["stop", "worker"]).code(0);
    let answer = dog.verb(&["health", "--json"]).code(1).json();
    assert_ne!(answer["health"], "healthy", "{answer}");
    dog.verb(&["health", "nobody"]).code(3);
    dog.stop();
}

/// Section 13: wait
#[test]
fn wait_answers_when_it_is_reached_or_can_not_be() {
    let run = Run::quick().flag("--log", "capture");
    let dog = run.worker(["exit", "4", "--after", "700", "--say", "last words\n"]).spawn();
    dog.verb(&["wait", "worker", "--for", "ready", "--timeout", "20s"]).code(0);
    dog.event("spawn", 2);
    let late = dog.verb(&["wait", "worker", "--for", "stopped", "--timeout", "200ms", "--json"]).code(1).json();
    members(&late, &["service", "for", "reached", "state", "waited_ms", "log_tail"]);
    assert_eq!((&late["reached"], &late["for"]), (&false.into(), &"stopped".into()), "{late}");
    assert!(late["waited_ms"].as_u64().unwrap() >= 150, "{late}");
    assert!(late["log_tail"].to_string().contains("last words"), "with the log tail: {late}");
    let waiting = dog.start_verb(&["wait", "worker", "--for", "stopped", "--timeout", "20s", "--json"]);
    std::thread::sleep(Duration::from_millis(50));
    dog.verb(&["stop", "worker"]).code(0);
    assert_eq!(common::control::finish(waiting, &["wait"]).code(0).json()["reached"], true);
    dog.verb(&["wait", "nobody", "--for", "ready"]).code(3);
    dog.verb(&["wait", "worker", "--for", "breakfast"]).code(2);
    dog.verb(&["wait", "worker"]).code(2);
    dog.stop();
}

/// Section 13: a client that leaves is forgotten, and nobody else with it
#[test]
fn a_client_that_leaves_takes_nobody_elses_answer_along() {
    let dog = sleeper(Run::quick());
    let mut clients = [dog.control(), dog.control()];
    for client in &mut clients {
        client.ask(&json!({"id": 1, "verb": "wait", "services": [], "args": {"for": "stopped"}}));
    }
    let [mut stays, leaves] = clients;
    drop(leaves);
    // the loop hears of the one that left before it hears of this one
    dog.verb(&["stop", "worker"]).code(0);
    assert_eq!(stays.answer()["result"]["reached"], true);
    dog.stop();
}

/// Section 2: explain
#[test]
fn explain_says_what_happened_and_what_comes_next() {
    let dog = Run::quick().flag("--restart-delay", "20s").worker(["exit", "9"]).spawn();
    dog.event("restart-scheduled", 1);
    let text = dog.verb(&["explain", "worker"]).code(0).out;
    assert!(text.contains('9'), "the exit code: {text}");
    assert!(text.to_lowercase().contains("restart"), "what comes next: {text}");
    let answer = dog.verb(&["explain", "--json"]).code(0).json();
    assert!(answer["services"][0]["text"].is_array(), "{answer}");
    dog.verb(&["explain", "nobody"]).code(3);
    dog.stop();
}

/// Section 2: shutdown ends the watchdog, stop does not
#[test]
fn shutdown_ends_with_the_workers_status() {
    let run = Run::quick();
    let (file, pid) = (run.at("finished"), run.at("pid"));
    let dog = run.worker(["graceful", &file, "--pid-file", &pid, "--code", "3"]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let socket = dog.socket();
    dog.verb(&["shutdown"]).code(0);
    dog.wait().code(3).count("stopped", 1);
    assert!(!socket.exists(), "its socket goes with it");
}

/// Section 2: a stop by a client leaves the watchdog up; a TERM then ends it with the last status
#[test]
fn a_stopped_service_leaves_the_watchdog_up() {
    let mut dog = sleeper(Run::quick());
    dog.verb(&["stop", "worker"]).code(0);
    assert!(dog.alive());
    let ended = dog.stop().count("spawn", 1).before(10_000);
    assert!([0, 143].contains(&ended.code), "{}", ended.story());
}

/// Section 2: from the worker's first instant, also where both share one processor
#[test]
fn the_socket_is_there_before_the_worker_is() {
    for _ in 0..10 {
        let run = Run::once().under(["taskset", "-c", "0"]).program([common::watchdog(), "status"]);
        run.run().code(0);
    }
}

/// Section 2: the worker may ask for its own status
#[test]
fn a_worker_sees_its_watchdog() {
    let run = Run::quick().flag("--log", "capture").without_env("WATCHDOG_RUNTIME_DIR");
    let dir = run.dir.path().to_path_buf();
    let run = run.env("XDG_RUNTIME_DIR", dir);
    let line = format!("'{}' status > answer 2>&1; echo $? > code; sleep 100", common::watchdog());
    let dog = run.program(["sh", "-c", &line]).spawn();
    assert_eq!(wait_lines(&dog.path("code"), 1), ["0"], "{:?}", lines(&dog.path("answer")));
    assert!(dog.path("watchdog").is_dir(), "$XDG_RUNTIME_DIR/watchdog");
    dog.stop();
}

/// Section 2: --control off and --control PATH
#[test]
fn the_control_socket_can_be_placed_or_left_out() {
    let run = Run::quick().flag("--control", "off");
    let pid = run.at("pid");
    let dog = run.worker(["sleep", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    assert!(!dog.path("run").exists() || std::fs::read_dir(dog.path("run")).unwrap().count() == 0);
    dog.stop();
    let run = Run::quick();
    let path = run.path("own.sock");
    let dog = run.flag("--control", &path).worker(["sleep"]).spawn();
    let mut control = common::Control::connect(&path);
    assert_eq!(control.call("status", json!({}))["ok"], true);
    dog.stop();
    assert!(!path.exists());
}

/// a stop that times out by the client's own limit kills, and says so by the events
#[test]
fn a_stop_with_its_own_timeout_uses_it() {
    let run = Run::quick().flag("--stop-timeout", "60s");
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let began = Instant::now();
    dog.verb(&["stop", "--timeout", "400ms", "worker"]).code(0);
    common::about(began.elapsed(), 400);
    wait_for("stopped", || (dog.status()["state"] == "stopped").then_some(()));
    dog.signal(Signal::SIGTERM);
    dog.wait().count("kill-escalated", 1);
}

/// title
#[test]
fn status_shows_the_title() {
    let dog = sleeper(Run::quick().flag("--title", "The Sleeper"));
    assert_eq!(dog.status()["title"], "The Sleeper");
    dog.stop();
}

/// ready, heartbeat: the two words that mean something before the dialects come
#[test]
fn a_worker_that_says_nothing_is_ready_when_spawned() {
    for settings in [&[][..], &["--ready=spawned", "--heartbeat=off"]] {
        let dog = sleeper(settings.iter().fold(Run::quick(), |run, s| run.switch(s)));
        let s = dog.status();
        assert_eq!((&s["ready"], &s["ready_by"]), (&true.into(), &"spawned".into()), "{s}");
        assert_eq!(s["heartbeat"]["armed"], false, "{s}");
        dog.stop();
    }
}

/// One answer may be longer than what a client may leave unread.
#[test]
fn status_of_a_thousand_services_arrives_whole() {
    let text: String = (0..1000).map(|n| format!("[service.target-of-many-{n}]\ntype = \"target\"\n")).collect();
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("target-of-many-999");
    let answer = dog.verb(&["status", "--json"]).code(0);
    assert!(answer.out.len() > 600 * 1024, "{}", answer.out.len());
    assert_eq!(answer.json()["services"].as_array().unwrap().len(), 1000);
    dog.stop();
}
