//! Which watchdog and which services a line means: `-i`, the variables, a service that one alone has, patterns, `--all`,
//! targets; and a second start of the same file.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::SLEEPS;
use common::{Dog, Run, Verb, wait_for};
use serde_json::Value;
use std::process::Stdio;

/// The names in an answer, in order.
fn names(verb: &Verb) -> Vec<String> {
    let mut all: Vec<String> =
        verb.json()["services"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_string()).collect();
    all.sort();
    all
}

fn generation(dog: &Dog, name: &str) -> Value {
    dog.service(name)["generation"].clone()
}

/// A verb beside this watchdog, with these variables.
fn verb_with(dog: &Dog, words: &[&str], variables: &[(&str, &str)]) -> Verb {
    let mut run = Run::quick().env("WATCHDOG_RUNTIME_DIR", dog.path("run"));
    for (key, value) in variables {
        run = run.env(key, value);
    }
    let line: Vec<std::ffi::OsString> =
        std::iter::once(common::watchdog()).chain(words.iter().copied()).map(Into::into).collect();
    let mut command = run.command(&line);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    common::control::finish(command.spawn().unwrap(), words)
}

/// Two watchdogs in one runtime directory: a shop with web and db, a farm with cow and db.
fn two() -> (Dog, Dog) {
    let of = |names: [&str; 2]| names.map(|n| format!("[service.{n}]\n{SLEEPS}")).concat();
    let first = Run::quick_file(&of(["web", "db"])).flag("--name", "shop").spawn();
    first.wait_ready("db");
    let second = Run::quick_file(&of(["cow", "db"])).flag("--name", "farm");
    let second = second.env("WATCHDOG_RUNTIME_DIR", first.path("run")).spawn();
    wait_for("two sockets", || (std::fs::read_dir(first.path("run")).ok()?.count() == 2).then_some(()));
    wait_for("the farm", || {
        let status = verb_with(&first, &["status", "-i", "farm", "--json"], &[]);
        (status.code == 0 && status.json()["services"].as_array().unwrap().iter().all(|s| s["ready"] == true))
            .then_some(())
    });
    (first, second)
}

/// Failed before: with two watchdogs each verb needed -i.
#[test]
fn a_service_that_one_watchdog_alone_has_needs_no_choice() {
    let (shop, farm) = two();
    let status = verb_with(&shop, &["status", "cow", "--json"], &[]).code(0);
    assert_eq!(status.json()["instance"]["name"], "farm");
    verb_with(&shop, &["restart", "web"], &[]).code(0);
    assert_eq!(
        verb_with(&shop, &["status", "web", "-i", "shop", "--json"], &[]).json()["services"][0]["generation"],
        2
    );
    // its look-alikes: both have it, no name, a pattern, names of both, and a name that none has
    for words in [&["status", "db"][..], &["status"], &["status", "co*"], &["status", "web", "cow"], &["status", "x"]] {
        let several = verb_with(&shop, words, &[]).code(2);
        assert!(several.err.contains("shop") && several.err.contains("farm"), "{several:?}");
    }
    // -i beats WATCHDOG_INSTANCE beats WATCHDOG_SOCKET beats the rest
    let socket = shop.path("run").join("shop.sock").display().to_string();
    let name = |words: &[&str], variables: &[(&str, &str)]| {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        verb_with(&shop, &words, variables).code(0).json()["instance"]["name"].clone()
    };
    let pid = farm.pid().to_string();
    assert_eq!(name(&["status"], &[("WATCHDOG_SOCKET", &socket)]), "shop");
    assert_eq!(name(&["status"], &[("WATCHDOG_SOCKET", &socket), ("WATCHDOG_INSTANCE", "farm")]), "farm");
    assert_eq!(name(&["status", "-i", "shop"], &[("WATCHDOG_INSTANCE", "farm")]), "shop");
    assert_eq!(name(&["status", "-i", &pid], &[("WATCHDOG_INSTANCE", "shop")]), "farm");
    assert_eq!(name(&["status", "cow"], &[]), "farm");
    verb_with(&shop, &["status", "cow"], &[("WATCHDOG_SOCKET", &socket)]).code(3);
    verb_with(&shop, &["status"], &[("WATCHDOG_INSTANCE", "barn")]).code(3);
    farm.stop().code(0);
    shop.stop().code(0);
}

/// Failed before: there was no such thing, and `watchdog stop 'web*'` was a service that is not there.
#[test]
fn patterns_and_all_mean_many_services() {
    let text = format!(
        "[service.web]\n{SLEEPS}replicas = 2\n[service.web-admin]\n{SLEEPS}[service.db]\n{SLEEPS}\
         [service.by-hand]\n{SLEEPS}autostart = \"ignore\"\n\
         [service.migrate]\ntype = \"oneshot\"\ncommand = [\"true\"]\n"
    );
    let dog = Run::quick_file(&text).spawn();
    for name in ["web@0", "web@1", "web-admin", "db"] {
        dog.wait_ready(name);
    }
    dog.wait_service_state("migrate", "done");
    let web = ["web-admin", "web@0", "web@1"];
    assert_eq!(names(&dog.verb(&["status", "web*", "--json"]).code(0)), web);
    assert_eq!(names(&dog.verb(&["status", "web@?", "d?", "--json"]).code(0)), ["db", "web@0", "web@1"]);
    assert_eq!(names(&dog.verb(&["stop", "web*", "--json"]).code(0)), web);
    assert_eq!(dog.service("db")["state"], "running");
    // one that is done is not done again, and one for people alone is not started
    dog.verb(&["start", "--all"]).code(0);
    assert!(web.iter().all(|name| dog.service(name)["state"] == "running"));
    assert_eq!((&dog.service("by-hand")["state"], generation(&dog, "migrate")), (&"stopped".into(), 1.into()));
    // what is down is not restarted
    dog.verb(&["stop", "web-admin"]).code(0);
    dog.verb(&["restart", "--all"]).code(0);
    assert_eq!(dog.service("web-admin")["state"], "stopped");
    assert_eq!((generation(&dog, "db"), generation(&dog, "migrate")), (2.into(), 1.into()));
    // and what has no process gets no signal
    assert_eq!(names(&dog.verb(&["signal", "WINCH", "--all", "--json"]).code(0)), ["db", "web@0", "web@1"]);
    dog.verb(&["signal", "WINCH", "web-*"]).code(4);
    dog.verb(&["stop", "x*"]).code(3);
    dog.verb(&["stop", "--all", "db"]).code(2);
    dog.verb(&["stop"]).code(2);
    dog.verb(&["stop", "--all"]).code(0);
    assert_eq!(dog.service("db")["state"], "stopped");
    dog.stop().code(0);
}

/// Failed before: a restart of a target left its members as they were.
#[test]
fn a_restart_of_a_target_is_one_of_its_members() {
    let text = format!(
        "[service.all]\ntype = \"target\"\nrequires = [\"a\", \"inner\"]\nwants = [\"c\"]\n\
         [service.inner]\ntype = \"target\"\nrequires = [\"b\"]\n\
         [service.a]\n{SLEEPS}[service.b]\n{SLEEPS}[service.c]\n{SLEEPS}[service.other]\n{SLEEPS}"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("all");
    dog.wait_ready("other");
    dog.verb(&["stop", "c"]).code(0);
    dog.verb(&["restart", "all"]).code(0);
    for (name, times) in [("a", 2), ("b", 2), ("other", 1)] {
        assert_eq!(dog.events_for(name, "spawn").len(), times, "{name}");
    }
    assert_eq!(dog.service("c")["state"], "stopped", "what was stopped by hand stays so");
    dog.wait_ready("all");
    // a member alone is still a member alone
    dog.verb(&["restart", "a"]).code(0);
    assert_eq!((dog.events_for("a", "spawn").len(), dog.events_for("b", "spawn").len()), (3, 2));
    dog.stop().code(0);
}

/// Failed before: it said that a control socket is in use.
#[test]
fn a_second_start_of_the_same_file_says_that_it_runs() {
    let text = format!("[service.a]\n{SLEEPS}");
    let dog = Run::quick_file(&text).flag("--name", "shop").spawn();
    dog.wait_ready("a");
    let second = Run::quick_file(&text).flag("--name", "shop").env("WATCHDOG_RUNTIME_DIR", dog.path("run"));
    let ended = second.run().code(125).count("spawn", 0);
    assert!(ended.err.contains(&format!("shop is already running (pid {})", dog.pid())), "{}", ended.err);
    assert_eq!(dog.service("a")["generation"], 1);
    dog.stop().code(0);
}
