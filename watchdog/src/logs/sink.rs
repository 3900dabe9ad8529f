//! Our own stdout or stderr, as the place a worker's bytes are passed on to. What the reader does not take yet is held
//! (a bounded amount), and while something is held nothing more is read from the worker: it feels the reader as it would
//! through a bare pipe, and our loop does not.

use super::file::Lost;
use crate::sys::fds::SharedWriter;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// Where the bytes go.
#[derive(Debug)]
pub(crate) struct Sink {
    writer: SharedWriter,
    own: RawSink,
    held: Vec<u8>,
    from: usize,
    broken: bool,
    dropped: Lost,
}

/// Which of our two descriptors.
#[derive(Clone, Copy, Debug)]
enum RawSink {
    Stdout,
    Stderr,
}

impl RawSink {
    fn with<T>(self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        match self {
            RawSink::Stdout => f(io::stdout().as_fd()),
            RawSink::Stderr => f(io::stderr().as_fd()),
        }
    }
}

impl Sink {
    /// Looks at what stdout (or stderr) is.
    #[must_use]
    pub(crate) fn open(stderr: bool) -> Sink {
        let own = if stderr { RawSink::Stderr } else { RawSink::Stdout };
        let writer = own.with(SharedWriter::of);
        Sink { writer, own, held: Vec::new(), from: 0, broken: false, dropped: Lost::default() }
    }

    /// The descriptor to be woken by when the reader takes more; `None` where a write never waits.
    #[must_use]
    pub(crate) fn wake_fd(&self) -> Option<RawFd> {
        self.own.with(|fd| self.writer.wake_fd(fd))
    }

    /// Whether the reader owes us a read.
    #[must_use]
    pub(crate) fn is_behind(&self) -> bool {
        self.from < self.held.len()
    }

    /// Bytes that wait for the reader.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        self.held.len() - self.from
    }

    /// What was not passed on because the reader is gone (EPIPE) or behind, since the last time this was asked.
    pub(crate) fn take_dropped(&mut self) -> Lost {
        std::mem::take(&mut self.dropped)
    }

    /// Whether something was dropped that has not been asked for.
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped.bytes > 0
    }

    /// Counts what was not even offered.
    pub(crate) fn drop_bytes(&mut self, bytes: &[u8]) {
        self.dropped.add(bytes);
    }

    /// Passes bytes on; holds what is not taken. Callers ask [`Sink::is_behind`] before they read more.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        if self.broken {
            self.dropped.add(bytes);
            return;
        }
        let taken = if self.is_behind() { 0 } else { self.write_all_now(bytes) };
        if self.broken {
            self.dropped.add(bytes);
        } else if taken < bytes.len() {
            // A reader that is always a little behind must not make this grow for ever.
            if self.from > self.held.len() / 2 {
                self.held.drain(..self.from);
                self.from = 0;
            }
            self.held.extend_from_slice(&bytes[taken..]);
        }
    }

    /// The reader may take more now. True when nothing is held any more.
    pub(crate) fn flush(&mut self) -> bool {
        if self.is_behind() && !self.broken {
            let held = std::mem::take(&mut self.held);
            self.from += self.write_all_now(&held[self.from..]);
            self.held = held;
        }
        if self.broken || !self.is_behind() {
            self.dropped.add(&self.held[self.from..]);
            self.held.clear();
            self.from = 0;
        }
        !self.is_behind()
    }

    fn write_all_now(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let result = self.own.with(|fd| self.writer.write_some(fd, rest));
            match result {
                Ok(0) => break,
                Ok(n) => done += n,
                // No room now, which may change: this piece is lost, the next may not be.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG)) => {
                    self.dropped.add(rest);
                    return bytes.len();
                }
                Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_reader_that_is_always_a_little_behind_makes_nothing_grow() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let (writer, own, held) = (SharedWriter::of(writer.as_fd()), RawSink::Stdout, Vec::new());
        let mut sink = Sink { writer, own, held, from: 0, broken: false, dropped: Lost::default() };
        sink.pass(&[b'x'; 200_000]);
        let mut taken = [0; 20_000];
        for _ in 0..200 {
            reader.read_exact(&mut taken).expect("there is more than it takes");
            assert!(!sink.flush(), "it is behind");
            sink.pass(&taken);
        }
        assert!(sink.held.len() < 600_000, "{}", sink.held.len());
        assert_eq!(sink.take_dropped(), Lost::default());
    }

    /// 7b. Failed before: bytes were counted, and lines of those that wrote to no screen were 0.
    #[test]
    fn what_a_reader_that_is_gone_does_not_get_is_counted_in_lines_and_bytes() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (writer, own, held) = (SharedWriter::of(writer.as_fd()), RawSink::Stdout, Vec::new());
        let mut sink = Sink { writer, own, held, from: 0, broken: false, dropped: Lost::default() };
        sink.pass(b"taken\n");
        assert_eq!(sink.take_dropped(), Lost::default());
        drop(reader);
        sink.pass(b"one\ntwo\n");
        sink.pass(b"three\n");
        sink.drop_bytes(b"four\n");
        assert!(sink.has_dropped());
        assert_eq!(sink.take_dropped(), Lost { lines: 4, bytes: 19 });
        assert!(!sink.has_dropped());
    }
}
