//! A watchdog that does not answer (stopped, stuck): every client verb ends by itself and says so (report 59); and a reader
//! that has gone ends what follows (report 16).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::control::finish;
use common::{Dog, Run, lines, wait_for, wait_line, watchdog};
use nix::sys::signal::Signal;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

fn sleeper(run: Run) -> Dog {
    let dog = run.program(["sleep", "1000"]).spawn();
    dog.event("spawn", 1);
    dog
}

/// Stopped for as long as this lives.
struct Stopped<'a>(&'a Dog);

impl<'a> Stopped<'a> {
    fn new(dog: &'a Dog) -> Stopped<'a> {
        dog.signal(Signal::SIGSTOP);
        wait_for("the watchdog to stand still", || (common::procs::state(dog.pid()) == Some('T')).then_some(()));
        Stopped(dog)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

/// Failed before: `stop`, `restart`, `wait`, `start` without a timeout and what follows waited for ever.
#[test]
fn every_verb_ends_by_itself_against_a_watchdog_that_stands_still() {
    let dog = sleeper(Run::quick().flag("--name", "shop"));
    let stopped = Stopped::new(&dog);
    let verbs: [&[&str]; 21] = [
        &["status"],
        &["status", "shop"],
        &["start", "shop"],
        &["start", "--timeout", "1s", "shop"],
        &["stop", "shop"],
        &["restart", "shop"],
        &["signal", "HUP", "shop"],
        &["tell", "shop", "word"],
        &["reload"],
        &["tree"],
        &["events"],
        &["events", "-f"],
        &["logs"],
        &["logs", "-f", "shop"],
        &["explain"],
        &["report", "list"],
        &["health"],
        &["wait", "shop", "--for", "stopped"],
        &["wait", "shop", "--for", "stopped", "--timeout", "1s"],
        &["shutdown"],
        &["top", "--once"],
    ];
    let mut all = Vec::new();
    for words in verbs {
        // chosen and found
        for chosen in [&["-i", "shop"][..], &[]] {
            let line: Vec<&str> = words.iter().chain(chosen).copied().collect();
            let child = dog.start_verb(&line);
            all.push((line, child));
        }
    }
    for (line, child) in all {
        let verb = finish(child, &line);
        assert!([1, 3].contains(&verb.code), "{line:?}: {verb:?}");
        assert!(verb.err.contains("does not answer") && verb.err.contains("shop"), "{line:?}: {verb:?}");
    }
    drop(stopped);
    // and nothing of it is done later
    assert_eq!(dog.verb(&["status", "--json"]).code(0).json()["services"][0]["generation"], 1);
    dog.stop().code(143).count("stop-requested", 1).count("restart-requested", 0).count("signal-requested", 0);
}

/// A queue of connections that is full, too. Failed before: `connect` waited for ever.
#[test]
fn a_full_queue_of_connections_is_no_wait_without_an_end() {
    let dog = sleeper(Run::quick().flag("--name", "shop"));
    let stopped = Stopped::new(&dog);
    let socket = dog.socket();
    let mut filled = Vec::new();
    loop {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket as make};
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = make(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let address = UnixAddr::new(&socket).unwrap();
        if connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &address).is_err() {
            break;
        }
        filled.push(UnixStream::from(fd));
    }
    let verbs = [&["status", "-i", socket.to_str().unwrap()][..], &["ls"], &["stop", "shop"]];
    let children: Vec<_> = verbs.iter().map(|words| dog.start_verb(words)).collect();
    for (words, child) in verbs.iter().zip(children) {
        let verb = finish(child, words);
        assert_eq!(verb.code, i32::from(words[0] != "ls"), "{verb:?}");
        assert!(verb.err.contains("shop"), "{verb:?}");
    }
    drop(filled);
    drop(stopped);
    dog.stop().code(143);
}

/// `ls` has the others, and names the one that does not answer; by its name, NAME.PID and pid it is still found.
#[test]
fn one_that_stands_still_hides_no_other() {
    let first = sleeper(Run::quick().flag("--name", "well"));
    let second = sleeper(Run::quick().env("WATCHDOG_RUNTIME_DIR", first.path("run")));
    let pid = second.pid();
    wait_for("two sockets", || (std::fs::read_dir(first.path("run")).ok()?.count() == 2).then_some(()));
    let stopped = Stopped::new(&second);
    let list = first.verb(&["ls", "--json"]).code(0);
    let rows = list.json()["watchdogs"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 2, "{list:?}");
    let stuck = rows.iter().find(|r| r["name"] == "sleep").unwrap();
    assert_eq!((&stuck["pid"], &stuck["services"]), (&pid.into(), &serde_json::Value::Null), "{list:?}");
    assert!(rows.iter().any(|r| r["name"] == "well" && r["ready"] == 1), "{list:?}");
    assert!(list.err.contains(&format!("sleep.{pid} (pid {pid}) does not answer")), "{list:?}");
    // none chosen: both are named, and the one is not taken for the only one
    let several = first.verb(&["status"]).code(2);
    assert!(several.err.contains("does not answer") && several.err.contains("well"), "{several:?}");
    let instances = ["sleep".to_string(), format!("sleep.{pid}"), pid.to_string()];
    let asked: Vec<_> = instances.iter().map(|name| first.start_verb(&["status", "-i", name])).collect();
    for (name, child) in instances.iter().zip(asked) {
        let verb = finish(child, &["status", "-i", name]).code(1);
        assert!(verb.err.contains("does not answer"), "{verb:?}");
    }
    first.verb(&["status", "-i", "well"]).code(0);
    drop(stopped);
    second.stop().code(143);
    first.stop().code(143);
}

/// Failed before: the client stayed until the next line, for ever where none comes.
#[test]
fn what_follows_ends_when_its_reader_has_gone() {
    let run = Run::quick().flag("--log", "capture").flag("--ready", "line:two");
    let dog = run.program(["sh", "-c", "echo one; echo two; exec sleep 1000"]).spawn();
    dog.event("ready", 1);
    for verb in ["logs -f", "events -f -n 1", "logs -f --json"] {
        let mark = format!("{}.{}", dog.path("ended").display(), verb.replace([' ', '-'], ""));
        let script = format!("({} {verb} -i {}; echo $? > {mark}) | head -1", watchdog(), dog.socket().display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("WDTEST", dog.run.mark()).stdin(Stdio::null()).stdout(Stdio::piped());
        let said = finish(command.stderr(Stdio::piped()).spawn().unwrap(), &[verb]);
        assert_eq!(said.out.lines().count(), 1, "{said:?}");
        assert_eq!(wait_line(mark.as_ref(), ""), "0", "{verb}");
    }
    dog.stop().code(143);
}

/// Its look-alike: with a reader it follows on, and ends with its watchdog.
#[test]
fn what_follows_goes_on_while_it_is_read() {
    let run = Run::quick().flag("--log", "capture");
    let go = run.at("go");
    let script = format!("echo one; while [ ! -e {go} ]; do sleep 0.05; done; echo two; exec sleep 1000");
    let dog = run.flag("--ready", "line:one").program(["sh", "-c", &script]).spawn();
    dog.event("ready", 1);
    let out = dog.path("followed");
    let words = ["logs", "-f"];
    let mut command = Command::new(watchdog());
    command.args(words).args(["-i", dog.socket().to_str().unwrap()]).env("WDTEST", dog.run.mark());
    let file = std::fs::File::create(&out).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(file).spawn().unwrap();
    wait_line(&out, "one");
    std::fs::write(&go, "").unwrap();
    wait_line(&out, "two");
    let ended = dog.stop().code(143);
    let status = wait_for("the client to end with its watchdog", || child.try_wait().unwrap());
    assert_eq!(ended.lines("followed").len(), 2);
    assert_eq!((status.code(), lines(&out)), (Some(0), vec!["one".to_string(), "two".to_string()]));
}
