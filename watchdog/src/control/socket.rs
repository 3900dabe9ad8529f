//! Making the socket: private from its first instant, never in the place of somebody else's file.

use crate::sys::fds;
use crate::sys::paths::{self, Last, Place, PrivateDir};
use mio::net::UnixListener;
use mio::net::UnixStream;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{FileStat, Mode, umask};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// sockaddr_un(7): 108 bytes with the NUL.
const PATH_LIMIT: usize = 107;
/// Lock files that were removed between our open and our lock.
const LOCK_TRIES: usize = 8;

/// A socket that is ours.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Listening.
    pub listener: UnixListener,
    /// Where.
    pub home: Home,
}

/// The path of a socket that is ours.
#[derive(Debug)]
pub(crate) struct Home {
    /// The path.
    pub path: PathBuf,
    place: Place,
    id: (u64, u64),
}

/// Why there is no socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BindError {
    /// The directory cannot be used: goes on without control unless the place was named.
    Directory(String),
    /// The place is taken or impossible.
    Place(String),
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BindError::Directory(why) | BindError::Place(why) => f.write_str(why),
        }
    }
}

/// Makes the runtime directory, 0700, or checks that it is ours and closed to others. One that was there before and that others
/// may look into is good enough (the socket itself is 0600); one that others may write to is not: they could put their socket
/// in the place of ours.
///
/// # Errors
/// Says which directory and why.
pub(crate) fn private_dir(dir: &Path) -> Result<Option<PrivateDir>, BindError> {
    let fail = |e: io::Error| BindError::Directory(format!("runtime directory {}: {}", dir.display(), why(&e)));
    paths::private_dir(dir, true).map_err(fail)
}

fn why(e: &io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), |errno| crate::machine::errno_name(errno).to_string())
}

/// Binds and listens: see [`bind_in`].
///
/// # Errors
/// As there; a directory that others control.
pub(crate) fn bind(what: &str, path: &Path, unique: bool) -> Result<Bound, BindError> {
    let wrong = |e: io::Error| BindError::Place(format!("{what} {}: {}", path.display(), why(&e)));
    fits(what, path)?;
    bind_in(Place::find(path, paths::Home::Ours, Last::NoLink).map_err(wrong)?, what, path, unique)
}

fn fits(what: &str, path: &Path) -> Result<(), BindError> {
    let length = path.as_os_str().len();
    if length > PATH_LIMIT {
        let why = format!("path has {length} bytes, the kernel takes at most {PATH_LIMIT}");
        return Err(BindError::Place(format!("{what} {}: {why}", path.display())));
    }
    Ok(())
}

/// Binds and listens in a directory that is held; `what` it is for is said in errors; `unique`: no other watchdog can want this
/// path. A socket that is not answered is replaced; anything else at the path is left alone.
///
/// # Errors
/// In use, not a socket, of another user, too long, or what the kernel says.
pub(crate) fn bind_in(place: Place, what: &str, path: &Path, unique: bool) -> Result<Bound, BindError> {
    let wrong = |why: String| BindError::Place(format!("{what} {}: {why}", path.display()));
    fits(what, path)?;
    if unique && let Ok(listener) = listen(path) {
        return Bound::new(listener, path, place).map_err(wrong);
    }
    // Two that start at the same time must not both take the place of a stale socket.
    let lock = Lock::take(&place).map_err(wrong)?;
    clear_stale(path, &place).map_err(wrong)?;
    let bound = listen(path).and_then(|listener| Bound::new(listener, path, place)).map_err(wrong);
    drop(lock);
    bound
}

/// A file of our own beside the socket, for as long as its place is being taken: the directory itself could be locked by all who
/// may open it.
struct Lock {
    place: Place,
    file: Option<Flock<File>>,
}

impl Lock {
    /// Never waited for. Where a stranger has a file of that name in a directory of all, it goes without.
    fn take(socket: &Place) -> Result<Option<Lock>, String> {
        for _ in 0..LOCK_TRIES {
            let Ok(mut place) = socket.sibling(".lock") else { return Ok(None) };
            let Ok(file) = place.overwrite(0o600) else { return Ok(None) };
            let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
                .map_err(|(_, e)| format!("another watchdog is taking it just now ({e:?})"))?;
            // One that had it has removed it meanwhile: then it locks nothing.
            if place.leads_to(&file) {
                return Ok(Some(Lock { place, file: Some(file) }));
            }
        }
        Ok(None)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.place.remove(self.place.name());
        self.file = None;
    }
}

fn listen(path: &Path) -> Result<UnixListener, String> {
    // Private from the first instant: no window between bind and chmod.
    let old = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(old);
    // No client has a descriptor to send, and closing one may wait as long as its sender likes.
    bound.inspect(|listener| _ = fds::refuse_descriptors(listener.as_fd())).map_err(|e| {
        match e.raw_os_error().unwrap_or(0) {
            libc::EADDRINUSE => "is in use by another watchdog".into(),
            errno => crate::machine::errno_name(errno),
        }
    })
}

fn is_socket(facts: &FileStat) -> bool {
    facts.st_mode & libc::S_IFMT == libc::S_IFSOCK
}

#[inline(never)]
fn clear_stale(path: &Path, place: &Place) -> Result<(), String> {
    let Some(facts) = place.facts(place.name()) else { return Ok(()) };
    if !is_socket(&facts) {
        return Err("is there and is not a socket; left alone".into());
    }
    if facts.st_uid != nix::unistd::geteuid().as_raw() {
        return Err(format!("belongs to user {}; left alone", facts.st_uid));
    }
    // Non-blocking: a full queue of a watchdog that stands still is a watchdog too.
    match UnixStream::connect(path) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            place.remove(place.name()).map_err(|e| format!("stale, and cannot be removed: {e}"))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Ok(stream) => Err(in_use(holder(&stream))),
        Err(_) => Err(in_use(None)),
    }
}

fn in_use(pid: Option<i32>) -> String {
    let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    format!("is in use by another watchdog{pid}")
}

/// Who listens at the other end.
fn holder(stream: &UnixStream) -> Option<i32> {
    let peer = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    Some(peer.pid()).filter(|pid| *pid > 0)
}

/// `NAME is already running (pid N)`, where that is why the socket of this name could not be bound.
pub(crate) fn already_runs(name: &str, path: &Path) -> Option<String> {
    if path.file_stem().is_none_or(|stem| stem != name) {
        return None;
    }
    let pid = holder(&UnixStream::connect(path).ok()?)?;
    Some(format!("{name} is already running (pid {pid}): {} is in use by it", path.display()))
}

impl Bound {
    /// The name must be where it was looked for: whoever owns a directory above may have exchanged it meanwhile.
    fn new(listener: UnixListener, path: &Path, place: Place) -> Result<Bound, String> {
        let id = place.facts(place.name()).filter(is_socket).map(|facts| (facts.st_dev, facts.st_ino));
        let id = id.ok_or("its directory was exchanged while the socket was made")?;
        Ok(Bound { listener, home: Home { path: path.to_owned(), place, id } })
    }
}

impl Home {
    /// Removes the socket if the path still leads to ours.
    pub(crate) fn unlink(&self) {
        let there = self.place.facts(self.place.name());
        if there.is_some_and(|facts| (facts.st_dev, facts.st_ino) == self.id) {
            let _ = self.place.remove(self.place.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn private_stale_and_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let first = bind("control socket", &path, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind("control socket", &path, true).unwrap_err().to_string().contains("in use"));
        drop(first.listener);
        let second = bind("control socket", &path, false).unwrap();
        second.home.unlink();
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert!(bind("control socket", &path, true).unwrap_err().to_string().contains("not a socket"));
        second.home.unlink();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let long = dir.path().join("x".repeat(120));
        assert!(bind("control socket", &long, false).unwrap_err().to_string().contains("at most 107"));
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(private_dir(&open).unwrap_err().to_string().contains("mode 777"));
        private_dir(&dir.path().join("new")).unwrap();
    }
}
