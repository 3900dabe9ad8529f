//! The shortest dialect, that of s6: a newline on a descriptor says that the worker is ready.

use crate::machine::News;

/// What was heard on the descriptor so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    said: bool,
}

impl Line {
    /// The first newline is `Ready`; what comes before and after it means nothing.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<News>) {
        if !self.said && memchr::memchr(b'\n', bytes).is_some() {
            self.said = true;
            out.push(News::Ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_newline_is_ready_and_no_other_byte_is() {
        let (mut line, mut out) = (Line::default(), Vec::new());
        line.push(b"", &mut out);
        line.push(b"starting", &mut out);
        assert_eq!(out, []);
        line.push(b" up\n\n", &mut out);
        line.push(b"\n", &mut out);
        assert_eq!(out, [News::Ready]);
    }
}
