//! Events and lines of output in the shapes of the contract (product.md section 13).

use super::journal::Entry;
use super::shapes::{Frame, millis, oom_shape};
use crate::logs::Line;
use crate::machine::*;
use crate::signal_name;
use crate::sys::clock::rfc3339;
use serde_json::{Map, Value, json};

/// One line of `logs`.
#[must_use]
pub(crate) fn line(name: &str, l: &Line) -> Value {
    let (text, encoding) = match std::str::from_utf8(&l.bytes) {
        Ok(text) => (text.to_owned(), "utf8"),
        Err(_) => (base64(&l.bytes), "base64"),
    };
    json!({"seq": l.seq, "time": rfc3339(l.at), "service": name, "generation": l.generation,
           "stream": l.stream.word(), "line": text, "partial": l.partial, "encoding": encoding})
}

/// One event.
#[must_use]
pub(crate) fn event(frame: &Frame<'_>, e: &Entry) -> Value {
    let n = &e.notice;
    let mut map = Map::new();
    map.insert("seq".into(), e.seq.into());
    map.insert("time".into(), rfc3339(e.wall).into());
    map.insert("mono_ms".into(), millis(e.mono.0).into());
    map.insert("event".into(), n.what.name().into());
    map.insert("service".into(), e.gone.as_deref().map_or_else(|| frame.name(n.service).into(), Value::from));
    map.insert("generation".into(), n.generation.map(|g| g.0).into());
    map.insert("pid".into(), n.pid.into());
    map.insert("cause".into(), n.cause.map(Cause::word).into());
    if let Value::Object(more) = by_kind(&n.what) {
        map.extend(more);
    }
    Value::Object(map)
}

fn by_kind(what: &What) -> Value {
    match what {
        What::Spawn | What::Stopped => json!({}),
        What::Ready { by } => json!({"ready_by": by.word()}),
        What::Hang { dialect, lane, silent, misses } => json!({
            "dialect": dialect.map(Dialect::word), "lane": lane, "silent_ms": millis(*silent), "misses": misses,
        }),
        What::Verdict { verdict, sentence, record, because } => {
            let (action, extension) = match (sentence, record) {
                (Sentence::Hung, false) => ("restart", 0),
                (Sentence::Hung, true) => ("record", 0),
                (Sentence::Extend(n), _) => ("extend", *n),
                (Sentence::Wait, _) => ("wait", 0),
            };
            json!({"verdict": verdict.word(), "action": action, "extension": extension, "reason": because})
        }
        What::Threshold { what, value, limit, samples, action, soft } => {
            let (name, per) = match what {
                Measure::Memory => ("memory", 1),
                // Percent of one core, as the setting.
                Measure::Cpu => ("cpu", 10),
            };
            json!({"what": name, "value": value / per, "limit": limit / per, "samples": samples, "action": action, "soft": soft})
        }
        What::Oom { oom } => {
            json!({"oom": oom_shape(*oom), "who": if *oom == Oom::Child { "child" } else { "worker" }})
        }
        What::ChannelLost { dialect } => json!({"dialect": dialect.word()}),
        What::ProtoError { dialect, error } => json!({"dialect": dialect.word(), "error": error}),
        What::NotifyDenied { sender, uid, count } => json!({"sender": sender, "uid": uid, "count": count}),
        What::Status { text } => json!({"text": text}),
        What::Reload => json!({}),
        What::SpawnFailed { path, step, errno } => {
            json!({"path": path, "step": step.word(), "errno": format!("{:?}", nix::errno::Errno::from_raw(*errno))})
        }
        What::Exit { exit, uptime, requested } => json!({
            "code": exit.code, "signal": exit.signal.map(signal_name), "core": exit.core, "oom": oom_shape(exit.oom),
            "uptime_ms": millis(*uptime), "requested": requested, "rss_peak_bytes": exit.rss_peak_bytes,
        }),
        What::RestartScheduled { attempt, limit, delay, rule } => {
            json!({"attempt": attempt, "limit": limit, "delay_ms": millis(*delay), "reason": rule})
        }
        What::GaveUp { restarts, exit_status, rule } => {
            json!({"restarts": restarts, "exit_status": exit_status, "reason": rule})
        }
        What::CrashLoop { restarts, window, pause } => {
            json!({"restarts": restarts, "window_ms": millis(*window), "pause_ms": millis(*pause)})
        }
        What::StopRequested { by }
        | What::StartRequested { by }
        | What::RestartRequested { by }
        | What::ReloadRequested { by } => {
            json!({"by": by_shape(by)})
        }
        What::SignalRequested { by, signal } => json!({"by": by_shape(by), "signal": signal_name(*signal)}),
        What::SignalSent { signal, scope, pids } => {
            json!({"signal": signal_name(*signal), "scope": scope, "pids": pids})
        }
        What::KillEscalated { grace } => json!({"grace_ms": millis(*grace)}),
        What::Stuck { pids } => json!({"pids": pids}),
        What::LeftoverKilled { pids, background } => json!({"pids": pids, "background": background}),
        What::OrphanReaped { pid } => json!({"orphan": pid}),
        What::LogDropped { stream, lines, bytes } => json!({"stream": stream, "lines": lines, "bytes": bytes}),
        What::ControlDenied { pid, uid } => json!({"by": {"kind": "control", "signal": null, "pid": pid, "uid": uid}}),
        What::Stall { late } => json!({"late_ms": millis(*late)}),
        What::Probe { probe, role, result, message, failures } => {
            json!({"probe": probe, "role": role, "result": result, "message": message, "failures": failures})
        }
        What::Blocked { waiting_on, hopeless, reason } => {
            json!({"waiting_on": waiting_on, "hopeless": hopeless, "reason": reason})
        }
        What::Unblocked => json!({}),
        What::ConfigReloaded { added, removed, changed, restarted, deferred } => json!({
            "added": added, "removed": removed, "changed": changed, "restarted": restarted, "deferred": deferred,
        }),
        What::ConfigError { errors } => json!({"errors": errors}),
    }
}

fn by_shape(by: &By) -> Value {
    let kind = match by.kind {
        ByKind::Signal => "signal",
        ByKind::Control => "control",
        ByKind::Policy => "policy",
    };
    json!({"kind": kind, "signal": by.signal.map(signal_name), "pid": by.pid, "uid": by.uid})
}

/// RFC 4648, for the rare line that is not text.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let n = group.iter().fold(0u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= group.len() { digit as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_as_in_the_rfc() {
        let got: Vec<String> = ["", "f", "fo", "foo", "foobar"].iter().map(|s| super::base64(s.as_bytes())).collect();
        assert_eq!(got, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYmFy"]);
    }
}
