//! The engine of watchdog.
pub mod spec;
