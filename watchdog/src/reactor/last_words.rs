//! Why it is over, in a file that whoever runs us looks at afterwards: the termination message of a container. Written once,
//! when the end is a failure that nobody has asked for, and as short as such a message may be.

use super::Reactor;
use crate::logs::Ring;
use crate::machine::*;
use crate::spec::LogMode;
use crate::sys::{self, message};
use std::fmt::Write as _;
use std::path::Path;

/// What Kubernetes reads of it.
const BYTES_MAX: usize = 4096;
/// For the reasons; the rest is for the last lines.
const REASONS_MAX: usize = 1536;
/// Last lines that are looked at, and how much of each.
const LINES: usize = 80;
const LINE_MAX: usize = 1000;

impl Reactor {
    /// At the very end, when all output has been read.
    #[inline(never)]
    pub(super) fn leave_message(&self) {
        let Some(path) = &self.instance.termination_message else { return };
        let status = self.exit.unwrap_or(0);
        let services = self.machine.services();
        let stuck = services.iter().any(|s| matches!(s.state, State::Stuck { .. }));
        if status == 0 || (self.machine.end_was_asked_for() && !stuck) {
            return;
        }
        let mut culprits: Vec<&Service> = services.iter().filter(|s| self.is_to_blame(s)).collect();
        culprits.sort_by_key(|s| s.since);
        let mut text = String::new();
        for s in &culprits {
            let report = self.reports.get(s.id.0 as usize).and_then(Option::as_deref);
            let report = report.map(|id| format!(" (report {id})")).unwrap_or_default();
            // Stopped meanwhile: what counts is why it was not ready when the time was over.
            let late = self.machine.not_ready.iter().find(|(id, _)| *id == s.id);
            let (state, reason) = late.map_or((s.state.word(), &s.reason), |(_, why)| ("was not ready", why));
            let _ = writeln!(text, "{} {state}: {reason}{report}", s.spec.name);
        }
        let mut text = cut(&printable(&text), REASONS_MAX).to_owned();
        let _ = writeln!(
            text,
            "{}watchdog: exit status {status}",
            if text.ends_with('\n') || text.is_empty() { "" } else { "\n" }
        );
        if let Some(first) = culprits.first() {
            self.tail(first, &mut text);
        }
        write(path, &text);
    }

    /// Whose end this is: of a program its own, of many those that failed or were not ready.
    fn is_to_blame(&self, s: &Service) -> bool {
        let only = self.machine.services().len() == 1;
        let failed = matches!(s.state, State::Failed | State::Stuck { .. });
        !s.removed && (only || failed || self.machine.not_ready.iter().any(|(id, _)| *id == s.id))
    }

    /// As many of its last lines as there is room for.
    fn tail(&self, s: &Service, text: &mut String) {
        if !s.ever_ran {
            return;
        }
        if s.spec.log.mode == LogMode::Inherit {
            let _ = writeln!(text, "its output did not pass through the watchdog (log = inherit)");
            return;
        }
        let Some(ring) = self.workers.get(s.id.0 as usize).map(|w| &w.ring) else { return };
        let heading = format!("last lines of {}:\n", s.spec.name);
        let lines = last_lines(ring, BYTES_MAX.saturating_sub(text.len() + heading.len()));
        if !lines.is_empty() {
            text.push_str(&heading);
            text.push_str(&lines);
        }
    }
}

/// Before there is a loop: it cannot begin.
pub(super) fn of_a_start(path: Option<&Path>, why: &str) {
    if let Some(path) = path {
        write(path, &format!("{}\n", cut(&printable(&format!("watchdog: {why}")), BYTES_MAX - 1)));
    }
}

/// The newest ones, whole but for very long ones, oldest first.
fn last_lines(ring: &Ring, room: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut left = room;
    for line in ring.last(LINES).iter().rev() {
        let shown = printable(&String::from_utf8_lossy(&line.bytes));
        let shown = cut(&shown, LINE_MAX);
        let Some(rest) = left.checked_sub(shown.len() + 1) else { break };
        left = rest;
        lines.push(format!("{shown}\n"));
    }
    lines.reverse();
    lines.concat()
}

/// A terminal shows it as text.
fn printable(text: &str) -> String {
    text.chars().map(|c| if crate::is_hidden(c) && c != '\n' && c != '\t' { ' ' } else { c }).collect()
}

/// At most so many bytes, and whole characters.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn write(path: &Path, text: &str) {
    if let Err(e) = message::leave(path, text) {
        log::error!("termination_message {}: {}", path.display(), sys::reason(&e));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Origin, Piece, Stream};
    use std::time::SystemTime;

    fn push(ring: &mut Ring, line: &str) {
        let origin = Origin { at: SystemTime::UNIX_EPOCH, generation: 1, stream: Stream::Stdout };
        ring.push(origin, Piece { bytes: format!("{line}\n").as_bytes(), partial: false });
    }

    #[test]
    fn the_newest_lines_fit_and_no_character_is_cut() {
        let mut ring = Ring::new(1000);
        for n in 0..300 {
            push(&mut ring, &format!("line {n} ä\u{1b}[31m"));
        }
        let text = last_lines(&ring, 200);
        assert!(text.len() <= 200 && text.ends_with("line 299 ä [31m\n"), "{text}");
        assert!(text.starts_with("line ") && text.lines().count() > 5, "{text}");
        push(&mut ring, &"ü".repeat(5000));
        assert_eq!(last_lines(&ring, 4000).lines().last().map(str::len), Some(1000));
        assert_eq!(last_lines(&ring, 10), "");
    }
}
