//! What one call should make the machine do for one service, and what it did.

use crate::machine::{
    Action, ByKind, Cause, Dialect, Measure, Notice, ReadyBy, Sentence, ServiceId, Verdict, What, Word,
};
use crate::spec::{Scope, SignalNumber};
use std::time::Duration;

/// The deeds of one call for one service, in a form that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deeds {
    pub(super) spawns: Vec<u64>,
    /// Signal, whether it wakes, and whom it goes to.
    pub(super) signals: Vec<(SignalNumber, bool, Scope)>,
    pub(super) sweeps: Vec<SignalNumber>,
    pub(super) told: Vec<&'static str>,
    /// Whether a reported exit was asked for, and its uptime.
    pub(super) exit: Option<(bool, Duration)>,
    pub(super) gave_up_with: Option<u8>,
    pub(super) give_up_runs: u32,
    pub(super) give_up_ends: u32,
    /// The cause in the report of an exit.
    pub(super) ended_by: Option<Cause>,
    /// Recycled for its age.
    pub(super) aged: u32,
    pub(super) ready: Option<ReadyBy>,
    pub(super) said: Vec<(Dialect, Word)>,
    /// Who is silent, for how long: the dialect, and the lane where it is one.
    pub(super) silent: Option<(Option<Dialect>, Option<String>, Duration)>,
    /// Looks at who does not beat: whether it was the second.
    pub(super) inspects: Vec<bool>,
    pub(super) verdicts: Vec<(Verdict, Sentence)>,
    /// What, its value, and whether it was the soft level.
    pub(super) thresholds: Vec<(Measure, u64, bool)>,
    pub(super) lanes: u32,
    pub(super) ports: u32,
    pub(super) measures: u32,
    pub(super) gathers: u32,
    pub(super) cancels: u32,
    pub(super) reports: Vec<Told>,
}

/// One report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) cause: Cause,
    /// The run is over.
    pub(super) over: bool,
    /// It says what was found of the hang.
    pub(super) of_hang: bool,
}

impl Deeds {
    pub(super) fn of(id: ServiceId, actions: &[Action]) -> Deeds {
        let mut deeds = Deeds::default();
        for action in actions {
            match action {
                Action::Spawn { service, generation } if *service == id => deeds.spawns.push(generation.0),
                Action::Signal { service, signal, wake, scope, .. } if *service == id => {
                    deeds.signals.push((*signal, *wake, *scope));
                }
                Action::CancelSpawn { service, .. } if *service == id => deeds.cancels += 1,
                Action::Say { service, dialect, word, .. } if *service == id => {
                    deeds.said.push((*dialect, word.clone()));
                }
                Action::LookAtLanes { service, .. } if *service == id => deeds.lanes += 1,
                Action::LookAtPort { service, .. } if *service == id => deeds.ports += 1,
                Action::Inspect { service, second, .. } if *service == id => deeds.inspects.push(*second),
                Action::Measure { service, .. } if *service == id => deeds.measures += 1,
                Action::Gather { service, .. } if *service == id => deeds.gathers += 1,
                Action::Report(order) if order.service == id => {
                    let of_hang = order.cause == Cause::Hang && order.run.hang.is_some();
                    deeds.reports.push(Told { cause: order.cause, over: order.ended.is_some(), of_hang });
                }
                Action::Sweep { service, signal, .. } if *service == id => deeds.sweeps.push(*signal),
                Action::RunGiveUp { service } if *service == id => deeds.give_up_runs += 1,
                Action::EndGiveUp { service } if *service == id => deeds.give_up_ends += 1,
                Action::Tell(notice) if notice.service == Some(id) => {
                    deeds.read(notice);
                    if !is_wish(&notice.what) {
                        deeds.told.push(notice.what.name());
                    }
                }
                _ => {}
            }
        }
        deeds
    }

    fn read(&mut self, notice: &Notice) {
        match &notice.what {
            What::Exit { requested, uptime, .. } => {
                self.exit = Some((*requested, *uptime));
                self.ended_by = notice.cause;
            }
            What::GaveUp { exit_status, .. } => self.gave_up_with = Some(*exit_status),
            What::Ready { by } => self.ready = Some(*by),
            What::Hang { dialect, lane, silent, .. } => self.silent = Some((*dialect, lane.clone(), *silent)),
            What::Verdict { verdict, sentence, .. } => self.verdicts.push((*verdict, *sentence)),
            What::Threshold { what, value, soft, .. } => self.thresholds.push((*what, *value, *soft)),
            What::RestartRequested { by } if by.kind == ByKind::Policy => self.aged += 1,
            _ => {}
        }
    }

    pub(super) fn tell(&mut self, name: &'static str) {
        self.told.push(name);
    }

    /// The law that is broken, if one is.
    pub(super) fn compare(mut self, mut saw: Deeds) -> Result<(), String> {
        self.told.sort_unstable();
        saw.told.sort_unstable();
        let differ = |law: &str, wanted: &dyn std::fmt::Debug, saw: &dyn std::fmt::Debug| {
            Err(format!("{law}: wanted {wanted:?}, saw {saw:?}"))
        };
        if self.spawns != saw.spawns {
            return differ("start", &self.spawns, &saw.spawns);
        }
        if self.signals != saw.signals {
            return differ("signal", &self.signals, &saw.signals);
        }
        if self.sweeps != saw.sweeps {
            return differ("sweep", &self.sweeps, &saw.sweeps);
        }
        if self.told != saw.told {
            return differ("report", &self.told, &saw.told);
        }
        if self.exit != saw.exit {
            return differ("exit", &self.exit, &saw.exit);
        }
        if self.gave_up_with != saw.gave_up_with {
            return differ("status", &self.gave_up_with, &saw.gave_up_with);
        }
        if (self.give_up_runs, self.give_up_ends) != (saw.give_up_runs, saw.give_up_ends) {
            return differ("give-up command", &self, &saw);
        }
        self.compare_life(&saw)
    }
}

impl Deeds {
    /// What was done for a worker that is up.
    fn compare_life(&self, saw: &Deeds) -> Result<(), String> {
        let differ = |law: &str, wanted: &dyn std::fmt::Debug, saw: &dyn std::fmt::Debug| {
            Err(format!("{law}: wanted {wanted:?}, saw {saw:?}"))
        };
        if self.ready != saw.ready {
            return differ("ready", &self.ready, &saw.ready);
        }
        if (self.ended_by, self.aged) != (saw.ended_by, saw.aged) {
            return differ("cause", &(self.ended_by, self.aged), &(saw.ended_by, saw.aged));
        }
        if self.said != saw.said {
            return differ("words", &self.said, &saw.said);
        }
        if (&self.silent, &self.inspects) != (&saw.silent, &saw.inspects) {
            return differ("hang", &(&self.silent, &self.inspects), &(&saw.silent, &saw.inspects));
        }
        if self.verdicts != saw.verdicts {
            return differ("verdict", &self.verdicts, &saw.verdicts);
        }
        if self.thresholds != saw.thresholds {
            return differ("threshold", &self.thresholds, &saw.thresholds);
        }
        if self.reports != saw.reports {
            return differ("flight recorder", &self.reports, &saw.reports);
        }
        let looks = |d: &Deeds| [d.lanes, d.ports, d.measures, d.gathers, d.cancels];
        if looks(self) != looks(saw) {
            return differ("looks at lanes, port, use, threads, hooks", &looks(self), &looks(saw));
        }
        Ok(())
    }
}

/// Wishes are repeated to people as they come; all other notices are judged.
fn is_wish(what: &What) -> bool {
    ["stop-requested", "start-requested", "restart-requested", "signal-requested", "reload-requested"]
        .contains(&what.name())
}
