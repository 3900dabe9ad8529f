//! Command lines.

use super::*;
use std::os::unix::ffi::OsStringExt;

fn line(words: &[&str]) -> Result<Command, Fault> {
    parse(words.iter().map(OsString::from).collect())
}

fn fault(words: &[&str]) -> String {
    let fault = line(words).expect_err("must be refused");
    assert_eq!(fault.status, 2);
    fault.message
}

#[test]
fn the_prefix_form() {
    let Ok(Command::Supervise { flags, command }) = line(&[
        "--stop-timeout",
        "5s",
        "--restart=always",
        "--clear-env",
        "--nice",
        "-5",
        "--",
        "./x",
        "--help",
        "--",
        "-i",
    ]) else {
        panic!("not the prefix form");
    };
    let flags: Vec<(&str, OsString)> = flags.into_iter().map(|(s, v)| (&*s.key, v)).collect();
    let expected = [("stop_timeout", "5s"), ("restart", "always"), ("clear_env", "true"), ("nice", "-5")];
    assert_eq!(flags, expected.map(|(k, v)| (k, OsString::from(v))));
    assert_eq!(command, ["./x", "--help", "--", "-i"]);
}

#[test]
fn bytes_pass_as_they_are() {
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let words = vec!["--cwd".into(), odd.clone(), "--".into(), odd.clone(), odd.clone()];
    let Ok(Command::Supervise { flags, command }) = parse(words) else { panic!("not the prefix form") };
    assert_eq!((flags[0].1.clone(), command), (odd.clone(), vec![odd.clone(), odd]));
}

#[test]
fn switches_and_bare_flags() {
    let value = |words: &[&str]| match line(words) {
        Ok(Command::Supervise { flags, .. }) => flags[0].1.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(value(&["--clear-env=false", "--", "x"]), "false");
    assert_eq!(value(&["--die-with-parent", "--", "x"]), "TERM");
    assert_eq!(value(&["--die-with-parent=KILL", "--", "x"]), "KILL");
}

#[test]
fn what_is_wrong_names_the_nearest_right_form() {
    assert_eq!(
        fault(&["--stop-timeuot", "5s", "--", "x"]),
        "--stop-timeuot: unknown setting: did you mean \"--stop-timeout\"?"
    );
    assert_eq!(
        fault(&["--drain-timeout", "1s", "--", "x"]),
        "--drain-timeout: not in this version (rolling restarts come later)"
    );
    // Words of other supervisors, as in the file. Failed before: only "unknown setting".
    let foreign = fault(&["--numprocs", "2", "--", "x"]);
    assert!(foreign.starts_with("--numprocs: unknown setting, a word of supervisord for replicas"), "{foreign}");
    assert_eq!(fault(&["statsu"]), "unknown verb \"statsu\": did you mean \"status\"?");
    for verb in ["upgrade", "import", "hold"] {
        assert_eq!(fault(&[verb]), format!("{verb}: not in this version"));
        assert_eq!(fault(&[verb, "x"]), format!("{verb}: not in this version"));
    }
    assert!(fault(&["--requires", "db", "--", "x"]).starts_with("--requires: stands in a file alone: requires under"));
    assert!(fault(&["up", "--command", "x"]).starts_with("--command: stands in a file alone"));
    assert!(fault(&["./server", "--port", "80"]).ends_with("did you mean: watchdog -- ./server --port 80"));
    assert!(fault(&["--restart", "always", "./server"]).ends_with("did you mean: watchdog [SETTINGS] -- ./server"));
    assert!(fault(&["--stop-timeout", "--", "x"]).starts_with("--stop-timeout: needs a value"));
    assert!(fault(&["--stop-timeout"]).starts_with("--stop-timeout: needs a value"));
    assert!(fault(&["--stop_timeout", "1s", "--", "x"]).ends_with("did you mean \"--stop-timeout\"?"));
    assert!(fault(&["--",]).contains("no program"));
    assert!(fault(&[]).contains("no program"));
    assert!(fault(&["-x", "--", "y"]).contains("-x: unknown flag"));
}

#[test]
fn help_and_version() {
    assert!(matches!(line(&["--help"]), Ok(Command::Help(None))));
    assert!(matches!(line(&["-h"]), Ok(Command::Help(None))));
    assert!(matches!(line(&["--restart", "always", "--version"]), Ok(Command::Version)));
    assert!(matches!(line(&["-V"]), Ok(Command::Version)));
    assert!(matches!(line(&["status", "--help"]), Ok(Command::Help(Some(v))) if v.name == "status"));
    assert!(matches!(line(&["--", "x", "--help"]), Ok(Command::Supervise { .. })));
}

#[test]
fn control_verbs() {
    let control = |words: &[&str]| match line(words) {
        Ok(Command::Control(control)) => control,
        other => panic!("{other:?}"),
    };
    let stop = control(&["stop", "web", "-i", "x.42", "--timeout", "5s", "db"]);
    assert_eq!((stop.names, stop.timeout), (vec!["web".into(), "db".into()], Some(Duration::from_secs(5))));
    assert_eq!(stop.instance, Some("x.42".into()));
    let logs = control(&["logs", "-fn5", "--prefix", "web"]);
    assert!(logs.follow && logs.prefix && logs.lines == Some(5));
    assert_eq!(control(&["signal", "SIGHUP", "web"]).signal, "HUP");
    assert_eq!(control(&["wait", "web", "--for", "ready"]).wait_for, "ready");
    assert!(control(&["explain", "--why-not"]).why_not);
    for wrong in [
        vec!["stop"],
        vec!["wait", "web"],
        vec!["wait", "--for", "ready"],
        vec!["wait", "web", "--for", "redy"],
        vec!["signal", "HUP"],
        vec!["signal", "HPU", "web"],
        vec!["ls", "web"],
        vec!["status", "--jsno"],
        vec!["logs", "-n", "-1"],
        vec!["status", "-f"],
        vec!["completions"],
        vec!["completions", "tcsh"],
        vec!["simulate"],
    ] {
        fault(&wrong);
    }
}

#[test]
fn simulate_takes_settings() {
    let Ok(Command::Simulate { flags, exits, .. }) = line(&["simulate", "--restart-limit", "3", "--exits", "crash x6"])
    else {
        panic!("not simulate");
    };
    assert_eq!((&*flags[0].0.key, exits.as_str()), ("restart_limit", "crash x6"));
}

#[test]
fn tell_takes_one_service_and_joins_its_words() {
    let told = |words: &[&str]| match line(words) {
        Ok(Command::Control(control)) => (control.names.join(","), control.word),
        other => panic!("{other:?}"),
    };
    let both = |name: &str, word: &str| (name.to_string(), word.to_string());
    assert_eq!(told(&["tell", "web", "clear-cache"]), both("web", "clear-cache"));
    assert_eq!(told(&["tell", "-i", "x", "web", "level", "debug", "--json"]), both("web", "level debug"));
    assert_eq!(told(&["tell", "web", "--", "-v", "--json"]), both("web", "-v --json"));
    assert_eq!(told(&["tell", "web", &"x".repeat(4096)]).1.len(), 4096);
    assert!(fault(&["tell", "web", &"x".repeat(4097)]).contains("4097 bytes: at most 4096"));
    assert_eq!(fault(&["tell", "web"]), "tell: needs a service and a word for it: watchdog tell NAME WORD..");
    assert!(fault(&["tell", "web", " "]).contains("empty word"));
}

#[test]
fn reload_takes_services_or_none() {
    let names = |words: &[&str]| match line(words) {
        Ok(Command::Control(control)) => control.names,
        other => panic!("{other:?}"),
    };
    assert_eq!(names(&["reload"]), [""; 0]);
    assert_eq!(names(&["reload", "web", "db"]), ["web", "db"]);
}

#[test]
fn report_lists_or_shows_one() {
    let report = |words: &[&str]| match line(words) {
        Ok(Command::Control(control)) => (control.report, control.names.join(",")),
        other => panic!("{other:?}"),
    };
    let plain = |report: Report| (report, String::new());
    assert_eq!(report(&["report"]), plain(Report::List));
    assert_eq!(report(&["report", "web"]), (Report::List, "web".into()));
    assert_eq!(report(&["report", "list", "web", "--json"]), (Report::List, "web".into()));
    assert_eq!(report(&["report", "last"]), plain(Report::Last));
    assert_eq!(report(&["report", "show", "r1"]), plain(Report::Show("r1".into())));
    assert_eq!(report(&["report", "show", "r1", "web"]), (Report::Show("r1".into()), "web".into()));
    assert!(matches!(line(&["report", "--dir", "/r"]), Ok(Command::Control(c)) if c.dir == Some("/r".into())));
    assert!(fault(&["report", "show"]).contains("needs the id"));
    assert!(fault(&["report", "lst", "web"]).ends_with("did you mean \"list\"?"));
    assert!(fault(&["report", "last", "web", "x"]).contains("one word too many"));
    assert!(fault(&["report", "--dir", "/r", "-i", "x"]).contains("give one of them"));
}

#[test]
fn up_and_check_take_a_file_names_and_settings() {
    let up = |words: &[&str]| match line(words) {
        Ok(Command::Up(up)) => up,
        other => panic!("{other:?}"),
    };
    let all = up(&[
        "up",
        "-f",
        "x.toml",
        "--stop-timeout",
        "5s",
        "web",
        "db",
        "--dry-run",
        "--output",
        "json",
        "--no-progress",
    ]);
    assert_eq!((all.of.file, all.names), (Some("x.toml".into()), vec!["web".to_string(), "db".into()]));
    assert_eq!((&*all.of.flags[0].0.key, all.view.output), ("stop_timeout", Some(Output::Json)));
    assert!(all.dry_run && all.view.no_progress);
    let none = up(&["up"]);
    assert!(none.of.file.is_none() && none.names.is_empty() && none.view.output.is_none() && !none.dry_run);
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let Ok(Command::Check { of, json }) = parse(vec!["check".into(), "--json".into(), "--file".into(), odd.clone()])
    else {
        panic!("not check");
    };
    assert!(json && of.file == Some(odd.into()));
    let Ok(Command::UntilReady { timeout, of, view, json: true }) =
        line(&["run-until-ready", "--timeout", "5s", "--nice=1", "--no-progress", "--json"])
    else {
        panic!("not run-until-ready");
    };
    assert_eq!((timeout, of.flags.len(), view.no_progress), (Some(Duration::from_secs(5)), 1, true));
    assert!(matches!(line(&["init"]), Ok(Command::Init { file }) if file == *"watchdog.toml"));
    assert!(matches!(line(&["schema"]), Ok(Command::Schema)));
    assert!(fault(&["up", "--output", "loud"]).contains("prefix, json, none"));
    assert!(fault(&["up", "-f", ""]).contains("empty path"));
    for wrong in [
        &["check", "web"][..],
        &["init", "x"],
        &["schema", "x"],
        &["run-until-ready", "x"],
        &["up", "--jsno"],
        &["tree", "x"],
    ] {
        fault(wrong);
    }
}

#[test]
fn restart_reload_and_tree_have_their_options() {
    let control = |words: &[&str]| match line(words) {
        Ok(Command::Control(control)) => control,
        other => panic!("{other:?}"),
    };
    assert!(control(&["restart", "web", "--no-dependents"]).no_dependents);
    assert!(control(&["reload", "--no-restart"]).no_restart && !control(&["reload"]).no_restart);
    assert!(control(&["tree", "--json"]).json);
}
