//! Which language a program is written in, as far as its name and its first line show: node has a channel of its own, and
//! Python shows its stacks only if it is told to before it starts.

use super::bounded;
use super::environ::Variable;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// As much of a script as is read: the kernel itself looks at 256 bytes for an interpreter.
const FIRST_LINE: usize = 256;

/// A language that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// Offered the node dialect without being asked.
    Node,
    /// Its stacks are shown on ABRT with PYTHONFAULTHANDLER=1.
    Python,
}

/// The language of a program: by its name, by the ending of its name, by the first line of the script that it is.
pub(crate) fn of(program: &OsStr, cwd: Option<&Path>, environment: &[Variable]) -> Option<Language> {
    let name = base(program.as_bytes());
    let ends = |ends: &[&[u8]]| ends.iter().any(|end| name.ends_with(end));
    if let Some(language) = of_interpreter(name) {
        return Some(language);
    }
    if ends(&[b".js", b".mjs", b".cjs"]) {
        return Some(Language::Node);
    }
    if ends(&[b".py"]) {
        return Some(Language::Python);
    }
    let path = found(program, cwd, environment)?;
    let mut head = [0; FIRST_LINE];
    let read = bounded::first_bytes(&path, &mut head)?;
    of_first_line(&head[..read])
}

/// `node`, `nodejs`, `python`, `python3`, `python3.11`, `pypy3`.
fn of_interpreter(name: &[u8]) -> Option<Language> {
    let version = |rest: &[u8]| rest.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    if matches!(name, b"node" | b"nodejs") {
        return Some(Language::Node);
    }
    let python = [&b"python"[..], b"pypy"].iter().find_map(|stem| name.strip_prefix(*stem));
    python.filter(|rest| version(rest)).map(|_| Language::Python)
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

/// The interpreter that this head of a file names, itself or by way of env.
fn of_first_line(head: &[u8]) -> Option<Language> {
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    match base(words.next()?) {
        b"env" => of_interpreter(base(words.find(|w| !w.starts_with(b"-") && !w.contains(&b'='))?)),
        name => of_interpreter(name),
    }
}

/// Where a program is, looked for as the worker's own exec will: by its PATH, from its directory.
fn found(program: &OsStr, cwd: Option<&Path>, environment: &[Variable]) -> Option<PathBuf> {
    let from = |path: PathBuf| cwd.map_or_else(|| path.clone(), |cwd| cwd.join(&path));
    if program.as_bytes().contains(&b'/') {
        return Some(from(PathBuf::from(program)));
    }
    let path: &OsString = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value)?;
    std::env::split_paths(path).map(|dir| from(dir.join(program))).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_and_python_are_known_by_name_ending_and_first_line() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let script = |name: &str, line: &str| std::fs::write(dir.path().join(name), line).expect("write");
        script("tool", "#!/usr/bin/env -S A=1 node --inspect\nnode\n");
        script("plain", "#! /usr/local/bin/nodejs");
        script("gunicorn", "#!/usr/bin/python3\nimport sys\n");
        script("venv", "#!/usr/bin/env python3.11");
        script("other", "#!/bin/sh\n# node\n");
        script("binary", "\u{7f}ELF node");
        let path = [(OsString::from("PATH"), dir.path().as_os_str().to_os_string())];
        let language = |program: &str| of(OsStr::new(program), Some(dir.path()), &path);
        for program in ["node", "/usr/bin/nodejs", "./server.mjs", "tool", "./tool", "plain"] {
            assert_eq!(language(program), Some(Language::Node), "{program}");
        }
        for program in ["python", "/usr/bin/python3.12", "pypy3", "./app.py", "gunicorn", "venv"] {
            assert_eq!(language(program), Some(Language::Python), "{program}");
        }
        for program in ["node20", "pythonic", "other", "./other", "binary", "none", "./none", "server.json"] {
            assert_eq!(language(program), None, "{program}");
        }
    }
}
