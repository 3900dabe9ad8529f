//! The engine of watchdog.
pub mod machine;
pub mod spec;

/// The name of a signal without SIG: `TERM`, `RTMIN+3`, or the number if it has none.
pub fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.trim_start_matches("SIG").to_owned(),
        None => match signal {
            libc::SIGPWR => "PWR".into(),
            libc::SIGSTKFLT => "STKFLT".into(),
            34..=64 => format!("RTMIN+{}", signal - 34),
            other => other.to_string(),
        },
    }
}
