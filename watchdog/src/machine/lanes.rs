//! The loops inside a worker, each with its own deadline: which of them is stuck.

use super::news::LaneView;
use super::time::MonoTime;
use serde::Serialize;
use std::time::Duration;

/// A lane is looked at so often within its deadline: a stuck one is found at most a quarter late.
const LOOKS: u32 = 4;
/// Not more often than this, whatever a worker writes there.
const LOOK_LEAST: Duration = Duration::from_millis(20);

/// All lanes of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lanes {
    /// Those that are not free, by slot.
    pub all: Vec<Lane>,
    /// There is a file of them.
    pub told: bool,
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// As it was seen last.
    pub view: LaneView,
    /// When its beats were last seen to have changed, or it to have become armed.
    pub moved: MonoTime,
}

impl Lane {
    /// Armed, and without a beat for longer than its deadline.
    pub fn is_late(&self, now: MonoTime) -> bool {
        self.view.armed && now.since(self.moved) >= self.view.deadline
    }
}

impl Lanes {
    /// A new look.
    pub fn see(&mut self, now: MonoTime, views: Vec<LaneView>) {
        self.told = true;
        let before = std::mem::take(&mut self.all);
        self.all = views
            .into_iter()
            .map(|view| {
                let same = before.iter().find(|lane| lane.view.slot == view.slot && lane.view.name == view.name);
                let still = same.filter(|lane| lane.view.beats == view.beats && lane.view.armed == view.armed);
                Lane { moved: still.map_or(now, |lane| lane.moved), view }
            })
            .collect();
    }

    /// Whoever has waited longest of those that are late.
    pub fn late(&self, now: MonoTime) -> Option<&Lane> {
        self.all.iter().filter(|lane| lane.is_late(now)).min_by_key(|lane| lane.moved)
    }

    /// Whether this one is still as late as it was.
    pub fn still_late(&self, slot: u32, now: MonoTime) -> bool {
        self.all.iter().any(|lane| lane.view.slot == slot && lane.is_late(now))
    }

    /// Nobody is judged for the time before.
    pub fn begin(&mut self, now: MonoTime) {
        self.all.iter_mut().for_each(|lane| lane.moved = now);
    }

    /// When to look again: in a part of the shortest deadline, and at least as often as pings are sent, because a lane is
    /// made without a word.
    pub fn next_look(&self, now: MonoTime, interval: Duration) -> Option<MonoTime> {
        // One that is idle may be armed at any moment, and is found to be so within its deadline.
        let part = |l: &Lane| if l.view.armed { l.view.deadline / LOOKS } else { l.view.deadline };
        let shortest = self.all.iter().map(part).min();
        self.told.then(|| now.after(shortest.unwrap_or(interval).min(interval).max(LOOK_LEAST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime(Duration::from_millis(ms))
    }

    fn view(slot: u32, beats: u64, armed: bool) -> LaneView {
        LaneView { slot, name: format!("lane {slot}"), armed, beats, deadline: Duration::from_secs(1) }
    }

    #[test]
    fn the_lane_that_is_stuck_is_named_and_the_others_live() {
        let mut lanes = Lanes::default();
        for ms in (0..=1000).step_by(250) {
            lanes.see(at(ms), vec![view(0, 7, true), view(1, ms, true), view(2, 3, false)]);
        }
        assert_eq!(lanes.late(at(1000)).map(|l| l.view.slot), Some(0));
        assert!(lanes.still_late(0, at(1000)) && !lanes.still_late(1, at(1000)));
        lanes.see(at(1100), vec![view(0, 8, true)]);
        assert_eq!(lanes.late(at(1100)), None);
    }

    #[test]
    fn a_slot_with_another_name_is_another_lane() {
        let mut lanes = Lanes::default();
        lanes.see(at(0), vec![view(0, 7, true)]);
        let mut other = view(0, 7, true);
        other.name = "other".into();
        lanes.see(at(1500), vec![other]);
        assert_eq!(lanes.late(at(1500)), None);
    }

    #[test]
    fn looks_are_a_quarter_of_the_shortest_deadline_and_bounded() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.next_look(at(0), Duration::from_secs(10)), None);
        lanes.see(at(0), vec![]);
        assert_eq!(lanes.next_look(at(0), Duration::from_secs(10)), Some(at(10_000)));
        lanes.see(at(0), vec![view(0, 0, true)]);
        assert_eq!(lanes.next_look(at(0), Duration::from_secs(10)), Some(at(250)));
        lanes.see(at(0), vec![view(0, 0, false)]);
        assert_eq!(lanes.next_look(at(0), Duration::from_secs(10)), Some(at(1000)), "idle");
        lanes.all[0].view.deadline = Duration::ZERO;
        assert_eq!(lanes.next_look(at(0), Duration::from_secs(10)), Some(at(20)));
    }
}
