//! Why a worker does not beat: a pure function of what the kernel shows, and what follows from it.

use super::news::Evidence;
use serde::Serialize;
use std::time::Duration;

/// CPU time of this share of the look and more is work, percent.
const SPINNING_PERCENT: u128 = 50;
/// A thread that waited for a processor for this share of the look and more is starved, percent.
const WAITED_PERCENT: u128 = 50;
/// The same for a control group that was held back.
const THROTTLED_PERCENT: u128 = 25;
/// A machine on which tasks wait for this share of the time is short of processors, percent.
const PRESSURE_PERCENT: u8 = 80;
/// A timer of ours that is later than this says that we were not running either.
const LATE: Duration = Duration::from_millis(500);
/// A clock that was ahead by less than this has not slept.
const SLEPT: Duration = Duration::from_millis(500);
/// One interval more for whoever may not be to blame, at most so often in one hang.
pub const EXTENSIONS: u32 = 3;

/// What a worker that does not beat is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It waits and nothing will wake it.
    Deadlocked,
    /// It works and does not come round.
    Spinning,
    /// It waits for a device or a network file system.
    BlockedIo,
    /// It did not get a processor, or we did not.
    Starved,
    /// Somebody stopped it.
    Stopped,
    /// A debugger holds it.
    Traced,
    /// The machine slept.
    Suspended,
    /// It lives, and a liveness probe of it has failed as often as it may: no look at it is needed.
    Unhealthy,
}

impl Verdict {
    /// The word in events and reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Deadlocked => "deadlocked",
            Verdict::Spinning => "spinning",
            Verdict::BlockedIo => "blocked-io",
            Verdict::Starved => "starved",
            Verdict::Stopped => "stopped",
            Verdict::Traced => "traced",
            Verdict::Suspended => "suspended",
            Verdict::Unhealthy => "unhealthy",
        }
    }

    /// Why, with the numbers it was read from.
    pub fn because(self, e: &Evidence) -> String {
        let ms = |d: Duration| d.as_millis();
        match self {
            Verdict::Deadlocked if e.blind => "nothing of it can be seen".into(),
            Verdict::Deadlocked => {
                format!("{} threads used {} ms of CPU in {} ms and wait", e.threads, ms(e.cpu), ms(e.span))
            }
            Verdict::Spinning => format!("it used {} ms of CPU in {} ms", ms(e.cpu), ms(e.span)),
            Verdict::BlockedIo => format!("{} of {} threads are in uninterruptible sleep", e.blocked, e.threads),
            Verdict::Starved if e.late >= LATE => format!("our own timer was {} ms late", ms(e.late)),
            Verdict::Starved => format!(
                "in {} ms a thread waited {} ms for a processor, its group was held back {} ms, pressure {}%",
                ms(e.span),
                ms(e.waited),
                ms(e.throttled),
                e.pressure_percent
            ),
            Verdict::Stopped => "it is stopped by a signal".into(),
            Verdict::Traced => "a debugger holds it".into(),
            Verdict::Suspended => format!("the machine slept for {} ms", ms(e.suspended)),
            Verdict::Unhealthy => "its probe failed".into(),
        }
    }
}

/// What follows from a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sentence {
    /// It is hung: restart, or record only.
    Hung,
    /// It gets one interval more; this is the n-th of the hang.
    Extend(u32),
    /// Looked at again after an interval, without counting.
    Wait,
}

/// Reads the evidence. What says that nobody is to blame is looked at first.
pub fn verdict(e: &Evidence) -> Verdict {
    let share = |d: Duration| (d.as_micros() * 100).checked_div(e.span.as_micros()).unwrap_or(0);
    if e.traced {
        Verdict::Traced
    } else if e.stopped {
        Verdict::Stopped
    } else if e.suspended >= SLEPT {
        Verdict::Suspended
    } else if e.late >= LATE || share(e.throttled) >= THROTTLED_PERCENT || share(e.waited) >= WAITED_PERCENT {
        Verdict::Starved
    } else if e.blocked > 0 {
        Verdict::BlockedIo
    } else if share(e.cpu) >= SPINNING_PERCENT {
        Verdict::Spinning
    } else if e.pressure_percent >= PRESSURE_PERCENT && share(e.cpu) > 0 {
        // It runs a little, and everybody waits.
        Verdict::Starved
    } else {
        Verdict::Deadlocked
    }
}

/// What follows from it, after so many extensions of this hang.
pub fn sentence(verdict: Verdict, extensions: u32) -> Sentence {
    match verdict {
        Verdict::Deadlocked | Verdict::Spinning | Verdict::Unhealthy => Sentence::Hung,
        Verdict::BlockedIo if extensions == 0 => Sentence::Extend(1),
        Verdict::BlockedIo => Sentence::Hung,
        Verdict::Starved | Verdict::Stopped | Verdict::Suspended if extensions < EXTENSIONS => {
            Sentence::Extend(extensions + 1)
        }
        Verdict::Starved | Verdict::Stopped | Verdict::Suspended => Sentence::Hung,
        Verdict::Traced => Sentence::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn evidence() -> Evidence {
        Evidence { span: MS * 200, threads: 3, ..Evidence::default() }
    }

    #[test]
    fn each_verdict_is_read_from_its_own_fact() {
        assert_eq!(verdict(&evidence()), Verdict::Deadlocked);
        assert_eq!(verdict(&Evidence { cpu: MS * 190, ..evidence() }), Verdict::Spinning);
        assert_eq!(verdict(&Evidence { cpu: MS * 20, ..evidence() }), Verdict::Deadlocked);
        assert_eq!(verdict(&Evidence { blocked: 1, ..evidence() }), Verdict::BlockedIo);
        assert_eq!(verdict(&Evidence { waited: MS * 150, ..evidence() }), Verdict::Starved);
        assert_eq!(verdict(&Evidence { throttled: MS * 60, ..evidence() }), Verdict::Starved);
        assert_eq!(verdict(&Evidence { late: MS * 900, ..evidence() }), Verdict::Starved);
        assert_eq!(verdict(&Evidence { stopped: true, ..evidence() }), Verdict::Stopped);
        assert_eq!(verdict(&Evidence { traced: true, stopped: true, ..evidence() }), Verdict::Traced);
        assert_eq!(verdict(&Evidence { suspended: MS * 60_000, ..evidence() }), Verdict::Suspended);
        assert_eq!(verdict(&Evidence { blind: true, ..Evidence::default() }), Verdict::Deadlocked);
    }

    #[test]
    fn a_busy_machine_excuses_only_who_runs_a_little() {
        let busy = Evidence { pressure_percent: 95, ..evidence() };
        assert_eq!(verdict(&busy), Verdict::Deadlocked, "it does not want to run");
        assert_eq!(verdict(&Evidence { cpu: MS * 10, ..busy }), Verdict::Starved);
        assert_eq!(verdict(&Evidence { cpu: MS * 180, ..busy }), Verdict::Spinning);
    }

    #[test]
    fn extensions_are_bounded_but_for_a_debugger() {
        for v in [Verdict::Starved, Verdict::Stopped, Verdict::Suspended] {
            assert_eq!(
                (0..5).map(|n| sentence(v, n)).collect::<Vec<_>>(),
                [Sentence::Extend(1), Sentence::Extend(2), Sentence::Extend(3), Sentence::Hung, Sentence::Hung]
            );
        }
        assert_eq!(sentence(Verdict::BlockedIo, 0), Sentence::Extend(1));
        assert_eq!(sentence(Verdict::BlockedIo, 1), Sentence::Hung);
        assert_eq!(sentence(Verdict::Deadlocked, 0), Sentence::Hung);
        assert_eq!(sentence(Verdict::Spinning, 0), Sentence::Hung);
        assert_eq!(sentence(Verdict::Traced, 99), Sentence::Wait);
    }
}
