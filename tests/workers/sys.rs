//! The few system calls a misbehaving program needs, each behind a safe name.

use std::ffi::CString;
use std::io::Write;
use std::time::Duration;

/// Signal names as the product prints them (without SIG), by number; the runtime's own 32 and 33 are left out.
const NAMES: &[&str] = &[
    "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH",
    "IO", "PWR", "SYS",
];

/// Number of a signal by name or number.
pub(crate) fn signal_number(name: &str) -> i32 {
    if let Ok(n) = name.parse() {
        return n;
    }
    NAMES.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no signal {name}")) as i32
}

/// Name of a signal by number; real-time signals are `RT34` and up.
pub(crate) fn signal_name(number: i32) -> String {
    NAMES.get(number as usize).map_or_else(|| format!("RT{number}"), |n| (*n).to_string())
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn mono_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: t is a valid timespec for the length of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Start time of a process in clock ticks, field 22 of its stat line; 0 when it is gone.
pub(crate) fn start_time(pid: i32) -> u64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0 };
    let after = stat.rsplit(')').next().unwrap_or_default().to_string();
    after.split_whitespace().nth(19).and_then(|t| t.parse().ok()).unwrap_or(0)
}

pub(crate) fn pid() -> i32 {
    std::process::id() as i32
}

/// Forks; `child` runs in the child, which then exits with what it returns. The parent gets the pid.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: this program has one thread wherever it forks.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let code = child();
            let _ = std::io::stdout().flush();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

pub(crate) fn send(pid: i32, signal: i32) {
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(pid, signal) };
}

/// Sets the action of a signal to default or ignore.
pub(crate) fn set_action(signal: i32, ignore: bool) {
    // SAFETY: SIG_DFL and SIG_IGN run no code of ours.
    unsafe { libc::signal(signal, if ignore { libc::SIG_IGN } else { libc::SIG_DFL }) };
}

/// Whether a signal is ignored.
pub(crate) fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the whole set before sigaddset reads it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for s in signals {
            libc::sigaddset(&mut set, *s);
        }
        set
    }
}

/// Every signal a program may block. A true fault of its own still ends it.
pub(crate) fn all_signals() -> Vec<i32> {
    let never = [libc::SIGKILL, libc::SIGSTOP, 32, 33];
    (1..=64).filter(|n| !never.contains(n)).collect()
}

pub(crate) fn block(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: set is initialised; no old set is asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
}

pub(crate) fn unblock(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: set is initialised; no old set is asked for.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut()) };
}

/// One signal that was received: number, si_code, sender.
pub(crate) struct Received {
    pub(crate) signal: i32,
    pub(crate) code: i32,
    pub(crate) sender: i32,
}

/// Waits for one of `signals` (they must be blocked); `None` after `timeout`.
pub(crate) fn wait_signal(signals: &[i32], timeout: Option<Duration>) -> Option<Received> {
    let set = set_of(signals);
    loop {
        // SAFETY: info and set live for the call; a null timeout means for ever.
        let (n, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let n = match timeout {
                None => libc::sigwaitinfo(&set, &mut info),
                Some(t) => {
                    let t = libc::timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) };
                    libc::sigtimedwait(&set, &mut info, &t)
                }
            };
            (n, info)
        };
        if n > 0 {
            // SAFETY: si_pid is a plain integer in every form of the union that is filled for waited signals.
            return Some(Received { signal: n, code: info.si_code, sender: unsafe { info.si_pid() } });
        }
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

pub(crate) fn setsid() {
    // SAFETY: no memory is involved.
    unsafe { libc::setsid() };
}

pub(crate) fn setpgid(pid: i32, group: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::setpgid(pid, group) };
}

/// pid, group, session.
pub(crate) fn families() -> (i32, i32) {
    // SAFETY: no memory is involved.
    unsafe { (libc::getpgrp(), libc::getsid(0)) }
}

/// Foreground group of the terminal on descriptor 0, if it is one.
pub(crate) fn foreground() -> Option<i32> {
    // SAFETY: no memory is involved.
    let group = unsafe { libc::tcgetpgrp(0) };
    (group >= 0).then_some(group)
}

pub(crate) fn set_foreground(group: i32) {
    block(&[libc::SIGTTOU]);
    // SAFETY: no memory is involved.
    unsafe { libc::tcsetpgrp(0, group) };
    unblock(&[libc::SIGTTOU]);
}

/// Makes descriptor 0 the controlling terminal of this session.
pub(crate) fn take_terminal() {
    // SAFETY: TIOCSCTTY takes an integer.
    let r = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
    assert_eq!(r, 0, "TIOCSCTTY: {}", std::io::Error::last_os_error());
}

/// waitpid: pid and raw status; `None` when there is nothing (or no child).
pub(crate) fn wait(pid: i32, flags: i32) -> Option<(i32, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: status is valid for the call.
        let got = unsafe { libc::waitpid(pid, &mut status, flags) };
        if got > 0 {
            return Some((got, status));
        }
        if got == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

pub(crate) fn rlimit(resource: u32) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is valid for the call.
    unsafe { libc::getrlimit(resource, &mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: limit is valid for the call.
    let r = unsafe { libc::setrlimit(resource, &limit) };
    assert_eq!(r, 0, "setrlimit {resource}: {}", std::io::Error::last_os_error());
}

pub(crate) fn umask(mask: u32) -> u32 {
    // SAFETY: no memory is involved.
    unsafe { libc::umask(mask) }
}

pub(crate) fn nice() -> i32 {
    // SAFETY: no memory is involved.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

pub(crate) fn set_nice(value: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) };
}

pub(crate) fn close(fd: i32) {
    // SAFETY: the caller owns the descriptor, or it is not open.
    unsafe { libc::close(fd) };
}

/// Opens `path` as exactly descriptor `fd`, without close-on-exec.
pub(crate) fn open_as(path: &str, fd: i32) {
    let name = CString::new(path).unwrap();
    // SAFETY: name is a valid C string; the descriptors are ours.
    unsafe {
        let got = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600);
        assert!(got >= 0, "open {path}");
        libc::dup2(got, fd);
        if got != fd {
            libc::close(got);
        }
    }
}

/// Becomes another user with no supplementary groups.
pub(crate) fn become_user(uid: u32, gid: u32) {
    // SAFETY: plain identity changes; this program has one thread here.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0, "setgroups");
        assert_eq!(libc::setgid(gid), 0, "setgid");
        assert_eq!(libc::setuid(uid), 0, "setuid");
    }
}

/// Ends the calling thread only: when that is the main thread, the leader is a zombie and the process lives on.
pub(crate) fn end_main_thread() -> ! {
    // pthread_exit would unwind through Rust frames and abort
    // SAFETY: the call ends this thread at once; nothing of its stack is used by the others.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!()
}

/// State flags of a descriptor (O_NONBLOCK among them) and whether it is close-on-exec.
pub(crate) fn fd_flags(fd: i32) -> (i32, bool) {
    // SAFETY: no memory is involved.
    unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD) & libc::FD_CLOEXEC != 0) }
}

pub(crate) fn ids() -> [u32; 4] {
    // SAFETY: no memory is involved.
    unsafe { [libc::getuid(), libc::geteuid(), libc::getgid(), libc::getegid()] }
}

pub(crate) fn groups() -> Vec<u32> {
    let mut list = vec![0; 256];
    // SAFETY: the list has room for 256 entries.
    let n = unsafe { libc::getgroups(256, list.as_mut_ptr()) };
    list.truncate(n.max(0) as usize);
    list
}

pub(crate) fn alarm_seconds() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { libc::alarm(0) }
}

/// Writes all of `bytes` to a descriptor, whatever its mode.
pub(crate) fn write_fd(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: bytes is valid for its length.
        let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        if n < 0 {
            std::process::exit(74);
        }
        bytes = &bytes[n as usize..];
    }
}

/// Keeps what we start from inheriting it.
pub(crate) fn close_on_exec(fd: i32) {
    // SAFETY: no memory is involved; a descriptor that is not open is an error that means nothing here.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Whether there is something to read, or its end, within this time.
pub(crate) fn wait_readable(fd: i32, time: Option<Duration>) -> bool {
    let mut one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one is valid for the call.
    unsafe { libc::poll(&mut one, 1, time.map_or(-1, |t| t.as_millis() as i32 + 1)) > 0 }
}

/// One read; 0 at the end and at an error.
pub(crate) fn read_fd(fd: i32, buffer: &mut [u8]) -> usize {
    // SAFETY: buffer is valid for its length.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()).max(0) as usize }
}

/// One write to a socket that may be closed at the other side.
pub(crate) fn try_write(fd: i32, bytes: &[u8]) {
    // SAFETY: bytes is valid for its length.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
}

/// Reading and writing end.
pub(crate) fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    // SAFETY: room for both numbers.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    (ends[0], ends[1])
}

pub(crate) fn raw(socket: &impl std::os::fd::AsRawFd) -> i32 {
    socket.as_raw_fd()
}

/// Sends bytes with `count` copies of a descriptor along.
pub(crate) fn send_descriptors(
    socket: i32,
    to: Option<&std::os::unix::net::SocketAddr>,
    bytes: &[u8],
    which: i32,
    count: usize,
) {
    send_all(libc::MSG_NOSIGNAL, socket, to, bytes, &vec![which; count]);
}

/// One of them with a byte that is out of band, which an ordinary read passes over.
pub(crate) fn send_out_of_band(socket: i32, bytes: &[u8], which: i32) {
    send_all(libc::MSG_NOSIGNAL | libc::MSG_OOB, socket, None, bytes, &[which]);
}

/// And all of these, with these flags. False: it was not sent.
pub(crate) fn send_all(
    flags: i32,
    socket: i32,
    to: Option<&std::os::unix::net::SocketAddr>,
    bytes: &[u8],
    all: &[i32],
) -> bool {
    use std::os::linux::net::SocketAddrExt;
    // SAFETY: every pointer leads to a local that outlives the call; the control buffer has room for 253 of them.
    unsafe {
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as u16;
        let mut length = 2;
        if let Some(to) = to {
            let (name, offset) = match to.as_abstract_name() {
                Some(name) => (name.to_vec(), 1),
                None => (to.as_pathname().unwrap().as_os_str().as_encoded_bytes().to_vec(), 0),
            };
            for (slot, byte) in address.sun_path[offset..].iter_mut().zip(&name) {
                *slot = *byte as libc::c_char;
            }
            length += offset + name.len();
        }
        let mut part = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
        let mut control = [0_u64; 160];
        let mut message: libc::msghdr = std::mem::zeroed();
        if to.is_some() {
            message.msg_name = (&raw mut address).cast();
            message.msg_namelen = length as u32;
        }
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE((all.len() * 4) as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN((all.len() * 4) as u32) as _;
        for (at, one) in all.iter().enumerate() {
            libc::CMSG_DATA(header).cast::<i32>().add(at).write_unaligned(*one);
        }
        libc::sendmsg(socket, &message, flags) >= 0
    }
}

/// A connection whose close waits for ever: its other end, which this process keeps, does not take what was sent.
pub(crate) fn lingering() -> i32 {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    std::mem::forget(listener.accept().unwrap());
    near.set_nonblocking(true).unwrap();
    while near.write(&[0; 65_536]).is_ok() {}
    let linger = libc::linger { l_onoff: 1, l_linger: 30_000 };
    let (value, size) = ((&raw const linger).cast(), size_of::<libc::linger>() as u32);
    // SAFETY: one linger, readable for the length given with it.
    assert_eq!(unsafe { libc::setsockopt(raw(&near), libc::SOL_SOCKET, libc::SO_LINGER, value, size) }, 0);
    near.set_nonblocking(false).unwrap();
    std::os::fd::IntoRawFd::into_raw_fd(near)
}

/// Does this while the parent is stopped, so that it sees all of it at once.
pub(crate) fn behind_the_back_of_the_parent(deed: impl FnOnce()) {
    let parent = std::os::unix::process::parent_id() as i32;
    send(parent, libc::SIGSTOP);
    let state = || std::fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    while !state().rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")) {
        std::thread::sleep(Duration::from_millis(1));
    }
    deed();
    send(parent, libc::SIGCONT);
}

/// Memory that a child shares with us and with its brothers.
pub(crate) fn shared(bytes: usize) -> usize {
    let (read, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping of our own.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, read, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    memory as usize
}

/// Writes to every page of what [`shared`] made.
pub(crate) fn touch(memory: usize, bytes: usize) {
    for at in (0..bytes).step_by(4096) {
        // SAFETY: the mapping is that long and never unmapped.
        unsafe { std::ptr::write_volatile((memory + at) as *mut u8, 1) };
    }
}

/// A session keyring of our own, as a login has one.
pub(crate) fn join_keyring() {
    // SAFETY: a null name asks for an anonymous keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

/// The number of our session keyring; 0 where there is none to be asked for.
pub(crate) fn session_keyring() -> i64 {
    // SAFETY: plain numbers.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_GET_KEYRING_ID, libc::KEY_SPEC_SESSION_KEYRING, 0).max(0) }
}

/// Gives this thread, and as the main one this process, another name.
pub(crate) fn set_name(name: &str) {
    let name = CString::new(name).unwrap();
    // SAFETY: the kernel reads up to 16 bytes of a valid C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}
