//! Who comes from a case, by a variable in the environment: seen by ourselves and not believed of the watchdog.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// The variable; no setting of ours begins like this.
pub(super) const VARIABLE: &str = "DRILL_OF_WATCHDOG";
/// Bytes read of an environment, and of a line of the kernel's.
const MOST: u64 = 1 << 20;
/// How long killed processes may take to go.
const GOING: Duration = Duration::from_secs(5);

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) group: i32,
    /// With the pid an identity.
    pub(super) start: u64,
    pub(super) name: String,
}

/// All that live and carry this mark.
pub(super) fn of(mark: &str) -> Vec<Process> {
    let wanted = format!("{VARIABLE}={mark}").into_bytes();
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| bytes(*pid, "environ").split(|b| *b == 0).any(|v| v == wanted)).filter_map(look).collect()
}

/// This process, unless it is dead already.
pub(super) fn look(pid: i32) -> Option<Process> {
    let stat = String::from_utf8_lossy(&bytes(pid, "stat")).into_owned();
    let (front, rest) = stat.rsplit_once(')')?;
    let name = front.split_once('(')?.1.to_string();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X" | "x") {
        return None;
    }
    let (group, start) = (fields.get(2)?.parse().ok()?, fields.get(19)?.parse().ok()?);
    Some(Process { pid, group, start, name })
}

fn bytes(pid: i32, file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{pid}/{file}")) {
        let _ = file.take(MOST).read_to_end(&mut bytes);
    }
    bytes
}

/// Whether the very same process still lives.
pub(super) fn lives(process: &Process) -> bool {
    look(process.pid).is_some_and(|now| now.start == process.start)
}

/// Kills everybody with this mark, and waits until they are gone.
pub(super) fn kill_all(mark: &str) {
    let until = Instant::now() + GOING;
    loop {
        let left = of(mark);
        if left.is_empty() || Instant::now() >= until {
            return;
        }
        for process in left.iter().filter(|process| lives(process)) {
            if kill(Pid::from_raw(process.pid), Signal::SIGKILL) == Err(Errno::EPERM) {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_seen_as_we_are_and_a_dead_number_is_nobody() {
        let own = i32::try_from(std::process::id()).unwrap();
        let seen = look(own).unwrap();
        assert!(seen.pid == own && seen.group > 0 && !seen.name.is_empty() && lives(&seen));
        assert!(!lives(&Process { start: seen.start + 1, ..seen }));
        assert_eq!(look(i32::MAX), None);
        assert_eq!(of("nobody has this mark"), []);
    }
}
