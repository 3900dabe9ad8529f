//! What commands of ours leave behind. Whoever loses its parent becomes our child, wherever it has gone, and is known by the
//! mark that every command is started with: not that of a worker, so that it is taken for part of no worker's tree. What the
//! command of a probe has left ends with it; what a hook has left may stay as long as we do.

use super::Reactor;
use crate::sys::proc::{self, Variable};
use crate::sys::tree;
use std::collections::BTreeMap;
use std::time::Duration;

/// The name of the mark.
pub(super) const MARK: &str = "WATCHDOG_HELPER";
/// The mark of all hooks, behind our own.
const HOOK: &str = "hook";
/// From one look to the next at one that is in the middle of an exec.
const PAUSE: Duration = Duration::from_millis(10);
/// So many of them; then it is looked at no more before our end.
const LOOKS: u8 = 100;

/// Whose an orphan is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Not to be told yet, after so many looks.
    Unclear(u8),
    /// Of a worker, or of whoever lived here before us.
    Others,
    /// Of some hook.
    Hook,
    /// Of this try of a probe.
    Try(usize),
}

/// Our orphans, as far as they matter.
#[derive(Default)]
pub(super) struct Orphans {
    /// A mark was given to somebody: before that there is nothing to look for.
    marked: bool,
    /// Those that were looked at, until they are reaped: no environment is read twice.
    known: BTreeMap<i32, Of>,
    /// A command of a probe has ended, or somebody has died who may have left more.
    look: bool,
    /// Some of a probe were killed and are not gone yet: their children come to us when they are.
    hunting: bool,
    /// When those are looked at again of whom it could not be told.
    due: Option<Duration>,
}

impl Orphans {
    /// When there is something to do without anything happening.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.due
    }

    /// The command of a probe was reaped.
    pub(super) fn command_ended(&mut self) {
        self.look = true;
    }

    /// It is left of the command of this try, whatever it bears.
    pub(super) fn note(&mut self, pid: i32, token: usize) {
        self.known.insert(pid, Of::Try(token));
    }

    /// An orphan was reaped: its number may be somebody else's from now on.
    pub(super) fn reaped(&mut self, pid: i32) {
        self.known.remove(&pid);
        self.look |= self.hunting;
    }

    fn is_due(&self, now: Duration) -> bool {
        self.look || self.due.is_some_and(|at| at <= now)
    }
}

impl Reactor {
    /// What the command of this try bears.
    pub(super) fn mark_of_try(&mut self, token: usize) -> String {
        self.orphans.marked = true;
        format!("{}.{token}", self.invocation)
    }

    /// What all hooks bear.
    pub(super) fn mark_of_hooks(&mut self) -> String {
        self.orphans.marked = true;
        format!("{}.{HOOK}", self.invocation)
    }

    /// Ends whatever commands of probes have left that are over: one look for all of them, among our own children alone.
    pub(super) fn end_what_tries_left(&mut self) {
        let now = self.clock.now();
        if !self.orphans.is_due(now) {
            return;
        }
        (self.orphans.look, self.orphans.due) = (false, None);
        // Without that list of the kernel's it would be a look at all processes: that is done once, at our end.
        let Some(children) = proc::children(self.me) else { return };
        let strangers = self.strangers_of(children);
        self.sort_orphans(&strangers, now);
        let over = |pid: &i32| match self.orphans.known.get(pid) {
            Some(Of::Try(token)) => !self.tries.is_under_way(*token),
            Some(Of::Unclear(_) | Of::Others | Of::Hook) | None => false,
        };
        let left: Vec<i32> = strangers.into_iter().filter(over).collect();
        self.orphans.hunting = !left.is_empty();
        end_with_their_trees(&left);
    }

    /// At our own end: nothing stays of what probes and hooks have started. True: somebody is not gone yet.
    pub(super) fn end_all_orphans(&mut self) -> bool {
        if !self.orphans.marked {
            return false;
        }
        let now = self.clock.now();
        let strangers = self.stranger_children();
        self.sort_orphans(&strangers, now);
        let of = |pid: &i32| self.orphans.known.get(pid);
        let left: Vec<i32> =
            strangers.iter().copied().filter(|pid| matches!(of(pid), Some(Of::Hook | Of::Try(_)))).collect();
        end_with_their_trees(&left);
        !left.is_empty() || strangers.iter().any(|pid| matches!(of(pid), Some(Of::Unclear(_))))
    }

    /// Before the last looks: what could not be told may be by now.
    pub(super) fn forget_strangers(&mut self) {
        self.orphans.known.retain(|_, of| matches!(of, Of::Hook | Of::Try(_)));
    }

    /// Says of each whose it is; of those that are known, nothing is read again.
    fn sort_orphans(&mut self, strangers: &[i32], now: Duration) {
        let before = std::mem::take(&mut self.orphans.known);
        let prefix = format!("{MARK}={}.", self.invocation);
        for pid in strangers {
            let of = match before.get(pid) {
                None => whose(*pid, prefix.as_bytes(), 1),
                Some(Of::Unclear(n)) => whose(*pid, prefix.as_bytes(), n.saturating_add(1)),
                Some(of @ (Of::Others | Of::Hook | Of::Try(_))) => *of,
            };
            if matches!(of, Of::Unclear(_)) {
                self.orphans.due = Some(now + PAUSE);
            }
            self.orphans.known.insert(*pid, of);
        }
    }
}

/// By the environment that its program was started with.
fn whose(pid: i32, prefix: &[u8], looks: u8) -> Of {
    match proc::variable(pid, prefix) {
        Variable::Is(rest) if rest == HOOK => Of::Hook,
        Variable::Is(rest) => rest.parse().map_or(Of::Others, Of::Try),
        Variable::Unclear if looks < LOOKS => Of::Unclear(looks),
        Variable::Unclear | Variable::None => Of::Others,
    }
}

/// Our own children, with all that hangs below them.
fn end_with_their_trees(roots: &[i32]) {
    if !roots.is_empty() {
        tree::signal_each(&tree::descendants(roots), libc::SIGKILL, false);
    }
}
