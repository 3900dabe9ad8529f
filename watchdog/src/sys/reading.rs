//! What processes use just now, for those who look from outside: memory, CPU time so far, descriptors, threads. One small
//! file and one look at a directory for each process. What limits are judged by is measured in `sample`.

use super::{proc, sample};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Times in /proc are in clock ticks: USER_HZ is 100 on every machine that we build for.
const TICK_MS: u64 = 10;
/// Longest line of /proc/PID/stat: a name of 15 bytes and some fifty numbers.
const LINE: usize = 2048;
/// Descriptors of a process that are counted one by one.
const MAX_COUNTED: usize = 65_536;

/// The sum over a group of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Resident memory; pages that several of them share count in each.
    pub rss_bytes: Option<u64>,
    /// CPU time so far, with that of children that were waited for.
    pub cpu: Duration,
    /// Threads.
    pub threads: u64,
    /// Open descriptors. `None`: not for us to see.
    pub descriptors: Option<u64>,
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct One {
    zombie: bool,
    ticks: u64,
    threads: u64,
    pages: u64,
}

/// Reads them; `None` when none of them is there.
#[must_use]
pub(crate) fn read(pids: &[i32]) -> Option<Reading> {
    let page = page_size();
    let mut sum: Option<Reading> = None;
    for pid in pids {
        let Some(one) = stat(*pid) else { continue };
        // The main thread has ended, and the others go on.
        let rss = if one.zombie { sample::of_threads(*pid) } else { one.pages.checked_mul(page) };
        let sum = sum.get_or_insert_default();
        sum.cpu += Duration::from_millis(one.ticks.saturating_mul(TICK_MS));
        sum.threads += one.threads;
        sum.rss_bytes = added(sum.rss_bytes, rss);
        sum.descriptors = added(sum.descriptors, descriptors(*pid));
    }
    sum
}

fn added(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
        (one, other) => one.or(other),
    }
}

fn page_size() -> u64 {
    let found = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    found.and_then(|n| u64::try_from(n).ok()).unwrap_or(4096)
}

fn stat(pid: i32) -> Option<One> {
    let mut line = [0; LINE];
    let n = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    parse(line.get(..n)?)
}

/// The name may hold blanks and parentheses: what follows the last one counts. Fields of proc_pid_stat(5), state being the
/// third.
fn parse(line: &[u8]) -> Option<One> {
    let after = line.iter().rposition(|b| *b == b')')? + 1;
    let text = std::str::from_utf8(line.get(after..)?).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().take(22).collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(One {
        zombie: *fields.first()? == "Z",
        ticks: (14..=17).map(field).sum::<Option<u64>>()?,
        threads: field(20)?,
        pages: field(24)?,
    })
}

/// Since Linux 6.2 the size of the directory is their number; before it is 0, and they are counted.
fn descriptors(pid: i32) -> Option<u64> {
    let dir = format!("/proc/{pid}/fd");
    match fs::metadata(&dir).ok()?.size() {
        0 => Some(fs::read_dir(dir).ok()?.take(MAX_COUNTED).count() as u64),
        told => Some(told),
    }
}

/// Ourselves.
#[must_use]
pub(crate) fn own() -> Option<Reading> {
    proc::is_there().then(|| read(&[nix::unistd::getpid().as_raw()])).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        let line = b"7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 5 0 1000 9999 250 18446744073709551615 1";
        assert_eq!(parse(line), Some(One { zombie: false, ticks: 127, threads: 5, pages: 250 }));
        assert_eq!(parse(b"7 (a) S 1"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn our_own_is_there_and_nobodys_is_not() {
        let own = own().expect("ourselves");
        assert!(own.rss_bytes.is_some_and(|n| n > 100_000) && own.threads >= 1);
        assert!(own.descriptors.is_some_and(|n| n >= 3));
        assert_eq!(read(&[i32::MAX]), None);
        let twice = read(&[nix::unistd::getpid().as_raw(), nix::unistd::getpid().as_raw()]).expect("ourselves");
        assert!(twice.threads >= 2 * own.threads.min(1));
    }
}
