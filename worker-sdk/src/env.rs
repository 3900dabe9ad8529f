//! What a watchdog leaves in the environment: taken once, so that nothing this process starts can speak for it.

use std::env;
use std::ffi::{OsString, c_int};
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

/// The variable with the number of the channel's descriptor.
const CHANNEL: &str = "WATCHDOG_CHANNEL";
/// The variables of handed-over listeners (sd_listen_fds(3)).
const LISTEN: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// First descriptor that may be handed over: those before it are the standard ones.
const FIRST: RawFd = 3;
/// Most listeners that are looked at.
const LISTENERS_MAX: RawFd = 256;

/// Whether the channel and the listeners have been taken. A variable that had to stay must not be believed twice: its
/// number may be something else by now.
static CHANNEL_TAKEN: AtomicBool = AtomicBool::new(false);
static LISTENERS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The channel, if the environment names one that is a Unix socket. The variable is gone afterwards.
pub(crate) fn take_channel() -> Option<UnixStream> {
    let number = env::var_os(CHANNEL).and_then(|text| descriptor(&text));
    if CHANNEL_TAKEN.swap(true, Ordering::AcqRel) {
        return None;
    }
    remove(&[CHANNEL]);
    let number = number?;
    // A number that names something else is not ours to close.
    let stream = UnixStream::from(duplicate(number)?);
    stream.peer_addr().ok()?;
    close(number);
    Some(stream)
}

/// The listeners handed over to this very process, with their names. The variables are gone afterwards.
pub(crate) fn take_listeners() -> Vec<(String, OwnedFd)> {
    let [pid, count, names] = LISTEN.map(|name| env::var_os(name).and_then(|text| text.into_string().ok()));
    // Variables meant for another process are left to it.
    if pid.and_then(|p| p.parse::<u32>().ok()) != Some(process::id()) {
        return Vec::new();
    }
    if LISTENERS_TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    remove(&LISTEN);
    let count = count.and_then(|n| n.parse::<RawFd>().ok()).unwrap_or(0).clamp(0, LISTENERS_MAX);
    let names = names.unwrap_or_default();
    let mut names = names.split(':');
    let mut found = Vec::new();
    for number in FIRST..FIRST + count {
        // What has no name is called so by sd_listen_fds_with_names(3).
        let name = names.next().filter(|n| !n.is_empty()).unwrap_or("unknown").to_string();
        if let Some(owned) = duplicate(number) {
            close(number);
            found.push((name, owned));
        }
    }
    found
}

/// Options of SOL_SOCKET as Linux has them where it has no values of its own (MIPS, SPARC, PA-RISC).
const SOL_SOCKET: c_int = 1;
const SO_TYPE: c_int = 3;
const SO_ACCEPTCONN: c_int = 30;
const SO_DOMAIN: c_int = 39;
const STREAM: c_int = 1;
const UNIX: c_int = 1;
const INET: c_int = 2;
const INET6: c_int = 10;

unsafe extern "C" {
    fn getsockopt(socket: c_int, level: c_int, name: c_int, value: *mut c_int, length: *mut u32) -> c_int;
}

/// Whether this is a stream socket of the internet family that listens: not one of UDP, and not a connection.
pub(crate) fn is_tcp(listener: &OwnedFd) -> bool {
    is_listener(listener) && matches!(option(listener, SO_DOMAIN), Some(INET | INET6))
}

/// The same of a Unix socket.
pub(crate) fn is_unix(listener: &OwnedFd) -> bool {
    is_listener(listener) && option(listener, SO_DOMAIN) == Some(UNIX)
}

fn is_listener(socket: &OwnedFd) -> bool {
    option(socket, SO_TYPE) == Some(STREAM) && option(socket, SO_ACCEPTCONN).is_some_and(|listens| listens != 0)
}

/// A number that is set of a socket. `None`: it is none.
fn option(socket: &OwnedFd, name: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut length = u32::try_from(size_of::<c_int>()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes to `value`, which is that long, and a number to `length`.
    let done = unsafe { getsockopt(socket.as_raw_fd(), SOL_SOCKET, name, &raw mut value, &raw mut length) };
    (done == 0).then_some(value)
}

fn descriptor(text: &OsString) -> Option<RawFd> {
    text.to_str()?.parse().ok().filter(|number| *number >= FIRST)
}

/// A duplicate that is close-on-exec, which the inherited one by its nature is not. `None`: not an open descriptor.
fn duplicate(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: borrowed for this one call, which only duplicates it; a number that is not open is answered with EBADF.
    // `descriptor` and `FIRST` keep -1 out.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().ok()
}

fn close(number: RawFd) {
    // SAFETY: the caller has just duplicated it, so it is open, and the environment says that it was handed to this
    // process for the SDK: nobody else owns it. The variable is read once.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

/// Removes variables, unless other threads run: then C code could be reading the environment at this moment. What stays
/// behind names a descriptor that is closed.
fn remove(names: &[&str]) {
    let alone = fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if !alone {
        return;
    }
    for name in names {
        // SAFETY: this is the only thread of the process, so nobody reads the environment meanwhile.
        unsafe { env::remove_var(name) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    /// Failed before: one of UDP, and a connection, came back as a TCP listener, and everything else as a Unix one.
    #[test]
    fn only_what_listens_is_a_listener_and_of_its_own_family() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let path = env::temp_dir().join(format!("wd-listener-{}", process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        let _ = fs::remove_file(&path);
        let kind = |fd: OwnedFd| (is_tcp(&fd), is_unix(&fd));
        assert_eq!(kind(connection.into()), (false, false));
        assert_eq!(kind(UdpSocket::bind("127.0.0.1:0").unwrap().into()), (false, false));
        assert_eq!(kind(UnixDatagram::unbound().unwrap().into()), (false, false));
        assert_eq!(kind(UnixStream::pair().unwrap().0.into()), (false, false));
        assert_eq!(kind(fs::File::open("/dev/null").unwrap().into()), (false, false));
        assert_eq!(kind(unix.into()), (false, true));
        if let Ok(six) = TcpListener::bind("[::1]:0") {
            assert_eq!(kind(six.into()), (true, false));
        }
        assert_eq!(kind(tcp.into()), (true, false));
    }
}
