//! `termination_message`: why it is over, for whoever looks at a container afterwards. Written where the end is a failure,
//! and at no other end.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::SLEEPS;
use common::folder::Folder;
use common::{Ended, Run, is_root, wait_for};
use nix::sys::signal::Signal;

/// With a file for the message in its folder.
fn with_message(run: Run) -> Run {
    let path = run.at("message");
    run.flag("--termination-message", path)
}

fn message(ended: &Ended) -> String {
    std::fs::read_to_string(ended.run.path("message")).unwrap_or_default()
}

const GIVES_UP: &str = "echo first of $$; echo last words >&2; exit 3";

#[test]
fn giving_up_leaves_the_reason_the_rule_and_the_last_lines() {
    let run = with_message(Run::quick()).flag("--restart-limit", "1").flag("--log", "capture");
    let dir = run.at("reports");
    let ended = run.flag("--report-dir", dir).flag("--name", "web").program(["sh", "-c", GIVES_UP]).run().code(3);
    let text = message(&ended);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("web failed: exited with code 3 after "), "{text}");
    assert!(lines[0].contains("gave up: 1 consecutive restarts (restart_limit 1)"), "{text}");
    assert!(lines[0].ends_with("-web-2)") && lines[0].contains("(report "), "{text}");
    assert_eq!(&lines[1..3], ["watchdog: exit status 3", "last lines of web:"], "{text}");
    assert_eq!(lines[3..].iter().filter(|l| **l == "last words").count(), 2, "of both lives: {text}");
    assert!(lines.last().unwrap() == &"last words" || lines.last().unwrap().starts_with("first of"), "{text}");
}

#[test]
fn an_end_that_was_no_failure_leaves_nothing() {
    let ended = with_message(Run::once()).worker(["exit", "0"]).run().code(0);
    assert!(!ended.run.path("message").exists());
    // Asked for: 143 is a status, and no failure.
    let dog = with_message(Run::quick()).program(["sleep", "1000"]).spawn();
    dog.worker_pid(1);
    let ended = dog.stop().code(143);
    assert!(!ended.run.path("message").exists());
    let dog = with_message(Run::quick_file(&format!("[service.a]\n{SLEEPS}"))).spawn();
    dog.wait_ready("a");
    dog.signal(Signal::SIGTERM);
    let ended = dog.wait().code(0);
    assert!(!ended.run.path("message").exists());
}

#[test]
fn it_is_never_longer_than_what_is_read_of_it() {
    let floods = "i=0; while [ $i -lt 500 ]; do echo \"line $i of a long story, with an ä in it\"; i=$((i+1)); done; \
                  head -c 20000 /dev/zero | tr '\\0' x; echo; printf '\\033[31mred\\007\\n'; exit 5";
    let run = with_message(Run::once()).flag("--log", "capture").program(["sh", "-c", floods]);
    let ended = run.run().code(5);
    let text = message(&ended);
    assert!((2000..=4096).contains(&text.len()), "{}: {text}", text.len());
    assert!(text.ends_with("\n [31mred \n"), "the newest line, as text: {text:?}");
    assert!(text.contains("line 499 ") && !text.contains("line 1 "), "{text}");
}

#[test]
fn output_that_did_not_pass_through_is_said_to_be_missing() {
    let ended = with_message(Run::once()).worker(["exit", "4"]).run().code(4);
    let text = message(&ended);
    assert!(
        text.ends_with("watchdog: exit status 4\nits output did not pass through the watchdog (log = inherit)\n"),
        "{text}"
    );
}

#[test]
fn a_program_that_is_not_there_and_a_watchdog_that_cannot_begin_are_failures_too() {
    let ended = with_message(Run::once()).program(["/no/such/program"]).run().code(127);
    assert!(
        message(&ended).starts_with("program failed: exec \"/no/such/program\" failed: ENOENT"),
        "{}",
        message(&ended)
    );
    assert!(message(&ended).ends_with("watchdog: exit status 127\n"), "{}", message(&ended));
    let run = with_message(Run::once());
    let nowhere = run.at("no/such/folder/control");
    let ended = run.flag("--control", nowhere).worker(["exit", "0"]).run().code(125);
    assert!(
        message(&ended).starts_with("watchdog: ") && message(&ended).contains("no/such/folder"),
        "{}",
        message(&ended)
    );
}

/// A defect of the watchdog itself ends it like any other failure; asked for by a file that only a debug build looks at.
#[test]
fn a_panic_of_the_watchdog_leaves_its_line() {
    let run = with_message(Run::quick()).leaves_alive();
    let now = run.at("now");
    let dog = run.env("WATCHDOG_DEBUG_PANIC", &now).program(["sleep", "1000"]).spawn();
    dog.worker_pid(1);
    std::fs::write(&now, "").unwrap();
    // Any turn of the loop.
    dog.signal(Signal::SIGWINCH);
    wait_for("the message", || dog.path("message").exists().then_some(()));
    let text = wait_for("its line", || std::fs::read_to_string(dog.path("message")).ok().filter(|t| t.ends_with('\n')));
    assert!(text.starts_with("watchdog: internal error") && text.contains("WATCHDOG_DEBUG_PANIC"), "{text}");
}

#[test]
fn of_many_services_those_that_failed_are_named() {
    let text = format!(
        "[watchdog]\ntermination_message = \"message\"\n[service.a]\n{SLEEPS}[service.b]\n\
         command = [\"sh\", \"-c\", \"echo b is lost; exit 78\"]\ngive_up = \"stop-all\"\n"
    );
    let ended = Run::quick_file(&text).run().code(78);
    let text = message(&ended);
    assert!(text.starts_with("b failed: exited with code 78"), "{text}");
    assert!(
        text.contains("watchdog: exit status 78\nlast lines of b:\nb is lost\n") && !text.contains("a stopped"),
        "{text}"
    );
}

#[test]
fn who_was_not_ready_in_time_is_named_with_the_reason_of_then() {
    let never = "ready = \"reported\"\n";
    let folder = Folder::with(&format!("[service.a]\n{SLEEPS}[service.b]\n{SLEEPS}{never}"));
    let line = ["run-until-ready", "--timeout", "300ms", "--termination-message", "message"];
    let said = folder.verb(&line);
    assert_eq!(said.code, 1, "{said:?}");
    let text = std::fs::read_to_string(folder.path("message")).unwrap();
    assert!(text.starts_with("b was not ready: ") && text.contains("\nwatchdog: exit status 1\n"), "{text}");
    assert!(!text.contains("a "), "a was ready: {text}");
}

#[test]
fn a_place_that_takes_no_message_changes_nothing_else() {
    let run = Run::once();
    let fifo = run.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ended = run.flag("--termination-message", &fifo).worker(["exit", "6"]).run().code(6);
    // Nobody reads the pipe: it is said, and not waited for.
    ended.says("termination_message").before(20_000);
    if is_root() {
        Run::once()
            .flag("--termination-message", "/dev/full")
            .worker(["exit", "6"])
            .run()
            .code(6)
            .says("no space left");
    }
    let wrong = "[watchdog]\ntermination_message = \"no/such/message\"\n[service.a]\ncommand = [\"touch\", \"ran\"]\n";
    Folder::with(wrong).refused(&["watchdog.termination_message: no/such/message: there is no directory no/such"]);
}
