//! Settings: one name, three spellings, a clear order, and errors that name the thing (product.md section 3, CFG-06).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Ended, Run, wait_lines};
use std::path::PathBuf;

/// A wrong command line or variable: refused before anything ran, with 2 and the words in one line.
#[track_caller]
fn refused(run: Run, words: &[&str]) -> Ended {
    refused_with(2, run, words)
}

#[track_caller]
fn refused_with(code: i32, run: Run, words: &[&str]) -> Ended {
    let proof: PathBuf = run.path("ran");
    let ended = run.worker(["exit", "0", "--touch", &proof.to_string_lossy()]).run();
    let ended = ended.code(code).count("spawn", 0).before(4000);
    assert!(!proof.exists(), "the worker ran");
    assert!(ended.out.is_empty(), "errors go to stderr");
    for word in words {
        assert!(ended.err.contains(word), "{word:?} is not in {:?}", ended.err);
    }
    let said: Vec<&str> = ended.err.lines().filter(|l| !l.ends_with("see watchdog --help")).collect();
    assert_eq!(said.len(), 1, "one line: {:?}", ended.err);
    ended
}

/// Which stop signal the worker is sent says which value counted.
fn stop_signal_of(run: Run) -> String {
    let log = run.at("log");
    let dog = run.flag("--stop-timeout", "400ms").worker(["signal-log", &log]).spawn();
    wait_lines(&dog.path("log"), 1);
    let ended = dog.stop();
    ended.lines("log").get(1).map(|l| l.split(' ').next().unwrap().to_string()).unwrap_or_default()
}

fn with_file(run: Run, text: &str) -> Run {
    let path = run.path("watchdog.toml");
    std::fs::write(&path, text).unwrap();
    run.flag("--config", path)
}

/// Section 3: flag over variable over file over default
#[test]
fn a_flag_beats_a_variable_beats_a_file_beats_the_default() {
    let file = "[defaults]\nstop_signal = \"HUP\"\n";
    assert_eq!(stop_signal_of(Run::new()), "TERM");
    assert_eq!(stop_signal_of(with_file(Run::new(), file)), "HUP");
    assert_eq!(stop_signal_of(with_file(Run::new(), file).env("WATCHDOG_STOP_SIGNAL", "USR1")), "USR1");
    let all = with_file(Run::new(), file).env("WATCHDOG_STOP_SIGNAL", "USR1").flag("--stop-signal", "USR2");
    assert_eq!(stop_signal_of(all), "USR2");
    let by_variable = Run::new();
    let path = by_variable.path("watchdog.toml");
    std::fs::write(&path, file).unwrap();
    assert_eq!(stop_signal_of(by_variable.env("WATCHDOG_CONFIG", path)), "HUP");
}

/// Section 3: `--flag=value` and `--flag value`
#[test]
fn both_forms_of_a_flag_are_one() {
    assert_eq!(stop_signal_of(Run::new().switch("--stop-signal=HUP")), "HUP");
    assert_eq!(stop_signal_of(Run::new().flag("--stop-signal", "SIGHUP")), "HUP");
}

/// Section 3: `env` is repeatable; of any other flag the last one counts
#[test]
fn the_last_of_a_repeated_flag_counts() {
    assert_eq!(stop_signal_of(Run::new().switch("--stop-signal=HUP").switch("--stop-signal=USR1")), "USR1");
    let run = Run::new().switch("--restart-delay=50ms").switch("--restart-delay=10ms").flag("--restart-limit", "1");
    let ended = run.flag("--restart-delay-jitter", "0").worker(["exit", "1"]).run().code(1);
    assert_eq!(ended.of("restart-scheduled")[0]["delay_ms"], 10);
    let ended = Run::new().switch("--success-on=3").switch("--success-on=4").worker(["exit", "4"]).run().code(4);
    ended.count("spawn", 1);
}

/// Section 3: the prefix form reads only [defaults]
#[test]
fn services_of_a_file_are_not_run_by_the_prefix_form() {
    let run = with_file(Run::once(), "[defaults]\nstop_signal = \"HUP\"\n[service.other]\ncommand = \"touch other\"\n");
    let ended = run.worker(["exit", "0"]).run().code(0).count("spawn", 1);
    assert!(!ended.run.path("other").exists());
}

/// Unknown flags name the nearest known one
#[test]
fn an_unknown_flag_names_the_nearest() {
    refused(Run::new().flag("--restrat", "always"), &["--restrat", "--restart"]);
    refused(Run::new().flag("--stop-timeuot", "1s"), &["--stop-timeuot", "--stop-timeout"]);
    refused(Run::new().flag("--stop_timeout", "1s"), &["stop_timeout", "--stop-timeout"]);
}

/// Wrong words name the known ones
#[test]
fn a_wrong_word_names_the_known_ones() {
    refused(Run::new().flag("--restart", "allways"), &["restart", "allways", "always"]);
    refused(Run::new().flag("--signal-scope", "everyone"), &["signal-scope", "everyone", "group"]);
    refused(Run::new().flag("--log", "files"), &["log", "files"]);
    refused(Run::new().flag("--give-up", "leave"), &["give-up", "leave"]);
    refused(Run::new().flag("--on-watchdog-death", "weep"), &["on-watchdog-death", "weep"]);
    refused(Run::new().flag("--stop-signal", "TREM"), &["stop-signal", "TREM", "TERM"]);
    refused(Run::new().flag("--stop-signal", "65"), &["stop-signal", "65"]);
    refused(Run::new().flag("--rewrite-signal", "TERM"), &["rewrite-signal", "TERM"]);
}

/// CFG-06: units are required
#[test]
fn durations_need_a_unit_and_the_message_has_the_fix() {
    refused(Run::new().flag("--stop-timeout", "5"), &["stop-timeout", "5", "5s"]);
    for bad in ["", "-1s", "NaN", "1e9h", "1y", "abc", "s", "5 parsecs", "1..5s", "∞"] {
        refused(Run::new().flag("--stop-timeout", bad), &["stop-timeout"]);
    }
    for good in ["0", "100ms", "5s", "2m", "1h", "1d"] {
        Run::once().flag("--stop-timeout", good).worker(["exit", "0"]).run().code(0);
    }
}

/// CFG-06: sizes, percentages, numbers
#[test]
fn sizes_percentages_and_counts_are_checked() {
    refused(Run::new().flag("--log-max-size", "10"), &["log-max-size", "10"]);
    refused(Run::new().flag("--log-max-size", "10MBB"), &["log-max-size", "10MBB"]);
    refused(Run::new().flag("--restart-delay-jitter", "20"), &["restart-delay-jitter"]);
    refused(Run::new().flag("--restart-limit", "many"), &["restart-limit", "many"]);
    refused(Run::new().flag("--umask", "9"), &["umask", "9"]);
    refused(Run::new().flag("--nice", "99"), &["nice", "99"]);
    refused(Run::new().flag("--oom-score-adj", "2000"), &["oom-score-adj", "2000"]);
    refused(Run::new().flag("--rlimit", "nofiles=1"), &["rlimit", "nofiles", "nofile"]);
    refused(Run::new().flag("--success-on", "256"), &["success-on", "256"]);
    refused(Run::new().flag("--no-restart-on", "NOPE"), &["no-restart-on", "NOPE"]);
    for good in ["10KiB", "1MB", "1GiB", "4096KB"] {
        Run::once().flag("--log", "tee").flag("--log-max-size", good).worker(["exit", "0"]).run().code(0);
    }
}

/// a variable that does not parse is an error that names the variable
#[test]
fn a_bad_variable_is_named() {
    refused(Run::new().env("WATCHDOG_STOP_TIMEOUT", "5"), &["WATCHDOG_STOP_TIMEOUT", "5s"]);
    refused(Run::new().env("WATCHDOG_RESTART", "allways"), &["WATCHDOG_RESTART", "allways", "always"]);
}

/// `port` in the prefix form: PORT of the program; `[defaults]` know the service. Failed before: there was no such flag.
#[test]
fn a_port_is_given_to_the_program_and_known_in_its_defaults() {
    let says = |run: Run| run.program(["sh", "-c", "echo $PORT $WHERE"]).run().code(0);
    assert_eq!(says(Run::once().flag("--port", "5000").env("PORT", "80")).out, "5000\n");
    assert_eq!(says(Run::once().env("WATCHDOG_PORT", "5001")).out, "5001\n");
    assert_eq!(says(Run::once().env("PORT", "80")).out, "80\n");
    let text = "[defaults]\nport = 6000\nenv = { WHERE = \"${WATCHDOG_SERVICE}-${WATCHDOG_REPLICA}-${PORT}\" }\n";
    assert_eq!(says(with_file(Run::once(), text).flag("--name", "shop")).out, "6000 shop-0-6000\n");
    let by_flag = with_file(Run::once(), text).flag("--port", "6500").flag("--name", "shop");
    assert_eq!(says(by_flag).out, "6500 shop-0-6500\n");
    refused(Run::once().flag("--port", "70000"), &["--port: \"70000\" is not a whole number from 1 to 65535"]);
}

/// Kubernetes and Docker set this where a service is called watchdog. Failed before: there was no such setting to mistake it for.
#[test]
fn the_address_of_a_service_called_watchdog_is_no_port() {
    let run = Run::once().env("WATCHDOG_PORT", "tcp://10.0.0.7:80").program(["sh", "-c", "echo $PORT $WATCHDOG_PORT"]);
    let ended = run.run().code(0);
    assert_eq!(ended.out, "tcp://10.0.0.7:80\n");
    assert!(ended.err.contains("WATCHDOG_PORT: the address of a service called watchdog"), "{}", ended.err);
}

/// an unknown variable is one warning with the nearest name, and the worker runs
#[test]
fn an_unknown_variable_is_one_warning() {
    let ended = Run::once().env("WATCHDOG_STOP_TIMEUOT", "5s").worker(["exit", "4"]).run().code(4);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    let ended = ended.says("WATCHDOG_STOP_TIMEUOT").says("WATCHDOG_STOP_TIMEOUT");
    drop(ended);
    // those of the sd_watchdog protocol, of the worker's own world and of clients are no settings
    let run = Run::once().env("WATCHDOG_USEC", "5").env("WATCHDOG_PID", "5").env("WATCHDOG_SOCKET", "/x");
    run.env("WATCHDOG_INSTANCE", "x").worker(["exit", "4"]).run().code(4).silent();
}

/// an unknown key of a file is named with the file, the line and the nearest; a bad file is 125
#[test]
fn an_unknown_key_of_a_file_is_named_with_its_line() {
    let file = "[defaults]\nrestart = \"always\"\nstop_timeuot = \"5s\"\n";
    refused_with(125, with_file(Run::new(), file), &["watchdog.toml", "3", "stop_timeuot", "stop_timeout"]);
    refused_with(
        125,
        with_file(Run::new(), "[defaults]\nrestart = \"allways\"\n"),
        &["watchdog.toml", "restart", "allways"],
    );
    refused_with(125, with_file(Run::new(), "[defaults]\nrestart = 5\n"), &["watchdog.toml", "restart"]);
    refused_with(125, with_file(Run::new(), "[defaults\n"), &["watchdog.toml"]);
}

/// a file that is not there is 125 or 2, never silence
#[test]
fn a_missing_file_is_an_error() {
    let ended = Run::new().flag("--config", "/no/such/file.toml").worker(["exit", "0"]).run().count("spawn", 0);
    assert!([2, 125].contains(&ended.code), "{}", ended.story());
    assert!(ended.err.contains("/no/such/file.toml"), "{}", ended.err);
}

/// CFG-09: strange files are refused within two seconds
#[test]
fn strange_files_are_refused_and_never_hang() {
    let base = Run::new();
    let (fifo, binary, bom) = (base.path("fifo"), base.path("binary"), base.path("bom"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    std::fs::write(&binary, b"\xff\xfe\x00").unwrap();
    std::fs::write(&bom, "\u{feff}[defaults]\r\nrestart = \"never\"\r\n").unwrap();
    for path in ["/", "/dev/zero", &fifo.to_string_lossy(), &binary.to_string_lossy()] {
        let ended = Run::new().flag("--config", path).worker(["exit", "0"]).run().count("spawn", 0).before(4000);
        assert!([2, 125].contains(&ended.code), "{path}: {}", ended.story());
    }
    let empty = base.path("empty");
    std::fs::write(&empty, "").unwrap();
    Run::once().flag("--config", &empty).worker(["exit", "3"]).run().code(3);
    Run::new().flag("--config", &bom).worker(["exit", "3"]).run().code(3).count("spawn", 1);
}

/// switches
#[test]
fn switches_take_a_value_behind_an_equals_sign_only() {
    let env = |run: Run| run.worker(["inherit"]).run().code(0).json()["env"].to_string();
    // PATH= in hex
    let path = "504154483d";
    assert!(!env(Run::once().switch("--clear-env")).contains(path));
    assert!(env(Run::once().switch("--clear-env=false")).contains(path));
    assert!(!env(Run::once().switch("--clear-env=true")).contains(path));
    refused(Run::new().switch("--clear-env=maybe"), &["clear-env", "maybe"]);
}

/// env, env_file: repeatable, the later one wins, K=V only
#[test]
fn the_environment_is_put_together_in_order() {
    let run = Run::once().env("A", "outer");
    let file = run.path("env");
    std::fs::write(&file, "# a comment\nA=file\nB=file\n\n").unwrap();
    let run = run.flag("--env-file", &file).flag("--env", "B=flag").flag("--env", "C=1").flag("--env", "C=2=3");
    let ended = run.program(["sh", "-c", "echo \"$A $B $C\""]).run().code(0);
    assert_eq!(ended.out, "file flag 2=3\n");
    refused(Run::new().flag("--env", "NOVALUE"), &["env", "K=V"]);
    let ended = Run::new().flag("--env-file", "/no/such/env").worker(["exit", "0"]).run().count("spawn", 0);
    assert!([2, 125].contains(&ended.code) && ended.err.contains("/no/such/env"), "{}", ended.story());
}

/// names
#[test]
fn names_are_checked_and_default_names_are_made_fit() {
    for bad in ["", "a/b", "a b", "ä", &"n".repeat(65), "../x"] {
        refused(Run::new().flag("--name", bad), &["name"]);
    }
    let run = Run::once();
    let odd = run.path("odd name+ü");
    std::fs::copy("/bin/true", &odd).unwrap();
    let ended = run.program([&odd]).run().code(0);
    let name = ended.of("spawn")[0]["service"].as_str().unwrap().to_string();
    assert!(
        name.starts_with("odd_name_") && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
        "{name}"
    );
    let ended = Run::once().flag("--name", "given.name-1").worker(["exit", "0"]).run().code(0);
    assert_eq!(ended.of("spawn")[0]["service"], "given.name-1");
}

/// CFG-08: several errors, all of them in one run, or the first of them by itself; never a start
#[test]
fn several_errors_start_nothing() {
    let run = Run::new().flag("--restart", "x").flag("--stop-timeout", "y");
    let ended = run.worker(["exit", "0"]).run().code(2).count("spawn", 0);
    assert!(ended.err.contains("restart") || ended.err.contains("stop-timeout"), "{}", ended.err);
}

/// an events file that cannot be written is 125 before anything runs
#[test]
fn an_events_file_that_cannot_be_opened_is_125() {
    let run = Run::once().no_events().flag("--events-file", "/no/such/dir/events");
    let proof = run.path("ran");
    let ended = run.worker(["exit", "0", "--touch", &proof.to_string_lossy()]).run().code(125);
    assert!(!proof.exists() && ended.err.contains("/no/such/dir/events"), "{}", ended.story());
}

/// by default nothing of ours is on the streams of a worker that does well
#[test]
fn the_default_is_silent() {
    let ended = Run::new().no_events().worker(["exit", "0", "--say", "x"]).run().code(0).silent();
    assert_eq!(ended.out, "x");
    let ended = Run::new().no_events().flag("--log-level", "info").worker(["exit", "0"]).run().code(0);
    assert!(!ended.err.is_empty(), "info says what happens");
    let run = Run::new().no_events().flag("--log-level", "info").flag("--log-format", "json");
    let ended = run.worker(["exit", "0"]).run().code(0);
    for line in ended.err.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
}

/// Section 2: the pages that need no watchdog
#[test]
fn the_manual_the_completions_and_the_forecast_are_printed() {
    let page = |words: &[&str]| {
        let out = std::process::Command::new(common::watchdog()).args(words).output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{words:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(page(&["man"]).starts_with(".TH WATCHDOG 1"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(page(&["completions", shell]).contains("stop-timeout"), "{shell}");
    }
    for verb in ["stop", "up", "top"] {
        let manual = page(&["man", verb]);
        assert!(manual.starts_with(".TH WATCHDOG") && manual.contains(".SH OPTIONS"), "{manual}");
    }
    let settings = ["simulate", "--restart-limit", "2", "--restart-delay-jitter", "0%", "--exits", "crash@2s x6"];
    let text = page(&settings);
    assert_eq!((text.matches("spawn").count(), text.matches("restart_limit 2").count()), (3, 1), "{text}");
    let json: serde_json::Value = serde_json::from_str(&page(&[&settings[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["exit_status"], 1, "{json}");
}

/// SEC-05: whoever may write the file decides what the worker runs with
#[test]
fn an_env_file_that_everybody_may_write_is_one_warning() {
    let run = Run::once();
    let file = run.path("env");
    std::fs::write(&file, "A=S3CRET\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    let ended = run.flag("--env-file", &file).worker(["exit", "0"]).run().code(0);
    assert_eq!(ended.err, "", "readable is fine");
    mode(0o666);
    let ended = Run::once().flag("--env-file", &file).worker(["exit", "0"]).run().code(0);
    let err = &ended.err;
    assert!(err.lines().count() == 1 && err.contains("everybody may write") && !err.contains("S3CRET"), "{err}");
}

/// title, description
#[test]
fn title_and_description_are_shown() {
    let run = Run::quick().flag("--title", "The shop").flag("--description", "sells things");
    let dog = run.worker(["sleep"]).spawn();
    let status = dog.status();
    assert_eq!((&status["title"], &status["description"]), (&"The shop".into(), &"sells things".into()));
    assert!(dog.verb(&["explain"]).code(0).out.contains("sells things"));
    dog.stop();
}

/// ready, start_timeout, heartbeats, dialects: wrong values are named with the nearest right form
#[test]
fn readiness_and_heartbeats_are_checked() {
    refused(Run::new().flag("--ready", "repoted"), &["--ready", "repoted", "did you mean \"reported\"?"]);
    refused(Run::new().flag("--ready", "port:0"), &["--ready", "port", "from 1 to 65535"]);
    refused(Run::new().flag("--ready", "port"), &["--ready", "port:8080"]);
    refused(Run::new().flag("--ready", "line:"), &["--ready", "line:listening"]);
    refused(Run::new().flag("--ready", "line:up"), &["ready = line", "set log to tee or capture"]);
    refused(Run::new().flag("--ready", "probe"), &["ready = probe", "readiness or startup probe"]);
    refused(Run::new().flag("--ready", "reported").flag("--dialects", "none"), &["ready = reported", "add native"]);
    refused(Run::new().flag("--start-timeout", "30"), &["--start-timeout", "30s"]);
    refused(Run::new().flag("--heartbeat", "requierd"), &["--heartbeat", "did you mean \"required\"?"]);
    refused(
        Run::new().flag("--heartbeat", "required").flag("--dialects", "fd"),
        &["heartbeat = required", "add native"],
    );
    refused(Run::new().flag("--heartbeat-interval", "0"), &["--heartbeat-interval", "at least 10ms"]);
    refused(Run::new().flag("--heartbeat-timeout", "5"), &["--heartbeat-timeout", "5s"]);
    refused(Run::new().flag("--heartbeat-misses", "0"), &["--heartbeat-misses", "from 1 to 1000"]);
    refused(Run::new().flag("--on-hang", "recrod"), &["--on-hang", "did you mean \"record\"?"]);
    refused(Run::new().flag("--hang-signal", "ABTR"), &["--hang-signal", "did you mean \"ABRT\"?"]);
    refused(Run::new().flag("--hang-dump-timeout", "5"), &["--hang-dump-timeout", "5s"]);
    refused(Run::new().flag("--dialects", "natvie,notify"), &["--dialects", "did you mean \"native\"?"]);
    refused(Run::new().flag("--dialects", "notify:run/app"), &["--dialects", "absolute path"]);
    refused(Run::new().flag("--reload-signal", "HPU"), &["--reload-signal", "did you mean \"HUP\"?"]);
}

/// memory and CPU limits: a bare number is refused with the fix
#[test]
fn limits_are_checked_and_need_units() {
    refused(Run::new().flag("--memory-limit", "512"), &["--memory-limit", "did you mean \"512MiB\"?"]);
    refused(Run::new().flag("--memory-limit", "0"), &["--memory-limit", "did you mean \"off\"?"]);
    refused(Run::new().env("WATCHDOG_MEMORY_LIMIT", "512"), &["WATCHDOG_MEMORY_LIMIT", "512MiB"]);
    refused(Run::new().flag("--memory-soft-limit", "1g"), &["--memory-soft-limit", "did you mean \"1GiB\"?"]);
    let both = Run::new().flag("--memory-limit", "1MiB").flag("--memory-soft-limit", "1MiB");
    refused(both, &["memory_soft_limit", "not below memory_limit"]);
    refused(Run::new().flag("--memory-samples", "0"), &["--memory-samples", "from 1 to 1000"]);
    refused(Run::new().flag("--memory-action", "kill"), &["--memory-action", "restart, warn"]);
    refused(Run::new().flag("--cpu-limit", "80"), &["--cpu-limit", "did you mean \"80%\"?"]);
    refused(Run::new().flag("--cpu-limit", "100001%"), &["--cpu-limit", "0% to 100000%"]);
    refused(Run::new().flag("--cpu-samples", "1001"), &["--cpu-samples", "from 1 to 1000"]);
    refused(Run::new().flag("--cpu-action", "wran"), &["--cpu-action", "did you mean \"warn\"?"]);
    refused(Run::new().flag("--limit-scope", "group"), &["--limit-scope", "tree, main"]);
    refused(Run::new().flag("--sample-interval", "50ms"), &["--sample-interval", "at least 100ms"]);
    let file = "[defaults]\nmemoryThreshold = 512\n";
    refused_with(125, with_file(Run::new(), file), &["watchdog.toml:2:1", "memoryThreshold", "512MiB"]);
}

/// hook, report_dir, report_keep
#[test]
fn hooks_and_reports_are_checked() {
    refused(Run::new().flag("--hook", "exti:./tell"), &["--hook", "\"exti\" is no event", "did you mean \"exit\"?"]);
    refused(Run::new().flag("--hook", "pre-start+exit:./tell"), &["--hook", "pre-start:COMMAND"]);
    refused(Run::new().flag("--hook", "exit:"), &["--hook", "the command is empty"]);
    refused(Run::new().flag("--hook", "exit:'./tell"), &["--hook", "not closed"]);
    refused(Run::new().flag("--report-dir", ""), &["--report-dir", "empty path"]);
    refused(Run::new().flag("--report-keep", "1001"), &["--report-keep", "from 0 to 1000"]);
    let file = "[defaults]\nreport_keep = 5\n";
    refused_with(125, with_file(Run::new(), file), &["report_keep", "stands in [watchdog]"]);
}

/// Section 2: reports outlive the watchdog that wrote them
#[test]
fn a_report_is_read_where_no_watchdog_runs() {
    let base = Run::new();
    let (runtime, dir) = (base.path("runtime"), base.path("reports"));
    std::fs::create_dir(&dir).unwrap();
    let text = r#"{"id":"r1","time":"2026-01-01T00:00:00.000Z","service":"web","generation":2,"cause":"hang","signal":"KILL"}"#;
    std::fs::write(dir.join("r1.json"), text).unwrap();
    let report = |words: &[&str]| {
        let mut command = std::process::Command::new(common::watchdog());
        command.env_remove("WATCHDOG_INSTANCE").env_remove("WATCHDOG_SOCKET");
        command.env("WATCHDOG_RUNTIME_DIR", &runtime).env("WATCHDOG_REPORT_DIR", &dir);
        let out = command.arg("report").args(words).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let (status, out, err) = report(&[]);
    assert!(status == 0 && out.contains("r1") && out.contains("killed by KILL"), "{out}{err}");
    assert!(err.contains("no watchdog is running here"), "{err}");
    let (status, out, err) = report(&["last", "--dir", &dir.to_string_lossy()]);
    assert!(status == 0 && out.starts_with("web #2: hang\n") && err.is_empty(), "{out}{err}");
    let (status, out, _) = report(&["show", "r1", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &shown["id"]), (0, &"r1".into()));
    let (status, _, err) = report(&["show", "r2"]);
    assert!(status == 3 && err.contains("did you mean \"r1\"?"), "{err}");
}
