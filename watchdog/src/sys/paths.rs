//! Files whose directories others may control: a log in the home of a service's user, a token below /tmp. The one place that
//! opens them.
//!
//! A path is followed to the directory of its last name, and that directory is held: what is done afterwards is done relative
//! to it, so that nothing can be exchanged in between. Most paths have no link, and one openat2(2) that follows none finds
//! the directory; where there is a link, or a kernel or filter without that call, each name is opened by itself. A link is
//! followed where root or we made it in a directory that only root and we may write to, and nowhere else. In a directory that
//! others may write to as well only files of root or us are opened, and none with a second name: whatever others do there, they
//! can do no more than they could without us.
//!
//! No open waits: a FIFO is seen as what it is, a device that is not ready does not hold us up.

use super::proc;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, getegid, geteuid, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// Links that one path may lead through, as in the kernel (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Names of one path, links put in.
const NAMES_MAX: usize = 4096;
/// What a user is shown as that has no number in our namespace (user_namespaces(7)).
const UNMAPPED: u32 = 65534;
/// Bytes read of the list of numbers of our namespace.
const MAP_MAX: u64 = 16 * 1024;
/// Directories that are made for log files: readable, so that what collects logs finds them; the files are 0640.
const MADE: Mode = Mode::from_bits_truncate(0o755);
/// Made for us alone.
const PRIVATE: Mode = Mode::from_bits_truncate(0o700);

const TYPE: u32 = libc::S_IFMT;
const STICKY: u32 = libc::S_ISVTX;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ALL: u32 = 0o002;

/// What a link in the place of the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Refused, also one of our own.
    NoLink,
    /// Followed under the rule of this file.
    Link,
}

/// What the directory of the file must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Of root or us. Where others may write to it, only files of root and us in it are opened.
    Ours,
    /// The same, and made where it is missing (0755, of the watchdog's user).
    Made,
    /// The same, and made for us alone (0700).
    MadePrivate,
    /// Anybody's: what is read there concerns them alone.
    Anybodys,
}

impl Home {
    /// The mode of directories that are made. `None`: none are.
    fn made(self) -> Option<Mode> {
        match self {
            Home::Made => Some(MADE),
            Home::MadePrivate => Some(PRIVATE),
            Home::Ours | Home::Anybodys => None,
        }
    }
}

/// A directory that is held, and a name in it.
#[derive(Debug)]
pub(crate) struct Place {
    dir: OwnedFd,
    name: OsString,
    /// Others may put their files here: then a file must be ours or root's.
    shared: bool,
    /// Directories that were made, the outermost first.
    made: Made,
}

/// What a start has made, to be taken away when it is refused.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<(OwnedFd, OsString, bool)>);

impl Made {
    /// Takes it away again, the innermost first: directories as far as they are empty, files that nothing was written to.
    pub(crate) fn undo(self) {
        for (dir, name, is_dir) in self.0.into_iter().rev() {
            let empty = fstatat(&dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|s| s.st_size == 0);
            let flag = if is_dir { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
            if is_dir || empty {
                let _ = unlinkat(&dir, name.as_os_str(), flag);
            }
        }
    }

    /// What another one has made as well.
    pub(crate) fn append(&mut self, mut other: Made) {
        self.0.append(&mut other.0);
    }
}

impl Place {
    /// Follows a path to the directory of its last name.
    ///
    /// # Errors
    /// The kernel's, or the rule that refuses a link or a directory, as a sentence without the path.
    pub(crate) fn find(path: &Path, home: Home, last: Last) -> io::Result<Place> {
        let (dir, name, made) = match at_once(path, last) {
            Some((dir, name)) => (dir, name, Made::default()),
            None => walk(path, home.made(), last)?,
        };
        let shared = match (home, hold_of(&fstat(&dir)?)) {
            (Home::Ours | Home::Made | Home::MadePrivate, hold) => hold? == Hold::Shared,
            (Home::Anybodys, hold) => hold.map_or(true, |hold| hold == Hold::Shared),
        };
        Ok(Place { dir, name, shared, made })
    }

    /// The last name.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// The same directory, and the name with something behind it.
    ///
    /// # Errors
    /// No descriptor for it.
    pub(crate) fn sibling(&self, suffix: &str) -> io::Result<Place> {
        let dir = self.dir.try_clone()?;
        Ok(Place { dir, name: self.beside(suffix), shared: self.shared, made: Made::default() })
    }

    /// The name with something behind it.
    pub(crate) fn beside(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }

    /// Opens for appending, or makes it with this mode.
    ///
    /// # Errors
    /// The kernel's; a link, a FIFO, a socket; in a directory that others may write to also a file that is not ours.
    pub(crate) fn append(&mut self, mode: u32) -> io::Result<File> {
        self.open_or_make(OFlag::O_WRONLY | OFlag::O_APPEND, mode)
    }

    /// Opens for writing from the beginning, with what is there cut off, or makes it with this mode.
    ///
    /// # Errors
    /// As [`Place::append`].
    pub(crate) fn overwrite(&mut self, mode: u32) -> io::Result<File> {
        let file = self.open_or_make(OFlag::O_WRONLY, mode)?;
        // After the look at what it is, not with the open. A device has no end.
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Ok(file)
    }

    /// Opens the file, or another one beside it, for reading.
    ///
    /// # Errors
    /// As [`Place::append`]; what belongs to somebody else can be read only where [`Home::Anybodys`] was asked for.
    pub(crate) fn read(&self, name: &OsStr) -> io::Result<File> {
        let file = openat(&self.dir, name, quiet(OFlag::O_RDONLY), Mode::empty()).map_err(told)?;
        let file = File::from(file);
        self.checked(file, true)
    }

    /// Looks whether the file could be opened for writing, and opens and makes nothing that has an effect.
    ///
    /// # Errors
    /// As [`Place::append`]. A file that is not there is none; nor is one that is no file: whoever opens it finds that out.
    pub(crate) fn could_be_written(&self) -> io::Result<()> {
        match fstatat(&self.dir, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
            Ok(facts) if facts.st_mode & TYPE == libc::S_IFLNK => Err(a_link()),
            Ok(facts) => self.of_whom(facts.st_uid, names_of(&facts), false),
        }
    }

    /// A file beside it that was not there before, for us alone but for the bits of `mode`.
    ///
    /// # Errors
    /// EEXIST, and whatever else the kernel says.
    pub(crate) fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = quiet(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL);
        Ok(File::from(openat(&self.dir, name, flags, Mode::from_bits_truncate(mode))?))
    }

    /// Puts a text in the place of the file, all of it or nothing, whatever happens meanwhile. `durable`: on the disk before
    /// that. The half-made one has `.new` behind its name.
    ///
    /// # Errors
    /// The kernel's; the old file stays.
    pub(crate) fn replace(&self, text: &[u8], mode: u32, durable: bool) -> io::Result<()> {
        let new = self.beside(".new");
        let _ = self.remove(&new);
        let mut file = self.create(&new, mode)?;
        file.write_all(text)?;
        if durable {
            file.sync_all()?;
        }
        let done = self.rename(&new, &self.name);
        done.inspect_err(|_| drop(self.remove(&new)))
    }

    /// Moves one name to another, both beside the file.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.dir, from, &self.dir, to)?)
    }

    /// Removes a name beside the file.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// What is at a name beside the file; of a link, the link.
    pub(crate) fn facts(&self, name: &OsStr) -> Option<FileStat> {
        fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
    }

    /// Whether the name leads to this file.
    pub(crate) fn leads_to(&self, file: &File) -> bool {
        match (self.facts(&self.name), file.metadata()) {
            (Some(there), Ok(ours)) => (there.st_dev, there.st_ino) == (ours.dev(), ours.ino()),
            _ => false,
        }
    }

    /// What was made for it so far.
    pub(crate) fn take_made(&mut self) -> Made {
        std::mem::take(&mut self.made)
    }

    fn open_or_make(&mut self, flags: OFlag, mode: u32) -> io::Result<File> {
        // What is there is opened and what is not is made, never both in one call: the kernel may refuse to "make" a file of
        // somebody else that is there (fs.protected_regular), and a link is never made through.
        for _ in 0..2 {
            match openat(&self.dir, self.name.as_os_str(), quiet(flags), Mode::empty()) {
                Ok(file) => return self.checked(File::from(file), false),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(told(errno)),
            }
            let new = quiet(flags | OFlag::O_CREAT | OFlag::O_EXCL);
            match openat(&self.dir, self.name.as_os_str(), new, Mode::from_bits_truncate(mode)) {
                Ok(file) => {
                    self.made.0.push((self.dir.try_clone()?, self.name.clone(), false));
                    return Ok(File::from(file));
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(told(errno)),
            }
        }
        Err(Errno::EEXIST.into())
    }

    fn checked(&self, file: File, only_read: bool) -> io::Result<File> {
        let facts = file.metadata()?;
        let kind = facts.file_type();
        if kind.is_dir() {
            return Err(Errno::EISDIR.into());
        }
        if kind.is_fifo() {
            return Err(io::Error::other("is a FIFO, not a file"));
        }
        if !kind.is_file() && !kind.is_char_device() {
            return Err(io::Error::other("is not a file"));
        }
        self.of_whom(facts.uid(), facts.nlink(), only_read)?;
        Ok(file)
    }

    /// In a directory that others may write to: whose file it may be.
    fn of_whom(&self, uid: u32, names: u64, only_read: bool) -> io::Result<()> {
        let ours = is_trusted(uid);
        if self.shared && !ours && !only_read {
            return Err(io::Error::other(format!("belongs to user {uid}, in a directory that others may write to")));
        }
        // A second name of a file of ours, put there by others: of what they may not open themselves.
        if self.shared && ours && names > 1 {
            return Err(io::Error::other("has a second name (a hard link), in a directory that others may write to"));
        }
        Ok(())
    }
}

/// A directory for us alone: made (0700) where it is missing, with those above it. `Ok(None)`: missing, and not to be made.
///
/// # Errors
/// Somebody else's, writable by others, a link, none at all, or what the kernel says.
pub(crate) fn private_dir(path: &Path, make: bool) -> io::Result<Option<PrivateDir>> {
    let at = match Place::find(path, if make { Home::MadePrivate } else { Home::Anybodys }, Last::NoLink) {
        // Whoever owns the directory above may take this one away; what is in it they can not touch.
        Err(e) if make && e.raw_os_error().is_none() => Place::find(path, Home::Anybodys, Last::NoLink).map_err(|_| e),
        Err(e) if !make && e.kind() == ErrorKind::NotFound => return Ok(None),
        found => found,
    }?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || openat(&at.dir, at.name.as_os_str(), flags, Mode::empty());
    let dir = match open() {
        Err(Errno::ENOENT) if !make => return Ok(None),
        Err(Errno::ENOENT) => {
            mkdirat(&at.dir, at.name.as_os_str(), PRIVATE)
                .or_else(|e| if e == Errno::EEXIST { Ok(()) } else { Err(e) })?;
            open()
        }
        found => found,
    };
    let dir = dir.map_err(|errno| {
        let no_dir = errno == Errno::ENOTDIR || errno == Errno::ELOOP;
        if no_dir { io::Error::other("is no directory (links are not followed)") } else { errno.into() }
    })?;
    let (facts, me) = (fstat(&dir)?, geteuid().as_raw());
    if facts.st_uid != me {
        return Err(io::Error::other(format!("belongs to user {}, not to us ({me})", facts.st_uid)));
    }
    if facts.st_mode & (WRITABLE_BY_ALL | WRITABLE_BY_GROUP) != 0 {
        let mode = facts.st_mode & 0o777;
        return Err(io::Error::other(format!("is open to others, who may write to it (mode {mode:o}): chmod 700 it")));
    }
    let inside = Place { dir, name: OsString::new(), shared: false, made: Made::default() };
    Ok(Some(PrivateDir { inside, path: path.to_owned() }))
}

/// A directory that only we may write to, held.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    /// For what is done with names in it.
    pub(crate) inside: Place,
    path: PathBuf,
}

impl PrivateDir {
    /// The file of this name in it.
    pub(crate) fn place(self, name: &OsStr) -> Place {
        Place { name: name.to_owned(), ..self.inside }
    }

    /// The names in it, so many at most. Read by its path: whoever exchanges a directory above gets names of another one read,
    /// which are then not found here.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn names(&self, most: usize) -> io::Result<Vec<OsString>> {
        Ok(std::fs::read_dir(&self.path)?.flatten().take(most).map(|entry| entry.file_name()).collect())
    }
}

/// What is read: flags that never wait, never follow a link at the end, and never take a terminal.
fn quiet(flags: OFlag) -> OFlag {
    flags | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY
}

fn told(errno: Errno) -> io::Error {
    if errno == Errno::ELOOP {
        return a_link();
    }
    if errno == Errno::ENXIO {
        return io::Error::other("is a FIFO, not a file");
    }
    errno.into()
}

/// How many names a file has.
#[allow(clippy::unnecessary_cast, reason = "a u32 on other machines")]
fn names_of(facts: &FileStat) -> u64 {
    facts.st_nlink as u64
}

fn a_link() -> io::Error {
    io::Error::other("is a symbolic link, which is not followed")
}

/// Who may change what is in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Root and we.
    Private,
    /// Others too, because root or we gave it to all (/tmp, a volume of a container) or to a group.
    Shared,
}

/// # Errors
/// Whose it is, where it is another user's.
fn hold_of(facts: &FileStat) -> io::Result<Hold> {
    let (uid, mode) = (facts.st_uid, facts.st_mode);
    if !is_trusted(uid) {
        let why = format!("its directory belongs to user {uid}, not to root or to us: name another one");
        return Err(io::Error::other(why));
    }
    let by_group = mode & WRITABLE_BY_GROUP != 0 && !is_our_group(facts.st_gid);
    Ok(if mode & WRITABLE_BY_ALL != 0 || by_group { Hold::Shared } else { Hold::Private })
}

/// Root, we, or a user outside of our namespace, who has made what was there before us.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw() || (uid == UNMAPPED && !is_mapped(uid))
}

/// A group that is root's, or of a user alone.
fn is_our_group(gid: u32) -> bool {
    gid == 0 || (!geteuid().is_root() && gid == getegid().as_raw())
}

/// Whether a user with this number can be in our namespace. Where it is not known, it can.
fn is_mapped(uid: u32) -> bool {
    let Some(map) = proc::text("/proc/self/uid_map", MAP_MAX) else { return true };
    let covers = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|n| n.parse::<u64>().ok());
        let (Some(Some(first)), Some(Some(count))) = (numbers.next(), numbers.nth(1)) else { return true };
        (first..first.saturating_add(count)).contains(&u64::from(uid))
    };
    map.lines().any(covers)
}

/// The directory and the last name of a path without links, by one call. `None`: there is a link, or it cannot be had this way.
fn at_once(path: &Path, last: Last) -> Option<(OwnedFd, OsString)> {
    let name = path.file_name()?.to_os_string();
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let dir = openat2(AT_FDCWD, parent, how).ok()?;
    let is_link = || {
        let facts = fstatat(&dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        facts.is_ok_and(|facts| facts.st_mode & TYPE == libc::S_IFLNK)
    };
    let to_follow = last == Last::Link && is_link();
    (!to_follow).then_some((dir, name))
}

/// The same name by name, with the links that may be followed. `make`: directories that are missing are made with this mode.
fn walk(path: &Path, make: Option<Mode>, last: Last) -> io::Result<(OwnedFd, OsString, Made)> {
    let mut walk = Walk { dir: start(path)?, rest: names(path), links: 0, made: Made::default() };
    loop {
        let Some(name) = walk.rest.pop() else { return Err(Errno::EISDIR.into()) };
        let is_last = walk.rest.is_empty();
        if is_last && name == ".." {
            return Err(Errno::EISDIR.into());
        }
        let facts = fstatat(&walk.dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        let is_link = facts.is_ok_and(|facts| facts.st_mode & TYPE == libc::S_IFLNK);
        if is_last && !(is_link && last == Last::Link) {
            return Ok((walk.dir, name, walk.made));
        }
        match (facts, make) {
            (Ok(facts), _) if is_link => walk.follow(&name, facts.st_uid)?,
            (Err(Errno::ENOENT), Some(mode)) => walk.make(&name, mode)?,
            (Ok(_) | Err(_), _) => walk.enter(&name)?,
        }
    }
}

struct Walk {
    dir: OwnedFd,
    /// The last one first.
    rest: Vec<OsString>,
    links: usize,
    made: Made,
}

impl Walk {
    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        self.dir = openat(&self.dir, name, flags, Mode::empty())?;
        Ok(())
    }

    fn make(&mut self, name: &OsStr, mode: Mode) -> io::Result<()> {
        hold_of(&fstat(&self.dir)?)?;
        match mkdirat(&self.dir, name, mode) {
            Ok(()) => self.made.0.push((self.dir.try_clone()?, name.to_os_string(), true)),
            // Another watchdog was as quick.
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.enter(name)
    }

    #[inline(never)]
    fn follow(&mut self, name: &OsStr, uid: u32) -> io::Result<()> {
        let refused = |why: &str| {
            let why = format!("{} is a symbolic link {why}, which is not followed", name.display());
            Err(io::Error::other(why))
        };
        if !is_trusted(uid) {
            return refused(&format!("of user {uid}"));
        }
        if !hold_of(&fstat(&self.dir)?).is_ok_and(|hold| hold == Hold::Private) {
            return refused("in a directory that others may write to");
        }
        self.links += 1;
        let target = PathBuf::from(readlinkat(&self.dir, name)?);
        if self.links > LINKS_MAX || self.rest.len() > NAMES_MAX {
            return Err(Errno::ELOOP.into());
        }
        if target.is_absolute() {
            self.dir = start(&target)?;
        }
        self.rest.extend(names(&target));
        Ok(())
    }
}

/// Where a path begins.
fn start(path: &Path) -> io::Result<OwnedFd> {
    let begin = if path.is_absolute() { "/" } else { "." };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat(AT_FDCWD, begin, flags, Mode::empty())?)
}

/// The names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut all: Vec<OsString> = parts.take(NAMES_MAX).collect();
    all.reverse();
    all
}

/// What a path leads to, however it is spelt: a name in a directory, and the file that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    directory: (u64, u64),
    /// The last name first; before it directories that are not there yet.
    names: Vec<OsString>,
    file: Option<(u64, u64)>,
}

impl Identity {
    /// Follows the path, links and all: nothing is opened. Where it leads nowhere it is known by its spelling.
    #[must_use]
    pub fn of(path: &Path) -> Identity {
        let nowhere = || Identity { directory: (0, 0), names: vec![path.as_os_str().to_os_string()], file: None };
        Identity::follow(path).unwrap_or_else(nowhere)
    }

    fn follow(path: &Path) -> Option<Identity> {
        let id = |facts: std::fs::Metadata| (facts.dev(), facts.ino());
        let file = std::fs::metadata(path).ok().filter(|facts| facts.is_file()).map(id);
        let mut names = vec![path.file_name()?.to_os_string()];
        let mut parent = path.parent()?;
        loop {
            let dir = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match std::fs::metadata(dir) {
                Ok(facts) => return Some(Identity { directory: id(facts), names, file }),
                Err(e) if e.kind() == ErrorKind::NotFound && names.len() < NAMES_MAX => {
                    names.push(parent.file_name()?.to_os_string());
                    parent = parent.parent()?;
                }
                Err(_) => return None,
            }
        }
    }

    /// The name and the directory alone, whatever is there.
    #[must_use]
    pub fn place(&self) -> Identity {
        Identity { file: None, ..self.clone() }
    }

    /// Another name in the same directory.
    #[must_use]
    pub fn beside(&self, name: &str) -> Identity {
        let mut other = self.place();
        if let Some(last) = other.names.first_mut() {
            *last = name.into();
        }
        other
    }

    /// The last name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.names.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Device and inode of the file, where it is there.
    #[must_use]
    pub fn file(&self) -> Option<(u64, u64)> {
        self.file
    }
}

/// Opens a file of any user's for reading, where only its beginning is looked at: a program. Links lead on; what is no file is
/// known before it is opened.
///
/// # Errors
/// The kernel's, or that it is not a file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let held = openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    if fstat(&held)?.st_mode & TYPE != libc::S_IFREG {
        return Err(io::Error::other("is not a file"));
    }
    let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    Ok(File::from(openat(AT_FDCWD, itself.as_str(), flags, Mode::empty())?))
}

/// Opens a file of somebody's for reading: a list of variables in the home of a service's user. Never a FIFO, and through no
/// link that they made: what it leads to is perhaps not theirs to read.
///
/// # Errors
/// As a sentence without the path.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let place = Place::find(path, Home::Anybodys, Last::Link)?;
    place.read(place.name())
}

/// Who but root and we may change this file: everybody, or the user who owns it or its directory. `None`: nobody, or it can
/// not be seen.
#[must_use]
pub fn changed_by(path: &Path) -> Option<String> {
    let place = Place::find(path, Home::Anybodys, Last::Link).ok()?;
    let (facts, dir) = (place.facts(place.name())?, fstat(&place.dir).ok()?);
    let mode = facts.st_mode & 0o777;
    if facts.st_mode & TYPE != libc::S_IFREG {
        return None;
    }
    if mode & WRITABLE_BY_ALL != 0 {
        return Some(format!("everybody may write to it (mode {mode:o})"));
    }
    for (what, facts) in [("it", &facts), ("its directory", &dir)] {
        if !is_trusted(facts.st_uid) {
            return Some(format!("{what} belongs to user {}", facts.st_uid));
        }
        if facts.st_mode & WRITABLE_BY_GROUP != 0 && !is_our_group(facts.st_gid) && facts.st_mode & STICKY == 0 {
            return Some(format!("group {} may write to {what} (mode {:o})", facts.st_gid, facts.st_mode & 0o777));
        }
    }
    let open = dir.st_mode & WRITABLE_BY_ALL != 0 && dir.st_mode & STICKY == 0;
    open.then(|| format!("everybody may write to its directory (mode {:o})", dir.st_mode & 0o777))
}

#[cfg(test)]
mod tests;
