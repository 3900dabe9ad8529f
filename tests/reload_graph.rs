//! A file that is read again where services stand on each other, fail, come and go (product.md section 9; CFG-15, CFG-16).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::{Dog, Run, wait_for};
use serde_json::Value;

const SLEEPS: &str = "command = [\"sleep\", \"1000\"]\n";
/// Ends a while after it was asked to, so that others can be looked at meanwhile.
const SLOW: &str = "command = [\"sh\", \"-c\", \"trap 'sleep 0.5; exit 0' TERM; echo up; while :; do sleep 0.05; done\"]\nready = \"line:up\"\n";

fn starts_of(dog: &Dog, name: &str) -> usize {
    dog.events_for(name, "spawn").len()
}

fn says(word: &str) -> String {
    format!("command = [\"sh\", \"-c\", \"echo {word}; exec sleep 1000\"]\n")
}

#[test]
fn the_place_of_one_that_is_gone_begins_anew_and_its_history_keeps_its_name() {
    let keep = format!("[service.keep]\n{SLEEPS}");
    let dog = Run::quick_file(&format!("{keep}[service.old]\n{SLEEPS}")).spawn();
    dog.wait_ready("old");
    dog.verb(&["restart", "old"]).code(0);
    dog.wait_service("old", "a second generation", |s| s["generation"] == 2 && s["ready"] == true);
    dog.run.write_file(&keep);
    dog.verb(&["reload"]).code(0);
    dog.event_for("old", "stopped", 1);
    dog.run.write_file(&format!("{keep}[service.fresh]\n{SLEEPS}"));
    dog.verb(&["reload"]).code(0);
    let fresh = dog.wait_ready("fresh");
    assert_eq!((&fresh["generation"], &fresh["last_exit"]), (&1.into(), &Value::Null));
    let told = dog.verb(&["events", "--json"]).code(0).json_lines();
    let generations = |name: &str| -> Vec<u64> {
        let spawns = told.iter().filter(|e| e["event"] == "spawn" && e["service"] == name);
        spawns.filter_map(|e| e["generation"].as_u64()).collect()
    };
    assert_eq!((generations("old"), generations("fresh")), (vec![1, 2], vec![1]));
    dog.stop();
}

#[test]
fn a_service_on_its_way_out_of_the_file_is_seen_until_it_is_gone() {
    let keep = format!("[service.keep]\n{SLEEPS}");
    let dog = Run::quick_file(&format!("{keep}[service.old]\n{SLOW}")).flag("--stop-timeout", "20s").spawn();
    let pid = dog.wait_ready("old")["pid"].clone();
    dog.run.write_file(&keep);
    dog.verb(&["reload"]).code(0);
    let old = dog.service("old");
    assert_eq!((&old["state"], &old["pid"], &old["goal"]), (&"stopping".into(), &pid, &"down".into()));
    assert_eq!(old["reason"], "it is not in the file any more");
    assert!(dog.verb(&["explain", "old"]).code(0).out.contains("not in the file any more"));
    dog.verb(&["restart", "old"]).code(3);
    dog.event_for("old", "stopped", 1);
    dog.verb(&["status", "old"]).code(3);
    dog.stop();
}

#[test]
fn what_failed_or_waits_to_be_tried_again_is_tried_with_its_new_settings_at_once() {
    let file = |a: &str, b: &str, once: &str| {
        format!(
            "[service.a]\n{a}restart = \"never\"\n[service.b]\n{b}fast_first_restart = false\n\
             [service.once]\ntype = \"oneshot\"\n{once}"
        )
    };
    let bad = "command = [\"sh\", \"-c\", \"exit 1\"]\n";
    let done = "command = [\"sh\", \"-c\", \"echo once $WORD\"]\n";
    let dog = Run::quick_file(&file(bad, bad, &format!("{done}env = {{ WORD = \"one\" }}\n")))
        .flag("--restart-delay", "100s")
        .flag("--restart-delay-max", "200s")
        .spawn();
    dog.wait_service_state("a", "failed");
    dog.wait_service_state("b", "backoff");
    dog.wait_service_state("once", "done");
    // Put off, if that is what is asked for.
    let newer = file(SLEEPS, SLEEPS, &format!("{done}env = {{ WORD = \"two\" }}\n"));
    dog.run.write_file(&newer);
    let told = dog.verb(&["reload", "--no-restart", "--json"]).code(0).json();
    assert_eq!(told["deferred"], serde_json::json!(["a", "b", "once"]));
    assert_eq!((&dog.service("a")["state"], &dog.service("b")["state"]), (&"failed".into(), &"backoff".into()));
    let told = dog.verb(&["reload", "--json"]).code(0).json();
    assert_eq!(told["restarted"], serde_json::json!(["a", "b", "once"]));
    for name in ["a", "b"] {
        let s = dog.wait_ready(name);
        assert_eq!((&s["generation"], &s["streak"]), (&2.into(), &0.into()), "{s}");
    }
    dog.wait_out("once | once two");
    assert_eq!(starts_of(&dog, "once"), 2);
    dog.stop();
}

#[test]
fn a_changed_service_is_restarted_by_itself_and_what_stands_on_it_stays() {
    let file = |word: &str| {
        format!(
            "[service.db]\n{}[service.api]\n{SLEEPS}requires = [\"db\"]\n[service.web]\n{SLEEPS}requires = [\"api\"]\n",
            says(word)
        )
    };
    let dog = Run::quick_file(&file("one")).spawn();
    dog.wait_ready("web");
    let pids = (dog.pid_of("api", 1), dog.pid_of("web", 1));
    dog.run.write_file(&file("two"));
    dog.verb(&["reload"]).code(0);
    dog.wait_out("db  | two");
    dog.wait_service("db", "a second generation", |s| s["generation"] == 2 && s["ready"] == true);
    let asked = dog.event_for("db", "restart-requested", 1);
    assert_eq!((&asked["by"]["kind"], &asked["cause"]), (&"policy".into(), &"config-changed".into()));
    for (name, pid) in [("api", pids.0), ("web", pids.1)] {
        assert_eq!((&dog.service(name)["pid"], starts_of(&dog, name)), (&pid.into(), 1), "{name}");
    }
    dog.stop();
}

#[test]
fn one_more_that_is_required_stops_nobody_who_runs() {
    let api = |more: &str| format!("[service.api]\n{SLEEPS}{more}");
    let dog = Run::quick_file(&api("")).spawn();
    dog.wait_ready("api");
    dog.run.write_file(&format!("{}[service.cache]\n{SLOW}", api("requires = [\"cache\"]\n")));
    dog.verb(&["reload"]).code(0);
    dog.wait_ready("cache");
    assert_eq!(starts_of(&dog, "api"), 1);
    // From now on it stands on it as if it always had.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(dog.pid_of("cache", 1)), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    dog.wait_service("api", "a second generation", |s| s["generation"] == 2 && s["ready"] == true);
    assert_eq!(dog.event_for("api", "restart-requested", 1)["cause"], "dependency");
    dog.stop();
}

#[test]
fn replicas_that_follow_a_single_one_wait_until_it_has_gone() {
    let file = |more: &str| format!("[service.web]\n{SLOW}{more}");
    let dog = Run::quick_file(&file("")).flag("--stop-timeout", "20s").spawn();
    dog.wait_ready("web");
    dog.run.write_file(&file("replicas = 2\n"));
    dog.verb(&["reload"]).code(0);
    dog.wait_ready("web@0");
    dog.wait_ready("web@1");
    let ended = dog.stop();
    let at = |name: &str, kind: &str| {
        ended
            .events
            .iter()
            .position(|e| e["event"] == kind && e["service"] == name)
            .unwrap_or_else(|| panic!("{name} {kind}"))
    };
    let gone = at("web", "exit");
    assert!(gone < at("web@0", "spawn") && gone < at("web@1", "spawn"), "{}", ended.story());
}

#[test]
fn one_that_is_taken_out_and_put_in_again_before_it_is_gone_starts_when_it_is() {
    let old = format!("[service.keep]\n{SLEEPS}[service.old]\n{SLOW}");
    let dog = Run::quick_file(&old).flag("--stop-timeout", "20s").spawn();
    dog.wait_ready("old");
    dog.run.write_file(&format!("[service.keep]\n{SLEEPS}"));
    dog.verb(&["reload"]).code(0);
    dog.run.write_file(&old);
    dog.verb(&["reload"]).code(0);
    let reason = dog.service("old")["reason"].clone();
    let again = dog.wait_service("old", "a second generation", |s| s["generation"] == 2 && s["ready"] == true);
    assert_ne!(reason, "it is not in the file any more", "{again}");
    dog.stop();
}

// A stop that comes with the start is not overtaken by it.
#[test]
fn a_stop_wins_over_a_start_of_the_same_moment() {
    let dog = Run::quick_file(&format!("[service.a]\n{SLEEPS}autostart = \"ignore\"\n[service.b]\n{SLEEPS}")).spawn();
    dog.wait_ready("b");
    for _ in 0..20 {
        let mut one = dog.control();
        one.send(
            b"{\"id\":1,\"verb\":\"start\",\"services\":[\"a\"]}\n{\"id\":2,\"verb\":\"stop\",\"services\":[\"a\"]}\n",
        );
        let (first, second) = (one.answer(), one.answer());
        assert!(first["id"] != second["id"], "{first} {second}");
        let a = dog.wait_service("a", "the end", |s| s["state"] == "stopped");
        assert_eq!((&a["goal"], &a["pid"]), (&"down".into(), &Value::Null));
    }
    assert_eq!(dog.events_of("spawn-failed").len(), 0);
    let spawned = starts_of(&dog, "a");
    let gone = wait_for("all ends", || {
        let exits = dog.events_for("a", "exit").len();
        (exits == spawned).then_some(exits)
    });
    assert_eq!(gone, spawned);
    dog.stop();
}

#[test]
fn a_service_that_is_done_is_not_ready() {
    let dog = Run::quick_file(&format!(
        "[service.a]\ncommand = [\"true\"]\nrestart = \"never\"\n[service.once]\ntype = \"oneshot\"\ncommand = [\"true\"]\n[service.b]\n{SLEEPS}"
    ))
    .spawn();
    dog.wait_service_state("a", "done");
    dog.verb(&["wait", "a", "--for", "ready", "--timeout", "20s"]).code(1);
    dog.verb(&["wait", "a", "--for", "completed", "--timeout", "20s"]).code(0);
    dog.verb(&["wait", "once", "--for", "ready", "--timeout", "20s"]).code(0);
    dog.stop();
}
