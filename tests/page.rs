//! The page for people, in a real browser: what it shows, keys, phone, dark, and deeds; and what it is told, without one.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::browser::{Browser, chromium};
use common::web::Web;
use common::{Dog, Run, skip, wait_for};
use serde_json::Value;
use std::time::Duration;

/// One that writes and beats on, one that fails again and again, one that waits for it, and one with a wicked name.
const FILE: &str = r#"
[defaults]
log = "capture"
[service.web]
title = "<img src=x onerror=document.title='hit'>"
command = ["sh", "-c", "echo '<b>bold</b> line'; while :; do echo again; sleep 0.2; done"]
[service.crash]
command = ["sh", "-c", "sleep 0.2; echo oh no >&2; exit 3"]
restart_delay = "2s"
restart_limit = 1000
[service.after]
command = ["sleep", "1000"]
requires = ["never"]
[service.never]
command = ["sleep", "1000"]
ready = "line:never said"
start_timeout = "1h"
"#;

fn shown(run: Run) -> (Dog, String) {
    let dog = run.with_http().spawn();
    dog.wait_ready("web");
    let at = dog.http();
    (dog, at)
}

macro_rules! browser {
    ($at:expr) => {
        match chromium() {
            Some(program) => Browser::open(&program, &format!("http://{}/", $at)),
            None => return skip("no chromium here"),
        }
    };
}

#[test]
fn the_page_says_who_is_how_and_why_by_mouse_and_keys() {
    let (dog, at) = shown(Run::quick_file(FILE));
    let mut b = browser!(at);
    b.size(1200, 900);
    b.wait("document.querySelectorAll('#services tbody tr').length === 4");
    b.wait("document.getElementById('live').textContent === 'live'");
    let row = |name: &str| {
        format!(
            "[...document.querySelectorAll('#services tbody tr')].find(r => r.querySelector('button').dataset.name === '{name}')"
        )
    };
    b.wait(&format!("{}.textContent.includes('running')", row("web")));
    b.wait(&format!("{}.textContent.includes('waits for never')", row("after")));
    b.wait(&format!("/KiB|MiB/.test({}.textContent)", row("web")));
    b.wait("[...document.querySelectorAll('#events tbody tr')].some(r => r.textContent.includes('code 3'))");
    b.wait("document.querySelectorAll('#line rect.warn').length > 0");
    b.picture("page-light");
    // By keys alone: down to the second, open it, back.
    b.key("j");
    b.key("j");
    assert_eq!(b.value("document.activeElement.dataset.name"), "crash");
    b.key("Enter");
    b.wait("document.getElementById('who').textContent === 'crash' && !document.getElementById('one').hidden");
    b.wait("document.getElementById('explain').textContent.includes('exited with code 3')");
    b.wait("document.getElementById('log').textContent.includes('oh no')");
    b.wait("/exited/.test(document.getElementById('verdict').textContent)");
    assert_eq!(b.value("document.getElementById('acts').hidden"), true, "nothing can be done here");
    b.picture("page-service");
    b.key("Escape");
    b.wait("document.getElementById('one').hidden && document.activeElement.dataset.name === 'crash'");
    b.key("/");
    b.write("onerror");
    b.wait("document.querySelectorAll('#services tbody tr').length === 1");
    b.key("Escape");
    // Whatever services say is text.
    b.value("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input')); [...document.querySelectorAll('#services button')].find(x => x.dataset.name === 'web').click()");
    b.wait("document.getElementById('log').textContent.includes('<b>bold</b> line')");
    assert_eq!(b.value("document.querySelectorAll('b, img').length"), 0);
    assert_ne!(b.value("document.title"), "hit");
    assert_eq!(b.troubles(), Vec::<String>::new());
    let here = format!("http://{at}/");
    let foreign: Vec<String> = b.asked().into_iter().filter(|u| !u.starts_with(&here) && u != "about:blank").collect();
    assert_eq!(foreign, Vec::<String>::new());
    dog.stop();
}

#[test]
fn the_page_fits_a_phone_and_the_night_and_comes_back_with_the_watchdog() {
    let (dog, at) = shown(Run::quick_file(FILE));
    let mut b = browser!(at);
    b.size(390, 800);
    b.wait("document.querySelectorAll('#services tbody tr').length === 4");
    assert_eq!(b.value("document.documentElement.scrollWidth <= 390"), true, "nothing is cut off");
    b.scheme("light");
    let (light, day) = (b.value("getComputedStyle(document.body).backgroundColor"), b.picture("page-phone"));
    b.scheme("dark");
    let (dark, night) = (b.value("getComputedStyle(document.body).backgroundColor"), b.picture("page-phone-dark"));
    assert!(light != dark && day != night, "{light} {dark}");
    b.value("document.querySelector('#services button').click()");
    b.wait("!document.getElementById('one').hidden");
    assert_eq!(b.value("document.documentElement.scrollWidth <= 390"), true);
    dog.stop();
    b.wait("document.getElementById('live').className === 'off'");
}

#[test]
fn services_are_started_and_stopped_from_the_page_with_the_token_alone() {
    let (dog, at) = shown(Run::quick_file(FILE).switch("--http-control=token"));
    let token = std::fs::read_to_string(dog.path("token")).unwrap().trim().to_string();
    let mut b = browser!(at);
    b.wait("document.querySelectorAll('#services tbody tr').length === 4");
    b.value("[...document.querySelectorAll('#services button')].find(x => x.dataset.name === 'web').click()");
    b.wait("!document.getElementById('acts').hidden");
    b.value("document.getElementById('token').focus()");
    b.write("a wrong one, long enough");
    b.value("document.querySelector('[data-act=restart]').click()");
    b.wait("document.getElementById('said').textContent.includes('not the token')");
    assert_eq!(dog.service("web")["generation"], 1);
    b.value("document.getElementById('token').value = ''; document.getElementById('token').focus()");
    b.write(&token);
    b.value("document.querySelector('[data-act=restart]').click()");
    dog.wait_service("web", "a second generation", |s| s["generation"] == 2 && s["ready"] == true);
    b.wait("document.getElementById('said').textContent === 'restart was asked for'");
    b.value("document.querySelector('[data-act=stop]').click()");
    dog.wait_service_state("web", "stopped");
    b.wait("document.querySelector('#services tr[aria-current]').textContent.includes('stopped')");
    dog.stop();
}

// --- without a browser ---

fn post(at: &str, path: &str, more: &str) -> (u16, Value) {
    let mut web = Web::connect(at);
    web.send(&format!("POST {path} HTTP/1.1\r\nHost: {at}\r\n{more}Connection: close\r\n\r\n"));
    let answer = web.answer().unwrap();
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

#[test]
fn a_deed_needs_the_setting_the_token_and_a_page_of_ours() {
    let (dog, at) = shown(Run::quick_file(FILE));
    assert_eq!(post(&at, "/do/stop/web", "Authorization: Bearer 0123456789abcdef\r\n").0, 403, "off by default");
    dog.stop();

    let run = Run::quick_file(FILE).switch("--http-control");
    let (dog, at) = shown(run);
    let status = dog.control().call("status", serde_json::json!({}));
    let file = format!("{}.token", status["result"]["instance"]["control"].as_str().unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap().trim().to_string();
    let with = format!("Authorization: Bearer {token}\r\n");
    for (path, more, status) in [
        ("/do/stop/web", String::new(), 401),
        ("/do/stop/web", "Authorization: Bearer 0123456789abcdef\r\n".into(), 401),
        ("/do/stop/web", format!("Authorization: Bearer {}\r\n", &token[..token.len() - 1]), 401),
        ("/do/stop/web", format!("{with}Origin: http://evil.example\r\n"), 403),
        ("/do/stop/web", format!("{with}Sec-Fetch-Site: cross-site\r\n"), 403),
        ("/do/stop/web", format!("{with}Content-Length: 3\r\n"), 413),
        ("/do/stop/nobody", with.clone(), 404),
        ("/do/kill/web", with.clone(), 405),
        ("/health", with.clone(), 405),
    ] {
        let (found, body) = post(&at, path, &more);
        assert_eq!(found, status, "{path} {more}: {body}");
    }
    let mut foreign = Web::connect(&at);
    foreign.send(&format!("POST /do/stop/web HTTP/1.1\r\nHost: evil.example\r\n{with}\r\n"));
    assert_eq!(foreign.answer().unwrap().status, 403, "a name that leads here all of a sudden");
    assert_eq!(dog.page("/do/stop/web").status, 404, "never by GET");
    assert_eq!((&dog.service("web")["state"], &dog.service("web")["generation"]), (&"running".into(), &1.into()));
    let (status, said) = post(&at, "/do/stop/web", &format!("{with}Origin: http://{at}\r\n"));
    assert_eq!((status, &said["asked"]), (202, &"stop".into()));
    dog.wait_service_state("web", "stopped");
    assert_eq!(dog.event_for("web", "stop-requested", 1)["by"]["kind"], "control");
    dog.stop();
    assert!(!std::path::Path::new(&file).exists(), "it goes with us");
}

#[test]
fn control_without_pages_is_said_to_be_nothing() {
    let dog = Run::quick_file(FILE).switch("--http-control").spawn();
    dog.wait_err("there is nothing to control without http");
    dog.stop();
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    for (text, says) in
        [("short", "at least 16"), ("", "at least 16"), ("one two three four five", "one line of letters")]
    {
        let run = Run::quick_file(FILE).switch("--http-control=token").with_http();
        std::fs::write(run.path("token"), text).unwrap();
        run.run().code(125).says(says);
    }
}

/// Reads server-sent events until one is as wanted.
struct Stream {
    web: Web,
    text: String,
}

impl Stream {
    fn open(at: &str, path: &str) -> Stream {
        let mut web = Web::connect(at);
        web.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        Stream { web, text: String::new() }
    }

    fn wait(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        use std::io::Read;
        let mut piece = [0; 4096];
        loop {
            let head = format!("event: {kind}\ndata: ");
            let found = self.text.split("\n\n").filter_map(|m| m.split_once(&head)).find_map(|(_, data)| {
                let value: Value = serde_json::from_str(data).ok()?;
                wanted(&value).then_some(value)
            });
            if let Some(found) = found {
                return found;
            }
            let n = self.web.stream.read(&mut piece).unwrap();
            assert!(n > 0, "the stream is over: {}", self.text);
            self.text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        }
    }
}

#[test]
fn a_stream_begins_with_what_was_and_goes_on_with_what_is() {
    let (dog, at) = shown(Run::quick_file(FILE));
    dog.event_for("crash", "exit", 1);
    let mut all = Stream::open(&at, "/stream");
    all.wait("event", |e| e["event"] == "exit" && e["service"] == "crash" && e["code"] == 3);
    let state = all.wait("state", |s| s["services"].as_array().is_some_and(|all| all.len() == 4));
    assert_eq!((&state["control"], &state["services"][0]["name"]), (&false.into(), &"web".into()));
    all.wait("state", |s| s["services"][0]["rss_bytes"].is_u64() && s["services"][0]["cpu_percent"].is_number());
    let mut lines = Stream::open(&at, "/stream/web");
    lines.wait("line", |l| l["line"] == "<b>bold</b> line");
    dog.verb(&["restart", "web"]).code(0);
    lines.wait("line", |l| l["line"] == "again" && l["generation"] == 2);
    all.wait("event", |e| e["event"] == "ready" && e["service"] == "web" && e["generation"] == 2);
    assert!(!lines.text.contains("oh no"), "only its own");
    assert_eq!(dog.page("/stream/nobody").status, 404);
    assert!(all.text.starts_with("HTTP/1.1 200 OK") && all.text.contains("text/event-stream"), "{}", all.text);
    dog.stop();
}

#[test]
fn who_does_not_read_a_stream_holds_nobody_up_and_there_are_only_so_many() {
    let noisy =
        "[service.web]\nlog = \"capture\"\ncommand = [\"sh\", \"-c\", \"echo begin; while :; do cat noise; done\"]\n";
    let run = Run::quick_file(noisy).flag("--log-lines", "10");
    std::fs::write(run.path("noise"), "x".repeat(100).repeat(1000)).unwrap();
    let (dog, at) = shown(run);
    let deaf = Stream::open(&at, "/stream/web");
    let open: Vec<Stream> = (0..15).map(|_| Stream::open(&at, "/stream")).collect();
    wait_for("one too many", || {
        let mut web = Web::connect(&at);
        web.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut first = [0; 12];
        std::io::Read::read_exact(&mut web.stream, &mut first).unwrap();
        (&first == b"HTTP/1.1 503").then_some(())
    });
    assert_eq!(dog.page("/alive").status, 200);
    drop(open);
    // The deaf one is let go, and the service has not noticed it.
    deaf.web.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let before = dog.service("web")["generation"].clone();
    wait_for("the end of the deaf one", || {
        let active = dog.page("/health/detailed").json()["watchdog"]["connections"]["active"].as_u64().unwrap();
        (active <= 1).then_some(())
    });
    assert_eq!(dog.service("web")["generation"], before);
    dog.stop();
}

/// L5: sixteen readers of a service that never stops writing leave time for a question; each has the same lines. Failed
/// before: each line was made text for each of them, and a turn took as much from the pipe as for none.
#[test]
fn those_who_read_a_chatty_service_leave_time_for_questions() {
    let noisy = "[service.web]\nlog = \"capture\"\ncommand = [\"sh\", \"-c\", \"while :; do cat noise; done\"]\n";
    let run = Run::quick_file(noisy).flag("--log-lines", "10");
    let noise: String = (0..1000).map(|n| format!("line {n} of a service that has much to say\n")).collect();
    std::fs::write(run.path("noise"), noise).unwrap();
    let (dog, at) = shown(run);
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = Stream::open(&at, "/stream/web");
            std::thread::spawn(move || {
                let mut piece = [0; 65536];
                let mut bytes = 0;
                while let Ok(n @ 1..) = std::io::Read::read(&mut stream.web.stream, &mut piece) {
                    bytes += n;
                }
                bytes
            })
        })
        .collect();
    let mut follower = dog.control();
    follower
        .ask(&serde_json::json!({"id": "f", "verb": "logs", "services": ["web"], "args": {"follow": true, "n": 0}}));
    for _ in 0..20 {
        dog.verb(&["status", "web", "--json"]).code(0);
    }
    let first: Value = serde_json::from_str(&follower.line().unwrap()).unwrap();
    assert_eq!((&first["id"], &first["item"]["service"]), (&"f".into(), &"web".into()), "{first}");
    assert!(first["item"]["line"].as_str().unwrap().contains("of a service that has much to say"), "{first}");
    dog.stop();
    let taken: Vec<usize> = readers.into_iter().map(|r| r.join().unwrap()).collect();
    assert!(taken.iter().all(|n| *n > 1000), "{taken:?}");
}
