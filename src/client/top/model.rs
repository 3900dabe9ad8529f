//! What `top` knows: the services as they were told last, what they used before, and where the person is looking.

use crate::client::form::clean;
use serde_json::Value;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};

/// Samples kept of each service: more than any column is wide.
const CURVE: usize = 120;
/// Lines of output kept of the one that is looked at.
const LINES: usize = 500;
/// Letters of a filter.
const LONGEST: usize = 64;

/// What one service used, sample after sample, the newest last.
#[derive(Debug, Default)]
pub(super) struct Curve {
    /// Bytes.
    pub(super) rss: VecDeque<u64>,
    /// Tenths of a percent of one core.
    pub(super) cpu: VecDeque<u64>,
    generation: u64,
}

/// What is to be done with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// `start`, `stop` or `restart`.
    pub(super) verb: &'static str,
    pub(super) service: String,
}

/// What the keys mean at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Look,
    /// A filter is being typed.
    Filter,
    Help,
    /// Whether this is really meant.
    Sure(Wish),
}

/// What stands below the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    Both,
    /// Why alone: what happened last night is longer than half a screen.
    Why,
    Lines,
}

impl Below {
    pub(super) fn next(self) -> Below {
        match self {
            Below::Both => Below::Why,
            Below::Why => Below::Lines,
            Below::Lines => Below::Both,
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) instance: Value,
    services: Vec<Value>,
    curves: HashMap<String, Curve>,
    pub(super) selected: Option<String>,
    /// The first row that is shown: kept by whoever draws, so that rows stand still as long as they can.
    pub(super) first: Cell<usize>,
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) below: Below,
    /// What became of the last wish.
    pub(super) message: String,
    /// Why the one that is looked at is where it is.
    pub(super) explained: Vec<String>,
    pub(super) lines: VecDeque<String>,
    /// Why there are no lines.
    pub(super) no_lines: Option<String>,
    /// Nobody answers, and why.
    pub(super) silent: Option<String>,
}

impl Model {
    pub(super) fn new() -> Model {
        Model {
            instance: Value::Null,
            services: Vec::new(),
            curves: HashMap::new(),
            selected: None,
            first: Cell::new(0),
            filter: String::new(),
            mode: Mode::Look,
            below: Below::Both,
            message: String::new(),
            explained: Vec::new(),
            lines: VecDeque::new(),
            no_lines: None,
            silent: None,
        }
    }

    /// Takes an answer of `status`. True if somebody else is looked at now.
    pub(super) fn take_status(&mut self, mut status: Value) -> bool {
        self.silent = None;
        self.instance = status["instance"].take();
        self.services = status["services"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let names: Vec<&str> = self.services.iter().filter_map(|s| s["name"].as_str()).collect();
        self.curves.retain(|name, _| names.contains(&name.as_str()));
        for service in &self.services {
            if let Some(name) = service["name"].as_str() {
                self.curves.entry(name.to_string()).or_default().take(service);
            }
        }
        self.select_somebody()
    }

    /// Those that match the filter, in the order of the file.
    pub(super) fn shown(&self) -> Vec<&Value> {
        let wanted = self.filter.to_lowercase();
        let has = |value: &Value| value.as_str().is_some_and(|text| text.to_lowercase().contains(&wanted));
        self.services.iter().filter(|s| has(&s["name"]) || has(&s["state"]) || has(&s["health"])).collect()
    }

    pub(super) fn services(&self) -> &[Value] {
        &self.services
    }

    pub(super) fn curve(&self, name: &str) -> Option<&Curve> {
        self.curves.get(name)
    }

    /// The one that is looked at.
    pub(super) fn current(&self) -> Option<&Value> {
        let name = self.selected.as_deref()?;
        self.services.iter().find(|s| s["name"].as_str() == Some(name))
    }

    /// Which row is looked at.
    pub(super) fn row(&self) -> Option<usize> {
        let name = self.selected.as_deref()?;
        self.shown().iter().position(|s| s["name"].as_str() == Some(name))
    }

    /// So many rows down, or up. True if somebody else is looked at now.
    pub(super) fn go(&mut self, rows: isize) -> bool {
        let last = self.shown().len().saturating_sub(1);
        let row = self.row().unwrap_or(0).saturating_add_signed(rows).min(last);
        self.look_at(row)
    }

    /// Whoever is looked at is one of those that are shown.
    pub(super) fn select_somebody(&mut self) -> bool {
        let row = self.row().unwrap_or(0);
        self.look_at(row)
    }

    fn look_at(&mut self, row: usize) -> bool {
        let name = self.shown().get(row).and_then(|s| s["name"].as_str()).map(str::to_string);
        if name == self.selected {
            return false;
        }
        self.selected = name;
        self.explained.clear();
        self.begin_lines();
        true
    }

    /// One letter more for the filter.
    pub(super) fn type_letter(&mut self, letter: char) -> bool {
        if !watchdog_engine::is_hidden(letter) && self.filter.chars().count() < LONGEST {
            self.filter.push(letter);
        }
        self.select_somebody()
    }

    /// Another service, or the same from its last lines on.
    pub(super) fn begin_lines(&mut self) {
        self.lines.clear();
        self.no_lines = None;
    }

    /// A line of output; nothing of it does anything to the terminal.
    pub(super) fn take_line(&mut self, line: &[u8]) {
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(clean(&String::from_utf8_lossy(line).replace('\t', "    ")));
    }

    /// An answer of `explain`.
    pub(super) fn take_explained(&mut self, answer: &Value) {
        let mine = answer["services"].as_array().into_iter().flatten();
        let mine = mine.filter(|s| s["service"].as_str() == self.selected.as_deref());
        let sentences = mine.flat_map(|s| s["text"].as_array().into_iter().flatten());
        let text: Vec<String> = sentences.filter_map(|t| t.as_str().map(clean)).collect();
        if !text.is_empty() {
            self.explained = text;
        }
    }
}

impl Curve {
    fn take(&mut self, service: &Value) {
        let generation = service["generation"].as_u64().unwrap_or(0);
        if generation != std::mem::replace(&mut self.generation, generation) {
            self.rss.clear();
            self.cpu.clear();
        }
        if let Some(bytes) = service["memory"]["rss_bytes"].as_u64() {
            keep(&mut self.rss, bytes);
        }
        if let Some(percent) = service["cpu"]["percent"].as_f64() {
            keep(&mut self.cpu, (percent * 10.0) as u64);
        }
    }
}

fn keep(values: &mut VecDeque<u64>, value: u64) {
    if values.len() >= CURVE {
        values.pop_front();
    }
    values.push_back(value);
}

/// The last of these values as a row of little bars, at the right of a column. `least`: what a full bar stands for at
/// least, so that a trifle does not look like a mountain.
pub(super) fn bars(values: &VecDeque<u64>, width: usize, least: u64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = || values.iter().skip(values.len().saturating_sub(width));
    let most = last().copied().max().unwrap_or(0).max(least).max(1);
    let bar = |value: &u64| BARS[(u128::from(*value) * 7 / u128::from(most)) as usize];
    let mut text = " ".repeat(width.saturating_sub(values.len()));
    text.extend(last().map(bar));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn model(names: &[&str]) -> Model {
        let mut model = Model::new();
        model.take_status(status(names));
        model
    }

    fn status(names: &[&str]) -> Value {
        let one = |n: &&str| json!({"name": n, "state": "running", "generation": 1, "memory": {"rss_bytes": 7}, "cpu": {"percent": 12.5}});
        json!({ "instance": {"name": "x"}, "services": names.iter().map(one).collect::<Vec<_>>() })
    }

    #[test]
    fn somebody_who_is_shown_is_looked_at_and_stays_so() {
        let mut model = model(&["web", "db", "worker"]);
        assert_eq!(model.selected.as_deref(), Some("web"));
        assert!(model.go(2) && !model.go(5));
        assert_eq!(model.selected.as_deref(), Some("worker"));
        assert!(!model.take_status(status(&["worker", "new"])), "by name, not by row");
        assert_eq!(model.row(), Some(0));
        assert!(!model.type_letter('n') && model.shown().len() == 2, "the state is searched too");
        assert!(model.type_letter('e') && model.shown().len() == 1);
        assert!(model.take_status(status(&["nest"])));
        model.filter = "nobody".into();
        assert!(model.select_somebody() && model.selected.is_none() && !model.go(1));
    }

    #[test]
    fn a_curve_is_of_one_generation_and_bounded() {
        let mut model = model(&["web"]);
        (0..500).for_each(|_| assert!(!model.take_status(status(&["web"]))));
        let curve = model.curve("web").unwrap();
        assert_eq!((curve.rss.len(), curve.cpu.len(), curve.cpu[0]), (CURVE, CURVE, 125));
        let mut next = status(&["web"]);
        next["services"][0]["generation"] = 2.into();
        model.take_status(next);
        assert_eq!(model.curve("web").unwrap().rss.len(), 1);
        model.take_status(status(&[]));
        assert!(model.curve("web").is_none());
    }

    #[test]
    fn bars_are_as_high_as_the_highest_of_those_shown() {
        let values = VecDeque::from([900, 0, 50, 100]);
        assert_eq!(bars(&values, 3, 0), "▁▄█");
        assert_eq!(bars(&values, 6, 0), "  █▁▁▁");
        assert_eq!(bars(&values, 2, 1000), "▁▁");
        assert_eq!(bars(&VecDeque::new(), 3, 0), "   ");
        assert_eq!(bars(&VecDeque::from([u64::MAX]), 1, 0), "█");
    }

    #[test]
    fn what_a_worker_writes_is_text_and_bounded() {
        let mut model = model(&["web"]);
        (0..600).for_each(|_| model.take_line(b"a\x1b[2J\tb"));
        assert_eq!((model.lines.len(), model.lines[0].as_str()), (LINES, "a\\u{1b}[2J    b"));
        model.take_explained(&json!({"services": [{"service": "web", "text": ["it \u{9b}runs"]}]}));
        assert_eq!(model.explained, ["it \\u{9b}runs"]);
    }
}
