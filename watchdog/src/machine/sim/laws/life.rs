//! A worker that is up, as the contract words it: when it counts as ready, what it may be told, how long it may put a
//! deadline off, and what the end of a channel means.

use super::beats::Beats;
use super::hang::{Hang, Lane};
use super::limits::Usage;
use super::wanted::Told;
use super::witness::{Phase, Witness};
use crate::machine::sim::sometimes::Rare;
use crate::machine::{Cause, Dialect, MonoTime, News, ReadyBy, Timer, Timers, Word};
use crate::spec::{HeartbeatMode, Ready};
use std::time::Duration;

/// No deadline is put off to more than so many times what it was.
const TIMES: u32 = 10;
/// A channel that ends so shortly before its worker is no news.
const WITH_ITS_WORKER: Duration = Duration::from_millis(100);
const PORT_LOOK: Duration = Duration::from_millis(50);

/// What was heard of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) hears: Option<Dialect>,
    pub(super) takes_word: bool,
    /// It is on its way down by itself.
    said_stopping: bool,
    reloading: bool,
    status_told: Option<MonoTime>,
    losing: Option<Dialect>,
    gone: Vec<Dialect>,
    pub(super) beats: Beats,
    pub(super) hang: Option<Hang>,
    pub(super) lanes: Vec<Lane>,
    pub(super) has_lanes: bool,
    pub(super) usage: Usage,
    /// Its checks that fail, by name.
    pub(super) failing: Vec<String>,
}

impl Witness {
    pub(super) fn judged(&self) -> bool {
        self.spec.heartbeat.mode != HeartbeatMode::Off
    }

    pub(super) fn must_beat(&self) -> bool {
        self.spec.heartbeat.mode == HeartbeatMode::Required
    }

    pub(super) fn say(&mut self, dialect: Dialect, word: Word) {
        self.want.said.push((dialect, word));
    }

    pub(super) fn say_if_it_hears(&mut self, word: Word) -> bool {
        let hears = self.run.life.hears;
        if let Some(dialect) = hears {
            self.say(dialect, word);
        }
        hears.is_some()
    }

    // --- becoming ready ---

    pub(super) fn await_ready(&mut self, now: MonoTime) {
        if self.spec.dialects.node {
            self.hail(now, Dialect::Node);
        }
        match self.spec.ready {
            Ready::Auto | Ready::Spawned => return self.ready(now, ReadyBy::Spawned),
            Ready::Port(_) => self.run.dues.set(Timer::Port, now),
            Ready::Alive(stays) => self.run.dues.set(Timer::Stays, now.after(stays)),
            Ready::Reported | Ready::Fd | Ready::Line(_) | Ready::Probe => {}
        }
        if let Some(limit) = self.limit() {
            self.run.dues.set(Timer::Start, now.after(limit));
        }
    }

    /// start_timeout: what was given; else 30 s, and 5 s more than it has to stay.
    fn limit(&self) -> Option<Duration> {
        let (usual, second) = (Duration::from_secs(30), Duration::from_secs(5));
        let limit = match (self.spec.start_timeout, &self.spec.ready) {
            (Some(given), _) => given,
            (None, Ready::Alive(stays)) => usual.max(*stays + second),
            (None, _) => usual,
        };
        (limit != Duration::MAX).then_some(limit)
    }

    /// It had to stay to be ready, and did not.
    pub(super) fn early(&self) -> bool {
        matches!(self.spec.ready, Ready::Alive(_)) && self.run.ready.is_none()
    }

    pub(super) fn ready(&mut self, now: MonoTime, by: ReadyBy) {
        self.run.ready = Some(now);
        self.want.tell("ready");
        self.want.ready = Some(by);
        self.run.dues.clear(Timer::Start);
        self.run.dues.clear(Timer::Port);
        self.run.dues.clear(Timer::Stays);
        let must = self.must_beat();
        let life = &mut self.run.life;
        if self.spec.heartbeat.mode != HeartbeatMode::Off && (must || life.beats.armed) {
            life.beats.armed = true;
            life.beats.count_from(now);
        }
        life.lanes.iter_mut().for_each(|lane| lane.moved = now);
        self.beat_step(now, Duration::ZERO);
        self.lanes_later(now);
        self.sample_later(now);
    }

    /// Alive and neither ready nor being ended.
    pub(super) fn starting(&self) -> bool {
        self.phase == Phase::Alive && self.run.ready.is_none() && !self.ending()
    }

    pub(super) fn seen_ready(&mut self, now: MonoTime, generation: u64, by: ReadyBy) {
        if generation != self.generation || !self.starting() {
            return;
        }
        match (&self.spec.ready, by) {
            (Ready::Line(_), ReadyBy::Line) => self.seen.saw(Rare::ReadyLine),
            (Ready::Port(_), ReadyBy::Port) => self.seen.saw(Rare::ReadyPort),
            _ => return self.seen.saw(Rare::ReadyInVain),
        }
        self.ready(now, by);
    }

    fn said_ready(&mut self, now: MonoTime, dialect: Dialect) {
        if !self.starting() {
            return;
        }
        match self.spec.ready {
            Ready::Reported => self.seen.saw(Rare::ReadyReported),
            Ready::Fd if dialect == Dialect::Fd => self.seen.saw(Rare::ReadyFd),
            _ => return self.seen.saw(Rare::ReadyInVain),
        }
        self.ready(now, ReadyBy::Said(dialect));
    }

    // --- what it says ---

    pub(super) fn says(&mut self, now: MonoTime, generation: u64, dialect: Dialect, news: &News) -> Result<(), String> {
        if generation != self.generation || self.phase != Phase::Alive {
            self.seen.saw(Rare::NewsOfTheDead);
            return Ok(());
        }
        let life = &mut self.run.life;
        if dialect == Dialect::Node && life.hears.is_none() && !life.gone.contains(&dialect) {
            life.hears = Some(dialect);
            self.ask_how_it_is(now);
        }
        match news {
            News::Hello => {
                self.run.life.hears = Some(dialect);
                self.hail(now, dialect);
                self.ask_how_it_is(now);
            }
            News::Ready => {
                self.has_reloaded(now);
                self.said_ready(now, dialect);
            }
            News::Reloading => self.reloads(now),
            News::Status(_) => {
                let told = self.run.life.status_told;
                if told.is_none_or(|at| now.since(at) >= Duration::from_millis(100)) {
                    self.run.life.status_told = Some(now);
                    self.want.tell("status");
                }
            }
            News::TakesShutdown => self.run.life.takes_word = true,
            News::Health(checks) => {
                let failing = checks.iter().filter(|check| !check.pass);
                self.run.life.failing = failing.map(|check| check.name.clone()).collect();
            }
            News::Stopping => {
                let first = !std::mem::replace(&mut self.run.life.said_stopping, true);
                if first && self.running() {
                    let grace = now.after(self.spec.stop.timeout);
                    let beats = &mut self.run.life.beats;
                    beats.excused = Some(beats.excused.map_or(grace, |until| until.max(grace)));
                    self.beat_step(now, Duration::ZERO);
                }
            }
            News::Beat => self.beat(now, dialect, None),
            News::Pong(nonce) => {
                self.run.life.takes_word |= dialect == Dialect::Node && self.run.life.hears == Some(dialect);
                self.beat(now, dialect, Some(*nonce));
            }
            News::Trigger if self.running() && self.judged() => {
                self.seen.saw(Rare::Trigger);
                self.suspect(now, None, true);
            }
            News::Extend(d) => self.extend(now, *d),
            News::BeatEvery(d) if !d.is_zero() => {
                self.run.life.beats.every = Some(*d);
                self.beat_step(now, Duration::ZERO);
            }
            News::Lanes(views) => self.sees_lanes(now, views),
            _ => {}
        }
        Ok(())
    }

    /// Silence while it reads its configuration is its own affair, for as long as a stop would give it.
    fn reloads(&mut self, now: MonoTime) {
        self.want.tell("reload");
        let until = now.after(self.spec.stop.timeout);
        let life = &mut self.run.life;
        if !std::mem::replace(&mut life.reloading, true) {
            life.beats.reloads = Some(until);
        }
        self.beat_step(now, Duration::ZERO);
    }

    fn has_reloaded(&mut self, now: MonoTime) {
        let running = self.running();
        let life = &mut self.run.life;
        if !std::mem::take(&mut life.reloading) {
            return;
        }
        life.beats.reloads = None;
        if running && life.hang.is_none() && life.beats.armed {
            self.seen.saw(Rare::ReloadOver);
            life.beats.count_from(now);
        }
        life.lanes.iter_mut().for_each(|lane| lane.moved = now);
        self.beat_step(now, Duration::ZERO);
    }

    /// The main process has named another one and ended. Only in the middle of a stop anything follows, and at once.
    pub(super) fn handed_over(&mut self, generation: u64, told: bool) {
        if generation != self.generation || self.phase != Phase::Alive || self.run.killed.is_some() {
            return;
        }
        if self.run.kill_due.is_none() || self.run.dumping {
            return self.seen.saw(Rare::HandedOver);
        }
        let asked = self.run.dues.get(Timer::StopSignal).is_some();
        self.run.dues.clear(Timer::StopSignal);
        if asked || !told {
            self.seen.saw(Rare::HandedOverInStop);
            self.want.signals.push((self.stop_signal(), true, self.spec.stop.scope));
        }
    }

    /// Datagrams of others came: what they say is nothing, and the silence they may have made is not judged.
    pub(super) fn foreign(&mut self, now: MonoTime, generation: u64) {
        if generation == self.generation && self.phase == Phase::Alive {
            self.run.life.beats.crowded = now;
            if self.running() && self.run.life.beats.armed {
                self.seen.saw(Rare::Crowded);
            }
            self.beat_step(now, Duration::ZERO);
        }
    }

    /// One that hears is asked for its checks and its numbers at once and in each interval, whether it has any or not.
    fn ask_how_it_is(&mut self, now: MonoTime) {
        if self.say_if_it_hears(Word::AskHealth) {
            self.say_if_it_hears(Word::AskMetrics);
            if self.starting() || self.running() {
                self.run.dues.set(Timer::Health, now.after(self.spec.heartbeat.interval));
            }
        }
    }

    /// A deadline is put off, never brought forward, and never beyond its bound.
    fn extend(&mut self, now: MonoTime, asked: Duration) {
        if self.phase != Phase::Alive {
            return;
        }
        if let Some(old) = self.run.kill_due.filter(|_| self.run.killed.is_none()) {
            let until = now.after(asked).min(self.run.latest);
            let lead = self.run.dues.get(Timer::StopSignal).map_or(Duration::ZERO, |at| old.since(at));
            if now.after(asked) > self.run.latest {
                self.seen.saw(Rare::ExtendBounded);
            }
            later(&mut self.run.dues, Timer::StopSignal, MonoTime(until.0.saturating_sub(lead)));
            if until > old {
                self.seen.saw(Rare::StopExtended);
                self.run.kill_due = Some(until);
            }
        } else if self.running() {
            let beats = &mut self.run.life.beats;
            let most = beats.patience(&self.spec.heartbeat).saturating_mul(TIMES);
            beats.excused = Some(now.after(asked.min(most)));
            self.beat_step(now, Duration::ZERO);
        } else if self.starting() {
            let limit = self.limit().unwrap_or(Duration::MAX);
            let latest = self.run.asked_for.after(limit.saturating_mul(TIMES));
            if later(&mut self.run.dues, Timer::Start, now.after(asked).min(latest)) {
                self.seen.saw(Rare::StartExtended);
            }
        }
    }

    // --- its channels ---

    pub(super) fn channel_lost(&mut self, now: MonoTime, generation: u64, dialect: Dialect, fault: bool) {
        if generation != self.generation || self.phase != Phase::Alive {
            return self.seen.saw(Rare::LostWithTheWorker);
        }
        let life = &mut self.run.life;
        if life.gone.contains(&dialect) {
            return;
        }
        life.gone.push(dialect);
        if life.hears == Some(dialect) {
            (life.hears, life.takes_word) = (None, false);
        }
        if life.losing.is_some() && self.run.dues.get(Timer::Lost).is_some() {
            self.seen.saw(Rare::TwoLost);
            self.lost(now);
        }
        if fault {
            self.seen.saw(Rare::ProtoError);
            self.want.tell("proto-error");
            self.deaf(now, dialect);
        } else {
            self.run.life.losing = Some(dialect);
            self.run.dues.set(Timer::Lost, now.after(WITH_ITS_WORKER));
        }
    }

    pub(super) fn lost(&mut self, now: MonoTime) {
        self.run.dues.clear(Timer::Lost);
        let Some(dialect) = self.run.life.losing.take() else { return };
        self.seen.saw(Rare::ChannelLost);
        self.want.tell("channel-lost");
        self.deaf(now, dialect);
    }

    fn deaf(&mut self, now: MonoTime, dialect: Dialect) {
        let judged = !self.must_beat() && !self.ending();
        let life = &mut self.run.life;
        if judged && life.beats.dialect == Some(dialect) {
            if life.beats.armed {
                self.seen.saw(Rare::Disarmed);
            }
            life.beats.armed = false;
            life.hang = life.hang.take().filter(|h| h.lane.is_some() || h.triggered);
            self.run.dues.clear(Timer::Beat);
            if life.hang.is_none() {
                self.run.dues.clear(Timer::Verdict);
            }
        }
        if self.run.life.hears.is_none() {
            self.stop_signal_now(now);
        }
    }

    /// Told to end and not ended: the stop signal.
    pub(super) fn stop_signal_now(&mut self, _now: MonoTime) {
        if self.run.dues.get(Timer::StopSignal).is_some() {
            self.seen.saw(Rare::WordIgnored);
            self.run.dues.clear(Timer::StopSignal);
            self.want.signals.push((self.stop_signal(), true, self.spec.stop.scope));
        }
    }

    // --- clients ---

    pub(super) fn can_reload(&self) -> bool {
        self.phase == Phase::Alive && (self.spec.reload_signal.is_some() || self.run.life.hears.is_some())
    }

    pub(super) fn can_be_told(&self) -> bool {
        self.phase == Phase::Alive && self.run.life.hears.is_some()
    }

    pub(super) fn reload(&mut self) {
        self.seen.saw(Rare::Reloaded);
        match self.spec.reload_signal {
            Some(signal) => self.want.signals.push((signal, false, crate::spec::Scope::Main)),
            None => {
                self.say_if_it_hears(Word::Reload);
            }
        }
    }

    pub(super) fn tell_it(&mut self, word: &str) {
        self.seen.saw(Rare::Told);
        self.say_if_it_hears(Word::Tell(word.into()));
    }

    // --- time ---

    /// A due moment of a living worker.
    pub(super) fn fire(&mut self, now: MonoTime, timer: Timer, late: Duration) -> Result<(), String> {
        match timer {
            Timer::Stop => {
                self.seen.saw(Rare::Killed);
                self.kill(now);
            }
            Timer::KillWait => {
                self.seen.saw(Rare::Stuck);
                self.run.stuck = true;
                self.run.dues.clear_all();
                self.want.tell("stuck");
            }
            Timer::StopSignal => {
                self.seen.saw(Rare::WordIgnored);
                self.want.signals.push((self.stop_signal(), true, self.spec.stop.scope));
            }
            Timer::Dump => {
                self.seen.saw(Rare::DumpKilled);
                self.kill(now);
            }
            Timer::MaxAge => return self.age(now),
            Timer::Start => {
                self.seen.saw(Rare::StartTimeout);
                self.doom(now, Cause::StartTimeout);
            }
            Timer::Stays => {
                self.seen.saw(Rare::ReadyAlive);
                self.ready(now, ReadyBy::Alive);
            }
            Timer::Port => {
                self.want.ports += 1;
                self.run.dues.set(Timer::Port, now.after(PORT_LOOK));
            }
            Timer::Beat => self.beat_step(now, late),
            Timer::Lanes => self.lanes_due(now, late),
            Timer::Verdict => self.verdict_due(now, late),
            Timer::Sample => {
                self.want.measures += 1;
                self.sample_later(now);
            }
            Timer::Health => self.ask_how_it_is(now),
            Timer::Lost => self.lost(now),
            Timer::Sweep
            | Timer::Rescan
            | Timer::Restart
            | Timer::GiveUp
            | Timer::Probe
            | Timer::File
            | Timer::FileLimit => {}
        }
        Ok(())
    }

    /// Our doing, in order: the ladder, and a failure whatever comes of it.
    pub(super) fn doom(&mut self, now: MonoTime, cause: Cause) {
        self.want.gathers += 1;
        self.run.doomed = Some(cause);
        self.climb(now, self.stop_signal(), self.spec.stop.timeout);
    }

    pub(super) fn report(&mut self, cause: Cause, over: bool) {
        self.want.reports.push(Told { cause, over, of_hang: cause == Cause::Hang });
    }
}

/// Puts a deadline off; never brings it forward, never makes one.
fn later(dues: &mut Timers, timer: Timer, until: MonoTime) -> bool {
    let put_off = dues.get(timer).is_some_and(|at| at < until);
    if put_off {
        dues.set(timer, until);
    }
    put_off
}
