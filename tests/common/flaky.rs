//! The life of the flaky victim, read from its own log.

use super::{Run, lines};
use std::path::Path;

/// `start`/`end` lines of the flaky victim: kind, pid, milliseconds.
pub fn marks(path: &Path) -> Vec<(String, i32, u64)> {
    let read = |l: &String| {
        let mut w = l.split(' ');
        let kind = w.next().unwrap().to_string();
        let pid = w.next().unwrap().parse().unwrap();
        (kind, pid, w.next().unwrap().parse::<u64>().unwrap() / 1_000_000)
    };
    lines(path).iter().map(read).collect()
}

pub fn starts(path: &Path) -> usize {
    marks(path).iter().filter(|m| m.0 == "start").count()
}

/// Milliseconds from each `end` to the next `start`.
pub fn gaps(path: &Path) -> Vec<u64> {
    let all = marks(path);
    all.windows(2).filter(|w| w[0].0 == "end" && w[1].0 == "start").map(|w| w[1].2 - w[0].2).collect()
}

/// A run of the flaky victim with its log in `log`.
pub fn flaky(run: Run, more: &[&str]) -> Run {
    let log = run.at("log");
    let mut words = vec!["flaky", &log];
    words.extend(more);
    run.worker(words)
}

/// Never two lives at the same time: start and end take turns.
pub fn no_overlap(path: &Path) {
    let kinds: Vec<String> = marks(path).into_iter().map(|m| m.0).collect();
    let turns = kinds.iter().enumerate().all(|(i, k)| *k == if i % 2 == 0 { "start" } else { "end" });
    assert!(turns, "two generations overlap: {kinds:?}");
}
