//! One old log file that is compressed, in small pieces between other work.

use super::file::MODE;
use crate::sys::paths::Place;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};

/// Compressed per turn of the loop: well below a millisecond.
const GZIP_STEP: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Gzip {
    place: Place,
    from: OsString,
    to: OsString,
    part: OsString,
    input: File,
    output: GzEncoder<File>,
    /// On the heap: on the stack it would cost every run of the loop its page faults.
    piece: Vec<u8>,
}

impl Gzip {
    pub(super) fn begin(place: Place, from: OsString, to: OsString) -> Option<Gzip> {
        let mut part = to.clone();
        part.push(".part");
        let input = place.read(&from).ok()?;
        if !input.metadata().ok()?.is_file() {
            return None;
        }
        let _ = place.remove(&part);
        let output = GzEncoder::new(place.create(&part, MODE).ok()?, Compression::fast());
        Some(Gzip { place, from, to, part, input, output, piece: vec![0; GZIP_STEP] })
    }

    /// The half-made copy goes.
    pub(super) fn give_up(self) {
        let _ = self.place.remove(&self.part);
    }

    /// `Some(true)`: more to do; `Some(false)`: all read; `None`: it cannot be done.
    pub(super) fn step(&mut self) -> Option<bool> {
        let n = self.input.read(&mut self.piece).ok()?;
        self.output.write_all(self.piece.get(..n)?).ok()?;
        Some(n > 0)
    }

    /// The copy takes the place of the file. False when it could not.
    pub(super) fn end(self) -> bool {
        let Gzip { place, from, to, part, output, .. } = self;
        let done = output.finish().is_ok() && place.rename(&part, &to).is_ok();
        let gone: &OsStr = if done { &from } else { &part };
        let _ = place.remove(gone);
        done
    }
}
