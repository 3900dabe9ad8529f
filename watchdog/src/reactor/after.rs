//! Starts first: between the reaping of a worker and the next exec stands only what decides. What is told of the death, its
//! report, the counters that say what it died of, and the closing of what it has left wait here until the starts that
//! follow from it are under way; then they are done, in their order.

use super::link::Link;
use super::record::Pending;
use super::telling::Told;
use super::{FIRST_TOKEN, Reactor, SIGNALS};
use crate::machine::*;
use crate::spec::Form;
use crate::sys::cgroup;
use crate::sys::reap::Dead;
use mio::Token;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What is no matter of a start is done when nothing has happened for so long after it.
const QUIET: Duration = Duration::from_millis(2);
/// And the longest that it waits for that.
const LATEST: Duration = Duration::from_millis(20);
/// Channels that wait to be closed; with more of them none waits: a storm of deaths must not take all descriptors.
const MOST_LINKS: usize = 16;
/// From a start to the look at what others have left.
const TIDY_AFTER: Duration = Duration::from_millis(100);
/// Services for which sockets are made before they are needed.
const FEW: usize = 64;

/// An end of which the kernel's counters may say more.
pub(super) struct Unread {
    pub(super) service: ServiceId,
    pub(super) generation: Generation,
    /// By a SIGKILL that was not ours.
    pub(super) foreign_kill: bool,
    /// Where its own group counts.
    pub(super) counter: Option<cgroup::Counter>,
}

enum Later {
    Tell(Told),
    Report(Box<Pending>),
}

/// All that waits.
#[derive(Default)]
pub(super) struct After {
    holds: bool,
    /// When it is done, and since when it waits.
    due: Option<Duration>,
    since: Option<Duration>,
    told: Vec<Later>,
    unread: Vec<Unread>,
    links: Vec<(usize, Box<Link>)>,
    lanes: Vec<(ServiceId, OwnedFd)>,
    groups: Vec<cgroup::Group>,
    /// A generation is over.
    ended: bool,
    /// They were started again, and may be so once more.
    again: Vec<ServiceId>,
}

impl After {
    /// Has it wait; or gives it back, where nothing goes before.
    pub(super) fn wait(&mut self, told: Told) -> Option<Told> {
        if !self.holds {
            return Some(told);
        }
        self.told.push(Later::Tell(told));
        None
    }

    /// The same for a report.
    pub(super) fn wait_to_report(&mut self, report: Pending) -> Option<Pending> {
        if !self.holds {
            return Some(report);
        }
        self.told.push(Later::Report(Box::new(report)));
        None
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// A channel of a generation that is over: not heard any more.
    pub(super) fn close(&mut self, token: usize, link: Box<Link>) {
        self.links.push((token, link));
    }

    /// More channels wait than may.
    pub(super) fn has_too_many(&self) -> bool {
        self.links.len() > MOST_LINKS
    }

    pub(super) fn close_lanes(&mut self, id: ServiceId, file: OwnedFd) {
        self.lanes.push((id, file));
    }

    /// Nothing lives in it any more.
    pub(super) fn remove_group(&mut self, group: Option<cgroup::Group>) {
        self.groups.extend(group);
    }

    /// It was started again.
    pub(super) fn prepare_next(&mut self, id: ServiceId) {
        self.again.push(id);
    }

    /// It says of this end more than the end itself.
    pub(super) fn read_later(&mut self, unread: Unread) {
        self.unread.push(unread);
    }

    /// This end was a kill for want of memory: what waits to be told of it is put right.
    #[inline(never)]
    fn amend(&mut self, id: ServiceId, generation: Generation, oom: Oom) {
        let mut end = None;
        for (at, later) in self.told.iter_mut().enumerate() {
            match later {
                Later::Report(report) => amend_report(&mut report.order, id, generation, oom),
                Later::Tell(told) => {
                    if amend_notice(&mut told.notice, id, generation, oom) {
                        end = Some((at, told.with(oom_of(&told.notice, oom))));
                    }
                }
            }
        }
        if let Some((at, told)) = end {
            self.told.insert(at + 1, Later::Tell(told));
        }
    }
}

impl Reactor {
    /// From here to [`Reactor::do_what_waits`] starts go before all that decides nothing.
    pub(super) fn starts_first(&mut self) {
        self.after.holds = true;
    }

    /// At the end of a turn: what waits is done; or a moment later, where a worker was started and nothing else has
    /// happened. It would only take the processor from that worker, whose end may be the next thing to happen.
    pub(super) fn finish_starts(&mut self) {
        if self.exit.is_some() {
            return;
        }
        let now = self.clock.now();
        let since = *self.after.since.get_or_insert(now);
        let until = (now + QUIET).min(since + LATEST);
        let alone = self.only_deaths && self.hooked.is_empty();
        if alone && self.pending.has_started() && !self.after.has_too_many() && until > now {
            if self.after.due.replace(until).is_some() {
                // The second start so soon: there will be a third.
                self.make_ready();
            }
        } else if self.after.due.is_none_or(|due| due <= now) {
            self.do_what_waits();
        }
    }

    /// At the beginning of one: what waits is done before anything else is heard, but for deaths.
    pub(super) fn begin_turn(&mut self, tokens: &[Token]) {
        self.only_deaths = tokens.iter().all(|t| *t == SIGNALS);
        let now = self.clock.now();
        if self.after.due.is_some_and(|due| !self.only_deaths || due <= now) {
            self.do_what_waits();
        }
        self.tidy_in_time(tokens);
    }

    /// Starts have been made: what waited for them is done.
    pub(super) fn do_what_waits(&mut self) {
        self.tell_what_waits();
        self.close_what_waits();
        (self.after.holds, self.after.due, self.after.since) = (false, None, None);
        self.make_ready();
        self.unmake();
        if self.tidy_due.is_none() && self.places.is_untidy() {
            self.tidy_due = Some(self.clock.now() + TIDY_AFTER);
        }
    }

    /// What others have left where notify sockets are made is no matter of a start: of a worker that ends at once it is not
    /// looked at, of all others with the first word, or a moment after the start.
    fn tidy_in_time(&mut self, tokens: &[Token]) {
        let Some(due) = self.tidy_due else { return };
        if due <= self.clock.now() || tokens.iter().any(|t| t.0 >= FIRST_TOKEN) {
            self.tidy_due = None;
            self.places.tidy();
        }
    }

    /// What the next start needs and can be made before, within the descriptors that there are: not for many services.
    fn make_ready(&mut self) {
        let again = std::mem::take(&mut self.after.again);
        if self.machine.services().len() > FEW {
            return;
        }
        for id in again {
            if let Some(service) = self.machine.services().get(id.0 as usize).filter(|s| s.living().is_some()) {
                self.places.prepare(id, &service.spec);
            }
        }
    }

    /// What was made for a start that does not come.
    fn unmake(&mut self) {
        if std::mem::take(&mut self.after.ended) {
            let services = self.machine.services();
            self.places.keep_only(|id| services.get(id.0 as usize).is_some_and(|s| !s.state.is_terminal()));
        }
    }

    /// Closes what dead workers have left.
    pub(super) fn close_what_waits(&mut self) {
        self.after.ended |= !self.after.links.is_empty();
        for (token, link) in std::mem::take(&mut self.after.links) {
            self.close_link(token, *link);
        }
        for (id, file) in std::mem::take(&mut self.after.lanes) {
            self.close_memory(id, 0, file);
        }
        self.after.groups.clear();
    }

    /// The end of the loop.
    pub(super) fn do_what_waits_at_the_end(&mut self) {
        self.tell_what_waits();
        match self.instance.form {
            // Only the watchdog ends here, and not the program that it is a part of.
            Form::Library => self.close_what_waits(),
            Form::Prefix | Form::Up => self.leave_what_waits(),
        }
        self.after.holds = false;
    }

    /// What the end of the process closes at once stays open until then; what is left in a channel is closed elsewhere, as
    /// always.
    fn leave_what_waits(&mut self) {
        for (token, mut link) in std::mem::take(&mut self.after.links) {
            drop(link.file.take());
            match link.holds_nothing() {
                true => std::mem::forget(link),
                false => self.close_link(token, *link),
            }
        }
        self.close_what_waits();
    }

    /// Tells what has happened so far, before an answer is given.
    pub(super) fn tell_what_waits(&mut self) {
        for unread in std::mem::take(&mut self.after.unread) {
            let oom = self.oom(&unread);
            if oom != Oom::No {
                self.machine.learn(unread.service, unread.generation, oom);
                self.after.amend(unread.service, unread.generation, oom);
            }
        }
        self.oom_round = None;
        for later in std::mem::take(&mut self.after.told) {
            match later {
                Later::Tell(told) => self.tell_now(told),
                Later::Report(report) => self.order_report(*report),
            }
        }
    }

    /// Has the counters looked at that may say more of this end. They are asked for once, for all that died together.
    pub(super) fn doubt(&mut self, service: ServiceId, generation: Generation, dead: &Dead) {
        let by_us = self.machine.services().get(service.0 as usize).is_some_and(was_killed_by_us);
        let foreign_kill = dead.signal == Some(libc::SIGKILL) && !by_us;
        let own = self.workers.get(service.0 as usize).and_then(|w| w.group.as_ref());
        let counter = own.map(cgroup::Group::counter);
        if foreign_kill || counter.is_some() {
            self.after.read_later(Unread { service, generation, foreign_kill, counter });
        }
    }
}

fn was_killed_by_us(service: &Service) -> bool {
    match service.state {
        State::Stopping { step, .. } => step != StopStep::Ask,
        State::Stuck { .. } => true,
        State::Stopped
        | State::Waiting
        | State::Starting { .. }
        | State::Running { .. }
        | State::Backoff { .. }
        | State::CrashLoop { .. }
        | State::Done
        | State::Failed => false,
    }
}
