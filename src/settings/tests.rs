//! The layers together.

use super::draft::Draft;
use super::table::{Standard, TABLE};
use super::*;
use std::time::Duration;
use watchdog_engine::spec::{
    Control, Delays, Dialects, HeartbeatMode, Hook, LimitAction, LimitScope, LogMode, MemoryLimit, NotifyAt, OnHang,
    Policy, Ready,
};

fn world(environment: &[(&str, &str)]) -> World {
    let pair = |(k, v): &(&str, &str)| (OsString::from(k), OsString::from(v));
    World { environment: environment.iter().map(pair).collect(), pid: 4, uid: 1000, accounts: Accounts::default() }
}

fn flag(key: &str, value: &str) -> Flag {
    (table::find(key).expect(key), value.into())
}

fn program() -> Vec<OsString> {
    vec!["/usr/bin/my app".into(), "-x".into()]
}

fn resolved(flags: &[Flag], environment: &[(&str, &str)]) -> Resolved {
    resolve(flags, program(), &world(environment)).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn refused(flags: &[Flag], environment: &[(&str, &str)]) -> (u8, Vec<String>) {
    let faults = resolve(flags, program(), &world(environment)).expect_err("must be refused");
    (status_of(&faults), faults.into_iter().map(|f| f.message).collect())
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_engine() {
    for setting in &TABLE {
        let Standard::Value(text) = setting.default else { continue };
        let mut draft = Draft::default();
        setting.set(&mut draft, &Raw::one(Layer::Flag, &*text)).unwrap_or_else(|f| panic!("{}: {f:?}", setting.key));
        if setting.key == "start_timeout" {
            // One that was given stands, and the same as a default is stretched.
            assert_eq!(draft.spec.start_timeout.take(), Some(watchdog_engine::spec::START_TIMEOUT));
        }
        assert_eq!(format!("{draft:?}"), format!("{:?}", Draft::default()), "{}", setting.key);
    }
}

#[test]
fn nothing_said_is_the_engines_default() {
    let mut ours = resolved(&[], &[]).spec;
    assert_eq!((ours.name.as_str(), ours.command.len()), ("my_app", 2));
    ours.name.clear();
    ours.command.clear();
    assert_eq!(format!("{ours:?}"), format!("{:?}", Spec::default()));
}

#[test]
fn keys_are_unique_and_none_is_both_built_and_later() {
    let mut keys: Vec<&str> = table::keys().collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

/// Failed before: only four of them were known, and the others were unknown keys.
#[test]
fn what_a_later_version_brings_is_known_and_refused_with_a_reason() {
    let keys = "listen listen_style listen_hold update update_settle update_timeout update_attempts update_order update_fallback \
                drain_signal drain_notice drain_timeout keep_good fd_store_max passive_heartbeat upgrade_signal hang_dump \
                core_timeout hang_excuse";
    for key in keys.split_whitespace() {
        let by_variable = refused(&[], &[(&table::variable(key), "1")]);
        assert_eq!(by_variable.0, 2, "{by_variable:?}");
        assert!(by_variable.1[0].contains("not in this version (") && by_variable.1.len() == 1, "{by_variable:?}");
        let mut faults = Vec::new();
        let source = [Source::new("w.toml", format!("[service.a]\n{key} = 1\n"))];
        file::read(&source, true, &world(&[]), &mut faults);
        let expected = format!("w.toml:2:1: service.a.{key}: not in this version (");
        assert!(faults.len() == 1 && faults[0].message.starts_with(&expected), "{faults:?}");
        assert!(table::find(key).is_none(), "{key} is built");
    }
}

#[test]
fn flag_over_variable_over_file_over_default() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("w.toml");
    let text = "[watchdog]\nlog_level = \"debug\"\n[defaults]\nstop_timeout = \"1s\"\nkill_wait = \"2s\"\nrestart = \"always\"\n";
    std::fs::write(&file, text).expect("write");
    let config = flag("config", file.to_str().expect("UTF-8"));
    let got = resolved(
        &[config, flag("stop_timeout", "3s")],
        &[("WATCHDOG_STOP_TIMEOUT", "2s"), ("WATCHDOG_KILL_WAIT", "5s")],
    );
    assert_eq!(got.spec.stop.timeout, Duration::from_secs(3));
    assert_eq!(got.spec.stop.shutdown_timeout, Duration::from_secs(3));
    assert_eq!(got.spec.stop.kill_wait, Duration::from_secs(5));
    assert_eq!(got.spec.restart.policy, Policy::Always);
    assert_eq!(got.log_level, "debug");
}

#[test]
fn a_broken_file_is_125_and_everything_wrong_is_said() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("w.toml");
    std::fs::write(&file, "[defaults]\nstop_timeout = 5\nrestart = \"alwys\"\nnicee = 1\n").expect("write");
    let config = || flag("config", file.to_str().expect("UTF-8"));
    let (status, lines) = refused(&[config()], &[]);
    assert_eq!(status, 125);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines.iter().any(|l| l.ends_with("w.toml:2:1: defaults.stop_timeout: \"5\" has no unit: did you mean \"5s\"?")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|l| l.contains(":3:1: defaults.restart: ") && l.ends_with("did you mean \"always\"?")),
        "{lines:?}"
    );
    std::fs::remove_file(&file).expect("remove");
    assert_eq!(refused(&[config()], &[]).0, 125);
}

#[test]
fn a_variable_that_does_not_parse_is_an_error_and_an_unknown_one_a_warning() {
    let (status, lines) = refused(&[], &[("WATCHDOG_STOP_TIMEOUT", "5"), ("WATCHDOG_PROBE", "port:80")]);
    assert_eq!(status, 2);
    assert!(lines.contains(&"WATCHDOG_STOP_TIMEOUT: \"5\" has no unit: did you mean \"5s\"?".to_string()), "{lines:?}");
    assert!(lines.iter().any(|l| l.starts_with("WATCHDOG_PROBE: stands in a file alone")), "{lines:?}");
    let got = resolved(&[], &[("WATCHDOG_STOP_TIMEUOT", "5s"), ("WATCHDOG_USEC", "x"), ("WATCHDOG_PID", "x")]);
    let warning = "WATCHDOG_STOP_TIMEUOT: unknown variable, passed over: did you mean \"WATCHDOG_STOP_TIMEOUT\"?";
    assert_eq!(got.warnings, [warning]);
    // Words of other supervisors, as in the file. Failed before: only "unknown variable".
    let foreign = resolved(&[], &[("WATCHDOG_NUMPROCS", "2")]).warnings;
    assert!(
        foreign[0].starts_with("WATCHDOG_NUMPROCS: unknown variable, passed over, a word of supervisord"),
        "{foreign:?}"
    );
    assert!(got.spec.launch.env.iter().any(|(k, _)| k == "WATCHDOG_STOP_TIMEUOT"));
    assert!(!got.spec.launch.env.iter().any(|(k, _)| k == "WATCHDOG_USEC" || k == "WATCHDOG_PID"));
}

#[test]
fn the_environment_is_laid_in_order() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("e");
    std::fs::write(&file, "A=file\nB=file\n").expect("write");
    let flags = [flag("env_file", file.to_str().expect("UTF-8")), flag("env", "B=x,y=z"), flag("env", "C=3")];
    let names = |r: &Resolved| {
        let env = r.spec.launch.env.iter();
        env.map(|(k, v)| format!("{}={}", k.display(), v.display())).collect::<Vec<_>>()
    };
    let got =
        resolved(&flags, &[("A", "ours"), ("WATCHDOG_STOP_TIMEOUT", "1s"), ("Z", "1"), ("WATCHDOG_ENV", "C=v,D=v")]);
    assert_eq!(names(&got), ["A=file", "Z=1", "B=x,y=z", "C=3", "D=v"]);
    let cleared = resolved(&[flags.as_slice(), &[flag("clear_env", "true")]].concat(), &[("Z", "1")]);
    assert_eq!(names(&cleared), ["A=file", "B=x,y=z", "C=3"]);
}

#[test]
fn the_runtime_directory_is_the_first_of_four() {
    assert_eq!(world(&[("WATCHDOG_RUNTIME_DIR", "/a"), ("XDG_RUNTIME_DIR", "/b")]).runtime_dir(), Path::new("/a"));
    assert_eq!(world(&[("XDG_RUNTIME_DIR", "/b")]).runtime_dir(), Path::new("/b/watchdog"));
    assert_eq!(world(&[]).runtime_dir(), Path::new("/tmp/watchdog-1000"));
    assert_eq!(World { uid: 0, ..world(&[]) }.runtime_dir(), Path::new("/run/watchdog"));
}

#[test]
fn values_reach_their_fields() {
    let got = resolved(
        &[
            flag("name", "web"),
            flag("restart_delay", "1s,2s,0"),
            flag("success_on", "3,USR1"),
            flag("control", "off"),
            flag("die_with_parent", "KILL"),
            flag("log", "tee"),
            flag("log_file", "/var/log/x"),
            flag("rewrite_signal", "TERM:QUIT,HUP:0"),
            flag("rlimit", "nofile=10"),
            flag("rlimit", "core=0"),
            flag("give_up", "exec:mail -s 'it failed' root"),
            flag("restart", "never"),
            flag("restart", "always"),
        ],
        &[],
    );
    let spec = &got.spec;
    assert!(got.instance.name_given && got.instance.name == "web" && got.instance.control == Control::Off);
    assert_eq!(got.instance.die_with_parent, Some(9));
    assert_eq!(spec.restart.delays, Delays::List(vec![Duration::from_secs(1), Duration::from_secs(2), Duration::ZERO]));
    assert_eq!((spec.restart.success_on.codes.clone(), spec.restart.success_on.signals.clone()), (vec![3], vec![10]));
    assert_eq!((spec.log.mode, spec.rewrite_signal.clone()), (LogMode::Tee, vec![(15, 3), (1, 0)]));
    assert_eq!(spec.launch.rlimits.len(), 2);
    assert_eq!(spec.restart.policy, Policy::Always);
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (flags, part) in [
        (vec![flag("restart_delay", "2m")], "restart_delay is 2m, more than restart_delay_max 1m"),
        (vec![flag("log_file", "/x")], "log_file needs output"),
        (vec![flag("umask", "999")], "--umask: "),
        (vec![flag("nice", "20")], "--nice: \"20\" is not a whole number from -20 to 19"),
        (vec![flag("oom_score_adj", "-1001")], "--oom-score-adj: "),
        (vec![flag("ready", "probe")], "ready = probe needs a readiness or startup probe of a service in a file"),
        (
            vec![flag("ready", "line:up")],
            "ready = line:TEXT needs output that passes through the watchdog: set log to tee",
        ),
        (vec![flag("ready", "reported"), flag("dialects", "none")], "add native, notify, node or fd to dialects"),
        (vec![flag("heartbeat", "required"), flag("dialects", "fd")], "add native, notify or node to dialects"),
        (
            vec![flag("memory_limit", "1MiB"), flag("memory_soft_limit", "1024KiB")],
            "memory_soft_limit is 1048576B, not below",
        ),
        (vec![flag("env", "=x")], "--env: no name"),
        (vec![flag("give_up", "exec:")], "the command is empty"),
    ] {
        let (status, lines) = refused(&flags, &[]);
        assert_eq!(status, 2, "{lines:?}");
        assert!(lines[0].contains(part), "{lines:?}");
    }
    resolved(&[flag("restart_delay", "2m"), flag("restart_delay_factor", "1")], &[]);
    resolved(&[flag("restart_delay", "2m"), flag("restart_delay_max", "5m")], &[]);
}

#[test]
fn what_a_worker_says_can_be_waited_for() {
    let ready = |value: &str| resolved(&[flag("ready", value), flag("log", "tee")], &[]).spec;
    assert_eq!(ready("spawned").ready, Ready::Spawned);
    assert_eq!(ready("reported").ready, Ready::Reported);
    assert_eq!(ready("line:listening on").ready, Ready::Line("listening on".into()));
    assert_eq!(ready("port:8080").ready, Ready::Port(8080));
    let by_fd = ready("fd");
    assert_eq!((by_fd.ready, by_fd.dialects), (Ready::Fd, Dialects { fd: true, ..Dialects::default() }));
    let alone = resolved(&[flag("ready", "fd"), flag("dialects", "none")], &[]).spec.dialects;
    assert!(alone.fd && !alone.native, "what ready waits for is offered: {alone:?}");
    assert_eq!(resolved(&[flag("start_timeout", "90s")], &[]).spec.start_timeout, Some(Duration::from_secs(90)));
    assert_eq!(resolved(&[flag("start_timeout", "none")], &[]).spec.start_timeout, Some(Duration::MAX));
    assert_eq!(resolved(&[flag("reload_signal", "HUP")], &[]).spec.reload_signal, Some(1));
}

#[test]
fn heartbeats_reach_their_fields() {
    let flags = [
        flag("heartbeat", "required"),
        flag("heartbeat_interval", "2s"),
        flag("heartbeat_timeout", "10ms"),
        flag("heartbeat_misses", "1"),
        flag("on_hang", "record"),
        flag("hang_signal", "QUIT"),
        flag("hang_dump_timeout", "0"),
    ];
    let beat = resolved(&flags, &[]).spec.heartbeat;
    assert_eq!((beat.mode, beat.on_hang, beat.hang_signal), (HeartbeatMode::Required, OnHang::Record, 3));
    assert_eq!((beat.interval, beat.timeout), (Duration::from_secs(2), Duration::from_millis(10)));
    assert_eq!((beat.misses, beat.hang_dump_timeout), (1, Duration::ZERO));
}

#[test]
fn dialects_are_the_usual_ones_or_exactly_those_given() {
    let offered =
        |program: &str, flags: &[Flag]| resolve(flags, vec![program.into()], &world(&[])).expect("right").spec.dialects;
    assert_eq!(offered("/no/such/server", &[]), Dialects::default());
    for node in ["node", "/opt/bin/nodejs", "./server.cjs"] {
        assert_eq!(offered(node, &[]), Dialects { node: true, ..Dialects::default() }, "{node}");
    }
    let given = offered("node", &[flag("dialects", "notify:/run/app/notify")]);
    assert_eq!(given.notify, Some(NotifyAt::Path("/run/app/notify".into())));
    assert!(!given.native && !given.node && !given.fd, "{given:?}");
}

#[test]
fn limits_reach_their_fields() {
    let flags = [
        flag("memory_limit", "512MiB"),
        flag("memory_soft_limit", "400MiB"),
        flag("memory_samples", "1"),
        flag("memory_action", "warn"),
        flag("cpu_limit", "150%"),
        flag("cpu_samples", "2"),
        flag("cpu_action", "warn"),
        flag("limit_scope", "main"),
        flag("sample_interval", "100ms"),
    ];
    let limits = resolved(&flags, &[]).spec.limits;
    assert_eq!((limits.memory, limits.memory_soft), (Some(MemoryLimit::Bytes(512 << 20)), Some(400 << 20)));
    assert_eq!((limits.memory_samples, limits.memory_action), (1, LimitAction::Warn));
    assert_eq!((limits.cpu, limits.cpu_samples, limits.cpu_action), (Some(150), 2, LimitAction::Warn));
    assert_eq!((limits.scope, limits.interval), (LimitScope::Main, Duration::from_millis(100)));
    let auto = resolved(&[flag("memory_limit", "auto"), flag("memory_soft_limit", "1GiB")], &[]).spec.limits;
    assert_eq!(auto.memory, Some(MemoryLimit::Auto));
}

#[test]
fn numbers_out_of_bounds_are_refused_with_the_bound() {
    for (key, value, part) in [
        ("heartbeat_interval", "0", "\"0\" is too short: at least 10ms"),
        ("heartbeat_timeout", "9ms", "at least 10ms"),
        ("heartbeat_misses", "0", "from 1 to 1000"),
        ("sample_interval", "99ms", "at least 100ms"),
        ("memory_samples", "0", "from 1 to 1000"),
        ("cpu_samples", "1001", "from 1 to 1000"),
        ("report_keep", "1001", "from 0 to 1000"),
        ("cpu_limit", "80", "did you mean \"80%\"?"),
        ("memory_limit", "80", "did you mean \"80MiB\"?"),
        ("start_timeout", "30", "did you mean \"30s\"?"),
        ("ready", "alive:5", "did you mean \"5s\"?"),
    ] {
        let (status, lines) = refused(&[flag(key, value)], &[]);
        assert!(status == 2 && lines.len() == 1 && lines[0].contains(part), "{key}: {lines:?}");
        assert!(lines[0].starts_with(&format!("{}: ", table::flag(key))), "{lines:?}");
    }
}

#[test]
fn hooks_of_the_strongest_layer_are_those_that_run() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("w.toml");
    std::fs::write(&file, "[defaults]\nhook = [\"exit+hang:./tell a,b\", \"pre-start:./may-i\"]\n").expect("write");
    let config = || flag("config", file.to_str().expect("UTF-8"));
    let hook = |events: &[&str], pre_start, command: &[&str]| Hook {
        events: events.iter().map(|e| e.to_string()).collect(),
        pre_start,
        command: command.iter().map(OsString::from).collect(),
    };
    let of_the_file = [hook(&["exit", "hang"], false, &["./tell", "a,b"]), hook(&[], true, &["./may-i"])];
    assert_eq!(resolved(&[config()], &[]).spec.hooks, of_the_file);
    let variable = [("WATCHDOG_HOOK", "logger -t a,b")];
    assert_eq!(resolved(&[config()], &variable).spec.hooks, [hook(&[], false, &["logger", "-t", "a,b"])]);
    let flags = [config(), flag("hook", "ready:x"), flag("hook", "stuck:y")];
    let of_flags = [hook(&["ready"], false, &["x"]), hook(&["stuck"], false, &["y"])];
    assert_eq!(resolved(&flags, &variable).spec.hooks, of_flags);
    assert_eq!(resolved(&[config(), flag("hook", "off")], &[]).spec.hooks, []);
}

#[test]
fn reports_go_to_the_state_directory_or_where_they_are_sent() {
    let reports = |flags: &[Flag], environment: &[(&str, &str)]| {
        let instance = resolved(flags, environment).instance;
        (instance.report_dir, instance.report_keep)
    };
    let at = |dir: &str, keep| (Some(PathBuf::from(dir)), keep);
    assert_eq!(reports(&[], &[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), at("/s/watchdog/my_app", 20));
    assert_eq!(reports(&[], &[("XDG_STATE_HOME", "s"), ("HOME", "/h")]), at("/h/.local/state/watchdog/my_app", 20));
    assert_eq!(reports(&[], &[("HOME", "h")]), (None, 20));
    assert_eq!(World { uid: 0, ..world(&[("HOME", "/h")]) }.state_dir(), Some("/var/lib/watchdog".into()));
    assert_eq!(reports(&[flag("report_dir", "/r"), flag("report_keep", "3")], &[]), at("/r", 3));
    assert_eq!(reports(&[flag("report_dir", "off"), flag("report_keep", "3")], &[("HOME", "/h")]), (None, 0));
}

#[test]
fn a_client_reads_reports_where_a_watchdog_of_the_same_words_writes_them() {
    let environments: [&[(&str, &str)]; 4] = [
        &[("WATCHDOG_REPORT_DIR", "false"), ("HOME", "/h")],
        &[("WATCHDOG_REPORT_DIR", "/r"), ("HOME", "/h")],
        &[("WATCHDOG_REPORT_DIR", "off"), ("HOME", "/h")],
        &[("HOME", "/h")],
    ];
    for environment in environments {
        // By default each instance has its own directory there, and a client reads those of all.
        let (read, written) = (report_dir(&world(environment)), resolved(&[], environment).instance.report_dir);
        let same = match (&read, &written) {
            (Some(read), Some(written)) => written == read || *written == read.join("my_app"),
            (read, written) => read == written,
        };
        assert!(same, "{read:?} {written:?}");
    }
}

#[test]
fn limits_known_from_other_supervisors_need_their_units_too() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("w.toml");
    std::fs::write(&file, "[defaults]\nmemoryThreshold = 512\ncpuThreshold = 80\n").expect("write");
    let (status, lines) = refused(&[flag("config", file.to_str().expect("UTF-8"))], &[]);
    assert_eq!((status, lines.len()), (125, 2), "{lines:?}");
    assert!(lines[0].ends_with("memoryThreshold: \"512\" has no unit: did you mean \"512MiB\"?"), "{lines:?}");
    assert!(lines[1].ends_with("cpuThreshold: \"80\" has no unit: did you mean \"80%\"?"), "{lines:?}");
}

/// Python shows its stacks only if it is told to before it starts; with no word about heartbeats nothing is added.
#[test]
fn python_is_told_to_show_its_stacks_where_heartbeats_are_asked_for() {
    let told = |flags: &[Flag], environment: &[(&str, &str)], program: &str| -> Vec<String> {
        let spec = resolve(flags, vec![program.into()], &world(environment)).unwrap_or_else(|f| panic!("{f:?}")).spec;
        let value = |(name, value): &(OsString, OsString)| {
            (name == "PYTHONFAULTHANDLER").then(|| value.to_string_lossy().into_owned())
        };
        spec.launch.env.iter().filter_map(value).collect()
    };
    let beats = [flag("heartbeat_interval", "2s")];
    assert_eq!(told(&beats, &[], "/usr/bin/python3"), ["1"]);
    assert_eq!(told(&beats, &[("PYTHONFAULTHANDLER", "0")], "/usr/bin/python3"), ["0"], "their own word");
    for (flags, program) in
        [(&[][..], "/usr/bin/python3"), (&beats, "/usr/bin/ruby"), (&[flag("heartbeat", "off")], "python3")]
    {
        assert!(told(flags, &[], program).is_empty(), "{program}");
    }
}
