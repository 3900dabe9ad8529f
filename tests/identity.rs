//! A worker of another user: it gets nothing of ours but what was meant for it (attacks M5, M6, L10, L11), and can write to
//! what was given to it (report 1).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Run, is_root, procs, skip, wait_for, worker};
use nix::sys::signal::Signal;
use serde_json::Value;

const NOBODY: &str = "65534";

/// What the victim sees as this user, with what it sees in the same place without a watchdog. It is copied where every
/// user may run it.
fn seen_as(user: &str, arrange: &[&str]) -> Option<(Value, Value)> {
    if !is_root() {
        skip("needs root to become another user");
        return None;
    }
    let run = Run::once().flag("--user", user).flag("--dialects", "none");
    let copy = run.at("victim");
    std::fs::copy(worker(), &copy).unwrap();
    let mut line: Vec<std::ffi::OsString> = vec![worker().into(), "arrange".into()];
    line.extend(arrange.iter().map(Into::into));
    line.extend(["--".into(), worker().into(), "inherit".into()]);
    let bare = run.command(&line).stdin(std::process::Stdio::null()).output().unwrap();
    let bare = serde_json::from_slice(&bare.stdout).unwrap();
    Some((run.arranged(arrange).program([&*copy, "inherit"]).run().code(0).json(), bare))
}

fn numbers(seen: &Value) -> Vec<i64> {
    seen["fds"].as_array().unwrap().iter().map(|f| f["fd"].as_i64().unwrap()).collect()
}

/// M5. Failed before: the worker possessed the session keyring of whoever started us.
#[test]
fn another_users_worker_has_a_session_keyring_of_its_own() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    // The caller's keyring, as the program that becomes the watchdog sees it.
    let line = "'{}' inherit > before; exec \"$@\"".replace("{}", &worker().to_string_lossy());
    let seen = |user: Option<&str>| {
        let run = Run::once();
        let copy = run.at("victim");
        std::fs::copy(worker(), &copy).unwrap();
        let run = user.into_iter().fold(run, |run, user| run.flag("--user", user));
        let words =
            [&*worker().to_string_lossy(), "arrange", "--keyring", "--", "sh", "-c", &line, "sh"].map(String::from);
        let ended = run.under(words).program([&*copy, "inherit"]).run().code(0);
        let before: Value = serde_json::from_str(&ended.lines("before")[0]).unwrap();
        (before["keyring"].as_i64().unwrap(), ended.json()["keyring"].as_i64().unwrap())
    };
    let (before, now) = seen(None);
    if before == 0 {
        return println!("SKIPPED: no keyrings here");
    }
    assert_eq!(now, before, "our own user keeps what it had");
    let (before, now) = seen(Some("nobody"));
    assert!(now != before && now != 0, "{before} and {now}");
}

/// M6 without a terminal: it leads a session, and the group that signals go to. Failed before.
#[test]
fn another_users_worker_leads_a_session() {
    let Some((seen, _)) = seen_as("nobody", &[]) else { return };
    assert_eq!((&seen["sid"], &seen["pgid"]), (&seen["pid"], &seen["pid"]));
    let same = Run::once().worker(["inherit"]).run().code(0).json();
    assert_ne!(same["sid"], same["pid"], "our own user stays in our session");
    assert_eq!(same["pgid"], same["pid"]);
}

/// A shell that says what it can do with the terminal and what reaches it.
const ON_A_TERMINAL: &str = "trap 'echo caught INT' INT; trap 'echo caught QUIT' QUIT; trap 'echo caught WINCH' WINCH; \
    if (: < /dev/tty) 2>/dev/null; then echo it has the terminal; else echo it has none; fi; \
    while read line; do echo got $line; [ \"$line\" = quit ] && exit 0; done; while :; do sleep 0.05; done";

/// M6. Failed before: it was in our session, and could type into our terminal (TIOCSTI).
#[test]
fn another_users_worker_has_no_terminal_but_hears_its_keys() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let run = Run::quick().flag("--user", "nobody");
    let (dog, mut term) = run.program(["sh", "-c", ON_A_TERMINAL]).in_terminal();
    term.wait_screen("it has none");
    // It reads from it all the same.
    term.press("words\n");
    term.wait_screen("got words");
    term.press("\x03");
    term.wait_screen("caught INT");
    term.press("\x1c");
    term.wait_screen("caught QUIT");
    // A program that goes on after the keys goes on, as with a terminal of its own.
    assert!(procs::alive(dog.worker_pid(1)));
    dog.signal(Signal::SIGTERM);
    dog.wait().count("spawn", 1);
}

/// M6: ^C of a program that does not handle it ends it, and us with its status, as with a terminal of its own.
#[test]
fn a_key_ends_another_users_worker_and_the_watchdog_with_it() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let (dog, mut term) = Run::quick().flag("--user", "nobody").program(["sleep", "1000"]).in_terminal();
    dog.worker_pid(1);
    term.press("\x03");
    term.note("exited 130");
    dog.wait().count("spawn", 1).count("kill-escalated", 0);
}

/// M6: ^Z stops both, `fg` continues both.
#[test]
fn the_keyboards_stop_reaches_another_users_worker() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let (dog, mut term) = Run::quick().flag("--user", "nobody").program(["sleep", "1000"]).in_terminal();
    let pid = dog.worker_pid(1);
    term.press("\x1a");
    term.note("stopped");
    wait_for("the worker to be stopped too", || (procs::state(pid) == Some('T')).then_some(()));
    term.foreground();
    wait_for("the worker to go on", || (procs::state(pid) == Some('S')).then_some(()));
    dog.signal(Signal::SIGTERM);
    dog.wait().count("spawn", 1);
}

/// L10. Failed before: the descriptors 7 and 33 reached it.
#[test]
fn another_users_worker_gets_no_descriptor_that_we_inherited() {
    let folder = tempfile::tempdir().unwrap();
    let open = ["7", "33"].map(|n| format!("{n}={}", folder.path().join(n).display())).join(",");
    let Some((seen, bare)) = seen_as("nobody", &["--open", &open]) else { return };
    assert!(numbers(&bare).contains(&7) && numbers(&bare).contains(&33));
    assert_eq!(numbers(&seen), [0, 1, 2]);
    // One of our own user gets them: tests/inherit.rs::no_descriptor_of_ours_reaches_the_worker.
}

/// L10: neither does a hook or the command of give_up; the worker has them at every start. Failed before.
#[test]
fn hooks_get_no_descriptor_that_we_inherited() {
    let run = Run::quick().flag("--restart", "always").flag("--restart-limit", "1");
    let open = format!("7={}", run.at("seven"));
    let list = |to: &str| {
        let file = run.at(to);
        let script = run.path(&format!("{to}.sh"));
        std::fs::write(&script, format!("ls /proc/self/fd > {file}.new; mv {file}.new {file}\n")).unwrap();
        format!("sh {}", script.display())
    };
    let (hook, last) = (format!("spawn:{}", list("hook")), format!("exec:{}", list("last")));
    let file = run.at("worker");
    let worker = format!("ls /proc/self/fd | tr '\\n' ' ' >> {file}; echo >> {file}; exit 1");
    let run = run.flag("--hook", hook).flag("--give-up", last);
    let ended = run.arranged(["--open", &open]).program(["sh", "-c", &worker]).run();
    let has_it = |line: &String| line.split_whitespace().any(|n| n == "7");
    for helper in ["hook", "last"] {
        let lines = ended.lines(helper);
        assert!(!lines.is_empty() && !lines.iter().any(has_it), "{helper}: {lines:?}");
    }
    let lines = ended.lines("worker");
    assert!(lines.len() == 2 && lines.iter().all(has_it), "at every start: {lines:?}");
}

/// Listeners that were passed to us are meant for the worker, also where it runs as another user.
#[test]
fn listeners_pass_to_another_users_worker_and_nothing_beside_them() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let run = Run::once().flag("--user", "nobody").flag("--dialects", "none");
    let open = ["3", "4"].map(|n| format!("{n}={}", run.at(n))).join(",");
    let vars = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=12345";
    let line = format!("exec '{}' arrange --open '{open}' -- env {vars} \"$@\"", worker().display());
    let says = "ls /proc/self/fd; env | grep LISTEN | sort; [ $LISTEN_PID = $$ ] && echo its own";
    let ended = run.under(["sh", "-c", &line, "sh"]).program(["sh", "-c", says]).run().code(0);
    let lines: Vec<&str> = ended.out.lines().filter(|l| !l.starts_with("LISTEN_PID=")).collect();
    // 4 is the list's own: the file at 4 did not pass, or it would be 5.
    assert_eq!(lines, ["0", "1", "2", "3", "4", "LISTEN_FDS=1", "its own"], "{}", ended.story());
}

/// R8. Failed before: the variable of systemd 259 passed on with our value, and a libsystemd that knows it saw no sockets.
#[test]
fn listen_pidfdid_is_not_passed_on() {
    for meant_for_us in ["$$", "1"] {
        let line = format!("LISTEN_PID={meant_for_us} LISTEN_FDS=0 LISTEN_PIDFDID=12345 exec \"$@\"");
        let run = Run::once().under(["sh", "-c", &line, "sh"]);
        let ended = run.program(["sh", "-c", "echo ${LISTEN_PIDFDID-none}"]).run().code(0);
        assert_eq!(ended.out, "none\n", "{meant_for_us}");
    }
}

/// L11. Failed before: inheritable capabilities stayed, and a file with inheritable ones would have given them back.
#[test]
fn another_users_worker_has_no_inheritable_capabilities() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let sees = ["sh", "-c", "grep -E 'Cap(Inh|Prm|Amb)' /proc/self/status"];
    let under = ["setpriv", "--inh-caps=+net_raw,+chown", "--"];
    let caps = |run: Run| {
        let ended = run.under(under).program(sees).run().code(0);
        ended.out.lines().map(|l| l.split_whitespace().last().unwrap().to_string()).collect::<Vec<_>>()
    };
    let none = "0".repeat(16);
    assert_eq!(caps(Run::once().flag("--user", "nobody")), [none.as_str(); 3]);
    let same = caps(Run::once());
    assert_eq!(same[0], "0000000000002001", "our own user keeps them");
}

/// Report 1. Failed before: "Permission denied", because the pipe was root's.
#[test]
fn another_users_worker_may_open_its_output_again() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let script = "echo one > /dev/stdout; echo two > /dev/stderr; echo three >> /proc/self/fd/1";
    for log in ["capture", "tee"] {
        let run = Run::once().flag("--log", log).flag("--user", NOBODY);
        let file = run.at("log");
        let ended = run.flag("--log-file", &file).program(["sh", "-c", script]).run().code(0);
        let text = std::fs::read_to_string(ended.run.path("log")).unwrap();
        for line in ["one", "two", "three"] {
            assert!(text.lines().any(|l| l == line), "{log}: {text:?}");
        }
    }
}
