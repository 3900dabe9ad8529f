//! `report`: what the flight recorder wrote down. A running watchdog is asked; where none is left, its directory is read,
//! for that is when people need it.

use super::connection::Connection;
use super::{Failure, NONE, QUICK, REFUSED, account, find, line};
use crate::cli::{Control, Report};
use crate::logging::say;
use crate::output;
use crate::settings::{self, World, bounded, nearest, reason};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// Most entries of a directory that are looked at. A watchdog keeps a thousand reports of a service at most.
const MOST_ENTRIES: usize = 10_000;
/// Largest report read. A watchdog writes far smaller ones.
const LARGEST: u64 = 8 * 1024 * 1024;
/// What a list says of each, beside its size and path.
const LISTED: [&str; 8] = ["id", "time", "service", "generation", "cause", "verdict", "code", "signal"];

/// Prints the list, or one report.
pub(crate) fn run(control: &Control, world: &World) -> Result<u8, Failure> {
    let answer = match &control.dir {
        Some(dir) => read(control, Path::new(dir))?,
        None => match find::one(control.instance.as_deref(), &control.names, world)
            .and_then(|path| Connection::open(&path))
        {
            Ok(mut connection) => {
                connection.send(control.verb, &control.names, arguments(&control.report))?;
                connection.answer(Some(QUICK))?
            }
            // One that was named means that one, and not what others left behind.
            Err(gone) if gone.status == NONE => left_behind(control, gone, world)?,
            Err(failure) => return Err(failure),
        },
    };
    let text = match (&control.report, control.json) {
        (Report::List, true) => line(&answer),
        (Report::List, false) => account::list(&answer),
        (_, true) => line(&answer["report"]),
        (_, false) => account::report(&answer["report"]),
    };
    Ok(output::page(&text))
}

/// The arguments of the request.
pub(crate) fn arguments(report: &Report) -> Value {
    match report {
        Report::List => json!({ "action": "list" }),
        Report::Show(id) => json!({ "action": "show", "id": id }),
        Report::Last => json!({ "action": "last" }),
    }
}

/// The one that was named.
fn chosen(control: &Control, world: &World) -> Option<String> {
    let variable = || world.variable("WATCHDOG_INSTANCE");
    let named = control.instance.as_ref().or_else(variable)?;
    Some(named.to_string_lossy().into_owned())
}

/// The reports of watchdogs that are gone: of all of them, or of the one that was named.
fn left_behind(control: &Control, gone: Failure, world: &World) -> Result<Value, Failure> {
    let nowhere = "no watchdog is running here, and where its reports are is not known: say it with --dir";
    let dir = settings::report_dir(world).ok_or_else(|| Failure::new(NONE, nowhere))?;
    let named = chosen(control, world);
    let entries = match &named {
        // Nothing of it at all: then it is not known here.
        Some(named) => match entries(&dir, None, Some(named)) {
            Ok(found) if !found.is_empty() => found,
            Ok(_) | Err(_) => return Err(gone),
        },
        None if !dir.is_dir() => {
            let why = format!("no watchdog is running here, and no reports are in {}", dir.display());
            return Err(Failure::new(NONE, why));
        }
        None => entries(&dir, None, None)?,
    };
    let which = named.map(|name| format!("no watchdog {name:?}")).unwrap_or("no watchdog".into());
    say(&format!("{which} is running here: this is from {}", dir.display()));
    let name = control.names.first();
    let of_it = entries.into_iter().filter(|e| name.is_none_or(|name| is_of(&e.row, name))).collect();
    answer(control, &dir, of_it)
}

/// The answer that a watchdog would give, from its directory.
pub(super) fn read(control: &Control, dir: &Path) -> Result<Value, Failure> {
    let name = control.names.first().map(String::as_str);
    answer(control, dir, entries(dir, name, None)?)
}

fn answer(control: &Control, dir: &Path, entries: Vec<Entry>) -> Result<Value, Failure> {
    let wanted = match &control.report {
        Report::List => {
            let rows: Vec<Value> = entries.into_iter().map(|e| e.row).collect();
            return Ok(json!({ "reports": rows }));
        }
        Report::Last => entries.first(),
        Report::Show(id) => entries.iter().find(|e| e.row["id"].as_str() == Some(id)),
    };
    match wanted.and_then(|entry| whole(&entry.path)) {
        Some((report, _)) => Ok(json!({ "report": report })),
        None => Err(Failure::new(NONE, missing(control, dir, &entries))),
    }
}

fn missing(control: &Control, dir: &Path, entries: &[Entry]) -> String {
    let of = control.names.first().map(|name| format!(" of {name}")).unwrap_or_default();
    match &control.report {
        Report::Show(id) => {
            let near = nearest(id, entries.iter().filter_map(|e| e.row["id"].as_str()));
            let near = near.map(|id| format!(": did you mean {id:?}?")).unwrap_or_default();
            format!("no report {id:?}{of} in {}{near}", dir.display())
        }
        Report::List | Report::Last => format!("no report{of} in {}", dir.display()),
    }
}

/// One report of a directory, as far as a list needs it.
struct Entry {
    row: Value,
    path: PathBuf,
}

/// The reports of a directory and of those in it, which are of one instance each: of one service or instance, or of all, newest
/// first. What is broken is passed over: half a report is what a full disk leaves, and must not hide the others.
fn entries(dir: &Path, service: Option<&str>, instance: Option<&str>) -> Result<Vec<Entry>, Failure> {
    let failed = |e: io::Error| {
        let status = if e.kind() == io::ErrorKind::PermissionDenied { REFUSED } else { NONE };
        Failure::new(status, format!("{}: {}", dir.display(), reason(&e)))
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)?.take(MOST_ENTRIES).flatten() {
        match entry.file_type() {
            // Of one that cannot be read, others are shown all the same. No link: it may lead anywhere.
            Ok(kind) if kind.is_dir() => {
                let inside = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
                paths.extend(inside.take(MOST_ENTRIES - paths.len().min(MOST_ENTRIES)).map(|e| e.path()));
            }
            Ok(_) | Err(_) => paths.push(entry.path()),
        }
    }
    let mut found = Vec::new();
    for path in paths.into_iter().filter(|path| path.extension() == Some(OsStr::new("json"))).take(MOST_ENTRIES) {
        let Some((report, bytes)) = whole(&path) else { continue };
        let wanted =
            service.is_none_or(|name| is_of(&report, name)) && instance.is_none_or(|name| is_by(&report, name));
        if report["id"].is_string() && wanted {
            found.push(Entry { row: row(&report, bytes, &path), path });
        }
    }
    // Times of one form in UTC sort as texts do.
    let key = |e: &Entry| ["time", "id"].map(|k| e.row[k].as_str().unwrap_or_default().to_string());
    found.sort_by_cached_key(|e| std::cmp::Reverse(key(e)));
    Ok(found)
}

/// A report and its size.
fn whole(path: &Path) -> Option<(Value, usize)> {
    let bytes = bounded::read_up_to(path, LARGEST).ok()?;
    let report: Value = serde_json::from_slice(&bytes).ok()?;
    report.is_object().then_some((report, bytes.len()))
}

/// Written by the watchdog with this name, NAME.PID or pid.
fn is_by(report: &Value, instance: &str) -> bool {
    let (name, pid) = (report["watchdog"]["name"].as_str().unwrap_or_default(), &report["watchdog"]["pid"]);
    instance == name
        || pid.as_i64().is_some_and(|pid| instance.parse() == Ok(pid))
        || instance == format!("{name}.{pid}")
}

/// A name means all of its replicas, `web@0` and so on.
fn is_of(report: &Value, name: &str) -> bool {
    let rest = report["service"].as_str().and_then(|service| service.strip_prefix(name));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

fn row(report: &Value, bytes: usize, path: &Path) -> Value {
    let mut row: serde_json::Map<String, Value> =
        LISTED.iter().map(|key| (key.to_string(), report[*key].clone())).collect();
    row.insert("bytes".to_string(), bytes.into());
    row.insert("path".to_string(), path.to_string_lossy().into());
    Value::Object(row)
}
