//! The flight recorder from outside: when there is a report, what stands in it and what never does, where it is kept, and
//! how it is read (product.md section 6, SEC-01..03).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::probes::probe;
use common::{Ended, Run, procs, wait_for, wait_lines, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SECRET: &str = "S3CRET-91bd";

/// Files of a directory of reports, the oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    all.sort();
    all
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The reports of a run in the default place: a directory for each instance.
fn written(run: &Run) -> Vec<Value> {
    files(&run.path("state/watchdog")).iter().flat_map(|dir| files(dir)).map(|p| read(&p)).collect()
}

/// The only one.
#[track_caller]
fn only(ended: &Ended) -> Value {
    let mut all = written(&ended.run);
    assert_eq!(all.len(), 1, "one report: {all:?}\n{}", ended.story());
    all.remove(0)
}

fn texts(report: &Value) -> Vec<String> {
    let lines = report["log"]["lines"].as_array().unwrap_or_else(|| panic!("{report}"));
    lines.iter().map(|l| l["line"].as_str().unwrap_or_default().to_string()).collect()
}

/// Section 6: an unclean exit
#[test]
fn an_unclean_exit_is_reported_with_its_rule_exit_and_last_lines() {
    for log in ["tee", "capture"] {
        let run = Run::once().flag("--log", log);
        let ended = run.worker(["exit", "9", "--say", "first\nlast words\n", "--say-err", "sorry\n"]).run().code(9);
        let report = only(&ended);
        for (key, value) in [
            ("service", json!("worker")),
            ("generation", json!(1)),
            ("cause", json!("exited")),
            ("code", json!(9)),
            ("signal", Value::Null),
            ("verdict", Value::Null),
            ("requested", json!(false)),
            ("pid", ended.of("spawn")[0]["pid"].clone()),
        ] {
            assert_eq!(report[key], value, "{key}: {report}");
        }
        assert!(report["rule"].as_str().unwrap().contains("exited with code 9"), "{report}");
        assert!(report["rusage"]["rss_peak_bytes"].as_u64() > Some(1 << 20), "{report}");
        assert!(report["rusage"]["cpu_ms"].is_u64() && report["uptime_ms"].is_u64(), "{report}");
        let mut said = texts(&report);
        said.sort();
        assert_eq!(said, ["first", "last words", "sorry"], "{log}: {report}");
        let events: Vec<&str> =
            report["events"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["spawn", "ready", "exit"], "{report}");
        // what a dead one cannot be asked any more is unknown, and said
        assert_eq!((&report["threads"], &report["descriptors"]), (&Value::Null, &Value::Null), "{report}");
        assert!(report["notes"].to_string().contains("dead before"), "{report}");
    }
}

/// Section 6: where the output is not ours the report says so
#[test]
fn output_that_is_not_ours_is_said_to_be_so() {
    let report = only(&Run::once().worker(["exit", "9", "--say", "words\n"]).run().code(9));
    assert_eq!((&report["log"]["captured"], &report["log"]["lines"]), (&json!(false), &json!([])), "{report}");
    assert!(report["log"]["note"].as_str().unwrap().contains("log = inherit"), "{report}");
}

/// Section 6: the last lines are those of the life that ended, the newest of them
#[test]
fn the_last_lines_are_of_the_life_that_ended() {
    let run = Run::quick().flag("--log", "capture").flag("--restart-limit", "1").flag("--crash-loop-limit", "0");
    let line = "echo life of $$; i=0; while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); done; echo $$ >> pids; exit 3";
    let ended = run.program(["sh", "-c", line]).run().code(3);
    let (pids, reports) = (ended.lines("pids"), written(&ended.run));
    assert_eq!(reports.len(), 2);
    for (pid, report) in pids.iter().zip(&reports) {
        let said = texts(report);
        assert_eq!(said.last().map(String::as_str), Some("line 599"), "of {pid}");
        assert!(said.len() <= 400 && !said.iter().any(|l| l.starts_with("life of") && !l.contains(pid)), "{said:?}");
    }
}

/// Section 6: a crash by a signal
#[test]
fn a_crash_by_a_signal_is_reported() {
    let ended = Run::once().worker(["die", "SEGV"]).run().code(139);
    let report = only(&ended);
    assert_eq!((&report["cause"], &report["signal"]), (&json!("signalled"), &json!("SEGV")), "{report}");
    assert_eq!((&report["code"], &report["core"], &report["oom"]), (&Value::Null, &json!(false), &json!(false)));
    assert!(report["rule"].as_str().unwrap().contains("SIGSEGV"), "{report}");
}

/// Section 6: a kill of ours, with what it was doing and what it had
#[test]
fn a_stop_that_had_to_kill_is_reported_with_threads_and_descriptors() {
    let run = Run::quick().flag("--stop-timeout", "300ms");
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let worker = dog.worker_pid(1);
    let ended = dog.stop().code(137).count("kill-escalated", 1);
    let report = only(&ended);
    assert_eq!((&report["cause"], &report["signal"]), (&json!("requested"), &json!("KILL")), "{report}");
    let rule = report["rule"].as_str().unwrap();
    assert!(rule.contains("did not end within its grace of 3"), "{rule}");
    let main = &report["threads"][0];
    assert_eq!(main["tid"], worker, "{report}");
    assert!(["S", "R", "D"].contains(&main["state"].as_str().unwrap()), "{main}");
    let descriptors = report["descriptors"].as_array().unwrap();
    let target = |fd: u64| descriptors.iter().find(|d| d["fd"] == fd).map(|d| d["target"].to_string());
    assert_eq!(target(0).as_deref(), Some("\"/dev/null\""), "{report}");
    assert!(report["descriptors_total"].as_u64() >= Some(descriptors.len() as u64), "{report}");
}

/// Section 6: none where nothing went wrong, and the directory is not even made
#[test]
fn a_clean_end_and_a_stop_within_the_grace_are_not_reported() {
    let clean = Run::once().worker(["exit", "0"]).run().code(0);
    let run = Run::quick();
    let (file, pid) = (run.at("finished"), run.at("pid"));
    let dog = run.worker(["graceful", &file, "--pid-file", &pid, "--code", "5"]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog.verb(&["restart", "worker"]).code(0);
    wait_lines(&dog.path("pid"), 2);
    let asked = dog.stop().code(5);
    let run = Run::quick().flag("--max-age", "200ms");
    let dog = run.worker(["sleep"]).spawn();
    dog.event("spawn", 3);
    let aged = dog.stop();
    for ended in [clean, asked, aged] {
        assert!(!ended.run.path("state").exists(), "{:?}\n{}", written(&ended.run), ended.story());
    }
}

/// A loop of the SDK's that hangs, under short beats.
fn stuck_lanes(run: Run) -> Run {
    let lanes = common::worker().with_file_name("lanes");
    assert!(lanes.exists(), "build it first: cargo build --examples -p worker-sdk");
    let run = run.flag("--heartbeat-interval", "300ms").flag("--ready", "reported");
    run.program([lanes.as_os_str(), "stuck".as_ref()])
}

/// Section 6: a hang: which loop, where in it, what its threads did, how it was judged
#[test]
fn a_stuck_loop_is_named_with_the_place_where_it_is_stuck() {
    let dog = stuck_lanes(Run::quick()).spawn();
    let hang = dog.event("hang", 1);
    assert_eq!(hang["lane"], "consumer", "{hang}");
    dog.worker_pid(2);
    let report = dog.verb(&["report", "last", "--json"]).code(0).json();
    assert_eq!((&report["cause"], &report["verdict"]), (&json!("hang"), &json!("deadlocked")), "{report}");
    assert!(report["rule"].as_str().unwrap().starts_with("lane \"consumer\" did not beat for"), "{report}");
    let lane = |name: &str| report["lanes"].as_array().unwrap().iter().find(|l| l["name"] == name).unwrap().clone();
    assert_eq!((&lane("consumer")["late"], &lane("producer")["late"]), (&json!(true), &json!(false)), "{report}");
    let names: Vec<&str> = report["threads"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"consumer") && names.contains(&"producer"), "{names:?}");
    let stacks = report["stacks"].as_array().unwrap();
    let of_it = stacks.iter().find(|s| s["thread"] == "consumer").unwrap_or_else(|| panic!("{stacks:?}"));
    assert!(of_it["text"].as_str().unwrap().contains("stuck_in_here"), "{of_it}");
    assert!(!report["heartbeat"]["beats_ms"].as_array().unwrap().is_empty(), "{report}");
    let page = dog.verb(&["report", "last"]).code(0).out;
    assert!(page.contains("hang, deadlocked") && page.contains("stuck_in_here"), "{page}");
    assert!(dog.verb(&["explain"]).code(0).out.contains("lane \"consumer\""));
    dog.stop().order(&["ready", "hang", "verdict", "exit", "restart-scheduled", "spawn"]);
}

/// Section 6: accept queues of a listener that nobody serves
#[test]
fn connections_that_wait_for_a_dead_loop_are_counted() {
    let python = std::process::Command::new("python3").arg("-V").output();
    if !python.is_ok_and(|o| o.status.success()) {
        return common::skip("python3 is not installed");
    }
    let script = "import signal, socket, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ns = socket.socket()\n\
                  s.bind(('127.0.0.1', 0))\ns.listen(7)\nf = open('port', 'w')\nf.write(f'{s.getsockname()[1]}\\n')\n\
                  f.close()\ntime.sleep(1000)";
    let dog = Run::quick().flag("--stop-timeout", "300ms").program(["python3", "-c", script]).spawn();
    let port: u16 = wait_lines(&dog.path("port"), 1)[0].parse().unwrap();
    let _clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let report = only(&dog.stop().code(137));
    let queue = &report["accept_queues"][0];
    let address = format!("127.0.0.1:{port}");
    assert_eq!(queue, &json!({"address": address, "waiting": 3, "limit": null}), "{report}");
}

/// Section 6: the curve where there are limits, none where nothing is measured
#[test]
fn the_curve_is_there_where_something_is_measured() {
    let run = Run::once().flag("--memory-limit", "1GiB").flag("--sample-interval", "100ms");
    let report = only(&run.worker(["usage", "hold:30", "sleep:900", "exit:7"]).run().code(7));
    let curve = report["curve"].as_array().unwrap();
    assert!(curve.len() >= 3 && curve.last().unwrap()["rss_bytes"].as_u64() > Some(30 << 20), "{report}");
    assert!(curve[0]["cpu_percent"].is_null() && curve.last().unwrap()["cpu_percent"].is_f64(), "{report}");
    let report = only(&Run::once().worker(["usage", "hold:30", "sleep:300", "exit:7"]).run().code(7));
    assert_eq!(report["curve"], json!([]));
}

/// SEC-01, SEC-02: neither the environment nor an argument, at any kind of end
#[test]
fn no_report_tells_a_secret() {
    let secret = |run: Run| run.env("OUTER", SECRET).flag("--env", format!("TOKEN={SECRET}")).flag("--log", "capture");
    let crash = secret(Run::once()).worker(["exit", "9", "--password", SECRET]).run().code(9);
    let run = secret(Run::quick().flag("--stop-timeout", "200ms"));
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--pid-file", &pid, "--password", SECRET]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let killed = dog.stop().code(137);
    let run = secret(Run::quick()).flag("--memory-limit", "30MiB").flag("--sample-interval", "100ms");
    let dog = run.worker(["usage", "hold:60", "--password", SECRET]).spawn();
    dog.event("exit", 1);
    let memory = dog.stop();
    let dog = secret(Run::beating())
        .flag("--report-dir", "state/watchdog")
        .talks(&["hello", "serve:300", "--password", SECRET, "sleep:100000"])
        .spawn();
    dog.event("exit", 1);
    let hang = dog.stop();
    for ended in [crash, killed, memory, hang] {
        let place = ended.run.path("state/watchdog");
        let all: Vec<PathBuf> =
            files(&place).into_iter().flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect();
        assert!(!all.is_empty(), "{}", ended.story());
        for path in all {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains(SECRET), "{}: {text}", path.display());
            let command = read(&path)["command"].clone();
            assert_eq!(command, common::worker().to_string_lossy().as_ref(), "its first word alone");
        }
    }
}

/// SEC-03: report_dir: 0700 and 0600, whatever the umask
#[test]
fn reports_are_private_whatever_the_umask() {
    let run = Run::once().arranged(["--umask", "000"]);
    let dir = run.path("deep/er/reports");
    let ended = run.flag("--report-dir", &dir).worker(["exit", "9"]).run().code(9);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700, "{}", ended.story());
    let all = files(&dir);
    assert_eq!((all.len(), mode(&all[0])), (1, 0o600), "{all:?}");
}

/// Section 3: report_keep: the newest of each service stay, strangers' files are left alone
#[test]
fn only_so_many_reports_are_kept() {
    let run = Run::quick().flag("--restart-delay", "5ms").flag("--restart-limit", "7").flag("--crash-loop-limit", "0");
    let dir = run.path("state/watchdog/worker");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(dir.join("mine.json"), "{}").unwrap();
    std::fs::write(dir.join("20200101T000000.000Z-other-1.json"), "{\"service\":\"other\"}").unwrap();
    let ended = run.flag("--report-keep", "3").worker(["exit", "9"]).run().code(9).count("spawn", 8);
    let names: Vec<String> =
        files(&dir).iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let generations: Vec<&str> = names.iter().filter(|n| n.contains("-worker-")).map(|n| &n[n.len() - 6..]).collect();
    assert_eq!(generations, ["6.json", "7.json", "8.json"], "{names:?}\n{}", ended.story());
    assert_eq!(names.len(), 5, "{names:?}");
    let none = Run::once().flag("--report-keep", "0").worker(["exit", "9"]).run().code(9);
    assert!(!none.run.path("state").exists());
}

/// Section 6: a directory that cannot be used: the last one is kept in memory, one warning, nothing waits
#[test]
fn without_a_directory_the_last_report_is_kept_in_memory() {
    let run = Run::quick().flag("--restart-delay", "5ms").flag("--restart-limit", "3").flag("--give-up", "stay");
    let (place, log) = (run.path("place"), run.at("log"));
    std::fs::write(&place, "a file").unwrap();
    let dog = run.flag("--report-dir", &place).worker(["flaky", &log, "3", "--code", "4"]).spawn();
    wait_for("the fourth life", || (common::flaky::starts(&dog.path("log")) == 4).then_some(()));
    let list = dog.verb(&["report", "list", "--json"]).code(0).json();
    let all = list["reports"].as_array().unwrap();
    assert_eq!((all.len(), &all[0]["generation"], &all[0]["path"]), (1, &json!(3), &Value::Null), "{list}");
    let report = dog.verb(&["report", "last", "--json"]).code(0).json();
    assert_eq!((&report["generation"], &report["code"]), (&json!(3), &json!(4)), "{report}");
    assert_eq!(dog.status()["last_report"], report["id"]);
    let ended = dog.stop().code(0).count("spawn", 4);
    assert_eq!(ended.err.matches("kept in memory").count(), 1, "{}", ended.err);
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "a file");
}

/// Section 6: a directory that others may write to, or that is a link elsewhere, is not trusted
#[test]
fn a_directory_that_others_may_write_to_is_not_used() {
    let run = Run::once();
    let dir = run.path("reports");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
    let ended = run.flag("--report-dir", &dir).worker(["exit", "9"]).run().code(9);
    assert!(files(&dir).is_empty(), "{:?}", files(&dir));
    assert!(ended.err.contains("kept in memory"), "{}", ended.err);
    if !common::is_root() {
        return common::skip("needs root");
    }
    let run = Run::once();
    let dir = run.path("reports");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
    let ended = run.flag("--report-dir", &dir).worker(["exit", "9"]).run().code(9);
    assert!(files(&dir).is_empty() && ended.err.contains("kept in memory"), "of another user: {}", ended.err);
}

/// Section 3: report_dir = off: none in a file; the last one can still be asked for or there is none, and nobody warns
#[test]
fn reports_can_be_left_out() {
    let dog = Run::quick().flag("--report-dir", "off").worker(["sleep"]).spawn();
    kill(Pid::from_raw(dog.worker_pid(1)), Signal::SIGKILL).unwrap();
    dog.worker_pid(2);
    let list = dog.verb(&["report", "list", "--json"]).code(0).json();
    assert!(list["reports"].as_array().unwrap().iter().all(|r| r["path"].is_null()), "{list}");
    let ended = dog.stop();
    assert!(!ended.run.path("state").exists() && !ended.err.contains("memory"), "{}", ended.err);
}

/// Section 6: an end for not becoming ready in time, with what it was doing
#[test]
fn a_start_that_took_too_long_is_reported_with_its_threads() {
    let run = Run::once().flag("--ready", "reported").flag("--start-timeout", "300ms");
    let ended = run.worker(["sleep"]).run();
    let report = only(&ended);
    assert_eq!((&report["cause"], &report["ready_at"]), (&json!("start-timeout"), &Value::Null), "{report}");
    assert!(report["rule"].as_str().unwrap().contains("start_timeout 300ms"), "{report}");
    assert_eq!(report["threads"][0]["tid"], ended.of("spawn")[0]["pid"], "{report}");
}

/// Section 6, 13: lines that are no text are kept as they were
#[test]
fn lines_that_are_no_text_are_kept_byte_by_byte() {
    let run = Run::once().flag("--log", "capture");
    let ended = run.program(["sh", "-c", "printf 'a\\377b\\n\\033[2Jc\\n'; exit 3"]).run().code(3);
    let report = only(&ended);
    let lines = report["log"]["lines"].as_array().unwrap();
    assert_eq!((&lines[0]["encoding"], &lines[0]["line"]), (&json!("base64"), &json!("Yf9i")), "{report}");
    assert_eq!(lines[1]["line"], "\u{1b}[2Jc", "{report}");
}

/// Section 2, 13: report list|show|last of a running watchdog, and of its directory when it is gone
#[test]
fn reports_are_read_from_a_running_watchdog_and_after_its_end() {
    let run = Run::quick().flag("--restart-delay", "5ms");
    let dog = common::flaky::flaky(run, &["2", "--code", "6"]).spawn();
    wait_for("the third life", || (common::flaky::starts(&dog.path("log")) == 3).then_some(()));
    let list = dog.verb(&["report", "list", "--json"]).code(0).json();
    let all = list["reports"].as_array().unwrap().clone();
    assert_eq!(all.iter().map(|r| r["generation"].clone()).collect::<Vec<_>>(), [json!(2), json!(1)], "newest first");
    for key in ["id", "time", "service", "generation", "cause", "verdict", "code", "signal", "bytes", "path"] {
        assert!(all[0].get(key).is_some(), "{key} is left out of {}", all[0]);
    }
    let id = all[1]["id"].as_str().unwrap().to_string();
    let path = PathBuf::from(all[1]["path"].as_str().unwrap());
    assert_eq!(all[1]["bytes"], path.metadata().unwrap().len());
    let shown = dog.verb(&["report", "show", &id, "--json"]).code(0).json();
    assert_eq!(shown, read(&path));
    assert_eq!(dog.verb(&["report", "last", "--json"]).code(0).json()["id"], all[0]["id"]);
    assert_eq!(dog.status()["last_report"], all[0]["id"]);
    for page in [&["report"][..], &["report", "list"], &["report", "show", &id]] {
        assert!(dog.verb(page).code(0).out.contains(&id), "{page:?}");
    }
    let nobody = "20260101T000000.000Z-worker-9";
    for unknown in [nobody, "nonsense", "../../etc/passwd", "20260101T000000.000Z-../../x-9"] {
        dog.verb(&["report", "show", unknown]).code(3);
    }
    let line: Vec<std::ffi::OsString> = vec![common::watchdog().into()];
    let ended = dog.stop().code(0);
    let after = |words: &[&str]| {
        let line: Vec<_> = line.iter().cloned().chain(words.iter().map(Into::into)).collect();
        let mut command = ended.run.command(&line);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        common::control::finish(command.spawn().unwrap(), words)
    };
    assert_eq!(after(&["report", "list", "--json"]).code(0).json(), list);
    assert_eq!(after(&["report", "show", &id, "--json"]).code(0).json(), shown);
    assert_eq!(after(&["report", "last", "--json"]).code(0).json()["id"], all[0]["id"]);
    after(&["report", "show", nobody]).code(3);
}

/// Section 2: reports outlive their services: of one that a reload has removed, of replicas, and of a hidden one; and they
/// are those of this watchdog, where several write into one directory
#[test]
fn reports_of_services_that_are_gone_or_hidden_are_still_there() {
    let stays = "[service.stays]\ncommand = [\"sleep\", \"1000\"]\n";
    let crashes = "command = [\"sh\", \"-c\", \"exit 5\"]\nrestart = \"never\"\n";
    let text = format!(
        "{stays}[service.gone]\n{crashes}[service.many]\nreplicas = 2\n{crashes}[service.shy]\nhidden = true\n{crashes}"
    );
    let run = Run::quick_file(&text);
    let dir = run.path("reports");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
    let put = |service: &str, watchdog: Value| {
        let report =
            json!({"id": format!("20260101T000000.000Z-{service}-1"), "service": service, "watchdog": watchdog});
        std::fs::write(dir.join(format!("20260101T000000.000Z-{service}-1.json")), report.to_string()).unwrap();
    };
    put("theirs", json!({"name": "another", "pid": 7}));
    put("before", json!({"name": "shop", "pid": 7}));
    put("old", json!({"pid": 7}));
    let dog = run.flag("--report-dir", &dir).flag("--name", "shop").spawn();
    let services = |words: &[&str]| -> Vec<String> {
        let list = dog.verb(&[&["report", "list", "--json"][..], words].concat()).code(0).json();
        let mut all: Vec<String> =
            list["reports"].as_array().unwrap().iter().map(|r| r["service"].as_str().unwrap().to_string()).collect();
        all.sort();
        all
    };
    let all = ["before", "gone", "many@0", "many@1", "old", "shy"];
    wait_for("all reports", || (services(&[]) == all).then_some(()));
    dog.run.write_file(stays);
    dog.verb(&["reload"]).code(0);
    assert_eq!(dog.verb(&["status", "--json"]).code(0).json()["services"].as_array().unwrap().len(), 1);
    assert_eq!(services(&[]), all);
    assert_eq!(services(&["gone"]), ["gone"]);
    assert_eq!(services(&["many"]), ["many@0", "many@1"]);
    assert_eq!(services(&["many@1"]), ["many@1"]);
    assert_eq!(
        (services(&["shy"]), services(&["theirs"]), services(&["stays"])),
        (vec!["shy".into()], vec!["theirs".into()], vec![])
    );
    let last = dog.verb(&["report", "last", "gone", "--json"]).code(0).json();
    assert_eq!((&last["service"], &last["watchdog"]["name"]), (&json!("gone"), &json!("shop")), "{last}");
    dog.verb(&["report", "show", last["id"].as_str().unwrap()]).code(0);
    dog.verb(&["report", "last", "stays"]).code(3);
    for verb in ["list", "last"] {
        let answer = dog.verb(&["report", verb, "gome"]).code(3);
        assert!(answer.err.contains("gone"), "the nearest: {answer:?}");
    }
    dog.stop();
}

/// Section 6: explain: what happened, which rule with which numbers, what comes next; and why something did not happen
#[test]
fn explain_tells_the_story_of_a_limit() {
    let run = Run::quick().flag("--memory-limit", "30MiB").flag("--sample-interval", "100ms");
    let once = run.at("once");
    let dog = run.worker(["usage", "--once", &once, "hold:60"]).spawn();
    dog.worker_pid(2);
    let told = dog.verb(&["explain", "worker"]).code(0).out;
    for part in
        ["of memory, memory_limit is 30.0 MiB", "ended by us (memory)", "restart 1 of 5", "every 100ms", "next: "]
    {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let why = dog.verb(&["explain", "--why-not", "worker"]).code(0).out;
    for part in ["it is not restarted: it runs", "memory_limit 30.0 MiB", "restart_limit 5, 1 of them used"] {
        assert!(why.contains(part), "{part:?} is not in\n{why}");
    }
    dog.verb(&["stop", "worker"]).code(0);
    let why = dog.verb(&["explain", "--why-not", "worker"]).code(0).out;
    assert!(why.contains("it is not started: stopped on request by pid "), "{why}");
    dog.stop();
}

/// explain --why-not in a pause and after giving up
#[test]
fn explain_says_why_a_worker_is_not_running() {
    let dog = Run::quick().flag("--restart-delay", "20s").worker(["exit", "9"]).spawn();
    dog.event("restart-scheduled", 1);
    let why = dog.verb(&["explain", "--why-not"]).code(0).out;
    assert!(why.contains("it is started again in 1") && why.contains("restart_delay 20s"), "{why}");
    dog.stop().code(9);
    let dog = Run::quick().flag("--restart-limit", "1").flag("--give-up", "stay").worker(["exit", "9"]).spawn();
    dog.event("gave-up", 1);
    let why = dog.verb(&["explain", "--why-not", "--json"]).code(0).json();
    assert!(why.to_string().contains("it is not started again"), "{why}");
    dog.stop().code(9);
}

/// Restarts of a loop that crashes at once, in a second.
fn crashes_in(run: Run, time: Duration) -> f64 {
    let run = run.flag("--restart-delay", "0").flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let dog = run.worker(["exit", "9"]).spawn();
    dog.worker_pid(1);
    let began = Instant::now();
    std::thread::sleep(time);
    let count = dog.events_of("spawn").len();
    let rate = count as f64 / began.elapsed().as_secs_f64();
    dog.stop();
    rate
}

/// Section 6: no restart waits for a report
#[test]
fn a_crash_loop_is_not_slowed_by_its_reports() {
    let time = Duration::from_millis(1500);
    let mut ratios = Vec::new();
    // on a busy machine one pair says little
    let fast = within(Duration::from_secs(20), || {
        let without = crashes_in(Run::quick().flag("--report-keep", "0"), time);
        let with = crashes_in(Run::quick(), time);
        ratios.push((without, with));
        with * 4.0 > without
    });
    assert!(fast, "restarts in a second without and with reports: {ratios:?}");
}

/// Section 6, 8: what the probes of that life have answered is in its report, in the members of `status`; also of a life
/// that ended by itself
#[test]
fn a_report_tells_what_the_probes_of_that_life_answered() {
    let probes = probe(
        "web",
        "[\"sh\", \"-c\", \"cat bad >&2; test ! -e bad\"]",
        "name = \"good\"\nrole = \"liveness\"\nfailures = 2",
    ) + &probe("web", "\"exec:echo open\"", "name = \"open\"\nrole = \"readiness\"");
    let script = "rm -f bad; exec sleep 1000";
    let text = format!(
        "[service.web]\ncommand = [\"sh\", \"-c\", \"{script}\"]\nready = \"spawned\"\n{probes}[service.bare]\ncommand = [\"sleep\", \"1000\"]\n"
    );
    let dog = Run::quick_file(&text).spawn();
    dog.wait_service("web", "two answers", |s| {
        s["probes"].as_array().unwrap().iter().all(|p| p["result"] == "success")
    });
    std::fs::write(dog.path("bad"), "it is bad\n").unwrap();
    dog.event_for("web", "spawn", 2);
    let report = dog.verb(&["report", "last", "web", "--json"]).code(0).json();
    assert_eq!(report["cause"], "probe", "{report}");
    let status = dog.service("web")["probes"].clone();
    let members = |probe: &Value| probe.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (good, open) = (&report["probes"][0], &report["probes"][1]);
    assert_eq!((members(good), members(open)), (members(&status[0]), members(&status[1])), "{report}");
    let told = ["name", "role", "result", "message"].map(|key| good[key].as_str().unwrap_or_default());
    assert_eq!(told, ["good", "liveness", "failure", "it is bad"], "{report}");
    assert_eq!((&good["failures"], good["duration_ms"].is_u64(), good["time"].is_string()), (&json!(2), true, true));
    assert_eq!((&open["result"], &open["message"], &open["failures"]), (&json!("success"), &json!("open"), &json!(0)));
    let page = dog.verb(&["report", "last", "web"]).code(0).out;
    assert!(page.contains("\nprobes:\n") && page.contains("  good  liveness   failure  20"), "{page}");
    dog.wait_service("web", "answers of its second life", |s| s["probes"][1]["result"] == "success");
    for name in ["web", "bare"] {
        let nth = dog.events_for(name, "spawn").len();
        kill(Pid::from_raw(dog.pid_of(name, nth)), Signal::SIGKILL).unwrap();
        dog.event_for(name, "spawn", nth + 1);
    }
    let report = dog.verb(&["report", "last", "web", "--json"]).code(0).json();
    assert_eq!((&report["cause"], &report["probes"][1]["message"]), (&json!("signalled"), &json!("open")), "{report}");
    let bare = dog.verb(&["report", "last", "bare"]).code(0).out;
    assert!(!bare.contains("probes"), "{bare}");
    assert_eq!(dog.verb(&["report", "last", "bare", "--json"]).code(0).json()["probes"], json!([]));
    dog.stop();
}

/// Section 6: a report is of one service and says its generation; an end by somebody else's SIGKILL is one as well
#[test]
fn a_foreign_kill_is_reported_as_one() {
    let dog = Run::quick().worker(["sleep"]).spawn();
    kill(Pid::from_raw(dog.worker_pid(1)), Signal::SIGKILL).unwrap();
    let second = dog.worker_pid(2);
    let report = dog.verb(&["report", "last", "--json"]).code(0).json();
    assert_eq!(
        (&report["cause"], &report["signal"], &report["generation"]),
        (&json!("signalled"), &json!("KILL"), &json!(1))
    );
    assert_eq!(report["requested"], false);
    assert!(procs::alive(second));
    dog.stop();
}

/// users.md 3: watchdogs never delete each other's reports, in a directory of each by default or in one that both were given; all of
/// them are found when none runs. Failed before: `report_keep = 1` of one removed `web` of the other.
#[test]
fn watchdogs_leave_each_others_reports_alone() {
    for shared in [None, Some("reports")] {
        let home = Run::quick();
        let state = home.path("state");
        let dies = |name: &str, starts: usize| {
            let run = Run::quick().flag("--restart-delay", "5ms").flag("--restart-limit", (starts - 1).to_string());
            let run = run.flag("--crash-loop-limit", "0").flag("--name", name).flag("--report-keep", "1");
            let run = run.env("XDG_STATE_HOME", &state);
            let run = if let Some(dir) = shared { run.flag("--report-dir", home.path(dir)) } else { run };
            run.program(["sh", "-c", "exit 9"]).run().code(9).count("spawn", starts)
        };
        // The same service under two watchdogs.
        let file = |name: &str| {
            let text = format!(
                "[watchdog]\nname = {name:?}\nreport_keep = 1\n[service.web]\n\
                command = [\"sh\", \"-c\", \"exit 9\"]\nrestart_delay = \"5ms\"\nrestart_limit = 2\ncrash_loop_limit = 0\ngive_up = \"stop-all\"\n"
            );
            let run = Run::quick_file(&text).env("XDG_STATE_HOME", &state);
            let run = if let Some(dir) = shared { run.flag("--report-dir", home.path(dir)) } else { run };
            run.run().code(9).count("gave-up", 1)
        };
        drop((file("one"), file("two"), file("one"), dies("three", 2)));
        let place = home.path(shared.unwrap_or("state/watchdog"));
        let all: Vec<PathBuf> =
            files(&place).into_iter().flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect();
        let mut whose: Vec<String> =
            all.iter().map(|p| read(p)["watchdog"]["name"].as_str().unwrap().to_string()).collect();
        whose.sort();
        assert_eq!(whose, ["one", "three", "two"], "{all:?}");
        // None runs: all are found, or those of the one that is named.
        let listed = |words: &[&str]| -> Vec<String> {
            let env = shared.map_or(home.path("nowhere"), |dir| home.path(dir));
            let line: Vec<std::ffi::OsString> = std::iter::once(common::watchdog())
                .chain(["report", "list", "--json"])
                .chain(words.iter().copied())
                .map(Into::into)
                .collect();
            let mut command = home.command(&line);
            if shared.is_some() {
                command.env("WATCHDOG_REPORT_DIR", env);
            }
            let out = command.output().unwrap();
            let list: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
            let all = list["reports"].as_array().cloned().unwrap_or_default();
            all.iter().map(|r| r["service"].as_str().unwrap().to_string()).collect()
        };
        let mut all = listed(&[]);
        all.sort();
        assert_eq!(all, ["three", "web", "web"]);
        assert_eq!((listed(&["-i", "two"]), listed(&["-i", "four"])), (vec!["web".to_string()], vec![]));
    }
}
