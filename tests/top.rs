//! `top` as a person drives it: what is shown, what the keys do, and what is left of the terminal at each end.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::{SLEEPS, says, victim};
use common::procs::marked;
use common::tmux::Tmux;
use common::{Control, Dog, Run, skip, stays, wait_for, watchdog};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Services of every kind of interest.
fn shop() -> String {
    let web = victim(&["talk", "hello", "ready", "serve"]);
    let lines =
        says("i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo order $i; done; printf 'sly \\\\033]0;x\\\\007\\\\n'");
    let fails = "command = [\"sh\", \"-c\", \"echo no disk; exit 3\"]\nrestart_limit = 2\n";
    format!(
        "[service.web]\n{web}\nheartbeat_interval = \"100ms\"\n[service.orders]\n{lines}[service.fails]\n{fails}[service.later]\n{SLEEPS}autostart = false\n"
    )
}

/// A client of this watchdog with a mark of its own.
fn beside(dog: &Dog) -> Run {
    Run::new().env("WATCHDOG_RUNTIME_DIR", dog.path("run")).env("TERM", "screen")
}

/// `watchdog top` in a terminal of people, when there is a watchdog to ask.
fn top(dog: &Dog, width: &str, height: &str) -> Tmux {
    let is_socket = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "sock");
    wait_for("the control socket", || std::fs::read_dir(dog.path("run")).ok()?.flatten().find(is_socket));
    Tmux::of(beside(dog), &[watchdog(), "top"], width, height)
}

/// The `top` of this terminal.
fn pid_of(tmux: &Tmux) -> i32 {
    let is_top = |command: &str| command.starts_with(watchdog()) && command.contains(" top");
    wait_for("top", || marked(tmux.run.mark()).into_iter().find(|p| is_top(&p.command)).map(|p| p.pid))
}

fn row<'a>(screen: &'a str, name: &str) -> &'a str {
    screen.lines().find(|l| l.starts_with(name)).unwrap_or_default()
}

/// The terminal is as it was: the usual screen, a cursor, and a driver that makes lines and signals of keys.
#[track_caller]
fn given_back(tmux: &Tmux) {
    tmux.wait("the end of top", |t| t.contains("\nended\n") || t.starts_with("ended\n"));
    let shown = tmux.say(&["display", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag} #{pane_tty}"]);
    let shown: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(shown[..3], ["0", "1", "1"], "{shown:?}");
    let stty = std::process::Command::new("stty").args(["-F", shown[3], "-a"]).output().unwrap();
    let stty = String::from_utf8_lossy(&stty.stdout).into_owned();
    for word in ["icanon", "echo", "isig", "opost", "icrnl"] {
        assert!(stty.split_whitespace().any(|w| w.trim_end_matches(';') == word), "{word}: {stty}");
    }
}

#[test]
fn all_that_is_promised_is_on_the_screen() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick_file(&shop()).flag("--name", "shop").spawn();
    dog.wait_service_state("fails", "failed");
    let tmux = top(&dog, "100", "30");
    tmux.wait("all services", |t| {
        let is = |name: &str, parts: &[&str]| parts.iter().all(|part| row(t, name).contains(part));
        t.contains("4 services, 2 ready, 1 failed")
            && is("web", &["running", "us"])
            && is("orders", &["running", "█", "iB", "%"])
            && is("fails", &["failed", " 2 "])
            && is("later", &["stopped"])
    });
    tmux.wait("why", |t| {
        t.contains("web: why") && t.contains("web is running for") && t.contains("heartbeat: native, half within")
    });
    tmux.say(&["send-keys", "Down"]);
    tmux.wait("its lines", |t| t.contains("orders: last lines") && t.contains("order 30"));
    tmux.wait("an escape as text", |t| t.contains("sly \\u{1b}]0;x\\u{7}"));
    tmux.say(&["send-keys", "j"]);
    tmux.wait("why it failed", |t| t.contains("gave up: 2 consecutive restarts") && !t.contains("order 30"));
    tmux.wait("its lines", |t| t.contains("no disk"));
    tmux.say(&["send-keys", "Tab"]);
    tmux.wait("the explanation alone", |t| t.contains("restart_limit 2, ") && !t.contains("last lines"));
    tmux.say(&["send-keys", "q"]);
    given_back(&tmux);
    drop(tmux);
    dog.stop();
}

#[test]
fn keys_start_stop_and_restart_and_what_ends_a_process_is_asked_for_twice() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick_file(&shop()).spawn();
    let tmux = top(&dog, "100", "30");
    tmux.wait("the table", |t| row(t, "web").contains("running"));
    tmux.say(&["send-keys", "x"]);
    tmux.wait("the question", |t| t.contains("stop web? y, or any other key"));
    tmux.say(&["send-keys", "n"]);
    tmux.wait("no question", |t| t.contains("q leave"));
    tmux.say(&["send-keys", "r"]);
    tmux.wait("the question", |t| t.contains("restart web? y"));
    tmux.say(&["send-keys", "y"]);
    tmux.wait("its answer", |t| t.contains("restart web: done"));
    assert_eq!(dog.service("web")["generation"], 2);
    assert_eq!(dog.events_for("web", "stop-requested").len(), 0, "no was no");
    tmux.say(&["send-keys", "x"]);
    tmux.wait("the question", |t| t.contains("stop web? y"));
    tmux.say(&["send-keys", "y"]);
    tmux.wait("its end", |t| t.contains("stop web: done") && row(t, "web").contains("stopped"));
    tmux.say(&["send-keys", "s"]);
    tmux.wait("its start", |t| t.contains("start web: done") && row(t, "web").contains("running"));
    tmux.say(&["send-keys", "/"]);
    tmux.say(&["send-keys", "lat"]);
    tmux.wait("one of them", |t| {
        !t.contains("orders  ") && row(t, "later").contains("stopped") && t.contains("/lat") && t.contains("later: why")
    });
    tmux.say(&["send-keys", "Enter", "s"]);
    tmux.wait("started", |t| row(t, "later").contains("running"));
    tmux.say(&["send-keys", "Escape"]);
    tmux.wait("all of them", |t| row(t, "orders").contains("running"));
    tmux.say(&["send-keys", "?"]);
    tmux.wait("the keys", |t| t.contains("restart it") && t.contains("Ctrl-Z"));
    tmux.say(&["send-keys", "Escape"]);
    tmux.wait("no keys", |t| !t.contains("restart it"));
    tmux.say(&["send-keys", "C-c"]);
    given_back(&tmux);
    drop(tmux);
    dog.stop();
}

#[test]
fn a_terminal_that_is_resized_is_filled_anew() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick_file(&shop()).spawn();
    let tmux = top(&dog, "100", "30");
    tmux.wait("the table", |t| t.contains("READY") && t.contains("BEAT"));
    tmux.say(&["resize-window", "-x", "40", "-y", "10"]);
    tmux.wait("fewer columns", |t| {
        let fewer = !t.contains("READY") && !t.contains("CPU") && t.contains("STATE");
        fewer && t.lines().count() <= 10 && row(t, "web").contains("running")
    });
    tmux.say(&["resize-window", "-x", "140", "-y", "40"]);
    tmux.wait("more columns", |t| t.contains("LAST EXIT") && t.contains("web: last lines"));
    tmux.say(&["send-keys", "q"]);
    given_back(&tmux);
    drop(tmux);
    dog.stop();
}

#[test]
fn the_terminal_is_given_back_at_every_signal_and_by_a_panic() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick_file(&shop()).spawn();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let script = "\"$@\"; echo status $?";
        let words = ["sh", "-c", script, "sh", watchdog(), "top"];
        let tmux = Tmux::of(beside(&dog), &words, "80", "24");
        tmux.wait("the table", |t| row(t, "web").contains("running"));
        let _ = kill(Pid::from_raw(pid_of(&tmux)), signal);
        given_back(&tmux);
        tmux.wait("its status", |t| t.contains(&format!("status {}", 128 + signal as i32)));
    }
    let tmux = Tmux::of(beside(&dog), &["sh", "-c", "\"$@\"; echo status $?", "sh", watchdog(), "top"], "80", "24");
    tmux.wait("the table", |t| row(t, "web").contains("running"));
    // a defect that builds for tests have
    tmux.say(&["send-keys", "C-p"]);
    given_back(&tmux);
    tmux.wait("the line of a defect", |t| {
        t.contains("a defect of the watchdog: asked for by a key") && t.contains("status 125")
    });
    drop(tmux);
    dog.stop();
}

#[test]
fn the_shell_has_the_terminal_while_it_is_stopped_by_the_keyboard() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick_file(&shop()).spawn();
    let tmux = Tmux::of(beside(&dog).env("PS1", "prompt> "), &["bash", "--norc", "-i"], "80", "24");
    tmux.wait("a shell", |t| t.contains("prompt>"));
    tmux.say(&["send-keys", &format!("{} top", watchdog()), "Enter"]);
    tmux.wait("the table", |t| row(t, "web").contains("running"));
    tmux.say(&["send-keys", "C-z"]);
    tmux.wait("the prompt", |t| t.contains("Stopped") && !t.contains("q leave"));
    tmux.say(&["send-keys", "echo it is $((6*7))", "Enter"]);
    tmux.wait("a shell that hears", |t| t.contains("it is 42"));
    tmux.say(&["send-keys", "fg", "Enter"]);
    tmux.wait("the table again", |t| row(t, "web").contains("running") && t.contains("q leave"));
    tmux.say(&["send-keys", "q"]);
    tmux.wait("the prompt", |t| t.contains("it is 42") && !t.contains("q leave"));
    drop(tmux);
    dog.stop();
}

#[test]
fn no_colours_where_somebody_says_so_and_some_otherwise() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick_file(&shop()).spawn();
    dog.wait_service_state("fails", "failed");
    let coloured = |t: &Tmux| t.say(&["capture-pane", "-p", "-e"]);
    let tmux = top(&dog, "100", "30");
    tmux.wait("the table", |t| row(t, "fails").contains("failed"));
    assert!(coloured(&tmux).contains("\u{1b}[31m") || coloured(&tmux).contains("31mfailed"), "{:?}", coloured(&tmux));
    let tmux = Tmux::of(beside(&dog).env("NO_COLOR", "1"), &[watchdog(), "top"], "100", "30");
    tmux.wait("the table", |t| row(t, "fails").contains("failed"));
    let plain = coloured(&tmux);
    let has_colour = plain.split("\u{1b}[").skip(1).any(|rest| {
        let codes = rest.split('m').next().unwrap_or_default();
        codes
            .split(';')
            .any(|c| c.parse().is_ok_and(|n: u32| (30..=38).contains(&n) || (40..=48).contains(&n) || n >= 90))
    });
    assert!(!has_colour && plain.contains("\u{1b}["), "bold and reverse are left: {plain:?}");
    drop(tmux);
    dog.stop();
}

#[test]
fn without_a_terminal_it_says_what_to_use_and_prints_once_where_asked() {
    let dog = Run::quick_file(&shop()).flag("--name", "shop").spawn();
    dog.wait_ready("orders");
    let refused = dog.verb(&["top"]).code(2);
    assert!(
        refused.err.contains("this is no terminal: use watchdog top --once") && refused.out.is_empty(),
        "{refused:?}"
    );
    let page = dog.verb(&["top", "--once", "-i", "shop"]).code(0).out;
    assert!(page.contains("orders") && page.contains("MEMORY") && page.contains("orders is running for"), "{page}");
    assert!(!page.contains('\u{1b}'), "{page:?}");
    let json = dog.verb(&["top", "--once", "--json", "orders"]).code(0).json();
    let only = json["services"].as_array().unwrap();
    assert!(only.len() == 1 && only[0]["memory"]["rss_bytes"].as_u64() > Some(0), "{json}");
    assert!(only[0]["cpu"]["percent"].as_f64().is_some(), "{json}");
    assert!(dog.verb(&["top", "--once", "wbe"]).code(3).err.contains("web"));
    assert_eq!(dog.verb(&["top", "--once", "-i", "nobody"]).code, 3);
    dog.stop();
}

#[test]
fn nothing_is_measured_but_for_who_asks_and_looking_changes_no_judgement() {
    let limited =
        format!("[service.a]\n{SLEEPS}memory_limit = \"1KiB\"\nsample_interval = \"1h\"\n[service.b]\n{SLEEPS}");
    let dog = Run::quick_file(&limited).spawn();
    dog.wait_ready("a");
    assert!(dog.service("b")["memory"]["rss_bytes"].is_null(), "nobody asked");
    let page = dog.verb(&["top", "--once", "--json"]).code(0).json();
    let rss = |n: usize| page["services"][n]["memory"]["rss_bytes"].as_u64();
    assert!(rss(0) > Some(1024) && rss(1) > Some(0), "{page}");
    for _ in 0..2 {
        dog.verb(&["top", "--once", "--json"]).code(0);
    }
    assert!(dog.events_of("threshold").is_empty(), "far above the limit, and its interval is an hour");
    assert!(dog.service("b")["memory"]["rss_bytes"].is_null(), "who does not ask is told of nothing");
    let mut client = Control::connect(&dog.socket());
    let mut percent = || {
        client.ask(&json!({"id": 1, "verb": "status", "args": {"sample": true}}));
        client.answer()["result"]["services"][1]["cpu"]["percent"].as_f64()
    };
    let began = Instant::now();
    let (first, second) = (percent(), percent());
    // The same measurement: of one that was watched until just now it may be known already. Only a machine that stood still
    // for a second may have measured twice.
    assert!(first == second || began.elapsed() > Duration::from_millis(900), "{first:?} {second:?}");
    wait_for("the second measurement", &mut percent);
    drop(client);
    let switches = || common::procs::status_field(dog.pid(), "voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_millis(200));
    let before = switches();
    stays("asleep: nobody asks any more", Duration::from_millis(2500), || switches() == before);
    dog.stop();
}

/// Whoever reads a terminal that was not read for a while.
fn read_on(mut person: std::fs::File) -> (Arc<Mutex<Vec<u8>>>, std::thread::JoinHandle<()>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let all = shown.clone();
    let reader = std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = person.read(&mut piece) {
            all.lock().unwrap().extend_from_slice(&piece[..n]);
        }
    });
    (shown, reader)
}

#[test]
fn a_terminal_that_takes_nothing_costs_pictures_and_no_key() {
    let many = "while [ ! -e go ]; do sleep 0.02; done; i=0; while [ $i -lt 300 ]; do i=$((i+1)); \
                echo $((i*7919)) $((i*104729)) $((i*1299709)) $((i*15485863)); sleep 0.01; done; echo THE-END; touch over";
    let dog = Run::quick_file(&format!("[service.a]\n{}[service.b]\n{SLEEPS}", says(many))).spawn();
    dog.wait_ready("b");
    let run = beside(&dog);
    let size = nix::pty::Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).unwrap();
    let (mut person, side) = (std::fs::File::from(pty.master), std::fs::File::from(pty.slave));
    let end = || Stdio::from(side.try_clone().unwrap());
    let mut command = run.command(&[watchdog().into(), "top".into()]);
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    drop((command, side));
    // nobody reads; meanwhile keys are pressed, again until there is somebody to stop, and much happens that would be drawn
    wait_for("a stop by its key", || {
        person.write_all(b"xy").unwrap();
        std::thread::sleep(Duration::from_millis(200));
        (dog.service("a")["state"] == "stopped").then_some(())
    });
    std::fs::write(dog.path("go"), "").unwrap();
    person.write_all(b"s").unwrap();
    // and everything is asked for anew, again and again: far more than the kernel keeps for a terminal
    for _ in 0..300 {
        person.write_all(b"\x0c").unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_for("the last of many lines", || dog.path("over").exists().then_some(()));
    let (shown, reader) = read_on(person.try_clone().unwrap());
    let text = || String::from_utf8_lossy(&shown.lock().unwrap()).into_owned();
    wait_for("the picture of what is so now", || text().contains("THE-END").then_some(()));
    assert!(text().len() < 100 * 1024, "old pictures are not sent one after the other: {}", text().len());
    person.write_all(b"q").unwrap();
    let status = wait_for("its end", || child.try_wait().unwrap());
    drop(person);
    reader.join().unwrap();
    assert_eq!(status.code(), Some(0), "{:?}", text());
    assert!(text().ends_with("\u{1b}[?1049l"), "{:?}", text());
    dog.stop();
}

/// A terminal may say anything of its size. Failed before: each of four billion cells was kept twice.
#[test]
fn a_terminal_that_calls_itself_huge_costs_a_bounded_picture() {
    let dog = Run::quick_file(&format!("[service.a]\n{SLEEPS}")).spawn();
    dog.wait_ready("a");
    let run = beside(&dog);
    let size = nix::pty::Winsize { ws_row: u16::MAX, ws_col: u16::MAX, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).unwrap();
    let (mut person, side) = (std::fs::File::from(pty.master), std::fs::File::from(pty.slave));
    let end = || Stdio::from(side.try_clone().unwrap());
    // Where the bound is missing it is to fail and not to fill the machine.
    let line = ["prlimit".into(), "--as=2000000000".into(), watchdog().into(), "top".into()];
    let mut child = run.command(&line).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    drop(side);
    let (shown, reader) = read_on(person.try_clone().unwrap());
    let text = || String::from_utf8_lossy(&shown.lock().unwrap()).into_owned();
    wait_for("the first picture", || text().contains("running").then_some(()));
    let peak = common::procs::status_field(child.id() as i32, "VmHWM");
    assert!(peak < 200 * 1024, "{peak} KiB");
    person.write_all(b"q").unwrap();
    let status = wait_for("its end", || child.try_wait().unwrap());
    drop(person);
    reader.join().unwrap();
    assert_eq!(status.code(), Some(0), "{:?}", text());
    dog.stop();
}

#[test]
fn output_that_is_not_captured_is_said_in_its_place() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick().program(["sleep", "1000"]).spawn();
    dog.event("ready", 1);
    let tmux = top(&dog, "100", "30");
    tmux.wait("why there are no lines", |t| t.contains("output of sleep is not captured (log = inherit)"));
    tmux.say(&["send-keys", "q"]);
    given_back(&tmux);
    drop(tmux);
    dog.stop();
}

#[test]
fn the_end_of_the_watchdog_is_told_and_its_return_is_seen() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick_file(&shop()).flag("--name", "shop").spawn();
    let tmux = Tmux::of(beside(&dog), &[watchdog(), "top", "-i", "shop"], "100", "30");
    tmux.wait("the table", |t| row(t, "web").contains("running"));
    let text = std::fs::read_to_string(dog.path("watchdog.toml")).unwrap();
    let runtime = dog.path("run");
    let ended = dog.stop();
    tmux.wait("nobody", |t| t.contains("no answer: "));
    let again = Run::quick_file(&text).flag("--name", "shop").env("WATCHDOG_RUNTIME_DIR", &runtime).spawn();
    tmux.wait("somebody", |t| row(t, "web").contains("running") && t.contains(&format!("shop (pid {})", again.pid())));
    tmux.say(&["send-keys", "q"]);
    given_back(&tmux);
    drop(tmux);
    again.signal(Signal::SIGTERM);
    again.wait();
    drop(ended);
}

/// Section 2: colours of `status` on a terminal alone, and none where somebody says so
#[test]
fn status_has_colours_on_a_terminal_alone() {
    if !Tmux::is_there() {
        return skip("no tmux");
    }
    let dog = Run::quick_file(&shop()).spawn();
    dog.wait_service_state("fails", "failed");
    assert!(!dog.verb(&["status"]).code(0).out.contains('\u{1b}'), "a pipe");
    let shown = |variable: &str| {
        // a terminal sets TERM itself
        let tmux = Tmux::of(beside(&dog), &["env", variable, watchdog(), "status"], "120", "30");
        tmux.wait("the table", |t| t.contains("ended") && t.contains("LAST EXIT"));
        tmux.say(&["capture-pane", "-p", "-e"])
    };
    let coloured = shown("NO_COLOR=");
    assert!(
        coloured.contains("32mrunning") && coloured.contains("31mfailed") && coloured.contains("1mNAME"),
        "{coloured:?}"
    );
    for variable in ["NO_COLOR=1", "TERM=dumb"] {
        let plain = shown(variable);
        assert!(!plain.contains('\u{1b}') && plain.contains("failed"), "{variable}: {plain:?}");
    }
    dog.stop();
}

#[test]
fn a_name_that_is_not_there_is_said_before_the_terminal_is_touched() {
    let dog = Run::quick_file(&shop()).spawn();
    dog.wait_ready("orders");
    let run = beside(&dog);
    let pty = nix::pty::openpty(None, None).unwrap();
    let side = std::fs::File::from(pty.slave);
    let mut command = run.command(&[watchdog().into(), "top".into(), "wbe".into()]);
    command.stdin(side.try_clone().unwrap()).stdout(side).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    drop(command);
    let answer = child.wait_with_output().unwrap();
    assert!(answer.status.code() == Some(3) && String::from_utf8_lossy(&answer.stderr).contains("web"), "{answer:?}");
    let mut shown = Vec::new();
    let _ = std::fs::File::from(pty.master).read_to_end(&mut shown);
    assert!(shown.is_empty(), "{shown:?}");
    dog.stop();
}
