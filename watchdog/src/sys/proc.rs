//! The few facts of /proc that are needed: who is whose child, in which group and session, in which state.

use std::fs::{self, File};
use std::io::Read;

/// Bytes that a read of a small file is prepared for.
const READ: usize = 8 * 1024;

/// One line of /proc/PID/stat, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// R, S, D, T, t, Z, X.
    pub state: u8,
    /// Parent.
    pub ppid: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// Start time in clock ticks since boot: with the pid, an identity.
    pub start: u64,
}

/// Whether there is a /proc at all.
#[must_use]
pub(crate) fn is_there() -> bool {
    fs::exists("/proc/self/stat").unwrap_or(false)
}

/// The beginning of a file of the kernel's, `max` bytes at most. `None`: gone, or not for us.
#[must_use]
pub(crate) fn text(path: impl AsRef<std::path::Path>, max: u64) -> Option<String> {
    // Large enough for nearly all files of /proc: each further read is a system call.
    let mut bytes = Vec::with_capacity(READ);
    File::open(path).ok()?.take(max).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What somebody else has chosen (a name, a path), fit to be shown: without control characters, `max` bytes at most.
#[must_use]
pub(crate) fn shown(text: &str, max: usize) -> String {
    let mut clean: String = text.chars().filter(|c| !c.is_control()).collect();
    clean.truncate(clean.floor_char_boundary(max));
    clean
}

/// The name that its program gave it, without its path; `None` when it is gone or /proc is not there.
#[must_use]
pub(crate) fn name(pid: i32) -> Option<String> {
    text(format!("/proc/{pid}/comm"), 64)
}

/// Reads it; `None` when the process is gone or /proc is not there.
#[must_use]
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name may hold blanks and parentheses: what follows the last one counts (case THR-15).
fn parse_stat(line: &[u8]) -> Option<Stat> {
    let after = line.iter().rposition(|b| *b == b')')? + 1;
    let text = std::str::from_utf8(line.get(after..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let ppid = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Field 22 of proc_pid_stat(5); four are read, so 15 lie between.
    let start = fields.nth(15)?.parse().ok()?;
    Some(Stat { state, ppid, group, session, start })
}

/// Children of every thread of a process. `None` when the kernel has no such file (CONFIG_PROC_CHILDREN).
#[must_use]
pub(crate) fn children(pid: i32) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    let mut readable = false;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let Ok(list) = fs::read_to_string(thread.path().join("children")) else { continue };
        readable = true;
        found.extend(list.split_ascii_whitespace().filter_map(|n| n.parse::<i32>().ok()));
    }
    readable.then_some(found)
}

/// Children of a process by asking everybody who their parent is: the way without CONFIG_PROC_CHILDREN.
#[must_use]
pub(crate) fn children_by_scan(pid: i32) -> Vec<i32> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|other| stat(*other).is_some_and(|s| s.ppid == pid))
        .collect()
}

/// Whether the environment a process was started with holds `NAME=value`. The environment itself goes nowhere.
#[must_use]
pub(crate) fn environ_has(pid: i32, entry: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| env.split(|b| *b == 0).any(|one| one == entry))
}

/// A variable of a process, as it was when its program began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// It has it: what stands behind the part that was looked for.
    Is(String),
    /// It has none, or is not ours to read.
    None,
    /// It is between two programs, and has neither variables nor a command line.
    Unclear,
}

/// Looks for the variable that begins with `NAME=` and as much of its value as is wanted. Nothing else is kept.
#[must_use]
pub(crate) fn variable(pid: i32, beginning: &[u8]) -> Variable {
    let read = || fs::read(format!("/proc/{pid}/environ"));
    let mut environ = read();
    if environ.as_ref().is_ok_and(Vec::is_empty) {
        if text(format!("/proc/{pid}/cmdline"), 1).is_some_and(|first| first.is_empty()) {
            return Variable::Unclear;
        }
        // Its program has begun meanwhile, or it has no variables at all.
        environ = read();
    }
    let environ = environ.unwrap_or_default();
    let rest = environ.split(|b| *b == 0).find_map(|one| one.strip_prefix(beginning));
    rest.map_or(Variable::None, |rest| Variable::Is(String::from_utf8_lossy(rest).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awkward_names_are_parsed_by_the_last_parenthesis() {
        let line = b"42 (a) R 1 () S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1 2";
        let stat = parse_stat(line).expect("a stat line");
        assert_eq!((stat.state, stat.ppid, stat.group, stat.session, stat.start), (b'S', 7, 8, 9, 12345));
        assert_eq!(parse_stat(b"42 (x"), None);
        assert_eq!(parse_stat(b""), None);
    }
}
