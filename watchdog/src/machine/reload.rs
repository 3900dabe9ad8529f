//! New settings while everything runs: only what differs is touched.

use super::service::{Cx, Service};
use super::state::{Goal, State};
use super::supervisor::Supervisor;
use super::time::{MonoTime, Timer};
use super::waiting::{Ever, Held, Leave};
use super::words::*;
use crate::spec::{Autostart, Spec};
use std::collections::BTreeMap;

/// What new settings have led to, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Not there before.
    pub added: Vec<String>,
    /// Not there any more: being stopped.
    pub removed: Vec<String>,
    /// Other settings than before.
    pub changed: Vec<String>,
    /// Of those: started again for it.
    pub restarted: Vec<String>,
    /// Of those: what needs a restart comes with the next one.
    pub deferred: Vec<String>,
}

/// Whether a running process has to be replaced for it.
fn needs_a_restart(old: &Spec, new: &Spec) -> bool {
    old.command != new.command
        || old.launch != new.launch
        || old.kind != new.kind
        || old.replica != new.replica
        || old.log.mode != new.log.mode
        || old.dialects != new.dialects
}

/// The new settings as far as they hold for a process that was started by the old ones.
fn live_part(old: &Spec, new: &Spec) -> Spec {
    let mut live = new.clone();
    live.command.clone_from(&old.command);
    live.launch.clone_from(&old.launch);
    if live.log.mode != old.log.mode {
        live.log.mode = old.log.mode;
    }
    live.dialects.clone_from(&old.dialects);
    (live.kind, live.replica) = (old.kind, old.replica);
    if old.kind != new.kind {
        // How it is ready is part of what it is.
        live.probes.clone_from(&old.probes);
        live.ready.clone_from(&old.ready);
    }
    live
}

impl Supervisor {
    /// Replaces all settings. `restart`: services whose process has to be replaced for it are started again at once.
    pub fn apply<S: Into<Box<Spec>>>(
        &mut self,
        now: MonoTime,
        specs: impl IntoIterator<Item = S>,
        restart: bool,
        out: &mut Actions,
    ) -> Applied {
        let specs: Vec<Box<Spec>> = specs.into_iter().map(Into::into).collect();
        let mut done = Applied::default();
        if self.is_ending() {
            return done;
        }
        let known: BTreeMap<String, usize> =
            self.services.iter().enumerate().map(|(n, s)| (s.spec.name.clone(), n)).collect();
        let names: std::collections::BTreeSet<&str> = specs.iter().map(|s| s.name.as_str()).collect();
        let gone: Vec<usize> = (0..self.services.len())
            .filter(|n| !self.services[*n].removed && !names.contains(self.services[*n].spec.name.as_str()))
            .collect();
        let mut fresh = Vec::new();
        let mut anew = Vec::new();
        let mut new = Vec::new();
        for spec in specs {
            match known.get(&spec.name).copied() {
                Some(n) if self.services[n].removed => {
                    done.added.push(spec.name.clone());
                    self.revive(n, spec, restart, now, out, &mut done, &mut anew);
                    fresh.push(n);
                }
                Some(n) => self.change(n, spec, restart, now, out, &mut done, &mut anew),
                None => new.push(spec),
            }
        }
        // Only now: the place of one that is back is not free.
        for spec in new {
            done.added.push(spec.name.clone());
            fresh.push(self.settle_in(spec));
        }
        if fresh.is_empty() && gone.is_empty() && anew.is_empty() && done.changed.is_empty() {
            return done;
        }
        for n in &gone {
            done.removed.push(self.services[*n].spec.name.clone());
            self.services[*n].removed = true;
        }
        self.link();
        self.mind_predecessors();
        // By the new edges: whoever has some now waits for them.
        for n in 0..self.services.len() {
            self.with(n, now, out, Service::wish_of_the_file);
        }
        for n in gone {
            self.with(n, now, out, |s, _| (s.asked, s.by_hand) = (Some(Goal::Down), false));
            let ladder = self.services[n].ladder(None);
            let reason = "it is not in the file any more".into();
            self.hold(n, now, out, Held { leave: Leave::Down(ladder), alone: false, reason });
        }
        for n in &fresh {
            // One more that something requires is no reason to stop what runs: it is waited for by the next start.
            self.with(*n, now, out, |s, cx| {
                s.lone = true;
                s.first_wish(cx);
            });
        }
        (0..self.services.len()).for_each(|n| self.look_around(n));
        self.look_at_wishes(now, out);
        for n in fresh {
            // Nor is it there at all if nothing starts it.
            self.with(n, now, out, |s, _| s.lone &= !s.state.is_terminal());
        }
        // One that nobody wants any more is stopped, and not started again for its settings.
        for n in anew {
            let s = &self.services[n];
            if s.goal == Goal::Down || (s.has_had_its_turn() && !s.wanted) {
                continue;
            }
            done.restarted.push(self.services[n].spec.name.clone());
            if self.services[n].has_had_its_turn() {
                self.with(n, now, out, Service::try_other_settings);
                continue;
            }
            // By itself: what stands on it is not changed, and stays.
            let leave = Leave::Anew { force: false, cause: Cause::ConfigChanged };
            self.hold(n, now, out, Held { leave, alone: true, reason: "its settings changed".into() });
        }
        self.settle(now, out);
        done
    }

    /// A place for a new service: one that nobody needs any more, or a new one.
    fn settle_in(&mut self, spec: Box<Spec>) -> usize {
        let free = self.services.iter().position(|s| s.removed && s.state.is_terminal() && s.timers.next().is_none());
        match free {
            Some(n) => {
                let s = &mut self.services[n];
                // Another name begins with its own first generation: of the old one nothing is left that could answer.
                *s = Service::new(s.id, spec);
                n
            }
            None => {
                let n = self.services.len();
                self.services.push(Service::new(ServiceId(n as u32), spec));
                n
            }
        }
    }

    /// It was taken out of the file and is in it again. What it has been before means nothing; one that has not gone yet
    /// goes on, if it is wanted.
    #[expect(clippy::too_many_arguments, reason = "one step of apply")]
    fn revive(
        &mut self,
        n: usize,
        spec: Box<Spec>,
        restart: bool,
        now: MonoTime,
        out: &mut Actions,
        done: &mut Applied,
        anew: &mut Vec<usize>,
    ) {
        let s = &mut self.services[n];
        if s.state.is_terminal() {
            *s = Service { last: s.last, ..Service::new(s.id, spec) };
            return;
        }
        (s.removed, s.asked, s.by_hand, s.ever) = (false, None, false, Ever::default());
        if matches!(s.state, State::Stopping { .. }) {
            s.reason = "it was taken out of the file and is in it again: it starts when the old run is gone".into();
        }
        self.adopt(n, spec, restart, now, out, done, anew);
    }

    #[expect(clippy::too_many_arguments, reason = "one step of apply")]
    fn change(
        &mut self,
        n: usize,
        spec: Box<Spec>,
        restart: bool,
        now: MonoTime,
        out: &mut Actions,
        done: &mut Applied,
        anew: &mut Vec<usize>,
    ) {
        let Some(s) = self.services.get_mut(n) else { return };
        let pending = s.next.as_deref().unwrap_or(&s.spec);
        if *pending == *spec {
            // Put off before and asked for now.
            if s.next.is_some() && restart && (s.state.has_process() || s.has_had_its_turn()) {
                anew.push(n);
            }
            return;
        }
        done.changed.push(spec.name.clone());
        self.adopt(n, spec, restart, now, out, done, anew);
    }

    /// Other settings: at once as far as its process can have them, the rest with the next start.
    #[expect(clippy::too_many_arguments, reason = "one step of apply")]
    fn adopt(
        &mut self,
        n: usize,
        spec: Box<Spec>,
        restart: bool,
        now: MonoTime,
        out: &mut Actions,
        done: &mut Applied,
        anew: &mut Vec<usize>,
    ) {
        let Some(s) = self.services.get_mut(n) else { return };
        let (name, old) = (spec.name.clone(), s.spec.clone());
        // What it is, or has come to, it is by the old ones.
        let has_begun = s.state.has_process() || s.has_had_its_turn();
        if has_begun && needs_a_restart(&s.spec, &spec) {
            *s.spec = live_part(&s.spec, &spec);
            s.next = Some(spec);
            match restart && s.goal == Goal::Up {
                true => anew.push(n),
                false => done.deferred.push(name),
            }
        } else {
            s.spec = spec;
            s.next = None;
        }
        self.with(n, now, out, |s, cx| s.refit(cx, &old));
    }

    /// Wishes of people, by name: what `state` keeps.
    pub fn wishes(&self) -> Vec<(&str, Goal)> {
        let by_hand = self.services.iter().filter(|s| s.by_hand && !s.removed);
        by_hand.filter_map(|s| Some((s.spec.name.as_str(), s.asked?))).collect()
    }

    /// A wish that was kept over a restart of the watchdog. Before [`Supervisor::begin`].
    pub fn recall(&mut self, name: &str, goal: Goal) {
        if let Some(s) = self.services.iter_mut().find(|s| s.spec.name == name) {
            (s.asked, s.by_hand) = (Some(goal), true);
        }
    }
}

/// What nobody has said anything about.
fn first_asked(spec: &Spec) -> Option<Goal> {
    match spec.place.autostart {
        Autostart::Yes => Some(Goal::Up),
        Autostart::No | Autostart::Ignore => None,
    }
}

impl Service {
    /// The wish that it begins with: that of a person, or that of the file.
    pub(super) fn first_wish(&mut self, cx: &mut Cx<'_>) {
        if !self.by_hand {
            self.asked = first_asked(&self.spec);
        }
        self.wanted = self.asked == Some(Goal::Up);
        if self.wanted {
            self.take_back_a_stop();
            self.want_up(cx);
            if !self.by_hand {
                self.cause = None;
            }
        } else {
            self.goal = Goal::Down;
            if matches!(self.state, State::Stopped) {
                self.reason = match (self.asked, self.spec.place.autostart) {
                    (Some(_), _) => "stopped by hand before this watchdog began (state)".into(),
                    (None, _) if self.spec.place.unnamed => {
                        "it was not named on the command line, and starts when another needs it".into()
                    }
                    (None, Autostart::No) => "it starts when another needs it (autostart = false)".into(),
                    (None, _) => "it is started by hand alone (autostart = \"ignore\")".into(),
                };
            }
        }
    }

    /// What the file says now, where nobody has said anything else.
    fn wish_of_the_file(&mut self, cx: &mut Cx<'_>) {
        if self.by_hand || self.removed {
            return;
        }
        let asked = first_asked(self.next.as_deref().unwrap_or(&self.spec));
        let before = std::mem::replace(&mut self.asked, asked);
        // Also one that is on its way down because nothing needed it; not one that other settings give another turn, or
        // would if that had not been put off.
        let settled = self.state.is_terminal() && self.next.is_none();
        if asked == Some(Goal::Up) && before != asked && (settled || self.goal == Goal::Down) {
            self.take_back_a_stop();
            self.want_up(cx);
        }
    }

    /// It was started and has failed, waits to be tried again, or is done: other settings may change that.
    fn has_had_its_turn(&self) -> bool {
        match self.state {
            State::Failed | State::Done | State::Backoff { .. } | State::CrashLoop { .. } => true,
            State::Stopped
            | State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Stuck { .. } => false,
        }
    }

    /// What failed with the old settings says nothing about the new ones: free of limits and delay.
    fn try_other_settings(&mut self, cx: &mut Cx<'_>) {
        self.lone = true;
        self.want_up(cx);
        self.cause = Some(Cause::ConfigChanged);
        if matches!(self.state, State::Waiting) {
            self.start_reason = "its settings changed".into();
        } else if matches!(self.state, State::Starting { .. }) {
            self.reason = "its settings changed".into();
        }
    }

    /// New settings for one that goes on: what is armed by the old ones is armed anew.
    fn refit(&mut self, cx: &mut Cx<'_>, old: &Spec) {
        let new = &self.spec;
        let (probes, limits) = (old.probes != new.probes, old.limits != new.limits);
        let ready = old.ready != new.ready || old.start_timeout != new.start_timeout;
        if matches!(self.state, State::Waiting) && old.place.wait_for_file != new.place.wait_for_file {
            self.await_file(cx);
        }
        if !self.active() {
            return;
        }
        // While the exec is under way there is nobody to be asked yet.
        if probes && (self.living().is_some() || !self.spec.kind.has_process()) {
            self.end_probes(cx);
            self.begin_probes(cx);
        }
        let waits = matches!(self.state, State::Starting { .. }) && self.living().is_some();
        if waits && (ready || probes) {
            self.timers.clear(Timer::Port);
            self.timers.clear(Timer::Stays);
            self.await_what_makes_it_ready(cx);
        }
        if let State::Running { since, .. } = self.state {
            if old.max_age != self.spec.max_age {
                self.age_from(cx, since);
            }
            if limits {
                self.measure_later(cx);
            }
            self.beat_step(cx, std::time::Duration::ZERO);
        }
    }
}
