//! A worker that falls silent: when it is asked, when the patience is over, and what follows. A missed beat is a question;
//! two looks and a verdict answer it.

use super::heartbeat::{FINDINGS, Finding, Hang, Step};
use super::news::*;
use super::sentences::human;
use super::service::{Cx, Service};
use super::state::{State, StopStep};
use super::time::Timer;
use super::verdict::{Sentence, Verdict, sentence, verdict};
use super::words::*;
use crate::spec::{HeartbeatMode, OnHang, Scope};
use std::time::Duration;

/// Between the two looks at a worker that does not beat: long enough to see whether it works.
const LOOK: Duration = Duration::from_millis(200);

impl Service {
    // --- its beats ---

    /// Asks, or finds that the patience is over, and sets the next look.
    pub(super) fn beat_step(&mut self, cx: &mut Cx<'_>, late: Duration) {
        if !matches!(self.state, State::Running { .. }) {
            return;
        }
        let rules = &self.spec.heartbeat;
        let Some(run) = self.run.as_mut().filter(|r| r.alive) else { return };
        if run.hang.is_some() {
            return self.timers.clear(Timer::Beat);
        }
        // One that has never beaten is asked nothing, and nothing is kept of its beats.
        let armed = run.beats.armed;
        let Step { ping, hung, next } = if armed { run.beats.step(cx.now, late, rules) } else { Step::default() };
        let silent = run.beats.last.map_or(Duration::ZERO, |at| cx.now.since(at));
        let dialect = run.beats.dialect;
        match next {
            Some(at) => self.timers.set(Timer::Beat, at),
            None => self.timers.clear(Timer::Beat),
        }
        if hung {
            return self.suspect(cx, None, silent, false);
        }
        if let (Some(nonce), Some(dialect)) = (ping, dialect) {
            self.say(cx, dialect, Word::Ping(nonce));
        }
    }

    pub(super) fn on_lanes(&mut self, cx: &mut Cx<'_>, views: Vec<LaneView>) {
        let Some(run) = self.run.as_mut() else { return };
        run.lanes.see(cx.now, views);
        let stuck = run.hang.as_ref().and_then(|h| h.lane.as_ref()).map(|(slot, _)| *slot);
        if stuck.is_some_and(|slot| !run.lanes.still_late(slot, cx.now)) {
            self.recovered(cx);
        }
        self.look_at_lanes_later(cx);
        let judged = matches!(self.state, State::Running { .. }) && self.spec.heartbeat.mode != HeartbeatMode::Off;
        let Some(run) = self.run.as_ref().filter(|r| judged && r.hang.is_none()) else { return };
        if run.beats.excused().is_some_and(|until| until > cx.now) {
            return;
        }
        let late = run.lanes.late(cx.now).map(|l| (l.view.slot, l.view.name.clone(), cx.now.since(l.moved)));
        if let Some((slot, name, silent)) = late {
            self.suspect(cx, Some((slot, name)), silent, false);
        }
    }

    pub(super) fn look_at_lanes_later(&mut self, cx: &mut Cx<'_>) {
        let next = self.run.as_ref().and_then(|r| r.lanes.next_look(cx.now, self.spec.heartbeat.interval));
        let judged = matches!(self.state, State::Running { .. }) && self.spec.heartbeat.mode != HeartbeatMode::Off;
        if let Some(at) = next.filter(|_| judged) {
            self.timers.set(Timer::Lanes, at);
        }
    }

    // --- a hang ---

    /// It does not beat. A missed beat is a question: two looks, then a verdict.
    pub(super) fn suspect(&mut self, cx: &mut Cx<'_>, lane: Option<(u32, String)>, silent: Duration, triggered: bool) {
        let Some(generation) = self.living() else { return };
        let Some(run) = self.run.as_mut() else { return };
        if run.hang.as_ref().is_some_and(|h| !triggered || h.triggered) {
            return;
        }
        let dialect = if lane.is_some() { Some(Dialect::Native) } else { run.beats.dialect };
        let misses = run.beats.misses;
        let named = lane.as_ref().map(|(_, name)| name.clone());
        run.hang = Some(Box::new(Hang {
            since: cx.now,
            dialect,
            lane,
            silent,
            triggered,
            extensions: 0,
            looked: true,
            late: Duration::ZERO,
            recorded: false,
            found: Vec::new(),
        }));
        self.timers.clear(Timer::Beat);
        self.tell(cx, Some(Cause::Hang), What::Hang { dialect, lane: named, silent, misses });
        cx.out.push(Action::Inspect { service: self.id, generation, second: false });
        self.timers.set(Timer::Verdict, cx.now.after(LOOK));
        self.ask_again(cx);
    }

    /// A new ping, so that one that has come back to life can say so.
    fn ask_again(&mut self, cx: &mut Cx<'_>) {
        let Some(run) = self.run.as_mut() else { return };
        let by_lane = run.hang.as_ref().is_some_and(|h| h.lane.is_some());
        let Some(dialect) = run.beats.dialect.filter(|d| d.is_asked() && !by_lane) else { return };
        run.beats.outstanding = None;
        if let Some(nonce) = run.beats.hail(cx.now) {
            self.say(cx, dialect, Word::Ping(nonce));
        }
    }

    pub(super) fn verdict_due(&mut self, cx: &mut Cx<'_>, late: Duration) {
        let Some(generation) = self.living() else { return };
        let Some(run) = self.run.as_mut() else { return };
        let lanes = run.lanes.told;
        let Some(hang) = run.hang.as_mut() else { return };
        if hang.recorded {
            return self.go_on_asking(cx);
        }
        hang.late = hang.late.max(late);
        let second = std::mem::replace(&mut hang.looked, true);
        if lanes && second {
            cx.out.push(Action::LookAtLanes { service: self.id, generation });
        }
        cx.out.push(Action::Inspect { service: self.id, generation, second });
        if !second {
            self.timers.set(Timer::Verdict, cx.now.after(LOOK));
        }
    }

    /// The evidence is there.
    #[inline(never)]
    pub fn on_evidence(&mut self, cx: &mut Cx<'_>, generation: Generation, mut evidence: Evidence) {
        let (interval, record) = (self.spec.heartbeat.interval, self.spec.heartbeat.on_hang == OnHang::Record);
        let State::Running { child, .. } = self.state else { return };
        let Some(run) = self.run.as_mut().filter(|r| r.generation == generation && child == generation) else { return };
        // Between the second look and its evidence no timer runs: what comes at another time is of an earlier hang.
        let waited_for = self.timers.get(Timer::Verdict).is_none();
        let Some(hang) = run.hang.as_mut().filter(|h| waited_for && h.looked && !h.recorded) else { return };
        evidence.late = evidence.late.max(hang.late);
        let found = verdict(&evidence);
        let follows = if hang.triggered { Sentence::Hung } else { sentence(found, hang.extensions) };
        let again = hang.found.last().is_some_and(|f| f.verdict == found && follows == Sentence::Wait);
        if hang.found.len() < FINDINGS && !again {
            hang.found.push(Finding { at: cx.now, verdict: found, sentence: follows, evidence });
        }
        (hang.looked, hang.late) = (false, Duration::ZERO);
        let because = found.because(&evidence);
        if !again {
            let what = What::Verdict { verdict: found, sentence: follows, record, because: because.clone() };
            self.tell(cx, Some(Cause::Hang), what);
        }
        match follows {
            Sentence::Hung => self.hung(cx, child, found, &because),
            Sentence::Extend(nth) => {
                if let Some(hang) = self.run.as_mut().and_then(|r| r.hang.as_mut()) {
                    hang.extensions = nth;
                }
                self.reason = format!("silent, {}: {because}; extension {nth}", found.word());
                self.timers.set(Timer::Verdict, cx.now.after(interval));
                self.ask_again(cx);
            }
            Sentence::Wait => {
                self.reason = format!("silent, {}: {because}", found.word());
                self.timers.set(Timer::Verdict, cx.now.after(interval));
                self.ask_again(cx);
            }
        }
    }

    /// It is hung: a report, and, unless that is all that was asked for, the dump, the kill and the restart.
    fn hung(&mut self, cx: &mut Cx<'_>, child: Generation, found: Verdict, because: &str) {
        let Some(run) = self.run.as_mut() else { return };
        let Some(hang) = run.hang.as_mut() else { return };
        let who = match &hang.lane {
            Some((_, name)) => format!("lane {name:?} did not beat for {}", human(hang.silent)),
            None if hang.triggered => "it asked to be treated as hung (WATCHDOG=trigger)".into(),
            None => format!("no sign of life for {} (heartbeat)", human(hang.silent)),
        };
        let rule = format!("{who}; {}: {because}", found.word());
        cx.out.push(Action::Gather { service: self.id, generation: child });
        if self.spec.heartbeat.on_hang == OnHang::Record {
            hang.recorded = true;
            self.reason = format!("{rule}; only recorded (on_hang = record)");
            let rule = self.reason.clone();
            self.report(cx, Cause::Hang, rule, false);
            return self.go_on_asking(cx);
        }
        run.doomed = Some(Cause::Hang);
        let (signal, time) = (self.spec.heartbeat.hang_signal, self.spec.heartbeat.hang_dump_timeout);
        if time.is_zero() {
            return self.kill(cx, child, Some(Cause::Hang), time, rule);
        }
        let reason = format!("{rule}; SIG{} for its stacks, then SIGKILL (hang_signal)", crate::signal_name(signal));
        self.enter(cx, State::Stopping { child, step: StopStep::Dump }, Some(Cause::Hang), reason);
        self.signal(cx, signal, Scope::Main, true);
        self.timers.set(Timer::Dump, cx.now.after(time));
    }

    /// A hang that is only recorded lasts until an answer: so there have to be questions.
    fn go_on_asking(&mut self, cx: &mut Cx<'_>) {
        self.ask_again(cx);
        let by_lane = self.run.as_ref().and_then(|r| r.hang.as_ref()).is_some_and(|h| h.lane.is_some());
        if !by_lane && self.run.as_ref().and_then(|r| r.beats.dialect).is_some_and(Dialect::is_asked) {
            self.timers.set(Timer::Verdict, cx.now.after(self.spec.heartbeat.interval));
        }
    }

    /// It beats again: as if nothing had been. One that is being killed for it stays what it was found to be.
    pub(super) fn recovered(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Running { .. }) {
            return;
        }
        let Some(run) = self.run.as_mut() else { return };
        let Some(hang) = run.hang.take() else { return };
        self.timers.clear(Timer::Verdict);
        self.reason = format!("running; it beats again after {}", human(hang.silent + cx.now.since(hang.since)));
        run.beats.begin(cx.now, &self.spec.heartbeat);
        run.beats.next_ping = cx.now.after(self.spec.heartbeat.interval);
        self.beat_step(cx, Duration::ZERO);
    }
}
