//! What happened, which rule with which numbers, what happens next: plain sentences, made from the machine's state and
//! the journal alone.

use super::journal::Entry;
use super::sentence::sentence;
use super::shapes::{Frame, why};
use crate::machine::*;
use crate::signal_name;
use crate::spec::{Delays, HeartbeatMode, Kind, LimitAction, MemoryLimit, OnHang, Ready, Scope, Spec, Stop};
use crate::sys::clock::rfc3339;
use std::time::Duration;

/// Events told at most.
const STORY: usize = 12;

/// A pre-start hook that holds a start up: its program, and for how long it has been running.
pub(crate) type StartHook = (String, Duration);

fn held_up((program, time): &StartHook) -> String {
    format!("its pre-start hook has been running for {} ({program})", human(*time))
}

/// The sentences for one service.
pub(crate) fn explain<'a>(
    frame: &Frame<'_>,
    s: &Service,
    hook: Option<StartHook>,
    journal: impl DoubleEndedIterator<Item = &'a Entry>,
) -> Vec<String> {
    let about = [&s.spec.title, &s.spec.description];
    let mut text: Vec<String> = about.into_iter().filter(|t| !t.is_empty()).cloned().collect();
    text.push(now(frame, s));
    if s.next.is_some() {
        text.push("it runs by its settings of before: the newer ones were read and wait for its next start".into());
    }
    let mut story: Vec<&Entry> = journal.filter(|e| e.is_of(s.id) && tells(&e.notice.what)).rev().take(STORY).collect();
    story.reverse();
    text.extend(story.iter().map(|e| format!("{} {}", rfc3339(e.wall), sentence(&e.notice))));
    text.push(match hook {
        Some(hook) => format!("next: it is started when its hook ends; {}", held_up(&hook)),
        None => next(frame, s),
    });
    text.extend(rules_for(s));
    text
}

/// What holds for it, each with its numbers.
fn rules_for(s: &Service) -> Vec<String> {
    if !s.spec.kind.has_process() {
        return vec![without_a_process(&s.spec)];
    }
    let mut text = vec![rules(s)];
    if let Some(age) = s.spec.max_age {
        text.push(format!(
            "it is recycled {} after it is ready (max_age, jitter {}%)",
            human(age),
            s.spec.max_age_jitter
        ));
    }
    text.push(stop_rule(&s.spec.stop));
    text.push(heartbeat_rule(s));
    text.extend(limit_rules(&s.spec));
    text
}

/// What makes one be up that has no process: nothing else is asked of it.
fn without_a_process(spec: &Spec) -> String {
    if spec.kind == Kind::Probe {
        let asked = spec.probes.iter().filter(|p| p.roles.readiness);
        let asked: Vec<String> =
            asked.map(|p| format!("{} every {}, failures {}", p.name, human(p.interval), p.failures)).collect();
        return format!("it has no process: it is up while its readiness probes succeed ({})", asked.join("; "));
    }
    match spec.place.requires.as_slice() {
        [] => "it has no process, and requires nothing: it is up when it is wanted".into(),
        needs => {
            let names: Vec<&str> = needs.iter().map(|need| need.service.as_str()).collect();
            format!("it has no process: it is up while all that it requires is there ({})", names.join(", "))
        }
    }
}

/// Whether silence is judged, and after how long.
fn heartbeat_rule(s: &Service) -> String {
    let rules = &s.spec.heartbeat;
    let run = s.run.as_ref().filter(|r| r.alive);
    let armed = run.filter(|r| r.beats.armed);
    let lanes = run.map_or(0, |r| r.lanes.all.iter().filter(|l| l.view.armed).count());
    let follows = match rules.on_hang {
        OnHang::Restart => "it is ended, and the restart policy decides what follows",
        OnHang::Record => "a report is written and nothing else",
    };
    let lanes =
        if lanes > 0 { format!("; {lanes} of its lanes are watched by their own deadlines") } else { String::new() };
    match (rules.mode, armed) {
        (HeartbeatMode::Off, _) => "its beats are not watched (heartbeat = off)".into(),
        (_, Some(run)) => format!(
            "it beats ({}): silent for {} (heartbeat_interval {}, heartbeat_timeout {}, heartbeat_misses {}), and found \
             hung by the evidence, {follows}{lanes}",
            run.beats.dialect.map_or("no dialect yet", Dialect::word),
            human(run.beats.patience(rules)),
            human(rules.interval),
            human(rules.timeout),
            rules.misses
        ),
        (HeartbeatMode::Auto, None) => {
            format!("it has not beaten, so silence is not judged (heartbeat = auto arms with the first beat){lanes}")
        }
        (HeartbeatMode::Required, None) => {
            "its beats are required as soon as it is ready (heartbeat = required)".into()
        }
    }
}

/// What it may use.
fn limit_rules(spec: &Spec) -> Vec<String> {
    let l = &spec.limits;
    let action = |action: LimitAction| match action {
        LimitAction::Restart => "restart",
        LimitAction::Warn => "warn",
    };
    let mut text = Vec::new();
    if let Some(MemoryLimit::Bytes(n)) = l.memory {
        text.push(format!(
            "memory_limit {}: above it in {} samples in a row (every {}), or above 110% of it in one: {} (memory_action)",
            bytes(n),
            l.memory_samples,
            human(l.interval),
            action(l.memory_action)
        ));
    }
    if let Some(n) = l.memory_soft {
        text.push(format!("memory_soft_limit {}: an event, and the word low on memory to the worker", bytes(n)));
    }
    if let Some(percent) = l.cpu {
        text.push(format!(
            "cpu_limit {percent}% of one core as the mean of {} samples (every {}): {} (cpu_action)",
            l.cpu_samples,
            human(l.interval),
            action(l.cpu_action)
        ));
    }
    if text.is_empty() {
        text.push("no limit of memory or CPU is set, so nothing is measured".into());
    }
    text
}

/// Why what might be expected has not happened.
pub(crate) fn why_not(frame: &Frame<'_>, s: &Service, hook: Option<StartHook>) -> Vec<String> {
    let mut text = vec![now(frame, s)];
    let process = s.spec.kind.has_process();
    text.push(match (s.state, s.goal) {
        (State::Running { .. }, _) if !process => "it is up, and has no process that could be started again".into(),
        (State::Running { .. }, _) => {
            let run = s.run.as_ref();
            let silent = run.filter(|r| r.beats.armed).and_then(|r| r.beats.last).map(|at| frame.now.since(at));
            match (run.and_then(|r| r.hang.as_ref()), silent) {
                (Some(hang), _) if hang.recorded => "it is not restarted: its hang is only recorded (on_hang)".into(),
                (Some(_), _) => {
                    "it is not restarted yet: it is silent, and the verdict does not say that it is hung".into()
                }
                (None, Some(silent)) => format!(
                    "it is not restarted: its last sign of life is {} old, {} are allowed",
                    human(silent),
                    human(run.map_or(Duration::ZERO, |r| r.beats.patience(&s.spec.heartbeat)))
                ),
                (None, None) if s.trouble(frame.now).is_some() => {
                    "it is not restarted for that: only its end, a hang, a limit or a failing liveness probe lead to a restart"
                        .into()
                }
                (None, None) => "it is not restarted: it runs, and nothing of it is judged that could be wrong".into(),
            }
        }
        (State::Starting { .. }, _) if hook.is_some() => {
            hook.map_or_else(String::new, |hook| format!("it is not started yet: {}", held_up(&hook)))
        }
        (State::Starting { .. }, _) => {
            let left = s.timers.get(Timer::Start).map(|at| human(at.since(frame.now)));
            let by = match &s.spec.ready {
                _ if !process => "a success of its probes".to_string(),
                Ready::Auto | Ready::Spawned => "its exec".to_string(),
                Ready::Alive(stays) => format!("the end of the {} that it has to stay (ready = alive)", human(*stays)),
                Ready::Reported => "its READY, in any dialect (ready = reported)".into(),
                Ready::Fd => "its newline on WATCHDOG_READY_FD (ready = fd)".into(),
                Ready::Line(line) => format!("a line of output with {line:?} (ready = line)"),
                Ready::Port(port) => format!("a listener of its tree on port {port} (ready = port)"),
                Ready::Probe => "a success of its probes (ready = probe)".into(),
            };
            match (&s.spec.ready, s.timers.get(Timer::Stays)) {
                (Ready::Alive(time), Some(at)) => stays(frame, *time, at),
                _ => {
                    let left = left.map_or("no start_timeout ends it".into(), |d| format!("start_timeout ends in {d}"));
                    format!("it is not ready: {by} has not come; {left}")
                }
            }
        }
        (State::Stopping { .. }, _) => {
            "it is not started: nothing is started before all of the old tree is gone".into()
        }
        (State::Waiting, _) if s.hopeless => {
            format!("it is not started: {}; nothing that will happen by itself ends that", s.reason)
        }
        (State::Waiting, _) => format!("it is not started yet: {}", s.reason),
        (State::Backoff { .. } | State::CrashLoop { .. }, _) => next(frame, s),
        (State::Stuck { .. }, _) => "it is not started: a process of it was killed and is not gone".into(),
        (State::Stopped, Goal::Down) => format!("it is not started: {}", s.reason),
        (State::Done | State::Failed, Goal::Down) => {
            format!("it is not started again: {}; {}", s.why_down().1, s.reason)
        }
        (State::Done, Goal::Up) => {
            format!("it is not started again: it ended well (restart = {})", policy_word(s.spec.restart.policy))
        }
        (State::Stopped | State::Failed, Goal::Up) => format!("it is not started again: {}", s.reason),
    });
    if process {
        text.push(heartbeat_rule(s));
        text.extend(limit_rules(&s.spec));
        text.push(rules(s));
    } else {
        text.push(without_a_process(&s.spec));
    }
    text
}

/// Why one that has to stay for a while is not ready yet.
fn stays(frame: &Frame<'_>, stays: Duration, at: MonoTime) -> String {
    let (so_far, left) = (stays.saturating_sub(at.since(frame.now)), at.since(frame.now));
    format!(
        "it is not ready: it counts as ready when it is still there {} after its start (ready = alive); {} so far, {} to go",
        human(stays),
        human(so_far),
        human(left)
    )
}

fn tells(what: &What) -> bool {
    !matches!(what, What::Ready { .. } | What::OrphanReaped { .. } | What::Status { .. })
}

fn now(frame: &Frame<'_>, s: &Service) -> String {
    let pid = s.run.as_ref().filter(|r| r.alive).and_then(|r| r.pid).map(|p| format!(", pid {p}")).unwrap_or_default();
    format!(
        "{} is {} for {} (generation {}{pid}): {}",
        s.spec.name,
        s.state.word(),
        human(frame.now.since(s.since)),
        s.last.0,
        why(frame, s)
    )
}

fn next(frame: &Frame<'_>, s: &Service) -> String {
    let wait = |t| s.timers.get(t).map(|at| human(at.since(frame.now)));
    match s.state {
        State::Backoff { .. } => format!("next: it is started again in {}", wait(Timer::Restart).unwrap_or_default()),
        State::CrashLoop { .. } => {
            format!("next: the pause ends in {}, then it is started again", wait(Timer::Restart).unwrap_or_default())
        }
        State::Stopping { step: StopStep::Ask, .. } => format!(
            "next: the stop signal in {}, SIGKILL in {} unless it ends before",
            wait(Timer::StopSignal).unwrap_or_default(),
            wait(Timer::Stop).unwrap_or_default()
        ),
        State::Stopping { step: StopStep::Dump, .. } => {
            format!("next: SIGKILL in {} unless it dies of its dump before", wait(Timer::Dump).unwrap_or_default())
        }
        State::Stopping { step: StopStep::Term, .. } => {
            format!("next: SIGKILL in {} unless it ends before", wait(Timer::Stop).unwrap_or_default())
        }
        State::Stopping { step: StopStep::Sweep, .. } => {
            format!("next: SIGKILL for what is left of its tree in {}", wait(Timer::Sweep).unwrap_or_default())
        }
        State::Stopping { .. } => "next: the end of the killed processes is verified".into(),
        State::Running { .. } if wait(Timer::Verdict).is_some() => {
            format!("next: a look at why it is silent in {}", wait(Timer::Verdict).unwrap_or_default())
        }
        State::Running { .. } if s.spec.kind == Kind::Probe => "next: nothing, as long as its probes succeed".into(),
        State::Running { .. } if s.spec.kind == Kind::Target => {
            "next: nothing, as long as what it requires is there".into()
        }
        State::Running { .. } => match wait(Timer::MaxAge) {
            Some(d) => format!("next: it is recycled for its age in {d} (max_age)"),
            None => "next: nothing, as long as it runs".into(),
        },
        State::Starting { .. } => match (wait(Timer::Stays), wait(Timer::Start)) {
            (Some(d), _) => format!("next: it is ready in {d} if it is still there (ready = alive)"),
            (None, Some(d)) => format!("next: it is ready, or ended in {d} (start_timeout)"),
            (None, None) if s.living().is_some() => "next: it is ready, however long that takes".into(),
            (None, None) => "next: it is being started".into(),
        },
        State::Waiting if s.hopeless => {
            "next: nothing, before one of those it waits for is started or changed by hand".into()
        }
        State::Waiting => "next: it starts as soon as what it waits for is there".into(),
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
