//! What a watchdog leaves in the environment: taken once, so that nothing this process starts can speak for it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
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

/// Whether this is a socket of the internet family.
pub(crate) fn is_tcp(listener: &OwnedFd) -> bool {
    listener.try_clone().is_ok_and(|fd| TcpListener::from(fd).local_addr().is_ok())
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
