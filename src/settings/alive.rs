//! When a worker counts as ready, and the ways it is offered to say so and to beat.

use super::fault::Fault;
use super::later;
use super::nearest::nearest;
use super::values;
use super::{bounded, environ::Variable};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use watchdog_engine::spec::{Dialects, NotifyAt, Ready};

/// Longest text of `line:`. It is looked for in each line of output, and no line of a log that people read is longer.
const LONGEST_TEXT: usize = 4096;
/// As much of a script as is read: the kernel itself looks at 256 bytes for an interpreter.
const FIRST_LINE: u64 = 256;

/// `ready`
pub(crate) fn ready(text: &str) -> Result<Ready, Fault> {
    match text.split_once(':') {
        Some(("line", line)) => line_of(line),
        Some(("port", port)) => {
            let port = values::count(port, 1, 65_535).map_err(|f| f.at("port"))?;
            Ok(Ready::Port(port as u16))
        }
        _ if text.split(':').next() == Some("probe") => {
            Err(Fault::usage(format!("{text:?} is {}", later::refusal("probe"))))
        }
        // The bare word is a slip with one cure; the nearest word of the list would be another one.
        _ if text == "line" => Err(Fault::usage("line: needs a text, such as line:listening")),
        _ if text == "port" => Err(Fault::usage("port: needs a number, such as port:8080")),
        _ => {
            let words = [
                ("auto", Some(Ready::Auto)),
                ("spawned", Some(Ready::Spawned)),
                ("reported", Some(Ready::Reported)),
                ("fd", Some(Ready::Fd)),
                ("line:TEXT", None),
                ("port:N", None),
            ];
            let known: Vec<(&str, usize)> = words.iter().enumerate().map(|(at, (word, _))| (*word, at)).collect();
            let found = values::word(text, &known).map(|at| words[at].1.clone())?;
            found.ok_or_else(|| Fault::usage(format!("{text:?} is the form, not a value, such as line:listening")))
        }
    }
}

fn line_of(text: &str) -> Result<Ready, Fault> {
    if text.is_empty() {
        return Err(Fault::usage("line: needs a text, such as line:listening"));
    }
    if text.contains('\n') || text.len() > LONGEST_TEXT {
        return Err(Fault::usage(format!("line: the text stands in one line, and has {LONGEST_TEXT} bytes at most")));
    }
    Ok(Ready::Line(text.to_string()))
}

/// `start_timeout`: no deadline is the longest one.
pub(crate) fn start_timeout(text: &str) -> Result<Duration, Fault> {
    match text {
        "none" | "off" | "false" => Ok(Duration::MAX),
        _ => Ok(values::duration(text)?).map(|d| if d.is_zero() { Duration::MAX } else { d }),
    }
}

/// `dialects`: exactly these.
pub(crate) fn dialects(items: &[String]) -> Result<Dialects, Fault> {
    let mut dialects = Dialects { native: false, notify: None, node: false, fd: false };
    if items.len() == 1 && matches!(items[0].as_str(), "none" | "off" | "false") {
        return Ok(dialects);
    }
    for item in items {
        match item.as_str() {
            "native" => dialects.native = true,
            "notify" => dialects.notify = Some(dialects.notify.unwrap_or(NotifyAt::Abstract)),
            "node" => dialects.node = true,
            "fd" => dialects.fd = true,
            "none" | "off" => return Err(Fault::usage(format!("{item:?} stands alone or not at all"))),
            other => match other.strip_prefix("notify:") {
                Some(path) => dialects.notify = Some(notify_at(path)?),
                None => {
                    let fault =
                        Fault::usage(format!("{other:?} is none of native, notify, notify:PATH, node, fd, none"));
                    return Err(fault.or_nearest(nearest(other, ["native", "notify", "node", "fd", "none"])));
                }
            },
        }
    }
    Ok(dialects)
}

/// A socket's path has 107 bytes and its end in `sockaddr_un`; what is longer could never be bound.
fn notify_at(path: &str) -> Result<NotifyAt, Fault> {
    if !path.starts_with('/') {
        let message = format!("notify:{path} is no absolute path, such as notify:/run/app/notify");
        return Err(Fault::usage(message));
    }
    if path.len() > 107 {
        return Err(Fault::usage(format!("notify:{path} is too long for a socket: 107 bytes at most")));
    }
    Ok(NotifyAt::Path(PathBuf::from(path)))
}

/// Whether a program is node, and so is offered its dialect without being asked: by its name, by the ending of its name,
/// by the first line of the script that it is.
pub(crate) fn is_node(program: &OsStr, cwd: Option<&Path>, environment: &[Variable]) -> bool {
    let name = base(program.as_bytes());
    if is_node_name(name) || [&b".js"[..], b".mjs", b".cjs"].iter().any(|end| name.ends_with(end)) {
        return true;
    }
    let Some(path) = found(program, cwd, environment) else { return false };
    bounded::head(&path, FIRST_LINE).is_ok_and(|head| names_node(&head))
}

fn is_node_name(name: &[u8]) -> bool {
    matches!(name, b"node" | b"nodejs")
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

/// Whether the interpreter line at this head of a file names node, itself or by way of env.
fn names_node(head: &[u8]) -> bool {
    let Some(line) = head.strip_prefix(b"#!").and_then(|rest| rest.split(|b| *b == b'\n').next()) else {
        return false;
    };
    let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    match words.next().map(base) {
        Some(b"env") => {
            words.find(|w| !w.starts_with(b"-") && !w.contains(&b'=')).is_some_and(|w| is_node_name(base(w)))
        }
        Some(name) => is_node_name(name),
        None => false,
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

    fn wrong(result: Result<impl std::fmt::Debug, Fault>) -> String {
        result.expect_err("must be refused").message
    }

    fn list(words: &str) -> Result<Dialects, Fault> {
        dialects(&words.split(',').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_way_to_be_ready() {
        assert_eq!(ready("auto"), Ok(Ready::Auto));
        assert_eq!(ready("reported"), Ok(Ready::Reported));
        assert_eq!(ready("fd"), Ok(Ready::Fd));
        assert_eq!(ready("line:a: b"), Ok(Ready::Line("a: b".into())));
        assert_eq!(ready("port:65535"), Ok(Ready::Port(65535)));
        assert_eq!(wrong(ready("port:0")), "port: \"0\" is not a whole number from 1 to 65535");
        assert!(wrong(ready("port:http")).contains("1 to 65535") && wrong(ready("port")).contains("port:8080"));
        assert!(wrong(ready("line:")).contains("line:listening") && wrong(ready("line")).contains("line:listening"));
        assert!(wrong(ready("line:TEXT\n")).contains("one line"));
        assert!(wrong(ready("repoted")).ends_with("did you mean \"reported\"?"));
        assert!(wrong(ready("probe")).contains("not in this version (probes come later)"));
    }

    #[test]
    fn no_deadline_is_the_longest_one() {
        assert_eq!(start_timeout("5s"), Ok(Duration::from_secs(5)));
        for never in ["0", "0s", "none", "off"] {
            assert_eq!(start_timeout(never), Ok(Duration::MAX), "{never}");
        }
        assert_eq!(wrong(start_timeout("5")), "\"5\" has no unit: did you mean \"5s\"?");
    }

    #[test]
    fn a_list_of_dialects_is_exactly_that_list() {
        assert_eq!(list("native,notify"), Ok(Dialects::default()));
        let none = Dialects { native: false, notify: None, node: false, fd: false };
        assert_eq!((list("none"), dialects(&[])), (Ok(none.clone()), Ok(none)));
        let node = list("node,fd,notify:/run/x").expect("a list");
        assert!(node.node && node.fd && !node.native && node.notify == Some(NotifyAt::Path("/run/x".into())));
        assert_eq!(list("notify:/run/x,notify").expect("a list").notify, Some(NotifyAt::Path("/run/x".into())));
        assert!(wrong(list("notify:run/x")).contains("no absolute path"));
        assert!(wrong(list(&format!("notify:/{}", "x".repeat(107)))).contains("107 bytes"));
        assert!(wrong(list("natvie")).ends_with("did you mean \"native\"?"));
        assert!(wrong(list("native,none")).contains("stands alone"));
    }

    #[test]
    fn node_is_known_by_name_ending_and_first_line() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let script = |name: &str, line: &str| std::fs::write(dir.path().join(name), line).expect("write");
        script("tool", "#!/usr/bin/env -S A=1 node --inspect\nnode\n");
        script("plain", "#! /usr/local/bin/nodejs");
        script("other", "#!/bin/sh\n# node\n");
        script("binary", "\u{7f}ELF node");
        let path = [(OsString::from("PATH"), dir.path().as_os_str().to_os_string())];
        let node = |program: &str| is_node(OsStr::new(program), Some(dir.path()), &path);
        for program in ["node", "/usr/bin/nodejs", "./server.mjs", "tool", "./tool", "plain"] {
            assert!(node(program), "{program}");
        }
        for program in ["node20", "other", "./other", "binary", "none", "./none", "server.json"] {
            assert!(!node(program), "{program}");
        }
    }
}
