//! One connection: reads a request, writes its answer, and only then reads the next one. Whoever asks faster than it reads
//! waits in its own socket.

use super::pieces::{Next, Piece};
use super::request::{HEAD_MAX, Hosts, Read, Request, read};
use super::response::{Response, stream_head};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

/// From the first byte of a request to the end of its head; also for the first byte on a new connection.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Between two requests.
const IDLE: Duration = Duration::from_secs(30);
/// For an answer to be taken, whatever its size.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// After our last word: what the other side still sends is read and dropped, for a socket that is closed with unread bytes
/// takes our last word back.
const PARTING: Duration = Duration::from_secs(1);
/// Bytes of one answer in one turn.
const WRITE_PER_TURN: usize = 256 * 1024;
/// Bytes of a stream that somebody may leave unread.
const BEHIND_MAX: usize = 4 * 1024 * 1024;
/// Bytes that are dropped in one turn.
const DROP_PER_TURN: usize = 64 * 1024;
/// Bytes of requests that are held.
const INBOX_MAX: usize = HEAD_MAX + 4096;

/// How far it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It can do no more before something happens.
    Rest,
    /// There is more to do at once.
    More,
    /// It waits for this answer ([`Conn::bring`]).
    Asked(Request),
    /// Its answer comes in pieces, and what follows this one is not written yet.
    Reads(Rc<Piece>),
    /// What came was refused with this status.
    Refused(u16),
}

/// How far a round of writing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// There is no more of it.
    All,
    /// Enough for this turn.
    Enough,
    /// The other side takes no more now.
    Blocked,
}

/// TCP or Unix: no difference from here on.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(s) => s,
            Stream::Unix(s) => s,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => io::Read::read(s, into),
            Stream::Unix(s) => io::Read::read(s, into),
        }
    }

    pub(super) fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => io::Write::write(s, from),
            Stream::Unix(s) => io::Write::write(s, from),
        }
    }

    fn say_no_more(&self) {
        let _ = match self {
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
        };
    }
}

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// Part of one has.
    Reading,
    /// Its answer is being made.
    Waiting,
    /// The answer is on its way.
    Writing,
    /// The answer goes on.
    Streaming,
    /// We have said our last word.
    Parting,
    /// To be closed.
    Gone,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    pub(super) phase: Phase,
    /// Since when it is in this phase. Bytes that only drip are no progress.
    pub(super) since: Duration,
    inbox: Vec<u8>,
    /// The other side will say no more.
    ended: bool,
    /// It was answered before: between two requests it may rest longer.
    served: bool,
    request: Option<Request>,
    head: Vec<u8>,
    body: Rc<[u8]>,
    /// The piece that the body is, of an answer that comes in pieces.
    piece: Option<Rc<Piece>>,
    sent: usize,
    keep: bool,
    /// All that was asked for was answered, and taken as far as can be seen.
    pub(super) ordered: bool,
}

impl Conn {
    pub(super) fn new(stream: Stream, now: Duration) -> Conn {
        Conn {
            stream,
            phase: Phase::Idle,
            since: now,
            inbox: Vec::new(),
            ended: false,
            served: false,
            request: None,
            head: Vec::new(),
            body: Rc::new([]),
            piece: None,
            sent: 0,
            keep: false,
            ordered: false,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: usize) -> io::Result<()> {
        registry.register(self.stream.source(), Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    /// When its time is over.
    pub(super) fn deadline(&self) -> Duration {
        self.since
            + match self.phase {
                Phase::Idle if self.served => IDLE,
                Phase::Idle | Phase::Reading => HEAD_TIME,
                Phase::Waiting | Phase::Writing | Phase::Streaming => WRITE_TIME,
                Phase::Parting => PARTING,
                Phase::Gone => Duration::ZERO,
            }
    }

    fn enter(&mut self, phase: Phase, now: Duration) {
        (self.phase, self.since) = (phase, now);
    }

    /// Goes on as far as it can.
    pub(super) fn serve(&mut self, now: Duration, hosts: Hosts) -> Step {
        loop {
            match self.phase {
                Phase::Idle | Phase::Reading => return self.next_request(now, hosts),
                Phase::Writing => match self.send() {
                    Sent::All => match self.go_on() {
                        Next::There(_) => {}
                        Next::Unwritten => return self.piece.clone().map_or(Step::Rest, Step::Reads),
                        Next::End => self.answered(now),
                    },
                    Sent::Enough => return Step::More,
                    Sent::Blocked => return Step::Rest,
                },
                Phase::Streaming => {
                    let more = self.send() == Sent::Enough;
                    return if self.drop_the_rest() || more { Step::More } else { Step::Rest };
                }
                Phase::Parting => return if self.drop_the_rest() { Step::More } else { Step::Rest },
                Phase::Waiting | Phase::Gone => return Step::Rest,
            }
        }
    }

    /// Reads what there is, as far as the first request of it.
    fn next_request(&mut self, now: Duration, hosts: Hosts) -> Step {
        self.fill();
        if self.phase == Phase::Gone {
            return Step::Rest;
        }
        match read(&self.inbox, hosts) {
            Read::More if self.ended => {
                self.ordered = self.served && self.inbox.is_empty();
                self.phase = Phase::Gone;
                Step::Rest
            }
            Read::More => {
                if self.phase == Phase::Idle && !self.inbox.is_empty() {
                    self.enter(Phase::Reading, now);
                }
                Step::Rest
            }
            Read::Wrong(refusal) => {
                self.say_last(&Response::refused(&refusal), now);
                Step::Refused(refusal.status)
            }
            Read::Whole(request, length) => {
                self.inbox.drain(..length);
                self.request = Some(request.clone());
                self.enter(Phase::Waiting, now);
                Step::Asked(request)
            }
        }
    }

    /// Not inlined: its buffer would be part of the frame of every turn, and a frame is touched page by page.
    #[inline(never)]
    fn fill(&mut self) {
        let mut piece = [0; 4096];
        while !self.ended && self.inbox.len() < INBOX_MAX {
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(n) => self.inbox.extend_from_slice(piece.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.phase = Phase::Gone;
                    return;
                }
            }
        }
    }

    /// The answer that it was waiting for.
    pub(super) fn bring(&mut self, response: &Response, now: Duration) {
        if let Some(request) = self.request.take().filter(|_| self.phase == Phase::Waiting) {
            self.begin(&request, response, now);
        }
    }

    fn begin(&mut self, request: &Request, response: &Response, now: Duration) {
        self.keep = request.keep && !self.ended;
        self.head = response.head(self.keep);
        self.body = if request.head_only { Rc::new([]) } else { response.body.clone() };
        (self.piece, self.sent) = (None, 0);
        self.enter(Phase::Writing, now);
    }

    /// The same in pieces, of which this is the first.
    pub(super) fn bring_pieces(&mut self, first: &Rc<Piece>, now: Duration) {
        let Some(request) = self.request.take().filter(|_| self.phase == Phase::Waiting) else { return };
        self.keep = request.keep && !self.ended;
        self.head = Response::head_of_pieces(self.keep);
        self.piece = Some(first.clone()).filter(|_| !request.head_only);
        self.body = self.piece.as_ref().map_or_else(|| Rc::new([]) as Rc<[u8]>, |piece| piece.bytes.clone());
        self.sent = 0;
        self.enter(Phase::Writing, now);
    }

    /// All there was is sent: the next piece takes its place, if there is one.
    fn go_on(&mut self) -> Next {
        let next = self.piece.as_ref().map_or(Next::End, |piece| piece.next());
        if let Next::There(piece) = &next {
            self.head.clear();
            (self.body, self.piece, self.sent) = (piece.bytes.clone(), Some(piece.clone()), 0);
        }
        next
    }

    /// Whether the answer that it waits for may come in pieces.
    pub(super) fn takes_pieces(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.pieces)
    }

    /// What it was reading has no rest.
    pub(super) fn break_off(&mut self) {
        self.phase = Phase::Gone;
    }

    /// The answer begins, and goes on with what is pushed. False: nobody waits for one, or only for its head.
    pub(super) fn begin_stream(&mut self, now: Duration) -> bool {
        let Some(request) = self.request.take().filter(|_| self.phase == Phase::Waiting) else { return false };
        (self.head, self.body, self.piece, self.sent) = (stream_head(), Rc::new([]), None, 0);
        self.inbox.clear();
        self.keep = false;
        self.enter(if request.head_only { Phase::Writing } else { Phase::Streaming }, now);
        !request.head_only
    }

    /// The next piece. Whoever is too far behind is not waited for: a page connects again.
    pub(super) fn push(&mut self, bytes: &[u8], now: Duration) {
        if self.phase != Phase::Streaming {
            return;
        }
        if self.sent == self.head.len() {
            // Its time is that of the oldest piece that it has not taken.
            (self.sent, self.since) = (0, now);
            self.head.clear();
        }
        if self.head.len() - self.sent + bytes.len() > BEHIND_MAX {
            return self.phase = Phase::Gone;
        }
        if self.sent > WRITE_PER_TURN {
            self.head.drain(..std::mem::take(&mut self.sent));
        }
        self.head.extend_from_slice(bytes);
    }

    /// An answer after which nothing follows.
    pub(super) fn say_last(&mut self, response: &Response, now: Duration) {
        let last = Request { path: String::new(), head_only: false, pieces: false, keep: false, post: None };
        self.inbox.clear();
        self.begin(&last, response, now);
    }

    fn send(&mut self) -> Sent {
        let mut left = WRITE_PER_TURN;
        loop {
            let from = match self.sent.checked_sub(self.head.len()) {
                Some(at) => self.body.get(at..).unwrap_or_default(),
                None => self.head.get(self.sent..).unwrap_or_default(),
            };
            let piece = &from[..from.len().min(left)];
            if from.is_empty() {
                return Sent::All;
            }
            if piece.is_empty() {
                return Sent::Enough;
            }
            match self.stream.write(piece) {
                Ok(n) if n > 0 => {
                    self.sent += n;
                    left -= n;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Sent::Blocked,
                Ok(_) | Err(_) => {
                    self.phase = Phase::Gone;
                    return Sent::Blocked;
                }
            }
        }
    }

    fn answered(&mut self, now: Duration) {
        (self.head, self.body, self.piece) = (Vec::new(), Rc::new([]), None);
        self.served = true;
        if self.keep {
            return self.enter(Phase::Idle, now);
        }
        self.ordered = true;
        self.stream.say_no_more();
        let next = if self.ended { Phase::Gone } else { Phase::Parting };
        self.enter(next, now);
    }

    /// Not inlined: its buffer would be part of the frame of every turn, and a frame is touched page by page.
    #[inline(never)]
    fn drop_the_rest(&mut self) -> bool {
        let mut piece = [0; 4096];
        let mut taken = 0;
        while taken < DROP_PER_TURN {
            match self.stream.read(&mut piece) {
                Ok(n) if n > 0 => taken += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Ok(_) | Err(_) => {
                    self.phase = Phase::Gone;
                    return false;
                }
            }
        }
        true
    }
}
