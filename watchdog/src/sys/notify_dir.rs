//! Where the sockets of notify channels are: a directory of ours that others can pass through and not look into (0711), so
//! that a worker of another user reaches its own socket there, by a name that is not to be guessed.

use super::channel::{self, PATH_LIMIT, SocketFile};
use super::closer;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::signal::kill;
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{AccessFlags, Pid, faccessat};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Ours to change, for others to pass through.
const MODE: u32 = 0o711;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const PASSABLE_BY_OTHERS: u32 = 0o001;
/// Bytes of a name: a pid, a point, 32 digits.
const NAME_BYTES: usize = 7 + 1 + 32;
/// Names looked at for those that a watchdog left which was killed.
const MAX_STALE: usize = 4096;

/// The directories: one for workers of our own user, one that others reach as well. Each is looked for when it is needed.
#[derive(Debug)]
pub(crate) struct NotifyDir {
    runtime: Option<PathBuf>,
    own: Option<PathBuf>,
    others: Option<PathBuf>,
    /// Those that have not been searched yet for what others have left there.
    untidy: Vec<PathBuf>,
    /// Made for this run alone, and removed with it.
    private: Option<PathBuf>,
    count: u64,
    /// Our own user and number: asked for once.
    user: u32,
    me: u32,
}

impl NotifyDir {
    /// `runtime`: the directory of the control socket, where there is one. `user`: our own.
    pub(crate) fn new(runtime: Option<&Path>, user: u32) -> NotifyDir {
        NotifyDir {
            // A worker may be in another directory than we are.
            runtime: runtime.and_then(|dir| std::path::absolute(dir).ok()),
            own: None,
            others: None,
            untidy: Vec::new(),
            private: None,
            count: 0,
            user,
            me: std::process::id(),
        }
    }

    /// A socket for one worker. `owner`: its user and group, where they are not ours.
    ///
    /// # Errors
    /// No directory can be had; what the kernel says of the socket.
    pub(crate) fn socket(&mut self, owner: Option<(u32, u32)>) -> io::Result<(OwnedFd, SocketFile)> {
        let path = self.path(owner.is_some())?;
        match channel::new_notify_socket(&path, owner) {
            // Something has tidied up.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                (self.own, self.others) = (None, None);
                let path = self.path(owner.is_some())?;
                channel::new_notify_socket(&path, owner)
            }
            done => done,
        }
    }

    /// Whether [`NotifyDir::tidy`] has something to do.
    pub(crate) fn is_untidy(&self) -> bool {
        !self.untidy.is_empty()
    }

    /// Removes what watchdogs have left that were killed. Not needed for a start, so it is done when there is time.
    #[inline(never)]
    pub(crate) fn tidy(&mut self) {
        for dir in std::mem::take(&mut self.untidy) {
            clear(&dir, self.me);
        }
    }

    /// The end: what was made for this run alone goes.
    pub(crate) fn close(&mut self) {
        if let Some(dir) = self.private.take() {
            let _ = fs::remove_dir(dir);
        }
    }

    /// A name that no file has.
    fn path(&mut self, others: bool) -> io::Result<PathBuf> {
        self.count += 1;
        // Only whoever may use the socket could use its name, so a kernel without random bytes is no reason to fail.
        let name = closer::random().unwrap_or_else(|| format!("{:032x}", self.count));
        let name = format!("{}.{name}", self.me);
        if let Some(dir) = if others { &self.others } else { &self.own } {
            return Ok(dir.join(name));
        }
        let dir = self.find(others)?;
        let path = dir.join(name);
        if !self.untidy.contains(&dir) {
            self.untidy.push(dir.clone());
        }
        *(if others { &mut self.others } else { &mut self.own }) = Some(dir);
        Ok(path)
    }

    /// The first that can be had; at last one with a name of its own under /tmp.
    fn find(&mut self, others: bool) -> io::Result<PathBuf> {
        let (uid, prepare) = (self.user, |dir: &Path| prepare(dir, self.user, others));
        let beside = self.runtime.as_ref().and_then(|dir| {
            let mut name = dir.file_name()?.to_owned();
            name.push("-notify");
            Some(dir.with_file_name(name))
        });
        let inside = self.runtime.as_ref().map(|dir| dir.join("notify"));
        let system = (uid == 0).then(|| PathBuf::from("/run/watchdog-notify"));
        let temporary = PathBuf::from(format!("/tmp/watchdog-{uid}-notify"));
        let all = [beside, inside, system, Some(temporary)];
        if let Some(dir) = all.into_iter().flatten().find(|dir| prepare(dir).is_ok()) {
            return Ok(dir);
        }
        let name = closer::random().ok_or(ErrorKind::NotFound)?;
        let dir = PathBuf::from(format!("/tmp/watchdog-{name}"));
        prepare(&dir)?;
        self.private = Some(dir.clone());
        Ok(dir)
    }
}

/// Makes it, or takes it as it is if it is ours alone. A name in a directory of such a length has to fit into an address.
fn prepare(dir: &Path, user: u32, others: bool) -> io::Result<()> {
    if dir.as_os_str().len() + 1 + NAME_BYTES > PATH_LIMIT {
        return Err(ErrorKind::InvalidFilename.into());
    }
    // Opened, so that what is looked at is what is changed. By openat: open of musl sets O_CLOEXEC a second time.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || openat(AT_FDCWD, dir, flags, Mode::empty());
    let opened = match open() {
        Err(Errno::ENOENT) => {
            match DirBuilder::new().mode(MODE).create(dir) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            open()
        }
        opened => opened,
    }?;
    check(&opened, user)?;
    // One that is there already says nothing of a file system that has become read-only.
    faccessat(&opened, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    match others && !dir.ancestors().skip(1).all(passable) {
        true => Err(ErrorKind::PermissionDenied.into()),
        false => Ok(()),
    }
}

fn check(dir: &OwnedFd, user: u32) -> io::Result<()> {
    let meta = fstat(dir)?;
    if meta.st_uid != user || meta.st_mode & WRITABLE_BY_OTHERS != 0 {
        return Err(ErrorKind::PermissionDenied.into());
    }
    // A umask has taken something away, or somebody may look into it.
    if meta.st_mode & 0o777 != MODE {
        fchmod(dir, Mode::from_bits_truncate(MODE))?;
    }
    Ok(())
}

fn passable(dir: &Path) -> bool {
    dir.as_os_str().is_empty() || fs::metadata(dir).is_ok_and(|meta| meta.mode() & PASSABLE_BY_OTHERS != 0)
}

/// Removes what watchdogs have left that were killed: sockets with the pid of a process that is gone (or ours, which is new)
/// at which no process listens.
#[inline(never)]
fn clear(dir: &Path, me: u32) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().take(MAX_STALE) {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.split('.').next()).and_then(|n| n.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| *pid > 0) else { continue };
        let ours = u32::try_from(pid).is_ok_and(|pid| pid == me);
        if ours || kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            let _ = channel::clear_stale(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixDatagram;

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).map_or(0, Iterator::count)
    }

    #[test]
    fn sockets_are_beside_the_runtime_directory_and_go_with_their_value() {
        let home = tempfile::tempdir().unwrap();
        let mut dir = NotifyDir::new(Some(&home.path().join("run")), me());
        let (socket, file) = dir.socket(None).unwrap();
        let place = home.path().join("run-notify");
        assert_eq!(file.path().parent(), Some(place.as_path()));
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o711);
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        UnixDatagram::unbound().unwrap().send_to(b"READY=1", file.path()).unwrap();
        let (_, second) = dir.socket(None).unwrap();
        assert_ne!(second.path(), file.path());
        drop((socket, file, second));
        assert_eq!(names(&place), 0);
    }

    #[test]
    fn what_a_killed_watchdog_left_is_cleared_and_what_others_use_stays() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("run-notify");
        fs::create_dir(&place).unwrap();
        let gone = place.join("4194999.aa");
        drop(UnixDatagram::bind(&gone).unwrap());
        let used = place.join("4194998.bb");
        let _user = UnixDatagram::bind(&used).unwrap();
        let alive = place.join("1.cc");
        drop(UnixDatagram::bind(&alive).unwrap());
        fs::write(place.join("4194997.dd"), "a file").unwrap();
        let mut dir = NotifyDir::new(Some(&home.path().join("run")), me());
        let (_socket, mine) = dir.socket(None).unwrap();
        assert!(dir.is_untidy() && gone.exists(), "not before there is time");
        dir.tidy();
        assert!(!dir.is_untidy() && mine.path().exists());
        assert!(!gone.exists() && used.exists() && alive.exists() && place.join("4194997.dd").exists());
    }

    #[test]
    fn a_directory_of_others_or_with_a_long_name_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("run-notify");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(prepare(&place, me(), false).map_err(|e| e.kind()), Err(ErrorKind::PermissionDenied));
        fs::remove_dir(&place).unwrap();
        std::os::unix::fs::symlink("/tmp", &place).unwrap();
        assert!(prepare(&place, me(), false).is_err(), "a link");
        let long = home.path().join("x".repeat(80));
        assert_eq!(prepare(&long, me(), false).map_err(|e| e.kind()), Err(ErrorKind::InvalidFilename));
        let (_socket, file) = NotifyDir::new(Some(&long), me()).socket(None).unwrap();
        assert!(file.path().as_os_str().len() <= PATH_LIMIT, "somewhere else: {file:?}");
    }

    #[test]
    fn one_that_others_cannot_reach_is_not_for_their_workers() {
        let home = tempfile::tempdir().unwrap();
        let shut = home.path().join("shut");
        fs::create_dir(&shut).unwrap();
        fs::set_permissions(&shut, Permissions::from_mode(0o700)).unwrap();
        let dir = shut.join("notify");
        assert!(prepare(&dir, me(), false).is_ok());
        assert_eq!(prepare(&dir, me(), true).map_err(|e| e.kind()), Err(ErrorKind::PermissionDenied));
    }
}
