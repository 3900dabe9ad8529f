//! A text that stands in its table instead of behind a pointer. The binary lies at another address at each start: every pointer
//! in a static table is written then, and the page it stands on becomes memory of our own.

use std::fmt;
use std::ops::Deref;

/// A text of at most `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fixed<const N: usize> {
    length: u8,
    bytes: [u8; N],
}

impl<const N: usize> Fixed<N> {
    /// One that is too long does not compile.
    pub(crate) const fn new(text: &str) -> Fixed<N> {
        let (from, mut bytes, mut at) = (text.as_bytes(), [0; N], 0);
        while at < from.len() {
            bytes[at] = from[at];
            at += 1;
        }
        Fixed { length: from.len() as u8, bytes }
    }
}

impl<const N: usize> Deref for Fixed<N> {
    type Target = str;

    fn deref(&self) -> &str {
        let text = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<const N: usize> PartialEq<str> for Fixed<N> {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<&str> for Fixed<N> {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}
