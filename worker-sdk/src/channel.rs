//! The worker's end of the channel: a bounded outbox, a decoder, and never a wait.

use crate::lanes;
use crate::wire::{self, Decoder, FrameError, ToWatchdog, ToWorker};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Bytes that may wait to be sent. News beyond it are dropped and counted: a watchdog that does not read must cost its
/// worker nothing.
const OUTBOX_MAX: usize = 2 * (wire::BODY_MAX + wire::HEADER);
/// Bytes taken at a read, and reads at one look: whatever the other side does, a look ends. Together more than a socket
/// holds by default, so that a loop that is told of news only once (edge triggered) finds nothing left behind.
const READ: usize = 4096;
const READS: usize = 64;

/// Why there is no channel any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The watchdog has closed it: as a rule it is dead.
    Gone,
    /// It said something that is no protocol.
    Broken(FrameError),
}

#[derive(Debug, Default)]
pub(crate) struct Channel {
    decoder: Decoder<ToWorker>,
    outbox: Vec<u8>,
    /// Bytes of the outbox that are sent.
    sent: usize,
    /// A descriptor that travels with the byte of the outbox at this place.
    passenger: Option<(usize, OwnedFd)>,
    ended: Option<Ended>,
    dropped: u64,
}

impl Channel {
    /// Says something, now or at one of the next looks. `false`: there was no room, or there is no channel.
    pub(crate) fn send(&mut self, stream: &UnixStream, message: &ToWatchdog) -> bool {
        let taken = self.queue(message);
        self.flush(stream);
        taken
    }

    /// Says where the lanes are. `false`: there was no room, to be tried again.
    pub(crate) fn send_lanes(&mut self, stream: &UnixStream, count: u32, file: OwnedFd) -> bool {
        let at = self.outbox.len();
        if self.passenger.is_some() || !self.queue(&ToWatchdog::Lanes { count }) {
            return false;
        }
        self.passenger = Some((at, file));
        self.flush(stream);
        true
    }

    fn queue(&mut self, message: &ToWatchdog) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let before = self.outbox.len();
        let fits = wire::append(message, &mut self.outbox).is_ok() && self.outbox.len() - self.sent <= OUTBOX_MAX;
        if !fits {
            self.outbox.truncate(before);
            self.dropped += 1;
        }
        fits
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self, stream: &UnixStream) {
        while self.ended.is_none() && self.sent < self.outbox.len() {
            let written = match &self.passenger {
                Some((at, file)) if *at == self.sent => lanes::send_with(stream, &self.outbox[self.sent..], file),
                Some((at, _)) => { stream }.write(&self.outbox[self.sent..*at]),
                None => { stream }.write(&self.outbox[self.sent..]),
            };
            match written {
                Ok(bytes) => {
                    if self.passenger.as_ref().is_some_and(|(at, _)| *at == self.sent) && bytes > 0 {
                        self.passenger = None;
                    }
                    self.sent += bytes;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // What it said before it went is still to be read: reading finds the end, not writing.
                Err(_) => {
                    self.sent = self.outbox.len();
                    self.passenger = None;
                }
            }
        }
        if self.sent == self.outbox.len() {
            self.outbox.clear();
            self.sent = 0;
        } else if self.sent > wire::BODY_MAX {
            self.outbox.drain(..self.sent);
            if let Some((at, _)) = &mut self.passenger {
                *at -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// Sends these bytes behind what waits, allocating nothing; calls `wait` while the other side takes nothing, until that
    /// says no. For a process that is about to die: a frame may be left cut off, and then nothing follows it.
    pub(crate) fn last_words(&mut self, stream: &UnixStream, bytes: &[u8], wait: impl Fn() -> bool) -> bool {
        let mut rest = bytes;
        while self.ended.is_none() && !rest.is_empty() {
            self.flush(stream);
            match { stream }.write(if self.outbox.is_empty() { rest } else { &[] }) {
                Ok(count) if count > 0 => rest = &rest[count..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) if wait() => {}
                // Not by `end`, which gives memory back.
                Ok(_) | Err(_) => self.ended = Some(Ended::Gone),
            }
        }
        rest.is_empty()
    }

    /// Hands over what has arrived.
    pub(crate) fn receive(&mut self, stream: &UnixStream, mut take: impl FnMut(ToWorker)) {
        let mut bytes = [0; READ];
        for _ in 0..READS {
            if self.ended.is_some() {
                return;
            }
            match { stream }.read(&mut bytes) {
                Ok(0) => self.end(Ended::Gone),
                Ok(count) => {
                    self.decoder.push(&bytes[..count]);
                    self.decode(&mut take);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.end(Ended::Gone),
            }
        }
    }

    fn decode(&mut self, take: &mut impl FnMut(ToWorker)) {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(message)) => take(message),
                Ok(None) => return,
                Err(error) => return self.end(Ended::Broken(error)),
            }
        }
    }

    fn end(&mut self, why: Ended) {
        self.ended = Some(why);
        self.outbox = Vec::new();
        self.sent = 0;
        self.passenger = None;
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}
