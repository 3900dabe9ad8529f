//! Descriptors that belong to others: written to without ever changing how they behave for their owner.

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

/// What can be written to a pipe in one go without blocking when it is reported as writable (PIPE_BUF).
const CAREFUL: usize = 4096;

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Regular file, directory, block device, /dev/null: a write returns at once.
    Direct,
    /// A pipe or terminal: the reader decides.
    Stream,
    /// A socket.
    Socket,
    /// Nothing: closed.
    Closed,
}

/// Descriptor 0, without the buffer that the library's handle brings along.
#[must_use]
pub(crate) fn stdin() -> BorrowedFd<'static> {
    // SAFETY: the runtime opens 0, 1 and 2 before main if they were closed, and nothing of ours closes them.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// Looks.
#[must_use]
pub(crate) fn kind(fd: BorrowedFd<'_>) -> Kind {
    let Ok(stat) = fstat(fd) else { return Kind::Closed };
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFSOCK => Kind::Socket,
        SFlag::S_IFIFO => Kind::Stream,
        SFlag::S_IFCHR if nix::unistd::isatty(fd).unwrap_or(false) => Kind::Stream,
        _ => Kind::Direct,
    }
}

/// A private, non-blocking way to the same pipe or terminal, where the kernel gives one: a description of our own, so
/// that O_NONBLOCK is not set for its owner (case INH-09).
#[must_use]
pub(crate) fn private_writer(fd: BorrowedFd<'_>) -> Option<File> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    OpenOptions::new().write(true).custom_flags(flags.bits()).open(path).ok()
}

/// Writes what goes without waiting. `Ok(0)`: nothing now, ask again when it is writable.
///
/// # Errors
/// EPIPE and whatever else the reader's side gives.
pub(crate) fn write_some(fd: BorrowedFd<'_>, kind: Kind, bytes: &[u8]) -> io::Result<usize> {
    let result = match kind {
        Kind::Closed => return Err(io::Error::from_raw_os_error(libc::EBADF)),
        Kind::Socket => {
            use nix::sys::socket::{MsgFlags, send};
            send(fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).map_err(io::Error::from)
        }
        Kind::Direct => nix::unistd::write(fd, bytes).map_err(io::Error::from),
        Kind::Stream => {
            if !writable(fd) {
                return Ok(0);
            }
            nix::unistd::write(fd, &bytes[..bytes.len().min(CAREFUL)]).map_err(io::Error::from)
        }
    };
    match result {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}

/// Whether a write would not wait, or would fail at once (which is also not waiting).
#[must_use]
pub(crate) fn writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// Whether a file bears an extended attribute of exactly this value.
#[must_use]
pub(crate) fn attribute_is(path: &std::path::Path, name: &str, value: &[u8]) -> bool {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let (Ok(path), Ok(name)) = (CString::new(path.as_os_str().as_bytes()), CString::new(name)) else { return false };
    let mut found = [0u8; 64];
    // SAFETY: two C strings, and a buffer that is writable for the length given with it.
    let got = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), found.as_mut_ptr().cast(), found.len()) };
    usize::try_from(got).is_ok_and(|n| found.get(..n) == Some(value))
}
