//! How the machine says things to people: causes, rules and numbers as short sentences.

use super::limits::Crossing;
use super::state::Ended;
use super::words::{By, ByKind, Cause, Exit, Measure, Oom};
use crate::spec::{Policy, Restart};
use std::time::Duration;

/// What an end is called.
pub(super) fn end_cause(exit: &Exit) -> Cause {
    match (exit.oom, exit.signal) {
        (Oom::Worker, _) => Cause::Oom,
        (Oom::No | Oom::Child | Oom::Probable, Some(_)) => Cause::Signalled,
        (Oom::No | Oom::Child | Oom::Probable, None) => Cause::Exited,
    }
}

/// `exited with code 1 after 2.3s`; a death by a signal that was asked for is no death: `ended by SIGTERM after 2.3s`.
pub fn describe_end(ended: &Ended) -> String {
    end_sentence(&ended.exit, ended.uptime, ended.requested)
}

/// The same from its two parts.
pub(super) fn end_sentence(exit: &Exit, uptime: Duration, requested: bool) -> String {
    let how = match (exit.code, exit.signal) {
        (_, Some(s)) => {
            let word = if requested { "ended" } else { "died" };
            format!("{word} by SIG{}{}", crate::signal_name(s), if exit.core { " (core dumped)" } else { "" })
        }
        (Some(c), None) => format!("exited with code {c}"),
        (None, None) => "ended".into(),
    };
    format!("{how} after {}", human(uptime))
}

/// Who asked: `pid 7 (uid 0)`, `SIGTERM from pid 7 (uid 0)`.
pub(super) fn asked_by(by: &By) -> String {
    let sender = by.pid.zip(by.uid).map(|(pid, uid)| format!("pid {pid} (uid {uid})"));
    match (by.kind, by.signal, sender) {
        (ByKind::Signal, Some(signal), Some(sender)) => format!("SIG{} from {sender}", crate::signal_name(signal)),
        (ByKind::Signal, Some(signal), None) => format!("SIG{}", crate::signal_name(signal)),
        (ByKind::Signal, None, _) => "a signal".into(),
        (ByKind::Control, _, Some(sender)) => sender,
        (ByKind::Control, _, None) => "a client".into(),
        (ByKind::Policy, _, _) => "the settings".into(),
    }
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

/// A threshold that was crossed, with its numbers.
pub(super) fn threshold(c: &Crossing) -> String {
    threshold_sentence(c.what, c.value, c.limit, c.samples, c.soft)
}

/// The same from its parts.
pub fn threshold_sentence(what: Measure, value: u64, limit: u64, samples: u32, soft: bool) -> String {
    let of = if samples == 1 { "1 sample".to_string() } else { format!("{samples} samples") };
    match what {
        Measure::Memory => {
            let name = if soft { "memory_soft_limit" } else { "memory_limit" };
            format!("it holds {} of memory, {name} is {} ({of})", bytes(value), bytes(limit))
        }
        Measure::Cpu => format!("it used {}% of a core, cpu_limit is {}% (mean of {of})", value / 10, limit / 10),
    }
}

/// `512.0 MiB`.
pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{}.{} KiB", n / 1024, n % 1024 * 10 / 1024),
        1_048_576..1_073_741_824 => format!("{}.{} MiB", n >> 20, ((n & 0xF_FFFF) * 10) >> 20),
        _ => format!("{}.{} GiB", n >> 30, ((n & 0x3FFF_FFFF) * 10) >> 30),
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
