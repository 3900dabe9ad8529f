//! A connection, made without waiting: to the first of several addresses that takes one.

use super::Seen;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Dial {
    line: Option<Line>,
    left: std::vec::IntoIter<SocketAddr>,
    place: String,
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
        let mut dial = Dial { line: None, left: addresses.into_iter(), place: String::new() };
        dial.next(registry, token, None)?;
        Ok(dial)
    }

    /// To a path.
    pub(crate) fn unix(path: &Path, registry: &Registry, token: Token) -> Result<Dial, Seen> {
        let place = path.display().to_string();
        let mut stream = UnixStream::connect(path).map_err(|e| match e.kind() == ErrorKind::WouldBlock {
            // Unlike TCP there is no handshake to wait for: either it is queued, or there is no room.
            true => Seen::failure(format!("{place}: its queue is full")),
            false => refused(&place, &e),
        })?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, token, interest).map_err(|e| unable(&e))?;
        Ok(Dial { line: Some(Line::Unix(stream)), left: Vec::new().into_iter(), place })
    }

    /// The next address. `why`: what was wrong with the last one.
    fn next(&mut self, registry: &Registry, token: Token, mut why: Option<Seen>) -> Result<(), Seen> {
        self.end(registry);
        for address in self.left.by_ref() {
            self.place = address.to_string();
            match TcpStream::connect(address) {
                Ok(mut stream) => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    registry.register(&mut stream, token, interest).map_err(|e| unable(&e))?;
                    self.line = Some(Line::Tcp(stream));
                    return Ok(());
                }
                Err(e) if e.raw_os_error().is_some_and(shortage) => return Err(unable(&e)),
                Err(e) => why = Some(refused(&self.place, &e)),
            }
        }
        Err(why.unwrap_or_else(|| Seen::error("no address to connect to")))
    }

    /// Looks how far it is.
    pub(crate) fn go_on(&mut self, registry: &Registry, token: Token) -> Step {
        let (error, peer) = match &self.line {
            Some(Line::Tcp(stream)) => {
                (stream.take_error(), stream.peer_addr().and_then(|to| somebody_else(stream, to)))
            }
            Some(Line::Unix(stream)) => (stream.take_error(), stream.peer_addr().map(|_| ())),
            None => return Step::Over(Seen::error("no connection")),
        };
        let failed = match (error, peer) {
            (Ok(Some(e)) | Err(e), _) => e,
            (Ok(None), Ok(())) => return Step::There,
            (Ok(None), Err(e)) if e.kind() == ErrorKind::NotConnected => return Step::Waits,
            (Ok(None), Err(e)) => e,
        };
        let why = refused(&self.place, &failed);
        match self.next(registry, token, Some(why)) {
            Ok(()) => Step::Waits,
            Err(seen) => Step::Over(seen),
        }
    }

    /// Where to.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Takes it out of the loop and closes it.
    pub(crate) fn end(&mut self, registry: &Registry) {
        match self.line.take() {
            Some(Line::Tcp(mut stream)) => drop(registry.deregister(&mut stream)),
            Some(Line::Unix(mut stream)) => drop(registry.deregister(&mut stream)),
            None => {}
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

/// Where nobody listens, a connection to a port that the kernel also gives to those who connect may meet itself.
fn somebody_else(stream: &TcpStream, to: SocketAddr) -> io::Result<()> {
    match stream.local_addr()? == to {
        true => Err(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
        false => Ok(()),
    }
}

/// Whether it is this machine that cannot, rather than the other side.
fn shortage(errno: i32) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::EADDRNOTAVAIL)
}

fn unable(e: &io::Error) -> Seen {
    Seen::error(format!("cannot be tried: {e}"))
}

fn refused(place: &str, e: &io::Error) -> Seen {
    let why = match e.raw_os_error() {
        Some(libc::ENOENT) => "no such socket".to_string(),
        Some(n) => nix::errno::Errno::from_raw(n).desc().to_lowercase(),
        None => e.to_string(),
    };
    Seen::failure(format!("{place}: {why}"))
}
