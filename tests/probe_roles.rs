//! What the results of probes decide (product.md sections 6, 8 and 9): who is ready, who waits, who is started again, and
//! what is shown of it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::free_port;
use common::probes::{http, probe, probed};
use common::{Dog, Run, lines, stays, victim, wait_for, wait_lines};
use serde_json::Value;
use std::path::Path;

/// A probe that succeeds while this file is there, and notes each try in `FILE.tries`.
fn there(service: &str, file: &str, more: &str) -> String {
    let script = format!("echo try >> {file}.tries; test -e {file}");
    probe(service, &format!("{:?}", ["sh", "-c", &script]), &format!("name = \"{file}\"\n{more}"))
}

fn sleeps(name: &str, settings: &str) -> String {
    format!("[service.{name}]\n{}\n{settings}\n", victim(&["sleep"]))
}

fn touch(dog: &Dog, file: &str) {
    std::fs::write(dog.path(file), "").unwrap();
}

fn remove(dog: &Dog, file: &str) {
    std::fs::remove_file(dog.path(file)).unwrap();
}

fn tries(dog: &Dog, file: &str) -> usize {
    lines(&dog.path(&format!("{file}.tries"))).len()
}

fn wait_tries(dog: &Dog, file: &str, more: usize) {
    wait_lines(&dog.path(&format!("{file}.tries")), tries(dog, file) + more);
}

/// What `status` says of one probe.
fn result(dog: &Dog, service: &str, name: &str) -> String {
    let all = dog.service(service)["probes"].as_array().cloned().unwrap();
    all.iter().find(|p| p["name"] == name).unwrap()["result"].as_str().unwrap().to_string()
}

fn wait_result(dog: &Dog, service: &str, name: &str, wanted: &str) {
    wait_for(&format!("{wanted} of {name}"), || (result(dog, service, name) == wanted).then_some(()));
}

/// Section 8: role startup: the others are not tried before it succeeds, and it is not tried behind that
#[test]
fn a_startup_probe_holds_the_others_back_and_is_over_with_its_first_success() {
    let text = format!(
        "{}{}{}",
        sleeps("web", ""),
        there("web", "started", "role = \"startup\""),
        there("web", "alive", "role = \"liveness\"\nfailures = 1")
    );
    let dog = Run::quick_file(&text).spawn();
    touch(&dog, "alive");
    wait_tries(&dog, "started", 5);
    assert_eq!((tries(&dog, "alive"), result(&dog, "web", "alive").as_str()), (0, "waiting"));
    assert_eq!(
        (dog.service("web")["state"].as_str(), result(&dog, "web", "started").as_str()),
        (Some("starting"), "starting")
    );
    touch(&dog, "started");
    dog.wait_ready("web");
    wait_tries(&dog, "alive", 3);
    assert_eq!(result(&dog, "web", "started"), "success");
    let asked = tries(&dog, "started");
    remove(&dog, "started");
    wait_tries(&dog, "alive", 5);
    assert_eq!((tries(&dog, "started"), dog.service("web")["restarts"].as_u64()), (asked, Some(0)));
    dog.stop().count("spawn", 1);
}

/// Sections 8 and 9: role readiness: it gates who depends on it; a failure later is shown, kills nobody and stops no dependent
#[test]
fn a_readiness_probe_gates_and_later_only_says_so() {
    let text = format!(
        "{}{}{}",
        sleeps("db", ""),
        there("db", "answers", "role = \"readiness\"\nfailures = 2"),
        sleeps("api", "requires = [\"db\"]")
    );
    let dog = Run::quick_file(&text).spawn();
    wait_tries(&dog, "answers", 3);
    let api = dog.wait_service_state("api", "waiting");
    assert_eq!((&api["waiting_on"][0], dog.events_for("api", "spawn").len()), (&"db".into(), 0));
    touch(&dog, "answers");
    dog.wait_ready("api");
    assert_eq!(dog.event_for("db", "ready", 1)["ready_by"], "probe");
    remove(&dog, "answers");
    let db = dog.wait_service("db", "not ready", |s| s["ready"] == false);
    assert_eq!((&db["state"], &db["health"], &db["restarts"]), (&"running".into(), &"unhealthy".into(), &0.into()));
    assert_eq!(result(&dog, "db", "answers"), "failure");
    wait_tries(&dog, "answers", 5);
    assert_eq!((dog.service("api")["state"].as_str(), dog.events_of("exit").len()), (Some("running"), 0));
    touch(&dog, "answers");
    dog.wait_ready("db");
    dog.stop().count("spawn", 2).count("ready", 2);
}

/// Section 8: role liveness: no part of being ready; a streak restarts
#[test]
fn a_liveness_probe_restarts_and_gates_nothing() {
    let text = format!(
        "{}{}",
        sleeps("web", ""),
        there("web", "alive", "role = \"liveness\"\nfailures = 3\nstart_period = \"1s\"")
    );
    let dog = Run::quick_file(&text).spawn();
    assert_eq!(dog.event("ready", 1)["ready_by"], "spawned");
    wait_tries(&dog, "alive", 3);
    assert_eq!(dog.service("web")["ready"], true);
    touch(&dog, "alive");
    wait_result(&dog, "web", "alive", "success");
    remove(&dog, "alive");
    assert_eq!(dog.event("exit", 1)["cause"], "probe");
    dog.event("ready", 2);
    assert_eq!(dog.service("web")["restarts"], 1);
    dog.stop();
}

/// Section 8: successes in a row that count
#[test]
fn several_successes_may_be_asked_for() {
    let port = free_port();
    let statuses = "200,200,500,200,200,200";
    let command = victim(&["http-server", "port", "answers", statuses, "--port", &port.to_string(), "--hits", "hits"]);
    let dog = probed(&command, "", &http(port), "successes = 3\nfailures = 10").spawn();
    dog.event("ready", 1);
    assert_eq!(dog.hits(), 6, "two, and one more after a failure, are not enough");
    dog.stop();
}

/// A program in the folder of a run, whole at every moment.
fn program(path: &Path, script: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Section 8: the result words: waiting, loading, starting, success, failure, error, disabled
#[test]
fn every_result_has_its_word() {
    let patient = "name = \"check\"\nrole = \"readiness\"\nfailures = 100\ntimeout = \"20s\"";
    let text = format!(
        "{}{}{}{}",
        sleeps("gate", "ready = \"probe\""),
        there("gate", "open", "role = \"readiness\""),
        sleeps("web", "requires = [\"gate\"]\nready = \"spawned\""),
        probe("web", "[\"./check\"]", patient),
    );
    let run = Run::quick_file(&text);
    let check = run.path("check");
    program(&check, "while [ ! -e go ]; do sleep 0.01; done; exit 1");
    let dog = run.spawn();
    wait_result(&dog, "web", "check", "waiting");
    touch(&dog, "open");
    wait_result(&dog, "web", "check", "loading");
    touch(&dog, "go");
    wait_result(&dog, "web", "check", "starting");
    program(&check, "echo well");
    wait_result(&dog, "web", "check", "success");
    program(&check, "echo ill >&2; exit 4");
    wait_result(&dog, "web", "check", "failure");
    let shown = dog.probe("web");
    assert_eq!((&shown["message"], &shown["role"]), (&"ill".into(), &"readiness".into()));
    assert!(shown["failures"].as_u64() >= Some(1) && shown["time"].is_string(), "{shown}");
    std::fs::remove_file(&check).unwrap();
    wait_result(&dog, "web", "check", "error");
    assert!(dog.probe("web")["message"].as_str().unwrap().contains("ENOENT"));
    dog.verb(&["stop", "web"]).code(0);
    wait_result(&dog, "web", "check", "disabled");
    dog.stop();
}

/// Section 6: ready = probe, and a READY of the worker's own does not take its place
#[test]
fn ready_by_probe_waits_for_the_probe_alone() {
    let command = victim(&["talk", "hello", "ready", "serve"]);
    let text =
        format!("[service.web]\n{command}\nready = \"probe\"\n{}", there("web", "answers", "role = \"readiness\""));
    let dog = Run::quick_file(&text).spawn();
    wait_tries(&dog, "answers", 5);
    assert_eq!(dog.service("web")["state"], "starting");
    touch(&dog, "answers");
    dog.wait_ready("web");
    assert_eq!(dog.event("ready", 1)["ready_by"], "probe");
    dog.stop();
}

/// Section 9: type = probe: dependents wait for it, come up with it, stop when it goes bad and come again; it has no process
#[test]
fn dependents_of_a_probe_come_and_go_with_it() {
    let text = format!(
        "[service.net]\ntype = \"probe\"\n{}{}",
        there("net", "up", "failures = 2"),
        sleeps("api", "requires = [\"net\"]")
    );
    let dog = Run::quick_file(&text).spawn();
    wait_tries(&dog, "up", 3);
    assert_eq!(
        (dog.service("net")["state"].as_str(), dog.service("api")["state"].as_str()),
        (Some("starting"), Some("waiting"))
    );
    touch(&dog, "up");
    dog.wait_ready("api");
    let net = dog.service("net");
    assert_eq!((&net["state"], &net["pid"], &net["type"]), (&"running".into(), &Value::Null, &"probe".into()));
    remove(&dog, "up");
    let api = dog.wait_service("api", "without a process", |s| s["pid"].is_null());
    assert_eq!((&api["ready"], &dog.event_for("api", "exit", 1)["cause"]), (&false.into(), &"dependency".into()));
    dog.wait_service_state("net", "starting");
    touch(&dog, "up");
    dog.event_for("api", "ready", 2);
    let ended = dog.stop();
    assert_eq!(ended.of("spawn").iter().filter(|e| e["service"] == "net").count(), 0, "{}", ended.story());
}

/// Section 8: port probes look for the service's own sockets, of TCP and UDP; unix for one that takes connections
#[test]
fn ports_of_both_kinds_and_unix_sockets_are_asked() {
    let (udp, tcp) = (free_port(), free_port());
    let held = |port: u16, more: &[&str]| victim(&[&["hold", "port", "--port", &port.to_string()], more].concat());
    for (command, check, message) in [
        (held(udp, &["--udp"]), format!("\"port:{udp}/udp\""), format!("port {udp}/udp is open")),
        (held(tcp, &["--v6"]), format!("\"port:{tcp}\""), format!("port {tcp}/tcp is open")),
        (
            victim(&["tcp-server", "port", "unix", "web.sock"]),
            "\"unix:web.sock\"".into(),
            "web.sock takes connections".into(),
        ),
    ] {
        let dog = probed(&command, "", &check, "").spawn();
        dog.wait_ready("web");
        assert_eq!(dog.wait_probe("web", "success")["message"], message.as_str());
        dog.stop();
    }
    let dog = probed(&held(udp, &["--udp"]), "", &format!("\"port:{udp}\""), "").spawn();
    wait_lines(&dog.path("port"), 1);
    stays("not ready by a port of the other kind", std::time::Duration::from_millis(300), || {
        dog.service("web")["ready"] == false
    });
    dog.stop();
}

/// Section 9: a probe without a process asks for anybody's port
#[test]
fn a_probe_without_a_process_is_content_with_anybodys_port() {
    let port = free_port();
    let net = format!("[service.net]\ntype = \"probe\"\n{}", probe("net", &format!("\"port:{port}\""), ""));
    let dog = Run::quick_file(&net).spawn();
    dog.wait_probe("net", "starting");
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    dog.wait_ready("net");
    drop(listener);
    dog.wait_service_state("net", "starting");
    dog.stop().count("spawn", 0);
}
