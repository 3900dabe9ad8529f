//! Bytes into lines, with bounded memory whatever comes.

/// A longer line is split and the pieces marked (what container runtimes do as well).
const LINE_LIMIT: usize = 16 * 1024;

/// Whole lines, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// The bytes: of whole lines with all their newlines, of a piece without any.
    pub bytes: &'a [u8],
    /// A piece: a split line, or the last words of a process.
    pub partial: bool,
}

impl<'a> Piece<'a> {
    /// Its lines, without their newlines.
    pub(crate) fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        let whole = if self.partial { self.bytes } else { self.bytes.strip_suffix(b"\n").unwrap_or(self.bytes) };
        whole.split(|byte| *byte == b'\n')
    }
}

/// Keeps the beginning of a line until its end comes.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    held: Vec<u8>,
}

impl Splitter {
    /// Takes a chunk, hands out all that is complete with it: of many lines as much at once as can be, because a line alone
    /// costs more than its bytes.
    pub(crate) fn push(&mut self, mut chunk: &[u8], mut each: impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() {
            let Some(at) = memchr::memchr(b'\n', chunk) else { return self.hold(chunk, &mut each) };
            self.hold(&chunk[..at], &mut each);
            self.held.push(b'\n');
            each(Piece { bytes: &self.held, partial: false });
            self.held.clear();
            chunk = &chunk[at + 1..];
        }
        loop {
            let (lines, rest) = chunk.split_at(whole_lines(chunk));
            if !lines.is_empty() {
                each(Piece { bytes: lines, partial: false });
            }
            if rest.len() <= LINE_LIMIT {
                return self.held.extend_from_slice(rest);
            }
            let (now, later) = rest.split_at(LINE_LIMIT);
            each(Piece { bytes: now, partial: true });
            chunk = later;
        }
    }

    /// The process is gone: what it had begun is its last word.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() {
            each(Piece { bytes: &self.held, partial: true });
            self.held = Vec::new();
        }
    }

    fn hold(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        while self.held.len() + bytes.len() > LINE_LIMIT {
            let (now, later) = bytes.split_at(LINE_LIMIT - self.held.len());
            self.held.extend_from_slice(now);
            each(Piece { bytes: &self.held, partial: true });
            self.held.clear();
            bytes = later;
        }
        self.held.extend_from_slice(bytes);
    }
}

/// How much of it, from its beginning on, is whole lines within the limit. Not line by line: where the last newline of each
/// window of that length is, the lines before it are short enough.
fn whole_lines(chunk: &[u8]) -> usize {
    let mut end = 0;
    while let Some(at) = memchr::memrchr(b'\n', &chunk[end..chunk.len().min(end + LINE_LIMIT + 1)]) {
        end += at + 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let (mut splitter, mut got) = (Splitter::default(), Vec::new());
        let mut take = |p: Piece<'_>| got.extend(p.lines().map(|line| (line.to_vec(), p.partial)));
        for chunk in chunks {
            splitter.push(chunk, &mut take);
        }
        splitter.finish(&mut take);
        got
    }

    /// Byte by byte, as it would be done by hand.
    fn by_hand(bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let (mut line, mut got) = (Vec::new(), Vec::new());
        for byte in bytes {
            match byte {
                b'\n' => got.push((std::mem::take(&mut line), false)),
                _ if line.len() == LINE_LIMIT => got.push((std::mem::replace(&mut line, vec![*byte]), true)),
                _ => line.push(*byte),
            }
        }
        if !line.is_empty() {
            got.push((line, true));
        }
        got
    }

    #[test]
    fn halves_are_one_line_and_the_last_word_is_kept() {
        assert_eq!(all(&[b"hal", b"f\nlast"]), [(b"half".to_vec(), false), (b"last".to_vec(), true)]);
        assert_eq!(all(&[b"\n\n"]), [(vec![], false), (vec![], false)]);
    }

    #[test]
    fn a_long_line_is_split_and_marked() {
        let long = vec![b'x'; LINE_LIMIT * 2 + 1];
        let got = all(&[&long, b"\n"]);
        assert_eq!(
            got.iter().map(|(l, p)| (l.len(), *p)).collect::<Vec<_>>(),
            [(LINE_LIMIT, true), (LINE_LIMIT, true), (1, false)]
        );
    }

    #[test]
    fn many_lines_are_handed_out_at_once() {
        let (mut splitter, mut parts) = (Splitter::default(), Vec::new());
        splitter.push(b"begun", |_| parts.push(0));
        splitter.push(b" and ended\n1\n2\n\n3\nbegun", |p| parts.push(p.lines().count()));
        assert_eq!(parts, [1, 4], "the one that was begun, and all that follow");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_added(chunks in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400), 0..20)) {
            let refs: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let mut back = Vec::new();
            for (line, partial) in all(&refs) {
                back.extend_from_slice(&line);
                if !partial { back.push(b'\n'); }
            }
            prop_assert_eq!(back, chunks.concat());
        }

        /// Around the limit, wherever it is cut into reads.
        #[test]
        fn long_lines_are_split_as_by_hand(
            lengths in proptest::collection::vec(prop_oneof![0..3usize, LINE_LIMIT - 2..LINE_LIMIT + 3, Just(3 * LINE_LIMIT)], 0..6),
            cuts in proptest::collection::vec(1..70_000usize, 0..6),
            ended in any::<bool>(),
        ) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.extend(std::iter::repeat_n(b'x', *length));
                bytes.push(b'\n');
            }
            if !ended {
                bytes.pop();
            }
            let (mut chunks, mut rest) = (Vec::new(), bytes.as_slice());
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                chunks.push(now);
                rest = later;
            }
            chunks.push(rest);
            prop_assert_eq!(all(&chunks), by_hand(&bytes));
        }
    }
}
