//! As PID 1 and as subreaper: crowds of orphans, and none of them is the worker (PID-*).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, can_unshare, lines, procs, skip, stays, wait_for, wait_line, wait_lines, within};
use nix::sys::signal::Signal;
use std::time::Duration;

fn namespaces() -> bool {
    let able = can_unshare(&["--pid", "--fork", "--mount-proc"]);
    if !able {
        skip("needs root for a pid namespace");
    }
    able
}

fn zombies_of(pid: i32) -> usize {
    procs::children(pid).iter().filter(|p| p.state == 'Z').count()
}

fn crowd(run: Run) {
    let dog = run.worker(["zombies", "2000"]).spawn();
    dog.wait_out("made");
    let pid = dog.pid();
    assert!(within(Duration::from_secs(4), || zombies_of(pid) == 0), "{} zombies are left", zombies_of(pid));
    let before = procs::cpu_ticks(pid);
    stays("quiet afterwards", Duration::from_millis(400), || dog.events_of("exit").is_empty());
    assert!(procs::cpu_ticks(pid) - before <= 5, "it goes on working");
    let ended = dog.stop().count("spawn", 1).count("exit", 1);
    assert_eq!(ended.code, 143, "{}", ended.story());
}

/// PID-01
#[test]
fn thousands_of_orphans_are_reaped_by_a_subreaper() {
    crowd(Run::quick());
}

/// PID-01
#[test]
fn thousands_of_orphans_are_reaped_by_pid_1() {
    if namespaces() {
        crowd(Run::quick().pid_1());
    }
}

/// PID-02
#[test]
fn the_end_of_the_worker_is_found_in_a_storm_of_orphans() {
    for _ in 0..12 {
        Run::once()
            .worker(["zombies", "150", "--kind", "storm", "--codes", "--then-exit", "7"])
            .run()
            .code(7)
            .before(6000);
    }
    if namespaces() {
        for _ in 0..4 {
            let run = Run::once().pid_1();
            run.worker(["zombies", "150", "--kind", "storm", "--codes", "--then-exit", "7"]).run().code(7).before(6000);
        }
    }
}

/// PID-03
#[test]
fn zombies_of_a_living_parent_are_its_own() {
    let dog = Run::quick().worker(["zombies", "50", "--kind", "own"]).spawn();
    dog.wait_out("made");
    let worker = dog.worker_pid(1);
    wait_for("all to be dead", || (zombies_of(worker) == 50).then_some(()));
    stays("they stay with their parent", Duration::from_millis(300), || zombies_of(worker) == 50);
    dog.stop().count("spawn", 1);
}

/// PID-04
#[test]
fn an_orphan_is_never_taken_for_the_worker() {
    let dog = Run::quick().worker(["zombies", "251", "--codes"]).spawn();
    dog.wait_out("made");
    wait_for("all to be reaped", || (zombies_of(dog.pid()) == 0).then_some(()));
    let state = dog.status();
    assert_eq!((&state["state"], &state["generation"]), (&"running".into(), &1.into()), "{state}");
    dog.stop().code(143).count("spawn", 1).count("exit", 1);
}

/// PID-05
#[test]
fn without_any_child_the_watchdog_sleeps() {
    let dog = Run::quick().flag("--restart-delay", "30s").worker(["exit", "1"]).spawn();
    dog.event("restart-scheduled", 1);
    dog.socket();
    let pid = dog.pid();
    std::thread::sleep(Duration::from_millis(200));
    let switches = procs::status_field(pid, "voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(2));
    let woke = procs::status_field(pid, "voluntary_ctxt_switches") - switches;
    assert!(woke <= 2, "{woke} wake-ups in 2 s of a pause");
    dog.stop().code(1);
}

/// PID-06
#[test]
fn adopted_processes_get_their_grace_when_the_worker_is_gone() {
    for ns in [false, true] {
        if ns && !namespaces() {
            return;
        }
        let run = Run::quick().flag("--restart", "never").flag("--stop-timeout", "5s");
        let run = if ns { run.pid_1() } else { run };
        let (file, done) = (run.at("tree"), run.at("done"));
        let words = ["escape-tree", &file, "--how", "daemon", "--slow", "600", "--done-file", &done];
        let ended = run.worker(words.iter().chain(&["--main-exits", "50", "--main-code", "5"])).run().code(5);
        assert_eq!(ended.lines("done"), ["done"], "killed without its grace (pid 1: {ns})\n{}", ended.story());
    }
}

/// PID-07
#[test]
fn signals_reach_the_worker_through_pid_1() {
    if !namespaces() {
        return;
    }
    let run = Run::quick().pid_1();
    let log = run.at("log");
    let dog: Dog = run.worker(["signal-log", &log, "--exit-on", "TERM", "--code", "3"]).spawn();
    wait_line(&dog.path("log"), "READY");
    for (signal, name) in [(Signal::SIGHUP, "HUP"), (Signal::SIGUSR1, "USR1"), (Signal::SIGWINCH, "WINCH")] {
        dog.signal(signal);
        wait_line(&dog.path("log"), name);
    }
    // not handled by anybody: nothing
    dog.signal_number(32);
    dog.signal(Signal::SIGTERM);
    let ended = dog.wait().code(3).count("exit", 1);
    let names: Vec<String> = ended.lines("log").iter().map(|l| l.split(' ').next().unwrap().to_string()).collect();
    assert_eq!(names, ["READY", "HUP", "USR1", "WINCH", "TERM"]);
    assert!(ended.lines("log")[1].split(' ').nth(2) == Some("1"), "sent by PID 1: {:?}", ended.lines("log"));
}

/// PID-07: from inside
#[test]
fn a_worker_may_ask_its_pid_1_to_stop() {
    if !namespaces() {
        return;
    }
    let run =
        Run::quick().pid_1().program(["sh", "-c", "trap 'exit 11' TERM; kill -TERM 1; while :; do sleep 0.05; done"]);
    run.run().code(11).count("stop-requested", 1);
}

/// PID-08
#[test]
fn poor_surroundings_are_enough() {
    if !namespaces() || !can_unshare(&["--mount"]) {
        return;
    }
    // no /proc, no /dev, no /tmp, nothing in the environment, nobody in /etc/passwd
    let run = Run::once().no_events().no_runtime_dir();
    let line = "mount -t tmpfs none /dev && mount -t tmpfs none /run && mount -t tmpfs none /etc && \
                umount -l /proc; mount -t tmpfs -o ro none /proc; exec env -i \"$@\"";
    let run = run.under(["unshare", "--mount", "--pid", "--fork", "sh", "-c", line, "sh"]);
    let ended = run.worker(["exit", "9"]).run();
    assert_eq!(ended.code, 9, "{}", ended.story());
}

/// PID-08
#[test]
fn a_user_without_a_name_or_home_is_enough() {
    if !common::is_root() {
        return skip("needs root to become a user without a name");
    }
    let run = Run::once().no_events().no_runtime_dir().arranged(["--uid", "54321"]);
    let run = run.without_env("HOME").without_env("PATH").without_env("TERM").without_env("USER");
    run.worker(["exit", "9"]).run().code(9);
}

/// Section 3, the socket: without a directory for it the prefix form warns once and goes on
#[test]
fn no_directory_for_the_socket_is_one_warning() {
    let run = Run::once().env("WATCHDOG_RUNTIME_DIR", "/proc/no/such");
    let ended = run.worker(["exit", "9"]).run().code(9);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
}

/// A namespace dies with its PID 1: the worker's descendants were asked before
#[test]
fn a_term_to_pid_1_ends_the_namespace_in_order() {
    if !namespaces() {
        return;
    }
    let run = Run::quick().flag("--stop-timeout", "4s").pid_1();
    let (file, done) = (run.at("tree"), run.at("done"));
    let dog = run.worker(["escape-tree", &file, "--how", "daemon", "--slow", "300", "--done-file", &done]).spawn();
    wait_line(&dog.path("tree"), " main");
    wait_lines(&dog.path("tree"), 2);
    let ended = dog.stop().code(143);
    assert_eq!(lines(&ended.run.path("done")), ["done"], "{}", ended.story());
}
