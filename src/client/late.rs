//! A wish whose time is over before it was fulfilled: who has not arrived, and why not.

use super::connection::Connection;
use super::form::{cell, time};
use super::{Failure, NO, QUICK, line};
use crate::cli::Control;
use crate::output;
use serde_json::{Value, json};
use std::path::Path;

/// Asks once more, for what holds now, and says it of each that was waited for. `failure`: what is left to say where the
/// watchdog is silent altogether.
pub(super) fn tell(control: &Control, path: &Path, failure: Failure) -> Result<u8, Failure> {
    let Ok(status) = ask(path, "status", &control.names, json!({})) else { return Err(failure) };
    let services = status["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    let late: Vec<&Value> = services.iter().filter(|service| !has_arrived(control.verb, service)).collect();
    let names: Vec<String> = late.iter().filter_map(|s| s["name"].as_str().map(str::to_string)).collect();
    if names.is_empty() {
        // It came to pass between the two questions, and yet not in time.
        return Err(failure);
    }
    let explained = ask(path, "explain", &names, json!({ "why_not": true })).unwrap_or_default();
    let sentences: Vec<String> = late.iter().map(|service| sentence(control, service, &explained)).collect();
    if control.json {
        output::page(&line(&json!({ "services": services, "reason": sentences.join("; ") })));
        return Ok(NO);
    }
    Err(Failure::new(NO, sentences.join("\n")))
}

fn ask(path: &Path, verb: &str, names: &[String], arguments: Value) -> Result<Value, Failure> {
    let mut connection = Connection::open(path)?;
    connection.send(verb, names, arguments)?;
    connection.answer(Some(QUICK))
}

fn has_arrived(verb: &str, service: &Value) -> bool {
    match verb {
        "stop" => matches!(service["state"].as_str(), Some("stopped" | "done" | "failed")),
        _ => service["ready"] == Value::Bool(true),
    }
}

/// `api is not ready after 0.3s: it is waiting; it is not started yet: waiting for db (ready)`
fn sentence(control: &Control, service: &Value, explained: &Value) -> String {
    let wanted = if control.verb == "stop" { "stopped" } else { "ready" };
    let after = control.timeout.map(|t| format!(" after {}", time(&json!(t.as_millis() as u64)))).unwrap_or_default();
    let mut about = explained["services"].as_array().into_iter().flatten();
    let own = about.find(|answer| answer["service"] == service["name"]);
    // The first of its sentences says again where it is, the second what keeps it there.
    let why = own.map(|answer| &answer["text"][1]).filter(|why| why.is_string()).unwrap_or(&service["reason"]);
    format!("{} is not {wanted}{after}: it is {}; {}", cell(&service["name"]), cell(&service["state"]), cell(why))
}
