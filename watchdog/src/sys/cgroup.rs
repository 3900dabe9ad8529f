//! A control group of the worker's own, where one was delegated to us: then its whole tree is known and dies at once.
//!
//! Version 2 only. "Delegated" is asked strictly, because a group that belongs to somebody else (a service manager) is
//! not ours to divide: systemd's mark (`user.delegate` or `trusted.delegate` = 1), or a directory that our own
//! unprivileged user owns, or we are PID 1 and it is the root of what we see.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Our own group, in which groups for workers may be made.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

/// The group of one generation.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    /// `cgroup.procs`, open for writing: the child writes itself in before exec.
    pub procs: fs::File,
}

impl Home {
    /// Finds it. `None`: no version 2 hierarchy, or none that is ours to divide.
    #[must_use]
    pub(crate) fn find(init: bool) -> Option<Home> {
        // Reading the two files costs as much as a whole spawn: only where a delegated group can be at all. A service
        // manager that delegates says so with INVOCATION_ID (systemd.exec(5)); a user's own manager runs as that user.
        let possible = init || !nix::unistd::geteuid().is_root() || std::env::var_os("INVOCATION_ID").is_some();
        if !possible {
            return None;
        }
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = own.lines().find_map(|l| l.strip_prefix("0::"))?;
        let mount = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
        let dir = mount.join(path.trim_start_matches('/'));
        let (euid, owner) = (nix::unistd::geteuid().as_raw(), fs::metadata(&dir).ok()?.uid());
        let mine = delegated(&dir) || (euid != 0 && owner == euid) || (init && path == "/");
        let writable = nix::unistd::access(&dir, nix::unistd::AccessFlags::W_OK).is_ok();
        (mine && writable).then_some(Home(dir))
    }

    /// Makes the group of one generation. `None`: it cannot be made, and the worker stays where we are.
    #[must_use]
    pub(crate) fn group(&self, name: &str) -> Option<Group> {
        let dir = self.0.join(format!("watchdog.{name}"));
        fs::create_dir(&dir).ok()?;
        match fs::OpenOptions::new().write(true).open(dir.join("cgroup.procs")) {
            Ok(procs) => Some(Group { dir, procs }),
            Err(_) => {
                let _ = fs::remove_dir(&dir);
                None
            }
        }
    }
}

impl Group {
    /// Who lives in it.
    #[must_use]
    pub(crate) fn pids(&self) -> Vec<i32> {
        let list = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        // 0 stands for a process of an outer namespace: not ours to signal.
        list.lines().filter_map(|l| l.parse().ok()).filter(|p| *p > 1).collect()
    }

    /// SIGKILL for all in it, racing forks included (Linux 5.14; false where it is not there).
    #[must_use]
    pub(crate) fn kill(&self) -> bool {
        let file = fs::OpenOptions::new().write(true).open(self.dir.join("cgroup.kill"));
        file.and_then(|mut f| f.write_all(b"1")).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.dir);
    }
}

/// The first cgroup2 mount of a mountinfo file (proc_pid_mountinfo(5): the type follows the lone dash).
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("cgroup2 ").then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// systemd marks what it hands over (`Delegate=yes`) with an extended attribute.
fn delegated(dir: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| super::fds::attribute_is(dir, name, b"1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_version_2_is_found_beside_others() {
        let info = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    38 24 0:34 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(info), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("30 24 0:26 / / rw - ext4 /dev/vda rw\n"), None);
    }
}
