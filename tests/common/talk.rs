//! Workers that speak: the scripted victim (`worker talk`), Node, and what a test asks of a heartbeat.

use super::{Dog, Run, wait_for, wait_line};
use serde_json::Value;
use std::time::Duration;

/// Short signs of life: a hang is found 400 ms after the first ping without an answer.
pub const BEAT: Duration = Duration::from_millis(200);

impl Run {
    /// Heartbeats of 200 ms, two misses, a short time for the dump.
    pub fn beating() -> Run {
        let run = Run::quick();
        let dir = run.at("reports");
        run.flag("--heartbeat-interval", "200ms")
            .flag("--heartbeat-timeout", "200ms")
            .flag("--heartbeat-misses", "2")
            .flag("--hang-dump-timeout", "500ms")
            .flag("--report-dir", dir)
    }

    /// The scripted victim; what it hears goes into `talk`.
    pub fn talks(self, steps: &[&str]) -> Run {
        let log = self.at("talk");
        let mut words = vec!["talk", "--log", &log];
        words.extend(steps);
        self.worker(words)
    }

    /// The first life by the first script, every other by the second.
    pub fn talks_once(self, first: &[&str], later: &[&str]) -> Run {
        let (log, once) = (self.at("talk"), self.at("once"));
        let mut words = vec!["talk", "--log", &log, "--once", &once];
        words.extend(first);
        words.push("--");
        words.extend(later);
        self.worker(words)
    }

    /// A few lines of JavaScript; `None` (and said so) where there is no node.
    pub fn node(self, script: &str) -> Option<Run> {
        let found = std::process::Command::new("node").arg("-v").output().is_ok_and(|o| o.status.success());
        if !found {
            super::skip("node is not installed");
            return None;
        }
        std::fs::write(self.path("worker.js"), script).unwrap();
        let path = self.at("worker.js");
        Some(self.program(["node", &path]))
    }
}

impl Dog {
    /// Waits for a line of the scripted victim.
    pub fn hears(&self, part: &str) -> String {
        wait_line(&self.path("talk"), part)
    }

    /// Lines of the scripted victim that begin so.
    pub fn heard(&self, begin: &str) -> usize {
        super::lines(&self.path("talk")).iter().filter(|l| l.starts_with(begin)).count()
    }

    pub fn heartbeat(&self) -> Value {
        self.status()["heartbeat"].clone()
    }

    /// Waits until silence would be judged.
    pub fn armed(&self) -> Value {
        wait_for("an armed heartbeat", || Some(self.heartbeat()).filter(|h| h["armed"] == true))
    }

    /// The verdicts so far: what, and what followed.
    pub fn verdicts(&self) -> Vec<(String, String)> {
        let word = |e: &Value, key: &str| e[key].as_str().unwrap_or_default().to_string();
        self.events_of("verdict").iter().map(|e| (word(e, "verdict"), word(e, "action"))).collect()
    }
}
