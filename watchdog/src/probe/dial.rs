//! A connection, made without waiting: to the first of several addresses that takes one.

use super::{Seen, reason};
use crate::sys::channel;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Dial {
    line: Option<Line>,
    left: std::vec::IntoIter<SocketAddr>,
    place: String,
    /// What was wrong with the first address. The others are other ways to the same server (`localhost`), and a machine
    /// without IPv6 has something to say of them that nobody wants to know.
    refused: Option<Seen>,
}

#[derive(Debug)]
enum Line {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Step {
    /// Not known yet.
    Waits,
    /// It is there.
    There,
    /// Nobody takes one.
    Over(Seen),
}

impl Dial {
    /// To the first of these.
    pub(crate) fn tcp(addresses: Vec<SocketAddr>, registry: &Registry, token: Token) -> Result<Dial, Seen> {
        let mut dial = Dial { line: None, left: addresses.into_iter(), place: String::new(), refused: None };
        dial.next(registry, token)?;
        Ok(dial)
    }

    /// To a path.
    pub(crate) fn unix(path: &Path, registry: &Registry, token: Token) -> Result<Dial, Seen> {
        let place = path.display().to_string();
        let mut stream = connected(path).map_err(|e| match e.kind() == ErrorKind::WouldBlock {
            // Unlike TCP there is no handshake to wait for: either it is queued, or there is no room.
            true => Seen::failure(format!("{place}: its queue is full")),
            false => refused(&place, &e),
        })?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, token, interest).map_err(|e| unable(&place, &e))?;
        Ok(Dial { line: Some(Line::Unix(stream)), left: Vec::new().into_iter(), place, refused: None })
    }

    /// The next address.
    fn next(&mut self, registry: &Registry, token: Token) -> Result<(), Seen> {
        // Of several addresses none is a path, and so nothing is left of it.
        self.end(registry);
        while let Some(address) = self.left.next() {
            self.place = address.to_string();
            match TcpStream::connect(address) {
                Ok(mut stream) => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    registry.register(&mut stream, token, interest).map_err(|e| unable(&self.place, &e))?;
                    self.line = Some(Line::Tcp(stream));
                    return Ok(());
                }
                Err(e) => self.note(&e),
            }
        }
        Err(self.refused.take().unwrap_or_else(|| Seen::error("no address to connect to")))
    }

    fn note(&mut self, e: &io::Error) {
        let Dial { refused: first, place, .. } = self;
        first.get_or_insert_with(|| refused(place, e));
    }

    /// Looks how far it is.
    pub(crate) fn go_on(&mut self, registry: &Registry, token: Token) -> Step {
        let failed = match self.line.as_ref().map(Line::is_there) {
            Some(Ok(true)) => return Step::There,
            Some(Ok(false)) => return Step::Waits,
            Some(Err(e)) => e,
            None => return Step::Over(Seen::error("no connection")),
        };
        self.note(&failed);
        match self.next(registry, token) {
            Ok(()) => Step::Waits,
            Err(seen) => Step::Over(seen),
        }
    }

    /// Where to.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Takes it out of the loop and closes it. Some: the server has sent something, and descriptors may be among it, so it is
    /// to be closed elsewhere.
    pub(crate) fn end(&mut self, registry: &Registry) -> Option<OwnedFd> {
        match self.line.take()? {
            Line::Tcp(mut stream) => {
                let _ = registry.deregister(&mut stream);
                None
            }
            Line::Unix(mut stream) => {
                let _ = registry.deregister(&mut stream);
                let stream = OwnedFd::from(stream);
                (!channel::is_empty_for_good(stream.as_fd(), true)).then_some(stream)
            }
        }
    }

    /// One write.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.line {
            Some(Line::Tcp(stream)) => io::Write::write(stream, bytes),
            Some(Line::Unix(stream)) => io::Write::write(stream, bytes),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// One read.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.line {
            Some(Line::Tcp(stream)) => io::Read::read(stream, buffer),
            Some(Line::Unix(stream)) => io::Read::read(stream, buffer),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }
}

fn connected(path: &Path) -> io::Result<UnixStream> {
    channel::dial(path).map(|stream| UnixStream::from_std(stream.into()))
}

impl Line {
    /// Whether it is connected, as mio says it is to be found out.
    fn is_there(&self) -> io::Result<bool> {
        let (error, peer, ourselves) = match self {
            Line::Tcp(stream) => (stream.take_error(), stream.peer_addr().map(Some), stream.local_addr().ok()),
            Line::Unix(stream) => (stream.take_error(), stream.peer_addr().map(|_| None), None),
        };
        if let Some(e) = error? {
            return Err(e);
        }
        match peer {
            // Nobody listens, the port is out of those that the kernel gives to clients, and we were given that very one:
            // we have called ourselves.
            Ok(Some(peer)) if ourselves == Some(peer) => Err(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// Whether we could not even ask, rather than the other side not take it.
fn is_ours(e: &io::Error) -> bool {
    match e.raw_os_error() {
        Some(errno) => matches!(
            errno,
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EADDRNOTAVAIL
                | libc::EACCES
                | libc::EPERM
        ),
        // A path that is too long, or none.
        None => true,
    }
}

fn unable(place: &str, e: &io::Error) -> Seen {
    Seen::error(format!("{place}: {}", reason(e)))
}

fn refused(place: &str, e: &io::Error) -> Seen {
    match e.raw_os_error() {
        _ if is_ours(e) => unable(place, e),
        Some(libc::ENOENT) => Seen::failure(format!("{place}: no such socket")),
        _ => Seen::failure(format!("{place}: {}", reason(e))),
    }
}
