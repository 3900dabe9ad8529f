//! The services one by one: the layers of each, its name, and what contradicts itself in it.

use super::{Bases, Said};
use crate::settings::draft::Draft;
use crate::settings::fault::Fault;
use crate::settings::file::{Entry, ServiceTable};
use crate::settings::source::{Spot, placed};
use crate::settings::{apply, values};
use std::collections::{HashMap, HashSet};
use watchdog_engine::spec::Kind;

/// One service with its layers together.
pub(super) struct Member<'a> {
    /// As in the file: one word for all its replicas.
    pub(super) name: &'a str,
    /// Where its table stands.
    pub(super) spot: Spot,
    /// Its own settings.
    pub(super) entries: &'a [Entry],
    /// The table it was read from.
    pub(super) table: &'a ServiceTable,
    /// All layers. In place: single boxes between those of the specs would leave holes as large as they are.
    pub(super) draft: Draft,
}

impl Member<'_> {
    /// Its own entry for a setting.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rfind(|e| e.setting.key == key)
    }

    /// The full names of its replicas.
    pub(super) fn names(&self) -> Vec<String> {
        match self.draft.replicas {
            1 => vec![self.name.to_string()],
            count => (0..count).map(|index| format!("{}@{index}", self.name)).collect(),
        }
    }
}

impl Said {
    /// All services, in the order of the file.
    pub(super) fn members<'a>(&'a self, bases: &Bases, faults: &mut Vec<Fault>) -> Vec<Member<'a>> {
        let common: HashSet<String> =
            bases.above.contradictions_of_a_service().into_iter().map(|fault| fault.message).collect();
        let mut told = HashSet::new();
        let mut members = Vec::with_capacity(self.contents.services.len());
        for table in &self.contents.services {
            let path = format!("service.{}", table.name);
            let mut unread = bases.unread.clone();
            unread.extend(&table.unread);
            let mut draft = self.layers(bases, table, 0, &mut unread, faults);
            if !draft.spec.kind.has_process() {
                faults.extend(self.meant_for_a_process(table, &draft, &unread));
                draft = self.without_a_process(table, draft.spec.kind);
            }
            let member = Member { name: &table.name, spot: table.spot, entries: &table.entries, table, draft };
            if let Err(fault) = name(&table.name) {
                faults.push(placed(&self.sources, table.spot, &path, fault));
            }
            self.contradictions(&member, &unread, &common, &mut told, faults);
            members.push(member);
        }
        self.same_names(&members, faults);
        members
    }

    /// All layers of one replica of a service.
    pub(super) fn layers(
        &self,
        bases: &Bases,
        table: &ServiceTable,
        replica: u32,
        unread: &mut HashSet<&'static str>,
        faults: &mut Vec<Fault>,
    ) -> Draft {
        let (facts, _) = self.facts(table, replica);
        let (path, mut draft) = (format!("service.{}", table.name), bases.defaults.clone());
        let common =
            self.contents.defaults.iter().filter(|entry| entry.node.has_own()).map(|entry| ("defaults", entry));
        for (path, entry) in common.chain(table.entries.iter().map(|entry| (path.as_str(), entry))) {
            let wrong = apply(&mut draft, entry, path, &self.sources, &facts);
            unread.extend((!wrong.is_empty()).then_some(&*entry.setting.key));
            faults.extend(wrong);
        }
        // What is wrong with these was said once, for all services.
        for (setting, raw) in self.variables.iter().chain(&self.flags) {
            let _ = setting.set(&mut draft, raw);
        }
        draft.own_port = facts.port;
        draft
    }

    /// Its own settings that mean nothing without a process.
    fn meant_for_a_process(&self, table: &ServiceTable, draft: &Draft, unread: &HashSet<&str>) -> Vec<Fault> {
        let kind = draft.spec.kind;
        let odd = |entry: &&Entry| {
            let key: &str = &entry.setting.key;
            // One of it is what it is anyhow.
            !entry.setting.fits(kind) && !unread.contains(key) && (key != "replicas" || draft.replicas > 1)
        };
        let fault = |entry: &Entry| {
            let what = format!("a {} has no process: leave {} out", kind.word(), entry.written);
            let key = format!("service.{}.{}", table.name, entry.written);
            placed(&self.sources, entry.spot, &key, Fault::broken(what))
        };
        table.entries.iter().filter(odd).map(fault).collect()
    }

    /// The same service by the settings alone that mean something to it: what holds for all others is passed over.
    fn without_a_process(&self, table: &ServiceTable, kind: Kind) -> Draft {
        let mut draft = Draft::for_up();
        // What is wrong with these was said.
        for entry in self.contents.defaults.iter().chain(&table.entries).filter(|e| e.setting.fits(kind)) {
            let _ = apply(&mut draft, entry, "", &self.sources, &self.facts(table, 0).0);
        }
        for (setting, raw) in self.variables.iter().chain(&self.flags).filter(|(setting, _)| setting.fits(kind)) {
            let _ = setting.set(&mut draft, raw);
        }
        draft
    }

    /// What holds for all of them by [defaults] is said for the first one alone.
    fn contradictions(
        &self,
        member: &Member<'_>,
        unread: &HashSet<&str>,
        common: &HashSet<String>,
        told: &mut HashSet<String>,
        faults: &mut Vec<Fault>,
    ) {
        for fault in member.draft.contradictions_of_a_service() {
            // A value that was not understood would be judged as if it were not there.
            if involved(fault.about).iter().any(|key| unread.contains(key)) {
                continue;
            }
            let own = fault.about.is_none_or(|key| member.entry(key).is_some());
            if own || !common.contains(&fault.message) {
                faults.push(self.wrong_with(member, fault));
            } else if told.insert(fault.message.clone()) {
                faults.push(self.wrong_with_all(fault));
            }
        }
    }

    fn same_names(&self, members: &[Member<'_>], faults: &mut Vec<Fault>) {
        let mut known: HashMap<String, &str> = HashMap::new();
        for member in members {
            if let Some(first) = known.insert(member.name.to_ascii_lowercase(), member.name) {
                let what = format!("differs from service.{first} in capitals alone: nobody could tell them apart");
                faults.push(self.wrong_with(member, Fault::broken(what)));
            }
        }
    }
}

/// Two services that are told to listen on the same port.
pub(super) fn same_ports(members: &[Member<'_>]) -> Vec<String> {
    let range = |m: &Member<'_>| m.draft.port.map(|port| (u32::from(port), u32::from(port) + m.draft.replicas));
    let mut all: Vec<_> =
        members.iter().filter(|m| m.draft.enabled).filter_map(|m| range(m).map(|r| (r, m.name))).collect();
    all.sort_unstable();
    let pairs = all.windows(2).filter(|pair| pair[1].0.0 < pair[0].0.1);
    let sentence = |pair: &[((u32, u32), &str)]| {
        format!("service.{} and service.{}: both are given PORT = {} (port)", pair[0].1, pair[1].1, pair[1].0.0)
    };
    let mut warnings: Vec<String> = pairs.map(sentence).collect();
    let own = |m: &&Member<'_>| m.draft.port.is_some() && m.draft.env.iter().any(|(name, _)| name == "PORT");
    let stands = |m: &Member<'_>| format!("service.{}: env gives it a PORT of its own, which stands over port", m.name);
    warnings.extend(members.iter().filter(own).map(stands));
    warnings
}

/// The settings that are looked at together for what is said about this one.
fn involved(about: Option<&str>) -> &'static [&'static str] {
    match about {
        None | Some("command" | "shell") => &["command", "shell", "type"],
        Some("restart") => &["restart", "type"],
        Some("port") => &["port", "replicas"],
        Some("type" | "probe") => &["probe", "type"],
        Some("ready") => &["ready", "probe", "log", "dialects", "start_timeout"],
        Some("log_file") => &["log_file", "log"],
        Some("log_file_stderr") => &["log_file_stderr", "log"],
        Some("memory_soft_limit") => &["memory_limit", "memory_soft_limit"],
        Some("restart_delay") => &["restart_delay", "restart_delay_max", "restart_delay_factor"],
        Some(_) => &["heartbeat", "dialects"],
    }
}

fn name(text: &str) -> Result<(), Fault> {
    if text.contains('@') {
        let what = format!("{text:?} is no name: @ and a number mark the replicas of a service (replicas = 2)");
        return Err(Fault::broken(what).or_nearest(text.split('@').next().filter(|n| values::name(n).is_ok())));
    }
    values::name(text).map(|_| ())
}
