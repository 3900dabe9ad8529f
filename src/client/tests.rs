//! The client against a watchdog made of a thread and canned answers.

#![expect(clippy::disallowed_methods, reason = "the watchdog of these tests is a thread")]

use super::*;
use crate::settings::Accounts;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Answers every connection on this socket with these lines, whatever is asked.
fn fake(path: &Path, lines: &'static str) {
    let listener = UnixListener::bind(path).expect("bind");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("accept");
            let mut request = String::new();
            let _ = BufReader::new(socket.try_clone().expect("clone")).read_line(&mut request);
            let _ = socket.write_all(lines.as_bytes());
        }
    });
}

fn world(dir: &Path, more: &[(&str, &str)]) -> World {
    let mut environment = vec![(OsString::from("WATCHDOG_RUNTIME_DIR"), dir.as_os_str().to_os_string())];
    environment.extend(more.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))));
    World { environment, pid: 1, uid: nix::unistd::geteuid().as_raw(), accounts: Accounts::default() }
}

const WEB: &str = "{\"id\":1,\"ok\":true,\"result\":{\"instance\":{\"name\":\"web\",\"pid\":42},\"services\":[]}}\n";
const DB: &str = "{\"id\":1,\"ok\":true,\"result\":{\"instance\":{\"name\":\"db\",\"pid\":43},\"services\":[]}}\n";

#[test]
fn the_only_one_is_meant_and_leftovers_are_passed_over() {
    let dir = tempfile::tempdir().expect("temporary directory");
    assert_eq!(find::one(None, &world(dir.path(), &[])).expect_err("must fail").status, NONE);
    drop(UnixListener::bind(dir.path().join("dead.sock")).expect("bind"));
    assert_eq!(find::one(None, &world(dir.path(), &[])).expect_err("must fail").status, NONE);
    fake(&dir.path().join("web.42.sock"), WEB);
    assert_eq!(find::one(None, &world(dir.path(), &[])).expect("one"), dir.path().join("web.42.sock"));
    fake(&dir.path().join("db.sock"), DB);
    let failure = find::one(None, &world(dir.path(), &[])).expect_err("must fail");
    assert_eq!(failure.status, USAGE);
    assert!(failure.message.contains("web.42 (pid 42)") && failure.message.contains("db (pid 43)"), "{failure:?}");
}

#[test]
fn the_flag_beats_the_variable_beats_the_socket() {
    let dir = tempfile::tempdir().expect("temporary directory");
    fake(&dir.path().join("web.42.sock"), WEB);
    fake(&dir.path().join("db.sock"), DB);
    let web = dir.path().join("web.42.sock");
    let both = [("WATCHDOG_INSTANCE", "web"), ("WATCHDOG_SOCKET", "/x.sock")];
    for asked in ["web", "web.42", "42"] {
        assert_eq!(find::one(Some(asked.as_ref()), &world(dir.path(), &[])).expect(asked), web);
    }
    assert_eq!(find::one(None, &world(dir.path(), &both)).expect("variable"), web);
    assert_eq!(find::one(None, &world(dir.path(), &both[1..])).expect("socket"), Path::new("/x.sock"));
    assert_eq!(find::one(Some("db".as_ref()), &world(dir.path(), &both)).expect("flag"), dir.path().join("db.sock"));
    let failure = find::one(Some("wbe".as_ref()), &world(dir.path(), &[])).expect_err("must fail");
    assert_eq!(failure.status, NONE);
    assert!(failure.message.ends_with("did you mean \"web\"?"), "{failure:?}");
}

#[test]
fn answers_have_the_status_of_the_contract() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for (code, status) in
        [("no-such-service", 3), ("refused", 4), ("denied", 4), ("busy", 4), ("usage", 2), ("timeout", 1)]
    {
        let path = dir.path().join(format!("{code}.sock"));
        let lines =
            format!("{{\"id\":1,\"ok\":false,\"error\":{{\"code\":\"{code}\",\"message\":\"m\",\"nearest\":null}}}}\n");
        fake(&path, lines.leak());
        let control =
            Control { verb: "stop", instance: Some(path.into()), names: vec!["x".into()], ..Control::default() };
        assert_eq!(run(&control, &world(dir.path(), &[])), status, "{code}");
    }
    let none = Control { verb: "status", instance: Some(dir.path().join("none.sock").into()), ..Control::default() };
    assert_eq!(run(&none, &world(dir.path(), &[])), NONE);
}

#[test]
fn health_and_wait_say_no_with_their_status() {
    let show = |verb, answer: &str| {
        let control = Control { verb, json: true, ..Control::default() };
        show(&control, &serde_json::from_str(answer).expect("JSON"))
    };
    assert_eq!(show("health", r#"{"service":"web","health":"healthy","reason":null}"#), OK);
    assert_eq!(show("health", r#"{"service":"web","health":"unhealthy","reason":"x"}"#), NO);
    assert_eq!(show("wait", r#"{"service":"web","for":"ready","reached":true}"#), OK);
    assert_eq!(show("wait", r#"{"service":"web","for":"ready","reached":false,"log_tail":[]}"#), NO);
}

#[test]
fn people_get_tables_and_no_escape_sequences() {
    let answer: Value = serde_json::from_str(
        "{\"instance\":{\"name\":\"web\",\"pid\":7,\"version\":\"0.1.0\",\"state\":\"running\",\"uptime_ms\":61000},\
         \"services\":[{\"name\":\"web\",\"state\":\"running\",\"ready\":true,\"health\":\"healthy\",\"pid\":8,\
         \"uptime_ms\":1500,\"restarts\":2,\"reason\":null,\"status_text\":\"a\\u001b[31m\",\"last_exit\":{\"code\":null,\"signal\":\"KILL\"}}]}",
    )
    .expect("JSON");
    let text = print::answer("status", &answer);
    assert!(text.starts_with("web (pid 7, watchdog 0.1.0) running for 1m1s\nNAME  STATE"), "{text}");
    assert!(text.contains("killed by KILL") && text.contains("1.5s") && text.contains("a\\u{1b}[31m"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn an_event_is_one_line() {
    let event = json!({"seq":1,"time":"T","mono_ms":1,"event":"stop-requested","service":"web","generation":2,"pid":7,
        "cause":null,"by":{"kind":"signal","signal":"TERM","pid":9,"uid":0}});
    assert_eq!(print::event(&event), "T web stop-requested #2 by=signal(TERM, pid 9, uid 0) pid=7\n");
}
