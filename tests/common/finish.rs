//! The end of a run, and the checks that every run has to pass.

use super::{Dog, Run, marked};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

/// A run that is over.
pub struct Ended {
    pub run: Run,
    /// Exit code, or 128 + N when signal N ended the watchdog itself.
    pub code: i32,
    pub status: ExitStatus,
    pub took: Duration,
    pub out: String,
    pub err: String,
    pub events: Vec<Value>,
}

/// Whole lines of an events file; each of them must be JSON.
pub fn events(path: &Path) -> Vec<Value> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(&bytes[..0], |at| &bytes[..at]);
    let text = std::str::from_utf8(whole).unwrap_or_else(|e| panic!("events file is not UTF-8: {e}"));
    let parse = |l: &str| serde_json::from_str(l).unwrap_or_else(|e| panic!("bad event line {l:?}: {e}"));
    text.lines().map(parse).collect()
}

pub(super) fn check(mut dog: Dog, status: ExitStatus) -> Ended {
    let took = dog.began.elapsed();
    let left = marked(&dog.run.mark);
    let hard = status.signal().is_some();
    let ended = Ended {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        status,
        took,
        out: dog.out(),
        err: dog.err(),
        events: dog.events(),
        run: std::mem::take(&mut dog.run),
    };
    drop(dog);
    // ended first, judged then: a failed test leaves nobody either
    super::procs::end_all(&ended.run.mark);
    if !ended.run.leaves_alive {
        assert!(left.is_empty(), "still alive after the end: {left:?}\n{}", ended.story());
    }
    for word in ["panicked at", "RUST_BACKTRACE", "stack backtrace", "a defect of the watchdog"] {
        assert!(!ended.err.contains(word), "the watchdog panicked: {}", ended.err);
    }
    if !hard {
        one_exit_per_spawn(&ended);
    }
    ended
}

/// Every generation that was spawned ended exactly once, and the sequence numbers only grow.
fn one_exit_per_spawn(ended: &Ended) {
    let key = |e: &Value| (e["service"].to_string(), e["generation"].to_string());
    let all = |kind: &str| {
        let mut all: Vec<_> = ended.of(kind).iter().map(key).collect();
        // several services end in any order; the generations of each keep theirs
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let (spawned, exited) = (all("spawn"), all("exit"));
    assert_eq!(spawned, exited, "each spawn has exactly one exit\n{}", ended.story());
    let seq: Vec<u64> = ended.events.iter().map(|e| e["seq"].as_u64().unwrap_or(0)).collect();
    assert!(seq.windows(2).all(|w| w[0] < w[1]), "sequence numbers grow: {seq:?}");
    let mono: Vec<u64> = ended.events.iter().map(|e| e["mono_ms"].as_u64().unwrap_or(0)).collect();
    assert!(mono.windows(2).all(|w| w[0] <= w[1]), "monotonic times do not go back: {mono:?}");
}

impl Ended {
    /// Everything that is known, for a failure message.
    pub fn story(&self) -> String {
        let events: Vec<String> = self.events.iter().map(Value::to_string).collect();
        format!("code {}\n--- stderr\n{}\n--- events\n{}", self.code, self.err, events.join("\n"))
    }

    #[track_caller]
    pub fn code(self, wanted: i32) -> Ended {
        assert_eq!(self.code, wanted, "exit code of the watchdog\n{}", self.story());
        self
    }

    /// Events of one kind.
    pub fn of(&self, kind: &str) -> Vec<Value> {
        self.events.iter().filter(|e| e["event"] == kind).cloned().collect()
    }

    #[track_caller]
    pub fn count(self, kind: &str, wanted: usize) -> Ended {
        assert_eq!(self.of(kind).len(), wanted, "number of {kind} events\n{}", self.story());
        self
    }

    /// That kinds appear in this order (others may stand between).
    #[track_caller]
    pub fn order(self, kinds: &[&str]) -> Ended {
        let mut rest = kinds.iter().peekable();
        for e in &self.events {
            rest.next_if(|k| e["event"] == ***k);
        }
        assert!(rest.peek().is_none(), "{:?} is missing from the order {kinds:?}\n{}", rest.peek(), self.story());
        self
    }

    /// A word on the watchdog's stderr.
    #[track_caller]
    pub fn says(self, part: &str) -> Ended {
        assert!(self.err.contains(part), "stderr does not say {part:?}\n{}", self.story());
        self
    }

    #[track_caller]
    pub fn silent(self) -> Ended {
        assert!(self.err.is_empty(), "stderr should be empty\n{}", self.story());
        self
    }

    /// That it ended within `ms` of its start.
    #[track_caller]
    pub fn before(self, ms: u64) -> Ended {
        assert!(self.took < Duration::from_millis(ms), "took {:?}, wanted below {ms} ms\n{}", self.took, self.story());
        self
    }

    pub fn lines(&self, name: &str) -> Vec<String> {
        super::lines(&self.run.path(name))
    }

    /// JSON that the victim's `inherit` printed.
    pub fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}\n{}", self.story()))
    }
}
