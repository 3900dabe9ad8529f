//! All services of one watchdog: routes events, keeps the waiting clients, and decides when the watchdog itself ends.

use super::clients::Waiter;
use super::dues::Dues;
use super::ending::Ending;
use super::graph::Graph;
use super::names::Names;
use super::service::{Dice, Service};
use super::tally::Tally;
use super::time::{MonoTime, Timer};
use super::todo::Todo;
use super::words::*;
use crate::spec::{Autostart, Spec, Strategy};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// What the machine has to know of its surroundings.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Setup {
    /// Prefix form: the end of the one service is the end of the watchdog.
    pub prefix: bool,
    /// `up`: it ends when all is done, or by a failure that is the end of all; signals are for itself. Neither: as a
    /// library it ends when it is asked to.
    pub up: bool,
    /// The workers share our process group (a terminal on stdin): its keys reach them without us.
    pub shared_group: bool,
    /// There is a terminal on stdin, and the worker is in a session of its own, because it is of another user: the keys
    /// reach us alone and are passed on.
    pub apart: bool,
    /// We are PID 1: when we leave, the kernel kills what is left.
    pub init: bool,
    /// Seed of the jitter.
    pub seed: u64,
    /// What the failure of one service means for the others.
    pub strategy: Strategy,
    /// The end has come as soon as all that is wanted is ready, at the latest after this time.
    pub until_ready: Option<Duration>,
}

/// N services and the clients that wait for them.
#[derive(Clone, Debug, Serialize)]
pub struct Supervisor {
    pub(super) services: Vec<Service>,
    /// Who depends on whom.
    pub(super) graph: Graph,
    pub(super) strategy: Strategy,
    /// The earliest timer of each service: the loop asks for the first of all in each turn.
    pub(super) dues: Dues,
    /// Who is to be looked at, let go or started before this call is over.
    pub(super) todo: Todo,
    /// How many are where.
    pub(super) tally: Tally,
    /// Services by name.
    pub(super) names: Names,
    /// Counts up whenever services may have come to other places.
    pub(super) layout: u64,
    /// Those of whose trees something is being ended, their main process being gone.
    pub(super) swept: BTreeSet<usize>,
    /// Until when all has to be ready.
    pub(super) until_ready: Option<MonoTime>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) ending: Option<Ending>,
    /// What was not ready when that was the reason of the end, with its reason.
    pub not_ready: Vec<(ServiceId, String)>,
    /// As PID 1: leaving with this status, at the latest then.
    pub(super) farewell: Option<(u8, MonoTime)>,
    pub(super) over: bool,
    pub(super) setup: Setup,
    pub(super) dice: Dice,
}

impl Supervisor {
    /// Services that want to be up; nothing happens before [`Supervisor::begin`].
    pub fn new<S: Into<Box<Spec>>>(specs: impl IntoIterator<Item = S>, setup: Setup) -> Supervisor {
        let services = specs.into_iter().enumerate().map(|(n, spec)| Service::new(ServiceId(n as u32), spec)).collect();
        let mut supervisor = Supervisor {
            services,
            graph: Graph::default(),
            strategy: setup.strategy,
            dues: Dues::default(),
            swept: BTreeSet::new(),
            todo: Todo::default(),
            tally: Tally::default(),
            names: Names::default(),
            layout: 0,
            until_ready: setup.until_ready.map(|d| MonoTime::ZERO.after(d)),
            waiters: Vec::new(),
            ending: None,
            not_ready: Vec::new(),
            farewell: None,
            over: false,
            setup,
            dice: Dice(setup.seed),
        };
        supervisor.link();
        supervisor
    }

    /// Resolves the names anew.
    pub(super) fn link(&mut self) {
        self.graph = Graph::new(self.services.iter().map(|s| s.next.as_deref().unwrap_or(&s.spec)));
        self.dues.resize(self.services.len());
        self.layout = self.layout.wrapping_add(1);
        self.names = Names::of(&self.services);
        self.tally = Tally::of(self.services.iter());
        for (s, node) in self.services.iter_mut().zip(&self.graph.nodes) {
            // Also one that only others need: whether they do is known when all have been looked at.
            let for_others = s.spec.place.autostart == Autostart::No;
            s.gated = for_others
                || s.spec.place.waits()
                || !node.conflicts.is_empty()
                || self.strategy != Strategy::OneForOne;
            s.leads = !node.required_by.is_empty() || !node.followed_by.is_empty();
        }
    }

    /// One more or one less replica gives others another name (`web`, `web@0`): whoever comes under a new one has to wait
    /// until the old ones of the same table are gone, which may hold its port.
    pub(super) fn mind_predecessors(&mut self) {
        let leaving: Vec<usize> = (0..self.services.len())
            .filter(|n| self.services[*n].removed && !self.services[*n].state.is_terminal())
            .collect();
        for old in leaving {
            let base = &self.services[old].spec.base;
            let heir = |n: &usize| !self.services[*n].removed && self.services[*n].spec.base == *base;
            let heirs: Vec<usize> = (0..self.services.len()).filter(heir).filter(|_| !base.is_empty()).collect();
            for n in heirs {
                self.graph.part(n, old);
                self.services[n].gated = true;
            }
        }
    }

    /// Start what wants to be up.
    pub fn begin(&mut self, now: MonoTime, out: &mut Actions) {
        for n in 0..self.services.len() {
            self.with(n, now, out, |s, cx| s.first_wish(cx));
        }
        self.settle(now, out);
    }

    /// The services, to look at.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The services of this name: one, or all replicas; also what is not in the file any more.
    pub fn named(&self, name: &str) -> Vec<ServiceId> {
        let is = |s: &Service| s.spec.name == name || (s.spec.replica.is_some() && s.spec.base == name);
        let like = self.names.like(&self.services, name).filter_map(|id| self.services.get(at(id)));
        let found: Vec<ServiceId> = like.filter(|s| is(s)).map(|s| s.id).collect();
        match found.is_empty() {
            false => found,
            // A host program may have named them in its own way.
            true => self.services.iter().filter(|s| is(s)).map(|s| s.id).collect(),
        }
    }

    /// Another number whenever services may have come to other places.
    pub fn layout(&self) -> u64 {
        self.layout
    }

    /// Those of whose trees something is being ended, each with the generation that has left it.
    pub fn swept(&self) -> Vec<(ServiceId, Generation)> {
        let all = self.swept.iter().filter_map(|n| self.services.get(*n));
        all.filter_map(|s| Some((s.id, s.swept()?))).collect()
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
        match event {
            Event::Spawned { service, generation, pid } => {
                self.with(at(service), now, out, |s, cx| s.on_spawned(cx, generation, pid));
            }
            Event::SpawnFailed { service, generation, failure } => {
                self.with(at(service), now, out, |s, cx| s.on_spawn_failed(cx, generation, failure));
            }
            Event::Exited { service, generation, exit, seen_alive, left } => {
                self.with(at(service), now, out, |s, cx| s.on_exited(cx, generation, exit, seen_alive, left));
            }
            Event::Tree { service, generation, left } => {
                self.with(at(service), now, out, |s, cx| s.on_tree(cx, generation, left));
            }
            Event::News { service, generation, dialect, news } => {
                self.with(at(service), now, out, |s, cx| s.on_news(cx, generation, dialect, news));
            }
            Event::HandedOver { service, generation, pid, told } => {
                self.with(at(service), now, out, |s, cx| s.on_handed_over(cx, generation, pid, told));
            }
            Event::Foreign { service, generation, count } => {
                self.with(at(service), now, out, |s, cx| s.on_foreign(cx, generation, count));
            }
            Event::SeenReady { service, generation, by } => {
                self.with(at(service), now, out, |s, cx| s.on_seen_ready(cx, generation, by));
            }
            Event::ChannelLost { service, generation, dialect, fault } => {
                self.with(at(service), now, out, |s, cx| s.on_channel_lost(cx, generation, dialect, fault));
            }
            Event::Evidence { service, generation, evidence } => {
                self.with(at(service), now, out, |s, cx| s.on_evidence(cx, generation, evidence));
            }
            Event::Sampled { service, generation, sample } => {
                self.with(at(service), now, out, |s, cx| s.on_sampled(cx, generation, sample));
            }
            Event::Probed { service, generation, probe, answer } => {
                self.with(at(service), now, out, |s, cx| s.on_probed(cx, generation, probe, answer));
            }
            Event::FileSeen { service, there } => {
                self.with(at(service), now, out, |s, cx| s.on_file_seen(cx, there));
            }
            Event::GiveUpRan { service } => {
                self.with(at(service), now, out, |s, _| s.on_give_up_ran());
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
        let mut from = 0;
        while let Some(n) = self.dues.due_from(from, now) {
            from = n + 1;
            self.with(n, now, out, |s, cx| {
                // A timer that sets another one for "now" is fired in the next call, so that this loop ends.
                for _ in Timer::ALL {
                    let Some((timer, late)) = s.timers.take_due(now) else { break };
                    s.on_timer(cx, timer, late);
                }
            });
        }
        if let Some((status, _)) = self.farewell.filter(|(_, at)| *at <= now) {
            self.exit(now, status, out);
        }
        self.settle(now, out);
    }

    /// When to call [`Supervisor::handle_timeout`]; `None`: not before an event.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        let waiters = self.waiters.iter().filter_map(|w| w.deadline);
        let own = self.farewell.map(|(_, at)| at).into_iter().chain(self.until_ready.filter(|_| self.ending.is_none()));
        self.dues.next().into_iter().chain(waiters).chain(own).min()
    }
}

pub(super) fn at(id: ServiceId) -> usize {
    id.0 as usize
}
