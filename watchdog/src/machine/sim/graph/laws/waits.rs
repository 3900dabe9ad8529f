//! Whoever waits says on what, and that is true; that it waits in vain is said only where nothing that happens by itself
//! helps.

use super::Laws;
use super::shadow::{Edge, Shadow, View};
use crate::machine::sim::graph::Rare;
use crate::machine::sim::graph::specs::struck_by;
use crate::machine::{Action, Actions, Goal, MonoTime, State, Supervisor, What};
use crate::spec::{Condition, Kind, Strategy};

/// What is in the way of a start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) names: Vec<String>,
    pub(super) hopeless: bool,
}

impl Way {
    fn add(&mut self, name: String, hopeless: bool) {
        self.names.push(name);
        self.hopeless |= hopeless;
    }
}

/// What was told of one wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ToldWait {
    blocked: u32,
    hopeless: bool,
}

impl Shadow {
    /// Nothing that happens by itself brings it up (again).
    fn lost(&self, n: usize) -> bool {
        match self.views[n].state {
            State::Failed | State::Stuck { .. } => true,
            State::Stopped => !self.wanted(n),
            State::Waiting => self.way(n).hopeless,
            _ => false,
        }
    }

    fn edge_way(&self, edge: &Edge, way: &mut Way) {
        let view = &self.views[edge.on];
        let good = edge.condition != Condition::Ready || view.good;
        let met = view.held.is_none() && self.meets(edge.on, edge.condition) && good;
        if !self.enough_once(edge) && !met {
            let ended = view.state == State::Done && edge.condition == Condition::Ready;
            way.add(self.slots[edge.on].spec.name.clone(), ended || self.lost(edge.on));
        }
    }

    /// Whether one that only comes after it need not wait for it.
    fn settled(&self, n: usize) -> bool {
        match self.views[n].state {
            State::Running { .. } => self.views[n].good || self.views[n].kind == Kind::Probe,
            State::Starting { .. } | State::Stopping { .. } => false,
            State::Stopped => !self.wanted(n),
            State::Waiting => self.way(n).hopeless,
            _ => true,
        }
    }

    pub(super) fn conflict_way(&self, n: usize) -> impl Iterator<Item = (usize, bool)> + '_ {
        let there = |m: &usize| self.views[*m].state.has_process();
        let goes = |m: usize| {
            let view = &self.views[m];
            let ends = view.goal == Goal::Down || view.kind == Kind::Oneshot;
            ends && !matches!(view.state, State::Stuck { .. })
        };
        self.slots[n].conflicts.iter().copied().filter(there).map(move |m| (m, !goes(m)))
    }

    /// Everything but the file.
    pub(super) fn way(&self, n: usize) -> Way {
        let mut way = Way::default();
        self.slots[n].hard.iter().for_each(|e| self.edge_way(e, &mut way));
        for m in self.slots[n].soft.iter().chain(&self.slots[n].after).filter(|m| !self.settled(**m)) {
            way.add(self.slots[*m].spec.name.clone(), false);
        }
        for (m, hopeless) in self.conflict_way(n) {
            way.add(self.slots[m].spec.name.clone(), hopeless);
        }
        way
    }
}

impl Laws {
    /// Whom it has to wait for because a failure struck it.
    pub(super) fn strategy_way(&self, n: usize) -> Vec<String> {
        let failed = |m: &usize| {
            self.shadow.views[*m].paused() && struck_by(self.setup.strategy, &self.shadow.order, *m).contains(&n)
        };
        match self.setup.strategy {
            Strategy::OneForOne => Vec::new(),
            _ => (0..self.shadow.slots.len()).filter(failed).map(|m| self.shadow.slots[m].spec.name.clone()).collect(),
        }
    }

    /// All that is in the way of a start, by the witness's own eyes.
    pub(super) fn whole_way(&self, n: usize, file_seen: bool) -> Way {
        let mut way = self.shadow.way(n);
        if let Some(file) = self.shadow.slots[n].spec.place.wait_for_file.as_ref().filter(|_| !file_seen) {
            way.add(file.to_string_lossy().into(), false);
        }
        for name in self.strategy_way(n) {
            way.add(name, false);
        }
        way.names.sort();
        way.names.dedup();
        way
    }

    pub(super) fn waits(&mut self, now: MonoTime, machine: &Supervisor) -> Result<(), String> {
        for (n, s) in machine.services().iter().enumerate() {
            if !matches!(s.state, State::Waiting) {
                if !s.waiting_on.is_empty() {
                    return Err(format!("wait: {} is {:?} and waits on {:?}", s.spec.name, s.state, s.waiting_on));
                }
                continue;
            }
            let way = self.whole_way(n, self.file_seen[n]);
            let mut said = s.waiting_on.clone();
            said.sort();
            if said != way.names || said.is_empty() || s.hopeless != way.hopeless {
                return Err(format!(
                    "wait: {} waits on {way:?}, and says {said:?}, hopeless {}",
                    s.spec.name, s.hopeless
                ));
            }
            let told = self.told_wait[n];
            if told.blocked == 0 || (s.hopeless && !told.hopeless) {
                return Err(format!("wait: that {} is blocked was not told: {told:?}", s.spec.name));
            }
            if self.shadow.conflict_way(n).next().is_some() {
                self.seen.saw(Rare::ConflictWaits);
            }
            if s.since == now && s.hopeless {
                self.seen.saw(Rare::Hopeless);
            }
        }
        Ok(())
    }

    pub(super) fn told_waits(&mut self, out: &Actions) -> Result<(), String> {
        for action in out {
            let Action::Tell(notice) = action else { continue };
            let Some(n) = notice.service.map(|id| id.0 as usize) else { continue };
            match &notice.what {
                What::Blocked { hopeless, waiting_on, .. } => {
                    let needs = self.shadow.needs(n);
                    let told = &mut self.told_wait[n];
                    // A conflicting one may come and go within one call, for whom it needs as well.
                    let flickers = needs.iter().chain([&n]).any(|m| !self.shadow.slots[*m].conflicts.is_empty());
                    if told.blocked > 0 && (!*hopeless || told.hopeless && !flickers) || waiting_on.is_empty() {
                        return Err(format!("wait: {} is blocked once more", self.shadow.slots[n].spec.name));
                    }
                    (told.blocked, told.hopeless) = (told.blocked + 1, *hopeless);
                }
                // Taken back: whatever follows is another wait.
                What::Stopped => self.told_wait[n] = ToldWait::default(),
                What::Unblocked => {
                    let told = std::mem::take(&mut self.told_wait[n]);
                    if told.blocked == 0 {
                        return Err(format!("wait: {} was not blocked", self.shadow.slots[n].spec.name));
                    }
                    self.seen.saw(Rare::StartedAfterWaiting);
                    if told.hopeless {
                        self.seen.saw(Rare::Cured);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// After the call: whoever does not wait (any more) has told nothing of his next wait.
    pub(super) fn forget_waits(&mut self, machine: &Supervisor) -> Result<(), String> {
        for (n, s) in machine.services().iter().enumerate() {
            let waits = matches!(s.state, State::Waiting);
            let told = &mut self.told_wait[n];
            if !waits && told.blocked > 0 {
                let started = s.last > self.shadow.were.get(n).map_or(s.last, |v: &View| v.last);
                if started {
                    return Err(format!("wait: {} goes on, and that was not told", s.spec.name));
                }
                *told = ToldWait::default();
            }
            if waits && !s.hopeless {
                // It may become hopeless again, and that is told again.
                told.hopeless = false;
            }
            if !waits {
                self.file_seen[n] = false;
            }
        }
        Ok(())
    }
}
