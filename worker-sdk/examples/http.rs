//! A threaded HTTP server that parts from its clients in order.
//!
//! ```text
//! http [PORT]     serve 127.0.0.1:PORT, default a free one; /slow takes two seconds, /fail answers 500
//! ```
//!
//! The listener is taken from `LISTEN_FDS` if there is one called `http`. A shutdown turns new connections away with 503
//! and `Retry-After: 60`, answers those that are open with `Connection: close`, waits, and shuts down what is left.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use worker_sdk::{
    Connection, ConnectionTracker, DrainPhase, Lane, Listeners, Refused, RequestRecorder, WatchdogGone, Worker,
};

/// Pause of the accepting loop when nobody comes: how late a ping is answered at most.
const PAUSE: Duration = Duration::from_millis(20);
/// The accepting loop goes round at least so often.
const ROUND: Duration = Duration::from_secs(5);
/// A client that sends nothing is left alone for so long before its thread looks whether the server is ending.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest request that is looked at.
const REQUEST: u64 = 8 * 1024;

fn main() -> io::Result<()> {
    let worker = Worker::from_env()?;
    worker.report_panics();
    worker.when_watchdog_is_gone(WatchdogGone::Stop(Duration::from_secs(10)));
    let listener = match Listeners::from_env().tcp("http") {
        Some(listener) => listener,
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, port()))?,
    };
    listener.set_nonblocking(true)?;
    println!("http: listening on {}", listener.local_addr()?);
    let lane = worker.lane("accept", ROUND);
    worker.ready();
    serve(&worker, &listener, &lane);
    worker.stopping();
    println!("http: {} requests, all clients gone", worker.requests().totals().count);
    Ok(())
}

fn port() -> u16 {
    std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0)
}

fn serve(worker: &Worker, listener: &TcpListener, lane: &Lane) {
    let (connections, requests) = (worker.connections(), worker.requests());
    loop {
        worker.beat();
        lane.beat();
        // Asking whether to stop is what begins the drain; the table says when it is over.
        if worker.should_stop() && connections.turn() == DrainPhase::Drained {
            return;
        }
        match listener.accept() {
            Ok((stream, peer)) => welcome(&connections, &requests, stream, &peer.to_string()),
            Err(_) => thread::park_timeout(PAUSE),
        }
    }
}

/// A thread for each connection, or 503.
fn welcome(connections: &ConnectionTracker, requests: &RequestRecorder, stream: TcpStream, peer: &str) {
    let added = connections.add("http", peer);
    let requests = requests.clone();
    let started = thread::Builder::new().spawn(move || match added {
        // What one client does wrong is no reason to end.
        Ok(connection) => drop(talk(&stream, &connection, &requests)),
        Err(refused) => drop(turn_away(&stream, refused)),
    });
    if let Err(e) = started {
        eprintln!("http: no thread for a client: {e}");
    }
}

/// Reads before it answers: closing a socket with something unread resets it, and the answer would be lost.
fn turn_away(mut stream: &TcpStream, refused: Refused) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    read_request(&mut BufReader::new(stream))?;
    let after = refused.retry_after.as_secs();
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close";
    write!(stream, "{head}\r\nRetry-After: {after}\r\n\r\n")
}

/// Requests of one client until it goes, or until the server ends.
fn talk(mut stream: &TcpStream, connection: &Connection, requests: &RequestRecorder) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let end = stream.try_clone()?;
    connection.on_force(move || drop(end.shutdown(Shutdown::Both)));
    let mut reader = BufReader::new(stream);
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                // Nothing to do for this client: the moment to part from it.
                if connection.phase() >= DrainPhase::Waiting {
                    return Ok(());
                }
                continue;
            }
            Err(e) => return Err(e),
        }
        let path = read_request(&mut reader)?;
        connection.touch();
        let request = requests.start();
        let (status, body) = answer(&path);
        let closing = connection.phase() != DrainPhase::Accepting;
        let keep = if closing { "close" } else { "keep-alive" };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: {keep}\r\n\r\n{body}")?;
        request.finish(status[..3].parse().unwrap_or(500));
        if closing {
            return Ok(());
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<String> {
    let mut reader = reader.take(REQUEST);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    Ok(request.split(' ').nth(1).unwrap_or("/").to_string())
}

fn answer(path: &str) -> (&'static str, &'static str) {
    match path {
        "/" => ("200 OK", "hello\n"),
        "/slow" => {
            thread::park_timeout(Duration::from_secs(2));
            ("200 OK", "done\n")
        }
        "/fail" => ("500 Internal Server Error", "asked to fail\n"),
        _ => ("404 Not Found", "nothing here\n"),
    }
}
