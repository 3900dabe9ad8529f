//! The services as a graph: who is wanted, who may start, who has to go, and in which order. Everything is derived from
//! the states of the moment; whenever one changes, its neighbours are looked at again.

use super::service::{Cx, Service};
use super::state::{Goal, State};
use super::supervisor::Supervisor;
use super::time::MonoTime;
use super::waiting::{Held, Leave};
use super::words::*;
use crate::spec::{Autostart, Condition, Kind, Strategy};
use serde::Serialize;

/// Looks at one service that one event may lead to, for each service: the work of one event is bounded.
const LOOKS: usize = 128;

/// What others see of a service: when it changes, they look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Face {
    state: u8,
    goal: Goal,
    asked: Option<Goal>,
    wanted: bool,
    held: bool,
    leaving: bool,
    hopeless: bool,
    lone: bool,
    living: bool,
    ready: bool,
    file_there: bool,
    crashed: bool,
    removed: bool,
}

impl Service {
    pub(super) fn face(&self) -> Face {
        let state = match self.state {
            State::Stopped => 0,
            State::Waiting => 1,
            State::Starting { .. } => 2,
            State::Running { .. } => 3,
            State::Stopping { .. } => 4,
            State::Backoff { .. } => 5,
            State::CrashLoop { .. } => 6,
            State::Done => 7,
            State::Failed => 8,
            State::Stuck { .. } => 9,
        };
        Face {
            state,
            goal: self.goal,
            asked: self.asked,
            wanted: self.wanted,
            held: self.held.is_some(),
            leaving: self.leaving(),
            hopeless: self.hopeless,
            lone: self.lone,
            living: self.living().is_some(),
            ready: self.spec.probes.is_empty() || self.probes_ready(),
            file_there: self.file_there,
            crashed: self.crashed,
            removed: self.removed,
        }
    }
}

/// What keeps a service from starting.
#[derive(Default)]
struct Blockers {
    names: Vec<String>,
    texts: Vec<String>,
    hopeless: bool,
}

impl Blockers {
    fn add(&mut self, name: &str, text: String, hopeless: bool) {
        if !self.names.iter().any(|n| n == name) {
            self.names.push(name.to_owned());
        }
        self.texts.push(text);
        self.hopeless |= hopeless;
    }
}

type Deed<'a> = dyn FnMut(&mut Service, &mut Cx<'_>) + 'a;

impl Supervisor {
    /// One service, and afterwards everybody who has to look at it again.
    pub(super) fn with<R>(
        &mut self,
        n: usize,
        now: MonoTime,
        out: &mut Actions,
        deed: impl FnOnce(&mut Service, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let (mut deed, mut done) = (Some(deed), None);
        self.with_one(n, now, out, &mut |s, cx| done = deed.take().map(|deed| deed(s, cx)));
        done
    }

    /// The same, compiled once for all deeds.
    fn with_one(&mut self, n: usize, now: MonoTime, out: &mut Actions, deed: &mut Deed<'_>) {
        let Some(service) = self.services.get_mut(n) else { return };
        let (before, weight) = (service.face(), service.weight());
        deed(service, &mut Cx { now, out, dice: &mut self.dice });
        service.remember_what_it_meets();
        self.tally.change(weight, service.weight());
        self.dues.set(n, service.due());
        match service.swept() {
            Some(_) => self.swept.insert(n),
            None => self.swept.remove(&n),
        };
        if service.face() != before {
            self.look_around(n);
        }
    }

    /// It and its neighbours are to be looked at.
    pub(super) fn look_around(&mut self, n: usize) {
        let Supervisor { graph, todo, .. } = self;
        todo.wish.add(n);
        graph.needs(n).for_each(|m| todo.wish.add(m));
        todo.look.add(n);
        graph.around(n).for_each(|m| todo.look.add(m));
        if self.strategy != Strategy::OneForOne {
            (0..self.services.len()).for_each(|m| todo.look.add(m));
        }
    }

    /// Down or anew, as soon as nobody has to be gone before.
    pub(super) fn hold(&mut self, n: usize, now: MonoTime, out: &mut Actions, held: Held) {
        let Some(s) = self.services.get(n) else { return };
        if !s.active() || !self.graph.leads(n) {
            self.with(n, now, out, |s, cx| s.let_go(cx, held));
            return;
        }
        self.with(n, now, out, |s, _| {
            if matches!(held.leave, Leave::Down(_)) {
                s.goal = Goal::Down;
                s.free_start = None;
            }
            // Its dependents leave with it now, whatever was asked for before.
            s.lone &= held.alone;
            s.held = Some(held);
        });
        // It may have been held before: then its face is the same, and its reason or its haste is not.
        self.look_around(n);
    }

    /// Lets everything happen that follows from what has changed: first all know whether they are wanted and may stay, then
    /// those who leave are let go, and only then does anybody start. So nobody is stopped before one who leaves as well and
    /// has to be gone first, and nobody starts over one who is about to leave.
    pub(super) fn arrange(&mut self, now: MonoTime, out: &mut Actions) {
        let mut looks = LOOKS.saturating_mul(self.services.len()).saturating_add(LOOKS);
        while looks > 0 {
            // At its end: settings that contradict each other; the rest comes with the next event.
            looks -= 1;
            if let Some(n) = self.todo.wish.take() {
                self.note_whether_wanted(n, now, out);
            } else if let Some(n) = self.todo.look.take() {
                self.consider(n, now, out);
            } else if let Some(n) = self.todo.go.take() {
                self.try_to_go(n, now, out);
            } else if let Some((_, n)) = self.todo.start.pop_first() {
                self.try_to_start(n, now, out);
            } else {
                return;
            }
        }
    }

    /// The first part of that alone: who is wanted, and who may stay.
    pub(super) fn look_at_wishes(&mut self, now: MonoTime, out: &mut Actions) {
        for _ in 0..LOOKS.saturating_mul(self.services.len()) {
            if let Some(n) = self.todo.wish.take() {
                self.note_whether_wanted(n, now, out);
            } else if let Some(n) = self.todo.look.take() {
                self.consider(n, now, out);
            } else {
                return;
            }
        }
    }

    fn note_whether_wanted(&mut self, n: usize, now: MonoTime, out: &mut Actions) {
        let wanted = self.is_wanted(n);
        if self.services.get(n).is_some_and(|s| s.wanted != wanted) {
            self.with(n, now, out, |s, _| s.wanted = wanted);
        }
    }

    fn consider(&mut self, n: usize, now: MonoTime, out: &mut Actions) {
        self.strike(n, now, out);
        self.align(n, now, out);
        let broken = self.services.get(n).filter(|s| s.active() && !s.leaving());
        if let Some(reason) = broken.and_then(|_| self.broken(n)) {
            let leave = Leave::Anew { force: false, cause: Cause::Dependency };
            self.hold(n, now, out, Held { leave, alone: false, reason });
        }
        let Some(s) = self.services.get(n) else { return };
        if s.held.is_some() {
            self.todo.go.add(n);
        }
        if matches!(s.state, State::Waiting) {
            self.todo.start.insert((self.graph.rank(n), n));
        }
    }

    fn try_to_go(&mut self, n: usize, now: MonoTime, out: &mut Actions) {
        if self.first_to_go(n).is_some() {
            return;
        }
        self.with(n, now, out, |s, cx| {
            if let Some(held) = s.held.take() {
                s.let_go(cx, held);
            }
        });
    }

    /// By a person or its autostart, or as long as another that is wanted needs it.
    fn is_wanted(&self, n: usize) -> bool {
        let (Some(s), Some(node)) = (self.services.get(n), self.graph.node(n)) else { return false };
        match s.asked {
            Some(goal) => goal == Goal::Up,
            None if s.removed => false,
            // Was running when the file came to say `ignore`: nobody has stopped it.
            None if s.spec.place.autostart == Autostart::Ignore => s.goal == Goal::Up && !s.state.is_terminal(),
            None if !s.follows_need() => false,
            None => {
                node.required_by.iter().chain(&node.wanted_by).any(|m| self.services.get(*m).is_some_and(|d| d.wanted))
            }
        }
    }

    /// A service that only others need comes and goes with them.
    fn align(&mut self, n: usize, now: MonoTime, out: &mut Actions) {
        let Some(s) = self.services.get(n).filter(|s| s.follows_need()) else { return };
        let fresh = matches!(s.state, State::Stopped);
        let resting = s.state.is_terminal();
        if s.wanted && fresh && !self.is_ending() {
            self.with(n, now, out, |s, cx| {
                s.want_up(cx);
                s.cause = Some(Cause::Dependency);
            });
        } else if !s.wanted && s.goal == Goal::Up && !resting {
            let held =
                Held { leave: Leave::Down(s.ladder(None)), alone: false, reason: "nothing needs it any more".into() };
            self.hold(n, now, out, held);
        } else if s.wanted && s.goal == Goal::Down && !self.is_ending() && !fresh {
            // Needed again before it was gone.
            self.with(n, now, out, |s, cx| {
                s.take_back_a_stop();
                s.want_up(cx);
            });
        }
    }

    /// The failure of one, where that means something for all or for those behind it.
    fn strike(&mut self, n: usize, now: MonoTime, out: &mut Actions) {
        if self.services.get(n).is_none_or(|s| !s.crashed) {
            return;
        }
        let name = self.services.get(n).map_or(String::new(), |s| s.spec.name.clone());
        self.with(n, now, out, |s, _| s.crashed = false);
        let (word, struck) = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => ("one-for-all", self.graph.order.clone()),
            Strategy::RestForOne => {
                let at = self.graph.order.iter().position(|m| *m == n).unwrap_or(usize::MAX - 1);
                ("rest-for-one", self.graph.order.iter().skip(at + 1).copied().collect())
            }
        };
        for m in struck.into_iter().filter(|m| *m != n) {
            let up = self.services.get(m).is_some_and(|s| s.active() && !s.leaving());
            if up {
                let reason = format!("{name} failed (strategy = {word})");
                let leave = Leave::Anew { force: false, cause: Cause::Dependency };
                self.hold(m, now, out, Held { leave, alone: false, reason });
            }
        }
    }

    /// Why it cannot stay up: something that it requires is gone or going.
    fn broken(&self, n: usize) -> Option<String> {
        let node = self.graph.node(n)?;
        node.hard.iter().find_map(|edge| {
            let on = self.services.get(edge.on)?;
            if edge.once && on.has_met(edge.condition) {
                return None;
            }
            let name = &on.spec.name;
            match (&on.held, on.meets(edge.condition)) {
                (Some(held), _) if held.alone => None,
                (Some(_), _) => Some(format!("it requires {name}, which is to be stopped")),
                (None, true) => None,
                (None, false) if on.lone => None,
                (None, false) => Some(format!("it requires {name}, which is not {} any more", edge.condition.word())),
            }
        })
    }

    /// Somebody who has to be gone before this one is stopped.
    fn first_to_go(&self, n: usize) -> Option<usize> {
        let (s, node) = (self.services.get(n)?, self.graph.node(n)?);
        if !s.active() || s.held.as_ref().is_some_and(|h| h.alone) {
            return None;
        }
        let present = |m: &usize| self.services.get(*m).is_some_and(Service::present);
        let hard = node.required_by.iter().copied().filter(present).find(|m| {
            let (Some(d), Some(other)) = (self.services.get(*m), self.graph.node(*m)) else { return false };
            let firm = other.hard.iter().any(|e| e.on == n && !(e.once && s.has_met(e.condition)));
            firm || d.leaving()
        });
        let leaving = |m: &usize| self.services.get(*m).is_some_and(Service::leaving);
        hard.or_else(|| node.followed_by.iter().copied().filter(present).find(leaving))
    }

    fn try_to_start(&mut self, n: usize, now: MonoTime, out: &mut Actions) {
        if self.services.get(n).is_none_or(|s| !matches!(s.state, State::Waiting)) {
            return;
        }
        let blockers = self.blockers(n);
        if blockers.texts.is_empty() {
            self.with(n, now, out, |s, cx| s.go_on(cx));
            return;
        }
        let reason = format!("waiting for {}", blockers.texts.join(", "));
        let Some(s) = self.services.get(n) else { return };
        if s.told_blocked && s.waiting_on == blockers.names && s.hopeless == blockers.hopeless && s.reason == reason {
            return;
        }
        self.with(n, now, out, |s, cx| s.note_blockers(cx, blockers.names, blockers.hopeless, reason));
    }

    /// What keeps it from starting at this moment.
    #[inline(never)]
    fn blockers(&self, n: usize) -> Blockers {
        let mut found = Blockers::default();
        let (Some(s), Some(node)) = (self.services.get(n), self.graph.node(n)) else { return found };
        for edge in &node.hard {
            let Some(on) = self.services.get(edge.on) else { continue };
            self.lacks(on, edge.condition, edge.once, &mut found);
        }
        for on in node.soft.iter().chain(&node.after).filter_map(|m| self.services.get(*m)) {
            if !on.settled() {
                found.add(&on.spec.name, format!("{} (to be ready or to fail)", on.spec.name), false);
            }
        }
        for other in node.conflicts.iter().filter_map(|m| self.services.get(*m)).filter(|o| o.state.has_process()) {
            let stays = matches!(other.state, State::Stuck { .. });
            let ends = other.goal == Goal::Down || other.spec.kind == Kind::Oneshot;
            let text = format!("{} (conflicts, and is {})", other.spec.name, other.state.word());
            found.add(&other.spec.name, text, stays || !ends);
        }
        if let Some(file) = s.spec.place.wait_for_file.as_ref().filter(|_| !s.file_there) {
            found.add(&file.to_string_lossy(), format!("{} (wait_for_file)", file.display()), false);
        }
        self.strategy_blocks(n, &mut found);
        found
    }

    /// One hard edge: whether it is in the way.
    fn lacks(&self, on: &Service, condition: Condition, once: bool, found: &mut Blockers) {
        if once && on.has_met(condition) {
            return;
        }
        let name = &on.spec.name;
        let ready = condition != Condition::Ready || on.probes_ready();
        if on.held.is_none() && on.meets(condition) && ready {
            return;
        }
        let (text, lost) = match on.state {
            State::Done if condition == Condition::Ready => {
                (format!("{name} (it has ended, {} is needed)", condition.word()), true)
            }
            State::Failed => (format!("{name} (it has failed)"), true),
            State::Stuck { .. } => (format!("{name} (it is stuck)"), true),
            State::Stopped if on.is_lost() => (format!("{name} (it is stopped, and nothing starts it)"), true),
            // Not what that one waits for: a long chain would say all of itself.
            State::Waiting if on.hopeless => (format!("{name} (it waits in vain itself)"), true),
            State::Stopped
            | State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done => (format!("{name} ({})", condition.word()), false),
        };
        found.add(name, text, lost);
    }

    /// Nobody starts while one whose failure struck him waits for its restart.
    fn strategy_blocks(&self, n: usize, found: &mut Blockers) {
        let before: &[usize] = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => &self.graph.order,
            Strategy::RestForOne => {
                let at = self.graph.order.iter().position(|m| *m == n).unwrap_or(0);
                &self.graph.order[..at]
            }
        };
        for other in before.iter().filter(|m| **m != n).filter_map(|m| self.services.get(*m)) {
            if matches!(other.state, State::Backoff { .. } | State::CrashLoop { .. }) {
                found.add(&other.spec.name, format!("{} (to be restarted first)", other.spec.name), false);
            }
        }
    }
}
