//! Node's own channel, as `child_process.fork` makes it (serialization "json"): one JSON value a line, both ways. A worker
//! in Node speaks it with `process.send` and `process.on("message")`, without a package; any other language can.

use super::{as_millis, line_of, lines_of, millis, spread};
use crate::machine::{HealthCheck, News, Numbers, Spread, Word};
use serde_json::{Map, Value};
use std::fmt;
use std::io::Write;
use std::time::Duration;
use worker_sdk::wire::{BOUNDS_MAX, CHECKS_MAX, HISTOGRAMS_MAX, MESSAGE_MAX, METRICS_MAX, NAME_MAX, TEXT_MAX};

/// Bytes of a line without its newline.
pub(crate) const LINE_MAX: usize = 64 * 1024;

/// Why a channel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeError {
    /// A line of more than [`LINE_MAX`] bytes.
    TooLong,
    /// A line that is no JSON.
    NotJson,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeError::TooLong => write!(f, "line of more than {LINE_MAX} bytes"),
            NodeError::NotJson => write!(f, "line that is no JSON"),
        }
    }
}

impl std::error::Error for NodeError {}

/// What is read from one worker's channel.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    unknown: u64,
    broken: Option<NodeError>,
}

impl Node {
    /// Takes bytes and adds what they say to `out`.
    ///
    /// # Errors
    /// The channel is to be ended; what was said before stays in `out`. Every later call gives the same error.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<News>) -> Result<(), NodeError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.lines(bytes, out).inspect_err(|error| {
            self.broken = Some(*error);
            self.begun = Vec::new();
        })
    }

    /// Messages that mean nothing here: an application may say to its parent whatever it likes.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown
    }

    fn lines(&mut self, bytes: &[u8], out: &mut Vec<News>) -> Result<(), NodeError> {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, after) = (&rest[..at], &rest[at + 1..]);
            rest = after;
            if self.begun.len() + line.len() > LINE_MAX {
                return Err(NodeError::TooLong);
            }
            // A line that came in one piece, as nearly all do, is read where it lies.
            let understood = if self.begun.is_empty() {
                understand(line, out)?
            } else {
                self.begun.extend_from_slice(line);
                let understood = understand(&self.begun, out)?;
                self.begun.clear();
                understood
            };
            self.unknown += u64::from(!understood);
        }
        if self.begun.len() + rest.len() > LINE_MAX {
            return Err(NodeError::TooLong);
        }
        self.begun.extend_from_slice(rest);
        Ok(())
    }
}

/// One line. False: it means nothing here.
fn understand(line: &[u8], out: &mut Vec<News>) -> Result<bool, NodeError> {
    // The depth is bounded by serde_json (128), the size by the line.
    let value: Value = serde_json::from_slice(line).map_err(|_| NodeError::NotJson)?;
    let news = match &value {
        Value::String(word) => match word.as_str() {
            "ready" => Some(News::Ready),
            "pong" => Some(News::Pong(None)),
            "stopping" => Some(News::Stopping),
            _ => None,
        },
        // Node's own: handles, acknowledgements, the cluster module.
        Value::Object(object) if object.get("cmd").and_then(Value::as_str).is_some_and(|c| c.starts_with("NODE_")) => {
            return Ok(true);
        }
        Value::Object(object) => {
            let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
            if kind == "ready" && object.get("shutdown") == Some(&Value::Bool(true)) {
                out.push(News::TakesShutdown);
            }
            if kind == "metrics" {
                out.push(News::Histograms(histograms(object.get("histograms"))));
            }
            message(kind, object)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    };
    let understood = news.is_some();
    out.extend(news);
    Ok(understood)
}

fn message(kind: &str, object: &Map<String, Value>) -> Option<News> {
    let member = |names: [&str; 2]| names.iter().find_map(|name| object.get(*name));
    Some(match kind {
        "ready" => News::Ready,
        "pong" => News::Pong(member(["id", "nonce"]).and_then(Value::as_u64)),
        "beat" => News::Beat,
        "status" => News::Status(line_of(member(["text", "status"])?.as_str()?, TEXT_MAX)),
        "stopping" => News::Stopping,
        "reloading" => News::Reloading,
        "extend" => News::Extend(time(object.get("ms")?)?),
        "health" => News::Health(checks(object.get("checks")?)?),
        "metrics" => News::Metrics(numbers(object)?),
        _ => return None,
    })
}

fn time(ms: &Value) -> Option<Duration> {
    Some(millis(whole(ms)?))
}

/// A number that is not negative; a fraction is cut off, for scripts seldom know which kind they have.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked; `as` saturates")]
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
}

/// More checks than the protocol has room for say nothing: which of them would be left out?
fn checks(value: &Value) -> Option<Vec<HealthCheck>> {
    if let Some(list) = value.as_array().filter(|list| list.len() <= CHECKS_MAX) {
        return list.iter().map(check).collect();
    }
    let by_name = value.as_object().filter(|checks| checks.len() <= CHECKS_MAX)?;
    let check = |(name, pass): (&String, &Value)| {
        Some(HealthCheck { name: line_of(name, NAME_MAX), pass: pass.as_bool()?, message: String::new() })
    };
    by_name.iter().map(check).collect()
}

fn check(value: &Value) -> Option<HealthCheck> {
    let pass = value.get("ok").or_else(|| value.get("pass"))?.as_bool()?;
    let message = value.get("message").and_then(Value::as_str).unwrap_or_default();
    Some(HealthCheck {
        name: line_of(value.get("name")?.as_str()?, NAME_MAX),
        pass,
        message: line_of(message, MESSAGE_MAX),
    })
}

fn numbers(object: &Map<String, Value>) -> Option<Numbers> {
    Some(Numbers {
        counters: named(object.get("counters"), whole)?,
        gauges: named(object.get("gauges"), Value::as_f64)?,
    })
}

/// `{NAME: {bounds: [..], counts: [..], sum: N}}`; one that is none is left out.
fn histograms(group: Option<&Value>) -> Vec<Spread> {
    let Some(group) = group.and_then(Value::as_object).filter(|group| group.len() <= HISTOGRAMS_MAX) else {
        return Vec::new();
    };
    let one = |(name, value): (&String, &Value)| {
        let list = |key: &str| value.get(key)?.as_array().filter(|list| list.len() <= BOUNDS_MAX + 1);
        let bounds = list("bounds")?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>()?;
        let counts = list("counts")?.iter().map(whole).collect::<Option<Vec<u64>>>()?;
        spread(name, bounds, counts, value.get("sum")?.as_f64()?)
    };
    group.iter().filter_map(one).collect()
}

/// A missing group is empty; a value that is no number of its kind is left out.
fn named<T>(group: Option<&Value>, number: impl Fn(&Value) -> Option<T>) -> Option<Vec<(String, T)>> {
    let Some(group) = group else { return Some(Vec::new()) };
    let group = group.as_object().filter(|group| group.len() <= METRICS_MAX)?;
    Some(group.iter().filter_map(|(name, value)| Some((line_of(name, NAME_MAX), number(value)?))).collect())
}

/// Adds the line of a word. An operator's word is cut as in the native dialect.
pub(crate) fn encode(word: &Word, out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = match word {
        Word::Ping(id) => writeln!(out, r#"{{"type":"ping","id":{id}}}"#),
        Word::Shutdown(grace) => writeln!(out, r#"{{"type":"shutdown","grace_ms":{}}}"#, as_millis(*grace)),
        Word::Reload => writeln!(out, r#"{{"type":"reload"}}"#),
        Word::Tell(word) => writeln!(out, r#"{{"type":"tell","word":{}}}"#, Value::from(lines_of(word, TEXT_MAX))),
        Word::LowMemory => writeln!(out, r#"{{"type":"low-memory"}}"#),
        Word::AskHealth => writeln!(out, r#"{{"type":"health"}}"#),
        Word::AskMetrics => writeln!(out, r#"{{"type":"metrics"}}"#),
    };
}

#[cfg(test)]
mod tests;
