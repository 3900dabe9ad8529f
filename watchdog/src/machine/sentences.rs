//! How the machine says things to people: causes, rules and numbers as short sentences.

use super::state::Ended;
use super::words::{Cause, Exit};
use crate::spec::{Policy, Restart};
use std::time::Duration;

/// What an end is called.
pub(super) fn end_cause(exit: &Exit) -> Cause {
    if exit.signal.is_some() { Cause::Signalled } else { Cause::Exited }
}

/// `exited with code 1 after 2.3s`.
pub fn describe_end(ended: &Ended) -> String {
    end_sentence(&ended.exit, ended.uptime)
}

/// The same from its two parts.
pub(super) fn end_sentence(exit: &Exit, uptime: Duration) -> String {
    let how = match (exit.code, exit.signal) {
        (_, Some(s)) => {
            format!("died by SIG{}{}", crate::signal_name(s), if exit.core { " (core dumped)" } else { "" })
        }
        (Some(c), None) => format!("exited with code {c}"),
        (None, None) => "ended".into(),
    };
    format!("{how} after {}", human(uptime))
}

pub(super) fn restart_rule(rules: &Restart, attempt: u32, delay: Duration, at_once: bool) -> String {
    let of = if rules.limit > 0 { format!(" of {}", rules.limit) } else { String::new() };
    let why = if at_once {
        "at once: the first failure after a stable run (fast_first_restart)".into()
    } else {
        format!("in {} (restart_delay)", human(delay))
    };
    format!("restart {attempt}{of} {why}")
}

/// The word of a policy, as in settings.
pub fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::Always => "always",
        Policy::OnFailure => "on-failure",
        Policy::OnSuccess => "on-success",
        Policy::UnlessStopped => "unless-stopped",
        Policy::Never => "never",
    }
}

/// A duration for people: `250ms`, `2.3s`, `5m 20s`.
pub fn human(d: Duration) -> String {
    match d.as_secs() {
        0 => format!("{}ms", d.as_millis()),
        1..60 => {
            let tenths = d.as_millis() / 100;
            if tenths.is_multiple_of(10) {
                format!("{}s", tenths / 10)
            } else {
                format!("{}.{}s", tenths / 10, tenths % 10)
            }
        }
        s => humantime::format_duration(Duration::from_secs(s)).to_string(),
    }
}

/// `ENOENT (No such file or directory)`: the name for programs, the text for people.
pub fn errno_name(errno: i32) -> String {
    let e = nix::errno::Errno::from_raw(errno);
    format!("{e:?} ({})", e.desc())
}
