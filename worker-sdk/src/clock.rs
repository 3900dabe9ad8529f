//! The one place of the SDK that asks what time it is.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a worker has no watchdog to hand it the time; asked here only")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
