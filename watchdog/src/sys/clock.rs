//! The only caller of the clocks.

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
