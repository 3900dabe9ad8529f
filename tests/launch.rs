//! Launching: what fails at exec says so at once with the shell's code, and what runs is run byte for byte
//! (LAU-01..14).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Ended, Run, about, is_root, lines, skip, wait_for, wait_lines, within, worker};
use nix::sys::signal::Signal;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn script(run: &Run, name: &str, bytes: &[u8], mode: u32) -> String {
    let path = run.path(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.to_string_lossy().into_owned()
}

/// One spawn-failed at the step, no spawn, no restart.
fn refused(ended: Ended, code: i32, step: &str, errno: &str) -> Ended {
    let ended = ended.code(code).count("spawn", 0).count("spawn-failed", 1).count("restart-scheduled", 0).before(5000);
    let event = &ended.of("spawn-failed")[0];
    assert_eq!(event["step"], step, "{event}");
    assert!(event["errno"] == errno || event.to_string().contains(errno), "errno {errno}: {event}");
    ended
}

/// LAU-01
#[test]
fn a_missing_program_ends_with_127_whatever_the_policy() {
    for policy in ["on-failure", "always", "never"] {
        let run = Run::quick().flag("--restart", policy).program(["/nonexistent/program"]);
        let ended = refused(run.run(), 127, "exec", "ENOENT").says("/nonexistent/program");
        assert_eq!(ended.err.trim_end().lines().count(), 1, "one clear line: {}", ended.err);
        assert!(ended.of("spawn-failed")[0]["path"].to_string().contains("/nonexistent/program"));
    }
    // a PATH of our own: a folder on it that may not be searched makes "not found" a "not permitted", as with execvp
    let run = Run::quick().env("PATH", "/usr/bin:/bin").program(["no-such-program-in-path"]);
    refused(run.run(), 127, "exec", "ENOENT");
}

/// LAU-02
#[test]
fn a_file_without_execute_permission_and_a_directory_end_with_126() {
    let run = Run::quick().flag("--restart", "always");
    let path = script(&run, "plain", b"#!/bin/sh\n", 0o644);
    refused(run.program([path]).run(), 126, "exec", "EACCES");
    refused(Run::quick().program(["/tmp"]).run(), 126, "exec", "EACCES");
}

/// LAU-03
#[test]
fn a_corrupt_executable_is_never_handed_to_a_shell() {
    let run = Run::quick();
    let path = script(&run, "broken", b"\x7fELFgarbage\ntouch PROOF\n", 0o755);
    let proof = run.path("PROOF");
    let ended = refused(run.program([path]).run(), 126, "exec", "ENOEXEC");
    assert!(!proof.exists(), "the file was interpreted");
    drop(ended);
}

/// LAU-03, its other half: a text without #! is not a program either
#[test]
fn a_script_without_an_interpreter_line_is_not_executable() {
    let run = Run::quick();
    let path = script(&run, "text", b"touch PROOF\n", 0o755);
    let ended = refused(run.program([path]).run(), 126, "exec", "ENOEXEC");
    assert!(!ended.run.path("PROOF").exists());
}

/// LAU-04
#[test]
fn a_missing_interpreter_is_named() {
    let run = Run::quick();
    let path = script(&run, "script", b"#!/no/such/interp -x\necho hi\n", 0o755);
    refused(run.program([path]).run(), 127, "exec", "ENOENT").says("/no/such/interp");
}

/// LAU-05
#[test]
fn a_busy_program_is_tried_again_until_it_can_be_executed() {
    let run = Run::once();
    let path = run.path("busy");
    std::fs::copy(worker(), &path).unwrap();
    let held = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let began = std::time::Instant::now();
    let started = run.path("started");
    let line = [path.as_os_str(), "exit".as_ref(), "4".as_ref(), "--touch".as_ref(), started.as_os_str()];
    let dog = run.program(line).spawn();
    std::thread::sleep(Duration::from_millis(700));
    assert!(!started.exists());
    drop(held);
    wait_for("the start", || started.exists().then_some(()));
    about(began.elapsed(), 700);
    dog.wait().code(4).count("spawn", 1);
}

/// LAU-05, held for ever
#[test]
fn a_program_that_stays_busy_is_126_after_five_seconds() {
    let run = Run::once();
    let path = run.path("busy");
    std::fs::copy(worker(), &path).unwrap();
    let _held = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let ended = run.program([path.as_os_str(), "exit".as_ref(), "4".as_ref()]).run().code(126).count("spawn", 0);
    assert!(ended.took > Duration::from_secs(2), "it was tried for a while: {:?}", ended.took);
    assert!(ended.took < Duration::from_secs(12), "and given up: {:?}", ended.took);
    assert!(ended.of("spawn-failed").last().unwrap().to_string().contains("ETXTBSY"));
}

/// LAU-05, once a run has succeeded
#[test]
fn a_program_that_vanishes_between_restarts_is_a_failure_like_any_other() {
    let run =
        Run::quick().flag("--restart-delay", "400ms").flag("--restart-limit", "20").flag("--crash-loop-limit", "0");
    let path = run.path("replaced");
    std::fs::copy(worker(), &path).unwrap();
    let log = run.at("log");
    let dog = run.program([&*path.to_string_lossy(), "flaky", &log, "1"]).spawn();
    dog.event("exit", 1);
    std::fs::remove_file(&path).unwrap();
    dog.event("spawn-failed", 1);
    std::fs::copy(worker(), dog.path("new")).unwrap();
    std::fs::rename(dog.path("new"), &path).unwrap();
    wait_lines(&dog.path("log"), 3);
    dog.stop().code(0).count("spawn", 2);
}

/// LAU-06
#[test]
fn a_bad_working_directory_is_125_at_the_first_start() {
    let run = Run::quick().flag("--cwd", "/no/such/dir").worker(["exit", "0"]);
    refused(run.run(), 125, "chdir", "ENOENT").says("/no/such/dir");
}

/// LAU-06, at a restart
#[test]
fn a_directory_that_vanishes_counts_as_an_attempt_and_is_retried() {
    let run = Run::quick().flag("--restart-limit", "30").flag("--crash-loop-limit", "0");
    let dir = run.path("cwd");
    std::fs::create_dir(&dir).unwrap();
    let log = run.at("log");
    let dog = run.flag("--cwd", &dir).worker(["flaky", &log, "1", "--up", "200"]).spawn();
    dog.event("spawn", 1);
    std::fs::remove_dir(&dir).unwrap();
    let failed = dog.event("spawn-failed", 1);
    assert_eq!(failed["step"], "chdir", "{failed}");
    std::fs::create_dir(&dir).unwrap();
    // start, end, start: the victim listens to TERM from its second start line on
    wait_lines(&dog.path("log"), 3);
    dog.stop().code(0).count("spawn", 2);
}

/// LAU-06, without x permission (root passes everywhere, so as another user)
#[test]
fn a_working_directory_is_entered_as_the_workers_user() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let run = Run::quick();
    let dir = run.path("closed");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    let run = run.flag("--cwd", &dir).flag("--user", "nobody").program(["/bin/true"]);
    refused(run.run(), 125, "chdir", "EACCES");
}

/// LAU-07
#[test]
fn an_unknown_user_starts_nothing() {
    for name in ["no-such-user", "0day", "-1", "4294967296"] {
        let run = Run::quick();
        let proof = run.path("ran");
        let ended = run.flag("--user", name).worker(["exit", "0", "--touch", &proof.to_string_lossy()]).run();
        assert!([2, 125].contains(&ended.code), "{name}: {}", ended.story());
        assert!(ended.err.contains(name), "names the user: {}", ended.err);
        assert!(!proof.exists(), "{name}: the worker ran");
    }
}

/// LAU-07
#[test]
fn a_user_that_may_not_be_taken_is_125_and_the_worker_never_runs() {
    if !is_root() {
        return skip("needs root to start the watchdog as nobody");
    }
    let run = Run::quick().no_events().no_runtime_dir().arranged(["--uid", "65534"]);
    let proof = run.path("ran");
    std::fs::set_permissions(run.dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ended = run.flag("--user", "root").program(["/bin/sh", "-c", "id > ran"]).run().code(125);
    assert!(!proof.exists(), "ran with the wrong identity");
    drop(ended);
}

/// LAU-07, the good half
#[test]
fn a_user_is_taken_with_its_groups_and_home() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let run = Run::once().flag("--user", "nobody").program([
        "/bin/sh",
        "-c",
        "id -u; id -g; id -G; echo $HOME $USER $LOGNAME",
    ]);
    let ended = run.run().code(0);
    assert_eq!(ended.out, "65534\n65534\n65534\n/nonexistent nobody nobody\n");
}

/// LAU-08
#[test]
fn a_refused_fork_is_retried_and_the_watchdog_answers_meanwhile() {
    if !is_root() {
        return skip("needs root to start the watchdog as another user with a limit on its processes");
    }
    // a user id that nobody else has: the limit counts all of its processes
    let uid = 54_000 + std::process::id() % 1000;
    let run = Run::quick().flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    std::os::unix::fs::chown(run.dir.path(), Some(uid), Some(uid)).unwrap();
    let log = run.at("log");
    let run = run.worker(["flaky", &log, "1", "--up", "100"]);
    let run = run.arranged(["--uid", &uid.to_string()]);
    let dog = run.spawn();
    dog.event("spawn", 1);
    // no more processes for it from now on
    let limit = |n: &str| {
        let (who, pid) = (format!("--reuid={uid}"), dog.pid().to_string());
        let mut command = std::process::Command::new("setpriv");
        command.args([&*who, &format!("--regid={uid}"), "--clear-groups", "prlimit", "--pid", &pid, n]);
        assert!(command.status().unwrap().success());
    };
    limit("--nproc=1:");
    let failed = dog.event("spawn-failed", 1);
    assert!(failed.to_string().contains("EAGAIN"), "{failed}");
    assert_eq!(dog.verb(&["status"]).code(0).code, 0);
    limit("--nproc=100:");
    wait_lines(&dog.path("log"), 3);
    dog.stop().code(0);
}

/// LAU-09
#[test]
fn few_descriptors_work_or_are_refused_but_nothing_runs_unsupervised() {
    for n in [4, 6, 8, 10, 12, 16, 24] {
        let limit = format!("7={n}:{n}");
        // only 0, 1, 2: descriptors of the test's own surroundings would pass the limit
        let run = Run::once().arranged(["--rlimit", &limit]);
        let proof = run.path("ran");
        let ended = run.worker(["exit", "5", "--touch", &proof.to_string_lossy()]).run();
        assert!([5, 125].contains(&ended.code) || ended.code == 127 && !proof.exists(), "{n}: {}", ended.story());
        if ended.code == 125 {
            assert!(!proof.exists(), "{n}: refused, and yet the worker ran");
            assert!(!ended.err.is_empty(), "{n}: a reason");
        }
    }
}

/// LAU-10
#[test]
fn arguments_too_big_for_the_kernel_are_126_and_not_echoed() {
    // the watchdog itself must be startable, so the environment makes the difference
    let big = "x".repeat(120 * 1024);
    let run = Run::once();
    let file = run.path("env");
    let text: String = (0..30).map(|i| format!("BIG{i}={big}\n")).collect();
    std::fs::write(&file, text).unwrap();
    let ended = run.flag("--env-file", &file).worker(["exit", "0"]).run().code(126);
    assert!(ended.of("spawn-failed")[0].to_string().contains("E2BIG"));
    assert!(ended.err.len() < 2000, "the text is not echoed: {} bytes", ended.err.len());
}

/// LAU-11
#[test]
fn arguments_and_environment_arrive_byte_for_byte() {
    let odd: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"-x".to_vec(),
        b"--".to_vec(),
        b"--restart".to_vec(),
        b"new\nline".to_vec(),
        b"\xff\xfe\x80".to_vec(),
        b"a=b=c".to_vec(),
        b"$HOME `id` ; %s".to_vec(),
    ];
    let mut words: Vec<std::ffi::OsString> = vec!["inherit".into()];
    words.extend(odd.iter().cloned().map(OsStringExt::from_vec));
    let value = std::ffi::OsStr::from_bytes(b"\xffvalue\n=x");
    let ended = Run::once().worker(&words).env("ODD", value).env("EMPTY", "").run().code(0);
    let seen = ended.json();
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let argv: Vec<&str> = seen["argv"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert_eq!(argv[0], hex(worker().as_os_str().as_bytes()), "argv[0] as it was given");
    assert_eq!(argv[2..], odd.iter().map(|w| hex(w)).collect::<Vec<_>>());
    let env = seen["env"].to_string();
    assert!(env.contains(&hex(b"ODD=\xffvalue\n=x")), "a value that is not UTF-8");
    assert!(env.contains(&hex(b"EMPTY=")), "an empty value");
}

/// LAU-12
#[test]
fn no_command_and_unknown_flags_are_2_and_help_is_0() {
    let ended = Run::new().no_events().run().code(2);
    assert!(ended.err.contains("--help") && ended.out.is_empty(), "says where the usage is: {}", ended.story());
    let ended = Run::new().switch("--no-such-flag").worker(["exit", "0"]).run().code(2).count("spawn", 0);
    assert!(ended.err.contains("--no-such-flag") && ended.out.is_empty());
    for flag in ["--help", "--version"] {
        let ended = Run::new().no_events().switch(flag).run().code(0).silent();
        assert!(!ended.out.is_empty(), "{flag} on stdout");
    }
    let ended = Run::new().no_events().switch("--version").run();
    assert!(ended.out.contains(env!("CARGO_PKG_VERSION")), "{}", ended.out);
}

/// LAU-12
#[test]
fn help_to_a_closed_pipe_is_no_crash() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Run::new().no_events().switch("--help").stdout(writer.into()).run();
    assert!([0, 141].contains(&ended.code), "{}", ended.story());
}

/// LAU-12: -- with nothing behind it
#[test]
fn a_separator_without_a_program_is_2() {
    Run::new().switch("--").run().code(2).count("spawn", 0);
}

/// LAU-13
#[test]
fn closed_standard_descriptors_are_dev_null_in_the_worker() {
    let run = Run::once();
    let file = run.path("seen");
    // its own redirection opens 1 again; 0 and 2 are what the watchdog gave
    let line = format!("exec '{}' inherit > '{}'", worker().display(), file.display());
    let dog = run.program(["sh", "-c", &line]).arranged(["--close", "0,1,2"]).spawn();
    let seen = wait_for("the worker's view", || serde_json::from_str::<serde_json::Value>(lines(&file).first()?).ok());
    let fds = seen["fds"].as_array().unwrap();
    for fd in [0, 2] {
        let entry = fds.iter().find(|f| f["fd"] == fd).unwrap_or_else(|| panic!("{fd} is closed: {seen}"));
        assert_eq!(entry["target"], "/dev/null");
    }
    dog.wait().code(0);
}

/// LAU-14
#[test]
fn a_worker_that_dies_at_once_was_started_all_the_same() {
    let ended = Run::once().worker(["exit", "9"]).run().code(9).count("spawn", 1).count("exit", 1);
    ended.count("spawn-failed", 0).order(&["spawn", "exit"]);
}

/// LAU-14: a TERM during the retries of a busy program ends it without ever starting it
#[test]
fn a_stop_before_the_program_could_be_executed_starts_nothing() {
    let run = Run::once();
    let path = run.path("busy");
    std::fs::copy(worker(), &path).unwrap();
    let mut held = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    held.write_all(b"").unwrap();
    let mut dog = run.program([path.as_os_str(), "sleep".as_ref()]).spawn();
    // the handlers stand when the control socket does
    dog.socket();
    dog.signal(Signal::SIGTERM);
    assert!(within(Duration::from_secs(3), || !dog.alive()), "it goes on trying after TERM");
    dog.wait().count("spawn", 0);
}

/// 3.17: the launch attributes that were asked for
#[test]
fn configured_attributes_reach_the_worker() {
    let run = Run::once()
        .flag("--umask", "027")
        .flag("--nice", "5")
        .flag("--oom-score-adj", "300")
        .flag("--rlimit", "nofile=100:200,core=0")
        .switch("--no-new-privs")
        .flag("--cwd", "/usr")
        .flag("--env", "ADDED=1")
        .worker(["inherit"]);
    let seen = run.run().code(0).json();
    assert_eq!(seen["umask"], 0o027);
    assert_eq!(seen["nice"], 5);
    assert_eq!(seen["oom_score_adj"], 300);
    assert_eq!(seen["rlimits"][7], serde_json::json!([100, 200]));
    assert_eq!(seen["NoNewPrivs"], "1");
    assert_eq!(seen["cwd"], "/usr");
    assert!(seen["env"].to_string().contains(&"41444445443d31".to_string()), "ADDED=1");
}

/// PID-08 belongs to pid1.rs; here only that no PATH at all finds an absolute program
#[test]
fn an_empty_environment_is_enough() {
    let ended = Run::once().switch("--clear-env").without_env("PATH").without_env("HOME").worker(["exit", "6"]).run();
    ended.code(6);
}

/// LAU-14: `spawn` is told when the program runs, not when the fork is done
#[test]
fn a_slow_exec_is_no_spawn_before_it_succeeded() {
    let run = Run::once();
    let trace = run.at("trace");
    // not that of the watchdog itself, which was over when the tracing began
    let inject = "inject=execve:delay_enter=700000";
    let run = run.under(["strace", "-f", "-qq", "-o", &trace, "-e", "trace=execve", "-e", inject]);
    if std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_err() {
        return skip("needs strace");
    }
    let dog = run.worker(["sleep"]).spawn();
    let spawn = dog.event("spawn", 1);
    let exe = std::fs::read_link(format!("/proc/{}/exe", spawn["pid"])).unwrap();
    assert_eq!(exe.file_name(), worker().file_name(), "told before the exec: {spawn}");
    assert!(dog.began.elapsed() > Duration::from_millis(650), "the exec was not slow: {:?}", dog.began.elapsed());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(spawn["pid"].as_i64().unwrap() as i32), Signal::SIGTERM).unwrap();
    dog.wait().code(143).count("spawn", 1);
}

/// group
#[test]
fn a_group_alone_leaves_the_user() {
    if !is_root() {
        return skip("needs root to take another group");
    }
    let run = Run::once().flag("--group", "12345").program(["/bin/sh", "-c", "id -u; id -g"]);
    assert_eq!(run.run().code(0).out, "0\n12345\n");
    let run = Run::once().flag("--user", "nobody").flag("--group", "12345").program(["/bin/sh", "-c", "id -u; id -g"]);
    assert_eq!(run.run().code(0).out, "65534\n12345\n");
    let ended = Run::once().flag("--group", "no-such-group").worker(["exit", "0"]).run().count("spawn", 0);
    assert!([2, 125].contains(&ended.code) && ended.err.contains("no-such-group"), "{}", ended.story());
}

/// Report 60. Failed before: it said `/bin/sh`, a file that is there.
#[test]
fn a_carriage_return_behind_the_interpreter_is_seen() {
    let run = Run::quick();
    let path = script(&run, "dos", b"#!/bin/sh\r\necho hi\r\n", 0o755);
    let ended = refused(run.program([path]).run(), 127, "exec", "ENOENT").says("interpreter /bin/sh\\r");
    assert!(ended.of("spawn-failed")[0]["path"].as_str().unwrap().ends_with("/bin/sh\r"), "{}", ended.story());
}

/// LAU-04 as another user: the file is read by the child, as that user.
#[test]
fn a_missing_interpreter_is_named_for_another_user_too() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    for (mode, says) in [(0o755, "interpreter /no/such/interp"), (0o711, "ENOENT")] {
        let run = Run::quick().flag("--user", "nobody");
        let path = script(&run, "script", b"#!/no/such/interp -x\necho hi\n", mode);
        let ended = refused(run.program([path]).run(), 127, "exec", "ENOENT").says(says);
        // What that user may not read is not told to it.
        assert_eq!(ended.err.contains("/no/such"), mode == 0o755, "{}", ended.err);
    }
}

/// M2. Failed before: the watchdog opened whatever the path led to in its own table, here the pipe of another service, and
/// waited there for ever.
#[test]
fn a_program_that_leads_into_our_own_descriptors_is_not_opened() {
    let quiet = "[service.quiet]\ncommand = [\"sleep\", \"1000\"]\nlog = \"capture\"\n";
    let text = format!("{quiet}[service.b]\ncommand = [\"./link\"]\nautostart = false\n");
    let dog = Run::quick_file(&text).spawn();
    dog.wait_ready("quiet");
    let open = format!("/proc/{}/fd", dog.pid());
    let pipe = std::fs::read_dir(&open).unwrap().flatten().find(|entry| {
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let leads = std::fs::read_link(entry.path()).unwrap_or_default();
        number >= 256 && leads.to_string_lossy().starts_with("pipe:")
    });
    let number = pipe.expect("a pipe of the other service").file_name().into_string().unwrap();
    std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), dog.path("link")).unwrap();
    let _ = dog.start_verb(&["start", "b", "--timeout", "1s"]).wait();
    let failed = dog.event_for("b", "spawn-failed", 1);
    assert_eq!(failed["step"], "exec", "{failed}");
    assert_eq!(dog.verb(&["status"]).code(0).code, 0);
    dog.stop();
}

/// Report 57. Failed before: each named the program, which has nothing to do with it.
#[test]
fn a_failed_launch_names_what_was_refused() {
    if !is_root() {
        return skip("needs root to start the watchdog as nobody");
    }
    let cases = [
        ("--nice", "-10", "adjust", "nice -10"),
        ("--oom-score-adj", "-900", "adjust", "oom_score_adj -900"),
        ("--rlimit", "nofile=1000:900000", "rlimit", "nofile=1000:900000"),
        ("--rlimit", "memlock=unlimited", "rlimit", "memlock=unlimited:unlimited"),
        ("--user", "root", "user", "root"),
    ];
    for (flag, value, step, names) in cases {
        let run = Run::quick().no_runtime_dir().flag("--control", "off").flag(flag, value);
        std::os::unix::fs::chown(run.dir.path(), Some(65534), Some(65534)).unwrap();
        let run = run.arranged(["--rlimit", "7=1000:2000,8=65536:65536", "--uid", "65534"]);
        let ended = run.program(["/bin/true"]).run().code(125).count("spawn", 0);
        let failed = &ended.of("spawn-failed")[0];
        assert_eq!((&failed["step"], &failed["path"]), (&step.into(), &names.into()), "{}", ended.story());
        assert!(ended.err.contains(names) && !ended.err.contains("/bin/true"), "{}", ended.err);
    }
}

/// L9. Failed before: "ESRCH" at the first start, "ENOMEM" at the second, and nothing of the namespace.
#[test]
fn a_pid_namespace_without_a_fork_is_named() {
    if !common::can_unshare(&["--pid"]) {
        return skip("needs a pid namespace");
    }
    for death in ["stop", "keep"] {
        let run = Run::quick().flag("--on-watchdog-death", death).flag("--restart-limit", "2");
        let ended = run.under(["unshare", "--pid"]).program(["sh", "-c", "exit 3"]).run();
        assert!([3, 125].contains(&ended.code), "{}", ended.story());
        let failed = ended.of("spawn-failed");
        let last = failed.last().unwrap();
        assert_eq!(last["step"], "fork", "{last}");
        assert!(ended.err.contains("unshare --pid needs --fork"), "{death}: {}", ended.err);
    }
}
