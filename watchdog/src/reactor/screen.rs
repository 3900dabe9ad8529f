//! What an observer shows on our own stdout. A reader that is behind costs lines of the screen, never a worker's time:
//! ring and files have them all the same.

use super::Reactor;
use crate::api::{OutputLine, Snapshot};
use crate::logs::{Sink, Stream};
use crate::machine::*;
use crate::spec::LogMode;
use std::time::SystemTime;

/// Held for a reader that is behind; more is dropped with a count.
const HELD_MAX: usize = 1024 * 1024;

/// What one piece of output is.
pub(super) struct Shown<'a> {
    pub(super) service: ServiceId,
    pub(super) generation: u64,
    pub(super) stream: Stream,
    pub(super) at: SystemTime,
    pub(super) bytes: &'a [u8],
    pub(super) partial: bool,
}

impl Reactor {
    /// A line for whoever watches; [`Reactor::draw`] follows when the last of a piece is there, because a write costs more
    /// than a line.
    pub(super) fn show_line(&mut self, shown: &Shown<'_>) {
        let Reactor { observer, machine, screen, .. } = self;
        let Some(observer) = observer.as_mut() else { return };
        let spec = machine.services().get(shown.service.0 as usize).map(|s| &s.spec);
        let name = spec.map_or("", |s| s.name.as_str());
        let line = OutputLine {
            service: name,
            generation: shown.generation,
            stderr: OutputLine::stream_is_stderr(shown.stream),
            at: shown.at,
            bytes: shown.bytes,
            partial: shown.partial,
            passed_on: spec.is_some_and(|s| s.log.mode == LogMode::Tee),
        };
        observer.line(&line, screen);
    }

    /// An event for whoever watches.
    pub(super) fn show_notice(&mut self, notice: &Notice) {
        let (now, ending) = (self.now(), self.machine.is_ending());
        let Reactor { observer, machine, screen, .. } = self;
        let Some(observer) = observer.as_mut() else { return };
        observer.notice(notice, &Snapshot { now, services: machine.services(), ending }, screen);
        self.draw();
    }

    /// A turn is over.
    pub(super) fn turn_shown(&mut self) {
        let (now, ending) = (self.now(), self.machine.is_ending());
        let Reactor { observer, machine, screen, .. } = self;
        let Some(observer) = observer.as_mut() else { return };
        observer.turn(&Snapshot { now, services: machine.services(), ending }, screen);
        self.draw();
        let lost = self.sinks[Stream::Stdout.index()].as_ref().is_some_and(Sink::has_dropped);
        if lost && !std::mem::replace(&mut self.told_lost, true) {
            // At once, and the rest when the reader comes back or nobody writes any more.
            self.tell_lost();
        }
    }

    /// Where all services are.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { now: self.now(), services: self.machine.services(), ending: self.machine.is_ending() }
    }

    /// We were stopped for a while.
    pub(super) fn resume_show(&mut self) {
        self.observer.iter_mut().for_each(|observer| observer.resumed());
    }

    /// The last word of whoever watches.
    pub(super) fn end_show(&mut self) {
        if let Some(mut observer) = self.observer.take() {
            observer.end(&mut self.screen);
            self.draw();
        }
    }

    /// What was written to the screen goes to our stdout, or is dropped as a whole: whole lines.
    pub(super) fn draw(&mut self) {
        if self.screen.is_empty() {
            return;
        }
        let at = Stream::Stdout.index();
        if self.sinks[at].is_none() {
            self.sinks[at] = Some(Sink::open(false));
            self.register_sinks();
        }
        if let Some(sink) = self.sinks[at].as_mut() {
            match sink.held() + self.screen.len() > HELD_MAX {
                true => {
                    sink.drop_bytes(&self.screen);
                    self.observer.iter_mut().for_each(|observer| observer.dropped());
                }
                false => sink.pass(&self.screen),
            }
        }
        self.screen.clear();
    }
}
