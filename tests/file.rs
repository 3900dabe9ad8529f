//! The file of `watchdog up`: what is refused, how it is said, and that `check` and `up` are of one mind (reliability.md
//! section 3.17).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::folder::{Folder, RAN};
use common::is_root;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// CFG-01: file, line, column, key and the nearest known key; nothing is started
#[test]
fn an_unknown_key_or_table_is_named_with_its_place_and_the_nearest() {
    let text = format!("{RAN}restrat = \"always\"\n");
    let nearest = "watchdog.toml:3:1: service.a.restrat: unknown key: did you mean \"restart\"?";
    Folder::with(&text).refused(&[nearest]);
    Folder::with(&format!("{RAN}[defualts]\n")).refused(&["watchdog.toml:3:2: defualts: unknown table"]);
    Folder::with(&format!("{RAN}[watchdog]\nstop_timeout = \"5s\"\n"))
        .refused(&["stands in [defaults] or [service.NAME]"]);
    let json = Folder::with(&text).json();
    let error = &json["errors"][0];
    assert_eq!(
        (&json["valid"], &error["file"], &error["key"]),
        (&false.into(), &"watchdog.toml".into(), &"service.a.restrat".into())
    );
    assert_eq!((&error["line"], &error["column"], &error["nearest"]), (&3.into(), &1.into(), &"restart".into()));
    assert_eq!(error["message"], "unknown key");
    assert_eq!((&json["services"], &json["start_order"]), (&Value::Array(vec![]), &Value::Array(vec![])));
}

/// CFG-02: wrong type, wrong word, a required key that is missing: with the path of the key
#[test]
fn wrong_types_wrong_words_and_what_is_missing_are_said_with_the_path() {
    let text = "[service.web]\nports = [\"http\"]\ncommand = true\nrestart = \"allways\"\nenabled = \"maybe\"\nreplicas = 1.5\n\
                cwd = 5\nenv = \"x\"\nstop_timeout = [\"1s\", \"2s\"]\n[service.db]\n[service]\nx = 1\n";
    Folder::with(text).refused(&[
        "service.web.ports[0]: port: \"http\"",
        "service.web.command: true or false stands where a text is expected",
        "service.web.restart: \"allways\" is none of",
        "service.web.enabled: \"maybe\" is neither",
        "service.web.replicas: \"1.5\" is not a whole number from 1 to 1000",
        "service.web.cwd: takes a text, not 5",
        "service.web.env: not K=V",
        "service.web.stop_timeout: takes one value, not a list",
        "service.db: has no command",
        "service.x: is a table: [service.x]",
    ]);
}

/// CFG-03: the same key or service twice, names that differ in case
#[test]
fn what_stands_twice_is_refused() {
    Folder::with(&format!("{RAN}nice = 1\nnice = 2\n")).refused(&["watchdog.toml:4:1: service.a.nice: duplicate key"]);
    let error = Folder::with(&format!("{RAN}command = \"x\"\n")).json()["errors"][0].clone();
    assert_eq!((&error["key"], &error["line"]), (&"service.a.command".into(), &3.into()));
    Folder::with(&format!("{RAN}{RAN}")).refused(&[
        "watchdog.toml:3:10: service.a: duplicate key",
        "watchdog.toml:4:1: service.a.command: duplicate key",
    ]);
    Folder::with(&format!("{RAN}[service.A]\ncommand = \"x\"\n"))
        .refused(&["service.A: differs from service.a in capitals"]);
    Folder::with(&format!("{RAN}maxRestarts = 1\nrestart_limit = 2\n"))
        .refused(&["service.a.restart_limit: sets restart_limit a second time"]);
}

/// CFG-04: a cycle is printed as a path
#[test]
fn a_cycle_is_printed_as_a_path() {
    let service = |name: &str, needs: &str| {
        format!("[service.{name}]\ncommand = [\"touch\", \"ran\"]\nrequires = [\"{needs}\"]\n")
    };
    Folder::with(&(service("a", "b") + &service("b", "c") + &service("c", "a"))).refused(&[
        "watchdog.toml:9:13: service.c.requires[0]: a cycle, in which each waits for the next: a -> b -> c -> a",
    ]);
    Folder::with(&service("a", "a")).refused(&["service.a.requires[0]: a names itself"]);
}

/// CFG-05: an unknown service is an error with the nearest name, and so is one that is never there
#[test]
fn an_unknown_dependency_is_an_error() {
    let text = format!(
        "{RAN}[service.db]\ncommand = \"x\"\n[service.b]\ncommand = \"b\"\nrequires = [\"bd\"]\nwants = [\"dbb\"]\n"
    );
    Folder::with(&text).refused(&[
        "service.b.requires[0]: no service \"bd\" in this file: did you mean \"db\"?",
        "service.b.wants[0]: ",
    ]);
    let off = format!("{RAN}requires = [\"db\"]\n[service.db]\ncommand = \"x\"\nenabled = false\n");
    Folder::with(&off).refused(&["service.a.requires[0]: db is not enabled"]);
    Folder::with(&off.replace("requires", "after")).valid();
}

/// CFG-06: durations and sizes have units, and the message has the fix
#[test]
fn durations_and_sizes_need_their_units() {
    for bad in ["5", "-1s", "5 s", "", "NaN", "1e9h", "1y", "1.5"] {
        Folder::with(&format!("{RAN}stop_timeout = \"{bad}\"\n"))
            .refused(&["watchdog.toml:3:1: service.a.stop_timeout: "]);
    }
    Folder::with(&format!("{RAN}stop_timeout = 5\n")).refused(&["did you mean \"5s\"?"]);
    Folder::with(&format!("{RAN}memory_limit = \"10MBB\"\n"))
        .refused(&["service.a.memory_limit: \"10MBB\" is no size"]);
    Folder::with(&format!("{RAN}stop_timeout = 0\nkill_wait = \"1.5h\"\n")).valid();
}

/// CFG-07: settings that contradict each other
#[test]
fn contradictions_are_refused() {
    for (more, part) in [
        ("restart_delay = \"2m\"\n", "service.a.restart_delay: restart_delay is 2m, more than restart_delay_max"),
        ("ports = [0]\n", "from 1 to 65535"),
        ("ports = [70000]\n", "from 1 to 65535"),
        ("probe = \"tcp://127.0.0.1:70000\"\n", "from 1 to 65535"),
        ("probe = { check = \"port:80\", timeout = 0 }\n", "service.a.probe.timeout: \"0\" is too short"),
        ("probe = \"http://example.com/\"\n", "use exec"),
        ("probe = \"https://127.0.0.1/\"\n", "use exec"),
        ("ready = \"probe\"\n", "needs a readiness or startup probe"),
        ("ready = \"line:up\"\nlog = \"inherit\"\n", "set log to tee or capture"),
        ("type = \"oneshot\"\nrestart = \"always\"\n", "service.a.restart: a oneshot"),
        ("type = \"target\"\n", "service.a.command: a target has no process: leave command out"),
        ("replicas = 0\n", "enabled = false"),
        ("shell = true\n", "shell = true takes the command as one text"),
    ] {
        Folder::with(&format!("{RAN}{more}")).refused(&[part]);
    }
    let two = format!("{RAN}[service.b]\ncommand = \"b\"\nconflicts = [\"a\"]\n");
    Folder::with(&two).refused(&["service.b.conflicts[0]: b and a exclude each other"]);
    let needed = two.replace("conflicts", "requires = [\"a\"]\nconflicts");
    Folder::with(&needed).refused(&["service.b.conflicts[0]: a is required too"]);
}

/// CFG-08: everything wrong is said in one run, in the order of the file
#[test]
fn all_errors_are_said_at_once_and_in_order() {
    let text = "[watchdog]\nlog_levle = \"info\"\n[defaults]\nkill_wait = 5\n[service.a]\ncommand = \"a 'b\"\nrequires = [\"z\"]\n\
                probe = \"tcp://db:1\"\n[service.\"b c\"]\nenv_file = \"/no/such\"\n";
    let said = Folder::with(text).refused(&[
        ":2:1: watchdog.log_levle",
        ":4:1: defaults.kill_wait",
        ":6:1: service.a.command",
        ":7:13: service.a.requires[0]",
        ":8:9: service.a.probe",
        "\"b c\" is no name",
        "service.b c: has no command",
        ":10:1: service.b c.env_file: env_file /no/such: no such file",
    ]);
    let lines: Vec<usize> = said.err.lines().map(|l| l.split(':').nth(2).unwrap().parse().unwrap()).collect();
    assert!(lines.is_sorted(), "{}", said.err);
    let said = Folder::with(text).env("WATCHDOG_NICE", "x").verb(&["check", "--umask", "9"]);
    assert!(said.code == 2 && said.err.lines().count() == 10, "a wrong flag or variable is a usage error: {said:?}");
}

/// CFG-09: strange files are refused quickly, with one line
#[test]
fn strange_files_are_refused_and_never_hang() {
    let folder = Folder::empty().file("bin.toml", b"[service.a]\ncommand = \"\xff\xfe\"\n").file("empty.toml", "");
    let folder = folder.file("comments.toml", "# nothing\n\n# at all\n").file("half.toml", "[service.a\n");
    nix::unistd::mkfifo(&folder.path("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    std::fs::File::create(folder.path("large.toml")).unwrap().set_len(100 << 20).unwrap();
    for (path, part) in [
        ("/", "directory"),
        ("/dev/zero", "more than 4MiB"),
        ("fifo", "FIFO"),
        ("large.toml", "more than 4MiB"),
        ("bin.toml", "bin.toml:2: not UTF-8"),
        ("empty.toml", "empty.toml: no services"),
        ("comments.toml", "no services"),
        ("half.toml", "half.toml:1:"),
        ("none.toml", "none.toml: no such file or directory"),
    ] {
        for (verb, code) in [("check", 1), ("up", 125)] {
            let said = folder.verb(&[verb, "-f", path]);
            assert_eq!((said.code, said.err.lines().count()), (code, 1), "{path}: {said:?}");
            assert!(said.err.contains(part) && said.took < Duration::from_secs(2), "{path}: {said:?}");
        }
    }
    Folder::with(&format!("\u{feff}{}", RAN.replace('\n', "\r\n"))).valid();
    let error = folder.verb(&["check", "--json", "-f", "none.toml"]).out;
    let error = serde_json::from_str::<Value>(&error).unwrap()["errors"][0].clone();
    assert_eq!((&error["file"], &error["line"]), (&"none.toml".into(), &Value::Null));
    assert_eq!(error["message"], "no such file or directory");
    let locked = Folder::with(RAN);
    std::fs::set_permissions(locked.path("watchdog.toml"), std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .unwrap();
    if !is_root() {
        locked.refused(&["permission denied"]);
    }
}

/// CFG-10: five thousand services, a chain of them, a hundred thousand edges
#[test]
fn thousands_of_services_are_looked_over_in_no_time() {
    let chain = |edges: usize| {
        let mut text = String::new();
        for n in 0..5000usize {
            let needs: Vec<String> = (n.saturating_sub(edges)..n).map(|m| format!("\"s{m}\"")).collect();
            let _ = write!(text, "[service.s{n}]\ncommand = \"x\"\nrequires = [{}]\n", needs.join(","));
        }
        text
    };
    for edges in [1, 20] {
        let folder = Folder::with(&chain(edges));
        let said = folder.verb(&["up", "--dry-run"]);
        assert_eq!((said.code, said.out.lines().count()), (0, 5001), "{}", said.err);
        assert!(said.took < Duration::from_secs(5), "{edges} edges each: {:?}", said.took);
    }
    let ring = chain(1).replacen("requires = []", "requires = [\"s4999\"]", 1);
    Folder::with(&ring).refused(&["s0 -> s4999 -> s4998"]);
}

/// CFG-07: what is about a process stands in no service that has none; what holds for all is passed over there
#[test]
fn settings_of_a_process_are_refused_where_there_is_none() {
    let own = "replicas = 2\nports = [80]\nlog_file = \"a.log\"\nready = \"fd\"\nmemory_limit = \"1GiB\"\ncpu_limit = \"80%\"\n\
               user = \"root\"\ngroup = \"root\"\ncwd = \"/\"\nenv = { A = \"1\" }\nmaxRestarts = 1\nrestart = \"always\"\n\
               heartbeat = \"off\"\nstop_timeout = \"1s\"\n";
    let keys = own.lines().filter_map(|line| line.split(" = ").next());
    let parts: Vec<String> =
        keys.map(|key| format!("service.t.{key}: a target has no process: leave {key} out")).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Folder::with(&format!("{RAN}[service.t]\ntype = \"target\"\nrequires = [\"a\"]\n{own}")).refused(&parts);
    Folder::with(&format!(
        "{RAN}[service.t]\ntype = \"probe\"\nprobe = \"port:80\"\nrestart = \"never\"\nstart_timeout = \"5s\"\n"
    ))
    .refused(&["watchdog.toml:6:1: service.t.restart: a probe has no process: leave restart out"]);
    let all = "[defaults]\nuser = \"root\"\nlog_file = \"a.log\"\nready = \"fd\"\nenv_file = [\"no\"]\n[service.t]\ntype = \"target\"\n\
               replicas = 1\ntitle = \"all\"\nhook = \"ready:true\"\nwait_for_file = \"x\"\n[service.u]\ntype = \"target\"\n";
    let json = Folder::with(all).env("WATCHDOG_RESTART", "always").valid().json();
    let settings = &json["services"][0]["settings"];
    assert_eq!((&settings["log_file"]["value"], &settings["restart"]["value"]), (&Value::Null, &Value::Null));
    assert_eq!((&settings["title"]["value"], &json["start_order"][0]), (&"all".into(), &serde_json::json!(["t", "u"])));
}

/// CFG-11: variables are put in by us alone, and no shell reads a command unless it was asked for
#[test]
fn variables_are_put_in_and_no_shell_reads_a_command() {
    let text = "[service.a]\ncommand = \"x ${WHAT} $HOME %s `id` ; ${NOT:-default} $$\"\n[service.b]\ncommand = \"x | y\"\nshell = true\n";
    let folder = Folder::with(text).env("WHAT", "some word").valid();
    let json = folder.json();
    let of = |key: &str| json["services"][0]["settings"][key].clone();
    assert_eq!(of("command")["value"], "x some word $HOME %s `id` ; default $");
    assert!(folder.check().out.contains("default $"), "{}", folder.check().out);
    let missing = Folder::with("[service.a]\ncommand = [\"touch\", \"${NO_SUCH}\"]\n");
    missing.refused(&["watchdog.toml:2:21: service.a.command: the variable NO_SUCH is not set"]);
    let secret = Folder::with(&format!("{RAN}stop_timeout = \"${{WHAT}}\"\n")).env("WHAT", "S3CRET");
    assert!(
        !secret
            .refused(&["service.a.stop_timeout: \"${WHAT}\" comes to something that is not DURATION"])
            .err
            .contains("S3CRET")
    );
    Folder::with("[service.\"${WHAT}\"]\ncommand = \"x\"\n").env("WHAT", "a").refused(&["is no name"]);
}

/// CFG-12: whoever may write the file decides what root runs
#[test]
fn a_file_that_others_may_write_is_a_warning_for_root() {
    let folder = Folder::with(RAN).file("watchdog.d/a.toml", "[defaults]\nnice = 1\n");
    let mode = |name: &str, mode| {
        std::fs::set_permissions(folder.path(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap()
    };
    mode("watchdog.toml", 0o644);
    mode("watchdog.d/a.toml", 0o644);
    assert_eq!(folder.check().err, "");
    mode("watchdog.toml", 0o666);
    mode("watchdog.d/a.toml", 0o666);
    let said = folder.check();
    assert_eq!((said.code, said.err.lines().count()), (0, if is_root() { 2 } else { 0 }), "{said:?}");
    if is_root() {
        assert!(said.err.contains("watchdog.toml: others may write to it (mode 666)"), "{}", said.err);
        assert!(folder.json()["warnings"][1].as_str().unwrap().contains("watchdog.d/a.toml"));
    }
}

/// Numbers without a library: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len())]
    }

    /// A file that is right more often than not.
    fn file(&mut self) -> String {
        let mut text = String::new();
        if self.roll(4) == 0 {
            let _ = writeln!(text, "[defaults]\n{}", self.line());
        }
        let count = 1 + self.roll(5);
        for n in 0..count {
            let _ = writeln!(text, "[service.s{n}]\ncommand = [\"true\"]");
            for _ in 0..self.roll(3) {
                let line = self.line();
                let key = line.split(' ').next().unwrap().to_string();
                if !text.rsplit("[service").next().unwrap().contains(&format!("\n{key} ")) {
                    let _ = writeln!(text, "{line}");
                }
            }
            if n > 0 && self.roll(2) == 0 {
                let (key, to) = (self.of(&["requires", "wants", "after", "conflicts"]), self.roll(count + 1));
                let _ = writeln!(text, "{key} = [\"s{to}\"]");
            }
        }
        text
    }

    fn line(&mut self) -> String {
        let good = [
            "nice = 1",
            "restart = \"never\"",
            "stop_timeout = \"5s\"",
            "log = \"tee\"",
            "memory_limit = \"1GiB\"",
            "hidden = true",
            "env = { A = \"1\" }",
            "maxRestarts = 3",
        ];
        let bad = [
            "nice = 30",
            "restrat = 1",
            "stop_timeout = 5",
            "ready = \"probe\"",
            "env_file = \"/no\"",
            "cwd = \"${NO_SUCH}\"",
            "type = \"target\"",
            "x = ",
        ];
        if self.roll(8) == 0 { self.of(&bad) } else { self.of(&good) }.to_string()
    }
}

/// CFG-13: check and start have one verdict
#[test]
fn check_and_up_have_the_same_verdict_on_two_hundred_files() {
    let mut dice = Dice(0x5eed);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..200 {
        let text = dice.file();
        let folder = Folder::with(&text);
        let (check, up) = (folder.check(), folder.verb(&["up", "--dry-run"]));
        assert_eq!(check.err, up.err, "{text}");
        match (check.code, up.code) {
            (0, 0) => right += 1,
            (1, 125) => wrong += 1,
            codes => panic!("{codes:?}: {text}\n{check:?}"),
        }
    }
    assert!(right > 40 && wrong > 40, "{right} right and {wrong} wrong ones: no test of both");
}
