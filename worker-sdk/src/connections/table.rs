//! The table itself: it is handed the time and calls nobody.

use super::{ConnectionAlarm, ConnectionInfo, ConnectionTotals, DrainPhase, DrainPlan, Refused};
use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

/// More connections than this are an alarm.
const MANY: usize = 1000;
/// More than this share of connections, in percent, of more than this age are an alarm.
const OLD_PERCENT: usize = 10;
const OLD: Duration = Duration::from_secs(5 * 60);
/// What those that are turned away are told.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Ends one connection by force.
pub(super) type Force = Box<dyn FnOnce() + Send>;

pub(super) struct Entry {
    kind: String,
    peer: String,
    pub(super) since: Instant,
    pub(super) active: Instant,
    pub(super) force: Option<Force>,
}

#[derive(Default)]
pub(super) struct Table {
    entries: BTreeMap<u64, Entry>,
    accepted: u64,
    refused: u64,
    drained: u64,
    most: usize,
    drain: Option<(Instant, DrainPlan)>,
    /// The phase that was told last.
    told: Option<DrainPhase>,
}

impl Table {
    pub(super) fn add(&mut self, now: Instant, kind: &str, peer: &str) -> Result<u64, Refused> {
        if self.drain.is_some() {
            self.refused += 1;
            return Err(Refused { retry_after: RETRY_AFTER });
        }
        self.accepted += 1;
        let entry = Entry { kind: kind.to_string(), peer: peer.to_string(), since: now, active: now, force: None };
        self.entries.insert(self.accepted, entry);
        self.most = self.most.max(self.entries.len());
        Ok(self.accepted)
    }

    pub(super) fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let gone = self.entries.remove(&id)?;
        // One whose end by force was taken up did not part by itself; nor does one count that ends while all are welcome.
        self.drained += u64::from(self.drain.is_some() && self.told != Some(DrainPhase::Forcing));
        Some(gone)
    }

    pub(super) fn drain(&mut self, now: Instant, plan: DrainPlan) {
        self.drain.get_or_insert((now, plan));
    }

    pub(super) fn phase_at(&self, now: Instant) -> DrainPhase {
        let Some((start, plan)) = self.drain else { return DrainPhase::Accepting };
        let passed = now.saturating_duration_since(start);
        if self.entries.is_empty() {
            DrainPhase::Drained
        } else if passed < plan.notice {
            DrainPhase::Notice
        } else if passed < plan.force {
            DrainPhase::Waiting
        } else {
            DrainPhase::Forcing
        }
    }

    /// The phase, those that are news, in order, and whom to end now.
    pub(super) fn turn(&mut self, now: Instant) -> (DrainPhase, Vec<DrainPhase>, Vec<Force>) {
        let phase = self.phase_at(now);
        let mut news = Vec::new();
        let mut forced = Vec::new();
        if phase != DrainPhase::Accepting && self.told != Some(phase) {
            news.push(phase);
            self.told = Some(phase);
        }
        if phase == DrainPhase::Forcing {
            // Also those whose end was said only after the phase began.
            forced.extend(self.entries.values_mut().filter_map(|entry| mem::take(&mut entry.force)));
        }
        (phase, news, forced)
    }

    pub(super) fn list(&self) -> Vec<ConnectionInfo> {
        let line = |(id, entry): (&u64, &Entry)| {
            let Entry { kind, peer, since, active, force: _ } = entry;
            ConnectionInfo { id: *id, kind: kind.clone(), peer: peer.clone(), since: *since, active: *active }
        };
        self.entries.iter().map(line).collect()
    }

    pub(super) fn totals(&self, now: Instant) -> ConnectionTotals {
        let mut by_kind = BTreeMap::new();
        for entry in self.entries.values() {
            *by_kind.entry(entry.kind.clone()).or_insert(0) += 1;
        }
        let ages = || self.entries.values().map(|e| now.saturating_duration_since(e.since));
        let idle = self.entries.values().map(|e| now.saturating_duration_since(e.active)).max();
        let open = self.entries.len();
        let sum: Duration = ages().sum();
        ConnectionTotals {
            open,
            most: self.most,
            accepted: self.accepted,
            refused: self.refused,
            drained: self.drained,
            by_kind,
            oldest: ages().max().unwrap_or_default(),
            mean_age: u32::try_from(open).ok().and_then(|n| sum.checked_div(n)).unwrap_or_default(),
            longest_idle: idle.unwrap_or_default(),
        }
    }

    pub(super) fn alarms(&self, now: Instant) -> Vec<ConnectionAlarm> {
        let open = self.entries.len();
        let old = self.entries.values().filter(|e| now.saturating_duration_since(e.since) > OLD).count();
        let mut alarms = Vec::new();
        if open > MANY {
            alarms.push(ConnectionAlarm::TooMany(open));
        }
        if old * 100 > open * OLD_PERCENT {
            alarms.push(ConnectionAlarm::TooOld(old));
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::{DrainPhase, DrainPlan, Table};
    use crate::clock;
    use crate::connections::ConnectionAlarm;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_four_phases_of_parting() {
        let start = clock::now();
        let mut table = Table::default();
        let id = table.add(start, "http", "::1").expect("welcome");
        let ended = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&ended);
        table.entry(id).expect("there").force = Some(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(table.turn(start).0, DrainPhase::Accepting);
        table.drain(start, DrainPlan::default());
        assert_eq!(table.add(start, "http", "::1").map_err(|r| r.retry_after), Err(60 * S));
        let mut at = |seconds: u32| {
            let (phase, news, forced) = table.turn(start + seconds * S);
            forced.into_iter().for_each(|end| end());
            (phase, news.len())
        };
        assert_eq!(at(0), (DrainPhase::Notice, 1));
        assert_eq!(at(4), (DrainPhase::Notice, 0));
        assert_eq!(at(5), (DrainPhase::Waiting, 1));
        assert_eq!(at(29), (DrainPhase::Waiting, 0));
        assert_eq!(ended.load(Ordering::Relaxed), 0);
        assert_eq!((at(30), at(31)), ((DrainPhase::Forcing, 1), (DrainPhase::Forcing, 0)));
        assert_eq!(ended.load(Ordering::Relaxed), 1, "once");
        table.remove(id);
        assert_eq!(table.turn(start + 31 * S).0, DrainPhase::Drained);
        assert_eq!(table.totals(start).refused, 1);
    }

    #[test]
    fn who_leaves_by_itself_during_a_drain_has_drained_and_who_is_forced_has_not() {
        let start = clock::now();
        let mut table = Table::default();
        let [before, during, forced] = [0; 3].map(|_| table.add(start, "http", "::1").expect("welcome"));
        table.remove(before);
        table.drain(start, DrainPlan::default());
        table.turn(start + S);
        table.remove(during);
        table.turn(start + 30 * S);
        table.remove(forced);
        assert_eq!((table.totals(start).drained, table.totals(start).accepted), (1, 3));
    }

    #[test]
    fn a_short_grace_shortens_the_plan() {
        assert_eq!(DrainPlan::within(100 * S), DrainPlan::default());
        assert_eq!(DrainPlan::within(12 * S), DrainPlan { notice: 10 * S / 6, force: 10 * S });
        assert_eq!(DrainPlan::within(Duration::MAX), DrainPlan::default());
    }

    #[test]
    fn alarms_and_totals() {
        let start = clock::now();
        let mut table = Table::default();
        (0..1000).for_each(|_| assert!(table.add(start, "ws", "peer").is_ok()));
        assert_eq!(table.alarms(start), []);
        assert!(table.add(start + 300 * S, "http", "peer").is_ok());
        assert_eq!(table.alarms(start + 300 * S), [ConnectionAlarm::TooMany(1001)], "not older than five minutes");
        let alarms = table.alarms(start + 301 * S);
        assert_eq!(alarms, [ConnectionAlarm::TooMany(1001), ConnectionAlarm::TooOld(1000)]);
        let totals = table.totals(start + 10 * S);
        assert_eq!((totals.open, totals.by_kind["ws"], totals.oldest), (1001, 1000, 10 * S));
        assert!(table.list().first().is_some_and(|c| c.id == 1 && c.peer == "peer"));
    }
}
