//! What is learnt of an end when the decision about it has been made: that the kernel killed for want of memory. No decision
//! depends on it, so no start waits for the counters that show it; what is told of the end does, and waits.

use super::service::Service;
use super::state::Ended;
use super::supervisor::Supervisor;
use super::words::*;

impl Supervisor {
    /// An end that was taken for a plain one was a kill for want of memory. Nothing follows from it.
    pub fn learn(&mut self, id: ServiceId, generation: Generation, oom: Oom) {
        if let Some(service) = self.services.get_mut(id.0 as usize) {
            service.learn(generation, oom);
        }
    }
}

impl Service {
    fn learn(&mut self, generation: Generation, oom: Oom) {
        let early = self.run.as_mut().filter(|r| r.generation == generation).and_then(|r| r.early_end.as_mut());
        if let Some(early) = early {
            // Its end is dealt with when its beginning is known.
            early.exit.oom = oom;
            return;
        }
        if let Some(ended) = self.ended.as_mut().filter(|e| e.generation == generation) {
            amend(ended, oom);
            self.cause = self.cause.map(|cause| called(cause, oom));
        }
    }
}

/// The same of what is still to be told. True: this is the end itself, behind which [`oom_of`] is told.
pub fn amend_notice(notice: &mut Notice, id: ServiceId, generation: Generation, oom: Oom) -> bool {
    if notice.service != Some(id) {
        return false;
    }
    // Also of what follows from it, the start of the next generation among it.
    notice.cause = notice.cause.map(|cause| called(cause, oom));
    if let What::Exit { exit, .. } = &mut notice.what
        && notice.generation == Some(generation)
    {
        exit.oom = oom;
        return true;
    }
    false
}

/// The same of a report that is still to be written.
pub fn amend_report(order: &mut ReportOrder, id: ServiceId, generation: Generation, oom: Oom) {
    if (order.service, order.generation) == (id, generation) {
        order.ended.iter_mut().for_each(|ended| amend(ended, oom));
        order.cause = called(order.cause, oom);
    }
}

/// What is told behind such an end.
pub fn oom_of(end: &Notice, oom: Oom) -> Notice {
    Notice { cause: Some(Cause::Oom), what: What::Oom { oom }, ..end.clone() }
}

fn amend(ended: &mut Ended, oom: Oom) {
    ended.exit.oom = oom;
    ended.cause = called(ended.cause, oom);
}

/// An end that was asked for, or was our doing, has another cause than how it came: that one stays.
fn called(cause: Cause, oom: Oom) -> Cause {
    let plain = matches!(cause, Cause::Signalled | Cause::Exited);
    if plain && oom == Oom::Worker { Cause::Oom } else { cause }
}
