//! What must be true of every call, seen from outside: by the events that were handed over, the actions that came of them,
//! and the states. Whoever needs whom, and who wishes what, the witness reckons by itself.

mod clients;
mod ends;
mod leaves;
mod probes;
mod reload;
mod shadow;
mod starts;
mod tell;
mod timers;
mod waits;

pub(super) use tell::{describe, narrate};

use super::world::World;
use super::{Call, Rare, Sometimes};
use crate::machine::{Actions, Applied, Generation, MonoTime, Setup, State, Supervisor, Ticket};
use crate::spec::Spec;
use probes::Count;
use reload::Kept;
use shadow::{Shadow, View};
use std::collections::BTreeMap;
use waits::ToldWait;

/// Actions of one call, at most: for each service, and besides.
const ACTIONS: (usize, usize) = (16, 60);

/// The witness.
pub(super) struct Laws {
    pub(super) seen: Sometimes,
    pub(super) over: bool,
    setup: Setup,
    now: MonoTime,
    shadow: Shadow,
    /// The highest number of each place.
    generations: Vec<u64>,
    told_wait: Vec<ToldWait>,
    file_seen: Vec<bool>,
    /// It left for a dependency, and is to come back with it.
    dropped: Vec<bool>,
    counts: Vec<Count>,
    kept: Vec<Kept>,
    /// Struck by the failure of another, in this generation.
    owed: Vec<(usize, Generation)>,
    open: BTreeMap<Ticket, String>,
    ints: u32,
    interrupted: bool,
    was_ending: bool,
    asked_to_end: bool,
}

impl Laws {
    pub(super) fn new(file: &[Spec], setup: Setup) -> Laws {
        let n = file.len();
        Laws {
            seen: Sometimes::default(),
            over: false,
            setup,
            now: MonoTime::ZERO,
            shadow: Shadow::new(file),
            generations: vec![0; n],
            told_wait: vec![ToldWait::default(); n],
            file_seen: vec![false; n],
            dropped: vec![false; n],
            counts: vec![Count::default(); n],
            kept: Vec::new(),
            owed: Vec::new(),
            open: BTreeMap::new(),
            ints: 0,
            interrupted: false,
            was_ending: false,
            asked_to_end: false,
        }
    }

    fn resize(&mut self, machine: &Supervisor) {
        let n = machine.services().len();
        self.generations.resize(n, 0);
        self.told_wait.resize(n, ToldWait::default());
        self.file_seen.resize(n, false);
        self.dropped.resize(n, false);
        self.counts.resize(n, Count::default());
    }

    /// What is there before a call.
    pub(super) fn before(&mut self, machine: &Supervisor) {
        self.shadow.were = machine.services().iter().map(View::of).collect();
    }

    /// What a reload must not touch.
    pub(super) fn before_reload(&mut self, machine: &Supervisor) {
        self.kept = machine.services().iter().map(Kept::of).collect();
    }

    /// Judges one call.
    pub(super) fn after(
        &mut self,
        now: MonoTime,
        call: &Call,
        applied: &Applied,
        out: &Actions,
        machine: &Supervisor,
        world: &World,
    ) -> Result<(), String> {
        self.now = now;
        self.read(call, applied, machine)?;
        self.shadow.views = machine.services().iter().map(View::of).collect();
        if out.len() > ACTIONS.0 * machine.services().len() + ACTIONS.1 {
            return Err(format!("spin: {} actions of one call", out.len()));
        }
        self.wishes(call, out);
        self.restarts(call, out)?;
        self.see_files(call, machine);
        self.remember(call, out);
        self.truth(machine, world)?;
        self.starts(call, out, machine, world)?;
        self.nobody_stays_over_a_gap(machine)?;
        self.leaves(call, applied, out, machine)?;
        self.nothing_else_changed(call, applied, out, machine)?;
        self.probes(now, call, out, machine)?;
        self.timers(machine)?;
        self.needs(machine)?;
        self.ends(now, call, out, machine, world)?;
        self.answers(out)?;
        self.told_waits(out)?;
        if !machine.is_ending() {
            self.waits(now, machine)?;
        }
        self.forget_waits(machine)?;
        self.forget_alone();
        Ok(())
    }

    /// Up again, or down: nobody is restarted alone any more.
    fn forget_alone(&mut self) {
        for (slot, view) in self.shadow.slots.iter_mut().zip(&self.shadow.views) {
            let up = matches!(view.state, State::Running { .. }) && view.held.is_none();
            slot.alone &= !(up || view.state.is_terminal());
        }
    }

    /// One that only others need leaves in the call in which nobody does any more, and is back when somebody does.
    fn needs(&mut self, machine: &Supervisor) -> Result<(), String> {
        for n in 0..self.shadow.slots.len() {
            if !self.shadow.needed_only(n) || machine.is_ending() {
                continue;
            }
            let (wanted, view) = (self.shadow.wanted(n), &self.shadow.views[n]);
            let was = self.shadow.were.get(n);
            let name = &machine.services()[n].spec.name;
            match (wanted, view.state) {
                (true, State::Stopped) => return Err(format!("need: {name} is needed, and stays down")),
                (true, _) if view.goal == crate::machine::Goal::Down && view.present() => {
                    return Err(format!("need: {name} is needed, and leaves"));
                }
                (false, _) if view.active() && !view.leaving() => {
                    let s = &machine.services()[n];
                    return Err(format!(
                        "need: nobody needs {name}, and it stays: {:?} {} {:?}",
                        s.asked, s.by_hand, s.goal
                    ));
                }
                (false, State::Waiting | State::Backoff { .. } | State::CrashLoop { .. }) => {
                    return Err(format!("need: nobody needs {name}, and it is to start"));
                }
                _ => {}
            }
            if !wanted && was.is_some_and(|w| w.active() && !w.leaving()) {
                self.seen.saw(Rare::Unneeded);
            }
            if wanted && was.is_some_and(|w| w.goal == crate::machine::Goal::Down && w.present()) {
                self.seen.saw(Rare::NeededAgain);
            }
        }
        Ok(())
    }
}
