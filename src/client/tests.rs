//! The client against a watchdog made of a thread and canned answers.

#![expect(clippy::disallowed_methods, reason = "the watchdog of these tests is a thread")]

use super::*;
use crate::cli::Report;
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
            std::thread::spawn(move || {
                for _ in BufReader::new(socket.try_clone().expect("clone")).lines() {
                    let _ = socket.write_all(lines.as_bytes());
                }
            });
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
    assert_eq!(find::one(None, &[], &world(dir.path(), &[])).expect_err("must fail").status, NONE);
    drop(UnixListener::bind(dir.path().join("dead.sock")).expect("bind"));
    assert_eq!(find::one(None, &[], &world(dir.path(), &[])).expect_err("must fail").status, NONE);
    fake(&dir.path().join("web.42.sock"), WEB);
    assert_eq!(find::one(None, &[], &world(dir.path(), &[])).expect("one"), dir.path().join("web.42.sock"));
    fake(&dir.path().join("db.sock"), DB);
    let failure = find::one(None, &[], &world(dir.path(), &[])).expect_err("must fail");
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
        assert_eq!(find::one(Some(asked.as_ref()), &[], &world(dir.path(), &[])).expect(asked), web);
    }
    assert_eq!(find::one(None, &[], &world(dir.path(), &both)).expect("variable"), web);
    assert_eq!(find::one(None, &[], &world(dir.path(), &both[1..])).expect("socket"), Path::new("/x.sock"));
    assert_eq!(
        find::one(Some("db".as_ref()), &[], &world(dir.path(), &both)).expect("flag"),
        dir.path().join("db.sock")
    );
    let failure = find::one(Some("wbe".as_ref()), &[], &world(dir.path(), &[])).expect_err("must fail");
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

/// A directory of reports: two of web, one of a replica of it, one of db, and what else may lie about.
fn reports() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    for (id, service, time) in [
        ("r1", "web", "2026-01-01T00:00:00.000Z"),
        ("r3", "web", "2026-01-03T00:00:00.000Z"),
        ("r4", "web@1", "2026-01-04T00:00:00.000Z"),
        ("r2", "db", "2026-01-02T00:00:00.000Z"),
    ] {
        let report = json!({"id": id, "service": service, "time": time, "generation": 1, "cause": "hang", "verdict": null,
            "code": null, "signal": "KILL", "lanes": []});
        std::fs::write(dir.path().join(format!("{id}.json")), report.to_string()).expect("write");
    }
    std::fs::write(dir.path().join("half.json"), "{\"id\":\"r9\",").expect("write");
    std::fs::write(dir.path().join("list.json"), "[]").expect("write");
    std::fs::write(dir.path().join("r8.json.tmp"), "{\"id\":\"r8\"}").expect("write");
    std::fs::create_dir(dir.path().join("d.json")).expect("directory");
    nix::unistd::mkfifo(&dir.path().join("fifo.json"), nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("fifo");
    let huge = std::fs::File::create(dir.path().join("huge.json")).expect("create");
    huge.set_len(9 << 20).expect("a sparse file");
    dir
}

#[test]
fn reports_are_read_newest_first_and_broken_ones_passed_over() {
    let dir = reports();
    let ids = |report: Report, name: Option<&str>| {
        let control = Control {
            verb: "report",
            report,
            names: name.map(String::from).into_iter().collect(),
            ..Control::default()
        };
        let answer = report::read(&control, dir.path())?;
        let one = answer["report"]["id"].as_str().map(String::from);
        let all = answer["reports"].as_array().into_iter().flatten();
        Ok::<Vec<String>, Failure>(all.map(|r| r["id"].as_str().unwrap_or("?").to_string()).chain(one).collect())
    };
    assert_eq!(ids(Report::List, None).expect("a list"), ["r4", "r3", "r2", "r1"]);
    assert_eq!(ids(Report::List, Some("web")).expect("a list"), ["r4", "r3", "r1"]);
    assert_eq!(ids(Report::List, Some("we")).expect("a list"), [""; 0]);
    assert_eq!(ids(Report::Last, Some("db")).expect("one"), ["r2"]);
    assert_eq!(ids(Report::Show("r1".into()), None).expect("one"), ["r1"]);
    let missing = ids(Report::Show("r11".into()), None).expect_err("must fail");
    assert!(missing.status == NONE && missing.message.starts_with("no report \"r11\" in "), "{missing:?}");
    assert!(missing.message.contains("did you mean \"r1\"?"), "{missing:?}");
    assert_eq!(ids(Report::Last, Some("nobody")).expect_err("must fail").status, NONE);
    assert_eq!(ids(Report::Show("../r1".into()), None).expect_err("must fail").status, NONE);
}

#[test]
fn a_row_of_the_list_has_its_whole_shape() {
    let dir = reports();
    let answer = report::read(&Control { verb: "report", ..Control::default() }, dir.path()).expect("a list");
    let row = answer["reports"][0].as_object().expect("an object");
    let keys: Vec<&str> = row.keys().map(String::as_str).collect();
    let whole = ["bytes", "cause", "code", "generation", "id", "path", "service", "signal", "time", "verdict"];
    assert_eq!(keys, whole);
    assert_eq!(row["path"], dir.path().join("r4.json").to_string_lossy().as_ref());
}

#[test]
fn reports_of_the_dead_are_read_where_no_watchdog_is_left_to_ask() {
    let (runtime, dir) = (tempfile::tempdir().expect("temporary directory"), reports());
    let at = dir.path().to_string_lossy().into_owned();
    let known = [("WATCHDOG_REPORT_DIR", at.as_str())];
    let asks = |control: Control, more: &[(&str, &str)]| run(&control, &world(runtime.path(), more));
    let last = || Control { verb: "report", report: Report::Last, json: true, ..Control::default() };
    assert_eq!(asks(last(), &known), OK);
    assert_eq!(asks(last(), &[known[0], ("WATCHDOG_SOCKET", "/gone.sock")]), OK);
    assert_eq!(asks(Control { instance: Some("web".into()), ..last() }, &known), NONE);
    assert_eq!(asks(last(), &[known[0], ("WATCHDOG_INSTANCE", "web")]), NONE);
    assert_eq!(asks(last(), &[("WATCHDOG_REPORT_DIR", "off")]), NONE);
    assert_eq!(asks(last(), &[("WATCHDOG_REPORT_DIR", "/no/such/directory")]), NONE);
    // With --dir nobody is asked, whoever is there.
    fake(&runtime.path().join("web.42.sock"), WEB);
    let nowhere = Control { dir: Some("/no/such/directory".into()), ..last() };
    assert_eq!((asks(nowhere, &[]), asks(Control { dir: Some(at.clone().into()), ..last() }, &[])), (NONE, OK));
}

/// Takes one request and answers it with this line; a question before it whether it answers at all, too.
fn asked(control: Control, answer: &'static str) -> (Value, u8) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("x.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        let mut last = Value::Null;
        for request in BufReader::new(socket.try_clone().expect("clone")).lines().map_while(Result::ok) {
            last = serde_json::from_str(&request).expect("JSON");
            socket.write_all(answer.as_bytes()).expect("write");
        }
        last
    });
    let control = Control { instance: Some(path.into()), json: true, ..control };
    let status = run(&control, &world(dir.path(), &[]));
    (server.join().expect("a request"), status)
}

#[test]
fn the_new_verbs_ask_as_the_contract_says() {
    const DONE: &str = "{\"id\":1,\"ok\":true,\"result\":{\"services\":[],\"reports\":[]}}\n";
    const UNKNOWN: &str =
        "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"no-such-service\",\"message\":\"m\",\"nearest\":null}}\n";
    let web = || vec!["web".to_string()];
    let tell = Control { verb: "tell", names: web(), word: "clear cache".into(), ..Control::default() };
    let request =
        |verb, services: Vec<String>, args: Value| json!({"id": 1, "verb": verb, "services": services, "args": args});
    assert_eq!(asked(tell, DONE), (request("tell", web(), json!({"word": "clear cache"})), OK));
    let reload = Control { verb: "reload", names: web(), ..Control::default() };
    assert_eq!(asked(reload, DONE), (request("reload", web(), json!({})), OK));
    let explain = |why_not| Control { verb: "explain", why_not, ..Control::default() };
    assert_eq!(asked(explain(true), DONE).0, request("explain", vec![], json!({"why_not": true})));
    assert_eq!(asked(explain(false), DONE).0, request("explain", vec![], json!({})));
    let report = |report| Control { verb: "report", names: web(), report, ..Control::default() };
    assert_eq!(asked(report(Report::List), DONE), (request("report", web(), json!({"action": "list"})), OK));
    assert_eq!(asked(report(Report::Last), UNKNOWN), (request("report", web(), json!({"action": "last"})), NONE));
    let show = asked(report(Report::Show("r1".into())), UNKNOWN);
    assert_eq!(show, (request("report", web(), json!({"action": "show", "id": "r1"})), NONE));
}

#[test]
fn what_is_measured_stands_below_the_table() {
    let answer = json!({"instance": {}, "services": [{"name": "web", "health": "degraded",
        "memory": {"rss_bytes": 100 << 20, "limit_bytes": 512 << 20}, "cpu": {"percent": 12.4, "limit_percent": 150},
        "heartbeat": {"dialect": "native", "armed": true, "last_ms": 2000, "misses": 1}, "last_report": "r1"}]});
    let text = print::answer("status", &answer);
    for part in [
        " degraded ",
        "web: memory 100MiB of 512MiB, cpu 12% of 150%\n",
        "web: heartbeat: native, last beat 2s ago, 1 missed\n",
        "web: last report: r1 (watchdog report show r1)\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let quiet = json!({"instance": {}, "services": [{"name": "web", "memory": {"rss_bytes": null, "limit_bytes": null},
        "cpu": {"percent": null}, "heartbeat": {"armed": false}, "last_report": null}]});
    assert_eq!(print::answer("status", &quiet).lines().count(), 3);
}

/// 17. Failed before: each of them was `killed by TERM`.
#[test]
fn a_stop_an_end_by_a_rule_and_a_crash_look_different() {
    let exit = |cause: &str| json!({"code": null, "signal": "TERM", "cause": cause});
    let shown = |exit: &Value| print::why_it_ended(exit);
    assert_eq!(shown(&exit("signalled")), "killed by TERM");
    assert_eq!(shown(&exit("requested")), "stopped (TERM)");
    assert_eq!(shown(&exit("max-age")), "stopped (TERM)");
    assert_eq!(shown(&exit("start-timeout")), "start-timeout (TERM)");
    assert_eq!(shown(&json!({"code": 0, "signal": null, "cause": "requested"})), "stopped (code 0)");
    assert_eq!(shown(&json!({"code": 3, "signal": null, "cause": "exited"})), "code 3");
    assert_eq!(shown(&json!(null)), "-");
    let status = json!({"instance": {}, "services": [{"name": "web", "last_exit": exit("requested")}]});
    assert!(print::answer("status", &status).contains("stopped (TERM)"));
}

#[test]
fn a_file_that_was_read_again_is_told_by_its_differences() {
    let none = json!({ "added": [], "removed": [], "changed": [], "restarted": [], "deferred": [] });
    assert_eq!(print::answer("reload", &none), "nothing changed\n");
    let some = json!({ "added": ["b"], "removed": [], "changed": ["a", "c@0"], "restarted": ["a"], "deferred": [] });
    assert_eq!(print::answer("reload", &some), "added: b\nchanged: a c@0\nrestarted: a\n");
    let own = json!({ "changed": [], "needs_watchdog_restart": ["events_file", "strategy"] });
    assert_eq!(print::answer("reload", &own), "needs a restart of the watchdog: events_file, strategy\n");
}
