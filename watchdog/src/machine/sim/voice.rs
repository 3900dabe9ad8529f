//! How a process speaks, beats, works and uses memory: drawn with its script, and true whatever the machine believes.

use super::draw::{Draw, Faults};
use super::process::{draw_end, exit_code};
use crate::machine::{Dialect, Evidence, Exit, HealthCheck, LaneView, News, Numbers, ReadyBy};
use crate::spec::{Ready, Spec};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const MIB: u64 = 1 << 20;

/// What is false in its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    None,
    /// With a nonce that nobody gave it.
    Wrong,
    /// With the nonce before.
    Replay,
    /// Twice.
    Double,
}

/// What its threads are seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    Deadlocked,
    Spinning,
    Blocked,
    Starved,
    Throttled,
    Suspended,
    Unseen,
}

/// A voice.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    /// Answers come in this one, and beats.
    pub(super) dialect: Dialect,
    /// What it says after so long of life.
    pub(super) words: Vec<(Duration, Dialect, News)>,
    /// Others send datagrams to its notify socket from here to there, so often; some of its own find no room.
    pub(super) crowd: Option<(Duration, Duration, Duration)>,
    /// What is seen of it: a line of its output.
    pub(super) seen: Vec<(Duration, ReadyBy)>,
    /// Its port is open after this.
    pub(super) port: Option<Duration>,
    /// It answers a ping after this.
    pub(super) pong: Option<Duration>,
    pub(super) lie: Lie,
    /// It beats by itself so often.
    pub(super) beats: Option<Duration>,
    /// It neither answers nor beats from here to there.
    pub(super) deaf: Option<(Duration, Duration)>,
    /// How it obeys the word `Shutdown`.
    pub(super) obeys: Option<(Duration, Exit)>,
    /// Its channels end after so long; with bytes that are no words, or by being closed.
    pub(super) closes: Vec<(Duration, Dialect, Option<String>)>,
    pub(super) lanes: Vec<LaneScript>,
    pub(super) looks: Looks,
    /// A debugger holds it until then.
    pub(super) traced: Duration,
    /// To the signal that makes it show its stacks; `None`: ignored.
    pub(super) dump: Option<Duration>,
    /// What it holds at one measurement after the other.
    pub(super) memory: Vec<Option<u64>>,
    /// The same, thousandths of a core.
    pub(super) cpu: Vec<Option<u32>>,
    /// The end of its channel is heard when it dies.
    pub(super) eof: bool,
}

/// A loop inside it.
#[derive(Clone, Debug)]
pub(super) struct LaneScript {
    pub(super) name: &'static str,
    pub(super) deadline: Duration,
    pub(super) every: Duration,
    /// It does not beat from here to there.
    pub(super) stuck: (Duration, Duration),
    /// Idle before this.
    pub(super) armed: Duration,
}

impl LaneScript {
    fn view(&self, slot: u32, age: Duration) -> LaneView {
        let stuck = age.min(self.stuck.1).saturating_sub(self.stuck.0);
        let beats = (age - stuck).as_millis() / self.every.as_millis();
        let armed = age >= self.armed;
        LaneView { slot, name: self.name.into(), armed, beats: beats as u64, deadline: self.deadline }
    }
}

impl Voice {
    /// Says nothing at all.
    fn silent() -> Voice {
        Voice {
            dialect: Dialect::Native,
            words: Vec::new(),
            crowd: None,
            seen: Vec::new(),
            port: None,
            pong: None,
            lie: Lie::None,
            beats: None,
            deaf: None,
            obeys: None,
            closes: Vec::new(),
            lanes: Vec::new(),
            looks: Looks::Deadlocked,
            traced: Duration::ZERO,
            dump: Some(MS),
            memory: vec![Some(MIB)],
            cpu: vec![Some(10)],
            eof: false,
        }
    }

    /// Ready at once, in the way that is looked for, and answers.
    pub(super) fn healthy(spec: &Spec) -> Voice {
        let says = if spec.ready == Ready::Fd { Dialect::Fd } else { Dialect::Native };
        Voice {
            words: vec![(MS, Dialect::Native, News::Hello), (2 * MS, says, News::Ready)],
            seen: vec![(2 * MS, ReadyBy::Line)],
            port: Some(2 * MS),
            pong: Some(MS),
            ..Voice::silent()
        }
    }

    pub(super) fn draw(draw: &mut Draw, faults: &Faults, spec: &Spec) -> Voice {
        let mut v = Voice::silent();
        v.draw_ready(draw, faults);
        v.draw_use(draw, faults);
        v.eof = draw.chance(30);
        if draw.chance(faults.mute) {
            return v;
        }
        v.dialect = draw.pick(&[Dialect::Native, Dialect::Native, Dialect::Notify, Dialect::Notify, Dialect::Node]);
        if spec.dialects.node && draw.chance(50) {
            v.dialect = Dialect::Node;
        }
        if v.dialect == Dialect::Native || draw.chance(10) {
            v.words.push((draw.ms(&[0, 1, 50, 800]), Dialect::Native, News::Hello));
        }
        if v.dialect.is_asked() {
            v.pong = draw.chance(90).then(|| draw.ms(&[0, 1, 20, 99, 100, 101, 900, 1000, 4000, 16_000]));
        }
        if !v.dialect.is_asked() || draw.chance(10) {
            v.beats = Some(draw.ms(&[90, 500, 900, 3000, 12_000]));
        }
        if draw.chance(faults.deaf) {
            let from = draw_life(draw);
            v.deaf = Some((from, from + draw.ms(&[300, 1200, 4000, 20_000, 1 << 40])));
        }
        v.draw_extras(draw, faults);
        v
    }

    fn draw_ready(&mut self, draw: &mut Draw, faults: &Faults) {
        if draw.chance(faults.unready) {
            return;
        }
        let after = draw.ms(&[0, 1, 30, 199, 200, 1500, 2500, 10_000]);
        let dialect = draw.pick(&[Dialect::Native, Dialect::Notify, Dialect::Fd, Dialect::Fd]);
        self.words.push((after, dialect, News::Ready));
        if draw.chance(60) {
            self.seen.push((after + draw.ms(&[0, 1, 300]), ReadyBy::Line));
            self.port = Some(after + draw.ms(&[0, 1, 300]));
        }
        if draw.chance(10) {
            self.seen.push((after, ReadyBy::Port));
        }
    }

    fn draw_use(&mut self, draw: &mut Draw, faults: &Faults) {
        if draw.chance(faults.hogs) {
            let sizes = [10, 76, 79, 81, 95, 99, 101, 105, 109, 110, 111, 300];
            let level = draw.chance(40).then(|| draw.pick(&[85, 101, 105, 110]));
            let mut one = || level.filter(|_| draw.chance(90)).unwrap_or_else(|| draw.pick(&sizes));
            self.memory = (0..8).map(|_| one()).map(|m| Some(m * MIB)).collect();
            let busy = draw.chance(50);
            let loads: &[u32] = if busy { &[790, 801, 900, 1000, 2000] } else { &[0, 100, 400, 1000, 2400] };
            self.cpu = (0..7).map(|_| Some(draw.pick(loads))).collect();
            if draw.chance(20) {
                self.memory[3] = None;
                self.cpu[5] = None;
            }
        }
    }

    fn draw_extras(&mut self, draw: &mut Draw, faults: &Faults) {
        let dialect = self.dialect;
        if draw.chance(faults.lies) {
            self.lie = draw.pick(&[Lie::Wrong, Lie::Replay, Lie::Double]);
            let nonce = draw.pick(&[Some(0), Some(1), Some(2), Some(u64::MAX), None]);
            self.words.push((draw_life(draw), dialect, News::Pong(nonce)));
        }
        if draw.chance(40) {
            self.words.push((draw_life(draw), dialect, News::TakesShutdown));
            self.obeys = draw.chance(60).then(|| (draw.ms(&[0, 1, 700, 2000]), draw_end(draw)));
        }
        if draw.chance(faults.extends) {
            for _ in 0..=draw.below(3) {
                let asked = draw.pick(&[0, 1, 300, 4000, 30_000, 1 << 50]);
                self.words.push((draw_life(draw), dialect, News::Extend(MS * asked.min(u64::from(u32::MAX)) as u32)));
            }
            if draw.chance(20) {
                self.words.push((draw_life(draw), dialect, News::Extend(Duration::MAX)));
            }
        }
        if draw.chance(faults.extends) {
            // Again and again without a READY between.
            for _ in 0..=draw.below(3) {
                self.words.push((draw_life(draw), dialect, News::Reloading));
            }
        }
        if dialect == Dialect::Notify && draw.chance(40) {
            let every = draw.ms(&[0, 100, 1000, 5000, 60_000]);
            self.words.push((draw_life(draw), dialect, News::BeatEvery(every)));
        }
        if draw.chance(faults.triggers) {
            self.words.push((draw_life(draw), dialect, News::Trigger));
        }
        if draw.chance(faults.closes) {
            let fault = draw.chance(40).then(|| "a frame of 4 GiB".to_string());
            let after = draw_life(draw);
            self.closes.push((after, dialect, fault));
            if draw.chance(40) {
                self.closes.push((after + draw.ms(&[0, 1, 60, 99, 5000]), Dialect::Node, None));
            }
        }
        if draw.chance(faults.lanes) {
            self.lanes = ["consumer", "writer", "consumer"].into_iter().map(|n| LaneScript::draw(draw, n)).collect();
            self.words.push((draw.ms(&[1, 400, 3000]), Dialect::Native, News::Lanes(Vec::new())));
        }
        if draw.chance(30) {
            self.draw_small_talk(draw);
        }
        if draw.chance(faults.excuses) {
            let all =
                [Looks::Spinning, Looks::Blocked, Looks::Starved, Looks::Throttled, Looks::Suspended, Looks::Unseen];
            self.looks = draw.pick(&all);
            if draw.chance(25) {
                self.traced = draw.ms(&[5000, 20_000, 60_000]);
            }
        }
        if draw.chance(faults.crowds) {
            let from = draw_life(draw);
            self.crowd = Some((from, from + draw.ms(&[1000, 4000, 20_000, 90_000]), draw.ms(&[40, 700, 2500])));
        }
        self.dump = draw.chance(70).then(|| draw.ms(&[0, 1, 400, 499, 500, 4000]));
    }

    fn draw_small_talk(&mut self, draw: &mut Draw) {
        let check = HealthCheck { name: "db".into(), pass: draw.chance(50), message: String::new() };
        let all = [
            News::Status("warm".into()),
            News::Reloading,
            News::Stopping,
            News::MainPid(77),
            News::Errno(5),
            News::Health(vec![check]),
            News::Health(vec![]),
            News::Metrics(Numbers::default()),
            News::Histograms(Vec::new()),
            News::Panic("index out of bounds".into()),
            News::Stack { thread: "main".into(), text: "at loop".into() },
            News::Ready,
            News::Beat,
        ];
        for _ in 0..=draw.below(3) {
            self.words.push((draw_life(draw), self.dialect, draw.pick(&all)));
        }
    }

    /// Whether it neither answers nor beats at this age.
    pub(super) fn is_deaf(&self, age: Duration) -> bool {
        self.deaf.is_some_and(|(from, to)| age >= from && age < to)
    }

    /// Whether others take the room of its datagrams at this age.
    pub(super) fn is_crowded(&self, age: Duration) -> bool {
        self.crowd.is_some_and(|(from, to, _)| age >= from && age < to)
    }

    pub(super) fn views(&self, age: Duration) -> Vec<LaneView> {
        self.lanes.iter().zip(0..).map(|(lane, slot)| lane.view(slot, age)).collect()
    }

    /// What two looks at it show.
    pub(super) fn evidence(&self, age: Duration, frozen: bool) -> Evidence {
        let mut e = Evidence { span: MS * 200, cpu: MS * 2, threads: 3, ..Evidence::default() };
        (e.stopped, e.traced) = (frozen, age < self.traced);
        match self.looks {
            Looks::Deadlocked => {}
            Looks::Spinning => e.cpu = MS * 190,
            Looks::Blocked => e.blocked = 1,
            Looks::Starved => e.waited = MS * 150,
            Looks::Throttled => e.throttled = MS * 100,
            Looks::Suspended => e.suspended = MS * 60_000,
            Looks::Unseen => e = Evidence { blind: true, ..Evidence::default() },
        }
        e
    }
}

impl LaneScript {
    fn draw(draw: &mut Draw, name: &'static str) -> LaneScript {
        let from = draw.ms(&[300, 2000, 9000, 1 << 40]);
        let deadline = draw.ms(&[100, 1000, 4000]);
        LaneScript {
            name,
            deadline,
            every: deadline / draw.pick(&[2, 3, 10]),
            stuck: (from, from + draw.ms(&[500, 1300, 5000, 1 << 40])),
            armed: draw.ms(&[0, 0, 2500]),
        }
    }
}

fn draw_life(draw: &mut Draw) -> Duration {
    draw.ms(&[0, 1, 30, 400, 1300, 3000, 9000, 25_000])
}

/// The end of one that obeys.
pub(super) fn obedient() -> (Duration, Exit) {
    (MS, exit_code(0))
}
