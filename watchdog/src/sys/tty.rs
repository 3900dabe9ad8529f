//! The terminal on stdin, if there is one.

use nix::unistd::{getpgrp, isatty, tcgetpgrp, tcsetpgrp};
use std::io::stdin;

/// Whether stdin is a terminal: then the worker stays in our group.
#[must_use]
pub(crate) fn on_stdin() -> bool {
    isatty(stdin()).unwrap_or(false)
}

/// Whether our group has the terminal.
#[must_use]
pub(crate) fn is_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// Takes the terminal back for our group after a worker that had made itself the foreground (a shell) is gone. All
/// signals are blocked, SIGTTOU among them, so that this cannot stop us.
pub(crate) fn take_back() {
    if tcgetpgrp(stdin()).is_ok_and(|group| group != getpgrp()) {
        let _ = tcsetpgrp(stdin(), getpgrp());
    }
}
