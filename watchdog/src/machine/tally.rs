//! How many services are where, kept up to date with each change, so that the end is noticed without a look at all of
//! them: there may be thousands, and an event comes for each.

use super::service::Service;
use super::state::{Goal, State};
use crate::spec::GiveUp;
use serde::Serialize;

/// What one service is to the end of the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Weight {
    /// Its failure is the end of all.
    pub(super) fatal: bool,
    /// It has done what it was there for.
    done: bool,
    /// It may still do something, or somebody has stopped it and may start it again.
    open: bool,
    /// Something of it is there, or will be.
    standing: bool,
}

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) fatal: usize,
    pub(super) done: usize,
    pub(super) open: usize,
    pub(super) standing: usize,
}

impl Service {
    pub(super) fn weight(&self) -> Weight {
        let stuck = matches!(self.state, State::Stuck { .. });
        let down = (self.state.is_terminal() && self.timers.next().is_none()) || stuck;
        let gone = self.removed && self.state.is_terminal();
        let passive = match self.state {
            State::Done => true,
            State::Stopped => !self.wanted && self.asked != Some(Goal::Down),
            State::Running { .. } => !self.spec.kind.has_process(),
            State::Waiting
            | State::Starting { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Failed
            | State::Stuck { .. } => false,
        };
        let failed = matches!(self.state, State::Failed) && self.leave && !self.removed;
        Weight {
            fatal: failed && self.spec.restart.give_up != GiveUp::Stay,
            done: matches!(self.state, State::Done) && !self.removed,
            open: !passive && !gone,
            standing: !down,
        }
    }
}

impl Tally {
    pub(super) fn of<'a>(services: impl Iterator<Item = &'a Service>) -> Tally {
        let mut tally = Tally::default();
        services.for_each(|s| tally.add(s.weight()));
        tally
    }

    fn add(&mut self, w: Weight) {
        self.fatal += usize::from(w.fatal);
        self.done += usize::from(w.done);
        self.open += usize::from(w.open);
        self.standing += usize::from(w.standing);
    }

    /// One service has changed.
    pub(super) fn change(&mut self, before: Weight, after: Weight) {
        if before != after {
            self.fatal -= usize::from(before.fatal);
            self.done -= usize::from(before.done);
            self.open -= usize::from(before.open);
            self.standing -= usize::from(before.standing);
            self.add(after);
        }
    }
}
