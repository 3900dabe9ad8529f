//! What people ask: one answer each, and the last wish decides.

use super::{Call, Laws};
use crate::machine::sim::graph::Rare;
use crate::machine::{Action, Actions, Event, Goal, Reply, Request, ServiceId, State, Ticket};
use crate::spec::{Autostart, Kind};

impl Laws {
    /// Takes down what was wished, before anything that follows from it is judged.
    pub(super) fn wishes(&mut self, call: &Call, out: &Actions) {
        let Call::Handle(event) = call else { return };
        match event {
            Event::Asked { ticket, request, .. } => {
                let refused = out
                    .iter()
                    .any(|a| matches!(a, Action::Answer { ticket: t, reply: Reply::Refused { .. } } if t == ticket));
                self.open.insert(*ticket, format!("{request:?}"));
                if refused {
                    self.saw_refusal(out);
                } else {
                    self.wish(request);
                }
            }
            Event::ClientGone { ticket } if self.open.remove(ticket).is_some() => self.seen.saw(Rare::ClientGone),
            Event::Signalled { signal: libc::SIGINT, .. } => {
                self.ints += 1;
                if self.ints == 2 {
                    self.seen.saw(Rare::SecondInt);
                    self.interrupted = true;
                }
            }
            _ => {}
        }
    }

    /// The call as it is meant: a restart of a target is one of what it requires and wants, but for what is done or stopped.
    pub(in super::super) fn with_members(&mut self, call: &Call) -> Call {
        let mut call = call.clone();
        let Call::Handle(Event::Asked { request: Request::Restart { services, .. }, .. }) = &mut call else {
            return call;
        };
        let mut todo: Vec<usize> = services.iter().map(|id| id.0 as usize).collect();
        while let Some(n) = todo.pop() {
            let (Some(slot), Some(view)) = (self.shadow.slots.get(n), self.shadow.were.get(n)) else { continue };
            if view.kind != Kind::Target {
                continue;
            }
            for m in slot.hard.iter().map(|edge| edge.on).chain(slot.soft.iter().copied()) {
                let (Some(member), id) = (self.shadow.were.get(m), ServiceId(m as u32)) else { continue };
                let rests = matches!(member.state, State::Done | State::Stopped) || self.shadow.slots[m].removed;
                if !rests && !services.contains(&id) {
                    self.seen.saw(Rare::TargetRestarted);
                    services.push(id);
                    todo.push(m);
                }
            }
        }
        call
    }

    /// Whatever was up is on its way down, or up anew, once its restart is taken on.
    pub(super) fn restarts(&self, call: &Call, out: &Actions) -> Result<(), String> {
        let Call::Handle(Event::Asked { ticket, request: Request::Restart { services, .. }, .. }) = call else {
            return Ok(());
        };
        let refused =
            |a: &Action| matches!(a, Action::Answer { ticket: t, reply: Reply::Refused { .. } } if t == ticket);
        if out.iter().any(refused) {
            return Ok(());
        }
        for n in services.iter().map(|id| id.0 as usize) {
            let (Some(was), Some(is)) = (self.shadow.were.get(n), self.shadow.views.get(n)) else { continue };
            if was.active() && is.active() && !is.leaving() && is.last == was.last {
                return Err(format!("restart: {} goes on as it was", self.shadow.slots[n].spec.name));
            }
        }
        Ok(())
    }

    fn saw_refusal(&mut self, out: &Actions) {
        let conflict = |a: &Action| matches!(a, Action::Answer { reply: Reply::Refused { reason, .. }, .. } if reason.contains("conflicts"));
        if out.iter().any(conflict) {
            self.seen.saw(Rare::ConflictRefused);
        }
    }

    fn wish(&mut self, request: &Request) {
        if let Request::Start { services } | Request::Stop { services, .. } = request {
            // Whatever was due for another reason: this is the newer wish.
            self.owed.retain(|(n, _)| !services.iter().any(|id| id.0 as usize == *n));
        }
        match request {
            Request::Start { services } => {
                let mut risen = Vec::new();
                for n in services.iter().map(|id| id.0 as usize) {
                    self.shadow.slots[n].hand = Some(Goal::Up);
                    risen.push(n);
                    self.take_along(n, &mut risen);
                }
            }
            Request::Stop { services, .. } => {
                for id in services {
                    self.shadow.slots[id.0 as usize].hand = Some(Goal::Down);
                }
            }
            Request::Restart { services, alone, .. } => {
                let wanted: Vec<bool> = (0..self.shadow.slots.len()).map(|n| self.shadow.was_wanted(n)).collect();
                for n in services.iter().map(|id| id.0 as usize) {
                    let active = self.shadow.were.get(n).is_some_and(super::shadow::View::active);
                    let slot = &mut self.shadow.slots[n];
                    slot.alone = *alone;
                    if *alone && active {
                        self.seen.saw(Rare::Alone);
                    }
                    let by_file = slot.hand.is_none() && slot.spec.place.autostart == Autostart::Yes;
                    if !by_file && (slot.hand.is_some() || !active || !wanted[n]) {
                        slot.hand = Some(Goal::Up);
                    }
                }
            }
            _ => {}
        }
    }

    /// A start takes back the stops and failures of all that it needs.
    fn take_along(&mut self, n: usize, risen: &mut Vec<usize>) {
        for on in self.shadow.taken_along(n) {
            let failed = !risen.contains(&on) && self.shadow.were.get(on).is_some_and(|v| v.state == State::Failed);
            let slot = &mut self.shadow.slots[on];
            if slot.hand == Some(Goal::Down) || failed {
                slot.hand = None;
                risen.push(on);
                self.seen.saw(Rare::StartTakesAlong);
            }
        }
    }

    /// Exactly one answer, and none to whoever is gone.
    pub(super) fn answers(&mut self, out: &Actions) -> Result<(), String> {
        for action in out {
            match action {
                Action::Answer { ticket, .. } => self.closed(*ticket)?,
                // The loop answers when it has read the file.
                Action::ReadFileAgain { ticket: Some(ticket), .. } => self.closed(*ticket)?,
                Action::Exit(_) if !self.open.is_empty() => {
                    return Err(format!("clients: no answer at the end for {:?}", self.open));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn closed(&mut self, ticket: Ticket) -> Result<(), String> {
        match self.open.remove(&ticket) {
            Some(_) => Ok(()),
            None => Err(format!("clients: an answer to {ticket:?}, who does not wait")),
        }
    }

    /// Whoever asked for a state has got his answer once everything has settled.
    pub(super) fn waiting_in_vain(&self) -> Option<String> {
        let asked = self.open.iter().find(|(_, what)| !what.starts_with("Wait"));
        asked.map(|(ticket, what)| format!("{ticket:?} has no answer to {what}"))
    }
}
