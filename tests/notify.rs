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

/// A process that is none of the worker's, of a user that may not speak for it.
const STRANGER: u32 = 65_534;

/// What makes a stranger of the command that follows.
fn strangely() -> Vec<String> {
    let user = [format!("--reuid={STRANGER}"), format!("--regid={STRANGER}"), "--clear-groups".into()];
    ["setpriv".to_string()].into_iter().chain(user).collect()
}

/// A datagram of a stranger. False: it may not send to this socket.
fn stranger(socket: &str, text: &str, env: &[(String, String)]) -> bool {
    let mut words = strangely();
    words.extend([worker().to_string_lossy().into_owned(), "notify-once".into(), text.into()]);
    let mut command = std::process::Command::new(&words[0]);
    command.args(&words[1..]).env("NOTIFY_SOCKET", socket).envs(env.iter().cloned()).status().unwrap().success()
}

/// Whoever owns the socket may open it to all: then strangers reach it.
fn open_to_all(socket: &str) {
    std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
}

/// Variables of a process, as its own user can read them.
fn variables(pid: i32) -> Vec<(String, String)> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let text = String::from_utf8_lossy(&environ).into_owned();
    text.split('\0').filter_map(|v| v.split_once('=')).map(|(k, v)| (k.to_string(), v.to_string())).collect()
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

/// HAN-21, H1: in a directory through which all can pass and into which none can look, a socket that only the worker's user
/// and root can write to. Failed before: an abstract name, open to all
#[test]
fn each_worker_has_a_socket_of_its_own_that_strangers_cannot_reach() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mut users = vec![None];
    if common::is_root() {
        users.push(Some(STRANGER));
    }
    for user in users {
        let mut run = Run::quick().flag("--ready", "reported");
        if let Some(user) = user {
            std::fs::set_permissions(run.dir.path(), PermissionsExt::from_mode(0o1777)).unwrap();
            run = run.flag("--user", user.to_string());
        }
        let dog = run.talks(&["n:READY=1|STATUS=heard", "sleep:100000"]).spawn();
        dog.event("ready", 1);
        status_text(&dog, "heard");
        let socket = std::path::PathBuf::from(socket_of(dog.worker_pid(1)));
        let (file, dir) = (std::fs::metadata(&socket).unwrap(), std::fs::metadata(socket.parent().unwrap()).unwrap());
        let me = nix::unistd::getuid().as_raw();
        assert_eq!((file.permissions().mode() & 0o777, file.uid()), (0o600, user.unwrap_or(me)));
        assert_eq!((dir.permissions().mode() & 0o777, dir.uid()), (0o711, me));
        if common::is_root() && user.is_none() {
            assert!(!stranger(socket.to_str().unwrap(), "READY=1", &[]));
        }
        dog.stop().count("notify-denied", 0);
        assert!(!socket.exists(), "it is gone with its worker");
    }
}

/// A directory that is there on a file system that has become read-only (an image that ran the watchdog when it was built) is
/// passed over. Failed before: the worker got no socket, although other places could be had.
#[test]
fn a_directory_that_is_read_only_is_passed_over() {
    if !common::is_root() || !common::can_unshare(&["--mount"]) {
        return common::skip("needs root and mount namespaces");
    }
    let run = Run::quick().flag("--ready", "reported");
    let used = run.path("run-notify");
    std::fs::create_dir(&used).unwrap();
    std::fs::set_permissions(&used, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let place = used.to_string_lossy().into_owned();
    let run = run.under(["unshare", "--mount", "sh", "-c", mount, "sh", &place]);
    let dog = run.talks(&["n:READY=1", "sleep:100000"]).spawn();
    dog.event("ready", 1);
    let socket = std::path::PathBuf::from(socket_of(dog.worker_pid(1)));
    assert!(socket.parent() != Some(used.as_path()), "{socket:?}");
    dog.stop();
}

/// H1: what a killed watchdog left is cleared by the next one
#[test]
fn sockets_of_a_watchdog_that_was_killed_are_cleared_by_the_next() {
    let run = Run::quick().flag("--on-watchdog-death", "kill").leaves_alive();
    let first = run.talks(&["n:STATUS=up", "sleep:100000"]).spawn();
    status_text(&first, "up");
    let socket = std::path::PathBuf::from(socket_of(first.worker_pid(1)));
    first.signal(nix::sys::signal::Signal::SIGKILL);
    let ended = first.wait();
    assert!(socket.exists());
    let runtime = ended.run.at("run");
    let second = Run::quick().env("WATCHDOG_RUNTIME_DIR", runtime).talks(&["n:STATUS=up", "sleep:100000"]).spawn();
    second.event("status", 1);
    assert_eq!(std::path::Path::new(&socket_of(second.worker_pid(1))).parent(), socket.parent());
    assert!(!socket.exists(), "and the new one has its own");
    second.stop();
}

/// HAN-21, H3: another user, also one that bears the worker's marks. Failed before: whoever had them was believed
#[test]
fn a_stranger_is_denied_and_changes_nothing() {
    if !common::is_root() {
        return skip("needs root to become another user");
    }
    let run = Run::quick().flag("--ready", "reported").flag("--log-level", "warn");
    let dog = run.talks(&["sleep:100000"]).spawn();
    let pid = dog.worker_pid(1);
    let socket = socket_of(pid);
    open_to_all(&socket);
    let text = format!("READY=1|STATUS=lies|WATCHDOG=trigger|MAINPID={}|STOPPING=1|WATCHDOG=1", std::process::id());
    assert!(stranger(&socket, &text, &variables(pid)));
    let denied = dog.event("notify-denied", 1);
    assert_eq!(denied["uid"], STRANGER, "{denied}");
    assert!(denied["sender"].as_i64().unwrap() > 1, "{denied}");
    for _ in 0..4 {
        assert!(stranger(&socket, &text, &[]));
    }
    wait_for("all are counted", || (dog.status()["notify_denied"] == 5).then_some(()));
    let status = dog.status();
    assert_eq!((&status["state"], &status["status_text"]), (&json!("starting"), &json!(null)), "{status}");
    assert_eq!((&status["pid"], &status["heartbeat"]["armed"]), (&json!(pid), &json!(false)), "{status}");
    // Which is longer than it takes until the event may be told again.
    wait_for("a second event", || {
        assert!(stranger(&socket, "READY=1", &[]));
        dog.events_of("notify-denied").get(1).cloned()
    });
    let ended = dog.stop().count("ready", 0).count("hang", 0).count("status", 0);
    let named = format!("of pid {} of user {STRANGER}", denied["sender"]);
    assert_eq!((ended.err.matches(&named).count(), ended.err.matches("of user").count()), (1, 1), "{}", ended.err);
}

/// H3: the mark by which leftovers are found is no more than that, and cannot be guessed
#[test]
fn the_mark_of_a_run_is_random_and_another_one_for_each() {
    let dog = Run::quick().talks(&["n:STATUS=up", "sleep:100000"]).spawn();
    let mark = |nth: usize| {
        status_text(&dog, "up");
        let found = variables(dog.worker_pid(nth)).into_iter().find(|(key, _)| key == "WATCHDOG_INVOCATION");
        found.expect("a mark").1
    };
    let first = mark(1);
    dog.verb(&["restart", "worker"]).code(0);
    dog.event("ready", 2);
    let second = mark(2);
    assert!([&first, &second].iter().all(|m| m.len() == 32 && m.bytes().all(|b| b.is_ascii_hexdigit())), "{first}");
    let alike = first.bytes().zip(second.bytes()).filter(|(a, b)| a == b).count();
    assert!(alike < 16, "{first} {second}");
    dog.stop();
}

/// HAN-21: a flood of strangers is a few lines
#[test]
fn many_strangers_are_told_of_seldom() {
    if !common::is_root() {
        return skip("needs root to become another user");
    }
    let dog = Run::quick().talks(&["sleep:100000"]).spawn();
    let socket = socket_of(dog.worker_pid(1));
    open_to_all(&socket);
    let began = Instant::now();
    for _ in 0..40 {
        assert!(stranger(&socket, "READY=1", &[]));
    }
    dog.event("notify-denied", 1);
    let most = began.elapsed().as_secs() as usize + 2;
    let ended = dog.stop();
    assert!((1..=most).contains(&ended.of("notify-denied").len()), "{}", ended.story());
}

/// HAN-21, HAN-23, M4: a stranger that never stops costs the worker's own words nothing, and its silence is not judged
#[test]
fn a_flood_of_strangers_keeps_nobody_out() {
    if !common::is_root() {
        return skip("needs root to become another user");
    }
    let run = Run::beating().flag("--heartbeat-interval", "2s").flag("--heartbeat-misses", "3");
    let dog = run.talks(&["n-beats:50:100000"]).spawn();
    dog.armed();
    let socket = socket_of(dog.worker_pid(1));
    open_to_all(&socket);
    let mut words: Vec<std::ffi::OsString> = strangely().into_iter().map(Into::into).collect();
    words.extend([worker().into(), "notify-once".into(), "READY=1|STATUS=lies".into()]);
    let mut flood = dog.run.command(&words);
    flood.args(["--times", "100000000"]).env("NOTIFY_SOCKET", socket).env("WDTEST", dog.run.mark());
    let mut flood = flood.spawn().unwrap();
    dog.event("notify-denied", 1);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(dog.status()["status_text"], json!(null));
    }
    dog.signal(nix::sys::signal::Signal::SIGTERM);
    dog.event("exit", 1);
    let _ = (flood.kill(), flood.wait());
    let ended = dog.wait().code(143).count("hang", 0).count("spawn", 1);
    assert!(ended.of("notify-denied").len() < 30, "{}", ended.story());
}

/// M4: beats that a stranger keeps out by filling the queue are no silence; when it stops, silence is judged again. Failed
/// before: a healthy worker was killed
#[test]
fn silence_is_not_judged_while_strangers_fill_the_queue() {
    if !common::is_root() {
        return skip("needs root to become another user");
    }
    let run = Run::beating().flag("--heartbeat-interval", "500ms").flag("--heartbeat-misses", "2");
    // It beats a few times and falls silent: as good as one whose beats do not come through.
    let dog = run.talks(&["n-beats:50:20", "sleep:100000"]).spawn();
    let socket = socket_of(dog.worker_pid(1));
    open_to_all(&socket);
    dog.armed();
    let mut words: Vec<std::ffi::OsString> = strangely().into_iter().map(Into::into).collect();
    words.extend([worker().into(), "notify-once".into(), "STATUS=lies".into()]);
    let mut flood = dog.run.command(&words);
    flood.args(["--times", "100000000"]).env("NOTIFY_SOCKET", socket).env("WDTEST", dog.run.mark());
    let mut flood = flood.spawn().unwrap();
    dog.event("notify-denied", 1);
    common::stays("not judged", Duration::from_secs(4), || dog.events_of("hang").is_empty());
    let _ = (flood.kill(), flood.wait());
    assert_eq!(dog.event("exit", 1)["cause"], "hang", "and from then on it is");
    dog.stop();
}

/// H1: closing what a stranger sent along would wait for hours. Failed before: the watchdog stood still
#[test]
fn a_descriptor_of_a_stranger_whose_close_waits_holds_nothing_up() {
    if !common::is_root() {
        return skip("needs root to become another user");
    }
    let dog = Run::quick().talks(&["n-beats:50:100000"]).spawn();
    dog.armed();
    let socket = socket_of(dog.worker_pid(1));
    open_to_all(&socket);
    let mut words: Vec<std::ffi::OsString> = strangely().into_iter().map(Into::into).collect();
    words.extend([worker().into(), "notify-once".into(), "BARRIER=1".into(), "--lingering".into()]);
    let mut command = dog.run.command(&words);
    command.env("NOTIFY_SOCKET", socket).env("WDTEST", dog.run.mark()).stdout(std::process::Stdio::piped());
    // Whoever closes it last waits, and that is to be the watchdog.
    dog.signal(nix::sys::signal::Signal::SIGSTOP);
    let mut sender = command.spawn().unwrap();
    let mut said = [0; 4];
    std::io::Read::read_exact(sender.stdout.as_mut().unwrap(), &mut said).unwrap();
    dog.signal(nix::sys::signal::Signal::SIGCONT);
    dog.event("notify-denied", 1);
    common::stays("it answers", Duration::from_millis(1500), || dog.status()["state"] == "running");
    // And the worker is heard again when the wait has been cut short.
    wait_for("a beat", || (dog.status()["heartbeat"]["last_ms"].as_i64()? < 200).then_some(()));
    let _ = (sender.kill(), sender.wait());
    dog.stop().code(143).count("hang", 0).count("kill-escalated", 0);
}

/// H1: the same of the worker itself, in both dialects; and a barrier is lifted all the same
#[test]
fn a_descriptor_of_a_worker_whose_close_waits_holds_up_its_own_words_alone() {
    for step in ["n-lingering:STATUS=before", "lingering"] {
        let steps = ["hello", "n:STATUS=begun", step, "note:sent", "barrier", "status:after", "term", "exit:0"];
        let dog = Run::quick().talks(&steps).spawn();
        dog.hears("sent");
        assert_eq!(dog.status()["state"], "running", "{step}");
        assert!(dog.hears("barrier").starts_with("barrier closed"), "{step}");
        status_text(&dog, "after");
        dog.stop().code(0).count("proto-error", 0).count("kill-escalated", 0);
    }
}

/// H1: what is still in the socket when the worker ends is not closed in the loop either
#[test]
fn descriptors_left_in_a_socket_do_not_hold_up_the_end_of_a_run() {
    let many = ["n-lingering:STATUS=x"; 4];
    let steps = [&["heir", "n:STATUS=begun"], &many[..], &["exit:3"]].concat();
    let dog = Run::quick().flag("--restart", "always").flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let dog = dog.talks(&steps).spawn();
    dog.event("exit", 3);
    assert!(dog.status()["generation"].as_i64().unwrap() >= 3);
    dog.stop();
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

/// Report 3: a sender that has ended when its word is read is believed: the socket is this worker's own, and the user fits.
/// Failed before: 5 to 14 of 60 were lost
#[test]
fn ready_of_a_sender_that_has_ended_is_believed_always() {
    let script = "\"$0\" notify-once READY=1; exec sleep 1000";
    for _ in 0..60 {
        let run = Run::quick().flag("--ready", "reported").flag("--stop-timeout", "20s");
        let dog = run.program(["sh", "-c", script, &worker().to_string_lossy()]).spawn();
        dog.event("ready", 1);
        dog.stop().code(143).count("notify-denied", 0);
    }
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

/// M4: of more names than are looked at, the last one is the main process
#[test]
fn the_last_of_many_that_are_named_takes_over() {
    let mut steps = vec!["hand-over:1500:7"];
    for _ in 0..12 {
        // heard one by one
        steps.extend(["n:MAINPID=%P", "barrier", "n:MAINPID=%F", "barrier"]);
    }
    steps.push("exit:0");
    let ended = Run::once().talks(&steps).run().code(7).count("spawn", 1).count("exit", 1);
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

/// The look-alike: a daemon, which has no parent but the watchdog, is of the worker's tree
#[test]
fn a_daemon_that_was_handed_over_to_goes_on() {
    let steps = ["daemon:1500:7", "n:MAINPID=%F|READY=1", "barrier", "exit:0"];
    let dog = Run::once().flag("--ready", "reported").talks(&steps).spawn();
    let daemon: i32 = dog.hears("forked").split(' ').nth(1).unwrap().parse().unwrap();
    wait_for("the new pid", || (dog.status()["pid"] == daemon).then_some(()));
    dog.wait().code(7).count("spawn", 1).count("exit", 1).count("leftover-killed", 0);
}

/// S2: whoever takes over while the service is stopped gets the stop signal at once. Failed before: it was killed after the
/// grace
#[test]
fn one_that_takes_over_during_a_stop_gets_the_stop_signal() {
    let steps = ["note:up", "term", "heir-waits:7", "n:MAINPID=%F", "barrier", "exit:0"];
    let dog = Run::once().flag("--stop-timeout", "25s").talks(&steps).spawn();
    dog.hears("up");
    dog.stop().code(7).count("kill-escalated", 0).count("exit", 1);
}

/// S2: one that has the signal already, with its group, does not get a second one
#[test]
fn one_that_takes_over_and_was_told_with_its_group_is_told_once() {
    let steps = ["heir-waits:7", "n:MAINPID=%F", "barrier", "sleep:100", "note:up", "term", "exit:0"];
    let dog = Run::once().flag("--stop-timeout", "25s").talks(&steps).spawn();
    dog.hears("up");
    dog.stop().code(7).count("kill-escalated", 0).count("exit", 1);
}

/// M3: a number that is another process's by now is not the one that was named. Failed before: it was taken over
#[test]
fn a_recycled_pid_does_not_take_over() {
    if !common::is_root() || !common::can_unshare(&["--pid", "--fork", "--mount-proc"]) {
        return skip("needs root to choose a pid in a namespace");
    }
    let steps = ["fork", "n:MAINPID=%F", "barrier", "recycle", "exit:4"];
    Run::once().talks(&steps).pid_1().run().code(4).count("exit", 1).count("spawn", 1);
}

/// M3: the main process of another service is nothing to be taken over
#[test]
fn the_main_process_of_another_service_does_not_take_over() {
    let other = common::file::victim(&["talk", "sleep:1000000"]);
    let script = "while ! read pid < b.pid; do sleep 0.02; done; \"$0\" notify-once MAINPID=$pid; sleep 0.3; exit 3";
    let program = json!(["sh", "-c", script, worker().to_string_lossy()]);
    let text = format!("[service.a]\ncommand = {program}\nrestart = \"never\"\n[service.b]\n{other}\n");
    let dog = Run::quick_file(&text).spawn();
    let b = dog.wait_service("b", "a pid", |s| s["pid"].is_i64())["pid"].clone();
    std::fs::write(dog.path("b.new"), format!("{b}\n")).unwrap();
    std::fs::rename(dog.path("b.new"), dog.path("b.pid")).unwrap();
    assert_eq!(dog.wait_service_state("a", "failed")["last_exit"]["code"], 3);
    let after = dog.service("b");
    assert_eq!((&after["pid"], &after["state"]), (&b, &json!("running")), "{after}");
    dog.stop();
}

/// Report 5: silence while it reads its configuration is not judged until READY. Failed before: it was a hang
#[test]
fn silence_after_reloading_is_not_judged_until_ready() {
    let run = Run::beating().flag("--heartbeat-interval", "300ms").flag("--heartbeat-misses", "2");
    let steps = ["n-beats:50:10", "n:RELOADING=1", "sleep:3000", "n:READY=1", "n-beats:50:100000"];
    let dog = run.flag("--stop-timeout", "60s").talks(&steps).spawn();
    dog.armed();
    dog.event("reload", 1);
    wait_for("READY after the reload", || (dog.began.elapsed() > Duration::from_secs(4)).then_some(()));
    wait_for("a beat", || (dog.status()["heartbeat"]["last_ms"].as_i64()? < 250).then_some(()));
    dog.signal(nix::sys::signal::Signal::SIGTERM);
    dog.wait().count("hang", 0).count("spawn", 1);
}

/// The look-alike: one that never comes back from it is found when a stop would have ended it
#[test]
fn a_reload_that_does_not_end_is_a_hang() {
    let run = Run::beating().flag("--heartbeat-interval", "300ms").flag("--heartbeat-misses", "2");
    let steps = ["n-beats:50:10", "n:RELOADING=1", "sleep:1000000"];
    let dog = run.flag("--stop-timeout", "2s").talks(&steps).spawn();
    assert_eq!(dog.event("exit", 1)["cause"], "hang");
    dog.stop();
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
