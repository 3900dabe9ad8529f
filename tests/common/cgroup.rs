//! A cgroup of one test's own, where this machine lets us make one.

use super::Run;
use std::path::PathBuf;

/// Removed when it is dropped.
pub struct Group(PathBuf);

impl Group {
    /// A group with this controller: of version 1, else of version 2. Says that the test is skipped where neither can
    /// be made: that is a property of the machine and of no right that CI could be given.
    pub fn new(controller: &str) -> Option<Group> {
        let name = format!("watchdog-test-{}-{controller}", std::process::id());
        let roots = [PathBuf::from("/sys/fs/cgroup").join(controller), PathBuf::from("/sys/fs/cgroup")];
        for root in roots {
            let path = root.join(&name);
            let has = |path: &PathBuf| {
                let files = std::fs::read_dir(path).into_iter().flatten().flatten();
                files.filter(|f| f.file_name().to_string_lossy().starts_with(&format!("{controller}."))).count() > 2
            };
            if std::fs::create_dir(&path).is_ok() {
                if has(&path) {
                    return Some(Group(path));
                }
                let _ = std::fs::remove_dir(&path);
            }
        }
        println!("SKIPPED: no cgroup with the {controller} controller can be made here");
        None
    }

    /// A group of version 2 that belongs to this user, as a service manager would delegate it.
    pub fn delegated(uid: u32) -> Option<Group> {
        let name = format!("watchdog-test-{}-delegated", std::process::id());
        for root in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            let path = PathBuf::from(root).join(&name);
            let of_version_2 = PathBuf::from(root).join("cgroup.procs").exists();
            if of_version_2 && std::fs::create_dir(&path).is_ok() {
                let own = |p: PathBuf| std::os::unix::fs::chown(p, Some(uid), Some(uid)).is_ok();
                if own(path.clone()) && own(path.join("cgroup.procs")) {
                    return Some(Group(path));
                }
                let _ = std::fs::remove_dir(&path);
            }
        }
        println!("SKIPPED: no cgroup of version 2 can be made here");
        None
    }

    /// A run inside, as this user.
    pub fn inside_as(&self, uid: u32, run: Run) -> Run {
        let procs = self.0.join("cgroup.procs");
        let become_user = format!("setpriv --reuid={uid} --regid={uid} --clear-groups");
        let line = format!("echo $$ > '{}' && exec {become_user} \"$@\"", procs.display());
        run.under(["sh", "-c", &line, "sh"])
    }

    /// How many groups there are in it.
    pub fn groups(&self) -> usize {
        std::fs::read_dir(&self.0).into_iter().flatten().flatten().filter(|f| f.path().is_dir()).count()
    }

    /// Writes a value into the first of these files that there is.
    pub fn set(&self, names: &[&str], value: &str) {
        let path = names.iter().map(|n| self.0.join(n)).find(|p| p.exists()).unwrap();
        std::fs::write(path, value).unwrap();
    }

    /// A run whose watchdog enters the group before it begins.
    pub fn inside(&self, run: Run) -> Run {
        let line = format!("echo $$ > '{}' && exec \"$@\"", self.0.join("cgroup.procs").display());
        run.under(["sh", "-c", &line, "sh"])
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // processes that were killed leave it a moment later
        super::within(std::time::Duration::from_secs(2), || std::fs::remove_dir(&self.0).is_ok());
    }
}
