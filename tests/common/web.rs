//! The pages over HTTP from both sides of politeness: a client that reads whole answers, and raw connections.

use super::{Dog, PATIENCE, Run, wait_for};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("not JSON: {e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.head
            .lines()
            .filter_map(|l| l.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.into())
    }
}

/// A connection that may say anything.
pub struct Web {
    pub stream: TcpStream,
    pending: Vec<u8>,
}

/// A request for a path, as a polite client writes it.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

impl Web {
    pub fn connect(at: &str) -> Web {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Web { stream, pending: Vec::new() }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// More bytes; false at the end of the connection.
    fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(n) => {
                    self.pending.extend_from_slice(&piece[..n]);
                    return true;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return false,
                Err(e) => panic!("no answer: {e}"),
            }
        }
    }

    /// The next answer; `None`: the connection is at its end. `bodiless`: to HEAD.
    pub fn answer_to(&mut self, bodiless: bool) -> Option<Answer> {
        let end = loop {
            match self.pending.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if !self.more() => {
                    assert!(self.pending.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&self.pending));
                    return None;
                }
                None => {}
            }
        };
        let head = String::from_utf8(self.pending.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        let length: usize = match answer.header("Content-Length") {
            Some(length) => length.parse().unwrap(),
            None => {
                assert_eq!(answer.header("Transfer-Encoding").as_deref(), Some("chunked"), "{}", answer.head);
                let body = if bodiless { Vec::new() } else { self.pieces() };
                return Some(Answer { body: String::from_utf8(body).unwrap(), ..answer });
            }
        };
        if !bodiless {
            while self.pending.len() < length {
                assert!(self.more(), "the body ended after {} of {length} bytes", self.pending.len());
            }
            answer.body = String::from_utf8(self.pending.drain(..length).collect()).unwrap();
        }
        Some(answer)
    }

    /// A body in pieces, each with its length in front.
    fn pieces(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match self.pending.windows(2).position(|w| w == b"\r\n") {
                    Some(at) => break at,
                    None => assert!(self.more(), "the body ended after {} bytes", body.len()),
                }
            };
            let length = usize::from_str_radix(std::str::from_utf8(&self.pending[..end]).unwrap(), 16).unwrap();
            while self.pending.len() < end + 2 + length + 2 {
                assert!(self.more(), "the body ended after {} bytes", body.len());
            }
            let piece: Vec<u8> = self.pending.drain(..end + 2 + length + 2).skip(end + 2).collect();
            let (bytes, line_end) = piece.split_at(length);
            assert_eq!(line_end, b"\r\n");
            body.extend_from_slice(bytes);
            if length == 0 {
                return body;
            }
        }
    }

    pub fn answer(&mut self) -> Option<Answer> {
        self.answer_to(false)
    }

    /// Whether the other side closes the connection before `limit`, having said nothing more.
    pub fn closes(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut byte = [0; 1];
        let closed = match self.stream.read(&mut byte) {
            Ok(n) => n == 0,
            Err(e) => e.kind() == ErrorKind::ConnectionReset,
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        closed && self.pending.is_empty()
    }
}

impl Run {
    /// With the pages at a port that the kernel chooses.
    pub fn with_http(self) -> Run {
        self.flag("--http", "127.0.0.1:0")
    }
}

impl Dog {
    /// Where its pages are.
    pub fn http(&self) -> String {
        let answer = self.control().call("status", json!({}));
        answer["result"]["instance"]["http"].as_str().unwrap_or_else(|| panic!("no http: {answer}")).to_owned()
    }

    /// One page over a connection of its own.
    pub fn page(&self, path: &str) -> Answer {
        page(&self.http(), path)
    }

    /// Waits until a page is as wanted.
    pub fn wait_page(&self, path: &str, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let at = self.http();
        wait_for(&format!("{path}: {what}"), || Some(page(&at, path)).filter(|a| wanted(a)))
    }

    /// Waits until the metrics have this sample, up to its value.
    pub fn wait_metric(&self, sample: &str, what: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let at = self.http();
        wait_for(&format!("{sample}: {what}"), || metric(&page(&at, "/metrics").body, sample).filter(|n| wanted(*n)))
    }
}

pub fn page(at: &str, path: &str) -> Answer {
    let mut web = Web::connect(at);
    web.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    web.answer().unwrap_or_else(|| panic!("{path}: closed without an answer"))
}

/// The value of one sample of a page of metrics.
pub fn metric(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find(|l| l.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')))?;
    Some(line.rsplit_once(' ')?.1.parse().unwrap())
}

/// How long one polite request takes.
pub fn timed(at: &str) -> Duration {
    let began = Instant::now();
    assert_eq!(page(at, "/alive").status, 200);
    began.elapsed()
}
