//! The lines of services as `up` shows them, to people and to programs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::{ready_by, says};
use common::{Run, victim, wait_for};
use serde_json::Value;

/// What a service would send to take a terminal over.
const HOSTILE: &str = "\\\\033]0;title\\\\007\\\\033[2J\\\\033[5A\\\\033[?25lcleared\\\\b\\\\n";

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
    let flood = "i=0; while [ $i -lt 80000 ]; do i=$((i+1)); echo a line of some length, number $i; done; touch done; while [ ! -e go ]; do sleep 0.02; done; echo afterwards";
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
    assert_eq!(all.lines().count() as u64 + lost, 80_001, "each line was shown or counted");
}

#[test]
fn a_hostile_service_does_nothing_to_the_terminal() {
    let text = format!(
        "[service.db]\n{}[service.evil]\n{}",
        ready_by("go"),
        says(&format!("printf '{HOSTILE}'; printf '\\\\033[31mred\\\\n'"))
    );
    let (dog, term) = Run::on_screen(&text).in_terminal_of(100, 12);
    let shown = "evil | \\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}[5A\\u{1b}[?25lcleared\\u{8}";
    let grid = term.wait_grid("its line as text", |g| g.count(shown) == 1 && g.count("evil | red") == 1);
    assert!(grid.place(shown) < grid.place("1 of 2 ready") && grid.strange.is_empty(), "{grid:#?}");
    assert!(term.screen().contains("\u{1b}[31mred\u{1b}[0m"), "colours are its own: {:?}", term.screen());
    dog.stop().code(0);
    assert!(term.grid().strange.is_empty(), "{:?}", term.screen());
}

/// L6. Failed before: changes of direction and letters without a width went through.
#[test]
fn letters_that_are_not_seen_are_spelt_out_on_a_terminal() {
    let text = format!(
        "[service.evil]\n{}",
        says("printf 'a\\\\342\\\\200\\\\256b\\\\342\\\\200\\\\213c\\\\342\\\\200\\\\251d\\\\302\\\\233e\\\\n'")
    );
    let (dog, term) = Run::on_screen(&text).switch("--no-progress").in_terminal_of(100, 12);
    term.wait_screen("evil");
    let shown = "a\\u{202e}b\\u{200b}c\\u{2029}d\\u{9b}e";
    term.wait_screen(shown);
    assert!(!term.screen().contains(['\u{202e}', '\u{200b}', '\u{2029}', '\u{9b}']), "{:?}", term.screen());
    dog.stop().code(0);
}

#[test]
fn each_service_has_its_colour_and_stderr_another_bar_unless_somebody_says_no_color() {
    let text =
        format!("[service.a]\n{}[service.b]\n{}", says("echo out; echo err >&2"), says("printf '\\\\033[31mred\\\\n'"));
    let (dog, term) = Run::on_screen(&text).switch("--no-progress").in_terminal_of(80, 24);
    for line in
        ["\u{1b}[36ma\u{1b}[0m | out", "\u{1b}[36ma\u{1b}[0m \u{1b}[1;31m|\u{1b}[0m err", "\u{1b}[33mb\u{1b}[0m | "]
    {
        term.wait_screen(line);
    }
    term.wait_screen("watchdog: b: generation 1 is ready");
    dog.stop().code(0);
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (dog, term) = Run::on_screen(&text).env(name, value).switch("--no-progress").in_terminal_of(80, 24);
        term.wait_screen("b | red");
        term.wait_screen("a | err");
        assert!(!term.screen().contains('\u{1b}'), "{name}: {:?}", term.screen());
        dog.stop().code(0);
    }
}
