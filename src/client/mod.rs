//! The control verbs: finds the watchdog that is meant, asks it, prints the answer.

mod account;
pub(crate) mod base64;
pub(crate) mod connection;
mod find;
pub(crate) mod form;
mod late;
mod offer;
mod print;
mod report;
mod stream;
pub(crate) mod top;
mod tree;

use crate::cli::Control;
use crate::logging::say;
use crate::output;
use crate::settings::World;
use connection::Connection;
use serde_json::{Value, json};
use std::time::Duration;
pub(crate) use stream::content;

/// Yes, or done.
pub(crate) const OK: u8 = 0;
/// No: unhealthy, not ready, timed out.
pub(crate) const NO: u8 = 1;
/// Wrong words.
pub(crate) const USAGE: u8 = 2;
/// No such watchdog or service.
pub(crate) const NONE: u8 = 3;
/// Refused: permission, conflict, wrong state.
pub(crate) const REFUSED: u8 = 4;

/// How long a question that needs no work may take. A watchdog answers such a one in its next turn.
const QUICK: Duration = Duration::from_secs(5);
/// What a watchdog may take longer than the time it was given itself.
const SLACK: Duration = Duration::from_secs(5);

/// Why a verb ends without its answer: the line to say and the status to end with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Without the prefix.
    pub(crate) message: String,
    /// One of the constants above.
    pub(crate) status: u8,
    /// The time to wait was over.
    pub(crate) late: bool,
    /// What is wrong, one by one, where that is a list; else null.
    pub(crate) errors: Value,
}

impl Failure {
    /// Of this status.
    pub(crate) fn new(status: u8, message: impl Into<String>) -> Failure {
        Failure { message: message.into(), status, late: false, errors: Value::Null }
    }
}

/// Does what one verb asks for.
pub(crate) fn run(control: &Control, world: &World) -> u8 {
    let done = match control.verb {
        "complete" => Ok(offer::run(control, world)),
        "ls" => list(control, world),
        "report" => report::run(control, world),
        "top" => top::run(control, world),
        _ => ask(control, world),
    };
    done.unwrap_or_else(|failure| {
        for line in failure.message.lines() {
            say(line);
        }
        failure.status
    })
}

/// `ls`: every watchdog that is there. Of one that does not answer only name and pid are known.
fn list(control: &Control, world: &World) -> Result<u8, Failure> {
    let found = find::all(&world.runtime_dir(), world.uid)?;
    for stuck in found.iter().filter(|found| found.stuck) {
        say(&stuck.line());
    }
    let rows: Vec<Value> = found.iter().map(print::watchdog).collect();
    let answer = json!({ "watchdogs": rows });
    let text = if control.json { line(&answer) } else { print::watchdogs(&rows) };
    Ok(output::page(&text))
}

/// Every other verb: one watchdog, one request.
fn ask(control: &Control, world: &World) -> Result<u8, Failure> {
    let path = find::one(control.instance.as_deref(), &control.names, world)?;
    let mut connection = Connection::open(&path)?;
    if !matches!(control.verb, "status" | "tree" | "explain" | "health") {
        // What may be waited for without a limit is asked of a watchdog that answers; and what changes something is not
        // to be done at some later time, when a watchdog that stood still goes on.
        connection.assure()?;
    }
    connection.send(control.verb, &control.names, arguments(control))?;
    if matches!(control.verb, "events" | "logs") {
        return stream::copy(control, connection);
    }
    let patience = match control.verb {
        // Bounded by the watchdog's own ladders; how long that is, only it knows.
        "start" => control.timeout,
        "stop" | "restart" => None,
        "wait" => control.timeout.map(|t| t.saturating_add(SLACK)),
        _ => Some(QUICK),
    };
    match connection.answer(patience) {
        Ok(answer) => Ok(show(control, &answer)),
        Err(failure) if failure.late && matches!(control.verb, "start" | "stop" | "restart") => {
            late::tell(control, &path, failure)
        }
        Err(failure) if control.json && failure.errors.is_array() => {
            output::page(&line(&json!({ "errors": failure.errors })));
            Err(failure)
        }
        Err(failure) => Err(failure),
    }
}

/// The arguments of a request.
fn arguments(control: &Control) -> Value {
    let timeout = control.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
    let mut arguments = match control.verb {
        // What it uses is measured for this answer, also where no limit asks for it.
        "status" => json!({ "sample": true, "mean": true }),
        "stop" => json!({ "timeout_ms": timeout }),
        "restart" => json!({ "force": control.force, "no_dependents": control.no_dependents.then_some(true) }),
        "reload" => json!({ "no_restart": control.no_restart.then_some(true) }),
        "signal" => json!({ "signal": control.signal }),
        "tell" => json!({ "word": control.word }),
        "explain" => json!({ "why_not": control.why_not.then_some(true) }),
        "events" | "logs" => json!({ "follow": control.follow, "n": control.lines }),
        "wait" => json!({ "for": control.wait_for, "timeout_ms": timeout }),
        _ => json!({}),
    };
    if let Some(members) = arguments.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    arguments
}

/// Prints an answer and gives the status that follows from it.
fn show(control: &Control, answer: &Value) -> u8 {
    let status = match control.verb {
        "health" => u8::from(!matches!(answer["health"].as_str(), Some("healthy"))),
        "wait" => u8::from(answer["reached"] != Value::Bool(true)),
        // Done, and yet not so: the worker failed, or somebody else wished otherwise.
        "start" | "stop" | "restart" => u8::from(answer["reason"].is_string()),
        _ => OK,
    };
    // The sentences of these two hold it already.
    let apart = !matches!(control.verb, "health" | "wait");
    if let (false, Some(reason)) = (control.json, answer["reason"].as_str().filter(|_| apart)) {
        say(reason);
    }
    if control.verb == "wait" && status == NO && !control.json {
        for sentence in print::not_reached(answer) {
            say(&sentence);
        }
        return status;
    }
    let text = if control.json { line(answer) } else { print::answer(control.verb, answer) };
    output::page(&text).max(status)
}

/// One line of JSON.
pub(crate) fn line(value: &Value) -> String {
    format!("{}\n", crate::text::json(value))
}

#[cfg(test)]
mod tests;
