//! Services that need each other (product.md section 9; cases DEP-01 to DEP-11): who starts when, who goes with whom, who is
//! told what it waits for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::{Dog, Run, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const SLEEPS: &str = "command = [\"sleep\", \"1000\"]\n";

/// A service that says that it is ready as soon as a file is there.
fn ready_by(file: &str) -> String {
    let script = format!("while [ ! -e {file} ]; do sleep 0.02; done; echo ready now; exec sleep 1000");
    format!("command = [\"sh\", \"-c\", {script:?}]\nready = \"line:ready now\"\nstart_timeout = \"60s\"\n")
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Places of the first event of a kind of each service among all events.
fn order(events: &[Value], kind: &str, names: &[&str]) -> Vec<usize> {
    let place = |name: &&str| events.iter().position(|e| e["event"] == kind && e["service"] == **name);
    names.iter().map(|n| place(n).unwrap_or_else(|| panic!("no {kind} of {n}"))).collect()
}

fn starts_of(dog: &Dog, name: &str) -> usize {
    dog.events_for(name, "spawn").len()
}

// DEP-01, DEP-02
#[test]
fn a_dependent_starts_when_what_it_requires_is_ready_and_says_meanwhile_what_it_waits_for() {
    let text = format!("[service.api]\n{SLEEPS}requires = [\"db\"]\n[service.db]\n{}", ready_by("go"));
    let dog = Run::quick_file(&text).spawn();
    dog.wait_service_state("db", "starting");
    let api = dog.wait_service_state("api", "waiting");
    assert_eq!(api["waiting_on"], serde_json::json!(["db"]));
    assert!(api["reason"].as_str().unwrap().contains("waiting for db (ready)"), "{api}");
    assert!(api["pid"].is_null() && api["ready"] == false && api["health"] == "unknown");
    let blocked = dog.event_for("api", "blocked", 1);
    assert_eq!((&blocked["waiting_on"][0], &blocked["hopeless"]), (&Value::from("db"), &Value::from(false)));
    let explained = dog.verb(&["explain", "api"]).code(0).out;
    assert!(explained.contains("waiting for db") && explained.contains("next: it starts as soon as"), "{explained}");
    let tree = dog.verb(&["tree"]).code(0).out;
    assert!(tree.contains("waits for db"), "{tree}");
    assert_eq!(starts_of(&dog, "api"), 0);
    std::fs::write(dog.path("go"), "").unwrap();
    let api = dog.wait_ready("api");
    assert_eq!(api["waiting_on"], serde_json::json!([]));
    let ended = dog.stop();
    let (ready, spawn) = (order(&ended.events, "ready", &["db"]), order(&ended.events, "spawn", &["api"]));
    assert!(ready[0] < spawn[0]);
    assert_eq!(ended.of("unblocked").len(), 1);
}

// DEP-01: the deadline of a start is that of the dependency alone.
#[test]
fn a_dependency_that_never_comes_up_fails_and_its_dependent_has_never_started() {
    let text = format!(
        "[service.db]\n{SLEEPS}ready = \"reported\"\nstart_timeout = \"200ms\"\nrestart_limit = 1\n\
         [service.api]\n{SLEEPS}requires = [\"db\"]\nstart_timeout = \"100ms\"\n[service.other]\n{SLEEPS}"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_service_state("db", "failed");
    let api = dog.wait_service("api", "waits in vain", |s| s["reason"].as_str().unwrap().contains("has failed"));
    assert_eq!((&api["state"], &api["generation"]), (&Value::from("waiting"), &Value::from(0)));
    wait_for("a hopeless wait to be told", || {
        dog.events_for("api", "blocked").iter().any(|e| e["hopeless"] == true).then_some(())
    });
    let why = dog.verb(&["explain", "--why-not", "api"]).code(0).out;
    assert!(why.contains("nothing that will happen by itself"), "{why}");
    dog.wait_ready("other");
    dog.verb(&["health", "other"]).code(0);
    dog.verb(&["health"]).code(1);
    dog.stop();
}

// DEP-03, DEP-11
#[test]
fn dependents_go_with_what_they_require_and_come_back_with_it_each_once() {
    let text = format!(
        "[service.db]\n{SLEEPS}[service.api]\n{SLEEPS}requires = [\"db\"]\n[service.web]\n{SLEEPS}requires = [\"api\"]\n\
         [service.alone]\n{SLEEPS}"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("web");
    dog.wait_ready("alone");
    end(dog.pid_of("db", 1));
    dog.wait_service("web", "a second generation", |s| s["generation"] == 2 && s["ready"] == true);
    for name in ["db", "api", "web"] {
        assert_eq!(starts_of(&dog, name), 2, "{name}");
    }
    assert_eq!(starts_of(&dog, "alone"), 1);
    let gone = dog.event_for("api", "exit", 1);
    assert_eq!((&gone["cause"], &gone["requested"]), (&Value::from("dependency"), &Value::from(true)));
    assert_eq!(dog.service("api")["restarts"], 0, "it counts against nobody's limit");
    for _ in 0..3 {
        let all: Vec<i32> =
            ["db", "api", "web"].iter().filter_map(|n| dog.service(n)["pid"].as_i64().map(|p| p as i32)).collect();
        for pid in all {
            // One that is gone already went with the first.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for name in ["db", "api", "web"] {
            dog.wait_ready(name);
        }
        wait_for("all ready at the same time", || {
            ["db", "api", "web"].iter().all(|n| dog.service(n)["ready"] == true).then_some(())
        });
    }
    let ended = dog.stop();
    // Never a start of a dependent while what it requires was not ready.
    let mut ready = std::collections::BTreeSet::new();
    for e in &ended.events {
        let (name, kind) = (e["service"].as_str().unwrap_or_default(), e["event"].as_str().unwrap());
        match kind {
            "ready" => drop(ready.insert(name.to_string())),
            "exit" => drop(ready.remove(name)),
            "spawn" if name == "api" => assert!(ready.contains("db"), "{}", ended.story()),
            "spawn" if name == "web" => assert!(ready.contains("api"), "{}", ended.story()),
            _ => {}
        }
    }
}

// DEP-04
#[test]
fn a_dependency_that_flaps_takes_its_dependents_along_only_until_it_gives_up() {
    let text = format!(
        "[service.db]\ncommand = [\"sh\", \"-c\", \"sleep 0.1; exit 1\"]\nrestart_limit = 3\n[service.api]\n{SLEEPS}requires = [\"db\"]\n"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_service_state("db", "failed");
    dog.wait_service("api", "a wait in vain", |s| s["state"] == "waiting" && s["waiting_on"][0] == "db");
    assert_eq!(starts_of(&dog, "db"), 4);
    assert!(starts_of(&dog, "api") <= 4);
    dog.stop();
}

// DEP-05
#[test]
fn what_is_blocked_by_a_failure_returns_when_that_is_started_by_hand() {
    let text = format!(
        "[service.db]\ncommand = [\"sh\", \"-c\", \"[ -e good ] || exit 1; echo up; exec sleep 1000\"]\nready = \"line:up\"\nrestart = \"never\"\n\
         [service.api]\n{SLEEPS}requires = [\"db\"]\n"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_service("api", "a wait in vain", |s| s["reason"].as_str().unwrap().contains("has failed"));
    let refused = dog.verb(&["start", "api"]);
    assert_eq!(refused.code, 1, "db was tried again, and failed again: {refused:?}");
    std::fs::write(dog.path("good"), "").unwrap();
    // A start takes along what it needs, though that had failed.
    dog.verb(&["start", "api"]).code(0);
    assert_eq!(dog.service("db")["state"], "running");
    dog.stop();
}

// DEP-06
#[test]
fn a_diamond_starts_each_once_and_a_hundred_siblings_side_by_side() {
    let mut text = format!(
        "[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}requires = [\"a\"]\n[service.c]\n{SLEEPS}requires = [\"a\"]\n\
         [service.d]\n{SLEEPS}requires = [\"b\", \"c\"]\n"
    );
    for n in 0..100 {
        text += &format!("[service.s{n}]\n{SLEEPS}requires = [\"a\"]\n");
    }
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("d");
    dog.wait_ready("s99");
    let ended = dog.stop();
    let spawned = ended.of("spawn");
    assert_eq!(spawned.len(), 104);
    let places = order(&ended.events, "spawn", &["a", "b", "c", "d"]);
    assert!(places[0] < places[1] && places[0] < places[2] && places[1].max(places[2]) < places[3]);
    let down = order(&ended.events, "exit", &["a", "b", "c", "d", "s50"]);
    assert!(down[3] < down[1] && down[3] < down[2] && down[1].max(down[2]).max(down[4]) < down[0], "{}", ended.story());
}

// DEP-07: a stop is not refused; it takes the dependents along, and they return with it.
#[test]
fn a_stop_takes_dependents_down_first_and_a_start_brings_them_back() {
    let text = format!("[service.db]\n{SLEEPS}[service.api]\n{SLEEPS}requires = [\"db\"]\n");
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("api");
    dog.verb(&["stop", "db"]).code(0);
    let api = dog.wait_service_state("api", "waiting");
    assert_eq!((&api["goal"], &api["waiting_on"][0]), (&Value::from("up"), &Value::from("db")));
    let events = dog.events();
    let (db, api) = (order(&events, "exit", &["db"]), order(&events, "exit", &["api"]));
    assert!(api[0] < db[0], "the dependent goes first");
    dog.verb(&["start", "db"]).code(0);
    dog.wait_service("api", "its return", |s| s["ready"] == true && s["generation"] == 2);
    dog.stop();
}

#[test]
fn a_restart_is_with_its_dependents_or_without_them() {
    let text = format!("[service.db]\n{SLEEPS}[service.api]\n{SLEEPS}requires = [\"db\"]\n");
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("api");
    dog.verb(&["restart", "--no-dependents", "db"]).code(0);
    assert_eq!((starts_of(&dog, "db"), starts_of(&dog, "api")), (2, 1));
    dog.verb(&["restart", "db"]).code(0);
    dog.wait_service("api", "its second generation", |s| s["ready"] == true && s["generation"] == 2);
    assert_eq!(starts_of(&dog, "db"), 3);
    dog.stop();
}

// DEP-08
#[test]
fn a_oneshot_is_ready_when_it_has_ended_well_and_blocks_when_it_has_not() {
    let text = format!(
        "[service.migrate]\ntype = \"oneshot\"\ncommand = [\"sh\", \"-c\", \"while [ ! -e go ]; do sleep 0.02; done\"]\n\
         [service.bad]\ntype = \"oneshot\"\ncommand = [\"false\"]\nrestart = \"never\"\n\
         [service.slow]\ntype = \"oneshot\"\ncommand = [\"sleep\", \"1000\"]\nstart_timeout = \"100ms\"\nrestart = \"never\"\n\
         [service.api]\n{SLEEPS}requires = [\"migrate\"]\n[service.x]\n{SLEEPS}requires = [\"bad\"]\n[service.y]\n{SLEEPS}requires = [\"slow\"]\n"
    );
    let dog = Run::quick_file(&text).spawn();
    assert_eq!(dog.wait_service_state("migrate", "starting")["type"], "oneshot");
    dog.wait_service("api", "its wait", |s| s["reason"].as_str().unwrap().contains("migrate (completed)"));
    assert_eq!(dog.wait_service_state("bad", "failed")["cause"], "exited");
    assert_eq!(dog.wait_service_state("slow", "failed")["cause"], "start-timeout");
    for name in ["x", "y"] {
        dog.wait_service(name, "a wait in vain", |s| s["reason"].as_str().unwrap().contains("has failed"));
    }
    std::fs::write(dog.path("go"), "").unwrap();
    dog.wait_ready("api");
    let migrate = dog.service("migrate");
    assert_eq!((&migrate["state"], &migrate["ready"]), (&Value::from("done"), &Value::from(true)));
    dog.verb(&["wait", "migrate", "--for", "completed", "--timeout", "5s"]).code(0);
    dog.stop();
}

// DEP-09
#[test]
fn a_soft_dependency_is_started_as_well_and_may_fail() {
    let text = format!(
        "[service.cache]\ncommand = [\"false\"]\nready = \"reported\"\nrestart = \"never\"\nautostart = false\n\
         [service.api]\n{SLEEPS}wants = [\"cache\"]\n[service.late]\n{SLEEPS}after = [\"api\"]\n"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("api");
    dog.wait_ready("late");
    let ended = dog.stop();
    let places = [order(&ended.events, "exit", &["cache"]), order(&ended.events, "spawn", &["api", "late"])].concat();
    assert!(places[0] < places[1] && places[1] < places[2], "{}", ended.story());
    let down = order(&ended.events, "exit", &["late", "api"]);
    assert!(down[0] < down[1], "the later one goes first");
}

// DEP-10
#[test]
fn a_dependency_that_goes_while_its_dependent_starts_is_no_deadlock() {
    let text = format!("[service.db]\n{SLEEPS}[service.api]\n{}requires = [\"db\"]\n", ready_by("go"));
    let dog = Run::quick_file(&text).spawn();
    dog.wait_service_state("api", "starting");
    end(dog.pid_of("db", 1));
    dog.wait_service("api", "a second start", |s| s["state"] == "starting" && s["generation"] == 2);
    std::fs::write(dog.path("go"), "").unwrap();
    dog.wait_ready("api");
    dog.stop();
}

#[test]
fn once_is_enough_where_the_file_says_so_and_started_does_not_wait_for_ready() {
    let text = format!(
        "[service.db]\n{}[service.api]\n{SLEEPS}requires = [{{ service = \"db\", condition = \"started\" }}]\n\
         [service.seed]\n{SLEEPS}[service.job]\n{SLEEPS}requires = [{{ service = \"seed\", once = true }}]\n",
        ready_by("go")
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("api");
    assert_eq!(dog.service("db")["state"], "starting");
    dog.wait_ready("job");
    dog.verb(&["stop", "seed"]).code(0);
    assert_eq!((&dog.service("job")["ready"], starts_of(&dog, "job")), (&Value::from(true), 1));
    dog.stop();
}

#[test]
fn a_target_is_up_with_all_that_it_requires_and_a_service_that_only_others_need_goes_with_the_last_of_them() {
    let text = format!(
        "[service.all]\ntype = \"target\"\nrequires = [\"a\", \"b\"]\n[service.a]\n{SLEEPS}requires = [\"shared\"]\n\
         [service.b]\n{SLEEPS}requires = [\"shared\"]\n[service.shared]\n{SLEEPS}autostart = false\n\
         [service.manual]\n{SLEEPS}autostart = \"ignore\"\n"
    );
    let dog = Run::quick_file(&text).spawn();
    let all = dog.wait_ready("all");
    assert_eq!((&all["type"], &all["pid"]), (&Value::from("target"), &Value::Null));
    assert_eq!(dog.service("manual")["state"], "stopped");
    dog.verb(&["stop", "a"]).code(0);
    assert_eq!(dog.service("shared")["state"], "running");
    dog.verb(&["stop", "b"]).code(0);
    dog.wait_service_state("shared", "stopped");
    dog.verb(&["start", "b"]).code(0);
    assert_eq!(dog.service("shared")["state"], "running");
    dog.verb(&["start", "manual"]).code(0);
    dog.stop();
}

#[test]
fn conflicting_services_are_never_up_together() {
    let text = format!("[service.blue]\n{SLEEPS}[service.green]\n{SLEEPS}autostart = false\nconflicts = [\"blue\"]\n");
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("blue");
    let refused = dog.verb(&["start", "green"]).code(4);
    assert!(refused.err.contains("conflicts with blue"), "{refused:?}");
    dog.verb(&["stop", "blue"]).code(0);
    dog.verb(&["start", "green"]).code(0);
    dog.verb(&["start", "blue"]).code(4);
    dog.stop();
}

#[test]
fn a_start_waits_for_a_file_and_not_for_ever() {
    let text = format!(
        "[service.a]\n{SLEEPS}wait_for_file = \"there\"\n[service.b]\n{SLEEPS}wait_for_file = \"never\"\nwait_for_file_timeout = \"200ms\"\n"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_service("a", "its wait", |s| s["waiting_on"][0] == "there");
    let b = dog.wait_service_state("b", "failed");
    assert!(b["reason"].as_str().unwrap().contains("was not there within 200ms"), "{b}");
    std::fs::write(dog.path("there"), "").unwrap();
    dog.wait_ready("a");
    dog.stop();
}

/// users 10: `depends_on` is order and condition, and nothing is stopped for it later. Failed before: it was an unknown key.
#[test]
fn what_depends_on_another_waits_for_it_and_outlives_it() {
    let text = format!(
        "[service.db]\n{}[service.api]\n{SLEEPS}depends_on = {{ db = {{ condition = \"service_healthy\" }} }}\n",
        ready_by("go")
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_service("api", "its wait", |s| s["waiting_on"][0] == "db");
    std::fs::write(dog.path("go"), "").unwrap();
    dog.wait_ready("api");
    let pid = dog.service("db")["pid"].as_i64().unwrap() as i32;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    dog.wait_service("db", "its second run", |s| s["generation"] == 2 && s["state"] == "running");
    dog.verb(&["stop", "db"]).code(0);
    let api = dog.service("api");
    assert_eq!((&api["state"], &api["generation"]), (&"running".into(), &1.into()), "{api}");
    dog.stop();
}

#[test]
fn replicas_have_an_index_and_one_name_means_all_of_them() {
    let text = "[service.web]\ncommand = [\"sh\", \"-c\", \"echo $WATCHDOG_SERVICE $WATCHDOG_REPLICA; exec sleep 1000\"]\nreplicas = 3\n\
                [service.lb]\ncommand = [\"sleep\", \"1000\"]\nrequires = [\"web\"]\n";
    let dog = Run::quick_file(text).spawn();
    dog.wait_ready("lb");
    dog.wait_out("web@2 2");
    let logs = dog.verb(&["logs", "web"]).code(0).out;
    assert!(logs.contains("web@0 0") && logs.contains("web@1 1"), "{logs}");
    dog.verb(&["wait", "web", "--for", "ready", "--timeout", "10s"]).code(0);
    dog.verb(&["restart", "web@1"]).code(0);
    assert_eq!((starts_of(&dog, "web@0"), starts_of(&dog, "web@1")), (1, 2));
    dog.wait_ready("lb");
    dog.verb(&["stop", "web"]).code(0);
    for n in 0..3 {
        assert_eq!(dog.service(&format!("web@{n}"))["state"], "stopped");
    }
    dog.verb(&["status", "nobody"]).code(3);
    dog.stop();
}

/// users 2: each replica has a port of its own, in its environment, its values and its probes. Failed before: `port` was an
/// unknown key, and `${WATCHDOG_REPLICA}` a variable that is not set.
#[test]
fn replicas_have_a_port_each_in_their_environment_their_values_and_their_probes() {
    let text = "[service.web]\ncommand = [\"sh\", \"-c\", \"echo $0 on $PORT >up.$PORT; exec sleep 1000\", \"${WATCHDOG_SERVICE} ${PORT}\"]\n\
                replicas = 2\nport = 5000\ncwd = \"dir.${WATCHDOG_REPLICA}\"\n[[service.web.probe]]\ncheck = \"exec:grep -q ${PORT} up.${PORT}\"\n\
                starting_interval = \"50ms\"\nrole = \"readiness\"\n[[service.web.probe]]\nname = \"env\"\n\
                check = [\"sh\", \"-c\", \"echo saw $PORT; test $PORT = ${PORT}\"]\nrole = \"readiness\"\nstarting_interval = \"50ms\"\n";
    let run = Run::quick_file(text);
    for n in 0..2 {
        std::fs::create_dir(run.path(&format!("dir.{n}"))).unwrap();
    }
    let dog = run.spawn();
    for (name, dir, port) in [("web@0", "dir.0", "5000"), ("web@1", "dir.1", "5001")] {
        let ready = dog.wait_ready(name);
        assert_eq!(common::lines(&dog.path(dir).join(format!("up.{port}"))), [format!("{name} {port} on {port}")]);
        assert_eq!(ready["probes"][1]["message"], format!("saw {port}").as_str(), "{ready}");
    }
    dog.stop();
}

#[test]
fn one_for_all_and_rest_for_one_restart_who_they_say() {
    for (strategy, moved) in [("one-for-all", ["a", "b", "c"].as_slice()), ("rest-for-one", &["b", "c"])] {
        let text = format!(
            "[watchdog]\nstrategy = \"{strategy}\"\n[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}[service.c]\n{SLEEPS}"
        );
        let dog = Run::quick_file(&text).spawn();
        ["a", "b", "c"].iter().for_each(|n| drop(dog.wait_ready(n)));
        end(dog.pid_of("b", 1));
        for name in moved {
            dog.wait_service(name, "its second generation", |s| s["generation"] == 2 && s["ready"] == true);
        }
        for name in ["a", "b", "c"] {
            let wanted = if moved.contains(&name) { 2 } else { 1 };
            assert_eq!(starts_of(&dog, name), wanted, "{strategy}: {name}");
        }
        dog.stop();
    }
}

#[test]
fn a_stop_of_all_is_bounded_by_the_sum_of_the_layers_and_nobody_holds_up_the_rest() {
    let deaf = "command = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 0.1; done\"]\n";
    let text = format!(
        "[service.a]\n{deaf}[service.b]\n{deaf}requires = [\"a\"]\n[service.c]\n{deaf}requires = [\"b\"]\n[service.d]\n{SLEEPS}"
    );
    let dog = Run::quick_file(&text).flag("--stop-timeout", "300ms").spawn();
    dog.wait_ready("c");
    let ended = dog.stop();
    assert_eq!(ended.of("kill-escalated").len(), 3);
    let down = order(&ended.events, "exit", &["d", "c", "b", "a"]);
    assert!(down.windows(2).all(|w| w[0] < w[1]), "{}", ended.story());
}

#[test]
fn a_program_that_is_missing_is_a_state_with_a_reason_and_not_the_end_of_the_others() {
    let text = format!("[service.bad]\ncommand = [\"/none/such\"]\n[service.good]\n{SLEEPS}");
    let dog = Run::quick_file(&text).spawn();
    let bad = dog.wait_service_state("bad", "failed");
    assert_eq!(bad["cause"], "spawn-failed");
    assert_eq!(bad["generation"], 1, "not retried");
    dog.wait_ready("good");
    dog.stop();
}

/// Of one without a process nothing is said that is about one
#[test]
fn what_has_no_process_is_explained_without_one() {
    let text = format!(
        "[service.all]\ntype = \"target\"\nrequires = [\"a\"]\n[service.a]\n{SLEEPS}\
         [service.net]\ntype = \"probe\"\n[[service.net.probe]]\nname = \"fine\"\ncheck = \"exec:true\"\ninterval = \"200ms\"\n"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("all");
    dog.wait_ready("net");
    for (name, own, next) in [
        ("all", "up while all that it requires is there (a)", "next: nothing, as long as what it requires is there"),
        (
            "net",
            "up while its readiness probes succeed (fine every 200ms, failures 3)",
            "as long as its probes succeed",
        ),
    ] {
        let text = dog.verb(&["explain", name]).code(0).out;
        let why = dog.verb(&["explain", "--why-not", name]).code(0).out;
        assert!(text.contains(own) && text.contains(next) && why.contains(own), "{text}{why}");
        for odd in ["restart", "SIG", "stop_timeout", "beat", "memory", "runs"] {
            assert!(!text.contains(odd) && !why.contains(odd), "{odd:?} is in\n{text}{why}");
        }
    }
    dog.stop();
}

/// Section 2: a start that takes longer than it may is a 1 that says who is missing and what is waited for
#[test]
fn a_start_whose_time_is_over_says_who_is_not_there_and_why() {
    let text = format!(
        "[service.db]\nautostart = false\n{}[service.api]\n{SLEEPS}autostart = false\nrequires = [\"db\"]\n[service.fine]\n{SLEEPS}",
        ready_by("go")
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("fine");
    let said = dog.verb(&["start", "--timeout", "300ms", "api", "fine", "db"]).code(1);
    let lines: Vec<&str> = said.err.lines().collect();
    assert!(said.out.is_empty() && lines.len() == 2, "{said:?}");
    assert!(
        lines[0].contains("db is not ready after 0.3s: it is starting; it is not ready: a line of output"),
        "{said:?}"
    );
    assert!(
        lines[1].contains("api is not ready after 0.3s: it is waiting; ") && lines[1].contains("for db"),
        "{said:?}"
    );
    let json = dog.verb(&["start", "--timeout", "100ms", "api", "--json"]).code(1).json();
    assert_eq!((&json["services"][0]["name"], &json["services"][0]["state"]), (&"api".into(), &"waiting".into()));
    assert!(json["reason"].as_str().unwrap().starts_with("api is not ready after 0.1s"), "{json}");
    std::fs::write(dog.path("go"), "").unwrap();
    dog.verb(&["start", "--timeout", "20s", "api"]).code(0);
    dog.stop();
}
