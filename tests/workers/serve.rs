//! Servers of every kind of manners, for probes, and holders of ports. Each writes its port down once it listens.

use crate::sys::{self, mono_ns, wait_signal};
use crate::{Args, note};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

fn for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn ms(args: &Args, at: usize) -> Duration {
    Duration::from_millis(args.word(at).parse().unwrap())
}

/// A socket that listens at --port (any), its number in FILE beside the time.
fn listen(args: &Args) -> TcpListener {
    let host = if args.has("v6") { "::1" } else { "127.0.0.1" };
    let listener = TcpListener::bind((host, args.number("port", 0) as u16)).unwrap();
    note(args.word(0), &listener.local_addr().unwrap().port().to_string());
    listener
}

/// `http-server FILE BEHAVIOUR [--port N] [--v6] [--hits FILE] [--once FILE]`: `answers 200,500,..` (the last repeats; with
/// --once only in the first life, then 200), `ok`, `late MS` (listens later), `slow MS`, `hang`, `drip MS` (a byte each),
/// `huge`, `headers` (without end), `garbage`, `close`, `redirect URL`. One line a request in --hits.
pub(crate) fn http(args: &Args) -> i32 {
    if args.word(1) == "late" {
        std::thread::sleep(ms(args, 2));
    }
    let again = args.text("once").is_some_and(|file| {
        let before = std::path::Path::new(file).exists();
        note(file, "lived");
        before
    });
    let listener = listen(args);
    let statuses: Vec<&str> = match args.word(1) {
        "answers" if !again => args.word(2).split(',').collect(),
        _ => vec!["200"],
    };
    std::thread::scope(|scope| {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            let status = statuses.get(n).or(statuses.last()).unwrap();
            scope.spawn(move || {
                let asked = request(&stream);
                if let Some(hits) = args.text("hits") {
                    note(hits, &format!("{asked} {}", mono_ns()));
                }
                answer(args, status, stream);
            });
        }
    });
    0
}

/// The first line of a request; the rest is read so that a close is no reset.
fn request(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty());
    let first = lines.next().unwrap_or_default();
    lines.count();
    first
}

fn answer(args: &Args, status: &str, mut stream: TcpStream) {
    let whole = |body: &str| {
        format!("HTTP/1.1 {status} As Asked\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    match args.word(1) {
        "hang" => std::mem::forget(stream),
        "slow" => {
            std::thread::sleep(ms(args, 2));
            let _ = stream.write_all(whole("slow").as_bytes());
        }
        "drip" => {
            for byte in whole("drop by drop").bytes() {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(ms(args, 2));
            }
        }
        "huge" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b'x'; 65536]).is_ok() {}
        }
        "headers" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream.write_all(b"X-More: and more\r\n").is_ok() {}
        }
        "garbage" => drop(stream.write_all(b"\x00\xff\x1b[31m not HTTP at all\r\n\r\n")),
        "close" => drop(stream),
        "redirect" => {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", args.word(2));
            let _ = stream.write_all(head.as_bytes());
        }
        _ => drop(stream.write_all(whole("all is well").as_bytes())),
    }
}

/// `tcp-server FILE BEHAVIOUR [--port N] [--v6] [--hits FILE]`: `ok`, `late MS`, `never`, `noaccept`, `slam` (closes at once), `unix PATH`.
pub(crate) fn tcp(args: &Args) -> i32 {
    match args.word(1) {
        "never" => for_ever(),
        "late" => std::thread::sleep(ms(args, 2)),
        "unix" => {
            let _listener = std::os::unix::net::UnixListener::bind(args.word(2)).unwrap();
            for_ever();
        }
        _ => {}
    }
    let listener = listen(args);
    if args.word(1) == "noaccept" {
        for_ever();
    }
    for stream in listener.incoming().flatten() {
        if let Some(hits) = args.text("hits") {
            note(hits, &format!("connection {}", mono_ns()));
        }
        if args.word(1) == "slam" {
            drop(stream);
        } else {
            std::thread::spawn(move || request(&stream));
        }
    }
    0
}

/// `activated ANSWERS`: takes the first descriptor of LISTEN_FDS, answers each connection with its pid and the names, and
/// crashes after so many answers.
pub(crate) fn activated(args: &Args) -> i32 {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    assert_eq!(variable("LISTEN_PID"), sys::pid().to_string(), "meant for this very process");
    assert_eq!(variable("LISTEN_FDS"), "2");
    // SAFETY: what the protocol says is there, and nobody else here has it.
    let listener: TcpListener = unsafe { std::os::fd::FromRawFd::from_raw_fd(3) };
    let answers: usize = args.word(0).parse().unwrap();
    for stream in listener.incoming().take(answers) {
        let _ = writeln!(stream.unwrap(), "{} {}", sys::pid(), variable("LISTEN_FDNAMES"));
    }
    3
}

/// `hold FILE [--port N] [--v6] [--udp] [--user UID] [--children N] [--log FILE] [--ignore-term] [--closes]`: holds a port until TERM
/// (noted in --log): as another user, with children that have the same socket, deaf to TERM, or only closing it then.
pub(crate) fn hold(args: &Args) -> i32 {
    sys::block(&[libc::SIGTERM]);
    let (mut held, udp) = match args.has("udp") {
        true => (None, Some(UdpSocket::bind(("127.0.0.1", args.number("port", 0) as u16)).unwrap())),
        false => (Some(listen(args)), None),
    };
    if let Some(socket) = &udp {
        note(args.word(0), &socket.local_addr().unwrap().port().to_string());
    }
    if args.has("user") {
        let user = args.number("user", 0) as u32;
        sys::become_user(user, user);
    }
    for _ in 0..args.number("children", 0) {
        sys::fork(|| {
            wait_signal(&[libc::SIGTERM], None);
            0
        });
    }
    loop {
        if wait_signal(&[libc::SIGTERM], None).is_none() {
            continue;
        }
        if let Some(log) = args.text("log") {
            note(log, &format!("TERM {}", sys::pid()));
        }
        if args.has("closes") {
            held = None;
        } else if !args.has("ignore-term") {
            drop((held, udp));
            return 0;
        }
    }
}
