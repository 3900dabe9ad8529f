//! Files in directories that others control: what a user places there leads root nowhere, holds up nothing, and is refused
//! before anything is started. What root or we placed there works as ever.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::folder::Folder;
use common::{Ended, Run, can_unshare, is_root, lines, skip, wait_for};
use nix::sys::stat::Mode;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

/// A user without any relation to the watchdog.
const STRANGER: u32 = 65533;

/// A run whose folder has a directory of the stranger's, `theirs`, and a file of root's that must not change, `victim`.
fn beside_a_stranger(run: Run) -> Run {
    let theirs = run.path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(STRANGER), Some(STRANGER)).unwrap();
    std::fs::write(run.path("victim"), "precious").unwrap();
    std::fs::create_dir(run.path("precious")).unwrap();
    run
}

/// Their link to this target.
fn their_link(run: &Run, target: &str, name: &str) -> PathBuf {
    let link = run.path(name);
    symlink(run.path(target), &link).unwrap();
    lchown(&link, Some(STRANGER), Some(STRANGER)).unwrap();
    link
}

/// All names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let mut all: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// Refused before anything was started, with nothing changed and nothing left.
#[track_caller]
fn refused(run: Run, setting: &str, path: &Path, says: &str) -> Ended {
    let (dir, started) = (run.dir.path().to_owned(), run.path("started"));
    let flag = format!("--{}", setting.replace('_', "-"));
    let run = run.flag(&flag, path).program(["touch", &started.to_string_lossy()]);
    let before = names(&dir);
    let inside = |name: &str| names(&dir.join(name));
    let (theirs, precious) = (inside("theirs"), inside("precious"));
    let ended = run.run().before(20_000).code(125);
    assert!(ended.err.contains(setting) && ended.err.contains(says), "{setting}: {says:?} is not in {:?}", ended.err);
    assert!(!started.exists(), "{setting}: started");
    assert_eq!(std::fs::read_to_string(dir.join("victim")).unwrap(), "precious", "{setting}");
    let after: Vec<String> = names(&dir).into_iter().filter(|n| !["out", "err", "run"].contains(&n.as_str())).collect();
    assert_eq!(after, before, "{setting}: left behind");
    assert_eq!((inside("theirs"), inside("precious")), (theirs, precious), "{setting}: left behind");
    ended
}

fn captured() -> Run {
    beside_a_stranger(Run::once().flag("--log", "capture"))
}

/// H6. Failed before: `termination_message` and `state` followed the link, parents were followed in every one of them.
#[test]
fn links_of_a_stranger_lead_nowhere() {
    if !is_root() {
        return skip("needs root");
    }
    for setting in ["log_file", "log_file_stderr", "events_file", "state", "termination_message", "control"] {
        let run = captured().no_events();
        let link = their_link(&run, "precious", "link");
        refused(run, setting, &link.join("file"), "symbolic link of user 65533");
        let run = captured().no_events();
        let link = their_link(&run, "precious", "theirs/link");
        refused(run, setting, &link.join("file"), "symbolic link of user 65533");
    }
    for setting in ["log_file", "log_file_stderr", "events_file", "termination_message", "state"] {
        let run = captured().no_events();
        let link = their_link(&run, "victim", "theirs/link");
        refused(run, setting, &link, "");
        let run = captured().no_events();
        let link = their_link(&run, "victim", "link");
        refused(run, setting, &link, "symbolic link");
    }
}

/// H6. Failed before: all of them were made in a directory of the stranger's, who could exchange them at any time.
#[test]
fn directories_that_a_stranger_controls_are_refused() {
    if !is_root() {
        return skip("needs root");
    }
    for setting in ["log_file", "events_file", "state", "termination_message", "control"] {
        let run = captured().no_events();
        let path = run.path("theirs/file");
        refused(run, setting, &path, "its directory belongs to user 65533");
        let run = captured().no_events();
        let open = run.path("precious");
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        refused(run, setting, &open.join("file"), "others may write to its directory (mode 777)");
    }
    let run = captured().no_events();
    let path = run.path("theirs/new/file");
    refused(run, "log_file", &path, "its directory belongs to user 65533");
    // The token of the page.
    let run = captured().no_events().flag("--http", "127.0.0.1:0");
    let path = run.path("theirs/token");
    let ended = run.switch(&format!("--http-control={}", path.display())).program(["true"]).run().code(125);
    assert!(ended.err.contains("its directory belongs to user 65533") && !path.exists(), "{}", ended.err);
}

/// H6. Failed before: `state.new` was written through the link, and a FIFO at `state` held up the start for ever.
#[test]
fn a_state_file_is_neither_a_pipe_nor_written_through_a_link() {
    let run = Run::once();
    let fifo = run.path("state.json");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let ended = run.flag("--state", &fifo).program(["true"]).run().before(20_000).code(125);
    assert!(ended.err.contains("state.json: is a FIFO, not a file"), "{}", ended.err);

    let run = Run::quick_file("[service.a]\ncommand = [\"sleep\", \"1000\"]\n");
    let (state, victim) = (run.path("wishes"), run.path("victim"));
    std::fs::write(&victim, "precious").unwrap();
    symlink(&victim, run.path("wishes.new")).unwrap();
    let dog = run.flag("--state", &state).spawn();
    dog.wait_ready("a");
    dog.verb(&["stop", "a"]).code(0);
    assert!(std::fs::read_to_string(&state).unwrap().contains("\"a\":\"down\""));
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(state.metadata().unwrap().mode() & 0o777, 0o600);
    dog.stop().code(0);
}

/// The look-alike of all that: links of root's or ours in directories that only root and we may write to are as good as the
/// directory, and a directory like /tmp is one for files of ours.
#[test]
fn our_own_links_and_directories_work() {
    let run = Run::once().flag("--log", "capture").no_events();
    std::fs::create_dir(run.path("real")).unwrap();
    symlink("real", run.path("link")).unwrap();
    std::fs::create_dir(run.path("tmp")).unwrap();
    std::fs::set_permissions(run.path("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    symlink("real/message", run.path("message")).unwrap();
    let (log, events, state) = (run.path("link/log"), run.path("tmp/events"), run.path("link/../link/state"));
    let message = run.path("message");
    let run = run.flag("--log-file", &log).flag("--events-file", &events).flag("--state", &state);
    let run = run.flag("--termination-message", &message).flag("--control", run_path(&log, "../tmp/sock"));
    let ended = run.program(["sh", "-c", "echo words; exit 3"]).run().code(3);
    assert_eq!(lines(&ended.run.path("real/log")), ["words"]);
    assert!(lines(&ended.run.path("tmp/events")).len() > 2 && ended.run.path("real/message").exists());
}

fn run_path(beside: &Path, name: &str) -> PathBuf {
    beside.parent().unwrap().parent().unwrap().join(name.trim_start_matches("../"))
}

/// The message of a container: a file of root's that is mounted in a directory of root's, which all may write to.
#[test]
fn the_message_of_a_container_is_written_to_the_mounted_file() {
    if !is_root() || !can_unshare(&["--mount"]) {
        return skip("needs root and mount namespaces");
    }
    let run = Run::once();
    let (kept, place) = (run.path("kept"), run.path("termination-log"));
    std::fs::write(&kept, "").unwrap();
    std::fs::set_permissions(&kept, PermissionsExt::from_mode(0o666)).unwrap();
    std::fs::write(&place, "").unwrap();
    let mount = format!("mount --bind '{}' '{}' && exec \"$@\"", kept.display(), place.display());
    let run = run.under(["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    let ended = run.flag("--termination-message", &place).worker(["exit", "6"]).run().code(6);
    assert!(std::fs::read_to_string(&kept).unwrap().contains("exit status 6"), "{}", ended.err);
}

/// users.md, supervisord.conf: directories of log files are made, and those of nothing else. Failed before: refused.
#[test]
fn directories_of_log_files_are_made() {
    let run = Run::once().flag("--log", "capture");
    let (log, err) = (run.path("a/b/log"), run.path("c/err"));
    let run = run.flag("--log-file", &log).flag("--log-file-stderr", &err);
    let ended = run.program(["sh", "-c", "echo out; echo err >&2"]).run().code(0);
    assert_eq!((ended.lines("a/b/log"), ended.lines("c/err")), (vec!["out".to_string()], vec!["err".to_string()]));
    let made = ended.run.path("a").metadata().unwrap();
    assert_eq!((made.uid(), made.mode() & 0o022), (nix::unistd::geteuid().as_raw(), 0));
}

/// Nothing of a refused start is left, wherever it is refused. Failed before: empty files of output and the control socket were.
#[test]
fn a_refused_start_leaves_nothing() {
    let sleeps = "command = [\"sleep\", \"1000\"]\n";
    let fifo = format!("[service.a]\n{sleeps}log_file = \"new/a.log\"\n[service.b]\n{sleeps}log_file = \"fifo\"\n");
    let socket = format!("[watchdog]\ncontrol = \"fifo\"\n[service.a]\n{sleeps}log_file = \"new/a.log\"\n");
    let token = format!(
        "[watchdog]\ncontrol = \"sock\"\nhttp = \"unix:http\"\nhttp_control = \"fifo\"\n[service.a]\n{sleeps}log_file = \"new/a.log\"\n"
    );
    for text in [&fifo, &socket, &token] {
        let run = Run::quick_file(text);
        nix::unistd::mkfifo(&run.path("fifo"), Mode::S_IRWXU).unwrap();
        let ended = run.run().code(125);
        let left: Vec<String> = names(ended.run.dir.path())
            .into_iter()
            .filter(|n| !["out", "err", "run", "state"].contains(&n.as_str()))
            .collect();
        assert_eq!(left, ["fifo", "watchdog.toml"], "{}", ended.err);
    }
}

/// `log_file_stderr`: a file of its own, alone or beside `log_file`, with the rotation of the other one.
#[test]
fn stderr_has_a_file_of_its_own_where_one_is_named() {
    let run = Run::once().flag("--log", "capture");
    let err = run.path("err.log");
    let ended = run.flag("--log-file-stderr", &err).program(["sh", "-c", "echo out; echo err >&2"]).run().code(0);
    assert_eq!(ended.lines("err.log"), ["err"]);
    let run = Run::once().flag("--log", "capture").flag("--log-max-size", "4KiB").flag("--log-keep", "2");
    let (out, err) = (run.path("out.log"), run.path("err.log"));
    let much = "i=0; while [ $i -lt 400 ]; do echo \"line $i of many that fill it\" >&2; i=$((i+1)); done; echo out";
    let run = run.flag("--log-file", &out).flag("--log-file-stderr", &err);
    let ended = run.program(["sh", "-c", much]).run().code(0);
    assert_eq!(ended.lines("out.log"), ["out"]);
    let names = names(ended.run.dir.path());
    assert!(
        names.iter().any(|n| n.starts_with("err.log.2")) && !names.iter().any(|n| n.starts_with("out.log.")),
        "{names:?}"
    );
    // Needs output that passes through us, as log_file does.
    let ended = Run::once().flag("--log-file-stderr", "x").program(["true"]).run().code(2);
    assert!(ended.err.contains("log_file_stderr needs output that passes through the watchdog"), "{}", ended.err);
}

/// bugs.md 27. Failed before: accepted, and lines were lost at each rotation.
#[test]
fn one_file_under_two_spellings_is_refused() {
    let two = |one: &str, other: &str| {
        let log = |name: &str, value: &str| format!("[service.{name}]\ncommand = [\"touch\", \"ran\"]\n{value}\n");
        log("a", one) + &log("b", other)
    };
    let with = |text: &str| {
        let folder = Folder::with(&text.replace("$DIR", ".")).file("sub/x", "").file("there.log", "");
        symlink("sub", folder.path("link")).unwrap();
        std::fs::hard_link(folder.path("there.log"), folder.path("second.log")).unwrap();
        let absolute = folder.path("x.log");
        folder.file("watchdog.toml", text.replace("$DIR", &absolute.parent().unwrap().to_string_lossy()))
    };
    for (one, other, key) in [
        ("log_file = \"x.log\"", "log_file = \"./x.log\"", "log_file"),
        ("log_file = \"x.log\"", "log_file = \"$DIR/x.log\"", "log_file"),
        ("log_file = \"sub/y.log\"", "log_file = \"link/y.log\"", "log_file"),
        ("log_file = \"there.log\"", "log_file = \"second.log\"", "log_file"),
        ("log_file = \"x.log\"", "log_file_stderr = \"sub/../x.log\"", "log_file_stderr"),
        ("log_file_stderr = \"new/x\"", "log_file = \"./new/x\"", "log_file"),
        ("log_file = \"x@1.log\"", "log_file = \"./x.log\"\nreplicas = 2", "log_file"),
    ] {
        with(&two(one, other)).refused(&[&format!("service.b.{key}: a writes to the same file")]);
    }
    let rotated = two("log_file = \"x.log\"", "log_file = \"./x.log.3\"");
    with(&rotated).refused(&["service.b.log_file: a keeps a rotated file there"]);
    let events = "[watchdog]\nevents_file = \"sub/events\"\n";
    let text = format!("{events}{}", two("log_file = \"link/events\"", ""));
    with(&text).refused(&["service.a.log_file: events_file writes to the same file"]);
    let text = format!("{events}state = \"./link/events\"\n{}", two("", ""));
    with(&text).refused(&["watchdog.state: events_file writes to the same file"]);
    let own = two("log_file = \"x.log\"\nlog_file_stderr = \"./x.log\"", "");
    with(&own).refused(&["service.a.log_file_stderr: a writes to the same file"]);
    // Their look-alikes.
    with(&two("log_file = \"sub/x.log\"", "log_file = \"x.log\"")).valid();
    with(&two("log_file = \"x.log\"", "log_file = \"x.log.11\"")).valid();
    with(&two("log_file = \"x.log\"", "log_file = \"x.log\"\nenabled = false")).valid();
    let run = Run::once().flag("--log", "capture").flag("--log-file", "x").flag("--log-file-stderr", "./x");
    let ended = run.program(["true"]).run().code(2);
    assert!(ended.err.contains("log_file_stderr: log_file writes to the same file"), "{}", ended.err);
}

/// An env_file in the home of a service's user: read as theirs, with a warning, but through no link of theirs: what it leads to
/// would become theirs to read. Failed before: followed, and no warning but for a file that everybody may write to.
#[test]
fn an_env_file_of_a_stranger_is_theirs_and_nothing_else() {
    if !is_root() {
        return skip("needs root");
    }
    let shows = ["sh", "-c", "echo $SECRET"];
    let run = beside_a_stranger(Run::once());
    let file = run.path("theirs/env");
    std::fs::write(&file, "SECRET=theirs\n").unwrap();
    chown(&file, Some(STRANGER), None).unwrap();
    let ended = run.flag("--env-file", &file).program(shows).run().code(0);
    assert_eq!(ended.out, "theirs\n");
    assert_eq!(ended.err.matches("it belongs to user 65533, and so decide").count(), 1, "{}", ended.err);
    let run = beside_a_stranger(Run::once());
    std::fs::write(run.path("precious/env"), "SECRET=of another\n").unwrap();
    let link = their_link(&run, "precious/env", "theirs/env");
    let ended = run.flag("--env-file", &link).program(shows).run().code(125);
    assert!(ended.err.contains("symbolic link of user 65533") && ended.out.is_empty(), "{}", ended.story());
    let run = beside_a_stranger(Run::once());
    let fifo = run.path("theirs/env");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    Run::once().flag("--env-file", &fifo).program(shows).run().before(20_000).code(125).says("FIFO");
    drop(run);
}

/// CFG-09: a file of services, a drop-in and a list of variables that are pipes hold up nothing.
#[test]
fn pipes_in_the_place_of_settings_hold_up_nothing() {
    let folder = Folder::with("[service.a]\ncommand = [\"touch\", \"ran\"]\n").file("watchdog.d/b.toml", "");
    std::fs::remove_file(folder.path("watchdog.d/b.toml")).unwrap();
    nix::unistd::mkfifo(&folder.path("watchdog.d/b.toml"), Mode::S_IRWXU).unwrap();
    folder.refused(&["b.toml: is a FIFO or socket, not a file"]);
    let folder = Folder::empty();
    nix::unistd::mkfifo(&folder.path("watchdog.toml"), Mode::S_IRWXU).unwrap();
    folder.refused(&["is a FIFO or socket, not a file"]);
    // The program itself, whose first line is looked at for its language.
    let run = Run::once().flag("--heartbeat", "auto");
    let fifo = run.path("program");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    run.program([&fifo]).run().before(20_000).code(126);
}

/// A file of output that a stranger puts into the place of ours, in a directory where others may write: neither followed nor
/// written to; what comes meanwhile is lost with a count, and the program goes on.
#[test]
fn a_file_of_output_that_was_exchanged_is_not_written_to() {
    if !is_root() {
        return skip("needs root");
    }
    let run = beside_a_stranger(Run::quick().flag("--log", "capture"));
    let shared = run.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o1777)).unwrap();
    let log = shared.join("log");
    let talks = "while :; do echo words; sleep 0.1; done";
    let dog = run.flag("--log-file", &log).program(["sh", "-c", talks]).spawn();
    wait_for("a line", || lines(&log).first().cloned());
    std::fs::remove_file(&log).unwrap();
    symlink(dog.path("victim"), &log).unwrap();
    lchown(&log, Some(STRANGER), Some(STRANGER)).unwrap();
    dog.wait_err("symbolic link, which is not followed: what comes is lost");
    std::fs::remove_file(&log).unwrap();
    std::fs::write(&log, "").unwrap();
    chown(&log, Some(STRANGER), Some(STRANGER)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "", "the stranger's own file");
    std::fs::remove_file(&log).unwrap();
    wait_for("a file of ours again", || lines(&log).first().cloned());
    dog.event("log-dropped", 1);
    assert_eq!(std::fs::read_to_string(dog.path("victim")).unwrap(), "precious");
    dog.stop();
}
