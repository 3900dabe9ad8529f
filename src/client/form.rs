//! How values look to people: tables, units, and nothing that a terminal would obey.

use crate::output;
use serde_json::Value;

/// Colours by what they mean, as a terminal is told.
pub(crate) const GOOD: u8 = 32;
/// The same.
pub(crate) const WARN: u8 = 33;
/// The same.
pub(crate) const BAD: u8 = 31;
/// The head of a table; stands out without a colour.
const HEAD: u8 = 1;

/// Columns as wide as their widest cell; nothing behind the last one.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|h| painted(h, HEAD)).collect();
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
pub(crate) fn coloured(state: &str) -> String {
    let colour = match state {
        "running" | "done" | "healthy" => GOOD,
        "failed" | "stuck" | "unhealthy" => BAD,
        "backoff" | "crash-loop" | "starting" | "stopping" | "waiting" | "degraded" => WARN,
        _ => return state.to_string(),
    };
    painted(state, colour)
}

/// A text in this colour, on a terminal that wants one.
pub(crate) fn painted(text: &str, colour: u8) -> String {
    if output::colours() { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_string() }
}

/// A member as people read it; unknown is a dash.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::String(text) => clean(text),
        // JSON spells out the first 32 control characters and leaves those behind DEL as they are.
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => clean(&value.to_string()),
    }
}

pub(crate) use crate::text::clean;

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

/// Microseconds as people read them.
pub(crate) fn micros(us: &Value) -> String {
    match us.as_u64() {
        None => "-".to_string(),
        Some(us) if us < 1000 => format!("{us}us"),
        Some(us) if us < 1_000_000 => format!("{}.{}ms", us / 1000, us % 1000 / 100),
        Some(us) => time(&Value::from(us / 1000)),
    }
}

/// Bytes as people read them: the largest unit, one decimal.
pub(crate) fn bytes(count: &Value) -> String {
    let Some(count) = count.as_u64() else { return "-".to_string() };
    for (unit, size) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if count >= size {
            let tenths = count % size * 10 / size;
            let part = if tenths == 0 { String::new() } else { format!(".{tenths}") };
            return format!("{}{part}{unit}", count / size);
        }
    }
    format!("{count}B")
}

/// A member by its name: `rss_peak_bytes` is `rss peak 12MiB`. The unit stands in the name, as everywhere on the wire.
pub(crate) fn fact(key: &str, value: &Value) -> String {
    let name = ["_ms", "_us", "_bytes"].iter().find_map(|unit| key.strip_suffix(unit)).unwrap_or(key);
    let name = clean(name).replace('_', " ");
    if *value == Value::Bool(true) { name } else { format!("{name} {}", measured(key, value)) }
}

/// A value in the unit that its name ends in; of a list each one.
pub(crate) fn measured(key: &str, value: &Value) -> String {
    if let Some(items) = value.as_array().filter(|items| items.iter().all(|i| !i.is_object())) {
        return items.iter().map(|item| measured(key, item)).collect::<Vec<_>>().join(" ");
    }
    match key {
        _ if value.is_boolean() => if *value == Value::Bool(true) { "yes" } else { "no" }.to_string(),
        _ if !value.is_u64() => cell(value),
        _ if key.ends_with("_ms") => time(value),
        _ if key.ends_with("_us") => micros(value),
        _ if key.ends_with("_bytes") => bytes(value),
        _ => cell(value),
    }
}

/// All members of an object that are known and say something, one behind the other: of switches those that are on, by name
/// alone, and no empty list.
pub(crate) fn facts(object: &Value) -> String {
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Object(_) => true,
    };
    let known = object.as_object().into_iter().flatten().filter(|(_, value)| says(value));
    known.map(|(key, value)| fact(key, value)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_in_the_unit_of_their_name() {
        assert_eq!(fact("rss_peak_bytes", &json!(12 << 20)), "rss peak 12MiB");
        assert_eq!(fact("rtt_p50_us", &json!(1250)), "rtt p50 1.2ms");
        assert_eq!(fact("beats_ms", &json!([1000, 61_000])), "beats 1s 1m1s");
        assert_eq!(
            (bytes(&json!(1536)), bytes(&json!(7)), bytes(&json!(null))),
            ("1.5KiB".into(), "7B".into(), "-".into())
        );
        assert_eq!(facts(&json!({"a": null, "b": -1, "c_ms": "x"})), "b -1, c x");
        assert_eq!(facts(&json!({"beats_ms": [], "stopped": false, "traced": true})), "traced");
    }

    #[test]
    fn no_member_reaches_a_terminal_as_it_stands() {
        let sly = json!({"k\u{9b}": {"x": "\u{9b}31m\u{1b}[0m"}});
        let text = format!("{} {}", facts(&sly), cell(&sly));
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
