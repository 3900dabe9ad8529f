//! The watchdog as a service of somebody else (sd_notify(3)): what it says upward, when, and that nobody has to listen.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::{SLEEPS, ready_by};
use common::{Dog, Ended, Run, procs, stays, wait_for, watchdog};
use nix::sys::signal::Signal;
use std::cell::RefCell;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// Whoever is above: keeps every datagram.
struct Above {
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Above {
    fn over(socket: UnixDatagram) -> Above {
        socket.set_nonblocking(true).unwrap();
        Above { socket, heard: RefCell::default() }
    }

    fn at(path: &Path) -> Above {
        Above::over(UnixDatagram::bind(path).unwrap())
    }

    /// Every line so far.
    fn lines(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        while let Ok(n) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..n].to_vec()).unwrap();
            self.heard.borrow_mut().extend(text.lines().map(str::to_string));
        }
        self.heard.borrow().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|l| *l == line).count()
    }

    fn wait(&self, part: &str) -> String {
        wait_for(&format!("{part:?} upward"), || self.lines().into_iter().find(|l| l.contains(part)))
    }

    fn position(&self, part: &str) -> usize {
        let lines = self.lines();
        lines.iter().position(|l| l.contains(part)).unwrap_or_else(|| panic!("{part:?} is not in {lines:?}"))
    }
}

/// A run that is heard at `above` in its folder.
fn heard(run: Run) -> (Run, Above) {
    let path = run.path("above");
    let above = Above::at(&path);
    (run.env("NOTIFY_SOCKET", path), above)
}

/// The watchdog is told that this very process is to show signs of life.
fn asked_for_beats(run: Run, usec: &str) -> Run {
    run.env("WATCHDOG_USEC", usec).under(["sh", "-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"])
}

fn ends_well(dog: Dog) -> Ended {
    dog.stop()
}

#[test]
fn ready_is_said_when_the_program_is_and_not_before() {
    for log in ["inherit", "capture"] {
        let run = Run::quick().flag("--ready", "reported").flag("--log", log);
        let steps = ["sleep:400", "n:READY=1|STATUS=serving 3 clients", "term", "exit:0"];
        let (run, above) = heard(run);
        let dog = run.talks(&steps).spawn();
        above.wait("STATUS=worker starting");
        assert_eq!(above.count("READY=1"), 0, "{:?}", above.lines());
        dog.wait_state("running");
        above.wait("READY=1");
        above.wait("STATUS=worker running: serving 3 clients");
        ends_well(dog).code(0);
        above.wait("STOPPING=1");
        assert!(above.position("READY=1") < above.position("STOPPING=1"));
        assert_eq!((above.count("READY=1"), above.count("STOPPING=1"), above.count("WATCHDOG=1")), (1, 1, 0));
    }
}

#[test]
fn an_abstract_socket_is_reached_as_well() {
    let run = Run::quick();
    let name = format!("wd-above-{}", run.mark());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let above = Above::over(UnixDatagram::bind_addr(&address).unwrap());
    let dog = run.env("NOTIFY_SOCKET", format!("@{name}")).program(["sleep", "1000"]).spawn();
    above.wait("READY=1");
    ends_well(dog).code(143);
    above.wait("STOPPING=1");
}

#[test]
fn many_services_are_ready_together_and_the_status_says_who_is_not() {
    let text = format!("[service.a]\n{SLEEPS}[service.b]\n{}", ready_by("go"));
    let (run, above) = heard(Run::quick_file(&text));
    let dog = run.spawn();
    above.wait("STATUS=1 of 2 services ready: b starting");
    assert_eq!(above.count("READY=1"), 0, "{:?}", above.lines());
    std::fs::write(dog.path("go"), "").unwrap();
    above.wait("READY=1");
    above.wait("STATUS=2 of 2 services ready");
    ends_well(dog).code(0);
    above.wait("STOPPING=1");
    let extended = above.wait("EXTEND_TIMEOUT_USEC=");
    let usec: u64 = extended.split_once('=').unwrap().1.parse().unwrap();
    assert!(usec > 2 * 500_000, "the grace of both, one after the other: {usec}");
}

/// Its look-alike stands in the same file: who has given up keeps nobody waiting, who will be tried again does.
#[test]
fn who_has_given_up_is_not_waited_for_and_who_is_tried_again_is() {
    let fails = "command = [\"sh\", \"-c\", \"test -e go && exit 78; exit 1\"]\nrestart_limit = 0\nfast_first_restart = false\n\
                 restart_delay_max = \"50ms\"\ncrash_loop_limit = 0\nready = \"reported\"\n";
    let (run, above) = heard(Run::quick_file(&format!("[service.a]\n{SLEEPS}[service.b]\n{fails}")));
    let dog = run.spawn();
    dog.event_for("b", "exit", 3);
    assert_eq!(above.count("READY=1"), 0, "b is tried again: {:?}", above.lines());
    std::fs::write(dog.path("go"), "").unwrap();
    above.wait("READY=1");
    above.wait("STATUS=1 of 2 services ready: b failed");
    ends_well(dog).code(0);
}

#[test]
fn where_everybody_has_failed_nobody_is_said_to_be_ready() {
    let (run, above) =
        heard(Run::quick_file("[service.a]\ncommand = [\"sh\", \"-c\", \"exit 78\"]\nready = \"reported\"\n"));
    let dog = run.spawn();
    dog.wait_service_state("a", "failed");
    above.wait("STATUS=a failed: ");
    ends_well(dog);
    above.wait("STOPPING=1");
    assert_eq!(above.count("READY=1"), 0, "{:?}", above.lines());
}

#[test]
fn the_reason_of_the_end_is_the_last_status() {
    let (run, above) = heard(Run::quick().flag("--restart-limit", "1").flag("--restart-delay", "10ms"));
    run.worker(["exit", "7"]).run().code(7);
    above.wait("STOPPING=1");
    let lines = above.lines();
    let last = lines.iter().rfind(|l| l.starts_with("STATUS=")).unwrap();
    assert!(last.starts_with("STATUS=worker failed: ") && last.contains("code 7"), "{lines:?}");
}

#[test]
fn signs_of_life_come_at_twice_the_pace_that_is_wanted() {
    let (run, above) = heard(Run::quick());
    let dog = asked_for_beats(run, "400000").program(["sleep", "1000"]).spawn();
    wait_for("signs of life", || (above.count("WATCHDOG=1") >= 10).then_some(()));
    // Half of 400 ms: fewer than that in all the time it has had, and one at once.
    let count = above.count("WATCHDOG=1") as u128;
    let most = dog.began.elapsed().as_millis() / 200 + 1;
    assert!(count <= most, "{count} of {most}");
    let pid = dog.pid();
    // They come from the loop itself: one that stands still gives none.
    dog.signal(Signal::SIGSTOP);
    wait_for("a stopped watchdog", || (procs::state(pid) == Some('T')).then_some(()));
    let before = above.count("WATCHDOG=1");
    stays("silent", Duration::from_secs(1), || above.count("WATCHDOG=1") == before);
    dog.signal(Signal::SIGCONT);
    wait_for("the next one", || (above.count("WATCHDOG=1") > before).then_some(()));
    ends_well(dog).code(143);
}

/// Its look-alike: the same wish for another process.
#[test]
fn signs_of_life_that_another_process_was_asked_for_are_not_given() {
    let (run, above) = heard(Run::quick());
    let run = run.env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let dog = run.program(["sleep", "1000"]).spawn();
    above.wait("READY=1");
    let pid = dog.pid();
    let quiet = || procs::status_field(pid, "voluntary_ctxt_switches");
    wait_for("a watchdog at rest", || {
        let before = quiet();
        std::thread::sleep(Duration::from_millis(200));
        (quiet() == before).then_some(())
    });
    let before = quiet();
    stays("at rest: nobody asked for anything", Duration::from_secs(1), || quiet() == before);
    assert_eq!(above.count("WATCHDOG=1"), 0);
    ends_well(dog).code(143);
}

#[test]
fn reading_the_file_again_is_said_with_its_time_and_its_end() {
    let (run, above) = heard(Run::quick_file(&format!("[service.a]\n{SLEEPS}")));
    let dog = run.spawn();
    above.wait("READY=1");
    assert_eq!(above.count("RELOADING=1"), 0);
    for (round, text) in [(1, format!("[service.a]\n{SLEEPS}nice = 1\n")), (2, "[service.a]\nnot toml".into())] {
        dog.run.write_file(&text);
        let before = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        dog.signal(Signal::SIGHUP);
        wait_for("the end of the reload", || (above.count("READY=1") == 1 + round).then_some(()));
        assert_eq!(above.count("RELOADING=1"), round);
        let lines = above.lines();
        let at = lines.iter().rposition(|l| l == "RELOADING=1").unwrap();
        let usec: u64 = lines[at + 1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(u128::from(usec) >= Duration::from(before).as_micros(), "{usec} is before the signal");
        assert!(lines[at..].contains(&"READY=1".to_string()), "{lines:?}");
    }
    ends_well(dog);
}

#[test]
fn a_listener_that_does_not_read_holds_nobody_up_and_hears_it_later() {
    let (run, above) = heard(Run::quick());
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"STATUS=of somebody else", run.path("above")).is_ok() {}
    let log = run.at("log");
    let dog = run.worker(["flaky", &log, "2", "--then-sleep"]).spawn();
    dog.event("spawn", 3);
    dog.wait_state("running");
    above.wait("READY=1");
    above.wait("STATUS=worker running");
    ends_well(dog);
}

#[test]
fn a_listener_that_is_not_there_changes_nothing() {
    for address in ["/nowhere/at/all", "@wd-nobody-listens", "vsock:2:1234", "relative"] {
        let ended = asked_for_beats(Run::once(), "50000").env("NOTIFY_SOCKET", address).worker(["exit", "9"]).run();
        let ended = ended.code(9);
        let told = ended.err.contains("NOTIFY_SOCKET");
        assert_eq!(told, !address.starts_with(['/', '@']), "{address}: only what is no address: {}", ended.err);
    }
}

/// Two watchdogs: the upper one takes the lower one for a service that speaks, as it would any other.
#[test]
fn a_watchdog_under_a_watchdog_is_ready_with_its_program_and_beats() {
    let run = Run::beating().flag("--ready", "reported").flag("--heartbeat-timeout", "2s");
    let (go, inner) = (run.at("go"), run.at("inner"));
    let script = format!("while [ ! -e {go} ]; do sleep 0.02; done; echo up now; exec sleep 1000");
    let lower = [watchdog(), "--control", &inner, "--log", "tee", "--ready", "line:up now", "--", "sh", "-c", &script];
    let dog = run.program(lower).spawn();
    wait_for("the status of the lower one", || {
        dog.status()["status_text"].as_str().is_some_and(|t| t.contains("sh starting")).then_some(())
    });
    assert_eq!(dog.status()["ready"], false);
    std::fs::write(&go, "").unwrap();
    let armed = dog.armed();
    assert_eq!(armed["dialect"], "notify");
    let status = wait_for("ready", || Some(dog.status()).filter(|s| s["ready"] == true));
    assert_eq!(status["ready_by"], "notify");
    // Longer than the upper one's patience: the signs of life keep it alive.
    stays("not restarted", Duration::from_millis(1500), || dog.events_of("spawn").len() == 1);
    dog.stop().count("hang", 0);
}
