//! Listeners of whoever started us (LISTEN_FDS, sd_listen_fds(3)): they outlive the program that serves them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{PATIENCE, Run, wait_for};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

/// What systemd does: descriptors from 3 on, and the pid of what is started now. A shell knows it before it is that.
const ACTIVATE: &str =
    "exec 3<&0 4</dev/null </dev/null; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:other exec \"$@\"";

fn activated(run: Run) -> (Run, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (run.under(["sh", "-c", ACTIVATE, "sh"]).stdin(OwnedFd::from(listener).into()), address)
}

/// What a client is answered; it waits as long as any client would.
fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn no_connection_is_lost_while_the_program_crashes_and_comes_back() {
    let run = Run::quick().flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let (run, address) = activated(run.flag("--restart-delay-factor", "1"));
    let dog = run.worker(["activated", "5"]).spawn();
    // Many at once, so that some of them come while nobody is there to accept.
    let clients: Vec<_> = (0..20).map(|_| std::thread::spawn(move || ask(address))).collect();
    let answers: Vec<String> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let pids: BTreeSet<i32> = answers
        .iter()
        .map(|answer| {
            let (pid, names) = answer.trim().split_once(' ').unwrap_or_else(|| panic!("an answer: {answer:?}"));
            assert_eq!(names, "web:other");
            pid.parse().unwrap()
        })
        .collect();
    assert!(pids.len() >= 4, "five answers each: {pids:?}");
    dog.event("exit", 4);
    wait_for("all of them in the events", || {
        let spawned: BTreeSet<i32> = dog.events_of("spawn").iter().map(|e| e["pid"].as_i64().unwrap() as i32).collect();
        pids.is_subset(&spawned).then_some(())
    });
    dog.stop();
}

/// Its look-alike: the same variables, meant for another process.
#[test]
fn listeners_of_another_process_are_none() {
    let run = Run::once().env("LISTEN_PID", "1").env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "web:other");
    let ended = run.program(["sh", "-c", "echo \"${LISTEN_PID-}${LISTEN_FDS-}${LISTEN_FDNAMES-}.\""]).run().code(0);
    assert_eq!(ended.out, ".\n");
}

/// Of many services none is more meant than another: said, and no service is told of descriptors that it has not.
#[test]
fn services_of_a_file_get_no_listeners_and_that_is_said() {
    let shows = "command = [\"sh\", \"-c\", \"env | grep -c ^LISTEN >> shown; exec sleep 1000\"]\n";
    let (run, _) = activated(Run::quick_file(&format!("[service.a]\n{shows}")));
    let dog = run.spawn();
    let shown = common::wait_lines(&dog.path("shown"), 1);
    assert_eq!(shown, ["0"]);
    dog.wait_err("LISTEN_FDS=2: listeners of whoever started the watchdog go to no service of a file");
    dog.stop();
}
