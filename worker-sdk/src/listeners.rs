//! Listening sockets that somebody else opened and handed over (`LISTEN_FDS`), by name.

use crate::env;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

/// Sockets that outlive this process: while it restarts, connections wait in their queues.
///
/// ```
/// let mut listeners = worker_sdk::Listeners::from_env();
/// // Handed over, or opened here when nobody did.
/// let http = match listeners.tcp("http") {
///     Some(listener) => listener,
///     None => std::net::TcpListener::bind("127.0.0.1:0")?,
/// };
/// # drop(http);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Listeners {
    found: Vec<(String, OwnedFd)>,
}

impl Listeners {
    /// Takes what the environment names (`LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`), close-on-exec, and removes the
    /// variables. Empty if there is nothing, if it was meant for another process, or if it was taken before. To be called
    /// at the start of `main`: while other threads run the variables have to stay.
    #[must_use]
    pub fn from_env() -> Listeners {
        Listeners { found: env::take_listeners() }
    }

    /// The names that are left, in the order in which they were handed over.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.found.iter().map(|(name, _)| name.as_str())
    }

    /// Takes the first TCP listener of this name. What is of another kind (UDP, a connection) stays.
    pub fn tcp(&mut self, name: &str) -> Option<TcpListener> {
        self.take_if(name, env::is_tcp).map(TcpListener::from)
    }

    /// Takes the first listening Unix stream socket of this name. What is of another kind stays.
    pub fn unix(&mut self, name: &str) -> Option<UnixListener> {
        self.take_if(name, env::is_unix).map(UnixListener::from)
    }

    /// Takes the first descriptor of this name, whatever it is.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.take_if(name, |_| true)
    }

    fn take_if(&mut self, name: &str, wanted: impl Fn(&OwnedFd) -> bool) -> Option<OwnedFd> {
        let at = self.found.iter().position(|(n, fd)| n == name && wanted(fd))?;
        Some(self.found.remove(at).1)
    }
}
