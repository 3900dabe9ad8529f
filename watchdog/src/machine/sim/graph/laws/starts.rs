//! Who may start, and when; and that there is never a second process.

use super::{Call, Laws};
use crate::machine::sim::graph::Rare;
use crate::machine::sim::graph::world::{Stage, World};
use crate::machine::{Action, Actions, Event, Goal, State, Supervisor, What};
use crate::spec::{Autostart, Kind};

impl Laws {
    /// Never two of one service, never a process where the machine believes in none, and the other way round.
    pub(super) fn truth(&self, machine: &Supervisor, world: &World) -> Result<(), String> {
        let mut lives = vec![0; machine.services().len()];
        for ((id, generation), p) in &world.procs {
            let n = id.0 as usize;
            if !p.lives() {
                continue;
            }
            lives[n] += 1;
            let s = &machine.services()[n];
            let known = s.state.has_process() && s.last == *generation;
            // Between its end and the news of it.
            if lives[n] > 1 || !known {
                return Err(format!("truth: {} lives in generation {generation:?}, and is {:?}", s.spec.name, s.state));
            }
        }
        for (n, s) in machine.services().iter().enumerate() {
            let process = s.spec.kind.has_process();
            let running = matches!(s.state, State::Running { .. });
            if running && process && s.living().is_none() {
                return Err(format!("truth: {} runs without a process", s.spec.name));
            }
            let gone =
                world.procs.iter().any(|((id, g), p)| id.0 as usize == n && *g == s.last && p.stage == Stage::Exec);
            if running && process && gone {
                return Err(format!("truth: {} runs before its exec", s.spec.name));
            }
        }
        Ok(())
    }

    /// Every start of this call: allowed, and by everything that is there at its end.
    pub(super) fn starts(
        &mut self,
        call: &Call,
        out: &Actions,
        machine: &Supervisor,
        world: &World,
    ) -> Result<(), String> {
        for n in 0..machine.services().len() {
            let s = &machine.services()[n];
            let old = self.shadow.were.get(n).cloned();
            // In the place of another one it begins anew.
            let last = old.as_ref().filter(|_| self.generations[n] > 0).map_or(self.generations[n], |v| v.last.0);
            if s.last.0 < self.generations[n] {
                return Err(format!("generation: {} goes back to {:?}", s.spec.name, s.last));
            }
            self.generations[n] = s.last.0;
            let spawns = out.iter().filter(|a| matches!(a, Action::Spawn { service, .. } if *service == s.id)).count();
            if s.spec.kind.has_process() && s.last.0 - last != spawns as u64 {
                return Err(format!("start: {} has {spawns} starts in generation {:?}", s.spec.name, s.last));
            }
            if s.last.0 == last {
                continue;
            }
            self.start(n, call, machine, world)
                .map_err(|why| format!("start: {} {why} ({})", s.spec.name, super::tell::name(call)))?;
        }
        Ok(())
    }

    fn start(&mut self, n: usize, call: &Call, machine: &Supervisor, world: &World) -> Result<(), String> {
        let slot = &self.shadow.slots[n];
        if machine.is_ending() {
            // Where all is ready, lost or done by that, or new settings make a failure the end of all, a start may be
            // followed by the end.
            let new_rule = matches!(call, Call::Apply { .. }) || !machine.not_ready.is_empty();
            let at_once = !self.was_ending && self.setup.up && (new_rule || !self.failed_for_all());
            return if at_once { Ok(()) } else { Err("starts in the end".into()) };
        }
        if slot.removed {
            return Err("is removed".into());
        }
        if slot.hand == Some(Goal::Down) {
            return Err("was stopped by hand".into());
        }
        let was = self.shadow.were.get(n);
        let rested = was.is_none_or(|v| v.state == State::Stopped);
        let by_itself = slot.spec.place.autostart == Autostart::Ignore && slot.hand.is_none();
        if rested && by_itself {
            return Err("is to be started by hand alone".into());
        }
        if self.shadow.needed_only(n) && !self.shadow.wanted(n) {
            return Err("is not needed".into());
        }
        let way = self.whole_way(n, true);
        if !way.names.is_empty() {
            return Err(format!("starts over {way:?}"));
        }
        if let Some(file) = slot.spec.place.wait_for_file.as_ref() {
            // Seen by us, and not only there.
            if !self.file_seen[n] || !world.file_is_there(file) {
                return Err("starts without its file".into());
            }
        }
        if slot.spec.kind == Kind::Target {
            self.seen.saw(Rare::TargetUp);
        }
        if self.dropped[n] {
            self.dropped[n] = false;
            self.seen.saw(Rare::BackWithDependency);
        }
        Ok(())
    }

    /// What it has ever been: what can be seen, and what was told of a shorter moment.
    pub(super) fn remember(&mut self, call: &Call, out: &Actions) {
        self.remember_a_short_end(call);
        for n in 0..self.shadow.slots.len() {
            for condition in
                [crate::spec::Condition::Started, crate::spec::Condition::Ready, crate::spec::Condition::Completed]
            {
                if self.shadow.meets(n, condition) {
                    self.shadow.slots[n].ever[super::shadow::which(condition)] = true;
                }
            }
        }
        for action in out {
            let Action::Tell(notice) = action else { continue };
            let Some(slot) = notice.service.and_then(|id| self.shadow.slots.get_mut(id.0 as usize)) else { continue };
            match notice.what {
                What::Spawn => slot.ever[0] = true,
                What::Ready { .. } => (slot.ever[0], slot.ever[1]) = (true, true),
                What::Stuck { .. } => self.seen.saw(Rare::Stuck),
                What::LeftoverKilled { .. } => self.seen.saw(Rare::Leftovers),
                What::GaveUp { .. } => self.seen.saw(Rare::GaveUp),
                _ => {}
            }
        }
    }

    /// One whose restart was held has come to its end well, and began anew in the same call.
    fn remember_a_short_end(&mut self, call: &Call) {
        let Call::Handle(Event::Exited { service, generation, exit, .. }) = call else { return };
        let n = service.0 as usize;
        let Some(was) = self.shadow.were.get(n) else { return };
        let held = was.held.is_some() && was.goal == Goal::Up && was.last == *generation && was.living;
        let well = exit.code == Some(0) && was.kind == Kind::Oneshot && !was.doomed;
        if held && well {
            self.shadow.slots[n].ever = [true; 3];
        }
    }

    pub(super) fn see_files(&mut self, call: &Call, machine: &Supervisor) {
        let Call::Handle(Event::FileSeen { service, there }) = call else { return };
        let n = service.0 as usize;
        if self.shadow.were.get(n).is_some_and(|v| matches!(v.state, State::Waiting)) {
            self.file_seen[n] = *there;
            if *there && machine.services()[n].since.0 + std::time::Duration::from_millis(500) < self.now.0 {
                self.seen.saw(Rare::FileLate);
            }
        }
    }
}
