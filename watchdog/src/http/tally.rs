//! What is counted of services from the beginning of the watchdog on. A count never goes back, whatever becomes of the
//! processes it is about.

use crate::machine::*;
use crate::sys::reading::Reading;
use std::collections::BTreeMap;
use std::time::Duration;

/// Readings so young are not taken anew: many who ask at the same time cost as much as one.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// All counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(super) events: BTreeMap<&'static str, u64>,
    services: Vec<Counted>,
}

/// The counts of one service.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Starts after the first one, by what made them necessary.
    pub(super) restarts: BTreeMap<&'static str, u64>,
    pub(super) exits: BTreeMap<End, u64>,
    pub(super) probes: BTreeMap<String, Tries>,
    /// Samples above a limit, in the order of [`Over`].
    pub(super) over: [u64; 3],
    /// Datagrams to its notify socket from senders that may not speak for it.
    pub(super) denied: u64,
    /// CPU time of generations that are over.
    past: Duration,
    /// And of the one that was measured last.
    present: (Generation, Duration),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Code(i32),
    Signal(i32),
}

/// The tries of one probe.
#[derive(Debug, Default)]
pub(super) struct Tries {
    pub(super) results: BTreeMap<&'static str, u64>,
    pub(super) took: Duration,
}

/// A limit that a sample was above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Memory,
    SoftMemory,
    Cpu,
}

impl Over {
    pub(super) const ALL: [(&'static str, Over); 3] =
        [("memory", Over::Memory), ("memory_soft", Over::SoftMemory), ("cpu", Over::Cpu)];
}

impl Tally {
    fn at(&mut self, id: ServiceId) -> &mut Counted {
        let at = id.0 as usize;
        if self.services.len() <= at {
            self.services.resize_with(at + 1, Counted::default);
        }
        &mut self.services[at]
    }

    pub(super) fn of(&self, id: ServiceId) -> Option<&Counted> {
        self.services.get(id.0 as usize)
    }

    /// Datagrams of senders that may not speak for it.
    pub(crate) fn denied(&mut self, id: ServiceId, count: u64) {
        let all = &mut self.at(id).denied;
        *all = all.saturating_add(count);
    }

    /// Something happened.
    pub(crate) fn note(&mut self, notice: &Notice) {
        *self.events.entry(notice.what.name()).or_default() += 1;
        let (Some(id), Some(generation)) = (notice.service, notice.generation) else { return };
        if notice.what == What::Spawn && generation.0 > 1 {
            let cause = notice.cause.map_or("unknown", Cause::word);
            *self.at(id).restarts.entry(cause).or_default() += 1;
        }
        if let What::Exit { exit, .. } = &notice.what {
            self.at(id).exited(generation, exit);
        }
    }

    /// A try of a probe is over.
    pub(crate) fn probed(&mut self, id: ServiceId, name: &str, known: usize, answer: &Answer) {
        let probes = &mut self.at(id).probes;
        if !probes.contains_key(name) {
            // A reload may bring new ones for ever: no more are kept than there can be at once, twice.
            if probes.len() >= known.saturating_mul(2).max(16) {
                probes.clear();
            }
            probes.insert(name.to_owned(), Tries::default());
        }
        if let Some(tries) = probes.get_mut(name) {
            *tries.results.entry(answer.outcome.word()).or_default() += 1;
            tries.took = tries.took.saturating_add(answer.took);
        }
    }

    /// A sample that limits are judged by was above one.
    pub(crate) fn over(&mut self, id: ServiceId, limit: Over) {
        self.at(id).over[limit as usize] += 1;
    }

    /// CPU time of a generation up to now.
    fn measured(&mut self, id: ServiceId, generation: Generation, cpu: Duration) {
        let present = &mut self.at(id).present;
        // Processes that nobody waited for take what they used along: what was seen once stays.
        let least = if present.0 == generation { present.1 } else { Duration::ZERO };
        *present = (generation, cpu.max(least));
    }

    /// The place of a service has been given to another one.
    pub(crate) fn leave(&mut self, id: ServiceId) {
        *self.at(id) = Counted::default();
    }
}

impl Counted {
    #[inline(never)]
    fn exited(&mut self, generation: Generation, exit: &Exit) {
        let end = match (exit.code, exit.signal) {
            (Some(code), _) => End::Code(code),
            (None, signal) => End::Signal(signal.unwrap_or(0)),
        };
        *self.exits.entry(end).or_default() += 1;
        let seen = if self.present.0 == generation { self.present.1 } else { Duration::ZERO };
        self.past = self.past.saturating_add(seen.max(exit.cpu));
        self.present = (Generation(0), Duration::ZERO);
    }

    /// CPU time of all its processes.
    pub(super) fn cpu(&self) -> Duration {
        self.past.saturating_add(self.present.1)
    }
}

/// What was measured of each service.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    all: Vec<Option<Measured>>,
    /// When the last round was over.
    taken: Option<Duration>,
}

/// What was measured of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    generation: Generation,
    at: Duration,
    /// The last measurement.
    pub(super) now: Reading,
    /// CPU time between the two last ones, thousandths of one core.
    pub(super) cpu_permille: Option<u32>,
}

impl Readings {
    /// Whether the last round is young enough to be shown.
    pub(crate) fn fresh(&self, now: Duration) -> bool {
        self.taken.is_some_and(|at| now.saturating_sub(at) < FRESH)
    }

    /// The round is over.
    pub(crate) fn complete(&mut self, now: Duration) {
        self.taken = Some(now);
    }

    /// One of them.
    pub(crate) fn take(
        &mut self,
        id: ServiceId,
        generation: Generation,
        now: Duration,
        reading: Reading,
        tally: &mut Tally,
    ) {
        let at = id.0 as usize;
        if self.all.len() <= at {
            self.all.resize(at + 1, None);
        }
        let before = self.all[at].filter(|m| m.generation == generation);
        let cpu_permille = before.and_then(|before| {
            let used = reading.cpu.saturating_sub(before.now.cpu).as_micros() * 1000;
            let share = used.checked_div(now.saturating_sub(before.at).as_micros())?;
            Some(u32::try_from(share).unwrap_or(u32::MAX))
        });
        tally.measured(id, generation, reading.cpu);
        self.all[at] = Some(Measured { generation, at: now, now: reading, cpu_permille });
    }

    /// What was measured of the process that it has now.
    pub(super) fn of(&self, s: &Service) -> Option<&Measured> {
        let found = self.all.get(s.id.0 as usize)?.as_ref()?;
        (s.living() == Some(found.generation)).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: ServiceId = ServiceId(1);

    fn exit(code: i32, cpu_ms: u64) -> Exit {
        let cpu = Duration::from_millis(cpu_ms);
        Exit { code: Some(code), signal: None, core: false, rss_peak_bytes: None, oom: Oom::No, cpu }
    }

    fn notice(generation: u64, cause: Option<Cause>, what: What) -> Notice {
        Notice { service: Some(WEB), generation: Some(Generation(generation)), pid: Some(1), cause, what }
    }

    fn ended(generation: u64, exit: Exit) -> Notice {
        notice(generation, Some(Cause::Exited), What::Exit { exit, uptime: Duration::ZERO, requested: false })
    }

    #[test]
    fn cpu_time_never_goes_back_whatever_ends() {
        let mut tally = Tally::default();
        let ms = Duration::from_millis;
        let mut seen = Vec::new();
        let mut see = |tally: &Tally| seen.push(tally.of(WEB).expect("counted").cpu());
        tally.measured(WEB, Generation(1), ms(50));
        see(&tally);
        tally.measured(WEB, Generation(1), ms(30));
        see(&tally);
        tally.note(&ended(1, exit(1, 40)));
        see(&tally);
        tally.measured(WEB, Generation(2), ms(10));
        see(&tally);
        tally.note(&ended(2, exit(1, 100)));
        see(&tally);
        assert_eq!(seen, [50, 50, 50, 60, 150].map(ms));
    }

    #[test]
    fn a_restart_has_its_cause_and_the_first_start_is_none() {
        let mut tally = Tally::default();
        tally.note(&notice(1, None, What::Spawn));
        tally.note(&notice(2, Some(Cause::Hang), What::Spawn));
        tally.note(&notice(3, Some(Cause::Hang), What::Spawn));
        tally.note(&ended(3, exit(7, 0)));
        let counted = tally.of(WEB).expect("counted");
        assert_eq!(counted.restarts.iter().collect::<Vec<_>>(), [(&"hang", &2)]);
        assert_eq!(counted.exits.iter().collect::<Vec<_>>(), [(&End::Code(7), &1)]);
        assert_eq!(tally.events["spawn"], 3);
        tally.leave(WEB);
        assert!(tally.of(WEB).expect("a place").restarts.is_empty());
    }

    #[test]
    fn probes_that_come_and_go_are_bounded() {
        let mut tally = Tally::default();
        let answer = Answer { outcome: Outcome::Success, message: String::new(), took: Duration::from_millis(2) };
        (0..1000).for_each(|n| tally.probed(WEB, &n.to_string(), 2, &answer));
        assert!(tally.of(WEB).expect("counted").probes.len() <= 16);
    }
}
