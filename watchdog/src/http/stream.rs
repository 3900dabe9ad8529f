//! What the page is told as it happens: server-sent events, each with one line of JSON.

use super::router::View;
use crate::control::{heartbeat, millis, why};
use crate::machine::*;
use serde_json::{Value, json};

/// One message. JSON has no line ends of its own, so that it is one line.
pub(crate) fn message(kind: &str, value: &Value) -> Vec<u8> {
    format!("event: {kind}\ndata: {value}\n\n").into_bytes()
}

/// Says that there is nothing to say.
pub(crate) fn comment() -> &'static [u8] {
    b":\n\n"
}

/// The state of all, as short as can be: it goes out again and again.
pub(crate) fn rows(view: &View<'_>, control: bool) -> Value {
    let services: Vec<Value> = view.services().filter(|s| !s.spec.hidden).map(|s| row(view, s)).collect();
    let count = |is: fn(Readiness) -> bool| view.services().filter(|s| is(s.readiness())).count();
    json!({
        "name": view.instance.name, "version": view.instance.version, "uptime_ms": millis(view.frame.now.0),
        "rss_bytes": view.own.and_then(|r| r.rss_bytes), "ending": view.ending, "control": control,
        "wanted": count(|r| r != Readiness::Unasked), "ready": count(|r| matches!(r, Readiness::Ready | Readiness::Over)),
        "services": services,
    })
}

fn row(view: &View<'_>, s: &Service) -> Value {
    let reading = view.readings.of(s);
    let beat = heartbeat(&view.frame, s.run.as_ref());
    let limit = match s.spec.limits.memory {
        Some(crate::spec::MemoryLimit::Bytes(n)) => Some(n),
        Some(crate::spec::MemoryLimit::Auto) | None => None,
    };
    json!({
        "name": s.spec.name, "title": s.spec.title, "state": s.state.word(), "ready": s.is_ready(),
        "health": s.health(view.frame.now).word(), "cause": s.cause.map(Cause::word), "reason": why(&view.frame, s),
        "pid": s.living(), "generation": s.last.0, "for_ms": millis(view.frame.now.since(s.since)),
        "restarts": s.book.total, "waiting_on": s.waiting_on, "wanted": s.is_minded(),
        "rss_bytes": reading.and_then(|r| r.now.rss_bytes), "limit_bytes": limit,
        "cpu_percent": reading.and_then(|r| r.cpu_permille).map(|n| f64::from(n) / 10.0),
        "rtt_p50_us": beat["rtt_p50_us"], "rtt_p99_us": beat["rtt_p99_us"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_it_says() {
        let bytes = message("line", &json!({"line": "a\nb\r\n\u{2028}"}));
        let text = String::from_utf8(bytes).unwrap_or_default();
        assert!(text.starts_with("event: line\ndata: {") && text.ends_with("}\n\n"), "{text}");
        assert_eq!(text.matches('\n').count(), 3);
    }
}
