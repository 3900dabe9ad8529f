//! A tokio service with its worker in the reactor: it says again what its clients say.
//!
//! ```text
//! tokio [PORT]     serve 127.0.0.1:PORT, default a free one
//! ```
//!
//! The channel is one more descriptor that tokio waits for: the runtime answers pings when it comes round, and a runtime
//! that is blocked answers none. A shutdown turns new clients away, lets the others finish their line, and drops what is left
//! when the time is up. One thread is enough for that; with more of them nothing changes here.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval};
use worker_sdk::{Connection, DrainPhase, WatchdogGone, Worker};

/// How often a drain looks which phase it is in.
const TURN: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    // Before the runtime, because a thread of its own would keep the variable in the environment.
    let worker = Worker::from_env()?;
    worker.report_panics();
    worker.when_watchdog_is_gone(WatchdogGone::Stop(Duration::from_secs(10)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, serve(&worker))?;
    worker.stopping();
    println!("tokio: all clients gone");
    Ok(())
}

async fn serve(worker: &Worker) -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("tokio: listening on {}", listener.local_addr()?);
    let connections = worker.connections();
    let channel = into_reactor(worker)?;
    let ending = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ending);
    worker.on_shutdown(move |_| end.store(true, Ordering::Relaxed));
    let mut turn = interval(TURN);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    worker.ready();
    worker.beat();
    loop {
        tokio::select! {
            // The end of a channel is readable for ever.
            readable = channel.readable(), if worker.ended().is_none() => {
                readable?;
                beat(worker, &channel);
            }
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                // While a drain is on they are hung up on; a server of HTTP would say 503.
                if let Ok(connection) = connections.add("line", &peer.to_string()) {
                    tokio::task::spawn_local(talk(stream, connection));
                }
            }
            // Not `should_stop`, which would read a ping that only the next beat answers.
            _ = turn.tick(), if ending.load(Ordering::Relaxed) => {
                if connections.turn() == DrainPhase::Drained {
                    return Ok(());
                }
            }
        }
    }
}

/// The channel once more, to wait for only: what is said on it is read by the worker. (`AsyncFd` takes a worker as well, but
/// those of its constructors that are not unsafe are deprecated.)
fn into_reactor(worker: &Worker) -> io::Result<UnixStream> {
    UnixStream::from_std(worker.as_fd().try_clone_to_owned()?.into())
}

fn beat(worker: &Worker, channel: &UnixStream) {
    // A beat reads all there is: tokio is told so, and waits for more.
    let emptied = || -> io::Result<()> {
        worker.beat();
        Err(io::ErrorKind::WouldBlock.into())
    };
    let _ = channel.try_io(Interest::READABLE, emptied);
}

/// Lines of one client until it goes, or until its time is up. Its place in the table ends with it.
async fn talk(stream: TcpStream, connection: Connection) {
    let force = Arc::new(Notify::new());
    let notify = Arc::clone(&force);
    connection.on_force(move || notify.notify_one());
    tokio::select! {
        // What one client does wrong is no reason to end.
        _ = say_again(stream, &connection) => {}
        () = force.notified() => {}
    }
}

async fn say_again(mut stream: TcpStream, connection: &Connection) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        connection.touch();
        writer.write_all(format!("{line}\n").as_bytes()).await?;
        if connection.phase() != DrainPhase::Accepting {
            break;
        }
    }
    Ok(())
}
