//! Waiting for children: the only reaper.

use std::mem::MaybeUninit;
use std::time::Duration;

/// One process that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    /// Its number, free for others from now on.
    pub pid: i32,
    /// Exit code.
    pub code: Option<i32>,
    /// Or the signal it died by.
    pub signal: Option<i32>,
    /// A core was written.
    pub core: bool,
    /// Most memory it held, in bytes.
    pub rss_peak_bytes: u64,
    /// CPU time it used, with the children that it waited for.
    pub cpu: Duration,
}

/// What is left after a round of reaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Children live.
    Some,
    /// The kernel knows of no child of ours, dead or alive: with us as subreaper the proof that no tree is left.
    Alone,
}

/// Reaps one child if one is dead. Signals merge, so callers ask until there is nothing more.
pub(crate) fn reap_one() -> Result<Dead, Rest> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are valid for writes. __WALL also takes children made without SIGCHLD.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG | libc::__WALL, usage.as_mut_ptr()) };
        match pid {
            0 => return Err(Rest::Some),
            // ECHILD: there is nobody. With all signals blocked nothing else can come of these arguments.
            -1 if nix::errno::Errno::last() != nix::errno::Errno::EINTR => return Err(Rest::Alone),
            -1 => {}
            pid => {
                // SAFETY: zeroed, then filled by the kernel.
                let usage = unsafe { usage.assume_init() };
                return Ok(describe(pid, status, &usage));
            }
        }
    }
}

/// Reaps one certain child that is known to have ended (a spawn that failed before exec).
pub(crate) fn reap_this(pid: i32) {
    let mut status = 0;
    // SAFETY: a valid pointer; the child has left already, so this returns at once.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == -1
        && nix::errno::Errno::last() == nix::errno::Errno::EINTR
    {}
}

fn time(t: libc::timeval) -> Duration {
    let (s, us) = (u64::try_from(t.tv_sec).unwrap_or(0), u64::try_from(t.tv_usec).unwrap_or(0));
    Duration::from_secs(s) + Duration::from_micros(us)
}

fn describe(pid: i32, status: i32, usage: &libc::rusage) -> Dead {
    let signalled = libc::WIFSIGNALED(status);
    Dead {
        pid,
        code: (!signalled).then(|| libc::WEXITSTATUS(status)),
        signal: signalled.then(|| libc::WTERMSIG(status)),
        core: signalled && libc::WCOREDUMP(status),
        rss_peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
    }
}
