//! A short text in a file that others look at when we are gone.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// In place: in a container it is a file that is mounted there. A pipe without a reader does not hold us up.
///
/// # Errors
/// What the kernel says.
pub(crate) fn leave(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(true).mode(0o644).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    // Made only where it is not there: the kernel may refuse to "make" a file of somebody else that is (fs.protected_regular).
    let file = options.open(path).or_else(|e| {
        let missing = e.kind() == ErrorKind::NotFound;
        if missing { options.create(true).open(path) } else { Err(e) }
    });
    file?.write_all(text.as_bytes())
}
