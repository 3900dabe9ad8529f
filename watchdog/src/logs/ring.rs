//! The last lines in memory: one buffer of bytes, one queue of marks, nothing allocated per line once both are full.

use super::Stream;
use std::collections::VecDeque;
use std::time::SystemTime;

/// Bytes kept in all, whatever the number of lines.
const RING_BYTES: usize = 256 * 1024;

/// One kept line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counts up over all runs; a gap is a line that was pushed out.
    pub seq: u64,
    /// When its end was read.
    pub at: SystemTime,
    /// Whose.
    pub generation: u64,
    /// Where it was written.
    pub stream: Stream,
    /// No newline followed.
    pub partial: bool,
    /// Without the newline.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Mark {
    at: SystemTime,
    generation: u64,
    stream: Stream,
    partial: bool,
    len: usize,
}

/// Bounded by lines and by bytes.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: VecDeque<u8>,
    marks: VecDeque<Mark>,
    limit: usize,
    next_seq: u64,
}

impl Ring {
    /// For this many lines.
    #[must_use]
    pub(crate) fn new(lines: usize) -> Ring {
        Ring { bytes: VecDeque::new(), marks: VecDeque::new(), limit: lines, next_seq: 1 }
    }

    /// Another limit of lines; what is too much goes with the next line.
    pub(crate) fn keep(&mut self, lines: usize) {
        self.limit = lines;
    }

    /// Keeps a line; the oldest make room. Gives back its number.
    pub(crate) fn push(&mut self, at: SystemTime, generation: u64, stream: Stream, partial: bool, bytes: &[u8]) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        if self.limit == 0 || bytes.len() > RING_BYTES {
            return seq;
        }
        while self.marks.len() >= self.limit || self.bytes.len() + bytes.len() > RING_BYTES {
            let Some(old) = self.marks.pop_front() else { break };
            self.bytes.drain(..old.len);
        }
        self.bytes.extend(bytes);
        self.marks.push_back(Mark { at, generation, stream, partial, len: bytes.len() });
        seq
    }

    /// The last `n` lines, oldest first.
    #[must_use]
    pub(crate) fn last(&self, n: usize) -> Vec<Line> {
        let skip = self.marks.len().saturating_sub(n);
        let mut from: usize = self.marks.iter().take(skip).map(|m| m.len).sum();
        let first = self.next_seq - self.marks.len() as u64;
        let mut lines = Vec::with_capacity(self.marks.len() - skip);
        for (i, mark) in self.marks.iter().enumerate().skip(skip) {
            let bytes = self.bytes.range(from..from + mark.len).copied().collect();
            from += mark.len;
            let Mark { at, generation, stream, partial, .. } = *mark;
            lines.push(Line { seq: first + i as u64, at, generation, stream, partial, bytes });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut Ring, bytes: &[u8]) -> u64 {
        ring.push(SystemTime::UNIX_EPOCH, 1, Stream::Stdout, false, bytes)
    }

    #[test]
    fn the_oldest_make_room_and_numbers_go_on() {
        let mut ring = Ring::new(3);
        for word in ["a", "bb", "ccc", "dddd"] {
            push(&mut ring, word.as_bytes());
        }
        let got: Vec<(u64, Vec<u8>)> = ring.last(2).into_iter().map(|l| (l.seq, l.bytes)).collect();
        assert_eq!(got, [(3, b"ccc".to_vec()), (4, b"dddd".to_vec())]);
        assert_eq!(ring.last(100).len(), 3);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut ring = Ring::new(1_000_000);
        let line = vec![b'x'; 1000];
        for _ in 0..10_000 {
            push(&mut ring, &line);
        }
        assert!(ring.bytes.len() <= RING_BYTES);
        assert_eq!(ring.last(1)[0].seq, 10_000);
    }
}
