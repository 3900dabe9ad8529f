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
/// A limit from here on limits nothing.
const NO_LIMIT: u64 = 1 << 60;

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

    /// Where it counts kills for want of memory, for as long as it is there.
    #[must_use]
    pub(crate) fn counter(&self) -> Counter {
        Counter(self.dir.join("memory.events"))
    }
}

/// What a group counts.
#[derive(Clone, Debug)]
pub(crate) struct Counter(PathBuf);

impl Counter {
    /// Processes in it that the kernel has killed because memory ran out. `None`: it does not count them here.
    #[must_use]
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        value_in(&proc::text(&self.0, FILE_MAX)?, "oom_kill")
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
        Place::of_groups(&groups, &proc::text("/proc/self/mountinfo", MOUNTS_MAX)?)
    }

    fn of_groups(groups: &str, mounts: &str) -> Option<Place> {
        let path = groups.lines().find_map(|l| l.strip_prefix("0::"))?;
        Place::from(path, mounts, |kind, _| kind == "cgroup2")
    }

    /// Our own place in the memory hierarchy of version 1.
    fn of_memory(groups: &str, mounts: &str) -> Option<Place> {
        // `4:memory:/path`, or `4:cpu,memory:/path`.
        let holds = |line: &&str| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|n| n == "memory"));
        let path = groups.lines().find(holds)?.splitn(3, ':').nth(2)?;
        let is_memory = |kind: &str, options: &str| kind == "cgroup" && options.split(',').any(|o| o == "memory");
        Place::from(path, mounts, is_memory)
    }

    fn from(path: &str, mountinfo: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<Place> {
        let (root, mount) = mount_point(mountinfo, wanted)?;
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

/// Root and place of the first mount with a wanted type and options of the file system (proc_pid_mountinfo(5): they
/// follow the lone dash).
fn mount_point(mountinfo: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<(PathBuf, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let mut left = left.split(' ').skip(3).map(PathBuf::from);
        wanted(right.next()?, right.nth(1)?).then_some((left.next()?, left.next()?))
    })
}

/// The most memory that we may hold: the smallest limit of our own group and of those around it, bytes.
#[must_use]
pub(crate) fn memory_limit() -> Option<u64> {
    let smallest = |place: Place, file: &str| place.chain().filter_map(|dir| number_in(&dir.join(file))).min();
    let (groups, mounts) =
        (proc::text("/proc/self/cgroup", FILE_MAX)?, proc::text("/proc/self/mountinfo", MOUNTS_MAX)?);
    let version_2 = Place::of_groups(&groups, &mounts).and_then(|place| smallest(place, "memory.max"));
    let version_1 = || Place::of_memory(&groups, &mounts).and_then(|place| smallest(place, "memory.limit_in_bytes"));
    version_2.or_else(version_1)
}

/// A file with one number that limits something. Version 2 says `max` when nothing is, version 1 a number of pages near
/// the end of 64 bits.
fn number_in(file: &Path) -> Option<u64> {
    proc::text(file, FILE_MAX)?.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// Processes of our own group that the kernel has killed because memory ran out. Where that is counted is looked for again
/// only when we are in another group than before: the list of mounts is long.
#[derive(Debug, Default)]
pub(crate) struct OwnKills {
    groups: String,
    file: Option<PathBuf>,
}

impl OwnKills {
    /// `None`: they are not counted there.
    #[must_use]
    pub(crate) fn count(&mut self) -> Option<u64> {
        let groups = proc::text("/proc/self/cgroup", FILE_MAX)?;
        if groups != self.groups {
            let mounts = proc::text("/proc/self/mountinfo", MOUNTS_MAX)?;
            let version_2 = Place::of_groups(&groups, &mounts).map(|place| place.dir.join("memory.events"));
            let version_2 = version_2.filter(|file| file.exists());
            self.file = version_2.or_else(|| Some(Place::of_memory(&groups, &mounts)?.dir.join("memory.oom_control")));
            self.groups = groups;
        }
        value_in(&proc::text(self.file.as_ref()?, FILE_MAX)?, "oom_kill")
    }
}

/// The same for the whole machine.
#[must_use]
pub(crate) fn system_oom_kills() -> Option<u64> {
    proc::find("/proc/vmstat", |line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
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
        let version_2 = |kind: &str, _: &str| kind == "cgroup2";
        assert_eq!(mount_point(info, version_2), Some(("/".into(), "/sys/fs/cgroup/unified".into())));
        assert_eq!(mount_point("30 24 0:26 / / rw - ext4 /dev/vda rw\n", version_2), None);
        let cpu = |kind: &str, options: &str| kind == "cgroup" && options == "rw,cpu";
        assert_eq!(mount_point(info, cpu), Some(("/".into(), "/sys/fs/cgroup/cpu".into())));
    }

    #[test]
    fn a_group_is_found_below_the_root_of_its_mount_and_nowhere_else() {
        let mounted = |root: &str| format!("38 24 0:34 {root} /mnt rw - cgroup2 cgroup2 rw\n");
        let dir = |path: &str, root: &str| Place::from(path, &mounted(root), |_, _| true).map(|p| p.dir);
        assert_eq!(dir("/a/b", "/"), Some("/mnt/a/b".into()));
        assert_eq!(dir("/docker/x/b", "/docker/x"), Some("/mnt/b".into()));
        assert_eq!(dir("/", "/"), Some("/mnt".into()));
        assert_eq!(dir("/other", "/docker/x"), None);
        assert_eq!(dir("/../b", "/"), None);
        let place = Place::from("/a/b", &mounted("/"), |_, _| true).expect("a place");
        assert_eq!(place.chain().collect::<Vec<_>>(), [Path::new("/mnt/a/b"), Path::new("/mnt/a"), Path::new("/mnt")]);
    }

    #[test]
    fn limits_that_limit_nothing_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("limit");
        for (text, want) in
            [("max\n", None), ("9223372036854771712\n", None), ("1048576\n", Some(1_048_576)), ("", None), ("x", None)]
        {
            fs::write(&file, text).unwrap();
            assert_eq!(number_in(&file), want, "{text:?}");
        }
        assert_eq!(number_in(&dir.path().join("none")), None);
    }

    #[test]
    fn kills_are_counted_by_their_own_key() {
        assert_eq!(value_in("low 0\noom 3\noom_kill 2\noom_group_kill 1\n", "oom_kill"), Some(2));
        assert_eq!(value_in("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n", "oom_kill"), Some(4));
        assert_eq!(value_in("oom_kill_disable 0\n", "oom_kill"), None);
        assert!(system_oom_kills().is_some() || !std::path::Path::new("/proc/vmstat").exists());
    }
}
