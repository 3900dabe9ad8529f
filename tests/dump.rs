//! What a hung program shows of itself before it dies: the stacks of Python, and of one that dumps at QUIT as Go does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, procs, skip, wait_for};
use serde_json::{Value, json};

/// Speaks sd_notify without a library, beats for a while, and then this.
const BEATS: &str = "import os, signal, socket, sys, threading, time\n\
    name = os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1)\n\
    beat = lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'WATCHDOG=1', name)\n";

fn python(run: Run, script: &str) -> Option<Run> {
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        skip("python3 is not installed");
        return None;
    }
    std::fs::write(run.path("worker.py"), format!("{BEATS}{script}")).unwrap();
    let path = run.at("worker.py");
    Some(run.flag("--log", "tee").flag("--hang-dump-timeout", "5s").program(["python3", &path]))
}

/// The report that follows the n-th exit, and the lines of output in it.
fn report(dog: &Dog) -> (Value, String) {
    let answer = wait_for("a report", || {
        let verb = dog.verb(&["report", "last", "--json"]);
        (verb.code == 0).then(|| verb.json())
    });
    let report = if answer["report"].is_object() { answer["report"].clone() } else { answer };
    let lines = report["log"]["lines"].as_array().unwrap_or_else(|| panic!("{report}")).clone();
    let text = lines.iter().filter_map(|l| l["line"].as_str()).collect::<Vec<_>>().join("\n");
    (report, text)
}

/// Section 6: PYTHONFAULTHANDLER=1 with ABRT, set because heartbeats were asked for
#[test]
fn the_report_on_a_deadlocked_python_program_holds_the_stack_of_every_thread() {
    let script = "a, b = threading.Lock(), threading.Lock()\n\
        def producer():\n    with a:\n        time.sleep(0.5)\n        b.acquire()\n\
        def consumer():\n    with b:\n        time.sleep(0.5)\n        a.acquire()\n\
        threads = [threading.Thread(target=f) for f in (producer, consumer)]\n\
        [t.start() for t in threads]\n\
        [(beat(), time.sleep(0.1)) for _ in range(3)]\n\
        def wait_for_all():\n    [t.join() for t in threads]\n\
        wait_for_all()\n";
    let run = Run::beating().flag("--restart-delay", "60s");
    let Some(run) = python(run, script) else { return };
    let dog = run.spawn();
    let exit = dog.event("exit", 1);
    assert_eq!((&exit["cause"], &exit["signal"]), (&json!("hang"), &json!("ABRT")), "{exit}");
    let (report, text) = report(&dog);
    for part in ["Fatal Python error: Aborted", "in producer", "in consumer", "in wait_for_all"] {
        assert!(text.contains(part), "{part:?} is not in the report: {text}");
    }
    assert_eq!((&report["cause"], &report["verdict"]), (&json!("hang"), &json!("deadlocked")));
    let threads = report["threads"].as_array().unwrap();
    assert_eq!(threads.len(), 3, "{report}");
    assert_eq!(report["heartbeat"]["dialect"], "notify");
    let ended = dog.stop();
    assert!(ended.err.contains("in consumer"), "and it went to the standard error as well");
}

/// Section 6: QUIT for Go and the JVM: a dump, and an exit code of its own
#[test]
fn the_report_on_a_program_that_dumps_at_quit_holds_its_dump() {
    let script = "def dump(*_):\n    print('goroutine 1 [running]:\\nmain.main()', file=sys.stderr, flush=True)\n    os._exit(2)\n\
        signal.signal(signal.SIGQUIT, dump)\n\
        [(beat(), time.sleep(0.1)) for _ in range(3)]\ntime.sleep(100000)\n";
    let run = Run::beating().flag("--hang-signal", "QUIT").flag("--restart-delay", "60s");
    let Some(run) = python(run, script) else { return };
    let dog = run.spawn();
    let exit = dog.event("exit", 1);
    assert_eq!((&exit["cause"], &exit["code"], &exit["signal"]), (&json!("hang"), &json!(2), &Value::Null), "{exit}");
    let (report, text) = report(&dog);
    assert!(text.contains("goroutine 1 [running]:\nmain.main()"), "{text}");
    assert_eq!((&report["cause"], &report["code"]), (&json!("hang"), &json!(2)), "{report}");
    dog.stop().count("kill-escalated", 0).count("restart-scheduled", 1);
}

/// One that catches ABRT and stays is killed, and its words are kept all the same
#[test]
fn a_program_that_only_talks_at_its_dump_is_killed_after_it() {
    let script = "signal.signal(signal.SIGABRT, lambda *_: print('still here', flush=True))\n\
        [(beat(), time.sleep(0.1)) for _ in range(3)]\n\
        while True: time.sleep(1000)\n";
    let run = Run::beating().flag("--restart-delay", "60s");
    let Some(run) = python(run, script) else { return };
    let dog = run.flag("--hang-dump-timeout", "700ms").spawn();
    let exit = dog.event("exit", 1);
    assert_eq!((&exit["cause"], &exit["signal"]), (&json!("hang"), &json!("KILL")), "{exit}");
    assert!(report(&dog).1.contains("still here"));
    let pid = dog.worker_pid(1);
    dog.stop().count("kill-escalated", 1);
    assert!(!procs::alive(pid));
}

/// Where the output is not ours the report says so
#[test]
fn the_report_says_where_the_output_went_when_it_was_not_ours() {
    let dog = Run::beating().flag("--restart-delay", "60s").talks(&["hello", "serve:400", "sleep:1000000"]).spawn();
    dog.event("exit", 1);
    let (report, text) = report(&dog);
    assert_eq!((&report["log"]["captured"], &text), (&json!(false), &String::new()), "{report}");
    assert!(report["log"]["note"].as_str().unwrap().contains("--log"), "{report}");
    let descriptors = report["descriptors"].as_array().unwrap();
    assert!(descriptors.len() >= 3 && report["threads"].as_array().is_some_and(|t| !t.is_empty()), "{report}");
    assert!(!report.to_string().contains("serve:400"), "nothing of the command line but its first word");
    dog.stop();
}
