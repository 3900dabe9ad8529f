//! What stands where in a file.

use super::*;
use crate::settings::Accounts;
use crate::settings::node::Value;

fn contents_of(texts: &[&str]) -> (Contents, Vec<String>) {
    let environment = vec![("A".into(), "hunter2".into())];
    let world = World { environment, pid: 4, uid: 1000, accounts: Accounts::default() };
    let names = ["w.toml", "w.d/1.toml", "w.d/2.toml"];
    let sources: Vec<Source> = texts.iter().zip(names).map(|(t, n)| Source::new(n, t.to_string())).collect();
    let mut faults = Vec::new();
    let contents = read(&sources, true, &world, &mut faults);
    (contents, faults.into_iter().map(|f| f.message).collect())
}

fn faults(text: &str) -> Vec<String> {
    contents_of(&[text]).1
}

fn words(entries: &[Entry]) -> Vec<(&str, String)> {
    entries.iter().map(|e| (&*e.setting.key, e.node.json("", &|_, text| text.into()).to_string())).collect()
}

#[test]
fn each_table_has_its_settings_and_services_keep_the_order_of_the_file() {
    let text = "[watchdog]\nlog_level = \"info\"\n[defaults]\nstop_timeout = \"5s\"\nenv = { B = \"1\", A = 2 }\n\
                [service.z]\ncommand = \"z\"\n[service.a]\ncommand = [\"a\"]\nnice = 1\n";
    let (contents, faults) = contents_of(&[text]);
    assert_eq!(faults, [""; 0]);
    assert_eq!(words(&contents.watchdog), [("log_level", "\"info\"".to_string())]);
    let defaults = [("stop_timeout", "\"5s\"".to_string()), ("env", "{\"A\":2,\"B\":\"1\"}".to_string())];
    assert_eq!(words(&contents.defaults), defaults);
    let names: Vec<&str> = contents.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["z", "a"]);
    assert_eq!(words(&contents.services[1].entries)[1], ("nice", "1".to_string()));
}

#[test]
fn everything_wrong_is_said_together_with_its_place() {
    let text = "[defaults]\nstop_timeuot = \"5s\"\n  command = \"x\"\nupdate = 1\ncontrol = \"off\"\n[defualts]\n\
                [service.web]\nconfig = \"x\"\nname = \"y\"\n[service]\nx = 1\n";
    let all = faults(text);
    assert_eq!(all.len(), 8, "{all:?}");
    for part in [
        "w.toml:2:1: defaults.stop_timeuot: unknown key: did you mean \"stop_timeout\"?",
        "w.toml:3:3: defaults.command: stands in [service.NAME]",
        "w.toml:4:1: defaults.update: not in this version",
        "w.toml:5:1: defaults.control: stands in [watchdog]",
        "w.toml:6:2: defualts: unknown table or key: did you mean \"defaults\"?",
        "w.toml:8:1: service.web.config: stands in the command line",
        "w.toml:9:1: service.web.name: stands in [watchdog]",
        "w.toml:11:1: service.x: is a table: [service.x]",
    ] {
        assert!(all.iter().any(|f| f.starts_with(part)), "{part}: {all:?}");
    }
}

#[test]
fn broken_toml_says_where_and_a_key_that_stands_twice_hides_nothing() {
    let broken = faults("[defaults]\nx = = 1\n");
    assert!(broken.len() == 1 && broken[0].starts_with("w.toml:2:5: "), "{broken:?}");
    assert!(faults("[defaults]\ncwd = \"a\\u0000b\"\n")[0].contains("defaults.cwd: holds a NUL"));
    let twice = faults("[service.a]\nnice = 1\nnice = 2\n[service.b]\nnicee = 1\n[service.a]\n");
    assert!(
        twice.iter().filter(|f| f.contains("e: duplicate key") || f.contains("a: duplicate key")).count() == 2,
        "{twice:?}"
    );
    assert!(twice.iter().any(|f| f.starts_with("w.toml:5:1: service.b.nicee: unknown key")), "{twice:?}");
}

#[test]
fn words_of_other_supervisors_are_taken() {
    let text = "[defaults]\nmaxRestarts = 3\ngracefulShutdownTimeout = \"3s\"\nmemoryThreshold = \"1MiB\"\n\
                cpuThreshold = \"80%\"\nrestartDelay = \"1s\"\ngracePeriod = \"1s\"\n";
    let (contents, none) = contents_of(&[text]);
    assert_eq!(none, [""; 0]);
    let keys: Vec<&str> = contents.defaults.iter().map(|e| &*e.setting.key).collect();
    let meant = ["restart_limit", "shutdown_timeout", "memory_limit", "cpu_limit", "restart_delay", "start_period"];
    assert_eq!(keys, meant);
    let twice = faults("[defaults]\nmaxRestarts = 3\nrestart_limit = 4\n");
    assert_eq!(twice, ["w.toml:3:1: defaults.restart_limit: sets restart_limit a second time"]);
}

#[test]
fn a_drop_in_wins_key_by_key_and_variables_add_up() {
    let main = "[defaults]\nnice = 1\n[service.a]\ncommand = \"a\"\ncwd = \"/a\"\nenv = { X = \"1\" }\n";
    let drop_in =
        "[service.b]\ncommand = \"b\"\n[service.a]\ncwd = \"/b\"\nenv = { Y = \"2\" }\n[defaults]\nnice = 2\n";
    let (contents, faults) = contents_of(&[main, drop_in]);
    assert_eq!(faults, [""; 0]);
    assert_eq!(words(&contents.defaults), [("nice", "2".to_string())]);
    let (a, b) = (&contents.services[0], &contents.services[1]);
    assert_eq!((a.name.as_str(), b.name.as_str(), a.entries.len()), ("a", "b", 4));
    assert_eq!(words(&a.entries)[1], ("cwd", "\"/b\"".to_string()));
    assert_eq!(a.entries[1].spot.source, 1);
}

#[test]
fn variables_are_put_into_values_and_what_is_missing_is_named() {
    let (contents, none) = contents_of(&["[service.a]\ncommand = [\"x\", \"${A}\", \"${B:-c}\", \"$$\"]\n"]);
    assert_eq!(none, [""; 0]);
    let Value::List(items) = &contents.services[0].entries[0].node.value else { panic!("no list") };
    let texts: Vec<&str> = items.iter().map(|i| i.text().expect("a text")).collect();
    assert_eq!(texts, ["x", "hunter2", "c", "$"]);
    assert_eq!(words(&contents.services[0].entries)[0].1, "[\"x\",\"hunter2\",\"c\",\"$\"]");
    let missing = faults("[service.a]\nenv = { P = \"${A}${NO}\" }\ncommand = [\n \"${ALSO_NO}\"]\n");
    assert!(missing[0].starts_with("w.toml:2:13: service.a.env.P: the variable NO is not set"), "{missing:?}");
    assert!(missing[1].starts_with("w.toml:4:2: service.a.command: the variable ALSO_NO"), "{missing:?}");
    assert!(!missing.concat().contains("hunter2"));
}
