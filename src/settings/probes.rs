//! `probe`: a check alone, or tables with everything that can be said about one.

use super::checks;
use super::draft::Draft;
use super::fault::Fault;
use super::foreign;
use super::nearest::nearest;
use super::needs::each;
use super::node::{Field, Node, Value};
use super::raw::Raw;
use super::values;
use std::ffi::OsString;
use std::time::Duration;
use watchdog_engine::spec::{Check, HttpCheck, ProbeSpec, Roles};

/// The keys of a probe, with what a value looks like and what it means: for the parser, the schema and the sample.
#[rustfmt::skip]
pub(crate) const KEYS: [(&str, &str, &str); 14] = [
    ("check", "CHECK|ARGV", "http://HOST:PORT/path, tcp://HOST:PORT, unix:PATH, exec:COMMAND, port:N; a list is a command"),
    ("name", "NAME", "shown in status and events; by default the kind of the check"),
    ("role", "ROLE,..", "what it decides: startup, readiness, liveness; by default readiness and liveness"),
    ("start_period", "DURATION", "failures this long after the start do not count, a success does; 5s"),
    ("interval", "DURATION", "from one result to the next try; 10s"),
    ("starting_interval", "DURATION", "the same before the first success; 1s"),
    ("timeout", "DURATION", "one try takes no longer; 5s"),
    ("failures", "N", "failures in a row that count; 3"),
    ("successes", "N", "successes in a row that count; 1"),
    ("method", "METHOD", "of a request; GET"),
    ("headers", "TABLE", "of a request"),
    ("status", "STATUS,..", "statuses that are a success: a number, a range, a list; 200-399"),
    ("body", "TEXT", "a text that the answer must hold"),
    ("gracePeriod", "DURATION", "another word for start_period"),
];
/// Words of `role`.
pub(crate) const ROLES: [&str; 3] = ["startup", "readiness", "liveness"];
/// Shortest pause and time limit: less is no probe but a load.
const SHORTEST: Duration = Duration::from_millis(10);

/// One probe as far as its own keys say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeWish {
    /// Everything that was said, and the defaults of the rest. The name may be empty.
    pub(crate) spec: ProbeSpec,
    /// Whether its own `start_period` was given: else that of the service holds.
    pub(crate) own_start_period: bool,
    /// Offset and rest of the key, for what is found wrong later.
    pub(crate) at: (usize, String),
}

/// `probe`
pub(crate) fn probes(draft: &mut Draft, raw: &Raw) -> Result<Vec<ProbeWish>, Fault> {
    let tree = raw.tree()?;
    if let Value::List(items) = &tree.value
        && items.iter().any(|i| matches!(i.value, Value::Text { .. }))
        && items.len() > 1
    {
        let text =
            "a list of texts is no probe: one text is a check, and a list of tables ([[service.NAME.probe]]) several";
        return Err(Fault::usage(text));
    }
    let probes = each(draft, raw, |item, key| match &item.value {
        Value::Table(fields) => probe(item, fields, &key),
        Value::Text { .. } | Value::Number(_) | Value::Switch(_) | Value::List(_) => {
            let check = item.text().and_then(checks::check).map_err(|f| vec![f.inside(item.at, key.clone())])?;
            let spec = ProbeSpec { check, ..ProbeSpec::default() };
            Ok(ProbeWish { spec, own_start_period: false, at: (item.at, key) })
        }
    })?;
    for (index, wish) in probes.iter().enumerate() {
        let name = &wish.spec.name;
        if !name.is_empty() && probes[..index].iter().any(|p| p.spec.name == *name) {
            let fault = Fault::usage(format!("a second probe of the name {name:?}"));
            draft.more.push(fault.inside(wish.at.0, wish.at.1.clone()));
        }
    }
    Ok(probes)
}

fn probe(item: &Node, fields: &[Field], key: &str) -> Result<ProbeWish, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut wish = ProbeWish { spec: ProbeSpec::default(), own_start_period: false, at: (item.at, key.to_string()) };
    let check = fields.iter().find(|f| f.key == "check");
    match check.map(|field| (field, check_of(&field.node))) {
        Some((_, Ok(check))) => wish.spec.check = check,
        Some((field, Err(fault))) => faults.push(placed(fault, &field.node, format!("{key}.check"))),
        None => faults.push(Fault::usage("has no check, such as check = \"port:8080\"").inside(item.at, key)),
    }
    for field in fields.iter().filter(|f| f.key != "check") {
        let path = format!("{key}.{}", field.key);
        match set(&mut wish, field, faults.is_empty()) {
            Ok(()) => {}
            Err(Slip::Key(fault)) => faults.push(fault.inside(field.at, path)),
            Err(Slip::Value(fault)) => faults.push(placed(fault, &field.node, path)),
        }
    }
    if faults.is_empty() { Ok(wish) } else { Err(faults) }
}

fn placed(fault: Fault, node: &Node, key: String) -> Fault {
    if fault.inside.is_some() { fault } else { fault.inside(node.at, key) }
}

/// Whether the key is wrong or its value.
enum Slip {
    Key(Fault),
    Value(Fault),
}

impl From<Fault> for Slip {
    fn from(fault: Fault) -> Slip {
        Slip::Value(fault)
    }
}

/// One key of a probe. `known`: the check was understood, so that what belongs to requests alone can be told.
fn set(wish: &mut ProbeWish, field: &Field, known: bool) -> Result<(), Slip> {
    let (spec, node) = (&mut wish.spec, &field.node);
    match field.key.as_str() {
        "name" => spec.name = values::name(node.text()?)?,
        "role" => spec.roles = roles(node)?,
        "start_period" | "gracePeriod" => {
            spec.start_period = values::duration(&node.word()?)?;
            wish.own_start_period = true;
        }
        "interval" => spec.interval = pause(node)?,
        "starting_interval" => spec.starting_interval = pause(node)?,
        "timeout" => spec.timeout = pause(node)?,
        "failures" => spec.failures = values::count(&node.word()?, 1, 1000)? as u32,
        "successes" => spec.successes = values::count(&node.word()?, 1, 1000)? as u32,
        "method" | "headers" | "status" | "body" => match &mut spec.check {
            Check::Http(http) => request(http, field)?,
            Check::Tcp(_) | Check::Unix(_) | Check::Exec(_) | Check::Port { .. } if known => {
                return Err(Slip::Key(Fault::usage("belongs to a check over http alone")));
            }
            Check::Tcp(_) | Check::Unix(_) | Check::Exec(_) | Check::Port { .. } => {}
        },
        other => {
            if let Some(fault) = foreign::probe_key(other) {
                return Err(Slip::Key(fault));
            }
            let near = nearest(other, KEYS.iter().map(|(key, ..)| *key));
            return Err(Slip::Key(Fault::usage("unknown key").or_nearest(near)));
        }
    }
    Ok(())
}

/// A text, or a command as a list of its words.
fn check_of(node: &Node) -> Result<Check, Fault> {
    let Value::List(items) = &node.value else { return checks::check(node.text()?) };
    let words: Vec<OsString> = items.iter().map(|i| i.text().map(OsString::from)).collect::<Result<_, _>>()?;
    match words.first() {
        Some(program) if !program.is_empty() => Ok(Check::Exec(words)),
        _ => Err(Fault::usage("the command is empty")),
    }
}

fn roles(node: &Node) -> Result<Roles, Fault> {
    let mut roles = Roles { startup: false, readiness: false, liveness: false };
    for item in node.items() {
        match values::word(item.text()?, &[("startup", 0), ("readiness", 1), ("liveness", 2)])? {
            0 => roles.startup = true,
            1 => roles.readiness = true,
            _ => roles.liveness = true,
        }
    }
    if !(roles.startup || roles.readiness || roles.liveness) {
        return Err(Fault::usage(format!("a probe without a role decides nothing: {}", ROLES.join(", "))));
    }
    Ok(roles)
}

fn pause(node: &Node) -> Result<Duration, Fault> {
    let word = node.word()?;
    match values::duration(&word)? {
        pause if pause >= SHORTEST => Ok(pause),
        _ => Err(Fault::usage(format!("{word:?} is too short: at least {}ms", SHORTEST.as_millis()))),
    }
}

/// What belongs to requests alone.
fn request(http: &mut HttpCheck, field: &Field) -> Result<(), Fault> {
    let node = &field.node;
    match field.key.as_str() {
        "method" => {
            let method = node.text()?;
            if method.is_empty() || method.len() > 32 || !method.bytes().all(|b| b.is_ascii_uppercase()) {
                let fault = Fault::usage(format!("{method:?} is no method: capital letters"));
                return Err(fault.or_nearest(Some(method.to_ascii_uppercase()).filter(|m| m != method)));
            }
            http.method = method.to_string();
        }
        "headers" => http.headers = headers(node)?,
        "status" => http.status = node.items().iter().map(status).collect::<Result<_, _>>()?,
        _ => match node.text()? {
            "" => return Err(Fault::usage("an empty text is in every answer")),
            text => http.body = Some(text.to_string()),
        },
    }
    if http.status.is_empty() {
        return Err(Fault::usage("an empty list: no answer would be a success"));
    }
    Ok(())
}

/// They may hold secrets: an error shows the name alone.
fn headers(node: &Node) -> Result<Vec<(String, String)>, Fault> {
    let Value::Table(fields) = &node.value else {
        return Err(Fault::usage("is a table, such as { Authorization = \"..\" }"));
    };
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let mut headers = Vec::new();
    for field in fields {
        if field.key.is_empty() || !field.key.bytes().all(token) {
            return Err(Fault::usage(format!("{:?} is no name of a header", field.key)));
        }
        let value = field.node.word()?;
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(Fault::usage(format!("the value of {} holds a control character", field.key)));
        }
        headers.push((field.key.clone(), value));
    }
    Ok(headers)
}

/// `200`, `"200-399"`
fn status(node: &Node) -> Result<(u16, u16), Fault> {
    let word = node.word()?;
    let (low, high) = word.split_once('-').unwrap_or((&word, &word));
    match (low.parse::<u16>(), high.parse::<u16>()) {
        (Ok(low), Ok(high)) if (100..=599).contains(&low) && (low..=599).contains(&high) => Ok((low, high)),
        _ => Err(Fault::usage(format!("{word:?} is no status: 100 to 599, or a range such as \"200-399\""))),
    }
}
