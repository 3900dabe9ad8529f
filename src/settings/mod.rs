//! From the words of a user to the specs the engine runs: flag over variable over file over default.
//!
//! `table` is the list of settings and `setting` the form of its entries; `values`, `signals`, `rlimit`, `alive`, `limits`,
//! `hooks`, `needs`, `probes` and `checks` read what people write; `source`, `node`, `expand` and `file` read TOML, `environ`,
//! `env_file` and `users` the rest of the world. `draft` is what they write into, `rules` looks at it as a whole, `build` makes
//! a spec of it. `resolve` is the prefix form, `plan` the services of a file.

mod alive;
pub(crate) mod bounded;
mod build;
mod checks;
mod claims;
mod commands;
mod draft;
mod env_file;
mod environ;
mod expand;
mod fault;
pub(crate) mod file;
mod fixed;
pub(crate) mod foreign;
mod hooks;
mod language;
pub(crate) mod later;
mod levels;
mod limits;
mod nearest;
pub(crate) mod needs;
pub(crate) mod node;
pub(crate) mod plan;
pub(crate) mod probes;
pub(crate) mod raw;
mod rlimit;
mod rules;
mod setting;
pub(crate) mod signals;
pub(crate) mod source;
pub(crate) mod table;
mod users;
pub(crate) mod values;
mod web;

pub(crate) use draft::LogFormat;
pub(crate) use environ::Variable;
pub(crate) use fault::{BROKEN, Fault, USAGE, status_of};
pub(crate) use fixed::Fixed;
pub(crate) use later::{KEYS as LATER, refusal};
pub(crate) use nearest::nearest;
pub(crate) use plan::plan;
pub(crate) use users::{Accounts, reason};

use build::Shared;
use claims::Claims;
use draft::Draft;
use environ::Meaning;
use expand::OwnFacts;
use file::{Contents, Entry};
use raw::{Layer, Raw};
use source::Source;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use table::{Setting, Shape};
use watchdog_engine::spec::{Instance, Spec};

/// One flag of the command line and its value.
pub(crate) type Flag = (&'static Setting, OsString);

/// What a command line is read against. A test brings its own.
pub(crate) struct World {
    /// Our environment.
    pub(crate) environment: Vec<Variable>,
    /// Our process id.
    pub(crate) pid: u32,
    /// Our effective user.
    pub(crate) uid: u32,
    /// Where users and groups are written down.
    pub(crate) accounts: Accounts,
}

/// Everything the prefix form needs.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The watchdog.
    pub(crate) instance: Instance,
    /// The only service.
    pub(crate) spec: Box<Spec>,
    /// Filter of our own log.
    pub(crate) log_level: String,
    /// Its form.
    pub(crate) log_format: LogFormat,
    /// To be logged once the log is there.
    pub(crate) warnings: Vec<String>,
}

impl World {
    /// The real one.
    pub(crate) fn real() -> World {
        World {
            environment: std::env::vars_os().collect(),
            pid: std::process::id(),
            uid: nix::unistd::geteuid().as_raw(),
            accounts: Accounts::default(),
        }
    }

    /// A variable that says something.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment.iter().find(|(k, _)| k == name).map(|(_, v)| v).filter(|v| !v.is_empty())
    }

    /// The directory of the control sockets: the first of the contract's four.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        match (self.variable("WATCHDOG_RUNTIME_DIR"), self.variable("XDG_RUNTIME_DIR")) {
            (Some(dir), _) => PathBuf::from(dir),
            (None, Some(dir)) => Path::new(dir).join("watchdog"),
            (None, None) if self.uid == 0 => PathBuf::from("/run/watchdog"),
            (None, None) => PathBuf::from(format!("/tmp/watchdog-{}", self.uid)),
        }
    }

    /// The directory of what outlives us. A relative one would be another for each directory we are started in: the XDG
    /// specification has it passed over.
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        let absolute = |name| self.variable(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        if let Some(dir) = absolute("XDG_STATE_HOME") {
            return Some(dir.join("watchdog"));
        }
        if self.uid == 0 {
            return Some(PathBuf::from("/var/lib/watchdog"));
        }
        absolute("HOME").map(|home| home.join(".local/state/watchdog"))
    }
}

/// A directory of reports as WATCHDOG_REPORT_DIR says it: a client reads where a watchdog of the same words writes.
pub(crate) fn report_dir(world: &World) -> Option<PathBuf> {
    match world.variable("WATCHDOG_REPORT_DIR") {
        Some(dir) => (dir != "off" && dir != "false").then(|| PathBuf::from(dir)),
        None => world.state_dir(),
    }
}

/// Reads all layers. Everything that is wrong is said at once.
pub(crate) fn resolve(flags: &[Flag], command: Vec<OsString>, world: &World) -> Result<Resolved, Vec<Fault>> {
    let mut draft = Draft::default();
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    let variables = variables(world, &mut faults, &mut warnings);
    let program = command.first().map(|p| p.as_bytes()).unwrap_or_default();
    let file = config_path(flags, &variables).and_then(|path| read_file(&path, world, &mut faults));
    let above = Above { variables, flags: collect(flags) };
    if let Some((source, contents)) = &file {
        faults.extend(from_file(source, contents, &above.facts(program, contents), &mut draft));
    }
    for (setting, raw) in &above.variables {
        faults.extend(setting.set(&mut draft, raw).err().map(|f| f.at(&setting.variable())));
    }
    for (setting, raw) in &above.flags {
        faults.extend(setting.set(&mut draft, raw).err().map(|f| f.at(&setting.flag())));
    }
    draft.own_port = draft.port;
    if !faults.is_empty() {
        return Err(faults);
    }
    let (log_level, log_format) = (draft.log_level.clone(), draft.log_format);
    warnings.extend(draft.env_files.iter().filter_map(|path| env_file::warning(path)));
    faults.extend(draft.contradictions());
    let mut shared = Shared::new(world);
    let mut instance = draft.instance(world, environ::of_commands(&shared.inherited));
    let mut claims = Claims::default();
    let mut shared_files = claims.of_the_watchdog(&draft);
    shared_files.extend(claims.of_a_service(&draft.spec));
    faults.extend(shared_files.into_iter().map(|(key, what)| Fault::usage(format!("{key}: {what}")).about(key)));
    let name = draft.name.clone().unwrap_or_else(|| values::default_name(program));
    instance.report_dir = draft.report_dir.directory(&name, world);
    match draft.spec(command, &mut shared) {
        Ok(mut spec) if faults.is_empty() => {
            instance.name = name.clone();
            spec.name = name;
            Ok(Resolved { instance, spec, log_level, log_format, warnings })
        }
        built => {
            faults.extend(built.err().into_iter().flatten());
            Err(faults)
        }
    }
}

/// What is said above a file.
struct Above {
    variables: Vec<(&'static Setting, Raw)>,
    flags: Vec<(&'static Setting, Raw)>,
}

impl Above {
    /// What the only service of the prefix form knows of itself.
    fn facts(&self, program: &[u8], contents: &Contents) -> OwnFacts {
        let said = |key: &str, entries: &[Entry]| {
            let above = self.flags.iter().chain(&self.variables).find(|(setting, _)| setting.key == key);
            let entry = entries.iter().rfind(|entry| entry.setting.key == key);
            above.map(|(_, raw)| raw.clone()).or_else(|| Raw::of(&entry?.node, false).ok())
        };
        let name = said("name", &contents.watchdog).and_then(|raw| values::name(raw.text().ok()?).ok());
        let port = said("port", &contents.defaults).and_then(|raw| needs::first_port(&raw).ok()?);
        OwnFacts { service: name.unwrap_or_else(|| values::default_name(program)), replica: 0, port }
    }
}

/// The file of the prefix form.
fn read_file(path: &Path, world: &World, faults: &mut Vec<Fault>) -> Option<([Source; 1], Contents)> {
    let source = match Source::read(path) {
        Ok(source) => [source],
        Err(fault) => {
            faults.push(fault);
            return None;
        }
    };
    let contents = file::read(&source, false, world, faults);
    Some((source, contents))
}

/// Its `[watchdog]` and `[defaults]`.
fn from_file(source: &[Source], contents: &Contents, facts: &OwnFacts, draft: &mut Draft) -> Vec<Fault> {
    let mut wrong = Vec::new();
    for (table, entries) in [("watchdog", &contents.watchdog), ("defaults", &contents.defaults)] {
        for entry in entries {
            wrong.extend(apply(draft, entry, table, source, facts));
        }
    }
    wrong
}

/// Writes one value of a file into a draft, with what the service knows of itself put in. A wrong one is a broken file.
fn apply(draft: &mut Draft, entry: &Entry, table: &str, sources: &[Source], facts: &OwnFacts) -> Vec<Fault> {
    let setting = entry.setting;
    let settled = if entry.node.has_own() { entry.node.settled(facts).map(Some) } else { Ok(None) };
    let done = settled.and_then(|settled| {
        let node = settled.as_ref().unwrap_or(&entry.node);
        setting.set(draft, &Raw::of(node, setting.shape == Shape::Tree)?)
    });
    if done.is_ok() && draft.more.is_empty() {
        return Vec::new();
    }
    let mut faults = std::mem::take(&mut draft.more);
    faults.extend(done.err());
    let mut expanded = Vec::new();
    entry.node.expanded(&mut expanded);
    let key = format!("{table}.{}", entry.written);
    let placed = |fault: Fault| {
        // What came from a variable may be a secret, and so may be any part of it.
        let fault = match expanded.first() {
            Some((_, written)) => {
                let form = if setting.value.is_empty() { "true or false" } else { &setting.value };
                Fault { message: format!("{written:?} comes to something that is not {form}"), nearest: None, ..fault }
            }
            None => fault,
        };
        source::placed(sources, entry.spot, &key, fault)
    };
    faults.into_iter().map(placed).collect()
}

/// The settings among our variables.
fn variables(world: &World, faults: &mut Vec<Fault>, warnings: &mut Vec<String>) -> Vec<(&'static Setting, Raw)> {
    let mut found = Vec::new();
    for (name, value) in &world.environment {
        match environ::meaning(name) {
            Meaning::Setting(key) => match table::find(key) {
                Some(_) if environ::is_a_service_link(name, value) => warnings.push(a_service_link(name)),
                Some(setting) if setting.has_flag() => found.push((setting, Raw::one(Layer::Variable, value))),
                _ => faults.push(Fault::usage(in_a_file_alone(key)).at(&table::variable(key))),
            },
            Meaning::Later(key) => faults.push(Fault::usage(refusal(key)).at(&table::variable(key))),
            Meaning::Unknown => warnings.push(unknown_variable(&name.to_string_lossy())),
            Meaning::Contract | Meaning::Foreign => {}
        }
    }
    found
}

/// The line that refuses the flag or variable of what names one thing.
pub(crate) fn in_a_file_alone(key: &str) -> String {
    format!("stands in a file alone: {key} under [service.NAME], for watchdog up")
}

fn a_service_link(name: &std::ffi::OsStr) -> String {
    format!(
        "{}: the address of a service called watchdog, as Kubernetes and Docker say it, and no port: passed over",
        name.display()
    )
}

fn unknown_variable(name: &str) -> String {
    let key = name.trim_start_matches("WATCHDOG_").to_ascii_lowercase();
    if let Some((fault, _)) = foreign::key(&key) {
        return format!("{name}: {}", fault.message.replacen("unknown key", "unknown variable, passed over", 1));
    }
    let fault = Fault::usage(format!("{name}: unknown variable, passed over"));
    fault.or_nearest(nearest(&key, table::keys()).map(table::variable)).message
}

/// The flags by setting: the words of a repeated list together, of anything else the last.
fn collect(flags: &[Flag]) -> Vec<(&'static Setting, Raw)> {
    let mut collected: Vec<(&'static Setting, Raw)> = Vec::new();
    for (setting, value) in flags {
        match collected.iter_mut().find(|(s, _)| std::ptr::eq(*s, *setting)) {
            Some((s, raw)) if s.shape == Shape::List => raw.words.push(value.clone()),
            Some((_, raw)) => raw.words = vec![value.clone()],
            None => collected.push((setting, Raw::one(Layer::Flag, value))),
        }
    }
    collected
}

fn config_path(flags: &[Flag], variables: &[(&'static Setting, Raw)]) -> Option<PathBuf> {
    let flag = flags.iter().rfind(|(s, _)| s.key == "config").map(|(_, v)| v);
    let variable = variables.iter().find(|(s, _)| s.key == "config").and_then(|(_, r)| r.words.last());
    flag.or(variable.filter(|v| !v.is_empty())).map(PathBuf::from)
}

#[cfg(test)]
mod tests;
