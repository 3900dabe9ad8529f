//! Answers for people: plain tables, plain sentences. What came from a worker reaches no terminal as an escape sequence.

use super::find::Found;
use super::form::{BAD, GOOD, WARN, bytes, cell, clean, coloured, painted, table, time};
use super::{stream, tree};
use serde_json::{Value, json};

/// One watchdog in the shape of `ls`.
pub(crate) fn watchdog(found: &Found) -> Value {
    let instance = &found.status["instance"];
    let services = found.status["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Of one that does not answer none of it is known.
    let known = |number: usize| (!found.stuck).then_some(number);
    let count = |test: &dyn Fn(&Value) -> bool| known(services.iter().filter(|s| test(s)).count());
    json!({
        "name": instance["name"],
        "pid": instance["pid"],
        "control": found.socket.to_string_lossy(),
        "version": instance["version"],
        "uptime_ms": instance["uptime_ms"],
        "services": known(services.len()),
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
        "reload" if answer["changed"].is_array() => reread(answer),
        "start" | "stop" | "restart" | "signal" | "tell" | "reload" => services(answer),
        "explain" => explain(answer),
        "tree" => tree::page(answer),
        "health" => {
            let reason = answer["reason"].as_str().filter(|r| !r.is_empty());
            let reason = reason.map(|r| format!(": {}", clean(r))).unwrap_or_default();
            format!("{} is {}{reason}\n", cell(&answer["service"]), cell(&answer["health"]))
        }
        "wait" => format!("{} is {}\n", cell(&answer["service"]), cell(&answer["for"])),
        _ => String::new(),
    }
}

/// `reload` of the file: who is new, gone or changed; who was started again for it, and who is to be later; and what is
/// about the watchdog itself.
fn reread(answer: &Value) -> String {
    let mut text = String::new();
    for key in ["added", "removed", "changed", "restarted", "deferred"] {
        let names: Vec<String> = answer[key].as_array().into_iter().flatten().map(cell).collect();
        if !names.is_empty() {
            text.push_str(&format!("{key}: {}\n", names.join(" ")));
        }
    }
    let keys: Vec<String> = answer["needs_watchdog_restart"].as_array().into_iter().flatten().map(cell).collect();
    if !keys.is_empty() {
        text.push_str(&format!("needs a restart of the watchdog: {}\n", keys.join(", ")));
    }
    if text.is_empty() { "nothing changed\n".to_string() } else { text }
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
        for fact in [usage(service), beats(&service["heartbeat"]), last_report(service)].into_iter().flatten() {
            text.push_str(&format!("{}: {fact}\n", cell(&service["name"])));
        }
    }
    text
}

/// What it uses of its limits; the table has what it uses.
fn usage(service: &Value) -> Option<String> {
    let (memory, cpu) = (&service["memory"], &service["cpu"]);
    let mut facts = Vec::new();
    if !memory["rss_bytes"].is_null() && !memory["limit_bytes"].is_null() {
        facts.push(format!("memory {} of {}", bytes(&memory["rss_bytes"]), bytes(&memory["limit_bytes"])));
    }
    if let Some(percent) = cpu["percent"].as_f64().filter(|_| !cpu["limit_percent"].is_null()) {
        facts.push(format!("cpu {percent:.0}% of {}%", cell(&cpu["limit_percent"])));
    }
    (!facts.is_empty()).then(|| facts.join(", "))
}

/// Its heartbeat, where one is watched.
fn beats(heartbeat: &Value) -> Option<String> {
    if heartbeat["armed"] != Value::Bool(true) {
        return None;
    }
    let mut text = format!("heartbeat: {}", cell(&heartbeat["dialect"]));
    if !heartbeat["last_ms"].is_null() {
        text.push_str(&format!(", last beat {} ago", time(&heartbeat["last_ms"])));
    }
    if let Some(misses @ 1..) = heartbeat["misses"].as_u64() {
        text.push_str(&format!(", {misses} missed"));
    }
    Some(text)
}

fn last_report(service: &Value) -> Option<String> {
    let last = &service["last_report"];
    let id = last.as_str().or_else(|| last["id"].as_str()).map(clean)?;
    Some(format!("last report: {id} (watchdog report show {id})"))
}

/// The table of services.
fn services(answer: &Value) -> String {
    let head = ["NAME", "STATE", "READY", "HEALTH", "PID", "UP", "RESTARTS", "MEMORY", "CPU", "NEXT", "LAST EXIT"];
    let rows = answer["services"].as_array().into_iter().flatten().map(|s| {
        let ready = if s["ready"] == Value::Bool(true) { painted("yes", GOOD) } else { "no".to_string() };
        let next = if s["next_restart_in_ms"].is_null() {
            "-".to_string()
        } else {
            format!("in {}", time(&s["next_restart_in_ms"]))
        };
        vec![
            cell(&s["name"]),
            coloured(&cell(&s["state"])),
            ready,
            coloured(&cell(&s["health"])),
            cell(&s["pid"]),
            time(&s["uptime_ms"]),
            if s["restarts"].as_u64() > Some(0) { painted(&cell(&s["restarts"]), WARN) } else { cell(&s["restarts"]) },
            bytes(&s["memory"]["rss_bytes"]),
            s["cpu"]["percent"].as_f64().map_or("-".to_string(), |percent| format!("{percent:.0}%")),
            next,
            exit_cell(&s["last_exit"]),
        ]
    });
    table(&head, rows.collect())
}

/// How it ended last; an end that was a failure is seen.
fn exit_cell(exit: &Value) -> String {
    let text = why_it_ended(exit);
    let failed = exit["signal"].is_string() || exit["code"].as_i64().is_some_and(|code| code != 0);
    // An end that was asked for is none, whatever the code.
    if failed && !was_asked_for(exit) { painted(&text, BAD) } else { text }
}

/// A stop, a restart or a recycling: nothing that went wrong.
fn was_asked_for(exit: &Value) -> bool {
    exit["cause"].as_str().is_some_and(|c| ["requested", "max-age", "dependency", "config-changed"].contains(&c))
}

/// How it ended last, so that a stop does not look like a crash: `stopped (TERM)`, `hang (ABRT)`, `killed by SEGV`.
pub(crate) fn why_it_ended(exit: &Value) -> String {
    let by_rule = ["start-timeout", "hang", "memory", "cpu", "probe"];
    let word = match exit["cause"].as_str() {
        _ if was_asked_for(exit) => "stopped",
        Some(cause) if by_rule.contains(&cause) => cause,
        _ => return last_exit(exit),
    };
    match (exit["code"].as_i64(), exit["signal"].as_str()) {
        (_, Some(signal)) => format!("{word} ({})", clean(signal)),
        (Some(code), None) => format!("{word} (code {code})"),
        (None, None) => word.to_string(),
    }
}

/// How something ended.
pub(crate) fn last_exit(exit: &Value) -> String {
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
            let said = match value.as_array() {
                Some(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
                None if key == "by" => asker(value),
                None => cell(value),
            };
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
    let reason = answer["reason"].as_str().map(|r| format!(": {}", clean(r))).unwrap_or_default();
    let mut lines = vec![format!(
        "{} is not {} after {}: it is {}{reason}",
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
