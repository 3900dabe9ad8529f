//! Declared ports: who holds one before a start is said, and ended where that was asked for; and everybody who looks like
//! a holder and is none, or must not be ended, lives.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::{free_port, port_in};
use common::folder::Folder;
use common::{Dog, Run, is_root, lines, procs, skip, stays, victim, wait_for, wait_lines, worker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Somebody outside who holds a port, in a folder of its own. Ended when it is dropped.
struct Holder {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Holder {
    fn new(more: &[&str]) -> Holder {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut command = Command::new(worker());
        let child = command.arg("hold").arg(at("port")).arg("--log").arg(at("log")).args(more).spawn().unwrap();
        let port = port_in(&at("port"));
        Holder { child, dir, port }
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it was told to do.
    fn told(&self) -> usize {
        lines(&self.dir.path().join("log")).len()
    }

    #[track_caller]
    fn lives_and_was_told_nothing(&self) {
        assert!(procs::alive(self.pid()) && self.told() == 0, "told {} times", self.told());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        for child in procs::children(self.pid()) {
            let _ = kill(Pid::from_raw(child.pid), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A service `web` that needs this port and ends the others; it binds it itself where `binds`.
fn web(port: &str, more: &str, binds: bool) -> Run {
    let number = port.split('/').next().unwrap();
    let command = match binds {
        true => victim(&["hold", "web", "--port", number]),
        false => victim(&["sleep"]),
    };
    let text =
        format!("[service.web]\n{command}\nports = [\"{port}\"]\nkill_others = true\nrestart = \"never\"\n{more}\n");
    Run::quick_file(&text)
}

/// The line about the holder that lives, and the start that went on.
#[track_caller]
fn goes_on(dog: Dog, holder: &Holder, why: &str) {
    dog.wait_ready("web");
    holder.lives_and_was_told_nothing();
    let held = format!("web: port {}/tcp is held by worker (pid {}), which is not ended: ", holder.port, holder.pid());
    let ended = dog.stop().says(&held).says(why);
    holder.lives_and_was_told_nothing();
    assert_eq!(ended.err.matches("is held by").count(), 1, "{}", ended.story());
    assert!(!ended.err.contains("ended worker"), "{}", ended.story());
}

/// Section 3: kill_others: the owner of the socket gets TERM, and the worker gets its port
#[test]
fn whoever_holds_the_port_is_ended_and_the_worker_gets_it() {
    let holder = Holder::new(&[]);
    let dog = web(&holder.port.to_string(), "", true).spawn();
    assert_eq!(wait_lines(&dog.path("web"), 1), [holder.port.to_string()]);
    assert!(!procs::alive(holder.pid()) && holder.told() == 1);
    dog.wait_ready("web");
    let (port, pid) = (holder.port, holder.pid());
    let ended = dog.stop().count("spawn", 1);
    let ended = ended.says(&format!("web: port {port}/tcp is held by worker (pid {pid}), which is ended to free it"));
    ended.says(&format!("web: ended worker (pid {pid}); its ports are free"));
}

/// Section 3: TCP of both families and UDP, each exactly
#[test]
fn ports_of_both_families_and_of_udp_are_found() {
    for (how, kind) in [("--v6", "tcp"), ("--udp", "udp")] {
        let holder = Holder::new(&[how]);
        let dog = web(&format!("{}/{kind}", holder.port), "", false).spawn();
        dog.wait_ready("web");
        assert!(!procs::alive(holder.pid()), "{how}");
        dog.stop().says(&format!("port {}/{kind} is held by worker", holder.port));
    }
    let udp = Holder::new(&["--udp"]);
    let dog = web(&udp.port.to_string(), "", false).spawn();
    dog.wait_ready("web");
    udp.lives_and_was_told_nothing();
    assert!(!dog.stop().err.contains("is held by"), "the same number of the other kind is another port");
}

/// Section 3: a holder that is deaf to TERM gets KILL after 2 s, and the watchdog answers meanwhile
#[test]
fn a_holder_that_ignores_term_is_killed_and_the_loop_never_waits() {
    let holder = Holder::new(&["--ignore-term"]);
    let dog = web(&holder.port.to_string(), "", true).spawn();
    wait_for("a TERM", || (holder.told() == 1).then_some(()));
    let began = Instant::now();
    while procs::alive(holder.pid()) {
        let asked = Instant::now();
        assert_ne!(dog.service("web")["state"], "running", "before its port is free");
        assert!(asked.elapsed() < Duration::from_secs(1), "an answer took {:?}", asked.elapsed());
    }
    common::about(began.elapsed(), 2000);
    wait_lines(&dog.path("web"), 1);
    assert_eq!(holder.told(), 1, "asked once");
    dog.wait_ready("web");
    dog.stop().says(&format!("ended worker (pid {}) by SIGKILL; its ports are free", holder.pid()));
}

/// Section 3: all processes that share the socket
#[test]
fn everybody_who_shares_the_socket_is_ended() {
    let holder = Holder::new(&["--children", "2"]);
    let children = wait_for("its children", || Some(procs::children(holder.pid())).filter(|c| c.len() == 2));
    let dog = web(&holder.port.to_string(), "", true).spawn();
    wait_lines(&dog.path("web"), 1);
    assert!(children.iter().all(|c| !procs::lives(c.pid, c.start)) && !procs::alive(holder.pid()));
    dog.wait_ready("web");
    dog.stop();
}

/// Section 3: a holder that leaves the port and lives on is left alone from then on
#[test]
fn a_holder_that_only_leaves_the_port_lives() {
    let holder = Holder::new(&["--closes"]);
    let dog = web(&holder.port.to_string(), "", true).spawn();
    wait_lines(&dog.path("web"), 1);
    stays("alive without its port", Duration::from_millis(2500), || procs::alive(holder.pid()));
    assert_eq!(holder.told(), 1);
    dog.wait_ready("web");
    dog.stop().says("web: ended nobody; its ports are free");
}

/// Section 3: without kill_others it is only said
#[test]
fn without_kill_others_it_is_only_said() {
    let holder = Holder::new(&[]);
    let command = victim(&["sleep"]);
    let dog = Run::quick_file(&format!("[service.web]\n{command}\nports = [{}]\n", holder.port)).spawn();
    dog.wait_ready("web");
    holder.lives_and_was_told_nothing();
    let ended = dog.stop();
    let line = format!("web: port {}/tcp is held by worker (pid {})\n", holder.port, holder.pid());
    assert!(ended.err.contains(&line), "{}", ended.err);
}

/// Section 3: the usual case
#[test]
fn nothing_is_said_of_a_free_port() {
    let dog = web(&free_port().to_string(), "", true).spawn();
    dog.wait_ready("web");
    assert!(!dog.stop().err.contains("port"), "nobody held it");
}

/// Section 3: another user's process lives, also where root could end it
#[test]
fn another_users_holder_lives() {
    if !is_root() {
        return skip("another user's process takes root");
    }
    let holder = Holder::new(&["--user", "54321"]);
    wait_for("the other user", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", holder.pid())).unwrap();
        status.contains("Uid:\t54321\t").then_some(())
    });
    let dog = web(&holder.port.to_string(), "", false).spawn();
    goes_on(dog, &holder, "it runs as another user (54321)");
}

/// Section 3: whoever started us lives: here the test itself
#[test]
fn an_ancestor_that_holds_the_port_lives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let dog = web(&port.to_string(), "", false).spawn();
    dog.wait_ready("web");
    dog.stop().says("which is not ended: this watchdog was started by it");
}

/// Section 3: process_filters: a name that none of them stands in lives, one that holds it in any case is ended
#[test]
fn filters_spare_whoever_they_do_not_name() {
    let holder = Holder::new(&[]);
    let spared = web(&holder.port.to_string(), "process_filters = [\"nginx\", \"workers\"]", false).spawn();
    goes_on(spared, &holder, "its name holds none of process_filters");
    let dog = web(&holder.port.to_string(), "process_filters = [\"nginx\", \"WORK\"]", true).spawn();
    wait_lines(&dog.path("web"), 1);
    assert!(!procs::alive(holder.pid()));
    dog.wait_ready("web");
    dog.stop();
}

/// Section 3: a client of the port, and whoever has its number only among its arguments, hold nothing
#[test]
fn clients_of_the_port_and_its_number_in_an_argument_are_no_holders() {
    let holder = Holder::new(&["--closes"]);
    let number = holder.port.to_string();
    let ends = TcpStream::connect(("127.0.0.1", holder.port)).unwrap();
    let connected = ends.try_clone().unwrap();
    let mut named = Command::new(worker()).args(["sleep", "--port", &number]).spawn().unwrap();
    let mut client =
        Command::new(worker()).args(["sleep"]).stdin(std::os::fd::OwnedFd::from(connected)).spawn().unwrap();
    let dog = web(&number, "", true).spawn();
    wait_lines(&dog.path("web"), 1);
    dog.wait_ready("web");
    let still = [&mut named, &mut client].map(|c| c.try_wait().unwrap().is_none());
    for child in [&mut named, &mut client] {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert_eq!(still, [true, true]);
    let ended = dog.stop();
    assert_eq!(ended.err.matches("is held by").count(), 1, "the holder alone: {}", ended.err);
}

/// Section 3: another service of the same file lives, and its children do
#[test]
fn a_sibling_service_that_holds_the_port_lives() {
    for children in ["0", "1"] {
        let port = free_port().to_string();
        let first = victim(&["hold", "first", "--port", &port, "--children", children, "--log", "told"]);
        let second = victim(&["sleep"]);
        let dog = Run::quick_file(&format!(
            "[service.first]\n{first}\nready = \"port:{port}\"\n\
             [service.web]\n{second}\nrequires = [\"first\"]\nports = [{port}]\nkill_others = true\n"
        ))
        .spawn();
        dog.wait_ready("web");
        assert!(procs::alive(dog.pid_of("first", 1)) && lines(&dog.path("told")).is_empty());
        assert_eq!(dog.service("first")["restarts"], 0);
        let ended = dog.stop().says("which is not ended: it belongs to the service first of this watchdog");
        assert!(!ended.err.contains("which is ended"), "{}", ended.err);
    }
}

/// Section 3: a stop while a start waits for its ports is answered at once, and nobody is killed for it
#[test]
fn a_stop_while_a_holder_is_being_ended_calls_the_start_off() {
    let holder = Holder::new(&["--ignore-term"]);
    let dog = web(&holder.port.to_string(), "", true).spawn();
    wait_for("a TERM", || (holder.told() == 1).then_some(()));
    let began = Instant::now();
    dog.verb(&["stop", "web"]).code(0);
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(dog.service("web")["state"], "stopped");
    stays("alive", Duration::from_millis(2500), || procs::alive(holder.pid()));
    assert!(dog.events_of("spawn").is_empty());
    let again = dog.start_verb(&["start", "web"]);
    wait_for("a second TERM", || (holder.told() == 2).then_some(()));
    let began = Instant::now();
    dog.signal(Signal::SIGTERM);
    common::control::finish(again, &["start"]);
    let ended = dog.wait().count("spawn", 0);
    assert!(began.elapsed() < Duration::from_millis(1500), "the end waits for nobody: {:?}", began.elapsed());
    assert!(procs::alive(holder.pid()) && !ended.err.contains("SIGKILL"));
}

/// Section 3: a restart asked for meanwhile begins anew, and the worker comes up
#[test]
fn a_restart_while_a_holder_is_being_ended_begins_anew() {
    let holder = Holder::new(&["--ignore-term"]);
    let dog = web(&holder.port.to_string(), "", true).spawn();
    wait_for("a TERM", || (holder.told() == 1).then_some(()));
    dog.verb(&["restart", "web"]).code(0);
    assert_eq!(holder.told(), 2);
    wait_lines(&dog.path("web"), 1);
    assert!(!procs::alive(holder.pid()));
    dog.wait_ready("web");
    dog.stop().count("spawn", 1).count("spawn-failed", 0);
}

/// Section 3: ports first, then the hooks before a start
#[test]
fn hooks_before_a_start_come_behind_its_ports() {
    let holder = Holder::new(&["--ignore-term"]);
    let listening = format!(":{:04X} 00000000:0000 0A", holder.port);
    let hook = format!("hook = [\"pre-start:sh -c 'grep -c \\\"{listening}\\\" /proc/net/tcp >> hook; true'\"]");
    let dog = web(&holder.port.to_string(), &hook, true).spawn();
    assert_eq!(wait_lines(&dog.path("web"), 1), [holder.port.to_string()]);
    assert_eq!(lines(&dog.path("hook")), ["0"], "once, and nobody listened any more");
    dog.wait_ready("web");
    dog.stop();
}

/// Section 2: up --dry-run says who holds what and what would become of him, and touches nothing
#[test]
fn a_dry_run_says_who_would_be_ended_and_touches_nobody() {
    let (holder, command) = (Holder::new(&[]), victim(&["sleep"]));
    let port = holder.port;
    let held = format!("port {port}/tcp is held by worker (pid {})", holder.pid());
    let text = format!(
        "[service.a]\n{command}\nports = [{port}]\nkill_others = true\n[service.b]\n{command}\nports = [{port}]\n\
         [service.c]\n{command}\nports = [{port}]\nkill_others = true\nprocess_filters = [\"nginx\"]\n\
         [service.d]\n{command}\nports = [{}]\nkill_others = true\n",
        free_port()
    );
    let said = Folder::with(&text).verb(&["up", "--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    let about: Vec<&str> = said.out.lines().filter(|l| l.contains("port")).collect();
    let wanted = [
        format!("a: {held}, which would be ended"),
        format!("b: {held}"),
        format!("c: {held}, which would not be ended: its name holds none of process_filters"),
    ];
    assert_eq!(about, wanted);
    let said = Folder::with(&text).verb(&["up", "--dry-run", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let held = json["held_ports"].as_array().unwrap();
    let ends: Vec<_> = held.iter().map(|h| (h["service"].clone(), h["would_end"].clone())).collect();
    assert_eq!(ends, [("a".into(), true.into()), ("b".into(), false.into()), ("c".into(), false.into())]);
    assert_eq!(
        (&held[0]["port"], &held[0]["pid"], &held[0]["protocol"]),
        (&port.into(), &holder.pid().into(), &"tcp".into())
    );
    holder.lives_and_was_told_nothing();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}
