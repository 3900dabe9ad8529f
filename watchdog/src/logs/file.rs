//! A log file with rotation. Every write is to a regular file and returns at once; a full disk loses lines with a count,
//! never the worker; compression goes on in small pieces between other work.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Compressed per turn of the loop: well below a millisecond.
const GZIP_STEP: usize = 32 * 1024;
/// Between two looks whether the file at our path is still ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a rotation that failed.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);
/// Buffered before a write.
const BUFFER: usize = 64 * 1024;

/// Why a log file cannot be used.
#[derive(Debug)]
pub(crate) struct FileError {
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

/// An open log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    file: Option<File>,
    size: u64,
    buffer: Vec<u8>,
    buffered_lines: u64,
    lost: Lost,
    looked: Duration,
    /// The last time we were told of.
    now: Duration,
    /// Rotation failed: not tried again before this.
    stuck_until: Duration,
    /// There may be old files that are not compressed yet.
    compress: bool,
    job: Option<Gzip>,
}

#[derive(Debug)]
struct Gzip {
    from: PathBuf,
    to: PathBuf,
    part: PathBuf,
    input: File,
    output: GzEncoder<File>,
    /// On the heap: on the stack it would cost every run of the loop its page faults.
    piece: Vec<u8>,
}

impl LogFile {
    /// Opens for appending, mode 0640, never through a symlink of somebody else's making and never a FIFO.
    ///
    /// # Errors
    /// Says which path and why.
    pub(crate) fn open(path: &Path, max_size: u64, keep: u32) -> Result<LogFile, FileError> {
        let (file, size) = open(path)?;
        // A device has no size, and must not be renamed.
        let regular = file.metadata().is_ok_and(|m| m.is_file());
        Ok(LogFile {
            path: path.to_owned(),
            max_size: if regular { max_size } else { 0 },
            stuck_until: Duration::ZERO,
            now: Duration::ZERO,
            compress: false,
            keep,
            file: Some(file),
            size,
            buffer: Vec::new(),
            buffered_lines: 0,
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

    /// Somebody has moved the file: writes what is buffered to the old one and goes on with a new one.
    ///
    /// # Errors
    /// The path cannot be opened: the old file goes on.
    pub(crate) fn reopen(&mut self) -> Result<(), FileError> {
        self.flush_buffer();
        let (file, size) = open(&self.path)?;
        (self.file, self.size) = (Some(file), size);
        Ok(())
    }

    /// Adds a line, or a piece of one. A file that is full is rotated here, so never within a line.
    pub(crate) fn push(&mut self, bytes: &[u8], newline: bool) {
        let len = bytes.len() as u64 + u64::from(newline);
        let pending = self.buffer.len() as u64;
        let full = self.max_size > 0 && self.size + pending > 0 && self.size + pending + len > self.max_size;
        if full && self.now >= self.stuck_until {
            self.flush_buffer();
            self.rotate();
        }
        self.buffer.extend_from_slice(bytes);
        if newline {
            self.buffer.push(b'\n');
        }
        self.buffered_lines += 1;
        if self.buffer.len() >= BUFFER {
            self.flush_buffer();
        }
    }

    /// Writes what is buffered. `now`: to look every second whether the file was removed or rotated by others, and to
    /// begin a new one then. Gives back what was lost, once writing works again.
    pub(crate) fn flush(&mut self, now: Duration) -> Option<Lost> {
        self.now = now;
        if now.saturating_sub(self.looked) >= LOOK_EVERY {
            self.looked = now;
            self.look();
        }
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
            (self.file, self.size) = match open(&self.path) {
                Ok((file, size)) => (Some(file), size),
                Err(_) => (None, 0),
            };
        }
    }

    fn flush_buffer(&mut self) -> bool {
        if self.buffer.is_empty() {
            return true;
        }
        let mut rest = self.buffer.as_slice();
        if let Some(file) = self.file.as_mut() {
            while let Ok(n @ 1..) = file.write(rest) {
                self.size += n as u64;
                rest = &rest[n..];
                if rest.is_empty() {
                    break;
                }
            }
        }
        let ok = rest.is_empty();
        if !ok {
            let newlines = memchr::memchr_iter(b'\n', rest).count() as u64;
            self.lost.lines += newlines.max(1).min(self.buffered_lines);
            self.lost.bytes += rest.len() as u64;
        }
        self.buffer.clear();
        self.buffered_lines = 0;
        ok
    }

    fn numbered(&self, n: u32, gz: bool) -> PathBuf {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(format!(".{n}{}", if gz { ".gz" } else { "" }));
        PathBuf::from(name)
    }

    /// FILE.1.gz is the newest of the old ones. What was being compressed is taken up again later. Only our own file is
    /// moved: whoever may write to the directory could have put something else at its path.
    fn rotate(&mut self) {
        if let Some(job) = self.job.take() {
            let _ = fs::remove_file(&job.part);
        }
        if !self.is_ours() {
            return self.look();
        }
        if !self.shift() {
            // A directory that we may not write to: say so, and do not ask it again with every line.
            log::warn!("log_file {}: cannot be rotated; it grows", self.path.display());
            self.stuck_until = self.now.saturating_add(ROTATE_AGAIN);
            return;
        }
        (self.file, self.size) = match open(&self.path) {
            Ok((file, size)) => (Some(file), size),
            Err(_) => (None, 0),
        };
        self.compress = self.keep > 0;
    }

    /// Makes room at the path. Our own file first, so that nothing is moved when it cannot be.
    fn shift(&self) -> bool {
        if self.keep == 0 {
            return fs::remove_file(&self.path).is_ok();
        }
        let aside = self.numbered(0, false);
        if fs::rename(&self.path, &aside).is_err() {
            return false;
        }
        for gz in [true, false] {
            let _ = fs::remove_file(self.numbered(self.keep, gz));
            for n in (1..self.keep).rev() {
                let _ = fs::rename(self.numbered(n, gz), self.numbered(n + 1, gz));
            }
        }
        fs::rename(&aside, self.numbered(1, false)).is_ok()
    }

    /// The oldest file that is not compressed yet.
    fn next_job(&mut self) -> Option<Gzip> {
        if !self.compress {
            return None;
        }
        let plain = (1..=self.keep).rev().find(|n| self.numbered(*n, false).exists());
        self.compress = plain.is_some();
        let n = plain?;
        let job = Gzip::begin(self.numbered(n, false), self.numbered(n, true));
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
                    let _ = fs::remove_file(&job.part);
                }
            }
        }
        false
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.flush_buffer();
        // An old file that is not compressed yet stays as it is; the half-made copy goes.
        if let Some(job) = self.job.take() {
            let _ = fs::remove_file(&job.part);
        }
    }
}

impl Gzip {
    fn begin(from: PathBuf, to: PathBuf) -> Option<Gzip> {
        let mut part = to.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        // Never through a link, never into what somebody else put there, never a wait at a FIFO.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let input = OpenOptions::new().read(true).custom_flags(flags).open(&from).ok()?;
        if !input.metadata().ok()?.is_file() {
            return None;
        }
        let _ = fs::remove_file(&part);
        let output =
            OpenOptions::new().write(true).create_new(true).mode(0o640).custom_flags(flags).open(&part).ok()?;
        let output = GzEncoder::new(output, Compression::fast());
        Some(Gzip { from, to, part, input, output, piece: vec![0; GZIP_STEP] })
    }

    /// `Some(true)`: more to do; `Some(false)`: all read; `None`: it cannot be done.
    fn step(&mut self) -> Option<bool> {
        let n = self.input.read(&mut self.piece).ok()?;
        self.output.write_all(self.piece.get(..n)?).ok()?;
        Some(n > 0)
    }

    /// The copy takes the place of the file. False when it could not.
    fn end(self) -> bool {
        let Gzip { from, to, part, output, .. } = self;
        let done = output.finish().is_ok() && fs::rename(&part, &to).is_ok();
        let _ = fs::remove_file(if done { &from } else { &part });
        done
    }
}

fn open(path: &Path) -> Result<(File, u64), FileError> {
    let why = |why: String| FileError { path: path.to_owned(), why };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    let file =
        OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path).map_err(|e| match e
            .raw_os_error()
        {
            Some(libc::ELOOP) => why("is a symbolic link, which is not followed".into()),
            Some(libc::ENXIO) => why("is a FIFO, not a file".into()),
            _ => why(crate::sys::reason(&e)),
        })?;
    let meta = file.metadata().map_err(|e| why(crate::sys::reason(&e)))?;
    let kind = meta.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Err(why("is not a file".into()));
    }
    Ok((file, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_every_line_and_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, 1000, 3).unwrap();
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
        assert!(LogFile::open(&link, 10, 1).unwrap_err().why.contains("symbolic link"));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(LogFile::open(&fifo, 10, 1).is_err());
        assert!(LogFile::open(dir.path(), 10, 1).is_err());
    }

    #[test]
    fn a_full_disk_loses_lines_with_a_count() {
        let mut log = LogFile::open(Path::new("/dev/full"), 0, 0).unwrap();
        log.push(b"one", true);
        log.push(b"two", true);
        assert_eq!(log.flush(Duration::ZERO), None);
        assert_eq!(log.lost, Lost { lines: 2, bytes: 8 });
    }

    #[test]
    fn a_device_is_never_rotated_and_what_is_not_ours_is_never_moved() {
        assert_eq!(LogFile::open(Path::new("/dev/null"), 10, 1).unwrap().max_size, 0);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, 20, 3).unwrap();
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
        let mut log = LogFile::open(&path, 20, 3).unwrap();
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
        let mut log = LogFile::open(&path, 1000, 1).unwrap();
        fs::remove_file(&path).unwrap();
        log.push(b"after", true);
        log.flush(Duration::from_secs(2));
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }
}
