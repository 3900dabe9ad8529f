//! What one call should make the machine do for one service, and what it did.

use crate::machine::{Action, ServiceId, What};
use crate::spec::SignalNumber;
use std::time::Duration;

/// The deeds of one call for one service, in a form that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deeds {
    pub(super) spawns: Vec<u64>,
    /// Signal, and whether it wakes.
    pub(super) signals: Vec<(SignalNumber, bool)>,
    pub(super) sweeps: Vec<SignalNumber>,
    pub(super) told: Vec<&'static str>,
    /// Whether a reported exit was asked for, and its uptime.
    pub(super) exit: Option<(bool, Duration)>,
    pub(super) gave_up_with: Option<u8>,
    pub(super) give_up_runs: u32,
    pub(super) give_up_ends: u32,
}

impl Deeds {
    pub(super) fn of(id: ServiceId, actions: &[Action]) -> Deeds {
        let mut deeds = Deeds::default();
        for action in actions {
            match action {
                Action::Spawn { service, generation } if *service == id => deeds.spawns.push(generation.0),
                Action::Signal { service, signal, wake, .. } if *service == id => deeds.signals.push((*signal, *wake)),
                Action::Sweep { service, signal, .. } if *service == id => deeds.sweeps.push(*signal),
                Action::RunGiveUp { service } if *service == id => deeds.give_up_runs += 1,
                Action::EndGiveUp { service } if *service == id => deeds.give_up_ends += 1,
                Action::Tell(notice) if notice.service == Some(id) => {
                    if let What::Exit { requested, uptime, .. } = notice.what {
                        deeds.exit = Some((requested, uptime));
                    }
                    if let What::GaveUp { exit_status, .. } = notice.what {
                        deeds.gave_up_with = Some(exit_status);
                    }
                    if !is_wish(&notice.what) {
                        deeds.told.push(notice.what.name());
                    }
                }
                _ => {}
            }
        }
        deeds
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
        Ok(())
    }
}

/// Wishes are repeated to people as they come; all other notices are judged.
fn is_wish(what: &What) -> bool {
    ["stop-requested", "start-requested", "restart-requested", "signal-requested"].contains(&what.name())
}
