//! New settings: who is not meant notices nothing, who is gone leaves, and no number is used twice.

use super::probes::Count;
use super::shadow::Slot;
use super::{Call, Laws};
use crate::machine::sim::graph::Rare;
use crate::machine::{Action, Actions, Applied, Book, Service, State, Supervisor, Timers};
use crate::spec::{ProbeSpec, Spec};

/// What must not change where nothing has been changed.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    spec: Spec,
    book: Book,
    timers: Timers,
    pid: Option<i32>,
    /// Those of the run, whatever the next one will have.
    pub(super) probes: Vec<ProbeSpec>,
}

impl Kept {
    pub(super) fn of(s: &Service) -> Kept {
        let pid = s.run.as_ref().and_then(|r| r.pid);
        let spec = s.next.as_deref().unwrap_or(&s.spec).clone();
        Kept { spec, book: s.book.clone(), timers: s.timers.clone(), pid, probes: s.spec.probes.clone() }
    }
}

impl Laws {
    /// The witness reads the file as well, before anything that follows is judged.
    pub(super) fn read(&mut self, call: &Call, applied: &Applied, machine: &Supervisor) -> Result<(), String> {
        let Call::Apply { file, .. } = call else { return Ok(()) };
        if self.was_ending {
            return Ok(());
        }
        let slots = &mut self.shadow.slots;
        for (n, s) in machine.services().iter().enumerate() {
            let name = s.next.as_deref().unwrap_or(&s.spec).name.clone();
            let spec = file.iter().find(|f| f.name == name);
            if slots.len() <= n {
                slots.push(Slot { removed: true, ..Slot::default() });
            }
            match spec {
                None if slots[n].spec.name != name => return Err(format!("reload: {name} came from nowhere")),
                None => (slots[n].removed, slots[n].hand) = (true, None),
                Some(spec) if slots[n].removed || slots[n].spec.name != name => {
                    let revived = slots[n].spec.name == name;
                    if !slots[n].removed {
                        return Err(format!("reload: {} lost its place to {name}", slots[n].spec.name));
                    }
                    if !slots[n].spec.name.is_empty() {
                        self.seen.saw(if revived { Rare::Revived } else { Rare::SlotReused });
                    }
                    // What was due to the one before it is not due to this one.
                    self.owed.retain(|(m, _)| revived || *m != n);
                    if !revived && n < self.generations.len() {
                        (self.generations[n], self.counts[n]) = (0, Count::default());
                    }
                    slots[n] = Slot { spec: spec.clone(), alone: true, ..Slot::default() };
                }
                Some(spec) => {
                    self.file_seen[n] &= slots[n].spec.place.wait_for_file == spec.place.wait_for_file;
                    slots[n].spec = spec.clone();
                    // For its settings it is restarted by itself.
                    slots[n].alone |= applied.restarted.contains(&name);
                }
            }
        }
        for f in file {
            let places = slots.iter().filter(|s| s.spec.name == f.name && !s.removed).count();
            if places != 1 {
                return Err(format!("reload: {} has {places} places", f.name));
            }
        }
        if !applied.deferred.is_empty() {
            self.seen.saw(Rare::ReloadDeferred);
        }
        if !applied.restarted.is_empty() {
            self.seen.saw(Rare::ReloadRestart);
        }
        self.resize(machine);
        self.shadow.link();
        Ok(())
    }

    /// Unchanged: the same book, and in the same state the same timers. Changed and not to be replaced: the same process.
    pub(super) fn nothing_else_changed(
        &mut self,
        call: &Call,
        applied: &Applied,
        out: &Actions,
        machine: &Supervisor,
    ) -> Result<(), String> {
        if !matches!(call, Call::Apply { .. }) || machine.is_ending() {
            return Ok(());
        }
        if self.shadow.were.iter().any(|v| matches!(v.state, State::Stopping { .. })) {
            self.seen.saw(Rare::ReloadInStop);
        }
        for (n, old) in self.kept.iter().enumerate() {
            let (s, was) = (&machine.services()[n], &self.shadow.were[n]);
            let name = &old.spec.name;
            if self.shadow.slots[n].spec.name != *name || self.shadow.slots[n].removed || applied.added.contains(name) {
                continue;
            }
            let changed = applied.changed.contains(name);
            if !was.state.is_terminal() && s.book != old.book {
                return Err(format!("reload: the book of {name} has changed: {:?} {:?}", old.book, s.book));
            }
            if !changed && s.state == was.state && s.goal == was.goal && s.timers != old.timers {
                return Err(format!("reload: the timers of {name} have changed: {:?} {:?}", old.timers, s.timers));
            }
            if !changed && self.shadow.slots[n].spec != old.spec {
                return Err(format!("reload: {name} has changed, and that was not told"));
            }
            let replaced = applied.restarted.contains(name);
            let rests = s.state.is_terminal() || matches!(s.state, State::Backoff { .. } | State::CrashLoop { .. });
            if replaced && rests && s.last == was.last {
                return Err(format!("reload: {name} is not tried with its new settings: {:?}", s.state));
            }
            if changed && !replaced && was.living && s.run.as_ref().and_then(|r| r.pid) == old.pid {
                self.seen.saw(Rare::ReloadLive);
            }
            let signalled = out.iter().any(|a| matches!(a, Action::Signal { service, .. } if *service == s.id));
            if signalled && !replaced && !was.leaving() && !self.may_leave_by_reload(n) {
                return Err(format!("reload: {name} is signalled"));
            }
        }
        Ok(())
    }

    /// Its edges, or what stands behind them, give it a reason.
    fn may_leave_by_reload(&self, n: usize) -> bool {
        let view = &self.shadow.views[n];
        let unneeded = self.shadow.needed_only(n) && !self.shadow.wanted(n);
        let broken = self.shadow.slots[n].hard.iter().any(|e| {
            let on = &self.shadow.views[e.on];
            on.leaving()
                || !self.shadow.meets(e.on, e.condition)
                || self.shadow.were.get(e.on).is_none_or(|w| w.last != on.last)
        });
        view.leaving() && (unneeded || broken)
    }
}
