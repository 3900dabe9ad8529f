//! The terminal that the watchdog was started from is closed (report 7: HUP of the kernel, not of a process).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, lines, procs, stays, wait_for, wait_line};
use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;

const SLEEPS: &str = "command = [\"sleep\", \"1000\"]\n";

/// A terminal of which this test is the other side: dropped, it is closed as a window is.
fn terminal() -> (PtyMaster, impl Fn() -> Stdio) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
    let slave = options.open(ptsname_r(&master).unwrap()).unwrap();
    (master, move || Stdio::from(slave.try_clone().unwrap()))
}

/// The watchdog as the leader of a session on a terminal of its own, as in a window, `ssh -t` or `docker run -t`.
fn leading(run: Run) -> (Dog, PtyMaster) {
    let (master, side) = terminal();
    let run = run.under(["setsid", "--ctty"]).stdin(side()).stdout(side()).stderr(side());
    (run.spawn(), master)
}

/// Failed before: the HUP of the kernel read the file again, and `up` ran on without a terminal.
#[test]
fn a_closed_terminal_ends_up_as_any_stop_does() {
    let text = format!("[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}requires = [\"a\"]\n");
    let (dog, terminal) = leading(Run::quick_file(&text));
    dog.wait_ready("b");
    drop(terminal);
    let ended = dog.wait().code(0).count("exit", 2).count("reload", 0);
    let by = &ended.of("stop-requested")[0]["by"];
    assert_eq!((&by["kind"], &by["signal"], &by["pid"]), (&"signal".into(), &"HUP".into(), &serde_json::Value::Null));
}

/// The same where lines of services and the view of a start are on their way to it.
#[test]
fn a_closed_terminal_that_is_written_to_holds_nothing_up() {
    let noisy = "command = [\"sh\", \"-c\", \"trap '' HUP; while :; do echo line line line line; done\"]\n";
    let waits = "command = [\"sleep\", \"1000\"]\nready = \"reported\"\nstart_timeout = \"10m\"\n";
    let text = format!("[service.noisy]\n{noisy}[service.waits]\n{waits}");
    let (dog, terminal) = leading(Run::quick_file(&text));
    // nothing is read from it: the terminal is full by now, and the watchdog waits for room
    dog.wait_service_state("noisy", "running");
    drop(terminal);
    dog.wait().code(0).count("exit", 2);
}

/// Its look-alike: HUP of a process reads the file again.
#[test]
fn a_hup_of_a_process_ends_nothing() {
    let (dog, terminal) = leading(Run::quick_file(&format!("[service.a]\n{SLEEPS}")));
    dog.wait_ready("a");
    dog.run.write_file(&format!("[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}"));
    dog.signal(Signal::SIGHUP);
    dog.wait_ready("b");
    dog.stop().code(0);
    drop(terminal);
}

/// One program: it gets the HUP, and its end of it is no failure, whatever the policy. Failed before: `always` started it
/// again without a terminal.
#[test]
fn a_closed_terminal_ends_one_program_and_starts_it_no_more() {
    for policy in ["on-failure", "always"] {
        let (dog, terminal) = leading(Run::quick().flag("--restart", policy).program(["sleep", "1000"]));
        dog.event("spawn", 1);
        drop(terminal);
        dog.wait().code(129).count("spawn", 1).count("restart-scheduled", 0);
    }
}

/// The same where a shell leads the session: it dies, and the kernel sends HUP to the group in the foreground.
#[test]
fn the_end_of_the_shell_ends_one_program() {
    let (master, side) = terminal();
    let run = Run::quick().flag("--restart", "always").program(["sleep", "1000"]);
    let shell = ["setsid", "--ctty", "sh", "-c", "\"$@\"; true", "sh"];
    let run = run.under(shell).stdin(side()).stdout(side()).stderr(side());
    let mark = run.mark().to_string();
    let mut dog = run.spawn();
    let worker = dog.worker_pid(1);
    drop(master);
    wait_for("the shell to end", || (!dog.alive()).then_some(()));
    wait_for("all of it to be gone", || procs::marked(&mark).is_empty().then_some(()));
    assert!(!procs::alive(worker));
    let ends = dog.events_of("exit");
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert_eq!((&ends[0]["signal"], &ends[0]["requested"]), (&"HUP".into(), &true.into()), "{ends:?}");
}

/// A program that does not mind lives on, and its watchdog answers and does not turn in circles over a terminal that takes
/// nothing any more.
#[test]
fn a_program_that_does_not_mind_the_hup_goes_on() {
    let run = Run::quick().flag("--log", "tee");
    let file = run.at("heard");
    let script = format!("trap 'echo hup >> {file}' HUP; echo up; while :; do echo line; sleep 0.01; done");
    let (dog, terminal) = leading(run.flag("--ready", "line:up").program(["sh", "-c", &script]));
    dog.wait_state("running");
    drop(terminal);
    wait_line(&dog.path("heard"), "hup");
    let worker = dog.worker_pid(1);
    let before = procs::cpu_ticks(dog.pid());
    stays("it goes on", Duration::from_millis(1000), || procs::alive(worker) && procs::alive(dog.pid()));
    let used = procs::cpu_ticks(dog.pid()) - before;
    assert!(used < 50, "{used} ticks in a second");
    assert_eq!(dog.status()["state"], "running");
    dog.signal(Signal::SIGTERM);
    let ended = dog.wait().count("spawn", 1);
    assert!(!lines(&ended.run.path("heard")).is_empty());
}
