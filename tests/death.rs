//! The watchdog itself dies, or meets its double (DEA-01..09).
//!
//! DEA-08 belongs to the SDK.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, about, lines, marked, procs, stays, wait_for, wait_line, wait_lines, watchdog, within};
use nix::sys::signal::Signal;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::{Duration, Instant};

fn sleeper(run: Run) -> (Dog, i32) {
    let pid = run.at("pid");
    let dog = run.leaves_alive().worker(["sleep", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let worker = lines(&dog.path("pid"))[0].split(' ').next().unwrap().parse().unwrap();
    (dog, worker)
}

fn gone(pid: i32) -> bool {
    within(Duration::from_secs(6), || !procs::alive(pid))
}

/// DEA-01
#[test]
fn a_killed_watchdog_takes_its_worker_along() {
    let (dog, worker) = sleeper(Run::quick());
    dog.signal(Signal::SIGKILL);
    assert!(gone(worker), "the worker lives on");
    assert_eq!(dog.wait().code, 137);
}

/// DEA-01: stop is a stop signal, so that the worker may finish
#[test]
fn the_worker_may_finish_when_its_watchdog_was_killed() {
    let run = Run::quick().leaves_alive();
    let (file, pid) = (run.at("finished"), run.at("pid"));
    let dog = run.worker(["graceful", &file, "--pid-file", &pid, "--after", "200"]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog.signal(Signal::SIGKILL);
    wait_line(&dog.path("finished"), "finished");
    dog.wait();
    let run = Run::quick().leaves_alive().flag("--stop-signal", "INT");
    let (file, pid) = (run.at("finished"), run.at("pid"));
    let dog = run.worker(["graceful", &file, "--pid-file", &pid, "--on", "INT"]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog.signal(Signal::SIGKILL);
    wait_line(&dog.path("finished"), "finished");
    dog.wait();
}

/// DEA-01
#[test]
fn on_watchdog_death_kill_does_not_ask() {
    let run = Run::quick().flag("--on-watchdog-death", "kill").leaves_alive();
    let (count, pid) = (run.at("count"), run.at("pid"));
    let dog = run.worker(["ignore-term", "--count", &count, "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let worker = dog.worker_pid(1);
    dog.signal(Signal::SIGKILL);
    assert!(gone(worker), "the worker lives on");
    assert!(lines(&dog.path("count")).is_empty(), "it was asked");
    dog.wait();
}

/// DEA-01
#[test]
fn on_watchdog_death_keep_lets_it_go_on() {
    let (mut dog, worker) = sleeper(Run::quick().flag("--on-watchdog-death", "keep"));
    dog.signal(Signal::SIGKILL);
    wait_for("the end of the watchdog", || (!dog.alive()).then_some(()));
    stays("the worker goes on", Duration::from_millis(500), || procs::alive(worker));
    assert_eq!(dog.wait().code, 137);
}

/// DEA-01: also in a generation after the first
#[test]
fn a_restarted_worker_goes_along_too() {
    let run = Run::quick().leaves_alive();
    let log = run.at("log");
    let dog = run.worker(["flaky", &log, "2"]).spawn();
    wait_lines(&dog.path("log"), 5);
    let worker = dog.worker_pid(3);
    dog.signal(Signal::SIGKILL);
    assert!(gone(worker), "the worker lives on");
    dog.wait();
}

/// DEA-02
#[test]
fn a_kill_at_any_instant_of_the_start_leaves_nobody() {
    std::thread::scope(|scope| {
        for part in 0..4_u64 {
            scope.spawn(move || {
                for i in 0..30_u64 {
                    let run = Run::quick().no_events().leaves_alive();
                    let mark = run.mark.clone();
                    let dog = run.worker(["sleep"]).spawn();
                    // 0 to 12 ms, in steps that do not repeat
                    std::thread::sleep(Duration::from_micros((part * 30 + i) * 100));
                    dog.signal(Signal::SIGKILL);
                    assert!(within(Duration::from_secs(5), || marked(&mark).is_empty()), "{:?}", marked(&mark));
                    dog.wait();
                }
            });
        }
    });
}

/// DEA-03
#[test]
#[ignore = "a documented limit: the kernel clears the parent-death signal at a set-user-ID exec"]
fn a_set_user_id_worker_goes_along_too() {}

/// DEA-04: a true fault and an abort of our own, which no other process has sent.
#[test]
fn an_abort_or_a_fault_of_the_watchdog_is_like_a_kill() {
    for (kind, signal) in [("abort", Signal::SIGABRT), ("overflow", Signal::SIGSEGV)] {
        let run = Run::quick();
        let now = run.at("now");
        let (dog, worker) = sleeper(run.env("WATCHDOG_DEBUG_PANIC", &now));
        std::fs::write(dog.path("now"), kind).unwrap();
        // so that the loop goes round
        dog.signal(Signal::SIGWINCH);
        let ended = dog.wait();
        assert!(gone(worker), "{kind}: the worker lives on");
        assert_eq!(ended.code, 128 + signal as i32, "{kind}");
    }
}

/// DEA-06
#[test]
fn a_second_watchdog_of_the_same_name_is_125_and_the_first_untouched() {
    let (first, worker) = sleeper(Run::quick().flag("--name", "twin"));
    let socket = first.socket();
    assert!(socket.ends_with("twin.sock"), "{socket:?}");
    let run = Run::quick().flag("--name", "twin").env("WATCHDOG_RUNTIME_DIR", first.path("run"));
    let proof = run.path("ran");
    let second = run.worker(["exit", "0", "--touch", &proof.to_string_lossy()]).run().code(125).before(4000);
    assert!(!proof.exists(), "it started a worker");
    assert!(second.err.contains("twin"), "{}", second.err);

    let run = Run::quick().flag("--control", socket.as_os_str());
    run.worker(["exit", "0"]).run().code(125).count("spawn", 0);
    // the first one is as it was
    assert!(procs::alive(worker));
    assert_eq!(first.verb(&["status", "--json"]).code(0).json()["services"][0]["pid"], worker);

    first.stop().code(143);
    assert!(!socket.exists(), "its own socket goes with it");
}

/// DEA-06: without a given name two of the same program live side by side
#[test]
fn two_watchdogs_of_the_same_program_do_not_meet() {
    let (first, _) = sleeper(Run::quick());
    let run = Run::quick().env("WATCHDOG_RUNTIME_DIR", first.path("run"));
    let (second, _) = sleeper(run);
    wait_for("two sockets", || (std::fs::read_dir(first.path("run")).ok()?.count() == 2).then_some(()));
    let list = first.verb(&["ls", "--json"]).code(0).json();
    assert_eq!(list["watchdogs"].as_array().unwrap().len(), 2, "{list}");
    // several and none chosen
    let several = first.verb(&["status"]).code(2);
    assert!(several.err.contains(&first.pid().to_string()), "a list: {several:?}");
    first.verb(&["status", "-i", &second.pid().to_string()]).code(0);
    second.stop().code(143);
    first.verb(&["status"]).code(0);
    first.stop().code(143);
}

/// DEA-07, CTL-04
#[test]
fn a_stale_socket_is_replaced() {
    let (dog, worker) = sleeper(Run::quick().flag("--name", "stale"));
    let socket = dog.socket();
    dog.signal(Signal::SIGKILL);
    assert!(gone(worker));
    assert!(socket.exists(), "what a killed watchdog leaves");
    let run = Run::quick().flag("--name", "stale").env("WATCHDOG_RUNTIME_DIR", dog.path("run"));
    let (next, _) = sleeper(run);
    wait_for("an answer", || std::os::unix::net::UnixStream::connect(&socket).ok());
    next.stop().code(143);
    assert!(!socket.exists());
    dog.wait();
}

/// DEA-07: clients of a dead watchdog are told so
#[test]
fn a_verb_without_a_watchdog_is_3() {
    let (dog, _) = sleeper(Run::quick());
    dog.socket();
    dog.signal(Signal::SIGKILL);
    let mut dog = dog;
    wait_for("the end", || (!dog.alive()).then_some(()));
    for verb in [&["status"][..], &["stop", "worker"], &["health"], &["signal", "HUP", "worker"]] {
        dog.verb(verb).code(3);
    }
    let list = dog.verb(&["ls", "--json"]).code(0).json();
    assert_eq!(list["watchdogs"], serde_json::json!([]), "{list}");
    dog.wait();
}

/// CTL-05
#[test]
fn an_occupied_path_is_125_and_nothing_is_deleted() {
    let run = Run::quick();
    let (file, dir, link) = (run.path("file"), run.path("dir"), run.path("link"));
    std::fs::write(&file, "precious").unwrap();
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &dir, &link] {
        let other = Run::quick().flag("--control", path).worker(["exit", "0"]);
        other.run().code(125).count("spawn", 0).says(&path.to_string_lossy());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(dir.is_dir() && link.symlink_metadata().unwrap().is_symlink());
}

/// CTL-01
#[test]
fn the_socket_and_its_directory_are_private() {
    for mask in ["000", "077"] {
        let run = Run::quick().arranged(["--umask", mask]);
        let (dog, _) = sleeper(run);
        let socket = dog.socket();
        let mode = |p: &std::path::Path| p.metadata().unwrap().permissions().mode() & 0o777;
        assert!(socket.metadata().unwrap().file_type().is_socket());
        assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700), "umask {mask}");
        dog.stop();
    }
}

/// DEA-09
#[test]
fn a_stopped_watchdog_does_not_stop_its_worker() {
    let run = Run::quick();
    let log = run.at("log");
    let dog = run.worker(["repl", &log]).spawn();
    wait_lines(&dog.path("log"), 1);
    let worker = dog.worker_pid(1);
    dog.signal(Signal::SIGSTOP);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), Signal::SIGINT).unwrap();
    wait_lines(&dog.path("log"), 2);
    dog.signal(Signal::SIGCONT);
    dog.stop().code(0).count("spawn", 1);
}

/// die_with_parent
#[test]
fn die_with_parent_stops_the_worker_when_the_caller_dies() {
    let run = Run::quick().switch("--die-with-parent");
    let pid = run.at("pid");
    // the shell is the parent; it waits, so that it does not become the watchdog itself
    let run = run.under(["sh", "-c", "\"$@\"; exit 5", "sh"]).leaves_alive();
    let mut dog = run.worker(["sleep", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog.event("spawn", 1);
    let worker = dog.worker_pid(1);
    let began = Instant::now();
    dog.child.kill().unwrap();
    assert!(gone(worker), "the worker outlived the caller");
    about(began.elapsed(), 0);
    let mark = dog.run.mark.clone();
    assert!(within(Duration::from_secs(5), || !marked(&mark).iter().any(|p| p.is(watchdog()))), "so did the watchdog");
    dog.alive();
    dog.wait();
}

/// its look-alike: without it a dead caller changes nothing
#[test]
fn without_die_with_parent_a_dead_caller_changes_nothing() {
    let run = Run::quick();
    let pid = run.at("pid");
    let run = run.under(["sh", "-c", "\"$@\"; exit 5", "sh"]).leaves_alive();
    let mut dog = run.worker(["sleep", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let worker = dog.worker_pid(1);
    dog.child.kill().unwrap();
    wait_for("the end of the shell", || (!dog.alive()).then_some(()));
    stays("the worker lives", Duration::from_millis(400), || procs::alive(worker));
    dog.wait();
}

/// CTL-01: private from its first instant, whatever the umask
#[test]
fn the_socket_is_private_from_its_first_instant() {
    for _ in 0..50 {
        let run = Run::quick().flag("--restart", "never");
        let dir = run.path("run");
        let path = dir.join("seen.sock");
        let seen = std::thread::spawn(move || {
            let began = Instant::now();
            while began.elapsed() < common::PATIENCE {
                if let Ok(socket) = path.symlink_metadata() {
                    return Some((socket.permissions().mode() & 0o777, dir.metadata().unwrap().permissions().mode()));
                }
            }
            None
        });
        let dog = run.flag("--name", "seen").arranged(["--umask", "000"]).worker(["sleep"]).spawn();
        let (socket, dir) = seen.join().unwrap().expect("a socket");
        assert_eq!((socket, dir & 0o777), (0o600, 0o700));
        dog.stop();
    }
}

/// DEA-05: where a memory cgroup can be made, the kernel takes the worker and not the watchdog
#[test]
fn the_kernel_takes_a_leaking_worker_and_not_its_watchdog() {
    let Some(group) = common::cgroup::Group::new("memory") else { return };
    group.set(&["memory.limit_in_bytes", "memory.max"], "67108864");
    let run = Run::quick().flag("--restart-limit", "3").flag("--crash-loop-limit", "0");
    let ended = group.inside(run).program(["tail", "/dev/zero"]).run().code(137).count("spawn", 4).count("gave-up", 1);
    for exit in ended.of("exit") {
        assert_eq!(exit["signal"], "KILL", "{exit}");
        assert_ne!(exit["oom"], false, "it was out of memory: {exit}");
    }
}

/// DEA-04, SEC-04: a panic of the watchdog is one line, 125, and the worker's end. Debug builds have a switch for it, the
/// release has none; ABRT and the faults are tried above.
#[test]
fn a_panic_ends_the_worker_and_is_125() {
    let run = Run::quick();
    let now = run.path("panic-now");
    let (mut dog, worker) = sleeper(run.env("WATCHDOG_DEBUG_PANIC", &now).env("TOKEN", "S3CRET"));
    std::fs::write(&now, "").unwrap();
    // the loop panics at its next turn: anything that wakes it
    dog.signal(Signal::SIGWINCH);
    wait_for("the end of the watchdog", || (!dog.alive()).then_some(()));
    assert_eq!(dog.reaped_code(), Some(125), "{}", dog.err());
    let err = dog.err();
    assert!(err.lines().any(|l| l.contains("internal error") && l.contains("WATCHDOG_DEBUG_PANIC")), "{err}");
    for word in ["backtrace", "panicked at", "S3CRET"] {
        assert!(!err.contains(word), "{err}");
    }
    assert!(gone(worker), "the worker lives on");
}
