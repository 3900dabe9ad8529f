//! Units where systemd looks for them: written whole or not at all, and never over or away from somebody else's.

use super::{MARK, REFUSED, Refused, refuse};
use crate::settings::{World, reason};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where units are, and whose manager is told.
pub(super) struct Place {
    folder: PathBuf,
    user: bool,
    /// A system that does not run: nobody is told, and links are made by hand.
    image: bool,
}

/// A unit that was there before.
pub(super) enum Before {
    Nothing,
    /// Ours, with this text.
    Ours(Vec<u8>),
    /// Somebody else's.
    Theirs,
}

impl Place {
    /// For one user, for the system, or for a system below `root`.
    pub(super) fn of(user: bool, root: Option<&Path>, world: &World) -> Result<Place, Refused> {
        let below = |path: &str| root.map_or_else(|| PathBuf::from(path), |root| root.join(&path[1..]));
        let folder = match (user, root) {
            (true, None) => {
                let absolute = |name| world.variable(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
                let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
                config
                    .ok_or_else(|| refuse(1, "--user: neither XDG_CONFIG_HOME nor HOME is set".into()))?
                    .join("systemd/user")
            }
            (true, Some(_)) => below("/etc/systemd/user"),
            (false, _) => below("/etc/systemd/system"),
        };
        Ok(Place { folder, user, image: root.is_some() })
    }

    pub(super) fn unit(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.service"))
    }

    /// Without the rights it would fail in the middle.
    pub(super) fn may(&self, world: &World, verb: &str) -> Result<(), Refused> {
        if world.uid == 0 || self.user || self.image {
            return Ok(());
        }
        Err(refuse(
            REFUSED,
            format!("{verb}: a service of the system needs root: sudo watchdog {verb}, or --user for one of your own"),
        ))
    }

    pub(super) fn before(&self, name: &str) -> Result<Before, Refused> {
        match fs::read(self.unit(name)) {
            Ok(text) if text.starts_with(MARK.as_bytes()) => Ok(Before::Ours(text)),
            Ok(_) => Ok(Before::Theirs),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Before::Nothing),
            Err(e) => Err(failed(&self.unit(name), &e)),
        }
    }

    /// A new file takes the place of the old one.
    pub(super) fn write(&self, name: &str, text: &[u8]) -> Result<(), Refused> {
        let (path, new) = (self.unit(name), self.folder.join(format!(".{name}.service.new")));
        let write = || {
            fs::create_dir_all(&self.folder)?;
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&new);
            failed(&path, &e)
        })
    }

    /// As it was.
    pub(super) fn undo(&self, name: &str, before: &Before) {
        let _ = match before {
            Before::Ours(text) => self.write(name, text).map_err(|_| ()),
            Before::Nothing => fs::remove_file(self.unit(name)).map_err(|_| ()),
            Before::Theirs => Ok(()),
        };
    }

    /// Known to the manager and part of every start of the machine; started now if that is wanted.
    pub(super) fn enable(&self, name: &str, target: &str, start: bool) -> Result<(), Refused> {
        let unit = format!("{name}.service");
        if self.image {
            return self.link(&unit, target);
        }
        self.tell(&["daemon-reload"])?;
        self.tell(&["enable", &unit])?;
        // Not waited for: it may take as long as its services take to be ready.
        if start { self.tell(&["start", "--no-block", &unit]) } else { Ok(()) }
    }

    fn link(&self, unit: &str, target: &str) -> Result<(), Refused> {
        let wants = self.folder.join(format!("{target}.wants"));
        let link = wants.join(unit);
        let made = fs::create_dir_all(&wants).and_then(|()| symlink(Path::new("..").join(unit), &link));
        match made {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(failed(&link, &e)),
            _ => Ok(()),
        }
    }

    /// Stopped, no part of a start any more, and gone.
    pub(super) fn remove(&self, name: &str, target: &str) -> Result<(), Refused> {
        let unit = format!("{name}.service");
        match self.image {
            true => drop(fs::remove_file(self.folder.join(format!("{target}.wants")).join(&unit))),
            false => self.tell(&["disable", "--now", &unit])?,
        }
        let path = self.unit(name);
        fs::remove_file(&path).map_err(|e| failed(&path, &e))?;
        if self.image { Ok(()) } else { self.tell(&["daemon-reload"]) }
    }

    /// One call of systemctl. What it has to say goes to our own standard error.
    #[expect(
        clippy::disallowed_methods,
        reason = "nobody is supervised here: this child is reaped where it is started"
    )]
    fn tell(&self, words: &[&str]) -> Result<(), Refused> {
        let mut command = Command::new("systemctl");
        command.args(self.user.then_some("--user")).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        let line = format!("systemctl {}{}", if self.user { "--user " } else { "" }, words.join(" "));
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(refuse(1, format!("{line}: {}", said(status)))),
            Err(e) => Err(refuse(
                1,
                format!("{line}: {}: no systemd here? --format knows others, --dry-run prints", reason(&e)),
            )),
        }
    }
}

fn said(status: std::process::ExitStatus) -> String {
    status.code().map_or_else(|| "died by a signal".to_string(), |code| format!("exited with code {code}"))
}

/// A file that cannot be had: for want of a right, or else.
fn failed(path: &Path, e: &io::Error) -> Refused {
    let denied = matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
    refuse(if denied { REFUSED } else { 1 }, format!("{}: {}", path.display(), reason(e)))
}
