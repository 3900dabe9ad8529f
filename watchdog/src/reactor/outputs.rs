//! The pipes of captured workers: read in shares, into ring, file, followers and our own stdout and stderr.

use super::reads::Share;
use super::screen::Shown;
use super::{Reactor, SINKS, Worker};
use crate::control::line;
use crate::logs::{Finder, Line, LogFile, Lost, Origin, Splitter, Stream};
use crate::machine::*;
use crate::spec::{LogMode, Ready};
use crate::sys::clock;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use nix::errno::Errno;
use serde_json::Value;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Read from one pipe per turn, so that a chatty worker does not starve a silent one.
const SHARE: usize = 256 * 1024;
/// The same where many follow what it writes: it is written to each of them, and clients with a question wait for that.
const LEAST_SHARE: usize = 16 * 1024;
/// Read from all pipes per turn, and the time for that: signals, deaths, requests and deadlines come behind it. How long a byte
/// takes depends on lines, files and followers, so that bytes alone are no bound.
const TURN: usize = 2 * 1024 * 1024;
const TURN_TIME: Duration = Duration::from_millis(10);
/// Of one read: as much as a pipe holds by default, and at first no more than a page, which most never fill.
const PIECE: usize = 64 * 1024;
const FIRST_PIECE: usize = 4 * 1024;
/// Of one read that has followers: each line of it becomes a text of its own.
const FOLLOWED_PIECE: usize = 16 * 1024;
/// What a pipe of a dead worker holds at most. Heirs may write on and on, so more is not waited for.
const LAST: usize = 4 * 1024 * 1024;
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
    /// It is to be read, now or when our own reader has caught up.
    listed: bool,
    /// All its writers are gone, which is said once: it is read to its end.
    hung_up: bool,
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
        Output {
            service,
            generation,
            stream,
            pipe,
            splitter: Splitter::default(),
            finder: Finder::default(),
            listed: false,
            hung_up: false,
        }
    }
}

/// Where lines of this stream are written to.
fn file_of(files: &mut [Option<Box<LogFile>>; 2], stream: Stream) -> Option<&mut LogFile> {
    let [all, stderr] = files;
    let own = stderr.as_mut().filter(|_| stream == Stream::Stderr);
    own.or(all.as_mut()).map(|file| &mut **file)
}

impl Reactor {
    #[inline(never)]
    pub(super) fn register_output(&mut self, output: Output) {
        self.next_token += 1;
        let token = self.next_token;
        let fd = output.pipe.as_raw_fd();
        if self.poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE).is_err() {
            return;
        }
        if let Some(worker) = self.workers.get_mut(output.service.0 as usize) {
            worker.pipes.push(token);
        }
        if self.reads.buffer.is_empty() {
            self.reads.buffer.resize(FIRST_PIECE, 0);
        }
        self.outputs.insert(token, Box::new(output));
    }

    /// Which pipes have come to their end.
    pub(super) fn note_ends(&mut self, events: &Events) {
        for event in events.iter().filter(|event| event.is_read_closed()) {
            self.outputs.get_mut(&event.token().0).into_iter().for_each(|output| output.hung_up = true);
        }
    }

    /// A share of each pipe that has something, one after the other, as far as this turn goes: who is not reached is first in
    /// the next one.
    pub(super) fn read_outputs(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.list(token.0);
        }
        if !self.reads.are_due() {
            return;
        }
        let mut turn = Share { bytes: TURN, until: self.clock.now().saturating_add(TURN_TIME), short: true };
        for _ in 0..self.reads.due.len() {
            if turn.is_spent(self.clock.now()) {
                break;
            }
            let Some(token) = self.reads.due.pop_front() else { break };
            self.read_output(token, &mut turn);
        }
        let Reactor { outputs, reads, .. } = self;
        for token in reads.fed.drain(..) {
            if let Some(output) = outputs.get(&token) {
                reads.behind[output.stream.index()].push(token);
            }
        }
    }

    /// This pipe is to be read.
    fn list(&mut self, token: usize) {
        if let Some(output) = self.outputs.get_mut(&token).filter(|output| !output.listed) {
            output.listed = true;
            self.reads.due.push_back(token);
        }
    }

    /// One share of one pipe, out of what this turn has left.
    fn read_output(&mut self, token: usize, turn: &mut Share) {
        let Some(output) = self.outputs.get_mut(&token) else { return };
        output.listed = false;
        let (stream, short) = (output.stream.index(), turn.short && !output.hung_up);
        let most = self.share(token).min(turn.bytes);
        let mut share = Share { bytes: most, until: turn.until, short };
        let how = self.read_share(token, &mut share);
        turn.bytes -= most - share.bytes;
        match how {
            Read::Empty => {}
            Read::More => self.list(token),
            Read::End => self.close_output(token),
            Read::Behind => {
                self.outputs.get_mut(&token).into_iter().for_each(|output| output.listed = true);
                let got_nothing = share.bytes == most;
                let list = if got_nothing { &mut self.reads.behind[stream] } else { &mut self.reads.fed };
                list.push(token);
            }
        }
        self.tell_lines_seen();
    }

    /// How much of this pipe is read in this turn.
    fn share(&self, token: usize) -> usize {
        let Some(output) = self.outputs.get(&token) else { return SHARE };
        share_among(self.readers(output.service))
    }

    /// Clients and pages that follow what it writes.
    fn readers(&self, id: ServiceId) -> usize {
        let clients = self.followers.iter().filter(|f| !f.events && f.follows(id)).count();
        clients + self.web.as_ref().map_or(0, |web| web.pages.readers_of(id))
    }

    fn read_share(&mut self, token: usize, share: &mut Share) -> Read {
        let Some(output) = self.outputs.get(&token) else { return Read::Empty };
        let (id, stream) = (output.service, output.stream.index());
        let tee = self.tees(id);
        let followed = self.observer.is_some() || self.readers(id) > 0;
        let most = if followed { FOLLOWED_PIECE } else { PIECE };
        let mut buffer = std::mem::take(&mut self.reads.buffer);
        let how = loop {
            if tee && self.sinks[stream].as_ref().is_some_and(|s| s.is_behind()) {
                break Read::Behind;
            }
            if share.is_spent(self.clock.now()) {
                break Read::More;
            }
            let Some(output) = self.outputs.get(&token) else { break Read::Empty };
            // Never less than a page: of a pipe in packet mode (O_DIRECT) what does not fit is lost.
            let room = buffer.len().min(most);
            match nix::unistd::read(&output.pipe, &mut buffer[..room]) {
                Ok(0) => break Read::End,
                Ok(n) => {
                    share.bytes = share.bytes.saturating_sub(n);
                    self.take_in(token, &buffer[..n], tee, followed);
                    if n < room && share.short {
                        break Read::Empty;
                    }
                    if n == buffer.len() && n < PIECE {
                        buffer.resize(PIECE.min(4 * n), 0);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break Read::Empty,
                // A pipe that cannot be read is closed, so that the worker is not blocked by it (case LOG-13).
                Err(_) => break Read::End,
            }
        };
        self.reads.buffer = buffer;
        how
    }

    fn read_past_the_sink(&mut self, token: usize) {
        let mut buffer = std::mem::take(&mut self.reads.buffer);
        let mut left = SHARE;
        while left > 0
            && let Some(output) = self.outputs.get(&token)
            && let Ok(n @ 1..) = nix::unistd::read(&output.pipe, &mut buffer)
        {
            let stream = output.stream.index();
            left = left.saturating_sub(n);
            self.take_in(token, &buffer[..n], false, true);
            if let Some(sink) = self.sinks[stream].as_mut() {
                sink.drop_bytes(&buffer[..n]);
            }
        }
        self.reads.buffer = buffer;
    }

    fn tees(&self, id: ServiceId) -> bool {
        self.machine.services().get(id.0 as usize).is_some_and(|s| s.spec.log.mode == LogMode::Tee)
    }

    fn take_in(&mut self, token: usize, bytes: &[u8], tee: bool, followed: bool) {
        let Reactor { outputs, workers, machine, sinks, reads, clock, .. } = self;
        let Some(Output { service, generation, stream, splitter, finder, .. }) =
            outputs.get_mut(&token).map(|output| &mut **output)
        else {
            return;
        };
        let (id, generation, stream) = (*service, *generation, *stream);
        if tee && let Some(sink) = sinks[stream.index()].as_mut() {
            sink.pass(bytes);
        }
        let at = id.0 as usize;
        let Some(worker) = workers.get_mut(at) else { return };
        let wanted = machine.services().get(at).and_then(line_wanted);
        if wanted.is_some_and(|text| finder.finds(text, bytes)) {
            self.lines_seen.push((id, generation));
        }
        let origin = Origin { at: clock::wall(), generation: generation.0, stream };
        let Worker { ring, files, .. } = worker;
        let mut file = file_of(files, stream);
        file.iter_mut().for_each(|file| file.tick(clock.now()));
        // Made only for those who follow.
        let mut fresh = Vec::new();
        splitter.push(bytes, |piece| {
            let seq = ring.push(origin, piece);
            match (&mut file, piece.partial) {
                (Some(file), true) => file.push(piece.bytes, false),
                (Some(file), false) => file.push_lines(piece.bytes),
                (None, _) => {}
            }
            if followed {
                fresh.extend(origin.lines(piece, seq));
            }
        });
        if let Some(file) = file {
            reads.note_file(at, file);
        }
        self.show(id, &fresh);
    }

    /// The lines that say that somebody is ready.
    pub(super) fn tell_lines_seen(&mut self) {
        for (service, generation) in std::mem::take(&mut self.lines_seen) {
            self.feed(Event::SeenReady { service, generation, by: ReadyBy::Line });
        }
    }

    fn show(&mut self, id: ServiceId, fresh: &[Line]) {
        if fresh.is_empty() {
            return;
        }
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
            match self.read_share(token, &mut Share::of(LAST)) {
                Read::End => self.close_output(token),
                Read::Empty => self.finish_line(token),
                Read::More | Read::Behind => self.list(token),
            }
        }
        self.close_the_oldest(id, generation);
    }

    /// A reader that stalls while worker after worker ends must not cost a descriptor each: of the dead generations only
    /// the last few keep their pipes; what the older ones still hold goes to ring and file, and past the reader.
    fn close_the_oldest(&mut self, id: ServiceId, dead: Generation) {
        for token in self.pipes_of(id, |of| of.0.saturating_add(OLD_PIPES) <= dead.0) {
            self.read_past_the_sink(token);
            self.close_output(token);
        }
    }

    fn pipes_of(&self, id: ServiceId, wanted: impl Fn(Generation) -> bool) -> Vec<usize> {
        let all = self.workers.get(id.0 as usize).map_or(&[][..], |worker| &worker.pipes);
        all.iter().copied().filter(|token| self.outputs.get(token).is_some_and(|o| wanted(o.generation))).collect()
    }

    fn finish_line(&mut self, token: usize) {
        let Reactor { outputs, workers, reads, clock, .. } = self;
        let Some(Output { service, generation, stream, splitter, .. }) =
            outputs.get_mut(&token).map(|output| &mut **output)
        else {
            return;
        };
        let (id, origin) = (*service, Origin { at: clock::wall(), generation: generation.0, stream: *stream });
        let Some(Worker { ring, files, .. }) = workers.get_mut(id.0 as usize) else { return };
        let mut fresh = Vec::new();
        splitter.finish(|piece| {
            let seq = ring.push(origin, piece);
            if let Some(file) = file_of(files, origin.stream) {
                file.tick(clock.now());
                // Completed, so that the next run begins on a line of its own.
                file.push(piece.bytes, true);
                reads.note_file(id.0 as usize, file);
            }
            fresh.extend(origin.lines(piece, seq));
        });
        self.show(id, &fresh);
    }

    fn close_output(&mut self, token: usize) {
        self.finish_line(token);
        self.tell_lost();
        if let Some(output) = self.outputs.remove(&token) {
            let fd = output.pipe.as_raw_fd();
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
            if let Some(worker) = self.workers.get_mut(output.service.0 as usize) {
                worker.pipes.retain(|own| *own != token);
            }
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
    #[inline(never)]
    pub(super) fn flush_sinks(&mut self) {
        for at in 0..self.sinks.len() {
            if self.sinks[at].as_mut().is_some_and(|s| s.flush()) {
                self.reads.due.extend(self.reads.behind[at].drain(..));
                if std::mem::take(&mut self.told_lost) {
                    self.tell_lost();
                }
            }
        }
    }

    /// What the pipes of dead workers still hold, as far as it is not for a reader who is behind.
    pub(super) fn read_the_rest(&mut self) {
        let tokens: Vec<usize> = self.outputs.keys().copied().collect();
        for token in tokens {
            if matches!(self.read_share(token, &mut Share::of(SHARE)), Read::End | Read::Empty) {
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
                match self.read_share(token, &mut Share::of(SHARE)) {
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
                let interest = Interest::WRITABLE;
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
