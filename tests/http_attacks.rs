//! Clients that are slow, many or hostile: supervision goes on, and polite clients are answered (HTP-02 to HTP-07, HTP-10,
//! HTP-11, EXH-02).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::web::{Web, get, metric, page, timed};
use common::{Dog, PATIENCE, Run, procs, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Within so long a polite client has its answer, whatever others do: B(1 s).
const SOON: Duration = Duration::from_secs(5);
/// No more connections than this are held.
const HELD: u64 = 128;

fn sleeper() -> Dog {
    let run =
        Run::quick().flag("--restart-limit", "0").flag("--crash-loop-limit", "0").flag("--restart-delay-factor", "1");
    let dog = run.with_http().worker(["sleep"]).spawn();
    assert_eq!(dog.page("/alive").status, 200);
    dog
}

/// The worker is killed and comes back: the loop is not held up.
fn supervision_goes_on(dog: &Dog) {
    let nth = dog.events_of("spawn").len();
    kill(Pid::from_raw(dog.worker_pid(nth)), Signal::SIGKILL).unwrap();
    dog.event("spawn", nth + 1);
}

/// Polite clients are answered while the others are there.
fn the_polite_are_answered(dog: &Dog, at: &str) {
    for _ in 0..20 {
        let took = timed(at);
        assert!(took < SOON, "{took:?} for one answer");
    }
    supervision_goes_on(dog);
    let held = metric(&page(at, "/metrics").body, "watchdog_http_connections").unwrap();
    assert!(held <= HELD as f64, "{held} connections");
}

fn crowd(at: &str, count: usize, first: &str) -> Vec<TcpStream> {
    (0..count)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(at).ok()?;
            stream.set_nonblocking(true).unwrap();
            // one that was closed for others already is no matter
            let _ = stream.write(first.as_bytes());
            Some(stream)
        })
        .collect()
}

fn descriptors(dog: &Dog) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", dog.pid())).unwrap().count()
}

/// HTP-02: ten thousand connections that say nothing
#[test]
fn ten_thousand_idle_connections_leave_room_for_the_polite() {
    let dog = sleeper();
    let at = dog.http();
    let before = descriptors(&dog);
    let mut idle = Vec::new();
    for n in 0..10_000 {
        // as many as a test may have open; the others leave as they came
        if idle.len() == 800 {
            idle.clear();
        }
        idle.extend(TcpStream::connect(&at));
        if n % 500 == 0 {
            assert!(timed(&at) < SOON);
        }
    }
    the_polite_are_answered(&dog, &at);
    assert!(descriptors(&dog) <= before + HELD as usize + 1, "{} descriptors", descriptors(&dog));
    let displaced = dog.wait_metric("watchdog_http_connections_displaced_total", "made room", |n| n > 0.0);
    assert!(displaced > 1.0);
    dog.stop().code(143);
}

/// HTP-03, HTP-04: heads and bodies that drip
#[test]
fn heads_and_bodies_that_drip_end_at_their_time_and_harm_nobody() {
    let dog = sleeper();
    let at = dog.http();
    let mut slow = Web::connect(&at);
    slow.send("GET /alive HTTP/1.1\r\nHost: localhost\r\nX: ");
    let began = Instant::now();
    let mut attackers = crowd(&at, 100, "GET / HTTP/1.1\r\nX: ");
    attackers.extend(crowd(&at, 20, "POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"));
    the_polite_are_answered(&dog, &at);
    // a byte now and then is no progress
    let answer = loop {
        let _ = slow.stream.write(b"x");
        slow.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        if slow.stream.peek(&mut [0; 1]).is_ok() {
            slow.stream.set_read_timeout(Some(PATIENCE)).unwrap();
            break slow.answer().unwrap();
        }
        for stream in &mut attackers {
            let _ = stream.write(b"x");
        }
        assert!(began.elapsed() < PATIENCE, "a head that drips is borne for ever");
    };
    assert_eq!(answer.status, 408, "{answer:?}");
    dog.wait_metric("watchdog_http_connections", "only this one is left", |n| n <= 1.0);
    the_polite_are_answered(&dog, &at);
    dog.stop().code(143);
}

/// HTP-02: five hundred of them, in the place of each other
#[test]
fn five_hundred_dripping_heads_do_not_keep_the_polite_out() {
    let dog = sleeper();
    let at = dog.http();
    let mut attackers = crowd(&at, 500, "GET /alive HTTP/1.1\r\nHo");
    for _ in 0..10 {
        the_polite_are_answered(&dog, &at);
        for stream in &mut attackers {
            let _ = stream.write(b"x");
        }
    }
    dog.stop().code(143);
}

/// HTP-05: answers that nobody reads
#[test]
fn answers_that_nobody_reads_are_bounded_and_end_at_their_time() {
    let services: String =
        (0..300).map(|n| format!("[service.s{n}]\ncommand = \"true\"\nautostart = false\n")).collect();
    let file = format!("[service.web]\n{}\n{services}", common::victim(&["sleep"]));
    let dog = Run::quick_file(&file).with_http().spawn();
    dog.wait_page("/ready", "ready", |a| a.status == 200);
    let at = dog.http();
    assert!(page(&at, "/metrics").body.len() > 100_000, "a large page");
    let before = procs::status_field(dog.pid(), "VmRSS");
    let mut readers = crowd(&at, 100, &get("/metrics").repeat(50));
    for _ in 0..20 {
        let took = timed(&at);
        assert!(took < SOON, "{took:?} for one answer");
    }
    let grown = procs::status_field(dog.pid(), "VmRSS").saturating_sub(before);
    assert!(grown < 30_000, "{grown} KiB more for pages that nobody reads");
    dog.wait_metric("watchdog_http_connections_timed_out_total", "their time is over", |n| n >= 100.0);
    // closed, although each has asked for much more
    let mut rest = Vec::new();
    readers[0].set_nonblocking(false).unwrap();
    let _ = readers[0].read_to_end(&mut rest);
    drop(readers);
    dog.stop();
}

/// HTP-06: what could be read in two ways is refused, and what follows is never answered
#[test]
fn nothing_that_is_smuggled_behind_a_request_is_answered() {
    let dog = sleeper();
    let at = dog.http();
    let smuggled = get("/health/detailed");
    let host = "Host: localhost\r\n";
    for (first, statuses) in [
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            [400, 405],
        ),
        (format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding : chunked\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding:\x0bchunked\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: 44\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}Content-Length: 0,44\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}Content-Length: 44\r\n\r\n"), [413, 413]),
        (format!("GET / HTTP/1.1\r\n{host}X: y\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}X: y\rZ: w\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host} folded\r\n\r\n"), [400, 400]),
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), [400, 400]),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), [400, 400]),
        (format!("GET / HTTP/1.1 \r\n{host}\r\n"), [400, 505]),
        (format!("GET  / HTTP/1.1\r\n{host}\r\n"), [400, 400]),
        (format!("GET / HTTP/1.10\r\n{host}\r\n"), [400, 505]),
        (format!("GET / HTTP/0.9\r\n{host}\r\n"), [400, 505]),
        ("GET /\r\n\r\n".to_owned(), [400, 400]),
    ] {
        let mut web = Web::connect(&at);
        web.send(&format!("{first}{smuggled}"));
        let answer = web.answer().unwrap_or_else(|| panic!("{first:?}: no answer"));
        assert!(statuses.contains(&answer.status), "{first:?}: {answer:?}");
        assert_eq!(answer.header("Connection").as_deref(), Some("close"), "{first:?}");
        assert!(web.closes(PATIENCE), "{first:?}: the second request was answered, or the connection is still open");
    }
    dog.stop().code(143);
}

/// HTP-07: lines and heads without end
#[test]
fn lines_and_heads_without_end_are_refused_at_once() {
    let dog = sleeper();
    let at = dog.http();
    let before = procs::status_field(dog.pid(), "VmRSS");
    for (text, status) in [
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "y".repeat(100_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}", "X: y\r\n".repeat(100_000)), 431),
        ("\r\n".repeat(100_000), 431),
    ] {
        let began = Instant::now();
        let mut web = Web::connect(&at);
        // it may have closed before all of it was sent
        let _ = web.stream.write_all(text.as_bytes());
        let answer = web.answer().unwrap_or_else(|| panic!("no answer to {:?}..", &text[..40]));
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    let grown = procs::status_field(dog.pid(), "VmRSS").saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more");
    dog.stop().code(143);
}

/// HTP-10: a thousand requests at once are answered one by one, each once, in their order
#[test]
fn a_thousand_requests_at_once_are_answered_in_their_order() {
    let dog = sleeper();
    let mut web = Web::connect(&dog.http());
    let paths = ["/alive", "/nowhere", "/health/x", "/ready"];
    let all: String = (0..1000).map(|n| get(paths[n % 4])).collect();
    let mut sender = web.stream.try_clone().unwrap();
    let sends = std::thread::spawn(move || sender.write_all(all.as_bytes()).unwrap());
    for n in 0..1000 {
        let answer = web.answer().unwrap_or_else(|| panic!("closed after {n} answers"));
        let right = match n % 4 {
            0 => answer.json()["alive"] == true,
            1 => answer.json()["error"]["code"] == "not-found",
            2 => answer.json()["error"]["code"] == "no-such-service",
            _ => answer.json()["ready"] == true,
        };
        assert!(right, "answer {n}: {answer:?}");
    }
    sends.join().unwrap();
    web.send(&format!("{}{}", get("/alive").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), get("/alive")));
    assert_eq!(web.answer().unwrap().status, 200);
    assert!(web.closes(PATIENCE), "nothing follows what was said to be the last");
    dog.stop().code(143);
}

/// HTP-10: probes that never close
#[test]
fn a_client_that_never_closes_is_one_connection_and_one_that_rests_is_let_go() {
    let dog = sleeper();
    let at = dog.http();
    let mut kept = Web::connect(&at);
    for _ in 0..200 {
        kept.send(&get("/health"));
        assert_eq!(kept.answer().unwrap().status, 200);
    }
    let text = page(&at, "/metrics").body;
    let accepted = metric(&text, "watchdog_http_connections_accepted_total").unwrap();
    assert!(accepted < 10.0, "{accepted} connections for one client");
    // 30 s without a word
    kept.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(kept.stream.read(&mut [0; 1]).unwrap(), 0, "an idle connection is let go");
    dog.stop().code(143);
}

/// HTP-11: many short ones
#[test]
fn churn_leaves_no_descriptor_behind() {
    let dog = sleeper();
    let at = dog.http();
    let before = descriptors(&dog);
    for n in 0..3000 {
        match n % 3 {
            0 => drop(TcpStream::connect(&at).unwrap()),
            1 => {
                let mut stream = TcpStream::connect(&at).unwrap();
                let _ = stream.write_all(get("/metrics").as_bytes());
            }
            _ => assert_eq!(page(&at, "/ready").status, 200),
        }
    }
    wait_for("the descriptors of before", || (descriptors(&dog) <= before + 1).then_some(()));
    supervision_goes_on(&dog);
    dog.stop().code(143);
}

/// EXH-02: no descriptors left: nothing spins, and it recovers
#[test]
fn without_descriptors_it_neither_spins_nor_forgets() {
    let dog = sleeper();
    let at = dog.http();
    let status = Command::new("prlimit").args(["--pid", &dog.pid().to_string(), "--nofile=40:4096"]).status();
    assert!(status.unwrap().success());
    let crowd = crowd(&at, 400, "");
    let (ticks, began) = (procs::cpu_ticks(dog.pid()), Instant::now());
    supervision_goes_on(&dog);
    std::thread::sleep(Duration::from_millis(1000));
    let percent = (procs::cpu_ticks(dog.pid()) - ticks) * 1000 / began.elapsed().as_millis() as u64;
    assert!(percent < 20, "{percent} % of a core for idle clients");
    drop(crowd);
    wait_for("an answer when the crowd has left", || {
        let mut web = Web::connect(&at);
        let _ = web.stream.write_all(get("/alive").as_bytes());
        web.answer().filter(|a| a.status == 200)
    });
    dog.stop().code(143);
}

/// EXH-08: with the pages on and nobody asking, nothing wakes it
#[test]
fn nobody_is_woken_while_nobody_asks() {
    let dog = sleeper();
    assert_eq!(dog.page("/metrics").status, 200);
    dog.wait_metric("watchdog_http_connections", "the others have gone", |n| n <= 1.0);
    std::thread::sleep(Duration::from_millis(300));
    let switches = || procs::status_field(dog.pid(), "voluntary_ctxt_switches");
    let before = switches();
    std::thread::sleep(Duration::from_millis(2500));
    let woke = switches() - before;
    assert_eq!(woke, 0, "woken {woke} times in 2.5 s with nobody asking");
    dog.stop().code(143);
}
