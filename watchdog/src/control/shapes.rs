//! The JSON shapes of the contract (product.md section 13): every member always there, unknown is null.

use crate::machine::*;
use crate::signal_name;
use crate::spec::{Instance, MemoryLimit, ProbeSpec};
use crate::sys::clock::rfc3339;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// What a shape is made from: the services, and now on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// On our own clock.
    pub now: MonoTime,
    /// On the wall.
    pub wall: SystemTime,
    /// All of them.
    pub services: &'a [Service],
    /// The id of the last report of each.
    pub reports: &'a [Option<String>],
}

impl Frame<'_> {
    /// A time of our clock on the wall.
    pub(crate) fn wall_of(&self, at: MonoTime) -> String {
        rfc3339(self.wall.checked_sub(self.now.since(at)).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// The same to the second, for sentences.
    fn second_of(&self, at: MonoTime) -> String {
        let time = self.wall_of(at);
        match time.split_once('.') {
            Some((second, _)) => format!("{second}Z"),
            None => time,
        }
    }

    pub(crate) fn ms(&self, at: MonoTime) -> u64 {
        millis(self.now.since(at))
    }

    /// These services, in the order of their places.
    pub(crate) fn picked(&self, pick: &[ServiceId]) -> impl Iterator<Item = &Service> {
        let mut places: Vec<usize> = pick.iter().map(|id| id.0 as usize).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|at| self.services.get(at))
    }

    pub(super) fn name(&self, id: Option<ServiceId>) -> Option<&str> {
        id.and_then(|id| self.services.get(id.0 as usize)).map(|s| s.spec.name.as_str())
    }
}

/// Whole milliseconds.
pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// The watchdog itself, in `status`.
#[must_use]
pub(crate) fn about(
    frame: &Frame<'_>,
    instance: &Instance,
    control: Option<&std::path::Path>,
    http: Option<&str>,
    ending: bool,
) -> Value {
    json!({
        "name": instance.name,
        "pid": nix::unistd::getpid().as_raw(),
        "version": instance.version,
        "state": if ending { "stopping" } else { "running" },
        "uptime_ms": millis(frame.now.0),
        "control": control.map(|p| p.to_string_lossy()),
        "http": http,
        "file": instance.file.as_ref().map(|p| p.to_string_lossy()),
    })
}

/// `status`, as it stands in the answer: service by service, because of thousands the shapes are many times as large as the
/// text. `more` is known of a service beside its own state.
pub(crate) fn status(
    frame: &Frame<'_>,
    about: &Value,
    pick: &[ServiceId],
    more: impl Fn(ServiceId, &mut Value),
    text: &mut String,
) {
    // Writing to a text does not fail.
    let _ = write!(text, "{{\"instance\":{about},\"services\":[");
    for (n, s) in frame.picked(pick).enumerate() {
        let mut shape = service(frame, s);
        more(s.id, &mut shape);
        if n > 0 {
            text.push(',');
        }
        let _ = write!(text, "{shape}");
    }
    text.push_str("]}");
}

/// S: one service.
#[must_use]
pub(crate) fn service(frame: &Frame<'_>, s: &Service) -> Value {
    let run = s.run.as_ref().filter(|r| r.alive);
    let next = s.timers.get(Timer::Restart).map(|at| millis(at.since(frame.now)));
    // Of the command line only its first word: the rest may hold secrets (case SEC-01).
    let command = s.spec.command.first().map(|c| c.to_string_lossy().into_owned());
    json!({
        "name": s.spec.name,
        "title": s.spec.title,
        "description": s.spec.description,
        "type": s.spec.kind.word(),
        "goal": if s.goal == Goal::Up { "up" } else { "down" },
        "state": s.state.word(),
        "ready": s.is_ready(),
        "health": s.health(frame.now).word(),
        "cause": s.cause.map(Cause::word),
        "reason": why(frame, s),
        "pid": run.and_then(|r| r.pid),
        "generation": s.last.0,
        "started_at": run.and_then(|r| r.spawned).map(|at| frame.wall_of(at)),
        "since": frame.wall_of(s.since),
        "uptime_ms": run.and_then(|r| r.spawned).map(|at| frame.ms(at)),
        "status_text": run.and_then(|r| r.talk.status.as_deref()),
        "notify_denied": run.map_or(0, |r| r.talk.foreign),
        "waiting_on": s.waiting_on,
        "restarts": s.book.total,
        "streak": s.book.streak,
        "restart_limit": s.spec.restart.limit,
        "next_restart_in_ms": next,
        "ready_by": run.and_then(|r| r.ready_by).map(ReadyBy::word),
        "command": command,
        "heartbeat": heartbeat(frame, run),
        "memory": {
            "rss_bytes": run.and_then(|r| r.usage.last()).and_then(|u| u.rss_bytes),
            "limit_bytes": s.spec.limits.memory.and_then(limit_bytes),
        },
        "cpu": {
            "percent": run.and_then(|r| r.usage.last()).and_then(|u| u.cpu_permille).map(|n| f64::from(n) / 10.0),
            "limit_percent": s.spec.limits.cpu,
        },
        "last_exit": s.ended.as_ref().map(|e| last_exit(frame, e)),
        "probes": probes(frame, s),
        "wanted": s.wanted,
        "pending_reload": s.next.is_some(),
        "last_report": frame.reports.get(s.id.0 as usize).and_then(Option::as_deref),
    })
}

/// What its probes say.
fn probes(frame: &Frame<'_>, s: &Service) -> Vec<Value> {
    let up = s.active();
    let none = if matches!(s.state, State::Waiting) { "waiting" } else { "disabled" };
    let word = |tried: Option<&Tried>| tried.filter(|_| up).map_or(none, |t| t.result(up));
    answers(frame, s, s.run.as_ref(), word)
}

/// What its probes said of a run that may be over: the last answer of each stands.
#[must_use]
pub(crate) fn probes_of(frame: &Frame<'_>, s: &Service, run: &Run) -> Vec<Value> {
    answers(frame, s, Some(run), |tried| tried.map_or("waiting", |t| t.result(true)))
}

fn answers(
    frame: &Frame<'_>,
    s: &Service,
    run: Option<&Run>,
    word: impl Fn(Option<&Tried>) -> &'static str,
) -> Vec<Value> {
    let tried = run.map_or(&[][..], |r| &r.probing.all);
    let one = |(n, spec): (usize, &ProbeSpec)| {
        let tried = tried.get(n);
        let last = tried.and_then(|t| t.last.as_ref());
        json!({
            "name": spec.name,
            "role": probe_role(spec),
            "result": word(tried),
            "time": last.map(|l| frame.wall_of(l.at)),
            "duration_ms": last.map(|l| millis(l.answer.took)),
            "failures": tried.map_or(0, |t| t.failures),
            "message": last.map(|l| l.answer.message.as_str()),
        })
    };
    s.spec.probes.iter().enumerate().map(one).collect()
}

fn last_exit(frame: &Frame<'_>, e: &Ended) -> Value {
    json!({
        "time": frame.wall_of(e.at),
        "generation": e.generation.0,
        "pid": e.pid,
        "code": e.exit.code,
        "signal": e.exit.signal.map(signal_name),
        "core": e.exit.core,
        "oom": oom_shape(e.exit.oom),
        "uptime_ms": millis(e.uptime),
        "cause": e.cause.word(),
    })
}

/// Signs of life, as far as there are any.
pub(crate) fn heartbeat(frame: &Frame<'_>, run: Option<&Run>) -> Value {
    let beats = run.map(|r| &r.beats);
    let micros = |percent| beats.and_then(|b| b.trips.quantile(percent)).map(|d| d.as_micros() as u64);
    // The dialect that beats, or else the one that was spoken first.
    let dialect = run.and_then(|r| r.beats.dialect.or(r.talk.dialect));
    json!({
        "dialect": dialect.map(Dialect::word),
        "armed": beats.is_some_and(|b| b.armed),
        "last_ms": beats.filter(|b| !b.recent.is_empty()).and_then(|b| b.last).map(|at| frame.ms(at)),
        "misses": beats.map_or(0, |b| b.misses),
        "rtt_p50_us": micros(50),
        "rtt_p99_us": micros(99),
    })
}

fn limit_bytes(limit: MemoryLimit) -> Option<u64> {
    match limit {
        MemoryLimit::Bytes(n) => Some(n),
        MemoryLimit::Auto => None,
    }
}

/// `true` where a counter says so, `"probable"` where only the circumstances do.
pub(crate) fn oom_shape(oom: Oom) -> Value {
    match oom {
        Oom::No => Value::Bool(false),
        Oom::Worker => Value::Bool(true),
        Oom::Child => "child".into(),
        Oom::Probable => "probable".into(),
    }
}

/// Why it is where it is: of one that is not healthy, what is wrong and since when, in one sentence that is the same
/// wherever it stands.
#[must_use]
pub(crate) fn why(frame: &Frame<'_>, s: &Service) -> String {
    match s.trouble(frame.now) {
        Some(Trouble { text, since: Some(since), .. }) => format!("{text} (since {})", frame.second_of(since)),
        Some(Trouble { text, since: None, .. }) => text,
        None => s.why(frame.now),
    }
}

/// `health`: of one service, or of the worst of several.
#[must_use]
pub(crate) fn health_of(frame: &Frame<'_>, pick: &[ServiceId]) -> Value {
    // One that is not wanted up is no trouble.
    let minded = |s: &&Service| pick.len() == 1 || s.is_minded();
    // Of those that are equally bad the first.
    let worst = frame
        .picked(pick)
        .filter(minded)
        .map(|s| (s.health(frame.now), s))
        .reduce(|a, b| if b.0 > a.0 { b } else { a });
    match worst {
        Some((_, s)) => health(frame, s),
        None => json!({
            "service": null, "health": "unknown", "reason": "there is no service that is wanted", "state": null,
            "wanted": false,
        }),
    }
}

/// `tree`: who needs whom, and who waits for whom.
#[must_use]
pub(crate) fn tree(frame: &Frame<'_>, pick: &[ServiceId]) -> Value {
    let all: Vec<Value> = frame
        .picked(pick)
        .map(|s| {
            let place = &s.spec.place;
            let requires: Vec<Value> = place
                .requires
                .iter()
                .map(|n| json!({"service": n.service, "condition": n.condition.word(), "once": n.once}))
                .collect();
            json!({
                "name": s.spec.name, "type": s.spec.kind.word(), "state": s.state.word(), "ready": s.is_ready(),
                "requires": requires, "wants": place.wants, "after": place.after, "conflicts": place.conflicts,
                "waiting_on": s.waiting_on, "reason": why(frame, s),
            })
        })
        .collect();
    json!({"tree": all})
}

/// `health` of one.
#[must_use]
fn health(frame: &Frame<'_>, s: &Service) -> Value {
    json!({
        "service": s.spec.name, "health": s.health(frame.now).word(), "reason": why(frame, s), "state": s.state.word(),
        "wanted": s.is_minded(),
    })
}

/// `wait`.
#[must_use]
pub(crate) fn waited(
    frame: &Frame<'_>,
    id: ServiceId,
    want: Want,
    reached: bool,
    waited: Duration,
    tail: Vec<Value>,
) -> Value {
    let want = match want {
        Want::Ready => "ready",
        Want::Stopped => "stopped",
        Want::Completed => "completed",
    };
    let state = frame.services.get(id.0 as usize).map(|s| s.state.word());
    json!({"service": frame.name(Some(id)), "for": want, "reached": reached, "state": state,
           "waited_ms": millis(waited), "log_tail": tail})
}
