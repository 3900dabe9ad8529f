//! Errands over loopback, against servers that behave in every way they should not.

#![allow(clippy::disallowed_methods, reason = "the servers are threads, and slow")]

use super::*;
use crate::spec::HttpCheck;
use mio::{Events, Poll};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Drives one errand to its end; `None`: it is still waiting after a while, as the loop would find it at its deadline.
fn drive(check: &Check, patience: Duration) -> Option<Seen> {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(8);
    let token = Token(7);
    let mut errand = match Errand::begin(check, poll.registry(), token) {
        Ok(errand) => errand,
        Err(seen) => return Some(seen),
    };
    loop {
        poll.poll(&mut events, Some(patience)).unwrap();
        if events.is_empty() {
            errand.end(poll.registry());
            return None;
        }
        if let Some(seen) = errand.go_on(poll.registry(), token) {
            errand.end(poll.registry());
            return Some(seen);
        }
    }
}

fn answered(check: &Check) -> Seen {
    drive(check, Duration::from_secs(10)).expect("an answer")
}

fn http(address: SocketAddr, body: Option<&str>) -> Check {
    Check::Http(HttpCheck {
        addresses: vec![address],
        host: address.to_string(),
        path: "/health".into(),
        method: "GET".into(),
        headers: vec![("X-Key".into(), "secret\r\nX-Other: 1".into())],
        status: vec![(200, 399)],
        body: body.map(Into::into),
    })
}

/// A server that answers one connection with what `deed` does to it.
fn server(deed: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        deed(stream);
    });
    address
}

/// One that reads the request, sends these pieces one by one, and closes.
fn sends(pieces: Vec<Vec<u8>>) -> SocketAddr {
    server(move |mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut request = [0; 4096];
        let n = stream.read(&mut request).unwrap();
        assert!(request[..n].starts_with(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:"));
        assert!(!String::from_utf8_lossy(&request[..n]).contains("\r\nX-Other"), "a header in a header");
        for piece in pieces {
            if stream.write_all(&piece).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    })
}

fn text(pieces: &[&str]) -> SocketAddr {
    sends(pieces.iter().map(|p| p.as_bytes().to_vec()).collect())
}

#[test]
fn a_port_that_takes_connections_is_a_success_whatever_it_does_with_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = answered(&Check::Tcp(vec![address]));
    assert_eq!(seen, Seen::success(format!("{address} takes connections")));
    drop(listener);
    let seen = answered(&Check::Tcp(vec![address]));
    assert_eq!(seen, Seen::failure(format!("{address}: connection refused")));
}

#[test]
fn the_second_address_is_tried_when_the_first_refuses() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let there = listener.local_addr().unwrap();
    assert_eq!(answered(&Check::Tcp(vec![gone, there])), Seen::success(format!("{there} takes connections")));
    let refused = Seen::failure(format!("{gone}: connection refused"));
    // On a machine without IPv6 the second one cannot even be asked, and that is not what is wrong.
    let nowhere: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for second in [nowhere, other] {
        if let Some(seen) = drive(&Check::Tcp(vec![gone, second]), Duration::from_millis(300)) {
            assert_eq!(seen, refused);
        }
    }
    let none = answered(&Check::Tcp(Vec::new()));
    assert_eq!(none.outcome, Outcome::Error);
}

/// PRO-05: nobody accepts and the queue is full
#[test]
fn a_full_queue_is_a_failure_or_keeps_it_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = mio::net::UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let check = Check::Unix(path.clone());
    let seen = (0..10).map(|_| Errand::begin(&check, Poll::new().unwrap().registry(), Token(1))).collect::<Vec<_>>();
    let last = seen.into_iter().find_map(Result::err).expect("its queue is full at last");
    assert_eq!(last, Seen::failure(format!("{}: its queue is full", path.display())));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let check = Check::Tcp(vec![address]);
    let _full: Vec<_> = (0..3).map(|_| mio::net::TcpStream::connect(address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(drive(&check, Duration::from_millis(200)), None);
    let poll = Poll::new().unwrap();
    let errand = Errand::begin(&check, poll.registry(), Token(1)).unwrap();
    assert_eq!(errand.how_far(), format!("{address}: no connection"));
}

/// A path in bytes that are no text is taken as it is.
#[test]
fn a_path_is_bytes() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(std::ffi::OsString::from_vec(b"so\xffck".to_vec()));
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(answered(&Check::Unix(path)).outcome, Outcome::Success);
    let long = Check::Unix(dir.path().join("x".repeat(200)));
    assert_eq!(answered(&long).outcome, Outcome::Error);
}

#[test]
fn a_path_that_takes_connections_and_one_that_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    assert_eq!(answered(&Check::Unix(path.clone())), Seen::failure(format!("{}: no such socket", path.display())));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(answered(&Check::Unix(path.clone())).outcome, Outcome::Success);
    drop(listener);
    assert_eq!(answered(&Check::Unix(path.clone())), Seen::failure(format!("{}: connection refused", path.display())));
}

#[test]
fn the_status_line_decides() {
    let ok = text(&["HTTP/1.1 200 OK\r\n", "Content-Length: 1000000\r\n\r\n"]);
    assert_eq!(answered(&http(ok, None)), Seen::success("GET /health: 200 OK"));
    let moved = text(&["HTTP/1.1 302 Found\r\nLocation: http://example.invalid/\r\n\r\n"]);
    assert_eq!(answered(&http(moved, None)), Seen::success("GET /health: 302 Found"));
    // What comes behind the line, or never does, is not waited for.
    let drips = server(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ").unwrap();
        std::thread::sleep(Duration::from_secs(2));
    });
    assert_eq!(answered(&http(drips, None)), Seen::success("GET /health: 200 OK"));
    let bad = text(&["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Service Unavailable\r\n\r\n"]);
    assert_eq!(answered(&http(bad, None)), Seen::failure("GET /health: 503 Service Unavailable"));
}

#[test]
fn a_text_is_found_in_a_body_however_it_comes() {
    let plain = text(&["HTTP/1.1 200 OK\r\n\r\nall is ", "we", "ll"]);
    assert_eq!(answered(&http(plain, Some("is well"))).outcome, Outcome::Success);
    let chunked = text(&[
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nall i",
        "\r\n4\r\ns we\r\n2\r\nll\r\n0\r\n\r\n",
    ]);
    assert_eq!(answered(&http(chunked, Some("is well"))).outcome, Outcome::Success);
    let other = text(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad, but well"]);
    let seen = answered(&http(other, Some("well")));
    assert_eq!(seen, Seen::failure("GET /health: 200 OK, the body does not hold \"well\""));
}

#[test]
fn garbage_early_ends_and_endless_answers_are_failures_with_a_message() {
    let cases: [(Vec<Vec<u8>>, &str); 5] = [
        (vec![b"\x00\xff\xfe garbage\r\n\r\n".to_vec()], "the answer is no HTTP"),
        (vec![], "closed without an answer"),
        (vec![b"HTTP/1.1 200 OK\r\nX: ".to_vec()], "closed within the head"),
        (vec![b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 40_000]], "longer than 16 KiB"),
        (vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1_000_000]], "64 KiB of body do not hold"),
    ];
    for (pieces, said) in cases {
        let seen = answered(&http(sends(pieces), Some("needle")));
        assert!(seen.outcome == Outcome::Failure && seen.message.contains(said), "{said}: {seen:?}");
    }
    // PRO-11: a head without an end, and a server that answers without having listened.
    let headers = sends(vec![b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(100_000)]);
    assert_eq!(answered(&http(headers, None)).outcome, Outcome::Success);
    let rude = server(|mut stream| {
        stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert_eq!(answered(&http(rude, None)).message, "GET /health: 503 Busy");
    let chunks = text(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n"]);
    assert!(answered(&http(chunks, Some("x"))).message.contains("a chunk without a size"));
}

#[test]
fn a_mute_server_keeps_it_waiting_and_nothing_else() {
    let mute = server(|stream| {
        std::thread::sleep(Duration::from_millis(400));
        drop(stream);
    });
    assert_eq!(drive(&http(mute, None), Duration::from_millis(100)), None);
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(answered(&http(refused, None)), Seen::failure(format!("GET /health: {refused}: connection refused")));
}

#[test]
fn messages_are_short_and_of_one_line() {
    assert_eq!(shown(" a\nb\u{1b}[31m "), "a b [31m");
    assert_eq!(shown(&"x".repeat(1000)).len(), MESSAGE);
}

#[test]
fn a_thousand_tries_leave_no_descriptor_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..1000 {
            drop(listener.accept().unwrap());
        }
    });
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests of this process open some too.
    let before = open();
    for _ in 0..1000 {
        assert_eq!(answered(&Check::Tcp(vec![address])).outcome, Outcome::Success);
    }
    server.join().unwrap();
    assert!(open() < before + 200, "{} descriptors more", open() - before);
}

#[test]
fn a_connection_that_meets_itself_is_nobody_who_listens() {
    // The kernel gives its ports to those who connect, each in its turn.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let (low, high) = range.trim().split_once('\t').unwrap();
    let (low, high): (u16, u16) = (low.parse().unwrap(), high.parse().unwrap());
    let tries = u32::from(high - low);
    let itself = |port: u16| {
        let met = (0..tries).find_map(|_| TcpStream::connect(("127.0.0.1", port)).ok());
        met.is_some_and(|stream| stream.local_addr().unwrap() == stream.peer_addr().unwrap())
    };
    // Some kernels give only every second one.
    let Some(port) = [high - 100, high - 101].into_iter().find(|port| itself(*port)) else { return };
    let check = Check::Tcp(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
    for _ in 0..tries {
        assert_eq!(answered(&check).outcome, Outcome::Failure);
    }
}
