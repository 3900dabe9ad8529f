//! Which watchdog is meant: `-i`, then WATCHDOG_INSTANCE, then WATCHDOG_SOCKET, then the only one that runs.

#![expect(clippy::disallowed_methods, reason = "a client waits for real time; the rule is for the engine")]

use super::connection::Connection;
use super::{Failure, NONE, REFUSED, USAGE};
use crate::settings::{World, nearest, reason};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long all watchdogs together may take to answer: a stuck one must not hide the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long an answer that has come already may take to be read.
const AT_HAND: Duration = Duration::from_millis(50);

/// A watchdog that is there.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// Its `status`; of one that does not answer the name of its socket and its pid.
    pub(crate) status: Value,
    /// It takes connections, or would, but does not answer.
    pub(crate) stuck: bool,
}

impl Found {
    fn name(&self) -> Option<&str> {
        self.status["instance"]["name"].as_str()
    }

    fn pid(&self) -> Option<u64> {
        self.status["instance"]["pid"].as_u64()
    }

    /// Whether it has a service of this name, or replicas of it.
    fn has(&self, name: &str) -> bool {
        let mut names = self.status["services"].as_array().into_iter().flatten().filter_map(|s| s["name"].as_str());
        names.any(|n| n.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('@')))
    }

    /// As `-i` takes it.
    pub(crate) fn stem(&self) -> String {
        self.socket.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The same for a list, with its pid.
    pub(crate) fn line(&self) -> String {
        let stem = self.stem();
        let pid = self.pid().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        format!("{stem}{pid}{}", if self.stuck { " does not answer" } else { "" })
    }
}

/// The sockets of a runtime directory, by name. A directory that is not there has none.
fn sockets(dir: &Path, uid: u32) -> Result<Vec<PathBuf>, Failure> {
    let failed = |e: &io::Error| {
        let status = if e.kind() == io::ErrorKind::PermissionDenied { REFUSED } else { NONE };
        Failure::new(status, format!("{}: {}", dir.display(), reason(e)))
    };
    // Of the name itself, also where a slash is behind it.
    let named = dir.components().as_path();
    let owner = match std::fs::symlink_metadata(named) {
        Ok(meta) if meta.is_symlink() => {
            let why = format!("{}: is a symbolic link, which is not followed: name what it leads to", named.display());
            return Err(Failure::new(REFUSED, why));
        }
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

/// Every watchdog of the directory. What a dead one left behind is passed over.
pub(crate) fn all(dir: &Path, uid: u32) -> Result<Vec<Found>, Failure> {
    Ok(probe(&sockets(dir, uid)?))
}

/// Asks all of them at once, so that those who do not answer cost their time once.
fn probe(sockets: &[PathBuf]) -> Vec<Found> {
    let asked: Vec<_> = sockets.iter().map(|socket| (socket, question(socket))).collect();
    let deadline = Instant::now().checked_add(PATIENCE);
    asked.into_iter().filter_map(|(socket, connection)| heard(socket, connection, deadline)).collect()
}

fn question(socket: &Path) -> Result<Connection, Failure> {
    let mut connection = Connection::open_within(socket, PATIENCE)?;
    // Hidden services too: `ls` counts them, and a failed one is not to be missed.
    connection.send("status", &[], json!({ "all": true }))?;
    Ok(connection)
}

fn heard(socket: &Path, connection: Result<Connection, Failure>, deadline: Option<Instant>) -> Option<Found> {
    let (answer, pid) = match connection {
        // Its own answer may have come while another one was waited for.
        Ok(mut connection) => (connection.result(deadline.max(Instant::now().checked_add(AT_HAND))), connection.peer()),
        Err(failure) => (Err(failure), None),
    };
    match answer {
        Ok(status) => Some(Found { socket: socket.to_path_buf(), status, stuck: false }),
        Err(failure) if failure.late => {
            let stem = socket.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let name = pid.and_then(|pid| stem.strip_suffix(&format!(".{pid}"))).unwrap_or(&stem).to_string();
            let status = json!({ "instance": { "name": name, "pid": pid } });
            Some(Found { socket: socket.to_path_buf(), status, stuck: true })
        }
        Err(_) => None,
    }
}

/// The socket of the watchdog that is meant.
///
/// `names`: the services that are asked about. Where several watchdogs run and none is chosen, the one that alone has them
/// is meant.
pub(crate) fn one(asked: Option<&OsStr>, names: &[String], world: &World) -> Result<PathBuf, Failure> {
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
        several => {
            alone(several, names).ok_or_else(|| choose("several watchdogs are running: choose one with -i", several))
        }
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
    let running = probe(&sockets);
    let named: Vec<Found> = running.iter().filter(|f| f.name() == instance.to_str()).cloned().collect();
    let text = instance.to_string_lossy();
    match named.as_slice() {
        [only] => return Ok(only.socket.clone()),
        [] => {}
        several => return Err(choose(&format!("several watchdogs are called {text}: choose one with -i"), several)),
    }
    let pid = text.parse::<u64>().ok();
    if let Some(found) = running.iter().find(|f| pid.is_some() && f.pid() == pid) {
        return Ok(found.socket.clone());
    }
    let names: Vec<&str> = running.iter().filter_map(Found::name).collect();
    let mut message = format!("no watchdog {text:?} is running here for this user");
    if let Some(near) = nearest(&text, names) {
        message.push_str(&format!(": did you mean {near:?}?"));
    }
    Err(Failure::new(NONE, message))
}

/// The one of several that has all of these services, if no other one has any of them. A pattern, or a watchdog of which
/// that is not known, leaves it open.
fn alone(several: &[Found], names: &[String]) -> Option<PathBuf> {
    let open = names.is_empty() || names.iter().any(|n| n.contains(['*', '?'])) || several.iter().any(|f| f.stuck);
    let mut have = several.iter().filter(|f| names.iter().any(|name| f.has(name)));
    let (only, other) = (have.next()?, have.next());
    (!open && other.is_none() && names.iter().all(|name| only.has(name))).then(|| only.socket.clone())
}

fn choose(what: &str, several: &[Found]) -> Failure {
    let lines: String = several.iter().map(|found| format!("\n  {}", found.line())).collect();
    Failure::new(USAGE, format!("{what}{lines}"))
}
