//! Keys of a person, from the bytes that a terminal makes of them.

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Enter,
    Backspace,
    Escape,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl with this letter.
    Ctrl(char),
    /// Anything that means nothing here.
    Other,
}

/// Bytes that came and are no whole key yet.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
}

/// Longest sequence of one key; what is longer is none.
const LONGEST: usize = 32;

impl Keys {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the beginning of a key waits for its rest: over a slow line an arrow comes in parts.
    pub(super) fn is_open(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next whole key. `late`: the rest has had its time, so that what is there stands for itself.
    pub(super) fn take(&mut self, late: bool) -> Option<Key> {
        let (key, length) = match first(&self.bytes)? {
            Some(found) => found,
            None if self.bytes.len() > LONGEST => (Key::Other, self.bytes.len()),
            None if late && self.bytes[0] == 0x1b => (Key::Escape, 1),
            None if late => (Key::Other, 1),
            None => return None,
        };
        self.bytes.drain(..length);
        Some(key)
    }
}

/// The first key and its length; `Some(None)`: it is not whole. `None`: there is nothing.
fn first(bytes: &[u8]) -> Option<Option<(Key, usize)>> {
    let key = match *bytes.first()? {
        0x1b => return Some(sequence(bytes)),
        b'\r' | b'\n' => Key::Enter,
        0x7f | 0x08 => Key::Backspace,
        c @ 1..=26 => Key::Ctrl(char::from(b'a' + c - 1)),
        c if c.is_ascii() && !c.is_ascii_control() => Key::Letter(char::from(c)),
        c if c >= 0xc2 => return Some(letter(bytes)),
        _ => Key::Other,
    };
    Some(Some((key, 1)))
}

/// A letter of several bytes.
fn letter(bytes: &[u8]) -> Option<(Key, usize)> {
    let length = match bytes[0] {
        0xf0.. => 4,
        0xe0.. => 3,
        _ => 2,
    };
    let whole = bytes.get(..length)?;
    let text = std::str::from_utf8(whole).ok().and_then(|text| text.chars().next());
    Some(text.map_or((Key::Other, 1), |c| (Key::Letter(c), length)))
}

/// A key that is sent as an escape sequence.
fn sequence(bytes: &[u8]) -> Option<(Key, usize)> {
    match bytes.get(1)? {
        b'[' => {
            let end = bytes[2..].iter().position(|c| (0x40..=0x7e).contains(c))? + 2;
            let key = match (&bytes[2..end], bytes[end]) {
                (_, b'A') => Key::Up,
                (_, b'B') => Key::Down,
                (_, b'H') | (b"1" | b"7", b'~') => Key::Home,
                (_, b'F') | (b"4" | b"8", b'~') => Key::End,
                (b"5", b'~') => Key::PageUp,
                (b"6", b'~') => Key::PageDown,
                _ => Key::Other,
            };
            Some((key, end + 1))
        }
        b'O' => {
            let key = match bytes.get(2)? {
                b'A' => Key::Up,
                b'B' => Key::Down,
                b'H' => Key::Home,
                b'F' => Key::End,
                _ => Key::Other,
            };
            Some((key, 3))
        }
        // Escape and then another key, or Alt with it: the first stands for itself.
        _ => Some((Key::Escape, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], late: bool) -> Vec<Key> {
        let mut keys = Keys::default();
        keys.push(bytes);
        std::iter::from_fn(|| keys.take(late)).collect()
    }

    #[test]
    fn keys_are_read_whole_however_they_come() {
        let up = all(b"j\x1b[A\x1bOB\x1b[5~\x1b[1;5H\r\x7f\x03\xc3\xbc", false);
        let letters = [Key::Letter('j'), Key::Up, Key::Down, Key::PageUp, Key::Home, Key::Enter, Key::Backspace];
        assert_eq!(up[..7], letters);
        assert_eq!(up[7..], [Key::Ctrl('c'), Key::Letter('ü')]);
        let mut keys = Keys::default();
        for part in [b"\x1b".as_slice(), b"[", b"6"] {
            keys.push(part);
            assert_eq!(keys.take(false), None);
        }
        keys.push(b"~");
        assert_eq!((keys.take(false), keys.is_open()), (Some(Key::PageDown), false));
    }

    #[test]
    fn escape_alone_is_a_key_when_nothing_follows() {
        assert_eq!(all(b"\x1b", false), []);
        assert_eq!(all(b"\x1b", true), [Key::Escape]);
        assert_eq!(all(b"\x1bq", false), [Key::Escape, Key::Letter('q')]);
    }

    #[test]
    fn nonsense_ends() {
        for byte in 0..=255_u8 {
            for late in [false, true] {
                all(&[byte; 100], late);
                all(&[0x1b, b'[', byte, byte], late);
            }
        }
        let mut endless = b"\x1b[".to_vec();
        endless.resize(1000, b'1');
        assert_eq!(all(&endless, false), [Key::Other]);
    }
}
