//! The listener and its connections: bounded in number; whoever does nothing makes room for whoever comes.

use super::conn::{Conn, Phase, Step, Stream};
use super::pieces::Piece;
use super::request::{Hosts, Refusal};
use super::response::Response;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

/// Connections at the same time.
const MAX_CONNECTIONS: usize = 128;
/// Taken from the listener in one turn; the others wait in its queue.
const ACCEPTS_PER_TURN: usize = 64;
/// An answer that is on its way for so long makes room where there is no other.
const SLOW: Duration = Duration::from_secs(1);
/// Answers that go on, at the same time.
const MAX_STREAMS: usize = 16;

/// Where connections come from.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(l) => registry.register(l, token, Interest::READABLE),
            Listener::Unix(l) => registry.register(l, token, Interest::READABLE),
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(l) => l.accept().map(|(s, _)| Stream::Tcp(s)),
            Listener::Unix(l) => l.accept().map(|(s, _)| Stream::Unix(s)),
        }
    }
}

/// What has been, for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Taken from the listener, and served or to be served.
    pub accepted: u64,
    /// Closed at once: there was no room.
    pub refused: u64,
    /// Closed for others: they did nothing.
    pub displaced: u64,
    /// Their time was over.
    pub timed_out: u64,
    /// Ended in order: all that was asked for was taken.
    pub drained: u64,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
}

/// The listener and its connections, by token.
#[derive(Debug)]
pub(crate) struct Server {
    listener: Listener,
    hosts: Hosts,
    conns: BTreeMap<usize, Conn>,
    counts: Counts,
    reserve: Option<File>,
}

impl Server {
    /// Begins to listen under this token.
    ///
    /// # Errors
    /// What epoll says.
    pub(crate) fn new(mut listener: Listener, hosts: Hosts, registry: &Registry, token: Token) -> io::Result<Server> {
        listener.register(registry, token)?;
        Ok(Server { listener, hosts, conns: BTreeMap::new(), counts: Counts::default(), reserve: None })
    }

    /// What has been.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many there are now.
    pub(crate) fn active(&self) -> usize {
        self.conns.len()
    }

    /// When the first of them has had its time.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.conns.values().map(Conn::deadline).min()
    }

    /// Takes those who knock; gives their tokens, and whether there may be more.
    pub(crate) fn accept(&mut self, registry: &Registry, now: Duration, token: &mut usize) -> (Vec<usize>, bool) {
        let mut new = Vec::new();
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok(stream) => {
                    // With the first one: many a watchdog is never asked.
                    self.reserve = self.reserve.take().or_else(reserve);
                    *token += 1;
                    if self.admit(stream, registry, now, *token) {
                        new.push(*token);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    // Edge-triggered: who is not taken now is not told of again. The reserve lets us take and close.
                    if self.reserve.take().is_none() {
                        return (new, false);
                    }
                    let taken = self.listener.accept().is_ok();
                    self.reserve = reserve();
                    self.counts.refused += u64::from(taken);
                    if !taken {
                        return (new, false);
                    }
                }
                // Gone before it was taken: the next one is looked at.
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => return (new, false),
            }
        }
        (new, true)
    }

    fn admit(&mut self, stream: Stream, registry: &Registry, now: Duration, token: usize) -> bool {
        if self.conns.len() >= MAX_CONNECTIONS {
            match self.least_needed(now) {
                Some(other) => {
                    self.counts.displaced += 1;
                    self.close_one(other, registry);
                }
                None => {
                    self.turn_away(stream);
                    return false;
                }
            }
        }
        let mut conn = Conn::new(stream, now);
        if conn.register(registry, token).is_err() {
            return false;
        }
        self.counts.accepted += 1;
        self.conns.insert(token, conn);
        true
    }

    /// Who has said all, or has asked for nothing for the longest time; else the slowest of those who read too slowly.
    fn least_needed(&self, now: Duration) -> Option<usize> {
        let rank = |conn: &Conn| match conn.phase {
            Phase::Gone | Phase::Parting => Some(0),
            Phase::Idle | Phase::Reading => Some(1),
            Phase::Writing if now.saturating_sub(conn.since) >= SLOW => Some(2),
            Phase::Writing | Phase::Waiting | Phase::Streaming => None,
        };
        let ranked = self.conns.iter().filter_map(|(token, conn)| Some((rank(conn)?, conn.since, *token)));
        ranked.min().map(|(_, _, token)| token)
    }

    fn turn_away(&mut self, mut stream: Stream) {
        self.counts.refused += 1;
        let full = Refusal { status: 503, why: "too many connections" };
        let response = Response::refused(&full);
        // A new socket takes so much without waiting; one that does not is nobody's loss.
        let _ = stream.write(&[&response.head(false), &*response.body].concat());
    }

    /// Whether this token is one of the connections.
    pub(crate) fn knows(&self, token: usize) -> bool {
        self.conns.contains_key(&token)
    }

    /// Reads and writes what goes with one connection, as far as its next request.
    pub(crate) fn serve(&mut self, token: usize, now: Duration) -> Step {
        let Some(conn) = self.conns.get_mut(&token) else { return Step::Rest };
        loop {
            match conn.serve(now, self.hosts) {
                Step::Refused(status) => note(&mut self.counts, status),
                step @ (Step::Rest | Step::More | Step::Asked(_) | Step::Reads(_)) => return step,
            }
        }
    }

    /// Brings an answer to one that waits for it.
    pub(crate) fn answer(&mut self, token: usize, response: &Response, now: Duration) {
        if let Some(conn) = self.conns.get_mut(&token) {
            note(&mut self.counts, response.status);
            conn.bring(response, now);
        }
    }

    /// Whether the answer that it waits for may come in pieces.
    pub(crate) fn takes_pieces(&self, token: usize) -> bool {
        self.conns.get(&token).is_some_and(Conn::takes_pieces)
    }

    /// The same in pieces: the first of them.
    pub(crate) fn answer_in_pieces(&mut self, token: usize, first: &Rc<Piece>, now: Duration) {
        if let Some(conn) = self.conns.get_mut(&token) {
            note(&mut self.counts, 200);
            conn.bring_pieces(first, now);
        }
    }

    /// The rest of what it is reading cannot be written: better no end than a wrong one.
    pub(crate) fn break_off(&mut self, token: usize) {
        self.conns.entry(token).and_modify(Conn::break_off);
    }

    /// Brings an answer that goes on to one that waits for it. False: it goes on for nobody, or there is no room for it.
    pub(crate) fn begin_stream(&mut self, token: usize, now: Duration) -> bool {
        if self.conns.values().filter(|c| c.phase == Phase::Streaming).count() >= MAX_STREAMS {
            let full = Response::refused(&Refusal { status: 503, why: "too many pages are open" });
            self.answer(token, &full, now);
            return false;
        }
        note(&mut self.counts, 200);
        self.conns.get_mut(&token).is_some_and(|conn| conn.begin_stream(now))
    }

    /// The next piece of one.
    pub(crate) fn push(&mut self, token: usize, bytes: &[u8], now: Duration) {
        if let Some(conn) = self.conns.get_mut(&token) {
            conn.push(bytes, now);
        }
    }

    /// Whether it still goes on.
    pub(crate) fn streams(&self, token: usize) -> bool {
        self.conns.get(&token).is_some_and(|c| c.phase == Phase::Streaming)
    }

    /// Closes who is done, and has an end with those whose time is over. Gives the tokens of those who get a last word.
    pub(crate) fn sweep(&mut self, registry: &Registry, now: Duration) -> Vec<usize> {
        let late: Vec<(usize, Phase)> = self
            .conns
            .iter()
            .filter(|(_, c)| c.phase == Phase::Gone || c.deadline() <= now)
            .map(|(t, c)| (*t, c.phase))
            .collect();
        let mut told = Vec::new();
        for (token, phase) in late {
            self.counts.timed_out += u64::from(!matches!(phase, Phase::Gone | Phase::Parting));
            match self.conns.get_mut(&token) {
                Some(conn) if phase == Phase::Reading => {
                    let late = Refusal { status: 408, why: "the request did not come in time" };
                    conn.say_last(&Response::refused(&late), now);
                    note(&mut self.counts, 408);
                    told.push(token);
                }
                _ => self.close_one(token, registry),
            }
        }
        told
    }

    /// A worker needs the descriptors more (case EXH-02).
    pub(crate) fn shed(&mut self, registry: &Registry) {
        for token in self.conns.keys().copied().collect::<Vec<_>>() {
            self.close_one(token, registry);
        }
        self.reserve = None;
    }

    fn close_one(&mut self, token: usize, registry: &Registry) {
        if let Some(mut conn) = self.conns.remove(&token) {
            self.counts.drained += u64::from(conn.ordered);
            let _ = registry.deregister(conn.stream.source());
        }
    }
}

fn note(counts: &mut Counts, status: u16) {
    *counts.answers.entry(status).or_default() += 1;
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
