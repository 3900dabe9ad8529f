//! Where the sockets of notify channels are: a directory of ours that others can pass through and not look into (0711), so
//! that a worker of another user reaches its own socket there, by a name that is not to be guessed.

use super::channel::{self, PATH_LIMIT, SocketFile};
use super::closer;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::signal::kill;
use nix::unistd::{AccessFlags, Pid, faccessat};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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
#[derive(Debug, Default)]
pub(crate) struct NotifyDir {
    runtime: Option<PathBuf>,
    own: Option<PathBuf>,
    others: Option<PathBuf>,
    /// Made for this run alone, and removed with it.
    private: Option<PathBuf>,
    count: u64,
}

impl NotifyDir {
    /// `runtime`: the directory of the control socket, where there is one.
    pub(crate) fn new(runtime: Option<&Path>) -> NotifyDir {
        // A worker may be in another directory than we are.
        NotifyDir { runtime: runtime.and_then(|dir| std::path::absolute(dir).ok()), ..NotifyDir::default() }
    }

    /// A socket for one worker. `owner`: its user and group, where they are not ours.
    ///
    /// # Errors
    /// No directory can be had; what the kernel says of the socket.
    pub(crate) fn socket(&mut self, owner: Option<(u32, u32)>) -> io::Result<(OwnedFd, SocketFile)> {
        let dir = self.known(owner.is_some())?;
        match channel::notify_socket(&self.path_in(&dir), owner) {
            // Something has tidied up.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                (self.own, self.others) = (None, None);
                let dir = self.known(owner.is_some())?;
                channel::notify_socket(&self.path_in(&dir), owner)
            }
            done => done,
        }
    }

    /// The end: what was made for this run alone goes.
    pub(crate) fn close(&mut self) {
        if let Some(dir) = self.private.take() {
            let _ = fs::remove_dir(dir);
        }
    }

    fn path_in(&mut self, dir: &Path) -> PathBuf {
        self.count += 1;
        // Only whoever may use the socket could use its name, so a kernel without random bytes is no reason to fail.
        let name = closer::random().unwrap_or_else(|| format!("{:032x}", self.count));
        dir.join(format!("{}.{name}", std::process::id()))
    }

    fn known(&mut self, others: bool) -> io::Result<PathBuf> {
        let before = if others { &self.others } else { &self.own };
        if let Some(dir) = before {
            return Ok(dir.clone());
        }
        let dir = self.find(others)?;
        clear(&dir);
        if others {
            self.others = Some(dir.clone());
        } else {
            self.own = Some(dir.clone());
        }
        Ok(dir)
    }

    /// The first that can be had; at last one with a name of its own under /tmp.
    fn find(&mut self, others: bool) -> io::Result<PathBuf> {
        let uid = nix::unistd::geteuid();
        let beside = self.runtime.as_ref().and_then(|dir| {
            let mut name = dir.file_name()?.to_owned();
            name.push("-notify");
            Some(dir.with_file_name(name))
        });
        let inside = self.runtime.as_ref().map(|dir| dir.join("notify"));
        let system = uid.is_root().then(|| PathBuf::from("/run/watchdog-notify"));
        let temporary = PathBuf::from(format!("/tmp/watchdog-{uid}-notify"));
        let all = [beside, inside, system, Some(temporary)];
        if let Some(dir) = all.into_iter().flatten().find(|dir| prepare(dir, others).is_ok()) {
            return Ok(dir);
        }
        let name = closer::random().ok_or(ErrorKind::NotFound)?;
        let dir = PathBuf::from(format!("/tmp/watchdog-{name}"));
        prepare(&dir, others)?;
        self.private = Some(dir.clone());
        Ok(dir)
    }
}

/// Makes it, or takes it as it is if it is ours alone. A name in a directory of such a length has to fit into an address.
fn prepare(dir: &Path, others: bool) -> io::Result<()> {
    if dir.as_os_str().len() + 1 + NAME_BYTES > PATH_LIMIT {
        return Err(ErrorKind::InvalidFilename.into());
    }
    match DirBuilder::new().mode(MODE).create(dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // Opened, so that what is looked at is what is changed.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(dir)?;
    check(&opened)?;
    // One that is there already says nothing of a file system that has become read-only.
    faccessat(&opened, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    match others && !dir.ancestors().skip(1).all(passable) {
        true => Err(ErrorKind::PermissionDenied.into()),
        false => Ok(()),
    }
}

fn check(dir: &File) -> io::Result<()> {
    let meta = dir.metadata()?;
    if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(ErrorKind::PermissionDenied.into());
    }
    // A umask has taken something away, or somebody may look into it.
    if meta.mode() & 0o777 != MODE {
        dir.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(())
}

fn passable(dir: &Path) -> bool {
    dir.as_os_str().is_empty() || fs::metadata(dir).is_ok_and(|meta| meta.mode() & PASSABLE_BY_OTHERS != 0)
}

/// Removes what watchdogs have left that were killed: sockets with the pid of a process that is gone (or ours, which is new)
/// at which no process listens.
fn clear(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().take(MAX_STALE) {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.split('.').next()).and_then(|n| n.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| *pid > 0) else { continue };
        let ours = u32::try_from(pid).is_ok_and(|pid| pid == std::process::id());
        if ours || kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            let _ = channel::clear_stale(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).map_or(0, Iterator::count)
    }

    #[test]
    fn sockets_are_beside_the_runtime_directory_and_go_with_their_value() {
        let home = tempfile::tempdir().unwrap();
        let mut dir = NotifyDir::new(Some(&home.path().join("run")));
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
        let _socket = NotifyDir::new(Some(&home.path().join("run"))).socket(None).unwrap();
        assert!(!gone.exists() && used.exists() && alive.exists() && place.join("4194997.dd").exists());
    }

    #[test]
    fn a_directory_of_others_or_with_a_long_name_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("run-notify");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(prepare(&place, false).map_err(|e| e.kind()), Err(ErrorKind::PermissionDenied));
        fs::remove_dir(&place).unwrap();
        std::os::unix::fs::symlink("/tmp", &place).unwrap();
        assert!(prepare(&place, false).is_err(), "a link");
        let long = home.path().join("x".repeat(80));
        assert_eq!(prepare(&long, false).map_err(|e| e.kind()), Err(ErrorKind::InvalidFilename));
        let (_socket, file) = NotifyDir::new(Some(&long)).socket(None).unwrap();
        assert!(file.path().as_os_str().len() <= PATH_LIMIT, "somewhere else: {file:?}");
    }

    #[test]
    fn one_that_others_cannot_reach_is_not_for_their_workers() {
        let home = tempfile::tempdir().unwrap();
        let shut = home.path().join("shut");
        fs::create_dir(&shut).unwrap();
        fs::set_permissions(&shut, Permissions::from_mode(0o700)).unwrap();
        let dir = shut.join("notify");
        assert!(prepare(&dir, false).is_ok());
        assert_eq!(prepare(&dir, true).map_err(|e| e.kind()), Err(ErrorKind::PermissionDenied));
    }
}
