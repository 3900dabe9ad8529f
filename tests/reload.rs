//! A file that is read again while everything runs (product.md section 9; cases CFG-14 to CFG-16): only what differs is
//! touched. And wishes that outlive a reload and, with `state`, the watchdog.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::{Dog, Run, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

const SLEEPS: &str = "command = [\"sleep\", \"1000\"]\n";

fn starts_of(dog: &Dog, name: &str) -> usize {
    dog.events_for(name, "spawn").len()
}

fn reloads(dog: &Dog) -> usize {
    dog.events_of("reload").iter().filter(|e| e["service"].is_null()).count()
}

// CFG-14
#[test]
fn a_broken_file_changes_nothing_and_says_why() {
    let good = format!("[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}requires = [\"a\"]\n");
    let dog = Run::quick_file(&good).spawn();
    dog.wait_ready("b");
    let before = dog.service("a");
    for broken in
        ["[service.a]\ncommand = [\"sleep\"\n", "[service.a]\nrestrat = \"always\"\ncommand = [\"x\"]\n[service.c]\n"]
    {
        dog.run.write_file(broken);
        let refused = dog.verb(&["reload"]).code(4);
        assert!(refused.err.contains("nothing was changed") && refused.err.contains("watchdog.toml:"), "{refused:?}");
    }
    assert!(dog.events_of("config-error").len() == 2);
    assert_eq!((&dog.service("a")["pid"], starts_of(&dog, "b")), (&before["pid"], 1));
    dog.signal(Signal::SIGHUP);
    dog.event("config-error", 3);
    dog.run.write_file(&good);
    dog.verb(&["reload"]).code(0);
    assert_eq!((starts_of(&dog, "a"), starts_of(&dog, "b")), (1, 1));
    dog.stop();
}

/// users 15. Failed before: all of it was one line with `;` between.
#[test]
fn everything_wrong_with_a_file_is_a_line_each() {
    let dog = Run::quick_file(&format!("[service.a]\n{SLEEPS}")).spawn();
    dog.wait_ready("a");
    dog.run.write_file(&format!(
        "[service.a]\n{SLEEPS}nicee = 1\nstop_timeout = \"5\"\n[service.b]\n{SLEEPS}cwdd = \"/\"\n"
    ));
    let refused = dog.verb(&["reload"]).code(4);
    let lines: Vec<&str> = refused.err.lines().collect();
    assert_eq!(lines.len(), 4, "{refused:?}");
    assert!(lines[0].contains("nothing was changed, for 3 things are wrong"), "{refused:?}");
    let parts =
        ["service.a.nicee: unknown key", "service.a.stop_timeout: \"5\" has no unit", "service.b.cwdd: unknown key"];
    for (line, part) in lines[1..].iter().zip(parts) {
        assert!(line.contains("watchdog.toml:") && line.contains(part), "{part}: {refused:?}");
    }
    let told = dog.verb(&["reload", "--json"]).code(4).json();
    assert_eq!(told["errors"].as_array().unwrap().len(), 3, "{told}");
    dog.signal(Signal::SIGHUP);
    let event = dog.event("config-error", 3);
    assert_eq!(event["errors"].as_array().unwrap().len(), 3, "{event}");
    parts.iter().for_each(|part| dog.wait_err(part));
    dog.wait_err("(the first of 3)");
    assert!(dog.err().lines().all(|line| line.matches("watchdog.toml:").count() < 2), "{}", dog.err());
    dog.stop();
}

// CFG-15
#[test]
fn what_has_not_changed_keeps_pid_counters_and_timers() {
    let text = format!(
        "[service.a]\n{SLEEPS}restart_limit = 0\n[service.b]\ncommand = [\"sh\", \"-c\", \"exit 1\"]\nrestart_delay = \"60s\"\nfast_first_restart = false\n"
    );
    let dog = Run::file(&text).flag("--restart-delay-jitter", "0%").switch("--no-progress").spawn();
    dog.wait_ready("a");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(dog.pid_of("a", 1)), Signal::SIGKILL).unwrap();
    let waiting = dog.wait_service_state("b", "backoff");
    dog.signal(Signal::SIGHUP);
    wait_for("the reload", || (reloads(&dog) == 1).then_some(()));
    let told = dog.events_of("reload").pop().unwrap();
    for key in ["added", "removed", "changed", "restarted", "deferred"] {
        assert_eq!(told[key], serde_json::json!([]), "{told}");
    }
    let later = dog.service("b");
    assert_eq!(
        (&later["state"], &later["since"], &later["streak"]),
        (&waiting["state"], &waiting["since"], &waiting["streak"])
    );
    let (was, is) = (waiting["next_restart_in_ms"].as_u64().unwrap(), later["next_restart_in_ms"].as_u64().unwrap());
    assert!(is <= was && is > 30_000, "its timer goes on: {was} {is}");
    assert_eq!(starts_of(&dog, "b"), 1);
    dog.stop();
}

// CFG-15
#[test]
fn one_that_changed_is_restarted_alone_one_that_came_starts_and_one_that_went_stops() {
    let file = |api: &str, more: &str| {
        format!(
            "[service.db]\n{SLEEPS}[service.api]\ncommand = [\"sh\", \"-c\", \"echo {api}; exec sleep 1000\"]\nrequires = [\"db\"]\n{more}"
        )
    };
    let old = format!("[service.old]\n{SLEEPS}");
    let dog = Run::quick_file(&file("one", &old)).spawn();
    dog.wait_out("api | one");
    dog.wait_ready("old");
    dog.run.write_file(&file("two", &format!("[service.new]\n{SLEEPS}requires = [\"api\"]\n")));
    let told = dog.verb(&["reload", "--json"]).code(0).json();
    assert_eq!(told["changed"], serde_json::json!(["api"]));
    assert_eq!(told["restarted"], serde_json::json!(["api"]));
    assert_eq!((&told["added"][0], &told["removed"][0]), (&Value::from("new"), &Value::from("old")));
    dog.wait_out("api | two");
    dog.wait_ready("new");
    dog.event_for("old", "stopped", 1);
    let exit = dog.event_for("api", "exit", 1);
    assert_eq!((&exit["cause"], &exit["requested"]), (&Value::from("config-changed"), &Value::from(true)));
    assert_eq!((starts_of(&dog, "db"), starts_of(&dog, "api")), (1, 2));
    dog.verb(&["status", "old"]).code(3);
    // Back again: a new life with the same name, and no number of a generation twice.
    dog.run.write_file(&file("two", &old));
    dog.verb(&["reload"]).code(0);
    let again = dog.wait_ready("old");
    assert_eq!(again["generation"], 2);
    dog.stop();
}

#[test]
fn policy_limits_probes_and_logs_change_under_a_running_process() {
    let file = |more: &str| format!("[service.a]\n{SLEEPS}{more}");
    let dog = Run::quick_file(&file("")).spawn();
    dog.wait_ready("a");
    assert_eq!(dog.service("a")["memory"]["limit_bytes"], Value::Null);
    dog.run.write_file(&file(
        "memory_limit = \"1GiB\"\nsample_interval = \"100ms\"\nrestart_limit = 17\ntitle = \"the first\"\nlog_file = \"a.log\"\n\
         [[service.a.probe]]\nname = \"fine\"\ncheck = \"exec:true\"\ninterval = \"100ms\"\nrole = \"readiness\"\n",
    ));
    let told = dog.verb(&["reload", "--json"]).code(0).json();
    assert_eq!((&told["changed"][0], &told["restarted"]), (&Value::from("a"), &serde_json::json!([])));
    let a = dog.wait_service("a", "a measured process", |s| s["memory"]["rss_bytes"].is_u64());
    assert_eq!((&a["restart_limit"], &a["title"], &a["generation"]), (&17.into(), &"the first".into(), &1.into()));
    dog.wait_service("a", "a probe", |s| s["probes"][0]["result"] == "success" && s["ready"] == true);
    assert!(dog.path("a.log").exists());
    dog.stop();
}

#[test]
fn no_restart_puts_off_what_needs_one_and_the_next_start_brings_it() {
    let file = |word: &str| format!("[service.a]\ncommand = [\"sh\", \"-c\", \"echo {word}; exec sleep 1000\"]\n");
    let dog = Run::quick_file(&file("one")).spawn();
    dog.wait_out("a | one");
    dog.run.write_file(&file("two"));
    let told = dog.verb(&["reload", "--no-restart", "--json"]).code(0).json();
    assert_eq!((&told["deferred"][0], &told["restarted"]), (&Value::from("a"), &serde_json::json!([])));
    assert_eq!(starts_of(&dog, "a"), 1);
    let waits =
        || dog.verb(&["explain", "a"]).code(0).out.contains("the newer ones were read and wait for its next start");
    assert!(waits() && dog.service("a")["pending_reload"] == true);
    dog.verb(&["restart", "a"]).code(0);
    dog.wait_out("a | two");
    assert!(!waits() && dog.service("a")["pending_reload"] == false);
    dog.stop();
}

// What holds until the end of the watchdog is not passed over in silence.
#[test]
fn settings_of_the_watchdog_itself_are_said_to_need_its_restart() {
    let file = |own: &str| format!("[watchdog]\nreport_keep = 5\n{own}[service.a]\n{SLEEPS}");
    let dog = Run::quick_file(&file("")).spawn();
    dog.wait_ready("a");
    let own = "name = \"other\"\nstate = \"wishes\"\nstrategy = \"one-for-all\"\nlog_level = \"warn\"\nlog_format = \"json\"\n\
               report_dir = \"reports\"\ndie_with_parent = \"TERM\"\n";
    dog.run.write_file(&file(own).replace("keep = 5", "keep = 6"));
    let told = dog.verb(&["reload", "--json"]).code(0).json();
    let keys = ["name", "report_dir", "report_keep", "state", "strategy", "die_with_parent", "log_level", "log_format"];
    assert_eq!((&told["needs_watchdog_restart"], &told["changed"]), (&serde_json::json!(keys), &serde_json::json!([])));
    dog.wait_err("needs a restart of the watchdog: name, report_dir, report_keep, state");
    let said = dog.verb(&["reload"]).code(0).out;
    assert!(said.starts_with("needs a restart of the watchdog: name, "), "{said}");
    dog.run.write_file(&file("events_file = \"by a flag\"\n"));
    assert_eq!(dog.verb(&["reload"]).code(0).out, "nothing changed\n", "as it was started");
    dog.stop();
}

// CFG-16
#[test]
fn a_reload_while_things_start_and_stop_loses_nobody() {
    let slow = "command = [\"sh\", \"-c\", \"trap 'sleep 0.3; exit 0' TERM; sleep 0.2; echo up; while :; do sleep 0.05; done\"]\nready = \"line:up\"\n";
    let text = format!("[service.a]\n{slow}[service.b]\n{slow}requires = [\"a\"]\n");
    let dog = Run::quick_file(&text).flag("--stop-timeout", "5s").spawn();
    dog.wait_service_state("a", "starting");
    dog.verb(&["reload"]).code(0);
    dog.wait_ready("b");
    let mut stop = dog.start_verb(&["stop", "a"]);
    dog.wait_service_state("b", "stopping");
    dog.verb(&["reload"]).code(0);
    assert!(stop.wait().unwrap().success());
    assert_eq!((&dog.service("a")["state"], &dog.service("b")["state"]), (&"stopped".into(), &"waiting".into()));
    let mut start = dog.start_verb(&["start", "a"]);
    dog.verb(&["reload"]).code(0);
    assert!(start.wait().unwrap().success());
    dog.wait_ready("b");
    assert_eq!(starts_of(&dog, "a"), 2);
    dog.stop();
}

#[test]
fn a_changed_file_of_variables_is_a_reload_where_it_is_watched() {
    let text = "[service.a]\ncommand = [\"sh\", \"-c\", \"echo got $WORD; exec sleep 1000\"]\nenv_file = [\"vars\"]\nenv_watch = \"100ms\"\n\
                [service.b]\ncommand = [\"sleep\", \"1000\"]\n";
    let run = Run::quick_file(text);
    std::fs::write(run.path("vars"), "WORD=one\n").unwrap();
    let dog = run.spawn();
    dog.wait_out("a | got one");
    // Whole or in pieces, in place or by exchange: one reload, a moment after the last change.
    std::fs::write(dog.path("vars.new"), "WORD=two\n").unwrap();
    std::fs::rename(dog.path("vars.new"), dog.path("vars")).unwrap();
    dog.wait_out("a | got two");
    std::fs::write(dog.path("vars"), "WORD=three\n").unwrap();
    dog.wait_out("a | got three");
    assert_eq!(starts_of(&dog, "b"), 1);
    dog.stop();
}

/// bugs.md 19. Failed before: one file in a directory that is not there, and no file of any service was watched.
#[test]
fn a_list_of_variables_in_a_directory_that_is_not_there_leaves_the_others_watched() {
    let says = |files: &str, word: &str| {
        format!(
            "command = [\"sh\", \"-c\", \"echo got ${word}; exec sleep 1000\"]\nenv_file = {files}\nenv_watch = \"100ms\"\n"
        )
    };
    let text = format!(
        "[service.a]\n{}[service.b]\n{}",
        says("[\"a.env\", \"-local/deep/a.env\"]", "WORD"),
        says("[\"b.env\"]", "OTHER")
    );
    let run = Run::quick_file(&text);
    std::fs::write(run.path("a.env"), "WORD=one\n").unwrap();
    std::fs::write(run.path("b.env"), "OTHER=one\n").unwrap();
    let dog = run.spawn();
    dog.wait_out("a | got one");
    dog.wait_out("b | got one");
    std::fs::write(dog.path("a.env"), "WORD=two\n").unwrap();
    dog.wait_out("a | got two");
    std::fs::write(dog.path("b.env"), "OTHER=two\n").unwrap();
    dog.wait_out("b | got two");
    // It comes, and is watched from then on.
    std::fs::create_dir_all(dog.path("local/deep")).unwrap();
    std::fs::write(dog.path("local/deep/a.env"), "WORD=three\n").unwrap();
    dog.wait_out("a | got three");
    std::fs::write(dog.path("local/deep/a.env"), "WORD=four\n").unwrap();
    dog.wait_out("a | got four");
    std::fs::remove_dir_all(dog.path("local")).unwrap();
    wait_for("without it", || (dog.out().matches("a | got two").count() == 2).then_some(()));
    assert!(!dog.err().contains("env_watch"), "{}", dog.err());
    dog.stop();
}

#[test]
fn a_service_that_was_stopped_by_hand_stays_so_over_a_reload_and_with_state_over_the_watchdog() {
    let file = |more: &str| format!("[service.a]\n{SLEEPS}{more}[service.b]\n{SLEEPS}");
    let dog = Run::quick_file(&file("")).flag("--state", "wishes").spawn();
    dog.wait_ready("a");
    dog.verb(&["stop", "a"]).code(0);
    dog.run.write_file(&file("nice = 1\n"));
    dog.verb(&["reload"]).code(0);
    assert_eq!(dog.service("a")["state"], "stopped");
    let kept = std::fs::read_to_string(dog.path("wishes")).unwrap();
    assert_eq!(kept.trim(), "{\"version\":1,\"wishes\":{\"a\":\"down\"}}");
    dog.stop();

    let run = Run::quick_file(&file("")).flag("--state", "wishes");
    std::fs::write(run.path("wishes"), &kept).unwrap();
    let dog = run.spawn();
    dog.wait_ready("b");
    let a = dog.service("a");
    assert_eq!((&a["state"], &a["goal"], &a["generation"]), (&"stopped".into(), &"down".into(), &0.into()));
    dog.verb(&["start", "a"]).code(0);
    assert!(std::fs::read_to_string(dog.path("wishes")).unwrap().contains("\"a\":\"up\""));
    dog.stop();
}

#[test]
fn a_broken_file_of_wishes_is_told_of_and_passed_over() {
    let run = Run::quick_file(&format!("[service.a]\n{SLEEPS}")).flag("--state", "wishes");
    std::fs::write(run.path("wishes"), "no json").unwrap();
    let dog = run.spawn();
    dog.wait_ready("a");
    dog.wait_err("not a file of wishes");
    dog.stop();
}

#[test]
fn there_is_nothing_to_read_again_in_the_prefix_form() {
    let dog = Run::new().program(["sleep", "1000"]).spawn();
    dog.event("ready", 1);
    let refused = dog.verb(&["reload"]).code(4);
    assert!(refused.err.contains("cannot be told"), "{refused:?}");
    dog.stop();
}
