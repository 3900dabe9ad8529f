//! One event as a sentence for people: in our log, in `events` and in `explain`.

use crate::machine::*;
use crate::signal_name;
use crate::spec::LimitAction;

/// One event as a sentence.
#[must_use]
pub(crate) fn sentence(n: &Notice) -> String {
    let generation = n.generation.map_or(0, |g| g.0);
    let pid = n.pid.unwrap_or(0);
    match &n.what {
        What::Spawn => format!("started generation {generation}, pid {pid}"),
        What::Ready { by } => match by {
            ReadyBy::Spawned => format!("generation {generation} is ready"),
            ReadyBy::Said(dialect) => format!("generation {generation} says that it is ready ({})", dialect.word()),
            ReadyBy::Line => format!("generation {generation} is ready by a line of its output"),
            ReadyBy::Alive => format!("generation {generation} is ready: it is still there"),
            ReadyBy::Port => format!("generation {generation} is ready: its port is open"),
            ReadyBy::Probe => format!("generation {generation} is ready: its probes succeed"),
            ReadyBy::Requirements => "it is up: all that it requires is there".into(),
        },
        What::Hang { dialect, lane, silent, misses } => match lane {
            Some(lane) => format!("lane {lane:?} has not beaten for {}", human(*silent)),
            None => {
                let how = dialect.map_or("no dialect", Dialect::word);
                format!("no sign of life for {} ({how}, {misses} missed)", human(*silent))
            }
        },
        What::Verdict { verdict: Verdict::Unhealthy, because, .. } => format!("unhealthy: {because}"),
        What::Verdict { verdict, sentence, record, because } => {
            let follows = match (sentence, record) {
                (Sentence::Hung, true) => "recorded only (on_hang = record)".to_string(),
                (Sentence::Hung, false) => "it is ended".to_string(),
                (Sentence::Extend(n), _) => format!("it gets one interval more, extension {n}"),
                (Sentence::Wait, _) => "it is waited for".to_string(),
            };
            format!("verdict {}: {because}; {follows}", verdict.word())
        }
        What::Threshold { what, value, limit, samples, action, soft } => {
            let follows = match (action, soft) {
                (LimitAction::Restart, false) => "; it is ended",
                (LimitAction::Restart, true) | (LimitAction::Warn, _) => "",
            };
            format!("{}{follows}", threshold_sentence(*what, *value, *limit, *samples, *soft))
        }
        What::Oom { oom } => match oom {
            Oom::Worker => "the kernel killed it for want of memory (OOM)".into(),
            Oom::Child => "the kernel killed a child of it for want of memory (OOM)".into(),
            Oom::Probable | Oom::No => "the kernel has probably killed it for want of memory (OOM)".into(),
        },
        What::ChannelLost { dialect } => format!("it has closed its {} channel", dialect.word()),
        What::ProtoError { dialect, error } => {
            format!("its {} channel is closed for what came over it: {error}", dialect.word())
        }
        What::NotifyDenied { sender, uid, count } => {
            format!("{count} datagram(s) of pid {sender} of user {uid}, which may not speak for it, were ignored")
        }
        What::Status { text } => format!("it says: {text}"),
        What::Reload => "it reads its configuration again".into(),
        What::ReloadRequested { by } => format!("a reload was asked for by {}", who(by)),
        What::SpawnFailed { path, step, errno } => {
            format!("could not be started: {} {path:?}: {}", step.word(), errno_name(*errno))
        }
        What::Exit { exit, uptime, requested } => {
            let how = match (exit.code, exit.signal) {
                (_, Some(s)) if *requested => format!("ended by SIG{}", signal_name(s)),
                (_, Some(s)) => format!("died by SIG{}", signal_name(s)),
                (c, None) => format!("exited with code {}", c.unwrap_or(-1)),
            };
            let asked = if *requested { ", as asked" } else { "" };
            format!("generation {generation} (pid {pid}) {how} after {}{asked}", human(*uptime))
        }
        What::RestartScheduled { rule, .. } => rule.clone(),
        What::GaveUp { rule, exit_status, .. } => format!("{rule}; final status {exit_status}"),
        What::CrashLoop { restarts, window, pause } => format!(
            "crash loop: {restarts} restarts within {} (crash_loop_limit, crash_loop_window), pause of {} (crash_loop_pause)",
            human(*window),
            human(*pause)
        ),
        What::StopRequested { by } => format!("a stop was asked for by {}", who(by)),
        What::StartRequested { by } => format!("a start was asked for by {}", who(by)),
        What::RestartRequested { by } => match by.kind {
            ByKind::Policy => match n.cause {
                Some(Cause::MaxAge) => "it reached its max_age: recycled".into(),
                Some(Cause::ConfigChanged) => "its settings changed: restarted for them".into(),
                Some(_) | None => "stopped for what it requires, and to start again with it".into(),
            },
            ByKind::Signal | ByKind::Control => format!("a restart was asked for by {}", who(by)),
        },
        What::SignalRequested { by, signal } => format!("SIG{} was asked for by {}", signal_name(*signal), who(by)),
        What::SignalSent { signal, scope, pids } => {
            format!(
                "SIG{} sent to {} process{} ({scope})",
                signal_name(*signal),
                pids.len(),
                if pids.len() == 1 { "" } else { "es" }
            )
        }
        What::KillEscalated { grace } => format!("still alive after its grace of {}: SIGKILL", human(*grace)),
        What::Stopped => "stopped; nothing of its tree lives".into(),
        What::Stuck { pids } => format!("killed and not gone: pid {pids:?}"),
        What::LeftoverKilled { pids, background: true } => format!(
            "its main process ended with code 0 and left {} process(es), which are ended (pid {pids:?}): it has put itself into \
             the background, where it cannot be supervised. Run it in the foreground (`daemon off;`, -F, --foreground, \
             --no-daemon, -DFOREGROUND)",
            pids.len()
        ),
        What::LeftoverKilled { pids, background: false } => {
            format!("{} process(es) of its tree outlived it and are ended: pid {pids:?}", pids.len())
        }
        What::OrphanReaped { pid } => format!("an orphan was reaped: pid {pid}"),
        What::LogDropped { stream, lines, bytes } => format!("{lines} lines ({bytes} bytes) of {stream} were dropped"),
        What::ControlDenied { pid, uid } => format!("pid {pid} of user {uid} was refused at the control socket"),
        What::Stall { late } => format!("the watchdog itself was held up for {}", human(*late)),
        What::Probe { probe, role, result, message, failures } => {
            let failures = if *failures > 0 { format!(" ({failures} in a row)") } else { String::new() };
            format!("probe {probe} ({role}): {result}{failures}: {message}")
        }
        What::Blocked { reason, .. } => reason.clone(),
        What::Unblocked => "it waits no longer".into(),
        What::ConfigReloaded { added, removed, changed, restarted, deferred } => {
            let parts = [
                ("added", added),
                ("removed", removed),
                ("changed", changed),
                ("restarted for it", restarted),
                ("to be restarted", deferred),
            ];
            let said: Vec<String> = parts
                .iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(word, names)| format!("{word}: {}", names.join(", ")))
                .collect();
            match said.is_empty() {
                true => "the file was read again: nothing changed".into(),
                false => format!("the file was read again; {}", said.join("; ")),
            }
        }
        What::ConfigError { errors } => {
            let more = match errors.len() {
                0 | 1 => String::new(),
                n => format!(" (the first of {n})"),
            };
            let first = errors.first().map_or("", String::as_str);
            format!("the file cannot be used, nothing was changed: {first}{more}")
        }
    }
}

fn who(by: &By) -> String {
    let sender = match (by.pid, by.uid) {
        (Some(pid), Some(uid)) => format!(" from pid {pid} of user {uid}"),
        _ => String::new(),
    };
    match (by.kind, by.signal) {
        (ByKind::Signal, Some(s)) => format!("SIG{}{sender}", signal_name(s)),
        (ByKind::Signal, None) => format!("a signal{sender}"),
        (ByKind::Control, _) => format!("a client{sender}"),
        (ByKind::Policy, _) => "the settings".into(),
    }
}
