//! The terminal on stdin, if there is one.

use super::fds;
use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::unistd::{getpgrp, isatty, tcgetpgrp, tcsetpgrp};

/// Whether stdin is our controlling terminal: then the worker stays in our group, in the foreground or behind it, and the
/// shell's job control works on both of us as on one.
#[must_use]
pub(crate) fn is_ours() -> bool {
    isatty(fds::stdin()).unwrap_or(false) && tcgetpgrp(fds::stdin()).is_ok()
}

/// Takes the terminal back for our group after a worker that had made itself the foreground (a shell) is gone: only from
/// a group that nobody is in any more, never from the shell that put us in the background. All signals are blocked,
/// SIGTTOU among them, so that this cannot stop us.
pub(crate) fn take_back() {
    let nobody_there = |group| killpg(group, None) == Err(Errno::ESRCH);
    if tcgetpgrp(fds::stdin()).is_ok_and(|group| group != getpgrp() && nobody_there(group)) {
        let _ = tcsetpgrp(fds::stdin(), getpgrp());
    }
}
