//! Files of environment variables: `KEY=VALUE` lines, `#` comments, an optional `export`, quotes.
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
    let mut variables = Vec::new();
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let (key, value) = assignment(line).map_err(|what| (number + 1, what))?;
        variables.push((OsString::from_vec(key), OsString::from_vec(value)));
    }
    Ok(variables)
}

fn assignment(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    if line.contains(&0) {
        return Err("a NUL byte");
    }
    let line = match line.strip_prefix(b"export") {
        Some(rest) if rest.first().is_some_and(|b| b.is_ascii_whitespace()) => rest.trim_ascii_start(),
        _ => line,
    };
    let at = line.iter().position(|b| *b == b'=').ok_or("not KEY=VALUE")?;
    let (key, value) = (line[..at].trim_ascii_end(), line[at + 1..].trim_ascii_start());
    if key.is_empty() || key.iter().any(|b| b.is_ascii_whitespace() || matches!(b, b'\'' | b'"')) {
        return Err("no name in front of the =");
    }
    match value.first() {
        Some(quote @ (b'\'' | b'"')) => Ok((key.to_vec(), quoted(*quote, &value[1..])?)),
        _ => Ok((key.to_vec(), value.to_vec())),
    }
}

/// What stands in quotes. Single: as it is. Double: `\n \t \r` are control characters, another escaped character is itself.
fn quoted(quote: u8, text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut value = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b if b == quote => {
                let next = bytes.find(|b| !b.is_ascii_whitespace());
                return if next.is_none_or(|b| b == b'#') {
                    Ok(value)
                } else {
                    Err("something behind the closing quote")
                };
            }
            b'\\' if quote == b'"' => match bytes.next() {
                Some(b'n') => value.push(b'\n'),
                Some(b't') => value.push(b'\t'),
                Some(b'r') => value.push(b'\r'),
                Some(b @ (b'"' | b'\\' | b'$' | b'`')) => value.push(b),
                Some(b) => value.extend([b'\\', b]),
                None => break,
            },
            b => value.push(b),
        }
    }
    Err("a quote is not closed on its line")
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
