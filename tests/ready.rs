//! Ready: by the exec, by a word in any dialect, by a line, by a port; told once, waited for, and not waited for for ever.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, about, procs, stays, wait_for, wait_line};
use serde_json::json;
use std::time::{Duration, Instant};

/// The worker is up and not ready until `go` makes it so; then by these words.
fn ready_by(dog: Dog, by: &str) -> common::Ended {
    let event = dog.event("ready", 1);
    assert_eq!(event["ready_by"], by, "{event}");
    let status = dog.status();
    assert_eq!((&status["state"], &status["ready"]), (&json!("running"), &json!(true)), "{status}");
    assert_eq!(status["ready_by"], by);
    dog.stop().count("ready", 1).count("spawn", 1).count("hang", 0)
}

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Until the script says `note:now` nothing is ready.
fn not_before_now(dog: &Dog) {
    wait_for("the start of the worker", || (dog.heard("start") == 1).then_some(()));
    wait_for("ready, and `now` before it", || {
        let ready = !dog.events_of("ready").is_empty();
        assert!(!ready || dog.heard("now") == 1, "ready before the worker said so");
        ready.then_some(())
    });
}

/// Section 6: auto and spawned
#[test]
fn a_worker_that_says_nothing_is_ready_when_it_runs() {
    for ready in ["auto", "spawned"] {
        let dog = Run::quick().flag("--ready", ready).talks(&["term", "exit:0"]).spawn();
        dog.hears("start");
        ready_by(dog, "spawned").code(0);
    }
}

/// users 5: ready when it is still there. Failed before: there was no such word, and `auto` is ready at once.
#[test]
fn a_worker_that_has_to_stay_is_ready_when_it_is_still_there() {
    let dog = Run::quick().flag("--ready", "alive:1s").talks(&["term", "n:READY=1", "note:said", "exit:0"]).spawn();
    dog.hears("start");
    let why = dog.verb(&["explain", "--why-not"]).code(0).out;
    assert!(why.contains("still there 1s after its start (ready = alive)") && why.contains("to go"), "{why}");
    assert!(dog.events_of("ready").is_empty(), "its READY is noted and nothing more");
    ready_by(dog, "alive").code(0);
}

/// Failed before: an end with 0 was a success, however early it came.
#[test]
fn a_worker_that_leaves_before_that_has_failed_to_start() {
    let run = Run::quick().flag("--ready", "alive:30s").flag("--restart-limit", "1");
    let ended = run.program(["true"]).run().code(1).count("spawn", 2).count("ready", 0).count("gave-up", 1);
    assert!(ended.says("a failed start, for it was to stay for 30s").of("exit")[0]["code"] == 0);
    // Failed before: status 1 without a line.
    let once = Run::once().flag("--ready", "alive:30s").program(["true"]).run().code(1).count("spawn", 1);
    once.says("a failed start, for it was to stay for 30s");
    // One that is asked to end is no failure, and one that stayed may end as it likes.
    let dog = Run::quick().flag("--ready", "alive:30s").talks(&["term", "exit:0"]).spawn();
    dog.hears("start");
    dog.stop().code(0).count("restart-scheduled", 0);
    Run::quick().flag("--ready", "alive:50ms").program(["sleep", "1"]).run().code(0).count("ready", 1);
}

/// Section 6: a READY under auto is noted and never un-readies
#[test]
fn a_ready_under_auto_changes_nothing() {
    let steps = ["n:READY=1|STATUS=from notify", "sleep:200", "hello", "ready", "status:after both", "serve"];
    let dog = Run::quick().talks(&steps).spawn();
    wait_for("the last word", || (dog.status()["status_text"] == "after both").then_some(()));
    assert_eq!(dog.armed()["dialect"], "native", "the one that beats");
    ready_by(dog, "spawned").order(&["spawn", "ready", "status", "status"]);
}

/// HAN-20: ready at READY=1 only
#[test]
fn reported_by_notify() {
    let dog = Run::quick().flag("--ready", "reported");
    let dog = dog.talks(&["n:STATUS=warming up", "zero", "n:READY=0", "sleep:150", "note:now", "n:READY=1"]).spawn();
    not_before_now(&dog);
    ready_by(dog, "notify");
}

/// Section 6: reported in the native dialect
#[test]
fn reported_by_the_native_frame() {
    let run = Run::quick().flag("--ready", "reported");
    let dog = run.talks(&["hello", "status:warming", "sleep:150", "note:now", "ready", "serve"]).spawn();
    not_before_now(&dog);
    ready_by(dog, "native");
}

/// Section 6: reported in Node's dialect, as pm2's workers say it and as ours do
#[test]
fn reported_by_node() {
    for word in ["'ready'", "{type: 'ready'}"] {
        let script = format!("setTimeout(() => process.send({word}), 100); setInterval(() => 0, 1000);");
        let Some(run) = Run::quick().flag("--ready", "reported").node(&script) else { return };
        ready_by(run.spawn(), "node");
    }
}

/// Section 6: s6's newline on a descriptor
#[test]
fn a_newline_on_the_descriptor() {
    let run = Run::quick().flag("--ready", "fd");
    let dog = run.talks(&["n:READY=1", "hello", "ready", "sleep:150", "note:now", "fd:up"]).spawn();
    not_before_now(&dog);
    ready_by(dog, "fd");
}

/// Section 6: a line of output, however it is captured; a part of a line is enough, its beginning alone is not
#[test]
fn a_line_of_its_output() {
    for (mode, stream) in [("tee", "say"), ("capture", "say"), ("capture", "err")] {
        let run = Run::quick().flag("--ready", "line:is listening").flag("--log", mode);
        let say = format!("{stream}:server is listening on 8080");
        let dog = run.talks(&["say:is lis", "say:tening", "n:READY=1", "sleep:150", "note:now", &say]).spawn();
        not_before_now(&dog);
        let out = dog.path("out");
        let ended = ready_by(dog, "line");
        assert_eq!(common::lines(&out).is_empty(), mode == "capture", "{}", ended.story());
    }
}

/// Section 6: a listener of the main process, or of a child
#[test]
fn a_port_that_it_or_a_child_listens_on() {
    let ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for how in ["listen", "child-listen", "listen6"].into_iter().filter(|how| *how != "listen6" || ipv6) {
        let port = port();
        let run = Run::quick().flag("--ready", format!("port:{port}"));
        let dog = run.talks(&["sleep:150", "note:now", &format!("{how}:{port}")]).spawn();
        not_before_now(&dog);
        ready_by(dog, "port");
    }
}

/// PRO-12, for ports: a stranger's listener says nothing of the worker
#[test]
fn a_foreign_listener_on_its_port_does_not_count() {
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = foreign.local_addr().unwrap().port();
    let dog = Run::quick().flag("--ready", format!("port:{port}")).talks(&["term", "exit:0"]).spawn();
    dog.hears("start");
    stays("not ready", Duration::from_millis(500), || dog.events_of("ready").is_empty());
    let status = dog.status();
    assert_eq!((&status["state"], &status["ready"]), (&json!("starting"), &json!(false)), "{status}");
    assert!(status["reason"].as_str().unwrap().contains(&port.to_string()), "{status}");
    dog.stop().code(0).count("ready", 0);
}

/// HAN-03: never ready is a failure with a cause of its own; pongs do not put it off
#[test]
fn a_worker_that_is_never_ready_is_ended_counted_and_started_again() {
    let run = Run::beating().flag("--ready", "reported").flag("--start-timeout", "700ms").flag("--restart-limit", "1");
    let began = Instant::now();
    let dog = run.talks(&["hello", "serve"]).spawn();
    dog.event("exit", 1);
    about(began.elapsed(), 700);
    let ended = dog.wait().count("spawn", 2).count("ready", 0).count("hang", 0).count("gave-up", 1);
    for exit in ended.of("exit") {
        assert_eq!((&exit["cause"], &exit["requested"]), (&json!("start-timeout"), &json!(false)), "{exit}");
    }
    assert_eq!(ended.code, 1, "an end by a rule, whatever the code of the worker\n{}", ended.story());
    let pings = ended.lines("talk").iter().filter(|l| l.starts_with("ping")).count();
    assert!(pings >= 1, "it was asked and answered");
    assert_eq!(ended.of("restart-scheduled")[0]["cause"], "start-timeout");
}

/// HAN-03 in Node; a deaf and silent one as well
#[test]
fn a_node_worker_that_is_never_ready_is_ended() {
    let run = Run::once().flag("--ready", "reported").flag("--start-timeout", "2s");
    let script = "process.on('message', m => { if (m.type === 'ping') process.send({type: 'pong', id: m.id}) });";
    let Some(run) = run.node(script) else { return };
    let ended = run.run().count("ready", 0);
    assert_eq!(ended.of("exit")[0]["cause"], "start-timeout");
}

/// HAN-04
#[test]
fn a_worker_that_is_late_but_in_time_is_ready() {
    let run = Run::quick().flag("--ready", "reported").flag("--start-timeout", "3s");
    ready_by(run.talks(&["sleep:1500", "n:READY=1"]).spawn(), "notify").count("restart-scheduled", 0);
}

/// EXTEND_TIMEOUT_USEC and the frame: the deadline moves, and not without bound
#[test]
fn a_worker_may_put_its_start_timeout_off() {
    for extend in [&["n:EXTEND_TIMEOUT_USEC=5000000"][..], &["hello", "extend:5000"]] {
        let run = Run::quick().flag("--ready", "reported").flag("--start-timeout", "700ms");
        let steps = [extend, &["sleep:1500", "n:READY=1"]].concat();
        ready_by(run.talks(&steps).spawn(), "notify").count("restart-scheduled", 0);
    }
}

#[test]
fn a_start_timeout_cannot_be_put_off_for_ever() {
    let run = Run::once().flag("--ready", "reported").flag("--start-timeout", "200ms");
    let began = Instant::now();
    let ended = run.talks(&["n:EXTEND_TIMEOUT_USEC=600000000", "n:EXTEND_TIMEOUT_USEC=600000000"]).run();
    // ten times the timeout
    about(began.elapsed(), 2000);
    assert_eq!(ended.of("exit")[0]["cause"], "start-timeout", "{}", ended.story());
}

/// Section 6: no deadline where it was taken away
#[test]
fn without_a_start_timeout_it_is_waited_for() {
    let run = Run::quick().flag("--ready", "reported").flag("--start-timeout", "none");
    ready_by(run.talks(&["sleep:400", "n:READY=1"]).spawn(), "notify");
}

/// HAN-08
#[test]
fn ready_and_then_dead_at_once_is_told_in_this_order() {
    let run = Run::once().flag("--ready", "reported");
    run.talks(&["n:READY=1", "exit:7"]).run().code(7).count("ready", 1).order(&["spawn", "ready", "exit"]);
    let run = Run::once().flag("--ready", "reported");
    run.talks(&["hello", "ready", "exit:8"]).run().code(8).count("ready", 1).order(&["spawn", "ready", "exit"]);
}

/// Told once, however often and in how many ways it is said
#[test]
fn ready_is_told_once() {
    let run = Run::quick().flag("--ready", "reported").flag("--dialects", "native,notify,fd");
    let steps = ["hello", "ready", "n:READY=1", "fd:up", "ready", "n:READY=1|STATUS=all said", "serve"];
    let dog = run.talks(&steps).spawn();
    wait_for("the last word", || (dog.status()["status_text"] == "all said").then_some(()));
    dog.stop().count("ready", 1);
}

/// Section 2: `wait --for ready` and `start` wait; a timeout is a no
#[test]
fn wait_and_start_wait_until_it_is_ready() {
    let run = Run::quick().flag("--ready", "reported");
    let dog = run.talks_once(&["sleep:300", "n:READY=1", "sleep:100000"], &["sleep:600", "n:READY=1"]).spawn();
    dog.verb(&["wait", "worker", "--for", "ready", "--timeout", "50ms"]).code(1);
    dog.verb(&["wait", "worker", "--for", "ready"]).code(0);
    assert_eq!(dog.events_of("ready").len(), 1);
    dog.verb(&["stop", "worker"]).code(0);
    let began = Instant::now();
    dog.verb(&["start", "worker"]).code(0);
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    assert_eq!(dog.events_of("ready").len(), 2);
    dog.verb(&["wait", "worker", "--for", "ready"]).code(0);
    dog.stop().count("ready", 2);
}

/// The same where it never comes: `start` says no, with the last lines of output
#[test]
fn start_of_a_worker_that_does_not_become_ready_says_no() {
    let run = Run::quick().flag("--ready", "reported").flag("--log", "capture").flag("--start-timeout", "20s");
    let dog = run.talks_once(&["n:READY=1", "sleep:100000"], &["say:no database", "sleep:100000"]).spawn();
    dog.event("ready", 1);
    dog.verb(&["stop", "worker"]).code(0);
    dog.verb(&["start", "worker", "--timeout", "400ms"]).code(1);
    let waited = dog.verb(&["wait", "worker", "--for", "ready", "--timeout", "100ms"]).code(1);
    assert!(format!("{}{}", waited.out, waited.err).contains("no database"), "{waited:?}");
    dog.stop();
}

/// The variables of section 6 are there, and are those of this generation
#[test]
fn a_worker_sees_its_ways_to_speak() {
    let run = Run::once().flag("--dialects", "native,notify,node,fd");
    let line = "echo $WATCHDOG_CHANNEL $NODE_CHANNEL_FD $WATCHDOG_READY_FD; echo \"$NOTIFY_SOCKET\"; \
                echo $WATCHDOG_PID $$ $WATCHDOG_USEC $WATCHDOG_ENABLED; ls -l /proc/$$/fd | grep -c socket:";
    let ended = run.program(["sh", "-c", line]).run().code(0);
    let lines: Vec<&str> = ended.out.lines().collect();
    let numbers: Vec<i32> = lines[0].split(' ').map(|n| n.parse().unwrap()).collect();
    assert!(numbers.len() == 3 && numbers.iter().all(|n| *n >= 3), "{lines:?}");
    assert!(lines[1].starts_with('/'), "a path of its own: {lines:?}");
    let words: Vec<&str> = lines[2].split(' ').collect();
    assert_eq!((words[0], words[2], words[3]), (words[1], "30000000", "true"), "{lines:?}");
    assert_eq!(lines[3], "2", "native and node are its sockets, and nothing else is");
}

/// As PID 1 of a container: the kernel names senders by the numbers of the namespace
#[test]
fn a_worker_of_pid_1_says_that_it_is_ready() {
    if !common::can_unshare(&["--pid", "--fork", "--mount-proc"]) {
        return common::skip("needs namespaces");
    }
    let run = Run::quick().flag("--ready", "reported");
    let steps = ["child:STATUS=from a child", "n:READY=1", "hello", "term", "exit:0"];
    let dog = run.talks(&steps).pid_1().spawn();
    assert_eq!(dog.event("ready", 1)["ready_by"], "notify");
    dog.event("status", 1);
    dog.stop().code(0).count("notify-denied", 0);
}

/// None is offered where none is wanted
#[test]
fn a_worker_that_is_offered_nothing_sees_nothing() {
    let run = Run::once().flag("--dialects", "none").flag("--heartbeat", "off");
    let ended = run.program(["sh", "-c", "env | grep -E 'CHANNEL|NOTIFY|READY_FD|USEC|WATCHDOG_PID'"]).run().code(1);
    assert_eq!(ended.out, "");
}

/// A worker that waits for nobody's READY can still be stopped while it starts
#[test]
fn a_worker_that_is_still_starting_is_stopped_at_once() {
    let dog = Run::quick().flag("--ready", "reported").talks(&["term", "exit:3"]).spawn();
    wait_line(&dog.path("talk"), "start");
    let pid = dog.worker_pid(1);
    let ended = dog.stop().code(3).count("ready", 0).before(10_000);
    assert!(!procs::alive(pid));
    assert_eq!(ended.of("exit")[0]["requested"], true);
}
