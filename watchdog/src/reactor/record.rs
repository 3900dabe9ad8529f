//! The flight recorder's reports: what the machine knows of a run, what the kernel showed of it, its last lines. Taken
//! together when the turn is over, so that no restart waits for it; a report that cannot be written is one line, never a
//! failure.

use super::Reactor;
use super::inspect::Gathered;
use crate::control::{self, Ask, AskError, Frame, error, line, ok};
use crate::machine::*;
use crate::recorder::{Head, REPORT_MAX};
use crate::spec::{Instance, LogMode};
use crate::sys::clock;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// Last lines of output, and last events, in a report.
const LINES: usize = 400;
const EVENTS: usize = 40;

/// How long the loop has to be quiet after a start before reports are written: a worker that dies at once is started
/// again before that.
const QUIET: Duration = Duration::from_millis(5);
/// And the longest that they wait for it.
const LATEST: Duration = Duration::from_millis(100);
/// Reports that are written in one turn: what else happens is not held up by the deaths of hundreds.
const IN_A_TURN: usize = 8;

/// A report that is to be written.
pub(super) struct Pending {
    pub(super) order: ReportOrder,
    gathered: Option<Gathered>,
    id: String,
    /// Of the journal, everything before this belongs to it.
    seq: u64,
    now: MonoTime,
    wall: SystemTime,
    /// What passes: known at the end of the turn.
    seen: Option<Seen>,
}

/// What another generation may change before it is written.
struct Seen {
    restarts: u32,
    /// Its last lines, where they passed through us.
    log: Option<Value>,
}

/// Reports that wait for a quiet moment.
#[derive(Default)]
pub(super) struct Orders {
    waiting: VecDeque<Pending>,
    /// When they are written.
    due: Option<Duration>,
    /// A worker was started in this turn.
    started: bool,
}

impl Orders {
    /// A worker was started: it may need us soon.
    pub(super) fn started(&mut self) {
        self.started = true;
    }

    /// Whether one was started in this turn.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }
}

impl Reactor {
    /// Takes an order down, with what was gathered for it.
    #[inline(never)]
    pub(super) fn take_report(&mut self, order: ReportOrder) {
        if self.instance.report_keep == 0 {
            return;
        }
        let at = order.service.0 as usize;
        let Some(name) = self.machine.services().get(at).map(|s| s.spec.name.as_str()) else { return };
        let (now, wall) = (MonoTime(self.clock.now()), clock::wall());
        let stamp = clock::rfc3339(wall).replace(['-', ':'], "");
        let id = format!("{stamp}-{name}-{}", order.generation.0);
        let Some(worker) = self.workers.get_mut(at) else { return };
        let gathered = worker.gathered.take_if(|g| g.generation == order.generation).map(|g| *g);
        let pending = Pending { order, gathered, id, seq: 0, now, wall, seen: None };
        if let Some(pending) = self.after.wait_to_report(pending) {
            self.order_report(pending);
        }
    }

    /// What has been told until now belongs to it.
    pub(super) fn order_report(&mut self, mut pending: Pending) {
        pending.seq = self.journal.next();
        if let Some(last) = self.reports.get_mut(pending.order.service.0 as usize) {
            *last = Some(pending.id.clone());
        }
        self.pending.waiting.push_back(pending);
    }

    /// At the end of a turn: writes what was ordered; or, where a worker was started, has it wait for a quiet moment, so that
    /// the end of that worker does not wait for it.
    pub(super) fn tend_reports(&mut self) {
        let started = std::mem::take(&mut self.pending.started);
        let Some(oldest) = self.pending.waiting.front().map(|p| p.now.0) else { return };
        let now = self.clock.now();
        // Hooks look for the reports of the ends that they are told of.
        let waits = started && self.hooked.is_empty();
        if waits || self.pending.waiting.len() > IN_A_TURN {
            self.note_what_passes();
        }
        if waits {
            self.pending.due = Some((now + QUIET).min(oldest + LATEST));
        }
        if self.pending.due.is_none_or(|due| due <= now) {
            self.write_reports(IN_A_TURN);
        }
    }

    /// Of what waits, that which the next generation may change.
    fn note_what_passes(&mut self) {
        let mut waiting = std::mem::take(&mut self.pending.waiting);
        for pending in waiting.iter_mut().filter(|p| p.seen.is_none()) {
            pending.seen = self.seen(&pending.order);
        }
        self.pending.waiting = waiting;
    }

    fn seen(&self, order: &ReportOrder) -> Option<Seen> {
        let service = self.machine.services().get(order.service.0 as usize)?;
        Some(Seen { restarts: service.book.total, log: self.output_of(service, order.generation) })
    }

    /// Writes what was ordered, the oldest first; the rest in the next turn, if there are more than `most`.
    pub(super) fn write_reports(&mut self, most: usize) {
        let mut written = 0;
        while written < most
            && let Some(pending) = self.pending.waiting.pop_front()
        {
            written += usize::from(self.write_report(pending));
        }
        self.pending.due = (!self.pending.waiting.is_empty()).then(|| self.clock.now());
    }

    /// False: so many newer ones of its service wait that it would be removed again at once.
    #[inline(never)]
    fn write_report(&mut self, mut pending: Pending) -> bool {
        let service = pending.order.service;
        let newer = self.pending.waiting.iter().filter(|p| p.order.service == service).count();
        let Some(name) = self.machine.services().get(service.0 as usize).map(|s| s.spec.name.clone()) else {
            return false;
        };
        if newer >= self.instance.report_keep as usize {
            return false;
        }
        let text = fitted(self.compose(&mut pending));
        // What is wrong with the directory is said once by the store, and the last report is kept in memory then.
        if let Err(e) = self.store.write(&name, &pending.id, &text) {
            log::debug!("{name}: report {}: {e}", pending.id);
        }
        true
    }

    fn compose(&self, pending: &mut Pending) -> Value {
        let Pending { order, gathered, id, seq, now, wall, seen: noted } = pending;
        let frame = Frame { now: *now, wall: *wall, services: self.machine.services(), reports: &self.reports };
        let Some(service) = frame.services.get(order.service.0 as usize) else { return Value::Null };
        let mut report = facts(&frame, service, order, id, &self.instance);
        report.extend(account(&frame, service, order));
        report.extend(seen(gathered.as_ref()));
        let noted = noted.take().or_else(|| self.seen(order));
        report.insert("restarts".into(), noted.as_ref().map(|n| n.restarts).into());
        let note = "its output did not pass through the watchdog (log = inherit): run it with --log tee or capture";
        let log = noted.and_then(|n| n.log).unwrap_or_else(|| json!({"captured": false, "note": note, "lines": []}));
        report.insert("log".into(), log);
        let mut notes: Vec<Value> = Vec::new();
        if gathered.is_none() {
            notes.push("it was dead before it could be looked at: threads and descriptors are not known".into());
        }
        let mine = |e: &&control::Entry| e.seq < *seq && e.notice.service == Some(order.service);
        let mut events: Vec<Value> =
            self.journal.last(usize::MAX).rev().filter(mine).take(EVENTS).map(|e| control::event(&frame, e)).collect();
        events.reverse();
        report.insert("events".into(), events.into());
        report.insert("notes".into(), notes.into());
        Value::Object(report)
    }

    /// Its last lines. None where they did not pass through us.
    fn output_of(&self, service: &Service, generation: Generation) -> Option<Value> {
        if service.spec.log.mode == LogMode::Inherit {
            return None;
        }
        let ring = self.workers.get(service.id.0 as usize).map(|w| &w.ring);
        let lines: Vec<Value> = ring.map_or(Vec::new(), |ring| {
            let own = ring.last(usize::MAX).into_iter().filter(|l| l.generation == generation.0);
            let own: Vec<_> = own.collect();
            own[own.len().saturating_sub(LINES)..].iter().map(|l| line(&service.spec.name, l)).collect()
        });
        Some(json!({"captured": true, "note": null, "lines": lines}))
    }

    /// `report`: the list, one of them, or the last. Named ones are those of a name, whether its service is still there or
    /// not; without a name all that are this instance's.
    pub(super) fn on_report(&mut self, ask: &Ask) -> Result<Value, AskError> {
        self.write_reports(usize::MAX);
        let action = ask.word("action")?;
        // An id says all there is to say: nothing is looked through for it.
        let by_id = action == "show" && ask.services.is_empty();
        let heads = if by_id { Vec::new() } else { self.store.list() };
        if let Some(name) = ask.services.iter().find(|name| !self.is_known(name, &heads)) {
            let others: Vec<&str> = heads.iter().map(|head| head.service.as_str()).collect();
            return Ok(self.no_such_service(ask, name, &others));
        }
        let mine = |head: &Head| match ask.services.as_slice() {
            [] => self.is_ours(head),
            names => names.iter().any(|name| is_of(head, name)),
        };
        let found = match action {
            "list" => {
                let reports: Vec<Head> = heads.into_iter().filter(mine).collect();
                return Ok(ok(&ask.id, json!({"reports": reports})));
            }
            "show" => self.store.show(ask.word("id")?),
            "last" => {
                let newest = heads.into_iter().find(mine);
                newest.and_then(|head| self.store.show(&head.id))
            }
            _ => return Err(ask.wrong("action", "list, show or last")),
        };
        Ok(match found {
            Some(report) => ok(&ask.id, json!({"report": report})),
            None => error(&ask.id, "no-such-service", "there is no such report", None),
        })
    }

    /// The newest of a service.
    pub(super) fn last_report(&mut self, name: &str) -> Option<Value> {
        self.write_reports(usize::MAX);
        let newest = self.store.list().into_iter().find(|head| is_of(head, name))?;
        self.store.show(&newest.id)
    }

    fn is_known(&self, name: &str, heads: &[Head]) -> bool {
        !self.named(name, true).is_empty() || heads.iter().any(|head| is_of(head, name))
    }

    /// Several watchdogs may write into one directory. Ours is what bears the name of our instance, or of a service that we
    /// have; where it does not say whose it is, it is better shown than missed.
    fn is_ours(&self, head: &Head) -> bool {
        let ours = head.instance.as_ref().is_none_or(|name| *name == self.instance.name);
        ours || !self.named(&head.service, true).is_empty()
    }
}

/// A name means all of its replicas, `web@0` and so on.
fn is_of(head: &Head, name: &str) -> bool {
    head.service.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

/// Who, when, how it ended and by which rule.
fn facts(
    frame: &Frame<'_>,
    service: &Service,
    order: &ReportOrder,
    id: &str,
    instance: &Instance,
) -> Map<String, Value> {
    let (run, ended) = (&order.run, order.ended.as_deref());
    let exit = ended.map(|e| e.exit);
    let verdict = run.hang.as_ref().and_then(|h| h.found.last()).map(|f| f.verdict.word());
    let how = ended.map(describe_end);
    let rule = match (order.rule.is_empty(), how) {
        (true, how) => how.unwrap_or_default(),
        (false, Some(how)) => format!("{}; {how}", order.rule),
        (false, None) => order.rule.clone(),
    };
    object(json!({
        "id": id,
        "time": clock::rfc3339(frame.wall),
        "service": service.spec.name,
        "generation": order.generation.0,
        "pid": run.pid,
        "cause": order.cause.word(),
        "verdict": verdict,
        "code": exit.and_then(|e| e.code),
        "signal": exit.and_then(|e| e.signal).map(crate::signal_name),
        "core": exit.map(|e| e.core),
        "oom": exit.map(|e| control::oom_shape(e.oom)),
        "uptime_ms": ended.map(|e| control::millis(e.uptime)),
        "requested": ended.map(|e| e.requested),
        "rule": rule,
        // Of the command line only its first word, and nothing of the environment (case SEC-01).
        "command": service.spec.command.first().map(|c| c.to_string_lossy()),
        "watchdog": {"name": instance.name, "version": instance.version, "pid": nix::unistd::getpid().as_raw()},
        "rusage": {
            "cpu_ms": exit.map(|e| control::millis(e.cpu)),
            "rss_peak_bytes": exit.and_then(|e| e.rss_peak_bytes),
        },
        "started_at": run.spawned.map(|at| frame.wall_of(at)),
        "ready_at": run.ready.map(|at| frame.wall_of(at)),
        "ready_by": run.ready_by.map(ReadyBy::word),
    }))
}

/// What it said of itself, and what was measured.
fn account(frame: &Frame<'_>, service: &Service, order: &ReportOrder) -> Map<String, Value> {
    let (run, talk) = (&order.run, &order.run.talk);
    let found = run.hang.as_ref().map_or(&[][..], |h| h.found.as_slice());
    let verdicts: Vec<Value> = found.iter().map(|f| finding(frame, f)).collect();
    let mut heartbeat = object(control::heartbeat(frame, Some(run)));
    let beats: Vec<u64> = run.beats.recent.iter().map(|at| frame.ms(*at)).collect();
    heartbeat.insert("beats_ms".into(), beats.into());
    let stuck = run.hang.as_ref().and_then(|h| h.lane.as_ref()).map(|(slot, _)| *slot);
    let lanes: Vec<Value> = run.lanes.all.iter().map(|l| lane(frame, l, stuck)).collect();
    let stacks: Vec<Value> = talk.stacks.iter().map(|(t, text)| json!({"thread": t, "text": text})).collect();
    let checks = talk.health.as_ref().map(|all| {
        all.iter().map(|c| json!({"name": c.name, "pass": c.pass, "message": c.message})).collect::<Vec<_>>()
    });
    let numbers = talk.numbers.as_ref().map(|n| {
        let counters: Map<String, Value> = n.counters.iter().map(|(k, v)| (k.clone(), (*v).into())).collect();
        let gauges: Map<String, Value> = n.gauges.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        json!({"counters": counters, "gauges": gauges})
    });
    let curve: Vec<Value> = run
        .usage
        .curve
        .iter()
        .map(|s| {
            let percent = s.cpu_permille.map(|n| f64::from(n) / 10.0);
            json!({"at_ms": frame.ms(s.at), "rss_bytes": s.rss_bytes, "cpu_percent": percent})
        })
        .collect();
    object(json!({
        "verdicts": verdicts,
        "heartbeat": heartbeat,
        "lanes": lanes,
        "stacks": stacks,
        "panic": talk.panic,
        "status_text": talk.status,
        "worker_errno": talk.errno,
        "said_stopping": talk.stopping,
        "health": checks,
        "metrics": numbers,
        "curve": curve,
        "probes": control::probes_of(frame, service, run),
    }))
}

fn finding(frame: &Frame<'_>, f: &Finding) -> Value {
    let (action, extension) = match f.sentence {
        Sentence::Hung => ("hung", 0),
        Sentence::Extend(n) => ("extend", n),
        Sentence::Wait => ("wait", 0),
    };
    let e = &f.evidence;
    json!({
        "time": frame.wall_of(f.at),
        "verdict": f.verdict.word(),
        "action": action,
        "extension": extension,
        "because": f.verdict.because(e),
        "evidence": {
            "span_ms": control::millis(e.span),
            "cpu_ms": control::millis(e.cpu),
            "waited_ms": control::millis(e.waited),
            "throttled_ms": control::millis(e.throttled),
            "pressure_percent": e.pressure_percent,
            "threads": e.threads,
            "blocked": e.blocked,
            "stopped": e.stopped,
            "traced": e.traced,
            "late_ms": control::millis(e.late),
            "suspended_ms": control::millis(e.suspended),
        },
    })
}

fn lane(frame: &Frame<'_>, l: &Lane, stuck: Option<u32>) -> Value {
    json!({
        "name": l.view.name,
        "state": if l.view.armed { "armed" } else { "idle" },
        "deadline_ms": control::millis(l.view.deadline),
        "silent_ms": frame.ms(l.moved),
        "beats": l.view.beats,
        "late": stuck == Some(l.view.slot),
    })
}

/// What the kernel showed before a kill; unknown is null.
fn seen(gathered: Option<&Gathered>) -> Map<String, Value> {
    let threads = gathered.map(|g| {
        let one = |t: &crate::sys::evidence::ThreadFact| {
            json!({"tid": t.tid, "name": t.name, "state": t.state.to_string(), "wchan": t.wchan, "syscall": t.syscall,
                   "cpu_ms": control::millis(t.cpu)})
        };
        g.threads.iter().map(one).collect::<Vec<_>>()
    });
    let descriptors = gathered
        .map(|g| g.descriptors.iter().map(|(fd, target)| json!({"fd": fd, "target": target})).collect::<Vec<_>>());
    let queues = gathered.map(|g| {
        let one = |q: &crate::sys::sockets::AcceptQueue| {
            json!({"address": q.address.to_string(), "waiting": q.waiting, "limit": q.limit})
        };
        g.queues.iter().map(one).collect::<Vec<_>>()
    });
    object(json!({
        "threads": threads,
        "descriptors": descriptors,
        "descriptors_total": gathered.map(|g| g.descriptors_total),
        "accept_queues": queues,
    }))
}

/// As text, without what takes most room where it would be too long.
fn fitted(mut report: Value) -> Vec<u8> {
    for heavy in ["log", "stacks", "metrics", "events"] {
        let text = report.to_string().into_bytes();
        if text.len() <= REPORT_MAX {
            return text;
        }
        report[heavy] = Value::Null;
    }
    report.to_string().into_bytes()
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}
