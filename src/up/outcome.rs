//! `run-until-ready --json`: where all services stood when the wait was over, in one object.

use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use watchdog_engine::machine::What;
use watchdog_engine::{Notice, Observer, ServiceState, Snapshot};

/// One service when the wait was over.
#[derive(Debug, PartialEq, Eq)]
struct Stood {
    name: String,
    ready: bool,
    state: &'static str,
    reason: String,
}

/// What has been seen; it outlives the watchdog that it watches.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Those that were wanted, in the order of the file.
    services: Vec<Stood>,
    waited_ms: u64,
    over: bool,
}

/// Watches until the end begins: from then on everything is being stopped.
pub(super) struct Watcher {
    seen: Rc<RefCell<Outcome>>,
    stale: bool,
}

impl Outcome {
    /// The object. It is not ready either where nothing could be started.
    pub(super) fn json(&self) -> Value {
        let services: Vec<Value> = self
            .services
            .iter()
            .map(|s| json!({ "name": s.name, "ready": s.ready, "state": s.state, "reason": s.reason }))
            .collect();
        let ready = self.over && self.services.iter().all(|s| s.ready);
        json!({ "ready": ready, "services": services, "waited_ms": self.waited_ms })
    }

    fn look(&mut self, snapshot: &Snapshot<'_>) {
        self.services = snapshot.services().filter(|s| s.wanted).map(Stood::from).collect();
    }

    /// What brought the end about is told when it has begun already.
    fn note_at_the_end(&mut self, now: ServiceState, what: &What) {
        let Some(stood) = self.services.iter_mut().find(|s| s.name == now.name).filter(|s| !s.ready) else { return };
        if now.at_rest && now.state != "stopped" {
            *stood = Stood::from(now);
        } else if matches!(what, What::Ready { .. }) {
            (stood.ready, stood.state, stood.reason) = (true, "running", "ready".into());
        }
    }
}

impl From<ServiceState> for Stood {
    fn from(s: ServiceState) -> Stood {
        Stood { name: s.name, ready: s.ready, state: s.state, reason: s.reason }
    }
}

impl Watcher {
    /// Writes down what it sees there.
    pub(super) fn new(seen: Rc<RefCell<Outcome>>) -> Watcher {
        Watcher { seen, stale: true }
    }

    fn note_the_end(&self, snapshot: &Snapshot<'_>) {
        let mut seen = self.seen.borrow_mut();
        if !std::mem::replace(&mut seen.over, true) {
            seen.waited_ms = u64::try_from(snapshot.uptime().as_millis()).unwrap_or(u64::MAX);
        }
    }
}

impl Observer for Watcher {
    fn notice(&mut self, notice: &Notice, snapshot: &Snapshot<'_>, _screen: &mut Vec<u8>) {
        self.stale = true;
        if snapshot.is_ending() {
            self.note_the_end(snapshot);
            if let Some(now) = snapshot.about(notice) {
                self.seen.borrow_mut().note_at_the_end(now, &notice.what);
            }
        }
    }

    fn turn(&mut self, snapshot: &Snapshot<'_>, _screen: &mut Vec<u8>) {
        if snapshot.is_ending() {
            self.note_the_end(snapshot);
        } else if std::mem::take(&mut self.stale) {
            self.seen.borrow_mut().look(snapshot);
        }
    }
}
