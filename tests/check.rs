//! The verbs around the file of services: `check`, `init`, `schema`, and what `up` would start (product.md sections 3, 9, 13).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::folder::{Folder, RAN};
use serde_json::Value;

/// product.md section 13: the shape of `check --json`
#[test]
fn the_json_of_check_has_every_setting_with_its_source() {
    let text = "[defaults]\nstop_timeout = \"5s\"\n[service.db]\ncommand = \"db\"\n[service.api]\ncommand = [\"api\"]\nreplicas = 2\n\
                requires = [\"db\"]\nenv = { TOKEN = \"S3CRET\" }\n[[service.api.probe]]\ncheck = \"http://127.0.0.1/\"\n\
                headers = { Authorization = \"S3CRET\" }\n";
    let folder = Folder::with(text).env("WATCHDOG_NICE", "3");
    let said = folder.verb(&["check", "--json", "--kill-wait", "2s"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &json["valid"], &json["errors"]), (0, &true.into(), &Value::Array(vec![])));
    assert_eq!(json["start_order"], serde_json::json!([["db"], ["api@0", "api@1"]]));
    let of = |service: usize, key: &str| json["services"][service]["settings"][key].clone();
    let told =
        |value: Value, source: &str, at: Value| serde_json::json!({ "value": value, "source": source, "at": at });
    assert_eq!(json["services"][1]["name"], "api");
    assert_eq!(of(1, "stop_timeout"), told("5s".into(), "file", "watchdog.toml:2".into()));
    assert_eq!(of(1, "replicas"), told(2.into(), "file", "watchdog.toml:7".into()));
    assert_eq!(of(0, "nice"), told(3.into(), "variable", "WATCHDOG_NICE".into()));
    assert_eq!(of(0, "kill_wait"), told("2s".into(), "flag", "--kill-wait".into()));
    assert_eq!(of(0, "log"), told("capture".into(), "default", Value::Null));
    assert_eq!(of(0, "cwd"), told(Value::Null, "default", Value::Null));
    assert_eq!(of(1, "env")["value"], serde_json::json!({ "TOKEN": "***" }));
    assert!(!said.out.contains("S3CRET"), "{}", said.out);
    assert!(json["services"][0]["settings"].as_object().unwrap().len() > 60);
}

/// Section 13: with variables put in, in the words of TOML; of the environment the names alone
#[test]
fn what_is_shown_is_what_is_used() {
    let text = "[service.a]\ncommand = \"sleep ${N:-100}\"\nreplicas = \"${R:-3}\"\ntitle = \"${R:-3}\"\nautostart = \"${ON:-false}\"\n\
                env = { TOKEN = \"${TOKEN}\", PLAIN = \"x\" }\nenv_file = [\"${F:-vars}\"]\nclear_env = \"${C:-true}\"\n\
                [[service.a.probe]]\ncheck = \"port:${P:-80}\"\nfailures = \"${P:-80}\"\nname = \"${P:-80}\"\n";
    let folder = Folder::with(text).env("TOKEN", "S3CRET").file("vars", "INNER=S3CRET\n");
    let said = folder.verb(&["check", "--json", "--title", "5"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let of = |key: &str| json["services"][0]["settings"][key]["value"].clone();
    assert_eq!((of("command"), of("replicas"), of("title")), ("sleep 100".into(), 3.into(), "5".into()));
    assert_eq!((of("autostart"), of("clear_env"), of("env_file")), (false.into(), true.into(), vec!["vars"].into()));
    assert_eq!(of("env"), serde_json::json!({ "TOKEN": "***", "PLAIN": "***" }));
    assert_eq!(of("probe"), serde_json::json!([{ "check": "port:80", "failures": 80, "name": "80" }]));
    let text = folder.check().out;
    assert!(text.contains("\"sleep 100\"") && text.contains("title         = \"3\""), "{text}");
    assert!(!said.out.contains("S3CRET") && !said.out.contains("INNER") && !text.contains("S3CRET"), "{text}");
}

/// A file is written into a directory that is there; that it is not is said before anything is started
#[test]
fn a_directory_that_is_missing_is_an_error_of_the_file() {
    let text = "[watchdog]\nevents_file = \"no/events\"\nreport_dir = \"no/reports\"\ncontrol = \"watchdog.toml/sock\"\n\
                state = \"no/wishes\"\n[service.a]\ncommand = [\"touch\", \"ran\"]\nlog_file = \"watchdog.toml/a.log\"\n\
                [service.b]\ncommand = \"b\"\nenabled = false\nlog_file = \"no/b.log\"\n[service.c]\ncommand = \"c\"\nnicee = 1\n";
    Folder::with(text).refused(&[
        "watchdog.toml:2:1: watchdog.events_file: no/events: there is no directory no: make it, or name another one",
        "watchdog.toml:3:1: watchdog.report_dir: no/reports: there is no directory no",
        "watchdog.toml:4:1: watchdog.control: watchdog.toml/sock: watchdog.toml is no directory",
        "watchdog.toml:5:1: watchdog.state: no/wishes: there is no directory no",
        "watchdog.toml:8:1: service.a.log_file: watchdog.toml/a.log: watchdog.toml is no directory",
        "watchdog.toml:15:1: service.c.nicee",
    ]);
    let twice = "[defaults]\nlog_file = \"watchdog.toml/no/x.log\"\n[service.a]\ncommand = \"a\"\nreplicas = 2\n";
    Folder::with(twice)
        .refused(&["watchdog.toml:2:1: defaults.log_file: watchdog.toml/no/x.log: watchdog.toml is no directory"]);
    Folder::with("[watchdog]\nreport_dir = \"watchdog.toml\"\n[service.a]\ncommand = \"a\"\n")
        .refused(&["watchdog.report_dir: watchdog.toml is no directory"]);
    let fine =
        Folder::with("[watchdog]\nreport_dir = \"new\"\n[service.a]\ncommand = \"a\"\nlog_file = \"new/a.log\"\n")
            .valid();
    for (words, part) in [
        (["--log-file", "watchdog.toml/a.log"], "--log-file: watchdog.toml/a.log: watchdog.toml is no directory"),
        (["--state", "no/s"], "--state: no/s: there is no directory no"),
    ] {
        let said = fine.verb(&[&["check"][..], &words].concat());
        assert!(said.code == 1 && said.err.contains(part) && said.err.lines().count() == 1, "{said:?}");
    }
    assert!(!fine.path("new").exists() && !fine.path("new/a.log").exists(), "check touches nothing");
}

/// Section 9: drop-ins beside the file, in the order of their names, win key by key
/// Failed before: `check` called valid what `up` then refused.
#[test]
fn a_link_in_the_place_of_a_rotated_file_is_an_error_of_the_file() {
    let text = "[watchdog]\nevents_file = \"e\"\n[service.a]\ncommand = \"true\"\nlog_file = \"x\"\n";
    let folder = Folder::with(text);
    assert_eq!(folder.verb(&["check"]).code, 0);
    for name in ["x", "e"] {
        std::os::unix::fs::symlink("nowhere", folder.path(name)).unwrap();
        let said = folder.verb(&["check", "--json"]);
        let json: Value = serde_json::from_str(&said.out).unwrap();
        let message = json["errors"][0]["message"].as_str().unwrap();
        assert!(said.code == 1 && message.contains("is a symbolic link, which is not followed"), "{}", said.out);
        std::fs::remove_file(folder.path(name)).unwrap();
    }
}

#[test]
fn drop_ins_are_read_after_the_file_and_win() {
    let folder = Folder::with(&format!("{RAN}nice = 1\ncwd = \"/a\"\n"))
        .file("watchdog.d/10-b.toml", "[service.a]\nnice = 2\numask = \"022\"\n[service.b]\ncommand = \"b\"\n")
        .file("watchdog.d/20-c.toml", "[service.a]\nnice = 3\n")
        .file("watchdog.d/30-d.conf", "not TOML at all")
        .file("watchdog.d/.hidden.toml", "nor this");
    let json = folder.json();
    let of = |key: &str| json["services"][0]["settings"][key].clone();
    assert_eq!((&of("nice")["value"], &of("nice")["at"]), (&3.into(), &"watchdog.d/20-c.toml:2".into()));
    assert_eq!((&of("cwd")["value"], &of("umask")["at"]), (&"/a".into(), &"watchdog.d/10-b.toml:3".into()));
    assert_eq!(json["start_order"], serde_json::json!([["a", "b"]]));
    folder
        .file("watchdog.d/40-e.toml", "[service.a]\nnicee = 1\n")
        .refused(&["watchdog.d/40-e.toml:2:1: service.a.nicee"]);
}

/// Names of `up`: those, and what they need; an unknown one is a usage error
#[test]
fn up_with_names_starts_these_and_what_they_need() {
    let folder = Folder::with(
        "[service.db]\ncommand = \"x\"\n[service.api]\ncommand = \"x\"\nrequires = [\"db\"]\n[service.other]\ncommand = \"x\"\n",
    );
    let order = |words: &[&str]| {
        let said = folder.verb(&[&["up", "--dry-run"], words].concat());
        (said.code, said.out.lines().skip(1).map(|l| l.trim().to_string()).collect::<Vec<_>>())
    };
    assert_eq!(order(&[]), (0, vec!["1  db other".into(), "2  api".into()]));
    assert_eq!(order(&["api"]), (0, vec!["1  db".into(), "2  api".into()]));
    assert_eq!(order(&["other", "--nice", "3"]), (0, vec!["1  other".into()]));
    let said = folder.verb(&["up", "apii"]);
    assert!(said.code == 2 && said.err.contains("did you mean \"api\"?"), "{said:?}");
    assert!(!folder.path("run").exists(), "a dry run touches nothing");
    let json: Value = serde_json::from_str(&folder.verb(&["up", "--dry-run", "--json", "api"]).out).unwrap();
    assert_eq!(json, serde_json::json!({ "start_order": [["db"], ["api"]], "held_ports": [], "warnings": [] }));
    assert_eq!(folder.verb(&["up", "--json"]).code, 2);
    for usage in [
        &["up", "--requires", "db"][..],
        &["up", "--ports", "80"],
        &["up", "--stop-timeuot", "5s"],
        &["up", "--output", "loud"],
        &["check", "x"],
    ] {
        assert_eq!(folder.verb(usage).code, 2, "{usage:?}");
    }
    assert_eq!(folder.verb(&["run-until-ready", "--timeout", "5"]).code, 2);
}

/// `init` writes a sample that is valid, and overwrites nothing
#[test]
fn init_writes_a_valid_sample_once() {
    let folder = Folder::empty();
    assert_eq!(folder.verb(&["init"]).code, 0);
    let folder = folder.valid();
    let before = std::fs::read_to_string(folder.path("watchdog.toml")).unwrap();
    let again = folder.verb(&["init"]);
    assert!(again.code == 1 && again.err.contains("not overwritten"), "{again:?}");
    assert_eq!(std::fs::read_to_string(folder.path("watchdog.toml")).unwrap(), before);
    let schema: Value = serde_json::from_str(&folder.verb(&["schema"]).out).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

/// The file in the README is valid and starts in the order it says
#[test]
fn the_file_of_the_readme_is_valid() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let text =
        readme.split("<!-- file: begin -->\n```toml\n").nth(1).and_then(|t| t.split("```").next()).expect("a snippet");
    let folder = Folder::with(text).valid();
    assert_eq!(folder.json()["start_order"], serde_json::json!([["db"], ["migrate"], ["api@0", "api@1"]]));
}
