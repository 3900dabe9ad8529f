//! The columns of the table of `top`: the wider the terminal, the more of them.

use super::model::{Curve, bars};
use super::paint::Paint;
use crate::client::form::{bytes, cell, micros, time};
use ratatui::style::Style;
use serde_json::{Value, json};

/// Samples of a curve that a column shows.
const CURVE: usize = 8;
/// What a full bar stands for at least: a megabyte, a tenth of a core.
const LEAST: (u64, u64) = (1 << 20, 100);

/// One column.
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) width: u16,
    /// It is there from this width of the terminal on.
    from: u16,
    /// Numbers stand at the right of their column.
    pub(super) right: bool,
    pub(super) text: fn(&Value, Option<&Curve>) -> String,
}

/// All of them, from left to right; the name takes what is left.
#[rustfmt::skip]
static COLUMNS: [Column; 12] = [
    Column { head: "STATE", width: 10, from: 0, right: false, text: |s, _| cell(&s["state"]) },
    Column { head: "READY", width: 5, from: 96, right: false, text: |s, _| if s["ready"] == Value::Bool(true) { "yes".into() } else { "no".into() } },
    Column { head: "HEALTH", width: 9, from: 110, right: false, text: |s, _| cell(&s["health"]) },
    Column { head: "PID", width: 7, from: 90, right: true, text: |s, _| cell(&s["pid"]) },
    Column { head: "UP", width: 7, from: 44, right: true, text: |s, _| time(&s["uptime_ms"]) },
    Column { head: "RST", width: 4, from: 36, right: true, text: |s, _| cell(&s["restarts"]) },
    Column { head: "BEAT", width: 7, from: 72, right: true, text: |s, _| beat(&s["heartbeat"]) },
    Column { head: "MEMORY", width: 9, from: 52, right: true, text: |s, _| bytes(&s["memory"]["rss_bytes"]) },
    Column { head: "", width: CURVE as u16, from: 78, right: false, text: |_, c| c.map(|c| bars(&c.rss, CURVE, LEAST.0)).unwrap_or_default() },
    Column { head: "CPU", width: 6, from: 60, right: true, text: |s, _| percent(&s["cpu"]["percent"]) },
    Column { head: "", width: CURVE as u16, from: 80, right: false, text: |_, c| c.map(|c| bars(&c.cpu, CURVE, LEAST.1)).unwrap_or_default() },
    Column { head: "LAST EXIT", width: 14, from: 130, right: false, text: |s, _| crate::client::print::why_it_ended(&s["last_exit"]) },
];

/// Those that a terminal of this width has room for.
pub(super) fn for_width(width: u16) -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(move |column| width >= column.from)
}

impl Column {
    /// How this cell looks.
    pub(super) fn style(&self, service: &Value, paint: Paint) -> Style {
        match self.head {
            "STATE" => paint.state(&service["state"], &service["ready"]),
            "HEALTH" => paint.health(&service["health"]),
            "READY" => paint.health(&json!(if service["ready"] == Value::Bool(true) { "healthy" } else { "degraded" })),
            "RST" if service["restarts"].as_u64() > Some(0) => paint.warn(),
            "BEAT" if service["heartbeat"]["misses"].as_u64() > Some(0) => paint.bad(),
            "MEMORY" => paint.near(share(&service["memory"]["rss_bytes"], &service["memory"]["limit_bytes"])),
            "CPU" => paint.near(share(&service["cpu"]["percent"], &service["cpu"]["limit_percent"])),
            "" => paint.curve(),
            _ => Style::default(),
        }
    }
}

/// How long a beat takes: half of the answers came faster. A dialect that is not asked has only the time since the last.
fn beat(heartbeat: &Value) -> String {
    match (heartbeat["rtt_p50_us"].is_null(), heartbeat["armed"] == Value::Bool(true)) {
        (false, _) => micros(&heartbeat["rtt_p50_us"]),
        (true, true) if !heartbeat["last_ms"].is_null() => format!("-{}", time(&heartbeat["last_ms"])),
        (true, _) => "-".to_string(),
    }
}

fn percent(value: &Value) -> String {
    value.as_f64().map_or("-".to_string(), |percent| format!("{percent:.1}%"))
}

/// How much of its limit that is; 0 where there is none.
fn share(value: &Value, limit: &Value) -> f64 {
    match (value.as_f64(), limit.as_f64()) {
        (Some(value), Some(limit)) if limit > 0.0 => value / limit,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_has_fewer_columns_and_none_is_wider_than_it() {
        for width in 0..200 {
            let needs: u16 = for_width(width).map(|c| c.width + 1).sum();
            assert!(width < 20 || needs + 6 <= width, "{width}: {needs}");
        }
        assert_eq!((for_width(20).count(), for_width(200).count()), (1, COLUMNS.len()));
    }

    #[test]
    fn a_beat_is_its_latency_or_else_its_age() {
        assert_eq!(beat(&json!({"armed": true, "rtt_p50_us": 250, "last_ms": 9})), "250us");
        assert_eq!(beat(&json!({"armed": true, "rtt_p50_us": null, "last_ms": 2000})), "-2s");
        assert_eq!(beat(&json!({"armed": false, "rtt_p50_us": null, "last_ms": 2000})), "-");
        assert_eq!((percent(&json!(12.34)), percent(&Value::Null)), ("12.3%".into(), "-".into()));
    }
}
