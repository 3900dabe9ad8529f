//! Files that are looked at for changes (inotify(7)). Their directories are watched, because an editor that saves puts a
//! new file in the place of the old one.

use super::SysError;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

/// Reads of what the kernel has queued, each of some hundred events, in one call: others may write to a watched directory as
/// often as they like.
const READS_MAX: usize = 64;

/// The watched files.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    files: BTreeSet<PathBuf>,
    dirs: BTreeMap<WatchDescriptorKey, Names>,
    known: BTreeMap<PathBuf, WatchDescriptor>,
}

/// What is minded in one directory.
#[derive(Debug, Default)]
struct Names {
    /// The files.
    files: BTreeSet<OsString>,
    /// Directories on the way to others, that are not there yet.
    awaited: BTreeSet<OsString>,
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
        Ok(Watch { inotify, files: BTreeSet::new(), dirs: BTreeMap::new(), known: BTreeMap::new() })
    }

    /// For the loop's poll.
    pub(crate) fn fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }

    /// One more file. It need not be there yet, nor its directory: then the nearest one above that is there is watched, until the
    /// way to the file is.
    ///
    /// # Errors
    /// Its directory cannot be watched.
    pub(crate) fn add(&mut self, file: &Path) -> Result<(), SysError> {
        self.files.insert(file.to_owned());
        self.arm(file)
    }

    fn arm(&mut self, file: &Path) -> Result<(), SysError> {
        let Some(mut name) = file.file_name() else { return Ok(()) };
        let mut above = file.ancestors().skip(1);
        let mut is_file = true;
        loop {
            let dir = above.next().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            match self.descriptor(dir) {
                Ok(descriptor) => {
                    let names = self.dirs.entry(key(descriptor)).or_default();
                    if is_file { &mut names.files } else { &mut names.awaited }.insert(name.to_os_string());
                    return Ok(());
                }
                Err(SysError { errno: Errno::ENOENT | Errno::ENOTDIR, .. }) if has_one_above(dir) => {
                    (name, is_file) = (dir.file_name().unwrap_or_default(), false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn descriptor(&mut self, dir: &Path) -> Result<WatchDescriptor, SysError> {
        if let Some(descriptor) = self.known.get(dir) {
            return Ok(*descriptor);
        }
        let files = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        let ways = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        let added = self.inotify.add_watch(dir, files | ways | AddWatchFlags::IN_ONLYDIR);
        let added = added.map_err(|errno| SysError { call: "inotify_add_watch", errno })?;
        self.known.insert(dir.to_owned(), added);
        Ok(added)
    }

    /// Whether one of the files has changed since the last call. A directory on the way to one that has come or gone is followed.
    pub(crate) fn changed(&mut self) -> bool {
        let (mut changed, mut ways) = (false, false);
        let mut reads = 0;
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                // A lost event may have been one of ours.
                changed |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
                let Some(names) = self.dirs.get(&key(event.wd)) else { continue };
                ways |= event.mask.intersects(gone);
                let Some(name) = event.name.as_ref() else { continue };
                // Made, but nothing is in it yet.
                changed |= names.files.contains(name) && !event.mask.contains(AddWatchFlags::IN_CREATE);
                ways |= names.awaited.contains(name);
            }
            reads += 1;
            if reads == READS_MAX {
                changed = true;
                break;
            }
        }
        changed | (ways && self.follow())
    }

    /// Looks for the ways to all files anew. True when there is a file at the end of one that was not watched before.
    fn follow(&mut self) -> bool {
        let before = std::mem::take(&mut self.known);
        self.dirs.clear();
        let mut found = false;
        for file in self.files.clone() {
            // Where it cannot be watched any more there is nothing to be seen of it.
            let _ = self.arm(&file);
            let dir = file.parent().unwrap_or(Path::new("."));
            let fresh = self.known.get(dir).is_some_and(|now| before.get(dir) != Some(now));
            found |= fresh && file.exists();
        }
        let kept: BTreeSet<WatchDescriptorKey> = self.known.values().map(|descriptor| key(*descriptor)).collect();
        for old in before.into_values().filter(|old| !kept.contains(&key(*old))) {
            let _ = self.inotify.rm_watch(old);
        }
        found
    }
}

/// Whether there is a directory above this one to look at instead.
fn has_one_above(dir: &Path) -> bool {
    dir != Path::new(".") && dir.file_name().is_some()
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
    }

    #[test]
    fn a_directory_that_comes_goes_and_comes_again_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut watch = Watch::open().unwrap();
        watch.add(&at("deep/er/env")).unwrap();
        watch.add(&at("near")).unwrap();
        for _ in 0..2 {
            assert!(!watch.changed());
            std::fs::create_dir(at("deep")).unwrap();
            std::fs::create_dir(at("deep/other")).unwrap();
            assert!(!watch.changed());
            std::fs::create_dir(at("deep/er")).unwrap();
            assert!(!watch.changed());
            std::fs::write(at("deep/er/env"), "A=1").unwrap();
            assert!(watch.changed());
            std::fs::write(at("near"), "A=1").unwrap();
            assert!(watch.changed(), "the others stay watched");
            std::fs::remove_dir_all(at("deep")).unwrap();
            assert!(watch.changed());
        }
        // All of it before we look.
        std::fs::create_dir_all(at("deep/er")).unwrap();
        std::fs::write(at("deep/er/env"), "A=2").unwrap();
        assert!(watch.changed());
        std::fs::write(at("deep/er/env"), "A=3").unwrap();
        assert!(watch.changed() && !watch.changed());
    }
}
