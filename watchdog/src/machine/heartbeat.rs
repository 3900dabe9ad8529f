//! Signs of life: when to ask, what counts as an answer, and when the patience is over. Nothing here allocates for a beat.

use super::news::{Dialect, Evidence};
use super::time::MonoTime;
use super::verdict::{Sentence, Verdict};
use crate::spec::{Heartbeat, HeartbeatMode};
use serde::Serialize;
use std::time::Duration;

/// A timer of ours that is later than this says that we did not run: then nobody is judged before he was asked again.
pub(super) const LATE: Duration = Duration::from_millis(500);
/// So often in a row; a watchdog that is always late has to judge some time.
const LATE_TIMES: u32 = 3;
/// Beats whose times are kept for the report.
const RECENT: usize = 16;

/// The signs of life of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Beats {
    /// The dialect they come in.
    pub dialect: Option<Dialect>,
    /// Silence is judged.
    pub armed: bool,
    /// Nonce of the last ping; they count up from 1.
    pub nonce: u64,
    /// The ping that may still be answered in time.
    pub outstanding: Option<(u64, MonoTime)>,
    /// The first ping since the last sign of life.
    pub first_unanswered: Option<MonoTime>,
    /// The next ping.
    pub next_ping: MonoTime,
    /// Pings in a row that were not answered in time.
    pub misses: u32,
    /// The last sign of life, or when silence began to count.
    pub last: Option<MonoTime>,
    /// The worker's own word for how long it may be silent (WATCHDOG_USEC).
    pub every: Option<Duration>,
    /// Not judged before: the worker asked for so much time.
    pub excused_until: Option<MonoTime>,
    /// Not judged before: it reads its configuration again.
    pub reloading_until: Option<MonoTime>,
    /// When others last took the room of its datagrams.
    pub disturbed: Option<MonoTime>,
    /// Times in a row that we were late ourselves.
    late_times: u32,
    /// How long answers took.
    pub trips: Trips,
    /// Times of the last signs of life, the oldest first.
    pub recent: Vec<MonoTime>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Send this ping.
    pub ping: Option<u64>,
    /// The patience is over.
    pub hung: bool,
    /// When to look again; `None`: not before news.
    pub next: Option<MonoTime>,
}

/// A worker that does not beat.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hang {
    /// When the patience was over.
    pub since: MonoTime,
    /// The dialect that fell silent.
    pub dialect: Option<Dialect>,
    /// The lane that is stuck; `None`: the worker as a whole.
    pub lane: Option<(u32, String)>,
    /// Silent for so long then.
    pub silent: Duration,
    /// It asked for it (WATCHDOG=trigger): no excuse counts.
    pub triggered: bool,
    /// Intervals that it was given.
    pub extensions: u32,
    /// The first look was taken; the second is to come.
    pub looked: bool,
    /// How late our own timer was when it was suspected.
    pub late: Duration,
    /// Reported (`on_hang = record`): nothing more follows before it beats again.
    pub recorded: bool,
    /// What was found, the oldest first; a few.
    pub found: Vec<Finding>,
}

/// One verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// When.
    pub at: MonoTime,
    /// What.
    pub verdict: Verdict,
    /// What followed.
    pub sentence: Sentence,
    /// From what it was read.
    pub evidence: Evidence,
}

/// Findings kept of one hang.
pub(super) const FINDINGS: usize = 16;

impl Beats {
    /// How long it may be silent, from the last sign of life on (or, where it is asked, from the first ping without an
    /// answer).
    pub fn patience(&self, rules: &Heartbeat) -> Duration {
        let misses = rules.misses.max(1);
        match self.dialect.is_some_and(Dialect::is_asked) {
            true => rules.interval.saturating_mul(misses - 1).saturating_add(rules.timeout),
            false => self.every.unwrap_or(rules.interval.saturating_mul(misses)),
        }
    }

    /// Silence is judged from now on.
    pub fn begin(&mut self, now: MonoTime, rules: &Heartbeat) {
        // A first ping, sent to find out whether it speaks, may still be answered.
        self.outstanding = self.outstanding.filter(|_| self.dialect.is_none()).map(|(nonce, _)| (nonce, now));
        self.first_unanswered = None;
        self.misses = 0;
        self.next_ping = now;
        self.last = Some(now);
        self.armed |= rules.mode == HeartbeatMode::Required;
    }

    /// A ping that is sent before anything is judged: whoever answers it speaks. At most one at a time.
    pub fn hail(&mut self, now: MonoTime) -> Option<u64> {
        match self.outstanding {
            // Said in a second dialect as well: it is still one question.
            Some((nonce, _)) if !self.armed => return Some(nonce),
            Some(_) => return None,
            None => {}
        }
        self.nonce = self.nonce.saturating_add(1);
        self.outstanding = Some((self.nonce, now));
        Some(self.nonce)
    }

    /// An answer. False: it is not one to the ping that is out, so it says nothing. One that comes too late is a miss, but
    /// of a worker that is found silent already it says that it has come back.
    pub fn pong(&mut self, now: MonoTime, nonce: Option<u64>, rules: &Heartbeat, silent: bool) -> bool {
        let Some((asked, sent)) = self.outstanding.filter(|(n, _)| nonce.is_none_or(|given| given == *n)) else {
            return false;
        };
        debug_assert_eq!(asked, self.nonce);
        let took = now.since(sent);
        if self.armed && !silent && took > rules.timeout {
            return false;
        }
        self.outstanding = None;
        if self.armed {
            self.trips.record(took);
        }
        self.alive(now);
        true
    }

    /// A sign of life of any kind.
    pub fn alive(&mut self, now: MonoTime) {
        self.first_unanswered = None;
        self.misses = 0;
        self.late_times = 0;
        self.last = Some(now);
        if self.recent.len() >= RECENT {
            self.recent.rotate_left(1);
            self.recent.pop();
        } else if self.recent.capacity() == 0 {
            self.recent.reserve_exact(RECENT);
        }
        self.recent.push(now);
    }

    /// What is due. To be called when the time of the last step has come, or after news; `late`: how long ago that time
    /// was.
    pub fn step(&mut self, now: MonoTime, late: Duration, rules: &Heartbeat) -> Step {
        if !self.armed {
            return Step::default();
        }
        // Words that waited while we did not run come before the timer: then the end of the patience says it.
        let late = late.max(self.due(rules).map_or(Duration::ZERO, |due| now.since(due)));
        if late >= LATE && self.late_times < LATE_TIMES && self.over(now, rules) {
            // We did not run ourselves: ask again before anybody is judged (case HAN-25).
            self.late_times += 1;
            self.begin(now, rules);
        }
        match self.dialect.is_some_and(Dialect::is_asked) {
            true => self.ask(now, rules),
            false => {
                let due = self.due(rules);
                Step { ping: None, hung: due.is_some_and(|at| at <= now), next: due }
            }
        }
    }

    fn ask(&mut self, now: MonoTime, rules: &Heartbeat) -> Step {
        if self.outstanding.is_some_and(|(_, sent)| now.since(sent) >= rules.timeout) {
            self.outstanding = None;
            self.misses = self.misses.saturating_add(1);
        }
        if self.over(now, rules) {
            // The last ping may have gone out late: its own time is not over, the patience is.
            self.misses = self.misses.max(rules.misses);
            return Step { ping: None, hung: true, next: None };
        }
        let mut ping = None;
        if self.outstanding.is_none() && self.next_ping <= now {
            ping = self.hail(now);
            self.first_unanswered.get_or_insert(now);
            self.next_ping = now.after(rules.interval);
        }
        let answer = self.outstanding.map(|(_, sent)| sent.after(rules.timeout));
        let next = answer.unwrap_or(self.next_ping);
        Step { ping, hung: false, next: Some(self.due(rules).map_or(next, |due| due.min(next))) }
    }

    /// When the patience is over, as things are.
    fn due(&self, rules: &Heartbeat) -> Option<MonoTime> {
        let from = match self.dialect.is_some_and(Dialect::is_asked) {
            true => self.first_unanswered,
            false => self.last.map(|at| self.disturbed.map_or(at, |other| at.max(other))),
        };
        let due = from?.after(self.patience(rules));
        Some(self.excused().map_or(due, |until| until.max(due)))
    }

    /// Until when no silence is judged.
    pub fn excused(&self) -> Option<MonoTime> {
        self.excused_until.max(self.reloading_until)
    }

    fn over(&self, now: MonoTime, rules: &Heartbeat) -> bool {
        self.due(rules).is_some_and(|due| due <= now)
    }

    /// Late, and not yet hung: answers are missing or slow, or most of the patience is used up.
    pub fn is_late(&self, now: MonoTime, rules: &Heartbeat) -> bool {
        let slow = self.trips.quantile(99).is_some_and(|p99| p99 >= rules.timeout / 2);
        let silent = !self.dialect.is_some_and(Dialect::is_asked)
            && self.last.is_some_and(|at| now.since(at) >= self.patience(rules) / 3 * 2);
        self.armed && (self.misses > 0 || slow || silent)
    }
}

/// Buckets of an octave, and octaves: from 1 us to over a day, each bucket a quarter of its octave wide.
const PARTS: usize = 4;
const OCTAVES: usize = 37;

/// How long answers took: a histogram with buckets that grow, as HDR histograms have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trips {
    buckets: Vec<u32>,
    /// Answers in all.
    pub count: u64,
    /// The sum of their times, in microseconds.
    pub sum_us: u64,
}

impl Trips {
    fn record(&mut self, took: Duration) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; PARTS * OCTAVES];
        }
        if let Some(bucket) = self.buckets.get_mut(bucket(took)) {
            *bucket = bucket.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.sum_us = self.sum_us.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Those of another run as well.
    pub(super) fn add(&mut self, other: &Trips) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            for (n, more) in self.buckets.iter_mut().zip(&other.buckets) {
                *n = n.saturating_add(*more);
            }
        }
        self.count = self.count.saturating_add(other.count);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// How many took less than 2^`octave` microseconds.
    pub fn below(&self, octave: usize) -> u64 {
        self.buckets.iter().take(octave * PARTS).map(|n| u64::from(*n)).sum()
    }

    /// The time in which so many percent of the answers came: the upper end of its bucket.
    pub fn quantile(&self, percent: u64) -> Option<Duration> {
        let wanted = (self.buckets.iter().map(|n| u64::from(*n)).sum::<u64>() * percent).div_ceil(100);
        let mut seen = 0;
        let at = self.buckets.iter().position(|n| {
            seen += u64::from(*n);
            *n > 0 && seen >= wanted
        })?;
        Some(Duration::from_micros(upper(at)))
    }
}

fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let octave = us.ilog2() as usize;
    let part = if octave >= 2 { (us >> (octave - 2)) as usize & (PARTS - 1) } else { 0 };
    (octave * PARTS + part).min(PARTS * OCTAVES - 1)
}

fn upper(bucket: usize) -> u64 {
    let (octave, part) = (bucket / PARTS, bucket % PARTS);
    match octave {
        0 => 1,
        1 => 3,
        _ => ((PARTS + part + 1) as u64) << (octave - 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: fn() -> Heartbeat = Heartbeat::default;

    fn at(ms: u64) -> MonoTime {
        MonoTime(Duration::from_millis(ms))
    }

    fn asked() -> Beats {
        let mut beats = Beats { dialect: Some(Dialect::Native), armed: true, ..Beats::default() };
        beats.begin(at(0), &RULES());
        beats
    }

    /// Goes from step to step until hung; who answers says how long each answer takes.
    fn hung_at(beats: &mut Beats, answer: impl Fn(u64) -> Option<u64>, until: u64) -> Option<u64> {
        let (mut now, mut pongs) = (0, Vec::new());
        while now < until {
            pongs.retain(|(when, nonce)| {
                let due = *when <= now;
                if due {
                    beats.pong(at(*when), Some(*nonce), &RULES(), false);
                }
                !due
            });
            let step = beats.step(at(now), Duration::ZERO, &RULES());
            if step.hung {
                return Some(now);
            }
            if let Some(nonce) = step.ping {
                pongs.extend(answer(nonce).map(|ms| (now + ms, nonce)));
            }
            let next = step.next.map_or(u64::MAX, |t| t.0.as_millis() as u64);
            let next = pongs.iter().map(|p: &(u64, u64)| p.0).min().unwrap_or(u64::MAX).min(next);
            now = next.max(now + 1);
        }
        None
    }

    #[test]
    fn a_deaf_worker_is_hung_after_two_intervals_and_a_timeout() {
        assert_eq!(hung_at(&mut asked(), |_| None, 100_000), Some(25_000));
    }

    #[test]
    fn an_answer_in_time_is_life_and_a_late_one_is_none() {
        assert_eq!(hung_at(&mut asked(), |_| Some(3500), 1_000_000), None);
        assert_eq!(hung_at(&mut asked(), |_| Some(7500), 1_000_000), Some(25_000));
        assert_eq!(hung_at(&mut asked(), |n| (n % 3 == 0).then_some(10), 1_000_000), None, "two of three missed");
    }

    #[test]
    fn only_the_nonce_that_is_out_counts() {
        let mut beats = asked();
        let first = beats.step(at(0), Duration::ZERO, &RULES()).ping;
        assert!(!beats.pong(at(1), Some(99), &RULES(), false) && beats.pong(at(2), first, &RULES(), false));
        assert!(!beats.pong(at(3), first, &RULES(), false), "twice");
        assert!(!beats.pong(at(3), None, &RULES(), false), "unasked");
    }

    #[test]
    fn a_late_answer_is_a_miss_and_from_a_silent_worker_its_return() {
        let mut beats = asked();
        let first = beats.step(at(0), Duration::ZERO, &RULES()).ping;
        assert!(!beats.pong(at(9000), first, &RULES(), false));
        assert!(beats.pong(at(90_000), first, &RULES(), true) && beats.last == Some(at(90_000)));
    }

    #[test]
    fn a_watchdog_that_did_not_run_asks_again_before_it_judges() {
        let mut beats = asked();
        beats.step(at(0), Duration::ZERO, &RULES());
        let step = beats.step(at(600_000), Duration::from_secs(595), &RULES());
        assert!(!step.hung && step.ping.is_some());
        let mut again = beats;
        assert_eq!(again.step(at(625_000), Duration::ZERO, &RULES()), Step { ping: None, hung: true, next: None });
    }

    #[test]
    fn a_worker_that_beats_by_itself_has_its_own_patience() {
        let mut beats = Beats { dialect: Some(Dialect::Notify), armed: true, ..Beats::default() };
        beats.alive(at(0));
        assert_eq!(beats.step(at(29_999), Duration::ZERO, &RULES()).next, Some(at(30_000)));
        assert!(beats.step(at(30_000), Duration::ZERO, &RULES()).hung);
        beats.every = Some(Duration::from_secs(2));
        assert!(beats.step(at(2000), Duration::ZERO, &RULES()).hung);
        beats.excused_until = Some(at(9000));
        assert_eq!(
            beats.step(at(2000), Duration::ZERO, &RULES()),
            Step { ping: None, hung: false, next: Some(at(9000)) }
        );
    }

    #[test]
    fn quantiles_are_within_a_quarter() {
        let mut trips = Trips::default();
        assert_eq!(trips.quantile(50), None);
        for us in 1..=1000 {
            trips.record(Duration::from_micros(us));
        }
        let (p50, p99) = (trips.quantile(50).expect("some"), trips.quantile(99).expect("some"));
        assert!((500..=640).contains(&p50.as_micros()) && (990..=1280).contains(&p99.as_micros()), "{p50:?} {p99:?}");
        assert_eq!([0, 4, 9, 10, 36].map(|octave| trips.below(octave)), [0, 15, 511, 1000, 1000]);
        let mut twice = Trips::default();
        twice.add(&trips);
        twice.add(&trips);
        assert_eq!((twice.below(4), twice.count, twice.sum_us), (30, 2000, 1_001_000));
        trips.record(Duration::MAX);
        trips.record(Duration::ZERO);
    }
}
