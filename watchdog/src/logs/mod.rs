//! A worker's output, where it goes through us: read without ever waiting, split into lines for the memory ring and the
//! file, passed on byte for byte.

mod file;
mod find;
mod gzip;
mod ring;
mod sink;
mod split;

pub(crate) use file::{FileError, LogFile, Lost};
pub(crate) use find::Finder;
pub(crate) use ring::{Line, Origin, Ring};
pub(crate) use sink::Sink;
#[cfg(test)]
pub(crate) use split::Piece;
pub(crate) use split::Splitter;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// The word in lines and events.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// 0 for stdout, 1 for stderr.
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
