//! When the watchdog ends, and what must be true once everything has come to rest.

use super::{Call, Laws};
use crate::machine::sim::graph::Rare;
use crate::machine::sim::graph::world::{Fact, World};
use crate::machine::{Action, Actions, Event, Goal, MonoTime, Origin, Request, Service, State, Supervisor};
use crate::spec::{Autostart, GiveUp, Kind};
use std::time::Duration;

/// For each step of a stop, and for the loop.
const SLACK: Duration = Duration::from_secs(3);

impl Laws {
    pub(super) fn ends(
        &mut self,
        now: MonoTime,
        call: &Call,
        out: &Actions,
        machine: &Supervisor,
        world: &World,
    ) -> Result<(), String> {
        let begins = machine.is_ending() && !self.was_ending;
        self.was_ending = machine.is_ending();
        if begins {
            self.asked_to_end = self.asks_for_the_end(call);
            if !self.asked_to_end {
                self.ends_by_itself(now, machine)?;
            }
        } else if !machine.is_ending() && self.setup.up {
            // The setting may be newer than the failure.
            let decided = |s: &Service| {
                s.state == State::Failed && s.leave && !s.removed && s.spec.restart.give_up != GiveUp::Stay
            };
            if let Some(s) = machine.services().iter().find(|s| decided(s)) {
                return Err(format!("end: the failure of {} is the end of all, and it goes on", s.spec.name));
            }
            if self.all_done() {
                let all: Vec<_> = self
                    .shadow
                    .slots
                    .iter()
                    .zip(&self.shadow.views)
                    .map(|(s, v)| (&s.spec.name, s.removed, s.hand, v.state, v.kind))
                    .collect();
                return Err(format!("end: all is done, and it goes on: {all:?}"));
            }
            if let Some(why) = self.until_ready(now, machine) {
                return Err(format!("end: {why}, and it goes on"));
            }
        }
        for (at, action) in out.iter().enumerate() {
            let Action::Exit(status) = action else { continue };
            self.over = true;
            if at + 1 != out.len() {
                return Err("end: something comes after it".into());
            }
            self.exit(*status, machine, world)?;
        }
        Ok(())
    }

    fn asks_for_the_end(&self, call: &Call) -> bool {
        match call {
            Call::Handle(Event::Asked { request: Request::Shutdown, .. }) => true,
            Call::Handle(Event::Signalled { signal, origin }) => {
                let closed = *signal == libc::SIGHUP && *origin == Origin::Kernel;
                let asks = [libc::SIGTERM, libc::SIGINT].contains(signal);
                asks || ((closed || *signal == libc::SIGQUIT) && self.setup.up)
            }
            _ => false,
        }
    }

    fn ends_by_itself(&mut self, now: MonoTime, machine: &Supervisor) -> Result<(), String> {
        if !self.setup.up {
            return Err("end: nobody asked for it".into());
        }
        if self.failed_for_all() {
            self.seen.saw(Rare::FailedForAll);
            return Ok(());
        }
        if let Some(limit) = self.setup.until_ready {
            if !machine.not_ready.is_empty() {
                self.seen.saw(Rare::UntilReadyLost);
                let late = now.0 >= limit;
                // Also one that ended well before it could be ready: there is nothing to come.
                let over = |n: usize| self.shadow.views[n].state == State::Done || self.shadow.lost_at_last(n);
                let lost = machine.not_ready.iter().any(|(id, _)| over(id.0 as usize));
                return if late || lost { Ok(()) } else { Err(format!("end: not lost yet: {:?}", machine.not_ready)) };
            }
            self.seen.saw(Rare::UntilReady);
            return Ok(());
        }
        // Whoever has no process is down by now.
        let rests = |n: usize| {
            let (slot, view) = (&self.shadow.slots[n], &self.shadow.views[n]);
            let gone = slot.removed && view.state.is_terminal();
            let process = matches!(view.kind, Kind::Service | Kind::Oneshot);
            let passive = !process && view.state == State::Stopped && slot.hand != Some(Goal::Down);
            let idle = view.state == State::Stopped && !self.shadow.wanted(n) && slot.hand != Some(Goal::Down);
            gone || passive || idle || view.state == State::Done
        };
        if (0..self.shadow.slots.len()).all(rests) {
            self.seen.saw(Rare::AllDone);
            return Ok(());
        }
        let open =
            (0..self.shadow.slots.len()).find(|n| !rests(*n)).map(|n| (&self.shadow.slots[n], &self.shadow.views[n]));
        Err(format!("end: nobody asked for it, and not all is done: {open:?}"))
    }

    /// A failure that is the end of all.
    pub(super) fn failed_for_all(&self) -> bool {
        self.shadow.slots.iter().zip(&self.shadow.views).any(|(slot, view)| {
            let ends = slot.spec.restart.give_up != GiveUp::Stay;
            view.state == State::Failed && ends && !slot.removed && !view.give_up_runs
        })
    }

    fn all_done(&self) -> bool {
        let all = || self.shadow.slots.iter().zip(&self.shadow.views).enumerate();
        let some = all().any(|(_, (slot, view))| view.state == State::Done && !slot.removed);
        some && all().all(|(n, (slot, view))| match view.state {
            State::Done => true,
            State::Stopped => slot.removed || (!self.shadow.wanted(n) && slot.hand != Some(Goal::Down)),
            State::Failed => slot.removed,
            State::Running { .. } => matches!(view.kind, Kind::Target | Kind::Probe),
            _ => false,
        })
    }

    fn until_ready(&self, now: MonoTime, machine: &Supervisor) -> Option<&'static str> {
        let limit = self.setup.until_ready?;
        let wanted = || machine.services().iter().enumerate().filter(|(n, _)| self.shadow.wanted(*n));
        if wanted().all(|(_, s)| s.is_ready()) {
            return Some("all is ready");
        }
        (now.0 >= limit).then_some("until_ready is over")
    }

    fn exit(&self, status: u8, machine: &Supervisor, world: &World) -> Result<(), String> {
        let stuck = machine.services().iter().any(|s| matches!(s.state, State::Stuck { .. }));
        for ((id, _), p) in &world.procs {
            let s = &machine.services()[id.0 as usize];
            if p.lives() && !matches!(s.state, State::Stuck { .. }) {
                return Err(format!("end: {} lives", s.spec.name));
            }
        }
        let failed = machine.services().iter().filter(|s| s.state == State::Failed);
        let right = match (stuck, self.asked_to_end) {
            (true, _) => status == 125,
            (false, true) => status == 0 || !self.setup.up,
            // Also a give-up command that is ended by that end.
            (false, false) if !machine.not_ready.is_empty() => status == 1,
            (false, false) if self.failed_for_all() => {
                failed.into_iter().any(|s| s.status.filter(|s| *s != 0).unwrap_or(1) == status)
            }
            (false, false) => status == 0,
        };
        if right { Ok(()) } else { Err(format!("end: with status {status}")) }
    }

    /// Somebody who is not where he belongs; `None`: all are.
    pub(in super::super) fn unrest(&self, machine: &Supervisor, world: &World) -> Option<String> {
        let other = |f: &&Fact| !matches!(f, Fact::Letter(Event::Probed { .. }));
        if let Some(fact) = world.facts.values().find(other) {
            return Some(format!("on its way: {fact:?}"));
        }
        for (n, s) in machine.services().iter().enumerate() {
            let (slot, view) = (&self.shadow.slots[n], &self.shadow.views[n]);
            let by_hand = slot.spec.place.autostart == Autostart::Ignore && slot.hand.is_none();
            let rests = match view.state {
                State::Stopped => !self.shadow.wanted(n),
                State::Running { .. } => s.is_ready() && view.held.is_none() && (self.shadow.wanted(n) || by_hand),
                // Also one that needs another to be what it will be after its next start.
                State::Waiting => {
                    s.hopeless || self.shadow.needs(n).iter().any(|m| machine.services()[*m].next.is_some())
                }
                State::Done | State::Failed => true,
                _ => false,
            };
            if !rests || view.goal == Goal::Up && view.state == State::Stopped {
                return Some(format!(
                    "{} is {:?}, wanted {}: {}",
                    s.spec.name,
                    s.state,
                    self.shadow.wanted(n),
                    s.reason
                ));
            }
        }
        let owed = self.owed.iter().find(|(n, last)| {
            let (view, slot) = (&self.shadow.views[*n], &self.shadow.slots[*n]);
            matches!(view.state, State::Running { .. }) && view.last == *last && !slot.removed
        });
        if let Some((n, last)) = owed {
            return Some(format!("{} was struck in {last:?} and never began anew", self.shadow.slots[*n].spec.name));
        }
        // What was put off to a next start may be what somebody waits for.
        let put_off = machine.services().iter().any(|s| s.next.is_some());
        self.waiting_in_vain().filter(|_| !put_off)
    }

    /// How long the end may take: the longest path.
    pub(in super::super) fn longest_stop(&self, machine: &Supervisor) -> Duration {
        let mut longest = vec![Duration::ZERO; self.shadow.slots.len()];
        let mut most = Duration::ZERO;
        for n in self.shadow.order.iter().rev() {
            let s = &machine.services()[*n];
            let own = s.spec.stop.shutdown_timeout + Duration::from_secs(2) + s.spec.stop.kill_wait + SLACK;
            let slot = &self.shadow.slots[*n];
            let before = slot.required_by.iter().chain(&slot.followed_by).map(|m| longest[*m]).max();
            longest[*n] = own + before.unwrap_or_default();
            most = most.max(longest[*n]);
        }
        most
    }
}

impl super::shadow::Shadow {
    fn lost_at_last(&self, n: usize) -> bool {
        // The end has begun: whoever waited in vain is stopped by now.
        matches!(self.views[n].state, State::Failed | State::Stuck { .. } | State::Stopped)
    }
}
