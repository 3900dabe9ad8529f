//! What verbs answer with: 0 yes, 1 no, 2 a wrong line, 3 nobody there, 4 refused (product.md section 2, 13).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, Verb, lines, stays, wait_for, wait_line, wait_lines};
use serde_json::json;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

/// A verb in the surroundings of a run that was not started.
fn alone(run: &Run, words: &[&str]) -> Verb {
    let line: Vec<OsString> =
        std::iter::once(common::watchdog()).chain(words.iter().copied()).map(Into::into).collect();
    let mut command = run.command(&line);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    common::control::finish(command.spawn().unwrap(), words)
}

fn sleeper(run: Run) -> Dog {
    let pid = run.at("pid");
    let dog = run.worker(["sleep", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog
}

/// Section 2: 3 where no watchdog is, and one line that says so
#[test]
fn without_a_watchdog_the_answer_is_3() {
    let run = Run::quick();
    for words in [
        &["tell", "worker", "flush"][..],
        &["reload"],
        &["explain"],
        &["explain", "--why-not", "worker"],
        &["report"],
        &["report", "list", "--json"],
        &["report", "last"],
        &["report", "show", "20260101T000000.000Z-worker-1"],
        &["report", "list", "-i", "nobody"],
    ] {
        let answer = alone(&run, words).code(3);
        assert!(answer.out.is_empty() && answer.err.starts_with("watchdog: "), "{words:?}: {answer:?}");
    }
    // -i names one that is not there: the reports of the dead are not meant
    let dir = run.path("state/watchdog");
    std::fs::create_dir_all(&dir).unwrap();
    assert_eq!(alone(&run, &["report", "list", "--json"]).code(0).json(), json!({"reports": []}));
    alone(&run, &["report", "list", "-i", "nobody"]).code(3);
    alone(&run, &["report", "last"]).code(3);
}

/// Section 2: 3 for a service that is not there, with the nearest name
#[test]
fn an_unknown_service_is_3_with_the_nearest() {
    let dog = sleeper(Run::quick());
    for words in [
        &["tell", "wroker", "flush"][..],
        &["reload", "wroker"],
        &["explain", "wroker"],
        &["explain", "--why-not", "wroker"],
        &["report", "list", "wroker"],
        &["report", "last", "wroker"],
    ] {
        let answer = dog.verb(words).code(3);
        assert!(answer.err.contains("worker"), "{words:?} names the nearest: {answer:?}");
    }
    dog.verb(&["report", "last"]).code(3);
    dog.verb(&["report", "show", "20260101T000000.000Z-worker-1"]).code(3);
    assert_eq!(dog.verb(&["report", "--json"]).code(0).json(), json!({"reports": []}));
    dog.stop();
}

/// Section 3: hidden is left out of the two listings unless it is named, and of nothing that counts or judges
#[test]
fn a_hidden_service_is_out_of_the_listings_and_of_nothing_else() {
    let text = "[service.plain]\ncommand = [\"sleep\", \"1000\"]\n[service.shy]\nhidden = true\nrestart = \"never\"\n\
                command = [\"sh\", \"-c\", \"echo shy words; while [ ! -e fail ]; do sleep 0.02; done; exit 3\"]\n";
    let dog = Run::quick_file(text).spawn();
    dog.wait_ready("plain");
    dog.event_for("shy", "ready", 1);
    let names = |verb: &[&str], list: &str| -> Vec<String> {
        let answer = dog.verb(verb).code(0).json();
        let all = answer[list].as_array().unwrap_or_else(|| panic!("{answer}"));
        all.iter().map(|s| s["name"].as_str().unwrap().to_string()).collect()
    };
    for (verb, list) in [("status", "services"), ("tree", "tree")] {
        assert_eq!(names(&[verb, "--json"], list), ["plain"], "{verb}");
    }
    assert_eq!(names(&["status", "shy", "--json"], "services"), ["shy"]);
    let counts = |key: &str| dog.verb(&["ls", "--json"]).code(0).json()["watchdogs"][0][key].clone();
    assert_eq!(["services", "ready", "failed"].map(counts), [2, 2, 0].map(serde_json::Value::from));
    assert_eq!(dog.verb(&["health", "--json"]).code(0).json()["health"], "healthy");
    std::fs::write(dog.path("fail"), "").unwrap();
    wait_for("its failure", || (counts("failed") == 1).then_some(()));
    assert_eq!(["services", "ready", "failed"].map(counts), [2, 1, 1].map(serde_json::Value::from));
    let health = dog.verb(&["health", "--json"]).code(1).json();
    assert_eq!((&health["service"], &health["health"]), (&json!("shy"), &json!("unhealthy")), "{health}");
    for verb in [&["events"][..], &["logs"], &["explain"], &["explain", "--why-not"], &["report"]] {
        let shown = dog.verb(verb).code(0).out;
        assert!(shown.contains("shy"), "{verb:?}: {shown}");
    }
    dog.verb(&["wait", "shy", "--for", "ready", "--timeout", "100ms"]).code(1);
    assert_eq!(names(&["status", "--json"], "services"), ["plain"]);
    dog.stop();
}

/// Section 2: 2 for a line that cannot be meant, before anybody is asked
#[test]
fn a_wrong_line_is_2() {
    let run = Run::quick();
    for words in [
        &["tell"][..],
        &["tell", "worker"],
        &["report", "show"],
        &["report", "--last"],
        &["explain", "--why"],
        &["reload", "--force"],
        &["tell", "--loud", "worker", "x"],
        &["report", "show", "a", "b", "c"],
    ] {
        let answer = alone(&run, words).code(2);
        assert!(answer.out.is_empty() && answer.err.starts_with("watchdog: "), "{words:?}: {answer:?}");
    }
}

/// Section 2: tell: 0 when it was sent, 4 where nobody hears or nothing runs
#[test]
fn telling_is_0_where_it_is_heard_and_4_where_it_is_not() {
    let dog = Run::beating().talks(&["hello", "serve"]).spawn();
    dog.armed();
    assert!(dog.verb(&["tell", "worker", "clear", "cache"]).code(0).err.is_empty());
    dog.hears("tell clear cache");
    let answer = dog.verb(&["tell", "worker", "again", "--json"]).code(0).json();
    assert!(answer.is_object(), "{answer}");
    dog.hears("tell again");
    dog.verb(&["stop", "worker"]).code(0);
    dog.verb(&["tell", "worker", "flush"]).code(4);
    dog.stop();
    let dog = sleeper(Run::quick());
    let refused = dog.verb(&["tell", "worker", "flush"]).code(4);
    assert!(refused.err.contains("worker"), "{refused:?}");
    dog.stop().count("spawn", 1);
}

/// Section 3: reload_signal: 0 and the signal arrives; 4 for one that would not understand; nobody is restarted
#[test]
fn reloading_is_0_where_it_is_understood_and_4_where_it_is_not() {
    let run = Run::quick().flag("--reload-signal", "USR2");
    let log = run.at("log");
    let dog = run.worker(["signal-log", &log, "--exit-on", "TERM"]).spawn();
    wait_line(&dog.path("log"), "READY");
    dog.verb(&["reload", "worker"]).code(0);
    wait_line(&dog.path("log"), "USR2");
    dog.verb(&["reload"]).code(0);
    wait_lines(&dog.path("log"), 3);
    let asked = dog.event("reload-requested", 1);
    assert_eq!(asked["by"]["kind"], "control", "{asked}");
    dog.verb(&["stop", "worker"]).code(0);
    dog.verb(&["reload", "worker"]).code(4);
    assert_eq!(dog.stop().count("spawn", 1).count("reload-requested", 2).of("signal-sent").len(), 3);
    let dog = sleeper(Run::quick());
    let refused = dog.verb(&["reload", "worker"]).code(4);
    assert!(refused.err.contains("reload_signal"), "says what would be needed: {refused:?}");
    stays("it lives", Duration::from_millis(200), || lines(&dog.path("pid")).len() == 1);
    dog.stop().count("spawn", 1);
}

/// Section 2: explain is 0 whatever there is to tell, also of what ended
#[test]
fn explain_is_0_whatever_there_is_to_tell() {
    let dog = Run::quick().flag("--restart-limit", "1").flag("--give-up", "stay").worker(["exit", "9"]).spawn();
    dog.event("gave-up", 1);
    wait_for("failed", || (dog.status()["state"] == "failed").then_some(()));
    for words in
        [&["explain"][..], &["explain", "worker"], &["explain", "--why-not"], &["explain", "--why-not", "--json"]]
    {
        assert!(dog.verb(words).code(0).out.contains("restart_limit 1"), "{words:?}");
    }
    let json = dog.verb(&["explain", "--why-not", "--json", "worker"]).code(0).json();
    assert!(json["services"][0]["text"].as_array().is_some_and(|t| t.len() >= 3), "{json}");
    dog.stop().code(9);
}
