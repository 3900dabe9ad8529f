//! `complete services|instances|reports`: what a shell may offer behind a verb, a word a line. It ends soon, says nothing
//! else, and is never a failure: somebody is typing.

#![expect(clippy::disallowed_methods, reason = "a client waits for real time; the rule is for the engine")]

use super::OK;
use super::connection::Connection;
use super::find::{self, Found};
use crate::cli::Control;
use crate::output;
use crate::settings::World;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long one answer may take, beside the look for watchdogs.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most words that are offered.
const MOST: usize = 2000;

/// Prints the words.
pub(crate) fn run(control: &Control, world: &World) -> u8 {
    let mut words = match control.names.first().map(String::as_str) {
        Some("services") => services(control, world),
        Some("instances") => running(world).iter().map(Found::stem).collect(),
        Some("reports") => reports(control, world),
        _ => Vec::new(),
    };
    words.sort();
    words.dedup();
    // A shell takes each word apart from the next: what is no name of ours is not offered.
    let plain = |word: &&String| word.chars().all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c));
    let page: String = words.iter().filter(plain).take(MOST).map(|word| format!("{word}\n")).collect();
    output::page(&page);
    OK
}

fn running(world: &World) -> Vec<Found> {
    find::all(&world.runtime_dir(), world.uid).unwrap_or_default()
}

/// Names of services, and of those with replicas the name of all.
fn services(control: &Control, world: &World) -> Vec<String> {
    let statuses: Vec<Value> = match chosen(control, world) {
        true => answer(control, world, "status", json!({ "all": true })).into_iter().collect(),
        false => running(world).into_iter().map(|found| found.status).collect(),
    };
    let all = statuses.iter().flat_map(|status| status["services"].as_array().into_iter().flatten());
    let names = all.filter_map(|service| service["name"].as_str());
    names.flat_map(|name| [Some(name), name.split_once('@').map(|(base, _)| base)]).flatten().map(Into::into).collect()
}

fn reports(control: &Control, world: &World) -> Vec<String> {
    let answer = answer(control, world, "report", json!({ "action": "list" })).unwrap_or_default();
    let all = answer["reports"].as_array().into_iter().flatten();
    all.filter_map(|report| report["id"].as_str()).map(Into::into).collect()
}

fn chosen(control: &Control, world: &World) -> bool {
    control.instance.is_some() || ["WATCHDOG_INSTANCE", "WATCHDOG_SOCKET"].iter().any(|v| world.variable(v).is_some())
}

fn answer(control: &Control, world: &World, verb: &str, arguments: Value) -> Option<Value> {
    let path = find::one(control.instance.as_deref(), &[], world).ok()?;
    let mut connection = Connection::open_within(&path, PATIENCE).ok()?;
    connection.send(verb, &[], arguments).ok()?;
    connection.result(Instant::now().checked_add(PATIENCE)).ok()
}
