//! Kernels without the newer calls, and filters that refuse them: everything goes on, by an older way (attacks H4, L7, L8).
//! What is refused is written as for `worker refuse` (tests/workers/refuse.rs).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::procs::survivors;
use common::{Dog, Run, can_unshare, is_root, skip, wait_for, wait_line, worker};

/// Linux 5.10, 5.8, and two filters.
const CLOSE_RANGE: [&str; 4] =
    ["close_range.cloexec=EINVAL", "close_range", "close_range=EPERM", "close_range.unshare=EINVAL"];
const PIDFD: [&str; 4] = [
    "clone.pidfd=EINVAL,pidfd_open,pidfd_send_signal",
    "clone.pidfd=EPERM,pidfd_open=EPERM,pidfd_send_signal=EPERM",
    "pidfd_send_signal=EPERM",
    "pidfd_open,pidfd_send_signal",
];

/// A service that writes down its descriptors, and then stays.
const LISTS: &str = "command = [\"sh\", \"-c\", \"ls /proc/self/fd > open/new; mv open/new open/fds; exec sleep 1000\"]\n\
                     dialects = \"none\"\n";

/// What of those is not the list's own.
fn listed(dog: &Dog) -> Vec<i32> {
    let file = dog.path("open/fds");
    let text = wait_for("the list of descriptors", || std::fs::read_to_string(&file).ok());
    text.lines().filter_map(|n| n.parse().ok()).filter(|n| *n > 3).collect()
}

/// H4, L8. Failed before: with EINVAL (5.10) the descriptors 7, 33 and 300 reached the worker, and without the call at all
/// `up` started nothing.
#[test]
fn up_hands_on_no_descriptor_whatever_the_kernel_has() {
    for refused in CLOSE_RANGE {
        for user in ["", "user = \"nobody\"\n", "cwd = \".\"\n"] {
            if !user.is_empty() && !is_root() {
                continue;
            }
            let run = Run::quick_file(&format!("[service.a]\n{LISTS}{user}"));
            std::fs::create_dir(run.path("open")).unwrap();
            std::fs::set_permissions(run.path("open"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
            let open = ["7", "33", "300"].map(|n| format!("{n}={}", run.at(n))).join(",");
            let dog = run.arranged(["--open", &*open]).refusing(refused).spawn();
            dog.wait_ready("a");
            assert_eq!(listed(&dog), Vec::<i32>::new(), "{refused} {user}");
            dog.stop().code(0).count("spawn", 1).count("spawn-failed", 0);
        }
    }
}

/// H4: neither close_range nor /proc. Failed before.
#[test]
fn up_hands_on_no_descriptor_without_proc_either() {
    if !is_root() || !can_unshare(&["--mount"]) {
        return skip("needs root and a mount namespace to take /proc away");
    }
    let hides = "umount -l /proc && exec \"$@\"";
    let asks = "if (: <&7) 2>/dev/null; then echo open > seven; else echo closed > seven; fi; exec sleep 1000";
    let run = Run::quick_file(&format!("[service.a]\ncommand = [\"sh\", \"-c\", \"{asks}\"]\n"));
    let open = format!("7={}", run.at("file"));
    let words = [&*worker().to_string_lossy(), "arrange", "--open", &open, "--"].map(String::from);
    let before = ["unshare", "--mount", "sh", "-c", hides, "sh"].map(String::from);
    let dog = run.under(before.into_iter().chain(words)).refusing("close_range").spawn();
    assert_eq!(wait_line(&dog.path("seven"), ""), "closed");
    dog.stop().code(0);
}

/// Thousands of descriptors of ours do not pass on either where the table cannot be cut, and starts work one after the other.
#[test]
fn services_start_again_and_again_without_the_cut() {
    let dies = "command = [\"sh\", \"-c\", \"ls /proc/self/fd | wc -l >> counts; sleep 0.05; exit 1\"]\n\
                dialects = \"none\"\nrestart_limit = 3\n";
    for refused in ["close_range", "close_range.unshare=EPERM"] {
        let dog = Run::quick_file(&format!("[service.a]\n{dies}")).refusing(refused).spawn();
        dog.event_for("a", "gave-up", 1);
        let counts = common::lines(&dog.path("counts"));
        assert_eq!(counts, ["4"; 4], "0, 1, 2, and the list's own");
        dog.stop().count("spawn", 4);
    }
}

/// L7. Failed before: nothing was signalled but the main process itself, and not even that.
#[test]
fn what_a_worker_leaves_is_ended_without_pidfds() {
    for refused in PIDFD {
        for how in ["setsid", "daemon"] {
            let run = Run::quick().flag("--restart-limit", "1");
            let file = run.at("tree");
            let words = ["escape-tree", &file, "--how", how, "--ignore-term", "--main-exits", "50", "--main-code", "1"];
            let ended = run.refusing(refused).worker(words).run().code(1).count("spawn", 2);
            assert!(survivors(&ended.run.path("tree")).is_empty(), "{refused} {how}");
            ended.order(&["spawn", "exit", "leftover-killed", "spawn", "exit", "leftover-killed"]);
        }
    }
}

/// L7: the main process itself, by the stop signal and by SIGKILL. Failed before.
#[test]
fn a_worker_is_stopped_and_killed_without_pidfds() {
    for refused in PIDFD {
        let dog = Run::quick().refusing(refused).worker(["sleep"]).spawn();
        dog.worker_pid(1);
        dog.stop().code(143).count("kill-escalated", 0);
        let run = Run::quick().flag("--stop-timeout", "200ms").flag("--signal-scope", "main");
        let pid = run.at("pid");
        let dog = run.refusing(refused).worker(["ignore-term", "--pid-file", &pid]).spawn();
        common::wait_lines(&dog.path("pid"), 1);
        dog.stop().code(137).count("kill-escalated", 1);
    }
}

/// L7, its look-alike: what is not of the tree lives.
#[test]
fn a_process_of_others_lives_without_pidfds() {
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let ended = Run::quick().refusing(PIDFD[0]).worker(["exit", "0"]).run().code(0);
    assert!(other.try_wait().unwrap().is_none(), "{}", ended.story());
    let _ = other.kill();
    let _ = other.wait();
}

/// M1 and L7 together: a child that runs beside us is ended by its number.
#[test]
fn another_user_is_started_and_stopped_without_any_of_it() {
    if !is_root() {
        return skip("needs root to become another user");
    }
    let all = format!("close_range,keyctl=EPERM,{}", PIDFD[0]);
    let dog = Run::quick().flag("--user", "nobody").refusing(&all).program(["sleep", "1000"]).spawn();
    dog.worker_pid(1);
    dog.stop().code(143);
    let ended = Run::once().flag("--user", "nobody").refusing(&all).program(["/no/such"]).run().code(127);
    ended.count("spawn-failed", 1);
}
