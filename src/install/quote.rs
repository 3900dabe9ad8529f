//! Words as the readers of service files take them apart again, byte for byte.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// What needs no quotes anywhere.
fn is_plain(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_./:=@,+-".contains(b))
}

/// One word of `ExecStart=` (systemd.service(5)): specifiers and variables are none of ours.
pub(super) fn exec_word(word: &OsStr) -> String {
    systemd(word, true)
}

/// One assignment of `Environment=` (systemd.exec(5)), where `$` means nothing.
pub(super) fn assignment(word: &OsStr) -> String {
    systemd(word, false)
}

fn systemd(word: &OsStr, dollars: bool) -> String {
    let bytes = word.as_bytes();
    if is_plain(bytes) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                '%' => text.push_str("%%"),
                '$' if dollars => text.push_str("$$"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                c if c.is_ascii_control() => hex(&mut text, c as u8),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| hex(&mut text, *byte));
    }
    text.push('"');
    text
}

fn hex(text: &mut String, byte: u8) {
    let _ = write!(text, "\\x{byte:02x}");
}

/// A path that takes the rest of a line: only specifiers mean something there.
pub(super) fn rest_of_line(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word for a POSIX shell.
pub(super) fn shell(word: &OsStr) -> Vec<u8> {
    let bytes = word.as_bytes();
    if is_plain(bytes) {
        return bytes.to_vec();
    }
    let mut text = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            _ => text.push(*byte),
        }
    }
    text.push(b'\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(text: &str) -> String {
        exec_word(OsStr::new(text))
    }

    #[test]
    fn only_what_needs_quotes_has_them() {
        assert_eq!(exec("--port=8080"), "--port=8080");
        assert_eq!(exec(""), "\"\"");
        assert_eq!(exec(";"), "\";\"");
        assert_eq!(exec("a b"), "\"a b\"");
        assert_eq!(exec("it's"), "\"it's\"");
    }

    #[test]
    fn nothing_is_left_for_systemd_to_put_in() {
        assert_eq!(exec("100%"), "\"100%%\"");
        assert_eq!(exec("$HOME ${A}"), "\"$$HOME $${A}\"");
        assert_eq!(assignment(OsStr::new("A=$b%")), "\"A=$b%%\"");
        assert_eq!(exec("a\"b\\c\n\t\u{7}ä"), "\"a\\\"b\\\\c\\n\\t\\x07ä\"");
        assert_eq!(exec_word(OsStr::from_bytes(b"x\xff")), "\"x\\xff\"");
    }

    #[test]
    fn a_shell_gets_single_quotes() {
        assert_eq!(shell(OsStr::new("a'b $c")), b"'a'\\''b $c'");
        assert_eq!(shell(OsStr::new("")), b"''");
    }
}
