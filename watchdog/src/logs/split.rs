//! Bytes into lines, with bounded memory whatever comes.

/// A longer line is split and the pieces marked (what container runtimes do as well).
const LINE_LIMIT: usize = 16 * 1024;

/// A line or a piece of one, without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// No newline follows: a split line, or the last words of a process.
    pub partial: bool,
}

/// Keeps the beginning of a line until its end comes.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    held: Vec<u8>,
}

impl Splitter {
    /// Takes a chunk, hands out every line that is complete with it.
    pub(crate) fn push(&mut self, mut chunk: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while let Some(at) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = (&chunk[..at], &chunk[at + 1..]);
            if self.held.is_empty() && line.len() <= LINE_LIMIT {
                each(Piece { bytes: line, partial: false });
            } else {
                self.hold(line, &mut each);
                each(Piece { bytes: &self.held, partial: false });
                self.held.clear();
            }
            chunk = rest;
        }
        self.hold(chunk, &mut each);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let (mut splitter, mut got) = (Splitter::default(), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, |p| got.push((p.bytes.to_vec(), p.partial)));
        }
        splitter.finish(|p| got.push((p.bytes.to_vec(), p.partial)));
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
    }
}
