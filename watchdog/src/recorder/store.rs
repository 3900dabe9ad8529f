//! Writing, bounding and finding reports. A directory that cannot be used costs one warning and is tried again with the
//! next report; meanwhile the newest one is kept in memory.

use super::{Head, Name, Owner};
use crate::sys::paths::{self, PrivateDir};
use crate::sys::{clock, reason};
use nix::sys::stat::FileStat;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of a report that is written.
pub(crate) const REPORT_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a report that is read: an earlier version may have had another limit.
const READ_MAX: u64 = 8 * 1024 * 1024;
/// Bytes of all reports in the directory.
const TOTAL_MAX: u64 = 50 * 1024 * 1024;
/// Reports that are known; of more the oldest are left alone.
const INDEX_MAX: usize = 10_000;
/// Entries of the directory that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// Reports that a list shows.
const LIST_MAX: usize = 1000;
/// Reports that are looked at for whose they are when one is written.
const LOOKS_MAX: usize = 200;
/// So many reports are written from one look at the directory to the next.
const LOOK_AGAIN: u32 = 64;
/// A half-written report that is older was left by a watchdog that died over it.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// Why a report is not in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// No reports are wanted, so this one is nowhere.
    Off,
    /// There is no directory: it is in memory.
    NoDirectory,
    /// The directory cannot be used: it is in memory.
    Directory(String),
    /// It has more than [`REPORT_MAX`] bytes, or an id that is none: it is nowhere.
    Refused,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Off => f.write_str("no reports are kept"),
            StoreError::NoDirectory => f.write_str("no directory for reports"),
            StoreError::Directory(why) => f.write_str(why),
            StoreError::Refused => f.write_str("no report"),
        }
    }
}

impl std::error::Error for StoreError {}

/// The reports of a directory.
#[derive(Debug)]
pub(crate) struct Store {
    dir: Option<PathBuf>,
    keep: usize,
    total_max: u64,
    /// `None`: all that is in the directory.
    owner: Option<Owner>,
    /// By id, so the oldest first. `None`: not looked at yet.
    index: Option<BTreeMap<String, Entry>>,
    /// The newest, where it could not be written.
    memory: Option<(String, Vec<u8>)>,
    warned: bool,
    writes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    bytes: u64,
    head: Looked,
    /// We have written it.
    mine: bool,
}

/// The head of a report in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Looked {
    NotYet,
    Broken,
    Head(Box<Head>),
}

impl Entry {
    /// Its head. `None`: no report, or it cannot be read.
    fn look(&mut self, dir: &Path, held: &PrivateDir, id: &str) -> Option<&Head> {
        if self.head == Looked::NotYet {
            let path = file_of(dir, id).display().to_string();
            let head = read(held, id).and_then(|text| Head::read(id, &text, Some(path)));
            self.head = head.map_or(Looked::Broken, |head| Looked::Head(Box::new(head)));
        }
        match &self.head {
            Looked::Head(head) => Some(head),
            Looked::NotYet | Looked::Broken => None,
        }
    }
}

impl Store {
    /// Nothing is made or looked at before it is needed. `keep`: reports of each service. `owner`: whose reports make room for
    /// new ones; all others in the directory stay.
    #[must_use]
    pub(crate) fn new(dir: Option<PathBuf>, keep: u32, owner: Option<Owner>) -> Store {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        Store { dir, keep, owner, total_max: TOTAL_MAX, index: None, memory: None, warned: false, writes: 0 }
    }

    /// Keeps a report: a JSON object with the members of [`Head`] at its top. `id`: `20261125T190408.123Z-web-3`. The
    /// oldest make room for it. Nothing waits for the disk.
    ///
    /// # Errors
    /// It is not in the directory; the variant says where it is.
    pub(crate) fn write(&mut self, service: &str, id: &str, text: &[u8]) -> Result<PathBuf, StoreError> {
        if self.keep == 0 {
            return Err(StoreError::Off);
        }
        if text.len() > REPORT_MAX || Name::parse(id).is_none_or(|name| name.service != service) {
            return Err(StoreError::Refused);
        }
        let written = match &self.dir {
            None => Err(StoreError::NoDirectory),
            Some(dir) => open(dir, true).and_then(|held| {
                let held = held.ok_or_else(|| because(dir, "is not there"))?;
                let file = put(&held, id, text).map(|()| file_of(dir, id)).map_err(|e| because(dir, &reason(&e)))?;
                Ok((held, file))
            }),
        };
        match &written {
            Ok((held, _)) => {
                (self.memory, self.warned) = (None, false);
                self.writes = self.writes.wrapping_add(1);
                // What others write there is looked at now and then: of hundreds of reports in a row not for each.
                if self.index.is_none() || self.writes.is_multiple_of(LOOK_AGAIN) {
                    self.load_from(held);
                }
                let entry = Entry { bytes: text.len() as u64, head: Looked::NotYet, mine: true };
                self.index.get_or_insert_default().insert(id.to_owned(), entry);
                self.prune(held, service, id);
            }
            Err(error) => {
                if !self.warned && *error != StoreError::NoDirectory {
                    log::warn!("{error}; the last report is kept in memory");
                    self.warned = true;
                }
                self.memory = Some((id.to_owned(), text.to_vec()));
            }
        }
        written.map(|(_, file)| file)
    }

    /// All that can be read, the newest first, also those of earlier watchdogs.
    #[must_use]
    pub(crate) fn list(&mut self) -> Vec<Head> {
        self.load();
        let mut heads: Vec<Head> = self.memory.iter().filter_map(|(id, text)| Head::read(id, text, None)).collect();
        let held = self.held();
        let (Some(dir), Some(held), Some(index)) = (&self.dir, held, &mut self.index) else { return heads };
        for (id, entry) in index.iter_mut().rev() {
            if heads.len() >= LIST_MAX {
                break;
            }
            if let Some(head) = entry.look(dir, &held, id) {
                heads.push(Head::clone(head));
            }
        }
        // The one in memory is the newest by its making; clocks may say otherwise.
        heads.sort_by(|a, b| b.id.cmp(&a.id));
        heads
    }

    /// One report. `None`: none of this id, or it cannot be read. The id is looked for among those that are known: it is
    /// never a path.
    #[must_use]
    pub(crate) fn show(&mut self, id: &str) -> Option<Value> {
        Name::parse(id)?;
        if let Some((_, text)) = self.memory.as_ref().filter(|(kept, _)| kept == id) {
            return object(text);
        }
        self.load();
        let dir = self.held()?;
        self.index.as_ref()?.contains_key(id).then(|| read(&dir, id))?.as_deref().and_then(object)
    }

    /// Looks at the directory, where another watchdog may write too. Heads that are known stay so.
    fn load(&mut self) {
        match self.held() {
            Some(dir) => self.load_from(&dir),
            None => self.index = None,
        }
    }

    fn load_from(&mut self, dir: &PrivateDir) {
        let mut known = self.index.take().unwrap_or_default();
        let mut index = BTreeMap::new();
        let Ok(names) = dir.names(ENTRIES_MAX) else { return };
        for name in names {
            let Some(name) = name.to_str() else { continue };
            let Some(facts) = dir.inside.facts(name.as_ref()).filter(is_file) else { continue };
            let bytes = u64::try_from(facts.st_size).unwrap_or_default();
            if let Some(id) = name.strip_suffix(".json").filter(|id| Name::parse(id).is_some()) {
                let same = known.remove(id).filter(|entry| entry.bytes == bytes);
                let entry = same.unwrap_or(Entry { bytes, head: Looked::NotYet, mine: false });
                index.insert(id.to_owned(), entry);
                if index.len() > INDEX_MAX {
                    index.pop_first();
                }
            } else if is_part(name) && is_abandoned(&facts) {
                let _ = dir.inside.remove(name.as_ref());
            }
        }
        self.index = Some(index);
    }

    /// The directory, if it is there and ours alone.
    fn held(&self) -> Option<PrivateDir> {
        self.dir.as_ref().and_then(|dir| open(dir, false).ok().flatten())
    }

    /// The oldest go: of this service when it has too many, of all when they are too large. Never `newest`, never a file whose
    /// name is not of our making, and never what another watchdog has written.
    fn prune(&mut self, held: &PrivateDir, service: &str, newest: &str) {
        let Store { dir, index, keep, total_max, owner, .. } = self;
        let (Some(dir), Some(index)) = (dir.as_ref(), index.as_mut()) else { return };
        let mut looks = LOOKS_MAX;
        let mut ours = |id: &String, entry: &mut Entry| {
            let Some(owner) = owner.as_ref().filter(|_| !entry.mine) else { return true };
            // The rest when the next one is written.
            looks -= usize::from(entry.head == Looked::NotYet).min(looks);
            (looks > 0 || entry.head != Looked::NotYet) && entry.look(dir, held, id).is_some_and(|head| owner.has(head))
        };
        let of_service = |id: &String| Name::parse(id).is_some_and(|name| name.service == service);
        if index.keys().filter(|id| of_service(id)).count() > *keep {
            let of_ours =
                index.iter_mut().filter(|(id, _)| of_service(id)).filter_map(|(id, e)| ours(id, e).then_some(id));
            let mut old: Vec<String> = of_ours.cloned().collect();
            old.truncate(old.len().saturating_sub(*keep));
            for id in old.iter().filter(|id| *id != newest) {
                let _ = held.inside.remove(name_of(id).as_ref());
                index.remove(id);
            }
        }
        if index.values().map(|entry| entry.bytes).sum::<u64>() <= *total_max {
            return;
        }
        let sizes = index.iter_mut().filter_map(|(id, e)| ours(id, e).then(|| (id.clone(), e.bytes)));
        let sizes: Vec<(String, u64)> = sizes.collect();
        let mut total: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        for (id, bytes) in sizes.iter().filter(|(id, _)| id != newest) {
            if total <= *total_max {
                return;
            }
            let _ = held.inside.remove(name_of(id).as_ref());
            index.remove(id);
            total = total.saturating_sub(*bytes);
        }
    }
}

fn name_of(id: &str) -> String {
    format!("{id}.json")
}

fn file_of(dir: &Path, id: &str) -> PathBuf {
    dir.join(name_of(id))
}

/// The name of a report that is being written.
fn part_of(id: &str) -> String {
    format!(".{id}.part")
}

fn is_part(name: &str) -> bool {
    name.strip_prefix('.').and_then(|n| n.strip_suffix(".part")).is_some_and(|id| Name::parse(id).is_some())
}

fn is_file(facts: &FileStat) -> bool {
    facts.st_mode & libc::S_IFMT == libc::S_IFREG
}

fn is_abandoned(facts: &FileStat) -> bool {
    let then = Duration::from_secs(u64::try_from(facts.st_mtime).unwrap_or_default());
    let now = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(then) > ABANDONED
}

/// A new file, whole or not at all. It is not forced to the disk: that could take seconds.
fn put(dir: &PrivateDir, id: &str, text: &[u8]) -> io::Result<()> {
    let (part, inside) = (OsString::from(part_of(id)), &dir.inside);
    let _ = inside.remove(&part);
    let done = inside.create(&part, 0o600)?.write_all(text);
    let done = done.and_then(|()| inside.rename(&part, name_of(id).as_ref()));
    done.inspect_err(|_| drop(inside.remove(&part)))
}

/// A file of at most [`READ_MAX`] bytes; never through a link, never a wait at a FIFO.
fn read(dir: &PrivateDir, id: &str) -> Option<Vec<u8>> {
    let file = dir.inside.read(name_of(id).as_ref()).ok()?;
    file.metadata().ok().filter(|meta| meta.is_file() && meta.len() <= READ_MAX)?;
    whole(file)
}

/// It may have grown since it was looked at: then it is none of ours.
fn whole(file: File) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    file.take(READ_MAX + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= READ_MAX).then_some(text)
}

fn object(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok().filter(Value::is_object)
}

fn because(dir: &Path, why: &str) -> StoreError {
    StoreError::Directory(format!("report directory {}: {why}", dir.display()))
}

/// Ours, no link to anywhere, and nobody else can write to it: they could put their files in the place of ours.
fn open(dir: &Path, make: bool) -> Result<Option<PrivateDir>, StoreError> {
    paths::private_dir(dir, make).map_err(|e| because(dir, &reason(&e)))
}

#[cfg(test)]
mod tests;
