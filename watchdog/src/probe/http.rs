//! One request and its answer. Nothing is believed: the head is bounded, the body read only as far as a text is looked for
//! in it, no redirect followed.

use super::Seen;
use super::chunks::Chunks;
use super::dial::{Dial, Step};
use crate::spec::HttpCheck;
use mio::{Registry, Token};
use std::io::ErrorKind;

/// Longest head of an answer, bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Headers in it.
const HEADERS_MAX: usize = 100;
/// So much of a body is looked at.
const BODY_MAX: usize = 64 * 1024;
/// Read at once.
const PIECE: usize = 8 * 1024;
/// Bytes read in one turn.
const SHARE: usize = 128 * 1024;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Http {
    dial: Dial,
    connected: bool,
    request: Vec<u8>,
    sent: usize,
    name: String,
    allowed: Vec<(u16, u16)>,
    wanted: Option<String>,
    came: Vec<u8>,
    body: Option<Body>,
}

/// A body that is looked at.
#[derive(Debug)]
struct Body {
    /// What the status line said, for the message.
    status: String,
    framed: Frame,
    text: Vec<u8>,
}

#[derive(Debug)]
enum Frame {
    Chunks(Chunks),
    Length(usize),
    ToTheEnd,
}

impl Http {
    /// Begins to connect.
    pub(crate) fn begin(check: &HttpCheck, registry: &Registry, token: Token) -> Result<Http, Seen> {
        let dial = Dial::tcp(check.addresses.clone(), registry, token)?;
        Ok(Http {
            dial,
            connected: false,
            request: request(check),
            sent: 0,
            name: format!("{} {}", check.method, check.path),
            allowed: check.status.clone(),
            wanted: check.body.clone(),
            came: Vec::new(),
            body: None,
        })
    }

    /// As far as it goes without waiting.
    pub(crate) fn go_on(&mut self, registry: &Registry, token: Token) -> Option<Seen> {
        if !self.connected {
            match self.dial.go_on(registry, token) {
                Step::Waits => return None,
                Step::There => self.connected = true,
                Step::Over(seen) => return Some(seen),
            }
        }
        while self.sent < self.request.len() {
            match self.dial.write(&self.request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Some(self.failed(&format!("it does not take the request: {e}"))),
            }
        }
        self.listen()
    }

    fn listen(&mut self) -> Option<Seen> {
        let mut buffer = [0; PIECE];
        let mut taken = 0;
        loop {
            match self.dial.read(&mut buffer) {
                Ok(0) => return Some(self.at_the_end()),
                Ok(n) => {
                    taken += n;
                    if let Some(seen) = self.take(&buffer[..n]) {
                        return Some(seen);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Some(self.failed(&format!("the connection broke: {e}"))),
            }
            if taken >= SHARE {
                // More than any head and body that are looked at.
                return Some(self.failed("an endless answer"));
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Option<Seen> {
        if self.body.is_some() {
            return self.take_body(bytes);
        }
        self.came.extend_from_slice(bytes);
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut answer = httparse::Response::new(&mut headers);
            let length = match answer.parse(&self.came) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if self.came.len() > HEAD_MAX => {
                    return Some(self.failed("its head is too long"));
                }
                Ok(httparse::Status::Partial) => return None,
                Err(e) => return Some(self.failed(&format!("not an answer of HTTP: {e}"))),
            };
            let code = answer.code.unwrap_or(0);
            if (100..200).contains(&code) {
                self.came.drain(..length);
                continue;
            }
            let status = format!("{code} {}", answer.reason.unwrap_or_default());
            let framed = frame(answer.headers);
            if !self.allowed.iter().any(|(low, high)| (*low..=*high).contains(&code)) {
                return Some(self.failed(status.trim()));
            }
            if self.wanted.is_none() {
                return Some(Seen::success(format!("{}: {}", self.name, status.trim())));
            }
            let rest = self.came.split_off(length);
            self.body = Some(Body { status, framed, text: Vec::new() });
            return self.take_body(&rest);
        }
    }

    fn take_body(&mut self, bytes: &[u8]) -> Option<Seen> {
        let body = self.body.as_mut()?;
        let over = match &mut body.framed {
            Frame::Chunks(chunks) => {
                if let Err(why) = chunks.push(bytes, &mut body.text) {
                    return Some(Seen::failure(format!("{}: {why}", self.name)));
                }
                chunks.is_over()
            }
            Frame::Length(length) => {
                body.text.extend_from_slice(bytes);
                body.text.truncate(*length);
                body.text.len() >= *length
            }
            Frame::ToTheEnd => {
                body.text.extend_from_slice(bytes);
                false
            }
        };
        let wanted = self.wanted.as_deref().unwrap_or_default();
        if memchr::memmem::find(&body.text, wanted.as_bytes()).is_some() {
            return Some(Seen::success(format!("{}: {}, with {wanted:?} in its body", self.name, body.status.trim())));
        }
        (over || body.text.len() > BODY_MAX).then(|| self.lacks_the_text())
    }

    fn lacks_the_text(&self) -> Seen {
        let status = self.body.as_ref().map_or("", |b| b.status.trim());
        let wanted = self.wanted.as_deref().unwrap_or_default();
        self.failed(&format!("{status}, and {wanted:?} is not in its body"))
    }

    /// The other side has closed.
    fn at_the_end(&self) -> Seen {
        match &self.body {
            Some(_) => self.lacks_the_text(),
            None if self.came.is_empty() => self.failed("the connection was closed without an answer"),
            None => self.failed("the connection was closed in the middle of the answer's head"),
        }
    }

    fn failed(&self, why: &str) -> Seen {
        Seen::failure(format!("{}: {why}", self.name))
    }

    pub(crate) fn end(&mut self, registry: &Registry) {
        self.dial.end(registry);
    }
}

fn request(check: &HttpCheck) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\n", check.method, check.path);
    let given = |name: &str| check.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let version = env!("CARGO_PKG_VERSION");
    let own = [
        ("Host", check.host.clone()),
        ("User-Agent", format!("watchdog/{version}")),
        ("Accept", "*/*".into()),
        ("Connection", "close".into()),
    ];
    let own = own.into_iter().filter(|(name, _)| !given(name)).map(|(name, value)| (name.to_string(), value));
    for (name, value) in own.chain(check.headers.iter().cloned()) {
        // A line break in a header would be another header.
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if matches!(check.method.as_str(), "POST" | "PUT" | "PATCH") && !given("Content-Length") {
        text.push_str("Content-Length: 0\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn frame(headers: &[httparse::Header<'_>]) -> Frame {
    let value = |name: &str| {
        let found = headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.and_then(|h| std::str::from_utf8(h.value).ok()).map(str::trim)
    };
    if value("Transfer-Encoding").is_some_and(|v| v.to_ascii_lowercase().ends_with("chunked")) {
        return Frame::Chunks(Chunks::new());
    }
    value("Content-Length").and_then(|v| v.parse().ok()).map_or(Frame::ToTheEnd, Frame::Length)
}
