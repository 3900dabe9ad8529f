//! What happened: every event once, numbered, in memory (a bounded number) and, where asked for, in a file.

use super::shapes::Frame;
use super::told;
use crate::logs::{FileError, LogFile, Lost};
use crate::machine::{MonoTime, Notice, ServiceId};
use crate::sys::paths::Made;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

/// Events kept in memory.
const KEEP: usize = 1000;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Counts up from 1.
    pub seq: u64,
    /// On our own clock.
    pub mono: MonoTime,
    /// On the wall.
    pub wall: SystemTime,
    /// What.
    pub notice: Notice,
    /// Of whom, where his place is another's by now.
    pub gone: Option<Rc<str>>,
}

impl Entry {
    /// Whether it is about the service that has this place now.
    pub(crate) fn is_of(&self, id: ServiceId) -> bool {
        self.notice.service == Some(id) && self.gone.is_none()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    next: u64,
    file: Option<LogFile>,
    /// What the file has not got, known since it takes events again.
    lost: Option<Lost>,
}

impl Journal {
    /// With a file of JSON lines as well, where one was asked for.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn open(file: Option<&Path>) -> Result<Journal, FileError> {
        let file = file.map(|path| LogFile::plain("events_file", path)).transpose()?;
        Ok(Journal { entries: VecDeque::new(), next: 1, file, lost: None })
    }

    /// What was made for the file.
    pub(crate) fn take_made(&mut self) -> Made {
        self.file.as_mut().map(LogFile::take_made).unwrap_or_default()
    }

    /// Takes one down; gives it back as JSON if somebody needs it.
    pub(crate) fn note(&mut self, frame: &Frame<'_>, notice: Notice, wanted: bool) -> Option<Value> {
        let entry = Entry { seq: self.next, mono: frame.now, wall: frame.wall, notice, gone: None };
        self.next += 1;
        let json = (wanted || self.file.is_some()).then(|| told::event(frame, &entry));
        if let (Some(file), Some(json)) = (self.file.as_mut(), &json) {
            file.push(json.to_string().as_bytes(), true);
            // At once: an event that is only in our memory would be lost with us.
            self.lost = file.flush(frame.now.0).or(self.lost.take());
        }
        if self.entries.len() >= KEEP {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        json
    }

    /// The place of a service has been given to another: what is told of it stays under its own name.
    pub(crate) fn leave(&mut self, id: ServiceId, name: &str) {
        let name: Rc<str> = name.into();
        for entry in self.entries.iter_mut().filter(|e| e.is_of(id)) {
            entry.gone = Some(name.clone());
        }
    }

    /// What the file has not got, once, as soon as it can be told there.
    pub(crate) fn take_lost(&mut self) -> Option<Lost> {
        self.lost.take()
    }

    /// The end: the same where it can not.
    pub(crate) fn close(&mut self) {
        self.file.iter().for_each(LogFile::say_lost);
        self.file = None;
    }

    /// Somebody has moved the file.
    pub(crate) fn reopen(&mut self) {
        if let Some(Err(e)) = self.file.as_mut().map(LogFile::reopen) {
            log::error!("events_file {}: {}", e.path.display(), e.why);
        }
    }

    /// The number of the next one.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The last `n`, oldest first.
    pub(crate) fn last(&self, n: usize) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().skip(self.entries.len().saturating_sub(n))
    }
}
