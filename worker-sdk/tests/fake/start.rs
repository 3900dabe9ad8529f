//! Programs as a watchdog would start them.

use super::{Fake, PATIENCE};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// An example of this package, built by the same `cargo test`.
pub(crate) fn example(name: &str) -> String {
    let mut path = std::env::current_exe().expect("a path").ancestors().nth(2).map(PathBuf::from).expect("target");
    path.push(format!("examples/{name}"));
    assert!(path.exists(), "{} is not built: cargo build --package worker-sdk --examples", path.display());
    path.to_string_lossy().into_owned()
}

/// Starts a command with descriptor 7 as its channel. std hands over standard input only, so a shell moves it there.
pub(crate) fn start(command: &str) -> (Fake, Child) {
    let (fake, theirs) = Fake::new();
    let script = format!("exec 7<&0 </dev/null; WATCHDOG_CHANNEL=7; export WATCHDOG_CHANNEL; exec {command}");
    (fake, shell(&script, theirs.into()))
}

/// Runs a shell with these words and this standard input; its output can be read.
#[expect(clippy::disallowed_methods, reason = "a test has no reaper")]
pub(crate) fn shell(script: &str, input: OwnedFd) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell")
}

/// How it ends, and what it has said. One that does not end is killed, and the test fails.
pub(crate) fn finish(mut child: Child) -> Output {
    let pause = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if child.try_wait().expect("it can be asked").is_some() {
            return child.wait_with_output().expect("it has ended");
        }
        thread::park_timeout(pause);
    }
    child.kill().expect("it can be killed");
    panic!("it does not end: {:?}", child.wait_with_output());
}
