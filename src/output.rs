//! Standard output: a reader that has gone away is no error, and nothing here panics.

use std::io::{self, IsTerminal, Write};

/// Prints a page. 0 also to a closed pipe; 1 when it could not be written for another reason.
pub(crate) fn page(text: &str) -> u8 {
    u8::from(write(text.as_bytes()) == Written::Failed)
}

/// Lines of errors on standard error, all of them: for a verb that supervises nobody and may wait for its reader.
pub(crate) fn errors<'a>(lines: impl Iterator<Item = &'a str>) {
    let text: String = lines.map(|line| format!("watchdog: {}\n", crate::logging::printable(line))).collect();
    // Nobody is left to be told when this fails.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Well.
    Done,
    /// Nobody reads any more: end quietly.
    Closed,
    /// The line that says why is on stderr already.
    Failed,
}

/// Writes all of these bytes to standard output, past Rust's line buffer.
pub(crate) fn write(bytes: &[u8]) -> Written {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Written::Done,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Written::Closed,
        Err(e) => {
            crate::logging::say(&format!("standard output: {}", crate::settings::reason(&e)));
            Written::Failed
        }
    }
}

/// Whether colours are welcome: a terminal that knows any, and nobody said NO_COLOR.
pub(crate) fn colours() -> bool {
    let plain = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !plain && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
