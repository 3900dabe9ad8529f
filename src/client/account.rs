//! Reports of the flight recorder for people: the heading first, then what there is, a section each. Whatever came from a
//! worker is escaped, and what this version does not know is shown as it stands.

use super::form::{cell, clean, fact, facts, measured, table};
use super::{print, stream};
use serde_json::Value;

/// Points of the curve that are shown: the last ones tell how it ended.
const POINTS: usize = 30;

/// A section: its member, its title, and how its lines come about.
type Section = (&'static str, &'static str, fn(&Value) -> Vec<String>);

/// In the order in which people ask: why, what it said, what it did, what it had.
const SECTIONS: [Section; 15] = [
    ("panic", "panic", text),
    ("verdicts", "verdicts", verdicts),
    ("heartbeat", "heartbeat", heartbeat),
    ("lanes", "lanes", |v| columns(v, &["name", "state", "deadline_ms", "silent_ms", "beats", "late"])),
    ("health", "health", |v| columns(v, &["name", "pass", "message"])),
    ("probes", "probes", probes),
    ("threads", "threads", |v| columns(v, &["tid", "name", "state", "cpu_ms", "wchan", "syscall"])),
    ("stacks", "stacks", stacks),
    ("curve", "memory and cpu", curve),
    ("accept_queues", "accept queues", |v| columns(v, &["address", "waiting", "limit"])),
    ("metrics", "metrics", metrics),
    ("descriptors", "descriptors", |v| columns(v, &["fd", "target"])),
    ("log", "output", log),
    ("events", "events", |v| items(v).map(|e| print::event(e).trim_end().to_string()).collect()),
    ("notes", "notes", |v| items(v).map(cell).collect()),
];

/// Members that the heading tells.
const HEADING: [&str; 25] = [
    "id",
    "time",
    "service",
    "generation",
    "pid",
    "cause",
    "verdict",
    "code",
    "signal",
    "core",
    "oom",
    "uptime_ms",
    "requested",
    "rule",
    "command",
    "watchdog",
    "rusage",
    "status_text",
    "descriptors_total",
    "started_at",
    "ready_at",
    "ready_by",
    "restarts",
    "worker_errno",
    "said_stopping",
];

/// `report list`
pub(crate) fn list(answer: &Value) -> String {
    let reports = answer["reports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if reports.is_empty() {
        return "no reports\n".to_string();
    }
    let head = ["ID", "TIME", "SERVICE", "GENERATION", "CAUSE", "VERDICT", "END", "SIZE"];
    let rows = reports.iter().map(|r| {
        let plain = ["id", "time", "service", "generation", "cause", "verdict"].map(|key| cell(&r[key]));
        plain.into_iter().chain([print::last_exit(r), measured("size_bytes", &r["bytes"])]).collect()
    });
    table(&head, rows.collect())
}

/// `report show`, `report last`
pub(crate) fn report(report: &Value) -> String {
    let mut page = heading(report);
    for (key, title, lines_of) in SECTIONS {
        let value = &report[key];
        let lines = lines_of(value);
        // A shape that is not the one we know is better shown raw than not at all.
        let lines = if lines.is_empty() && !is_empty(value) { vec![cell(value)] } else { lines };
        if lines.is_empty() {
            continue;
        }
        page.push_str(&format!("\n{title}{}:\n", of_all(key, report)));
        for line in lines {
            page.push_str(format!("  {line}").trim_end());
            page.push('\n');
        }
    }
    page.push_str(&others(report));
    page
}

fn heading(report: &Value) -> String {
    let mut page = format!(
        "{} #{}: {}{}\n",
        cell(&report["service"]),
        cell(&report["generation"]),
        cell(&report["cause"]),
        report["verdict"].as_str().map(|v| format!(", {}", clean(v))).unwrap_or_default()
    );
    let mut line = |name: &str, text: String| {
        if !text.is_empty() {
            page.push_str(&format!("{name:10}{text}\n"));
        }
    };
    line("report", format!("{} of {}", cell(&report["id"]), cell(&report["time"])));
    line("end", end(report));
    line("rule", known(&report["rule"]));
    line("life", life(report));
    line("says", said(report));
    line("command", known(&report["command"]));
    line("used", facts(&report["rusage"]));
    line("watchdog", facts(&report["watchdog"]));
    page
}

/// When it was started and ready, and how often it has been started again.
fn life(report: &Value) -> String {
    let mut words = Vec::new();
    if !report["started_at"].is_null() {
        words.push(format!("started {}", cell(&report["started_at"])));
        words.push(match report["ready_at"].is_null() {
            true => "never ready".to_string(),
            false => format!("ready {} (by {})", cell(&report["ready_at"]), cell(&report["ready_by"])),
        });
    }
    if let Some(restarts @ 1..) = report["restarts"].as_u64() {
        words.push(format!("{restarts} restarts so far"));
    }
    words.join(", ")
}

/// What it said of itself.
fn said(report: &Value) -> String {
    let mut words = lines(known(&report["status_text"]));
    if !report["worker_errno"].is_null() {
        words.push(format!("its reason is errno {}", cell(&report["worker_errno"])));
    }
    if report["said_stopping"] == Value::Bool(true) {
        words.push("it said that it is ending".to_string());
    }
    words.join("; ")
}

/// Its signs of life: how, and the last of them.
fn heartbeat(value: &Value) -> Vec<String> {
    let Some(members) = value.as_object() else { return Vec::new() };
    if value["armed"] == Value::Bool(false) && value["dialect"].is_null() {
        return vec!["none: it has not beaten".to_string()];
    }
    let watched = if value["armed"] == Value::Bool(true) { "watched" } else { "not watched" };
    let told = ["dialect", "armed"];
    let rest = members.iter().filter(|(key, _)| !told.contains(&key.as_str()));
    let rest = facts(&Value::Object(rest.map(|(key, value)| (key.clone(), value.clone())).collect()));
    let dialect = value["dialect"].as_str().map(clean).unwrap_or_else(|| "no dialect".to_string());
    vec![
        [dialect, watched.to_string(), rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "),
    ]
}

/// How it ended, as far as that is known.
fn end(report: &Value) -> String {
    let mut words = Vec::new();
    if !report["code"].is_null() || !report["signal"].is_null() {
        words.push(print::last_exit(report));
    }
    for (key, said) in [("core", "core dumped"), ("oom", "out of memory"), ("requested", "on request")] {
        match &report[key] {
            Value::Bool(true) => words.push(said.to_string()),
            Value::String(text) => words.push(format!("{said}: {}", clean(text))),
            Value::Null | Value::Bool(false) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    let counts = ["pid", "uptime_ms"].into_iter().filter(|key| !report[*key].is_null());
    words.extend(counts.map(|key| fact(key, &report[key])));
    words.join(", ")
}

/// Members that this version does not know.
fn others(report: &Value) -> String {
    let told = |key: &str| HEADING.contains(&key) || SECTIONS.iter().any(|(name, ..)| *name == key);
    let mut page = String::new();
    for (key, value) in report.as_object().into_iter().flatten() {
        if !told(key) && !value.is_null() {
            page.push_str(&format!("\n{}: {}\n", clean(key), cell(value)));
        }
    }
    page
}

/// Behind the title of a section that shows fewer than there were.
fn of_all(key: &str, report: &Value) -> String {
    let shown = report[key].as_array().map_or(0, Vec::len) as u64;
    match (key, report["descriptors_total"].as_u64()) {
        ("descriptors", Some(all)) if all > shown => format!(" ({shown} of {all})"),
        ("curve", _) if shown > POINTS as u64 => format!(" (the last {POINTS} of {shown})"),
        _ => String::new(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn known(value: &Value) -> String {
    if is_empty(value) { String::new() } else { cell(value) }
}

/// One line, or none.
fn lines(text: String) -> Vec<String> {
    if text.is_empty() { Vec::new() } else { vec![text] }
}

/// A text of several lines, each of them harmless.
fn text(value: &Value) -> Vec<String> {
    value.as_str().unwrap_or_default().lines().map(|line| clean(&line.replace('\t', "    "))).collect()
}

/// A table of the items of a list, with these members; the unit is in the name of a member, and not in its title.
fn columns(value: &Value, keys: &[&str]) -> Vec<String> {
    let rows: Vec<Vec<String>> = items(value)
        .filter(|item| item.is_object())
        .map(|item| keys.iter().map(|key| measured(key, &item[*key])).collect())
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let title = |key: &str| key.trim_end_matches("_ms").trim_end_matches("_bytes").replace('_', " ").to_uppercase();
    let titles: Vec<String> = keys.iter().map(|key| title(key)).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    table(&titles, rows).lines().map(String::from).collect()
}

fn verdicts(value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for verdict in items(value) {
        let mut line =
            format!("{} {}: {}", cell(&verdict["time"]), cell(&verdict["verdict"]), cell(&verdict["action"]));
        if let Some(extension @ 1..) = verdict["extension"].as_u64() {
            line.push_str(&format!(" (extension {extension})"));
        }
        all.push(line);
        all.extend(lines(facts(&verdict["evidence"])).into_iter().map(|evidence| format!("  {evidence}")));
    }
    all
}

fn stacks(value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for stack in items(value) {
        all.push(format!("{}:", cell(&stack["thread"])));
        all.extend(text(&stack["text"]).into_iter().map(|line| format!("  {line}")));
    }
    all
}

fn probes(value: &Value) -> Vec<String> {
    columns(value, &["name", "role", "result", "time", "duration_ms", "failures", "message"])
}

fn curve(value: &Value) -> Vec<String> {
    let points: Vec<Value> = items(value).cloned().collect();
    let last = points[points.len().saturating_sub(POINTS)..].to_vec();
    columns(&Value::Array(last), &["at_ms", "rss_bytes", "cpu_percent"])
}

/// Counters and gauges, one a line.
fn metrics(value: &Value) -> Vec<String> {
    let members = |key: &str| value[key].as_object().into_iter().flatten();
    let all = members("counters").chain(members("gauges"));
    all.map(|(name, number)| format!("{} {}", clean(name), cell(number))).collect()
}

/// The last lines, or why there are none.
fn log(value: &Value) -> Vec<String> {
    let mut all = lines(known(&value["note"]));
    if all.is_empty() && value["captured"] == Value::Bool(false) {
        all.push("not kept: it did not pass through the watchdog (log = tee or capture)".to_string());
    }
    all.extend(items(&value["lines"]).map(|item| {
        let content = String::from_utf8_lossy(&stream::content(item)).into_owned();
        format!("{} {} | {}", cell(&item["time"]), cell(&item["stream"]), clean(&content.replace('\t', "    ")))
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_is_told_from_why_to_what_was_there() {
        let text = report(&json!({
            "id": "r1", "time": "T", "service": "web", "generation": 3, "pid": 42, "cause": "hang",
            "verdict": "deadlocked", "code": null, "signal": "ABRT", "core": true, "oom": null, "uptime_ms": 90_000,
            "requested": false, "rule": "3 misses of 10s", "command": "./server",
            "watchdog": {"version": "0.1.0", "pid": 7}, "rusage": {"user_us": 1500, "rss_peak_bytes": 1 << 20},
            "verdicts": [{"time": "T0", "verdict": "starved", "action": "wait", "extension": 1, "evidence": {"late_ms": 2000}}],
            "heartbeat": {"dialect": "native", "armed": true, "last_ms": 35_000, "misses": 3, "beats_ms": [1000, 2000]},
            "lanes": [{"name": "consumer", "state": "late", "deadline_ms": 5000, "silent_ms": 30_000, "beats": 7, "late": true}],
            "stacks": [{"thread": "main", "text": "lock\n\tmain"}], "panic": null, "status_text": "serving",
            "threads": [{"tid": 42, "name": "web", "state": "S", "wchan": "futex_wait_queue", "syscall": "futex", "cpu_ms": 10}],
            "descriptors": [{"fd": 0, "target": "/dev/null"}], "descriptors_total": 900,
            "accept_queues": [], "health": [],
            "probes": [{"name": "answers", "role": "liveness", "result": "failure", "time": "T2", "duration_ms": 1500, "failures": 3,
                        "message": "503 Gone"}], "metrics": {"counters": {"jobs": 5}, "gauges": {}},
            "curve": [{"at_ms": 1000, "rss_bytes": 2 << 20, "cpu_percent": 3.5}],
            "log": {"captured": false, "note": null, "lines": []},
            "events": [{"time": "T1", "event": "hang", "service": "web", "generation": 3, "lane": "consumer"}],
            "notes": ["the core was not read"], "of_tomorrow": {"a": [1]},
        }));
        for part in [
            "web #3: hang, deadlocked\nreport    r1 of T\nend       killed by ABRT, core dumped, pid 42, uptime 1m30s\n",
            "rule      3 misses of 10s\nsays      serving\ncommand   ./server\nused      rss peak 1MiB, user 1.5ms\n",
            "\nverdicts:\n  T0 starved: wait (extension 1)\n    late 2s\n",
            "\nlanes:\n  NAME      STATE  DEADLINE  SILENT  BEATS  LATE\n  consumer  late   5s        30s     7      yes\n",
            "\nprobes:\n  NAME     ROLE      RESULT   TIME  DURATION  FAILURES  MESSAGE\n  answers  liveness  failure  T2    1.5s      3         503 Gone\n",
            "\nstacks:\n  main:\n    lock\n        main\n",
            "\ndescriptors (1 of 900):\n  FD  TARGET\n  0   /dev/null\n",
            "\nmemory and cpu:\n  AT  RSS   CPU PERCENT\n  1s  2MiB  3.5\n",
            "\noutput:\n  not kept: ",
            "\nevents:\n  T1 web hang #3 lane=consumer\n",
            "\nnotes:\n  the core was not read\n\nof_tomorrow: {\"a\":[1]}\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("accept queues") && !text.contains("panic") && !text.contains("health"), "{text}");
    }

    /// 15. Failed before: `beats , dialect`, `said_stopping: false` and other members as JSON.
    #[test]
    fn a_report_of_one_that_never_said_anything_is_plain_text() {
        let text = report(&json!({
            "id": "r1", "time": "T", "service": "web", "generation": 1, "cause": "start-timeout", "signal": "TERM",
            "core": false, "oom": false, "requested": false, "rule": "not ready within start_timeout 2s",
            "started_at": "T0", "ready_at": null, "ready_by": null, "restarts": 0, "worker_errno": null,
            "said_stopping": false, "status_text": null, "verdicts": [], "lanes": [], "stacks": [], "health": null,
            "heartbeat": {"dialect": null, "armed": false, "last_ms": null, "misses": 0, "rtt_p50_us": null,
                          "rtt_p99_us": null, "beats_ms": []},
            "events": [{"time": "T1", "event": "signal-sent", "service": "web", "generation": 1, "signal": "TERM",
                        "pids": [7, 8], "scope": "group"}],
        }));
        assert!(text.contains("life      started T0, never ready\n"), "{text}");
        assert!(text.contains("\nheartbeat:\n  none: it has not beaten\n"), "{text}");
        assert!(text.contains(" pids=7,8 ") && !text.contains(['{', '[', '"']), "{text}");
        for bit in ["said_stopping", "beats ,", "false", "null"] {
            assert!(!text.contains(bit), "{bit:?} in {text}");
        }
        let beaten = json!({"dialect": "native", "armed": true, "last_ms": 35_000, "misses": 3, "beats_ms": [1000]});
        assert_eq!(heartbeat(&beaten), ["native, watched, beats 1s, last 35s, misses 3"]);
    }

    #[test]
    fn what_a_worker_wrote_cannot_speak_to_the_terminal() {
        let sly = "a\u{1b}[2J\u{9b}1m\rb\u{202e}c\u{2028}d\u{200b}e";
        let text = report(&json!({
            "id": sly, "time": sly, "service": sly, "generation": sly, "cause": sly, "verdict": sly, "signal": sly,
            "rule": sly, "command": sly, "status_text": sly, "panic": sly, "stacks": [{"thread": sly, "text": sly}],
            "lanes": [{"name": sly}], "health": [{"name": sly, "message": sly}], "threads": [{"name": sly}],
            "verdicts": [{"time": sly, "verdict": sly, "action": sly, "evidence": {sly: sly}}],
            "metrics": {"counters": {sly: 1}}, "log": {"note": sly, "lines": [{"line": sly, "stream": sly}]},
            "events": [{"event": sly, sly: sly}], "notes": [sly, {sly: sly}], sly: {sly: [sly]},
            "descriptors": [{"fd": sly, "target": sly}], "curve": sly, "rusage": {sly: sly},
        }));
        let control: Vec<&str> = text.lines().filter(|l| l.contains(watchdog_engine::is_hidden)).collect();
        assert!(control.is_empty(), "{control:?}");
    }

    #[test]
    fn half_a_report_and_strange_shapes_are_shown_as_far_as_they_go() {
        assert_eq!(report(&json!({})), "- #-: -\nreport    - of -\n");
        let text = report(&json!({"service": "web", "threads": {"main": 1}, "lanes": "none", "panic": 5}));
        assert!(text.contains("\nthreads:\n  {\"main\":1}\n") && text.contains("\nlanes:\n  none\n"), "{text}");
        assert!(text.contains("\npanic:\n  5\n"), "{text}");
    }

    #[test]
    fn a_list_is_a_table_or_a_word() {
        assert_eq!(list(&json!({"reports": []})), "no reports\n");
        let text =
            list(&json!({"reports": [{"id": "r1", "time": "T", "service": "web", "generation": 2, "cause": "oom",
            "verdict": null, "code": null, "signal": "KILL", "bytes": 2048, "path": "/x"}]}));
        assert!(text.ends_with("r1  T     web      2           oom    -        killed by KILL  2KiB\n"), "{text}");
    }
}
