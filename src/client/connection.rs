//! One connection to a watchdog: a request goes out as one line, answers come back as lines.

#![expect(clippy::disallowed_methods, reason = "a client waits for real time; the rule is for the engine")]

use super::{Failure, NO, NONE, REFUSED, USAGE};
use crate::settings::reason;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest line taken. A watchdog sends far shorter ones; this only keeps a stranger's socket from filling memory.
const LONGEST: usize = 16 * 1024 * 1024;

/// A socket and what was read from it beyond the last line.
pub(crate) struct Connection {
    path: PathBuf,
    socket: UnixStream,
    buffer: Vec<u8>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What came next on the connection.
pub(crate) enum Next {
    /// One item of a stream.
    Item(Value),
    /// The result: the last line.
    Result(Value),
    /// The watchdog closed the connection.
    Closed,
}

/// In a directory like /tmp another user may have made the socket: what a process of theirs says is none of a watchdog. Root may
/// ask the watchdog of any user, in a directory of that user's.
fn known(path: &Path, socket: &UnixStream) -> Result<(), Failure> {
    let Ok(peer) = getsockopt(socket, sockopt::PeerCredentials) else { return Ok(()) };
    let (peer, me) = (peer.uid(), nix::unistd::geteuid().as_raw());
    let theirs = || {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::metadata(dir).is_ok_and(|facts| facts.uid() == peer)
    };
    if peer == me || peer == 0 || (me == 0 && theirs()) {
        return Ok(());
    }
    let why = format!("{}: a process of user {peer} listens there, not of root or of us: not asked", path.display());
    Err(Failure::new(REFUSED, why))
}

impl Connection {
    /// Connects, or says why no watchdog is there.
    pub(crate) fn open(path: &Path) -> Result<Connection, Failure> {
        Connection::open_within(path, super::QUICK)
    }

    /// The same, if it takes no longer than that: a watchdog that stands still takes no more connections once some wait.
    pub(crate) fn open_within(path: &Path, patience: Duration) -> Result<Connection, Failure> {
        let socket = reach(path, patience).map_err(|e| {
            if e.kind() == io::ErrorKind::WouldBlock {
                let message = format!("{}: the watchdog takes no connection: it is stopped or stuck", path.display());
                return Failure { late: true, ..Failure::new(NO, message) };
            }
            let status = if e.kind() == io::ErrorKind::PermissionDenied { REFUSED } else { NONE };
            Failure::new(status, format!("no watchdog at {}: {}", path.display(), reason(&e)))
        })?;
        known(path, &socket)?;
        // A watchdog that does not even read must not hang us before the question is out.
        let _ = socket.set_write_timeout(Some(patience));
        Ok(Connection { path: path.to_path_buf(), socket, buffer: Vec::new() })
    }

    /// Sends one request.
    pub(crate) fn send(&mut self, verb: &str, services: &[String], arguments: Value) -> Result<(), Failure> {
        let request = json!({ "id": 1, "verb": verb, "services": services, "args": arguments });
        let sent = self.socket.write_all(format!("{request}\n").as_bytes());
        sent.map_err(|e| self.broken(&e))
    }

    /// Makes sure that the watchdog answers at all, before something is asked that has no limit of its own.
    pub(crate) fn assure(&mut self) -> Result<(), Failure> {
        self.send("health", &[], json!({}))?;
        // Whatever it is, it is an answer.
        match self.line(Instant::now().checked_add(super::QUICK))? {
            Some(_) => Ok(()),
            None => Err(self.gone()),
        }
    }

    /// Who listens at the other end; `None` where the kernel does not say.
    pub(crate) fn peer(&self) -> Option<i32> {
        getsockopt(&self.socket, sockopt::PeerCredentials).ok().map(|peer| peer.pid()).filter(|pid| *pid > 0)
    }

    /// The result of a request that has one. Items before it are passed over.
    pub(crate) fn answer(&mut self, patience: Option<Duration>) -> Result<Value, Failure> {
        self.result(patience.and_then(|p| Instant::now().checked_add(p)))
    }

    /// The same until this moment.
    pub(crate) fn result(&mut self, deadline: Option<Instant>) -> Result<Value, Failure> {
        loop {
            match self.next(deadline)? {
                Next::Result(result) => return Ok(result),
                Next::Item(_) => {}
                Next::Closed => return Err(self.gone()),
            }
        }
    }

    /// The next line, as what it is.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Result<Next, Failure> {
        match self.line(deadline)? {
            Some(line) => self.read_as(&line),
            None => Ok(Next::Closed),
        }
    }

    /// From now on nothing waits: for [`Connection::at_hand`], in a loop of one's own.
    pub(crate) fn at_once(self) -> Result<Connection, Failure> {
        self.socket.set_nonblocking(true).map_err(|e| self.broken(&e))?;
        Ok(self)
    }

    /// The next line, if it is there already. `None`: not yet.
    pub(crate) fn at_hand(&mut self) -> Result<Option<Next>, Failure> {
        let mut piece = [0; 16 * 1024];
        let mut searched = 0;
        loop {
            if let Some(line) = self.whole_line(searched) {
                return self.read_as(&line).map(Some);
            }
            searched = self.buffer.len();
            if searched > LONGEST {
                return Err(self.endless());
            }
            match self.socket.read(&mut piece) {
                Ok(0) => return Ok(Some(Next::Closed)),
                Ok(n) => self.buffer.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Some(Next::Closed)),
                Err(e) => return Err(self.broken(&e)),
            }
        }
    }

    fn read_as(&self, line: &[u8]) -> Result<Next, Failure> {
        let strange = || Failure::new(NO, format!("{}: the answer is none of a watchdog", self.path.display()));
        let mut message: Value = serde_json::from_slice(line).map_err(|_| strange())?;
        if let Some(item) = message.get_mut("item") {
            return Ok(Next::Item(item.take()));
        }
        match (message["ok"].as_bool(), message.get("error")) {
            (Some(true), _) => Ok(Next::Result(message["result"].take())),
            (Some(false), Some(error)) => Err(failure(error)),
            _ => Err(strange()),
        }
    }

    /// What to say when the connection ended before its answer.
    pub(crate) fn gone(&self) -> Failure {
        Failure::new(NO, format!("{}: the watchdog closed the connection before its answer", self.path.display()))
    }

    fn line(&mut self, deadline: Option<Instant>) -> Result<Option<Vec<u8>>, Failure> {
        let mut searched = 0;
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some(line) = self.whole_line(searched) {
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > LONGEST {
                return Err(self.endless());
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(self.silent());
            }
            self.socket.set_read_timeout(left).map_err(|e| self.broken(&e))?;
            match self.socket.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(n) => self.buffer.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(self.silent());
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(self.broken(&e)),
            }
        }
    }

    /// The first line of what was read, searched for behind this place.
    fn whole_line(&mut self, searched: usize) -> Option<Vec<u8>> {
        let end = self.buffer[searched..].iter().position(|b| *b == b'\n')?;
        let rest = self.buffer.split_off(searched + end + 1);
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    fn endless(&self) -> Failure {
        Failure::new(NO, format!("{}: a line without an end", self.path.display()))
    }

    fn silent(&self) -> Failure {
        let pid = self.peer().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let message =
            format!("{}: the watchdog{pid} does not answer: it is busy, stopped or stuck", self.path.display());
        Failure { late: true, ..Failure::new(NO, message) }
    }

    fn broken(&self, error: &io::Error) -> Failure {
        Failure::new(NO, format!("{}: {}", self.path.display(), reason(error)))
    }
}

/// A connected socket. Not the library's `connect`, which waits for ever where the queue of the listener is full; a limit on
/// sending is one on that too.
fn reach(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::milliseconds(i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&fd, sockopt::SendTimeout, &limit)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => return Ok(fd.into()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// What a watchdog refuses, in our words and with our status.
fn failure(error: &Value) -> Failure {
    let status = match error["code"].as_str().unwrap_or_default() {
        "no-such-service" => NONE,
        "refused" | "denied" | "busy" => REFUSED,
        "usage" | "too-large" => USAGE,
        _ => NO,
    };
    let message = error["message"].as_str().unwrap_or("refused without a reason");
    let errors = error["errors"].clone();
    match error["nearest"].as_str() {
        Some(nearest) if !message.contains("did you mean") => {
            Failure::new(status, format!("{message}: did you mean {nearest:?}?"))
        }
        _ => Failure { errors, ..Failure::new(status, message) },
    }
}
