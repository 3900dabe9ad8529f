//! The layers together.

use super::draft::Draft;
use super::table::{Standard, TABLE};
use super::*;
use std::time::Duration;
use watchdog_engine::spec::{Control, Delays, LogMode, Policy};

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
    for setting in TABLE {
        let Standard::Value(text) = setting.default else { continue };
        let mut draft = Draft::default();
        (setting.set)(&mut draft, &Raw::one(Layer::Flag, text)).unwrap_or_else(|f| panic!("{}: {f:?}", setting.key));
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
        lines.iter().any(|l| l.ends_with("w.toml:2:1: stop_timeout: \"5\" has no unit: did you mean \"5s\"?")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|l| l.contains(":3:1: restart: ") && l.ends_with("did you mean \"always\"?")),
        "{lines:?}"
    );
    std::fs::remove_file(&file).expect("remove");
    assert_eq!(refused(&[config()], &[]).0, 125);
}

#[test]
fn a_variable_that_does_not_parse_is_an_error_and_an_unknown_one_a_warning() {
    let (status, lines) = refused(&[], &[("WATCHDOG_STOP_TIMEOUT", "5"), ("WATCHDOG_MEMORY_LIMIT", "1GiB")]);
    assert_eq!(status, 2);
    assert!(lines.contains(&"WATCHDOG_STOP_TIMEOUT: \"5\" has no unit: did you mean \"5s\"?".to_string()), "{lines:?}");
    assert!(lines.iter().any(|l| l.starts_with("WATCHDOG_MEMORY_LIMIT: not in this version")), "{lines:?}");
    let got = resolved(&[], &[("WATCHDOG_STOP_TIMEUOT", "5s"), ("WATCHDOG_USEC", "x"), ("WATCHDOG_PID", "x")]);
    let warning = "WATCHDOG_STOP_TIMEUOT: unknown variable, passed over: did you mean \"WATCHDOG_STOP_TIMEOUT\"?";
    assert_eq!(got.warnings, [warning]);
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
        (vec![flag("ready", "probe")], "--ready: \"probe\" is not in this version"),
        (vec![flag("ready", "port:80")], "not in this version"),
        (vec![flag("heartbeat", "required")], "not in this version"),
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
