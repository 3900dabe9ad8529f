//! Signals: what a process sends arrives once; what a keyboard sends has arrived already (product.md section 4).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, about, lines, procs, stays, wait_for, wait_line, wait_lines, within, worker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::{Duration, Instant};

/// Names of the signals in a victim's log, in order, without the READY line.
fn got(path: &Path) -> Vec<String> {
    lines(path).iter().skip(1).map(|l| l.split(' ').next().unwrap().to_string()).collect()
}

fn count(path: &Path, name: &str) -> usize {
    got(path).iter().filter(|n| *n == name).count()
}

fn logging(run: Run, more: &[&str]) -> Dog {
    let log = run.at("log");
    let mut words = vec!["signal-log", &log];
    words.extend(more);
    let dog = run.worker(words).spawn();
    wait_line(&dog.path("log"), "READY");
    dog
}

/// EXI-05, EXI-07. Failed before: signals of faults that a process sent ended the watchdog.
#[test]
fn every_catchable_signal_of_a_process_is_forwarded_once_and_changes_nothing() {
    let dog = logging(Run::quick(), &["--exit-on", "TERM"]);
    let log = dog.path("log");
    // all but KILL, STOP, CHLD, libc's own, INT and TERM (they stop), the job-control stops
    let few = [1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 18, 23, 24, 25, 26, 27, 28, 29, 30, 31];
    let numbers: Vec<i32> = few.into_iter().chain(34..=64).collect();
    for (at, number) in numbers.iter().enumerate() {
        dog.signal_number(*number);
        wait_for(&format!("signal {number} to arrive"), || (got(&log).len() > at).then_some(()));
    }
    let me = dog.pid().to_string();
    let received = lines(&log);
    assert_eq!(received.len(), numbers.len() + 1, "each exactly once: {received:?}");
    for line in &received[1..] {
        assert_eq!(line.split(' ').nth(2).unwrap(), me, "sent by the watchdog: {line}");
    }
    dog.stop().code(0).count("spawn", 1).count("stop-requested", 1);
}

/// EXI-05: the job-control stops too; the watchdog answers again after CONT
#[test]
fn job_control_signals_of_a_process_are_forwarded() {
    let dog = logging(Run::quick(), &["--exit-on", "TERM"]);
    for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        dog.signal(signal);
        wait_line(&dog.path("log"), &signal.as_str()[3..]);
        dog.signal(Signal::SIGCONT);
    }
    for name in ["TSTP", "TTIN", "TTOU"] {
        assert_eq!(count(&dog.path("log"), name), 1, "{:?}", lines(&dog.path("log")));
    }
    dog.stop().code(0);
}

/// EXI-05
#[test]
fn a_term_arrives_once_and_ends_with_the_workers_status() {
    let dog = logging(Run::quick(), &["--exit-on", "TERM", "--code", "6"]);
    let log = dog.path("log");
    let ended =
        dog.stop().code(6).count("stop-requested", 1).order(&["stop-requested", "signal-sent", "exit", "stopped"]);
    assert_eq!(ended.lines("log").len(), 2, "{:?}", ended.lines("log"));
    assert!(!log.exists() || count(&log, "TERM") == 1);
    let by = &ended.of("stop-requested")[0]["by"];
    assert_eq!((&by["kind"], &by["signal"]), (&"signal".into(), &"TERM".into()), "{by}");
    assert_eq!(by["pid"], std::process::id(), "who asked: {by}");
}

/// EXI-06
#[test]
fn a_burst_is_merged_but_nothing_after_it_is_lost() {
    let dog = logging(Run::quick(), &["--exit-on", "TERM"]);
    for _ in 0..1000 {
        dog.signal(Signal::SIGUSR1);
    }
    dog.signal(Signal::SIGUSR2);
    wait_line(&dog.path("log"), "USR2");
    let names = got(&dog.path("log"));
    assert!(names.iter().any(|n| n == "USR1"), "{names:?}");
    assert_eq!(names.iter().filter(|n| *n == "USR2").count(), 1, "{names:?}");
    dog.stop().code(0).count("spawn", 1);
}

/// Section 4: TERM arrives as stop_signal, INT as INT
#[test]
fn term_arrives_as_the_stop_signal_and_int_stays_int() {
    let dog = logging(Run::quick().flag("--stop-signal", "QUIT"), &["--exit-on", "QUIT"]);
    let ended = dog.stop().code(0);
    assert_eq!(got(&ended.run.path("log")), ["QUIT"]);
    let dog = logging(Run::quick().flag("--stop-signal", "QUIT"), &["--exit-on", "INT"]);
    dog.signal(Signal::SIGINT);
    let ended = dog.wait().code(0);
    assert_eq!(got(&ended.run.path("log")), ["INT"]);
    let dog = logging(Run::quick(), &["--exit-on", "INT"]);
    dog.signal(Signal::SIGINT);
    let ended = dog.wait().code(0).count("stop-requested", 1);
    assert_eq!(got(&ended.run.path("log")), ["INT"]);
}

/// Section 4: the first TERM after an INT is sent, the second is not
#[test]
fn the_first_term_after_an_int_is_sent() {
    let dog = logging(Run::quick().flag("--stop-timeout", "20s"), &["--exit-on", "USR1"]);
    let log = dog.path("log");
    dog.signal(Signal::SIGINT);
    wait_line(&log, "INT");
    dog.signal(Signal::SIGTERM);
    wait_line(&log, "TERM");
    dog.signal(Signal::SIGTERM);
    // USR1 comes behind the second TERM, so that its line says that nothing is on the way any more
    dog.signal(Signal::SIGUSR1);
    let ended = dog.wait().code(0);
    assert_eq!(got(&ended.run.path("log")), ["INT", "TERM", "USR1"]);
}

/// EXI-10
#[test]
fn repeated_terms_neither_restart_the_clock_nor_arrive_again() {
    let run = Run::quick().flag("--stop-timeout", "1s");
    let dog = logging(run, &[]);
    let began = Instant::now();
    dog.signal(Signal::SIGTERM);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(150));
        dog.signal(Signal::SIGTERM);
    }
    let log = dog.path("log");
    wait_line(&log, "TERM");
    let mut dog = dog;
    wait_for("the end", || (!dog.alive()).then_some(()));
    let took = began.elapsed();
    let names = got(&log);
    dog.wait().code(137).count("kill-escalated", 1).count("stop-requested", 1);
    about(took, 1000);
    assert!(took < Duration::from_millis(2200) || took > Duration::from_secs(3), "the clock was restarted: {took:?}");
    assert_eq!(names, ["TERM"]);
}

/// Section 4: each INT is forwarded as it comes, and none cuts the grace of one program short. Failed before: the second
/// one killed it.
#[test]
fn each_int_of_a_process_is_forwarded_and_the_clock_goes_on() {
    let dog = logging(Run::quick().flag("--stop-timeout", "60s"), &["--exit-on", "USR1", "--code", "3"]);
    let log = dog.path("log");
    for times in 1..=3 {
        dog.signal(Signal::SIGINT);
        wait_for("the INT to arrive", || (count(&log, "INT") == times).then_some(()));
    }
    dog.signal(Signal::SIGUSR1);
    let ended = dog.wait().code(3).count("stop-requested", 1).count("kill-escalated", 0);
    assert_eq!(got(&ended.run.path("log")), ["INT", "INT", "INT", "USR1"]);
}

/// Section 4: what an image names as its STOPSIGNAL, and `--stop-signal` names as well, is a stop. Failed before: it was
/// forwarded, and the worker that ended of it was started again.
#[test]
fn a_stop_signal_that_is_received_is_a_stop() {
    let run = Run::quick().flag("--stop-signal", "QUIT").flag("--restart", "always");
    let dog = logging(run, &["--exit-on", "QUIT", "--code", "4"]);
    dog.signal(Signal::SIGQUIT);
    let ended = dog.wait().code(4).count("stop-requested", 1).count("spawn", 1);
    assert_eq!(got(&ended.run.path("log")), ["QUIT"]);
    // the same stop as by TERM: the second one is not sent, and the grace ends it
    let dog = logging(Run::quick().flag("--stop-signal", "USR2"), &[]);
    dog.signal(Signal::SIGUSR2);
    wait_line(&dog.path("log"), "USR2");
    dog.signal(Signal::SIGTERM);
    let ended = dog.wait().code(137).count("stop-requested", 1).count("kill-escalated", 1);
    assert_eq!(got(&ended.run.path("log")), ["USR2"]);
    // rewriting comes first
    let run = Run::quick().flag("--stop-signal", "QUIT").flag("--rewrite-signal", "USR1:QUIT,QUIT:USR2");
    let dog = logging(run, &["--exit-on", "QUIT"]);
    dog.signal(Signal::SIGQUIT);
    wait_line(&dog.path("log"), "USR2");
    assert_eq!(dog.events_of("stop-requested").len(), 0, "a QUIT that is a USR2 does not stop");
    dog.signal(Signal::SIGUSR1);
    let ended = dog.wait().code(0).count("stop-requested", 1);
    assert_eq!(got(&ended.run.path("log")), ["USR2", "QUIT"]);
}

/// its look-alike: a QUIT that is not configured as such is the worker's own affair
#[test]
fn a_quit_that_is_no_stop_signal_stops_nothing() {
    let dog = logging(Run::quick().flag("--stop-signal", "USR2"), &["--exit-on", "USR2"]);
    dog.signal(Signal::SIGQUIT);
    wait_line(&dog.path("log"), "QUIT");
    assert_eq!(dog.events_of("stop-requested").len(), 0);
    dog.stop().code(0);
}

/// its look-alike: one INT leaves the whole grace
#[test]
fn one_int_leaves_the_grace() {
    let dog =
        logging(Run::quick().flag("--stop-timeout", "20s"), &["--exit-on", "INT", "--slow", "700", "--code", "4"]);
    dog.signal(Signal::SIGINT);
    dog.wait().code(4).count("kill-escalated", 0);
}

/// rewrite_signal, applied first
#[test]
fn rewritten_signals_are_what_they_were_rewritten_to() {
    let run = Run::quick().flag("--rewrite-signal", "USR1:USR2,HUP:0,TERM:QUIT,WINCH:TERM");
    let dog = logging(run, &["--exit-on", "TERM"]);
    let log = dog.path("log");
    dog.signal(Signal::SIGHUP);
    dog.signal(Signal::SIGUSR1);
    wait_line(&log, "USR2");
    dog.signal(Signal::SIGTERM);
    wait_line(&log, "QUIT");
    assert_eq!(dog.events_of("stop-requested").len(), 0, "a TERM that is a QUIT does not stop");
    let sent: Vec<_> = dog.events_of("signal-sent").into_iter().map(|e| e["signal"].clone()).collect();
    assert_eq!(sent, ["USR2", "QUIT"], "a HUP that is 0 is not sent at all");
    dog.signal(Signal::SIGWINCH);
    let ended = dog.wait().code(0).count("stop-requested", 1);
    assert_eq!(got(&ended.run.path("log")), ["USR2", "QUIT", "TERM"]);
}

/// A family of three: main, a child in its group, a child in a session of its own.
fn family(scope: &str) -> Dog {
    let run = Run::quick().flag("--signal-scope", scope).flag("--stop-timeout", "3s");
    let w = worker().display().to_string();
    let line = format!(
        "'{w}' signal-log near --exit-on TERM & setsid '{w}' signal-log far --exit-on TERM & \
         exec '{w}' signal-log main --exit-on TERM --slow 300"
    );
    let dog = run.program(["sh", "-c", &line]).spawn();
    for file in ["near", "far", "main"] {
        wait_line(&dog.path(file), "READY");
    }
    dog
}

/// signal_scope
#[test]
fn the_scope_says_who_gets_a_forwarded_signal() {
    for (scope, near, far) in [("main", 0, 0), ("group", 1, 0), ("tree", 1, 1)] {
        let dog = family(scope);
        dog.signal(Signal::SIGUSR1);
        wait_line(&dog.path("main"), "USR1");
        let all = within(Duration::from_secs(2), || {
            count(&dog.path("near"), "USR1") >= near && count(&dog.path("far"), "USR1") >= far
        });
        assert!(all, "{scope}: somebody did not get it");
        // a later one that everybody's log must have room for shows that nothing came twice
        let seen = (count(&dog.path("near"), "USR1"), count(&dog.path("far"), "USR1"));
        assert_eq!(seen, (near, far), "{scope}");
        let ended = dog.stop().code(0);
        // whatever the scope, the sweep has asked the others to go: each saw one TERM
        for file in ["near", "far", "main"] {
            assert_eq!(count(&ended.run.path(file), "TERM"), 1, "{scope}: {file}: {:?}", ended.lines(file));
        }
    }
}

/// EXI-09
#[test]
fn a_keyboard_int_reaches_the_worker_once_and_ends_with_130() {
    let run = Run::quick().worker(["sleep"]);
    let (dog, mut term) = run.in_terminal();
    dog.event("spawn", 1);
    term.press("\x03");
    let notes = term.note("terminal");
    assert!(notes.contains(&"exited 130".to_string()), "{notes:?}");
    let ended = dog.wait().count("spawn", 1).count("exit", 1).count("restart-scheduled", 0);
    assert_eq!(ended.of("exit")[0]["requested"], true);
}

/// EXI-09: whatever the policy, and whatever the worker makes of it
#[test]
fn a_keyboard_int_ends_a_worker_that_is_always_started_again() {
    let (dog, mut term) = Run::quick().flag("--restart", "always").worker(["sleep"]).in_terminal();
    dog.event("spawn", 1);
    term.press("\x03");
    term.note("exited 130");
    dog.wait().count("spawn", 1).count("restart-scheduled", 0);
    let run = Run::quick();
    let file = run.at("finished");
    let pid = run.at("pid");
    let (dog, mut term) =
        run.worker(["graceful", &file, "--pid-file", &pid, "--on", "INT", "--code", "3"]).in_terminal();
    wait_lines(&dog.path("pid"), 1);
    term.press("\x03");
    term.note("exited 3");
    dog.wait().count("spawn", 1).count("restart-scheduled", 0);
}

/// EXI-09: exactly once
#[test]
fn a_keyboard_int_is_not_forwarded_a_second_time() {
    let run = Run::quick();
    let log = run.at("log");
    let (dog, mut term) = run.worker(["signal-log", &log, "--exit-on", "TERM"]).in_terminal();
    wait_line(&dog.path("log"), "READY");
    for (key, name) in [("\x03", "INT"), ("\x1c", "QUIT")] {
        term.press(key);
        let line = wait_line(&dog.path("log"), name);
        assert!(line.starts_with(&format!("{name} 128 ")), "from the kernel's terminal (SI_KERNEL): {line}");
    }
    // USR1 by us comes behind them
    dog.signal(Signal::SIGUSR1);
    wait_line(&dog.path("log"), "USR1");
    assert_eq!(got(&dog.path("log")), ["INT", "QUIT", "USR1"]);
    dog.signal(Signal::SIGTERM);
    term.note("exited 0");
    dog.wait();
}

/// Section 4: a REPL that survives ^C goes on
#[test]
fn a_repl_that_handles_the_keyboard_int_lives_past_the_grace() {
    let run = Run::quick().flag("--stop-timeout", "300ms");
    let log = run.at("log");
    let (dog, mut term) = run.worker(["repl", &log]).in_terminal();
    wait_line(&dog.path("log"), "ready");
    let pid = dog.worker_pid(1);
    for times in 2..4 {
        term.press("\x03");
        wait_lines(&dog.path("log"), times);
    }
    stays("the REPL lives", Duration::from_millis(900), || procs::alive(pid));
    assert_eq!(dog.events_of("kill-escalated").len(), 0);
    dog.signal(Signal::SIGTERM);
    term.note("exited 0");
    dog.wait().count("spawn", 1);
}

/// Section 4: only an exit within stop_timeout of the key is a requested one
#[test]
fn a_crash_long_after_a_keyboard_int_is_a_failure() {
    let run = Run::quick().flag("--stop-timeout", "300ms");
    let log = run.at("log");
    let (dog, mut term) = run.worker(["repl", &log]).in_terminal();
    wait_line(&dog.path("log"), "ready");
    term.press("\x03");
    wait_lines(&dog.path("log"), 2);
    std::thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(dog.worker_pid(1)), Signal::SIGKILL).unwrap();
    dog.event("spawn", 2);
    dog.signal(Signal::SIGTERM);
    term.note("terminal back");
    dog.wait().count("spawn", 2);
}

/// EXI-08
#[test]
fn a_keyboard_stop_suspends_both_and_fg_continues_them() {
    let (dog, mut term) = Run::quick().worker(["tty-reader"]).in_terminal();
    term.wait_screen("foreground=true");
    let pid = dog.worker_pid(1);
    term.press("\x1a");
    // TSTP, or STOP of our own hand behind it: the shell has its terminal back either way
    term.note("stopped");
    wait_for("the worker to be stopped too", || (procs::state(pid) == Some('T')).then_some(()));
    term.foreground();
    term.press("again\n");
    term.wait_screen("got again");
    term.press("quit\n");
    term.note("exited 0");
    dog.wait().count("spawn", 1).count("exit", 1);
}

/// Section 4: a resize reaches the worker once
#[test]
fn a_resize_of_the_terminal_is_not_doubled() {
    let run = Run::quick();
    let log = run.at("log");
    let (dog, term) = run.worker(["signal-log", &log, "--exit-on", "TERM"]).in_terminal();
    wait_line(&dog.path("log"), "READY");
    let device = std::fs::read_link(format!("/proc/{}/fd/0", dog.pid())).unwrap();
    let status = std::process::Command::new("stty").arg("-F").arg(device).args(["rows", "40"]).status();
    assert!(status.unwrap().success());
    wait_line(&dog.path("log"), "WINCH");
    dog.signal(Signal::SIGUSR1);
    wait_line(&dog.path("log"), "USR1");
    assert_eq!(got(&dog.path("log")), ["WINCH", "USR1"]);
    dog.signal(Signal::SIGTERM);
    term.note("exited 0");
    dog.wait();
}

/// Section 4: a hang-up of the terminal ends nobody silently: it is forwarded and the worker's status is ours
#[test]
fn a_closed_terminal_hangs_up_the_worker() {
    let run = Run::once();
    let (dog, term) = run.worker(["sleep"]).in_terminal();
    let pid = dog.worker_pid(1);
    kill(Pid::from_raw(dog.pid()), Signal::SIGHUP).unwrap();
    term.note("exited 129");
    assert!(!procs::alive(pid));
    dog.wait();
}
