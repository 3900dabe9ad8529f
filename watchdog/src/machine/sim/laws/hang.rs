//! Silence that has lasted too long: two looks, a verdict, what follows from it; and the loops inside a worker.

use super::beats::LATE;
use super::witness::Witness;
use crate::machine::sim::sometimes::Rare;
use crate::machine::{Cause, Dialect, Evidence, LaneView, MonoTime, Sentence, Timer, Verdict};
use crate::spec::{OnHang, Scope};
use std::time::Duration;

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
const EXTENSIONS: u32 = 3;

/// A worker under suspicion.
#[derive(Clone, Debug, Default)]
pub(super) struct Hang {
    /// The lane that is stuck.
    pub(super) lane: Option<u32>,
    pub(super) triggered: bool,
    pub(super) recorded: bool,
    extensions: u32,
    /// One look was taken and the second is to come, or both and the evidence is to come.
    looked: bool,
    late: Duration,
    waiting_told: bool,
}

/// A lane as it was seen last.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    view: LaneView,
    pub(super) moved: MonoTime,
}

impl Lane {
    fn is_late(&self, now: MonoTime) -> bool {
        self.view.armed && now.since(self.moved) >= self.view.deadline
    }
}

impl Witness {
    /// A question, not yet a judgement.
    pub(super) fn suspect(&mut self, now: MonoTime, lane: Option<&LaneView>, triggered: bool) {
        if self.run.life.hang.as_ref().is_some_and(|h| !triggered || h.triggered) {
            return;
        }
        let slot = lane.map(|l| l.slot);
        let life = &self.run.life;
        self.want.silent = Some(match lane {
            Some(view) => {
                let moved = life.lanes.iter().find(|l| l.view.slot == view.slot).map_or(now, |l| l.moved);
                (Some(Dialect::Native), Some(view.name.clone()), now.since(moved))
            }
            None if triggered => (life.beats.dialect, None, Duration::ZERO),
            None => (life.beats.dialect, None, now.since(life.beats.last)),
        });
        self.run.life.hang = Some(Hang { lane: slot, triggered, looked: true, ..Hang::default() });
        self.run.dues.clear(Timer::Beat);
        self.want.tell("hang");
        self.want.inspects.push(false);
        self.run.dues.set(Timer::Verdict, now.after(BETWEEN_LOOKS));
        self.ask_again(now);
    }

    /// So that one that has come back can say so.
    fn ask_again(&mut self, now: MonoTime) {
        let by_lane = self.run.life.hang.as_ref().is_some_and(|h| h.lane.is_some());
        if let Some(dialect) = self.run.life.beats.dialect.filter(|d| d.is_asked() && !by_lane) {
            self.ping(now, dialect);
        }
    }

    pub(super) fn verdict_due(&mut self, now: MonoTime, late: Duration) {
        let Some(hang) = self.run.life.hang.as_mut() else { return };
        if hang.recorded {
            return self.go_on_asking(now);
        }
        hang.late = hang.late.max(late);
        let second = std::mem::replace(&mut hang.looked, true);
        self.want.inspects.push(second);
        if second {
            self.want.lanes += u32::from(self.run.life.has_lanes);
        } else {
            self.run.dues.set(Timer::Verdict, now.after(BETWEEN_LOOKS));
        }
    }

    fn go_on_asking(&mut self, now: MonoTime) {
        self.ask_again(now);
        let life = &self.run.life;
        let by_lane = life.hang.as_ref().is_some_and(|h| h.lane.is_some());
        if !by_lane && life.beats.dialect.is_some_and(Dialect::is_asked) {
            self.run.dues.set(Timer::Verdict, now.after(self.spec.heartbeat.interval));
        }
    }

    pub(super) fn evidence(&mut self, now: MonoTime, generation: u64, mut e: Evidence) {
        if generation != self.generation || !self.running() {
            return;
        }
        let waited_for = self.run.dues.get(Timer::Verdict).is_none();
        let Some(hang) = self.run.life.hang.as_mut().filter(|h| h.looked && !h.recorded && waited_for) else {
            return self.seen.saw(Rare::StaleEvidence);
        };
        e.late = e.late.max(hang.late);
        let verdict = read(&e);
        self.seen.saw(match verdict {
            Verdict::Deadlocked => Rare::Deadlocked,
            Verdict::Spinning => Rare::Spinning,
            Verdict::BlockedIo => Rare::BlockedIo,
            Verdict::Starved => Rare::Starved,
            Verdict::Stopped => Rare::StoppedVerdict,
            Verdict::Traced => Rare::Traced,
            Verdict::Suspended | Verdict::Unhealthy => Rare::Suspended,
        });
        let most = match verdict {
            Verdict::Deadlocked | Verdict::Spinning | Verdict::Unhealthy => 0,
            Verdict::BlockedIo => 1,
            Verdict::Starved | Verdict::Stopped | Verdict::Suspended => EXTENSIONS,
            Verdict::Traced => u32::MAX,
        };
        let follows = match verdict {
            _ if hang.triggered => Sentence::Hung,
            Verdict::Traced => Sentence::Wait,
            _ if hang.extensions < most => Sentence::Extend(hang.extensions + 1),
            _ => Sentence::Hung,
        };
        if follows == Sentence::Hung && most > 1 && !hang.triggered {
            self.seen.saw(Rare::ExtensionsUsedUp);
        }
        (hang.looked, hang.late) = (false, Duration::ZERO);
        // A debugger that stays is told of once.
        if !(follows == Sentence::Wait && hang.waiting_told) {
            self.want.tell("verdict");
            self.want.verdicts.push((verdict, follows));
        }
        hang.waiting_told = follows == Sentence::Wait;
        match follows {
            Sentence::Hung => return self.hung(now),
            Sentence::Extend(nth) => hang.extensions = nth,
            Sentence::Wait => {}
        }
        self.run.dues.set(Timer::Verdict, now.after(self.spec.heartbeat.interval));
        self.ask_again(now);
    }

    fn hung(&mut self, now: MonoTime) {
        self.want.gathers += 1;
        let rules = self.spec.heartbeat.clone();
        if rules.on_hang == OnHang::Record {
            self.seen.saw(Rare::Recorded);
            if let Some(hang) = self.run.life.hang.as_mut() {
                hang.recorded = true;
            }
            self.report(Cause::Hang, false);
            return self.go_on_asking(now);
        }
        self.run.doomed = Some(Cause::Hang);
        if rules.hang_dump_timeout.is_zero() {
            self.seen.saw(Rare::DumpNone);
            return self.kill(now);
        }
        self.run.dues.clear_all();
        self.run.dumping = true;
        self.want.signals.push((rules.hang_signal, true, Scope::Main));
        self.run.dues.set(Timer::Dump, now.after(rules.hang_dump_timeout));
    }

    pub(super) fn recovered(&mut self, now: MonoTime) {
        let Some(hang) = self.run.life.hang.take().filter(|_| self.running()) else { return };
        self.seen.saw(match (hang.recorded, hang.lane) {
            (true, _) => Rare::RecordedRecovered,
            (false, Some(_)) => Rare::LaneRecovered,
            (false, None) => Rare::Recovered,
        });
        self.run.dues.clear(Timer::Verdict);
        let must = self.must_beat();
        let beats = &mut self.run.life.beats;
        beats.armed |= must;
        beats.count_from(now);
        beats.next_after(now, self.spec.heartbeat.interval);
        self.beat_step(now, Duration::ZERO);
    }

    // --- lanes ---

    pub(super) fn sees_lanes(&mut self, now: MonoTime, views: &[LaneView]) {
        let life = &mut self.run.life;
        life.has_lanes = true;
        let before = std::mem::take(&mut life.lanes);
        for view in views {
            let still = before.iter().find(|old| old.view == *view);
            life.lanes.push(Lane { view: view.clone(), moved: still.map_or(now, |old| old.moved) });
        }
        let stuck = life.hang.as_ref().and_then(|h| h.lane);
        let moves = |slot| !life.lanes.iter().any(|l| l.view.slot == slot && l.is_late(now));
        if stuck.is_some_and(moves) && self.running() {
            self.recovered(now);
        }
        self.lanes_later(now);
        if !self.running() || !self.judged() || self.run.life.hang.is_some() {
            return;
        }
        if self.run.life.beats.excused().is_some_and(|until| until > now) {
            return;
        }
        let late = self.run.life.lanes.iter().filter(|l| l.is_late(now)).min_by_key(|l| l.moved);
        if let Some(view) = late.map(|l| l.view.clone()) {
            self.seen.saw(Rare::HangLane);
            self.suspect(now, Some(&view), false);
        }
    }

    pub(super) fn lanes_later(&mut self, now: MonoTime) {
        if !self.running() || !self.judged() || !self.run.life.has_lanes {
            return;
        }
        // A quarter of a deadline that runs; an idle lane may be armed without a word, and is seen to be so within its own.
        let part = |l: &Lane| if l.view.armed { l.view.deadline / 4 } else { l.view.deadline };
        let shortest = self.run.life.lanes.iter().map(part).min().unwrap_or(Duration::MAX);
        let pause = shortest.min(self.spec.heartbeat.interval).max(Duration::from_millis(20));
        self.run.dues.set(Timer::Lanes, now.after(pause));
    }

    pub(super) fn lanes_due(&mut self, now: MonoTime, late: Duration) {
        if late >= LATE {
            self.run.life.lanes.iter_mut().for_each(|l| l.moved = now);
        }
        self.want.lanes += 1;
        self.lanes_later(now);
    }
}

/// The verdict that the contract reads from facts as clear as those of these worlds.
fn read(e: &Evidence) -> Verdict {
    let half = e.span / 2;
    match e {
        e if e.traced => Verdict::Traced,
        e if e.stopped => Verdict::Stopped,
        e if e.suspended >= LATE => Verdict::Suspended,
        e if e.late >= LATE => Verdict::Starved,
        e if e.blind => Verdict::Deadlocked,
        e if e.waited >= half || e.throttled >= half => Verdict::Starved,
        e if e.blocked > 0 => Verdict::BlockedIo,
        e if e.cpu >= half => Verdict::Spinning,
        _ => Verdict::Deadlocked,
    }
}
