//! Commands as probes (product.md section 8; cases PRO-01 to PRO-03): they end with all they have started, whatever they
//! print is bounded, and they run as and where the service does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::probes::{ONLY_TOLD, READINESS, probed, scripted};
use common::{is_root, lines, procs, skip, victim, wait_lines, within};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

fn pids(path: &Path) -> Vec<i32> {
    lines(path).iter().filter_map(|l| l.trim().parse().ok()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// PRO-01: a command that hangs is killed with its group at its timeout, one at a time, and leaves no zombie
#[test]
fn a_command_that_hangs_is_killed_with_its_group_and_never_meets_another() {
    // one of them in a session of its own
    let script =
        "echo $$ >> rounds; echo words; echo 'more words' >&2; setsid sh -c 'echo $$ >> sessions; exec sleep 1000' &
                  sleep 1000 & echo $! >> children; wait";
    let run = scripted(script, &format!("{READINESS}\ntimeout = \"150ms\""));
    let dog = run.spawn();
    let at_once = |path: &str| pids(&dog.path(path)).into_iter().filter(|p| procs::alive(*p)).count();
    while lines(&dog.path("children")).len() < 20 {
        assert!(at_once("rounds") <= 1 && at_once("children") <= 1, "two tries at the same time");
        assert!(dog.began.elapsed() < common::PATIENCE);
    }
    let probe = dog.wait_probe("web", "starting");
    assert_eq!(probe["message"], "timed out");
    let took = probe["duration_ms"].as_u64().unwrap();
    assert!((140..1500).contains(&took), "{probe}");
    assert!(dog.began.elapsed() >= Duration::from_millis(19 * 250 - 50), "one behind the other");
    assert_eq!(
        (dog.service("web")["state"].as_str(), dog.service("web")["restarts"].as_u64()),
        (Some("running"), Some(0))
    );
    assert!(within(Duration::from_secs(2), || procs::children(dog.pid()).iter().all(|p| p.state != 'Z')), "zombies");
    let group = pids(&dog.path("children"));
    assert!(group[..group.len() - 1].iter().all(|pid| !procs::alive(*pid)), "its group lives");
    let sessions = pids(&dog.path("sessions"));
    let living: Vec<i32> = sessions.iter().copied().filter(|pid| procs::alive(*pid)).collect();
    assert!(sessions.len() >= 15 && living.len() <= 1, "its tree lives: {living:?} of {sessions:?}");
    dog.stop().code(0);
}

/// PRO-01: what a command that ended has left behind in its group ends with it, and counts for nobody
#[test]
fn what_a_command_leaves_in_its_group_ends_with_it() {
    let dog = scripted("sleep 1000 & echo $! >> children; exit 0", READINESS).spawn();
    let children = wait_lines(&dog.path("children"), 5);
    dog.wait_probe("web", "success");
    let first: i32 = children[0].parse().unwrap();
    assert!(within(Duration::from_secs(2), || !procs::alive(first)));
    assert!(within(Duration::from_secs(2), || procs::children(dog.pid()).iter().all(|p| p.state != 'Z')), "zombies");
    let ended = dog.stop().code(0).count("leftover-killed", 0);
    assert!(pids(&ended.run.path("children")).iter().all(|pid| !procs::alive(*pid)));
}

/// PRO-01: nor is a session of its own a way out, in whatever depth. Its look-alike lives: what a worker has left in one
#[test]
fn what_a_command_leaves_in_sessions_of_their_own_ends_with_it() {
    let deeper = "setsid sh -c 'echo $$ >> left; exec sleep 1236' & exec sleep 1236";
    let run = scripted("setsid sh deeper.sh & echo $! >> left; exit 0", READINESS);
    std::fs::write(run.path("deeper.sh"), deeper).unwrap();
    let daemon = "(setsid sh -c 'echo $$ >> daemons; exec sleep 1237' &) ; exec sleep 1000";
    std::fs::write(run.path("daemon.sh"), daemon).unwrap();
    let text = std::fs::read_to_string(run.path("watchdog.toml")).unwrap();
    let one = "command = [\"sh\", \"daemon.sh\"]\n";
    let text = text.replace(&victim(&["sleep"]), one) + &format!("[service.other]\n{one}");
    run.write_file(&text);
    let dog = run.spawn();
    let left = wait_lines(&dog.path("left"), 12);
    dog.wait_probe("web", "success");
    assert!(within(Duration::from_secs(3), || left.iter().all(|pid| !procs::alive(pid.parse().unwrap()))), "{left:?}");
    assert!(within(Duration::from_secs(2), || procs::children(dog.pid()).iter().all(|p| p.state != 'Z')), "zombies");
    let daemons = pids(&dog.path("daemons"));
    assert!(daemons.len() == 2 && daemons.iter().all(|pid| procs::alive(*pid)), "{daemons:?}");
    let ended = dog.stop().code(0);
    let all: Vec<i32> = ["left", "daemons"].iter().flat_map(|file| pids(&ended.run.path(file))).collect();
    let living: Vec<&i32> = all.iter().filter(|pid| procs::alive(**pid)).collect();
    assert!(living.is_empty(), "{living:?} of {all:?}");
    let swept = ended
        .of("signal-sent")
        .iter()
        .filter(|e| e["scope"] == "tree")
        .map(|e| e["pids"].to_string())
        .collect::<String>();
    assert!(
        daemons.iter().all(|pid| swept.contains(&pid.to_string())),
        "the workers' own are swept with them: {swept}"
    );
    assert!(pids(&ended.run.path("left")).iter().all(|pid| !swept.contains(&pid.to_string())), "{swept}");
}

/// PRO-01: the same for who has left its parent before the command had its time, and for a command under way at our end
#[test]
fn what_has_left_a_command_before_its_end_goes_with_it() {
    let script = "(setsid sh -c 'echo $$ >> left; exec sleep 1236' &); exec sleep 1000";
    let dog = scripted(script, &format!("{READINESS}\ntimeout = \"200ms\"")).spawn();
    let left = wait_lines(&dog.path("left"), 4);
    let old = &left[..3];
    assert!(within(Duration::from_secs(3), || old.iter().all(|pid| !procs::alive(pid.parse().unwrap()))), "{left:?}");
    dog.stop().code(0);
    let dog = scripted(script, &format!("{READINESS}\ntimeout = \"20s\"")).spawn();
    let left: i32 = wait_lines(&dog.path("left"), 1)[0].parse().unwrap();
    assert!(procs::alive(left), "it may stay as long as its command");
    dog.stop().code(0);
    assert!(!procs::alive(left));
}

/// PRO-02: a hundred megabytes are read and dropped, the code decides, and we do not grow
#[test]
fn a_command_may_print_a_hundred_megabytes() {
    let script = "yes and so on | head -c 100000000; exit $(cat code)";
    let run = scripted(script, &format!("{READINESS}\ntimeout = \"20s\""));
    std::fs::write(run.path("code"), "0").unwrap();
    let dog = run.spawn();
    let success = dog.wait_probe("web", "success");
    assert_eq!(success["message"], "and so on");
    let before = procs::status_field(dog.pid(), "VmRSS");
    std::fs::write(dog.path("code"), "3").unwrap();
    let failure = dog.wait_probe("web", "failure");
    assert_eq!(failure["message"], "exit code: 3");
    let after = procs::status_field(dog.pid(), "VmRSS");
    assert!(after < before + 4096, "{before} kB, then {after} kB");
    dog.stop().code(0);
}

/// PRO-02: nothing, and what would write on a terminal; success shows stdout, failure stderr
#[test]
fn the_message_of_a_command_is_a_clean_line_or_its_code() {
    for (script, result, message) in [
        ("true", "success", "exit code: 0"),
        ("echo; echo fine; echo more", "success", "fine"),
        ("printf '\\033[31mred\\a\\n'", "success", "[31mred"),
        ("printf '\\377\\000x\\n'", "success", "\u{fffd} x"),
        ("echo fine; echo 'not \\033 fine' >&2; exit 1", "starting", "not   fine"),
        ("echo fine; exit 200", "starting", "exit code: 200"),
        ("kill -9 $$", "starting", "died by SIGKILL"),
    ] {
        let dog = scripted(script, READINESS).spawn();
        assert_eq!(dog.wait_probe("web", result)["message"], message, "{script}");
        dog.stop().code(0);
    }
}

/// PRO-03: a program that is not there is an error with its reason, and counts as a failure
#[test]
fn a_program_that_is_not_there_is_an_error_and_counts_as_a_failure() {
    let dog = probed(&victim(&["sleep"]), ONLY_TOLD, "\"exec:/no/such/check --now\"", READINESS).spawn();
    let first = dog.event("probe", 1);
    assert!(text(&first["message"]).contains("\"/no/such/check\" could not be run: ENOENT"), "{first}");
    assert_eq!(dog.service("web")["state"], "running");
    dog.stop().code(0);
    let counts = "role = \"liveness\"\nfailures = 2";
    let dog = probed(&victim(&["sleep"]), "", "\"exec:/no/such/check\"", counts).spawn();
    let exit = dog.event("exit", 1);
    assert_eq!(exit["cause"], "probe");
    dog.stop();
}

/// PRO-03: no shell reads it and nothing is split a second time
#[test]
fn arguments_of_a_command_arrive_as_they_are() {
    let inner = "printf '<%s>' \"$@\"";
    let list = format!("{:?}", ["sh", "-c", inner, "sh", "a  b", "*; touch injected", "$HOME", ""]);
    let run = probed(&victim(&["sleep"]), ONLY_TOLD, &list, READINESS);
    let dog = run.spawn();
    assert_eq!(dog.wait_probe("web", "success")["message"], "<a  b><*; touch injected><$HOME><>");
    assert!(!dog.path("injected").exists());
    dog.stop().code(0);
    let dog = probed(&victim(&["sleep"]), ONLY_TOLD, "\"exec:echo 'a  b' * > injected\"", READINESS).spawn();
    assert_eq!(dog.wait_probe("web", "success")["message"], "a  b * > injected");
    assert!(!dog.path("injected").exists());
    dog.stop().code(0);
}

/// Section 8: the command runs as the service's user
#[test]
fn a_command_runs_as_the_services_user() {
    if !is_root() {
        return skip("another user takes root");
    }
    let settings = "user = \"54321\"\ngroup = \"54322\"\nready = \"spawned\"";
    let script = "[\"sh\", \"-c\", \"echo $(id -u) $(id -g) $(id -G)\"]";
    let command = "command = [\"sleep\", \"1000\"]";
    let dog = probed(command, settings, script, "role = \"readiness\"").spawn();
    assert_eq!(dog.wait_probe("web", "success")["message"], "54321 54322 54322");
    dog.stop();
}

/// Section 8: its environment is the service's, with what it needs to know, and nothing by which it could speak for a worker
#[test]
fn a_command_has_the_services_environment_and_directory() {
    let script = "env > env.new; mv env.new env.txt; pwd";
    let settings = "env = { COLOUR = \"deep blue\" }\ncwd = \"inside\"\nready = \"spawned\"";
    let run = probed(&victim(&["sleep"]), settings, &format!("{:?}", ["sh", "-c", script]), "role = \"readiness\"");
    std::fs::create_dir(run.path("inside")).unwrap();
    let dog = run.spawn();
    let shown = dog.wait_probe("web", "success");
    assert!(shown["message"].as_str().unwrap().ends_with("/inside"), "{shown}");
    let env = lines(&dog.path("inside/env.txt"));
    let value = |key: &str| env.iter().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).map(str::to_string);
    let worker = procs::children(dog.pid()).iter().find(|p| p.pid == dog.pid_of("web", 1)).unwrap().pid;
    assert_eq!(value("COLOUR").as_deref(), Some("deep blue"));
    assert_eq!(value("WATCHDOG_SERVICE").as_deref(), Some("web"));
    assert_eq!(value("WATCHDOG_WORKER_PID"), Some(worker.to_string()));
    assert_eq!(value("WATCHDOG_SOCKET"), Some(dog.socket().to_string_lossy().into_owned()));
    let speaks = ["WATCHDOG_CHANNEL", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "WATCHDOG_READY_FD"];
    for key in speaks.into_iter().chain(["NODE_CHANNEL_FD", "WATCHDOG_INVOCATION", "LISTEN_FDS"]) {
        assert_eq!(value(key), None, "{key}");
    }
    dog.stop();
}
