//! What lines of output cost the engine: allocations, counted by the example `many`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Allocations of a whole life in which one worker writes so many lines, which go to the ring and into a file.
fn allocations(lines: u64, folder: &Path) -> u64 {
    let deps = std::env::current_exe().unwrap();
    let example = deps.parent().unwrap().parent().unwrap().join("examples/many");
    let log = folder.join(format!("log-{lines}"));
    let talks = format!(
        "i=0; while [ $i -lt {} ]; do echo one line; i=$((i+1)); done; yes a line | head -n {}; sleep 1000",
        lines / 10,
        lines - lines / 10
    );
    let settings = ["log=capture".to_string(), format!("log_file={}", log.display())];
    let mut many = Command::new(&example);
    many.arg("1").args(settings).args(["--", "sh", "-c", &talks]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut many = many.spawn().unwrap();
    let wanted = lines / 10 * 9 + (lines - lines / 10) * 7;
    let file = folder.join(format!("log-{lines}.0"));
    let until = Instant::now() + Duration::from_secs(60);
    while file.metadata().map_or(0, |m| m.len()) < wanted {
        assert!(Instant::now() < until, "not all lines come");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(file.metadata().unwrap().len(), wanted);
    let pid = nix::unistd::Pid::from_raw(many.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    many.wait().unwrap();
    let mut said = String::new();
    many.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    said.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Failed before: two for each time that something was read, one of them of 64 KiB.
#[test]
fn a_line_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (allocations(10_000, folder.path()), allocations(60_000, folder.path()));
    // What is left is of the start and the end, and of buffers until they have their size.
    assert!(many < few + 500, "{} allocations for 50000 lines", many - few);
}
