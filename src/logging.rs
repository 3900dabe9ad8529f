//! The watchdog's own log: env_logger in front, a bounded queue behind, and nothing that could ever block the loop.
//!
//! Standard error is somebody else's: a full pipe, a stopped terminal, a socket. It is asked whether it can take something
//! (poll), given little at a time, and never set to O_NONBLOCK: that would change it for everybody who shares it.

use crate::settings::LogFormat;
use crate::text;
use log::{LevelFilter, Log, Metadata, Record};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use watchdog_engine::SharedWriter;

/// Bytes of our own log that wait for a reader. Beyond this, lines are dropped and counted.
const QUEUE: usize = 64 * 1024;

/// Where the lines go: one for the process, shared by env_logger and `say`.
static SINK: Mutex<Option<Sink>> = Mutex::new(None);
/// Lines that somebody else shows meanwhile: `up`, while it draws its view on the same terminal.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);
/// Bytes that are held at most; more go their usual way.
const HELD_MAX: usize = 64 * 1024;
static LOGGER: Front = Front { inner: OnceLock::new(), config: OnceLock::new() };

/// Sets the log up. env_logger itself is built when the first line comes: most runs never say anything.
pub(crate) fn init(filter: &str, format: LogFormat) {
    if LOGGER.config.set((filter.to_string(), format)).is_ok() && log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(most_verbose(filter));
    }
}

/// One line of an error, in the form of the log, whatever its level.
pub(crate) fn say(message: &str) {
    let mut line = format!("watchdog: {}", printable(message));
    line.push('\n');
    let _ = Handle.write(line.as_bytes());
}

/// Writes what can be written without waiting. The engine calls this through `log::logger().flush()`.
pub(crate) fn flush() {
    // Nothing was ever said: most runs end so, and should not even look at standard error.
    if let Some(sink) = SINK.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        sink.drain();
    }
}

/// From now on lines wait for [`held`], and those that say only that a service comes up are not written: whoever holds the
/// others shows that already.
pub(crate) fn hold() {
    holding(|held| *held = Some(Vec::new()));
}

/// Takes the lines that wait, as they would have been written.
pub(crate) fn held() -> Vec<u8> {
    holding(|held| held.as_mut().map(std::mem::take)).unwrap_or_default()
}

/// Lines go their usual way again, those that wait first.
pub(crate) fn let_go() {
    if let Some(lines) = holding(Option::take).filter(|lines| !lines.is_empty()) {
        with_sink(|sink| sink.push(&lines));
    }
}

fn holding<T>(action: impl FnOnce(&mut Option<Vec<u8>>) -> T) -> T {
    action(&mut HELD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether this line is to wait, and does so now.
fn is_held(line: &[u8]) -> bool {
    holding(|held| {
        let room = held.as_mut().filter(|lines| lines.len() + line.len() <= HELD_MAX);
        room.map(|lines| lines.extend_from_slice(line)).is_some()
    })
}

/// Whether somebody shows anyway what this record says.
fn is_shown_otherwise(record: &Record<'_>) -> bool {
    record.target() == watchdog_engine::COMES_UP && holding(|held| held.is_some())
}

/// The highest level any part of a filter asks for, so that `log` can throw the rest away for free.
fn most_verbose(filter: &str) -> LevelFilter {
    let directives = filter.split('/').next().unwrap_or_default();
    let level = |d: &str| {
        let level = d.rsplit('=').next().unwrap_or_default().trim();
        // A bare module name asks for everything of that module.
        level.parse().unwrap_or(if level.is_empty() { LevelFilter::Off } else { LevelFilter::Trace })
    };
    // No directive at all is env_logger's own default.
    let some = directives.split(',').any(|d| !d.trim().is_empty());
    let highest = directives.split(',').map(level).max().unwrap_or(LevelFilter::Off);
    if some { highest } else { LevelFilter::Error }
}

/// Builds the real logger late and passes records on.
struct Front {
    inner: OnceLock<env_logger::Logger>,
    config: OnceLock<(String, LogFormat)>,
}

impl Front {
    fn inner(&self) -> Option<&env_logger::Logger> {
        let (filter, format) = self.config.get()?;
        Some(self.inner.get_or_init(|| build(filter, *format)))
    }
}

impl Log for Front {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner().is_some_and(|inner| inner.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(inner) = self.inner().filter(|_| !is_shown_otherwise(record)) {
            inner.log(record);
        }
    }

    fn flush(&self) {
        flush();
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of a log line is the wall clock's")]
fn build(filter: &str, format: LogFormat) -> env_logger::Logger {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter);
    builder.target(env_logger::Target::Pipe(Box::new(Handle)));
    builder.write_style(env_logger::WriteStyle::Never);
    match format {
        LogFormat::Text => {
            builder.format(|out, record| writeln!(out, "watchdog: {}", printable(&record.args().to_string())));
        }
        LogFormat::Json => {
            builder.format(|out, record| {
                let time = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
                let line = serde_json::json!({
                    "time": time,
                    "level": record.level().as_str().to_ascii_lowercase(),
                    "target": record.target(),
                    "message": record.args().to_string(),
                });
                writeln!(out, "{}", text::json(&line))
            });
        }
    }
    builder.build()
}

/// A line stays one line, and a name with an escape sequence does not reach the terminal as one.
pub(crate) fn printable(message: &str) -> String {
    text::clean(message)
}

/// What env_logger writes to.
struct Handle;

impl Write for Handle {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !is_held(line) {
            with_sink(|sink| sink.push(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn with_sink(action: impl FnOnce(&mut Sink)) {
    let mut guard = SINK.lock().unwrap_or_else(PoisonError::into_inner);
    action(guard.get_or_insert_with(Sink::stderr));
}

/// A descriptor, what it is, and the lines that wait for it.
pub(crate) struct Sink {
    fd: BorrowedFd<'static>,
    writer: SharedWriter,
    queue: VecDeque<u8>,
    dropped: u64,
}

impl Sink {
    /// The sink of standard error.
    fn stderr() -> Sink {
        // The descriptor is never closed by us, so it lives as long as we do.
        static STDERR: OnceLock<io::Stderr> = OnceLock::new();
        Sink::new(STDERR.get_or_init(io::stderr).as_fd())
    }

    fn new(fd: BorrowedFd<'static>) -> Sink {
        Sink { fd, writer: SharedWriter::of(fd), queue: VecDeque::new(), dropped: 0 }
    }

    /// Takes one line: writes it, keeps it, or drops and counts it.
    fn push(&mut self, line: &[u8]) {
        self.drain();
        if self.queue.len() + line.len() > QUEUE {
            self.dropped += 1;
            return;
        }
        self.report_drops();
        self.queue.extend(line);
        self.drain();
    }

    /// Says how much is missing, at the place where it is missing.
    fn report_drops(&mut self) {
        if self.dropped > 0 {
            let line = format!("watchdog: {} lines of the watchdog's own log were dropped\n", self.dropped);
            if self.queue.len() + line.len() <= QUEUE / 2 {
                self.queue.extend(line.as_bytes());
                self.dropped = 0;
            }
        }
    }

    /// Writes as much of the queue as goes without waiting.
    fn drain(&mut self) {
        loop {
            while !self.queue.is_empty() {
                let (front, _) = self.queue.as_slices();
                match self.writer.write_some(self.fd, front) {
                    Ok(0) => return,
                    Ok(n) => drop(self.queue.drain(..n)),
                    // There will never be a reader.
                    Err(_) => self.queue.clear(),
                }
            }
            if self.dropped == 0 {
                return;
            }
            self.report_drops();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A sink over a descriptor that lives until the test process ends.
    fn sink_over(fd: impl Into<std::os::fd::OwnedFd>) -> Sink {
        let fd: &'static std::os::fd::OwnedFd = Box::leak(Box::new(fd.into()));
        Sink::new(fd.as_fd())
    }

    #[test]
    fn a_full_pipe_never_blocks_and_the_loss_is_counted() {
        let (mut reader, writer) = io::pipe().expect("pipe");
        let mut sink = sink_over(writer);
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        for _ in 0..4000 {
            sink.push(&line);
        }
        assert!(sink.queue.len() <= QUEUE && sink.dropped > 0, "{} {}", sink.queue.len(), sink.dropped);
        let dropped = sink.dropped;
        let mut read = Vec::new();
        let mut buffer = [0; 65536];
        while !sink.queue.is_empty() || sink.dropped > 0 {
            let n = reader.read(&mut buffer).expect("read");
            read.extend_from_slice(&buffer[..n]);
            sink.drain();
        }
        let n = reader.read(&mut buffer).expect("read");
        read.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8(read).expect("UTF-8");
        assert!(text.contains(&format!("watchdog: {dropped} lines of the watchdog's own log were dropped\n")));
        assert_eq!(text.lines().filter(|l| l.starts_with('x')).count() as u64, 4000 - dropped);
        assert!(text.lines().all(|l| l.starts_with("watchdog: ") || l.len() == 99));
    }

    #[test]
    fn a_socket_without_a_reader_never_blocks() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("pair");
        let mut sink = sink_over(ours);
        for _ in 0..10_000 {
            sink.push(&[b'y'; 200]);
        }
        assert!(sink.dropped > 0);
    }

    #[test]
    fn a_dead_reader_takes_everything() {
        let (reader, writer) = io::pipe().expect("pipe");
        drop(reader);
        let mut sink = sink_over(writer);
        sink.push(b"line\n");
        assert!(sink.queue.is_empty() && sink.dropped == 0);
    }

    /// One test, because what is held is held for the whole process.
    #[test]
    fn lines_wait_while_somebody_shows_them_and_start_up_is_not_said_twice() {
        let record = |target| Record::builder().target(target).level(log::Level::Info).build();
        assert!(!is_held(b"before\n") && !is_shown_otherwise(&record(watchdog_engine::COMES_UP)));
        hold();
        assert!(is_held(b"one\n") && is_held(b"two\n"));
        assert!(is_shown_otherwise(&record(watchdog_engine::COMES_UP)) && !is_shown_otherwise(&record("other")));
        assert_eq!(held(), b"one\ntwo\n");
        assert!(!is_held(&[b'x'; HELD_MAX + 1]), "what has no room goes its usual way");
        assert_eq!(held(), b"");
        let_go();
        assert!(!is_held(b"after\n"));
    }

    #[test]
    fn a_message_stays_one_line() {
        assert_eq!(printable("a\nb\u{1b}[1m"), "a\\nb\\u{1b}[1m");
    }

    #[test]
    fn the_level_for_free_is_the_highest_asked_for() {
        assert_eq!(most_verbose("warn"), LevelFilter::Warn);
        assert_eq!(most_verbose("warn,watchdog_engine=debug"), LevelFilter::Debug);
        assert_eq!(most_verbose("watchdog_engine"), LevelFilter::Trace);
        assert_eq!(most_verbose("off"), LevelFilter::Off);
        assert_eq!(most_verbose(""), LevelFilter::Error);
    }
}
