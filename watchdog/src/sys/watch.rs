//! Files that are looked at for changes (inotify(7)). Their directories are watched, because an editor that saves puts a
//! new file in the place of the old one.

use super::SysError;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

/// The watched files.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    dirs: BTreeMap<WatchDescriptorKey, BTreeSet<OsString>>,
    known: BTreeMap<PathBuf, WatchDescriptor>,
}

/// A watch descriptor, ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WatchDescriptorKey(u64);

fn key(descriptor: WatchDescriptor) -> WatchDescriptorKey {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    descriptor.hash(&mut hasher);
    WatchDescriptorKey(hasher.finish())
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// EMFILE, or the user has too many of them (max_user_instances).
    pub(crate) fn open() -> Result<Watch, SysError> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).map_err(|errno| SysError { call: "inotify_init", errno })?;
        Ok(Watch { inotify, dirs: BTreeMap::new(), known: BTreeMap::new() })
    }

    /// For the loop's poll.
    pub(crate) fn fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }

    /// One more file; it need not be there yet, its directory must.
    ///
    /// # Errors
    /// The directory is not there, or cannot be watched.
    pub(crate) fn add(&mut self, file: &Path) -> Result<(), SysError> {
        let dir = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Some(name) = file.file_name() else { return Ok(()) };
        let descriptor = match self.known.get(dir) {
            Some(descriptor) => *descriptor,
            None => {
                let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
                let added = self.inotify.add_watch(dir, events | AddWatchFlags::IN_ONLYDIR);
                let added = added.map_err(|errno| SysError { call: "inotify_add_watch", errno })?;
                self.known.insert(dir.to_owned(), added);
                added
            }
        };
        self.dirs.entry(key(descriptor)).or_default().insert(name.to_os_string());
        Ok(())
    }

    /// Whether one of the files has changed since the last call.
    pub(crate) fn changed(&self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                // A lost event may have been one of ours.
                let lost = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                let ours = || {
                    event.name.as_ref().is_some_and(|n| self.dirs.get(&key(event.wd)).is_some_and(|d| d.contains(n)))
                };
                changed |= lost || ours();
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_removed_has_changed_and_its_neighbour_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "A=1").unwrap();
        let mut watch = Watch::open().unwrap();
        watch.add(&file).unwrap();
        assert!(!watch.changed());
        std::fs::write(dir.path().join("other"), "x").unwrap();
        assert!(!watch.changed());
        std::fs::write(&file, "A=2").unwrap();
        assert!(watch.changed());
        std::fs::write(dir.path().join("new"), "A=3").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        assert!(watch.changed());
        std::fs::remove_file(&file).unwrap();
        assert!(watch.changed() && !watch.changed());
        assert!(watch.add(Path::new("/none/of/this/is/there")).is_err());
    }
}
