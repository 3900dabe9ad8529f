//! The section of the README about this SDK is what people paste: it is built and run here as it stands.

mod fake;

use fake::Fake;
use fake::start::{finish, start};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use worker_sdk::wire::{Check, PROTOCOL, ToWatchdog, ToWorker};

const README: &str = include_str!("../../README.md");

/// The block of code behind this mark.
fn block(mark: &str) -> &'static str {
    let after = README.split(&format!("<!-- sdk: {mark}")).nth(1).expect("the mark");
    let code = after.split_once("\n```").and_then(|(_, rest)| rest.split_once('\n')).expect("a block").1;
    code.split("\n```").next().expect("its end")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_path_buf()
}

/// What cargo builds is kept here between runs.
const BUILT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/readme");

/// A folder with the repository as `watchdog` and the pasted project beside it. Not inside the repository, whose workspace
/// would claim it, and always the same, so that what is built stays fresh.
fn paste() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    BUILT.hash(&mut hasher);
    let folder = std::env::temp_dir().join(format!("watchdog-readme-{:x}", hasher.finish()));
    let project = folder.join("my-service");
    fs::create_dir_all(project.join("src")).expect("a folder");
    let watchdog = folder.join("watchdog");
    // Left from an earlier run.
    drop(fs::remove_file(&watchdog));
    symlink(repository(), watchdog).expect("a link");
    fs::write(project.join("Cargo.toml"), block("manifest")).expect("written");
    fs::write(project.join("src/main.rs"), block("program")).expect("written");
    // The versions that were built already: nothing is fetched.
    fs::copy(repository().join("Cargo.lock"), project.join("Cargo.lock")).expect("copied");
    project
}

#[expect(clippy::disallowed_methods, reason = "a test has no reaper")]
fn run(project: &Path, words: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test about itself is not for another cargo.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_")) {
        if name != "CARGO_HOME" {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", BUILT);
    let out = cargo.args(words).args(["--offline", "--quiet"]).current_dir(project).output().expect("cargo runs");
    assert!(out.status.success(), "cargo {words:?}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_pasted_service_builds_and_speaks_with_its_watchdog() {
    let project = paste();
    let commands: Vec<&str> = block("commands").lines().collect();
    let [build, launch] = commands[..] else { panic!("{commands:?}") };
    let build: Vec<&str> = build.split(' ').collect();
    assert_eq!(build[0], "cargo");
    run(&project, &build[1..]);
    let program = launch.strip_prefix("watchdog --ready reported -- ./target/").expect("it is started by a watchdog");
    let (mut fake, child) = start(&format!("{BUILT}/{program}"));
    for message in [
        ToWatchdog::Hello { protocol: PROTOCOL },
        ToWatchdog::Status { text: "getting ready".into() },
        ToWatchdog::Ready,
        ToWatchdog::TakesShutdown,
        ToWatchdog::Beat,
    ] {
        fake.expect(&message);
    }
    answers(&mut fake);
    fake.say(&ToWorker::Shutdown { grace_ms: 5000 });
    fake.expect(&ToWatchdog::Stopping);
    let out = finish(child);
    assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).ends_with("rounds, bye\n"), "{out:?}");
}

fn answers(fake: &mut Fake) {
    fake.say(&ToWorker::Ping { nonce: 6 });
    fake.expect(&ToWatchdog::Pong { nonce: 6 });
    fake.say(&ToWorker::AskHealth);
    let queue = Check { name: "queue".into(), pass: true, message: "empty".into() };
    fake.expect(&ToWatchdog::Health { checks: vec![queue] });
    fake.say(&ToWorker::AskMetrics);
    let Some(ToWatchdog::Metrics { counters, .. }) = fake.hear() else { panic!("no numbers") };
    assert!(counters[0].name == "rounds_total" && counters[0].value > 0, "{counters:?}");
}
