//! Settings of the contract that this version does not build: known, and refused with a reason, never passed over.

/// Key and what will bring it.
pub(crate) static KEYS: &[(&str, &str)] = &[
    ("listen", LISTENERS),
    ("listen_style", LISTENERS),
    ("listen_hold", LISTENERS),
    ("update", ROLLING),
    ("update_settle", ROLLING),
    ("update_timeout", ROLLING),
    ("update_attempts", ROLLING),
    ("update_order", ROLLING),
    ("update_fallback", ROLLING),
    ("drain_signal", ROLLING),
    ("drain_notice", ROLLING),
    ("drain_timeout", ROLLING),
    ("keep_good", "going back to the last good program comes later"),
    ("fd_store_max", "keeping descriptors for a worker comes later"),
    ("passive_heartbeat", "judging by a held listener comes later"),
    ("upgrade_signal", "upgrading the watchdog in place comes later"),
    ("hang_dump", "a command that looks at a hung process comes later: hang_signal has it show its stacks"),
    ("core_timeout", "waiting for a core that is being written comes later: hang_dump_timeout bounds the dump"),
    ("hang_excuse", "a bound of excuses for silence comes later"),
];

const LISTENERS: &str = "held listeners come later";
const ROLLING: &str = "rolling restarts come later";

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
