//! Commands on events: what they are told, in which order, and that nothing of the watchdog waits for them, but a start
//! for its pre-start hook.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, lines, procs, stays, wait_for, wait_line, wait_lines, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A run with a hook more: a shell script of this name, run by the shell, for these events (all: "").
fn hooked(run: Run, events: &str, name: &str, script: &str) -> Run {
    std::fs::write(run.path(name), format!("cd '{}'\n{script}\n", run.dir.path().display())).unwrap();
    let events = if events.is_empty() { String::new() } else { format!("{events}:") };
    let setting = format!("--hook={events}sh {}", run.at(name));
    run.switch(&setting)
}

fn told(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l:?}"))).collect()
}

fn mono(dog: &Dog, kind: &str, nth: usize) -> u64 {
    dog.event(kind, nth)["mono_ms"].as_u64().unwrap()
}

/// One crash, then a life until TERM.
fn flaky(run: Run) -> Run {
    common::flaky::flaky(run, &["1", "--code", "7"])
}

fn second_life(dog: &Dog) {
    wait_for("the second life", || (common::flaky::starts(&dog.path("log")) == 2).then_some(()));
}

/// Section 3: hook: every event, in order, one JSON object on standard input
#[test]
fn a_hook_on_everything_is_told_every_event_in_order() {
    let dog = flaky(hooked(Run::quick(), "", "hook", "cat >> told")).spawn();
    second_life(&dog);
    let ended = dog.stop().code(0);
    assert_eq!(told(&ended.lines("told")), ended.events, "{}", ended.story());
    assert!(ended.events.len() >= 9, "{}", ended.story());
}

/// Section 3: hook: only those it was given for; several hooks beside each other
#[test]
fn a_hook_is_told_only_what_it_was_given_for() {
    let run = hooked(Run::quick(), "exit+restart-scheduled", "some", "cat >> some.told");
    let run = hooked(run, "ready", "ready", "cat >> ready.told");
    let dog = flaky(hooked(run, "oom", "never", "cat >> never.told")).spawn();
    second_life(&dog);
    let ended = dog.stop().code(0);
    let kinds: Vec<String> =
        told(&ended.lines("some.told")).iter().map(|e| e["event"].as_str().unwrap().to_string()).collect();
    assert_eq!(kinds, ["exit", "restart-scheduled", "exit"]);
    assert_eq!(told(&ended.lines("ready.told")), ended.of("ready"));
    assert!(!ended.run.path("never.told").exists());
}

/// Section 3: its environment: which service, which event, and where to ask; nothing by which it could speak for a worker
#[test]
fn a_hook_knows_the_service_the_event_and_the_socket() {
    let script = format!("env > env.txt; '{}' status --json > status; echo $? > code", common::watchdog());
    let dog = hooked(Run::quick(), "ready", "hook", &script).flag("--name", "web").worker(["sleep"]).spawn();
    assert_eq!(wait_lines(&dog.path("code"), 1), ["0"]);
    let env = lines(&dog.path("env.txt"));
    let value = |key: &str| env.iter().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).map(str::to_string);
    assert_eq!(
        (value("WATCHDOG_SERVICE").as_deref(), value("WATCHDOG_EVENT").as_deref()),
        (Some("web"), Some("ready"))
    );
    assert_eq!(value("WATCHDOG_SOCKET"), Some(dog.socket().to_string_lossy().into_owned()));
    assert_eq!(value("WATCHDOG_REPORT_DIR"), Some(dog.path("state/watchdog/web").to_string_lossy().into_owned()));
    let speaks = ["WATCHDOG_CHANNEL", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "WATCHDOG_READY_FD"];
    for key in speaks.into_iter().chain(["NODE_CHANNEL_FD", "WATCHDOG_INVOCATION", "LISTEN_FDS"]) {
        assert_eq!(value(key), None, "{key}");
    }
    let status: Value = serde_json::from_str(&lines(&dog.path("status")).concat()).unwrap();
    assert_eq!(status["services"][0]["name"], "web");
    dog.stop();
}

/// Section 3: one at a time
#[test]
fn a_hook_runs_once_at_a_time() {
    let script = "echo begin >> turns; sleep 0.1; echo end >> turns";
    let dog = flaky(hooked(Run::quick(), "", "hook", script)).spawn();
    second_life(&dog);
    let ended = dog.stop().code(0);
    let turns = ended.lines("turns");
    assert_eq!(turns.len(), 2 * ended.events.len());
    assert!(turns.chunks(2).all(|t| t == ["begin", "end"]), "{turns:?}");
}

/// Section 3: a slow hook holds up neither a restart, nor an answer, nor a stop
#[test]
fn nothing_waits_for_a_slow_hook() {
    let run = hooked(Run::quick(), "spawn+exit", "hook", "echo begin >> turns; sleep 3; echo end >> turns");
    let dog = flaky(run).spawn();
    wait_lines(&dog.path("turns"), 1);
    second_life(&dog);
    let began = Instant::now();
    assert_eq!(dog.status()["state"], "running");
    dog.verb(&["stop", "worker"]).code(0);
    let took = began.elapsed();
    assert_eq!(lines(&dog.path("turns")), ["begin"], "all of that beside the first run of the hook, {took:?}");
    let pause = mono(&dog, "spawn", 2) - mono(&dog, "exit", 1);
    assert!((45..1500).contains(&pause), "restarted after {pause} ms");
    // it need not be waited for: a second word ends that too
    dog.signal(Signal::SIGTERM);
    dog.signal(Signal::SIGINT);
    dog.wait();
}

/// Section 3: a hook that hangs is ended with its group after 30 s, and the next event is told
#[test]
fn a_hook_that_hangs_is_ended_with_its_group() {
    let script = "test -e once && exec touch again\ntouch once; sleep 1000 & echo $! > child; echo $$ > main; wait";
    let dog = flaky(hooked(Run::quick(), "exit+ready", "hook", script)).spawn();
    wait_lines(&dog.path("main"), 1);
    let child: i32 = lines(&dog.path("child"))[0].parse().unwrap();
    let began = Instant::now();
    assert!(within(Duration::from_secs(50), || !procs::alive(child)), "its child lives");
    assert!(began.elapsed() >= Duration::from_secs(28), "its time is 30 s: {:?}", began.elapsed());
    wait_for("the next run", || dog.path("again").exists().then_some(()));
    dog.wait_err("killed after 30s");
    dog.stop().code(0);
}

/// Section 3: whoever hangs at our end leaves nothing behind when we are told not to wait
#[test]
fn a_second_signal_ends_the_wait_for_hooks() {
    let dog = hooked(Run::quick(), "exit", "hook", "sleep 1000 & echo $! > child; wait").worker(["sleep"]).spawn();
    dog.worker_pid(1);
    dog.signal(Signal::SIGTERM);
    let child: i32 = wait_lines(&dog.path("child"), 1)[0].parse().unwrap();
    let began = Instant::now();
    dog.signal(Signal::SIGTERM);
    dog.wait().code(143);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(!procs::alive(child));
}

/// Section 3: a hook that fails, dies or is not there is one warning, and the next event is told
#[test]
fn a_failing_hook_is_a_warning() {
    for (command, says) in [
        ("false", "exited with code 1"),
        ("/no/such/hook", "ENOENT"),
        ("sh -c 'kill -9 $$'", "died by SIGKILL"),
        ("/", "EACCES"),
    ] {
        let run = Run::quick().switch(&format!("--hook=exit:{command}"));
        let dog = flaky(hooked(run, "exit", "good", "cat >> told")).spawn();
        second_life(&dog);
        let ended = dog.stop().code(0).says(says).count("exit", 2);
        assert_eq!(ended.err.matches(says).count(), 2, "{command}: {}", ended.err);
        assert_eq!(told(&ended.lines("told")), ended.of("exit"), "{command}");
    }
}

/// Section 3: a hook that does not read its event harms nobody
#[test]
fn a_hook_need_not_read_its_event() {
    let dog = flaky(Run::quick().switch("--hook=exec 0<&-; true").switch("--hook=true")).spawn();
    second_life(&dog);
    let ended = dog.stop().code(0);
    assert!(!ended.err.contains("PIPE"), "{}", ended.err);
}

/// Section 3: at most 60 runs in a minute; what is dropped is counted
#[test]
fn a_storm_of_events_starts_sixty_hooks_at_most() {
    let run = Run::quick().flag("--restart-delay", "0").flag("--restart-limit", "40").flag("--crash-loop-limit", "0");
    let ended = hooked(run, "", "hook", "cat >> told").worker(["exit", "9"]).run().code(9);
    let runs = ended.lines("told").len();
    assert!((10..=60).contains(&runs), "{runs} runs");
    let dropped: usize = ended
        .err
        .lines()
        .filter(|l| l.contains("events were dropped"))
        .filter_map(|l| l.split_once("\": ")?.1.split(' ').next()?.parse::<usize>().ok())
        .sum();
    assert_eq!(runs + dropped, ended.events.len(), "each is told or counted: {}", ended.err);
}

/// Section 3: hooks that were told of the end finish before we leave
#[test]
fn the_last_words_are_told_before_the_watchdog_leaves() {
    let run = Run::quick().flag("--restart-limit", "1");
    let run = hooked(run, "gave-up", "gave-up", "sleep 1; cat > gave-up.told");
    let ended = hooked(run, "exit", "exit", "sleep 0.7; cat >> exit.told").worker(["exit", "9"]).run().code(9);
    assert_eq!(told(&ended.lines("gave-up.told")), ended.of("gave-up"));
    assert_eq!(told(&ended.lines("exit.told")), ended.of("exit"));
    let dog = hooked(Run::quick(), "stopped", "hook", "sleep 1; cat > told").worker(["sleep"]).spawn();
    dog.worker_pid(1);
    let ended = dog.stop().code(143);
    assert_eq!(told(&ended.lines("told")), ended.of("stopped"));
}

/// Section 3: pre-start: all of them, in order, before the worker; again at every start
#[test]
fn a_start_waits_for_its_pre_start_hooks() {
    let run = hooked(Run::quick(), "pre-start", "one", "sleep 0.4; cat >> told; echo $WATCHDOG_EVENT one >> order");
    let run = hooked(run, "pre-start", "two", "echo $WATCHDOG_EVENT two >> order");
    let dog =
        run.program(["sh", "-c", "echo worker >> order; test -e once && exec sleep 1000; touch once; exit 5"]).spawn();
    let order = wait_lines(&dog.path("order"), 6);
    assert_eq!(order, ["pre-start one", "pre-start two", "worker"].repeat(2));
    let starts = told(&lines(&dog.path("told")));
    let wanted = [1, 2].map(|g| json!({"event": "pre-start", "service": "sh", "generation": g}));
    assert_eq!(starts, wanted);
    dog.stop().count("spawn", 2);
}

/// Section 3: pre-start: a failure at the first start is 125 and nothing is run
#[test]
fn a_first_start_that_is_vetoed_is_125() {
    for (script, more) in [("exit 1", "keep"), ("kill -9 $$", "keep")] {
        let run = hooked(Run::quick(), "pre-start", "hook", script);
        let ended = run.worker(["exit", "0", "--touch", more]).run().code(125).count("spawn", 0);
        assert!(!ended.run.path(more).exists());
        assert!(ended.err.contains("pre-start"), "{}", ended.err);
    }
    let ended = Run::quick().switch("--hook=pre-start:/no/such/hook").worker(["exit", "0"]).run().code(125);
    assert!(ended.err.contains("/no/such/hook"), "{}", ended.err);
}

/// Section 3: pre-start: later it is a failure like any other, and is tried again
#[test]
fn a_restart_that_is_vetoed_is_tried_again() {
    let script = "echo x >> calls; test $(wc -l < calls) -ne 2";
    let dog = flaky(hooked(Run::quick(), "pre-start", "hook", script)).spawn();
    second_life(&dog);
    let failed = dog.event("spawn-failed", 1);
    assert_eq!(failed["step"], "pre-start", "{failed}");
    assert_eq!(dog.status()["restarts"], 2);
    dog.stop().code(0).order(&["spawn", "exit", "spawn-failed", "restart-scheduled", "spawn"]).count("spawn-failed", 1);
}

/// Section 3: pre-start: and one that always forbids is given up at the limit
#[test]
fn restarts_that_are_always_vetoed_are_given_up() {
    let run = hooked(
        Run::quick().flag("--restart-limit", "2"),
        "pre-start",
        "hook",
        "echo x >> calls; test $(wc -l < calls) -eq 1",
    );
    let ended = run.worker(["exit", "7"]).run().count("spawn", 1).count("gave-up", 1);
    assert_eq!(ended.lines("calls").len(), 3, "{}", ended.story());
    assert_ne!(ended.code, 0);
}

/// Section 3: pre-start: a stop does not wait for it
#[test]
fn a_stop_ends_a_start_that_is_still_held_up() {
    let script = "sleep 1000 & echo $! > child; wait";
    let dog = hooked(Run::quick(), "pre-start", "hook", script).worker(["exit", "0", "--touch", "ran"]).spawn();
    let child: i32 = wait_lines(&dog.path("child"), 1)[0].parse().unwrap();
    assert_eq!(dog.status()["state"], "starting", "it answers meanwhile");
    let began = Instant::now();
    let ended = dog.stop().count("spawn", 0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!procs::alive(child) && !ended.run.path("ran").exists());
}

/// Section 5: hooks are nobody's tree: the sweep after an exit leaves them and what they started alone
#[test]
fn hooks_are_not_swept_with_the_worker() {
    let script = "setsid sleep 1000 > /dev/null 2>&1 & echo $! > daemon; sleep 1; echo done >> finished";
    let dog = flaky(hooked(Run::quick().leaves_alive(), "ready", "hook", script)).spawn();
    let daemon: i32 = wait_lines(&dog.path("daemon"), 1)[0].parse().unwrap();
    second_life(&dog);
    wait_lines(&dog.path("finished"), 1);
    wait_for("an orphan of ours", || procs::Proc::read(daemon).filter(|p| p.parent == dog.pid()).map(|_| ()));
    // the end of a life while the daemon of a hook is a child of ours
    kill(Pid::from_raw(dog.worker_pid(2)), Signal::SIGKILL).unwrap();
    dog.worker_pid(3);
    assert!(procs::alive(daemon), "what a hook started is not the worker's");
    dog.stop().count("leftover-killed", 0);
}

/// Section 8: nor does their memory count for the worker
#[test]
fn the_memory_of_hooks_is_not_the_workers() {
    let worker = common::worker().display().to_string();
    let script = format!("'{worker}' usage --log hook.log hold:90 &\n'{worker}' usage --log hook.log hold:90");
    let run = hooked(Run::quick().leaves_alive(), "ready", "hook", &script);
    let run = hooked(run, "ready", "daemon", &format!("setsid '{worker}' usage --log hook.log hold:90 &"));
    let dog = run.flag("--memory-limit", "60MiB").flag("--sample-interval", "100ms").worker(["usage"]).spawn();
    wait_for("three with memory", || {
        (lines(&dog.path("hook.log")).iter().filter(|l| *l == "done").count() == 3).then_some(())
    });
    stays("no threshold", Duration::from_millis(700), || dog.events_of("threshold").is_empty());
    let rss = dog.status()["memory"]["rss_bytes"].as_u64().unwrap();
    assert!(rss < 60 << 20, "{rss}");
    dog.signal(Signal::SIGTERM);
    dog.event("stopped", 1);
    dog.signal(Signal::SIGINT);
    dog.wait().count("threshold", 0);
}

/// Section 5: what a hook has left in a session of its own may stay as long as we do, and no longer
#[test]
fn what_a_hook_leaves_behind_ends_with_us() {
    let leaves = |file: &str| format!("(setsid sh -c 'echo $$ >> {file}; exec sleep 1236' &)");
    let run = hooked(Run::quick(), "ready", "hook", &leaves("left"));
    let run = hooked(run, "pre-start", "pre", &leaves("pre.left"));
    let dog = flaky(run).spawn();
    second_life(&dog);
    let pids = |dir: &std::path::Path| -> Vec<i32> {
        ["left", "pre.left"]
            .iter()
            .flat_map(|file| wait_lines(&dir.join(file), 2))
            .map(|l| l.parse().unwrap())
            .collect()
    };
    let left = pids(dog.run.dir.path());
    stays("whoever a hook has started", Duration::from_millis(200), || left.iter().all(|pid| procs::alive(*pid)));
    let ended = dog.stop().code(0).count("leftover-killed", 0);
    let living: Vec<i32> = left.into_iter().filter(|pid| procs::alive(*pid)).collect();
    assert!(living.is_empty(), "{living:?}\n{}", ended.story());
}

/// Section 4: no descriptor of ours reaches a hook
#[test]
fn a_hook_inherits_no_descriptor_of_ours() {
    let script = |file: &str| {
        let each = "test -e /proc/$$/fd/$f && echo $f $(readlink /proc/$$/fd/$f)";
        format!("for f in $(seq 0 260); do {each}; done > {file}; echo end >> {file}")
    };
    let run = hooked(Run::quick().flag("--log", "tee"), "exit", "hook", &script("fds"));
    let log = run.path("log.txt");
    let run = hooked(run.flag("--log-file", log), "pre-start", "pre", &script("pre.fds"));
    let dog = flaky(run).spawn();
    let _client = dog.control();
    second_life(&dog);
    let ours: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|e| Some(std::fs::read_link(e.path()).ok()?.to_string_lossy().into_owned()))
        .collect();
    for file in ["fds", "pre.fds"] {
        wait_line(&dog.path(file), "end");
        let found = lines(&dog.path(file));
        assert!(found[0].starts_with("0 pipe:"), "{found:?}");
        for line in &found[3..found.len() - 1] {
            let (number, target) = line.split_once(' ').unwrap();
            // the shell's own: its script and what its redirection hides; and what the caller of the tests left open
            let shell = ["/hook", "/pre", "/out"].iter().any(|end| target.ends_with(end));
            assert!(shell || ours.iter().any(|o| o == target), "{number} {target}: {found:?}");
        }
    }
    dog.stop().code(0);
}

/// Section 4: a hook starts with the signals as our caller had them, in a group of its own
#[test]
fn a_hook_starts_with_the_callers_signals_in_its_own_group() {
    let script =
        "grep -E '^Sig(Blk|Ign)' /proc/self/status > signals; cut -d' ' -f1,5 /proc/$$/stat > group; echo >> group";
    let dog = hooked(Run::quick(), "ready", "hook", script).worker(["sleep"]).spawn();
    wait_lines(&dog.path("group"), 1);
    let mask = |text: &str, key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_else(|| panic!("{key} in {text:?}"));
        // 32 and 33 are the C library's own business; the runtime of the tests ignores PIPE and starts children without
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap() & !(0b11 << 31) & !(1 << 12)
    };
    let hook = lines(&dog.path("signals")).join("\n");
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!((mask(&hook, "SigBlk"), mask(&hook, "SigIgn")), (0, mask(&own, "SigIgn")), "{hook}");
    let group = lines(&dog.path("group"))[0].clone();
    let (pid, leader) = group.split_once(' ').unwrap();
    assert_eq!(pid, leader, "leads its group");
    dog.stop();
}

/// Section 3: without a control socket there is none to be told of
#[test]
fn a_hook_of_a_watchdog_without_a_socket_is_told_of_none() {
    let run = hooked(Run::quick().flag("--control", "off"), "ready", "hook", "echo \"<$WATCHDOG_SOCKET>\" > socket");
    let dog = run.worker(["sleep"]).spawn();
    assert_eq!(wait_lines(&dog.path("socket"), 1), ["<>"]);
    dog.stop();
}

/// Section 3: a hook that cannot be meant is refused before anything is run
#[test]
fn hooks_that_cannot_be_meant_are_refused() {
    for (value, says) in [
        ("exti:true", "exit"),
        ("exit", "names no command"),
        ("A=1 true", "no program"),
        ("pre-start+exit:true", "stands alone"),
    ] {
        let ended = Run::new().switch(&format!("--hook={value}")).worker(["exit", "0"]).run().code(2).count("spawn", 0);
        assert!(ended.err.contains(says), "{value}: {}", ended.err);
    }
}

/// Section 3: in the environment, and several in one value
#[test]
fn hooks_may_come_from_the_environment() {
    let run = Run::once();
    let hook = format!("exit:sh -c 'cat >> {}'", run.at("told"));
    let ended = run.env("WATCHDOG_HOOK", hook).worker(["exit", "3"]).run().code(3);
    assert_eq!(told(&ended.lines("told")), ended.of("exit"));
}

/// H5. Failed before: they ran with the environment of the service, PATH and LD_PRELOAD of a file of its user among it.
#[test]
fn commands_of_the_watchdog_have_its_own_environment_and_nothing_of_the_service() {
    let run = Run::quick().flag("--restart-limit", "1").flag("--restart-delay", "5ms").env("OWN", "1");
    std::fs::create_dir(run.path("bin")).unwrap();
    let env = |file: &str| format!("sh -c 'env | sort > {}.txt'", run.at(file));
    // A program of the service's PATH that is not to be run in the place of the right one.
    std::fs::write(run.path("bin/sh"), format!("#!/bin/sh\ntouch {}\n", run.at("wrong"))).unwrap();
    std::fs::set_permissions(run.path("bin/sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let variables = format!("PATH={}:/usr/bin:/bin\nLD_PRELOAD=/no/such.so\nFROM_FILE=1\n", run.at("bin"));
    std::fs::write(run.path("env"), variables).unwrap();
    let (hook, pre, end) = (env("hook"), env("pre"), env("end"));
    let file = run.path("env");
    let run = run.flag("--env-file", file).flag("--env", "OF_THE_SERVICE=1").flag("--give-up", format!("exec:{end}"));
    let run = run.switch(&format!("--hook=exit:{hook}")).switch(&format!("--hook=pre-start:{pre}"));
    let ended = run.flag("--name", "web").worker(["exit", "3"]).run().code(3).count("gave-up", 1);
    assert!(!ended.run.path("wrong").exists(), "found along the service's PATH");
    for (file, event) in [("hook", "exit"), ("pre", "pre-start"), ("end", "gave-up")] {
        let env = ended.lines(&format!("{file}.txt"));
        let has = |line: &str| env.iter().any(|l| l == line);
        assert!(has("OWN=1") && has("WATCHDOG_SERVICE=web") && has("WATCHDOG_REPLICA=0"), "{file}: {env:?}");
        assert!(has(&format!("WATCHDOG_EVENT={event}")), "{file}: {env:?}");
        let foreign = ["FROM_FILE", "OF_THE_SERVICE", "LD_PRELOAD", "WATCHDOG_HOOK", "WATCHDOG_GIVE_UP"];
        for name in foreign {
            assert!(!env.iter().any(|l| l.starts_with(&format!("{name}="))), "{file}: {name} in {env:?}");
        }
        let own = std::env::var("PATH").unwrap();
        assert!(has(&format!("PATH={own}")), "{file}: {env:?}");
    }
}

/// H5, `hook_user`: the watchdog's user, or the service's with its login and groups, and with no_new_privs as the service has it
#[test]
fn a_hook_runs_as_the_watchdog_or_as_the_user_of_the_service() {
    if !common::is_root() {
        return common::skip("needs root");
    }
    let script = "id -u; id -G; echo $HOME; grep NoNewPrivs /proc/self/status | cut -f2";
    for (user, wanted) in [(None, "0"), (Some("watchdog"), "0"), (Some("service"), "65534")] {
        let run = Run::quick().flag("--restart-limit", "1").flag("--restart-delay", "5ms");
        std::fs::set_permissions(run.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let (told, end) = (run.at("told"), run.at("end"));
        let run = run.flag("--user", "nobody").switch("--no-new-privs").env("HOME", "/of-root").no_events();
        let run = run.switch(&format!("--hook=exit:sh -c '{{ {script}; }} > {told}'"));
        let run = run.flag("--give-up", format!("exec:sh -c 'id -u > {end}'"));
        let run = if let Some(user) = user { run.flag("--hook-user", user) } else { run };
        let ended = run.program(["sh", "-c", "exit 3"]).run().code(3);
        let told = ended.lines("told");
        assert_eq!((told[0].as_str(), ended.lines("end")), (wanted, vec![wanted.to_string()]), "{user:?}");
        let theirs = wanted != "0";
        assert_eq!(told[2] == "/of-root", !theirs, "{told:?}");
        assert_eq!(told[3], if theirs { "1" } else { "0" }, "{told:?}");
        assert!(!theirs || !told[1].split(' ').any(|group| group == "0"), "{told:?}");
    }
    let ended = Run::once().flag("--hook-user", "root").worker(["exit", "0"]).run().code(2);
    assert!(ended.err.contains("watchdog") && ended.err.contains("service"), "{}", ended.err);
}

/// users.md 2. Failed before: a hook and the command of a probe were not told which replica they are about.
#[test]
fn hooks_and_probes_know_the_replica() {
    let text = "[service.api]\ncommand = [\"sleep\", \"1000\"]\nreplicas = 2\n\
                hook = [\"spawn:sh -c 'echo $WATCHDOG_SERVICE $WATCHDOG_REPLICA >> told'\"]\n\
                [[service.api.probe]]\nname = \"asks\"\nrole = \"readiness\"\ninterval = \"200ms\"\n\
                check = \"exec:sh -c 'echo replica $WATCHDOG_REPLICA of $WATCHDOG_SERVICE'\"\n";
    let dog = Run::quick_file(text).spawn();
    let mut told = wait_lines(&dog.path("told"), 2);
    told.sort();
    assert_eq!(told, ["api@0 0", "api@1 1"]);
    for index in 0..2 {
        let name = format!("api@{index}");
        dog.wait_ready(&name);
        let probe = dog.service(&name)["probes"][0].clone();
        assert_eq!(probe["message"], json!(format!("replica {index} of {name}")), "{probe}");
    }
    dog.stop().code(0);
}
