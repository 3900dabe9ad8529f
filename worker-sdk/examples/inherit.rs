//! Small programs of the tests: what a program started by a worker sees of the worker's channel (nothing), and ends of
//! several kinds.
//!
//! ```text
//! inherit           start itself as `inherit child`
//! inherit child     print the variable and the number of sockets
//! inherit panic     panic, with the watchdog told
//! inherit abort     abort, supervised
//! inherit hang      hang in `hung_in_here`, with no lane
//! inherit mute      the same, after more news than a watchdog that does not read can take
//! inherit listen    print the names of the listeners handed over, and whether `web` accepts
//! ```

use std::env;
use std::fs;
use std::io;
use std::process::Command;
use worker_sdk::{Listeners, Worker};

fn main() -> io::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("child") => seen(),
        Some("listen") => listen(),
        Some("panic") => {
            let worker = Worker::from_env()?;
            worker.report_panics();
            panic!("asked to panic")
        }
        Some("abort") => {
            let _worker = Worker::from_env()?;
            std::process::abort()
        }
        Some("hang") => hang(&Worker::from_env()?),
        Some("mute") => {
            let worker = Worker::from_env()?;
            while worker.dropped() == 0 {
                worker.status(&"x".repeat(4000));
            }
            hang(&worker)
        }
        _ => start(),
    }
}

fn hang(worker: &Worker) -> io::Result<()> {
    worker.ready();
    hung_in_here();
    Ok(())
}

#[inline(never)]
fn hung_in_here() {
    println!("hung");
    loop {
        std::thread::park();
    }
}

#[expect(clippy::disallowed_methods, reason = "the point of it is to start something")]
fn start() -> io::Result<()> {
    let worker = Worker::from_env()?;
    Command::new(env::current_exe()?).arg("child").status()?;
    drop(worker);
    Ok(())
}

fn listen() -> io::Result<()> {
    let mut listeners = Listeners::from_env();
    println!("names: {}", listeners.names().collect::<Vec<_>>().join(" "));
    let (unix, tcp) = (listeners.unix("web"), listeners.tcp("web"));
    println!("unix: {}, tcp: {}, again: {}", unix.is_some(), tcp.is_some(), listeners.tcp("web").is_some());
    println!("variable: {}", env::var("LISTEN_FDS").as_deref().unwrap_or("none"));
    let (mut client, _) = tcp.ok_or(io::ErrorKind::NotFound)?.accept()?;
    io::Write::write_all(&mut client, b"welcome")
}

fn seen() -> io::Result<()> {
    println!("variable: {}", env::var("WATCHDOG_CHANNEL").as_deref().unwrap_or("none"));
    let links = fs::read_dir("/proc/self/fd")?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let inherited = links.filter(|link| link.to_string_lossy().starts_with("socket:"));
    println!("sockets: {}", inherited.count());
    Ok(())
}
