//! What is true of the processes, whatever the machine believes: scripts, deaths, and what outlives them.

use super::draw::{Draw, Faults};
use super::voice::Voice;
use crate::machine::{Event, Exit, Generation, MonoTime, Oom, SpawnFailure, Step};
use crate::spec::{SignalNumber, Spec};
use std::time::Duration;

/// What a process will do; drawn when it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// From the asking to the end of the exec.
    pub(super) exec: Duration,
    /// Instead of a process.
    pub(super) fails: Option<SpawnFailure>,
    /// Its own end, if it has one.
    pub(super) own: Option<(Duration, Exit)>,
    /// To a signal that asks it to end; `None`: ignored.
    pub(super) asked: Option<(Duration, Exit)>,
    /// To other signals.
    pub(super) fragile: bool,
    /// To SIGKILL; `None`: not gone until the world calms down.
    pub(super) killed: Option<Duration>,
    /// It is stopped (SIGSTOP) after this long.
    pub(super) freezes: Option<Duration>,
    /// What outlives it.
    pub(super) leaves: Vec<LeftScript>,
    /// So many other processes become the main one when it ends, each in its turn (MAINPID).
    pub(super) heirs: u64,
    /// What it says and uses.
    pub(super) voice: Voice,
}

/// A descendant that outlives its worker.
#[derive(Clone, Debug)]
pub(super) struct LeftScript {
    pub(super) term: Option<Duration>,
    pub(super) kill: Option<Duration>,
    /// How often a successor is forked when it is killed.
    pub(super) chain: u32,
}

/// How far a process is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    Exec,
    Alive,
    /// Dead, its end not handed over yet.
    Zombie(Exit),
    Gone,
}

/// One main process and what it leaves.
#[derive(Clone, Debug)]
pub(super) struct Proc {
    pub(super) generation: Generation,
    pub(super) pid: i32,
    pub(super) stage: Stage,
    pub(super) script: Script,
    pub(super) frozen: bool,
    pub(super) was_killed: bool,
    pub(super) was_asked: bool,
    /// Waits for a CONT.
    pub(super) held: Option<SignalNumber>,
    pub(super) seen_alive: MonoTime,
    /// When its program began.
    pub(super) born: MonoTime,
    /// The news of its start was handed over; what it said before that waits here, for nobody listens yet.
    pub(super) announced: bool,
    pub(super) early: Vec<Event>,
    /// Born when all troubles were over.
    pub(super) healthy: bool,
    /// Times it was measured.
    pub(super) measured: usize,
    pub(super) left: Vec<Left>,
}

/// A living descendant of a dead main process.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) pid: i32,
    pub(super) script: LeftScript,
    pub(super) was_killed: bool,
}

impl Proc {
    /// Whether anything of it exists that may run.
    pub(super) fn lives(&self) -> bool {
        matches!(self.stage, Stage::Exec | Stage::Alive) || !self.left.is_empty()
    }

    pub(super) fn left_pids(&self) -> Vec<i32> {
        self.left.iter().map(|l| l.pid).collect()
    }
}

pub(super) fn exit_code(code: i32) -> Exit {
    Exit { code: Some(code), signal: None, core: false, rss_peak_bytes: None, oom: Oom::No, cpu: Duration::ZERO }
}

pub(super) fn exit_signal(signal: SignalNumber) -> Exit {
    Exit {
        code: None,
        signal: Some(signal),
        core: signal == 6,
        rss_peak_bytes: None,
        oom: Oom::No,
        cpu: Duration::ZERO,
    }
}

impl Script {
    /// One that comes up, obeys, and leaves nothing.
    pub(super) fn healthy(spec: &Spec) -> Script {
        Script {
            exec: Duration::from_millis(1),
            fails: None,
            own: None,
            asked: Some((Duration::from_millis(1), exit_code(0))),
            fragile: false,
            killed: Some(Duration::from_millis(1)),
            freezes: None,
            leaves: Vec::new(),
            heirs: 0,
            voice: Voice::healthy(spec),
        }
    }

    pub(super) fn draw(draw: &mut Draw, faults: &Faults, spec: &Spec) -> Script {
        let mut own = draw.chance(10 + faults.crashes * 3 / 2).then(|| (draw_life(draw), draw_end(draw)));
        if let Some((_, exit)) = own.as_mut().filter(|_| draw.chance(faults.ooms / 2)) {
            let oom = draw.pick(&[Oom::Worker, Oom::Child, Oom::Probable]);
            *exit = if oom == Oom::Child { Exit { oom, ..*exit } } else { Exit { oom, ..exit_signal(9) } };
        }
        let asked = (!draw.chance(faults.ignores_term)).then(|| {
            let end = match draw.below(5) {
                0 | 1 => exit_signal(15),
                2 => exit_code(143),
                _ => draw_end(draw),
            };
            (draw.ms(&[0, 1, 20, 50, 900, 1000, 5000]), end)
        });
        let leaves = if draw.chance(faults.leftovers) {
            (0..=draw.below(3)).map(|_| LeftScript::draw(draw, faults)).collect()
        } else {
            Vec::new()
        };
        Script {
            exec: draw.ms(&[0, 0, 1, 5, 300]),
            fails: draw_failure(draw, faults),
            own,
            asked,
            fragile: draw.chance(10),
            killed: draw_kill(draw, faults),
            freezes: draw.chance(faults.frozen / 2).then(|| draw.ms(&[1, 1000])),
            leaves,
            heirs: if draw.chance(faults.heirs) { draw.pick(&[1, 1, 2]) } else { 0 },
            voice: Voice::draw(draw, faults, spec),
        }
    }
}

impl LeftScript {
    fn draw(draw: &mut Draw, faults: &Faults) -> LeftScript {
        LeftScript {
            term: (!draw.chance(faults.stubborn_leftovers)).then(|| draw.ms(&[0, 1, 30, 1000, 1999, 3000])),
            kill: draw_kill(draw, faults),
            chain: if draw.chance(faults.chains) { draw.pick(&[1, 3, 30, 200]) } else { 0 },
        }
    }
}

fn draw_kill(draw: &mut Draw, faults: &Faults) -> Option<Duration> {
    (!draw.chance(faults.unkillable / 3)).then(|| draw.ms(&[0, 0, 1, 5, 99, 100, 1500]))
}

fn draw_life(draw: &mut Draw) -> Duration {
    let base = draw.ms(&[0, 1, 10, 500, 999, 1000, 5000, 30_000, 70_000]);
    base + Duration::from_micros(draw.pick(&[0, 0, 0, 1, 300]))
}

pub(super) fn draw_end(draw: &mut Draw) -> Exit {
    if draw.chance(30) {
        return exit_signal(draw.pick(&[1, 2, 6, 9, 11, 13, 15, 64]));
    }
    exit_code(draw.pick(&[0, 0, 1, 1, 3, 78, 125, 130, 137, 143, 255]))
}

fn draw_failure(draw: &mut Draw, faults: &Faults) -> Option<SpawnFailure> {
    let (step, errno) = if draw.chance(faults.busy) {
        (Step::Exec, libc::ETXTBSY)
    } else if draw.chance(faults.shortage) {
        let late = [(Step::Chdir, libc::ETIMEDOUT), (Step::Exec, libc::ETIMEDOUT)];
        let short = [(Step::Fork, libc::EAGAIN), (Step::Channel, libc::EMFILE), (Step::Exec, libc::ENOMEM)];
        if draw.chance(20) { draw.pick(&late) } else { draw.pick(&short) }
    } else if draw.chance(faults.spawn_fails / 2) {
        let all = [(Step::Exec, libc::ENOENT), (Step::Exec, libc::EACCES), (Step::Chdir, libc::ENOENT)];
        draw.pick(&all)
    } else {
        return None;
    };
    Some(SpawnFailure { step, errno, path: "/w".into() })
}
