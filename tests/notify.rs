//! sd_notify(3) from outside: what a worker may say, who may say it, and what nobody can do with it (HAN-20..24).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, procs, skip, wait_for, wait_line, within, worker};
use serde_json::json;
use std::time::{Duration, Instant};

/// The value of NOTIFY_SOCKET in the worker, as a stranger can read it.
fn socket_of(pid: i32) -> String {
    wait_for("NOTIFY_SOCKET", || {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let text = String::from_utf8_lossy(&environ).into_owned();
        text.split('\0').find_map(|v| v.strip_prefix("NOTIFY_SOCKET=").map(str::to_string))
    })
}

/// One datagram from a process that is none of the worker's, as this user.
fn stranger(socket: &str, text: &str, uid: Option<u32>) {
    let mut words: Vec<String> = Vec::new();
    if let Some(uid) = uid {
        let become_user = [format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into()];
        words.extend(["setpriv".to_string()].into_iter().chain(become_user));
    }
    words.extend([worker().to_string_lossy().into_owned(), "notify-once".into(), text.into()]);
    let mut command = std::process::Command::new(&words[0]);
    assert!(command.args(&words[1..]).env("NOTIFY_SOCKET", socket).status().unwrap().success());
}

fn status_text(dog: &Dog, text: &str) {
    wait_for(&format!("status text {text:?}"), || (dog.status()["status_text"] == text).then_some(()));
}

/// HAN-20: the words
#[test]
fn what_a_worker_says_is_shown() {
    let steps = [
        // at a pace at which each of them is an event
        "n:READY=1|STATUS=serving 3 clients",
        "sleep:200",
        "n:RELOADING=1|MONOTONIC_USEC=17|STATUS=reading",
        "sleep:200",
        "n:READY=1|STATUS=serving again",
        "term",
        "sleep:200",
        "n:STOPPING=1|STATUS=good bye",
        "exit:0",
    ];
    let dog = Run::quick().flag("--ready", "reported").talks(&steps).spawn();
    status_text(&dog, "serving again");
    let status = dog.status();
    assert_eq!((&status["state"], &status["heartbeat"]["dialect"]), (&json!("running"), &json!("notify")));
    let ended = dog.stop().code(0).count("ready", 1).count("reload", 1).count("notify-denied", 0);
    let texts: Vec<_> = ended.of("status").iter().map(|e| e["text"].as_str().unwrap().to_string()).collect();
    assert_eq!(texts, ["serving 3 clients", "reading", "serving again", "good bye"], "{}", ended.story());
}

/// Section 6: a worker that says what it does a thousand times is no flood of events
#[test]
fn a_status_that_changes_all_the_time_is_told_of_seldom_and_shown_as_it_is() {
    let mut steps: Vec<String> = (0..300).map(|n| format!("n:STATUS=step {n}")).collect();
    steps.extend(["n:STATUS=the last".into(), "term".into(), "exit:0".into()]);
    let dog = Run::quick().talks(&steps.iter().map(String::as_str).collect::<Vec<_>>()).spawn();
    status_text(&dog, "the last");
    let ended = dog.stop().code(0);
    let told = ended.of("status").len() as u128;
    assert!((1..=1 + ended.took.as_millis() / 90).contains(&told), "{told} in {:?}", ended.took);
}

/// HAN-20: nothing of it reaches a terminal as a command
#[test]
fn a_status_with_control_characters_is_shown_without_them() {
    let dog = Run::quick().talks(&["n:STATUS=\u{1b}[31mred\u{7}\tend", "term", "exit:0"]).spawn();
    status_text(&dog, "[31mredend");
    let shown = dog.verb(&["status", "worker"]).code(0);
    assert!(!shown.out.contains('\u{1b}'), "{shown:?}");
    dog.stop().code(0);
}

/// ERRNO and STATUS are evidence
#[test]
fn the_reason_that_a_worker_gives_is_in_its_report() {
    let run = Run::quick().flag("--restart-delay", "60s");
    let dir = run.at("reports");
    let dog = run.flag("--report-dir", dir).talks(&["n:STATUS=no database|ERRNO=111", "barrier", "exit:3"]).spawn();
    dog.wait_state("backoff");
    let answer = dog.verb(&["report", "last", "--json"]).code(0).json();
    let report = if answer["report"].is_object() { &answer["report"] } else { &answer };
    assert_eq!((&report["worker_errno"], &report["status_text"]), (&json!(111), &json!("no database")), "{report}");
    dog.stop();
}

/// HAN-21: the same user, and another one
#[test]
fn a_stranger_is_denied_and_changes_nothing() {
    let mut users = vec![None];
    if common::is_root() {
        users.push(Some(65534));
    }
    for uid in users {
        let run = Run::quick().flag("--ready", "reported");
        let dog = run.talks(&["sleep:100000"]).spawn();
        let pid = dog.worker_pid(1);
        let text = format!("READY=1|STATUS=lies|WATCHDOG=trigger|MAINPID={}|STOPPING=1", std::process::id());
        stranger(&socket_of(pid), &text, uid);
        let denied = dog.event("notify-denied", 1);
        assert_eq!(denied["uid"], uid.unwrap_or_else(|| nix::unistd::getuid().as_raw()), "{denied}");
        assert!(denied["sender"].as_i64().unwrap() > 1, "{denied}");
        let status = dog.status();
        assert_eq!((&status["state"], &status["status_text"]), (&json!("starting"), &json!(null)), "{status}");
        assert_eq!(status["pid"], pid);
        dog.stop().count("ready", 0).count("hang", 0).count("status", 0);
    }
}

/// HAN-21: a flood of strangers is a few lines
#[test]
fn many_strangers_are_told_of_seldom() {
    let dog = Run::quick().talks(&["sleep:100000"]).spawn();
    let socket = socket_of(dog.worker_pid(1));
    let began = Instant::now();
    for _ in 0..40 {
        stranger(&socket, "READY=1", None);
    }
    dog.event("notify-denied", 1);
    let most = began.elapsed().as_secs() as usize + 2;
    let ended = dog.stop();
    assert!((1..=most).contains(&ended.of("notify-denied").len()), "{}", ended.story());
}

/// HAN-21, HAN-23: a stranger that never stops costs the worker's own words nothing, and nobody's patience
#[test]
fn a_flood_of_strangers_keeps_nobody_out() {
    let run = Run::beating().flag("--heartbeat-interval", "2s").flag("--heartbeat-misses", "3");
    let dog = run.talks(&["n-beats:50:100000"]).spawn();
    dog.armed();
    let socket = socket_of(dog.worker_pid(1));
    let mut words = dog.run.command(&[worker().into(), "notify-once".into(), "READY=1|STATUS=lies".into()]);
    let flood = words.args(["--times", "100000000"]).env("NOTIFY_SOCKET", socket).env("WDTEST", dog.run.mark());
    let mut flood = flood.spawn().unwrap();
    dog.event("notify-denied", 1);
    let (mut slowest, began) = (Duration::ZERO, Instant::now());
    while began.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert_eq!(dog.status()["status_text"], json!(null));
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    dog.signal(nix::sys::signal::Signal::SIGTERM);
    dog.event("exit", 1);
    let _ = (flood.kill(), flood.wait());
    let ended = dog.wait().code(143).before(30_000).count("hang", 0).count("spawn", 1);
    assert!(ended.of("notify-denied").len() < 12, "{}", ended.story());
}

/// HAN-21: the worker's tree may speak for it
#[test]
fn a_child_of_the_worker_may_speak() {
    let run = Run::quick().flag("--ready", "reported");
    let dog = run.talks(&["child:READY=1|STATUS=from a child", "term", "exit:0"]).spawn();
    dog.event("ready", 1);
    status_text(&dog, "from a child");
    dog.stop().code(0).count("notify-denied", 0);
}

/// HAN-21: a shell script with the usual tool, where there is one
#[test]
fn a_script_may_speak_by_systemd_notify() {
    if std::process::Command::new("systemd-notify").arg("--version").output().is_err() {
        println!("SKIPPED: systemd-notify is not installed");
        return;
    }
    let run = Run::quick().flag("--ready", "reported");
    let dog = run.program(["sh", "-c", "systemd-notify --ready --status=up; exec sleep 1000"]).spawn();
    dog.event("ready", 1);
    dog.stop().code(143);
}

/// HAN-21: a sender that is gone before it is looked at confuses nobody
#[test]
fn senders_that_are_gone_do_no_harm() {
    let steps = ["brief-child:STATUS=brief"; 20];
    let dog = Run::quick().talks(&[&steps[..], &["n:STATUS=mine", "term", "exit:0"]].concat()).spawn();
    status_text(&dog, "mine");
    dog.stop().code(0).count("spawn", 1).count("hang", 0);
}

/// HAN-22
#[test]
fn bad_datagrams_have_no_effect_and_later_ones_have() {
    let bad = ["zero", "huge", "n:", "n:READY", "n:=1", "n:READY=yes", "n:READY=1 ", "n:|||", "n:WATCHDOG=maybe"];
    let run = Run::quick().flag("--ready", "reported");
    let dog = run.talks(&[&bad[..], &["barrier", "note:now", "n:READY=1|STATUS=good"]].concat()).spawn();
    let ready = dog.event("ready", 1);
    assert_eq!(dog.heard("now"), 1, "{ready}");
    status_text(&dog, "good");
    dog.stop().count("ready", 1).count("hang", 0).count("status", 1);
}

/// HAN-23
#[test]
fn a_flood_of_datagrams_keeps_nobody_out() {
    let dog = Run::quick().talks(&["n-flood:20000", "n:STATUS=flooded", "n-flood:10000000"]).spawn();
    status_text(&dog, "flooded");
    let before = procs::status_field(dog.pid(), "VmRSS");
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(dog.status()["state"], "running");
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let grown = procs::status_field(dog.pid(), "VmRSS").saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    dog.stop().code(143).before(30_000).count("kill-escalated", 0);
}

/// HAN-19, HAN-23: descriptors that come along are closed
#[test]
fn descriptors_that_come_along_are_closed() {
    let dog = Run::quick().talks(&["n:STATUS=before", "term", "n-descriptors:200", "n:STATUS=after", "sleep:100000"]);
    let dog = dog.spawn();
    status_text(&dog, "before");
    let count = || procs::fd_count(dog.pid());
    let before = wait_for("a settled count", || Some(count()).filter(|n| *n == count()));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(dog.worker_pid(1)), nix::sys::signal::Signal::SIGTERM).unwrap();
    status_text(&dog, "after");
    assert!(within(Duration::from_secs(5), || count() <= before), "{} descriptors, were {before}", count());
    dog.stop();
}

/// BARRIER=1: the sender knows when all before it was heard
#[test]
fn a_barrier_is_lifted_when_what_came_before_was_heard() {
    let dog = Run::quick().talks(&["n:STATUS=first", "barrier", "term", "exit:0"]).spawn();
    assert!(dog.hears("barrier").starts_with("barrier closed"));
    assert_eq!(dog.status()["status_text"], "first", "heard before the barrier was lifted");
    dog.stop().code(0);
}

/// HAN-24
#[test]
fn lies_about_the_main_process_are_ignored() {
    let own = std::process::id().to_string();
    let stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let parent = nix::unistd::getppid().to_string();
    let other = stranger.id().to_string();
    for lie in ["0", "1", "-1", "4194303", "five", "99999999999", &own, &parent, &other] {
        let run = Run::once();
        let say = format!("n:MAINPID={lie}");
        let dog = run.talks(&[&say, "barrier", "note:said", "term", "exit:4"]).spawn();
        dog.hears("said");
        assert_eq!(dog.status()["pid"], dog.worker_pid(1), "{lie}");
        dog.stop().code(4).count("exit", 1);
        assert!(procs::alive(stranger.id() as i32) && procs::alive(parent.parse().unwrap()), "{lie}");
    }
    let mut stranger = stranger;
    let _ = (stranger.kill(), stranger.wait());
}

/// HAN-24: the watchdog's own pid is not its worker's
#[test]
fn the_watchdog_itself_is_no_main_process() {
    let line = "exec \"$0\" talk --log \"$1\" \"n:MAINPID=$PPID\" barrier note:said exit:5";
    let run = Run::once();
    let (victim, log) = (worker().to_string_lossy().into_owned(), run.at("talk"));
    run.program(["sh", "-c", line, &victim, &log]).run().code(5).count("exit", 1).count("spawn", 1);
}

/// MAINPID of a process of its own: the service goes on under it
#[test]
fn a_worker_that_hands_over_to_its_child_goes_on_under_its_pid() {
    let steps = ["hand-over:1500:7", "n:MAINPID=%F|READY=1", "barrier", "exit:0"];
    let dog = Run::once().flag("--ready", "reported").talks(&steps).spawn();
    let first = dog.worker_pid(1);
    let forked: i32 = dog.hears("forked").split(' ').nth(1).unwrap().parse().unwrap();
    wait_for("the new pid", || (dog.status()["pid"] == forked).then_some(()));
    assert!(!procs::alive(first));
    assert_eq!((dog.status()["state"].clone(), dog.events_of("exit").len()), (json!("running"), 0));
    let ended = dog.wait().code(7).count("spawn", 1).count("exit", 1).count("leftover-killed", 0);
    assert!(ended.of("exit")[0]["uptime_ms"].as_u64().unwrap() >= 1400, "{}", ended.story());
}

/// The same: it is the one that is stopped, and the one that is started again when it fails
#[test]
fn the_child_that_was_handed_over_to_is_stopped_and_restarted() {
    let steps = ["fork", "n:MAINPID=%F", "barrier", "exit:0"];
    let dog = Run::quick().talks(&steps).spawn();
    let forked: i32 = dog.hears("forked").split(' ').nth(1).unwrap().parse().unwrap();
    wait_for("the new pid", || (dog.status()["pid"] == forked).then_some(()));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(forked), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(dog.event("exit", 1)["signal"], "KILL");
    dog.worker_pid(2);
    let second = wait_for("the second hand-over", || {
        let pid = dog.status()["pid"].as_i64()?;
        (dog.heard("forked") == 2 && pid != dog.worker_pid(2) as i64).then_some(pid as i32)
    });
    dog.stop().code(143).count("exit", 2);
    assert!(!procs::alive(second));
}

/// A worker in a room of its own, or with an old library: a socket in the file system
#[test]
fn a_path_socket_is_offered_where_it_was_asked_for() {
    let run = Run::quick().flag("--ready", "reported");
    let path = run.at("notify");
    let dog = run.flag("--dialects", format!("native,notify:{path}"));
    let dog = dog.talks(&["n:READY=1|STATUS=by path", "term", "exit:0"]).spawn();
    dog.event("ready", 1);
    assert_eq!(socket_of(dog.worker_pid(1)), path);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    dog.verb(&["restart", "worker"]).code(0);
    dog.event("ready", 2);
    let ended = dog.stop().code(0);
    assert!(!ended.run.path("notify").exists(), "it is gone with its worker");
}

/// The same for a worker of another user
#[test]
fn a_path_socket_belongs_to_the_user_of_the_worker() {
    if !common::is_root() {
        return skip("needs root to become another user");
    }
    let run = Run::quick().flag("--ready", "reported").flag("--user", "65534");
    std::fs::set_permissions(run.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let path = run.at("notify");
    let dog = run.flag("--dialects", format!("notify:{path}")).talks(&["n:READY=1", "sleep:100000"]).spawn();
    dog.event("ready", 1);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&path).unwrap()), 65534);
    dog.stop().code(143);
}

/// Section 5: a stop may be put off, for a while
#[test]
fn a_worker_may_put_its_kill_off() {
    let steps = ["note:up", "term", "n:STOPPING=1|EXTEND_TIMEOUT_USEC=4000000", "sleep:1200", "exit:6"];
    let dog = Run::quick().talks(&steps).spawn();
    wait_line(&dog.path("talk"), "up");
    dog.stop().code(6).count("kill-escalated", 0);
}

#[test]
fn a_stop_cannot_be_put_off_for_ever() {
    let steps = ["note:up", "term", "n:EXTEND_TIMEOUT_USEC=600000000", "sleep:1000000"];
    let dog = Run::quick().flag("--stop-timeout", "300ms").talks(&steps).spawn();
    wait_line(&dog.path("talk"), "up");
    let began = Instant::now();
    dog.stop().code(137).count("kill-escalated", 1);
    common::about(began.elapsed(), 3000);
}

/// Nobody outlives the watchdog's ear: what is held back is not waited for
#[test]
fn a_socket_with_words_left_in_it_does_not_hold_up_the_end() {
    let dog = Run::quick().talks(&["n-flood:500", "exit:9"]).flag("--restart", "never").spawn();
    let began = Instant::now();
    dog.wait().code(9);
    assert!(began.elapsed() < Duration::from_secs(10));
}
