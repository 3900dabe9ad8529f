//! MAINPID: the process that a worker names as its main one for when the present one ends. Whether that one is of its tree takes up
//! to hundreds of reads in `/proc`, and a datagram has room for many names: so of all that is heard of a service at once only
//! the last counts, and of those only a few in a second are looked at. The newest of the others waits until that is allowed
//! again, or until the main process ends: the last word wins.

use super::Reactor;
use super::inspect::Successor;
use crate::machine::*;
use crate::spec::Form;
use crate::sys::{fds, proc, signals, spawn, tree};
use std::time::Duration;

/// Looks of one service in one [`SPAN`].
const LOOKS: u32 = 8;
const SPAN: Duration = Duration::from_secs(1);
/// Parents looked at from a process up to the main process.
const DEPTH: usize = 64;

/// What a worker has said of its main process.
#[derive(Default)]
pub(super) struct Named {
    /// The last of what is being heard just now.
    said: Option<(Generation, i32)>,
    /// The newest that was not looked at.
    waiting: Option<Successor>,
    /// A process of its tree: the main process when the present one ends.
    next: Option<Successor>,
    /// Looks since `since`.
    looks: u32,
    since: Duration,
}

impl Named {
    pub(super) fn say(&mut self, generation: Generation, pid: i32) {
        self.said = Some((generation, pid));
    }

    /// Another run has begun. Looks still count: it may be started again and again.
    pub(super) fn forget(&mut self) {
        (self.said, self.waiting, self.next) = (None, None, None);
    }

    pub(super) fn take_next(&mut self) -> Option<Successor> {
        self.next.take()
    }

    /// Whether this is what it said last, of the same process.
    fn is_known(&self, pid: i32) -> bool {
        self.waiting.as_ref().or(self.next.as_ref()).is_some_and(|s| s.pid == pid && s.stat().is_some())
    }

    /// Whether one more look is allowed, which counts from then on.
    fn may_look(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.since) >= SPAN {
            (self.looks, self.since) = (0, now);
        }
        let may = self.looks < LOOKS;
        self.looks += u32::from(may);
        may
    }

    /// When what waits may be looked at.
    fn due(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|_| self.since + SPAN)
    }
}

impl Reactor {
    /// When there is one to be looked at without anything happening.
    pub(super) fn named_deadline(&self) -> Option<Duration> {
        let due = |id: &ServiceId| self.workers.get(id.0 as usize)?.named.due();
        self.naming.iter().filter_map(due).min()
    }

    /// All that was to be heard now of this service was heard: believed only of a living process of the worker's tree that is
    /// not the main process of another service. From here on the process is held, and not its number.
    pub(super) fn note_main(&mut self, id: ServiceId) {
        let said = self.workers.get_mut(id.0 as usize).and_then(|w| w.named.said.take());
        let Some((generation, pid)) = said else { return };
        if self.main_of(id, generation).is_none() || pid == self.me || self.mains.get(&pid).is_some_and(|of| *of != id)
        {
            return;
        }
        let now = self.clock.now();
        let Some(worker) = self.workers.get_mut(id.0 as usize).filter(|w| !w.named.is_known(pid)) else { return };
        let Ok(pidfd) = signals::pidfd_open(pid) else { return };
        let pidfd = if self.instance.form == Form::Prefix { pidfd } else { fds::raise(pidfd, spawn::FLOOR) };
        worker.named.waiting = Some(Successor { pid, pidfd });
        if worker.named.may_look(now) {
            return self.look_at_named(id);
        }
        self.naming.insert(id);
    }

    /// Looks at those that had to wait, as far as it is time.
    pub(super) fn look_at_those_named(&mut self) {
        if self.naming.is_empty() {
            return;
        }
        let now = self.clock.now();
        for id in std::mem::take(&mut self.naming) {
            let Some(named) = self.workers.get_mut(id.0 as usize).map(|w| &mut w.named) else { continue };
            match named.waiting.is_some() {
                true if named.may_look(now) => self.look_at_named(id),
                true => drop(self.naming.insert(id)),
                false => {}
            }
        }
    }

    /// The one that was named last, if it was not looked at yet.
    pub(super) fn look_at_named(&mut self, id: ServiceId) {
        let waiting = self.workers.get_mut(id.0 as usize).and_then(|w| w.named.waiting.take());
        let Some(named) = waiting.filter(|named| self.is_of_tree(id, named.pid)) else { return };
        // As long as the one that is held can be signalled, it was the one that was looked at: its number was its own.
        if named.stat().is_some_and(|s| s.state != b'Z' && s.state != b'X')
            && let Some(worker) = self.workers.get_mut(id.0 as usize)
        {
            worker.named.next = Some(named);
        }
    }

    /// Whether a process belongs to the tree of the worker: it is the main process, descends from it, or bears its marks, as
    /// what is left of a tree does. Asked for a process that was named, never for one that names itself.
    fn is_of_tree(&self, id: ServiceId, pid: i32) -> bool {
        let Some(worker) = self.workers.get(id.0 as usize) else { return false };
        let Some(main) = worker.proc.as_ref().map(|p| p.pid).filter(|_| pid > 1) else { return false };
        if pid == main {
            return true;
        }
        let mut at = pid;
        for _ in 0..DEPTH {
            match proc::stat(at).map(|s| s.ppid) {
                Some(parent) if parent == main => return true,
                Some(parent) if parent > 1 && parent != self.me => at = parent,
                _ => break,
            }
        }
        // It has lost its parents, as a daemon has: its group, its session or its environment say whose it is.
        tree::Marks { all_mine: false, ..worker.marks.clone() }.own(pid)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a child of the tests, reaped here")]
mod tests {
    use super::*;
    use crate::dialect::notify;

    const HEARD: Duration = Duration::from_secs(1000);

    fn successor(pid: u32) -> Successor {
        let pid = i32::try_from(pid).unwrap();
        Successor { pid, pidfd: signals::pidfd_open(pid).unwrap() }
    }

    #[test]
    fn a_datagram_full_of_main_pids_is_one_look() {
        let lines: String = (0..64).map(|n| format!("MAINPID={}\n", 1000 + n)).collect();
        let said = notify::decode(lines.as_bytes()).news;
        assert_eq!(said.len(), 64);
        let mut named = Named::default();
        for news in said {
            let News::MainPid(pid) = news else { panic!("{news:?}") };
            named.say(Generation(1), pid);
        }
        assert_eq!(named.said.take(), Some((Generation(1), 1063)));
        assert_eq!(named.said, None);
    }

    #[test]
    fn looks_are_few_in_a_second_and_what_waits_has_its_time() {
        let mut named = Named::default();
        assert_eq!((0..1000).filter(|_| named.may_look(HEARD)).count(), LOOKS as usize);
        assert_eq!(named.due(), None, "nothing waits: no deadline");
        named.waiting = Some(successor(std::process::id()));
        let due = named.due().unwrap();
        assert!(!named.may_look(due - Duration::from_nanos(1)));
        named.forget();
        assert_eq!((named.due(), named.may_look(due - Duration::from_nanos(1))), (None, false), "another run");
        assert!(named.may_look(due));
    }

    #[test]
    fn the_one_that_is_held_is_known_and_the_last_word_wins() {
        let (me, parent) = (std::process::id(), std::os::unix::process::parent_id());
        let mut named = Named { next: Some(successor(me)), ..Named::default() };
        assert!(named.is_known(me as i32) && !named.is_known(parent as i32));
        named.waiting = Some(successor(parent));
        assert!(!named.is_known(me as i32), "another was named since");
    }

    #[test]
    fn one_that_has_ended_is_not_known() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let named = Named { next: Some(successor(child.id())), ..Named::default() };
        child.wait().unwrap();
        assert!(!named.is_known(child.id() as i32));
    }
}
