//! From a file to everything `up` runs: each service's layers, how they stand to each other, and all that is wrong, at once.
//!
//! `plan` is a function of flags, files and world alone: a reload calls it again, and compares.

mod cycles;
mod links;
mod members;
mod order;
mod places;
mod specs;
mod starts;
#[cfg(test)]
mod tests;
pub(crate) mod told;

use super::build::Shared;
use super::draft::{Draft, LogFormat, ReportWish};
use super::expand::OwnFacts;
use super::fault::Fault;
use super::file::{self, Contents};
use super::raw::Raw;
use super::source::{self, Source, placed};
use super::table::Setting;
use super::{Flag, World, collect, env_file, environ, values};
use links::Links;
use members::Member;
use std::collections::HashSet;
use std::path::Path;
use watchdog_engine::spec::{Form, Instance, Spec};

/// The file that is read when none is named.
pub(crate) const USUAL_FILE: &str = "watchdog.toml";

/// Everything `up` needs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The watchdog.
    pub(crate) instance: Instance,
    /// Its services, in the order of the file, replicas one by one. What is disabled is not among them.
    pub(crate) specs: Vec<Box<Spec>>,
    /// Filter of our own log.
    pub(crate) log_level: String,
    /// Its form.
    pub(crate) log_format: LogFormat,
    /// To be logged once the log is there.
    pub(crate) warnings: Vec<String>,
    /// Full names of what is started, in layers: each needs only what stands before it.
    pub(crate) order: Vec<Vec<String>>,
    /// Where reports were asked to be.
    pub(crate) reports: ReportWish,
    /// What was said, and where.
    pub(crate) said: Said,
}

/// What a watchdog is started with and has until its end.
#[derive(Debug)]
pub(crate) struct Fixed {
    instance: Instance,
    log_level: String,
    log_format: LogFormat,
}

impl Fixed {
    /// The keys of what another reading of the file says otherwise.
    pub(crate) fn differences(&self, plan: &Plan) -> Vec<String> {
        let (old, new) = (&self.instance, &plan.instance);
        let all = [
            ("name", (&old.name, old.name_given) != (&new.name, new.name_given)),
            ("control", old.control != new.control),
            ("http", old.http != new.http),
            ("http_control", old.http_control != new.http_control),
            ("events_file", old.events_file != new.events_file),
            ("termination_message", old.termination_message != new.termination_message),
            ("report_dir", old.report_dir != new.report_dir),
            ("report_keep", old.report_keep != new.report_keep),
            ("state", old.state != new.state),
            ("strategy", old.strategy != new.strategy),
            ("die_with_parent", old.die_with_parent != new.die_with_parent),
            ("log_level", self.log_level != plan.log_level),
            ("log_format", self.log_format != plan.log_format),
        ];
        all.iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_string()).collect()
    }
}

impl Plan {
    /// What of it no reload changes.
    pub(crate) fn fixed(&self) -> Fixed {
        let (instance, log_level) = (self.instance.clone(), self.log_level.clone());
        Fixed { instance, log_level, log_format: self.log_format }
    }

    /// What is needed to run it; all else is dropped.
    pub(crate) fn for_the_engine(self) -> (Instance, Vec<Box<Spec>>) {
        (self.instance, self.specs)
    }
}

/// What was said, layer by layer: for `check`.
#[derive(Debug)]
pub(crate) struct Said {
    /// The files.
    pub(crate) sources: Vec<Source>,
    /// What stands in them.
    pub(crate) contents: Contents,
    /// Of the environment.
    pub(crate) variables: Vec<(&'static Setting, Raw)>,
    /// Of the command line.
    pub(crate) flags: Vec<(&'static Setting, Raw)>,
}

/// Reads the file with its drop-ins and plans what it says. `names`: only these, and what they need, are to start.
pub(crate) fn plan(flags: &[Flag], file: &Path, names: &[String], world: &World) -> Result<Plan, Vec<Fault>> {
    let sources = source::with_drop_ins(file)?;
    let mut plan = of(flags, sources, names, world)?;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    if !plan.instance.name_given {
        let folder = absolute.parent().and_then(Path::file_name);
        plan.instance.name = folder.map_or("watchdog".into(), |f| values::default_name(f.as_encoded_bytes()));
    }
    plan.instance.report_dir = plan.reports.directory(&plan.instance.name, world);
    plan.instance.file = Some(absolute);
    Ok(plan)
}

/// The same for texts that were read. The instance has no file, and a name only if one was given.
pub(crate) fn of(flags: &[Flag], sources: Vec<Source>, names: &[String], world: &World) -> Result<Plan, Vec<Fault>> {
    let (mut faults, mut warnings) = (Vec::new(), Vec::new());
    let variables = super::variables(world, &mut faults, &mut warnings);
    let contents = file::read(&sources, true, world, &mut faults);
    let said = Said { sources, contents, variables, flags: collect(flags) };
    let bases = said.bases(&mut faults);
    let members = said.members(&bases, &mut faults);
    if members.is_empty() && faults.is_empty() {
        faults.push(said.no_services());
    }
    places::of_the_watchdog(&bases.above, &said, &mut faults);
    let links = links::all(&members, &said, &mut faults);
    cycles::find(&members, &links, &said, &mut faults);
    order::conflicts(&members, &links, &said, &mut faults);
    let chosen = order::chosen(&members, names, &mut faults);
    let starts = order::starts(&members, &links, chosen.as_ref());
    let order = order::layers(&members, &links, &starts);
    warnings.extend(said.warnings(&members, world));
    warnings.extend(members::same_ports(&members));
    warnings.extend(order::by_hand(&members, &links, &starts));
    let around = specs::Around {
        said: &said,
        bases: &bases,
        links: &links,
        names: members.iter().map(Member::names).collect(),
        chosen: chosen.as_ref().map(|chosen| (chosen, &starts)),
    };
    let specs = specs::all(members, &around, world, &mut faults, &mut warnings);
    if !faults.is_empty() {
        return Err(said.finished(faults));
    }
    said.veil(warnings.iter_mut());
    let above = &bases.above;
    let (log_level, log_format) = (above.log_level.clone(), above.log_format);
    let environment = environ::of_commands(&Shared::new(world).inherited);
    let instance = Instance { form: Form::Up, ..above.instance(world, environment) };
    let reports = bases.above.report_dir;
    Ok(Plan { instance, specs, log_level, log_format, warnings, order, reports, said })
}

/// What holds for every service.
struct Bases {
    /// By the files.
    defaults: Draft,
    /// With variables and flags on top.
    above: Draft,
    /// The keys of what was not understood.
    unread: HashSet<&'static str>,
}

impl Said {
    fn bases(&self, faults: &mut Vec<Fault>) -> Bases {
        let (mut defaults, mut unread) = (Draft::for_up(), HashSet::from_iter(self.contents.unread.iter().copied()));
        for (table, entries) in [("watchdog", &self.contents.watchdog), ("defaults", &self.contents.defaults)] {
            // What a service knows of itself is put in for each of them.
            for entry in entries.iter().filter(|entry| !entry.node.has_own()) {
                let wrong = super::apply(&mut defaults, entry, table, &self.sources, &OwnFacts::default());
                unread.extend((!wrong.is_empty()).then_some(&*entry.setting.key));
                faults.extend(wrong);
            }
        }
        let mut above = defaults.clone();
        let variables = self.variables.iter().map(|(s, raw)| (s, raw, s.variable()));
        for (setting, raw, place) in variables.chain(self.flags.iter().map(|(s, raw)| (s, raw, s.flag()))) {
            if let Err(fault) = setting.set(&mut above, raw) {
                unread.insert(&setting.key);
                faults.push(fault.at(&place));
            }
        }
        Bases { defaults, above, unread }
    }

    fn no_services(&self) -> Fault {
        let file = self.sources.first().map_or(USUAL_FILE, |s| s.shown.as_str());
        source::whole(file, 0, "no services: a service is a table [service.NAME] with a command")
    }

    /// Flags first, then the files from top to bottom; no value that came from a variable is in any of them.
    fn finished(&self, mut faults: Vec<Fault>) -> Vec<Fault> {
        faults.sort_by_key(|f| f.place.as_ref().map(|p| p.order));
        // What [defaults] do to many services stands in one place.
        let mut told = HashSet::new();
        faults.retain(|fault| told.insert(fault.message.clone()));
        self.veil(faults.iter_mut().flat_map(|fault| {
            let place = fault.place.as_mut().map(|place| &mut place.message);
            std::iter::once(&mut fault.message).chain(place)
        }));
        faults
    }

    /// Takes what came from variables out of sentences.
    fn veil<'a>(&self, messages: impl Iterator<Item = &'a mut String>) {
        let mut secrets = Vec::new();
        let contents = &self.contents;
        let tables = contents.services.iter().map(|s| &s.entries).chain([&contents.watchdog, &contents.defaults]);
        for entry in tables.flatten() {
            entry.node.expanded(&mut secrets);
        }
        // The longest first: a shorter one may be a part of it.
        secrets.sort_unstable_by_key(|(text, written)| (std::cmp::Reverse(text.len()), *text, *written));
        secrets.dedup();
        for message in messages {
            secrets.iter().for_each(|(text, written)| veil(message, text, written));
        }
    }

    fn warnings(&self, members: &[Member<'_>], world: &World) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.sources.iter().filter_map(|s| source::writable_by_others(s, world.uid)).collect();
        let mut files: Vec<_> = members.iter().filter(|m| m.draft.enabled).flat_map(|m| &m.draft.env_files).collect();
        files.sort_unstable();
        files.dedup();
        warnings.extend(files.into_iter().filter_map(|path| env_file::warning(path)));
        let listeners = environ::listeners(&world.environment, world.pid);
        if listeners > 0 {
            warnings.push(format!(
                "LISTEN_FDS={listeners}: listeners of whoever started the watchdog go to no service of a file: \
                 watchdog -- PROGRAM passes them on"
            ));
        }
        warnings
    }

    /// A fault that every service without a word of its own has: where `[defaults]` say so, or by a flag or variable.
    fn wrong_with_all(&self, fault: Fault) -> Fault {
        let entry = self.contents.defaults.iter().rfind(|e| fault.about == Some(&e.setting.key));
        match entry {
            Some(entry) => placed(&self.sources, entry.spot, &format!("defaults.{}", entry.written), fault),
            None => fault,
        }
    }

    /// A fault of one service: at the place of the setting it is about, or at its table.
    fn wrong_with(&self, member: &Member<'_>, fault: Fault) -> Fault {
        let entry = fault.about.and_then(|key| member.entry(key));
        let (spot, key) = match entry {
            Some(entry) => (entry.spot, format!("service.{}.{}", member.name, entry.written)),
            None => (member.spot, format!("service.{}", member.name)),
        };
        placed(&self.sources, spot, &key, fault)
    }
}

/// Writes a value that came from a variable as it stands in the file. Short ones only in quotes: they are parts of words.
fn veil(message: &mut String, text: &str, written: &str) {
    if text.is_empty() {
        return;
    }
    let quoted = format!("{text:?}");
    if message.contains(&quoted) {
        *message = message.replace(&quoted, &format!("{written:?}"));
    }
    // As it is, and as a part of a text that stands in quotes.
    for text in [text, &quoted[1..quoted.len() - 1]] {
        if text.len() >= 4 && message.contains(text) && !written.contains(text) {
            *message = message.replace(text, written);
        }
    }
}

/// Links of each member, by its position.
type AllLinks = [Links];
