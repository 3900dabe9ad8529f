//! Wishes of other threads of our own program, through a [`crate::Handle`].

use super::Reactor;
use crate::api::ServiceState;
use crate::control::{is_pattern, matches};
use crate::machine::*;
use std::sync::mpsc::Sender;

/// One wish.
pub(crate) enum Wish {
    Start(String),
    Stop(String),
    Restart(String),
    Shutdown,
    Snapshot(Sender<Vec<ServiceState>>),
}

impl Reactor {
    /// All that has come.
    #[inline(never)]
    pub(super) fn on_wishes(&mut self) {
        let Some((inbox, _)) = &self.wishes else { return };
        let wishes: Vec<Wish> = inbox.try_iter().collect();
        for wish in wishes {
            match wish {
                Wish::Start(name) => self.wish_for(&name, |services| Request::Start { services }),
                Wish::Stop(name) => self.wish_for(&name, |services| Request::Stop { services, timeout: None }),
                Wish::Restart(name) => {
                    self.wish_for(&name, |services| Request::Restart { services, force: false, alone: false });
                }
                Wish::Shutdown => self.ask_by_handle(Request::Shutdown),
                Wish::Snapshot(answer) => {
                    let snapshot = self.snapshot();
                    let _ = answer.send(snapshot.services().collect());
                }
            }
        }
    }

    fn wish_for(&mut self, name: &str, request: impl FnOnce(Vec<ServiceId>) -> Request) {
        let named = self.named(name, false);
        if !named.is_empty() {
            self.ask_by_handle(request(named));
        }
    }

    /// Nobody waits for the answer.
    fn ask_by_handle(&mut self, request: Request) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let by = By { kind: ByKind::Control, signal: None, pid: Some(self.me), uid: None };
        self.feed(Event::Asked { ticket, by, request });
        self.keep_wishes();
    }

    /// The services of this name: one, or all replicas, or all that a pattern matches; on their way out too, if they are
    /// only looked at.
    pub(super) fn named(&self, name: &str, leaving: bool) -> Vec<ServiceId> {
        let there = |s: &&Service| !s.removed || (leaving && s.state.has_process());
        let all = self.machine.services().iter().filter(there);
        if is_pattern(name) {
            let of =
                |s: &&Service| matches(name, &s.spec.name) || (s.spec.replica.is_some() && matches(name, &s.spec.base));
            return all.filter(of).map(|s| s.id).collect();
        }
        let found = self.machine.named(name).into_iter();
        found.filter(|id| self.machine.services().get(id.0 as usize).as_ref().is_some_and(there)).collect()
    }
}
