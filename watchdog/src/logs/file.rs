//! A log file with rotation. Every write is to a regular file and returns at once; a full disk loses lines with a count,
//! never the worker; compression goes on in small pieces between other work.

use super::gzip::Gzip;
use crate::sys::paths::{Home, Last, Made, Place};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{IoSlice, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks whether the file at our path is still ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a rotation that failed.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);
/// Buffered before a write.
const BUFFER: usize = 16 * 1024;
/// So much at once is written from where it stands.
const DIRECT: usize = 4 * 1024;
/// Of a file that is made: what collects logs may be of its group.
pub(super) const MODE: u32 = 0o640;

/// Why a log file cannot be used.
#[derive(Debug)]
pub(crate) struct FileError {
    /// Its setting.
    pub setting: &'static str,
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// What was lost and not yet told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Lines.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Lost {
    /// So many bytes more, and the ends of lines in them.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.bytes += bytes.len() as u64;
    }
}

/// An open log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    /// Its setting, for messages.
    setting: &'static str,
    path: PathBuf,
    home: Home,
    max_size: u64,
    keep: u32,
    file: Option<File>,
    size: u64,
    buffer: Vec<u8>,
    lost: Lost,
    /// What was written last is a piece of a line.
    within_a_line: bool,
    /// The rest of that line is lost: what comes next begins a new one.
    torn: bool,
    looked: Duration,
    /// The last time we were told of.
    now: Duration,
    /// Rotation failed: not tried again before this.
    stuck_until: Duration,
    /// There may be old files that are not compressed yet.
    compress: bool,
    job: Option<Gzip>,
    /// What was made for it, for a start that is refused.
    made: Made,
}

impl LogFile {
    /// Opens a file of output for appending, mode 0640, never through a link that others made and never a FIFO. Its directory
    /// is made where it is missing.
    ///
    /// # Errors
    /// Says which path and why.
    pub(crate) fn open(setting: &'static str, path: &Path, max_size: u64, keep: u32) -> Result<LogFile, FileError> {
        LogFile::open_in(setting, path, Home::Made, (max_size, keep))
    }

    /// The same without rotation, in a directory that must be there.
    ///
    /// # Errors
    /// Says which path and why.
    pub(crate) fn plain(setting: &'static str, path: &Path) -> Result<LogFile, FileError> {
        LogFile::open_in(setting, path, Home::Ours, (0, 0))
    }

    fn open_in(
        setting: &'static str,
        path: &Path,
        home: Home,
        (max_size, keep): (u64, u32),
    ) -> Result<LogFile, FileError> {
        let (file, size, made) = open(path, home).map_err(|why| FileError { setting, path: path.to_owned(), why })?;
        // A device has no size, and must not be renamed.
        let regular = file.metadata().is_ok_and(|m| m.is_file());
        Ok(LogFile {
            setting,
            path: path.to_owned(),
            home,
            made,
            within_a_line: false,
            torn: false,
            max_size: if regular { max_size } else { 0 },
            stuck_until: Duration::ZERO,
            now: Duration::ZERO,
            compress: false,
            keep,
            file: Some(file),
            size,
            buffer: Vec::new(),
            lost: Lost::default(),
            looked: Duration::ZERO,
            job: None,
        })
    }

    /// Whether it was opened with these.
    pub(crate) fn is_like(&self, path: &Path, max_size: u64, keep: u32) -> bool {
        // Of a device the size is not minded.
        self.path == path && (self.max_size == max_size || self.max_size == 0) && self.keep == keep
    }

    /// What was made for it since it was opened.
    pub(crate) fn take_made(&mut self) -> Made {
        std::mem::take(&mut self.made)
    }

    /// Somebody has moved the file: writes what is buffered to the old one and goes on with a new one.
    ///
    /// # Errors
    /// The path cannot be opened: the old file goes on.
    pub(crate) fn reopen(&mut self) -> Result<(), FileError> {
        self.flush_buffer();
        let failed = |why| FileError { setting: self.setting, path: self.path.clone(), why };
        let (file, size, _) = open(&self.path, self.home).map_err(failed)?;
        (self.file, self.size) = (Some(file), size);
        self.begin();
        Ok(())
    }

    /// Nothing of ours is in this file yet.
    fn begin(&mut self) {
        (self.within_a_line, self.torn) = (false, false);
    }

    /// Adds a line, or a piece of one. A file that is full is rotated here, so never within a line.
    pub(crate) fn push(&mut self, bytes: &[u8], newline: bool) {
        let len = bytes.len() as u64 + u64::from(newline);
        if self.used() > 0 && len > self.room() {
            self.make_room();
        }
        self.buffer.extend_from_slice(bytes);
        if newline {
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= BUFFER {
            self.flush_buffer();
        }
    }

    /// Adds whole lines, each with its newline, from where they stand. A file that is full is rotated between two of them.
    pub(crate) fn push_lines(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let (now, later) = lines.split_at(self.fitting(lines));
            if now.len() >= DIRECT {
                self.write_with(now);
            } else {
                self.buffer.extend_from_slice(now);
            }
            if self.buffer.len() >= BUFFER {
                self.flush_buffer();
            }
            lines = later;
        }
    }

    /// How much of these lines goes into the file that is there, or into the next one: one of them at least.
    fn fitting(&mut self, lines: &[u8]) -> usize {
        let within = |room: u64| {
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
            memchr::memrchr(b'\n', &lines[..room]).map_or(0, |at| at + 1)
        };
        let mut fit = within(self.room());
        if fit == 0 && self.used() > 0 {
            self.make_room();
            fit = within(self.room());
        }
        if fit == 0 { memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1) } else { fit }
    }

    fn used(&self) -> u64 {
        self.size + self.buffer.len() as u64
    }

    /// What goes into it before it is full; any amount where it cannot be rotated now.
    fn room(&self) -> u64 {
        let endless = self.max_size == 0 || self.now < self.stuck_until;
        if endless { u64::MAX } else { self.max_size.saturating_sub(self.used()) }
    }

    fn make_room(&mut self) {
        self.flush_buffer();
        self.rotate();
    }

    /// Whether something waits to be written, or to be told.
    pub(crate) fn has_news(&self) -> bool {
        !self.buffer.is_empty() || self.lost != Lost::default()
    }

    /// Whether an old file waits to be compressed.
    pub(crate) fn has_work(&self) -> bool {
        self.compress || self.job.is_some()
    }

    /// What time it is: once a second it is seen whether the file was removed or rotated by others, and a new one begun then.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.now = now;
        if now.saturating_sub(self.looked) >= LOOK_EVERY {
            self.looked = now;
            self.look();
        }
    }

    /// Writes what is buffered. Gives back what was lost, once writing works again.
    pub(crate) fn flush(&mut self, now: Duration) -> Option<Lost> {
        self.tick(now);
        let worked = self.flush_buffer();
        (worked && self.lost != Lost::default()).then(|| std::mem::take(&mut self.lost))
    }

    /// Whether the path still leads to the file that we write to.
    fn is_ours(&self) -> bool {
        match (self.file.as_ref().and_then(|f| f.metadata().ok()), fs::symlink_metadata(&self.path)) {
            (Some(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
            _ => false,
        }
    }

    /// Removed, or rotated by others: a new one at the path. None can be had: nothing more into one that nobody can see
    /// and that nothing bounds; what comes meanwhile is counted as lost.
    fn look(&mut self) {
        if !self.is_ours() {
            self.open_again();
        }
    }

    fn open_again(&mut self) {
        let had = self.file.is_some();
        (self.file, self.size) = match open(&self.path, self.home) {
            Ok((file, size, _)) => (Some(file), size),
            Err(why) => {
                if had {
                    let path = self.path.display();
                    log::error!("{} {path}: {why}: what comes is lost until it can be opened", self.setting);
                }
                (None, 0)
            }
        };
        self.begin();
    }

    /// At the end: what is lost, where it could not be told.
    pub(crate) fn say_lost(&self) {
        if self.lost != Lost::default() {
            let Lost { lines, bytes } = self.lost;
            log::error!("{} {}: {lines} lines ({bytes} bytes) were lost", self.setting, self.path.display());
        }
    }

    fn flush_buffer(&mut self) -> bool {
        self.buffer.is_empty() || self.write_with(&[])
    }

    /// Writes what is buffered, and these bytes behind it: at once, where the file takes it.
    fn write_with(&mut self, more: &[u8]) -> bool {
        if self.torn {
            self.buffer.insert(0, b'\n');
        }
        let written = self.write_out(more);
        let ok = written == self.buffer.len() + more.len();
        if ok {
            let last = more.last().or(self.buffer.last());
            (self.within_a_line, self.torn) = (last != Some(&b'\n'), false);
        } else {
            self.buffer.extend_from_slice(more);
            self.lose_from(written);
        }
        self.buffer.clear();
        ok
    }

    /// As much as the file takes.
    fn write_out(&mut self, more: &[u8]) -> usize {
        let (buffered, mut written) = (self.buffer.len(), 0);
        while written < buffered + more.len()
            && let Some(file) = self.file.as_mut()
        {
            let first = &self.buffer[written.min(buffered)..];
            let second = &more[written.saturating_sub(buffered)..];
            let result = match (first.is_empty(), second.is_empty()) {
                (true, _) => file.write(second),
                (false, true) => file.write(first),
                (false, false) => file.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
            };
            match result {
                Ok(0) => break,
                Ok(n) => {
                    self.size += n as u64;
                    written += n;
                }
                Err(e) => {
                    if self.lost == Lost::default() {
                        let (setting, path, why) = (self.setting, self.path.display(), crate::sys::reason(&e));
                        log::error!("{setting} {path}: {why}: what cannot be written is lost, and counted");
                    }
                    break;
                }
            }
        }
        written
    }

    /// The disk is full: what stays of this write ends with a line, so that the next one that fits is not glued to half of
    /// another. All behind it is lost, and counted.
    fn lose_from(&mut self, written: usize) {
        let begun = usize::from(self.torn);
        let whole = memchr::memrchr(b'\n', &self.buffer[..written]).map_or(0, |at| at + 1);
        let cut = whole == written || self.cut((written - whole) as u64);
        if whole > 0 {
            self.within_a_line = false;
        }
        self.torn = (self.within_a_line || self.torn && whole == 0) || !cut;
        let lost = self.buffer.get(whole.max(begun)..).unwrap_or_default();
        let newlines = memchr::memchr_iter(b'\n', lost).count() as u64;
        self.lost.lines += newlines.max(1);
        self.lost.bytes += lost.len() as u64;
    }

    /// Takes away what was written last. False: it stays.
    fn cut(&mut self, bytes: u64) -> bool {
        let Some(file) = self.file.as_ref() else { return true };
        let len = file.metadata().ok().filter(|facts| facts.is_file()).map(|facts| facts.len());
        let done = len.and_then(|len| len.checked_sub(bytes)).is_some_and(|len| file.set_len(len).is_ok());
        if done {
            self.size = self.size.saturating_sub(bytes);
        }
        done
    }

    /// FILE.1.gz is the newest of the old ones. What was being compressed is taken up again later. Only our own file is
    /// moved: whoever may write to the directory could have put something else at its path.
    fn rotate(&mut self) {
        if let Some(job) = self.job.take() {
            job.give_up();
        }
        let place = Place::find(&self.path, Home::Ours, Last::NoLink).ok();
        let place = place.filter(|place| self.file.as_ref().is_some_and(|file| place.leads_to(file)));
        let Some(place) = place else { return self.look() };
        if !shift(&place, self.keep) {
            // A directory that we may not write to: say so, and do not ask it again with every line.
            log::warn!("{} {}: cannot be rotated; it grows", self.setting, self.path.display());
            self.stuck_until = self.now.saturating_add(ROTATE_AGAIN);
            return;
        }
        self.open_again();
        self.compress = self.keep > 0;
    }

    /// The oldest file that is not compressed yet.
    fn next_job(&mut self) -> Option<Gzip> {
        if !self.compress {
            return None;
        }
        let place = Place::find(&self.path, Home::Ours, Last::NoLink).ok();
        let plain = place
            .as_ref()
            .and_then(|place| (1..=self.keep).rev().find(|n| place.facts(&numbered(place, *n, false)).is_some()));
        self.compress = plain.is_some();
        let (place, n) = (place?, plain?);
        let (from, to) = (numbered(&place, n, false), numbered(&place, n, true));
        let job = Gzip::begin(place, from, to);
        // What cannot be compressed stays as it is, and is not tried for ever.
        self.compress = job.is_some();
        job
    }

    /// One small piece of compression. True while there is more to do.
    pub(crate) fn work(&mut self) -> bool {
        if self.job.is_none() {
            self.job = self.next_job();
        }
        let Some(job) = self.job.as_mut() else { return false };
        match job.step() {
            Some(true) => return true,
            Some(false) => {
                if let Some(job) = self.job.take() {
                    self.compress = job.end();
                }
                return self.compress;
            }
            None => {
                self.compress = false;
                if let Some(job) = self.job.take() {
                    job.give_up();
                }
            }
        }
        false
    }
}

/// Name `n` of the old ones.
fn numbered(place: &Place, n: u32, gz: bool) -> OsString {
    place.beside(&format!(".{n}{}", if gz { ".gz" } else { "" }))
}

/// Makes room at the path. Our own file first, so that nothing is moved when it cannot be.
fn shift(place: &Place, keep: u32) -> bool {
    if keep == 0 {
        return place.remove(place.name()).is_ok();
    }
    let aside = numbered(place, 0, false);
    if place.rename(place.name(), &aside).is_err() {
        return false;
    }
    for gz in [true, false] {
        let _ = place.remove(&numbered(place, keep, gz));
        for n in (1..keep).rev() {
            let _ = place.rename(&numbered(place, n, gz), &numbered(place, n + 1, gz));
        }
    }
    place.rename(&aside, &numbered(place, 1, false)).is_ok()
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.flush_buffer();
        // An old file that is not compressed yet stays as it is; the half-made copy goes.
        if let Some(job) = self.job.take() {
            job.give_up();
        }
    }
}

/// The file, its size, and what was made for it.
fn open(path: &Path, home: Home) -> Result<(File, u64, Made), String> {
    let opened = || -> std::io::Result<(File, u64, Made)> {
        let mut place = Place::find(path, home, Last::NoLink)?;
        match place.append(MODE).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((len, file)) => Ok((file, len, place.take_made())),
            Err(e) => {
                place.take_made().undo();
                Err(e)
            }
        }
    };
    opened().map_err(|e| crate::sys::reason(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn rotation_keeps_every_line_and_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open("log_file", &path, 1000, 3).unwrap();
        for n in 0..100 {
            log.push(format!("line {n:04}").as_bytes(), true);
            while log.work() {}
        }
        log.flush(Duration::from_secs(1));
        while log.work() {}
        assert!(!dir.path().join("log.1").exists(), "compressed");
        let mut all = String::new();
        for n in [3, 2, 1] {
            let mut text = String::new();
            if let Ok(file) = File::open(dir.path().join(format!("log.{n}.gz"))) {
                flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
            }
            assert!(text.len() <= 1000);
            all.push_str(&text);
        }
        all.push_str(&fs::read_to_string(&path).unwrap());
        let want: String = (0..100).map(|n| format!("line {n:04}\n")).collect();
        assert_eq!(all, want);
    }

    #[test]
    fn links_and_fifos_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(LogFile::open("log_file", &link, 10, 1).unwrap_err().why.contains("symbolic link"));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(LogFile::open("log_file", &fifo, 10, 1).is_err());
        assert!(LogFile::open("log_file", dir.path(), 10, 1).is_err());
    }

    #[test]
    fn a_full_disk_loses_lines_with_a_count() {
        let mut log = LogFile::open("log_file", Path::new("/dev/full"), 0, 0).unwrap();
        log.push(b"one", true);
        log.push(b"two", true);
        assert_eq!(log.flush(Duration::ZERO), None);
        assert_eq!(log.lost, Lost { lines: 2, bytes: 8 });
    }

    /// Short ones and long ones, in blocks of any size: the files are those of lines that come one by one.
    #[test]
    fn many_lines_at_once_are_rotated_like_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (0..400).map(|n| "x".repeat([3, 70, 0, 900, 11_000][n % 5] + n % 7) + "\n").collect();
        for (name, at_once) in [("one", 1), ("few", 9), ("many", 300)] {
            let mut log = LogFile::open("log_file", &dir.path().join(name), 10_000, 200).unwrap();
            lines.chunks(at_once).for_each(|block| match block {
                [line] => log.push(line.trim_end().as_bytes(), true),
                many => log.push_lines(many.concat().as_bytes()),
            });
        }
        let read = |name: String| fs::read(dir.path().join(name)).ok();
        for n in 1..=200 {
            let one = read(format!("one.{n}"));
            assert!(one == read(format!("few.{n}")) && one == read(format!("many.{n}")), "{n}");
        }
        assert!(read("one.50".into()).is_some());
        assert_eq!(read("one".into()), read("many".into()));
    }

    #[test]
    fn many_lines_on_a_full_disk_are_counted() {
        let mut log = LogFile::open("log_file", Path::new("/dev/full"), 0, 0).unwrap();
        let block = "a line of it\n".repeat(1000);
        log.push_lines(b"before\n");
        log.push_lines(block.as_bytes());
        assert_eq!(log.lost, Lost { lines: 1001, bytes: 7 + block.len() as u64 });
        assert!(log.has_news());
    }

    #[test]
    fn a_device_is_never_rotated_and_what_is_not_ours_is_never_moved() {
        assert_eq!(LogFile::open("log_file", Path::new("/dev/null"), 10, 1).unwrap().max_size, 0);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open("log_file", &path, 20, 3).unwrap();
        log.push(b"ours", true);
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for _ in 0..10 {
            log.push(b"more than fits", true);
        }
        assert!(path.exists() && !dir.path().join("log.1").exists(), "the FIFO was moved");
    }

    #[test]
    fn the_copy_goes_through_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("log"), dir.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("log.1.gz.part")).unwrap();
        let mut log = LogFile::open("log_file", &path, 20, 3).unwrap();
        for _ in 0..3 {
            log.push(b"more than half", true);
        }
        while log.work() {}
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_removed_file_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open("log_file", &path, 1000, 1).unwrap();
        fs::remove_file(&path).unwrap();
        log.push(b"after", true);
        log.flush(Duration::from_secs(2));
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }
}
