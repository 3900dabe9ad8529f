//! `scripts/watchdog-webhook`: a hook that tells events to a web address, against a server that fails as servers do.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Run, skip, stays, wait_for};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What came in one request.
#[derive(Clone, Debug)]
struct Got {
    at: Instant,
    head: String,
    body: Value,
}

/// Answers with these statuses, the last one for ever; 0 is no answer at all.
struct Server {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Server {
    fn new(statuses: &'static [u16]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let seen = got.clone();
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for (n, stream) in listener.incoming().flatten().enumerate() {
                let Some(request) = read(&stream) else { continue };
                seen.lock().unwrap().push(request);
                match statuses.get(n).or(statuses.last()).unwrap() {
                    0 => kept.push(stream),
                    status => drop((&stream).write_all(
                        format!("HTTP/1.1 {status} X\r\nLocation: /other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
                    )),
                }
            }
        });
        Server { url, got }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn wait(&self, count: usize) -> Vec<Got> {
        wait_for(&format!("{count} requests"), || Some(self.got()).filter(|got| got.len() >= count))
    }
}

fn read(stream: &TcpStream) -> Option<Got> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        head.push_str(&line);
        line.clear();
    }
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Got { at: Instant::now(), head, body: serde_json::from_slice(&body).ok()? })
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/watchdog-webhook")
}

fn no_python() -> bool {
    let missing = Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err();
    if missing {
        skip("python3 is not installed");
    }
    missing
}

/// The script as a hook is run, in a folder of its own.
struct Hook {
    dir: tempfile::TempDir,
    /// What goes on in the background is in the group of its hook.
    groups: RefCell<Vec<i32>>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        for group in self.groups.borrow().iter() {
            let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
        }
    }
}

impl Hook {
    fn new() -> Hook {
        Hook { dir: tempfile::tempdir().unwrap(), groups: RefCell::default() }
    }

    fn start(&self, words: &[&str], event: &Value) -> Child {
        let mut command = Command::new(script());
        command.args(words).env("XDG_STATE_HOME", self.dir.path()).env("no_proxy", "*").current_dir(self.dir.path());
        command.env_remove("WATCHDOG_REPORT_DIR").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().unwrap();
        self.groups.borrow_mut().push(child.id() as i32);
        // One that refuses its arguments does not read.
        let _ = writeln!(child.stdin.take().unwrap(), "{event}");
        child
    }

    fn run(&self, words: &[&str], event: &Value) -> (i32, String) {
        let out = self.start(words, event).wait_with_output().unwrap();
        let err = String::from_utf8(out.stderr).unwrap();
        if !err.contains("background") {
            // It is over, and its number may be somebody else's.
            self.groups.borrow_mut().pop();
        }
        (out.status.code().unwrap(), err)
    }
}

fn event(cause: &str) -> Value {
    json!({"seq": 7, "event": "exit", "service": "web", "generation": 3, "cause": cause})
}

/// From the crash to the web: as a user sets it up.
#[test]
fn a_watchdog_that_gives_up_is_told_of_with_its_report_though_the_server_fails_at_first() {
    if no_python() {
        return;
    }
    let server = Server::new(&[503, 500, 429, 204]);
    let run = Run::quick().flag("--restart-limit", "1").flag("--log", "capture").flag("--name", "web");
    let hook = format!("gave-up:{} {}", script().display(), server.url);
    let dir = run.at("reports");
    let run = run.flag("--report-dir", dir).flag("--hook", hook).env("no_proxy", "*");
    // The watchdog ends with this event, and waits for its hook.
    let ended = run.program(["sh", "-c", "echo no database; exit 7"]).run().code(7);
    let got = server.got();
    assert_eq!(got.len(), 4, "tried until it was heard: {got:?}\n{}", ended.story());
    let told = &got[3];
    assert_eq!(told.body["event"], ended.of("gave-up")[0], "as the watchdog has it");
    assert_eq!((&told.body["report"]["service"], &told.body["report"]["generation"]), (&json!("web"), &json!(2)));
    assert_eq!(told.body["report"]["log"]["lines"][0]["line"], "no database", "{}", told.body["report"]);
    assert_eq!(told.body["suppressed"], 0);
    assert!(told.body["text"].as_str().unwrap().starts_with("web: gave-up"), "{}", told.body["text"]);
    assert!(got.iter().all(|g| g.body == told.body && g.head.starts_with("POST /hook ")), "the same each time");
    assert!(told.head.to_ascii_lowercase().contains("content-type: application/json"), "{}", told.head);
    for (pair, pause) in got.windows(2).zip([200, 400, 800]) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(pause - 10), "{pause} ms before the next try");
    }
}

#[test]
fn one_of_a_cause_is_told_and_the_others_are_counted() {
    if no_python() {
        return;
    }
    let (server, hook) = (Server::new(&[200]), Hook::new());
    let line = [server.url.as_str()];
    for _ in 0..3 {
        assert_eq!(hook.run(&line, &event("exited")).0, 0);
    }
    assert_eq!(server.got().len(), 1, "{:?}", server.got());
    // Another cause, another event, another service, another address: none of them is the same.
    hook.run(&line, &event("oom"));
    hook.run(&line, &json!({"event": "gave-up", "service": "web", "generation": 3, "cause": "exited"}));
    hook.run(&line, &json!({"event": "exit", "service": "api", "generation": 3, "cause": "exited"}));
    assert_eq!(server.got().len(), 4);
    // A minute later, by what it has written down.
    let state = hook.dir.path().join("watchdog/webhook/told.json");
    let mut told: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    for entry in told.as_object_mut().unwrap().values_mut() {
        entry[0] = json!(entry[0].as_f64().unwrap() - 61.0);
    }
    std::fs::write(&state, told.to_string()).unwrap();
    hook.run(&line, &event("exited"));
    let got = server.got();
    assert_eq!((got.len(), &got[4].body["suppressed"], &got[4].body["report"]), (5, &json!(2), &json!(null)));
    for _ in 0..2 {
        hook.run(&["--every", "0", &server.url], &event("exited"));
    }
    assert_eq!(server.got().len(), 7, "0 tells each");
}

/// Ten tries, the pauses between them, and what a hook's 30 seconds are not enough for.
#[test]
fn after_ten_tries_it_gives_up_and_the_next_of_the_cause_is_told() {
    if no_python() {
        return;
    }
    let (server, hook) = (Server::new(&[0, 0, 500, 500, 500, 500, 500, 500, 500, 500, 200]), Hook::new());
    let began = Instant::now();
    let mut child = hook.start(&[&server.url], &event("exited"));
    let status = loop {
        assert!(began.elapsed() < Duration::from_secs(30), "a hook is killed after 30 s");
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0), "it goes on in the background");
    let got = server.wait(10);
    assert!(got[1].at - got[0].at >= Duration::from_millis(2100), "2 s without an answer, and 200 ms");
    for (pair, pause) in got[2..].windows(2).zip([800, 1600, 3200, 5000, 5000, 5000, 5000]) {
        let was = pair[1].at - pair[0].at;
        assert!(was >= Duration::from_millis(pause - 10), "{pause} ms before the next try: {was:?}");
    }
    stays("no eleventh try", Duration::from_secs(1), || server.got().len() == 10);
    // Nobody has heard of it, so the next one is not one too many.
    wait_for("the next one to be told", || {
        hook.run(&[&server.url], &event("exited"));
        (server.got().len() == 11).then_some(())
    });
}

#[test]
fn a_state_that_cannot_be_kept_keeps_nothing_from_being_told() {
    if no_python() {
        return;
    }
    let (server, hook) = (Server::new(&[200]), Hook::new());
    std::fs::write(hook.dir.path().join("file"), "").unwrap();
    for n in 1..=2 {
        let (code, err) = hook.run(&["--state", "file/below", &server.url], &event("exited"));
        assert!(code == 0 && err.contains("every event is told"), "{err}");
        assert_eq!(server.got().len(), n);
    }
    // One that is damaged is begun anew.
    std::fs::create_dir_all(hook.dir.path().join("state")).unwrap();
    for damaged in ["not json", "[1]", "{\"x\": 3}"] {
        let before = server.got().len();
        std::fs::write(hook.dir.path().join("state/told.json"), damaged).unwrap();
        assert_eq!(hook.run(&["--state", "state", &server.url], &event("exited")).0, 0, "{damaged}");
        assert_eq!(server.got().len(), before + 1, "{damaged}");
    }
}

#[test]
fn an_address_and_a_secret_may_stand_in_files() {
    if no_python() {
        return;
    }
    let (server, hook) = (Server::new(&[200]), Hook::new());
    std::fs::write(hook.dir.path().join("url"), format!("{}\n", server.url)).unwrap();
    std::fs::write(hook.dir.path().join("token"), "Authorization: Bearer abc\n").unwrap();
    let line = ["--url-file", "url", "--header", "@token", "--header", "X-Team: shop"];
    assert_eq!(hook.run(&line, &event("exited")).0, 0);
    let head = server.got()[0].head.clone();
    assert!(head.contains("Authorization: Bearer abc\r\n") && head.contains("shop\r\n"), "{head}");
}

#[test]
fn what_is_wrong_with_the_line_is_2() {
    if no_python() {
        return;
    }
    let hook = Hook::new();
    for (line, part) in [
        (&[][..], "needs an address"),
        (&["ftp://x/"], "needs an address"),
        (&["http://x/", "http://y/"], "one word too many"),
        (&["--retry", "3", "http://x/"], "unknown option"),
        (&["http://x/", "--header"], "needs a value"),
        (&["--header", "no colon", "http://x/"], "not 'NAME: VALUE'"),
        (&["--url-file", "missing"], "missing: No such file"),
    ] {
        let (code, err) = hook.run(line, &event("exited"));
        assert!(code == 2 && err.contains(part), "{line:?}: {code} {err}");
    }
    assert_eq!(hook.run(&["http://127.0.0.1:1/"], &json!([1])).0, 2, "no event");
}

/// A POST that is sent elsewhere would become something else.
#[test]
fn a_redirect_is_not_followed() {
    if no_python() {
        return;
    }
    let (server, hook) = (Server::new(&[302, 301, 200]), Hook::new());
    assert_eq!(hook.run(&[&server.url], &event("exited")).0, 0);
    let got = server.got();
    assert!(got.len() == 3 && got.iter().all(|g| g.head.starts_with("POST /hook ")), "{got:?}");
}
