//! Whom the answers of probes may hurt: not who is dead already, not who was held up with us, and not who guards a secret
//! (product.md section 8; cases PRO-12, PRO-01, SEC-01).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::free_port;
use common::probes::probed;
use common::{Run, procs, victim, wait_for, wait_lines, within};
use nix::sys::signal::Signal;
use std::time::Duration;

/// A service that sleeps, with the script `probe.sh` in its folder as its probe.
fn scripted(script: &str, settings: &str, more: &str) -> Run {
    let run = probed("command = [\"sleep\", \"1000\"]", settings, "[\"sh\", \"probe.sh\"]", more);
    std::fs::write(run.path("probe.sh"), script).unwrap();
    run
}

/// PRO-12: a worker and its probe that are found dead in one look: the end of the worker counts, and nobody signals a group
/// whose number may be somebody else's by now
#[test]
fn whoever_is_found_dead_with_its_probe_is_not_judged_by_it() {
    // The probe dies first, and is reaped first.
    let script =
        "echo $$ >> tries; while [ ! -e go ]; do sleep 0.02; done; (sleep 0.1; kill -9 $WATCHDOG_WORKER_PID) & exit 1";
    let fatal = "role = \"liveness\"\nfailures = 1\ntimeout = \"20s\"";
    for _ in 0..3 {
        let dog = scripted(script, "restart = \"never\"", fatal).spawn();
        let command: i32 = wait_lines(&dog.path("tries"), 1)[0].parse().unwrap();
        let worker = dog.pid_of("web", 1);
        dog.signal(Signal::SIGSTOP);
        std::fs::write(dog.path("go"), "").unwrap();
        let dead = |pid: i32| procs::state(pid) == Some('Z');
        assert!(within(Duration::from_secs(5), || dead(command) && dead(worker)));
        dog.signal(Signal::SIGCONT);
        let exit = dog.event("exit", 1);
        assert_eq!((&exit["cause"], &exit["signal"]), (&"signalled".into(), &"KILL".into()), "{exit}");
        dog.wait_service_state("web", "failed");
        assert!(dog.events_of("signal-sent").is_empty() && dog.events_of("probe").is_empty());
        dog.stop();
    }
}

/// PRO-10: the time in which we ourselves were held up is not held against a probe that had not answered yet
#[test]
fn a_try_that_was_held_up_with_us_gets_a_moment_more() {
    let script = "echo $$ >> tries; while [ ! -e go ]; do sleep 0.02; done; exit 0";
    let fatal = "role = \"liveness\"\nfailures = 1\ntimeout = \"1s\"";
    let dog = scripted(script, "", fatal).spawn();
    let command: i32 = wait_lines(&dog.path("tries"), 1)[0].parse().unwrap();
    let stop = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(command), signal).unwrap();
    stop(Signal::SIGSTOP);
    dog.signal(Signal::SIGSTOP);
    assert!(within(Duration::from_secs(2), || procs::state(dog.pid()) == Some('T')));
    std::fs::write(dog.path("go"), "").unwrap();
    std::thread::sleep(Duration::from_millis(1800));
    dog.signal(Signal::SIGCONT);
    std::thread::sleep(Duration::from_millis(50));
    stop(Signal::SIGCONT);
    dog.wait_probe("web", "success");
    dog.stop().count("spawn", 1);
}

/// PRO-01: whoever leaves the group of a command, but not its parent, ends with it; and what is left of a probe is not
/// swept as its service's
#[test]
fn a_session_of_its_own_is_no_way_out() {
    let script = "setsid sh -c 'echo $$ >> children; exec sleep 1000' & wait";
    let dog = scripted(script, "ready = \"spawned\"", "role = \"readiness\"\ntimeout = \"300ms\"").spawn();
    let first: i32 = wait_lines(&dog.path("children"), 3)[0].parse().unwrap();
    assert!(!procs::alive(first));
    dog.stop().code(0).count("leftover-killed", 0);
}

/// SEC-01: what a request carries stands in no output: neither the query of its address nor its headers
#[test]
fn the_secrets_of_a_request_are_not_shown() {
    let check = format!("\"http://127.0.0.1:{}/health?key=S3CRET\"", free_port());
    let more = "role = \"readiness\"\nheaders = { Authorization = \"S3CRET\" }";
    let dog = probed(&victim(&["sleep"]), "ready = \"spawned\"", &check, more).spawn();
    let seen = dog.wait_probe("web", "starting");
    assert!(seen["message"].as_str().unwrap().starts_with("GET /health: 127.0.0.1:"), "{seen}");
    let shown = [dog.status().to_string(), dog.verb(&["explain", "web"]).code(0).out, dog.err()];
    let events = wait_for("an event", || Some(dog.events()).filter(|e| e.iter().any(|e| e["event"] == "probe")));
    let all = format!("{shown:?}{events:?}");
    assert!(!all.contains("S3CRET"), "{all}");
    dog.stop();
}
