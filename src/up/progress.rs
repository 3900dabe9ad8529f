//! What is still to come up, and what it waits for: a few lines at the bottom of a terminal that go when all is ready. It
//! is drawn when something happens and at no other time.

use super::lines::cut;
use crate::logging;
use watchdog_engine::machine::What;
use watchdog_engine::{Notice, ServiceState, Snapshot, terminal_width};

/// Services that are shown at a time.
const ROWS: usize = 10;
/// Longest name.
const NAME_MAX: usize = 24;
/// Where the terminal does not say how wide it is.
const USUAL_WIDTH: usize = 80;

/// The view.
pub(crate) struct Progress {
    colours: bool,
    /// It is up: something is not ready yet.
    active: bool,
    /// The rows that should be there, without escapes, and whether each is bad news.
    rows: Vec<(String, bool)>,
    /// Lengths of those that are there.
    drawn: Vec<usize>,
    /// Our own log goes through us.
    holds: bool,
}

impl Progress {
    /// Up from the beginning.
    pub(crate) fn new(colours: bool) -> Progress {
        logging::hold();
        Progress { colours, active: true, rows: Vec::new(), drawn: Vec::new(), holds: true }
    }

    /// Takes it off the screen, so that something can be written above it.
    pub(crate) fn clear(&mut self, screen: &mut Vec<u8>) {
        let width = terminal_width().map_or(USUAL_WIDTH, usize::from);
        // A terminal that has become narrower has broken our lines.
        let height: usize = self.drawn.drain(..).map(|length| length.max(1).div_ceil(width)).sum();
        if height > 0 {
            screen.extend_from_slice(format!("\r\u{1b}[{height}A\u{1b}[J").as_bytes());
        }
    }

    /// Puts it there, if it is not.
    pub(crate) fn draw(&mut self, screen: &mut Vec<u8>) {
        if !self.drawn.is_empty() {
            return;
        }
        let width = terminal_width().map_or(USUAL_WIDTH, usize::from);
        for (text, bad) in &self.rows {
            let text: String = text.chars().take(width.saturating_sub(1)).collect();
            self.drawn.push(text.chars().count());
            let (on, off) = match (self.colours, bad) {
                (true, true) => ("\u{1b}[31m", "\u{1b}[0m"),
                (true, false) => ("\u{1b}[2m", "\u{1b}[0m"),
                (false, _) => ("", ""),
            };
            screen.extend_from_slice(format!("{on}{text}{off}\n").as_bytes());
        }
    }

    /// Something has happened.
    pub(crate) fn look(&mut self, notice: &Notice, snapshot: &Snapshot<'_>, screen: &mut Vec<u8>) {
        if !self.active && !calls_for_it(&notice.what) {
            return;
        }
        let wanted: Vec<ServiceState> = snapshot.services().filter(|s| s.wanted && !s.hidden).collect();
        let open = wanted.iter().any(|s| !s.ready && !s.at_rest && !s.hopeless);
        if open && !std::mem::replace(&mut self.holds, true) {
            logging::hold();
        }
        if open {
            self.active = true;
            let rows = rows(&wanted);
            if rows != self.rows {
                self.clear(screen);
                self.rows = rows;
            }
            return self.draw(screen);
        }
        if std::mem::take(&mut self.active) && !wanted.is_empty() {
            self.clear(screen);
            self.rows.clear();
            screen.extend_from_slice(outcome(&wanted, snapshot).as_bytes());
        }
    }

    /// A turn is over: what has been said of the last start is said, and the log goes its usual way again.
    pub(crate) fn rest(&mut self) {
        if !self.active && std::mem::take(&mut self.holds) {
            logging::let_go();
        }
    }

    /// Nothing is left of it.
    pub(crate) fn end(&mut self, screen: &mut Vec<u8>) {
        self.clear(screen);
        logging::let_go();
    }
}

/// Whether this may leave somebody who is not ready for a while, when all were.
fn calls_for_it(what: &What) -> bool {
    matches!(what, What::ConfigReloaded { added, .. } if !added.is_empty())
        || matches!(what, What::StartRequested { .. })
}

fn rows(wanted: &[ServiceState]) -> Vec<(String, bool)> {
    let ready = wanted.iter().filter(|s| s.ready).count();
    let mut rows = vec![(format!("{ready} of {} ready", wanted.len()), false)];
    let open: Vec<&ServiceState> = wanted.iter().filter(|s| !s.ready).collect();
    let width = open.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).clamp(1, NAME_MAX);
    for s in open.iter().take(ROWS) {
        let bad = s.at_rest || s.hopeless;
        // The reason of one that waits says it already.
        let state = if s.waiting_on.is_empty() { format!("{}: ", s.state) } else { String::new() };
        let reason: String = s.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        rows.push((format!("  {}  {state}{reason}", cut(&s.name, width)), bad));
    }
    if open.len() > ROWS {
        rows.push((format!("  … and {} more", open.len() - ROWS), false));
    }
    rows
}

fn outcome(wanted: &[ServiceState], snapshot: &Snapshot<'_>) -> String {
    let bad: Vec<&str> = wanted.iter().filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    let time = format!("{:.1}s", snapshot.uptime().as_secs_f64());
    match (bad.is_empty(), wanted.len()) {
        (true, 1) => format!("{} is ready in {time}\n", wanted[0].name),
        (true, all) => format!("all {all} services are ready in {time}\n"),
        (false, all) => format!("{} of {all} services are ready; not: {}\n", all - bad.len(), bad.join(", ")),
    }
}
