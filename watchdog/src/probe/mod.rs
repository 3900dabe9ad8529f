//! Probes that go over a socket: each is a small errand that never waits, driven by the one loop. Time is not theirs: who
//! takes too long is dropped, and with it its socket.

mod answer;
mod chunks;
mod dial;
mod http;

use crate::machine::Outcome;
use crate::spec::Check;
pub(crate) use crate::sys::reason;
use mio::{Registry, Token};
use std::os::fd::OwnedFd;

/// Longest message of a try, characters.
const MESSAGE: usize = 200;

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The outcome.
    pub outcome: Outcome,
    /// For people: short, and without control characters.
    pub message: String,
}

impl Seen {
    pub(crate) fn success(message: impl AsRef<str>) -> Seen {
        Seen { outcome: Outcome::Success, message: shown(message.as_ref()) }
    }

    pub(crate) fn failure(message: impl AsRef<str>) -> Seen {
        Seen { outcome: Outcome::Failure, message: shown(message.as_ref()) }
    }

    /// The same, with what it is about before it.
    fn about(self, what: &str) -> Seen {
        Seen { message: shown(&format!("{what}: {}", self.message)), ..self }
    }

    /// It could not be tried.
    pub(crate) fn error(message: impl AsRef<str>) -> Seen {
        Seen { outcome: Outcome::Error, message: shown(message.as_ref()) }
    }
}

/// What comes from outside, made fit for a line.
pub(crate) fn shown(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.trim().chars().take(MESSAGE).collect()
}

/// The verdict on an answer that comes in these pieces and then ends, for the target in `fuzz/`.
#[cfg(feature = "fuzzing")]
pub(crate) fn judged<'a>(check: &crate::spec::HttpCheck, mut pieces: impl Iterator<Item = &'a [u8]>) -> Seen {
    let mut answer = answer::Answer::new(check);
    pieces.find_map(|piece| answer.take(piece)).unwrap_or_else(|| answer.end())
}

/// One errand.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A connection is all that is asked for.
    Dial(dial::Dial),
    /// A request over one.
    Http(Box<http::Http>),
}

impl Errand {
    /// Begins. `Err`: it is over already.
    pub(crate) fn begin(check: &Check, registry: &Registry, token: Token) -> Result<Errand, Seen> {
        match check {
            Check::Tcp(addresses) => dial::Dial::tcp(addresses.clone(), registry, token).map(Errand::Dial),
            Check::Unix(path) => dial::Dial::unix(path, registry, token).map(Errand::Dial),
            Check::Http(check) => http::Http::begin(check, registry, token).map(|http| Errand::Http(Box::new(http))),
            Check::Exec(_) | Check::Port { .. } => Err(Seen::error("not an errand over a socket")),
        }
    }

    /// Its socket has something, or takes something. `Some`: it is over.
    pub(crate) fn go_on(&mut self, registry: &Registry, token: Token) -> Option<Seen> {
        match self {
            Errand::Dial(dial) => match dial.go_on(registry, token) {
                dial::Step::Waits => None,
                dial::Step::There => Some(Seen::success(format!("{} takes connections", dial.place()))),
                dial::Step::Over(seen) => Some(seen),
            },
            Errand::Http(http) => http.go_on(registry, token),
        }
    }

    /// What is said of it when its time is over.
    pub(crate) fn how_far(&self) -> String {
        match self {
            Errand::Dial(dial) => format!("{}: no connection", dial.place()),
            Errand::Http(http) => http.how_far(),
        }
    }

    /// Takes its socket out of the loop. Some: it is to be closed elsewhere.
    pub(crate) fn end(&mut self, registry: &Registry) -> Option<OwnedFd> {
        match self {
            Errand::Dial(dial) => dial.end(registry),
            Errand::Http(http) => http.end(registry),
        }
    }
}

#[cfg(test)]
mod tests;
