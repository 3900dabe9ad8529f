//! Clients: what they wish, and the one answer that each of them gets.

use super::news::Word;
use super::sentences::{asked_by, policy_word};
use super::service::{Cx, Service, TERM};
use super::state::{Goal, State};
use super::supervisor::{Supervisor, at};
use super::time::MonoTime;
use super::waiting::{Held, Leave};
use super::words::*;
use crate::spec::{Autostart, Kind, Policy, Scope};
use serde::Serialize;

/// Requests that may wait at the same time; more are refused.
const MAX_WAITERS: usize = 256;

/// A client that waits for its answer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    /// Whom, and the last generation each of them had when the client asked.
    services: Vec<(ServiceId, Generation)>,
    hope: Hope,
    asked_at: MonoTime,
    pub(super) deadline: Option<MonoTime>,
}

#[derive(Clone, Copy, Debug, Serialize)]
enum Hope {
    /// Ready, in any generation.
    Up,
    /// Ready, in a generation that is newer than the one at the time of asking.
    Anew,
    /// Down.
    Down,
    /// A `wait`.
    Want(Want),
}

enum Outlook {
    Yes,
    NotYet,
    No { reason: String, stuck: bool },
}

impl Supervisor {
    #[inline(never)]
    pub(super) fn on_asked(&mut self, now: MonoTime, ticket: Ticket, by: By, mut request: Request, out: &mut Actions) {
        if let Request::Restart { services, .. } = &mut request {
            self.add_members(services);
        }
        if self.is_ending() && !matches!(request, Request::Wait { .. } | Request::Shutdown | Request::Stop { .. }) {
            return refuse(out, ticket, None, "the watchdog is stopping");
        }
        let (asked, waits) = match &request {
            Request::Start { services } | Request::Stop { services, .. } | Request::Restart { services, .. } => {
                (services.as_slice(), true)
            }
            Request::Signal { services, .. } | Request::Reload { services } | Request::Tell { services, .. } => {
                (services.as_slice(), false)
            }
            Request::Shutdown | Request::ReadFileAgain { .. } => (&[][..], false),
            Request::Wait { services, .. } => (services.as_slice(), true),
        };
        if let Some(id) = asked.iter().find(|id| self.services.get(id.0 as usize).is_none_or(|s| s.removed)) {
            return refuse(out, ticket, Some(*id), "no such service");
        }
        if waits && self.waiters.len() >= MAX_WAITERS {
            return refuse(out, ticket, None, "too many clients are waiting");
        }
        let before: Vec<_> = asked.iter().map(|id| (*id, self.services[id.0 as usize].last)).collect();
        match request {
            Request::Start { services } => {
                if let Some((id, other)) = self.conflict(&services) {
                    return refuse(out, ticket, Some(id), &format!("it conflicts with {other}, which is up"));
                }
                for n in services.iter().map(|id| at(*id)) {
                    self.with(n, now, out, |s, cx| note(s, cx, What::StartRequested { by }));
                    self.want_up_by_hand(n, now, out);
                }
                self.wait_for(now, ticket, before, Hope::Up, None);
            }
            Request::Restart { services, force, alone } => {
                for n in services.iter().map(|id| at(*id)) {
                    self.with(n, now, out, |s, cx| {
                        note(s, cx, What::RestartRequested { by });
                        // One that only others need, and that they do, stays theirs.
                        if s.asked.is_some() || !s.active() || !s.wanted {
                            (s.asked, s.by_hand, s.wanted) =
                                (Some(Goal::Up), s.by_hand || s.asked != Some(Goal::Up), true);
                        }
                    });
                    let leave = Leave::Anew { force, cause: Cause::Requested };
                    self.hold(n, now, out, Held { leave, alone, reason: "restart asked for".into() });
                }
                self.wait_for(now, ticket, before, Hope::Anew, None);
            }
            Request::Stop { services, timeout } => {
                for n in services.iter().map(|id| at(*id)) {
                    self.with(n, now, out, |s, cx| {
                        announce(s, cx, by);
                        (s.asked, s.by_hand, s.wanted) = (Some(Goal::Down), true, false);
                        s.stopped_by = Some(by);
                    });
                    let Some(s) = self.services.get(n) else { continue };
                    let leave = Leave::Down(s.ladder(timeout));
                    self.hold(
                        n,
                        now,
                        out,
                        Held { leave, alone: false, reason: format!("stop asked for by {}", asked_by(&by)) },
                    );
                }
                self.wait_for(now, ticket, before, Hope::Down, None);
            }
            Request::Signal { services, signal } => {
                let dead =
                    services.iter().find(|id| self.services.get(id.0 as usize).is_none_or(|s| s.living().is_none()));
                if let Some(id) = dead {
                    return refuse(out, ticket, Some(*id), "it has no process to signal");
                }
                let mut cx = Cx { now, out, dice: &mut self.dice };
                for s in pick(&mut self.services, &services) {
                    note(s, &mut cx, What::SignalRequested { by, signal });
                    s.forward(&mut cx, signal);
                }
                out.push(Action::Answer { ticket, reply: Reply::Done { services } });
            }
            Request::Reload { services } => {
                if let Some(id) = lacking(&self.services, &services, Service::can_be_told_to_reload) {
                    let why = "it cannot be told: it is not up, or it has neither a reload_signal nor a channel";
                    return refuse(out, ticket, Some(id), why);
                }
                let mut cx = Cx { now, out, dice: &mut self.dice };
                for s in pick(&mut self.services, &services) {
                    note(s, &mut cx, What::ReloadRequested { by });
                    match s.spec.reload_signal {
                        Some(signal) => s.signal(&mut cx, signal, Scope::Main, false),
                        None => {
                            s.tell_worker(&mut cx, Word::Reload);
                        }
                    }
                }
                out.push(Action::Answer { ticket, reply: Reply::Done { services } });
            }
            Request::Tell { services, word } => {
                if let Some(id) = lacking(&self.services, &services, Service::hears) {
                    return refuse(
                        out,
                        ticket,
                        Some(id),
                        "it cannot be told: it is not up, or it has no channel that hears",
                    );
                }
                let mut cx = Cx { now, out, dice: &mut self.dice };
                for s in pick(&mut self.services, &services) {
                    s.tell_worker(&mut cx, Word::Tell(word.clone()));
                }
                out.push(Action::Answer { ticket, reply: Reply::Done { services } });
            }
            Request::ReadFileAgain { restart } => out.push(Action::ReadFileAgain { ticket: Some(ticket), restart }),
            Request::Shutdown => {
                out.push(Action::Answer { ticket, reply: Reply::Done { services: Vec::new() } });
                self.end(now, by, TERM, out);
            }
            Request::Wait { want, timeout, .. } => {
                self.wait_for(now, ticket, before, Hope::Want(want), timeout.map(|d| now.after(d)));
            }
        }
    }

    /// A target has no process to replace: its restart is that of what it requires and wants. What is done or was stopped
    /// stays so.
    fn add_members(&self, services: &mut Vec<ServiceId>) {
        let mut at = 0;
        while let Some(id) = services.get(at).copied() {
            at += 1;
            let target = self.services.get(id.0 as usize).is_some_and(|s| s.spec.kind == Kind::Target);
            let Some(node) = self.graph.node(id.0 as usize).filter(|_| target) else { continue };
            for n in node.hard.iter().map(|hard| hard.on).chain(node.soft.iter().copied()) {
                let Some(member) = self.services.get(n) else { continue };
                if !member.removed && member.is_meant_to_run() && !services.contains(&member.id) {
                    services.push(member.id);
                }
            }
        }
    }

    fn wait_for(
        &mut self,
        now: MonoTime,
        ticket: Ticket,
        services: Vec<(ServiceId, Generation)>,
        hope: Hope,
        deadline: Option<MonoTime>,
    ) {
        self.waiters.push(Waiter { ticket, services, hope, asked_at: now, deadline });
    }

    /// Who of these may not start because of another that is up.
    fn conflict(&self, services: &[ServiceId]) -> Option<(ServiceId, String)> {
        services.iter().find_map(|id| {
            let node = self.graph.node(at(*id))?;
            let up = |m: &&usize| self.services.get(**m).is_some_and(|o| o.goal == Goal::Up && !o.state.is_terminal());
            let other = self.services.get(*node.conflicts.iter().find(up)?)?;
            Some((*id, other.spec.name.clone()))
        })
    }

    /// Up by hand, with all that it needs: also what was stopped by hand before, or has failed.
    fn want_up_by_hand(&mut self, n: usize, now: MonoTime, out: &mut Actions) {
        self.with(n, now, out, |s, cx| {
            (s.asked, s.by_hand, s.wanted) = (Some(Goal::Up), true, true);
            s.take_back_a_stop();
            s.want_up(cx);
        });
        let mut seen = vec![false; self.services.len()];
        let mut todo = vec![n];
        while let Some(m) = todo.pop() {
            if seen.get_mut(m).is_none_or(|s| std::mem::replace(s, true)) {
                continue;
            }
            let needs: Vec<usize> =
                self.graph.node(m).into_iter().flat_map(|node| node.hard.iter().map(|h| h.on)).collect();
            for on in needs {
                let Some(s) = self.services.get(on) else { continue };
                if s.spec.place.autostart == Autostart::Ignore {
                    // By hand alone: it is not started, and so needs nothing. One that is up has what it needs.
                    continue;
                }
                if s.asked == Some(Goal::Down) || matches!(s.state, State::Failed) {
                    self.with(on, now, out, |s, cx| {
                        (s.asked, s.by_hand) = (None, false);
                        s.take_back_a_stop();
                        if s.spec.place.autostart == Autostart::Yes {
                            s.asked = Some(Goal::Up);
                        }
                        s.wanted = true;
                        s.want_up(cx);
                    });
                }
                todo.push(on);
            }
        }
    }

    pub(super) fn answer_waiters(&mut self, now: MonoTime, out: &mut Actions, last_chance: bool) {
        let services = &self.services;
        self.waiters.retain(|w| {
            let Some(reply) = reply_for(w, services, now, last_chance) else { return true };
            out.push(Action::Answer { ticket: w.ticket, reply });
            false
        });
    }
}

fn pick<'a>(all: &'a mut [Service], ids: &'a [ServiceId]) -> impl Iterator<Item = &'a mut Service> {
    all.iter_mut().filter(move |s| ids.contains(&s.id))
}

fn note(service: &Service, cx: &mut Cx<'_>, what: What) {
    let run = service.run.as_ref();
    cx.out.push(Action::Tell(Notice {
        service: Some(service.id),
        generation: run.map(|r| r.generation),
        pid: run.filter(|r| r.alive).and_then(|r| r.pid),
        cause: Some(Cause::Requested),
        what,
    }));
}

/// `stop-requested` is told only where there is something to stop.
pub(super) fn announce(service: &Service, cx: &mut Cx<'_>, by: By) {
    if !service.state.is_terminal() || service.goal == Goal::Up {
        note(service, cx, What::StopRequested { by });
    }
}

impl Service {
    /// Whether it can be told something.
    pub fn hears(&self) -> bool {
        self.run.as_ref().is_some_and(|r| r.alive && r.talk.hears.is_some())
    }

    /// Whether it can be told to read its own configuration again.
    pub fn can_be_told_to_reload(&self) -> bool {
        self.living().is_some() && (self.spec.reload_signal.is_some() || self.hears())
    }
}

/// The first of these of which that is not true.
fn lacking(all: &[Service], ids: &[ServiceId], able: impl Fn(&Service) -> bool) -> Option<ServiceId> {
    ids.iter().find(|id| !all.get(id.0 as usize).is_some_and(&able)).copied()
}

fn refuse(out: &mut Actions, ticket: Ticket, service: Option<ServiceId>, reason: &str) {
    out.push(Action::Answer { ticket, reply: Reply::Refused { service, reason: reason.into() } });
}

/// The answer, if it is due: yes, or no for good, or out of time.
fn reply_for(w: &Waiter, services: &[Service], now: MonoTime, last_chance: bool) -> Option<Reply> {
    let late = last_chance || w.deadline.is_some_and(|at| at <= now);
    if let Hope::Want(want) = w.hope {
        return waited_for(w, want, services, now, late);
    }
    for (id, before) in &w.services {
        let service = services.get(id.0 as usize)?;
        match outlook(service, w.hope, *before) {
            Outlook::Yes => {}
            Outlook::NotYet if late => {
                return Some(Reply::NotSo { service: *id, reason: "the watchdog is ending".into() });
            }
            Outlook::NotYet => return None,
            Outlook::No { reason, stuck: true } => return Some(Reply::TimedOut { service: *id, reason }),
            Outlook::No { reason, stuck: false } => return Some(Reply::NotSo { service: *id, reason }),
        }
    }
    Some(Reply::Done { services: w.services.iter().map(|(id, _)| *id).collect() })
}

/// The end of a `wait`: all are so, or one of them never will be, or the time is over.
fn waited_for(w: &Waiter, want: Want, services: &[Service], now: MonoTime, late: bool) -> Option<Reply> {
    let waited = now.since(w.asked_at);
    let mut open = None;
    for (id, before) in &w.services {
        match outlook(services.get(id.0 as usize)?, w.hope, *before) {
            Outlook::Yes => {}
            Outlook::NotYet => open = open.or(Some(*id)),
            Outlook::No { reason, .. } => {
                let reason = Some(reason);
                return Some(Reply::Waited { service: *id, want, reached: false, waited, reason });
            }
        }
    }
    match (open, w.services.first()) {
        (Some(service), _) => {
            let reason = services.get(service.0 as usize).map(|s| s.why(now));
            late.then_some(Reply::Waited { service, want, reached: false, waited, reason })
        }
        (None, Some((service, _))) => {
            Some(Reply::Waited { service: *service, want, reached: true, waited, reason: None })
        }
        (None, None) => Some(Reply::Done { services: Vec::new() }),
    }
}

impl Service {
    /// By its settings it comes to no good end of its own.
    fn never_completes(&self) -> bool {
        let again = matches!(self.spec.restart.policy, Policy::Always | Policy::UnlessStopped);
        again || !self.spec.kind.has_process()
    }
}

/// Whether a hope is fulfilled, open, or lost.
fn outlook(s: &Service, hope: Hope, before: Generation) -> Outlook {
    let lost = |stuck| Outlook::No { reason: s.reason.clone(), stuck };
    match (hope, s.state) {
        (Hope::Up, State::Running { .. } | State::Done) => Outlook::Yes,
        (Hope::Anew, State::Running { .. } | State::Done) if s.last > before => Outlook::Yes,
        (Hope::Anew, State::Running { .. }) if s.held.is_some() => Outlook::NotYet,
        (Hope::Anew, State::Running { .. }) => {
            Outlook::No { reason: "the restart was taken back by other requests".into(), stuck: false }
        }
        (Hope::Up | Hope::Anew, State::Failed | State::Done) => lost(false),
        (Hope::Up | Hope::Anew, State::Waiting) if s.hopeless => lost(false),
        (Hope::Up | Hope::Anew, State::Stopped) if s.goal == Goal::Down => lost(false),
        (Hope::Up | Hope::Anew | Hope::Down, State::Stuck { .. }) => lost(true),
        (Hope::Down | Hope::Want(Want::Stopped), State::Stopped | State::Done | State::Failed) => Outlook::Yes,
        (Hope::Down, State::Starting { .. } | State::Running { .. } | State::Waiting) if s.goal == Goal::Up => {
            Outlook::No { reason: "it was started again by another request".into(), stuck: false }
        }
        (Hope::Want(Want::Ready), State::Running { .. } | State::Done) if s.is_ready() => Outlook::Yes,
        (Hope::Want(Want::Completed), State::Done) => Outlook::Yes,
        (Hope::Want(Want::Ready | Want::Completed), State::Failed) | (Hope::Want(Want::Ready), State::Done) => {
            lost(false)
        }
        (Hope::Want(Want::Ready | Want::Completed), State::Stuck { .. }) => lost(true),
        (Hope::Want(Want::Ready | Want::Completed), State::Stopped) if s.goal == Goal::Down || s.is_lost() => {
            lost(false)
        }
        (Hope::Want(Want::Ready | Want::Completed), State::Waiting) if s.hopeless => lost(false),
        (Hope::Want(Want::Completed), _) if s.never_completes() => {
            let policy = policy_word(s.spec.restart.policy);
            let why = match s.spec.kind.has_process() {
                true => format!("it is started again whatever its end (restart = {policy})"),
                false => "it has no process that could end".into(),
            };
            Outlook::No { reason: why, stuck: false }
        }
        (
            Hope::Up | Hope::Anew | Hope::Down | Hope::Want(_),
            State::Stopped
            | State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Stuck { .. },
        ) => Outlook::NotYet,
    }
}
