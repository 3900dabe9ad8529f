//! A worker that is up: when it counts as ready, what it says, and the ends of its channels. How it is judged by its beats
//! stands in `hang`, by what it uses in `usage`.

use super::news::*;
use super::sentences::human;
use super::service::{Cx, Service};
use super::state::{State, StopStep};
use super::talk::{EXTEND_TIMES, granted};
use super::time::{MonoTime, Timer};
use super::words::*;
use crate::spec::{HeartbeatMode, Kind, Ready};
use std::time::Duration;

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
        self.begin_probes(cx);
        self.await_what_makes_it_ready(cx);
    }

    /// Also when other settings decide about that than at its start.
    pub(super) fn await_what_makes_it_ready(&mut self, cx: &mut Cx<'_>) {
        let probes = self.spec.ready_by_probes();
        let begun = self.run.as_ref().and_then(|r| r.spawned).unwrap_or(cx.now);
        if self.spec.kind == Kind::Oneshot {
            return self.await_completion(cx);
        }
        match self.spec.ready {
            Ready::Auto if probes => {}
            Ready::Auto | Ready::Spawned => return self.on_ready(cx, ReadyBy::Spawned),
            Ready::Port(_) => self.timers.set(Timer::Port, cx.now),
            Ready::Alive(stays) => self.timers.set(Timer::Stays, begun.after(stays)),
            Ready::Reported | Ready::Fd | Ready::Line(_) | Ready::Probe => {}
        }
        let by = match &self.spec.ready {
            Ready::Fd => "its newline on WATCHDOG_READY_FD".into(),
            Ready::Line(text) => format!("a line with {text:?}"),
            Ready::Port(port) => format!("its port {port}"),
            Ready::Probe => "its probe".into(),
            Ready::Auto => "its probes".into(),
            Ready::Alive(stays) => format!("it to be still there {} after its start", human(*stays)),
            Ready::Reported | Ready::Spawned => "its READY".into(),
        };
        self.reason = format!("started; waiting for {by}");
        self.limit_the_start(begun);
    }

    /// Its deadline, where its start has one. Once its startup probes have passed there is none left.
    fn limit_the_start(&mut self, begun: MonoTime) {
        let passed = self.spec.ready_by_probes() && self.startup_passed();
        match self.spec.start_limit().filter(|_| !passed) {
            Some(limit) => self.timers.set(Timer::Start, begun.after(limit)),
            None => self.timers.clear(Timer::Start),
        }
    }

    /// It is run once: it is done, and so as good as ready, when it has ended well.
    fn await_completion(&mut self, cx: &mut Cx<'_>) {
        self.reason = "running; it is done when it ends well".into();
        let begun = self.run.as_ref().and_then(|r| r.spawned).unwrap_or(cx.now);
        if let Some(limit) = self.spec.start_limit() {
            self.timers.set(Timer::Start, begun.after(limit));
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
            (
                Ready::Auto
                | Ready::Spawned
                | Ready::Alive(_)
                | Ready::Reported
                | Ready::Fd
                | Ready::Line(_)
                | Ready::Port(_)
                | Ready::Probe,
                _,
            ) => false,
        };
        if wanted && self.living() == Some(generation) {
            self.on_ready(cx, by);
        }
    }

    /// It reads its configuration: its silence is not judged before it says that it is ready again, or for as long as a
    /// stop would give it. Saying so once more makes it no longer.
    fn said_reloading(&mut self, cx: &mut Cx<'_>) {
        let until = cx.now.after(self.spec.stop.timeout);
        let Some(run) = self.run.as_mut() else { return };
        if !std::mem::replace(&mut run.talk.reloading, true) {
            run.beats.reloading_until = Some(until);
        }
        self.tell(cx, None, What::Reload);
        self.beat_step(cx, Duration::ZERO);
    }

    /// Its silence counts from here again.
    fn has_reloaded(&mut self, cx: &mut Cx<'_>) {
        let rules = &self.spec.heartbeat;
        let Some(run) = self.run.as_mut() else { return };
        run.beats.reloading_until = None;
        if matches!(self.state, State::Running { .. }) && run.hang.is_none() && run.beats.armed {
            run.beats.begin(cx.now, rules);
        }
        run.lanes.begin(cx.now);
        self.beat_step(cx, Duration::ZERO);
    }

    fn said_ready(&mut self, cx: &mut Cx<'_>, dialect: Dialect) {
        let mut reloaded = false;
        if let Some(run) = self.run.as_mut() {
            run.talk.said_ready = true;
            reloaded = std::mem::take(&mut run.talk.reloading);
        }
        if reloaded {
            self.has_reloaded(cx);
        }
        let enough = match self.spec.ready {
            Ready::Reported => true,
            Ready::Fd => dialect == Dialect::Fd,
            Ready::Auto | Ready::Spawned | Ready::Alive(_) | Ready::Line(_) | Ready::Port(_) | Ready::Probe => false,
        };
        if enough {
            self.on_ready(cx, ReadyBy::Said(dialect));
        }
    }

    /// From now on it is judged by its beats and measured.
    pub(super) fn begin_life(&mut self, cx: &mut Cx<'_>) {
        if !self.spec.kind.has_process() {
            return;
        }
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
    #[inline(never)]
    pub fn on_news(&mut self, cx: &mut Cx<'_>, generation: Generation, dialect: Dialect, news: News) {
        let judged = self.spec.heartbeat.mode != HeartbeatMode::Off;
        let Some(run) = self.run.as_mut().filter(|r| r.generation == generation && r.alive) else { return };
        if !matches!(news, News::Hello | News::Lanes(_)) {
            run.talk.dialect.get_or_insert(dialect);
        }
        let understood = run.talk.note(cx.now, &news);
        if dialect == Dialect::Node && run.talk.hears.is_none() && !run.talk.gone.contains(&dialect) {
            // It has no greeting: whoever speaks on this channel can be spoken to.
            run.talk.hears = Some(dialect);
            self.ask_how_it_is(cx);
        }
        if understood {
            return self.after_note(cx, &news);
        }
        let Some(run) = self.run.as_mut() else { return };
        match news {
            News::Hello => {
                run.talk.hears = Some(dialect);
                self.hail(cx, dialect, true);
                self.ask_how_it_is(cx);
            }
            News::Ready => self.said_ready(cx, dialect),
            News::Reloading => self.said_reloading(cx),
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
            News::Beat | News::Trigger | News::BeatEvery(_) | News::MainPid(_) => {}
            // Taken down by `note`.
            News::Status(_)
            | News::Errno(_)
            | News::TakesShutdown
            | News::Health(_)
            | News::Metrics(_)
            | News::Histograms(_)
            | News::Panic(_)
            | News::Stack { .. } => {}
        }
    }

    fn after_note(&mut self, cx: &mut Cx<'_>, news: &News) {
        if let (News::Status(text), Some(run)) = (news, self.run.as_mut())
            && run.talk.status_told.is_none_or(|at| cx.now.since(at) >= STATUS_EVERY)
        {
            run.talk.status_told = Some(cx.now);
            self.tell(cx, None, What::Status { text: text.clone() });
        }
    }

    /// One that hears is asked for its checks and its numbers, now and once an interval: it may have some later.
    fn ask_how_it_is(&mut self, cx: &mut Cx<'_>) {
        let up = matches!(self.state, State::Starting { .. } | State::Running { .. });
        if self.tell_worker(cx, Word::AskHealth) {
            self.tell_worker(cx, Word::AskMetrics);
            if up {
                self.timers.set(Timer::Health, cx.now.after(self.spec.heartbeat.interval));
            }
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
                let limit = self.spec.start_limit().unwrap_or(Duration::MAX);
                let latest = run.asked_at.after(limit.saturating_mul(EXTEND_TIMES));
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
            | State::Waiting
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

    // --- its main process, and who speaks for it ---

    /// Whether another process of its tree may take the place of its main process when that ends. Not of one that is being
    /// killed: what is left of its tree is ended then.
    pub fn may_hand_over(&self) -> bool {
        match self.state {
            State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { step: StopStep::Ask | StopStep::Term, .. } => true,
            State::Stopping {
                step: StopStep::Dump | StopStep::Kill | StopStep::Sweep | StopStep::SweepKill, ..
            }
            | State::Stopped
            | State::Waiting
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Failed
            | State::Stuck { .. } => false,
        }
    }

    /// Its main process has ended, and another one of its tree that it had named is the main one. One that comes while it is
    /// being stopped gets the stop signal at once; the grace goes on.
    pub fn on_handed_over(&mut self, cx: &mut Cx<'_>, generation: Generation, pid: i32, told: bool) {
        let Some(run) = self.run.as_mut().filter(|r| r.generation == generation && r.alive) else { return };
        run.pid = Some(pid);
        match self.state {
            State::Stopping { step: StopStep::Ask, .. } => self.stop_signal_now(cx),
            State::Stopping { step: StopStep::Term, .. } if !told => {
                self.signal(cx, self.stop_signal(), self.spec.stop.scope, true);
            }
            State::Stopping {
                step: StopStep::Term | StopStep::Dump | StopStep::Kill | StopStep::Sweep | StopStep::SweepKill,
                ..
            }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopped
            | State::Waiting
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Failed
            | State::Stuck { .. } => {}
        }
    }

    /// Datagrams of others were in its notify socket, and may have kept its own out: its silence by datagrams counts from here.
    pub fn on_foreign(&mut self, cx: &mut Cx<'_>, generation: Generation, count: u64) {
        let Some(run) = self.run.as_mut().filter(|r| r.generation == generation && r.alive) else { return };
        run.talk.foreign = run.talk.foreign.saturating_add(count);
        run.beats.disturbed = Some(cx.now);
        self.beat_step(cx, Duration::ZERO);
    }

    // --- time ---

    /// One due timer of a worker that is up.
    pub(super) fn on_life_timer(&mut self, cx: &mut Cx<'_>, timer: Timer, late: Duration) {
        match (timer, self.state) {
            (Timer::Start, State::Starting { .. }) => {
                let rule = self.start_rule();
                self.doom(cx, Cause::StartTimeout, rule);
            }
            (Timer::Port, State::Starting { child }) => {
                if let Ready::Port(port) = self.spec.ready {
                    cx.out.push(Action::LookAtPort { service: self.id, generation: child, port });
                    self.timers.set(Timer::Port, cx.now.after(PORT_LOOK));
                }
            }
            (Timer::Probe, _) => self.probes_due(cx),
            (Timer::Stays, State::Starting { .. }) => self.on_ready(cx, ReadyBy::Alive),
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
            (Timer::Health, State::Starting { .. } | State::Running { .. }) => self.ask_how_it_is(cx),
            (Timer::Lost, _) => self.lost(cx),
            // A timer is cleared by the changes of state that end its meaning, so no other pair can be armed.
            (
                Timer::Start
                | Timer::Stays
                | Timer::Port
                | Timer::Verdict
                | Timer::Lanes
                | Timer::Sample
                | Timer::Health,
                _,
            ) => {}
            (
                Timer::Stop
                | Timer::KillWait
                | Timer::Sweep
                | Timer::Rescan
                | Timer::Restart
                | Timer::MaxAge
                | Timer::GiveUp
                | Timer::Dump
                | Timer::File
                | Timer::FileLimit
                | Timer::StopSignal,
                _,
            ) => {}
        }
    }
}
