//! Sockets between us and a worker: made, read and written without ever waiting. What comes along as a descriptor is
//! owned from the moment it is here, and closed by [`super::closer`] alone.

use super::fds;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::sockopt::{OobInline, PassCred};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, bind, connect, recv, setsockopt, shutdown, socket,
    socketpair,
};
use nix::sys::stat::{Mode, fchmod, fstat};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

/// sockaddr_un(7): 108 bytes with the NUL.
pub(super) const PATH_LIMIT: usize = 107;
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
    /// What came along. Whoever takes them closes them by [`super::closer`]: dropping one may wait for ever.
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

/// What the other side sends out of band is data as any other. Else a read would pass over it, the kernel would close the
/// descriptors that came along in our place, and a look would take the socket for empty. To be said before the first read, and
/// true also of what has come before: so a start does not wait for it.
///
/// # Errors
/// This is no socket.
pub(crate) fn nothing_out_of_band(stream: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setsockopt(&stream, OobInline, &true)?)
}

/// A connection to a server at this path, which is not ours and is not to send us descriptors: it cannot where the kernel
/// refuses them (Linux 6.16). Never waits, also not for what is read and written.
///
/// # Errors
/// WouldBlock when the queue of the server is full; nothing listens there; no descriptors.
pub(crate) fn dial(path: &Path) -> io::Result<OwnedFd> {
    fits(path).map_err(|_| io::Error::new(ErrorKind::InvalidInput, "the path is too long for a socket"))?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nothing_out_of_band(stream.as_fd())?;
    let _ = fds::refuse_descriptors(stream.as_fd());
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(stream)
}

/// The file of a socket: removed with this value.
#[derive(Debug)]
pub(crate) struct SocketFile(pub(super) PathBuf);

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it has been left where it is.
    pub(crate) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.0).is_ok_and(|meta| meta.file_type().is_socket())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A socket at this path for datagrams whose senders the kernel names, for our own user alone. `owner`: the worker's user
/// and group, when they are not ours and it has to reach the path.
///
/// # Errors
/// The path is taken, too long, or in a directory in which others could exchange it; what the kernel says.
pub(crate) fn notify_socket(path: &Path, owner: Option<(u32, u32)>) -> io::Result<(OwnedFd, SocketFile)> {
    fits(path)?;
    clear_stale(path)?;
    new_notify_socket(path, owner)
}

/// The same at a path where nothing can be.
///
/// # Errors
/// As above.
pub(super) fn new_notify_socket(path: &Path, owner: Option<(u32, u32)>) -> io::Result<(OwnedFd, SocketFile)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    setsockopt(&fd, PassCred, &true)?;
    let file = bind_path(&fd, path, owner)?;
    Ok((fd, file))
}

fn fits(path: &Path) -> io::Result<()> {
    if path.as_os_str().len() > PATH_LIMIT { Err(ErrorKind::InvalidFilename.into()) } else { Ok(()) }
}

fn bind_path(fd: &OwnedFd, path: &Path, owner: Option<(u32, u32)>) -> io::Result<SocketFile> {
    fits(path)?;
    if owner.is_some() {
        nobody_can_exchange(path)?;
    }
    // Linux makes the file with the mode of the socket: private from its first instant, whatever the umask.
    fchmod(fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let file = SocketFile(path.to_owned());
    if let Some((uid, gid)) = owner {
        lchown(path, Some(uid), Some(gid))?;
    }
    Ok(file)
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

/// Makes room at the path if what is there is a socket at which no process listens. Anything else is left alone.
pub(super) fn clear_stale(path: &Path) -> io::Result<()> {
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

/// The same of what brings no descriptors. None: what comes next brings some, and stays where it is. `stream`: which kind of
/// socket it is.
///
/// # Errors
/// As above.
pub(crate) fn receive_bare(fd: BorrowedFd<'_>, buffer: &mut [u8], stream: bool) -> io::Result<Option<Received>> {
    let Some(bytes) = fds::bare(fd, buffer, stream)? else { return Ok(None) };
    // No more than was seen: what came meanwhile may bring some.
    fds::receive(fd, buffer.get_mut(..bytes).unwrap_or_default()).map(Some)
}

/// Sends what goes without waiting and says how much that is.
///
/// # Errors
/// WouldBlock when nothing goes; EPIPE (without the signal) and whatever else the other side gives.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    nix::sys::socket::send(fd.as_raw_fd(), bytes, flags).map_err(io::Error::from)
}

/// Takes no more messages. True: nothing is left in it, and closing it closes no descriptor that somebody has sent. (A look
/// that takes nothing leaves them where they are.) `stream`: which kind of socket it is.
pub(crate) fn is_empty_for_good(socket: BorrowedFd<'_>, stream: bool) -> bool {
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Read);
    match recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        // Of a stream this is its end; an empty datagram may hold descriptors all the same.
        Ok(0) => stream,
        Ok(_) => false,
        Err(errno) => matches!(errno, Errno::EAGAIN | Errno::ENOTCONN | Errno::ECONNRESET),
    }
}

/// Whether this is a file that lives in memory. The one call that is made on a descriptor that somebody has sent: it looks
/// at the kind of file alone, and never waits.
pub(crate) fn is_memory(fd: BorrowedFd<'_>) -> bool {
    // Only files that live in memory have seals to ask for; all others say EINVAL.
    fcntl(fd, FcntlArg::F_GET_SEALS).is_ok()
}

/// Bytes that a memory file holds: so much is freed when the last of its descriptors is closed.
pub(crate) fn held_bytes(memory: BorrowedFd<'_>) -> u64 {
    fstat(memory).map_or(u64::MAX, |stat| u64::try_from(stat.st_blocks).unwrap_or(u64::MAX).saturating_mul(512))
}

/// Fills the buffer from a memory file of a worker, from `offset` on. Whatever else it may have sent is refused before
/// anything is read: only memory is sure not to keep us waiting, where a pipe, a device or a file of its own file system
/// (FUSE) could.
///
/// # Errors
/// InvalidInput: no memory file. UnexpectedEof: too short.
pub(crate) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u32) -> io::Result<()> {
    // First of all: fstat of a file of somebody's own file system waits for that one's answer.
    if !is_memory(fd) {
        return Err(ErrorKind::InvalidInput.into());
    }
    let stat = fstat(fd)?;
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
