//! What `up` shows on standard output: the lines of its services, and on a terminal what is still to come up.

use super::lines::Lines;
use super::progress::Progress;
use crate::cli::Output;
use crate::logging;
use crate::settings::plan::Plan;
use std::io::IsTerminal;
use watchdog_engine::{Notice, Observer, OutputLine, Snapshot};

/// Both of them, one above the other.
pub(crate) struct Screen {
    lines: Lines,
    progress: Option<Progress>,
}

impl Screen {
    /// For the services of this plan. `progress`: nobody said that it is not wanted.
    pub(crate) fn new(output: Output, progress: bool, plan: &Plan) -> Screen {
        let terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("TERM").is_none_or(|t| t == "dumb");
        let colours = terminal && !plain && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let view = progress && terminal && !plain && output != Output::Json && std::io::stderr().is_terminal();
        let names = plan.specs.iter().map(|s| s.name.as_str());
        Screen { lines: Lines::new(output, terminal, colours, names), progress: view.then(|| Progress::new(colours)) }
    }

    /// Lines of our own log, above the view.
    fn own_lines(&mut self, screen: &mut Vec<u8>) {
        let Some(progress) = &mut self.progress else { return };
        for line in logging::held() {
            progress.clear(screen);
            screen.extend_from_slice(line.as_bytes());
            screen.push(b'\n');
        }
    }
}

impl Observer for Screen {
    fn line(&mut self, line: &OutputLine<'_>, screen: &mut Vec<u8>) {
        if line.passed_on {
            return;
        }
        if let Some(progress) = &mut self.progress {
            progress.clear(screen);
        }
        self.lines.push(line, screen);
        if let Some(progress) = &mut self.progress {
            progress.draw(screen);
        }
    }

    fn notice(&mut self, notice: &Notice, snapshot: &Snapshot<'_>, screen: &mut Vec<u8>) {
        self.own_lines(screen);
        if let Some(progress) = &mut self.progress {
            progress.look(notice, snapshot, screen);
        }
    }

    fn turn(&mut self, screen: &mut Vec<u8>) {
        self.own_lines(screen);
        if let Some(progress) = &mut self.progress {
            progress.draw(screen);
            progress.rest();
        }
    }

    fn end(&mut self, screen: &mut Vec<u8>) {
        self.own_lines(screen);
        if let Some(mut progress) = self.progress.take() {
            progress.end(screen);
        }
    }
}
