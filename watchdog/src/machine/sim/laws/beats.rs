//! Signs of life: who may be asked, what counts as an answer, and when silence has lasted too long.

use super::witness::Witness;
use crate::machine::sim::sometimes::Rare;
use crate::machine::{Dialect, MonoTime, Timer, Word};
use crate::spec::Heartbeat;
use std::time::Duration;

/// We did not run for so long: then nobody is judged before he was asked again.
pub(super) const LATE: Duration = Duration::from_millis(500);
/// So often in a row.
const LATE_TIMES: u32 = 3;

/// The signs of life of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Beats {
    pub(super) dialect: Option<Dialect>,
    pub(super) armed: bool,
    nonce: u64,
    /// The one ping that may be answered.
    out: Option<(u64, MonoTime)>,
    /// The first ping that was not answered.
    first: Option<MonoTime>,
    pub(super) last: MonoTime,
    next: MonoTime,
    pub(super) every: Option<Duration>,
    pub(super) excused: Option<MonoTime>,
    /// It reads its configuration until then.
    pub(super) reloads: Option<MonoTime>,
    /// Others took the room of its datagrams then.
    pub(super) crowded: MonoTime,
    stalls: u32,
}

impl Beats {
    fn asked(&self) -> bool {
        self.dialect.is_some_and(Dialect::is_asked)
    }

    pub(super) fn patience(&self, rules: &Heartbeat) -> Duration {
        if self.asked() {
            return (rules.misses - 1) * rules.interval + rules.timeout;
        }
        self.every.unwrap_or(rules.misses * rules.interval)
    }

    /// Silence counts from here.
    pub(super) fn count_from(&mut self, now: MonoTime) {
        if self.dialect.is_some() {
            self.out = None;
        }
        if let Some((_, sent)) = &mut self.out {
            *sent = now;
        }
        (self.first, self.last, self.next) = (None, now, now);
    }

    pub(super) fn next_after(&mut self, now: MonoTime, interval: Duration) {
        self.next = now.after(interval);
    }

    fn over_at(&self, rules: &Heartbeat) -> Option<MonoTime> {
        let from = if self.asked() { self.first? } else { self.last.max(self.crowded) };
        let over = from.after(self.patience(rules));
        Some(self.excused().map_or(over, |until| over.max(until)))
    }

    /// Until when its silence is its own affair.
    pub(super) fn excused(&self) -> Option<MonoTime> {
        [self.excused, self.reloads].into_iter().flatten().max()
    }
}

impl Witness {
    /// A ping to find out whether it speaks; in a second dialect it is the same question.
    pub(super) fn hail(&mut self, now: MonoTime, dialect: Dialect) {
        if !self.judged() {
            return;
        }
        let beats = &mut self.run.life.beats;
        let nonce = match beats.out {
            Some((nonce, _)) if !beats.armed => nonce,
            Some(_) => return,
            None => {
                beats.nonce += 1;
                beats.out = Some((beats.nonce, now));
                beats.nonce
            }
        };
        self.say(dialect, Word::Ping(nonce));
    }

    /// One ping more, in place of the one before.
    pub(super) fn ping(&mut self, now: MonoTime, dialect: Dialect) {
        let beats = &mut self.run.life.beats;
        beats.nonce += 1;
        beats.out = Some((beats.nonce, now));
        let nonce = beats.nonce;
        self.say(dialect, Word::Ping(nonce));
    }

    /// A beat, or an answer with this nonce.
    pub(super) fn beat(&mut self, now: MonoTime, dialect: Dialect, answer: Option<Option<u64>>) {
        if !self.judged() {
            return;
        }
        let rules = self.spec.heartbeat.clone();
        let beats = &mut self.run.life.beats;
        if beats.dialect.is_some_and(|d| d != dialect) {
            return self.seen.saw(Rare::SecondDialect);
        }
        if let Some(given) = answer {
            let outstanding = beats.out.filter(|(nonce, _)| given.is_none_or(|g| g == *nonce));
            let Some((_, sent)) = outstanding else {
                self.seen.saw(Rare::PongUnasked);
                return self.tries(now, dialect);
            };
            if beats.armed && now.since(sent) > rules.timeout {
                // Too late is a miss; but one that was found silent says by it that it has come back.
                if self.run.life.hang.is_none() {
                    self.seen.saw(Rare::PongLate);
                    return self.tries(now, dialect);
                }
                self.seen.saw(Rare::PongOfTheSilent);
            }
            beats.out = None;
        }
        beats.dialect = Some(dialect);
        (beats.first, beats.last, beats.stalls) = (None, now, 0);
        if !beats.armed {
            beats.armed = true;
            beats.next = now.after(rules.interval);
            self.seen.saw(if self.run.ready.is_some() { Rare::ArmedByBeat } else { Rare::BeatBeforeReady });
        }
        let running = self.running();
        if self.run.life.hang.as_ref().is_some_and(|h| running && h.lane.is_none() && (!h.triggered || h.recorded)) {
            self.recovered(now);
        }
        self.beat_step(now, Duration::ZERO);
    }

    /// Whoever must beat is asked in the dialect in which it first tries to.
    fn tries(&mut self, now: MonoTime, dialect: Dialect) {
        let beats = &mut self.run.life.beats;
        if beats.armed && beats.dialect.is_none() {
            beats.dialect = Some(dialect);
            self.beat_step(now, Duration::ZERO);
        }
    }

    /// What is due of asking and judging.
    pub(super) fn beat_step(&mut self, now: MonoTime, late: Duration) {
        if !self.running() {
            return;
        }
        self.run.dues.clear(Timer::Beat);
        let rules = self.spec.heartbeat.clone();
        let beats = &mut self.run.life.beats;
        if self.run.life.hang.is_some() || !beats.armed {
            return;
        }
        if let Some(over) = beats.over_at(&rules).filter(|at| *at <= now) {
            if late.max(now.since(over)) >= LATE && beats.stalls < LATE_TIMES {
                self.seen.saw(Rare::AskedAfterStall);
                beats.stalls += 1;
                beats.count_from(now);
            } else {
                if beats.stalls >= LATE_TIMES {
                    self.seen.saw(Rare::AlwaysLate);
                }
                self.seen.saw(match (beats.dialect, beats.asked()) {
                    (None, _) => Rare::HangNeverBeat,
                    (Some(_), true) => Rare::HangAsked,
                    (Some(_), false) => Rare::HangUnasked,
                });
                return self.suspect(now, None, false);
            }
        }
        if !beats.asked() {
            if let Some(over) = beats.over_at(&rules) {
                self.run.dues.set(Timer::Beat, over);
            }
            return;
        }
        if beats.out.is_some_and(|(_, sent)| now.since(sent) >= rules.timeout) {
            beats.out = None;
        }
        if beats.out.is_none() && beats.next <= now {
            beats.first = beats.first.or(Some(now));
            beats.next = now.after(rules.interval);
            if let Some(dialect) = beats.dialect {
                self.ping(now, dialect);
            }
        }
        let beats = &self.run.life.beats;
        let next = beats.out.map_or(beats.next, |(_, sent)| sent.after(rules.timeout));
        let over = beats.over_at(&rules).unwrap_or(next);
        self.run.dues.set(Timer::Beat, next.min(over));
    }
}
