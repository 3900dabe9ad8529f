//! Files that people name: only real ones, and only up to a size, so that none of them can hang or fill us.

use super::users::reason;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Largest file read: beyond this it is neither settings nor a list of variables.
const LARGEST: u64 = 4 * 1024 * 1024;
/// O_NONBLOCK: a FIFO that nobody writes to must not hold us at its open (case CFG-09).
const NONBLOCK: i32 = 0o4000;

/// All of a file, or why not.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_up_to(path, LARGEST)
}

/// All of a file that has so many bytes at most, or why not.
pub(crate) fn read_up_to(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let bytes = head(path, largest + 1)?;
    if bytes.len() as u64 > largest {
        return Err(format!("more than {}MiB", largest >> 20));
    }
    Ok(bytes)
}

/// What the first read of a file gives; `None` where there is none. One read only: it is on the way of every start.
pub(crate) fn first_bytes(path: &Path, buffer: &mut [u8]) -> Option<usize> {
    open(path).ok()?.read(buffer).ok()
}

/// The first bytes of a file, so many at most.
fn head(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    open(path)?.take(most).read_to_end(&mut bytes).map_err(|e| reason(&e))?;
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path).map_err(|e| reason(&e))?;
    let kind = file.metadata().map_err(|e| reason(&e))?.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Err("is a FIFO or socket, not a file".into());
    }
    Ok(file)
}
