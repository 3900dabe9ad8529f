//! What is still to come up, and what it waits for: a few lines at the bottom of a terminal that go when all is ready. It
//! is drawn when something happens and at no other time, so nothing wakes up for it.

use super::lines::cut;
use super::room::{Room, columns, fit};
use crate::logging;
use std::time::Duration;
use watchdog_engine::machine::What;
use watchdog_engine::{Counts, Notice, ServiceState, Snapshot, is_hidden};

/// Services that are shown at a time.
const ROWS: usize = 10;
/// Longest name.
const NAME_MAX: usize = 24;

/// One line of the view, without escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    text: String,
    /// It will not come up by itself.
    bad: bool,
}

/// The view.
pub(crate) struct Progress {
    colours: bool,
    /// It is up: something is not ready yet.
    active: bool,
    /// Something happened since the last look, and whether that may bring the view back.
    stale: bool,
    called: bool,
    /// When it came up.
    since: Duration,
    /// The rows that should be there.
    rows: Vec<Row>,
    /// Columns of those that are there.
    drawn: Vec<usize>,
    /// The same before what was written last.
    before: Vec<usize>,
}

impl Progress {
    /// Up from the beginning.
    pub(crate) fn new(colours: bool) -> Progress {
        logging::hold();
        let (since, rows, drawn, before) = (Duration::ZERO, Vec::new(), Vec::new(), Vec::new());
        Progress { colours, active: true, stale: true, called: false, since, rows, drawn, before }
    }

    /// Where it stands, a shell may have written since: it is left there, and the next one is below.
    pub(crate) fn forget(&mut self) {
        self.drawn.clear();
    }

    /// Something is about to be written.
    pub(crate) fn begin(&mut self) {
        self.before.clone_from(&self.drawn);
    }

    /// It was dropped: what was there before still is.
    pub(crate) fn dropped(&mut self) {
        self.drawn.clone_from(&self.before);
    }

    /// Takes it off the screen, so that something can be written in its place.
    pub(crate) fn clear(&mut self, screen: &mut Vec<u8>) {
        if self.drawn.is_empty() {
            return;
        }
        // A terminal that has become narrower has broken our lines.
        let width = Room::now().width;
        let height: usize = self.drawn.drain(..).map(|columns| columns.max(1).div_ceil(width)).sum();
        screen.extend_from_slice(format!("\r\u{1b}[{height}A\u{1b}[J").as_bytes());
    }

    /// Others write to this terminal without us: from now on nobody could know where the view stands.
    pub(crate) fn leave(&mut self, screen: &mut Vec<u8>) {
        self.clear(screen);
        logging::let_go();
    }

    /// Something has happened.
    pub(crate) fn note(&mut self, notice: &Notice) {
        self.stale = true;
        self.called |= calls_for_it(&notice.what);
    }

    /// A turn is over: what has changed is drawn, once for all that happened in it.
    pub(crate) fn turn(&mut self, snapshot: &Snapshot<'_>, screen: &mut Vec<u8>) {
        let called = std::mem::take(&mut self.called);
        if std::mem::take(&mut self.stale) && (self.active || called) {
            self.look(snapshot, screen);
        }
        if self.active && self.drawn.is_empty() {
            self.draw(screen);
        }
    }

    fn look(&mut self, snapshot: &Snapshot<'_>, screen: &mut Vec<u8>) {
        let counts = snapshot.counts();
        let open = counts.ready + counts.given_up < counts.wanted && !snapshot.is_ending();
        if open {
            if !std::mem::replace(&mut self.active, true) {
                self.since = snapshot.uptime();
                logging::hold();
            }
            let rows = rows(counts, snapshot.not_ready(), ROWS.min(Room::now().height.saturating_sub(3)));
            if rows != self.rows {
                self.clear(screen);
                self.rows = rows;
            }
        } else if std::mem::take(&mut self.active) {
            self.clear(screen);
            self.rows.clear();
            if counts.ready == counts.wanted || !snapshot.is_ending() {
                let took = snapshot.uptime().saturating_sub(self.since);
                screen.extend_from_slice(outcome(counts, snapshot.not_ready(), took).as_bytes());
            }
            logging::let_go();
        }
    }

    fn draw(&mut self, screen: &mut Vec<u8>) {
        // The last column stays free: what fills it leaves the cursor in different places on different terminals.
        let width = Room::now().width.saturating_sub(1).max(1);
        for row in &self.rows {
            let text = fit(&row.text, width);
            self.drawn.push(columns(text));
            let (on, off) = match self.colours && row.bad {
                true => ("\u{1b}[31m", "\u{1b}[0m"),
                false => ("", ""),
            };
            screen.extend_from_slice(format!("{on}{text}{off}\n").as_bytes());
        }
    }
}

/// Whether this may leave somebody who is not ready for a while, when all were.
fn calls_for_it(what: &What) -> bool {
    matches!(what, What::ConfigReloaded { added, .. } if !added.is_empty())
        || matches!(what, What::StartRequested { .. })
}

/// A line for each that is not ready, at most so many, and one that counts.
fn rows(counts: Counts, open: impl Iterator<Item = ServiceState>, most: usize) -> Vec<Row> {
    let shown: Vec<ServiceState> = open.take(most.max(1)).collect();
    let left = (counts.wanted - counts.ready).saturating_sub(shown.len());
    let names = shown.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).clamp(1, NAME_MAX);
    let mut rows: Vec<Row> = shown.iter().map(|s| row(s, names)).collect();
    if left > 0 {
        rows.push(Row { text: format!("  … and {left} more"), bad: false });
    }
    rows.push(Row { text: format!("  {} of {} ready", counts.ready, counts.wanted), bad: false });
    rows
}

fn row(s: &ServiceState, names: usize) -> Row {
    // The reason of one that waits says so already.
    let state = if s.waiting_on.is_empty() { format!("{}: ", s.state) } else { String::new() };
    let reason: String = s.reason.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    let text = format!("  {} {:>5}  {state}{reason}", cut(&s.name, names), age(s.since));
    Row { text, bad: s.at_rest || s.hopeless }
}

/// How long it has been so; what has just begun is nothing yet.
fn age(time: Duration) -> String {
    match time.as_secs() {
        0 => String::new(),
        s @ ..60 => format!("{s}s"),
        s @ ..3600 => format!("{}m{}s", s / 60, s % 60),
        s => format!("{}h{}m", s / 3600, s / 60 % 60),
    }
}

/// The one line that stays.
fn outcome(counts: Counts, not: impl Iterator<Item = ServiceState>, took: Duration) -> String {
    let (ready, wanted, took) = (counts.ready, counts.wanted, took.as_secs_f64());
    if ready < wanted {
        let mut names: Vec<String> = not.take(ROWS).map(|s| s.name).collect();
        if wanted - ready > names.len() {
            names.push("..".to_string());
        }
        return format!("{ready} of {wanted} services are ready; not: {}\n", names.join(", "));
    }
    match wanted {
        0 => String::new(),
        1 => format!("the service is ready in {took:.1}s\n"),
        _ => format!("all {wanted} services are ready in {took:.1}s\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, state: &'static str, seconds: u64, reason: &str) -> ServiceState {
        ServiceState {
            name: name.into(),
            state,
            ready: false,
            at_rest: state == "failed",
            wanted: true,
            reason: reason.into(),
            waiting_on: if state == "waiting" { vec!["db".into()] } else { Vec::new() },
            hopeless: false,
            pid: None,
            generation: 1,
            restarts: 0,
            since: Duration::from_secs(seconds),
            hidden: false,
        }
    }

    #[test]
    fn a_row_says_who_how_long_and_what_it_waits_for() {
        let all = [
            state("db", "starting", 3, "started"),
            state("api", "waiting", 0, "waiting for db (ready)"),
            state("old", "failed", 75, "exited\nwith code 7"),
        ];
        let counts = Counts { wanted: 4, ready: 1, given_up: 1 };
        let rows = rows(counts, all.into_iter(), ROWS);
        let texts: Vec<&str> = rows.iter().map(|r| r.text.as_str()).collect();
        let wanted = [
            "  db     3s  starting: started",
            "  api        waiting for db (ready)",
            "  old 1m15s  failed: exited with code 7",
            "  1 of 4 ready",
        ];
        assert_eq!(texts, wanted);
        assert_eq!(rows.iter().map(|r| r.bad).collect::<Vec<_>>(), [false, false, true, false]);
    }

    #[test]
    fn a_view_whose_end_nobody_was_shown_is_still_there() {
        let rows = vec![Row { text: "  0 of 2 ready".into(), bad: false }];
        let (drawn, before, since) = (Vec::new(), Vec::new(), Duration::ZERO);
        let mut view =
            Progress { colours: false, active: true, stale: false, called: false, since, rows, drawn, before };
        let mut screen = Vec::new();
        view.begin();
        view.draw(&mut screen);
        assert_eq!(screen, b"  0 of 2 ready\n");
        view.begin();
        view.clear(&mut screen);
        assert!(view.drawn.is_empty() && screen.ends_with(b"\r\x1b[1A\x1b[J"));
        view.dropped();
        assert_eq!(view.drawn, [14]);
    }

    #[test]
    fn more_than_ten_are_counted() {
        let all = (0..33).map(|n| state(&format!("s{n}"), "starting", 0, "started"));
        let rows = rows(Counts { wanted: 40, ready: 7, given_up: 0 }, all, ROWS);
        assert_eq!((rows.len(), rows[10].text.as_str()), (12, "  … and 23 more"));
    }

    #[test]
    fn the_line_that_stays_says_who_is_missing() {
        let took = Duration::from_millis(2345);
        let says = |ready, wanted, not: &[&str]| {
            let counts = Counts { wanted, ready, given_up: wanted - ready };
            outcome(counts, not.iter().map(|name| state(name, "failed", 0, "")).collect::<Vec<_>>().into_iter(), took)
        };
        assert_eq!(says(7, 7, &[]), "all 7 services are ready in 2.3s\n");
        assert_eq!(says(1, 1, &[]), "the service is ready in 2.3s\n");
        assert_eq!(says(1, 3, &["b", "c"]), "1 of 3 services are ready; not: b, c\n");
        assert_eq!(says(0, 0, &[]), "");
    }
}
