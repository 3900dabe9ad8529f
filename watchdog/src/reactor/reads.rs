//! Which pipes are to be read next and how much of a turn that may take, and whose files are to be written.

use super::Reactor;
use crate::logs::{LogFile, Lost};
use crate::machine::*;
use std::collections::VecDeque;
use std::time::Duration;

/// Which pipes are to be read, and what that needs.
#[derive(Default)]
pub(super) struct Reads {
    /// Who is next: who had a share goes to the end.
    pub(super) due: VecDeque<usize>,
    /// Who waits for the reader of our own stdout or stderr, in the same order.
    pub(super) behind: [Vec<usize>; 2],
    /// Those of them who got something in this turn: they are last.
    pub(super) fed: Vec<usize>,
    /// One for all pipes.
    pub(super) buffer: Vec<u8>,
    /// Whose files hold something that is not written or not told.
    unwritten: Vec<usize>,
    /// Who has old files to be compressed.
    compressing: Vec<usize>,
}

impl Reads {
    /// Whether there may be old files to compress.
    pub(super) fn compresses(&self) -> bool {
        !self.compressing.is_empty()
    }

    /// After something was added to this file of that worker.
    pub(super) fn note_file(&mut self, worker: usize, file: &LogFile) {
        if file.has_news() && self.unwritten.last() != Some(&worker) {
            self.unwritten.push(worker);
        }
        if file.has_work() && !self.compressing.contains(&worker) {
            self.compressing.push(worker);
        }
    }

    /// Whether something is to be read without waiting for an event.
    pub(super) fn are_due(&self) -> bool {
        !self.due.is_empty()
    }
}

/// What may still be read.
pub(super) struct Share {
    pub(super) bytes: usize,
    pub(super) until: Duration,
    /// Not until the kernel says that nothing is left: a read that was given less than it has room for has emptied the pipe,
    /// and the next write wakes us. Only where a worker has set its end to packets (O_DIRECT) such a read may leave
    /// something, which comes with what is written next, or at the end.
    pub(super) short: bool,
}

impl Share {
    /// However long it takes, and until the kernel says that nothing is left.
    pub(super) fn of(bytes: usize) -> Share {
        Share { bytes, until: Duration::MAX, short: false }
    }

    pub(super) fn is_spent(&self, now: Duration) -> bool {
        self.bytes == 0 || now >= self.until
    }
}

impl Reactor {
    pub(super) fn flush_files(&mut self) {
        if let Some(Lost { lines, bytes }) = self.journal.take_lost() {
            self.tell_own(What::LogDropped { stream: "events_file", lines, bytes });
        }
        if self.reads.unwritten.is_empty() {
            return;
        }
        let now = self.clock.now();
        let mut waiting = std::mem::take(&mut self.reads.unwritten);
        for at in waiting.drain(..) {
            for which in 0..2 {
                let file = self.workers.get_mut(at).and_then(|worker| worker.files[which].as_mut());
                let Some(file) = file else { continue };
                let lost = file.flush(now);
                self.reads.note_file(at, file);
                if let Some(Lost { lines, bytes }) = lost {
                    let what = What::LogDropped { stream: "file", lines, bytes };
                    let service = Some(ServiceId(at as u32));
                    self.tell(Notice { service, generation: None, pid: None, cause: None, what });
                }
            }
        }
        if self.reads.unwritten.is_empty() {
            // The buffer serves again.
            self.reads.unwritten = waiting;
        }
    }

    /// One small piece of compression. True while there is more to do.
    #[inline(never)]
    pub(super) fn compress_some(&mut self) -> bool {
        while let Some(at) = self.reads.compressing.last() {
            let files = self.workers.get_mut(*at).map(|worker| worker.files.iter_mut().flatten());
            if files.is_some_and(|mut files| files.any(|file| file.work())) {
                return true;
            }
            self.reads.compressing.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_ends_by_bytes_and_by_time() {
        let until = Duration::from_millis(10);
        let share = |bytes| Share { bytes, until, short: true };
        assert!(!share(1).is_spent(Duration::ZERO) && share(0).is_spent(Duration::ZERO));
        assert!(share(1).is_spent(until), "whatever is left");
        assert!(!Share::of(1).is_spent(Duration::from_secs(1_000_000)), "what is read to its end has no time");
    }
}
