//! Many services in one watchdog: what concerns one touches that one alone, and what concerns all is given out in pieces.
//! Times are no part of it: `scripts/bench/scale` and `scripts/bench/events` measure those.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::web::{Web, get, page, timed};
use common::{Dog, Run, procs, skip, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Services with a process.
const MANY: usize = 200;

fn file_of_many(count: usize, changed: usize, turn: u32) -> String {
    let one = |n: usize| {
        let turn = if n == changed { turn } else { 0 };
        format!("[service.s{n}]\ncommand = [\"sleep\", \"1000\"]\nenv = {{ TURN = \"{turn}\" }}\n")
    };
    (0..count).map(one).collect()
}

/// Pid and generation of each service.
fn processes(dog: &Dog) -> BTreeMap<String, (Value, Value)> {
    let answer = dog.control().call("status", serde_json::json!({}));
    let all = answer["result"]["services"].as_array().unwrap();
    all.iter().map(|s| (s["name"].as_str().unwrap().into(), (s["pid"].clone(), s["generation"].clone()))).collect()
}

/// One service of many has other settings: it alone is started again, and of no other is anything told.
#[test]
fn a_reload_of_one_of_many_touches_that_one_alone() {
    let dog = Run::quick_file(&file_of_many(MANY, 77, 0)).spawn();
    dog.event("ready", MANY);
    let before = processes(&dog);
    assert_eq!(before.len(), MANY);
    let told = dog.events().len();
    dog.run.write_file(&file_of_many(MANY, 77, 1));
    let answer = dog.verb(&["reload", "--json"]).code(0).json();
    assert_eq!((&answer["changed"], &answer["restarted"]), (&serde_json::json!(["s77"]), &serde_json::json!(["s77"])));
    dog.wait_ready("s77");
    let after = processes(&dog);
    let differ: Vec<&str> =
        after.iter().filter(|(name, is)| before.get(*name) != Some(is)).map(|(n, _)| &**n).collect();
    assert_eq!(differ, ["s77"]);
    let about: BTreeSet<String> = dog.events()[told..].iter().map(|e| e["service"].to_string()).collect();
    assert_eq!(about, BTreeSet::from(["\"s77\"".to_owned(), "null".to_owned()]), "no other is told of");
    dog.stop();
}

/// Services without a process of which each has a long name: a page of some megabytes.
fn large() -> Dog {
    let one = |n: usize| format!("[service.{:x>56}{n:04}]\ncommand = \"true\"\nautostart = false\n", "service");
    let many: String = (0..1500).map(one).collect();
    let file = format!("[service.web]\n{}\n{many}", common::victim(&["sleep"]));
    let dog = Run::quick_file(&file).with_http().spawn();
    dog.wait_ready("web");
    dog
}

/// Names and labels of all samples, in order.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit_once(' ').unwrap().0).collect()
}

/// The metrics of many services come in pieces, and are whole: as in one piece for a client of HTTP/1.0, no sample twice,
/// none missing; on a connection that goes on afterwards.
#[test]
fn metrics_of_many_services_are_whole_in_pieces() {
    let dog = large();
    let at = dog.http();
    let mut web = Web::connect(&at);
    web.send(&get("/metrics").repeat(2));
    let (first, second) = (web.answer().unwrap(), web.answer().unwrap());
    assert_eq!(first.header("Transfer-Encoding").as_deref(), Some("chunked"), "{}", first.head);
    assert!(first.body.len() > 1_000_000, "{}", first.body.len());
    web.send("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(web.answer_to(true).unwrap().body.is_empty());
    let mut old = TcpStream::connect(&at).unwrap();
    old.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut whole = String::new();
    old.read_to_string(&mut whole).unwrap();
    let (head, whole) = whole.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Length: ") && !head.contains("chunked"), "{head}");
    // What is counted of the answers themselves comes with the first of them.
    let own = |name: &&str| !name.starts_with("watchdog_http_responses_total");
    let expected: Vec<&str> = samples(whole).into_iter().filter(own).collect();
    for text in [&first.body, &second.body] {
        let found: Vec<&str> = samples(text).into_iter().filter(own).collect();
        assert_eq!(found.len(), found.iter().collect::<BTreeSet<_>>().len(), "a sample twice");
        assert!(found == expected, "other samples in pieces");
        assert_eq!(text.matches("watchdog_service_state{").count(), 1501);
    }
    dog.stop();
}

/// Readers that take nothing of a long page hold a piece each, not the page, and keep neither the loop nor other readers.
#[test]
fn slow_readers_of_long_metrics_hold_neither_the_loop_nor_memory() {
    let dog = large();
    let at = dog.http();
    let length = page(&at, "/metrics").body.len() as u64 / 1024;
    let before = procs::status_field(dog.pid(), "VmRSS");
    let slow: Vec<Web> = (0..60)
        .map(|_| {
            let mut web = Web::connect(&at);
            web.send(&get("/metrics").repeat(3));
            web
        })
        .collect();
    for _ in 0..10 {
        let took = timed(&at);
        assert!(took < Duration::from_secs(5), "{took:?} for one answer");
        assert!(page(&at, "/metrics").body.len() > 1_000_000);
    }
    let grown = procs::status_field(dog.pid(), "VmRSS").saturating_sub(before);
    assert!(grown < 6 * length, "{grown} KiB more for 60 readers of a page of {length} KiB");
    let pid = dog.pid_of("web", 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    dog.pid_of("web", 2);
    drop(slow);
    dog.stop();
}

/// A page that is being read while services come and go has no rest: it is broken off, which a reader sees, and the next
/// one is whole.
#[test]
fn metrics_that_are_read_over_a_reload_are_whole_or_broken_off() {
    let dog = large();
    let at = dog.http();
    let mut reader = TcpStream::connect(&at).unwrap();
    reader.write_all(get("/metrics").as_bytes()).unwrap();
    let mut begun = [0; 1024];
    reader.read_exact(&mut begun).unwrap();
    let old = std::fs::read_to_string(dog.path("watchdog.toml")).unwrap();
    dog.run.write_file(&format!("{old}[service.one-more]\ncommand = \"true\"\nautostart = false\n"));
    dog.verb(&["reload"]).code(0);
    let mut rest = Vec::new();
    // An end of the connection in the middle of it, or all that was on its way already.
    let _ = reader.read_to_end(&mut rest);
    assert!(rest.len() < 10_000_000);
    let next = page(&at, "/metrics").body;
    assert_eq!(next.matches("watchdog_service_state{").count(), 1502);
    dog.stop();
}

/// `status` of many services is one answer with each of them once, in the order of the file; a name of one is found among them,
/// and so are a pattern and a name that no service has.
#[test]
fn status_of_many_services_is_whole_and_finds_one() {
    let dog = large();
    let all = dog.verb(&["status", "--json"]).code(0).json();
    let names: Vec<&str> = all["services"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[0]), (1501, "web"));
    assert!(names[1..].is_sorted(), "in the order of the file");
    let one = dog.verb(&["status", "--json", names[700]]).code(0).json();
    assert_eq!(one["services"].as_array().unwrap().len(), 1);
    assert_eq!(one["services"][0]["name"], names[700]);
    let some = dog.verb(&["status", "--json", "*0007"]).code(0).json();
    assert_eq!(some["services"].as_array().unwrap().len(), 1);
    assert!(dog.verb(&["status", "none"]).code(3).err.contains("no service \"none\" here"));
    dog.stop();
}

/// All die at once where there are few descriptors to spare: what the dead have left is closed before the next ones need the
/// numbers.
#[test]
fn a_storm_of_deaths_takes_no_more_descriptors_than_there_were() {
    let at_once = "[defaults]\nrestart_delay = \"0s\"\n";
    let dog = Run::quick_file(&format!("{at_once}{}", file_of_many(MANY, 0, 0))).spawn();
    dog.event("ready", MANY);
    let pids: Vec<i64> = processes(&dog).values().filter_map(|(pid, _)| pid.as_i64()).collect();
    let open = std::fs::read_dir(format!("/proc/{}/fd", dog.pid())).unwrap();
    let highest: u64 = open.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).max().unwrap();
    let limit = format!("--nofile={}:", highest + MANY as u64 / 4);
    let limited = Command::new("prlimit").args(["--pid", &dog.pid().to_string(), &limit]).status();
    assert!(limited.unwrap().success());
    // While it does not run, all of them die: one turn has all deaths.
    dog.signal(Signal::SIGSTOP);
    for pid in &pids {
        kill(Pid::from_raw(i32::try_from(*pid).unwrap()), Signal::SIGKILL).unwrap();
    }
    dog.signal(Signal::SIGCONT);
    dog.event("spawn", 2 * MANY);
    dog.stop().count("spawn-failed", 0);
}

/// Memory and time of all services are measured in portions; our children that are no main process are looked for once.
#[test]
fn metrics_of_many_services_look_for_orphans_once() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("needs strace");
    }
    let dog = Run::quick_file(&file_of_many(MANY, 0, 0)).with_http().spawn();
    dog.event("ready", MANY);
    let (trace, pid) = (dog.path("trace"), dog.pid().to_string());
    let mut strace = Command::new("strace");
    strace.args(["-e", "trace=openat", "-o"]).arg(&trace).args(["-p", &pid]).env("WDTEST", &dog.run.mark);
    let mut strace = strace.stderr(Stdio::null()).spawn().unwrap();
    let traced = within(Duration::from_secs(5), || procs::status_field(dog.pid(), "TracerPid") != 0);
    let mut web = Web::connect(&dog.http());
    web.send(&get("/metrics"));
    let answer = web.answer().unwrap();
    let _ = kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT);
    let _ = strace.wait();
    assert!(answer.body.contains("watchdog_service_resident_memory_bytes"), "{}", answer.body.len());
    if !traced {
        return skip("this machine does not let us trace");
    }
    let text = std::fs::read_to_string(&trace).unwrap();
    let own = format!("\"/proc/{pid}/task/{pid}/children\"");
    assert_eq!(text.lines().filter(|line| line.contains(&own)).count(), 1, "{} lines", text.lines().count());
    dog.stop();
}
