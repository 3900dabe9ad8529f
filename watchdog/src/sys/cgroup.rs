//! A control group of the worker's own, where one was delegated to us: then its whole tree is known and dies at once.
//!
//! Version 2 only. "Delegated" is asked strictly, because a group that belongs to somebody else (a service manager) is
//! not ours to divide: systemd's mark (`user.delegate` or `trusted.delegate` = 1), or a directory that our own
//! unprivileged user owns, or we are PID 1 and it is the root of what we see.

use super::proc;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Bytes read of a file of a control group, and of /proc/PID/cgroup.
const FILE_MAX: u64 = 64 * 1024;
/// Bytes read of the list of mounts.
const MOUNTS_MAX: u64 = 1024 * 1024;
/// Groups around a group that are looked at.
const DEPTH_MAX: usize = 64;

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
        let Place { mount, dir } = Place::of("self")?;
        let whole = mount == dir;
        let (euid, owner) = (nix::unistd::geteuid().as_raw(), fs::metadata(&dir).ok()?.uid());
        let mine = delegated(&dir) || (euid != 0 && owner == euid) || (init && whole);
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

/// Where a process is in the version 2 hierarchy, as far as it can be seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The top of what we see.
    mount: PathBuf,
    /// The group.
    dir: PathBuf,
}

impl Place {
    /// Of a process: its number, or `self`. `None`: no version 2 hierarchy, or it is outside of what we see.
    #[must_use]
    pub(crate) fn of(process: &str) -> Option<Place> {
        let groups = proc::text(format!("/proc/{process}/cgroup"), FILE_MAX)?;
        let path = groups.lines().find_map(|l| l.strip_prefix("0::"))?;
        Place::from(path, &proc::text("/proc/self/mountinfo", MOUNTS_MAX)?)
    }

    fn from(path: &str, mountinfo: &str) -> Option<Place> {
        let (root, mount) = mount_point(mountinfo)?;
        let inside = Path::new(path).strip_prefix(&root).ok()?;
        // A group outside of our namespace is shown as `/..`.
        let plain = inside.components().all(|c| matches!(c, Component::Normal(_)));
        plain.then(|| Place { dir: if inside == Path::new("") { mount.clone() } else { mount.join(inside) }, mount })
    }

    /// The group and those around it, the nearest first: what holds for one of them holds for it.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Path> {
        self.dir.ancestors().take_while(|dir| dir.starts_with(&self.mount)).take(DEPTH_MAX)
    }
}

/// Root and place of the first cgroup2 mount of a mountinfo file (proc_pid_mountinfo(5): the type follows the lone dash).
fn mount_point(mountinfo: &str) -> Option<(PathBuf, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = right.starts_with("cgroup2 ").then(|| left.split(' ').skip(3).map(PathBuf::from))?;
        Some((fields.next()?, fields.next()?))
    })
}

/// The value of one key in a file of `key value` lines.
pub(crate) fn value_in(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
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
        assert_eq!(mount_point(info), Some(("/".into(), "/sys/fs/cgroup/unified".into())));
        assert_eq!(mount_point("30 24 0:26 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn a_group_is_found_below_the_root_of_its_mount_and_nowhere_else() {
        let mounted = |root: &str| format!("38 24 0:34 {root} /mnt rw - cgroup2 cgroup2 rw\n");
        let dir = |path: &str, root: &str| Place::from(path, &mounted(root)).map(|p| p.dir);
        assert_eq!(dir("/a/b", "/"), Some("/mnt/a/b".into()));
        assert_eq!(dir("/docker/x/b", "/docker/x"), Some("/mnt/b".into()));
        assert_eq!(dir("/", "/"), Some("/mnt".into()));
        assert_eq!(dir("/other", "/docker/x"), None);
        assert_eq!(dir("/../b", "/"), None);
        let place = Place::from("/a/b", &mounted("/")).expect("a place");
        assert_eq!(place.chain().collect::<Vec<_>>(), [Path::new("/mnt/a/b"), Path::new("/mnt/a"), Path::new("/mnt")]);
    }
}
