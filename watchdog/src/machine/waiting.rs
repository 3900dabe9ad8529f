//! One service among others: a start that waits, a stop that lets its dependents go first. What decides when they go on
//! stands in `arrange`.

use super::service::{Cx, Ladder, Service};
use super::state::{Goal, State};
use super::time::{MonoTime, Timer};
use super::words::*;
use crate::spec::{Autostart, Condition, Kind};
use serde::Serialize;
use std::time::Duration;

/// Between two looks for the file that a start waits for.
const FILE_LOOK: Duration = Duration::from_secs(1);
/// How long it is waited for where no setting says so.
const FILE_LIMIT: Duration = Duration::from_secs(60);

/// What is to be done as soon as nobody has to be gone before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// What.
    pub leave: Leave,
    /// Its dependents do not have to be gone, and stay.
    pub alone: bool,
    /// Why, as a sentence.
    pub reason: String,
}

/// How it is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Leave {
    /// Down, and stay so.
    Down(Ladder),
    /// Down, and up again.
    Anew {
        /// Without grace.
        force: bool,
        /// Why.
        cause: Cause,
    },
}

impl Service {
    /// Whether something of it is up (or coming up), so that what it needs must be there.
    pub fn active(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Running { .. })
    }

    /// Whether a wish for many (a target, a pattern) to run again is one for it: it is neither done nor stopped.
    pub fn is_meant_to_run(&self) -> bool {
        !matches!(self.state, State::Done | State::Stopped)
    }

    /// Whether somebody who must wait until it is gone has to wait.
    pub(super) fn present(&self) -> bool {
        self.active() || matches!(self.state, State::Stopping { .. })
    }

    /// Whether it is on its way down, or will be.
    pub(super) fn leaving(&self) -> bool {
        // A stop that waits for the exec to be over is one as well.
        let pending =
            matches!(self.state, State::Starting { .. }) && (self.pending.is_some() || self.free_start.is_some());
        self.goal == Goal::Down || self.held.is_some() || pending || matches!(self.state, State::Stopping { .. })
    }

    /// Its start, if it has to wait for anything: a look at the others decides.
    pub(super) fn wait(&mut self, cx: &mut Cx<'_>, cause: Option<Cause>, reason: String) {
        self.start_reason.clone_from(&reason);
        self.enter(cx, State::Waiting, cause, reason);
        self.await_file(cx);
    }

    /// The file that its start waits for, if there is one.
    pub(super) fn await_file(&mut self, cx: &mut Cx<'_>) {
        self.file_there = false;
        self.timers.clear(Timer::File);
        self.timers.clear(Timer::FileLimit);
        if self.spec.place.wait_for_file.is_some() {
            cx.out.push(Action::LookAtFile { service: self.id });
            let limit = self.spec.place.wait_for_file_timeout.unwrap_or(FILE_LIMIT);
            if limit < Duration::MAX {
                self.timers.set(Timer::FileLimit, cx.now.after(limit));
            }
        }
    }

    /// Nothing is in the way any more.
    pub(super) fn go_on(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        if self.told_blocked {
            self.tell(cx, None, What::Unblocked);
        }
        let (cause, reason) = (self.cause, std::mem::take(&mut self.start_reason));
        self.start_now(cx, cause, reason);
    }

    /// What is in the way, as the last look has found it.
    pub(super) fn note_blockers(&mut self, cx: &mut Cx<'_>, waiting_on: Vec<String>, hopeless: bool, reason: String) {
        let worse = hopeless && !self.hopeless;
        self.hopeless = hopeless;
        self.waiting_on = waiting_on;
        self.reason = reason;
        if !self.told_blocked || worse {
            self.told_blocked = true;
            let what = What::Blocked { waiting_on: self.waiting_on.clone(), hopeless, reason: self.reason.clone() };
            self.tell(cx, Some(Cause::Dependency), what);
        }
    }

    /// Whether the file is there that it waits for.
    pub fn on_file_seen(&mut self, cx: &mut Cx<'_>, there: bool) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        self.file_there = there;
        match there {
            true => {
                self.timers.clear(Timer::File);
                self.timers.clear(Timer::FileLimit);
            }
            false => self.timers.set(Timer::File, cx.now.after(FILE_LOOK)),
        }
    }

    /// One of the two timers of that file.
    pub(super) fn on_file_timer(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        if timer == Timer::File {
            cx.out.push(Action::LookAtFile { service: self.id });
            return;
        }
        let file = self.spec.place.wait_for_file.clone().unwrap_or_default();
        let limit = self.spec.place.wait_for_file_timeout.unwrap_or(FILE_LIMIT);
        let reason = format!(
            "{} was not there within {} (wait_for_file, wait_for_file_timeout)",
            file.display(),
            super::sentences::human(limit)
        );
        self.leave = true;
        self.status = Some(1);
        self.enter(cx, State::Failed, Some(Cause::Dependency), reason);
    }

    /// Nobody has to be gone before it any more: down or anew.
    pub(super) fn let_go(&mut self, cx: &mut Cx<'_>, held: Held) {
        self.held = None;
        match held.leave {
            Leave::Down(ladder) => self.want_down(cx, ladder, &held.reason),
            Leave::Anew { force, cause } => {
                self.lone = held.alone;
                if cause == Cause::Requested {
                    self.want_anew(cx, force);
                } else {
                    self.recycle(cx, force, cause, held.reason);
                }
            }
        }
    }

    /// A stop and a start that nobody asked for, and that are no failure.
    pub(super) fn recycle(&mut self, cx: &mut Cx<'_>, force: bool, cause: Cause, reason: String) {
        if self.goal == Goal::Down || !self.active() {
            return;
        }
        if cause != Cause::MaxAge {
            // Of its age it was told when it was reached.
            let by = By { kind: ByKind::Policy, signal: None, pid: None, uid: None };
            self.tell(cx, Some(cause), What::RestartRequested { by });
        }
        self.free_start = Some(cause);
        self.mark_requested();
        let ladder = self.ladder(force.then_some(Duration::ZERO));
        self.begin_stop(cx, ladder, reason);
    }

    /// A service without a process is down at once, or up again if that is wanted.
    pub(super) fn leave_without_process(&mut self, cx: &mut Cx<'_>, reason: String) {
        self.end_probes(cx);
        if let Some(run) = self.run.as_mut() {
            run.ready = None;
        }
        match self.free_start.take() {
            Some(cause) if self.goal == Goal::Up => self.spawn(cx, Some(cause), reason),
            _ => self.rest(cx, Some(Cause::Requested), reason),
        }
    }

    // --- as others see it ---

    /// Whether a condition on it holds at this moment.
    pub fn meets(&self, condition: Condition) -> bool {
        let done = matches!(self.state, State::Done);
        match condition {
            Condition::Started => {
                let runs = self.living().is_some() || !self.spec.kind.has_process();
                (self.active() && runs) || done
            }
            Condition::Ready => {
                matches!(self.state, State::Running { .. }) || (done && self.spec.kind == Kind::Oneshot)
            }
            Condition::Completed => done,
        }
    }

    /// Whether it has ever been so.
    pub fn has_met(&self, condition: Condition) -> bool {
        match condition {
            Condition::Started => self.ever.started,
            Condition::Ready => self.ever.ready,
            Condition::Completed => self.ever.completed,
        }
    }

    /// Takes down what it meets now, for those to whom once is enough.
    pub(super) fn remember_what_it_meets(&mut self) {
        self.ever.started |= self.meets(Condition::Started);
        self.ever.ready |= self.meets(Condition::Ready);
        self.ever.completed |= self.meets(Condition::Completed);
    }

    /// Whether nothing that will happen by itself brings it up.
    pub(super) fn is_lost(&self) -> bool {
        match self.state {
            State::Failed | State::Stuck { .. } => true,
            State::Stopped => !self.wanted || self.asked == Some(Goal::Down) || self.removed,
            State::Waiting => self.hopeless,
            State::Done
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::CrashLoop { .. } => false,
        }
    }

    /// Whether those who only come after it need not wait for it.
    pub(super) fn settled(&self) -> bool {
        match self.state {
            State::Running { .. } => self.probes_ready() || self.spec.kind == Kind::Probe,
            State::Done | State::Failed | State::Backoff { .. } | State::CrashLoop { .. } | State::Stuck { .. } => true,
            State::Stopped => !self.wanted || self.asked == Some(Goal::Down) || self.removed,
            State::Waiting => self.hopeless,
            State::Starting { .. } | State::Stopping { .. } => false,
        }
    }

    /// Whether it starts when another needs it and nobody has said anything about it.
    pub(super) fn follows_need(&self) -> bool {
        self.asked.is_none() && self.spec.place.autostart == Autostart::No
    }

    /// The earliest of its timers.
    pub(super) fn due(&self) -> Option<MonoTime> {
        self.timers.next()
    }
}

/// What it has ever been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ever {
    /// Its program ran.
    pub started: bool,
    /// It was ready.
    pub ready: bool,
    /// It ended well.
    pub completed: bool,
}
