//! The witness's own picture: who stands where to whom by the newest file, what people have wished, and what can be seen of
//! each service. Nothing here asks the machine's graph or its wishes.

use crate::machine::{Generation, Goal, Service, State, Timer};
use crate::spec::{Autostart, Condition, Kind, Spec};
use std::collections::BTreeMap;

/// A hard edge.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Edge {
    pub(super) on: usize,
    pub(super) condition: Condition,
    pub(super) once: bool,
}

/// One place in the list of services.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Slot {
    /// Its newest settings.
    pub(super) spec: Spec,
    pub(super) removed: bool,
    /// What a person wished last.
    pub(super) hand: Option<Goal>,
    pub(super) ever: [bool; 3],
    /// A person wanted it anew and its dependents to stay; over when it has been up again, or is down.
    pub(super) alone: bool,
    pub(super) hard: Vec<Edge>,
    pub(super) soft: Vec<usize>,
    pub(super) after: Vec<usize>,
    pub(super) conflicts: Vec<usize>,
    pub(super) required_by: Vec<usize>,
    pub(super) followed_by: Vec<usize>,
    pub(super) wanted_by: Vec<usize>,
}

/// What is seen of a service at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct View {
    pub(super) state: State,
    pub(super) goal: Goal,
    /// Held, and whether alone.
    pub(super) held: Option<bool>,
    pub(super) last: Generation,
    pub(super) living: bool,
    pub(super) lone: bool,
    pub(super) doomed: bool,
    /// A stop or a restart waits for the exec to be over.
    pub(super) pending: bool,
    pub(super) good: bool,
    pub(super) give_up_runs: bool,
    /// What it is in this run; the file may say something else by now.
    pub(super) kind: Kind,
}

pub(super) fn which(condition: Condition) -> usize {
    match condition {
        Condition::Started => 0,
        Condition::Ready => 1,
        Condition::Completed => 2,
    }
}

impl View {
    pub(super) fn of(s: &Service) -> View {
        View {
            state: s.state,
            goal: s.goal,
            held: s.held.as_ref().map(|h| h.alone),
            last: s.last,
            living: s.living().is_some(),
            lone: s.lone,
            doomed: s.run.as_ref().is_some_and(|r| r.doomed.is_some()),
            pending: s.pending.is_some() || (s.free_start.is_some() && matches!(s.state, State::Starting { .. })),
            good: s.probes_ready(),
            kind: s.spec.kind,
            give_up_runs: s.timers.get(Timer::GiveUp).is_some(),
        }
    }

    pub(super) fn active(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Running { .. })
    }

    pub(super) fn present(&self) -> bool {
        self.active() || matches!(self.state, State::Stopping { .. })
    }

    pub(super) fn leaving(&self) -> bool {
        self.goal == Goal::Down || self.held.is_some() || self.pending || matches!(self.state, State::Stopping { .. })
    }

    pub(super) fn paused(&self) -> bool {
        matches!(self.state, State::Backoff { .. } | State::CrashLoop { .. })
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Shadow {
    pub(super) slots: Vec<Slot>,
    pub(super) views: Vec<View>,
    /// Before the call that is being judged.
    pub(super) were: Vec<View>,
    /// Places in the order of a start.
    pub(super) order: Vec<usize>,
}

impl Shadow {
    pub(super) fn new(file: &[Spec]) -> Shadow {
        let slots = file.iter().map(|spec| Slot { spec: spec.clone(), ..Slot::default() }).collect();
        let mut shadow = Shadow { slots, ..Shadow::default() };
        shadow.link();
        shadow
    }

    /// The edges anew, by name.
    pub(super) fn link(&mut self) {
        let places: BTreeMap<String, usize> =
            self.slots.iter().enumerate().map(|(n, s)| (s.spec.name.clone(), n)).collect();
        let find = |names: &[String]| names.iter().filter_map(|n| places.get(n).copied()).collect::<Vec<usize>>();
        for slot in &mut self.slots {
            let place = &slot.spec.place;
            let edge = |n: &crate::spec::Need| {
                Some(Edge { on: *places.get(&n.service)?, condition: n.condition, once: n.once })
            };
            slot.hard = place.requires.iter().filter_map(edge).collect();
            slot.soft = find(&place.wants);
            slot.after = find(&place.after);
            slot.conflicts = find(&place.conflicts);
            (slot.required_by, slot.followed_by, slot.wanted_by) = (Vec::new(), Vec::new(), Vec::new());
        }
        for n in 0..self.slots.len() {
            let slot = self.slots[n].clone();
            slot.hard.iter().for_each(|e| self.slots[e.on].required_by.push(n));
            slot.soft.iter().chain(&slot.after).for_each(|m| self.slots[*m].followed_by.push(n));
            slot.soft.iter().for_each(|m| self.slots[*m].wanted_by.push(n));
            slot.spec
                .place
                .conflicts
                .iter()
                .filter_map(|c| places.get(c))
                .for_each(|m| self.slots[*m].conflicts.push(n));
        }
        // Whoever is gone from a table is not up together with whoever has come into it.
        for old in (0..self.slots.len()).filter(|n| self.slots[*n].removed).collect::<Vec<_>>() {
            let base = self.slots[old].spec.base.clone();
            for n in 0..self.slots.len() {
                if n != old && !base.is_empty() && !self.slots[n].removed && self.slots[n].spec.base == base {
                    self.slots[n].conflicts.push(old);
                }
            }
        }
        self.order = self.sorted();
    }

    /// The first of the file whose predecessors are all placed, again and again.
    fn sorted(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        while order.len() < self.slots.len() {
            let free = |n: &usize| {
                let s = &self.slots[*n];
                let needs = s.hard.iter().map(|e| e.on).chain(s.soft.iter().copied()).chain(s.after.iter().copied());
                !order.contains(n) && needs.into_iter().all(|m| order.contains(&m))
            };
            let Some(next) = (0..self.slots.len()).find(free) else { break };
            order.push(next);
        }
        order
    }

    /// Whether a condition on it holds at this moment.
    pub(super) fn meets(&self, n: usize, condition: Condition) -> bool {
        let view = &self.views[n];
        let process = matches!(view.kind, Kind::Service | Kind::Oneshot);
        let done = view.state == State::Done;
        match condition {
            Condition::Started => done || (view.active() && (view.living || !process)),
            Condition::Ready => matches!(view.state, State::Running { .. }) || (done && view.kind == Kind::Oneshot),
            Condition::Completed => done,
        }
    }

    pub(super) fn enough_once(&self, edge: &Edge) -> bool {
        edge.once && self.slots[edge.on].ever[which(edge.condition)]
    }

    /// Whether anybody wants it: a person, the file, or another that is wanted and needs it.
    pub(super) fn wanted(&self, n: usize) -> bool {
        self.wanted_by(n, &self.views)
    }

    /// The same before the call.
    pub(super) fn was_wanted(&self, n: usize) -> bool {
        self.wanted_by(n, &self.were)
    }

    fn wanted_by(&self, n: usize, views: &[View]) -> bool {
        let slot = &self.slots[n];
        if slot.removed {
            return false;
        }
        match (slot.hand, slot.spec.place.autostart) {
            (Some(goal), _) => goal == Goal::Up,
            (None, Autostart::Yes) => true,
            // Was running when the file came to say so.
            (None, Autostart::Ignore) => views.get(n).is_some_and(|v| v.goal == Goal::Up && !v.state.is_terminal()),
            (None, Autostart::No) => slot.required_by.iter().chain(&slot.wanted_by).any(|m| self.wanted_by(*m, views)),
        }
    }

    pub(super) fn needed_only(&self, n: usize) -> bool {
        let slot = &self.slots[n];
        slot.hand.is_none() && !slot.removed && slot.spec.place.autostart == Autostart::No
    }

    /// All that it requires, however far away.
    pub(super) fn needs(&self, n: usize) -> Vec<usize> {
        self.reach(n, |_| true)
    }

    /// All that a start of it takes along: whoever is to be started by hand alone takes nobody along.
    pub(super) fn taken_along(&self, n: usize) -> Vec<usize> {
        self.reach(n, |on| self.slots[on].spec.place.autostart != Autostart::Ignore)
    }

    fn reach(&self, n: usize, through: impl Fn(usize) -> bool) -> Vec<usize> {
        let (mut found, mut todo) = (Vec::new(), vec![n]);
        while let Some(m) = todo.pop() {
            for on in self.slots[m].hard.iter().map(|e| e.on).filter(|on| through(*on)) {
                if !found.contains(&on) {
                    found.push(on);
                    todo.push(on);
                }
            }
        }
        found
    }
}
