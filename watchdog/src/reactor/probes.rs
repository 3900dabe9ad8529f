//! Probes under way: each a small errand of its own in the one loop.

use super::Reactor;
use crate::machine::*;

impl Reactor {
    /// Begins one try. What came of it at once, if anything did.
    pub(super) fn start_probe(&mut self, _id: ServiceId, _generation: Generation, _probe: u16) -> Option<Event> {
        None
    }

    /// Ends all tries of this generation; nothing is told of them.
    pub(super) fn end_probes(&mut self, _id: ServiceId, _generation: Generation) {}

    /// One look at the file that a start waits for.
    pub(super) fn look_at_file(&mut self, id: ServiceId) -> Option<Event> {
        let file = self.machine.services().get(id.0 as usize)?.spec.place.wait_for_file.as_ref()?;
        Some(Event::FileSeen { service: id, there: std::fs::metadata(file).is_ok() })
    }
}
