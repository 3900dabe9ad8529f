//! What the worker inherits: what the caller gave us, nothing of our own (INH-01..12).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Run, procs, worker};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::Stdio;

/// The victim without a watchdog, in the same surroundings.
fn direct(run: &Run, arrange: &[&str]) -> Value {
    let mut line: Vec<std::ffi::OsString> = vec![worker().into(), "arrange".into()];
    line.extend(arrange.iter().map(Into::into));
    line.extend(["--".into(), worker().into(), "inherit".into()]);
    let mut command = run.command(&line);
    let out = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap()
}

fn numbers(seen: &Value) -> Vec<i64> {
    seen["fds"].as_array().unwrap().iter().map(|f| f["fd"].as_i64().unwrap()).collect()
}

fn variables(seen: &Value) -> Vec<String> {
    let text = |v: &Value| {
        let hex = v.as_str().unwrap().as_bytes().to_vec();
        let byte = |c: &[u8]| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap();
        String::from_utf8_lossy(&hex.chunks(2).map(byte).collect::<Vec<_>>()).into_owned()
    };
    seen["env"].as_array().unwrap().iter().map(text).collect()
}

/// Descriptors of the documented channels, by their variables.
fn channels(seen: &Value) -> Vec<i64> {
    let names = ["WATCHDOG_CHANNEL=", "NODE_CHANNEL_FD=", "WATCHDOG_READY_FD="];
    let value = |v: &String| names.iter().find_map(|n| v.strip_prefix(n)).map(|n| n.parse().unwrap());
    variables(seen).iter().filter_map(value).collect()
}

/// All descriptors but those.
fn without_channels(seen: &Value) -> Vec<i64> {
    let channels = channels(seen);
    numbers(seen).into_iter().filter(|n| !channels.contains(n)).collect()
}

fn bit(seen: &Value, key: &str, signal: i32) -> bool {
    u64::from_str_radix(seen[key].as_str().unwrap(), 16).unwrap() & (1 << (signal - 1)) != 0
}

/// INH-01
#[test]
fn no_descriptor_of_ours_reaches_the_worker() {
    let run = Run::once();
    let (a, b) = (format!("7={}", run.at("seven")), format!("19={}", run.at("nineteen")));
    let open = format!("{a},{b}");
    let arrange = ["--open", open.as_str()];
    let bare = direct(&run, &arrange);
    let seen = run.arranged(arrange).worker(["inherit"]).run().code(0).json();
    assert_eq!(without_channels(&seen), numbers(&bare), "the caller's descriptors and the channel");
    let seven = seen["fds"].as_array().unwrap().iter().find(|f| f["fd"] == 7).unwrap().clone();
    assert!(seven["target"].as_str().unwrap().ends_with("/seven"));
}

/// INH-01 with every descriptor of ours in use, and after a restart
#[test]
fn not_even_with_logs_a_client_and_after_a_restart() {
    let run = Run::quick().flag("--log", "tee").flag("--restart", "always").flag("--restart-limit", "1");
    let bare = direct(&run, &[]);
    let file = run.path("log");
    let dog = run.flag("--log-file", &file).worker(["inherit"]).spawn();
    let _client = dog.control();
    let ended = dog.wait();
    assert_eq!(ended.of("spawn").len(), 2, "{}", ended.story());
    for line in ended.out.lines() {
        let seen: Value = serde_json::from_str(line).unwrap();
        assert_eq!(without_channels(&seen), numbers(&bare));
    }
}

/// with `dialects = none` there is no channel, no variable of one, and no descriptor more than the caller's
#[test]
fn without_dialects_nothing_is_added() {
    let run = Run::once();
    let bare = direct(&run, &[]);
    let seen = run.flag("--dialects", "none").worker(["inherit"]).run().code(0).json();
    assert_eq!(numbers(&seen), numbers(&bare));
    let names = [
        "WATCHDOG_CHANNEL=",
        "NOTIFY_SOCKET=",
        "WATCHDOG_USEC=",
        "WATCHDOG_PID=",
        "NODE_CHANNEL_FD=",
        "WATCHDOG_READY_FD=",
    ];
    for name in names {
        assert!(!variables(&seen).iter().any(|v| v.starts_with(name)), "{name}");
    }
}

/// every dialect has its own descriptor, at a number that was free, and WATCHDOG_PID is the worker's own
#[test]
fn every_dialect_that_is_offered_has_its_variable() {
    let run = Run::once();
    let bare = direct(&run, &[]);
    let seen = run.flag("--dialects", "native,notify,node,fd").worker(["inherit"]).run().code(0).json();
    let channels = channels(&seen);
    assert_eq!(channels.len(), 3, "native, node, fd: {channels:?}");
    assert!(channels.iter().all(|n| *n > 2 && !numbers(&bare).contains(n)), "{channels:?}");
    assert_eq!(without_channels(&seen), numbers(&bare));
    let value = |name: &str| {
        let found = variables(&seen).into_iter().find(|v| v.starts_with(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("{name} is missing")).split_once('=').unwrap().1.to_string()
    };
    assert_eq!(value("WATCHDOG_PID"), seen["pid"].to_string());
    assert_eq!(value("WATCHDOG_USEC"), "30000000");
    assert!(value("NOTIFY_SOCKET").starts_with('/'));
}

/// INH-02
#[test]
fn the_blocked_mask_is_the_callers() {
    let run = Run::once();
    let empty = direct(&run, &[]);
    let seen = run.arranged::<&str>([]).worker(["inherit"]).run().code(0).json();
    assert_eq!(seen["SigBlk"], empty["SigBlk"]);
    let seen = Run::once().arranged(["--block", "USR2,HUP"]).worker(["inherit"]).run().code(0).json();
    assert_eq!(seen["SigBlk"], "0000000000000801");
}

/// INH-02: a blocked TERM does not make the watchdog deaf
#[test]
fn the_watchdog_hears_signals_that_its_caller_blocked() {
    let dog = Run::once().arranged(["--block", "TERM,INT,CHLD"]).worker(["exit", "4", "--after", "100"]).spawn();
    dog.wait().code(4);
    let run = Run::once();
    let log = run.at("log");
    let dog = run.arranged(["--block", "TERM"]).worker(["signal-log", &log, "--exit-on", "TERM"]).spawn();
    common::wait_line(&dog.path("log"), "READY");
    dog.stop().code(0);
}

/// INH-03
#[test]
fn ignored_signals_stay_ignored_and_sigpipe_stays_default() {
    let seen = Run::once().arranged(["--ignore", "HUP,USR1"]).worker(["inherit"]).run().code(0).json();
    assert!(bit(&seen, "SigIgn", 1) && bit(&seen, "SigIgn", 10), "{seen}");
    assert!(!bit(&seen, "SigIgn", 13), "SIGPIPE is not ignored: {}", seen["SigIgn"]);
    let seen = Run::once().arranged(["--ignore", "PIPE"]).worker(["inherit"]).run().code(0).json();
    assert!(bit(&seen, "SigIgn", 13), "SIGPIPE stays ignored when the caller ignored it");
    let seen = Run::once().arranged::<&str>([]).worker(["inherit"]).run().code(0).json();
    let names: Vec<i32> = (1..32).filter(|s| bit(&seen, "SigIgn", *s)).collect();
    assert!(names.is_empty(), "nothing is ignored: {names:?}");
}

/// INH-03, as the tests of tini have it. Failed before: SEGV and BUS came back to default, because the runtime of the language
/// handles them.
#[test]
fn every_ignored_signal_stays_ignored() {
    let all: Vec<i32> = (1..32)
        .filter(|n| ![Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGCHLD].map(|s| s as i32).contains(n))
        .collect();
    let word = |n: &i32| if *n == 13 { "PIPE".to_string() } else { n.to_string() };
    let list = all.iter().map(word).collect::<Vec<_>>().join(",");
    let run = Run::once().flag("--restart", "always").flag("--restart-limit", "1");
    let ended = run.arranged(["--ignore", &list]).worker(["inherit"]).run();
    assert_eq!(ended.out.lines().count(), 2, "{}", ended.story());
    for line in ended.out.lines() {
        let seen: Value = serde_json::from_str(line).unwrap();
        let not: Vec<&i32> = all.iter().filter(|s| !bit(&seen, "SigIgn", **s)).collect();
        assert!(not.is_empty(), "not ignored: {not:?}");
    }
    // and one alone brings no other along
    for one in [11, 7, 13] {
        let seen = Run::once().arranged(["--ignore", &word(&one)]).worker(["inherit"]).run().code(0).json();
        let names: Vec<i32> = (1..32).filter(|s| bit(&seen, "SigIgn", *s)).collect();
        assert_eq!(names, [one]);
    }
}

/// L12. Failed before: a core of the watchdog would have held the environments of all services. Its children have the limit
/// that the caller gave.
#[test]
fn the_watchdog_writes_no_core_and_its_workers_may() {
    let core = |pid: i32| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap().to_string();
        line.split_whitespace().skip(4).take(2).map(str::to_string).collect::<Vec<_>>()
    };
    let run = Run::quick();
    let (hook, seen) = (run.path("hook.sh"), run.at("hook"));
    std::fs::write(&hook, format!("ulimit -S -c > {seen}.new; mv {seen}.new {seen}\n")).unwrap();
    let run = run.flag("--hook", format!("spawn:sh {}", hook.display()));
    let dog = run.arranged(["--rlimit", "4=8192:1048576"]).worker(["sleep"]).spawn();
    let worker = dog.worker_pid(1);
    assert_eq!(core(dog.pid()), ["1", "1048576"]);
    assert_eq!(core(worker), ["8192", "1048576"]);
    // in blocks of 512 bytes or of 1024
    let said = common::wait_line(&dog.path("hook"), "");
    assert!(["16", "8"].contains(&said.as_str()), "{said}");
    dog.stop().code(143);
}

/// INH-04
#[test]
fn an_ignored_sigchld_does_not_lose_the_status() {
    let ended = Run::once().arranged(["--ignore", "CHLD"]).worker(["exit", "7"]).run().code(7);
    ended.before(4000).count("exit", 1);
    let seen = Run::once().arranged(["--ignore", "CHLD"]).worker(["inherit"]).run().code(0).json();
    assert!(!bit(&seen, "SigIgn", 17), "the worker sees SIGCHLD default: {}", seen["SigIgn"]);
}

/// INH-05
#[test]
fn resource_limits_are_the_callers() {
    let limits = ["--rlimit", "7=256:4096,4=0:1048576"];
    let run = Run::once();
    let bare = direct(&run, &limits);
    let seen = run.arranged(limits).worker(["inherit"]).run().code(0).json();
    assert_eq!(seen["rlimits"], bare["rlimits"]);
    assert_eq!(seen["rlimits"][7], serde_json::json!([256, 4096]));
}

/// INH-06
#[test]
fn nice_oom_score_umask_affinity_and_cgroup_are_the_callers() {
    let arrange = ["--nice", "3", "--oom", "250", "--umask", "077", "--cwd", "/usr"];
    let run = Run::once();
    let bare = direct(&run, &arrange);
    let seen = run.arranged(arrange).worker(["inherit"]).run().code(0).json();
    for key in ["nice", "oom_score_adj", "umask", "Cpus_allowed", "cgroup", "ids", "groups", "cwd", "NoNewPrivs"] {
        assert_eq!(seen[key], bare[key], "{key}");
    }
    assert_eq!((&seen["umask"], &seen["nice"]), (&Value::from(0o077), &Value::from(3)));
}

/// INH-07, INH-11
#[test]
fn variables_of_an_outer_supervisor_do_not_leak() {
    let run = Run::once()
        .env("NOTIFY_SOCKET", "/outer/notify")
        .env("WATCHDOG_USEC", "1000000")
        .env("WATCHDOG_PID", "1")
        .env("LISTEN_FDS", "2")
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDNAMES", "a:b")
        .env("NODE_CHANNEL_FD", "3")
        .env("WATCHDOG_STOP_TIMEOUT", "3s")
        .env("PLAIN", "stays");
    let bare = direct(&run, &[]);
    let seen = run.worker(["inherit"]).run().code(0).json();
    let (seen, bare) = (variables(&seen), variables(&bare));
    let has = |name: &str| seen.iter().find(|v| v.starts_with(&format!("{name}="))).cloned();
    assert_eq!(has("PLAIN").unwrap(), "PLAIN=stays");
    for outer in ["/outer/notify", "LISTEN_PID=1", "NODE_CHANNEL_FD=3", "WATCHDOG_PID=1", "WATCHDOG_USEC=1000000"] {
        let leaked = |v: &String| if outer.contains('=') { v == outer } else { v.contains(outer) };
        assert!(!seen.iter().any(leaked), "{outer} leaked: {seen:?}");
    }
    assert_eq!(has("WATCHDOG_STOP_TIMEOUT"), None, "a setting that was consumed");
    let documented = [
        "WATCHDOG_SOCKET",
        "WATCHDOG_SERVICE",
        "WATCHDOG_REPLICA",
        "WATCHDOG_CHANNEL",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "WATCHDOG_READY_FD",
        "NODE_CHANNEL_FD",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "WATCHDOG_ENABLED",
        // the invocation marker of section 5
        "WATCHDOG_INVOCATION",
    ];
    for added in seen.iter().filter(|v| !bare.contains(v)) {
        let name = added.split('=').next().unwrap();
        assert!(documented.contains(&name), "an undocumented variable: {added}");
    }
    assert_eq!(has("WATCHDOG_SERVICE").unwrap(), "WATCHDOG_SERVICE=worker");
    assert_eq!(has("WATCHDOG_ENABLED").unwrap(), "WATCHDOG_ENABLED=true");
}

/// INH-07: descriptors of a socket activation that was ours pass on, with the worker's pid
#[test]
fn sockets_passed_to_us_are_passed_on_at_every_restart() {
    let run = Run::quick().flag("--restart", "always").flag("--restart-limit", "1");
    let open = format!("3={}", run.at("listener"));
    // LISTEN_PID must be the watchdog's own pid: a shell knows it before it becomes the watchdog
    let line =
        format!("exec '{}' arrange --open '{open}' -- env LISTEN_PID=$$ LISTEN_FDS=1 \"$@\"", worker().display());
    let ended = run.under(["sh", "-c", &line, "sh"]).worker(["inherit"]).run();
    assert_eq!(ended.out.lines().count(), 2, "{}", ended.story());
    for line in ended.out.lines() {
        let seen: Value = serde_json::from_str(line).unwrap();
        let vars = variables(&seen);
        assert!(vars.contains(&"LISTEN_FDS=1".to_string()), "{vars:?}");
        assert!(vars.contains(&format!("LISTEN_PID={}", seen["pid"])), "the worker's own pid: {vars:?}");
        assert!(numbers(&seen).contains(&3));
    }
}

/// INH-08
#[test]
fn a_terminal_is_read_by_the_worker_and_given_back() {
    let (dog, mut term) = Run::once().worker(["tty-reader"]).in_terminal();
    term.wait_screen("foreground=true");
    term.press("hello\n");
    term.wait_screen("got hello");
    term.press("quit\n");
    let notes = term.note("terminal");
    assert!(notes.contains(&"exited 0".to_string()) && notes.contains(&"terminal back".to_string()), "{notes:?}");
    dog.wait();
}

/// INH-08
#[test]
fn the_terminal_comes_back_after_a_crash_of_the_worker() {
    let (dog, mut term) = Run::once().worker(["tty-reader"]).in_terminal();
    term.wait_screen("foreground=true");
    term.press("crash\n");
    let notes = term.note("terminal");
    assert!(notes.contains(&"exited 3".to_string()) && notes.contains(&"terminal back".to_string()), "{notes:?}");
    dog.wait();
}

/// INH-08: without a terminal the worker leads its own group; with one it stays in ours
#[test]
fn the_worker_leads_its_own_group_but_in_a_terminal() {
    let seen = Run::once().worker(["inherit"]).run().code(0).json();
    assert_eq!(seen["pgid"], seen["pid"]);
    let (dog, term) = Run::once().worker(["inherit"]).in_terminal();
    let pid = dog.pid();
    term.note("terminal");
    let text = term.screen();
    let line = text.lines().find(|l| l.starts_with('{')).unwrap_or_else(|| panic!("no view on {text:?}"));
    let seen: Value = serde_json::from_str(line).unwrap();
    assert_eq!(seen["pgid"].as_i64().unwrap(), i64::from(pid), "our own group");
    assert_eq!(seen["foreground"], true);
    dog.wait();
}

/// INH-09
#[test]
fn shared_descriptors_keep_their_blocking_mode() {
    for log in ["inherit", "tee"] {
        let (reader, writer) = std::io::pipe().unwrap();
        let copy = writer.try_clone().unwrap();
        let seen = Run::once().flag("--log", log).stderr(writer.into()).worker(["inherit"]).run().code(0).json();
        let flags = nix::fcntl::fcntl(&copy, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert_eq!(flags & nix::fcntl::OFlag::O_NONBLOCK.bits(), 0, "{log}: the caller's pipe became non-blocking");
        for fd in seen["fds"].as_array().unwrap() {
            assert_eq!(fd["nonblock"], false, "{log}: {fd}");
        }
        drop(reader);
    }
}

/// INH-10
#[test]
fn no_pending_signals_and_no_alarm() {
    let seen = Run::once().worker(["inherit"]).run().code(0).json();
    assert_eq!(seen["SigPnd"], "0000000000000000");
    assert_eq!(seen["ShdPnd"], "0000000000000000");
    assert_eq!(seen["alarm"], 0);
}

/// INH-12: what a worker's own child sees is what the worker left it; the SDK leaves nothing (worker-sdk/tests/programs.rs)
#[test]
fn a_grandchild_gets_no_descriptor_of_ours() {
    let run = Run::once();
    let bare = direct(&run, &[]);
    let line = format!("'{}' inherit", worker().display());
    let seen = run.program(["sh", "-c", &format!("{line}; exit 0")]).run().code(0).json();
    let extra: Vec<i64> = without_channels(&seen).into_iter().filter(|n| !numbers(&bare).contains(n)).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

/// 4: stdin is ours, byte for byte, unless null was asked for
#[test]
fn stdin_is_inherited_or_null() {
    let run = Run::once();
    std::fs::write(run.path("in"), b"line\0\xff\n").unwrap();
    let file = std::fs::File::open(run.path("in")).unwrap();
    let ended = run.stdin(file.into()).program(["cat"]).run().code(0);
    assert_eq!(std::fs::read(ended.run.path("out")).unwrap_or_default().len(), 7, "{:?}", ended.out);
    let run = Run::once().flag("--stdin", "null");
    std::fs::write(run.path("in"), b"secret").unwrap();
    let file = std::fs::File::open(run.path("in")).unwrap();
    let ended = run.stdin(file.into()).program(["cat"]).run().code(0);
    assert!(ended.out.is_empty());
}

/// the prefix form is two processes and no thread more
#[test]
fn the_watchdog_is_one_thread() {
    let run = Run::once();
    let pids = run.at("pid");
    let dog = run.worker(["sleep", "--pid-file", &pids]).spawn();
    common::wait_lines(&dog.path("pid"), 1);
    assert_eq!(procs::status_field(dog.pid(), "Threads"), 1);
    assert_eq!(procs::children(dog.pid()).len(), 1);
    dog.signal(Signal::SIGTERM);
    dog.wait().code(143);
}
