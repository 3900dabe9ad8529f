//! What a hung worker says before it dies, and that nobody else's SIGABRT is answered.

mod fake;

use fake::Fake;
use fake::start::{example, finish, shell, start};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use worker_sdk::wire::{ToWatchdog, ToWorker};

/// As a watchdog does that finds it hung: the test is the parent of what it starts.
fn ask(child: &Child) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGABRT).expect("it is there");
}

/// Hears until this message has come.
fn hear_until(fake: &mut Fake, message: &ToWatchdog) {
    while fake.hear().expect("still there") != *message {}
}

/// Waits until it says that it hangs.
fn wait_until_hung(child: &mut Child) {
    child.stdout.as_mut().expect("piped").read_exact(&mut [0; 5]).expect("it says so");
}

/// The stacks that come before the end of the channel.
fn stacks(fake: &mut Fake) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    while let Some(message) = fake.hear() {
        if let ToWatchdog::Stack { thread, text } = message {
            assert!(all.insert(thread.clone(), text).is_none(), "{thread} twice");
        }
    }
    all
}

/// The signal that it died of, and what it said on standard error.
fn end(child: Child) -> (Option<i32>, String) {
    let out = finish(child);
    (out.status.signal(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn a_hung_worker_shows_where_each_lane_is_and_dies_of_the_signal() {
    let (mut fake, child) = start(&format!("{} stuck", example("lanes")));
    hear_until(&mut fake, &ToWatchdog::Beat);
    // It has begun; the numbers say when the consumer is stuck.
    loop {
        fake.say(&ToWorker::AskMetrics);
        let Some(message) = fake.hear() else { panic!("gone") };
        if matches!(&message, ToWatchdog::Metrics { counters, .. } if counters[0].value == 4) {
            break;
        }
    }
    ask(&child);
    let all = stacks(&mut fake);
    assert_eq!(all.keys().collect::<Vec<_>>(), ["consumer", "main", "producer"]);
    assert!(all["consumer"].contains("stuck_in_here"), "{}", all["consumer"]);
    assert!(all["producer"].contains("lanes::produce") && all["main"].contains("lanes::main"), "{all:?}");
    let handler = all.values().any(|text| text.contains("worker_sdk::stacks") || text.contains("std::backtrace::"));
    assert!(!handler, "frames of the handler: {all:?}");
    assert_eq!(end(child), (Some(6), String::new()));
}

#[test]
fn a_worker_of_one_loop_shows_its_main_thread() {
    let (mut fake, mut child) = start(&format!("{} hang", example("inherit")));
    wait_until_hung(&mut child);
    ask(&child);
    let all = stacks(&mut fake);
    assert_eq!(all.len(), 1);
    assert!(all["main"].contains("hung_in_here"), "{all:?}");
    assert_eq!(end(child).0, Some(6));
}

#[test]
fn stacks_go_to_standard_error_when_the_watchdog_does_not_read() {
    let (fake, mut child) = start(&format!("{} mute", example("inherit")));
    wait_until_hung(&mut child);
    ask(&child);
    let (signal, said) = end(child);
    assert_eq!(signal, Some(6));
    assert!(said.starts_with("watchdog: stack of main:\n") && said.contains("hung_in_here"), "{said}");
    assert!(said.lines().all(|line| line.starts_with("watchdog: ")), "{said}");
    drop(fake);
}

#[test]
fn an_abort_of_its_own_is_what_it_always_was() {
    let (mut fake, child) = start(&format!("{} abort", example("inherit")));
    assert_eq!(stacks(&mut fake), BTreeMap::new());
    assert_eq!(end(child), (Some(6), String::new()));
}

#[test]
fn an_abort_from_anybody_else_is_not_answered() {
    let (mut fake, child) = start(&example("lanes"));
    hear_until(&mut fake, &ToWatchdog::Beat);
    // The shell is the sender, and not the parent.
    let other = shell(&format!("kill -ABRT {}", child.id()), File::open("/dev/null").expect("null").into());
    assert_eq!(stacks(&mut fake), BTreeMap::new());
    assert_eq!(end(child), (Some(6), String::new()));
    assert!(finish(other).status.success());
}

#[test]
fn without_a_watchdog_there_is_no_handler() {
    let null = File::open("/dev/null").expect("null");
    let mut child = shell(&format!("exec {} hang", example("inherit")), null.into());
    wait_until_hung(&mut child);
    ask(&child);
    assert_eq!(end(child), (Some(6), String::new()));
}

#[test]
fn a_disposition_that_is_not_the_default_is_left_alone() {
    let (mut fake, child) = start(&format!("sh -c 'trap \"\" ABRT; exec {}'", example("lanes")));
    hear_until(&mut fake, &ToWatchdog::Beat);
    ask(&child);
    fake.say(&ToWorker::Ping { nonce: 3 });
    hear_until(&mut fake, &ToWatchdog::Pong { nonce: 3 });
    fake.say(&ToWorker::Shutdown { grace_ms: 5000 });
    assert_eq!(stacks(&mut fake), BTreeMap::new());
    assert_eq!(end(child), (None, String::new()));
}
