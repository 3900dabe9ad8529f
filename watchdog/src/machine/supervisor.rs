//! All services of one watchdog: routes events, keeps the waiting clients, and decides when the watchdog itself ends.

use super::news::Word;
use super::service::{Cx, Dice, INT, Ladder, Service, TERM};
use super::state::{Goal, State};
use super::time::{MonoTime, Timer};
use super::words::*;
use crate::spec::{Scope, SignalNumber, Spec};
use serde::Serialize;
use std::time::Duration;

/// What the terminal sends to the whole group, and so to the worker as well.
const KEYS: [SignalNumber; 6] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH, libc::SIGTTIN, libc::SIGTTOU];
/// Requests that may wait at the same time; more are refused.
const MAX_WAITERS: usize = 256;

/// What the machine has to know of its surroundings.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Setup {
    /// Prefix form: the end of the one service is the end of the watchdog.
    pub prefix: bool,
    /// The workers share our process group (a terminal on stdin): its keys reach them without us.
    pub shared_group: bool,
    /// We are PID 1: when we leave, the kernel kills what is left.
    pub init: bool,
    /// Seed of the jitter.
    pub seed: u64,
}

/// A client that waits for its answer.
#[derive(Clone, Debug, Serialize)]
struct Waiter {
    ticket: Ticket,
    /// Whom, and the last generation each of them had when the client asked.
    services: Vec<(ServiceId, Generation)>,
    hope: Hope,
    asked_at: MonoTime,
    deadline: Option<MonoTime>,
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

/// The end of the watchdog, once it has begun.
#[derive(Clone, Debug, Serialize)]
struct Ending {
    by: By,
    terms: u32,
    ints: u32,
    /// The status that was decided already (`give_up`), else the worker's own.
    status: Option<u8>,
}

/// N services and the clients that wait for them.
#[derive(Clone, Debug, Serialize)]
pub struct Supervisor {
    services: Vec<Service>,
    waiters: Vec<Waiter>,
    ending: Option<Ending>,
    /// As PID 1: leaving with this status, at the latest then.
    farewell: Option<(u8, MonoTime)>,
    over: bool,
    setup: Setup,
    dice: Dice,
}

impl Supervisor {
    /// Services that want to be up; nothing happens before [`Supervisor::begin`].
    pub fn new(specs: Vec<Spec>, setup: Setup) -> Supervisor {
        let services = specs.into_iter().enumerate().map(|(n, spec)| Service::new(ServiceId(n as u32), spec)).collect();
        Supervisor {
            services,
            waiters: Vec::new(),
            ending: None,
            farewell: None,
            over: false,
            setup,
            dice: Dice(setup.seed),
        }
    }

    /// Start what wants to be up.
    pub fn begin(&mut self, now: MonoTime, out: &mut Actions) {
        let mut cx = Cx { now, out, dice: &mut self.dice };
        for service in &mut self.services {
            service.want_up(&mut cx);
            service.cause = None;
        }
    }

    /// The services, to look at.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Whether the end has begun.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some() || self.farewell.is_some()
    }

    /// Whether somebody asked for the end (as opposed to the worker having come to its own).
    pub fn end_was_asked_for(&self) -> bool {
        self.ending.as_ref().is_some_and(|e| e.by.kind != ByKind::Policy)
    }

    /// One event. Total: every pair of state and event has an answer.
    pub fn handle(&mut self, now: MonoTime, event: Event, out: &mut Actions) {
        if self.over {
            return;
        }
        let dice = &mut self.dice;
        match event {
            Event::Spawned { service, generation, pid } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_spawned(&mut Cx { now, out, dice }, generation, pid);
                }
            }
            Event::SpawnFailed { service, generation, failure } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_spawn_failed(&mut Cx { now, out, dice }, generation, failure);
                }
            }
            Event::Exited { service, generation, exit, seen_alive, left } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_exited(&mut Cx { now, out, dice }, generation, exit, seen_alive, left);
                }
            }
            Event::Tree { service, generation, left } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_tree(&mut Cx { now, out, dice }, generation, left);
                }
            }
            Event::News { service, generation, dialect, news } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_news(&mut Cx { now, out, dice }, generation, dialect, news);
                }
            }
            Event::SeenReady { service, generation, by } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_seen_ready(&mut Cx { now, out, dice }, generation, by);
                }
            }
            Event::ChannelLost { service, generation, dialect, fault } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_channel_lost(&mut Cx { now, out, dice }, generation, dialect, fault);
                }
            }
            Event::Evidence { service, generation, evidence } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_evidence(&mut Cx { now, out, dice }, generation, evidence);
                }
            }
            Event::Sampled { service, generation, sample } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_sampled(&mut Cx { now, out, dice }, generation, sample);
                }
            }
            Event::Probed { .. } | Event::FileSeen { .. } => {}
            Event::GiveUpRan { service } => {
                if let Some(s) = self.services.get_mut(service.0 as usize) {
                    s.on_give_up_ran();
                }
            }
            Event::Asked { ticket, by, request } => self.on_asked(now, ticket, by, request, out),
            Event::ClientGone { ticket } => self.waiters.retain(|w| w.ticket != ticket),
            Event::Signalled { signal, origin } => self.on_signalled(now, signal, origin, out),
            Event::Alone => {
                if let Some((status, _)) = self.farewell.take() {
                    self.exit(now, status, out);
                }
            }
        }
        self.settle(now, out);
    }

    /// Fires all that is due.
    pub fn handle_timeout(&mut self, now: MonoTime, out: &mut Actions) {
        if self.over {
            return;
        }
        for service in &mut self.services {
            // A timer that sets another one for "now" is fired in the next call, so that this loop ends.
            for _ in Timer::ALL {
                let Some((timer, late)) = service.timers.take_due(now) else { break };
                service.on_timer(&mut Cx { now, out, dice: &mut self.dice }, timer, late);
            }
        }
        if let Some((status, _)) = self.farewell.filter(|(_, at)| *at <= now) {
            self.exit(now, status, out);
        }
        self.settle(now, out);
    }

    /// When to call [`Supervisor::handle_timeout`]; `None`: not before an event.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        let timers = self.services.iter().filter_map(|s| s.timers.next());
        let waiters = self.waiters.iter().filter_map(|w| w.deadline);
        timers.chain(waiters).chain(self.farewell.map(|(_, at)| at)).min()
    }

    // --- signals to the watchdog ---

    fn on_signalled(&mut self, now: MonoTime, received: SignalNumber, origin: Origin, out: &mut Actions) {
        let key = origin == Origin::Kernel && self.setup.shared_group;
        if key && KEYS.contains(&received) {
            return self.on_key(now, received, out);
        }
        let rewrites = self.services.first().map(|s| s.spec.rewrite_signal.clone()).unwrap_or_default();
        let signal = rewrites.iter().find(|(from, _)| *from == received).map_or(received, |(_, to)| *to);
        if signal == 0 {
            return;
        }
        let (pid, uid) = match origin {
            Origin::Process { pid, uid } => (Some(pid), Some(uid)),
            Origin::Kernel => (None, None),
        };
        let by = By { kind: ByKind::Signal, signal: Some(signal), pid, uid };
        if signal == TERM || signal == INT {
            return self.end(now, by, signal, out);
        }
        let asks_for_end = received == TERM || received == INT;
        if asks_for_end && self.services.iter().all(|s| s.living().is_none()) {
            // Rewritten, but there is no worker to end itself its own way.
            return self.end(now, By { signal: Some(received), ..by }, received, out);
        }
        let mut cx = Cx { now, out, dice: &mut self.dice };
        for service in &mut self.services {
            service.forward(&mut cx, signal);
            if asks_for_end {
                // Rewritten: the worker ends itself its own way, and that is no failure.
                service.on_key(now);
            }
        }
        if signal == libc::SIGTSTP && origin == Origin::Kernel {
            out.push(Action::Suspend);
        }
    }

    /// The terminal's keys reached the worker already.
    fn on_key(&mut self, now: MonoTime, signal: SignalNumber, out: &mut Actions) {
        match signal {
            // TTIN and TTOU: the worker read or wrote from the background. The shell must see all of us stopped, or its
            // `fg` would continue nobody.
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => out.push(Action::Suspend),
            libc::SIGINT | libc::SIGQUIT => {
                if self.services.iter().all(|s| s.living().is_none()) {
                    // Nobody else is there to take it: ^C during a back-off ends us.
                    let by = By { kind: ByKind::Signal, signal: Some(signal), pid: None, uid: None };
                    return self.end(now, by, INT, out);
                }
                for service in &mut self.services {
                    service.on_key(now);
                }
            }
            _ => {}
        }
    }

    /// TERM or INT, however it came: begin the end, or go on with it.
    fn end(&mut self, now: MonoTime, by: By, signal: SignalNumber, out: &mut Actions) {
        let ending = self.ending.get_or_insert(Ending { by, terms: 0, ints: 0, status: None });
        let first = ending.terms == 0 && ending.ints == 0;
        let int = signal == INT;
        let count = if int { &mut ending.ints } else { &mut ending.terms };
        *count = count.saturating_add(1);
        let again = *count > 1;
        if let Some((status, _)) = self.farewell.take_if(|_| again && int) {
            return self.exit(now, status, out);
        }
        let mut cx = Cx { now, out, dice: &mut self.dice };
        for service in &mut self.services {
            let signal = if int { INT } else { service.stop_signal() };
            let grace = service.spec.stop.shutdown_timeout;
            if first {
                let was_stopping = matches!(service.state, State::Stopping { .. });
                announce(service, &mut cx, by);
                service.want_down(&mut cx, Ladder { signal, grace }, "the watchdog was asked to end");
                if was_stopping && int {
                    service.forward(&mut cx, INT);
                }
            } else if again && int {
                // A second INT skips the grace.
                service.want_down(&mut cx, Ladder { signal, grace: Duration::ZERO }, "interrupted twice");
            } else if !again && matches!(service.state, State::Stopping { .. }) {
                // The first TERM after an INT, or the first INT after a TERM; the clock goes on.
                service.forward(&mut cx, signal);
            } else if !again && matches!(service.state, State::Starting { .. }) {
                service.want_down(&mut cx, Ladder { signal, grace }, "the watchdog was asked to end");
            }
        }
    }

    // --- wishes of clients ---

    fn on_asked(&mut self, now: MonoTime, ticket: Ticket, by: By, request: Request, out: &mut Actions) {
        if self.is_ending() && !matches!(request, Request::Wait { .. } | Request::Shutdown | Request::Stop { .. }) {
            return refuse(out, ticket, ServiceId(0), "the watchdog is stopping");
        }
        let (asked, waits) = match &request {
            Request::Start { services } | Request::Stop { services, .. } | Request::Restart { services, .. } => {
                (services.as_slice(), true)
            }
            Request::Signal { services, .. } | Request::Reload { services } | Request::Tell { services, .. } => {
                (services.as_slice(), false)
            }
            Request::Shutdown => (&[][..], false),
            Request::Wait { service, .. } => (std::slice::from_ref(service), true),
        };
        if let Some(id) = asked.iter().find(|id| self.services.get(id.0 as usize).is_none()) {
            return refuse(out, ticket, *id, "no such service");
        }
        if waits && self.waiters.len() >= MAX_WAITERS {
            return refuse(out, ticket, ServiceId(0), "too many clients are waiting");
        }
        let before: Vec<_> = asked.iter().map(|id| (*id, self.services[id.0 as usize].last)).collect();
        let mut cx = Cx { now, out, dice: &mut self.dice };
        match request {
            Request::Start { services } => {
                for s in pick(&mut self.services, &services) {
                    note(s, &mut cx, What::StartRequested { by });
                    s.want_up(&mut cx);
                }
                self.wait_for(now, ticket, before, Hope::Up, None);
            }
            Request::Restart { services, force } => {
                for s in pick(&mut self.services, &services) {
                    note(s, &mut cx, What::RestartRequested { by });
                    s.want_anew(&mut cx, force);
                }
                self.wait_for(now, ticket, before, Hope::Anew, None);
            }
            Request::Stop { services, timeout } => {
                for s in pick(&mut self.services, &services) {
                    announce(s, &mut cx, by);
                    let ladder = s.ladder(timeout);
                    s.want_down(&mut cx, ladder, "stop asked for");
                }
                self.wait_for(now, ticket, before, Hope::Down, None);
            }
            Request::Signal { services, signal } => {
                let dead =
                    services.iter().find(|id| self.services.get(id.0 as usize).is_none_or(|s| s.living().is_none()));
                if let Some(id) = dead {
                    return refuse(out, ticket, *id, "it has no process to signal");
                }
                for s in pick(&mut self.services, &services) {
                    note(s, &mut cx, What::SignalRequested { by, signal });
                    s.forward(&mut cx, signal);
                }
                out.push(Action::Answer { ticket, reply: Reply::Done { services } });
            }
            Request::Reload { services } => {
                let able = |s: &Service| s.living().is_some() && (s.spec.reload_signal.is_some() || hears(s));
                if let Some(id) = lacking(&self.services, &services, able) {
                    let why = "it cannot be told: it is not up, or it has neither a reload_signal nor a channel";
                    return refuse(out, ticket, id, why);
                }
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
                if let Some(id) = lacking(&self.services, &services, hears) {
                    return refuse(out, ticket, id, "it cannot be told: it is not up, or it has no channel that hears");
                }
                for s in pick(&mut self.services, &services) {
                    s.tell_worker(&mut cx, Word::Tell(word.clone()));
                }
                out.push(Action::Answer { ticket, reply: Reply::Done { services } });
            }
            Request::Shutdown => {
                out.push(Action::Answer { ticket, reply: Reply::Done { services: Vec::new() } });
                self.end(now, by, TERM, out);
            }
            Request::Wait { want, timeout, .. } => {
                self.wait_for(now, ticket, before, Hope::Want(want), timeout.map(|d| now.after(d)));
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

    // --- after every event ---

    fn settle(&mut self, now: MonoTime, out: &mut Actions) {
        self.answer_waiters(now, out, false);
        if self.over || self.farewell.is_some() {
            return;
        }
        if self.ending.is_none() && self.setup.prefix {
            let left = self.services.iter().find(|s| s.leave && s.state.is_terminal());
            if let Some(service) = left {
                let status = service.status.unwrap_or(125);
                let by = By { kind: ByKind::Policy, signal: None, pid: None, uid: None };
                self.ending = Some(Ending { by, terms: 0, ints: 0, status: Some(status) });
            }
        }
        let Some(ending) = &self.ending else { return };
        let all_down = self
            .services
            .iter()
            .all(|s| (s.state.is_terminal() && s.timers.next().is_none()) || matches!(s.state, State::Stuck { .. }));
        if !all_down {
            return;
        }
        let stuck = self.services.iter().any(|s| matches!(s.state, State::Stuck { .. }));
        let own = self.services.iter().find_map(|s| s.status);
        let never_ran = ending.by.signal.map_or(0, |s| u8::try_from(128 + s).unwrap_or(125));
        let status = match (stuck, ending.status) {
            (true, _) => 125,
            (false, Some(decided)) => decided,
            (false, None) => own.unwrap_or(never_ran),
        };
        if self.setup.init && !stuck {
            let grace = self.services.iter().map(|s| s.spec.stop.shutdown_timeout).max().unwrap_or_default();
            self.farewell = Some((status, now.after(grace)));
            out.push(Action::Farewell { signal: TERM });
        } else {
            self.exit(now, status, out);
        }
    }

    fn exit(&mut self, now: MonoTime, status: u8, out: &mut Actions) {
        self.answer_waiters(now, out, true);
        self.over = true;
        out.push(Action::Exit(status));
    }

    fn answer_waiters(&mut self, now: MonoTime, out: &mut Actions, last_chance: bool) {
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
fn announce(service: &Service, cx: &mut Cx<'_>, by: By) {
    if !service.state.is_terminal() || service.goal == Goal::Up {
        note(service, cx, What::StopRequested { by });
    }
}

/// Whether it can be told something.
fn hears(s: &Service) -> bool {
    s.run.as_ref().is_some_and(|r| r.alive && r.talk.hears.is_some())
}

/// The first of these of which that is not true.
fn lacking(all: &[Service], ids: &[ServiceId], able: impl Fn(&Service) -> bool) -> Option<ServiceId> {
    ids.iter().find(|id| !all.get(id.0 as usize).is_some_and(&able)).copied()
}

fn refuse(out: &mut Actions, ticket: Ticket, service: ServiceId, reason: &str) {
    out.push(Action::Answer { ticket, reply: Reply::Refused { service, reason: reason.into() } });
}

/// The answer, if it is due: yes, or no for good, or out of time.
fn reply_for(w: &Waiter, services: &[Service], now: MonoTime, last_chance: bool) -> Option<Reply> {
    let late = last_chance || w.deadline.is_some_and(|at| at <= now);
    let waited = now.since(w.asked_at);
    for (id, before) in &w.services {
        let service = services.get(id.0 as usize)?;
        let outlook = outlook(service, w.hope, *before);
        if let Hope::Want(want) = w.hope {
            let reached = matches!(outlook, Outlook::Yes);
            let over = reached || late || matches!(outlook, Outlook::No { .. });
            return over.then_some(Reply::Waited { service: *id, want, reached, waited });
        }
        match outlook {
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

/// Whether a hope is fulfilled, open, or lost.
fn outlook(s: &Service, hope: Hope, before: Generation) -> Outlook {
    let lost = |stuck| Outlook::No { reason: s.reason.clone(), stuck };
    match (hope, s.state) {
        (Hope::Up, State::Running { .. } | State::Done) => Outlook::Yes,
        (Hope::Anew, State::Running { .. } | State::Done) if s.last > before => Outlook::Yes,
        (Hope::Anew, State::Running { .. }) => {
            Outlook::No { reason: "the restart was taken back by other requests".into(), stuck: false }
        }
        (Hope::Up | Hope::Anew, State::Failed | State::Done) => lost(false),
        (Hope::Up | Hope::Anew, State::Stopped) if s.goal == Goal::Down => lost(false),
        (Hope::Up | Hope::Anew | Hope::Down, State::Stuck { .. }) => lost(true),
        (Hope::Down | Hope::Want(Want::Stopped), State::Stopped | State::Done | State::Failed) => Outlook::Yes,
        (Hope::Down, State::Starting { .. } | State::Running { .. }) if s.goal == Goal::Up => {
            Outlook::No { reason: "it was started again by another request".into(), stuck: false }
        }
        (Hope::Want(Want::Ready), State::Running { .. } | State::Done) => Outlook::Yes,
        (Hope::Want(Want::Completed), State::Done) => Outlook::Yes,
        (Hope::Want(Want::Ready | Want::Completed), State::Failed) => lost(false),
        (
            Hope::Up | Hope::Anew | Hope::Down | Hope::Want(_),
            State::Stopped
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Stuck { .. },
        ) => Outlook::NotYet,
    }
}
