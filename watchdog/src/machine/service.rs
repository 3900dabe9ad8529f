//! One service: one small function per event, every state named in each. Nothing here asks the time, opens anything or
//! can fail; an event that means nothing in a state is answered with nothing.

use super::ends::{RESCAN, STUCK_LOOK, SWEEP_LOOK};
use super::heartbeat::Trips;
use super::restart::{Book, jittered};
use super::sentences::{errno_name, human};
use super::state::{EarlyEnd, Ended, Goal, Run, State, StopStep};
use super::time::{MonoTime, Timer, Timers};
use super::waiting::{Ever, Held, Leave};
use super::words::*;
use crate::spec::{Kind, Scope, SignalNumber, Spec, TEXT_BUSY_FOR};
use serde::Serialize;
use std::time::Duration;

/// SIGTERM and the other two numbers the machine itself needs.
pub(crate) const TERM: SignalNumber = libc::SIGTERM;
pub(crate) const KILL: SignalNumber = libc::SIGKILL;
pub(crate) const INT: SignalNumber = libc::SIGINT;

/// Between two tries of a program file that is being written.
const BUSY_RETRY: Duration = Duration::from_millis(100);

/// How a stop is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ladder {
    /// First signal.
    pub signal: SignalNumber,
    /// Grace after it.
    pub grace: Duration,
}

/// What one step of the machine is given and gives.
pub struct Cx<'a> {
    /// Now.
    pub now: MonoTime,
    /// What is to be done.
    pub out: &'a mut Actions,
    /// Dice for the jitter.
    pub dice: &'a mut Dice,
}

/// SplitMix64: plain data, so that a seed and the events reproduce a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z >> 32) as u32 ^ z as u32
    }
}

/// One service.
#[derive(Clone, Debug, Serialize)]
pub struct Service {
    /// Its place.
    pub id: ServiceId,
    /// What it should be.
    pub spec: Box<Spec>,
    /// What is wanted.
    pub goal: Goal,
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: MonoTime,
    /// The last generation used.
    pub last: Generation,
    /// The current run, or the last one.
    pub run: Option<Run>,
    /// Round trips of the runs before.
    pub trips: Trips,
    /// How the last run ended.
    pub ended: Option<Box<Ended>>,
    /// A start that is free of limits and delay, as soon as nothing of the old tree lives.
    pub free_start: Option<Cause>,
    /// The ladder of a stop that was asked for while the exec was under way: climbed as soon as there is a process.
    pub pending: Option<Ladder>,
    /// Some exec succeeded.
    pub ever_ran: bool,
    /// The program file is busy since then.
    pub busy_since: Option<MonoTime>,
    /// That it puts itself into the background has been told.
    pub told_background: bool,
    /// The last status, as the watchdog would end with it.
    pub status: Option<u8>,
    /// Why it is where it is.
    pub cause: Option<Cause>,
    /// The same as a sentence, with the rule and its numbers.
    pub reason: String,
    /// Restarts and delays.
    pub book: Book,
    /// What was left of the tree at the last look.
    pub left: Vec<i32>,
    /// Whether this end is the end of a watchdog in the prefix form.
    pub leave: bool,
    /// Armed timers.
    pub timers: Timers,
    /// The wish of a person, or of `autostart`; `None`: as long as another needs it.
    pub asked: Option<Goal>,
    /// That wish is a person's.
    pub by_hand: bool,
    /// Who asked for it to be down, as long as that is so.
    pub stopped_by: Option<By>,
    /// By that wish, or by another service that needs it.
    pub wanted: bool,
    /// It is to leave as soon as others are gone.
    pub held: Option<Held>,
    /// Its start may have to wait: it goes through `Waiting`.
    pub gated: bool,
    /// Others must be gone before it is stopped.
    pub leads: bool,
    /// By name: what its start waits for.
    pub waiting_on: Vec<String>,
    /// Nothing that will happen by itself ends that.
    pub hopeless: bool,
    /// That it waits has been told.
    pub told_blocked: bool,
    /// Why it is to start.
    pub start_reason: String,
    /// The file that its start waits for has been seen.
    pub file_there: bool,
    /// It is restarted by itself: dependents stay.
    pub lone: bool,
    /// What it has ever been.
    pub ever: Ever,
    /// It has just failed in a way that may mean something for others.
    pub crashed: bool,
    /// Not in the file any more.
    pub removed: bool,
    /// Settings that come with the next start.
    pub next: Option<Box<Spec>>,
}

impl Service {
    /// A service that wants to be up and has not begun.
    pub fn new(id: ServiceId, spec: impl Into<Box<Spec>>) -> Service {
        Service {
            id,
            spec: spec.into(),
            goal: Goal::Up,
            state: State::Stopped,
            since: MonoTime::ZERO,
            last: Generation(0),
            run: None,
            trips: Trips::default(),
            ended: None,
            free_start: None,
            pending: None,
            ever_ran: false,
            busy_since: None,
            told_background: false,
            status: None,
            cause: None,
            reason: "not started yet".into(),
            book: Book::default(),
            left: Vec::new(),
            leave: false,
            timers: Timers::default(),
            asked: Some(Goal::Up),
            by_hand: false,
            stopped_by: None,
            wanted: false,
            held: None,
            gated: false,
            leads: false,
            waiting_on: Vec::new(),
            hopeless: false,
            told_blocked: false,
            start_reason: String::new(),
            file_there: false,
            lone: false,
            ever: Ever::default(),
            crashed: false,
            removed: false,
            next: None,
        }
    }

    /// Ready, or a oneshot that is done: as `status` says it.
    pub fn is_ready(&self) -> bool {
        match self.state {
            State::Running { .. } => self.probes_ready(),
            State::Done => self.spec.kind == Kind::Oneshot,
            State::Stopped
            | State::Waiting
            | State::Starting { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Failed
            | State::Stuck { .. } => false,
        }
    }

    /// The generation whose main process may be signalled now.
    pub fn living(&self) -> Option<Generation> {
        self.run.as_ref().filter(|r| r.alive).map(|r| r.generation)
    }

    /// The generation of whose tree something is being ended, its main process being gone.
    pub fn swept(&self) -> Option<Generation> {
        match self.state {
            State::Stopping { child, step: StopStep::Sweep | StopStep::SweepKill } => Some(child),
            State::Stuck { child } if self.living().is_none() => Some(child),
            State::Stopping { .. }
            | State::Stuck { .. }
            | State::Stopped
            | State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. }
            | State::Done
            | State::Failed => None,
        }
    }

    /// The signal that a stop begins with.
    pub fn stop_signal(&self) -> SignalNumber {
        self.spec.stop.signal.unwrap_or(TERM)
    }

    // --- the only doors ---

    pub(super) fn enter(&mut self, cx: &mut Cx<'_>, state: State, cause: Option<Cause>, reason: String) {
        // The same process: what belongs to its life goes on.
        let becomes_ready = matches!(
            (self.state, state),
            (State::Starting { child: before }, State::Running { child, .. }) if before == child
        );
        if becomes_ready {
            self.timers.keep_only(&Timer::OF_LIFE);
        } else {
            self.timers.clear_all();
        }
        self.pending = None;
        // What was told of a wait belongs to that wait.
        self.waiting_on.clear();
        (self.hopeless, self.told_blocked) = (false, false);
        if state.is_terminal() {
            self.free_start = None;
        }
        if state.is_terminal() || matches!(state, State::Running { .. }) {
            self.lone = false;
        }

        self.state = state;
        self.since = cx.now;
        self.cause = cause;
        self.reason = reason;
    }

    pub(super) fn tell(&self, cx: &mut Cx<'_>, cause: Option<Cause>, what: What) {
        let run = self.run.as_ref();
        cx.out.push(Action::Tell(Notice {
            service: Some(self.id),
            generation: run.map(|r| r.generation),
            pid: run.and_then(|r| r.pid),
            cause,
            what,
        }));
    }

    pub(super) fn signal(&self, cx: &mut Cx<'_>, signal: SignalNumber, scope: Scope, wake: bool) {
        if let Some(generation) = self.living() {
            cx.out.push(Action::Signal { service: self.id, generation, signal, scope, wake });
        }
    }

    /// A start; one that may have to wait for others waits for a look at them.
    pub(super) fn spawn(&mut self, cx: &mut Cx<'_>, cause: Option<Cause>, reason: String) {
        (self.free_start, self.leave) = (None, false);
        match self.gated {
            true => self.wait(cx, cause, reason),
            false => self.start_now(cx, cause, reason),
        }
    }

    pub(super) fn start_now(&mut self, cx: &mut Cx<'_>, cause: Option<Cause>, reason: String) {
        if let Some(next) = self.next.take() {
            self.spec = next;
        }
        self.last = Generation(self.last.0.saturating_add(1));
        if let Some(before) = &self.run {
            self.trips.add(&before.beats.trips);
        }
        self.run = Some(Run::new(self.last, cx.now));
        self.free_start = None;
        self.left.clear();
        self.leave = false;
        self.enter(cx, State::Starting { child: self.last }, cause, reason);
        match self.spec.kind {
            Kind::Service | Kind::Oneshot => cx.out.push(Action::Spawn { service: self.id, generation: self.last }),
            Kind::Target => self.on_ready(cx, ReadyBy::Requirements),
            Kind::Probe => {
                if let Some(run) = self.run.as_mut() {
                    run.spawned = Some(cx.now);
                }
                self.reason = "waiting for its probes".into();
                self.begin_probes(cx);
            }
        }
    }

    // --- events from the process ---

    /// The exec succeeded.
    pub fn on_spawned(&mut self, cx: &mut Cx<'_>, generation: Generation, pid: i32) {
        let State::Starting { child } = self.state else { return };
        // One that lives and is not ready yet was told of already.
        if child != generation || self.living().is_some() {
            return;
        }
        let mut early = None;
        if let Some(run) = self.run.as_mut() {
            run.pid = Some(pid);
            run.spawned = Some(cx.now);
            run.alive = true;
            early = run.early_end.take();
        }
        self.ever_ran = true;
        self.ever.started = true;
        self.busy_since = None;
        self.tell(cx, self.cause, What::Spawn);
        if let Some(early) = early {
            let EarlyEnd { exit, seen_alive, left } = *early;
            return self.on_exited(cx, generation, exit, seen_alive, left);
        }
        // One that is held is ended when its dependents are gone, and not before.
        let goes_on = self.held.is_some() || (self.goal == Goal::Up && self.free_start.is_none());
        if goes_on && self.pending.is_none() {
            return self.await_ready(cx);
        }
        // The wish changed while the exec was under way.
        let ladder = self.pending.take().unwrap_or_else(|| self.ladder(None));
        let wish = if self.goal == Goal::Down { "stop" } else { "restart" };
        self.begin_stop(cx, ladder, format!("{wish} asked for while it was starting"));
    }

    /// What was waited for has come.
    pub(super) fn on_ready(&mut self, cx: &mut Cx<'_>, by: ReadyBy) {
        let State::Starting { child } = self.state else { return };
        let begun = self.run.as_ref().and_then(|r| r.spawned).unwrap_or(cx.now);
        if let Some(run) = self.run.as_mut() {
            run.ready = Some(cx.now);
            run.ready_by = Some(by);
        }
        let how = match by {
            ReadyBy::Spawned => "ready when spawned".into(),
            ReadyBy::Said(dialect) => format!("it said that it is ready ({})", dialect.word()),
            ReadyBy::Line => "ready by a line of its output".into(),
            ReadyBy::Port => "ready by its port".into(),
            ReadyBy::Alive => format!("it was still there {} after its start", human(cx.now.since(begun))),
            ReadyBy::Probe => "ready by its probes".into(),
            ReadyBy::Requirements => "all that it requires is there".into(),
        };
        let cause = self.cause;
        self.enter(cx, State::Running { child, since: cx.now }, cause, format!("running; {how}"));
        self.tell(cx, None, What::Ready { by });
        self.begin_life(cx);
        self.age_from(cx, cx.now);
    }

    /// It is recycled at its `max_age`, if there is one.
    pub(super) fn age_from(&mut self, cx: &mut Cx<'_>, since: MonoTime) {
        match self.spec.max_age {
            Some(age) => {
                let age = jittered(age, self.spec.max_age_jitter, cx.dice.roll());
                self.timers.set(Timer::MaxAge, since.after(age));
            }
            None => self.timers.clear(Timer::MaxAge),
        }
    }

    /// No process came of it.
    pub fn on_spawn_failed(&mut self, cx: &mut Cx<'_>, generation: Generation, failure: SpawnFailure) {
        let State::Starting { child } = self.state else { return };
        // One that lives and is not ready yet was told of already.
        if child != generation || self.living().is_some() {
            return;
        }
        if failure.step == Step::PreStart && failure.errno == libc::ECANCELED {
            return self.called_off(cx);
        }
        let kind = failure.kind();
        self.status = Some(failure.status());
        let reason = format!("{} {:?} failed: {}", failure.step.word(), failure.path, errno_name(failure.errno));
        if kind == FailureKind::Busy && !self.ever_ran && self.goal == Goal::Up {
            let since = *self.busy_since.get_or_insert(cx.now);
            if cx.now.since(since) < TEXT_BUSY_FOR {
                self.enter(cx, State::Backoff { attempt: 0 }, Some(Cause::SpawnFailed), reason);
                self.timers.set(Timer::Restart, cx.now.after(BUSY_RETRY));
                return;
            }
        }
        self.busy_since = None;
        let SpawnFailure { step, errno, path } = failure;
        self.tell(cx, Some(Cause::SpawnFailed), What::SpawnFailed { path, step, errno });
        if self.goal == Goal::Down {
            return self.rest(cx, Some(Cause::Requested), reason);
        }
        if !self.ever_ran && kind != FailureKind::Shortage {
            self.leave = true;
            return self.enter(cx, State::Failed, Some(Cause::SpawnFailed), reason);
        }
        if self.free_start.take().is_some() {
            return self.spawn(cx, Some(Cause::Requested), "restart asked for".into());
        }
        self.judge(cx, Cause::SpawnFailed, true, false, reason);
    }

    /// A stop or a restart came before there was a process, and the start was called off: no failure of its own.
    fn called_off(&mut self, cx: &mut Cx<'_>) {
        self.busy_since = None;
        match self.goal {
            Goal::Up => {
                let cause = self.free_start.take().unwrap_or(Cause::Requested);
                self.spawn(cx, Some(cause), "a stop before it was started was taken back".into());
            }
            Goal::Down => {
                let (cause, why) = self.why_down();
                self.rest(cx, Some(cause), format!("{why}, before it was started"));
            }
        }
    }

    // --- time ---

    /// One due timer.
    #[inline(never)]
    pub fn on_timer(&mut self, cx: &mut Cx<'_>, timer: Timer, late: Duration) {
        match (timer, self.state) {
            (Timer::StopSignal, _) => self.stop_signal_now(cx),
            (Timer::Dump, State::Stopping { child, step: StopStep::Dump }) => {
                let time = cx.now.since(self.since);
                let reason = format!("{}; still there after {}", self.reason, human(time));
                self.kill(cx, child, self.cause, time, reason);
            }
            (Timer::Stop, State::Stopping { child, step: StopStep::Ask | StopStep::Term }) => {
                // What it was given, and not what it had because we were late.
                let grace = cx.now.since(self.since).saturating_sub(late);
                let reason = format!("{}; did not end within its grace of {}: SIGKILL", self.reason, human(grace));
                self.kill(cx, child, self.cause, grace, reason);
            }
            (Timer::KillWait, State::Stopping { child, step: StopStep::Kill }) => self.stuck(cx, child),
            (Timer::KillWait, State::Stopping { child, step: StopStep::SweepKill }) => {
                // If we stalled, the last look is old: `on_tree` decides by a new one, and this timer is not armed any
                // more.
                self.look(cx, child, RESCAN);
            }
            (Timer::Sweep, State::Stopping { child, step: StopStep::Sweep }) => self.sweep_kill(cx, child),
            (Timer::Rescan, State::Stopping { child, step: StopStep::SweepKill }) => self.look(cx, child, RESCAN),
            (Timer::Rescan, State::Stopping { child, step: StopStep::Sweep }) => self.look(cx, child, SWEEP_LOOK),
            (Timer::Rescan, State::Stuck { child }) => self.look(cx, child, STUCK_LOOK),
            (Timer::Restart, _) => self.restart_due(cx),
            // One that is held leaves already, and perhaps for good.
            (Timer::MaxAge, State::Running { .. }) if self.held.is_none() => self.too_old(cx),
            (Timer::File | Timer::FileLimit, _) => self.on_file_timer(cx, timer),
            (Timer::GiveUp, State::Failed) => {
                cx.out.push(Action::EndGiveUp { service: self.id });
                self.leave = true;
            }
            // A timer is cleared by every change of state, so no other pair can be armed.
            (
                Timer::Stop
                | Timer::KillWait
                | Timer::Sweep
                | Timer::Rescan
                | Timer::MaxAge
                | Timer::GiveUp
                | Timer::Dump,
                _,
            ) => {}
            (
                Timer::Start
                | Timer::Stays
                | Timer::Port
                | Timer::Beat
                | Timer::Lanes
                | Timer::Verdict
                | Timer::Sample
                | Timer::Health
                | Timer::Lost
                | Timer::Probe,
                _,
            ) => self.on_life_timer(cx, timer, late),
        }
    }

    fn too_old(&mut self, cx: &mut Cx<'_>) {
        let by = By { kind: ByKind::Policy, signal: None, pid: None, uid: None };
        self.tell(cx, Some(Cause::MaxAge), What::RestartRequested { by });
        let age = self.spec.max_age.unwrap_or_default();
        let reason = format!("older than max_age {} (jitter {}%)", human(age), self.spec.max_age_jitter);
        if self.leads {
            let leave = Leave::Anew { force: false, cause: Cause::MaxAge };
            self.held = Some(Held { leave, alone: false, reason });
        } else {
            self.recycle(cx, false, Cause::MaxAge, reason);
        }
    }
}
