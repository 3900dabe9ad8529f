//! The machine against the world: states, timers and counters that must fit who really lives.

use super::witness::{Phase, Witness};
use crate::machine::sim::world::World;
use crate::machine::{Action, Service, State, StopStep, Timer};
use crate::spec::Scope;

/// Before a start nothing of the old tree lives; signals go to the living generation, with the scope that was set.
pub(super) fn actions(
    actions: &[Action],
    all: &[Witness],
    before: &[(Phase, u64)],
    world: &World,
) -> Result<(), String> {
    for action in actions {
        match action {
            Action::Spawn { service, .. } if world.procs[service.0 as usize].iter().any(|p| p.lives()) => {
                return Err("truth: a start while something of the old tree lives".into());
            }
            Action::Signal { service, generation, signal, scope, .. } => {
                let n = service.0 as usize;
                if all[n].generation.max(before[n].1) != generation.0 && before[n].1 != generation.0 {
                    return Err(format!("truth: a signal to generation {}", generation.0));
                }
                let spec = &all[n].spec;
                let own = [spec.reload_signal, Some(spec.heartbeat.hang_signal)].contains(&Some(*signal));
                if !(1..=64).contains(signal) || !(*scope == spec.stop.scope || own && *scope == Scope::Main) {
                    return Err(format!("truth: signal {signal} to {scope:?}"));
                }
            }
            Action::Say { service, generation, .. }
            | Action::LookAtLanes { service, generation }
            | Action::LookAtPort { service, generation, .. }
            | Action::Inspect { service, generation, .. }
            | Action::Measure { service, generation }
            | Action::Gather { service, generation } => {
                let w = &all[service.0 as usize];
                if w.generation != generation.0 || w.phase != Phase::Alive {
                    return Err(format!("truth: {action:?} to nobody"));
                }
            }
            Action::Sweep { service, generation, .. } | Action::LookAtTree { service, generation } => {
                let n = service.0 as usize;
                let main = world.procs[n].iter().find(|p| p.generation == *generation);
                if main.is_some_and(|p| p.stage == crate::machine::sim::process::Stage::Alive) {
                    return Err("truth: a sweep around a living main process".into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// State and timers of one service.
pub(super) fn state(w: &Witness, s: &Service, world: &World) -> Result<(), String> {
    let n = s.id.0 as usize;
    let fits = match s.state {
        State::Stopped => w.resting() && !w.up,
        // Nobody here waits for another; the worlds of `sim/graph` are full of such.
        State::Waiting => false,
        State::Done | State::Failed => w.resting(),
        State::Starting { child } => (w.phase == Phase::Exec || w.starting()) && child.0 == w.generation,
        State::Running { child, .. } => w.running() && child.0 == w.generation,
        State::Stopping { child, step: StopStep::Dump } => {
            w.phase == Phase::Alive && w.run.dumping && w.run.killed.is_none() && child.0 == w.generation
        }
        State::Stopping { child, step: step @ (StopStep::Ask | StopStep::Term) } => {
            let asked = w.run.dues.get(Timer::StopSignal).is_some();
            w.grace_over().is_some() && asked == (step == StopStep::Ask) && child.0 == w.generation
        }
        State::Stopping { step: StopStep::Kill, .. } => w.phase == Phase::Alive && w.run.killed.is_some(),
        State::Stopping { step: StopStep::Sweep, .. } => w.phase == Phase::Sweep && w.run.sweep_killed.is_none(),
        State::Stopping { step: StopStep::SweepKill, .. } => w.phase == Phase::Sweep && w.run.sweep_killed.is_some(),
        State::Backoff { .. } => w.next.is_some_and(|next| !next.after_pause),
        State::CrashLoop { .. } => w.next.is_some_and(|next| next.after_pause),
        State::Stuck { .. } => w.run.stuck,
    };
    if !fits || s.last.0 != w.generation {
        return Err(format!("state: {:?} (last {}) does not fit {:?} of {}", s.state, s.last.0, w.phase, w.generation));
    }
    if !s.state.has_process() && world.procs[n].iter().any(|p| p.lives()) {
        return Err(format!("truth: {} while something of it lives", s.state.word()));
    }
    let shown = s.run.as_ref().and_then(|r| r.usage.last().copied());
    if w.phase == Phase::Alive && shown != w.run.life.usage.last {
        return Err(format!("truth: status shows {shown:?}, measured was {:?}", w.run.life.usage.last));
    }
    timers(w, s)
}

fn timers(w: &Witness, s: &Service) -> Result<(), String> {
    let armed: Vec<Timer> = Timer::ALL.into_iter().filter(|t| s.timers.get(*t).is_some()).collect();
    if w.phase == Phase::Alive {
        // Exactly what is due of a living worker, and when.
        let mut due = w.run.dues.clone();
        if let Some(at) = w.grace_over() {
            due.set(Timer::Stop, at);
        }
        let differs = Timer::ALL.into_iter().find(|t| due.get(*t) != s.timers.get(*t));
        return match differs {
            Some(t) => Err(format!("timers: {t:?} in {:?} at {:?}, not {:?}", s.state, s.timers.get(t), due.get(t))),
            None => Ok(()),
        };
    }
    let fits = match s.state {
        State::Stopped | State::Waiting | State::Done | State::Starting { .. } | State::Running { .. } => {
            armed.is_empty()
        }
        State::Failed => armed == if w.give_up_due.is_some() { vec![Timer::GiveUp] } else { vec![] },
        State::Stopping { step: StopStep::Ask | StopStep::Dump | StopStep::Term | StopStep::Kill, .. } => false,
        State::Stopping { step: StopStep::Sweep, .. } => armed == [Timer::Sweep, Timer::Rescan],
        State::Stopping { step: StopStep::SweepKill, .. } => armed.contains(&Timer::Rescan) && armed.len() <= 2,
        State::Backoff { .. } | State::CrashLoop { .. } => {
            armed == [Timer::Restart] && s.timers.get(Timer::Restart) == w.next.map(|next| next.due)
        }
        State::Stuck { .. } => armed == [Timer::Rescan],
    };
    if fits { Ok(()) } else { Err(format!("timers: {armed:?} in {:?}", s.state)) }
}
