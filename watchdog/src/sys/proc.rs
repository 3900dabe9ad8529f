//! The few facts of /proc that are needed: who is whose child, in which group and session, in which state.

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Bytes that a read of a small file is prepared for.
const READ: usize = 8 * 1024;
/// Bytes read at once of a file in which one line is looked for, and how often.
const PIECE: usize = 4096;
const MAX_PIECES: usize = 16;
/// Bytes of /proc/PID/stat: more than it can have.
const STAT_MAX: usize = 2048;
/// Bytes of an environment that are looked at. A process may make it as long as it likes (PR_SET_MM_MAP).
const ENVIRON_MAX: u64 = 256 * 1024;
/// Bytes of a list of children.
const CHILDREN_MAX: u64 = 1024 * 1024;

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
    /// CPU time of its own, in clock ticks.
    pub own: u64,
    /// That of its children that ended and were waited for, with what those had of theirs.
    pub children: u64,
    /// How many it has.
    pub threads: u64,
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
pub(crate) fn text(path: impl AsRef<Path>, max: u64) -> Option<String> {
    // Large enough for nearly all files of /proc: each further read is a system call.
    let mut bytes = Vec::with_capacity(READ);
    open(path.as_ref())?.take(max).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// By openat: open of musl sets O_CLOEXEC a second time.
fn open(path: &Path) -> Option<File> {
    openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok().map(File::from)
}

/// Looks for one line of a file of the kernel's and reads no further: the whole costs more than the rest of a start.
pub(crate) fn find<T>(path: &str, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
    let file = open(Path::new(path))?;
    let mut buffer = [0; PIECE];
    let mut kept = 0;
    for _ in 0..MAX_PIECES {
        let read = (&file).read(&mut buffer[kept..]).ok().filter(|n| *n > 0)?;
        let text = &buffer[..kept + read];
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines = text[..whole].split(|b| *b == b'\n');
        if let Some(found) = lines.filter_map(|line| std::str::from_utf8(line).ok()).find_map(&wanted) {
            return Some(found);
        }
        kept = text.len() - whole;
        if kept == PIECE {
            return None;
        }
        buffer.copy_within(whole..whole + kept, 0);
    }
    None
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
    // 52 numbers and a name: the kernel gives it as a whole.
    let mut line = [0; STAT_MAX];
    let read = open(Path::new(&format!("/proc/{pid}/stat")))?.read(&mut line).ok()?;
    parse_stat(line.get(..read)?)
}

/// Whether a process has a handler for this signal.
#[must_use]
pub(crate) fn catches(pid: i32, signal: i32) -> bool {
    let status = text(format!("/proc/{pid}/status"), 4096).unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    mask & super::signals::bit(signal) != 0
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
    // Fields 14 to 17, 20 and 22 of proc_pid_stat(5).
    let mut fields = fields.skip(7);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let own = ticks()?.saturating_add(ticks()?);
    let children = ticks()?.saturating_add(ticks()?);
    let threads = fields.nth(2)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    Some(Stat { state, ppid, group, session, own, children, threads, start })
}

/// Children of every thread of a process. `None` when the kernel has no such file (CONFIG_PROC_CHILDREN).
#[must_use]
pub(crate) fn children(pid: i32) -> Option<Vec<i32>> {
    let tasks = format!("/proc/{pid}/task");
    if stat(pid)?.threads == 1 {
        return children_of(&Path::new(&tasks).join(pid.to_string()));
    }
    let lists = fs::read_dir(&tasks).ok()?.flatten().filter_map(|thread| children_of(&thread.path()));
    lists.reduce(|mut all, list| {
        all.extend(list);
        all
    })
}

/// Children of one thread.
fn children_of(thread: &Path) -> Option<Vec<i32>> {
    let list = text(thread.join("children"), CHILDREN_MAX)?;
    // Of one that was cut off nothing but whole numbers: each is followed by a blank.
    let whole = list.rfind(' ').map_or("", |end| list.get(..end).unwrap_or_default());
    Some(whole.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect())
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

/// The environment that a process was started with, and it alone says what that is: its beginning.
fn environ(pid: i32) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(READ);
    File::open(format!("/proc/{pid}/environ")).ok()?.take(ENVIRON_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether the environment a process was started with holds `NAME=value`. The environment itself goes nowhere.
#[must_use]
pub(crate) fn environ_has(pid: i32, entry: &[u8]) -> bool {
    environ(pid).is_some_and(|env| env.split(|b| *b == 0).any(|one| one == entry))
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
    let mut found = environ(pid);
    if found.as_ref().is_some_and(Vec::is_empty) {
        if text(format!("/proc/{pid}/cmdline"), 1).is_some_and(|first| first.is_empty()) {
            return Variable::Unclear;
        }
        // Its program has begun meanwhile, or it has no variables at all.
        found = environ(pid);
    }
    let found = found.unwrap_or_default();
    let rest = found.split(|b| *b == 0).find_map(|one| one.strip_prefix(beginning));
    rest.map_or(Variable::None, |rest| Variable::Is(String::from_utf8_lossy(rest).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failed before: as much was read as the process said that there is.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a child of the tests, reaped here")]
    fn of_an_environment_only_the_beginning_is_looked_at() {
        let mut command = std::process::Command::new("sleep");
        command.arg("1000").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("A_MARK", "here");
        for n in 0..5 {
            command.env(format!("B{n}"), "x".repeat(100 * 1024));
        }
        command.env("Z_MARK", "there");
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let read = environ(pid).map_or(0, |env| env.len() as u64);
        let marks = (environ_has(pid, b"A_MARK=here"), environ_has(pid, b"Z_MARK=there"), variable(pid, b"Z_MARK="));
        let _ = (child.kill(), child.wait());
        assert_eq!((read, marks), (ENVIRON_MAX, (true, false, Variable::None)));
    }

    #[test]
    fn children_are_found_one_and_all() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(children(i32::MAX).is_none());
        assert!(children(me).is_none_or(|found| found.iter().all(|pid| *pid > 1)));
    }

    #[test]
    fn awkward_names_are_parsed_by_the_last_parenthesis() {
        let line = b"42 (a) R 1 () S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1 2";
        let stat = parse_stat(line).expect("a stat line");
        assert_eq!((stat.state, stat.ppid, stat.group, stat.session, stat.start), (b'S', 7, 8, 9, 12345));
        assert_eq!((stat.own, stat.children), (5 + 6, 7 + 8));
        assert_eq!(parse_stat(b"42 (x"), None);
        assert_eq!(parse_stat(b""), None);
    }
}
