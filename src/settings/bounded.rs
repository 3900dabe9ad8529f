//! Files that people name: only real ones, and only up to a size, so that none of them can hang or fill us.

use super::users::reason;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use watchdog_engine::files;

/// Largest file read: beyond this it is neither settings nor a list of variables.
const LARGEST: u64 = 4 * 1024 * 1024;
/// O_NONBLOCK and O_NOCTTY: a FIFO that nobody writes to must not hold us at its open (case CFG-09), and a terminal not become ours.
const FLAGS: i32 = 0o4000 | 0o400;

/// All of a file, or why not.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_up_to(path, LARGEST)
}

/// All of a file that has so many bytes at most, or why not.
pub(crate) fn read_up_to(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    whole(open(path)?, largest)
}

/// All of an open file, so many bytes at most.
fn whole(file: File, largest: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes).map_err(|e| reason(&e))?;
    if bytes.len() as u64 > largest {
        return Err(format!("more than {}MiB", largest >> 20));
    }
    Ok(bytes)
}

/// All of a file that may be somebody else's, in a directory of theirs, or why not: no link of theirs is followed.
pub(crate) fn read_of_others(path: &Path) -> Result<Vec<u8>, String> {
    let file = files::open_to_read(path).map_err(|e| reason(&e))?;
    whole(file, LARGEST)
}

/// What the first read of a file gives; `None` where there is none. One read only: it is on the way of every start.
pub(crate) fn first_bytes(path: &Path, buffer: &mut [u8]) -> Option<usize> {
    files::open_regular(path).ok()?.read(buffer).ok()
}

fn open(path: &Path) -> Result<File, String> {
    let no_file = |facts: std::io::Result<Metadata>| match facts.map(|facts| facts.file_type()) {
        Ok(kind) if kind.is_fifo() || kind.is_socket() => Err("is a FIFO or socket, not a file".to_string()),
        Ok(_) => Ok(()),
        Err(e) => Err(reason(&e)),
    };
    // Before the open, for that may have an effect on who has the other end; and of what was opened.
    no_file(std::fs::metadata(path))?;
    let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(path).map_err(|e| reason(&e))?;
    no_file(file.metadata())?;
    Ok(file)
}
