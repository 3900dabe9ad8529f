//! Worlds of many services that depend on each other: random graphs, troubles, clients and reloads around the real machine,
//! then calm, in which everybody must come to where he belongs. What must be true of any call stands in `laws`.

mod laws;
mod people;
mod sometimes;
mod specs;
#[cfg(test)]
mod tests;
mod world;

pub use sometimes::{Rare, Sometimes};

use super::draw::Draw;
use super::{Failure, Mode};
use crate::machine::{Actions, Applied, Event, ServiceId, Supervisor};
use laws::Laws;
use specs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use world::{Faults, World};

/// Lines of history that a failure shows.
const SHOWN: usize = 200;
/// So long may it take until everybody is where he belongs, once the troubles are over.
const SETTLES_WITHIN: Duration = Duration::from_secs(600);

/// A run without a broken law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of all calls and actions; only with [`Mode::hash`].
    pub hash: u64,
    /// Calls of the machine.
    pub calls: u64,
    /// Rare states that it met.
    pub seen: Sometimes,
}

/// One call of the machine.
#[derive(Clone, Debug)]
enum Call {
    Begin,
    Handle(Event),
    Time,
    Apply { file: File, restart: bool },
}

/// One seed. A broken law is repeated with its history.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    run_as(seed, Mode::default()).or_else(|_| run_as(seed, Mode { history: true, hash: false }))
}

/// One seed, in a given mode.
pub fn run_as(seed: u64, mode: Mode) -> Result<Report, Box<Failure>> {
    let mut run = Run::new(seed, mode);
    match run.all() {
        Ok(()) => Ok(Report { hash: run.hash.finish(), calls: run.calls, seen: run.laws.seen }),
        Err(law) => Err(Box::new(Failure { seed, law, history: run.history })),
    }
}

struct Run {
    machine: Supervisor,
    world: World,
    laws: Laws,
    mode: Mode,
    hash: DefaultHasher,
    history: Vec<String>,
    calls: u64,
    tickets: u64,
    chaos: u64,
}

impl Run {
    fn new(seed: u64, mode: Mode) -> Run {
        // Other worlds than those without a graph, of the same seeds.
        let mut draw = Draw::new(seed ^ 0x6EA9_4000_0000_0000);
        let setup = specs::draw_setup(&mut draw);
        let file = specs::draw_file(&mut draw);
        let faults = Faults::draw(&mut draw);
        let chaos = draw.pick(&[20, 60, 150, 400]);
        let mut run = Run {
            laws: Laws::new(&file, setup),
            machine: Supervisor::new(file.clone(), setup),
            history: Vec::new(),
            mode,
            hash: DefaultHasher::new(),
            calls: 0,
            tickets: 0,
            chaos,
            world: World::new(file, draw, faults),
        };
        let (file, faults) = (run.world.file.clone(), run.world.faults.clone());
        run.note(|| format!("{setup:?}\n{faults:?}\n{}", laws::describe(&file)));
        run
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.mode.history {
            if self.history.len() > SHOWN {
                self.history.remove(1);
            }
            self.history.push(line());
        }
    }

    fn all(&mut self) -> Result<(), String> {
        self.call(Call::Begin)?;
        for _ in 0..self.chaos {
            if self.laws.over {
                return Ok(());
            }
            self.turn()?;
        }
        self.world.calm_down();
        self.note(|| "calm".into());
        let patience = self.world.now.after(SETTLES_WITHIN);
        while let Some(unrest) = self.laws.unrest(&self.machine, &self.world) {
            if self.laws.over {
                return Ok(());
            }
            if self.world.now > patience {
                return Err(format!("settle: {unrest}"));
            }
            self.turn()?;
        }
        self.laws.seen.saw(Rare::Settled);
        if self.world.draw.chance(50) {
            self.nothing_new(true)?;
        }
        people::signal(&mut self.world, libc::SIGTERM);
        let patience = self.world.now.after(self.laws.longest_stop(&self.machine));
        while !self.laws.over {
            if self.world.now > patience {
                return Err("end: it takes longer than the longest path of stops".into());
            }
            self.turn()?;
        }
        self.laws.seen.saw(Rare::Ended);
        Ok(())
    }

    /// One turn of the loop.
    fn turn(&mut self) -> Result<(), String> {
        let deadline = self.machine.next_deadline();
        let Some(next) = self.world.next().into_iter().chain(deadline).min() else {
            return match self.world.calm {
                true => Err(format!(
                    "settle: nothing happens any more, and {:?}",
                    self.laws.unrest(&self.machine, &self.world)
                )),
                false => {
                    self.world.call_person();
                    Ok(())
                }
            };
        };
        let stall = self.world.draw.chance(self.world.faults.stalls);
        let extra = if stall { self.world.draw.ms(&[10, 1000, 20_000]) } else { Duration::ZERO };
        if stall {
            self.laws.seen.saw(Rare::Stall);
        }
        let letters = self.world.pass(next.max(self.world.now).after(extra));
        if std::mem::take(&mut self.world.person_due) && !self.world.calm {
            people::act(&mut self.world, &self.machine, &mut self.tickets);
        }
        for event in letters {
            self.call(Call::Handle(event))?;
            if let Some(restart) = self.world.reread.take() {
                self.reload(restart)?;
            }
        }
        self.deadlines()
    }

    fn deadlines(&mut self) -> Result<(), String> {
        for _ in 0..10 {
            self.call(Call::Time)?;
            if self.laws.over || self.machine.next_deadline().is_none_or(|at| at > self.world.now) {
                return Ok(());
            }
        }
        Err("spin: deadlines at once, for ever".into())
    }

    fn reload(&mut self, restart: bool) -> Result<(), String> {
        if self.laws.over {
            return Ok(());
        }
        let file = specs::edit(&mut self.world.draw, &self.world.file);
        if file == self.world.file {
            return self.nothing_new(restart);
        }
        if !self.machine.is_ending() {
            self.world.file.clone_from(&file);
        }
        self.call(Call::Apply { file, restart })
    }

    /// A reload without differences: no deed, and nothing that is different afterwards.
    fn nothing_new(&mut self, restart: bool) -> Result<(), String> {
        // Whatever waits for its next start is a difference, if that is to be now.
        let restart = restart && self.machine.services().iter().all(|s| s.next.is_none());
        let before = said(&self.machine)?;
        self.laws.seen.saw(Rare::ReloadNothing);
        let mut out = Actions::new();
        let applied = self.machine.apply(self.world.now, self.world.file.clone(), restart, &mut out);
        if !out.is_empty() || applied != Applied::default() || said(&self.machine)? != before {
            return Err(format!("reload: nothing is different, and {applied:?} {out:?}"));
        }
        Ok(())
    }

    fn call(&mut self, call: Call) -> Result<(), String> {
        if self.laws.over {
            return Ok(());
        }
        let (now, mut out) = (self.world.now, Actions::new());
        if self.world.draw.chance(1) {
            let copy = self.machine.clone();
            if said(&copy)? != said(&self.machine)? {
                return Err("copy: a copy differs from its original".into());
            }
            self.machine = copy;
        }
        self.laws.before(&self.machine);
        if matches!(call, Call::Apply { .. }) {
            self.laws.before_reload(&self.machine);
        }
        let meant = self.laws.with_members(&call);
        let mut applied = Applied::default();
        match call.clone() {
            Call::Begin => self.machine.begin(now, &mut out),
            Call::Handle(event) => self.machine.handle(now, event, &mut out),
            Call::Time => self.machine.handle_timeout(now, &mut out),
            Call::Apply { file, restart } => {
                let before: Vec<_> = self.machine.services().iter().map(|s| s.spec.name.clone()).collect();
                applied = self.machine.apply(now, file, restart, &mut out);
                for (n, s) in self.machine.services().iter().enumerate() {
                    if before.get(n).is_some_and(|name| *name != s.spec.name) {
                        self.world.forget(ServiceId(n as u32));
                    }
                }
            }
        }
        self.calls += 1;
        if self.mode.hash {
            format!("{now:?} {call:?} {out:?}").hash(&mut self.hash);
        }
        if self.mode.history && (!matches!(call, Call::Time) || !out.is_empty()) {
            let line = laws::narrate(now, &call, &out, &self.machine);
            self.note(|| line);
        }
        for action in &out {
            self.world.perform(action, &self.machine);
        }
        self.laws.after(now, &meant, &applied, &out, &self.machine, &self.world)
    }
}

fn said(machine: &Supervisor) -> Result<String, String> {
    serde_json::to_string(machine).map_err(|e| format!("copy: {e}"))
}
