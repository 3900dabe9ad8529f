//! A short text in a file that others look at when we are gone.

use super::paths::{Home, Last, Place};
use std::io::{self, Write};
use std::path::Path;

/// Of one that is made: last lines are for those alone who may read logs.
const MODE: u32 = 0o600;

/// In place: in a container it is a file that is mounted there. A pipe is none, and a device does not hold us up.
///
/// # Errors
/// What the kernel says, or which rule refuses the place.
pub(crate) fn leave(path: &Path, text: &str) -> io::Result<()> {
    Place::find(path, Home::Ours, Last::Link)?.overwrite(MODE)?.write_all(text.as_bytes())
}

/// Whether somebody else decides what would be written to.
///
/// # Errors
/// Which rule refuses the place. What the kernel says is found out in time.
pub(crate) fn look(path: &Path) -> io::Result<()> {
    match Place::find(path, Home::Ours, Last::Link).and_then(|place| place.could_be_written()) {
        Err(e) if e.raw_os_error().is_none() => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}
