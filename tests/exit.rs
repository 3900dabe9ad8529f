//! How it ends: the watchdog's status is the worker's, told once, with the last words kept (EXI-01..15).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, procs, skip, stays, wait_for, wait_line, wait_lines, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// Stops the victim's process group alone.
fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// EXI-01
#[test]
fn every_exit_code_is_mirrored() {
    let all: Vec<i32> = (0..256).collect();
    // four at a time: they wait more than they work
    std::thread::scope(|scope| {
        for part in all.chunks(64) {
            scope.spawn(move || {
                for code in part {
                    let ended = Run::once().worker(["exit", &code.to_string()]).run().code(*code).count("exit", 1);
                    let exit = &ended.of("exit")[0];
                    assert_eq!((&exit["code"], &exit["signal"]), (&(*code).into(), &serde_json::Value::Null), "{exit}");
                }
            });
        }
    });
}

/// EXI-01
#[test]
fn a_worker_that_is_done_ends_us_with_0_under_the_default_policy() {
    let ended = Run::new().worker(["exit", "0"]).run().code(0).silent().before(3000);
    ended.count("spawn", 1).count("restart-scheduled", 0);
}

/// EXI-02
#[test]
fn every_death_by_signal_is_128_plus_its_number() {
    let names =
        ["TERM", "KILL", "SEGV", "ABRT", "PIPE", "HUP", "SYS", "INT", "QUIT", "USR1", "BUS", "FPE", "ILL", "ALRM"];
    let numbers = [15, 9, 11, 6, 13, 1, 31, 2, 3, 10, 7, 8, 4, 14];
    for (name, number) in names.iter().zip(numbers) {
        let ended = Run::once().worker(["die", name]).run().code(128 + number).count("exit", 1);
        let exit = &ended.of("exit")[0];
        assert_eq!(exit["signal"], *name, "{exit}");
        assert_eq!(exit["code"], serde_json::Value::Null, "{exit}");
    }
    for number in [34, 40, 64] {
        Run::once().worker(["die", &number.to_string()]).run().code(128 + number).count("exit", 1);
    }
}

/// EXI-03
#[test]
fn a_core_dump_is_told() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let ended = Run::once().worker(["die", "ABRT"]).run().code(134);
    assert_eq!(ended.of("exit")[0]["core"], false);
    if pattern.starts_with('|') || pattern.trim().is_empty() {
        return skip("core dumps go to a program on this machine");
    }
    let ended = Run::once().worker(["die", "ABRT", "--core"]).run().code(134);
    assert_eq!(ended.of("exit")[0]["core"], true, "{}", ended.story());
}

/// EXI-04
#[test]
fn an_exit_in_the_race_with_a_term_is_one_of_the_two() {
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for i in 0..25 {
                    let after = (part + i) % 7;
                    let run = Run::quick().flag("--restart-delay", "5s");
                    let pid = run.at("pid");
                    let dog = run.worker(["exit", "42", "--after", &after.to_string(), "--pid-file", &pid]).spawn();
                    wait_lines(&dog.path("pid"), 1);
                    let ended = dog.stop().count("exit", 1);
                    assert!([42, 143].contains(&ended.code), "{}", ended.story());
                }
            });
        }
    });
}

/// EXI-08
#[test]
fn a_stopped_and_continued_worker_is_no_exit_and_no_restart() {
    let run = Run::quick();
    let log = run.at("log");
    let dog = run.worker(["stop-self", &log]).spawn();
    wait_lines(&dog.path("log"), 1);
    let pid = dog.worker_pid(1);
    wait_for("state T", || (procs::state(pid) == Some('T')).then_some(()));
    stays("a stopped worker is left alone", Duration::from_millis(1200), || dog.events_of("exit").is_empty());
    assert_eq!(procs::state(pid), Some('T'), "nobody continued it");
    send(pid, Signal::SIGCONT);
    wait_line(&dog.path("log"), "awake");
    dog.stop().code(0).count("spawn", 1).count("exit", 1);
}

/// EXI-11
#[test]
fn an_heir_of_stdout_does_not_hold_up_the_end() {
    for log in ["inherit", "tee", "capture"] {
        let run = Run::once().flag("--log", log);
        let file = run.at("tree");
        let words = ["escape-tree", &file, "--how", "daemon", "--hold-fds", "--main-exits", "100", "--main-code", "3"];
        let ended = run.worker(words).run().code(3).before(6000).count("exit", 1);
        assert!(procs::survivors(&ended.run.path("tree")).is_empty(), "{log}");
    }
}

/// EXI-12
#[test]
fn a_foreign_kill_is_137_and_a_failure() {
    let dog = Run::once().worker(["sleep"]).spawn();
    send(dog.worker_pid(1), Signal::SIGKILL);
    let ended = dog.wait().code(137);
    let exit = &ended.of("exit")[0];
    assert_eq!((&exit["signal"], &exit["requested"]), (&"KILL".into(), &false.into()), "{exit}");
    // false where a cgroup's counters say so, null where nobody knows
    assert_ne!(exit["oom"], true, "{exit}");
    // and the policy applies to it
    let dog = Run::quick().worker(["sleep"]).spawn();
    send(dog.worker_pid(1), Signal::SIGKILL);
    dog.event("spawn", 2);
    dog.stop().code(143).count("spawn", 2);
}

/// EXI-13
#[test]
fn last_words_are_kept() {
    for log in ["inherit", "tee"] {
        let run = Run::once().flag("--log", log);
        let ended = run.worker(["exit", "1", "--say", "tail", "--say-err", "tail on stderr"]).run().code(1);
        assert_eq!(ended.out, "tail", "{log}");
        assert!(ended.err.contains("tail on stderr"), "{log}: {}", ended.err);
    }
    let run = Run::once().flag("--log", "capture");
    let file = run.path("log");
    let ended = run.flag("--log-file", &file).worker(["exit", "1", "--say", "tail"]).run().code(1);
    assert!(String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains("tail"));
    assert!(ended.out.is_empty());
}

/// EXI-14
#[test]
fn a_zombie_leader_with_living_threads_is_not_an_exit() {
    let run = Run::once();
    let pid = run.at("pid");
    let dog = run.worker(["zombie-leader", "1500", "9", "--pid-file", &pid]).spawn();
    let worker = dog.worker_pid(1);
    wait_for("the leader to be a zombie", || (procs::state(worker) == Some('Z')).then_some(()));
    stays("no exit while threads live", Duration::from_millis(600), || {
        dog.events_of("exit").is_empty() && dog.events_of("spawn").len() == 1
    });
    dog.wait().code(9).count("exit", 1);
}

/// EXI-14: and it can be stopped
#[test]
fn a_zombie_leader_is_stopped_like_any_other() {
    let run = Run::once();
    let pid = run.at("pid");
    let dog = run.worker(["zombie-leader", "60000", "9", "--pid-file", &pid]).spawn();
    let worker = dog.worker_pid(1);
    wait_for("the leader to be a zombie", || (procs::state(worker) == Some('Z')).then_some(()));
    let ended = dog.stop().before(15_000);
    assert!([143, 137].contains(&ended.code), "{}", ended.story());
}

/// EXI-15
#[test]
fn a_traced_worker_is_left_alone_and_costs_nothing() {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return skip("needs strace");
    }
    let dog = Run::once().worker(["sleep"]).spawn();
    let worker = dog.worker_pid(1);
    let trace = dog.path("trace");
    let mut command = std::process::Command::new("strace");
    let mut strace =
        command.args(["-f", "-o"]).arg(&trace).args(["-p", &worker.to_string()]).env("WDTEST", &dog.run.mark);
    strace = strace.stderr(std::process::Stdio::null());
    let mut strace = strace.spawn().unwrap();
    let traced = within(Duration::from_secs(5), || procs::status_field(worker, "TracerPid") != 0);
    let before = procs::cpu_ticks(dog.pid());
    send(worker, Signal::SIGSTOP);
    stays("no exit while traced", Duration::from_millis(700), || dog.events_of("exit").is_empty());
    send(worker, Signal::SIGCONT);
    assert!(procs::cpu_ticks(dog.pid()) - before < 20, "no busy loop");
    let _ = kill(Pid::from_raw(strace.id() as i32), Signal::SIGINT);
    let _ = strace.wait();
    send(worker, Signal::SIGKILL);
    dog.wait().code(137).count("exit", 1);
    if !traced {
        skip("this machine does not let us trace");
    }
}

/// 2: giving up on a worker whose last status was 0 is 1
#[test]
fn giving_up_after_a_success_ends_with_1() {
    let run = Run::quick().flag("--restart", "always").flag("--restart-limit", "1");
    run.worker(["exit", "0"]).run().code(1).count("gave-up", 1).count("spawn", 2);
}

/// RES-19, the event's side: the uptime of a run ends with its death
#[test]
fn the_exit_event_tells_how_long_it_lived() {
    let ended = Run::once().worker(["exit", "1", "--after", "300"]).run().code(1);
    let up = ended.of("exit")[0]["uptime_ms"].as_u64().unwrap();
    assert!((280..4300).contains(&up), "{up} ms");
    let ended = Run::once().worker(["exit", "1"]).run().code(1);
    assert!(ended.of("exit")[0]["uptime_ms"].as_u64().unwrap() < 2000);
}

/// The worker may end by a signal that we forwarded: that is its own end, told as it is
#[test]
fn an_end_by_a_forwarded_signal_is_the_workers_status() {
    let dog: Dog = Run::once().worker(["sleep"]).spawn();
    dog.worker_pid(1);
    dog.signal(Signal::SIGUSR1);
    dog.wait().code(128 + 10).count("exit", 1);
}
