//! New settings while everything runs: only what differs is touched.

use super::service::{Cx, Service};
use super::state::{Goal, State};
use super::supervisor::Supervisor;
use super::time::MonoTime;
use super::waiting::{Held, Leave};
use super::words::*;
use crate::spec::{Autostart, Launch, Spec};
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
    live.launch = Launch { env: old.launch.env.clone(), ..old.launch.clone() };
    live.log.mode = old.log.mode;
    live.dialects.clone_from(&old.dialects);
    (live.kind, live.replica) = (old.kind, old.replica);
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
        for spec in specs {
            match known.get(&spec.name).copied() {
                Some(n) if self.services[n].removed => {
                    done.added.push(spec.name.clone());
                    self.revive(n, spec);
                    fresh.push(n);
                }
                Some(n) => self.change(n, spec, restart, now, out, &mut done, &mut anew),
                None => {
                    done.added.push(spec.name.clone());
                    fresh.push(self.settle_in(spec));
                }
            }
        }
        for n in &gone {
            done.removed.push(self.services[*n].spec.name.clone());
        }
        self.link();
        for n in gone {
            self.with(n, now, out, |s, _| {
                (s.removed, s.asked, s.by_hand) = (true, Some(Goal::Down), false);
            });
            let ladder = self.services[n].ladder(None);
            let reason = "it is not in the file any more".into();
            self.hold(n, now, out, Held { leave: Leave::Down(ladder), alone: false, reason });
        }
        for n in anew {
            let leave = Leave::Anew { force: false, cause: Cause::ConfigChanged };
            self.hold(n, now, out, Held { leave, alone: false, reason: "its settings changed".into() });
        }
        for n in fresh {
            self.with(n, now, out, |s, cx| s.first_wish(cx));
        }
        (0..self.services.len()).for_each(|n| self.look_around(n));
        self.settle(now, out);
        done
    }

    /// A place for a new service: one that nobody needs any more, or a new one.
    fn settle_in(&mut self, spec: Box<Spec>) -> usize {
        let free = self.services.iter().position(|s| s.removed && s.state.is_terminal() && s.timers.next().is_none());
        match free {
            Some(n) => {
                let s = &mut self.services[n];
                // Numbers of generations are never used twice.
                *s = Service { last: s.last, ..Service::new(s.id, spec) };
                n
            }
            None => {
                let n = self.services.len();
                self.services.push(Service::new(ServiceId(n as u32), spec));
                n
            }
        }
    }

    /// It was taken out of the file and is in it again.
    fn revive(&mut self, n: usize, spec: Box<Spec>) {
        let s = &mut self.services[n];
        (s.removed, s.asked, s.by_hand) = (false, None, false);
        s.held = None;
        match s.state.has_process() {
            true => s.next = Some(spec),
            false => s.spec = spec,
        }
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
            if s.next.is_some() && restart && s.state.has_process() {
                done.restarted.push(spec.name.clone());
                anew.push(n);
            }
            return;
        }
        done.changed.push(spec.name.clone());
        let process = s.state.has_process();
        let replaces = needs_a_restart(&s.spec, &spec);
        let (old_probes, old_limits) = (s.spec.probes != spec.probes, s.spec.limits != spec.limits);
        let asked = if s.by_hand { s.asked } else { first_asked(&spec) };
        let name = spec.name.clone();
        if process && replaces {
            *s.spec = live_part(&s.spec, &spec);
            s.next = Some(spec);
            match restart && s.goal == Goal::Up {
                true => {
                    done.restarted.push(name);
                    anew.push(n);
                }
                false => done.deferred.push(name),
            }
        } else {
            s.spec = spec;
            s.next = None;
        }
        self.with(n, now, out, |s, cx| {
            s.refit(cx, old_probes, old_limits);
            let before = std::mem::replace(&mut s.asked, asked);
            if asked == Some(Goal::Up) && before != asked && s.state.is_terminal() {
                s.want_up(cx);
            }
        });
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
            self.want_up(cx);
            if !self.by_hand {
                self.cause = None;
            }
        } else {
            self.goal = Goal::Down;
            if matches!(self.state, State::Stopped) {
                self.reason = match (self.asked, self.spec.place.autostart) {
                    (Some(_), _) => "stopped by hand before this watchdog began (state)".into(),
                    (None, Autostart::No) => "it starts when another needs it (autostart = false)".into(),
                    (None, _) => "it is started by hand alone (autostart = \"ignore\")".into(),
                };
            }
        }
    }

    /// New settings for a process that goes on: what is armed by the old ones is armed anew.
    fn refit(&mut self, cx: &mut Cx<'_>, probes: bool, limits: bool) {
        if !self.active() {
            return;
        }
        if probes {
            self.end_probes(cx);
            self.begin_probes(cx);
        }
        if matches!(self.state, State::Running { .. }) {
            if limits {
                self.measure_later(cx);
            }
            self.beat_step(cx, std::time::Duration::ZERO);
        }
    }
}
