//! Sockets between us and a worker: made, read and written without ever waiting. What comes along as a descriptor is
//! owned from the moment it is here, so that dropping the message closes it.

use super::fds;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockname, setsockopt, socket, socketpair,
};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown};
use std::path::Path;

/// sockaddr_un(7): 108 bytes with the NUL.
const PATH_LIMIT: usize = 107;
/// What others may do to a directory in which they could put something else in the place of ours.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// One message, or what one read of a stream brought.
#[derive(Debug)]
pub(crate) struct Received {
    /// So many bytes were written to the buffer. 0: the end of a stream; of a datagram, that it is empty.
    pub bytes: usize,
    /// It was longer than the buffer, and the rest is lost (datagrams only).
    pub truncated: bool,
    /// pid, uid and gid of the sender, where the socket asks for them.
    pub credentials: Option<(i32, u32, u32)>,
    /// What came along: closed with this value unless it is taken out.
    pub descriptors: Vec<OwnedFd>,
}

/// A stream for one worker: our end and its end, both close-on-exec. That ours never waits is said at each call ([`send`],
/// [`receive`]), which saves one at the start.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?)
}

/// A socket for datagrams whose senders the kernel names, and the value of NOTIFY_SOCKET that leads to it. `at`: a path,
/// else an abstract name of the kernel's choice. `owner`: the worker's user and group, when they are not ours and it has
/// to reach the path.
///
/// # Errors
/// The path is taken, too long, or in a directory in which others could exchange it; what the kernel says.
pub(crate) fn notify_socket(at: Option<&Path>, owner: Option<(u32, u32)>) -> io::Result<(OwnedFd, OsString)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    setsockopt(&fd, PassCred, &true)?;
    match at {
        Some(path) => bind_path(&fd, path, owner).map(|()| (fd, path.as_os_str().to_owned())),
        None => {
            // A name without bytes: the kernel picks a free one (autobind, unix(7)).
            bind(fd.as_raw_fd(), &UnixAddr::new_unnamed())?;
            let address: UnixAddr = getsockname(fd.as_raw_fd())?;
            let name = address.as_abstract().ok_or(Errno::EADDRNOTAVAIL)?;
            Ok((fd, OsString::from_vec([b"@", name].concat())))
        }
    }
}

fn bind_path(fd: &OwnedFd, path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    if path.as_os_str().len() > PATH_LIMIT {
        return Err(ErrorKind::InvalidFilename.into());
    }
    clear_stale(path)?;
    if owner.is_some() {
        nobody_can_exchange(path)?;
    }
    // Linux makes the file with the mode of the socket: private from its first instant, whatever the umask.
    fchmod(fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    match owner {
        Some((uid, gid)) => lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

/// Changing the owner goes by the path: in a directory where others can put a link to another file there, that file would
/// be given away.
fn nobody_can_exchange(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let meta = fs::metadata(dir)?;
    let safe = meta.mode() & WRITABLE_BY_OTHERS == 0 || meta.mode() & STICKY != 0;
    let trusted = meta.uid() == 0 || meta.uid() == nix::unistd::geteuid().as_raw();
    if safe && trusted { Ok(()) } else { Err(ErrorKind::PermissionDenied.into()) }
}

/// Makes room at the path if what is there is a socket of ours at which nobody listens. Anything else is left alone.
fn clear_stale(path: &Path) -> io::Result<()> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let probe =
        socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

/// Takes one message, or what there is of a stream. Never waits.
///
/// # Errors
/// WouldBlock when there is nothing; what the other side did to the socket.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    fds::receive(fd, buffer)
}

/// Sends what goes without waiting and says how much that is.
///
/// # Errors
/// WouldBlock when nothing goes; EPIPE (without the signal) and whatever else the other side gives.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    nix::sys::socket::send(fd.as_raw_fd(), bytes, flags).map_err(io::Error::from)
}

/// Fills the buffer from a memory file of a worker, from `offset` on. Whatever else it may have sent is refused before
/// anything is read: only memory is sure not to keep us waiting, where a pipe, a device or a file of its own file system
/// (FUSE) could.
///
/// # Errors
/// InvalidInput: no memory file. UnexpectedEof: too short.
pub(crate) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u32) -> io::Result<()> {
    let stat = fstat(fd)?;
    let regular = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
    // Only files that live in memory have seals to ask for; all others say EINVAL.
    if !regular || fcntl(fd, FcntlArg::F_GET_SEALS).is_err() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let needed = u64::from(offset) + buffer.len() as u64;
    // It may have become shorter meanwhile: then less is read.
    let long_enough = u64::try_from(stat.st_size).is_ok_and(|size| size >= needed);
    if !long_enough || nix::sys::uio::pread(fd, buffer, i64::from(offset))? < buffer.len() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
