//! Who is connected, and how to part: the table of connections and their four-phase drain.

mod table;

use crate::clock;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use table::{Entry, Table};

/// When a drain goes from one phase to the next, counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// So long connections are only asked to end. Default 5 s.
    pub notice: Duration,
    /// Then they are waited for; those that are left now are ended by force. Default 30 s.
    pub force: Duration,
}

impl Default for DrainPlan {
    fn default() -> DrainPlan {
        DrainPlan { notice: Duration::from_secs(5), force: Duration::from_secs(30) }
    }
}

impl DrainPlan {
    /// The default, or what fits into `grace`: force after five sixths of it, so that there is time left to end.
    #[must_use]
    pub fn within(grace: Duration) -> DrainPlan {
        let force = DrainPlan::default().force.min(grace / 6 * 5);
        DrainPlan { notice: force / 6, force }
    }
}

/// How far the parting is. New connections are refused in all phases but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainPhase {
    /// No drain: everybody is welcome.
    Accepting,
    /// Connections are asked to end: `Connection: close` with the next answer.
    Notice,
    /// Idle ones are to end, busy ones to finish.
    Waiting,
    /// Whatever is left is ended.
    Forcing,
    /// Nobody is left.
    Drained,
}

/// What happened to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// A new connection.
    Added {
        /// Its number, never used twice.
        id: u64,
        /// What it is, such as `http`.
        kind: String,
        /// Who is at the other end.
        peer: String,
    },
    /// It has ended.
    Removed {
        /// Its number.
        id: u64,
        /// How long it lasted.
        lasted: Duration,
    },
    /// A drain has come to this phase.
    Phase(DrainPhase),
}

/// A state of the table that a person should look at. No reason to restart by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionAlarm {
    /// More than 1000 connections: so many.
    TooMany(usize),
    /// More than 10 % are older than 5 min: so many.
    TooOld(usize),
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Its number, never used twice.
    pub id: u64,
    /// What it is, such as `http`.
    pub kind: String,
    /// Who is at the other end.
    pub peer: String,
    /// When it was added.
    pub since: Instant,
    /// When something last happened on it.
    pub active: Instant,
}

/// The table in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    /// Connections now.
    pub open: usize,
    /// Most at one time.
    pub most: usize,
    /// Since the start.
    pub accepted: u64,
    /// Turned away since the start.
    pub refused: u64,
    /// Ended by themselves during a drain, before its force.
    pub drained: u64,
    /// Connections now, by kind.
    pub by_kind: BTreeMap<String, usize>,
    /// Age of the oldest; zero without any.
    pub oldest: Duration,
    /// Mean age; zero without any.
    pub mean_age: Duration,
    /// Longest time since something happened on one; zero without any.
    pub longest_idle: Duration,
}

/// No new connections: a drain is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When to try again: 60 s. An HTTP server answers 503 with `Retry-After: 60`.
    pub retry_after: Duration,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shutting down, try again in {} s", self.retry_after.as_secs())
    }
}

impl std::error::Error for Refused {}

/// A function that is called with each event.
type Listener = Arc<dyn Fn(&ConnectionEvent) + Send + Sync>;

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    listeners: Mutex<Vec<Listener>>,
}

/// The table of a worker's connections; clones are the same table. Given by
/// [`Worker::connections`](crate::Worker::connections), which drains it when a shutdown is asked for; works without a
/// watchdog too.
#[derive(Clone, Default)]
pub struct ConnectionTracker(Arc<Shared>);

impl fmt::Debug for ConnectionTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectionTracker").field(&self.totals()).finish()
    }
}

impl ConnectionTracker {
    /// A new connection, which is in the table until it is dropped.
    ///
    /// # Errors
    /// [`Refused`] as soon as a drain is on.
    pub fn add(&self, kind: &str, peer: &str) -> Result<Connection, Refused> {
        let id = self.with(|table| table.add(clock::now(), kind, peer))?;
        self.tell(&ConnectionEvent::Added { id, kind: kind.to_string(), peer: peer.to_string() });
        Ok(Connection { tracker: self.clone(), id })
    }

    /// Calls `listener` with every event from now on, on the thread that causes it.
    pub fn on_event(&self, listener: impl Fn(&ConnectionEvent) + Send + Sync + 'static) {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    /// Begins to part. A second call changes nothing.
    pub fn drain(&self, plan: DrainPlan) {
        self.with(|table| table.drain(clock::now(), plan));
        self.turn();
    }

    /// Goes on to the phase that is due, ends by force what is to be ended, and says which phase it is.
    /// [`Worker::beat`](crate::Worker::beat) calls it; without a worker call it a few times a second while draining.
    pub fn turn(&self) -> DrainPhase {
        let (phase, news, forced) = self.with(|table| table.turn(clock::now()));
        // Outside of the lock: a connection that ends takes itself out of the table.
        for end in forced {
            end();
        }
        for phase in news {
            self.tell(&ConnectionEvent::Phase(phase));
        }
        phase
    }

    /// The table in numbers.
    #[must_use]
    pub fn totals(&self) -> ConnectionTotals {
        self.with(|table| table.totals(clock::now()))
    }

    /// Every connection, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<ConnectionInfo> {
        self.with(|table| table.list())
    }

    /// What a person should look at.
    #[must_use]
    pub fn alarms(&self) -> Vec<ConnectionAlarm> {
        self.with(|table| table.alarms(clock::now()))
    }

    fn tell(&self, event: &ConnectionEvent) {
        let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in listeners {
            listener(event);
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Table) -> T) -> T {
        look(&mut self.0.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One connection of the table. Dropping it takes it out.
#[derive(Debug)]
pub struct Connection {
    tracker: ConnectionTracker,
    id: u64,
}

impl Connection {
    /// Something has happened on it.
    pub fn touch(&self) {
        self.entry(|entry| entry.active = clock::now());
    }

    /// What is to be done when its time is up, as a rule shutting the socket down so that a blocked read returns. Called
    /// once, by [`ConnectionTracker::turn`].
    pub fn on_force(&self, end: impl FnOnce() + Send + 'static) {
        self.entry(|entry| entry.force = Some(Box::new(end)));
    }

    /// How far the parting is.
    #[must_use]
    pub fn phase(&self) -> DrainPhase {
        self.tracker.with(|table| table.phase_at(clock::now()))
    }

    /// When it was added.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.entry(|entry| entry.since)
    }

    fn entry<T>(&self, look: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.tracker.with(|table| table.entry(self.id).map(look))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let now = clock::now();
        if let Some(entry) = self.tracker.with(|table| table.remove(self.id)) {
            let lasted = now.saturating_duration_since(entry.since);
            self.tracker.tell(&ConnectionEvent::Removed { id: self.id, lasted });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionEvent, ConnectionTracker, DrainPhase, DrainPlan};
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn whoever_comes_and_goes_is_told_of_and_listed() {
        let tracker = ConnectionTracker::default();
        let (tell, told) = mpsc::channel();
        tracker.on_event(move |event| tell.send(event.clone()).expect("heard"));
        let (one, two) = (tracker.add("http", "::1").expect("welcome"), tracker.add("ws", "::2").expect("welcome"));
        let added = |id, kind: &str, peer: &str| ConnectionEvent::Added { id, kind: kind.into(), peer: peer.into() };
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [added(1, "http", "::1"), added(2, "ws", "::2")]);
        two.touch();
        let list = tracker.list();
        assert_eq!(
            list.iter().map(|c| (c.kind.as_str(), c.peer.as_str())).collect::<Vec<_>>(),
            [("http", "::1"), ("ws", "::2")]
        );
        assert!(
            list[0].active == list[0].since && list[1].active > list[1].since && two.since() == Some(list[1].since)
        );
        drop(one);
        assert!(matches!(told.try_recv(), Ok(ConnectionEvent::Removed { id: 1, lasted }) if lasted > Duration::ZERO));
        let totals = tracker.totals();
        assert_eq!((totals.open, totals.most, totals.accepted, totals.refused), (1, 2, 2, 0));
        assert_eq!(totals.by_kind.into_iter().collect::<Vec<_>>(), [("ws".to_string(), 1)]);
        assert!(totals.mean_age == totals.oldest && totals.longest_idle < totals.oldest);
    }

    #[test]
    fn a_drain_tells_its_phases_and_refuses_and_waits() {
        let tracker = ConnectionTracker::default();
        let connection = tracker.add("http", "::1").expect("welcome");
        let (tell, told) = mpsc::channel();
        tracker.on_event(move |event| tell.send(event.clone()).expect("heard"));
        connection.on_force(|| panic!("there is time left"));
        tracker.drain(DrainPlan { notice: Duration::ZERO, force: Duration::from_secs(3600) });
        assert_eq!((connection.phase(), tracker.turn()), (DrainPhase::Waiting, DrainPhase::Waiting));
        assert!(tracker.add("http", "::1").is_err_and(|refused| refused.to_string().ends_with("again in 60 s")));
        assert_eq!(tracker.totals().refused, 1);
        drop(connection);
        assert_eq!(tracker.turn(), DrainPhase::Drained);
        let phase = |event| if let ConnectionEvent::Phase(phase) = event { Some(phase) } else { None };
        assert_eq!(told.try_iter().filter_map(phase).collect::<Vec<_>>(), [DrainPhase::Waiting, DrainPhase::Drained]);
    }

    #[test]
    fn what_is_left_is_ended_by_force_outside_of_the_lock() {
        let tracker = ConnectionTracker::default();
        let connection = tracker.add("http", "::1").expect("welcome");
        // What ends a connection takes it out of the table, as a rule.
        connection.on_force({
            let other = tracker.add("http", "::2").expect("welcome");
            move || drop(other)
        });
        tracker.drain(DrainPlan { notice: Duration::ZERO, force: Duration::ZERO });
        assert_eq!((connection.phase(), tracker.totals().open), (DrainPhase::Forcing, 1));
    }
}
