//! The next start goes before all that does not decide about it: what is told, kept and closed of the death comes after it,
//! and is whole all the same.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, procs, wait_for, wait_lines};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Restarted at once, again and again, and then it stays as it is.
fn at_once(restarts: u32) -> Run {
    Run::new()
        .flag("--restart", "always")
        .flag("--restart-delay", "0")
        .flag("--restart-limit", restarts.to_string())
        .flag("--crash-loop-limit", "0")
        .flag("--give-up", "stay")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    all.sort();
    all
}

fn reports(run: &Run) -> Vec<Value> {
    let all = files(&run.path("state/watchdog")).into_iter().flat_map(|dir| files(&dir));
    all.map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

fn kill_worker(dog: &Dog, nth: usize) {
    kill(Pid::from_raw(dog.worker_pid(nth)), Signal::SIGKILL).unwrap();
}

/// Section 5: each end is told before the start that follows from it, however fast that was.
#[test]
fn ends_are_told_in_order_before_the_starts_that_follow() {
    for more in [&[][..], &["--log=capture"], &["--http=127.0.0.1:0"]] {
        let run = more.iter().fold(at_once(40), |run, switch| run.switch(switch));
        let dog = run.worker(["exit", "3"]).spawn();
        dog.event("gave-up", 1);
        let ended = dog.stop().count("spawn", 41).count("exit", 41).count("restart-scheduled", 40);
        let told: Vec<(String, u64)> = ["spawn", "exit", "restart-scheduled"]
            .iter()
            .flat_map(|kind| ended.of(kind))
            .map(|e| (e["event"].as_str().unwrap().to_owned(), e["seq"].as_u64().unwrap()))
            .collect();
        let by_seq: BTreeMap<u64, &str> = told.iter().map(|(kind, seq)| (*seq, kind.as_str())).collect();
        let kinds: Vec<&str> = by_seq.into_values().collect();
        for (at, kind) in kinds.iter().enumerate() {
            assert_eq!(*kind, ["spawn", "exit", "restart-scheduled"][at % 3], "{more:?} at {at}: {kinds:?}");
        }
        let all: Vec<u64> = ended.of("spawn").iter().map(|e| e["mono_ms"].as_u64().unwrap()).collect();
        assert!(all.is_sorted(), "{all:?}");
        for (at, exit) in ended.of("exit").iter().enumerate() {
            assert_eq!(
                (exit["generation"].as_u64(), &exit["cause"]),
                (Some(at as u64 + 1), &"exited".into()),
                "{exit}"
            );
        }
    }
}

/// Section 6: every unclean death has its report, with its own lines and events, also where the next one has come meanwhile
#[test]
fn each_death_of_a_fast_loop_has_a_whole_report() {
    let dog = at_once(6).flag("--log", "capture").program(["sh", "-c", "echo life $$; exit 3"]).spawn();
    dog.event("gave-up", 1);
    let ended = dog.stop();
    let all = reports(&ended.run);
    assert_eq!(all.len(), 7, "{}", ended.story());
    for (at, report) in all.iter().enumerate() {
        let pid = report["pid"].as_i64().unwrap();
        assert_eq!(report["generation"], at as u64 + 1, "{report}");
        assert_eq!(report["log"]["lines"][0]["line"], format!("life {pid}"), "{report}");
        assert_eq!(report["log"]["lines"].as_array().unwrap().len(), 1, "{report}");
        let kinds: Vec<&str> =
            report["events"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
        assert_eq!(kinds.last(), Some(&"exit"), "{report}");
        assert_eq!(kinds.iter().filter(|kind| **kind == "exit").count(), at + 1, "{report}");
    }
}

/// Section 3, report_keep: of a loop that is faster than the disk the newest are kept, as many as were asked for
#[test]
fn of_a_fast_loop_the_newest_reports_are_kept() {
    let dog = at_once(60).flag("--report-keep", "4").worker(["exit", "3"]).spawn();
    dog.event("gave-up", 1);
    let ended = dog.stop();
    let kept: Vec<u64> = reports(&ended.run).iter().map(|r| r["generation"].as_u64().unwrap()).collect();
    assert_eq!(kept, [58, 59, 60, 61], "{}", ended.story());
}

/// Section 6: a question for the last report is answered with that of the death that was told last
#[test]
fn a_report_that_is_asked_for_is_there() {
    let dog = at_once(20).worker(["exit", "3"]).spawn();
    dog.event("gave-up", 1);
    let last = dog.verb(&["report", "last", "--json"]).code(0).json();
    assert_eq!(last["generation"], 21, "{last}");
    dog.stop();
}

/// Section 6, variables that a worker sees: right in every generation, and those that name something are of this one alone
#[test]
fn each_generation_has_its_own_variables() {
    let run = Run::quick().flag("--restart-delay", "0").flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let dog = run.flag("--name", "web").program(["sleep", "100000"]).spawn();
    let mut before: Vec<BTreeMap<String, String>> = Vec::new();
    for nth in 1..=4 {
        let pid = dog.worker_pid(nth);
        let seen = wait_for("its environment", || {
            let text = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let all: Vec<(String, String)> =
                text.split('\0').filter_map(|v| v.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
            let known: BTreeMap<String, String> = all.iter().cloned().collect();
            assert_eq!(known.len(), all.len(), "each once: {all:?}");
            known.contains_key("WATCHDOG_INVOCATION").then_some(known)
        });
        for (key, value) in [("ENABLED", "true"), ("SERVICE", "web"), ("REPLICA", "0"), ("PID", &pid.to_string())] {
            assert_eq!(seen[&format!("WATCHDOG_{key}")], value, "{key}: {seen:?}");
        }
        assert_eq!(seen["WATCHDOG_SOCKET"], dog.socket().to_string_lossy());
        assert!(seen["WATCHDOG_USEC"].parse::<u64>().unwrap() > 0, "{seen:?}");
        let channel = format!("/proc/{pid}/fd/{}", seen["WATCHDOG_CHANNEL"]);
        assert!(std::fs::read_link(&channel).unwrap().to_string_lossy().starts_with("socket:"), "{channel}");
        assert!(Path::new(&seen["NOTIFY_SOCKET"]).exists(), "{seen:?}");
        for old in &before {
            assert_ne!(old["WATCHDOG_INVOCATION"], seen["WATCHDOG_INVOCATION"]);
            assert_ne!(old["NOTIFY_SOCKET"], seen["NOTIFY_SOCKET"]);
            wait_for("the old socket is gone", || (!Path::new(&old["NOTIFY_SOCKET"]).exists()).then_some(()));
        }
        before.push(seen);
        if nth < 4 {
            kill_worker(&dog, nth);
        }
    }
    let last = before.pop().unwrap()["NOTIFY_SOCKET"].clone();
    let dir = Path::new(&last).parent().unwrap().to_owned();
    dog.stop();
    assert_eq!(files(&dir), Vec::<PathBuf>::new(), "nothing is left, nor what was made for the next one");
}

/// Section 6: the next notify socket is made before it is needed; a cleaner of directories that takes it away costs nothing
#[test]
fn a_socket_that_was_made_before_and_is_gone_is_made_anew() {
    let run = Run::quick().flag("--restart-delay", "0").flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let dog = run.flag("--ready", "reported").talks(&["n:READY=1", "sleep:100000"]).spawn();
    dog.event("ready", 1);
    kill_worker(&dog, 1);
    dog.event("ready", 2);
    let dir = dog.path("run-notify");
    wait_for("its own socket, and the next", || (files(&dir).len() == 2).then_some(()));
    for file in files(&dir) {
        std::fs::remove_file(file).unwrap();
    }
    kill_worker(&dog, 2);
    dog.event("ready", 3);
    dog.stop().count("notify-denied", 0);
}

/// A program of this name in this directory, that notes which it is.
fn program(dir: &Path, log: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let text = format!("#!/bin/sh\necho {} >> {}\nexec sleep 100000\n", dir.display(), log.display());
    let new = dir.join(".new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, dir.join("wanted")).unwrap();
}

/// Section 4, PATH is the worker's: it is searched anew at every start, as execvp(3) does
#[test]
fn the_path_is_searched_at_every_start() {
    let run = Run::quick().flag("--restart-delay", "0").flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let (first, second, log) = (run.path("first"), run.path("second"), run.path("log"));
    program(&second, &log);
    std::fs::create_dir(&first).unwrap();
    let system = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{}:{system}", first.display(), second.display());
    let dog = run.env("PATH", path).program(["wanted"]).spawn();
    wait_lines(&log, 1);
    // a new one in an earlier directory wins
    program(&first, &log);
    kill_worker(&dog, 1);
    wait_lines(&log, 2);
    // it is gone again: the next directory
    std::fs::remove_file(first.join("wanted")).unwrap();
    kill_worker(&dog, 2);
    wait_lines(&log, 3);
    // one that may not be executed is passed over
    std::fs::write(first.join("wanted"), "no program").unwrap();
    kill_worker(&dog, 3);
    let seen = wait_lines(&log, 4);
    assert_eq!(seen, [&second, &first, &second, &second].map(|dir| dir.display().to_string()));
    // none is left: it is said what is missing, and it is tried again until there is one
    std::fs::remove_file(first.join("wanted")).unwrap();
    std::fs::remove_file(second.join("wanted")).unwrap();
    kill_worker(&dog, 4);
    let failed = dog.event("spawn-failed", 1);
    assert_eq!((&failed["step"], &failed["errno"]), (&"exec".into(), &"ENOENT".into()), "{failed}");
    assert_eq!(failed["path"], "wanted", "{failed}");
    program(&second, &log);
    wait_lines(&log, 5);
    dog.stop();
}

/// INH-*, a thousand restarts later no descriptor, no socket and no process is left over
#[test]
fn a_thousand_restarts_leave_nothing_open() {
    let held = |restarts: u64| {
        let run = at_once(restarts as u32).no_events().flag("--report-keep", "2");
        let dog = run.worker(["exit", "3"]).spawn();
        wait_for("its socket", || dog.path("run").read_dir().ok()?.next().map(drop));
        for some in (0..=restarts).step_by(100).chain([restarts]) {
            wait_for("restarts", || (dog.status()["restarts"].as_u64() >= Some(some)).then_some(()));
        }
        assert_eq!(dog.wait_state("failed")["restarts"], restarts);
        let dir = dog.path("run-notify");
        wait_for("no socket is left", || files(&dir).is_empty().then_some(()));
        // A client that has just asked may still be connected.
        let seen = (0..50).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            procs::fd_count(dog.pid())
        });
        let open = seen.min().unwrap();
        let children = procs::children(dog.pid()).len();
        dog.stop();
        (open, children)
    };
    assert_eq!(held(1000), held(3));
}
