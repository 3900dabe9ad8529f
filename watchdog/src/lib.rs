//! The engine of watchdog: a pure [`machine`] that turns events into actions, a `sys` layer that speaks to the kernel, and
//! a reactor that carries events in and actions out. The front door (flags, variables, files, exit codes) is the package
//! `watchdog`, and this library has no idea where a [`spec::Spec`] came from.
//!
//! With `--cfg machine_alone` only the machine and the specs are built: what the simulator needs, in a fraction of the time.

#[cfg(not(machine_alone))]
mod api;
#[cfg(not(machine_alone))]
mod control;
#[cfg(not(machine_alone))]
mod dialect;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(not(machine_alone))]
mod http;
#[cfg(not(machine_alone))]
mod logs;
pub mod machine;
#[cfg(not(machine_alone))]
mod ports;
#[cfg(not(machine_alone))]
mod probe;
#[cfg(not(machine_alone))]
mod reactor;
#[cfg(not(machine_alone))]
mod recorder;
pub mod spec;
#[cfg(not(machine_alone))]
mod sys;
#[cfg(not(machine_alone))]
mod text;
#[cfg(feature = "counted")]
mod waste;

#[cfg(not(machine_alone))]
pub use api::{Counts, Handle, Loader, Observer, OutputLine, Reread, ServiceState, Snapshot, Watchdog};
pub use machine::Notice;
#[cfg(not(machine_alone))]
pub use ports::{Holder, port_holders};
#[cfg(not(machine_alone))]
pub use sys::fds::SharedWriter;
#[cfg(not(machine_alone))]
pub use text::is_hidden;

/// Files in directories that others may control, for the front door: see `sys::paths`.
#[cfg(not(machine_alone))]
pub mod files {
    pub use crate::sys::paths::{Identity, changed_by, open_regular, open_to_read};
}

/// The target of the log lines that say only that services come up: a front that shows this otherwise need not say it
/// twice.
pub const COMES_UP: &str = "watchdog_engine::comes_up";

/// Columns and rows of the terminal on standard output; `None`: it is no terminal, or does not say.
#[cfg(not(machine_alone))]
#[must_use]
pub fn terminal_size() -> Option<(u16, u16)> {
    sys::fds::terminal_size()
}

/// Ends this process with a status and without the handlers of an exit: for a program that has nothing to flush. What they touch
/// would be read in for this alone.
#[cfg(not(machine_alone))]
pub fn end(status: u8) -> ! {
    sys::signals::end(status)
}

/// The name of a signal without SIG: `TERM`, `RTMIN+3`, or the number if it has none.
#[must_use]
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

/// The number of a signal: a name with or without SIG in any case, `RTMIN+n`, `RTMAX-n`, or a number from 1 to 64.
#[must_use]
pub fn signal_number(word: &str) -> Option<i32> {
    let word = word.trim().to_ascii_uppercase();
    let name = word.strip_prefix("SIG").unwrap_or(&word);
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let offset = |text: &str, sign: i32, base: i32| -> Option<i32> {
        let n = if text.is_empty() { 0 } else { sign * text[1..].parse::<i32>().ok().filter(|n| *n >= 0)? };
        Some(base + n).filter(|s| (34..=64).contains(s))
    };
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => return offset(rest, 1, 34),
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => return offset(rest, -1, 64),
        _ => {}
    }
    (1..32).find(|s| signal_name(*s) == name).or(match name {
        "IOT" => Some(libc::SIGABRT),
        "CLD" => Some(libc::SIGCHLD),
        "POLL" => Some(libc::SIGIO),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{signal_name, signal_number};

    #[test]
    fn every_signal_has_a_name_that_leads_back_to_it() {
        for signal in (1..=31).chain(34..=64) {
            assert_eq!(signal_number(&signal_name(signal)), Some(signal), "{signal}");
        }
        assert_eq!(signal_number("sigterm"), Some(15));
        assert_eq!(signal_number("RTMAX-1"), Some(63));
        assert_eq!(signal_number("RTMIN+31"), None);
        for wrong in ["", "SIG", "0", "65", "TERMX", "RTMIN+", "RTMIN-1"] {
            assert_eq!(signal_number(wrong), None, "{wrong}");
        }
    }
}
