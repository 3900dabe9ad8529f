//! Files of environment variables: `KEY=VALUE` lines, `#` comments, an optional `export`, values in quotes over several lines.
//!
//! Such files hold secrets: an error names the file and the line, never what stands there.

use super::bounded;
use super::fault::Fault;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The path of an entry, and whether the file may be missing: said by a `-` in front, as in systemd. A file whose name
/// begins so is written `./-name`.
pub(crate) fn named(written: &Path) -> (PathBuf, bool) {
    match written.as_os_str().as_bytes().strip_prefix(b"-") {
        Some(rest) if !rest.is_empty() => (PathBuf::from(std::ffi::OsStr::from_bytes(rest)), true),
        _ => (written.to_path_buf(), false),
    }
}

/// The variables of one file, in its order.
pub(crate) fn read(path: &Path) -> Result<Vec<(OsString, OsString)>, Fault> {
    let bytes =
        bounded::read_of_others(path).map_err(|why| Fault::broken(format!("env_file {}: {why}", path.display())))?;
    parse(&bytes).map_err(|(line, what)| Fault::broken(format!("env_file {}:{line}: {what}", path.display())))
}

/// A file that others than root and we may write to decides what our worker runs with (case SEC-05). One that others may read
/// is the business of whoever made it.
pub(crate) fn warning(path: &Path) -> Option<String> {
    let path = &named(path).0;
    let who = watchdog_engine::files::changed_by(path)?;
    Some(format!("env_file {}: {who}, and so decide what the service runs with", path.display()))
}

/// The variables of one text, or the number of the wrong line and what is wrong with it.
fn parse(bytes: &[u8]) -> Result<Vec<(OsString, OsString)>, (usize, &'static str)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut variables, mut rest, mut number) = (Vec::new(), bytes, 1);
    while !rest.is_empty() {
        let (found, behind) = entry(rest).map_err(|what| (number, what))?;
        variables.extend(found.map(|(key, value)| (OsString::from_vec(key), OsString::from_vec(value))));
        let taken = &rest[..rest.len() - behind.len()];
        number += taken.iter().filter(|byte| **byte == b'\n').count();
        rest = behind;
    }
    Ok(variables)
}

/// A name and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// The first entry of a text, none for an empty line or a comment, and what is behind it. What stands in quotes may be more
/// than one line.
fn entry(text: &[u8]) -> Result<(Option<Pair>, &[u8]), &'static str> {
    let (line, below) = first_line(text);
    let start = line.trim_ascii_start();
    if start.is_empty() || start[0] == b'#' {
        return Ok((None, below));
    }
    let start = match start.strip_prefix(b"export") {
        Some(rest) if rest.first().is_some_and(|b| b.is_ascii_whitespace()) => rest.trim_ascii_start(),
        _ => start,
    };
    let at = start.iter().position(|b| *b == b'=').ok_or("not KEY=VALUE")?;
    let key = start[..at].trim_ascii_end();
    if key.is_empty() || key.iter().any(|b| b.is_ascii_whitespace() || matches!(b, b'\'' | b'"')) {
        return Err("no name in front of the =");
    }
    let plain = start[at + 1..].trim_ascii_start();
    let (value, behind) = match plain.first() {
        // All of these are ends of the line: what is behind a quote may go on below it.
        Some(quote @ (b'\'' | b'"')) => quoted(*quote, &text[line.len() - plain.len() + 1..])?,
        _ => (without_comment(&start[at + 1..]).trim_ascii().to_vec(), below),
    };
    match key.iter().chain(&value).any(|byte| *byte == 0) {
        true => Err("a NUL byte"),
        false => Ok((Some((key.to_vec(), value)), behind)),
    }
}

/// The first line of a text without its end, and what is below it.
fn first_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|b| *b == b'\n') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

/// A value without quotes: a `#` behind a space begins a comment, as in dotenv and compose.
fn without_comment(value: &[u8]) -> &[u8] {
    let comment = value.windows(2).position(|pair| pair[0].is_ascii_whitespace() && pair[1] == b'#');
    &value[..comment.unwrap_or(value.len())]
}

/// What stands in quotes, and the lines behind it. Single: as it is. Double: `\n \t \r` are control characters, another escaped
/// character is itself. Ends of lines are one byte, however the file has them.
fn quoted(quote: u8, text: &[u8]) -> Result<(Vec<u8>, &[u8]), &'static str> {
    let mut value = Vec::new();
    let mut bytes = text.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b if b == quote => {
                let (tail, below) = first_line(&text[at + 1..]);
                let tail = tail.trim_ascii_start();
                return match tail.first() {
                    None | Some(b'#') => Ok((value, below)),
                    Some(_) => Err("something behind the closing quote"),
                };
            }
            b'\r' if text.get(at + 1) == Some(&b'\n') => {}
            b'\\' if quote == b'"' => match bytes.next() {
                Some((_, b'n')) => value.push(b'\n'),
                Some((_, b't')) => value.push(b'\t'),
                Some((_, b'r')) => value.push(b'\r'),
                Some((_, b @ (b'"' | b'\\' | b'$' | b'`'))) => value.push(b),
                Some((_, b)) => value.extend([b'\\', b]),
                None => break,
            },
            b => value.push(b),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<(String, Vec<u8>)> {
        let variables = parse(text).expect("valid");
        variables.into_iter().map(|(k, v)| (k.into_string().expect("UTF-8"), v.as_bytes().to_vec())).collect()
    }

    #[test]
    fn lines_comments_exports_and_quotes() {
        let text = b"# c\n\nA=1\r\nexport B = two words \nC='a \"b\" #c' # d\nD=\"x\\ny\\\"z\"\nE=\nF=a#b\nexported=1\nG=\xff\n";
        let expected: [(&str, &[u8]); 8] = [
            ("A", b"1"),
            ("B", b"two words"),
            ("C", b"a \"b\" #c"),
            ("D", b"x\ny\"z"),
            ("E", b""),
            ("F", b"a#b"),
            ("exported", b"1"),
            ("G", b"\xff"),
        ];
        assert_eq!(pairs(text), expected.map(|(k, v)| (k.to_string(), v.to_vec())));
    }

    /// bugs 21. Failed before: the comment was a part of the value.
    #[test]
    fn an_unquoted_hash_behind_a_space_begins_a_comment() {
        let text = b"A=one # two\nB=one#two\nC= # all\nD=#kept\nE=x\t#y #z\nF='one # two'\nG=\"a #b\" # c\nH=http://x/#top # c\n";
        let expected: [(&str, &[u8]); 8] = [
            ("A", b"one"),
            ("B", b"one#two"),
            ("C", b""),
            ("D", b"#kept"),
            ("E", b"x"),
            ("F", b"one # two"),
            ("G", b"a #b"),
            ("H", b"http://x/#top"),
        ];
        assert_eq!(pairs(text), expected.map(|(k, v)| (k.to_string(), v.to_vec())));
    }

    /// Failed before: a quote had to be closed on its line.
    #[test]
    fn a_value_in_quotes_may_have_more_than_one_line() {
        let text = b"KEY=\"-----BEGIN-----\r\nMII=\n# no comment\n-----END-----\" # c\nNEXT='1\n2'\n\nLAST=3";
        let expected: [(&str, &[u8]); 3] =
            [("KEY", b"-----BEGIN-----\nMII=\n# no comment\n-----END-----"), ("NEXT", b"1\n2"), ("LAST", b"3")];
        assert_eq!(pairs(text), expected.map(|(k, v)| (k.to_string(), v.to_vec())));
        let wrong = |text: &[u8]| parse(text).expect_err("must be refused");
        assert_eq!(wrong(b"A='1\n2'\nB=\"x\n\ny"), (3, "a quote is not closed"));
        assert_eq!(wrong(b"A='1\n2'\nnothing\n"), (3, "not KEY=VALUE"));
        assert_eq!(wrong(b"A='1\n2' 3\n").1, "something behind the closing quote");
        assert_eq!(wrong(b"A='1\n\0'\n"), (1, "a NUL byte"));
    }

    #[test]
    fn an_error_names_the_line_and_never_its_content() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("secrets");
        for wrong in ["A=1\nhunter2\n", "A=1\n='hunter2'\n", "A=1\nP='hunter2\n", "A=1\nP='a' hunter2\n"] {
            std::fs::write(&path, wrong).expect("write");
            let fault = read(&path).expect_err("must fail");
            assert!(fault.message.contains("secrets:2: "), "{}", fault.message);
            assert!(!fault.message.contains("hunter2"), "{}", fault.message);
            assert_eq!(fault.status, 125);
        }
        assert!(read(&dir.path().join("none")).expect_err("must fail").message.ends_with("no such file or directory"));
    }
}
