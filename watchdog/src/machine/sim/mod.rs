//! The seeded world around the real machine. One seed is one run: random settings, a random subset of troubles, chaos,
//! then calm, in which everything must settle and end. Every call is judged by `laws`.

#![allow(clippy::wildcard_enum_match_arm, reason = "an observer picks a few kinds out of all")]

mod draw;
pub mod graph;
mod heard;
mod laws;
mod people;
mod process;
mod rest;
mod sometimes;
mod specs;
#[cfg(test)]
mod tests;
mod voice;
mod world;

pub use sometimes::{Rare, Sometimes};

use super::{Action, Actions, Event, MonoTime, Origin, Supervisor};
use draw::{Draw, Faults};
use laws::{Call, Laws};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use world::World;

/// Later than any setting that is not meant to be endless.
const HORIZON: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Lines of history that a failure shows.
const SHOWN: usize = 60;

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

/// A broken law.
#[derive(Clone, Debug)]
pub struct Failure {
    /// To repeat it.
    pub seed: u64,
    /// The law and what broke it.
    pub law: String,
    /// The last calls and actions, oldest first.
    pub history: Vec<String>,
}

/// What else a run keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode {
    /// The hash of all calls and actions.
    pub hash: bool,
    /// The history, for people.
    pub history: bool,
}

/// One seed. A broken law is repeated with its history.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    run_as(seed, Mode::default()).or_else(|_| run_as(seed, Mode { history: true, hash: false }))
}

/// One seed, in a given mode.
pub fn run_as(seed: u64, mode: Mode) -> Result<Report, Box<Failure>> {
    let mut run = Run::new(seed, mode);
    match run.all() {
        Ok(()) => {
            let mut seen = run.laws.sometimes();
            seen.add(&run.world.seen);
            Ok(Report { hash: run.hash.finish(), calls: run.calls, seen })
        }
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
        let mut draw = Draw::new(seed);
        let (specs, setup) = specs::draw_house(&mut draw);
        let faults = Faults::draw(&mut draw);
        let chaos = draw.pick(&[10, 30, 60, 120, 300]);
        let mut run = Run {
            laws: Laws::new(&specs, setup),
            world: World::new(specs.clone(), draw, faults),
            machine: Supervisor::new(specs.clone(), setup),
            mode,
            hash: DefaultHasher::new(),
            history: Vec::new(),
            calls: 0,
            tickets: 0,
            chaos,
        };
        run.note(|| format!("settings {specs:#?}\n{setup:?}\n{:?}", run_faults(seed)));
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
        let actions = self.call(Call::Begin)?;
        self.perform(&actions)?;
        for _ in 0..self.chaos {
            if self.laws.over() {
                return Ok(());
            }
            self.turn()?;
        }
        self.world.calm_down();
        self.note(|| "calm".into());
        // A longer pause than this is not waited for: a neighbour that is recycled each second would fill the turns.
        let patience = self.world.now.after(Duration::from_secs(100));
        self.until("settle: it does not come to rest", |laws| laws.settled(patience))?;
        // At the end of all time nothing takes any: no world to judge.
        if self.laws.over() || self.world.now.0 > HORIZON {
            return Ok(());
        }
        self.world.seen.saw(Rare::EndSettled);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGINT] {
            // A rewritten TERM may be dropped; two INT of the kernel's terminal are not needed then either.
            self.world.post(Event::Signalled { signal, origin: Origin::Process { pid: 7, uid: 0 } }, false);
        }
        let ends =
            self.machine.services()[0].spec.rewrite_signal.iter().all(|r| r.0 != libc::SIGINT || r.1 == libc::SIGTERM);
        if ends {
            self.until("settle: it does not end", Laws::over)?;
            if self.laws.waiting() > 0 {
                return Err("clients: somebody still waits at the end".into());
            }
        }
        Ok(())
    }

    fn until(&mut self, law: &str, done: impl Fn(&Laws) -> bool) -> Result<(), String> {
        for _ in 0..6000 {
            if self.laws.over() || done(&self.laws) || self.world.now.0 > HORIZON {
                return Ok(());
            }
            self.turn()?;
        }
        Err(format!("{law}: {}", self.laws.unrest()))
    }

    /// One turn of the loop: time passes, letters are handed over, deadlines fire, actions are performed.
    fn turn(&mut self) -> Result<(), String> {
        let deadline = self.machine.next_deadline();
        let Some(next) = self.world.next().into_iter().chain(deadline).min() else {
            self.world.call_person();
            return Ok(());
        };
        let stall = self.world.draw.chance(self.world.faults.stalls);
        let extra = if stall { self.world.draw.ms(&[10, 1000, 5000, 100_000]) } else { Duration::ZERO };
        if stall {
            self.world.seen.saw(Rare::Stall);
        }
        self.world.pass(next.max(self.world.now).after(extra), stall);
        if std::mem::take(&mut self.world.person_due) && !self.world.calm {
            people::act(&mut self.world, &mut self.tickets);
        }
        let events = self.world.arrived();
        self.remember_coincidences(&events, deadline);
        let mut todo = Actions::new();
        let time_first = self.world.draw.chance(self.world.faults.reorder);
        if time_first {
            self.deadlines(&mut todo)?;
        }
        for mut event in events {
            if !self.world.hand_over(&mut event) {
                continue;
            }
            let actions = self.call(Call::Handle(event))?;
            self.keep(actions, &mut todo)?;
        }
        self.deadlines(&mut todo)?;
        self.perform(&todo)
    }

    fn keep(&mut self, actions: Actions, todo: &mut Actions) -> Result<(), String> {
        if self.world.faults.perform_at_once {
            return self.perform(&actions);
        }
        todo.extend(actions);
        Ok(())
    }

    fn deadlines(&mut self, todo: &mut Actions) -> Result<(), String> {
        for _ in 0..10 {
            let actions = self.call(Call::Time)?;
            self.keep(actions, todo)?;
            if self.machine.next_deadline().is_none_or(|at| at > self.world.now) {
                return Ok(());
            }
        }
        if self.laws.over() || self.world.now.0 > HORIZON {
            return Ok(());
        }
        Err("spin: deadlines at once, for ever".into())
    }

    /// Does all this, and hands over at once what a look or a measurement has shown, as the loop does.
    fn perform(&mut self, actions: &[Action]) -> Result<(), String> {
        for action in actions {
            self.world.perform(action);
        }
        for _ in 0..20 {
            let fed = std::mem::take(&mut self.world.fed);
            for mut event in fed {
                self.world.hand_over(&mut event);
                let actions = self.call(Call::Handle(event))?;
                actions.iter().for_each(|a| self.world.perform(a));
            }
            if self.world.fed.is_empty() {
                return Ok(());
            }
        }
        Err("spin: looks at once, for ever".into())
    }

    fn call(&mut self, call: Call) -> Result<Actions, String> {
        let mut out = Actions::new();
        let now = self.world.now;
        if self.world.draw.chance(1) {
            self.check_copy()?;
        }
        match call.clone() {
            Call::Begin => self.machine.begin(now, &mut out),
            Call::Handle(event) => self.machine.handle(now, event, &mut out),
            Call::Time => self.machine.handle_timeout(now, &mut out),
        }
        self.calls += 1;
        if self.mode.hash {
            format!("{now:?} {call:?} {out:?}").hash(&mut self.hash);
        }
        if !matches!(call, Call::Time) || !out.is_empty() {
            self.note(|| format!("{:?} {call:?}\n    {out:?}", now.0));
        }
        self.laws.observe(now, &call, &out, &self.machine, &self.world)?;
        Ok(out)
    }

    /// The machine is plain data: a copy says the same of itself, and goes on in its place.
    fn check_copy(&mut self) -> Result<(), String> {
        let copy = self.machine.clone();
        let said = |m: &Supervisor| serde_json::to_string(m).map_err(|e| format!("copy: {e}"));
        if said(&copy)? != said(&self.machine)? {
            return Err("copy: a copy differs from its original".into());
        }
        self.machine = copy;
        Ok(())
    }

    fn remember_coincidences(&mut self, events: &[Event], deadline: Option<MonoTime>) {
        let exits = events.iter().filter(|e| matches!(e, Event::Exited { .. })).count();
        if exits > 1 {
            self.world.seen.saw(Rare::MergedExits);
        }
        if exits > 0 && deadline.is_some_and(|at| at <= self.world.now) {
            self.world.seen.saw(Rare::ExitWithTimer);
        }
    }
}

/// The troubles of a seed, for its history.
fn run_faults(seed: u64) -> Faults {
    let mut draw = Draw::new(seed);
    specs::draw_house(&mut draw);
    Faults::draw(&mut draw)
}
