//! Which watchdog is meant: `-i`, then WATCHDOG_INSTANCE, then WATCHDOG_SOCKET, then the only one that runs.

use super::connection::Connection;
use super::{Failure, NONE, REFUSED, USAGE};
use crate::settings::{World, nearest, reason};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one watchdog may take to answer `ls`: a stuck one must not hide the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// A watchdog that answered.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// Its `status`.
    pub(crate) status: Value,
}

/// The sockets of a runtime directory, by name. A directory that is not there has none.
fn sockets(dir: &Path, uid: u32) -> Result<Vec<PathBuf>, Failure> {
    let failed = |e: &io::Error| {
        let status = if e.kind() == io::ErrorKind::PermissionDenied { REFUSED } else { NONE };
        Failure::new(status, format!("{}: {}", dir.display(), reason(e)))
    };
    let owner = match std::fs::metadata(dir) {
        Ok(meta) => meta.uid(),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(failed(&e)),
    };
    // Under /tmp anybody can make the directory first; a stranger's sockets are not ours to speak to.
    if uid != 0 && owner != uid && owner != 0 {
        return Err(Failure::new(REFUSED, format!("{}: belongs to user {owner}, not to us", dir.display())));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| failed(&e))?.flatten() {
        if entry.file_name().as_bytes().ends_with(b".sock") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Everybody in the directory who answers. What a dead watchdog left behind is passed over.
pub(crate) fn all(dir: &Path, uid: u32) -> Result<Vec<Found>, Failure> {
    Ok(sockets(dir, uid)?.into_iter().filter_map(|socket| probe(&socket)).collect())
}

fn probe(socket: &Path) -> Option<Found> {
    let mut connection = Connection::open(socket).ok()?;
    // Hidden services too: `ls` counts them, and a failed one is not to be missed.
    connection.send("status", &[], json!({ "all": true })).ok()?;
    let status = connection.answer(Some(PATIENCE)).ok()?;
    Some(Found { socket: socket.to_path_buf(), status })
}

/// The socket of the watchdog that is meant.
pub(crate) fn one(asked: Option<&OsStr>, world: &World) -> Result<PathBuf, Failure> {
    let variable = |name| world.variable(name).map(|v| v.as_os_str());
    if let Some(instance) = asked.or_else(|| variable("WATCHDOG_INSTANCE")) {
        return by_name(instance, world);
    }
    if let Some(socket) = variable("WATCHDOG_SOCKET") {
        return Ok(PathBuf::from(socket));
    }
    let dir = world.runtime_dir();
    let running = all(&dir, world.uid)?;
    match running.as_slice() {
        [] => {
            Err(Failure::new(NONE, format!("no watchdog is running here for this user (looked in {})", dir.display())))
        }
        [only] => Ok(only.socket.clone()),
        several => Err(choose("several watchdogs are running: choose one with -i", several)),
    }
}

/// By socket path, by file name (NAME or NAME.PID), by name with any pid, by pid.
fn by_name(instance: &OsStr, world: &World) -> Result<PathBuf, Failure> {
    if instance.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(instance));
    }
    let dir = world.runtime_dir();
    let exact = {
        let mut file = instance.to_os_string();
        file.push(".sock");
        dir.join(file)
    };
    let sockets = sockets(&dir, world.uid)?;
    // Whoever takes the connection is there, even if it has no time to answer just now.
    if sockets.contains(&exact) && Connection::open(&exact).is_ok() {
        return Ok(exact);
    }
    let running: Vec<Found> = sockets.iter().filter_map(|s| probe(s)).collect();
    let named: Vec<Found> =
        running.iter().filter(|f| f.status["instance"]["name"].as_str() == instance.to_str()).cloned().collect();
    let text = instance.to_string_lossy();
    match named.as_slice() {
        [only] => return Ok(only.socket.clone()),
        [] => {}
        several => return Err(choose(&format!("several watchdogs are called {text}: choose one with -i"), several)),
    }
    let pid = text.parse::<u64>().ok();
    if let Some(found) = running.iter().find(|f| pid.is_some() && f.status["instance"]["pid"].as_u64() == pid) {
        return Ok(found.socket.clone());
    }
    let names: Vec<&str> = running.iter().filter_map(|f| f.status["instance"]["name"].as_str()).collect();
    let mut message = format!("no watchdog {text:?} is running here for this user");
    if let Some(near) = nearest(&text, names) {
        message.push_str(&format!(": did you mean {near:?}?"));
    }
    Err(Failure::new(NONE, message))
}

fn choose(what: &str, several: &[Found]) -> Failure {
    let mut message = what.to_string();
    for found in several {
        let instance = &found.status["instance"];
        let stem = found.socket.file_stem().unwrap_or_default().to_string_lossy();
        message.push_str(&format!("\n  {stem} (pid {})", instance["pid"]));
    }
    Failure::new(USAGE, message)
}
