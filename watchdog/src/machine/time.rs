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
    /// It is not ready in time.
    Start,
    /// It has been there long enough to count as ready.
    Stays,
    /// Look at its port again.
    Port,
    /// The next ping, or the end of the patience with a worker that beats by itself.
    Beat,
    /// Look at its lanes again.
    Lanes,
    /// The second look at a worker that does not beat, or the first one after an extension.
    Verdict,
    /// The dump has had its time: SIGKILL.
    Dump,
    /// A worker that was told to end did not: the stop signal.
    StopSignal,
    /// Measure it again.
    Sample,
    /// Ask for its health again.
    Health,
    /// A channel that ended was not the beginning of its worker's end.
    Lost,
    /// The next try of one of its probes.
    Probe,
    /// Look again for the file that its start waits for.
    File,
    /// That file has been waited for long enough.
    FileLimit,
}

impl Timer {
    /// All timers, in the order of the table.
    pub const ALL: [Timer; 21] = [
        Timer::Stop,
        Timer::KillWait,
        Timer::Sweep,
        Timer::Rescan,
        Timer::Restart,
        Timer::MaxAge,
        Timer::GiveUp,
        Timer::Start,
        Timer::Stays,
        Timer::Port,
        Timer::Beat,
        Timer::Lanes,
        Timer::Verdict,
        Timer::Dump,
        Timer::StopSignal,
        Timer::Sample,
        Timer::Health,
        Timer::Lost,
        Timer::Probe,
        Timer::File,
        Timer::FileLimit,
    ];
    /// Those that belong to the life of a process, and so outlast its becoming ready.
    pub const OF_LIFE: [Timer; 5] = [Timer::Lanes, Timer::Sample, Timer::Health, Timer::Lost, Timer::Probe];
}

/// The armed timers of one service: plain data, no descriptors, nothing to cancel elsewhere. Few are armed at a time, and
/// with thousands of services a place for each would be most of what they take. In the order of the enum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timers(Vec<(Timer, MonoTime)>);

impl Timers {
    /// Arm, or arm anew.
    pub fn set(&mut self, timer: Timer, at: MonoTime) {
        match self.0.binary_search_by_key(&timer, |(t, _)| *t) {
            Ok(place) => self.0[place].1 = at,
            Err(place) => self.0.insert(place, (timer, at)),
        }
    }

    /// Disarm one.
    pub fn clear(&mut self, timer: Timer) {
        self.0.retain(|(t, _)| *t != timer);
    }

    /// Disarm all: every change of state begins with this.
    pub fn clear_all(&mut self) {
        self.0.clear();
    }

    /// Disarm all but these.
    pub fn keep_only(&mut self, kept: &[Timer]) {
        self.0.retain(|(t, _)| kept.contains(t));
    }

    /// When this one is due.
    pub fn get(&self, timer: Timer) -> Option<MonoTime> {
        self.0.iter().find(|(t, _)| *t == timer).map(|(_, at)| *at)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<MonoTime> {
        self.0.iter().map(|(_, at)| *at).min()
    }

    /// Takes the earliest timer that is due at `now`, with how late it is; the order of the enum decides between equals.
    pub fn take_due(&mut self, now: MonoTime) -> Option<(Timer, Duration)> {
        let (at, timer) = self.0.iter().filter(|(_, at)| *at <= now).map(|(t, at)| (*at, *t)).min()?;
        self.clear(timer);
        Some((timer, now.since(at)))
    }
}
