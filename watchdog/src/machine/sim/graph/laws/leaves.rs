//! Who has to leave, who may, and in which order.

use super::shadow::{Edge, View};
use super::tell::name;
use super::{Call, Laws};
use crate::machine::sim::graph::Rare;
use crate::machine::sim::graph::specs::struck_by;
use crate::machine::{Action, Actions, Applied, Cause, Event, Goal, Request, State, StopStep, Supervisor, What};
use crate::spec::{Kind, Strategy};

impl Laws {
    /// Nobody stays up over something that he requires and that is not there or is leaving.
    pub(super) fn nobody_stays_over_a_gap(&mut self, machine: &Supervisor) -> Result<(), String> {
        for n in 0..self.shadow.slots.len() {
            let view = &self.shadow.views[n];
            if view.active()
                && !view.leaving()
                && let Some(on) = self.gap(n)
            {
                let (s, d) = (&machine.services()[n], &machine.services()[on]);
                return Err(format!("order: {} stays up over {}, which is {:?}", s.spec.name, d.spec.name, d.state));
            }
        }
        Ok(())
    }

    /// What it requires and has not, or is about to lose.
    fn gap(&self, n: usize) -> Option<usize> {
        let shadow = &self.shadow;
        let open = shadow.slots[n].hard.iter().find(|e| {
            let view = &shadow.views[e.on];
            let alone = self.shadow.slots[e.on].alone && (view.lone || view.held == Some(true));
            let stays = view.held.is_none_or(|alone| alone) && shadow.meets(e.on, e.condition);
            !(stays || alone || shadow.enough_once(e))
        });
        open.map(|e| e.on)
    }

    /// As above, where the edge may be a new one: for that it makes no difference who is restarted by himself.
    fn new_gap(&self, n: usize, applied: &Applied) -> bool {
        let slot = &self.shadow.slots[n];
        let lacks = |e: &Edge| {
            let (was, is) = (self.shadow.were.get(e.on), &self.shadow.views[e.on]);
            // Met only by what came of the same file.
            let late = was.is_none_or(|was| was.state != is.state);
            late || is.held.is_some() || !self.shadow.meets(e.on, e.condition)
        };
        applied.changed.contains(&slot.spec.name) && slot.hard.iter().any(|e| !self.shadow.enough_once(e) && lacks(e))
    }

    /// Every stop of this call: for a reason, and not before those who have to be gone first.
    pub(super) fn leaves(
        &mut self,
        call: &Call,
        applied: &Applied,
        out: &Actions,
        machine: &Supervisor,
    ) -> Result<(), String> {
        let struck = self.struck(out, machine);
        for n in 0..self.shadow.were.len() {
            let (was, is) = (self.shadow.were[n].clone(), self.shadow.views[n].clone());
            self.watch(n, &was, &is, machine);
            let anew = is.last > was.last;
            if was.active() && !was.leaving() && (anew || !is.active() || is.leaving()) {
                let by_event = self.own_end(n, call) || is.doomed || struck.contains(&n);
                if !by_event && !self.reason(n, call, applied, machine) {
                    return Err(format!(
                        "reason: {} leaves without one ({})",
                        machine.services()[n].spec.name,
                        name(call)
                    ));
                }
            }
            if struck.contains(&n) && !(anew || !is.active() || is.leaving()) {
                return Err(format!("strategy: {} is not struck", machine.services()[n].spec.name));
            }
            self.order(n, &was, &is, machine)?;
        }
        for n in struck {
            self.owed.push((n, self.shadow.were[n].last));
        }
        Ok(())
    }

    /// Rare ones.
    fn watch(&mut self, n: usize, was: &View, is: &View, machine: &Supervisor) {
        let s = &machine.services()[n];
        if was.held.is_some() && is.held.is_none() && matches!(is.state, State::Stopping { .. }) && was.active() {
            self.seen.saw(Rare::HeldReleased);
        }
        if was.held.is_some() && was.living && !is.living && was.active() {
            self.seen.saw(Rare::HeldCrash);
        }
        if is.held.is_some() && is.goal == Goal::Down && was.held.is_none() {
            let removed = self.shadow.slots[n].removed;
            self.seen.saw(if removed { Rare::RemovedInOrder } else { Rare::StopByHandHeld });
        }
        let dependency = s.cause == Some(Cause::Dependency) || s.free_start == Some(Cause::Dependency);
        if was.active() && !was.leaving() && is.leaving() && dependency && is.goal == Goal::Up {
            self.dropped[n] = true;
            if matches!(was.state, State::Starting { .. }) {
                self.seen.saw(Rare::DropWhileStarting);
            }
        }
        if self.dropped[n] && matches!(is.state, State::Stopping { .. }) && was.state == is.state {
            let slot = &self.shadow.slots[n];
            if !slot.hard.is_empty() && slot.hard.iter().all(|e| self.shadow.meets(e.on, e.condition)) {
                self.seen.saw(Rare::ReturnWhileStopping);
            }
        }
        let slot = &self.shadow.slots[n];
        if is.active() && slot.hard.iter().any(|e| self.shadow.enough_once(e) && !self.shadow.meets(e.on, e.condition))
        {
            self.seen.saw(Rare::OnceKept);
        }
    }

    /// It has come to its end, or to nothing, by itself.
    fn own_end(&self, n: usize, call: &Call) -> bool {
        match call {
            Call::Handle(
                Event::Exited { service, .. } | Event::SpawnFailed { service, .. } | Event::Spawned { service, .. },
            ) => service.0 as usize == n,
            _ => false,
        }
    }

    /// Why it may leave, as far as the witness knows.
    fn reason(&self, n: usize, call: &Call, applied: &Applied, machine: &Supervisor) -> bool {
        let slot = &self.shadow.slots[n];
        let asked = match call {
            Call::Handle(Event::Asked {
                request: Request::Stop { services, .. } | Request::Restart { services, .. },
                ..
            }) => services.iter().any(|id| id.0 as usize == n),
            _ => false,
        };
        let dropped = slot.hard.iter().any(|e| {
            let (was, is) = (self.shadow.were.get(e.on), &self.shadow.views[e.on]);
            // One that is new is waited for by the next start.
            let name = &self.shadow.slots[e.on].spec.name;
            if applied.added.contains(name) && !is.state.is_terminal() && is.held.is_none() {
                return false;
            }
            // A restart alone leaves the dependents as they are.
            let by_itself = restarted_alone(call, e.on) || applied.restarted.contains(name);
            // One that has to leave in any case does so as any other.
            let stayed = was.is_some_and(|was| !was.leaving());
            let alone = stayed && by_itself && self.gap(e.on).is_none() && !self.new_gap(e.on, applied);
            let flickered = was.is_none_or(|was| was.last != is.last || was.state != is.state);
            let gone = is.held.is_some() || !self.shadow.meets(e.on, e.condition);
            // Its own edge may be a new one.
            (!alone || applied.changed.contains(&slot.spec.name))
                && (flickered || (!self.shadow.enough_once(e) && gone))
        });
        let aged = matches!(call, Call::Time) && slot.spec.max_age.is_some();
        let unneeded = self.shadow.needed_only(n) && !self.shadow.wanted(n);
        let replaced = slot.removed || applied.restarted.contains(&slot.spec.name);
        asked || machine.is_ending() || dropped || aged || unneeded || replaced
    }

    /// Whom the failures of this call strike.
    fn struck(&mut self, out: &Actions, machine: &Supervisor) -> Vec<usize> {
        let mut struck = Vec::new();
        for action in out {
            let Action::Tell(notice) = action else { continue };
            let Some(n) = notice.service.map(|id| id.0 as usize) else { continue };
            if !matches!(notice.what, What::RestartScheduled { .. } | What::CrashLoop { .. }) {
                continue;
            }
            let s = &machine.services()[n];
            let ended = s.ended.as_ref().filter(|_| notice.cause != Some(Cause::SpawnFailed));
            let good = ended.is_some_and(|e| s.spec.restart.success_on.has(e.exit.code, e.exit.signal));
            let ours = matches!(notice.cause, Some(Cause::Probe | Cause::StartTimeout));
            if good && !ours {
                continue;
            }
            for m in struck_by(self.setup.strategy, &self.shadow.order, n) {
                let up = self.shadow.were.get(m).is_some_and(|v| v.active() && !v.leaving());
                if up && !struck.contains(&m) {
                    struck.push(m);
                }
            }
            if !struck.is_empty() {
                let all = self.setup.strategy == Strategy::OneForAll;
                self.seen.saw(if all { Rare::StruckAll } else { Rare::StruckRest });
            }
        }
        struck
    }

    /// The reverse of the start, along every edge.
    fn order(&self, n: usize, was: &View, is: &View, machine: &Supervisor) -> Result<(), String> {
        let (slot, s) = (&self.shadow.slots[n], &machine.services()[n]);
        let told = matches!(is.state, State::Stopping { step: StopStep::Ask | StopStep::Term | StopStep::Kill, .. })
            || (is.pending && is.held.is_none());
        let process = matches!(s.spec.kind, Kind::Service | Kind::Oneshot);
        let down = !process && is.state == State::Stopped;
        let begins = was.active()
            && !was.pending
            && was.last == is.last
            && ((process && told && was.state != is.state) || (process && told && !was.pending && is.pending) || down);
        // What it has come to by itself in this call is followed by the end in the same.
        let end_of_its_own = machine.is_ending() && !self.was_ending;
        if !begins || end_of_its_own || is.doomed || slot.alone || self.interrupted {
            return Ok(());
        }
        let firm = |m: &usize| {
            self.shadow.views[*m].present()
                && self.shadow.slots[*m].hard.iter().any(|e| e.on == n && !self.shadow.enough_once(e))
        };
        let both = |m: &usize| self.shadow.views[*m].present() && self.shadow.views[*m].leaving();
        let first =
            slot.required_by.iter().find(|m| firm(m) || both(m)).or_else(|| slot.followed_by.iter().find(|m| both(m)));
        match first {
            Some(m) => Err(format!("order: {} is stopped before {}", s.spec.name, self.shadow.slots[*m].spec.name)),
            None => Ok(()),
        }
    }
}

fn restarted_alone(call: &Call, n: usize) -> bool {
    match call {
        Call::Handle(Event::Asked { request: Request::Restart { services, alone: true, .. }, .. }) => {
            services.iter().any(|id| id.0 as usize == n)
        }
        _ => false,
    }
}
