//! The only caller of the clocks.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime};

/// Monotonic time since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one home of the clock")]
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Time since then. Does not count a suspend of the machine, and does not move with the wall clock.
    #[must_use]
    pub(crate) fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How long the machine has slept since it was started: what CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC. Only differences
/// between two values mean something. Zero where a clock is missing.
#[must_use]
pub(crate) fn slept_offset() -> Duration {
    // In this order an interruption between the two shows too little, and never a sleep that was none.
    let boot = since_boot();
    boot.saturating_sub(clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(boot, Duration::from))
}

/// The kernel's CLOCK_MONOTONIC itself, for others who compare with it. Zero where it is missing.
#[must_use]
pub(crate) fn since_start() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Time since the machine was started, its sleep included: the clock by which the kernel notes when a process began. Zero
/// where it is missing.
#[must_use]
pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Wall-clock time, for lines that people read.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one home of the clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// RFC 3339 in UTC with milliseconds; times before 1970 are shown as 1970.
#[must_use]
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let at = at.max(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_awake_does_not_sleep_more() {
        let before = slept_offset();
        assert!(slept_offset().abs_diff(before) < Duration::from_millis(500));
    }
}
