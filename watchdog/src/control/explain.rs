//! What happened, which rule with which numbers, what happens next: plain sentences, made from the machine's state and
//! the journal alone.

use super::journal::Entry;
use super::shapes::Frame;
use crate::machine::*;
use crate::signal_name;
use crate::spec::{Delays, Scope, Stop};
use crate::sys::clock::rfc3339;

/// Events told at most.
const STORY: usize = 12;

/// The sentences for one service.
pub(crate) fn explain<'a>(
    frame: &Frame<'_>,
    s: &Service,
    journal: impl DoubleEndedIterator<Item = &'a Entry>,
) -> Vec<String> {
    let about = [&s.spec.title, &s.spec.description];
    let mut text: Vec<String> = about.into_iter().filter(|t| !t.is_empty()).cloned().collect();
    text.push(now(frame, s));
    let mut story: Vec<&Entry> =
        journal.filter(|e| e.notice.service == Some(s.id) && tells(&e.notice.what)).rev().take(STORY).collect();
    story.reverse();
    text.extend(story.iter().map(|e| format!("{} {}", rfc3339(e.wall), sentence(&e.notice))));
    text.push(next(frame, s));
    text.push(rules(s));
    if let Some(age) = s.spec.max_age {
        text.push(format!(
            "it is recycled {} after it is ready (max_age, jitter {}%)",
            human(age),
            s.spec.max_age_jitter
        ));
    }
    text.push(stop_rule(&s.spec.stop));
    text.push("no heartbeat and no limit is enforced: only its own end, a request or max_age ends it".into());
    text
}

fn tells(what: &What) -> bool {
    !matches!(what, What::Ready | What::OrphanReaped { .. })
}

fn now(frame: &Frame<'_>, s: &Service) -> String {
    let pid = s.run.as_ref().filter(|r| r.alive).and_then(|r| r.pid).map(|p| format!(", pid {p}")).unwrap_or_default();
    format!(
        "{} is {} for {} (generation {}{pid}): {}",
        s.spec.name,
        s.state.word(),
        human(frame.now.since(s.since)),
        s.last.0,
        s.reason
    )
}

fn next(frame: &Frame<'_>, s: &Service) -> String {
    let wait = |t| s.timers.get(t).map(|at| human(at.since(frame.now)));
    match s.state {
        State::Backoff { .. } => format!("next: it is started again in {}", wait(Timer::Restart).unwrap_or_default()),
        State::CrashLoop { .. } => {
            format!("next: the pause ends in {}, then it is started again", wait(Timer::Restart).unwrap_or_default())
        }
        State::Stopping { step: StopStep::Term, .. } => {
            format!("next: SIGKILL in {} unless it ends before", wait(Timer::Stop).unwrap_or_default())
        }
        State::Stopping { step: StopStep::Sweep, .. } => {
            format!("next: SIGKILL for what is left of its tree in {}", wait(Timer::Sweep).unwrap_or_default())
        }
        State::Stopping { .. } => "next: the end of the killed processes is verified".into(),
        State::Running { .. } => match wait(Timer::MaxAge) {
            Some(d) => format!("next: it is recycled for its age in {d} (max_age)"),
            None => "next: nothing, as long as it runs".into(),
        },
        State::Starting { .. } => "next: it is being started".into(),
        State::Stuck { .. } => "next: nothing is started beside it; if it goes after all, that is noticed".into(),
        State::Stopped | State::Done | State::Failed => "next: nothing before a `start`".into(),
    }
}

fn rules(s: &Service) -> String {
    let r = &s.spec.restart;
    let delays = match &r.delays {
        Delays::Growing { first, factor_milli, max } => {
            format!("restart_delay {} x {} up to {}", human(*first), f64::from(*factor_milli) / 1000.0, human(*max))
        }
        Delays::List(list) => {
            format!("restart_delay {}", list.iter().map(|d| human(*d)).collect::<Vec<_>>().join(","))
        }
    };
    let limit = match r.limit {
        0 => "no restart_limit".into(),
        n => format!("restart_limit {n}, {} of them used", s.book.streak.min(n)),
    };
    format!(
        "if it ends: restart = {}, {delays}, {limit}; ready for {} (stable_after) resets the count",
        policy_word(r.policy),
        human(s.book.stable_needs(r))
    )
}

fn stop_rule(stop: &Stop) -> String {
    let scope = match stop.scope {
        Scope::Main => "the main process",
        Scope::Group => "its process group",
        Scope::Tree => "its whole tree",
    };
    let signal = signal_name(stop.signal.unwrap_or(libc::SIGTERM));
    format!(
        "a stop is SIG{signal} to {scope}, SIGKILL after stop_timeout {}, and the end of all that is left of its tree",
        human(stop.timeout)
    )
}

/// One event as a sentence.
#[must_use]
pub(crate) fn sentence(n: &Notice) -> String {
    let generation = n.generation.map_or(0, |g| g.0);
    let pid = n.pid.unwrap_or(0);
    match &n.what {
        What::Spawn => format!("started generation {generation}, pid {pid}"),
        What::Ready => format!("generation {generation} is ready"),
        What::SpawnFailed { path, step, errno } => {
            format!("could not be started: {} {path:?}: {}", step.word(), errno_name(*errno))
        }
        What::Exit { exit, uptime, requested } => {
            let how = match (exit.code, exit.signal) {
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
            ByKind::Policy => "it reached its max_age: recycled".into(),
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
        What::LeftoverKilled { pids } => {
            format!("{} process(es) of its tree outlived it and are ended: pid {pids:?}", pids.len())
        }
        What::OrphanReaped { pid } => format!("an orphan was reaped: pid {pid}"),
        What::LogDropped { stream, lines, bytes } => format!("{lines} lines ({bytes} bytes) of {stream} were dropped"),
        What::ControlDenied { pid, uid } => format!("pid {pid} of user {uid} was refused at the control socket"),
        What::Stall { late } => format!("the watchdog itself was held up for {}", human(*late)),
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
