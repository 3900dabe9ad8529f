//! Where a service can be, and the facts of its runs.

use super::heartbeat::{Beats, Hang};
use super::lanes::Lanes;
use super::limits::Usage;
use super::probing::Probing;
use super::rare::Rare;
use super::talk::Talk;
use super::time::MonoTime;
use super::words::{Cause, Exit, Generation, ReadyBy};
use serde::Serialize;
use std::time::Duration;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Running.
    Up,
    /// Not running.
    Down,
}

/// Where it is. A state carries what only that state has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    /// No process, and none wanted.
    Stopped,
    /// It is to start, and what it needs is not there yet.
    Waiting,
    /// Being spawned.
    Starting {
        /// Whom.
        child: Generation,
    },
    /// Alive and ready.
    Running {
        /// Whom.
        child: Generation,
        /// Ready since then.
        since: MonoTime,
    },
    /// On the ladder; also after an end of its own, while the rest of its tree is ended.
    Stopping {
        /// Whom.
        child: Generation,
        /// How far.
        step: StopStep,
    },
    /// The pause before a restart; attempt 0 is a busy program file that is tried again.
    Backoff {
        /// Which restart of the streak.
        attempt: u32,
    },
    /// The longer pause after too many restarts in the window.
    CrashLoop {
        /// Which restart of the streak.
        attempt: u32,
    },
    /// Ended well; no restart follows.
    Done,
    /// Ended badly or given up; no restart follows.
    Failed,
    /// Killed and not gone. Never counted as gone.
    Stuck {
        /// Whom.
        child: Generation,
    },
}

/// The rungs of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum StopStep {
    /// A worker that acts on the word was told to end; the grace runs.
    Ask,
    /// A hung worker was made to show its stacks; it dies of that, or is killed.
    Dump,
    /// The stop signal went out; the grace runs.
    Term,
    /// SIGKILL went out; the main process is not reaped yet.
    Kill,
    /// The main process is gone; the rest of its tree got TERM.
    Sweep,
    /// The rest got SIGKILL.
    SweepKill,
}

impl State {
    /// The word in status.
    pub fn word(&self) -> &'static str {
        match self {
            State::Stopped => "stopped",
            State::Waiting => "waiting",
            State::Starting { .. } => "starting",
            State::Running { .. } => "running",
            State::Stopping { .. } => "stopping",
            State::Backoff { .. } => "backoff",
            State::CrashLoop { .. } => "crash-loop",
            State::Done => "done",
            State::Failed => "failed",
            State::Stuck { .. } => "stuck",
        }
    }

    /// Whether something of it may be alive.
    pub fn has_process(&self) -> bool {
        match self {
            State::Starting { .. } | State::Running { .. } | State::Stopping { .. } | State::Stuck { .. } => true,
            State::Stopped
            | State::Waiting
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Failed => false,
        }
    }

    /// Whether nothing more happens by itself.
    pub fn is_terminal(&self) -> bool {
        match self {
            State::Stopped | State::Done | State::Failed => true,
            State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Stuck { .. } => false,
        }
    }
}

/// The facts of the current or last run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Which.
    pub generation: Generation,
    /// Its main process, once there is one.
    pub pid: Option<i32>,
    /// When it was asked for.
    pub asked_at: MonoTime,
    /// When the exec succeeded.
    pub spawned: Option<MonoTime>,
    /// When it was ready.
    pub ready: Option<MonoTime>,
    /// The main process is still ours to signal.
    pub alive: bool,
    /// Its end was asked for, so that it needs no restart and 128+n may count as success.
    pub end_requested: bool,
    /// Its end, where that was reported before its start was.
    pub early_end: Option<Box<EarlyEnd>>,
    /// An INT or QUIT of the terminal, or a rewritten TERM, came at this time: an end soon after counts as requested.
    pub asked_by_key: Option<MonoTime>,
    /// What made it ready.
    pub ready_by: Option<ReadyBy>,
    /// Its end is our doing, for this reason: a failure whatever its exit code, counted once.
    pub doomed: Option<Cause>,
    /// Until when a stop may be put off at the worker's request.
    pub stop_latest: Option<MonoTime>,
    /// What it has said.
    pub talk: Rare<Talk>,
    /// Its signs of life.
    pub beats: Rare<Beats>,
    /// Its loops.
    pub lanes: Lanes,
    /// It does not beat, and what has been found so far.
    pub hang: Option<Box<Hang>>,
    /// Its memory and CPU.
    pub usage: Rare<Usage>,
    /// Its probes.
    pub probing: Probing,
}

impl Run {
    /// One that is asked for now.
    pub fn new(generation: Generation, asked_at: MonoTime) -> Run {
        Run {
            generation,
            pid: None,
            asked_at,
            spawned: None,
            ready: None,
            alive: false,
            end_requested: false,
            early_end: None,
            asked_by_key: None,
            ready_by: None,
            doomed: None,
            stop_latest: None,
            talk: Rare::default(),
            beats: Rare::default(),
            lanes: Lanes::default(),
            hang: None,
            usage: Rare::default(),
            probing: Probing::default(),
        }
    }
}

/// An end that came before the news of its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EarlyEnd {
    /// How.
    pub exit: Exit,
    /// When it was last known to live.
    pub seen_alive: MonoTime,
    /// What of its tree lives.
    pub left: Vec<i32>,
}

/// How the last run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Which run.
    pub generation: Generation,
    /// Its pid.
    pub pid: Option<i32>,
    /// Code or signal.
    pub exit: Exit,
    /// When it was noticed.
    pub at: MonoTime,
    /// From exec to the last moment it was seen alive.
    pub uptime: Duration,
    /// It was ready long enough.
    pub stable: bool,
    /// It was asked for.
    pub requested: bool,
    /// Why, in the word of the exit event.
    pub cause: Cause,
    /// Why it was being ended, as a sentence; empty where it was not.
    pub rule: String,
}
