//! The cellar: one facility of the kernel a file, no knowledge of services. Unsafe code lives in `spawn`, `signals`,
//! `reap`, `fds` and `closer`, nowhere else in the engine; `tests/architecture.rs` holds that.

pub(crate) mod cgroup;
pub(crate) mod channel;
pub(crate) mod clock;
#[allow(unsafe_code, reason = "clone with a shared table of descriptors, which no safe wrapper offers")]
pub(crate) mod closer;
pub(crate) mod evidence;
#[allow(unsafe_code, reason = "getxattr has no safe wrapper; descriptors that arrive in a message are owned here")]
pub(crate) mod fds;
pub(crate) mod message;
pub(crate) mod notify_dir;
pub(crate) mod owners;
pub(crate) mod panic;
pub(crate) mod paths;
pub(crate) mod proc;
pub(crate) mod reading;
#[allow(unsafe_code, reason = "wait4 with rusage has no safe wrapper")]
pub(crate) mod reap;
pub(crate) mod sample;
#[allow(unsafe_code, reason = "raw masks include the numbers libc hides; pidfds have no safe wrapper in nix")]
pub(crate) mod signals;
pub(crate) mod sockets;
#[allow(unsafe_code, reason = "clone and everything between it and exec")]
pub(crate) mod spawn;
pub(crate) mod tree;
pub(crate) mod tty;
pub(crate) mod upward;
pub(crate) mod watch;

use nix::errno::Errno;

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SysError {
    /// Which.
    pub call: &'static str,
    /// Why.
    pub errno: Errno,
}

impl std::fmt::Display for SysError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.call, self.errno.desc())
    }
}

impl std::error::Error for SysError {}

/// Names the call of an errno.
pub(crate) fn at(call: &'static str) -> impl Fn(Errno) -> SysError {
    move |errno| SysError { call, errno }
}

/// The kernel's reason for a call that failed, as sentences end: in lower case, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_owned(),
        None => error.to_string(),
    };
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // Not `I/O error`: only a word that goes on in small letters.
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text,
    }
}
