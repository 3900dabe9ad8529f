//! What a worker has said of itself, as far as it is not a sign of life.

use super::news::{Dialect, HealthCheck, News, Numbers, Spread};
use super::time::MonoTime;
use serde::Serialize;
use std::time::Duration;

/// Stacks kept of one run: as many as a worker may have lanes, and its main thread.
const STACKS: usize = 65;

/// What one run has said.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Talk {
    /// The dialect that was spoken first.
    pub dialect: Option<Dialect>,
    /// Dialects in which it can be told something: it greeted, or answered, in them.
    pub hears: Option<Dialect>,
    /// It acts on the word `Shutdown`.
    pub takes_shutdown: bool,
    /// It said that it is ready.
    pub said_ready: bool,
    /// It reads its configuration again.
    pub reloading: bool,
    /// It said that it is ending.
    pub stopping: bool,
    /// What it is doing, in its words.
    pub status: Option<String>,
    /// When that was told last.
    pub status_told: Option<MonoTime>,
    /// Its own reason for a failure.
    pub errno: Option<i32>,
    /// Its checks; `None`: it has not been heard about them.
    pub health: Option<Vec<HealthCheck>>,
    /// Those of them that fail, by name, and since when.
    pub failing: Vec<(String, MonoTime)>,
    /// Its numbers.
    pub numbers: Option<Numbers>,
    /// How its values are distributed.
    pub histograms: Vec<Spread>,
    /// The last words of a panic.
    pub panic: Option<String>,
    /// Stacks of its threads, by name.
    pub stacks: Vec<(String, String)>,
    /// The channel that has ended, until it is known whether the worker ends as well.
    pub losing: Option<Dialect>,
    /// Datagrams to its notify socket from senders that may not speak for it.
    pub foreign: u64,
    /// Channels that have ended: each is told of once.
    pub gone: Vec<Dialect>,
}

impl Talk {
    /// Takes down what is only to be remembered. False: this news is not of that kind.
    pub fn note(&mut self, now: MonoTime, news: &News) -> bool {
        match news {
            News::Status(text) => self.status = Some(text.clone()),
            News::Errno(errno) => self.errno = Some(*errno),
            News::TakesShutdown => self.takes_shutdown = true,
            News::Health(checks) => {
                let since =
                    |name: &str| self.failing.iter().find(|(known, _)| known == name).map_or(now, |(_, at)| *at);
                let failing = checks.iter().filter(|check| !check.pass);
                self.failing = failing.map(|check| (check.name.clone(), since(&check.name))).collect();
                self.health = Some(checks.clone());
            }
            News::Metrics(numbers) => self.numbers = Some(numbers.clone()),
            News::Histograms(all) => self.histograms.clone_from(all),
            News::Panic(message) => self.panic = Some(message.clone()),
            News::Stack { thread, text } if self.stacks.len() < STACKS => {
                self.stacks.push((thread.clone(), text.clone()));
            }
            News::Stack { .. } => {}
            News::Hello
            | News::Ready
            | News::Reloading
            | News::Stopping
            | News::Beat
            | News::Pong(_)
            | News::Trigger
            | News::Extend(_)
            | News::BeatEvery(_)
            | News::MainPid(_)
            | News::Lanes(_) => return false,
        }
        true
    }

    /// The checks that fail.
    pub fn failing(&self) -> impl Iterator<Item = &HealthCheck> {
        self.health.iter().flatten().filter(|check| !check.pass)
    }

    /// When the first of those that fail now began to.
    pub fn failing_since(&self) -> Option<MonoTime> {
        self.failing.iter().map(|(_, at)| *at).min()
    }
}

/// A worker may put a deadline off, but not for ever: to at most so many times what it was.
pub(super) const EXTEND_TIMES: u32 = 10;

/// So much longer as asked for, at most as long as allowed.
pub(super) fn granted(asked: Duration, base: Duration) -> Duration {
    asked.min(base.saturating_mul(EXTEND_TIMES))
}
