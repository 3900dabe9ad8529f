//! The TOML file: which keys stand in which of its tables, and where everything that is wrong with it stands.

use super::World;
use super::fault::Fault;
use super::foreign;
use super::later;
use super::nearest::nearest;
use super::node::{self, Node};
use super::source::{Source, Spot, placed};
use super::table::{self, Scope, Setting};
use std::collections::HashMap;
use std::ffi::OsStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One value of a file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Which setting.
    pub(crate) setting: &'static Setting,
    /// What stands there.
    pub(crate) node: Node,
    /// The key as it was written: an alias, perhaps.
    pub(crate) written: String,
    /// Where the key stands.
    pub(crate) spot: Spot,
}

/// `[service.NAME]`
#[derive(Clone, Debug)]
pub(crate) struct ServiceTable {
    /// NAME.
    pub(crate) name: String,
    /// Where it stands first.
    pub(crate) spot: Spot,
    /// Its settings.
    pub(crate) entries: Vec<Entry>,
    /// The keys of what was said and could not be read.
    pub(crate) unread: Vec<&'static str>,
}

/// What was understood of all files, the later ones laid over the earlier ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    /// `[watchdog]`
    pub(crate) watchdog: Vec<Entry>,
    /// `[defaults]`
    pub(crate) defaults: Vec<Entry>,
    /// The keys of `[defaults]` that could not be read.
    pub(crate) unread: Vec<&'static str>,
    /// `[service.*]`, in the order of the files.
    pub(crate) services: Vec<ServiceTable>,
}

/// Tables a file may have.
const TABLES: [&str; 3] = ["watchdog", "defaults", "service"];

/// Reads files in their order. The prefix form reads no services.
pub(crate) fn read(sources: &[Source], services: bool, world: &World, faults: &mut Vec<Fault>) -> Contents {
    let mut contents = Contents::default();
    let mut positions = HashMap::new();
    for (index, source) in sources.iter().enumerate() {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        let mut reader =
            Reader { sources, index, services, world, faults, contents: &mut contents, positions: &mut positions };
        let (mut broken, mut last) = (false, 0);
        for error in &errors {
            let what = error.message().lines().next().unwrap_or("not TOML");
            // What follows the first slip of a line follows from it.
            let line = source.position(error.span().map_or(0, |s| s.start)).0;
            if std::mem::replace(&mut last, line) == line {
                continue;
            }
            // Of a key that stands twice the rest of the file is still to be trusted.
            let twice = what.contains("duplicate key");
            broken |= !twice;
            let span = error.span().unwrap_or_default();
            // Its name is not in the message.
            let key = if twice { keys::path(&source.text, span.clone()) } else { String::new() };
            reader.wrong(span.start, &key, Fault::broken(what));
        }
        // What a recovering parser makes of a broken line would only repeat the error in other words.
        if !broken {
            reader.root(root.get_ref());
        }
    }
    contents
}

struct Reader<'a> {
    sources: &'a [Source],
    index: usize,
    services: bool,
    world: &'a World,
    faults: &'a mut Vec<Fault>,
    contents: &'a mut Contents,
    /// Of each service among the contents.
    positions: &'a mut HashMap<String, usize>,
}

/// A table's keys in the order of the file.
fn ordered<'a, 'b>(table: &'a DeTable<'b>) -> Vec<(&'a str, usize, &'a Spanned<DeValue<'b>>)> {
    let mut all: Vec<_> = table.iter().map(|(k, v)| (k.get_ref().as_ref(), k.span().start, v)).collect();
    all.sort_by_key(|(_, at, _)| *at);
    all
}

impl Reader<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (name, at, value) in ordered(root) {
            match (name, value.get_ref().as_table()) {
                ("service", Some(table)) if self.services => self.service_tables(table),
                ("service", Some(_)) => {}
                ("watchdog", Some(table)) => {
                    let (entries, _) = self.section(table, "watchdog", Scope::Instance);
                    let before = std::mem::take(&mut self.contents.watchdog);
                    self.contents.watchdog = self.merged(before, entries, "watchdog");
                }
                ("defaults", Some(table)) => {
                    let (entries, unread) = self.section(table, "defaults", Scope::Service);
                    self.contents.unread.extend(unread);
                    let before = std::mem::take(&mut self.contents.defaults);
                    self.contents.defaults = self.merged(before, entries, "defaults");
                }
                ("watchdog" | "defaults" | "service", None) => {
                    let form = if name == "service" { "[service.NAME]".into() } else { format!("[{name}]") };
                    self.wrong(at, name, Fault::broken(format!("is a table: {form}")));
                }
                _ => self.unknown_table(name, at),
            }
        }
    }

    fn unknown_table(&mut self, name: &str, at: usize) {
        let fault = match home(name) {
            Some(home) => Fault::broken(format!("stands in {home}")),
            None => foreign::table(name)
                .unwrap_or_else(|| Fault::broken("unknown table or key").or_nearest(nearest(name, TABLES))),
        };
        self.wrong(at, name, fault);
    }

    fn service_tables(&mut self, table: &DeTable<'_>) {
        for (name, at, value) in ordered(table) {
            let key = format!("service.{name}");
            let Some(inside) = value.get_ref().as_table() else {
                self.wrong(at, &key, Fault::broken(format!("is a table: [service.{name}]")));
                continue;
            };
            let (entries, unread) = self.section(inside, &key, Scope::OneService);
            let spot = Spot { source: self.index, at };
            match self.positions.get(name).copied() {
                Some(known) => {
                    let before = std::mem::take(&mut self.contents.services[known].entries);
                    self.contents.services[known].entries = self.merged(before, entries, &key);
                    self.contents.services[known].unread.extend(unread);
                }
                None => {
                    let entries = self.merged(Vec::new(), entries, &key);
                    self.positions.insert(name.to_string(), self.contents.services.len());
                    self.contents.services.push(ServiceTable { name: name.to_string(), spot, entries, unread });
                }
            }
        }
    }

    /// The settings of one table, and the keys of those that could not be read. A service's own takes what `[defaults]` takes,
    /// and more.
    fn section(&mut self, table: &DeTable<'_>, name: &str, scope: Scope) -> (Vec<Entry>, Vec<&'static str>) {
        let fits = |s: Scope| s == scope || (scope == Scope::OneService && s == Scope::Service);
        let (mut entries, mut unread) = (Vec::new(), Vec::new());
        for (written, at, value) in ordered(table) {
            let key = later::ALIASES.iter().find(|(alias, _)| *alias == written).map_or(written, |(_, key)| key);
            let path = format!("{name}.{written}");
            match table::find(key) {
                Some(setting) if fits(setting.scope) => match self.entry(setting, written, &path, at, value) {
                    Some(entry) => entries.push(entry),
                    None => unread.push(&*setting.key),
                },
                Some(setting) => {
                    let fault = Fault::broken(format!("stands in {}", place(setting.scope)));
                    self.wrong(at, &path, fault);
                }
                None if later::KEYS.iter().any(|(k, _)| *k == key) => {
                    self.wrong(at, &path, Fault::broken(later::refusal(key)));
                }
                None => {
                    if let Some((fault, ours)) = foreign::key(written) {
                        unread.push(ours);
                        self.wrong(at, &path, fault);
                        continue;
                    }
                    let near = nearest(key, table::TABLE.iter().filter(|s| fits(s.scope)).map(|s| &*s.key));
                    let near = near.or_else(|| nearest(key, table::keys()));
                    // Most likely meant: that it is missing would be the same slip in other words.
                    unread.extend(near.and_then(table::find).map(|s| &*s.key));
                    self.wrong(at, &path, Fault::broken("unknown key").or_nearest(near));
                }
            }
        }
        (entries, unread)
    }

    fn entry(
        &mut self,
        setting: &'static Setting,
        written: &str,
        path: &str,
        at: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Entry> {
        let world = self.world;
        let variable = |name: &str| {
            let found = world.environment.iter().find(|(k, _)| k == name);
            found.map(|(_, v)| v.as_os_str() as &OsStr)
        };
        let mut wrong = Vec::new();
        let node = node::node(value, setting.knows_its_replica(), &variable, &mut wrong);
        for fault in wrong {
            self.wrong(at, path, fault);
        }
        Some(Entry { setting, node: node?, written: written.to_string(), spot: Spot { source: self.index, at } })
    }

    /// Lays the entries of one file over those of the files before it.
    fn merged(&mut self, mut before: Vec<Entry>, entries: Vec<Entry>, name: &str) -> Vec<Entry> {
        for entry in entries {
            let known = before.iter().position(|e| std::ptr::eq(e.setting, entry.setting));
            match known {
                Some(at) if before[at].spot.source == self.index => {
                    let what = format!("sets {} a second time", entry.setting.key);
                    self.wrong(entry.spot.at, &format!("{name}.{}", entry.written), Fault::broken(what));
                }
                // Variables add up, name by name, as they do from [defaults] to a service.
                Some(_) if entry.setting.key == "env" => before.push(entry),
                Some(at) => before[at] = entry,
                None => before.push(entry),
            }
        }
        before
    }

    fn wrong(&mut self, at: usize, key: &str, fault: Fault) {
        self.faults.push(placed(self.sources, Spot { source: self.index, at }, key, fault));
    }
}

/// The table a setting stands in.
fn home(key: &str) -> Option<&'static str> {
    Some(place(table::find(key)?.scope))
}

/// The table settings of this kind stand in.
pub(crate) fn place(scope: Scope) -> &'static str {
    match scope {
        Scope::Service => "[defaults] or [service.NAME]",
        Scope::OneService => "[service.NAME]",
        Scope::Instance => "[watchdog]",
        Scope::CommandLine => "the command line",
    }
}

mod keys;
#[cfg(test)]
mod tests;
