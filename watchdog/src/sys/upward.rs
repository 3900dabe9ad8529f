//! Datagrams to whoever has started us and wants to hear of it (sd_notify(3)). Sent without ever waiting.

use nix::errno::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It lies in the queue of the other side.
    Yes,
    /// That queue is full: it may be tried again.
    Full,
    /// Nobody is there, or it is not to be had: trying again at once is of no use.
    No(Errno),
}

/// The way to one listener.
#[derive(Debug)]
pub(crate) struct Upward {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Upward {
    /// By the value of NOTIFY_SOCKET: a path, or `@` and an abstract name. Not connected: a listener that was made anew at
    /// the same place hears us again.
    ///
    /// # Errors
    /// Neither of the two, or too long; no descriptor.
    pub(crate) fn open(address: &OsStr) -> io::Result<Upward> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let socket = UnixDatagram::unbound()?;
        // A socket of our own: nobody else has this description.
        socket.set_nonblocking(true)?;
        Ok(Upward { socket, to })
    }

    /// One datagram.
    pub(crate) fn send(&self, text: &str) -> Sent {
        let Err(e) = self.socket.send_to_addr(text.as_bytes(), &self.to) else { return Sent::Yes };
        let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        let for_now = [Errno::EAGAIN, Errno::EINTR, Errno::ENOBUFS, Errno::ENOMEM].contains(&errno);
        if for_now { Sent::Full } else { Sent::No(errno) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name_are_reached_and_nothing_else_is_an_address() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let name = format!("watchdog-upward-{}", std::process::id());
        let listeners = [
            (UnixDatagram::bind(&path).expect("bound"), path.clone().into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound"),
                format!("@{name}").into(),
            ),
        ];
        for (listener, address) in listeners {
            let upward = Upward::open(&address).expect("an address");
            assert_eq!(upward.send("READY=1"), Sent::Yes);
            let mut got = [0; 16];
            let n = listener.recv(&mut got).expect("a datagram");
            assert_eq!(&got[..n], b"READY=1");
        }
        for wrong in ["", "@", "relative/path", "vsock:2:99"] {
            assert!(Upward::open(OsStr::new(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_full_queue_and_a_listener_that_is_gone_do_not_hold_us_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let listener = UnixDatagram::bind(&path).expect("bound");
        let upward = Upward::open(path.as_os_str()).expect("an address");
        let full = (0..100_000).any(|_| upward.send("WATCHDOG=1") == Sent::Full);
        assert!(full, "the queue of a listener that does not read is bounded");
        drop(listener);
        assert_eq!(upward.send("WATCHDOG=1"), Sent::No(Errno::ECONNREFUSED));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(upward.send("WATCHDOG=1"), Sent::No(Errno::ENOENT));
    }
}
