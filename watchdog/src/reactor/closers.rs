//! Descriptors that workers have sent: closed by processes of ours, one for each channel at a time. A channel is not read
//! meanwhile, so what a worker sends holds up itself alone.

use super::{Reactor, setup};
use crate::machine::ServiceId;
use crate::sys::closer::Closer;
use crate::sys::{fds, signals};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// For one descriptor of a channel that is in use: what takes longer is cut short by a SIGKILL, which ends the waiting and
/// not the close.
const PATIENCE: Duration = Duration::from_secs(1);
/// For the ones after it: their sender has shown what it is.
const SHORT: Duration = Duration::from_millis(20);
/// Another try, where no process could be made.
const RETRY: Duration = Duration::from_millis(100);
/// Processes at the same time.
const MOST: usize = 64;
/// Descriptors of one message (SCM_MAX_FD), and those that starts and clients may need meanwhile.
const NEEDED: u64 = 253 + 64;
/// A service whose earlier runs have left so many channels with descriptors that cannot be closed is not heard any more.
const TOO_MANY: usize = 4;

/// Descriptors of one channel.
struct Batch {
    service: ServiceId,
    token: usize,
    descriptors: Vec<OwnedFd>,
    patience: Duration,
}

/// One process at work.
struct Work {
    service: ServiceId,
    token: usize,
    closer: Closer,
    patience: Duration,
    begun: usize,
    /// When the descriptor that it is at has had its time. None: it was killed for it.
    due: Option<Duration>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Closers {
    at_work: BTreeMap<i32, Work>,
    waiting: VecDeque<Batch>,
    retry: Option<Duration>,
    /// Channels whose next message brings descriptors for which there was no room.
    resting: BTreeSet<usize>,
    /// The number of descriptors that we may have.
    limit: u64,
}

/// Whether descriptors may come: those of a message for which there is no room in our table are closed by the kernel in our
/// place, and we wait.
#[derive(Clone, Copy)]
pub(super) struct Room {
    limit: u64,
    /// With closers.
    held: u64,
    /// Our own at most.
    own: u64,
}

impl Room {
    /// `brought`: those that are here already. While none is, one message may come: where there never is room, no channel
    /// would be heard again.
    pub(super) fn is_there(self, brought: usize) -> bool {
        let sent = self.held.saturating_add(brought as u64);
        let fits = |open: u64| open.saturating_add(NEEDED) <= self.limit;
        // Few have a limit for which they have to be counted.
        sent == 0 || fits(self.own.saturating_add(sent)) || fds::open().is_some_and(fits)
    }
}

impl Closers {
    /// `limit`: descriptors that we may have.
    pub(super) fn new(limit: u64) -> Closers {
        Closers { limit, ..Closers::default() }
    }

    /// What there is room for beside those that wait to be closed.
    pub(super) fn room(&self, services: u64) -> Room {
        let waiting = self.waiting.iter().map(|batch| batch.descriptors.len());
        let held = self.at_work.values().map(|work| work.closer.count()).chain(waiting).sum::<usize>() as u64;
        Room { limit: self.limit, held, own: setup::own_descriptors(services) }
    }

    /// This channel is heard again when there is room.
    pub(super) fn rest(&mut self, token: usize) {
        self.resting.insert(token);
    }

    /// They are no part of any tree.
    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        self.at_work.keys().copied()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.at_work.values().filter_map(|work| work.due).chain(self.retry).min()
    }

    /// Has these closed, and then says so by [`Closers::ended`].
    fn close(&mut self, service: ServiceId, token: usize, descriptors: Vec<OwnedFd>, now: Duration) {
        if !descriptors.is_empty() {
            self.waiting.push_back(Batch { service, token, descriptors, patience: PATIENCE });
            self.start(now);
        }
    }

    fn start(&mut self, now: Duration) {
        self.retry = None;
        while self.at_work.len() < MOST
            && let Some(batch) = self.waiting.pop_front()
        {
            let Batch { service, token, descriptors, patience } = batch;
            match Closer::start(descriptors) {
                Ok(closer) => {
                    let due = Some(now + patience);
                    self.at_work.insert(closer.pid, Work { service, token, closer, patience, begun: 0, due });
                }
                Err(descriptors) => {
                    self.waiting.push_front(Batch { service, token, descriptors, patience });
                    self.retry = Some(now + RETRY);
                    return;
                }
            }
        }
    }

    /// Cuts short what takes too long.
    fn look(&mut self, now: Duration) {
        for work in self.at_work.values_mut().filter(|work| work.due.is_some_and(|at| at <= now)) {
            let begun = work.closer.begun();
            if begun > work.begun {
                (work.begun, work.due) = (begun, Some(now + work.patience));
                continue;
            }
            let _ = signals::kill(work.closer.pid, libc::SIGKILL);
            (work.patience, work.due) = (SHORT, None);
        }
        if self.retry.is_some_and(|at| at <= now) {
            self.start(now);
        }
    }

    /// A child has ended. None: it was none of these. Some: one of them, and the channel of which all is closed now.
    fn ended(&mut self, pid: i32, now: Duration) -> Option<Option<usize>> {
        let Work { service, token, closer, patience, .. } = self.at_work.remove(&pid)?;
        let descriptors = closer.rest();
        let done = descriptors.is_empty();
        if !done {
            self.waiting.push_back(Batch { service, token, descriptors, patience });
        }
        self.start(now);
        Some(done.then_some(token))
    }
}

impl Reactor {
    /// Has descriptors closed that came over this channel.
    pub(super) fn close_elsewhere(&mut self, service: ServiceId, token: usize, descriptors: Vec<OwnedFd>) {
        let now = self.clock.now();
        self.closers.close(service, token, descriptors, now);
    }

    /// Whether the earlier runs of this service have left more than may be left: then no more can come.
    pub(super) fn has_left_too_much(&self, service: ServiceId) -> bool {
        let work = self.closers.at_work.values().map(|work| (work.service, work.token));
        let all = work.chain(self.closers.waiting.iter().map(|batch| (batch.service, batch.token)));
        all.filter(|(of, token)| *of == service && !self.links.contains_key(token)).count() >= TOO_MANY
    }

    /// Cuts short what takes too long to close.
    pub(super) fn look_at_closers(&mut self) {
        let now = self.clock.now();
        self.closers.look(now);
    }

    /// True: it was one of them.
    pub(super) fn closer_ended(&mut self, pid: i32) -> bool {
        let now = self.clock.now();
        let Some(done) = self.closers.ended(pid, now) else { return false };
        if let Some(token) = done
            && let Some(link) = self.links.get_mut(&token)
        {
            link.closing = false;
            self.again.push(token);
        }
        if !self.closers.resting.is_empty() && self.closers.room(self.workers.len() as u64).is_there(0) {
            self.again.extend(std::mem::take(&mut self.closers.resting));
        }
        true
    }
}
