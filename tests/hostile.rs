//! Hostile and careless clients of the control socket, and a worker that is worse: they get an answer or a closed door, and harm nobody (CTL-*).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, lines, procs, wait_for, wait_lines, within};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn sleeper(run: Run) -> Dog {
    let pid = run.at("pid");
    let dog = run.worker(["sleep", "--pid-file", &pid]).spawn();
    wait_lines(&dog.path("pid"), 1);
    dog
}

/// CTL-06
#[test]
fn garbage_is_answered_once_and_the_connection_closed_at_the_limit() {
    let dog = sleeper(Run::quick());
    let rss = procs::status_field(dog.pid(), "VmRSS");
    for bad in
        ["not json", "{", "[]", "null", "1e999", "{\"id\":{}}", "{\"id\":1}", "\u{0}", "{\"id\":1,\"verb\":\"\"}"]
    {
        let mut control = dog.control();
        control.send(format!("{bad}\n").as_bytes());
        if let Some(line) = control.line() {
            let answer: Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&answer["ok"], &answer["error"]["code"]), (&false.into(), &"usage".into()), "{bad}: {answer}");
        }
    }
    // nested too deep
    let mut control = dog.control();
    control.send(format!("{}\n", "[".repeat(30_000)).as_bytes());
    if let Some(line) = control.line() {
        assert!(line.contains("\"ok\":false"), "{line}");
    }
    // longer than a request may be, without an end
    let mut control = dog.control();
    let _ = std::io::Write::write_all(&mut control.stream, &vec![b'x'; 200_000]);
    if let Some(line) = control.line() {
        assert!(line.contains("too-large"), "{line}");
        assert_eq!(control.line(), None, "closed at the limit");
    }
    // bytes that are not text
    let mut control = dog.control();
    control.send(b"\xff\xfe\x00\n");
    control.line();
    assert!(procs::status_field(dog.pid(), "VmRSS") < rss + 4096, "memory");
    assert_eq!(dog.status()["state"], "running");
    dog.stop().code(143);
}

/// CTL-07, CTL-08
#[test]
fn verbs_and_names_are_a_closed_list() {
    let dog = sleeper(Run::quick());
    let mut control = dog.control();
    for verb in ["__proto__", "status.x", "../../bin/sh", "stop; id", "STATUS", "supervisor.reload", "é"] {
        let answer = control.call(verb, json!({}));
        assert_eq!((&answer["ok"], &answer["error"]["code"]), (&false.into(), &"usage".into()), "{answer}");
    }
    for name in ["../etc/passwd", "", "a\nb", "\u{1b}[31m", &"n".repeat(5000), "zz*"] {
        control.ask(&json!({"id": 9, "verb": "stop", "services": [name], "args": {}}));
        let line = control.line().unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["ok"], false, "{line}");
        assert!(line.len() < 2000, "the name is cut: {} bytes", line.len());
    }
    let nearest = {
        control.ask(&json!({"id": 9, "verb": "stop", "services": ["worke"], "args": {}}));
        control.answer()
    };
    assert_eq!(
        (&nearest["error"]["code"], &nearest["error"]["nearest"]),
        (&"no-such-service".into(), &"worker".into())
    );
    // wrong types of arguments
    for args in [json!({"timeout_ms": "x"}), json!({"timeout_ms": -1}), json!([]), json!(7)] {
        control.ask(&json!({"id": 7, "verb": "stop", "services": [], "args": args}));
        let answer = control.answer();
        assert_eq!(answer["ok"], false, "{answer}");
    }
    let answer = control.call("signal", json!({"signal": "KILL; id"}));
    assert_eq!(answer["ok"], false, "{answer}");
    assert_eq!(dog.events_of("exit").len(), 0, "nothing was stopped");
    dog.stop().code(143);
}

/// CTL-09
#[test]
fn idle_and_half_requests_hold_up_nobody() {
    let dog = sleeper(Run::quick());
    let mut crowd = Vec::new();
    for i in 0..40 {
        let mut control = dog.control();
        if i % 2 == 0 {
            control.send(b"{\"id\":1,\"verb\":\"sta");
        }
        crowd.push(control);
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(dog.status()["state"], "running");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // a request in pieces is a request
    let half = &mut crowd[0];
    half.send(b"tus\",\"services\":[],\"args\":{}}\n");
    assert_eq!(half.answer()["ok"], true);
    dog.stop().code(143);
}

/// CTL-10
#[test]
fn a_client_that_does_not_read_harms_nobody() {
    let dog = sleeper(Run::quick());
    let rss = procs::status_field(dog.pid(), "VmRSS");
    let mut control = dog.control();
    control.stream.set_nonblocking(true).unwrap();
    let line = format!("{}\n", json!({"id": 1, "verb": "status", "services": [], "args": {}}));
    for _ in 0..20_000 {
        if std::io::Write::write(&mut control.stream, line.as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(dog.status()["state"], "running");
    assert!(procs::status_field(dog.pid(), "VmRSS") < rss + 8192, "answers are bounded");
    dog.stop().code(143);
}

/// CTL-11
#[test]
fn clients_leave_no_descriptors() {
    let dog = sleeper(Run::quick());
    dog.status();
    let before = procs::fd_count(dog.pid());
    for i in 0..200 {
        let mut control = dog.control();
        if i % 3 == 0 {
            control.send(b"{\"half");
        } else {
            control.call("status", json!({}));
        }
    }
    let settled = within(Duration::from_secs(5), || procs::fd_count(dog.pid()) <= before);
    assert!(settled, "{} descriptors, before {before}", procs::fd_count(dog.pid()));
    dog.stop();
}

/// CTL-12
#[test]
fn clients_that_leave_before_the_answer_are_no_end_of_us() {
    let dog = sleeper(Run::quick());
    for verb in ["status", "events", "logs", "explain", "stop", "start", "restart", "wait"] {
        for _ in 0..5 {
            dog.control()
                .ask(&json!({"id": 1, "verb": verb, "services": [], "args": {"follow": true, "for": "completed"}}));
        }
    }
    let mut dog = dog;
    dog.verb(&["start", "worker"]).code(0);
    assert!(dog.alive());
    dog.stop().code(143);
}

/// CTL-13
#[test]
fn an_operation_goes_on_without_its_client() {
    let run = Run::quick().flag("--stop-timeout", "10s");
    let (file, pid) = (run.at("finished"), run.at("pid"));
    let dog = run.worker(["graceful", &file, "--pid-file", &pid, "--after", "800"]).spawn();
    wait_lines(&dog.path("pid"), 1);
    let mut control = dog.control();
    control.ask(&json!({"id": 1, "verb": "stop", "services": [], "args": {}}));
    dog.event("stop-requested", 1);
    drop(control);
    // a second client joins
    dog.verb(&["stop", "worker"]).code(0);
    assert_eq!(dog.status()["state"], "stopped");
    assert_eq!(lines(&dog.path("finished")), ["finished"]);
    dog.stop().count("kill-escalated", 0);
}

/// CTL-02, CTL-03: by the kernel's word, whatever the client calls itself
#[test]
fn another_user_is_refused() {
    if !common::is_root() {
        return common::skip("needs root to be two users");
    }
    // a watchdog of nobody's, asked by another user who may open the path
    let run = Run::quick();
    std::fs::set_permissions(run.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let dog = run.worker(["sleep"]).arranged(["--uid", "65534"]).spawn();
    let socket = dog.socket();
    dog.event("spawn", 1);
    for path in [&socket, &socket.parent().unwrap().to_path_buf()] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.settimeout(5)\ns.bind(sys.argv[2])\ns.connect(sys.argv[1])\n\
                  s.sendall(b'{\"id\":1,\"verb\":\"stop\",\"services\":[],\"args\":{}}\\n')\nprint(s.recv(4096))";
    let out = std::process::Command::new("setpriv")
        .args(["--reuid=65533", "--clear-groups", "/usr/bin/python3", "-c", script])
        .arg(&socket)
        .arg(dog.path("uid=0;pid=1"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(!said.contains("\"ok\":true"), "{said}");
    let denied = dog.event("control-denied", 1);
    assert!(denied.to_string().contains("65533"), "{denied}");
    assert!(dog.events_of("exit").is_empty());
    // root may
    dog.verb(&["status"]).code(0);
    dog.stop().code(143);
}

/// CTL-14
#[test]
fn a_path_too_long_for_a_socket_is_a_clear_error() {
    let run = Run::quick();
    let long = run.path(&"d".repeat(120));
    let ended = run.flag("--control", &long).worker(["exit", "0"]).run().count("spawn", 0);
    assert!([2, 125].contains(&ended.code), "{}", ended.story());
    assert!(!ended.err.is_empty());
    // an unusable runtime directory is a warning, for the prefix form goes on without control
    let run = Run::once();
    let deep = run.path(&"d".repeat(120));
    let ended = run.env("WATCHDOG_RUNTIME_DIR", &deep).worker(["exit", "6"]).run().code(6);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
}

/// CTL-12: a thousand questions at once are one client's turn among others
#[test]
fn pipelined_questions_hold_nobody_up() {
    let dog = Run::quick().flag("--log", "capture").worker(["flood", "lines", "--lines", "3000", "--stay"]).spawn();
    let path = wait_for("the socket", || socket(&dog));
    let mut greedy = std::os::unix::net::UnixStream::connect(&path).unwrap();
    greedy.set_nonblocking(true).unwrap();
    let many = "{\"verb\":\"logs\",\"args\":{\"n\":1000}}\n".repeat(1500);
    let _ = std::io::Write::write(&mut greedy, many.as_bytes());
    let began = std::time::Instant::now();
    dog.verb(&["health"]).code(0);
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
    dog.stop();
}

/// A client that has said all it has to say still gets its answer (`nc -N`)
#[test]
fn a_half_closed_client_is_answered() {
    let dog = Run::quick().worker(["sleep"]).spawn();
    let path = wait_for("the socket", || socket(&dog));
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    std::io::Write::write_all(&mut client, b"{\"id\":1,\"verb\":\"health\"}\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client, &mut answer).unwrap();
    assert!(answer.contains("\"ok\":true"), "{answer:?}");
    dog.stop();
}

/// M4: MAINPID in every line of a flood costs a few looks at the processes that are named, and holds up neither questions nor
/// the beats of another service. Counted in reads: a look at a process this deep is hundreds of them. Failed before: a look
/// for each line
#[test]
fn a_flood_of_main_pids_is_a_few_looks() {
    const DATAGRAMS: u64 = 1000;
    let mains = format!("n-mains:{DATAGRAMS}");
    let flood = common::file::victim(&["talk", "deep:70", &mains, "n:STATUS=flooded", "n-mains:1000000000"]);
    let beats = common::file::victim(&["talk", "hello", "serve"]);
    let rules = "heartbeat_interval = \"500ms\"\nheartbeat_timeout = \"5s\"";
    let dog = Run::quick_file(&format!("[service.a]\n{flood}\n[service.b]\n{beats}\n{rules}\n")).spawn();
    dog.wait_service("a", "the flood", |s| s["status_text"] == "flooded");
    let reads = procs::reads(dog.pid());
    assert!(reads < 64 * DATAGRAMS, "{reads} reads, fewer than lines were wanted");
    for _ in 0..20 {
        assert_eq!(dog.service("b")["state"], "running");
    }
    assert!(procs::alive(dog.pid_of("a", 1)), "it floods");
    assert!(dog.events_of("hang").is_empty(), "{:?}", dog.events_of("hang"));
    dog.stop().count("hang", 0);
}

/// The only socket in the runtime directory of a run.
fn socket(dog: &Dog) -> Option<String> {
    let entries = std::fs::read_dir(dog.path("run")).ok()?;
    entries
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|x| x == "sock"))
        .map(|p| p.display().to_string())
}
