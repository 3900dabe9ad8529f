//! Workers as programs of their own, started with the channel as a watchdog would start them.

mod fake;

use fake::start::{example, finish, start};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use worker_sdk::wire::{Check, Count, Level, PROTOCOL, ToWatchdog, ToWorker};

/// Longer than anything takes that is not lost.
const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "a test has no reaper")]
fn has_python() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|out| out.status.success());
    if !there {
        println!("SKIPPED: no python3");
    }
    there
}

fn greeting() -> ToWatchdog {
    ToWatchdog::Hello { protocol: PROTOCOL }
}

fn code(child: Child) -> Option<i32> {
    finish(child).status.code()
}

#[test]
fn the_minimal_worker_lives_and_ends_when_asked() {
    let (mut fake, child) = start(&example("minimal"));
    for message in [greeting(), ToWatchdog::Ready, ToWatchdog::Beat, ToWatchdog::TakesShutdown] {
        fake.expect(&message);
    }
    fake.say(&ToWorker::Ping { nonce: 42 });
    fake.expect(&ToWatchdog::Pong { nonce: 42 });
    fake.say(&ToWorker::Shutdown { grace_ms: 1000 });
    fake.expect(&ToWatchdog::Stopping);
    assert_eq!(fake.hear(), None);
    assert_eq!(code(child), Some(0));
}

#[test]
fn the_minimal_worker_ends_with_its_watchdog() {
    let (fake, child) = start(&example("minimal"));
    drop(fake);
    assert_eq!(finish(child).status.signal(), None, "and not by SIGPIPE");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no reaper")]
fn alone_it_works_too_also_with_a_stale_variable() {
    let start = |stale| Command::new(example("minimal")).env("WATCHDOG_CHANNEL", stale).spawn().expect("it runs");
    let started = ["", "7", "1", "-1", "999999999999", "nonsense"].map(|stale| (stale, start(stale)));
    for (stale, mut child) in started {
        assert!(child.wait().expect("it ends").success(), "WATCHDOG_CHANNEL={stale}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no reaper")]
fn what_a_worker_starts_cannot_speak_for_it() {
    // The probe prints what a child of a worker sees of the channel.
    let probe = example("inherit");
    let (mut fake, child) = start(&probe);
    fake.expect(&greeting());
    let out = finish(child);
    // What the tests themselves have inherited is not the worker's doing.
    let alone = Command::new(probe).stdin(Stdio::null()).output().expect("it runs");
    let seen = String::from_utf8_lossy(&out.stdout);
    assert!(seen.starts_with("variable: none\nsockets: "), "{seen}");
    assert_eq!(seen, String::from_utf8_lossy(&alone.stdout));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no reaper")]
fn listeners_are_handed_over_by_name() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    // LISTEN_PID is the pid that the shell keeps when it becomes the worker.
    let variables = "LISTEN_PID=$$; LISTEN_FDS=2; LISTEN_FDNAMES=web; export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES";
    let script = format!("exec 3<&0 4</dev/null </dev/null; {variables}; exec {} listen", example("inherit"));
    let mut shell = Command::new("/bin/sh");
    let child =
        shell.args(["-c", &script]).stdin(OwnedFd::from(listener)).stdout(Stdio::piped()).spawn().expect("a shell");
    let mut client = TcpStream::connect(address).expect("it listens");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "welcome");
    let out = finish(child);
    let expected = "names: web unknown\nunix: false, tcp: true, again: false\nvariable: none\n";
    assert_eq!(String::from_utf8_lossy(&out.stdout), expected);
}

/// One request on a connection of its own or of an earlier one.
fn ask(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    let mut length = 0;
    while !answer.ends_with("\r\n\r\n") {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).expect("an answer"), 0, "hung up after {answer:?}");
        if let Some(bytes) = line.strip_prefix("Content-Length: ") {
            length = bytes.trim().parse().expect("a number");
        }
        answer += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    answer + &String::from_utf8_lossy(&body)
}

#[test]
fn the_http_server_parts_from_its_clients_in_order() {
    let (mut fake, mut child) = start(&example("http"));
    let first = [ToWatchdog::Lanes { count: 64 }, ToWatchdog::Ready, ToWatchdog::TakesShutdown, ToWatchdog::Beat];
    for message in [greeting()].into_iter().chain(first) {
        fake.expect(&message);
    }
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("its address");
    let address = line.trim().rsplit(' ').next().expect("an address").to_string();
    let connect = || {
        let stream = TcpStream::connect(&address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    };
    let mut client = connect();
    assert!(ask(&mut client, "/").starts_with("HTTP/1.1 200 OK"));
    assert!(ask(&mut client, "/").contains("keep-alive"), "the same connection");
    fake.say(&ToWorker::AskMetrics);
    let Some(ToWatchdog::Metrics { counters, .. }) = fake.hear() else { panic!("no numbers") };
    assert!(counters.contains(&Count { name: "requests_total".into(), value: 2 }), "{counters:?}");
    let Some(ToWatchdog::Histograms { histograms }) = fake.hear() else { panic!("no histograms") };
    let took = histograms.iter().find(|h| h.name == "request_duration_seconds").expect("that of requests");
    assert_eq!((took.counts.iter().sum::<u64>(), took.counts.len()), (2, took.bounds.len() + 1), "{took:?}");

    // Slow enough to be under way when the end is asked for.
    write!(client, "GET /slow HTTP/1.1\r\n\r\n").expect("sent");
    fake.say(&ToWorker::Shutdown { grace_ms: 60_000 });
    let turned_away = loop {
        let answer = ask(&mut connect(), "/");
        if answer.starts_with("HTTP/1.1 503") {
            break answer;
        }
    };
    assert!(turned_away.contains("Retry-After: 60"), "{turned_away}");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("answered, then closed");
    assert!(rest.contains("Connection: close") && rest.ends_with("done\n"), "{rest}");
    fake.expect(&ToWatchdog::Stopping);
    assert_eq!((fake.hear(), code(child)), (None, Some(0)));
}

#[test]
fn the_tokio_service_has_its_worker_in_the_reactor() {
    let (mut fake, mut child) = start(&example("tokio"));
    for message in [greeting(), ToWatchdog::TakesShutdown, ToWatchdog::Ready, ToWatchdog::Beat] {
        fake.expect(&message);
    }
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("its address");
    let address = line.trim().rsplit(' ').next().expect("an address").to_string();
    let say = |stream: &mut TcpStream, word: &str| {
        writeln!(stream, "{word}").expect("sent");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("an answer");
        answer
    };
    let mut client = TcpStream::connect(&address).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for nonce in 1..=3 {
        fake.say(&ToWorker::Ping { nonce });
        fake.expect(&ToWatchdog::Pong { nonce });
        assert_eq!(say(&mut client, "hello"), "hello\n");
    }
    fake.say(&ToWorker::AskMetrics);
    let Some(ToWatchdog::Metrics { gauges, .. }) = fake.hear() else { panic!("no numbers") };
    assert!(gauges.contains(&Level { name: "connections_open".into(), value: 1.0 }), "{gauges:?}");
    fake.say(&ToWorker::Shutdown { grace_ms: 60_000 });
    // Pings are answered while it drains, and it waits for its client.
    fake.say(&ToWorker::Ping { nonce: 4 });
    fake.expect(&ToWatchdog::Pong { nonce: 4 });
    let mut late = TcpStream::connect(&address).expect("it listens");
    late.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(late.read(&mut [0]).expect("hung up on"), 0);
    assert_eq!(say(&mut client, "bye"), "bye\n");
    fake.expect(&ToWatchdog::Stopping);
    assert_eq!((fake.hear(), code(child)), (None, Some(0)));
}

#[test]
fn the_tokio_service_ends_by_force_and_with_its_watchdog() {
    let (mut fake, mut child) = start(&example("tokio"));
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("its address");
    let client = TcpStream::connect(line.trim().rsplit(' ').next().expect("an address")).expect("it listens");
    fake.say(&ToWorker::Shutdown { grace_ms: 600 });
    while fake.hear().expect("still there") != ToWatchdog::Stopping {}
    assert_eq!((fake.hear(), code(child)), (None, Some(0)), "a client that says nothing holds nobody up");
    drop(client);
    let (mut fake, child) = start(&example("tokio"));
    while fake.hear().expect("still there") != ToWatchdog::Ready {}
    drop(fake);
    assert_eq!(code(child), Some(0));
}

#[test]
fn a_panic_says_its_last_words() {
    let (mut fake, child) = start(&format!("{} panic 2>/dev/null", example("inherit")));
    fake.expect(&greeting());
    let Some(ToWatchdog::Panic { message }) = fake.hear() else { panic!("no last words") };
    assert!(message.contains("inherit.rs") && message.contains("asked to panic"), "{message}");
    assert_eq!((fake.hear(), code(child)), (None, Some(101)));
}

#[test]
fn a_worker_in_python_speaks_from_the_document_alone() {
    if !has_python() {
        return;
    }
    let script = format!("python3 {}/tests/worker.py", env!("CARGO_MANIFEST_DIR"));
    let (mut fake, child) = start(&script);
    let status = |text: &str| ToWatchdog::Status { text: text.into() };
    for message in [greeting(), ToWatchdog::TakesShutdown, status("warm"), ToWatchdog::Ready, ToWatchdog::Beat] {
        fake.expect(&message);
    }
    let talk = [
        (ToWorker::Ping { nonce: u64::MAX }, vec![ToWatchdog::Pong { nonce: u64::MAX }]),
        (ToWorker::Reload, vec![ToWatchdog::Reloading, ToWatchdog::Ready]),
        (ToWorker::LowMemory, vec![]),
        (ToWorker::Tell { word: "grüß".into() }, vec![status("told grüß")]),
        (
            ToWorker::AskHealth,
            vec![ToWatchdog::Health {
                checks: vec![Check { name: "words".into(), pass: true, message: "fine".into() }],
            }],
        ),
        (
            ToWorker::AskMetrics,
            vec![ToWatchdog::Metrics {
                counters: vec![Count { name: "words_total".into(), value: 1 }],
                gauges: vec![Level { name: "load".into(), value: 0.5 }],
            }],
        ),
        (ToWorker::Shutdown { grace_ms: 1000 }, vec![ToWatchdog::Stopping]),
    ];
    for (said, answers) in talk {
        fake.say(&said);
        answers.iter().for_each(|answer| fake.expect(answer));
    }
    assert_eq!((fake.hear(), code(child)), (None, Some(0)));
    let (fake, child) = start(&script);
    drop(fake);
    assert_eq!(code(child), Some(4), "its watchdog was gone");
}
