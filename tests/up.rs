//! The services of a file, as people start them: the harness for them, and the least that `up` must do.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Run, procs, victim};

/// Section 9: every service of the file runs, each with its own evidence, and all are gone at the end
#[test]
fn the_services_of_a_file_run_beside_each_other_and_end_together() {
    let (a, b) = (victim(&["sleep"]), victim(&["sleep"]));
    let dog = Run::quick_file(&format!("[service.a]\n{a}\n[service.b]\n{b}\nrequires = [\"a\"]\n")).spawn();
    assert_eq!(dog.wait_ready("a")["state"], "running");
    assert_eq!(dog.wait_ready("b")["state"], "running");
    let pids = [dog.pid_of("a", 1), dog.pid_of("b", 1)];
    assert!(pids.iter().all(|pid| procs::alive(*pid)) && pids[0] != pids[1]);
    let ended = dog.stop().code(0);
    assert_eq!(ended.of("exit").len(), 2, "{}", ended.story());
    assert!(pids.iter().all(|pid| !procs::alive(*pid)));
}
