//! Settings of the contract that this version does not build: known, and refused with a reason, never passed over.

/// Key and what will bring it.
pub(crate) static KEYS: &[(&str, &str)] = &[
    ("command", "it stands in a file, and `watchdog up` comes later"),
    ("shell", "it stands in a file, and `watchdog up` comes later"),
    ("start_period", "probes come later"),
    ("probe", "probes come later"),
    ("requires", "several services come with `watchdog up`"),
    ("wants", "several services come with `watchdog up`"),
    ("after", "several services come with `watchdog up`"),
    ("conflicts", "several services come with `watchdog up`"),
    ("wait_for_file", "several services come with `watchdog up`"),
    ("autostart", "several services come with `watchdog up`"),
    ("type", "several services come with `watchdog up`"),
    ("enabled", "several services come with `watchdog up`"),
    ("hidden", "several services come with `watchdog up`"),
    ("replicas", "several services come with `watchdog up`"),
    ("listen", "held listeners come later"),
    ("state", "wishes that outlive the watchdog come later"),
    ("update", "rolling restarts come later"),
    ("drain_notice", "rolling restarts come later"),
    ("drain_timeout", "rolling restarts come later"),
    ("kill_others", "freeing ports comes later"),
    ("ports", "freeing ports comes later"),
    ("process_filters", "freeing ports comes later"),
    ("http", "the page over HTTP comes later"),
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
