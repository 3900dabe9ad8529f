//! The last lines in memory: one buffer of bytes, one queue of what was read at once. Nothing is done per line but to find its
//! end, and nothing is allocated once both are full; one that has written nothing has neither.

use super::Stream;
use super::split::Piece;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// Bytes kept in all, newlines among them, whatever the number of lines.
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

/// Where lines come from, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// When the end of each was read.
    pub at: SystemTime,
    /// Whose.
    pub generation: u64,
    /// Where it was written.
    pub stream: Stream,
}

impl Origin {
    /// The lines of a piece, numbered from `seq` on, for those who follow.
    pub(crate) fn lines(self, piece: Piece<'_>, seq: u64) -> impl Iterator<Item = Line> {
        let Origin { at, generation, stream } = self;
        let partial = piece.partial;
        let numbered = piece.lines().zip(seq..);
        numbered.map(move |(bytes, seq)| Line { seq, at, generation, stream, partial, bytes: bytes.to_vec() })
    }
}

/// What was read at once of one stream: whole lines, or a piece of one.
#[derive(Clone, Debug)]
struct Run {
    /// Since 1970, in nanoseconds.
    at: u64,
    generation: u64,
    bytes: u32,
    lines: u32,
    stream: Stream,
    partial: bool,
}

/// Bounded by lines and by bytes.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: VecDeque<u8>,
    runs: VecDeque<Run>,
    /// Of all runs.
    lines: usize,
    limit: usize,
    next_seq: u64,
}

impl Ring {
    /// For this many lines.
    #[must_use]
    pub(crate) fn new(lines: usize) -> Ring {
        Ring { bytes: VecDeque::new(), runs: VecDeque::new(), lines: 0, limit: lines, next_seq: 1 }
    }

    /// Another limit of lines; what is too much goes with the next line.
    pub(crate) fn keep(&mut self, lines: usize) {
        self.limit = lines;
    }

    /// Keeps what was read; the oldest make room. Gives back the number of its first line.
    pub(crate) fn push(&mut self, origin: Origin, piece: Piece<'_>) -> u64 {
        let seq = self.next_seq;
        let all = if piece.partial { 1 } else { memchr::memchr_iter(b'\n', piece.bytes).count() };
        self.next_seq += all as u64;
        // More at once than is kept: the last of it, and nothing older.
        let (lines, over) = (all.saturating_sub(self.limit), piece.bytes.len().saturating_sub(RING_BYTES));
        let (cut, skipped) = oldest((piece.bytes, &[]), lines, over).unwrap_or((piece.bytes.len(), all));
        let (kept, lines) = (&piece.bytes[cut..], all - skipped);
        if skipped > 0 {
            self.clear();
        }
        if lines == 0 {
            return seq;
        }
        self.make_room(lines, kept.len());
        self.bytes.extend(kept);
        self.lines += lines;
        let at = origin.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.runs.push_back(Run {
            at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
            generation: origin.generation,
            bytes: kept.len() as u32,
            lines: lines as u32,
            stream: origin.stream,
            partial: piece.partial,
        });
        seq
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
        self.lines = 0;
    }

    fn make_room(&mut self, lines: usize, bytes: usize) {
        let mut many = (self.lines + lines).saturating_sub(self.limit);
        let mut over = (self.bytes.len() + bytes).saturating_sub(RING_BYTES);
        while (many > 0 || over > 0)
            && let Some(run) = self.runs.front_mut()
        {
            let (lines, held) = (run.lines as usize, run.bytes as usize);
            let whole = lines <= many || held <= over;
            let part = if whole { None } else { oldest(ends(&self.bytes, held), many, over) };
            let (cut, gone) = part.unwrap_or((held, lines));
            self.bytes.drain(..cut);
            self.lines -= gone;
            (many, over) = (many.saturating_sub(gone), over.saturating_sub(cut));
            (run.bytes, run.lines) = ((held - cut) as u32, (lines - gone) as u32);
            if run.lines == 0 {
                self.runs.pop_front();
            }
        }
        let (len, had) = (self.bytes.len(), self.bytes.capacity());
        if len + bytes > had {
            // Twice as much, as any buffer, but no more than can ever be used.
            self.bytes.reserve_exact((2 * had).clamp(len + bytes, RING_BYTES.max(len + bytes)) - len);
        }
    }

    /// The last `n` lines, oldest first.
    #[must_use]
    pub(crate) fn last(&self, n: usize) -> Vec<Line> {
        let mut skip = self.lines.saturating_sub(n);
        let mut seq = self.next_seq - self.lines as u64;
        let mut lines = Vec::with_capacity(self.lines - skip);
        let (mut from, mut bytes) = (0, Vec::new());
        for run in &self.runs {
            let (count, to) = (run.lines as usize, from + run.bytes as usize);
            if skip < count {
                bytes.clear();
                bytes.extend(self.bytes.range(from..to));
                let piece = Piece { bytes: &bytes, partial: run.partial };
                let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(run.at);
                let origin = Origin { at, generation: run.generation, stream: run.stream };
                lines.extend(origin.lines(piece, seq).skip(skip));
            }
            skip = skip.saturating_sub(count);
            seq += count as u64;
            from = to;
        }
        lines
    }
}

/// The first bytes of a buffer, in the two parts in which they stand there.
fn ends(buffer: &VecDeque<u8>, bytes: usize) -> (&[u8], &[u8]) {
    let (front, back) = buffer.as_slices();
    let first = &front[..bytes.min(front.len())];
    (first, &back[..bytes - first.len()])
}

/// The shortest beginning of whole lines that has at least so many of them and so many bytes: its bytes and lines. None: all
/// of it is not enough, or not known to be whole lines.
fn oldest((first, second): (&[u8], &[u8]), lines: usize, bytes: usize) -> Option<(usize, usize)> {
    if lines == 0 && bytes == 0 {
        return Some((0, 0));
    }
    let newlines = memchr::memchr_iter(b'\n', first);
    let newlines = newlines.chain(memchr::memchr_iter(b'\n', second).map(|at| first.len() + at));
    let mut ends = newlines.zip(1..).map(|(at, count)| (at + 1, count));
    ends.find(|(cut, count)| *cut >= bytes && *count >= lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: Origin = Origin { at: SystemTime::UNIX_EPOCH, generation: 1, stream: Stream::Stdout };

    fn push(ring: &mut Ring, bytes: &[u8]) -> u64 {
        ring.push(ORIGIN, Piece { bytes: &[bytes, b"\n"].concat(), partial: false })
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
        assert!(ring.bytes.len() <= RING_BYTES && ring.bytes.capacity() <= RING_BYTES);
        assert_eq!(ring.last(1)[0].seq, 10_000);
    }

    #[test]
    fn nothing_is_allocated_before_a_line_nor_for_one_when_it_is_full() {
        let mut ring = Ring::new(1000);
        let room = |ring: &Ring| (ring.bytes.capacity(), ring.runs.capacity());
        assert_eq!(room(&ring), (0, 0));
        let fill = |ring: &mut Ring| {
            for n in 0..3000 {
                push(ring, &[b'x'; 100][..50 + n % 50]);
            }
        };
        fill(&mut ring);
        let full = room(&ring);
        fill(&mut ring);
        assert_eq!(room(&ring), full);
        assert_eq!(Ring::new(0).push(ORIGIN, Piece { bytes: b"1\n2\n", partial: false }), 1, "numbered, not kept");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a ring that keeps each line by itself.
        #[test]
        fn what_is_read_at_once_is_kept_as_line_by_line(
            limit in 0usize..8,
            reads in proptest::collection::vec((proptest::collection::vec(prop_oneof![0..4usize, Just(90_000)], 1..12), any::<bool>()), 0..20),
        ) {
            let mut ring = Ring::new(limit);
            let mut wanted: VecDeque<(u64, usize, bool)> = VecDeque::new();
            let mut seq = 0;
            for (lengths, partial) in reads {
                let lengths = if partial { &lengths[..1] } else { &lengths[..] };
                let mut bytes = Vec::new();
                for length in lengths {
                    bytes.extend(std::iter::repeat_n(b'x', *length));
                    bytes.extend((!partial).then_some(b'\n'));
                    seq += 1;
                    wanted.push_back((seq, *length, partial));
                }
                if partial && bytes.is_empty() {
                    bytes.push(b'x');
                    *wanted.back_mut().unwrap() = (seq, 1, true);
                }
                ring.push(ORIGIN, Piece { bytes: &bytes, partial });
                let held = |kept: &VecDeque<(u64, usize, bool)>| -> usize {
                    kept.iter().map(|(_, length, partial)| length + usize::from(!partial)).sum()
                };
                while wanted.len() > limit || held(&wanted) > RING_BYTES {
                    wanted.pop_front();
                }
                let got: Vec<_> = ring.last(usize::MAX).iter().map(|l| (l.seq, l.bytes.len(), l.partial)).collect();
                prop_assert_eq!(&got, &Vec::from(wanted.clone()));
                prop_assert_eq!(ring.last(2).len(), got.len().min(2));
            }
        }
    }
}
