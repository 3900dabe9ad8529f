//! The descendants of a worker, and what is left of them when it is gone.
//!
//! We are their subreaper: whoever loses its parent becomes our child. So when a main process is gone, its tree is what
//! hangs below those children of ours that are nobody's main process; and when the kernel knows of no child at all
//! ([`super::reap::Rest::Alone`]) nothing of any tree lives.

use super::proc::{self, Stat};
use super::signals;
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::os::fd::AsFd;

/// Processes looked at in one round; a tree that is larger is dealt with in several.
const MAX_TREE: usize = 65_536;

/// Direct children.
#[must_use]
pub(crate) fn children(pid: i32) -> Vec<i32> {
    proc::children(pid).unwrap_or_else(|| proc::children_by_scan(pid))
}

/// All living descendants of these roots, the roots among them, parents before children.
#[must_use]
pub(crate) fn descendants(roots: &[i32]) -> Vec<i32> {
    let mut seen: BTreeSet<i32> = roots.iter().copied().collect();
    let mut all: Vec<i32> = roots.to_vec();
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        at += 1;
        for child in children(pid) {
            if all.len() < MAX_TREE && seen.insert(child) {
                all.push(child);
            }
        }
    }
    all
}

/// How to tell whether a stranger among our children belongs to a tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// The main process that is gone: its group and session bear its number.
    pub main: i32,
    /// `WATCHDOG_INVOCATION=...` of that generation.
    pub entry: Vec<u8>,
    /// Nobody else could have left children with us: no need to look at the marks.
    pub all_mine: bool,
}

impl Marks {
    /// Whether this process bears them.
    pub(crate) fn own(&self, pid: i32) -> bool {
        self.all_mine
            || proc::stat(pid).is_some_and(|s| s.group == self.main || s.session == self.main)
            || proc::environ_has(pid, &self.entry)
    }
}

/// What is left of a tree: those of our children that are strangers (no main process, no helper, not there before us), as
/// far as they bear the marks, with all their descendants. Zombies deeper down do not count: their
/// parent, which does, is dealt with first.
#[must_use]
pub(crate) fn left(strangers: &[i32], marks: &Marks) -> Vec<i32> {
    let roots: Vec<i32> = strangers.iter().copied().filter(|p| marks.own(*p)).collect();
    let direct = roots.len();
    let mut all = descendants(&roots);
    let mut n = 0;
    all.retain(|pid| {
        n += 1;
        n <= direct || proc::stat(*pid).is_some_and(|s: Stat| s.state != b'Z')
    });
    all
}

/// Signals each; a pid is only touched while it still is what the caller saw: pidfd first, then another look at its
/// start time. Where pidfds are refused (a container's filter, no descriptor left) the look alone has to do: our own
/// children keep their number until we reap them, and of the others it was read a moment before. Gives back which it
/// reached.
pub(crate) fn signal_each(pids: &[i32], signal: i32, wake: bool) -> Vec<i32> {
    let mut reached = Vec::new();
    for pid in pids {
        let Some(before) = proc::stat(*pid) else { continue };
        let pidfd = match signals::pidfd_open(*pid) {
            Ok(pidfd) => Some(pidfd),
            Err(e) if matches!(e.errno, Errno::ESRCH | Errno::EINVAL) => continue,
            Err(_) => None,
        };
        if proc::stat(*pid).is_none_or(|now| now.start != before.start) {
            continue;
        }
        let pidfd = pidfd.as_ref().map(AsFd::as_fd);
        if signals::send(*pid, pidfd, signal).is_ok() {
            reached.push(*pid);
            if wake && before.state == b'T' {
                let _ = signals::send(*pid, pidfd, libc::SIGCONT);
            }
        }
    }
    reached
}
