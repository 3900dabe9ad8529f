//! `events` and `logs`: items as they come, until there are no more or nobody reads.

#![expect(clippy::disallowed_methods, reason = "a client waits for real time; the rule is for the engine")]

use super::base64;
use super::connection::{Connection, Next};
use super::{Failure, NO, OK, QUICK, line, print};
use crate::cli::Control;
use crate::output::{self, Written};
use crate::text;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::Instant;

/// Copies a stream to standard output.
pub(crate) fn copy(control: &Control, mut connection: Connection) -> Result<u8, Failure> {
    if control.follow {
        return follow(control, connection.at_once()?);
    }
    loop {
        let next = connection.next(Instant::now().checked_add(QUICK))?;
        if matches!(next, Next::Closed) {
            return Err(connection.gone());
        }
        if let Some(status) = pass_on(control, next) {
            return Ok(status);
        }
    }
}

/// What comes, until the watchdog ends or standard output has no reader any more: also while nothing comes.
fn follow(control: &Control, mut connection: Connection) -> Result<u8, Failure> {
    loop {
        while let Some(next) = connection.at_hand()? {
            if let Some(status) = pass_on(control, next) {
                return Ok(status);
            }
        }
        let out = std::io::stdout();
        let mut fds =
            [PollFd::new(connection.as_fd(), PollFlags::POLLIN), PollFd::new(out.as_fd(), PollFlags::empty())];
        let woken = poll(&mut fds, PollTimeout::NONE);
        // Only errors and the end of the reader are told of there.
        if woken.is_ok() && fds[1].revents().is_some_and(|r| !r.is_empty()) {
            return Ok(OK);
        }
    }
}

/// Prints one item. The status, when that was the end.
fn pass_on(control: &Control, next: Next) -> Option<u8> {
    let terminal = std::io::stdout().is_terminal();
    let bytes = match next {
        Next::Item(item) if control.json => line(&item).into_bytes(),
        Next::Item(item) if control.verb == "logs" => log_line(control, &item, terminal),
        Next::Item(item) => print::event(&item).into_bytes(),
        // The end of the watchdog is the end of what is followed.
        Next::Result(_) | Next::Closed => return Some(OK),
    };
    match output::write(&bytes) {
        Written::Done => None,
        Written::Closed => Some(OK),
        Written::Failed => Some(NO),
    }
}

/// One line of output: its own bytes, behind what was asked for in front. A part of a longer line gets no end.
fn log_line(control: &Control, item: &Value, terminal: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if control.timestamps {
        bytes.extend_from_slice(item["time"].as_str().unwrap_or("-").as_bytes());
        bytes.push(b' ');
    }
    if control.prefix {
        let (service, stream) = (item["service"].as_str().unwrap_or("-"), item["stream"].as_str().unwrap_or("-"));
        bytes.extend_from_slice(format!("{service} {stream} | ").as_bytes());
    }
    let content = content(item);
    bytes.extend_from_slice(&if terminal { harmless(&content) } else { content });
    // With something in front of each line a part must be a line of its own, or the next prefix stands inside it.
    let part = item["partial"] == Value::Bool(true);
    if !part || control.prefix || control.timestamps {
        bytes.push(b'\n');
    }
    bytes
}

/// The same without anything that a terminal would obey or hide (case LOG-06): but for the tab it is spelt out.
/// Into a file or pipe the bytes go as they are.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    text::clean_but_tabs(&String::from_utf8_lossy(bytes)).into_bytes()
}

/// The bytes of a line, whatever they travelled in.
pub(crate) fn content(item: &Value) -> Vec<u8> {
    let text = item["line"].as_str().unwrap_or_default();
    match item["encoding"].as_str() {
        Some("base64") => base64::decode(text).unwrap_or_else(|| text.as_bytes().to_vec()),
        _ => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_byte_exact_unless_more_is_asked_for() {
        let item = json!({"time":"2026-01-01T00:00:00Z","service":"web","stream":"stderr","line":"//4=","partial":false,"encoding":"base64"});
        let mut control = Control { verb: "logs", ..Control::default() };
        assert_eq!(log_line(&control, &item, false), b"\xff\xfe\n");
        control.prefix = true;
        control.timestamps = true;
        assert_eq!(log_line(&control, &item, false), b"2026-01-01T00:00:00Z web stderr | \xff\xfe\n");
        let sly = json!({"line":"a\u{1b}[31mb\tc\r","partial":false,"encoding":"utf8"});
        let shown = Control { verb: "logs", ..Control::default() };
        assert_eq!(log_line(&shown, &sly, true), b"a\\u{1b}[31mb\tc\\r\n");
        let part = json!({"line":"abc","partial":true,"encoding":"utf8"});
        assert_eq!(log_line(&Control { verb: "logs", ..Control::default() }, &part, false), b"abc");
    }
}
