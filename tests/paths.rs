//! Files in directories that others control: what a user places there leads root nowhere, holds up nothing, and is refused
//! before anything is started. What root or we placed there works as ever.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::folder::Folder;
use common::{Ended, Run, can_unshare, is_root, lines, skip, wait_for};
use nix::sys::stat::Mode;
use std::io::BufRead;
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
        // Where all may write, what they have put there.
        for bits in [0o777, 0o1777] {
            let run = captured().no_events();
            let open = run.path("precious");
            std::fs::set_permissions(&open, PermissionsExt::from_mode(bits)).unwrap();
            std::fs::write(open.join("file"), "theirs").unwrap();
            chown(open.join("file"), Some(STRANGER), None).unwrap();
            let says = if setting == "control" { "is not a socket; left alone" } else { "belongs to user 65533" };
            refused(run, setting, &open.join("file"), says);
            if setting != "control" {
                let run = captured().no_events();
                let open = run.path("precious");
                std::fs::set_permissions(&open, PermissionsExt::from_mode(bits)).unwrap();
                std::fs::hard_link(run.path("victim"), open.join("file")).unwrap();
                refused(run, setting, &open.join("file"), "has a second name (a hard link)");
            }
        }
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

/// A kernel without openat2(2), or a filter that refuses it: the same paths are followed and refused, name by name.
#[test]
fn without_openat2_the_same_is_followed_and_refused() {
    for calls in ["openat2", "openat2=EPERM"] {
        let run = Run::once().flag("--log", "capture").refusing(calls);
        std::fs::create_dir(run.path("real")).unwrap();
        symlink("real", run.path("link")).unwrap();
        let log = run.path("link/new/log");
        let ended = run.flag("--log-file", &log).program(["echo", "words"]).run().code(0);
        assert_eq!(ended.lines("real/new/log"), ["words"]);
        if !is_root() {
            return skip("needs root");
        }
        for setting in ["log_file", "events_file", "state", "termination_message", "control"] {
            let run = captured().no_events().refusing(calls);
            let link = their_link(&run, "precious", "theirs/link");
            refused(run, setting, &link.join("file"), "symbolic link of user 65533");
            let run = captured().no_events().refusing(calls);
            let path = run.path("theirs/file");
            refused(run, setting, &path, "its directory belongs to user 65533");
        }
    }
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

/// L2. Failed before: a link was followed, and whatever listened was asked.
#[test]
fn a_client_asks_no_stranger() {
    if !is_root() {
        return skip("needs root");
    }
    let run = beside_a_stranger(Run::quick());
    let dog = run.program(["sleep", "1000"]).spawn();
    dog.event("spawn", 1);
    let ask = |dir: &Path| {
        let mut command = std::process::Command::new(common::watchdog());
        let out =
            command.args(["status"]).env("WATCHDOG_RUNTIME_DIR", dir).env_remove("WATCHDOG_SOCKET").output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert_eq!(ask(&dog.path("run")).0, Some(0));
    let link = their_link(&dog.run, "run", "theirs/link");
    for named in [link.clone(), link.join("")] {
        let (code, said) = ask(&named);
        assert!(code == Some(4) && said.contains("symbolic link, which is not followed"), "{code:?} {said}");
    }
    // A stranger's process at a path of root's, and in a directory where all have theirs.
    let shared = dog.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o1777)).unwrap();
    let socket = shared.join("a.sock");
    let script = "import socket,sys,time\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint('up',flush=True)\ntime.sleep(1000)";
    let mut line = std::process::Command::new("setpriv");
    line.args(["--reuid=65533", "--clear-groups", "/usr/bin/python3", "-c", script]).arg(&socket);
    let Ok(mut server) = line.stdout(std::process::Stdio::piped()).spawn() else { return skip("needs setpriv") };
    let up = std::io::BufReader::new(server.stdout.take().unwrap()).lines().next();
    if up.is_none_or(|line| line.is_err()) {
        let _ = server.kill();
        return skip("needs python3");
    }
    for words in [&["status", "-i"][..], &["stop", "x", "-i"]] {
        let out = std::process::Command::new(common::watchdog()).args(words).arg(&socket).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(4) && said.contains("a process of user 65533 listens there"), "{said}");
    }
    server.kill().unwrap();
    server.wait().unwrap();
    dog.stop();
}

/// L3. Failed before: the token of a stranger's file was taken, and one that all may read only warned of.
#[test]
fn a_token_that_a_stranger_knows_is_refused() {
    if !is_root() {
        return skip("needs root");
    }
    let with = |mode: u32, owner: Option<u32>, says: &str| {
        let run = Run::once().flag("--http", "127.0.0.1:0").no_events();
        let token = run.path("token");
        std::fs::write(&token, "0123456789abcdef0123\n").unwrap();
        std::fs::set_permissions(&token, PermissionsExt::from_mode(mode)).unwrap();
        chown(&token, owner, None).unwrap();
        let started = run.at("started");
        let ended = run.switch(&format!("--http-control={}", token.display())).program(["touch", &started]).run();
        assert!(ended.code == 125 && ended.err.contains(says), "{mode:o}: {}", ended.err);
        assert!(!ended.run.path("started").exists());
    };
    with(0o600, Some(STRANGER), "belongs to user 65533");
    with(0o644, None, "others may read or write the token (mode 644)");
    with(0o602, None, "others may read or write the token (mode 602)");
    with(0o620, None, "others may read or write the token (mode 620)");
    // Its look-alike: of root, for a group that was given it.
    let run = Run::once().flag("--http", "127.0.0.1:0");
    let token = run.path("token");
    std::fs::write(&token, "0123456789abcdef0123\n").unwrap();
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o640)).unwrap();
    let run = run.switch(&format!("--http-control={}", token.display()));
    run.program(["true"]).run().code(0).says("its group may read the token");
}

/// L4. Failed before: whoever held a lock on the directory of the socket stopped the start.
#[test]
fn a_lock_of_a_stranger_stops_no_start() {
    let run = Run::quick();
    let dir = run.path("tmp");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o1777)).unwrap();
    let held = std::fs::File::open(&dir).unwrap();
    let _lock = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    // Also where they have a file of the name of ours.
    if is_root() {
        std::fs::write(dir.join("b.lock"), "").unwrap();
        chown(dir.join("b.lock"), Some(STRANGER), None).unwrap();
    }
    for name in ["a", "b"] {
        let run = Run::quick().flag("--control", dir.join(name)).program(["sleep", "1000"]);
        let dog = run.spawn();
        dog.event("spawn", 1);
        wait_for("the socket", || dir.join(name).exists().then_some(()));
        // A second one is told so, by the socket.
        let second = Run::quick().flag("--control", dir.join(name)).program(["true"]).run().code(125);
        assert!(second.err.contains("is in use by another watchdog"), "{}", second.err);
        dog.stop();
    }
    let left: Vec<String> = names(&dir).into_iter().filter(|n| n != "b.lock").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// L1: lines of events on a full disk are whole or not there; what is lost is counted, and told as soon as it can be.
/// Failed before: half a line was glued to the next, and nothing was said.
#[test]
fn events_on_a_full_disk_are_whole_or_lost_with_a_count() {
    if !is_root() || !can_unshare(&["--mount"]) {
        return skip("needs root and mount namespaces");
    }
    let run = Run::quick().no_events().flag("--restart-delay", "20ms").flag("--restart-limit", "0");
    let run = run.flag("--crash-loop-limit", "0");
    let disk = run.path("disk");
    std::fs::create_dir(&disk).unwrap();
    // What fills it leaves some hundred bytes of the last page, so that a line fits in part.
    let fill = "mount -t tmpfs -o size=64k tmpfs \"$1\" && shift && cp /dev/zero \"$FULL\" 2>/dev/null; truncate -s -4096 \"$FULL\"; exec \"$@\"";
    let disk_text = disk.to_string_lossy().into_owned();
    let run = run.env("FULL", disk.join("full")).under(["unshare", "--mount", "sh", "-c", fill, "sh", &disk_text]);
    let script = "test -e \"$GO\" && rm -f \"$FULL\"; exit 1";
    let go = run.path("go");
    let run = run.env("GO", &go).flag("--events-file", disk.join("events"));
    let dog = run.program(["sh", "-c", script]).spawn();
    dog.wait_err("no space left on device: what cannot be written is lost, and counted");
    std::thread::sleep(std::time::Duration::from_millis(500));
    std::fs::write(&go, "").unwrap();
    dog.wait_err("lines (");
    let inside = PathBuf::from(format!("/proc/{}/root{}", dog.pid(), disk.join("events").display()));
    let told = wait_for("the count among the events", || {
        common::finish::events(&inside).into_iter().find(|e| e["event"] == "log-dropped")
    });
    let all = common::finish::events(&inside);
    assert_eq!(told["stream"], "events_file", "{told}");
    let lost = told["lines"].as_u64().unwrap();
    let numbers: Vec<u64> = all.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    let gap: u64 = numbers.windows(2).map(|w| w[1] - w[0] - 1).sum();
    assert!(lost > 0 && gap == lost, "{lost} were told, {gap} are missing of {numbers:?}");
    dog.stop();
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
