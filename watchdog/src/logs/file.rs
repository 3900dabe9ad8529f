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
        Ok(LogFile {
            path: path.to_owned(),
            max_size,
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

    /// Adds a line, or a piece of one. A file that is full is rotated here, so never within a line.
    pub(crate) fn push(&mut self, bytes: &[u8], newline: bool) {
        let len = bytes.len() as u64 + u64::from(newline);
        let pending = self.buffer.len() as u64;
        if self.max_size > 0 && self.size + pending > 0 && self.size + pending + len > self.max_size {
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
        if now.saturating_sub(self.looked) >= LOOK_EVERY {
            self.looked = now;
            self.look();
        }
        let worked = self.flush_buffer();
        (worked && self.lost != Lost::default()).then(|| std::mem::take(&mut self.lost))
    }

    fn look(&mut self) {
        let same = match (self.file.as_ref().and_then(|f| f.metadata().ok()), fs::symlink_metadata(&self.path)) {
            (Some(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
            _ => false,
        };
        if !same && let Ok((file, size)) = open(&self.path) {
            self.file = Some(file);
            self.size = size;
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

    /// FILE.1.gz is the newest of the old ones. What was being compressed stays as it is.
    fn rotate(&mut self) {
        if let Some(job) = self.job.take() {
            let _ = fs::remove_file(&job.part);
        }
        if self.keep == 0 {
            let _ = fs::remove_file(&self.path);
        } else {
            for gz in [true, false] {
                let _ = fs::remove_file(self.numbered(self.keep, gz));
                for n in (1..self.keep).rev() {
                    let _ = fs::rename(self.numbered(n, gz), self.numbered(n + 1, gz));
                }
            }
            let _ = fs::rename(&self.path, self.numbered(1, false));
        }
        match open(&self.path) {
            Ok((file, size)) => {
                self.file = Some(file);
                self.size = size;
            }
            // Keep writing to the old one: better too large than lost.
            Err(_) => self.size = 0,
        }
        if self.keep > 0 {
            self.job = Gzip::begin(self.numbered(1, false), self.numbered(1, true));
        }
    }

    /// One small piece of compression. True while there is more to do.
    pub(crate) fn work(&mut self) -> bool {
        let Some(job) = self.job.as_mut() else { return false };
        match job.step() {
            Some(true) => return true,
            Some(false) => {
                if let Some(job) = self.job.take() {
                    job.end();
                }
            }
            None => {
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
        let input = File::open(&from).ok()?;
        let output = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&part).ok()?;
        let output = GzEncoder::new(output, Compression::fast());
        Some(Gzip { from, to, part, input, output, piece: vec![0; GZIP_STEP] })
    }

    /// `Some(true)`: more to do; `Some(false)`: all read; `None`: it cannot be done.
    fn step(&mut self) -> Option<bool> {
        let n = self.input.read(&mut self.piece).ok()?;
        self.output.write_all(self.piece.get(..n)?).ok()?;
        Some(n > 0)
    }

    fn end(self) {
        let Gzip { from, to, part, output, .. } = self;
        if output.finish().is_ok() && fs::rename(&part, &to).is_ok() {
            let _ = fs::remove_file(&from);
        } else {
            let _ = fs::remove_file(&part);
        }
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
            _ => why(crate::machine::errno_name(e.raw_os_error().unwrap_or(0))),
        })?;
    let meta = file.metadata().map_err(|e| why(e.to_string()))?;
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
