//! What `up` shows on standard output: the lines of its services, and on a terminal what is still to come up.

use super::lines::Lines;
use super::progress::Progress;
use crate::cli::Output;
use crate::logging;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use watchdog_engine::spec::{LogMode, Spec};
use watchdog_engine::{Notice, Observer, OutputLine, Snapshot};

/// Both of them, one above the other.
pub(crate) struct Screen {
    lines: Lines,
    progress: Option<Progress>,
}

impl Screen {
    /// For these services. `progress`: nobody said that it is not wanted.
    pub(crate) fn new(output: Output, progress: bool, specs: &[Box<Spec>]) -> Screen {
        let terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("TERM").is_none_or(|t| t == "dumb");
        let colours = terminal && !plain && !is_set("NO_COLOR");
        // Where a service writes to the terminal without us nobody knows where the cursor is.
        let alone = specs.iter().all(|s| s.log.mode == LogMode::Capture);
        let wanted = progress && !is_set("NO_PROGRESS") && output != Output::Json;
        let view = wanted && alone && !plain && terminal && both_are_one_terminal();
        let names = specs.iter().map(|s| s.name.as_str());
        Screen { lines: Lines::new(output, terminal, colours, names), progress: view.then(|| Progress::new(colours)) }
    }

    /// What is written from here on is taken or dropped as a whole.
    fn begin(&mut self, screen: &[u8]) {
        if let Some(progress) = self.progress.as_mut().filter(|_| screen.is_empty()) {
            progress.begin();
        }
    }

    /// Lines of our own log, above the view.
    fn own_lines(&mut self, screen: &mut Vec<u8>) {
        let Some(progress) = &mut self.progress else { return };
        let lines = logging::held();
        if !lines.is_empty() {
            progress.clear(screen);
            screen.extend_from_slice(&lines);
        }
    }
}

/// Whether this variable says something.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Whether what we log appears where we draw.
fn both_are_one_terminal() -> bool {
    let device = |path| std::fs::metadata(path).ok().map(|m| m.rdev());
    std::io::stderr().is_terminal() && device("/proc/self/fd/1") == device("/proc/self/fd/2")
}

impl Observer for Screen {
    fn line(&mut self, line: &OutputLine<'_>, screen: &mut Vec<u8>) {
        if line.passed_on {
            // Such a service came with a reload.
            if let Some(mut progress) = self.progress.take() {
                progress.leave(screen);
            }
            return;
        }
        self.begin(screen);
        self.own_lines(screen);
        if let Some(progress) = &mut self.progress {
            progress.clear(screen);
        }
        self.lines.push(line, screen);
    }

    fn notice(&mut self, notice: &Notice, _snapshot: &Snapshot<'_>, _screen: &mut Vec<u8>) {
        if let Some(progress) = &mut self.progress {
            progress.note(notice);
        }
    }

    fn turn(&mut self, snapshot: &Snapshot<'_>, screen: &mut Vec<u8>) {
        self.begin(screen);
        self.own_lines(screen);
        if let Some(progress) = &mut self.progress {
            progress.turn(snapshot, screen);
        }
    }

    fn resumed(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.forget();
        }
    }

    fn dropped(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.dropped();
        }
    }

    fn end(&mut self, screen: &mut Vec<u8>) {
        self.own_lines(screen);
        if let Some(mut progress) = self.progress.take() {
            progress.leave(screen);
        }
    }
}
