//! One request by hand, over a connection that is closed as soon as the answer can be judged.

use super::Seen;
use super::answer::Answer;
use super::dial::{Dial, Step};
use crate::spec::HttpCheck;
use mio::{Registry, Token};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;

/// Bytes of one read.
const PIECE: usize = 16 * 1024;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Http {
    dial: Dial,
    connected: bool,
    /// `GET /health`, for messages: what follows a `?` may be a secret.
    asked: String,
    request: Vec<u8>,
    sent: usize,
    answer: Answer,
}

impl Http {
    /// Begins to connect.
    pub(crate) fn begin(check: &HttpCheck, registry: &Registry, token: Token) -> Result<Http, Seen> {
        let asked = asked(check);
        let dial = Dial::tcp(check.addresses.clone(), registry, token).map_err(|seen| seen.about(&asked))?;
        Ok(Http { dial, connected: false, asked, request: request(check), sent: 0, answer: Answer::new(check) })
    }

    /// As far as it goes without waiting.
    pub(crate) fn go_on(&mut self, registry: &Registry, token: Token) -> Option<Seen> {
        if !self.connected {
            match self.dial.go_on(registry, token) {
                Step::Waits => return None,
                Step::There => self.connected = true,
                Step::Over(seen) => return Some(seen.about(&self.asked)),
            }
        }
        self.send();
        self.listen().map(|seen| seen.about(&self.asked))
    }

    fn send(&mut self) {
        while let Some(left) = self.request.get(self.sent..).filter(|left| !left.is_empty()) {
            match self.dial.write(left) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // It does not want to hear all of it, and may have answered all the same.
                Err(_) => self.sent = self.request.len(),
            }
        }
    }

    /// Ends by itself: an answer that says nothing after so many bytes is too long. Not inlined: its buffer would be part
    /// of the frame of every turn, and a frame is touched page by page.
    #[inline(never)]
    fn listen(&mut self) -> Option<Seen> {
        let mut buffer = [0; PIECE];
        loop {
            let seen = match self.dial.read(&mut buffer) {
                Ok(0) => Some(self.answer.end()),
                Ok(n) => self.answer.take(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => None,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(e) => Some(Seen::failure(super::reason(&e))),
            };
            if seen.is_some() {
                return seen;
            }
        }
    }

    /// For a try whose time is over.
    pub(crate) fn how_far(&self) -> String {
        let how = match (self.connected, self.answer.has_begun()) {
            (false, _) => "no connection",
            (true, false) => "no answer",
            (true, true) => "the answer is not complete",
        };
        format!("{}: {how}", self.asked)
    }

    pub(crate) fn end(&mut self, registry: &Registry) -> Option<OwnedFd> {
        self.dial.end(registry)
    }
}

fn asked(check: &HttpCheck) -> String {
    format!("{} {}", check.method, check.path.split('?').next().unwrap_or_default())
}

/// The request as it goes out. A header of the settings takes the place of ours.
fn request(check: &HttpCheck) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\n", clean(&check.method), clean(&check.path));
    let length = ["POST", "PUT", "PATCH"].contains(&check.method.as_str()).then_some("0".to_owned());
    let ours = [
        ("Host", Some(check.host.clone())),
        ("User-Agent", Some(concat!("watchdog/", env!("CARGO_PKG_VERSION")).to_owned())),
        ("Accept", Some("*/*".to_owned())),
        ("Content-Length", length),
        ("Connection", Some("close".to_owned())),
    ];
    let given = |name: &str| check.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let ours = ours.into_iter().filter(|(name, _)| !given(name)).filter_map(|(name, v)| Some((name.to_owned(), v?)));
    for (name, value) in ours.chain(check.headers.iter().cloned()) {
        text.push_str(&format!("{}: {}\r\n", clean(&name), clean(&value)));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Nothing of the settings can end a line of the request.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_the_settings_takes_the_place_of_ours_and_nothing_ends_a_line() {
        let mut check = HttpCheck {
            addresses: Vec::new(),
            host: "127.0.0.1:80".into(),
            path: "/a?key=secret".into(),
            method: "POST".into(),
            headers: vec![("host".into(), "example".into()), ("X-A".into(), "b\r\nEvil: yes".into())],
            status: Vec::new(),
            body: None,
        };
        let text = String::from_utf8(request(&check)).unwrap();
        let agent = concat!("User-Agent: watchdog/", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            text,
            format!(
                "POST /a?key=secret HTTP/1.1\r\n{agent}\r\nAccept: */*\r\nContent-Length: 0\r\n\
             Connection: close\r\nhost: example\r\nX-A: bEvil: yes\r\n\r\n"
            )
        );
        assert_eq!(asked(&check), "POST /a");
        (check.method, check.headers) = ("GET".into(), Vec::new());
        let text = String::from_utf8(request(&check)).unwrap();
        assert!(text.contains("\r\nHost: 127.0.0.1:80\r\n") && !text.contains("Content-Length"), "{text}");
    }
}
