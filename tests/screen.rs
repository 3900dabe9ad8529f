//! What `up` shows: lines of services for people and for programs, and on a terminal what is still to come up.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::grid::Grid;
use common::{Run, stays, victim, wait_for};
use serde_json::Value;
use std::time::Duration;

const SLEEPS: &str = "command = [\"sleep\", \"1000\"]\n";
/// What a service would send to take a terminal over.
const HOSTILE: &str = "\\\\033]0;title\\\\007\\\\033[2J\\\\033[5A\\\\033[?25lcleared\\\\b\\\\n";

/// A service that is ready when a file is there.
fn ready_by(file: &str) -> String {
    let script = format!("while [ ! -e {file} ]; do sleep 0.02; done; echo up now; exec sleep 1000");
    format!("command = [\"sh\", \"-c\", {script:?}]\nready = \"line:up now\"\nstart_timeout = \"60s\"\n")
}

/// A service that runs this script and stays.
fn says(script: &str) -> String {
    format!("command = [\"sh\", \"-c\", \"{script}; exec sleep 1000\"]\n")
}

/// A run in a terminal as people have it.
fn on_screen(text: &str) -> Run {
    let run = Run::file(text).env("TERM", "xterm").without_env("NO_COLOR").without_env("NO_PROGRESS");
    run.flag("--stop-timeout", "500ms").flag("--restart-delay", "50ms")
}

/// Nothing of the view is left, and the cursor stands where a shell would go on.
#[track_caller]
fn clean(grid: &Grid) {
    assert!(grid.strange.is_empty(), "{grid:#?}");
    assert_eq!((grid.count("waiting for"), grid.count(" of 2 ready"), grid.cursor.0), (0, 0, 0), "{grid:#?}");
}

#[test]
fn lines_have_their_service_in_front_or_are_json_or_are_not_there() {
    let hello = says("echo hello");
    let text = format!("[service.a]\n{}[service.longer]\n{hello}", says("echo out; echo err >&2"));
    let text = text + &format!("[service.a-name-that-is-longer-than-the-column]\nhidden = true\n{hello}");
    let dog = Run::quick_file(&text).spawn();
    dog.wait_out("a                        | out\n");
    dog.wait_out("a                        | err\n");
    dog.wait_out("longer                   | hello\n");
    dog.wait_out("a-name-that-is-longer-t… | hello\n");
    assert!(!dog.out().contains('\x1b'), "no terminal, no colours");
    dog.stop();
    let dog = Run::quick_file(&text).flag("--output", "none").spawn();
    dog.wait_ready("a");
    wait_for("the line in the ring", || dog.verb(&["logs", "a"]).out.contains("err").then_some(()));
    assert_eq!(dog.stop().out, "");
}

#[test]
fn a_pipe_gets_the_bytes_of_a_service_as_they_are() {
    let dog = Run::quick_file(&format!("[service.a]\n{}", victim(&["flood", "nul", "--stay"]))).spawn();
    dog.wait_out("end");
    let out = std::fs::read(dog.path("out")).unwrap();
    let wanted = [b"a | a\0b\xff\xfe\x1b[31mred\r\n".as_slice(), "a | gr\u{fc}n \u{2028} end\n".as_bytes()].concat();
    assert_eq!(out, wanted);
    dog.stop().code(0);
}

#[test]
fn programs_get_json_in_the_shape_of_logs_and_nothing_else() {
    let bytes =
        "printf 'out\\\\n'; printf 'err\\\\n' >&2; printf '\\\\377\\\\n'; sleep 0.2; printf 'last word'; exit 0";
    let text = format!(
        "[service.a]\n{}[service.b]\ntype = \"oneshot\"\ncommand = [\"sh\", \"-c\", \"{bytes}\"]\n[service.c]\nlog = \"tee\"\n{}",
        says("echo through"),
        says("echo also"),
    );
    let dog = Run::quick_file(&text).flag("--output", "json").spawn();
    for word in ["through", "also", "last word"] {
        dog.wait_out(word);
    }
    let lines = dog.verb(&["logs", "b", "--json"]).json_lines();
    let ended = dog.stop().code(0);
    let mut shown: Vec<Value> = ended.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(shown.iter().map(|l| l["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    shown.retain(|l| l["service"] == "b");
    let same = |all: &[Value]| {
        let bare = |l: &Value| {
            l.as_object()
                .unwrap()
                .iter()
                .filter(|(k, _)| *k != "seq")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<Vec<_>>()
        };
        all.iter().map(bare).collect::<Vec<_>>()
    };
    assert_eq!(same(&shown), same(&lines), "the same as logs --json but for the numbers");
    let by = |line: &str| shown.iter().find(|l| l["line"] == line).unwrap();
    assert_eq!((&by("err")["stream"], &by("/w==")["encoding"]), (&"stderr".into(), &"base64".into()));
    assert_eq!((&by("last word")["partial"], &by("out")["partial"]), (&true.into(), &false.into()));
}

#[test]
fn a_reader_that_stalls_holds_up_neither_a_service_nor_the_end_and_its_loss_is_told() {
    let flood = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo a line of some length, number $i; done; touch done";
    let (reader, writer) = std::io::pipe().unwrap();
    let dog = Run::quick_file(&format!("[service.a]\n{}", says(flood))).stdout(writer.into()).spawn();
    wait_for("the end of the flood", || dog.path("done").exists().then_some(()));
    dog.wait_ready("a");
    let lost = dog.event("log-dropped", 1);
    assert!(
        lost["stream"] == "stdout" && lost["lines"].as_u64() > Some(0) && lost["bytes"].as_u64() > Some(0),
        "{lost}"
    );
    let all = dog.verb(&["logs", "a", "-n", "1"]);
    assert!(all.out.contains("number 40000"), "the ring has all of it: {all:?}");
    let ended = dog.stop().code(0).says("of stdout were dropped").before(20_000);
    drop(reader);
    let told: u64 = ended.of("log-dropped").iter().map(|e| e["lines"].as_u64().unwrap()).sum();
    assert!(told < 40_000, "what it would still take was kept for it: {told}");
}

#[test]
fn a_reader_that_comes_back_gets_whole_lines_again_and_the_loss_is_counted() {
    use std::io::Read;
    let flood = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo a line of some length, number $i; done; touch done; while [ ! -e go ]; do sleep 0.02; done; echo afterwards";
    let (mut reader, writer) = std::io::pipe().unwrap();
    let dog = Run::quick_file(&format!("[service.a]\n{}", says(flood))).stdout(writer.into()).spawn();
    wait_for("the end of the flood", || dog.path("done").exists().then_some(()));
    dog.event("log-dropped", 1);
    let read = std::thread::spawn(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).map(|_| all)
    });
    dog.event("log-dropped", 2);
    std::fs::write(dog.path("go"), "").unwrap();
    wait_for("the last line", || dog.verb(&["logs", "a"]).out.contains("afterwards").then_some(()));
    let ended = dog.stop().code(0);
    let all = read.join().unwrap().unwrap();
    assert!(all.ends_with("a | afterwards\n") && all.lines().all(|l| l.starts_with("a | a")), "{}", all.len());
    let lost: u64 = ended.of("log-dropped").iter().map(|e| e["lines"].as_u64().unwrap()).sum();
    assert_eq!(all.lines().count() as u64 + lost, 30_001, "each line was shown or counted");
}

#[test]
fn the_view_says_who_waits_for_whom_below_all_lines_and_is_one_line_when_all_are_ready() {
    let noise = says("i=0; while [ ! -e quiet ]; do i=$((i+1)); echo noise $i; sleep 0.05; done");
    let fails = "[service.once]\ntype = \"oneshot\"\ncommand = [\"sh\", \"-c\", \"test -e second || { touch second; exit 3; }\"]\n";
    let text = format!(
        "[service.db]\n{}[service.api]\n{SLEEPS}requires = [\"db\"]\n[service.noise]\n{noise}{fails}",
        ready_by("go")
    );
    let (dog, term) = on_screen(&text).in_terminal_of(70, 20);
    let grid = term.wait_grid("the view below the lines", |g| {
        g.count("noise 5") > 0 && g.count("2 of 4 ready") + g.count("3 of 4 ready") == 1 && g.count("restart 1") > 0
    });
    let rows = ["starting: started; waiting for a line", "  api", " of 4 ready"].map(|part| grid.place(part));
    assert!(rows[0] + 1 == rows[1] && rows[1] < rows[2], "{grid:#?}");
    assert!(grid.lines()[rows[1]].ends_with("waiting for db (ready)"), "{grid:#?}");
    assert!(["noise 5", "watchdog: once: exited with code 3"].iter().all(|l| grid.place(l) < rows[0]), "{grid:#?}");
    assert!(grid.count("watchdog: noise: started") + grid.count("is ready") == 0, "said twice: {grid:#?}");
    std::fs::write(dog.path("go"), "").unwrap();
    let grid = term.wait_grid("one line instead", |g| g.count("all 4 services are ready in ") == 1);
    assert!(
        grid.count("waiting for") == 0 && grid.count("of 4 ready") == 0 && grid.count("db    | up now") == 1,
        "{grid:#?}"
    );
    term.wait_grid("lines after it", |g| g.count("noise") > 20);
    std::fs::write(dog.path("quiet"), "").unwrap();
    let (a, b) = (
        dog.verb(&["restart", "db"]).code(0),
        term.wait_grid("a notice", |g| g.count("watchdog: db: a restart was asked for") == 1),
    );
    assert!(a.code == 0 && b.count("starting:") == 0 && b.count("of 4 ready") == 0, "a restart brings no view: {b:#?}");
    let grid = {
        dog.stop().code(0);
        term.grid()
    };
    assert!(grid.strange.is_empty() && grid.count(" of 4 ready") == 0 && grid.cursor.0 == 0, "{grid:#?}");
}

#[test]
fn a_key_in_the_middle_of_the_start_leaves_the_terminal_clean() {
    let text = format!("[service.db]\n{}[service.api]\n{SLEEPS}requires = [\"db\"]\n", ready_by("never"));
    let (dog, mut term) = on_screen(&text).in_terminal_of(60, 12);
    term.wait_grid("the view", |g| g.count("waiting for db (ready)") == 1 && g.count("0 of 2 ready") == 1);
    term.press("\x03");
    let ended = dog.wait().code(0);
    assert_eq!(ended.of("signal-sent").len(), 1, "Ctrl-C reaches the watchdog alone, the service gets one signal");
    let grid = term.grid();
    clean(&grid);
    assert!(grid.count("services are ready") == 0 && grid.count("watchdog: db: stopped") == 1, "{grid:#?}");
}

#[test]
fn a_service_that_will_not_come_up_is_named_and_ends_the_wait() {
    let text = format!(
        "[service.bad]\ncommand = [\"sh\", \"-c\", \"exit 7\"]\nrestart = \"never\"\nready = \"reported\"\n[service.api]\n{SLEEPS}requires = [\"bad\"]\n[service.db]\n{}",
        ready_by("go")
    );
    let (dog, term) = on_screen(&text).in_terminal_of(80, 24);
    term.wait_grid("both of them", |g| {
        g.count("failed: exited with code 7") == 1 && g.count("waiting for bad (it has failed)") == 2
    });
    assert!(term.screen().contains("\u{1b}[31m  bad "), "in red");
    std::fs::write(dog.path("go"), "").unwrap();
    let grid = term.wait_grid("the end of the wait", |g| g.count("1 of 3 services are ready; not: bad, api") == 1);
    assert_eq!(grid.count("failed: exited"), 0, "{grid:#?}");
    std::fs::write(dog.path("watchdog.toml"), text.replace("exit 7", "exec sleep 1000").replace("reported", "spawned"))
        .unwrap();
    dog.verb(&["reload"]).code(0);
    dog.verb(&["start", "bad"]).code(0);
    // Up before anybody could have read a view of it, so the notices say it.
    term.wait_grid("the second start", |g| g.count("watchdog: api: generation 1 is ready") == 1);
    dog.stop().code(0);
}

#[test]
fn the_view_comes_back_for_a_start_and_for_a_reload_that_adds_somebody() {
    let text = format!("[service.db]\n{SLEEPS}[service.late]\n{}autostart = false\n", ready_by("go"));
    let (dog, term) = on_screen(&text).in_terminal_of(80, 24);
    term.wait_screen("the service is ready in ");
    let mut start = dog.start_verb(&["start", "late"]);
    term.wait_grid("the view for a start", |g| g.count("  late") == 1 && g.count("1 of 2 ready") == 1);
    std::fs::write(dog.path("go"), "").unwrap();
    term.wait_grid("its end", |g| g.count("all 2 services are ready") == 1 && g.count("of 2 ready") == 0);
    assert!(start.wait().unwrap().success());
    dog.run.write_file(&format!("{text}[service.new]\n{}", ready_by("new")));
    dog.verb(&["reload"]).code(0);
    term.wait_grid("the view for a reload", |g| g.count("  new") == 1 && g.count("2 of 3 ready") == 1);
    std::fs::write(dog.path("new"), "").unwrap();
    term.wait_grid("its end", |g| g.count("all 3 services are ready") == 1 && g.count("of 3 ready") == 0);
    dog.stop().code(0);
}

#[test]
fn many_that_wait_are_ten_and_a_number_and_no_row_is_wider_than_the_terminal() {
    let waits: String = (0..14).map(|n| format!("[service.s{n}]\n{SLEEPS}requires = [\"db\"]\n")).collect();
    let (dog, term) = on_screen(&format!("[service.db]\n{}{waits}", ready_by("go"))).in_terminal_of(32, 30);
    let grid = term.wait_grid("ten of them", |g| g.count("… and 5 more") == 1);
    assert_eq!((grid.count("waiting for db"), grid.count("0 of 15 ready")), (9, 1), "{grid:#?}");
    assert!(grid.lines().iter().all(|l| l.chars().count() < 32), "{grid:#?}");
    std::fs::write(dog.path("go"), "").unwrap();
    let grid = term.wait_grid("the end", |g| g.count("all 15 services are ready") == 1);
    assert_eq!(grid.count("waiting for"), 0, "{grid:#?}");
    dog.stop().code(0);
}

#[test]
fn a_low_terminal_has_a_low_view() {
    let waits: String = (0..14).map(|n| format!("[service.s{n}]\n{SLEEPS}requires = [\"db\"]\n")).collect();
    let (dog, term) = on_screen(&format!("[service.db]\n{}{waits}", ready_by("go"))).in_terminal_of(60, 6);
    term.wait_grid("three of them", |g| g.count("… and 12 more") == 1 && g.count("0 of 15 ready") == 1);
    std::fs::write(dog.path("go"), "").unwrap();
    let grid = term.wait_grid("the end", |g| g.count("all 15 services are ready") == 1);
    assert_eq!((grid.count("waiting for"), grid.count("of 15 ready")), (0, 0), "{grid:#?}");
    dog.stop().code(0);
}

#[test]
fn a_hostile_service_does_nothing_to_the_terminal() {
    let text = format!(
        "[service.db]\n{}[service.evil]\n{}",
        ready_by("go"),
        says(&format!("printf '{HOSTILE}'; printf '\\\\033[31mred\\\\n'"))
    );
    let (dog, term) = on_screen(&text).in_terminal_of(100, 12);
    let shown = "evil | \\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}[5A\\u{1b}[?25lcleared\\u{8}";
    let grid = term.wait_grid("its line as text", |g| g.count(shown) == 1 && g.count("evil | red") == 1);
    assert!(grid.place(shown) < grid.place("1 of 2 ready") && grid.strange.is_empty(), "{grid:#?}");
    assert!(term.screen().contains("\u{1b}[31mred\u{1b}[0m"), "colours are its own: {:?}", term.screen());
    dog.stop().code(0);
    clean(&term.grid());
}

#[test]
fn each_service_has_its_colour_and_stderr_another_bar_unless_somebody_says_no_color() {
    let text =
        format!("[service.a]\n{}[service.b]\n{}", says("echo out; echo err >&2"), says("printf '\\\\033[31mred\\\\n'"));
    let (dog, term) = on_screen(&text).switch("--no-progress").in_terminal_of(80, 24);
    for line in
        ["\u{1b}[36ma\u{1b}[0m | out", "\u{1b}[36ma\u{1b}[0m \u{1b}[1;31m|\u{1b}[0m err", "\u{1b}[33mb\u{1b}[0m | "]
    {
        term.wait_screen(line);
    }
    term.wait_screen("watchdog: b: generation 1 is ready");
    dog.stop().code(0);
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (dog, term) = on_screen(&text).env(name, value).switch("--no-progress").in_terminal_of(80, 24);
        term.wait_screen("b | red");
        term.wait_screen("a | err");
        assert!(!term.screen().contains('\u{1b}'), "{name}: {:?}", term.screen());
        dog.stop().code(0);
    }
}

#[test]
fn there_is_no_view_where_nobody_wants_it_or_a_service_has_the_terminal_too() {
    let text = format!("[service.db]\n{}", ready_by("go"));
    let plain: [fn(Run) -> Run; 4] = [
        |run| run.switch("--no-progress"),
        |run| run.env("NO_PROGRESS", "1"),
        |run| run.flag("--output", "json"),
        |run| run.flag("--log", "tee"),
    ];
    for change in plain {
        let (dog, term) = change(on_screen(&text)).in_terminal_of(80, 24);
        // What the view would have kept back.
        term.wait_screen("watchdog: db: started generation 1");
        stays("no view", Duration::from_millis(100), || !term.screen().contains("of 1 ready"));
        std::fs::write(dog.path("go"), "").unwrap();
        term.wait_screen("db: generation 1 is ready");
        term.wait_screen("up now");
        let lines = term.grid().count("up now");
        assert_eq!(lines, 1, "once: {:?}", term.screen());
        dog.stop().code(0);
        assert!(!term.screen().contains("\u{1b}[J"), "{:?}", term.screen());
    }
}

#[test]
fn what_keeps_it_from_starting_is_said_on_a_terminal_too() {
    let run = on_screen(&format!("[service.a]\n{SLEEPS}")).flag("--control", "/no/such/place/at/all");
    let (dog, term) = run.in_terminal_of(80, 24);
    dog.wait().code(125);
    assert!(term.screen().contains("/no/such/place/at/all"), "{:?}", term.screen());
}
