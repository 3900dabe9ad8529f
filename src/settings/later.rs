//! Settings of the contract that this version does not build: known, and refused with a reason, never passed over.

/// Key and what will bring it.
pub(crate) static KEYS: &[(&str, &str)] = &[
    ("listen", "held listeners come later"),
    ("update", "rolling restarts come later"),
    ("drain_notice", "rolling restarts come later"),
    ("drain_timeout", "rolling restarts come later"),
];

/// Words of other supervisors, taken in the file.
pub(crate) static ALIASES: &[(&str, &str)] = &[
    ("maxRestarts", "restart_limit"),
    ("restartDelay", "restart_delay"),
    ("gracePeriod", "start_period"),
    ("memoryThreshold", "memory_limit"),
    ("cpuThreshold", "cpu_limit"),
    ("gracefulShutdownTimeout", "shutdown_timeout"),
];

/// The line that refuses a setting of a later version.
pub(crate) fn refusal(key: &str) -> String {
    let reason = KEYS.iter().find(|(k, _)| *k == key).map_or("it comes later", |(_, reason)| reason);
    format!("not in this version ({reason})")
}
