//! The worker's side of watchdog.
