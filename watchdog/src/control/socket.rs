//! Making the socket: private from its first instant, never in the place of somebody else's file.

use mio::net::UnixListener;
use mio::net::UnixStream;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// sockaddr_un(7): 108 bytes with the NUL.
const PATH_LIMIT: usize = 107;

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

/// Makes the runtime directory, 0700, or checks that it is ours and closed to others.
///
/// # Errors
/// Says which directory and why.
pub(crate) fn private_dir(dir: &Path) -> Result<(), BindError> {
    let fail = |why: String| BindError::Directory(format!("runtime directory {}: {why}", dir.display()));
    let os = |e: std::io::Error| fail(crate::machine::errno_name(e.raw_os_error().unwrap_or(0)));
    // Most often it is there: looking is cheaper than trying to make it.
    let meta = match fs::symlink_metadata(dir) {
        Ok(meta) => meta,
        Err(_) => {
            fs::DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(os)?;
            fs::symlink_metadata(dir).map_err(os)?
        }
    };
    let me = nix::unistd::geteuid().as_raw();
    if !meta.is_dir() || meta.uid() != me {
        return Err(fail(format!("belongs to user {}, not to us ({me})", meta.uid())));
    }
    // One that was there before and that others may look into is good enough (the socket itself is 0600); one that
    // others may write to is not: they could put their socket in the place of ours.
    if meta.permissions().mode() & 0o022 != 0 {
        return Err(fail(format!("is open to others (mode {:o}): chmod 700 it", meta.permissions().mode() & 0o777)));
    }
    Ok(())
}

/// Binds and listens; `what` it is for is said in errors; `unique`: nobody else can want this path. A socket that nobody answers on is replaced; anything else at the path is left alone.
///
/// # Errors
/// In use, not a socket, somebody else's, too long, or what the kernel says.
pub(crate) fn bind(what: &str, path: &Path, unique: bool) -> Result<Bound, BindError> {
    let place = |why: String| BindError::Place(format!("{what} {}: {why}", path.display()));
    let length = path.as_os_str().len();
    if length > PATH_LIMIT {
        return Err(place(format!("path has {length} bytes, the kernel takes at most {PATH_LIMIT}")));
    }
    if unique && let Ok(listener) = listen(path) {
        return Bound::new(listener, path).map_err(place);
    }
    // Two that start at the same time must not both take the place of a stale socket.
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = fs::File::open(dir).map_err(|e| place(crate::machine::errno_name(e.raw_os_error().unwrap_or(0))))?;
    // Never waited for: in a directory that others may use, anybody could hold it.
    let _lock = Flock::lock(dir, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, e)| place(format!("another watchdog is taking it just now ({e:?})")))?;
    clear_stale(path).map_err(place)?;
    listen(path).and_then(|listener| Bound::new(listener, path)).map_err(place)
}

fn listen(path: &Path) -> Result<UnixListener, String> {
    // Private from the first instant: no window between bind and chmod.
    let old = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(old);
    bound.map_err(|e| match e.raw_os_error().unwrap_or(0) {
        libc::EADDRINUSE => "is in use by another watchdog".into(),
        errno => crate::machine::errno_name(errno),
    })
}

fn clear_stale(path: &Path) -> Result<(), String> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err("is there and is not a socket; left alone".into());
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("belongs to user {}; left alone", meta.uid()));
    }
    // Non-blocking: a full queue of a watchdog that stands still is a watchdog too.
    match UnixStream::connect(path) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| format!("stale, and cannot be removed: {e}"))
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
    Some(format!("{name} is already running (pid {pid}): it listens on {}", path.display()))
}

impl Bound {
    fn new(listener: UnixListener, path: &Path) -> Result<Bound, String> {
        let meta = fs::symlink_metadata(path).map_err(|e| e.to_string())?;
        Ok(Bound { listener, home: Home { path: path.to_owned(), id: (meta.dev(), meta.ino()) } })
    }
}

impl Home {
    /// Removes the socket if the path still leads to ours.
    pub(crate) fn unlink(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
