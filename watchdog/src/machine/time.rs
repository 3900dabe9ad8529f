//! Time as the machine knows it, and the table of timers of one service.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Monotonic time since the watchdog began. The machine never asks for it: it is handed in with every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MonoTime(pub Duration);

impl MonoTime {
    /// The beginning.
    pub const ZERO: MonoTime = MonoTime(Duration::ZERO);

    /// This much later; saturates instead of wrapping, so a setting of ten thousand years is only "never".
    #[must_use]
    pub fn after(self, d: Duration) -> MonoTime {
        MonoTime(self.0.saturating_add(d))
    }

    /// From an earlier time to this one; zero if that one is not earlier.
    #[must_use]
    pub fn since(self, earlier: MonoTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a service may be waiting for. One of each at most; the table below is sized by this enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Timer {
    /// The grace of a stop is over: SIGKILL.
    Stop,
    /// Nothing came of SIGKILL: `stuck`.
    KillWait,
    /// The grace of what is left of the tree is over: SIGKILL.
    Sweep,
    /// Look again at what is left of the tree.
    Rescan,
    /// The pause before a restart is over (back-off, crash loop, busy program file).
    Restart,
    /// The worker is old enough to be recycled.
    MaxAge,
    /// The give-up command has had its time.
    GiveUp,
}

impl Timer {
    /// All timers, in the order of the table.
    pub const ALL: [Timer; 7] =
        [Timer::Stop, Timer::KillWait, Timer::Sweep, Timer::Rescan, Timer::Restart, Timer::MaxAge, Timer::GiveUp];
}

/// The armed timers of one service: plain data, no descriptors, nothing to cancel elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timers([Option<MonoTime>; Timer::ALL.len()]);

impl Timers {
    /// Arm, or arm anew.
    pub fn set(&mut self, timer: Timer, at: MonoTime) {
        self.0[timer as usize] = Some(at);
    }

    /// Disarm one.
    pub fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Disarm all: every change of state begins with this.
    pub fn clear_all(&mut self) {
        self.0 = Default::default();
    }

    /// When this one is due.
    pub fn get(&self, timer: Timer) -> Option<MonoTime> {
        self.0[timer as usize]
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<MonoTime> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes the earliest timer that is due at `now`; the order of the enum decides between equals.
    pub fn take_due(&mut self, now: MonoTime) -> Option<Timer> {
        let due = Timer::ALL.into_iter().filter_map(|t| self.get(t).filter(|at| *at <= now).map(|at| (at, t))).min()?;
        self.clear(due.1);
        Some(due.1)
    }
}
