//! Processes as /proc shows them, and those of one run by its mark.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// One living process.
#[derive(Debug, Clone)]
pub struct Proc {
    pub pid: i32,
    pub parent: i32,
    pub state: char,
    /// Start time in ticks: with the pid, the identity of a process.
    pub start: u64,
    pub command: String,
}

impl Proc {
    pub fn read(pid: i32) -> Option<Proc> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Some(Proc {
            pid,
            state: rest.first()?.chars().next()?,
            parent: rest.get(1)?.parse().ok()?,
            start: rest.get(19)?.parse().ok()?,
            command: String::from_utf8_lossy(&command).replace('\0', " "),
        })
    }

    pub fn is(&self, program: &str) -> bool {
        self.command.starts_with(program)
    }
}

/// Whether the very process of this pid and start time lives (a zombie does not).
pub fn lives(pid: i32, start: u64) -> bool {
    Proc::read(pid).is_some_and(|p| p.start == start && p.state != 'Z' && p.state != 'X')
}

/// Whether any process with this pid lives.
pub fn alive(pid: i32) -> bool {
    Proc::read(pid).is_some_and(|p| p.state != 'Z' && p.state != 'X')
}

/// State letter of a process; `None` when it is gone.
pub fn state(pid: i32) -> Option<char> {
    Proc::read(pid).map(|p| p.state)
}

fn pids() -> Vec<i32> {
    let Ok(dir) = std::fs::read_dir("/proc") else { return Vec::new() };
    dir.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Children of a process, zombies too.
pub fn children(parent: i32) -> Vec<Proc> {
    pids().into_iter().filter_map(Proc::read).filter(|p| p.parent == parent).collect()
}

/// Every living process whose environment carries the mark of a run. (A zombie has no environment any more.)
pub fn marked(mark: &str) -> Vec<Proc> {
    let wanted = format!("WDTEST={mark}");
    let has = |pid: &i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|v| v == wanted.as_bytes())
    };
    pids().into_iter().filter(has).filter_map(Proc::read).filter(|p| p.state != 'Z' && p.state != 'X').collect()
}

/// Kills all processes of a run by pid, until none is left.
pub fn end_all(mark: &str) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        for p in left {
            // the start time is compared once more: between listing and killing the pid may have gone to another
            if lives(p.pid, p.start) {
                let _ = kill(Pid::from_raw(p.pid), Signal::SIGKILL);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One numeric field of /proc/PID/status.
pub fn status_field(pid: i32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':').map(str::trim));
    line.and_then(|v| v.split_whitespace().next()?.parse().ok()).unwrap_or_else(|| panic!("no {key} of {pid}"))
}

/// Calls of read(2) and its like that a process has made.
pub fn reads(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse().ok()).unwrap()
}

/// User and system time of a process in clock ticks (10 ms).
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest: Vec<&str> = stat.rsplit_once(')').map_or(vec![], |r| r.1.split_whitespace().collect());
    let at = |i: usize| rest.get(i).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
    at(11) + at(12)
}

/// Number of open descriptors.
pub fn fd_count(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// `pid start role` lines of the victim's evidence files that are still alive.
pub fn survivors(path: &std::path::Path) -> Vec<String> {
    let still = |line: &String| {
        let mut words = line.split_whitespace();
        let pid = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        let start = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        lives(pid, start)
    };
    super::lines(path).into_iter().filter(still).collect()
}
