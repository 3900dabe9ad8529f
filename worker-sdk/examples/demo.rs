//! A server small enough to read, to be supervised: see `scripts/demo`. And its own client, so that nothing else is
//! needed to speak to it.
//!
//! ```text
//! demo free                  print a port that is free now
//! demo serve PORT            serve 127.0.0.1:PORT: / says who answers, /crash aborts
//! demo get PORT PATH         print what the server says; tries for five seconds to reach it
//! ```

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// A client that sends nothing holds up the next one for so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tries of `get`, and the pause between two of them: five seconds in all.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);
/// Longest request that is looked at.
const REQUEST: u64 = 8 * 1024;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["free"] => free(),
        ["serve", port] => number(port).and_then(serve),
        ["get", port, path] => number(port).and_then(|port| get(port, path)),
        _ => {
            eprintln!("usage: demo free | demo serve PORT | demo get PORT PATH");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("demo: {e}");
            ExitCode::FAILURE
        }
    }
}

fn number(port: &str) -> io::Result<u16> {
    port.parse().map_err(|_| io::Error::other(format!("{port:?} is no port")))
}

fn free() -> io::Result<()> {
    println!("{}", TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port());
    Ok(())
}

/// One connection after the other, in one thread.
fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("demo: {} answers on port {port}", who());
    for connection in listener.incoming() {
        // What one client does wrong is no reason to end.
        if let Err(e) = connection.and_then(|stream| answer(&stream)) {
            eprintln!("demo: {e}");
        }
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.take(REQUEST));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some("/") => ("200 OK", who()),
        Some("/crash") => {
            eprintln!("demo: asked to crash");
            std::process::abort();
        }
        _ => ("404 Not Found", "nothing here: try / or /crash".to_string()),
    };
    let length = body.len() + 1;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}\n")
}

/// What answers, as far as a worker can know.
fn who() -> String {
    let pid = std::process::id();
    match std::env::var("WATCHDOG_SERVICE") {
        Ok(service) => format!("{service}, pid {pid}"),
        Err(_) => format!("pid {pid}, without a watchdog"),
    }
}

fn get(port: u16, path: &str) -> io::Result<()> {
    let mut stream = reach(port)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("the server hung up"))?;
    print!("{body}");
    if head.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other(head.lines().next().unwrap_or("?"))) }
}

#[expect(clippy::disallowed_methods, reason = "a client of the demo has nothing else to do meanwhile")]
fn reach(port: u16) -> io::Result<TcpStream> {
    let mut tries = 1;
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Err(e) if tries == TRIES => return Err(e),
            Err(_) => std::thread::sleep(PAUSE),
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
        }
        tries += 1;
    }
}
