//! From the words of a user to the specs the engine runs: flag over variable over file over default.
//!
//! `table` is the list of settings and `setting` the form of its entries; `values`, `signals`, `rlimit`, `alive`, `limits`
//! and `hooks` read what people write, `file`, `environ`, `env_file` and `users` read the world, `draft` puts it together.

mod alive;
pub(crate) mod bounded;
mod draft;
mod env_file;
mod environ;
mod fault;
mod file;
mod hooks;
mod language;
mod later;
mod levels;
mod limits;
mod nearest;
mod raw;
mod rlimit;
mod setting;
pub(crate) mod signals;
pub(crate) mod table;
mod users;
pub(crate) mod values;

pub(crate) use draft::LogFormat;
pub(crate) use environ::Variable;
pub(crate) use fault::{BROKEN, Fault, USAGE, status_of};
pub(crate) use later::{KEYS as LATER, refusal};
pub(crate) use nearest::nearest;
pub(crate) use users::{Accounts, reason};

use draft::Draft;
use environ::Meaning;
use raw::{Layer, Raw};
use std::ffi::OsString;
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
    pub(crate) spec: Spec,
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
    if let Some(path) = config_path(flags, &variables) {
        let (entries, mut wrong) = file::read(&path);
        for entry in entries {
            // A wrong value in a file is a broken file.
            let fault = (entry.setting.set)(&mut draft, &entry.raw).err();
            wrong.extend(fault.map(|f| (entry.at, Fault { status: BROKEN, ..f.at(&entry.place) })));
        }
        wrong.sort_by_key(|(at, _)| *at);
        faults.extend(wrong.into_iter().map(|(_, fault)| fault));
    }
    for (setting, raw) in &variables {
        faults.extend((setting.set)(&mut draft, raw).err().map(|f| f.at(&setting.variable())));
    }
    for (setting, raw) in collect(flags) {
        faults.extend((setting.set)(&mut draft, &raw).err().map(|f| f.at(&setting.flag())));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let (log_level, log_format) = (draft.log_level.clone(), draft.log_format);
    warnings.extend(draft.env_files.iter().filter_map(|path| env_file::warning(path)));
    let (instance, spec) = draft.build(command, world)?;
    Ok(Resolved { instance, spec, log_level, log_format, warnings })
}

/// The settings among our variables.
fn variables(world: &World, faults: &mut Vec<Fault>, warnings: &mut Vec<String>) -> Vec<(&'static Setting, Raw)> {
    let mut found = Vec::new();
    for (name, value) in &world.environment {
        match environ::meaning(name) {
            Meaning::Setting(key) => {
                let raw = Raw::one(Layer::Variable, value);
                found.extend(table::find(key).map(|setting| (setting, raw)));
            }
            Meaning::Later(key) => faults.push(Fault::usage(refusal(key)).at(&table::variable(key))),
            Meaning::Unknown => warnings.push(unknown_variable(&name.to_string_lossy())),
            Meaning::Contract | Meaning::Foreign => {}
        }
    }
    found
}

fn unknown_variable(name: &str) -> String {
    let key = name.trim_start_matches("WATCHDOG_").to_ascii_lowercase();
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
