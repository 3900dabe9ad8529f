//! What others can hold up on the way to an exec holds up nothing of the watchdog (attack M1).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::SLEEPS;
use common::{Dog, Run, is_root, skip, wait_for, wait_line, worker};
use std::process::{Child, Command};

/// A user that no other test has.
fn user(n: u32) -> u32 {
    55_000 + (std::process::id() % 1000) * 4 + n
}

/// A process of this user that stops every process of it, until it is dropped.
struct Freezer(Child);

impl Freezer {
    fn begin(run: &Run, uid: u32) -> Freezer {
        let file = run.at("freezer");
        let mut command = Command::new(worker());
        let child = command.args(["freeze", &uid.to_string(), &file]).env("WDTEST", run.mark()).spawn().unwrap();
        wait_line(&run.path("freezer"), "freezing");
        Freezer(child)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service whose exec takes long enough to be met: its program is in the last of thousands of directories.
fn slow_exec(uid: u32, more: &str) -> String {
    let path: String = (0..6000).map(|n| format!("/no/such/dir{n}:")).collect();
    format!("[service.frozen]\nuser = \"{uid}\"\nenv = {{ PATH = \"{path}/usr/bin:/bin\" }}\n{SLEEPS}{more}")
}

fn answers(dog: &Dog) {
    assert_eq!(dog.verb(&["status"]).code(0).code, 0);
}

/// M1. Failed before: from setresuid on the child may be stopped by its own user, and the loop stood still until the exec:
/// `status` was never answered, and no other service was started.
#[test]
fn a_user_that_stops_its_own_spawn_stops_nothing_else() {
    if !is_root() {
        return skip("needs root to start a service of another user");
    }
    let uid = user(0);
    let others = format!("[service.other]\n{SLEEPS}[service.later]\n{SLEEPS}after = [\"other\"]\n");
    let run = Run::quick_file(&format!("{}{others}", slow_exec(uid, ""))).flag("--restart-limit", "0");
    let freezer = Freezer::begin(&run, uid);
    let dog = run.spawn();
    dog.wait_ready("other");
    dog.wait_ready("later");
    answers(&dog);
    // Either it was stopped before its exec, which ends with its time, or its program was stopped afterwards.
    let stopped = |pid: i32| common::procs::state(pid) == Some('T');
    wait_for("an exec that does not come, or a program that is stopped", || {
        let failed = dog.events_for("frozen", "spawn-failed").into_iter().next();
        let runs = dog.events_for("frozen", "spawn").iter().any(|e| stopped(e["pid"].as_i64().unwrap() as i32));
        failed.map(|e| assert_eq!(e["errno"], "ETIMEDOUT", "{e}")).or(runs.then_some(()))
    });
    answers(&dog);
    drop(freezer);
    dog.stop().code(0);
}

/// M1. The watchdog ends while a spawn of its is stopped: the stop does not wait for the exec.
#[test]
fn a_stop_does_not_wait_for_a_spawn_that_is_held_up() {
    let Some(run) = hung(|dir| format!("[service.hung]\ncwd = \"{dir}\"\n{SLEEPS}")) else { return };
    let dog = run.spawn();
    dog.wait_service_state("hung", "starting");
    answers(&dog);
    let ended = dog.stop().code(0).count("spawn", 0);
    ended.before(9000);
}

/// A file of services in a place with a directory that never answers; `None` where no such directory can be made.
fn hung(text: impl FnOnce(&str) -> String) -> Option<Run> {
    if !is_root() {
        skip("needs root to mount a file system");
        return None;
    }
    let run = Run::quick_file("");
    let dir = run.at("hung");
    std::fs::create_dir(&dir).unwrap();
    let tried = Command::new(worker()).args(["hung-dir", &dir, "--", "true"]).status().unwrap();
    if tried.code() == Some(77) {
        // A container without /dev/fuse: there the fork is tested by the user that stops its spawn.
        println!("SKIPPED: no FUSE here");
        return None;
    }
    run.write_file(&text(&dir));
    let line = [&*worker().to_string_lossy(), "hung-dir", &dir, "--"].map(String::from);
    Some(run.flag("--restart-limit", "0").under(line))
}

/// M1. Failed before: the loop stood still in the chdir of the child.
#[test]
fn a_working_directory_that_does_not_answer_holds_up_its_service_alone() {
    let text = |dir: &str| format!("[service.hung]\ncwd = \"{dir}\"\n{SLEEPS}[service.other]\n{SLEEPS}");
    let Some(run) = hung(text) else { return };
    let dog = run.spawn();
    dog.wait_ready("other");
    answers(&dog);
    let failed = dog.event_for("hung", "spawn-failed", 1);
    assert_eq!((&failed["step"], &failed["errno"]), (&"chdir".into(), &"ETIMEDOUT".into()), "{failed}");
    assert!(failed["path"].as_str().unwrap().ends_with("/hung"), "{failed}");
    // It may answer later: that is tried again.
    dog.event_for("hung", "restart-scheduled", 1);
    answers(&dog);
    dog.stop().code(0);
}

/// M1. Failed before: the loop stood still in its look for the file.
#[test]
fn a_file_that_a_start_waits_for_may_be_where_nothing_answers() {
    let text =
        |dir: &str| format!("[service.waits]\nwait_for_file = \"{dir}/file\"\n{SLEEPS}[service.other]\n{SLEEPS}");
    let Some(run) = hung(text) else { return };
    let dog = run.spawn();
    dog.wait_ready("other");
    answers(&dog);
    assert_eq!(dog.service("waits")["state"], "waiting");
    dog.stop().code(0);
}

/// The look-alike: a file that comes is seen, also one that is a pipe, which is never opened.
#[test]
fn a_file_that_comes_is_seen_whatever_it_is() {
    let dog = Run::quick_file(&format!("[service.a]\nwait_for_file = \"pipe\"\n{SLEEPS}")).spawn();
    dog.wait_service_state("a", "waiting");
    nix::unistd::mkfifo(&dog.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    dog.wait_ready("a");
    dog.stop().code(0);
}

/// The commands of probes run as the service's user too: one that is stopped before its exec is killed at its timeout.
/// Failed before: the loop stood still.
#[test]
fn the_command_of_a_probe_that_is_stopped_by_its_user_ends_at_its_timeout() {
    if !is_root() {
        return skip("needs root to start a service of another user");
    }
    let uid = user(1);
    let probe = "[[service.frozen.probe]]\ncheck = \"exec:true\"\ntimeout = \"1s\"\nstart_period = \"0s\"\n";
    let text = format!("{}[service.other]\n{SLEEPS}", slow_exec(uid, probe));
    let run = Run::quick_file(&text);
    let dog = run.spawn();
    dog.event_for("frozen", "spawn", 1);
    let freezer = Freezer::begin(&dog.run, uid);
    dog.event_for("frozen", "probe", 1);
    answers(&dog);
    drop(freezer);
    dog.stop().code(0);
}
