//! A worker that is up: what it says, whether it beats, what it is measured to use. And the two ends of it that are our
//! doing: an order to end, and the dump and kill of one that hangs.

use super::heartbeat::{FINDINGS, Finding, Hang, Step};
use super::news::*;
use super::sentences::human;
use super::service::{Cx, Service};
use super::state::{State, StopStep};
use super::talk::{EXTEND_TIMES, granted};
use super::time::{MonoTime, Timer};
use super::verdict::{Sentence, Verdict, sentence, verdict};
use super::words::*;
use crate::spec::{HeartbeatMode, LimitAction, OnHang, Ready, Scope};
use std::time::Duration;

/// Between the two looks at a worker that does not beat: long enough to see whether it works.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks at a port.
const PORT_LOOK: Duration = Duration::from_millis(50);
/// What a worker says that it does is shown at once in `status`, and told as an event at most so often.
const STATUS_EVERY: Duration = Duration::from_millis(100);
/// A channel that ends so shortly before its worker is no news.
const LOST_GRACE: Duration = Duration::from_millis(100);

impl Service {
    // --- becoming ready ---

    /// The exec succeeded and nobody wants it down: what is waited for.
    pub(super) fn await_ready(&mut self, cx: &mut Cx<'_>) {
        self.hail(cx, Dialect::Node, self.spec.dialects.node);
        match self.spec.ready {
            Ready::Auto | Ready::Spawned => return self.on_ready(cx, ReadyBy::Spawned),
            Ready::Port(_) => self.timers.set(Timer::Port, cx.now),
            Ready::Reported | Ready::Fd | Ready::Line(_) => {}
        }
        let by = match &self.spec.ready {
            Ready::Fd => "its newline on WATCHDOG_READY_FD".into(),
            Ready::Line(text) => format!("a line with {text:?}"),
            Ready::Port(port) => format!("its port {port}"),
            Ready::Reported | Ready::Auto | Ready::Spawned => "its READY".into(),
        };
        self.reason = format!("started; waiting for {by}");
        if self.spec.start_timeout < Duration::MAX {
            self.timers.set(Timer::Start, cx.now.after(self.spec.start_timeout));
        }
    }

    /// A ping before anything is judged: whoever answers it speaks this dialect.
    fn hail(&mut self, cx: &mut Cx<'_>, dialect: Dialect, offered: bool) {
        if !offered || self.spec.heartbeat.mode == HeartbeatMode::Off {
            return;
        }
        let Some(run) = self.run.as_mut() else { return };
        if let Some(nonce) = run.beats.hail(cx.now) {
            self.say(cx, dialect, Word::Ping(nonce));
        }
    }

    pub(super) fn say(&self, cx: &mut Cx<'_>, dialect: Dialect, word: Word) {
        if let Some(generation) = self.living() {
            cx.out.push(Action::Say { service: self.id, generation, dialect, word });
        }
    }

    /// Tells it something in a dialect in which it hears. False: in none.
    pub(super) fn tell_worker(&self, cx: &mut Cx<'_>, word: Word) -> bool {
        let hears = self.run.as_ref().filter(|r| r.alive).and_then(|r| r.talk.hears);
        if let Some(dialect) = hears {
            self.say(cx, dialect, word);
        }
        hears.is_some()
    }

    /// A line of its output or its port says that it is ready.
    pub fn on_seen_ready(&mut self, cx: &mut Cx<'_>, generation: Generation, by: ReadyBy) {
        let wanted = match (&self.spec.ready, by) {
            (Ready::Line(_), ReadyBy::Line) | (Ready::Port(_), ReadyBy::Port) => true,
            (Ready::Auto | Ready::Spawned | Ready::Reported | Ready::Fd | Ready::Line(_) | Ready::Port(_), _) => false,
        };
        if wanted && self.living() == Some(generation) {
            self.on_ready(cx, by);
        }
    }

    fn said_ready(&mut self, cx: &mut Cx<'_>, dialect: Dialect) {
        if let Some(run) = self.run.as_mut() {
            run.talk.said_ready = true;
            run.talk.reloading = false;
        }
        let enough = match self.spec.ready {
            Ready::Reported => true,
            Ready::Fd => dialect == Dialect::Fd,
            Ready::Auto | Ready::Spawned | Ready::Line(_) | Ready::Port(_) => false,
        };
        if enough {
            self.on_ready(cx, ReadyBy::Said(dialect));
        }
    }

    /// From now on it is judged by its beats and measured.
    pub(super) fn begin_life(&mut self, cx: &mut Cx<'_>) {
        let rules = &self.spec.heartbeat;
        if let Some(run) = self.run.as_mut() {
            if rules.mode != HeartbeatMode::Off && (run.beats.armed || rules.mode == HeartbeatMode::Required) {
                run.beats.begin(cx.now, rules);
            }
            run.lanes.begin(cx.now);
        }
        self.beat_step(cx, Duration::ZERO);
        self.look_at_lanes_later(cx);
        self.measure_later(cx);
    }

    // --- what it says ---

    /// A worker said something. Words of one that is not alive any more, or of another generation, mean nothing.
    pub fn on_news(&mut self, cx: &mut Cx<'_>, generation: Generation, dialect: Dialect, news: News) {
        let judged = self.spec.heartbeat.mode != HeartbeatMode::Off;
        let Some(run) = self.run.as_mut().filter(|r| r.generation == generation && r.alive) else { return };
        if !matches!(news, News::Hello | News::Lanes(_)) {
            run.talk.dialect.get_or_insert(dialect);
        }
        let understood = run.talk.note(&news);
        if dialect == Dialect::Node && run.talk.hears.is_none() && !run.talk.gone.contains(&dialect) {
            // It has no greeting: whoever speaks on this channel can be spoken to.
            run.talk.hears = Some(dialect);
            self.tell_worker(cx, Word::AskHealth);
        }
        if understood {
            return self.after_note(cx, &news);
        }
        let Some(run) = self.run.as_mut() else { return };
        match news {
            News::Hello => {
                run.talk.hears = Some(dialect);
                self.hail(cx, dialect, true);
                self.tell_worker(cx, Word::AskHealth);
            }
            News::Ready => self.said_ready(cx, dialect),
            News::Reloading => {
                run.talk.reloading = true;
                self.tell(cx, None, What::Reload);
            }
            News::Stopping => self.ends_by_itself(cx),
            News::Beat if judged => self.on_life(cx, dialect, None, false),
            News::Pong(nonce) => self.on_pong(cx, dialect, nonce, judged),
            News::Trigger if judged && matches!(self.state, State::Running { .. }) => {
                self.suspect(cx, None, Duration::ZERO, true);
            }
            News::Extend(d) => self.extend(cx, d),
            News::BeatEvery(d) if !d.is_zero() => {
                run.beats.every = Some(d);
                self.beat_step(cx, Duration::ZERO);
            }
            News::Lanes(views) => self.on_lanes(cx, views),
            News::MainPid(pid) => run.pid = Some(pid),
            News::Beat | News::Trigger | News::BeatEvery(_) => {}
            // Taken down by `note`.
            News::Status(_)
            | News::Errno(_)
            | News::TakesShutdown
            | News::Health(_)
            | News::Metrics(_)
            | News::Panic(_)
            | News::Stack { .. } => {}
        }
    }

    fn after_note(&mut self, cx: &mut Cx<'_>, news: &News) {
        let up = matches!(self.state, State::Starting { .. } | State::Running { .. });
        if let (News::Status(text), Some(run)) = (news, self.run.as_mut())
            && run.talk.status_told.is_none_or(|at| cx.now.since(at) >= STATUS_EVERY)
        {
            run.talk.status_told = Some(cx.now);
            self.tell(cx, None, What::Status { text: text.clone() });
        }
        // One that has checks is asked again; one that has none is left alone.
        if let News::Health(checks) = news
            && up
            && !checks.is_empty()
            && self.timers.get(Timer::Health).is_none()
        {
            self.timers.set(Timer::Health, cx.now.after(self.spec.heartbeat.interval));
        }
    }

    fn on_pong(&mut self, cx: &mut Cx<'_>, dialect: Dialect, nonce: Option<u64>, judged: bool) {
        let Some(run) = self.run.as_mut() else { return };
        // It listens to messages: what it does with the word `shutdown` is its own to know.
        run.talk.takes_shutdown |= dialect == Dialect::Node && run.talk.hears == Some(dialect);
        if judged {
            self.on_life(cx, dialect, nonce, true);
        }
    }

    /// A sign of life; an answer counts only for the ping that is out.
    fn on_life(&mut self, cx: &mut Cx<'_>, dialect: Dialect, nonce: Option<u64>, answer: bool) {
        let rules = &self.spec.heartbeat;
        let Some(run) = self.run.as_mut() else { return };
        let (silent, beats) = (run.hang.is_some(), &mut run.beats);
        // The first dialect that beats is the one that is judged; no other can speak for it.
        if beats.dialect.is_some_and(|d| d != dialect) {
            return;
        }
        let life = if answer {
            beats.pong(cx.now, nonce, rules, silent)
        } else {
            beats.alive(cx.now);
            true
        };
        if !life && (!beats.armed || beats.dialect.is_some()) {
            return;
        }
        beats.dialect = Some(dialect);
        if !life {
            // It has to beat, and tries to: from now on it is asked.
            return self.beat_step(cx, Duration::ZERO);
        }
        if !beats.armed {
            beats.armed = true;
            beats.next_ping = cx.now.after(rules.interval);
        }
        if run.hang.as_ref().is_some_and(|h| h.lane.is_none() && (!h.triggered || h.recorded)) {
            self.recovered(cx);
        }
        self.beat_step(cx, Duration::ZERO);
    }

    /// It is on its way down: as much silence as a stop of ours would give it, once.
    fn ends_by_itself(&mut self, cx: &mut Cx<'_>) {
        let Some(run) = self.run.as_mut() else { return };
        let first = !std::mem::replace(&mut run.talk.stopping, true);
        if first && matches!(self.state, State::Running { .. }) {
            let until = cx.now.after(self.spec.stop.timeout);
            run.beats.excused_until = run.beats.excused_until.max(Some(until));
            self.beat_step(cx, Duration::ZERO);
        }
    }

    /// It may take so long for what it is doing; bounded, so that no worker is beyond judgement.
    fn extend(&mut self, cx: &mut Cx<'_>, asked: Duration) {
        let later = |timers: &super::time::Timers, timer: Timer, until: MonoTime| {
            timers.get(timer).filter(|at| *at < until).map(|_| until)
        };
        let Some(run) = self.run.as_mut() else { return };
        match self.state {
            State::Starting { .. } => {
                let latest = run.asked_at.after(self.spec.start_timeout.saturating_mul(EXTEND_TIMES));
                if let Some(at) = later(&self.timers, Timer::Start, cx.now.after(asked).min(latest)) {
                    self.timers.set(Timer::Start, at);
                }
            }
            State::Running { .. } => {
                let patience = run.beats.patience(&self.spec.heartbeat);
                run.beats.excused_until = Some(cx.now.after(granted(asked, patience)));
                self.beat_step(cx, Duration::ZERO);
            }
            State::Stopping { step: StopStep::Ask | StopStep::Term, .. } => {
                let Some(latest) = run.stop_latest else { return };
                let until = cx.now.after(asked).min(latest);
                let both = self.timers.get(Timer::Stop).zip(self.timers.get(Timer::StopSignal));
                let lead = both.map_or(Duration::ZERO, |(kill, signal)| kill.since(signal));
                let signal = MonoTime(until.0.saturating_sub(lead));
                for (timer, until) in [(Timer::StopSignal, signal), (Timer::Stop, until)] {
                    if let Some(at) = later(&self.timers, timer, until) {
                        self.timers.set(timer, at);
                    }
                }
            }
            State::Stopping {
                step: StopStep::Dump | StopStep::Kill | StopStep::Sweep | StopStep::SweepKill, ..
            }
            | State::Stopped
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Failed
            | State::Stuck { .. } => {}
        }
    }

    /// The end of a channel. A bad frame is told of at once; an end without one may only be the beginning of the
    /// worker's own.
    pub fn on_channel_lost(
        &mut self,
        cx: &mut Cx<'_>,
        generation: Generation,
        dialect: Dialect,
        fault: Option<String>,
    ) {
        let Some(run) = self.run.as_mut().filter(|r| r.generation == generation && r.alive) else { return };
        if run.talk.gone.contains(&dialect) {
            return;
        }
        run.talk.gone.push(dialect);
        if run.talk.hears == Some(dialect) {
            run.talk.hears = None;
            run.talk.takes_shutdown = false;
        }
        if run.talk.losing.is_some() && self.timers.get(Timer::Lost).is_some() {
            // It has two of them and closes both: this one is judged like the other.
            self.lost(cx);
        }
        let Some(run) = self.run.as_mut() else { return };
        match fault {
            Some(error) => {
                self.tell(cx, None, What::ProtoError { dialect, error });
                self.deaf(cx, dialect);
            }
            None => {
                run.talk.losing = Some(dialect);
                self.timers.set(Timer::Lost, cx.now.after(LOST_GRACE));
            }
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        self.timers.clear(Timer::Lost);
        let Some(dialect) = self.run.as_mut().and_then(|r| r.talk.losing.take()) else { return };
        self.tell(cx, None, What::ChannelLost { dialect });
        self.deaf(cx, dialect);
    }

    /// Nothing more is heard in this dialect. Where beats are required that is silence like any other; else it is only
    /// noted. Whoever waits for the word `Shutdown` to be obeyed does not wait any longer.
    fn deaf(&mut self, cx: &mut Cx<'_>, dialect: Dialect) {
        let up = matches!(self.state, State::Starting { .. } | State::Running { .. });
        let Some(run) = self.run.as_mut() else { return };
        if up && run.beats.dialect == Some(dialect) && self.spec.heartbeat.mode != HeartbeatMode::Required {
            run.beats.armed = false;
            run.hang = run.hang.take().filter(|h| h.lane.is_some() || h.triggered);
            self.timers.clear(Timer::Beat);
            if run.hang.is_none() {
                self.timers.clear(Timer::Verdict);
            }
        }
        if self.run.as_ref().is_some_and(|r| r.talk.hears.is_none()) {
            self.stop_signal_now(cx);
        }
    }

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
        let Step { ping, hung, next } = run.beats.step(cx.now, late, rules);
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

    fn on_lanes(&mut self, cx: &mut Cx<'_>, views: Vec<LaneView>) {
        let Some(run) = self.run.as_mut() else { return };
        run.lanes.see(cx.now, views);
        let stuck = run.hang.as_ref().and_then(|h| h.lane.as_ref()).map(|(slot, _)| *slot);
        if stuck.is_some_and(|slot| !run.lanes.still_late(slot, cx.now)) {
            self.recovered(cx);
        }
        self.look_at_lanes_later(cx);
        let judged = matches!(self.state, State::Running { .. }) && self.spec.heartbeat.mode != HeartbeatMode::Off;
        let Some(run) = self.run.as_ref().filter(|r| judged && r.hang.is_none()) else { return };
        if run.beats.excused_until.is_some_and(|until| until > cx.now) {
            return;
        }
        let late = run.lanes.late(cx.now).map(|l| (l.view.slot, l.view.name.clone(), cx.now.since(l.moved)));
        if let Some((slot, name, silent)) = late {
            self.suspect(cx, Some((slot, name)), silent, false);
        }
    }

    fn look_at_lanes_later(&mut self, cx: &mut Cx<'_>) {
        let next = self.run.as_ref().and_then(|r| r.lanes.next_look(cx.now, self.spec.heartbeat.interval));
        let judged = matches!(self.state, State::Running { .. }) && self.spec.heartbeat.mode != HeartbeatMode::Off;
        if let Some(at) = next.filter(|_| judged) {
            self.timers.set(Timer::Lanes, at);
        }
    }

    // --- a hang ---

    /// It does not beat. A missed beat is a question: two looks, then a verdict.
    fn suspect(&mut self, cx: &mut Cx<'_>, lane: Option<(u32, String)>, silent: Duration, triggered: bool) {
        let Some(generation) = self.living() else { return };
        let Some(run) = self.run.as_mut() else { return };
        if run.hang.as_ref().is_some_and(|h| !triggered || h.triggered) {
            return;
        }
        let dialect = if lane.is_some() { Some(Dialect::Native) } else { run.beats.dialect };
        let misses = run.beats.misses;
        let named = lane.as_ref().map(|(_, name)| name.clone());
        run.hang = Some(Hang {
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
        });
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

    fn verdict_due(&mut self, cx: &mut Cx<'_>, late: Duration) {
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
    fn recovered(&mut self, cx: &mut Cx<'_>) {
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

    // --- its memory and CPU ---

    fn measure_later(&mut self, cx: &mut Cx<'_>) {
        if self.spec.limits.any() && matches!(self.state, State::Running { .. }) {
            // At the same moments for all services, so that one pass serves them.
            let every = self.spec.limits.interval.as_nanos().max(1);
            let next = (cx.now.0.as_nanos() / every + 1).saturating_mul(every);
            let next = Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
            self.timers.set(Timer::Sample, MonoTime(next));
        }
    }

    /// It was measured.
    pub fn on_sampled(&mut self, cx: &mut Cx<'_>, generation: Generation, sample: Sample) {
        if !matches!(self.state, State::Running { .. }) {
            return;
        }
        let Some(run) = self.run.as_mut().filter(|r| r.alive && r.generation == generation) else { return };
        for c in run.usage.take(sample, &self.spec.limits) {
            let cause = match c.what {
                Measure::Memory => Cause::Memory,
                Measure::Cpu => Cause::Cpu,
            };
            let what = What::Threshold {
                what: c.what,
                value: c.value,
                limit: c.limit,
                samples: c.samples,
                action: c.action,
                soft: c.soft,
            };
            let rule = super::sentences::threshold(&c);
            self.tell(cx, Some(cause), what);
            if c.soft {
                self.tell_worker(cx, Word::LowMemory);
            } else if c.action == LimitAction::Restart && matches!(self.state, State::Running { .. }) {
                self.doom(cx, cause, rule);
            }
        }
    }

    /// Its end is our doing, in order: the usual ladder, and a failure whatever its exit code.
    pub(super) fn doom(&mut self, cx: &mut Cx<'_>, cause: Cause, rule: String) {
        let Some(generation) = self.living() else { return };
        cx.out.push(Action::Gather { service: self.id, generation });
        if let Some(run) = self.run.as_mut() {
            run.doomed = Some(cause);
        }
        let ladder = self.ladder(None);
        self.begin_stop(cx, ladder, rule);
    }

    /// Everything that is known of this run, written down.
    pub(super) fn report(&self, cx: &mut Cx<'_>, cause: Cause, rule: String, over: bool) {
        let Some(run) = self.run.clone() else { return };
        let ended = self.ended.clone().filter(|_| over);
        let (service, generation) = (self.id, run.generation);
        cx.out.push(Action::Report(Box::new(ReportOrder { service, generation, cause, rule, run, ended })));
    }

    // --- time ---

    /// One due timer of a worker that is up.
    pub(super) fn on_life_timer(&mut self, cx: &mut Cx<'_>, timer: Timer, late: Duration) {
        match (timer, self.state) {
            (Timer::Start, State::Starting { .. }) => {
                let rule = format!("not ready within start_timeout {}", human(self.spec.start_timeout));
                self.doom(cx, Cause::StartTimeout, rule);
            }
            (Timer::Port, State::Starting { child }) => {
                if let Ready::Port(port) = self.spec.ready {
                    cx.out.push(Action::LookAtPort { service: self.id, generation: child, port });
                    self.timers.set(Timer::Port, cx.now.after(PORT_LOOK));
                }
            }
            (Timer::Beat, _) => self.beat_step(cx, late),
            (Timer::Verdict, State::Running { .. }) => self.verdict_due(cx, late),
            (Timer::Lanes, State::Running { child, .. }) => {
                if late >= super::heartbeat::LATE
                    && let Some(run) = self.run.as_mut()
                {
                    // We did not run: a lane that beat meanwhile shows it only by its next beat.
                    run.lanes.begin(cx.now);
                }
                cx.out.push(Action::LookAtLanes { service: self.id, generation: child });
                self.look_at_lanes_later(cx);
            }
            (Timer::Sample, State::Running { child, .. }) => {
                cx.out.push(Action::Measure { service: self.id, generation: child });
                self.measure_later(cx);
            }
            (Timer::Health, State::Starting { .. } | State::Running { .. }) => {
                if self.tell_worker(cx, Word::AskHealth) {
                    self.tell_worker(cx, Word::AskMetrics);
                    self.timers.set(Timer::Health, cx.now.after(self.spec.heartbeat.interval));
                }
            }
            (Timer::Lost, _) => self.lost(cx),
            // A timer is cleared by the changes of state that end its meaning, so no other pair can be armed.
            (Timer::Start | Timer::Port | Timer::Verdict | Timer::Lanes | Timer::Sample | Timer::Health, _) => {}
            (
                Timer::Stop
                | Timer::KillWait
                | Timer::Sweep
                | Timer::Rescan
                | Timer::Restart
                | Timer::MaxAge
                | Timer::GiveUp
                | Timer::Dump
                | Timer::StopSignal,
                _,
            ) => {}
        }
    }
}
