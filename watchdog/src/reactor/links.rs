//! The channels of workers: what comes in is read in shares and becomes news, what goes out waits in a bounded outbox.
//! Nothing a worker sends or leaves unread can hold the loop up or grow without bound.

use super::Reactor;
use super::link::{Came, Heard, Link};
use crate::dialect::{lanes, native, node, notify};
use crate::machine::*;
use crate::sys::channel;
use crate::sys::clock;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// Read from one channel per turn, so that a chatty worker does not starve a silent one.
const SHARE: usize = 16 * 1024;
/// News of one read at most: what is left comes in the next turn.
const NEWS: usize = 1024;
/// Bytes of one read; a datagram that is longer than its own limit is ignored whole.
const PIECE: usize = notify::MAX;
/// Shares of what a dying worker may still have said: a channel holds no more.
const LAST_SHARES: usize = 64;
/// Bytes that wait for a worker that does not read. What does not fit is lost: it does not answer either.
const OUTBOX: usize = 64 * 1024;
/// Senders that may not speak for a worker are told of at most so often.
const DENIED_EVERY: Duration = Duration::from_secs(1);
/// Descriptors of a dead worker that are taken from its channel before the rest is left to whoever closes it.
const LAST_DESCRIPTORS: usize = 512;
/// A memory file that holds no more than this is closed at once: freeing it takes no time.
const SMALL: u64 = 1024 * 1024;

/// Datagrams of senders that may not speak for it.
#[derive(Default)]
pub(super) struct Denied {
    count: u64,
    told: Option<Duration>,
    /// The generation of which it was said at the default level: once is enough.
    pub(super) said: Option<Generation>,
}

impl Reactor {
    /// Takes the channels of a process that runs now into the loop.
    pub(super) fn open_links(&mut self, id: ServiceId, links: Vec<Link>) {
        let deaf = self.has_left_too_much(id);
        if deaf && !links.is_empty() {
            log::error!("what its earlier runs have sent cannot be closed: it is not heard any more");
        }
        for mut link in links {
            link.closing = deaf;
            self.next_token += 1;
            let token = self.next_token;
            let fd = link.fd.as_raw_fd();
            let register = || self.poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE);
            if link.nothing_out_of_band().and_then(|()| register()).is_err() {
                continue;
            }
            if let Some(worker) = self.workers.get_mut(id.0 as usize) {
                worker.links.push((link.ear.dialect(), token));
            }
            self.links.insert(token, Box::new(link));
        }
    }

    /// One share of one channel, and what waits to go out on it.
    pub(super) fn serve_link(&mut self, token: usize) {
        if self.hear(token, false) {
            self.again.push(token);
        }
        self.flush_link(token);
    }

    /// What the channels of a process that is dead still hold.
    pub(super) fn last_news(&mut self, id: ServiceId) {
        let Some(worker) = self.workers.get_mut(id.0 as usize) else { return };
        for (_, token) in worker.links.clone() {
            let _ = (0..LAST_SHARES).find(|_| !self.hear(token, true));
        }
    }

    /// A generation is over: what is left of it and holds its channels is not heard from here on.
    pub(super) fn close_links(&mut self, id: ServiceId) {
        let Some(worker) = self.workers.get_mut(id.0 as usize) else { return };
        if let Some(file) = worker.lanes.take() {
            self.after.close_lanes(id, file);
        }
        for (_, token) in std::mem::take(&mut worker.links) {
            let Some(link) = self.links.remove(&token) else { continue };
            match link.has_a_path_of_its_own() {
                true => self.after.close(token, link),
                // The next generation is given the same.
                false => self.close_link(token, *link),
            }
        }
        if self.after.has_too_many() {
            self.close_what_waits();
        }
    }

    pub(super) fn close_link(&mut self, token: usize, link: Link) {
        // Its end in another process would not take it out of the loop.
        let fd = link.fd.as_raw_fd();
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        let service = link.service;
        self.close_elsewhere(service, token, link.over());
    }

    /// True: there may be more. `last`: of a dead worker, which sends nothing more.
    fn hear(&mut self, token: usize, last: bool) -> bool {
        let Some(link) = self.links.get_mut(&token).filter(|link| !link.closing) else { return false };
        let mut buffer = std::mem::take(&mut self.scratch);
        let mut heard = std::mem::take(&mut self.heard);
        buffer.resize(PIECE, 0);
        let (id, generation, dialect) = (link.service, link.generation, link.ear.dialect());
        let (mut taken, room) = (0, self.closers.room(self.workers.len() as u64));
        let mut has_room = room.is_there(link.brought.len());
        let how = loop {
            if taken >= SHARE || heard.len() >= NEWS {
                break Heard::More;
            }
            match link.hear(&mut buffer, &mut heard, &mut taken, has_room) {
                Heard::More => {}
                Heard::Brought if last && link.brought.len() < LAST_DESCRIPTORS => {
                    has_room = room.is_there(link.brought.len());
                }
                other @ (Heard::Brought | Heard::Full | Heard::Empty | Heard::End | Heard::Bad(_)) => break other,
            }
        };
        self.scratch = buffer;
        // Only now: what follows from it may be said on this very channel.
        let foreign = heard.iter().filter(|one| matches!(one, Came::Foreign { .. })).count();
        for one in heard.drain(..) {
            self.give(id, generation, dialect, one);
        }
        self.heard = heard;
        self.note_main(id);
        if foreign > 0 {
            self.feed(Event::Foreign { service: id, generation, count: foreign as u64 });
        }
        match how {
            Heard::More => return true,
            // What came with it was heard: now it is closed, and then there may be more.
            Heard::Brought => self.close_what_it_brought(token),
            // Of a dead one what it had brought before is closed with its channel.
            Heard::Full => self.closers.rest(token),
            Heard::Empty => {}
            Heard::End => self.lose(token, id, generation, dialect, None),
            Heard::Bad(why) => self.lose(token, id, generation, dialect, Some(why)),
        }
        false
    }

    fn close_what_it_brought(&mut self, token: usize) {
        let Some(link) = self.links.get_mut(&token) else { return };
        link.closing = true;
        let (service, brought) = (link.service, std::mem::take(&mut link.brought));
        self.close_elsewhere(service, token, brought);
    }

    fn lose(
        &mut self,
        token: usize,
        service: ServiceId,
        generation: Generation,
        dialect: Dialect,
        fault: Option<String>,
    ) {
        if let Some(link) = self.links.remove(&token) {
            self.close_link(token, *link);
        }
        if let Some(worker) = self.workers.get_mut(service.0 as usize) {
            worker.links.retain(|(_, t)| *t != token);
        }
        // A pipe for one newline is done when it is closed.
        if dialect != Dialect::Fd {
            self.feed(Event::ChannelLost { service, generation, dialect, fault });
        }
    }

    /// One thing that came over a channel.
    fn give(&mut self, service: ServiceId, generation: Generation, dialect: Dialect, came: Came) {
        match came {
            Came::News(News::MainPid(pid)) => {
                if let Some(worker) = self.workers.get_mut(service.0 as usize) {
                    worker.named.say(generation, pid);
                }
            }
            Came::News(news) => {
                if let (News::Beat | News::Pong(_), Some(worker)) = (&news, self.workers.get_mut(service.0 as usize)) {
                    worker.slept = clock::slept_offset();
                }
                self.feed(Event::News { service, generation, dialect, news });
            }
            Came::Lanes(file) => self.take_lanes(service, generation, dialect, file),
            Came::Foreign { pid, uid } => self.deny(service, pid, uid),
            Came::Datagram(bytes) => {
                for news in notify::decode(&bytes).news {
                    self.give(service, generation, dialect, Came::News(news));
                }
            }
        }
    }

    fn deny(&mut self, id: ServiceId, sender: i32, uid: u32) {
        let now = self.clock.now();
        let Some(worker) = self.workers.get_mut(id.0 as usize) else { return };
        worker.denied.count += 1;
        if worker.denied.told.is_some_and(|at| now.saturating_sub(at) < DENIED_EVERY) {
            return;
        }
        let count = std::mem::take(&mut worker.denied.count);
        worker.denied.told = Some(now);
        let (generation, pid) = worker.proc.as_ref().map_or((None, None), |p| (Some(p.generation), Some(p.pid)));
        let what = What::NotifyDenied { sender, uid, count };
        self.tell(Notice { service: Some(id), generation, pid, cause: None, what });
        if let Some(worker) = self.workers.get_mut(id.0 as usize) {
            worker.denied.said = generation;
        }
    }

    /// Whether nothing was said yet of datagrams that were ignored in this run.
    pub(super) fn is_denied_first(&self, notice: &Notice) -> bool {
        let worker = notice.service.and_then(|id| self.workers.get(id.0 as usize));
        worker.is_none_or(|w| w.denied.said.is_none() || w.denied.said != notice.generation)
    }

    // --- lanes ---

    fn take_lanes(&mut self, service: ServiceId, generation: Generation, dialect: Dialect, file: OwnedFd) {
        let Some(worker) = self.workers.get_mut(service.0 as usize) else { return };
        // A second file means nothing (docs/protocol.md).
        if worker.lanes.is_none() {
            worker.lanes = Some(file);
            return self.look_at_lanes(service, generation);
        }
        let token = worker.links.iter().find(|(d, _)| *d == dialect).map_or(0, |(_, token)| *token);
        self.close_memory(service, token, file);
    }

    fn close_lanes(&mut self, id: ServiceId) {
        let Some(worker) = self.workers.get_mut(id.0 as usize) else { return };
        if let Some(file) = worker.lanes.take() {
            self.close_memory(id, 0, file);
        }
    }

    /// A memory file is freed by whoever closes it last, and that takes its time where it is large.
    pub(super) fn close_memory(&mut self, id: ServiceId, token: usize, file: OwnedFd) {
        if channel::held_bytes(file.as_fd()) > SMALL {
            self.close_elsewhere(id, token, vec![file]);
        }
    }

    pub(super) fn look_at_lanes(&mut self, service: ServiceId, generation: Generation) {
        let Some(file) = self.workers.get(service.0 as usize).and_then(|w| w.lanes.as_ref()) else { return };
        let mut bytes = [0; lanes::BYTES];
        let read = channel::read_at(file.as_fd(), &mut bytes, 0);
        let views = read.ok().and_then(|()| lanes::decode(&bytes));
        match views {
            Some(views) => {
                let news = News::Lanes(views);
                self.feed(Event::News { service, generation, dialect: Dialect::Native, news });
            }
            None => {
                log::warn!("generation {}: the file of its lanes is none", generation.0);
                self.close_lanes(service);
            }
        }
    }

    // --- what goes out ---

    /// Says something, now or as soon as the worker reads.
    pub(super) fn say_word(&mut self, id: ServiceId, generation: Generation, dialect: Dialect, word: &Word) {
        let worker = self.workers.get(id.0 as usize);
        let token = worker.and_then(|w| w.links.iter().find(|(d, _)| *d == dialect)).map(|(_, token)| *token);
        let Some((token, link)) = token.and_then(|t| self.links.get_mut(&t).map(|link| (t, link))) else { return };
        if link.generation != generation || link.outbox.len() >= OUTBOX {
            return;
        }
        match dialect {
            Dialect::Native => native::encode(word, &mut link.outbox),
            Dialect::Node => node::encode(word, &mut link.outbox),
            Dialect::Notify | Dialect::Fd => return,
        }
        link.spoken = true;
        if self.speaks_to.is_some_and(|before| before != token) {
            self.send_words();
        }
        self.speaks_to = Some(token);
    }

    /// Words for one worker go out together: each call would wake it.
    pub(super) fn send_words(&mut self) {
        if let Some(token) = self.speaks_to.take() {
            self.flush_link(token);
        }
    }

    fn flush_link(&mut self, token: usize) {
        let Some(link) = self.links.get_mut(&token).filter(|l| !l.outbox.is_empty()) else { return };
        if !link.spoken {
            return;
        }
        match channel::send(link.fd.as_fd(), &link.outbox) {
            Ok(sent) => {
                link.outbox.drain(..sent);
            }
            // Also found by reading, which finds what was said before it as well.
            Err(e) if e.kind() != ErrorKind::WouldBlock => return,
            Err(_) => {}
        }
        // Told of room only while something waits for it: a channel with room would wake us for nothing.
        let waits = !link.outbox.is_empty();
        if waits != link.waits {
            link.waits = waits;
            let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let fd = link.fd.as_raw_fd();
            let _ = self.poll.registry().reregister(&mut SourceFd(&fd), Token(token), interest);
        }
    }
}
