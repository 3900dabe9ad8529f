//! When there is too little of something, and when there is nothing to do (EXH-*).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Control, Dog, Run, procs, wait_lines, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

fn sleeper(run: Run) -> Dog {
    let pid = run.at("pid");
    let dog = run.worker(["sleep", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog.socket();
    dog
}

fn limit(dog: &Dog, what: &str) {
    let status = Command::new("prlimit").args(["--pid", &dog.pid().to_string(), what]).status();
    assert!(status.unwrap().success());
}

/// EXH-08
#[test]
fn an_idle_watchdog_does_not_wake_up() {
    for settings in [&[][..], &["--log=tee"], &["--stable-after=1s", "--restart=always"]] {
        let run = settings.iter().fold(Run::quick(), |run, s| run.switch(s));
        let dog = sleeper(run);
        // let the start settle: the last deferred work of it is over when a client was answered
        assert_eq!(dog.status()["state"], "running");
        std::thread::sleep(Duration::from_millis(300));
        let switches = |kind: &str| procs::status_field(dog.pid(), kind);
        let before = switches("voluntary_ctxt_switches");
        std::thread::sleep(Duration::from_millis(2500));
        let woke = switches("voluntary_ctxt_switches") - before;
        assert_eq!(woke, 0, "{settings:?}: woken {woke} times in 2.5 s with nothing to do");
        dog.stop().code(143);
    }
}

/// EXH-01
#[test]
fn a_restart_without_spare_descriptors_waits_and_recovers() {
    let dog = sleeper(Run::quick().flag("--restart-limit", "0").flag("--crash-loop-limit", "0").flag("--log", "tee"));
    let open = std::fs::read_dir(format!("/proc/{}/fd", dog.pid())).unwrap();
    let highest: u64 = open.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).max().unwrap();
    limit(&dog, &format!("--nofile={}:4096", highest + 1));
    kill(Pid::from_raw(dog.worker_pid(1)), Signal::SIGKILL).unwrap();
    dog.event("exit", 1);
    // it works from a reserve, or it says what it lacks; in both it lives and stops when told
    let said = within(Duration::from_millis(700), || !dog.events_of("spawn-failed").is_empty());
    if said {
        let failed = dog.event("spawn-failed", 1);
        assert!(failed.to_string().contains("EMFILE"), "{failed}");
    }
    limit(&dog, "--nofile=1024:4096");
    dog.event("spawn", 2);
    assert_eq!(dog.wait_state("running")["state"], "running");
    dog.stop().code(143);
}

/// EXH-02
#[test]
fn a_crowd_of_idle_clients_costs_nothing_and_harms_nobody() {
    let dog = sleeper(Run::quick());
    let socket = dog.socket();
    limit(&dog, "--nofile=48:4096");
    let mut crowd = Vec::new();
    for _ in 0..300 {
        match UnixStream::connect(&socket) {
            Ok(stream) => crowd.push(stream),
            Err(_) => break,
        }
        stream_nonblocking(crowd.last().unwrap());
    }
    let before = procs::cpu_ticks(dog.pid());
    let began = Instant::now();
    // supervision goes on: the worker is killed and comes back
    kill(Pid::from_raw(dog.worker_pid(1)), Signal::SIGKILL).unwrap();
    dog.event("spawn", 2);
    std::thread::sleep(Duration::from_millis(1000));
    let percent = (procs::cpu_ticks(dog.pid()) - before) * 1000 / began.elapsed().as_millis() as u64;
    assert!(percent < 20, "{percent} % of a core for idle clients");
    drop(crowd);
    let answered = within(Duration::from_secs(4), || {
        let Ok(stream) = UnixStream::connect(&socket) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut control = Control::over(stream);
        // refused by closing is an answer too, only not yet the one that is waited for
        if control.stream.write_all(b"{\"id\":7,\"verb\":\"status\",\"services\":[],\"args\":{}}\n").is_err() {
            return false;
        }
        control.try_line().is_some_and(|l| l.contains("running"))
    });
    assert!(answered, "it answers again when the crowd has left");
    dog.stop().code(143);
}

fn stream_nonblocking(stream: &UnixStream) {
    stream.set_nonblocking(true).unwrap();
}

/// EXH-04, the part that needs no memory cgroup: a limit on the address space
#[test]
fn little_memory_is_enough() {
    // RLIMIT_AS of 64 MiB for the watchdog and the worker
    let run = Run::once().flag("--log", "tee").arranged(["--rlimit", "9=67108864:67108864"]);
    let ended = run.worker(["flood", "lines", "--lines", "20000", "--size", "120"]).run().code(0);
    assert_eq!(ended.out.lines().count(), 20_000);
}

/// EXH-07
#[test]
fn odd_numbers_are_refused_or_work() {
    for (name, value) in [
        ("--restart-delay", "18446744073709551615d"),
        ("--stop-timeout", "1e9h"),
        ("--stable-after", "-1s"),
        ("--restart-limit", "4294967296"),
        ("--restart-limit", "-1"),
        ("--restart-delay-factor", "0"),
        ("--restart-delay-factor", "NaN"),
        ("--restart-delay-jitter", "101%"),
        ("--log-lines", "99999999999999999999"),
    ] {
        let ended = Run::new().flag(name, value).worker(["exit", "0"]).run().code(2).count("spawn", 0);
        assert!(ended.err.contains(name.trim_start_matches("--")), "{name} {value}: {}", ended.err);
    }
    for (name, value) in
        [("--restart-delay", "0"), ("--stable-after", "0"), ("--stop-timeout", "1ms"), ("--kill-wait", "0")]
    {
        Run::new().flag(name, value).worker(["exit", "0"]).run().code(0);
    }
}

/// EXH-05, EXH-09
#[test]
#[ignore = "a virtual machine's: the system's file table and hours of soak (scripts/soak.sh)"]
fn a_full_file_table_is_waited_out() {}

/// EXH-08, the cost of a wait: a client that waits costs no wake-ups either
#[test]
fn a_waiting_client_costs_nothing() {
    let dog = sleeper(Run::quick());
    let waiting = dog.start_verb(&["wait", "worker", "--for", "completed", "--timeout", "20s"]);
    std::thread::sleep(Duration::from_millis(500));
    let before = procs::status_field(dog.pid(), "voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_millis(1000));
    assert!(procs::status_field(dog.pid(), "voluntary_ctxt_switches") - before <= 1);
    dog.signal(Signal::SIGTERM);
    common::control::finish(waiting, &["wait"]);
    dog.wait();
}

/// EXH-03: where a pids cgroup can be made, a full one is waited out
#[test]
fn a_full_pids_cgroup_is_waited_out() {
    let Some(group) = common::cgroup::Group::new("pids") else { return };
    let run = Run::quick().flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let dog = sleeper(group.inside(run));
    // the watchdog alone fills it from now on
    group.set(&["pids.max"], "1");
    kill(Pid::from_raw(dog.worker_pid(1)), Signal::SIGKILL).unwrap();
    let failed = dog.event("spawn-failed", 2);
    assert!(failed.to_string().contains("EAGAIN"), "{failed}");
    assert_eq!(dog.status()["state"], "backoff", "it answers meanwhile");
    group.set(&["pids.max"], "20");
    dog.event("spawn", 2);
    wait_lines(&dog.path("pid"), 2);
    dog.stop().code(143);
}
