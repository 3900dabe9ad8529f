//! Promises that other init programs test in their own suites, in the same form: dumb-init's checks for signals and for
//! rewriting. The code is our own.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, can_unshare, lines, skip, wait_for, wait_line};
use std::path::Path;

const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
const TERM: i32 = 15;
const CONT: i32 = 18;

/// 1 to 31 without KILL, STOP, CHLD and the three stops of a terminal.
fn ordinary() -> Vec<i32> {
    (1..=31).filter(|n| ![9, 17, 19, 20, 21, 22].contains(n)).collect()
}

/// The signals in a victim's log by number, without the READY line.
fn arrived(log: &Path) -> Vec<i32> {
    let names = lines(log).into_iter().skip(1).map(|l| l.split(' ').next().unwrap().to_string());
    names.map(|n| watchdog_engine::signal_number(&n).unwrap_or_else(|| panic!("signal {n:?}"))).collect()
}

fn prints_signals(run: Run) -> Dog {
    let log = run.at("log");
    let dog = run.flag("--stop-timeout", "120s").worker(["signal-log", &log, "--exit-on", "64"]).spawn();
    wait_line(&dog.path("log"), "READY");
    dog
}

/// Each is sent when the one before has arrived.
fn sends(dog: &Dog, sent: &[i32], expected: &[i32]) {
    let log = dog.path("log");
    for (at, number) in sent.iter().enumerate() {
        dog.signal_number(*number);
        wait_for(&format!("signal {number} to arrive"), || (arrived(&log).len() > at).then_some(()));
    }
    assert_eq!(arrived(&log), expected);
}

fn ends(dog: Dog) {
    dog.signal_number(64);
    dog.wait().code(0).count("spawn", 1).count("exit", 1);
}

/// S4. Failed before: 4, 5, 6, 7, 8, 11 and 31 ended the watchdog.
#[test]
fn each_ordinary_signal_arrives() {
    let dog = prints_signals(Run::quick());
    sends(&dog, &ordinary(), &ordinary());
    ends(dog);
}

/// S4, one by one: none of them is seen because of another, and the worker is the same one afterwards.
#[test]
fn each_signal_of_a_fault_arrives_alone_and_ends_nothing() {
    for number in [4, 5, 6, 7, 8, 11, 31] {
        let dog = prints_signals(Run::quick());
        sends(&dog, &[number], &[number]);
        ends(dog);
    }
}

/// S4 in a container's place. Failed before: PID 1 did not hear signals of faults at all.
#[test]
fn each_ordinary_signal_arrives_through_pid_1() {
    if !can_unshare(&["--pid", "--fork", "--mount-proc"]) {
        return skip("no pid namespaces");
    }
    let dog = prints_signals(Run::quick().pid_1());
    sends(&dog, &ordinary(), &ordinary());
    ends(dog);
}

/// S4: a worker that takes no such signal dies of it, and that is told as its end, not ours.
#[test]
fn a_worker_ends_of_the_signal_of_a_fault_that_a_process_sent() {
    for (name, number) in [("ABRT", 6), ("SEGV", 11), ("SYS", 31), ("TRAP", 5)] {
        let dog = Run::once().program(["sleep", "1000"]).spawn();
        dog.event("spawn", 1);
        dog.signal_number(number);
        let ended = dog.wait().code(128 + number);
        assert_eq!(ended.of("exit")[0]["signal"], name);
    }
}

/// Rewriting as dumb-init's checks have it: what is sent, and what arrives.
#[test]
fn signals_are_rewritten() {
    let all: Vec<i32> = vec![TERM, QUIT, CONT, INT];
    let cases: [(&str, &[i32], &[i32]); 5] = [
        ("", &all, &all),
        ("15:2", &all, &[INT, QUIT, CONT, INT]),
        ("15:2,2:15,3:3", &all, &[INT, QUIT, CONT, TERM]),
        ("1:31,31:1", &[HUP, 31], &[31, HUP]),
        ("HUP:SYS,SYS:HUP,TERM:QUIT", &[HUP, 31, TERM], &[31, HUP, QUIT]),
    ];
    for (rewrite, sent, expected) in cases {
        let run = Run::quick();
        let dog = prints_signals(if rewrite.is_empty() { run } else { run.flag("--rewrite-signal", rewrite) });
        sends(&dog, sent, expected);
        ends(dog);
    }
}

/// One that is rewritten to 0 does not arrive; its neighbour does.
#[test]
fn a_signal_that_is_rewritten_to_nothing_does_not_arrive() {
    let dog = prints_signals(Run::quick().flag("--rewrite-signal", "1:0,15:0"));
    for number in [HUP, TERM] {
        dog.signal_number(number);
    }
    sends(&dog, &[QUIT], &[QUIT]);
    ends(dog);
}
