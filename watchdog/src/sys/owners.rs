//! Whose sockets they are. Every process that we may look at is asked for its descriptors: the inode of a socket is its
//! one exact name, and neither an argument nor a connection to the same port is taken for it.

use super::proc::{self, shown};
use super::sockets;
use std::collections::BTreeSet;
use std::fs;

/// Processes that are asked.
const MAX_PROCESSES: usize = 65_536;
/// Descriptors that are looked at in all of them together: a third of a second on a busy machine.
const MAX_DESCRIPTORS: usize = 262_144;
/// Generations from a process up to its first ancestor.
const MAX_ANCESTORS: usize = 1024;
/// Bytes of a name that are kept. The kernel's own has 15, a file's up to 255.
const NAME: usize = 255;

/// A process, so that it can be told from a later one of the same number, and what may be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its number.
    pub pid: i32,
    /// Its start time: with the pid, an identity.
    pub start: u64,
    /// Its real user.
    pub uid: u32,
    /// What it calls itself.
    pub name: String,
    /// The last part of the path of its executable, where it can be seen.
    pub program: String,
}

impl Owner {
    /// What is known of a process that lives.
    pub(crate) fn read(pid: i32) -> Option<Owner> {
        let stat = proc::stat(pid).filter(|s| !matches!(s.state, b'Z' | b'X'))?;
        let status = proc::text(format!("/proc/{pid}/status"), 4096)?;
        let uid = status.lines().find_map(|l| l.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?.parse().ok()?;
        let name = proc::text(format!("/proc/{pid}/comm"), 64).unwrap_or_default();
        let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let program = path.file_name().unwrap_or_default().to_string_lossy();
        let program = shown(program.trim_end_matches(" (deleted)"), NAME);
        Some(Owner { pid, start: stat.start, uid, name: shown(name.trim_end(), NAME), program })
    }

    /// Whether it is the same process still, and holds one of these sockets.
    pub(crate) fn holds(&self, sockets: &BTreeSet<u64>) -> bool {
        self.lives() && sockets::inodes(self.pid).any(|inode| sockets.contains(&inode))
    }

    /// Whether it is the same process still.
    pub(crate) fn lives(&self) -> bool {
        proc::stat(self.pid).is_some_and(|s| s.start == self.start && !matches!(s.state, b'Z' | b'X'))
    }
}

/// Who has which of these sockets open; several may share one.
#[must_use]
pub(crate) fn of(wanted: &BTreeSet<u64>) -> Vec<(u64, i32)> {
    let mut found = BTreeSet::new();
    let mut looked = 0;
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = dir.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids.take(MAX_PROCESSES) {
        let own = sockets::inodes(pid).take(MAX_DESCRIPTORS.saturating_sub(looked)).inspect(|_| looked += 1);
        found.extend(own.filter(|inode| wanted.contains(inode)).map(|inode| (inode, pid)));
    }
    found.into_iter().collect()
}

/// A process, its parent, and so on up to the first.
#[must_use]
pub(crate) fn lineage(pid: i32) -> Vec<i32> {
    let parent = |pid: &i32| proc::stat(*pid).map(|s| s.ppid).filter(|parent| *parent > 0);
    std::iter::successors(Some(pid), parent).take(MAX_ANCESTORS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn me() -> i32 {
        i32::try_from(std::process::id()).expect("a pid")
    }

    #[test]
    fn the_owner_of_a_socket_is_who_has_it_open() {
        let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap()];
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ports = listeners.each_ref().map(|l| l.local_addr().unwrap().port());
        let held = sockets::holding(&ports, false);
        assert_eq!(held.len(), 2, "both families: {held:?}");
        assert_eq!(sockets::holding(&[udp.local_addr().unwrap().port()], true).len(), 1);
        let inodes: BTreeSet<u64> = held.iter().map(|(_, inode)| *inode).collect();
        let owners = of(&inodes);
        assert!(owners.iter().all(|(_, pid)| *pid == me()) && owners.len() == 2, "{owners:?}");
        let owner = Owner::read(me()).unwrap();
        assert!(owner.holds(&inodes) && owner.lives() && !owner.program.is_empty(), "{owner:?}");
        assert_eq!(owner.uid, nix::unistd::getuid().as_raw());
        drop(listeners);
        assert!(!owner.holds(&inodes) && sockets::holding(&ports, false).is_empty());
    }

    #[test]
    fn a_client_of_a_port_holds_another_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(sockets::holding(&[client.local_addr().unwrap().port()], false).is_empty());
    }

    #[test]
    fn the_lineage_ends_with_the_first_process() {
        let line = lineage(me());
        assert_eq!(line[0], me());
        assert!(line.contains(&i32::try_from(std::os::unix::process::parent_id()).unwrap()) && line.len() < 100);
        assert_eq!(lineage(i32::MAX), [i32::MAX]);
    }
}
