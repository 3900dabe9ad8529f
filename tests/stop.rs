//! Stopping: ask, wait, kill, sweep, and be sure that nothing is left (STO-*).
//!
//! STO-15 (shutdown by a word) is in tests/words.rs; STO-18 (order of several services) is not of the prefix form.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::procs::{self, survivors};
use common::{Dog, Run, about, lines, skip, stays, wait_for, wait_line, wait_lines, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::time::{Duration, Instant};

/// A victim that leaves a child behind, with all its evidence in place.
fn escaping(run: Run, more: &[&str]) -> Dog {
    let (file, terms, done) = (run.at("tree"), run.at("terms"), run.at("done"));
    let mut words = vec!["escape-tree", &file, "--term-file", &terms, "--done-file", &done];
    words.extend(more);
    let dog = run.worker(words).spawn();
    wait_line(&dog.path("tree"), " main");
    dog
}

fn graceful(run: Run, more: &[&str]) -> Dog {
    let (file, pid) = (run.at("finished"), run.at("pid"));
    let mut words = vec!["graceful", &file, "--pid-file", &pid];
    words.extend(more);
    let dog = run.worker(words).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog
}

/// STO-01
#[test]
fn a_clean_stop_is_one_term_and_0() {
    let ended =
        graceful(Run::quick(), &[]).stop().code(0).before(5000).count("signal-sent", 1).count("kill-escalated", 0);
    let sent = &ended.of("signal-sent")[0];
    assert_eq!((&sent["signal"], &sent["scope"]), (&"TERM".into(), &"group".into()), "{sent}");
    let exit = &ended.of("exit")[0];
    assert_eq!((&exit["requested"], &exit["code"]), (&true.into(), &0.into()), "{exit}");
    assert_eq!(exit["cause"], "requested", "{exit}");
    ended.order(&["stop-requested", "signal-sent", "exit", "stopped"]);
}

/// STO-02, STO-03
#[test]
fn a_worker_that_ignores_term_is_killed_after_the_grace_and_was_asked_once() {
    let run = Run::quick().flag("--stop-timeout", "700ms");
    let (count, pid) = (run.at("count"), run.at("pid"));
    let dog = run.worker(["ignore-term", "--count", &count, "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let began = Instant::now();
    let ended = dog.stop().code(137).count("kill-escalated", 1);
    about(began.elapsed(), 700);
    assert_eq!(ended.lines("count").len(), 1, "one TERM: {:?}", ended.lines("count"));
    ended.order(&["stop-requested", "signal-sent", "kill-escalated", "exit", "stopped"]);
}

/// STO-02, its look-alike
#[test]
fn a_worker_that_needs_most_of_its_grace_finishes_its_work() {
    let run = Run::quick().flag("--stop-timeout", "4s");
    let ended = graceful(run, &["--after", "900", "--code", "5"]).stop().code(5).count("kill-escalated", 0);
    assert_eq!(ended.lines("finished"), ["finished"]);
}

/// STO-04
#[test]
fn a_stopped_worker_is_continued_to_hear_its_term() {
    let run = Run::quick().flag("--stop-timeout", "5s");
    let dog = graceful(run, &["--code", "3"]);
    let pid = dog.worker_pid(1);
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    wait_for("state T", || (procs::state(pid) == Some('T')).then_some(()));
    let ended = dog.stop();
    // its handler ran; a KILL at the grace would be allowed by the letter, but loses the worker's last work
    assert_eq!((ended.code, ended.lines("finished").len()), (3, 1), "{}", ended.story());
}

/// STO-05
#[test]
fn the_whole_group_dies() {
    let run = Run::quick().flag("--stop-timeout", "300ms");
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--children", "5", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 6);
    let ended = dog.stop().code(137);
    assert!(survivors(&ended.run.path("pid")).is_empty());
}

/// STO-06
#[test]
fn what_escaped_is_asked_and_then_killed() {
    for how in ["child", "pgrp", "setsid", "daemon"] {
        // it obeys: one TERM is enough, and it may finish its work
        let ended =
            escaping(Run::quick().flag("--stop-timeout", "3s"), &["--how", how, "--slow", "200"]).stop().code(143);
        assert!(survivors(&ended.run.path("tree")).is_empty(), "{how}");
        assert_eq!(ended.lines("done"), ["done"], "{how}: it was not allowed to finish\n{}", ended.story());
        // it does not
        let ended = escaping(Run::quick(), &["--how", how, "--ignore-term"]).stop().code(143);
        assert!(survivors(&ended.run.path("tree")).is_empty(), "{how}");
        // a child in the worker's own group hears the TERM of the ladder's first step and that of the sweep
        let most = if how == "child" { 2 } else { 1 };
        assert!((1..=most).contains(&ended.lines("terms").len()), "{how}: TERM before KILL\n{}", ended.story());
        let killed = ended.of("leftover-killed");
        assert_eq!(killed.len(), 1, "{how}: {}", ended.story());
        assert!(killed[0]["pids"].is_array(), "{}", killed[0]);
    }
}

/// STO-06, STO-07: with the descriptors of the log in hand, and the main process gone first
#[test]
fn what_outlives_its_main_process_is_swept_before_the_end() {
    for how in ["child", "pgrp", "setsid", "daemon"] {
        let run = Run::once();
        let (file, terms) = (run.at("tree"), run.at("terms"));
        let words = ["escape-tree", &file, "--how", how, "--term-file", &terms, "--hold-fds", "--ignore-term"];
        let last = ["--main-exits", "100", "--main-code", "6"];
        let ended = run.worker(words.iter().chain(&last)).run().code(6).before(8000);
        assert!(survivors(&ended.run.path("tree")).is_empty(), "{how}");
        assert_eq!(ended.lines("terms").len(), 1, "{how}\n{}", ended.story());
    }
}

/// STO-07: before the next start
#[test]
fn what_outlives_its_main_process_is_swept_before_the_next_start() {
    let run = Run::quick().flag("--restart-limit", "1");
    let file = run.at("tree");
    let words = ["escape-tree", &file, "--how", "setsid", "--ignore-term", "--main-exits", "50", "--main-code", "1"];
    let ended = run.worker(words).run().code(1).count("spawn", 2);
    assert!(survivors(&ended.run.path("tree")).is_empty());
    ended.order(&["spawn", "exit", "leftover-killed", "spawn", "exit", "leftover-killed"]);
}

/// STO-07: two seconds at most, however long the worker's own grace is
#[test]
fn what_outlives_its_main_process_gets_two_seconds_and_not_the_whole_grace() {
    let run = Run::once().flag("--stop-timeout", "60s");
    let file = run.at("tree");
    let words = ["escape-tree", &file, "--how", "setsid", "--ignore-term", "--main-exits", "50", "--main-code", "6"];
    let ended = run.worker(words).run().code(6).count("leftover-killed", 1);
    about(ended.took, 2050);
}

/// its look-alike: a child in a session of its own is part of a living service
#[test]
fn a_daemon_child_lives_while_its_main_process_does() {
    let dog = escaping(Run::quick(), &["--how", "daemon"]);
    stays("both live", Duration::from_millis(500), || survivors(&dog.path("tree")).len() == 2);
    assert!(lines(&dog.path("terms")).is_empty());
    dog.stop().code(143);
}

/// STO-08
#[test]
fn a_chain_of_forks_is_caught() {
    for more in [&["--how", "chain"][..], &["--how", "chain", "--ignore-term"]] {
        let dog = escaping(Run::quick().flag("--stop-timeout", "1s"), more);
        wait_lines(&dog.path("tree"), 20);
        let began = Instant::now();
        let ended = dog.stop();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert!([143, 137].contains(&ended.code), "{}", ended.story());
        let links = ended.lines("tree").len();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(ended.lines("tree").len(), links, "the chain goes on");
        assert!(survivors(&ended.run.path("tree")).is_empty());
    }
}

/// STO-09
#[test]
#[ignore = "simulator only: state D needs a kernel that waits for a device"]
fn a_worker_in_state_d_is_killed_and_waited_for() {}

/// STO-10
#[test]
#[ignore = "simulator only: a process that outlives SIGKILL needs a frozen v1 cgroup (STO-11 has the EPERM form)"]
fn a_worker_that_does_not_die_of_kill_is_stuck() {}

/// A worker that became root altogether, under a watchdog that is nobody; `None` where that cannot be made.
fn untouchable(run: Run) -> Option<(Dog, i32)> {
    if !common::is_root() {
        skip("needs root to make a worker that nobody may signal");
        return None;
    }
    // a set-user-ID copy of the victim
    let run = run.leaves_alive();
    std::fs::set_permissions(run.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let path = run.path("setuid");
    std::fs::copy(common::worker(), &path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let words = [&*path.to_string_lossy(), "arrange", "--uid", "0", "--", "sleep", "300"];
    let dog = run.program(words).arranged(["--uid", "65534"]).spawn();
    let pid = dog.worker_pid(1);
    let root = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|l| l.starts_with("Uid:\t0\t0\t"))
    };
    if !within(Duration::from_secs(3), root) {
        skip("the temporary folder is mounted nosuid");
        return None;
    }
    Some((dog, pid))
}

/// STO-11: what may not be signalled is said to be stuck, not gone
#[test]
fn a_worker_that_may_not_be_signalled_is_stuck_and_not_stopped() {
    let run = Run::quick().flag("--stop-timeout", "300ms").flag("--kill-wait", "300ms");
    let Some((dog, pid)) = untouchable(run) else { return };
    dog.signal(Signal::SIGTERM);
    let stuck = dog.event("stuck", 1);
    assert_eq!(stuck["pids"], json!([pid]), "{stuck}");
    assert!(dog.events_of("stopped").is_empty(), "it claims to have stopped it");
    assert!(dog.events_of("signal-sent").len() <= 2, "no storm: {:?}", dog.events());
    assert!(procs::alive(pid));
    let mut dog = dog;
    let gone = within(Duration::from_secs(5), || !dog.alive());
    let err = dog.err();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    if gone {
        assert_eq!(dog.reaped_code(), Some(125), "{err}");
        assert!(err.contains(&pid.to_string()), "says which pid is left: {err}");
    }
}

/// STO-12, without the bystander: the exit at the instant of the escalation
#[test]
fn an_exit_at_the_instant_of_the_kill_is_told_once() {
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for i in 0..8 {
                    let after = (95 + part * 3 + i).to_string();
                    let run = Run::quick().flag("--stop-timeout", "100ms");
                    let ended = graceful(run, &["--after", &after, "--code", "7"]).stop().count("exit", 1);
                    assert!([7, 137].contains(&ended.code), "{}", ended.story());
                }
            });
        }
    });
}

/// STO-13
#[test]
fn a_stop_right_after_the_start_ends_in_time() {
    for _ in 0..10 {
        let run = Run::quick();
        let mut dog = run.worker(["sleep"]).spawn();
        // as soon as it is the watchdog and no longer our own fork: it may get the TERM before its handlers stand
        wait_for("its handlers", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", dog.pid())).unwrap_or_default();
            let mask = |key: &str| u64::from_str_radix(status.lines().find_map(|l| l.strip_prefix(key))?, 16).ok();
            ((mask("SigCgt:\t")? | mask("SigBlk:\t")?) & (1 << 14) != 0).then_some(())
        });
        dog.signal(Signal::SIGTERM);
        assert!(within(Duration::from_secs(6), || !dog.alive()), "it goes on after a TERM at the start");
        let ended = dog.wait();
        assert!([143, 0].contains(&ended.code), "{}", ended.story());
    }
}

/// STO-13: in a crash-loop pause too
#[test]
fn a_stop_in_a_crash_loop_pause_ends_at_once() {
    let run = Run::quick().flag("--restart-delay", "5ms").flag("--restart-limit", "0").flag("--crash-loop-limit", "2");
    let dog = run.worker(["exit", "12"]).spawn();
    dog.event("crash-loop", 1);
    dog.stop().code(12).before(8000).count("spawn", 3);
}

/// STO-14
#[test]
fn stop_twice_and_stop_with_restart_is_idempotent() {
    let run = Run::quick().flag("--stop-timeout", "5s");
    let dog = graceful(run, &["--after", "500"]);
    let both = [dog.start_verb(&["stop", "worker"]), dog.start_verb(&["stop", "worker"])];
    for child in both {
        common::control::finish(child, &["stop"]).code(0);
    }
    dog.verb(&["stop", "worker"]).code(0);
    assert_eq!(dog.status()["state"], "stopped");
    assert_eq!(dog.events_of("stopped").len(), 1, "one stopped");
    // the last explicit wish wins
    dog.verb(&["start", "worker"]).code(0);
    assert_eq!(dog.status()["goal"], "up");
    let asked = dog.events_of("stop-requested").len();
    let stopping = dog.start_verb(&["stop", "worker"]);
    dog.event("stop-requested", asked + 1);
    dog.verb(&["restart", "worker"]).code(0);
    common::control::finish(stopping, &["stop"]);
    let state = dog.status();
    assert_eq!((&state["goal"], &state["state"]), (&"up".into(), &"running".into()), "{state}");
    let pid = state["pid"].to_string();
    wait_line(&dog.path("pid"), &format!("{pid} "));
    dog.stop().code(0);
}

/// STO-14: the clock of a stop goes on, whatever grace the second one would give
#[test]
fn a_second_stop_gives_no_more_time() {
    let run = Run::quick().flag("--stop-timeout", "60s");
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let (mut first, mut second) = (dog.control(), dog.control());
    first.ask(&json!({"id": 1, "verb": "stop", "services": [], "args": {"timeout_ms": 1000}}));
    dog.event("signal-sent", 1);
    second.ask(&json!({"id": 2, "verb": "stop", "services": [], "args": {"timeout_ms": 60_000}}));
    for client in [&mut first, &mut second] {
        assert_eq!(client.answer()["ok"], true);
    }
    dog.stop().code(137).count("kill-escalated", 1);
}

/// STO-16: with the defaults a worker that ignores everything is gone before docker's eleventh second
#[test]
fn the_defaults_end_the_worst_worker_in_its_time() {
    let run = Run::new();
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--children", "2", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 3);
    let began = Instant::now();
    dog.stop().code(137);
    about(began.elapsed(), 10_000);
}

/// STO-17
#[test]
fn a_grace_of_zero_kills_at_once_and_a_huge_one_does_not_overflow() {
    let run = Run::quick().flag("--stop-timeout", "0");
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let began = Instant::now();
    dog.stop().code(137);
    assert!(began.elapsed() < Duration::from_secs(3));
    for huge in ["36525d", "20000d"] {
        graceful(Run::quick().flag("--stop-timeout", huge), &["--code", "2"]).stop().code(2);
    }
}

/// STO-17
#[test]
fn the_stop_signal_is_the_one_that_was_set() {
    for name in ["QUIT", "SIGUSR1", "2", "HUP"] {
        let on = match name {
            "SIGUSR1" => "USR1",
            "2" => "INT",
            other => other,
        };
        graceful(Run::quick().flag("--stop-signal", name), &["--on", on, "--code", "4"]).stop().code(4);
    }
}

/// shutdown_timeout is for the final stop, stop_timeout for the others
#[test]
fn the_final_stop_has_a_grace_of_its_own() {
    let run = Run::quick().flag("--stop-timeout", "20s").flag("--shutdown-timeout", "300ms");
    let pid = run.at("pid");
    let dog = run.worker(["ignore-term", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let began = Instant::now();
    dog.stop().code(137);
    about(began.elapsed(), 300);
    let run = Run::quick().flag("--stop-timeout", "300ms").flag("--shutdown-timeout", "20s");
    let dog = graceful(run, &["--after", "700", "--code", "9"]);
    dog.verb(&["restart", "worker"]).code(0);
    assert!(dog.event("kill-escalated", 1)["generation"] == 1);
    wait_lines(&dog.path("pid"), 2);
    dog.stop().code(9).count("kill-escalated", 1);
}

/// Section 5: what another daemon started for the worker is not its tree
#[test]
fn a_process_of_somebody_else_is_never_touched() {
    // the same program, the same user, the same command line, started beside the watchdog
    let mut other = std::process::Command::new(common::worker()).arg("sleep").spawn().unwrap();
    let ended = Run::once().worker(["exit", "0"]).run().code(0);
    let dog = Run::quick().worker(["sleep"]).spawn();
    dog.worker_pid(1);
    dog.stop();
    let lives = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(lives, "a bystander was killed");
    drop(ended);
}

/// kill_wait
#[test]
fn stuck_is_said_after_kill_wait() {
    let run = Run::quick().flag("--stop-timeout", "200ms").flag("--kill-wait", "2500ms");
    let Some((dog, pid)) = untouchable(run) else { return };
    dog.signal(Signal::SIGTERM);
    let time = |e: serde_json::Value| e["mono_ms"].as_u64().unwrap();
    let waited = time(dog.event("stuck", 1)) - time(dog.event("kill-escalated", 1));
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    about(Duration::from_millis(waited), 2500);
}

/// STO-12: the pid of a worker that ended at the instant of its KILL goes to a bystander, who lives
#[test]
fn a_bystander_with_the_pid_of_a_dead_worker_lives() {
    if !common::is_root() || !common::can_unshare(&["--pid", "--fork", "--mount-proc"]) {
        return skip("needs root for a pid namespace whose next pid can be chosen");
    }
    let script = r#"
import os, signal, subprocess, sys, time
watchdog, worker, folder = sys.argv[1:]
taken = 0
for i in range(100):
    if taken == 8:
        break
    pid_file = f"{folder}/pid{i}"
    dog = subprocess.Popen([watchdog, "--control", "off", "--stop-timeout", "100ms", "--",
                            worker, "graceful", f"{folder}/done", "--pid-file", pid_file, "--after", str(93 + i % 12)])
    while not (os.path.exists(pid_file) and open(pid_file).read().endswith("\n")):
        time.sleep(0.001)
    pid = int(open(pid_file).read().split()[0])
    dog.send_signal(signal.SIGTERM)
    bystander = 0
    while dog.poll() is None:
        if not os.path.exists(f"/proc/{pid}"):
            with open("/proc/sys/kernel/ns_last_pid", "w") as f:
                f.write(str(pid - 1))
            bystander = os.fork()
            if bystander == 0:
                signal.pause()
            break
    dog.wait()
    if bystander:
        time.sleep(0.02)
        taken += bystander == pid
        ended, status = os.waitpid(bystander, os.WNOHANG)
        if ended:
            print("killed", bystander, status, flush=True)
        else:
            os.kill(bystander, signal.SIGKILL)
            os.waitpid(bystander, 0)
print("taken", taken, flush=True)
"#;
    let run = Run::quick();
    let line = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "/usr/bin/python3", "-c", script];
    let mut command = std::process::Command::new(line[0]);
    command.args(&line[1..]).arg(common::watchdog()).arg(common::worker()).arg(run.dir.path());
    let out = command.stderr(std::process::Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(!said.contains("killed"), "a bystander was signalled: {said}");
    let taken: u32 = said.trim().rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(taken > 2, "the pid was given away {taken} times only: {said}");
}

/// Section 5: where a cgroup of version 2 was delegated, it is the tree, and it is killed as a whole
#[test]
fn a_delegated_cgroup_is_the_tree_and_goes_with_it() {
    let uid = 55_000 + std::process::id() % 1000;
    let Some(group) = common::cgroup::Group::delegated(uid) else { return };
    let run = Run::quick().flag("--restart", "never");
    std::fs::set_permissions(run.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let dog = escaping(group.inside_as(uid, run), &["--how", "chain", "--ignore-term"]);
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", dog.worker_pid(1))).unwrap();
    assert!(own.lines().any(|l| l.starts_with("0::") && l.contains("/watchdog.")), "a group of its own: {own}");
    assert_eq!(group.groups(), 1);
    wait_lines(&dog.path("tree"), 20);
    let ended = dog.stop();
    assert!(survivors(&ended.run.path("tree")).is_empty());
    assert_eq!(group.groups(), 0, "the group is removed");
    ended.order(&["spawn", "signal-sent", "exit", "leftover-killed", "stopped"]);
}
