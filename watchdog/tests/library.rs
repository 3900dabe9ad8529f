//! The engine as a library: the example is a whole program, and this is what it must show.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_program_that_supervises_two_others_sees_hears_and_commands_them() {
    let deps = std::env::current_exe().unwrap();
    let example = deps.parent().unwrap().parent().unwrap().join("examples/library");
    let mut child = Command::new(&example).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            // Its workers go with it: they have a parent-death signal.
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut out = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut out).unwrap();
    assert_eq!(status.code(), Some(0), "{out}");
    let wanted = [
        "db: accepting connections",
        "api: unblocked (starting)",
        "api: hello",
        "-- api is ready\n",
        "-- api is ready again\n",
        "-- api is waiting for db\n",
        "-- api is back\n",
        "db: stopped (stopped)",
        "over: ",
    ];
    for part in wanted {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    let place = |part: &str| out.rfind(part).unwrap();
    assert!(place("api: stopped") < place("db: stopped"), "in reverse order: {out}");
}
