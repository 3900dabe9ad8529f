//! The pipes of captured workers: read in shares, into ring, file, followers and our own stdout and stderr.

use super::screen::Shown;
use super::{Reactor, SINKS};
use crate::control::line;
use crate::logs::{Finder, Line, Lost, Splitter, Stream};
use crate::machine::*;
use crate::spec::{LogMode, Ready};
use crate::sys::clock;
use mio::unix::SourceFd;
use mio::{Events, Token};
use nix::errno::Errno;
use serde_json::Value;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Read from one pipe per turn, so that a chatty worker does not starve a silent one.
const SHARE: usize = 256 * 1024;
/// The same where many follow what it writes: it is written to each of them, and clients with a question wait for that.
const LEAST_SHARE: usize = 16 * 1024;
const PIECE: usize = 64 * 1024;
/// Dead generations whose pipes wait for a reader that is behind.
const OLD_PIPES: u64 = 8;
/// At the end: a reader that takes nothing for so long will not take the rest.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same when somebody asked for the end and waits for it.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// Lines shown with a `wait` that failed.
const TAIL: usize = 20;

/// Our end of one pipe.
pub(super) struct Output {
    pub(super) service: ServiceId,
    pub(super) generation: Generation,
    pub(super) stream: Stream,
    pub(super) pipe: OwnedFd,
    splitter: Splitter,
    /// Looks for the line that says that it is ready.
    finder: Finder,
}

/// How a round of reading ended.
#[derive(PartialEq, Eq)]
enum Read {
    /// Nothing more now.
    Empty,
    /// All writers are gone.
    End,
    /// There is more, but others come first.
    More,
    /// The reader of our own stdout is behind: the worker waits as it would with a bare pipe.
    Behind,
}

/// The usual share, or less for what so many others read as well.
fn share_among(readers: usize) -> usize {
    (SHARE / readers.max(1)).max(LEAST_SHARE)
}

/// What its output must hold to say that this service is ready, while that is waited for.
fn line_wanted(service: &Service) -> Option<&[u8]> {
    match (&service.spec.ready, service.state) {
        (Ready::Line(text), State::Starting { .. }) => Some(text.as_bytes()),
        _ => None,
    }
}

impl Output {
    pub(super) fn new(service: ServiceId, generation: Generation, stream: Stream, pipe: OwnedFd) -> Output {
        Output { service, generation, stream, pipe, splitter: Splitter::default(), finder: Finder::default() }
    }
}

impl Reactor {
    /// One share of one pipe.
    pub(super) fn read_output(&mut self, token: usize) {
        match self.read_share(token, self.share(token)) {
            Read::Empty | Read::Behind => {}
            Read::More => self.again.push(token),
            Read::End => self.close_output(token),
        }
        self.tell_lines_seen();
    }

    /// How much of this pipe is read in this turn.
    fn share(&self, token: usize) -> usize {
        let Some(output) = self.outputs.get(&token) else { return SHARE };
        let id = output.service;
        let clients = self.followers.iter().filter(|f| !f.events && f.follows(id)).count();
        share_among(clients + self.web.as_ref().map_or(0, |web| web.pages.readers_of(id)))
    }

    fn read_share(&mut self, token: usize, share: usize) -> Read {
        let Some(mut output) = self.outputs.remove(&token) else { return Read::Empty };
        let tee = self.tees(output.service);
        let mut buffer = vec![0; PIECE];
        let mut taken = 0;
        let how = loop {
            if tee && self.sinks[output.stream.index()].as_ref().is_some_and(|s| s.is_behind()) {
                break Read::Behind;
            }
            if taken >= share {
                break Read::More;
            }
            let room = PIECE.min(share - taken);
            match nix::unistd::read(&output.pipe, &mut buffer[..room]) {
                Ok(0) => break Read::End,
                Ok(n) => {
                    taken += n;
                    self.take_in(&mut output, &buffer[..n], tee);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break Read::Empty,
                // A pipe that cannot be read is closed, so that the worker is not blocked by it (case LOG-13).
                Err(_) => break Read::End,
            }
        };
        self.outputs.insert(token, output);
        how
    }

    fn read_past_the_sink(&mut self, token: usize) {
        let Some(mut output) = self.outputs.remove(&token) else { return };
        let mut buffer = vec![0; PIECE];
        let mut taken = 0;
        while let Ok(n @ 1..) = nix::unistd::read(&output.pipe, &mut buffer)
            && taken < SHARE
        {
            taken += n;
            self.take_in(&mut output, &buffer[..n], false);
            if let Some(sink) = self.sinks[output.stream.index()].as_mut() {
                sink.drop_bytes(&buffer[..n]);
            }
        }
        self.outputs.insert(token, output);
    }

    fn tees(&self, id: ServiceId) -> bool {
        self.machine.services().get(id.0 as usize).is_some_and(|s| s.spec.log.mode == LogMode::Tee)
    }

    fn take_in(&mut self, output: &mut Output, bytes: &[u8], tee: bool) {
        if tee && let Some(sink) = self.sinks[output.stream.index()].as_mut() {
            sink.pass(bytes);
        }
        let at = clock::wall();
        let Output { service, generation, stream, splitter, finder, .. } = output;
        let Some(worker) = self.workers.get_mut(service.0 as usize) else { return };
        let followed = self.followers.iter().any(|f| !f.events);
        let wanted = self.machine.services().get(service.0 as usize).and_then(line_wanted);
        let seen = wanted.is_some_and(|text| finder.finds(text, bytes));
        let followed = followed || self.observer.is_some() || self.web.as_ref().is_some_and(|web| web.pages.are_read());
        let mut fresh = Vec::new();
        splitter.push(bytes, |piece| {
            let seq = worker.ring.push(at, generation.0, *stream, piece.partial, piece.bytes);
            if let Some(file) = worker.file_of(*stream) {
                file.push(piece.bytes, !piece.partial);
            }
            if followed {
                fresh.push(Line {
                    seq,
                    at,
                    generation: generation.0,
                    stream: *stream,
                    partial: piece.partial,
                    bytes: piece.bytes.to_vec(),
                });
            }
        });
        if seen {
            self.lines_seen.push((*service, *generation));
        }
        self.show(*service, &fresh);
    }

    /// The lines that say that somebody is ready.
    pub(super) fn tell_lines_seen(&mut self) {
        for (service, generation) in std::mem::take(&mut self.lines_seen) {
            self.feed(Event::SeenReady { service, generation, by: ReadyBy::Line });
        }
    }

    fn show(&mut self, id: ServiceId, fresh: &[Line]) {
        if self.observer.is_some() {
            for l in fresh {
                let Line { at, generation, stream, partial, ref bytes, .. } = *l;
                self.show_line(&Shown { service: id, generation, stream, at, bytes, partial });
            }
            self.draw();
        }
        let name = self.machine.services().get(id.0 as usize).map_or("", |s| s.spec.name.as_str());
        if let Some(web) = self.web.as_mut() {
            web.tell_readers(id, name, fresh, self.clock.now(), &mut self.again);
        }
        let Some(server) = self.server.as_mut() else { return };
        let mut items = Vec::new();
        for f in self.followers.iter().filter(|f| !f.events && f.follows(id)) {
            if items.is_empty() {
                items = fresh.iter().map(|l| line(name, l).to_string()).collect();
            }
            server.say_items(f.client, &f.id, &items);
        }
    }

    /// The main process is gone: what its pipes still hold is read before its end is told, and an unfinished line is
    /// its last word. A heir that keeps the pipe open is read on, but not waited for.
    pub(super) fn last_words(&mut self, id: ServiceId, generation: Generation) {
        for token in self.pipes_of(id, |of| of == generation) {
            // A pipe holds at most what F_SETPIPE_SZ allows; heirs that write on and on must not keep us here.
            match self.read_share(token, 4 * 1024 * 1024) {
                Read::End => self.close_output(token),
                Read::Empty => self.finish_line(token),
                Read::More | Read::Behind => self.again.push(token),
            }
        }
        self.close_the_oldest(id, generation);
    }

    /// The open pipes of some generations of a service.
    fn pipes_of(&self, id: ServiceId, of: impl Fn(Generation) -> bool) -> Vec<usize> {
        let Some(worker) = self.workers.get(id.0 as usize) else { return Vec::new() };
        let meant = |token: &usize| self.outputs.get(token).is_some_and(|o| of(o.generation));
        worker.pipes.iter().copied().filter(meant).collect()
    }

    /// A reader that stalls while worker after worker ends must not cost a descriptor each: of the dead generations only
    /// the last few keep their pipes; what the older ones still hold goes to ring and file, and past the reader.
    fn close_the_oldest(&mut self, id: ServiceId, dead: Generation) {
        for token in self.pipes_of(id, |of| of.0.saturating_add(OLD_PIPES) <= dead.0) {
            self.read_past_the_sink(token);
            self.close_output(token);
        }
    }

    fn finish_line(&mut self, token: usize) {
        let Some(output) = self.outputs.get_mut(&token) else { return };
        let at = clock::wall();
        let (stream, generation, service) = (output.stream, output.generation, output.service);
        let Some(worker) = self.workers.get_mut(service.0 as usize) else { return };
        let mut fresh = Vec::new();
        output.splitter.finish(|piece| {
            let seq = worker.ring.push(at, generation.0, stream, true, piece.bytes);
            if let Some(file) = worker.file_of(stream) {
                // Completed, so that the next run begins on a line of its own.
                file.push(piece.bytes, true);
            }
            let bytes = piece.bytes.to_vec();
            fresh.push(Line { seq, at, generation: generation.0, stream, partial: true, bytes });
        });
        self.show(service, &fresh);
    }

    fn close_output(&mut self, token: usize) {
        self.finish_line(token);
        self.tell_lost();
        if let Some(output) = self.outputs.remove(&token) {
            if let Some(worker) = self.workers.get_mut(output.service.0 as usize) {
                worker.pipes.retain(|t| *t != token);
            }
            let fd = output.pipe.as_raw_fd();
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    /// What a reader that is gone or behind did not get; the worker, ring and file go on without it (case LOG-10).
    pub(super) fn tell_lost(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let lost = self.sinks[stream.index()].as_mut().map_or_else(Lost::default, |s| s.take_dropped());
            if lost.bytes > 0 {
                let Lost { lines, bytes } = lost;
                self.tell_own(What::LogDropped { stream: stream.word(), lines, bytes });
            }
        }
    }

    /// Our own reader takes more: pass on what is held, then read the workers again.
    pub(super) fn flush_sinks(&mut self) {
        for at in 0..self.sinks.len() {
            if self.sinks[at].as_mut().is_some_and(|s| s.flush()) {
                let waiting = self.outputs.iter().filter(|(_, o)| o.stream.index() == at).map(|(t, _)| *t);
                self.again.extend(waiting);
                if std::mem::take(&mut self.told_lost) {
                    self.tell_lost();
                }
            }
        }
    }

    pub(super) fn flush_files(&mut self) {
        if let Some(Lost { lines, bytes }) = self.journal.take_lost() {
            self.tell_own(What::LogDropped { stream: "events_file", lines, bytes });
        }
        let now = self.clock.now();
        for at in self.filed.clone() {
            let files = self.workers[at].files.iter_mut().flatten();
            let lost: Vec<Lost> = files.filter_map(|file| file.flush(now)).collect();
            for lost in lost {
                let what = What::LogDropped { stream: "file", lines: lost.lines, bytes: lost.bytes };
                self.tell(Notice {
                    service: Some(ServiceId(at as u32)),
                    generation: None,
                    pid: None,
                    cause: None,
                    what,
                });
            }
        }
    }

    /// What the pipes of dead workers still hold, as far as it is not for a reader who is behind.
    pub(super) fn read_the_rest(&mut self) {
        let tokens: Vec<usize> = self.outputs.keys().copied().collect();
        for token in tokens {
            if matches!(self.read_share(token, SHARE), Read::End | Read::Empty) {
                self.close_output(token);
            }
        }
    }

    /// After the end of all workers: with a bare pipe what they wrote would still be there for the reader, so it is
    /// passed on as long as the reader takes something, and until somebody asks us to end.
    pub(super) fn linger(&mut self) {
        let mut events = Events::with_capacity(16);
        let mut progress = self.clock.now();
        loop {
            let tokens: Vec<usize> = self.outputs.keys().copied().collect();
            let mut moved = false;
            for token in tokens {
                match self.read_share(token, SHARE) {
                    Read::More => moved = true,
                    Read::End | Read::Empty => self.close_output(token),
                    Read::Behind => {}
                }
            }
            for sink in self.sinks.iter_mut().flatten() {
                moved |= sink.is_behind() && sink.flush();
            }
            let behind = self.sinks.iter().flatten().any(|s| s.is_behind());
            if !behind && self.outputs.is_empty() {
                return;
            }
            let now = self.clock.now();
            if moved {
                progress = now;
            }
            if self.asked_to_end() {
                return;
            }
            if moved {
                continue;
            }
            let patience = if self.machine.end_was_asked_for() { SHORT_PATIENCE } else { PATIENCE };
            if now.saturating_sub(progress) >= patience {
                return;
            }
            if self.poll.poll(&mut events, Some(Duration::from_millis(200))).is_err() {
                events.clear();
            }
            if events.iter().any(|e| SINKS.contains(&e.token())) {
                progress = now;
            }
        }
    }

    pub(super) fn asked_to_end(&self) -> bool {
        let mut received = Vec::new();
        self.signals.drain(&mut received);
        received.iter().any(|r| [libc::SIGTERM, libc::SIGINT].contains(&r.signal))
    }

    /// The last lines, for a `wait` that failed.
    pub(super) fn log_tail(&self, id: ServiceId) -> Vec<Value> {
        let name = self.machine.services().get(id.0 as usize).map_or("", |s| s.spec.name.as_str());
        let Some(worker) = self.workers.get(id.0 as usize) else { return Vec::new() };
        worker.ring.last(TAIL).iter().map(|l| line(name, l)).collect()
    }

    /// Wakes us when our reader takes more.
    pub(super) fn register_sinks(&mut self) {
        for (sink, token) in self.sinks.iter().zip(SINKS) {
            if let Some(fd) = sink.as_ref().and_then(|s| s.wake_fd()) {
                let interest = mio::Interest::WRITABLE;
                let _ = self.poll.registry().register(&mut SourceFd(&fd), Token(token.0), interest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L5. Failed before: sixteen readers of one service were sixteen times the work between two questions of clients.
    #[test]
    fn the_work_of_a_turn_does_not_grow_with_those_who_read() {
        assert_eq!((share_among(0), share_among(1), share_among(4)), (SHARE, SHARE, SHARE / 4));
        assert!((0..=16).all(|readers| share_among(readers) * readers <= SHARE));
        assert_eq!(share_among(1000), LEAST_SHARE, "and it goes on");
    }
}
