//! Descriptors that belong to others: written to without ever changing how they behave for their owner.

use super::channel::Received;
use super::{SysError, at};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::stat::{SFlag, fstat};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// What can be written to a pipe in one go without blocking when it is reported as writable (PIPE_BUF).
const CAREFUL: usize = 4096;
/// The same of a terminal, which promises less.
const TERMINAL_CAREFUL: usize = 256;

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Regular file, directory, block device, /dev/null: a write returns at once.
    Direct,
    /// A pipe: the reader decides.
    Pipe,
    /// A terminal: whoever sits there decides.
    Terminal,
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

fn kind(fd: BorrowedFd<'_>) -> Kind {
    let Ok(stat) = fstat(fd) else { return Kind::Closed };
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFSOCK => Kind::Socket,
        SFlag::S_IFIFO => Kind::Pipe,
        SFlag::S_IFCHR if nix::unistd::isatty(fd).unwrap_or(false) => Kind::Terminal,
        _ => Kind::Direct,
    }
}

/// A way to write to a descriptor that others share, without waiting for a reader and without setting O_NONBLOCK, which
/// would change it for all of them (case INH-09). The one way to standard output and standard error, for the output of
/// workers and for the watchdog's own log.
#[derive(Debug)]
pub struct SharedWriter {
    kind: Kind,
    /// A non-blocking description of our own of the same pipe or terminal, where the kernel gives one: between a poll and a
    /// write to the shared one others may fill it (case LOG-12).
    private: Option<File>,
}

impl SharedWriter {
    /// Looks at what this descriptor is. It is given again to each write, and stays what it is.
    #[must_use]
    pub fn of(fd: BorrowedFd<'_>) -> SharedWriter {
        let kind = kind(fd);
        let private = match kind {
            Kind::Pipe | Kind::Terminal => private_writer(fd),
            Kind::Direct | Kind::Socket | Kind::Closed => None,
        };
        SharedWriter { kind, private }
    }

    /// The descriptor to be woken by when the reader takes more; `None` where a write never waits.
    pub(crate) fn wake_fd(&self, fd: BorrowedFd<'_>) -> Option<RawFd> {
        match (self.kind, &self.private) {
            (Kind::Direct | Kind::Closed, _) => None,
            (_, Some(file)) => Some(file.as_raw_fd()),
            (_, None) => Some(fd.as_raw_fd()),
        }
    }

    /// Writes what goes without waiting. `Ok(0)`: nothing now, ask again when it is writable.
    ///
    /// # Errors
    /// EPIPE, EIO of a terminal that is gone, and whatever else the reader's side gives.
    pub fn write_some(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let write = |fd: BorrowedFd<'_>, bytes: &[u8]| nix::unistd::write(fd, bytes);
        let result = match (self.kind, &self.private) {
            (Kind::Closed, _) => Err(nix::Error::EBADF),
            (Kind::Direct, _) => write(fd, bytes),
            (Kind::Socket, _) => {
                use nix::sys::socket::{MsgFlags, send};
                send(fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            // The kernel takes what fits.
            (Kind::Pipe, Some(own)) => write(own.as_fd(), bytes),
            (Kind::Terminal, Some(own)) => without_ttou(|| write(own.as_fd(), bytes)),
            (Kind::Pipe | Kind::Terminal, None) if !writable(fd) => return Ok(0),
            (Kind::Pipe, None) => write(fd, &bytes[..bytes.len().min(CAREFUL)]),
            (Kind::Terminal, None) => without_ttou(|| write(fd, &bytes[..bytes.len().min(TERMINAL_CAREFUL)])),
        };
        match result {
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(0),
            other => other.map_err(io::Error::from),
        }
    }
}

/// A private, non-blocking way to the same pipe or terminal, where the kernel gives one.
fn private_writer(fd: BorrowedFd<'_>) -> Option<File> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    OpenOptions::new().write(true).custom_flags(flags.bits()).open(path).ok()
}

/// On a terminal with `tostop` a process in the background would be stopped for writing.
fn without_ttou<T>(action: impl FnOnce() -> T) -> T {
    let blocked: SigSet = [Signal::SIGTTOU].into_iter().collect();
    let mut before = SigSet::empty();
    let masked = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before)).is_ok();
    let result = action();
    if masked {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    result
}

/// Whether a write would not wait, or would fail at once (which is also not waiting).
fn writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// Room for what can come along with one message: 253 descriptors (SCM_MAX_FD) and the credentials, each with its header.
const CONTROL_WORDS: usize = 140;

/// recvmsg(2) that never waits. Not nix's: that one gives back nothing of a message of which something was cut off
/// (MSG_CTRUNC, which EMFILE is enough for), and the descriptors that did arrive would stay open for ever.
///
/// # Errors
/// WouldBlock when there is nothing; what the other side did to the socket.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut received = Received { bytes: 0, truncated: false, credentials: None, descriptors: Vec::new() };
    // Words, because control messages are aligned to them.
    let flags = receive_with(fd, buffer, &mut [0; CONTROL_WORDS], libc::MSG_CMSG_CLOEXEC, &mut received)?;
    received.truncated = flags & libc::MSG_TRUNC != 0;
    Ok(received)
}

/// Room for the credentials of the sender, and for nothing beside them.
const CREDENTIALS_WORDS: usize = 4;

/// How many bytes can be taken that bring no descriptors. None: there are some among those that a read would take. Takes nothing
/// and opens nothing. `stream`: the kernel names no senders here.
///
/// # Errors
/// As above.
pub(crate) fn bare(fd: BorrowedFd<'_>, buffer: &mut [u8], stream: bool) -> io::Result<Option<usize>> {
    let mut received = Received { bytes: 0, truncated: false, credentials: None, descriptors: Vec::new() };
    let mut control = [0; CREDENTIALS_WORDS];
    let control = if stream { &mut [][..] } else { &mut control[..] };
    let flags = receive_with(fd, buffer, control, libc::MSG_PEEK | libc::MSG_CMSG_CLOEXEC, &mut received)?;
    // What there is no room for is not opened, and said to have been cut off.
    Ok((flags & libc::MSG_CTRUNC == 0).then_some(received.bytes))
}

fn receive_with(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut [u64],
    flags: libc::c_int,
    received: &mut Received,
) -> io::Result<libc::c_int> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid msghdr: no name, no parts, no control.
    let mut message = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(control) as _;
    // SAFETY: the parts of the message point to memory that is ours, writable for the lengths given, and outlives the call.
    let got = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags | libc::MSG_DONTWAIT) };
    received.bytes = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled the message and set the length of its control part, which `control` still holds.
    unsafe { unpack(&message, received) };
    Ok(message.msg_flags)
}

/// Takes credentials and descriptors out of the control messages.
///
/// # Safety
/// recvmsg(2) has filled the message, its control buffer is still there, and this is the only time that it is unpacked.
#[allow(clippy::unnecessary_cast, reason = "musl counts in u32")]
unsafe fn unpack(message: &libc::msghdr, received: &mut Received) {
    // SAFETY: the walk stays inside the control part, by the lengths that the kernel wrote; data may be unaligned and is
    // read so; every number of SCM_RIGHTS is a descriptor that the kernel has just opened for us, and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(head) = header.as_ref() {
            let data = libc::CMSG_DATA(head);
            let length = (head.cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            match (head.cmsg_level, head.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for n in 0..length / mem::size_of::<i32>() {
                        let number = data.cast::<i32>().add(n).read_unaligned();
                        received.descriptors.push(OwnedFd::from_raw_fd(number));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= mem::size_of::<libc::ucred>() => {
                    let sender = data.cast::<libc::ucred>().read_unaligned();
                    received.credentials = Some((sender.pid, sender.uid, sender.gid));
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, head);
        }
    }
}

/// SO_PASSRIGHTS, which libc does not name yet.
const PASS_RIGHTS: libc::c_int = 83;

/// Nobody can send descriptors to this Unix socket, or to the connections that are taken from it (Linux 6.16). False: the
/// kernel cannot refuse them.
pub(crate) fn refuse_descriptors(socket: BorrowedFd<'_>) -> bool {
    let off: libc::c_int = 0;
    let size = mem::size_of_val(&off) as libc::socklen_t;
    let fd = socket.as_raw_fd();
    // SAFETY: one number, readable for the length given with it.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, PASS_RIGHTS, (&raw const off).cast(), size) == 0 }
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

/// Columns and rows of the terminal on standard output, where there is one that knows them.
#[must_use]
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize where it is told to, and nothing where this is no terminal.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Moves a descriptor of ours to a number from `floor` on; where there is none, it stays.
pub(crate) fn raise(fd: OwnedFd, floor: i32) -> OwnedFd {
    // SAFETY: numbers alone. Not by libc: musl's sets the flag a second time.
    let moved = unsafe { libc::syscall(libc::SYS_fcntl, fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, floor) };
    match i32::try_from(moved) {
        // SAFETY: the kernel just made this descriptor and nobody else knows it.
        Ok(number) if number >= 0 => unsafe { OwnedFd::from_raw_fd(number) },
        Ok(_) | Err(_) => fd,
    }
}

/// Most numbers that are tried one by one, where neither the kernel nor /proc says which are open: a tenth of a second.
const TRIED: u64 = 1 << 20;

/// Nothing that was open before us passes on to a child, but 0 to 2 and what is named for it. One call where the kernel
/// has it: CLOSE_RANGE_CLOEXEC is of Linux 5.11, and a filter of a container may refuse it.
///
/// # Errors
/// There is no way to find out what is open.
pub(crate) fn keep_to_ourselves() -> Result<(), SysError> {
    // SAFETY: numbers alone; sets a flag of descriptors, closes nothing.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3u32, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { take_over().map(drop) }
}

/// The same one by one. Gives back those that would have passed on.
///
/// # Errors
/// There is no /proc here, and more numbers are possible than can be tried.
pub(crate) fn take_over() -> Result<Vec<i32>, SysError> {
    match std::fs::read_dir("/proc/self/fd") {
        Ok(open) => Ok(numbers(open).filter(|fd| *fd > 2 && shut_on_exec(*fd)).collect()),
        Err(_) => Ok((3..highest()?).filter(|fd| shut_on_exec(*fd)).collect()),
    }
}

fn numbers(open: std::fs::ReadDir) -> impl Iterator<Item = i32> {
    open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The first number that no descriptor can have.
fn highest() -> Result<i32, SysError> {
    use nix::sys::resource::{Resource, getrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(at("getrlimit"))?;
    let can_be_tried = i32::try_from(hard).ok().filter(|_| hard <= TRIED);
    // What is open can neither be listed nor tried: better no start than one that hands everything on.
    can_be_tried
        .ok_or(SysError { call: "descriptors that were inherited cannot be found without /proc", errno: Errno::EMFILE })
}

/// Makes a descriptor close-on-exec. True: it was open and was not.
fn shut_on_exec(fd: i32) -> bool {
    // SAFETY: numbers alone; changes a flag of a descriptor that is open, and nothing where none is.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFD);
        flags >= 0 && flags & libc::FD_CLOEXEC == 0 && libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) == 0
    }
}

/// The number of descriptors that we may have.
pub(crate) fn limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// And of those that are open; None where there is no /proc. For where few may be: before Linux 6.2 they are counted one by one.
pub(crate) fn open() -> Option<u64> {
    let folder = "/proc/self/fd";
    let size = std::fs::metadata(folder).ok()?.len();
    if size > 0 { Some(size) } else { std::fs::read_dir(folder).ok().map(|all| all.count() as u64) }
}

/// No core of ours: the soft limit is one byte. Not none, because a kernel that hands cores to a program (core_pattern with
/// a `|`) does so whatever the limit is, but for just this one. Gives back the limits as they were, for the workers.
pub(crate) fn refuse_core() -> Option<(u64, u64)> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).ok()?;
    setrlimit(Resource::RLIMIT_CORE, hard.min(1), hard).ok()?;
    Some((soft, hard))
}

/// As many descriptors as we may have, and as `wanted` where we are privileged: several for each of thousands of services.
/// Gives back the limits as they were, for the workers.
pub(crate) fn raise_limit(wanted: u64) -> Option<(u64, u64)> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let more = hard.max(wanted);
    let set = setrlimit(Resource::RLIMIT_NOFILE, more, more);
    set.or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard)).ok()?;
    Some((soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    /// A terminal and its other side, which nothing reads.
    fn terminal() -> (OwnedFd, OwnedFd) {
        let pty = openpty(None, None).expect("a terminal");
        (pty.slave, pty.master)
    }

    /// R6. Failed before in the one of two writers that took a terminal for a pipe.
    #[test]
    fn a_terminal_that_nothing_reads_never_waits_with_or_without_a_description_of_our_own() {
        for private in [true, false] {
            let (side, person) = terminal();
            let mut writer = SharedWriter::of(side.as_fd());
            assert!(writer.kind == Kind::Terminal && writer.private.is_some());
            writer.private = writer.private.filter(|_| private);
            let mut taken = 0;
            while let n @ 1.. = writer.write_some(side.as_fd(), &[b'x'; 10_000]).expect("a write") {
                taken += n;
                assert!(private || n <= TERMINAL_CAREFUL, "{n}");
            }
            assert!(taken > 0, "it takes something at first");
            drop(person);
            assert!(writer.write_some(side.as_fd(), b"x").is_err(), "a terminal that is gone is an end");
        }
    }

    #[test]
    fn what_others_share_is_never_made_non_blocking() {
        let (reader, pipe) = std::io::pipe().expect("a pipe");
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let (side, _person) = terminal();
        let file = File::open("/dev/null").expect("null");
        for fd in [pipe.as_fd(), socket.as_fd(), side.as_fd(), file.as_fd()] {
            let writer = SharedWriter::of(fd);
            let _ = writer.write_some(fd, b"x");
            let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL).expect("flags");
            assert_eq!(flags & libc::O_NONBLOCK, 0, "{writer:?}");
        }
        drop(reader);
        assert!(SharedWriter::of(pipe.as_fd()).write_some(pipe.as_fd(), b"x").is_err(), "the reader is gone");
    }
}
