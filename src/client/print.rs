//! Answers for people: plain tables, plain sentences. What came from a worker reaches no terminal as an escape sequence.

use super::find::Found;
use super::stream;
use crate::output;
use serde_json::{Value, json};

/// One watchdog in the shape of `ls`.
pub(crate) fn watchdog(found: &Found) -> Value {
    let instance = &found.status["instance"];
    let services = found.status["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    let count = |test: &dyn Fn(&Value) -> bool| services.iter().filter(|s| test(s)).count();
    json!({
        "name": instance["name"],
        "pid": instance["pid"],
        "control": found.socket.to_string_lossy(),
        "version": instance["version"],
        "uptime_ms": instance["uptime_ms"],
        "services": services.len(),
        "ready": count(&|s| s["ready"] == Value::Bool(true)),
        "failed": count(&|s| s["state"] == "failed"),
    })
}

/// `ls`
pub(crate) fn watchdogs(rows: &[Value]) -> String {
    let head = ["NAME", "PID", "UP", "SERVICES", "READY", "FAILED", "VERSION"];
    let body = rows.iter().map(|w| {
        let plain = |key: &str| cell(&w[key]);
        vec![
            plain("name"),
            plain("pid"),
            time(&w["uptime_ms"]),
            plain("services"),
            plain("ready"),
            plain("failed"),
            plain("version"),
        ]
    });
    table(&head, body.collect())
}

/// The answer of any verb that is not a stream.
pub(crate) fn answer(verb: &str, answer: &Value) -> String {
    match verb {
        "status" => status(answer),
        "start" | "stop" | "restart" | "signal" => services(answer),
        "explain" => explain(answer),
        "health" => {
            let reason = answer["reason"].as_str().filter(|r| !r.is_empty());
            let reason = reason.map(|r| format!(": {}", clean(r))).unwrap_or_default();
            format!("{} is {}{reason}\n", cell(&answer["service"]), cell(&answer["health"]))
        }
        "wait" => format!("{} is {}\n", cell(&answer["service"]), cell(&answer["for"])),
        _ => String::new(),
    }
}

/// `status`
fn status(answer: &Value) -> String {
    let instance = &answer["instance"];
    let mut text = format!(
        "{} (pid {}, watchdog {}) {} for {}\n",
        cell(&instance["name"]),
        cell(&instance["pid"]),
        cell(&instance["version"]),
        cell(&instance["state"]),
        time(&instance["uptime_ms"])
    );
    text.push_str(&services(answer));
    for service in answer["services"].as_array().into_iter().flatten() {
        let said = |key: &str| service[key].as_str().filter(|t| !t.is_empty()).map(clean);
        if let Some(reason) = said("reason") {
            text.push_str(&format!("{}: {reason}\n", cell(&service["name"])));
        }
        if let Some(status) = said("status_text") {
            text.push_str(&format!("{}: says: {status}\n", cell(&service["name"])));
        }
    }
    text
}

/// The table of services.
fn services(answer: &Value) -> String {
    let head = ["NAME", "STATE", "READY", "HEALTH", "PID", "UP", "RESTARTS", "NEXT", "LAST EXIT"];
    let rows = answer["services"].as_array().into_iter().flatten().map(|s| {
        let ready = if s["ready"] == Value::Bool(true) { "yes" } else { "no" };
        let next = if s["next_restart_in_ms"].is_null() {
            "-".to_string()
        } else {
            format!("in {}", time(&s["next_restart_in_ms"]))
        };
        vec![
            cell(&s["name"]),
            coloured(&cell(&s["state"])),
            ready.to_string(),
            cell(&s["health"]),
            cell(&s["pid"]),
            time(&s["uptime_ms"]),
            cell(&s["restarts"]),
            next,
            last_exit(&s["last_exit"]),
        ]
    });
    table(&head, rows.collect())
}

fn last_exit(exit: &Value) -> String {
    match (exit["code"].as_i64(), exit["signal"].as_str()) {
        (_, Some(signal)) => format!("killed by {}", clean(signal)),
        (Some(code), None) => format!("code {code}"),
        (None, None) => "-".to_string(),
    }
}

/// `explain`
fn explain(answer: &Value) -> String {
    let mut text = String::new();
    for service in answer["services"].as_array().into_iter().flatten() {
        text.push_str(&format!("{}:\n", cell(&service["service"])));
        for sentence in service["text"].as_array().into_iter().flatten() {
            text.push_str(&format!("  {}\n", cell(sentence)));
        }
    }
    text
}

/// One event: time, service, name, then what belongs to it.
pub(crate) fn event(event: &Value) -> String {
    const SAID: [&str; 6] = ["seq", "time", "mono_ms", "event", "service", "generation"];
    let mut text = format!("{} {} {}", cell(&event["time"]), cell(&event["service"]), cell(&event["event"]));
    if let Some(generation) = event["generation"].as_u64() {
        text.push_str(&format!(" #{generation}"));
    }
    for (key, value) in event.as_object().into_iter().flatten() {
        if !SAID.contains(&key.as_str()) && !value.is_null() {
            let said = if key == "by" { asker(value) } else { cell(value) };
            text.push_str(&format!(" {}={said}", clean(key)));
        }
    }
    text.push('\n');
    text
}

/// Who asked: `control(pid 7, uid 0)`, `signal(TERM, pid 7, uid 0)`.
fn asker(by: &Value) -> String {
    let known = |key: &str, name: &str| (!by[key].is_null()).then(|| format!("{name}{}", cell(&by[key])));
    let facts: Vec<String> =
        [known("signal", ""), known("pid", "pid "), known("uid", "uid ")].into_iter().flatten().collect();
    if facts.is_empty() { cell(&by["kind"]) } else { format!("{}({})", cell(&by["kind"]), facts.join(", ")) }
}

/// `wait` without success: what it is instead, and the last lines of output.
pub(crate) fn not_reached(answer: &Value) -> Vec<String> {
    let mut lines = vec![format!(
        "{} is not {} after {}: it is {}",
        cell(&answer["service"]),
        cell(&answer["for"]),
        time(&answer["waited_ms"]),
        cell(&answer["state"])
    )];
    let tail = answer["log_tail"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !tail.is_empty() {
        lines.push("last lines of output:".to_string());
    }
    for item in tail {
        // A line is a text or an item of `logs`.
        let line = match item.as_str() {
            Some(text) => text.to_string(),
            None => String::from_utf8_lossy(&stream::content(item)).into_owned(),
        };
        lines.push(format!("  {line}"));
    }
    lines
}

/// Columns as wide as their widest cell; nothing behind the last one.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|h| h.to_string()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| visible(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in all {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - visible(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Letters that take room: not those of our own colours.
fn visible(cell: &str) -> usize {
    let mut count = 0;
    let mut inside = false;
    for c in cell.chars() {
        match (inside, c) {
            (false, '\u{1b}') => inside = true,
            (true, 'm') => inside = false,
            (true, _) => {}
            (false, _) => count += 1,
        }
    }
    count
}

/// A state in its colour, on a terminal that wants one.
fn coloured(state: &str) -> String {
    let colour = match state {
        "running" | "done" => 32,
        "failed" | "stuck" => 31,
        "backoff" | "crash-loop" | "starting" | "stopping" | "waiting" => 33,
        _ => return state.to_string(),
    };
    if output::colours() { format!("\u{1b}[{colour}m{state}\u{1b}[0m") } else { state.to_string() }
}

/// A member as people read it; unknown is a dash.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::String(text) => clean(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Without control characters.
fn clean(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Milliseconds as people read them: the two largest units.
pub(crate) fn time(ms: &Value) -> String {
    let Some(ms) = ms.as_u64() else { return "-".to_string() };
    let (s, m, h, d) = (ms / 1000 % 60, ms / 60_000 % 60, ms / 3_600_000 % 24, ms / 86_400_000);
    match (d, h, m) {
        (0, 0, 0) if ms < 10_000 && !ms.is_multiple_of(1000) => format!("{}.{}s", s, ms % 1000 / 100),
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m{s}s"),
        (0, _, _) => format!("{h}h{m}m"),
        _ => format!("{d}d{h}h"),
    }
}
