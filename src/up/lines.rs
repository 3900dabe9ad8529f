//! The lines of services as people or programs read them.

use crate::cli::Output;
use crate::client::base64;
use crate::text::{self, spell};
use std::collections::HashMap;
use watchdog_engine::{OutputLine, is_hidden};

/// Longest name in front of a line; what is longer is cut.
const NAME_MAX: usize = 24;
/// Colours of names, one after the other: readable on black and on white, and none that means bad news.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 94, 96];
/// Longest sequence of colours that a service may send.
const SEQUENCE_MAX: usize = 24;

/// How lines are shown.
pub(crate) struct Lines {
    output: Output,
    terminal: bool,
    colours: bool,
    width: usize,
    known: HashMap<String, u8>,
    seq: u64,
}

impl Lines {
    /// For these services, in their order.
    pub(crate) fn new<'a>(
        output: Output,
        terminal: bool,
        colours: bool,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Lines {
        let width = names.clone().map(|n| n.chars().count()).max().unwrap_or(0).min(NAME_MAX);
        let known = match colours {
            true => names.enumerate().map(|(n, name)| (name.to_owned(), COLOURS[n % COLOURS.len()])).collect(),
            false => HashMap::new(),
        };
        Lines { output, terminal, colours, width, known, seq: 0 }
    }

    /// One line.
    pub(crate) fn push(&mut self, line: &OutputLine<'_>, screen: &mut Vec<u8>) {
        self.seq += 1;
        match self.output {
            Output::None => {}
            Output::Json => {
                screen.extend_from_slice(text::json(&self.json(line)).as_bytes());
                screen.push(b'\n');
            }
            Output::Prefix => self.prefixed(line, screen),
        }
    }

    /// `web | text`, the same as `logs --json` for programs.
    fn json(&self, line: &OutputLine<'_>) -> serde_json::Value {
        let (text, encoding) = match std::str::from_utf8(line.bytes) {
            Ok(text) => (text.to_owned(), "utf8"),
            Err(_) => (base64::encode(line.bytes), "base64"),
        };
        serde_json::json!({
            "seq": self.seq, "time": humantime::format_rfc3339_millis(line.at).to_string(), "service": line.service,
            "generation": line.generation, "stream": if line.stderr { "stderr" } else { "stdout" }, "line": text,
            "partial": line.partial, "encoding": encoding,
        })
    }

    fn prefixed(&mut self, line: &OutputLine<'_>, screen: &mut Vec<u8>) {
        // A reload may have brought a longer one.
        self.width = line.service.chars().count().clamp(self.width.max(1), NAME_MAX);
        let name = cut(line.service, self.width);
        if self.colours {
            let next = COLOURS[self.known.len() % COLOURS.len()];
            let colour = *self.known.entry(line.service.to_owned()).or_insert(next);
            let bar = if line.stderr { "\u{1b}[1;31m|\u{1b}[0m" } else { "|" };
            screen.extend_from_slice(format!("\u{1b}[{colour}m{name}\u{1b}[0m {bar} ").as_bytes());
        } else {
            screen.extend_from_slice(format!("{name} | ").as_bytes());
        }
        match self.terminal {
            true => screen.extend_from_slice(harmless(line.bytes, self.colours).as_bytes()),
            false => screen.extend_from_slice(line.bytes),
        }
        screen.push(b'\n');
    }
}

/// A name in a column of this width.
pub(crate) fn cut(name: &str, width: usize) -> String {
    let length = name.chars().count();
    match length <= width {
        true => format!("{name:width$}"),
        false => name.chars().take(width - 1).chain(['…']).collect(),
    }
}

/// A line that can do nothing to a terminal but colour itself.
fn harmless(bytes: &[u8], colours: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    if !text.contains(is_hidden) {
        return text.to_owned();
    }
    let (mut out, mut rest, mut coloured) = (String::with_capacity(text.len()), text, false);
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = sgr(rest) {
            if colours {
                out.push_str(sequence);
                coloured = true;
            }
            rest = &rest[sequence.len()..];
            continue;
        }
        match c {
            '\t' => out.push(c),
            c if is_hidden(c) => spell(&mut out, c),
            c => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    if coloured {
        out.push_str("\u{1b}[0m");
    }
    out
}

/// A sequence that sets colours and nothing else, at the beginning of this text.
fn sgr(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.bytes().take(SEQUENCE_MAX).position(|b| !(b.is_ascii_digit() || b == b';' || b == b':'))?;
    (parameters.as_bytes()[end] == b'm').then(|| &text[..end + 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> OutputLine<'_> {
        OutputLine {
            service: "web",
            generation: 2,
            stderr: false,
            at: std::time::UNIX_EPOCH,
            bytes,
            partial: false,
            passed_on: false,
        }
    }

    fn shown(output: Output, terminal: bool, colours: bool, bytes: &[u8]) -> String {
        let mut screen = Vec::new();
        Lines::new(output, terminal, colours, ["web", "worker"].into_iter()).push(&line(bytes), &mut screen);
        String::from_utf8(screen).expect("text")
    }

    #[test]
    fn names_are_aligned_and_long_ones_cut() {
        assert_eq!(shown(Output::Prefix, false, false, b"hello"), "web    | hello\n");
        assert_eq!(cut("a-very-long-name-of-a-service", 10), "a-very-lo…");
        assert_eq!(shown(Output::None, false, false, b"hello"), "");
    }

    #[test]
    fn a_service_can_do_nothing_to_the_terminal_but_colour_its_own_line() {
        let evil = b"\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m\x08\tend\xff\xc2\x9b2J\r";
        let plain = shown(Output::Prefix, true, false, evil);
        assert_eq!(plain, "web    | \\u{1b}]0;title\\u{7}\\u{1b}[2Jred\\u{8}\tend\u{fffd}\\u{9b}2J\n");
        let coloured = shown(Output::Prefix, true, true, evil);
        assert!(coloured.contains("\u{1b}[31mred\u{1b}[0m") && coloured.ends_with("\u{1b}[0m\n"), "{coloured:?}");
        assert!(!coloured.contains("\u{1b}]0") && !coloured.contains("\u{1b}[2J"));
        // Through a pipe every byte goes as it came.
        let mut screen = Vec::new();
        Lines::new(Output::Prefix, false, false, ["web"].into_iter()).push(&line(evil), &mut screen);
        assert!(screen.ends_with(&[evil.as_slice(), b"\n"].concat()));
    }

    #[test]
    fn json_lines_have_the_shape_of_logs() {
        let value: serde_json::Value = serde_json::from_str(&shown(Output::Json, true, true, b"hi")).expect("JSON");
        let wanted = serde_json::json!({
            "seq": 1, "time": "1970-01-01T00:00:00.000Z", "service": "web", "generation": 2, "stream": "stdout",
            "line": "hi", "partial": false, "encoding": "utf8",
        });
        assert_eq!(value, wanted);
        let other: serde_json::Value = serde_json::from_str(&shown(Output::Json, true, true, b"\xff")).expect("JSON");
        assert_eq!((&other["line"], &other["encoding"]), (&"/w==".into(), &"base64".into()));
    }
}
