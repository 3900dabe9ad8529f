//! The view of what is still to come up: there as long as somebody waits, below everything else, and gone without a trace.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::{SLEEPS, ready_by, says};
use common::grid::Grid;
use common::tmux::Tmux;
use common::{Run, stays};
use std::time::Duration;

/// Nothing of the view is left, and the cursor stands where a shell would go on.
#[track_caller]
fn clean(grid: &Grid) {
    assert!(grid.strange.is_empty(), "{grid:#?}");
    assert_eq!((grid.count("waiting for"), grid.count(" of 2 ready"), grid.cursor.0), (0, 0, 0), "{grid:#?}");
}

#[test]
fn the_view_says_who_waits_for_whom_below_all_lines_and_is_one_line_when_all_are_ready() {
    let noise = says("i=0; while [ ! -e quiet ]; do i=$((i+1)); echo noise $i; sleep 0.05; done");
    let fails = "[service.once]\ntype = \"oneshot\"\ncommand = [\"sh\", \"-c\", \"test -e second || { touch second; exit 3; }\"]\n";
    let text = format!(
        "[service.db]\n{}[service.api]\n{SLEEPS}requires = [\"db\"]\n[service.noise]\n{noise}{fails}",
        ready_by("go")
    );
    let (dog, term) = Run::on_screen(&text).in_terminal_of(70, 20);
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
    let (dog, mut term) = Run::on_screen(&text).in_terminal_of(60, 12);
    term.wait_grid("the view", |g| g.count("waiting for db (ready)") == 1 && g.count("0 of 2 ready") == 1);
    term.press("\x03");
    let ended = dog.wait();
    term.note("exited 0");
    assert_eq!(ended.of("signal-sent").len(), 1, "Ctrl-C reaches the watchdog alone, the service gets one signal");
    let grid = term.grid();
    clean(&grid);
    assert!(grid.count("services are ready") == 0 && grid.count("watchdog: db: stopped") == 1, "{grid:#?}");
}

#[test]
fn after_a_stop_by_the_keyboard_nothing_that_a_shell_has_written_is_touched() {
    let text = format!("[service.db]\n{}[service.api]\n{SLEEPS}requires = [\"db\"]\n", ready_by("go"));
    let (dog, mut term) = Run::on_screen(&text).in_terminal_of(60, 24);
    term.wait_grid("the view", |g| g.count("0 of 2 ready") == 1);
    term.press("\x1a");
    term.note("stopped");
    let before = term.screen().len();
    term.foreground();
    term.wait_grid("the view once more", |g| g.count("0 of 2 ready") == 2);
    let again = term.screen()[before..].to_string();
    assert!(!again[..again.find("0 of 2 ready").unwrap()].contains("\u{1b}["), "{again:?}");
    std::fs::write(dog.path("go"), "").unwrap();
    term.wait_grid("its end", |g| g.count("all 2 services are ready") == 1 && g.count("0 of 2 ready") == 1);
    dog.stop();
}

#[test]
fn a_service_that_will_not_come_up_is_named_and_ends_the_wait() {
    let text = format!(
        "[service.bad]\ncommand = [\"sh\", \"-c\", \"exit 7\"]\nrestart = \"never\"\nready = \"reported\"\n[service.api]\n{SLEEPS}requires = [\"bad\"]\n[service.db]\n{}",
        ready_by("go")
    );
    let (dog, term) = Run::on_screen(&text).in_terminal_of(80, 24);
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
    let (dog, term) = Run::on_screen(&text).in_terminal_of(80, 24);
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
    let (dog, term) = Run::on_screen(&format!("[service.db]\n{}{waits}", ready_by("go"))).in_terminal_of(32, 30);
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
    let (dog, term) = Run::on_screen(&format!("[service.db]\n{}{waits}", ready_by("go"))).in_terminal_of(60, 6);
    term.wait_grid("three of them", |g| g.count("… and 12 more") == 1 && g.count("0 of 15 ready") == 1);
    std::fs::write(dog.path("go"), "").unwrap();
    let grid = term.wait_grid("the end", |g| g.count("all 15 services are ready") == 1);
    assert_eq!((grid.count("waiting for"), grid.count("of 15 ready")), (0, 0), "{grid:#?}");
    dog.stop().code(0);
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
        let (dog, term) = change(Run::on_screen(&text)).in_terminal_of(80, 24);
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
    let run = Run::on_screen(&format!("[service.a]\n{SLEEPS}")).flag("--control", "/no/such/place/at/all");
    let (dog, term) = run.in_terminal_of(80, 24);
    term.note("exited 125");
    dog.wait();
    assert!(term.screen().contains("/no/such/place/at/all"), "{:?}", term.screen());
}

/// What a process has waited for so far.
fn sleeps_of(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
    line.rsplit(char::is_whitespace).next().unwrap().parse().unwrap()
}

#[test]
fn nothing_wakes_up_for_the_view() {
    let text = format!("[service.db]\n{}[service.api]\n{SLEEPS}requires = [\"db\"]\n", ready_by("go"));
    let (dog, term) = Run::on_screen(&text).in_terminal_of(80, 24);
    term.wait_grid("the view", |g| g.count("0 of 2 ready") == 1);
    std::thread::sleep(Duration::from_millis(200));
    let before = sleeps_of(dog.pid());
    stays("asleep", Duration::from_millis(1500), || sleeps_of(dog.pid()) == before);
    dog.stop();
}

#[test]
fn a_terminal_that_is_resized_shows_the_view_once() {
    if !Tmux::is_there() {
        return common::skip("no tmux");
    }
    let waits: String = (0..4).map(|n| format!("[service.s{n}]\n{SLEEPS}requires = [\"db\"]\n")).collect();
    let run = Run::on_screen(&format!("[service.db]\n{}{waits}[service.late]\n{}", ready_by("go"), ready_by("late")));
    let tmux = Tmux::with(run, "90", "24");
    tmux.wait("the view", |t| t.contains("0 of 6 ready"));
    tmux.say(&["resize-window", "-x", "45", "-y", "24"]);
    std::fs::write(tmux.run.path("late"), "").unwrap();
    let narrow = tmux.wait("a row less", |t| t.contains("1 of 6 ready"));
    let count = |text: &str, part: &str| text.matches(part).count();
    assert_eq!((count(&narrow, "waiting for db"), count(&narrow, "of 6 ready")), (4, 1), "{narrow}");
    assert!(narrow.contains("late | up now"), "{narrow}");
    tmux.say(&["resize-window", "-x", "100", "-y", "24"]);
    std::fs::write(tmux.run.path("go"), "").unwrap();
    let wide = tmux.wait("the end of the view", |t| t.contains("all 6 services are ready"));
    assert_eq!((count(&wide, "waiting for db"), count(&wide, "of 6 ready")), (0, 0), "{wide}");
    tmux.say(&["send-keys", "C-c"]);
    let end = tmux.wait("the end", |t| t.contains("\nended\n"));
    assert_eq!(count(&end, "of 6 ready"), 0, "{end}");
}
