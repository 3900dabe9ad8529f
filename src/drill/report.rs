//! What a drill prints: a row as soon as its case is over, one JSON object, a file in the form of JUnit.

use super::{Done, Outcome};
use crate::cli::Drill;
use crate::client::form::{BAD, GOOD, WARN, clean, painted, time};
use crate::{logging, output, settings};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What is known so far.
pub(super) struct Report {
    program: String,
    json: bool,
    junit: Option<PathBuf>,
    done: Vec<Done>,
    /// Somebody could not be told.
    lost: bool,
}

impl Report {
    pub(super) fn begin(drill: &Drill, program: &str) -> Report {
        let mut report = Report {
            program: program.to_string(),
            json: drill.json,
            junit: drill.junit.clone(),
            done: Vec::new(),
            lost: false,
        };
        report.print("RESULT   CASE        TIME    SEEN\n");
        report
    }

    pub(super) fn add(&mut self, done: Done) {
        let took = time(&millis(&done));
        let colour = match done.outcome {
            Outcome::Passed => GOOD,
            Outcome::Failed => BAD,
            Outcome::Skipped => WARN,
        };
        let word = painted(&format!("{:7}", done.outcome.word()), colour);
        self.print(&format!("{word}  {:10}  {took:6}  {}\n", done.case.name, clean(&done.seen)));
        for line in &done.tail {
            self.print(&format!("                             | {}\n", clean(line)));
        }
        self.done.push(done);
    }

    fn print(&mut self, text: &str) {
        self.lost |= !self.json && output::page(text) != 0;
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.done.iter().filter(|done| done.outcome == outcome).count()
    }

    /// The end, and the status that follows.
    pub(super) fn end(mut self) -> u8 {
        let counts = [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|outcome| self.count(outcome));
        let [passed, failed, skipped] = counts;
        self.print(&format!("{passed} passed, {failed} failed, {skipped} skipped\n"));
        if self.json {
            self.lost |= output::page(&format!("{}\n", self.object())) != 0;
        }
        if let Some(path) = self.junit.take()
            && let Err(e) = std::fs::write(&path, self.junit())
        {
            logging::say(&format!("drill: --junit {}: {}", path.display(), settings::reason(&e)));
            return settings::BROKEN;
        }
        u8::from(failed > 0 || self.lost)
    }

    fn object(&self) -> Value {
        let case = |done: &Done| {
            json!({
                "name": done.case.name, "title": done.case.title, "result": done.outcome.word(), "seen": done.seen,
                "took_ms": millis(done), "log_tail": done.tail,
            })
        };
        json!({
            "program": self.program,
            "ok": self.count(Outcome::Failed) == 0,
            "passed": self.count(Outcome::Passed),
            "failed": self.count(Outcome::Failed),
            "skipped": self.count(Outcome::Skipped),
            "cases": self.done.iter().map(case).collect::<Vec<_>>(),
        })
    }

    /// As the test runners of Java began it and everybody reads it.
    fn junit(&self) -> String {
        let seconds = |ms: u128| format!("{}.{:03}", ms / 1000, ms % 1000);
        let all: u128 = self.done.iter().map(|done| done.took.as_millis()).sum();
        let (tests, failures, skipped) = (self.done.len(), self.count(Outcome::Failed), self.count(Outcome::Skipped));
        let counts = format!(
            "tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{}\"",
            seconds(all)
        );
        let program = escaped(&self.program);
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  \
             <testsuite name=\"watchdog drill {program}\" {counts}>\n"
        );
        for done in &self.done {
            let seen = escaped(&done.seen);
            text.push_str(&format!(
                "    <testcase classname=\"drill.{program}\" name=\"{}: {}\" time=\"{}\">\n",
                done.case.name,
                escaped(done.case.title),
                seconds(done.took.as_millis())
            ));
            match done.outcome {
                Outcome::Passed => {}
                Outcome::Skipped => text.push_str(&format!("      <skipped message=\"{seen}\"/>\n")),
                Outcome::Failed => {
                    let tail = escaped(&done.tail.join("\n"));
                    text.push_str(&format!("      <failure message=\"{seen}\">{tail}</failure>\n"));
                }
            }
            if done.outcome == Outcome::Passed {
                text.push_str(&format!("      <system-out>{seen}</system-out>\n"));
            }
            text.push_str("    </testcase>\n");
        }
        text.push_str("  </testsuite>\n</testsuites>\n");
        text
    }
}

fn millis(done: &Done) -> Value {
    Value::from(u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX))
}

/// Text for XML 1.0, which has no way at all to write most control characters.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\n' | '\t' => safe.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::cases::CASES;
    use std::time::Duration;

    #[test]
    fn nothing_that_was_seen_breaks_the_form() {
        let done = |outcome, seen: &str| Done {
            case: &CASES[0],
            outcome,
            seen: seen.to_string(),
            took: Duration::from_millis(1234),
            tail: vec!["<a&b>\u{1b}[31m\u{ffff}".into()],
        };
        let report = Report {
            program: "\"x\"".into(),
            json: true,
            junit: None,
            done: vec![done(Outcome::Failed, "it's <gone>"), done(Outcome::Passed, "ok"), done(Outcome::Skipped, "no")],
            lost: false,
        };
        let text = report.junit();
        assert!(text.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"3.702\""), "{text}");
        let failure = "<failure message=\"it&apos;s &lt;gone&gt;\">&lt;a&amp;b&gt;\\u{1b}[31m\\u{ffff}</failure>";
        assert!(text.contains(failure) && text.contains("drill &quot;x&quot;\""), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        let object = report.object();
        assert_eq!(
            (&object["ok"], &object["failed"], &object["cases"][1]["result"]),
            (&false.into(), &1.into(), &"passed".into())
        );
    }
}
