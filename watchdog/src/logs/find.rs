//! Looks for a text in what a worker writes: also where no newline follows, where it comes in pieces, and between the
//! escape sequences of a terminal, which colours are.

/// A sequence that is longer is none: what follows is text again.
const SEQUENCE_MAX: usize = 1024;

/// Where we are between the escape sequences of ECMA-48.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Text,
    /// Behind ESC.
    Escape,
    /// In `ESC [ ... LETTER`: colours, and moves of the cursor.
    Control,
    /// In `ESC ] ... BEL` or `ESC ] ... ESC \`: titles and links.
    Title,
    /// There, behind an ESC.
    TitleEscape,
    /// In `ESC ( B` and its like: one more byte.
    Charset,
}

/// Remembers as much as is needed to find the text across reads, and no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finder {
    place: Place,
    /// Bytes of the present sequence.
    sequence: usize,
    /// The last bytes of text, one fewer than the text that is looked for has.
    tail: Vec<u8>,
}

impl Finder {
    /// Takes what was read; true if the text is in it, or ends in it.
    pub(crate) fn finds(&mut self, wanted: &[u8], bytes: &[u8]) -> bool {
        // One that holds an escape itself is meant as it stands.
        let plain = !wanted.contains(&0x1b);
        let mut text = std::mem::take(&mut self.tail);
        match plain {
            true => text.extend(bytes.iter().copied().filter(|byte| self.is_text(*byte))),
            false => text.extend_from_slice(bytes),
        }
        let found = memchr::memmem::find(&text, wanted).is_some();
        let keep = wanted.len().saturating_sub(1);
        text.drain(..text.len().saturating_sub(keep));
        // What a large read has reserved is not kept.
        text.shrink_to(keep);
        self.tail = text;
        found
    }

    /// One byte further. A byte that no sequence may hold ends it and is text; so does the end of the line, for a sequence
    /// that never ends must not hide all that follows.
    fn is_text(&mut self, byte: u8) -> bool {
        self.sequence += 1;
        if byte == b'\n' || self.sequence > SEQUENCE_MAX {
            self.place = Place::Text;
        }
        let (next, text) = match (self.place, byte) {
            (Place::TitleEscape, b'\\') => (Place::Text, false),
            (Place::Title, 0x1b) => (Place::TitleEscape, false),
            (_, 0x1b) => (Place::Escape, false),
            (Place::Text, _) => (Place::Text, true),
            (Place::Escape, b'[') => (Place::Control, false),
            (Place::Escape, b']') => (Place::Title, false),
            (Place::Escape, 0x20..=0x2f) => (Place::Charset, false),
            (Place::Escape, 0x30..=0x7e) => (Place::Text, false),
            (Place::Control, 0x20..=0x3f) => (Place::Control, false),
            (Place::Control, 0x40..=0x7e) => (Place::Text, false),
            (Place::Title, 0x07) => (Place::Text, false),
            (Place::Title | Place::TitleEscape, _) => (Place::Title, false),
            (Place::Charset, 0x20..=0x7e) => (Place::Text, false),
            (Place::Escape | Place::Control | Place::Charset, _) => (Place::Text, true),
        };
        if next == Place::Text {
            self.sequence = 0;
        }
        self.place = next;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn finds(pieces: &[&[u8]]) -> bool {
        let mut finder = Finder::default();
        pieces.iter().any(|piece| finder.finds(b"is up", piece))
    }

    #[test]
    fn a_text_is_found_without_a_newline_in_pieces_and_in_colours() {
        for pieces in [
            &[&b"it is up"[..]][..],
            &[b"it is", b" u", b"p"],
            &[b"it \x1b[32mis\x1b[0m up\n"],
            &[b"it is\x1b", b"[1;3", b"2m u\x1b[0", b"mp"],
            &[b"\x1b]0;title\x07is \x1b(Bup"],
            &[b"\x1b]8;;http://x\x1b\\is up\x1b]8;;\x1b\\"],
            &[b"is \x1b[38:2::1:2:3mup"],
        ] {
            assert!(finds(pieces), "{pieces:?}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not_found() {
        for pieces in [
            &[&b"is\n"[..], b" up"][..],
            &[b"is", b"up"],
            // a title is no output
            &[b"\x1b]0;is up\x07"],
            &[b"it is u"],
        ] {
            assert!(!finds(pieces), "{pieces:?}");
        }
    }

    #[test]
    fn a_sequence_that_never_ends_hides_no_more_than_its_line() {
        assert!(finds(&[b"\x1b]0;never ends\nis up"]));
        let long = [b"\x1b]".to_vec(), vec![b'x'; SEQUENCE_MAX], b"is up".to_vec()].concat();
        assert!(finds(&[&long]));
        assert!(finds(&[b"\x1b[3\xc3\xa4is up"]));
    }

    #[test]
    fn nothing_grows_but_what_is_needed() {
        let mut finder = Finder::default();
        for _ in 0..100 {
            finder.finds(b"is up", &[b'x'; 70_000]);
        }
        assert!(finder.tail.len() == 4 && finder.tail.capacity() < 100, "{}", finder.tail.capacity());
    }

    proptest! {
        #[test]
        fn where_it_is_cut_makes_no_difference(
            bytes in proptest::collection::vec(prop_oneof![Just(0x1b), Just(b'['), Just(b'm'), Just(b'u'), Just(b'p'), Just(b'\n'), Just(b']')], 0..60),
            cut in 0usize..60,
        ) {
            let at = cut.min(bytes.len());
            let whole = Finder::default().finds(b"up", &bytes);
            let mut finder = Finder::default();
            let pieces = finder.finds(b"up", &bytes[..at]) | finder.finds(b"up", &bytes[at..]);
            prop_assert_eq!(whole, pieces);
        }
    }
}
