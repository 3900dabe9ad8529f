//! The specs of all services, replicas one by one.

use super::links::Links;
use super::order::{Chosen, Starts};
use super::{AllLinks, Bases, Member, Said, places};
use crate::settings::World;
use crate::settings::build::Shared;
use crate::settings::claims::{Claims, a_link};
use crate::settings::draft::Draft;
use crate::settings::fault::Fault;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use watchdog_engine::spec::{Autostart, LogMode, Need, Spec};

/// What stands around the services.
pub(super) struct Around<'a> {
    pub(super) said: &'a Said,
    pub(super) bases: &'a Bases,
    pub(super) links: &'a AllLinks,
    /// The full names of each, by position.
    pub(super) names: Vec<Vec<String>>,
    /// Those that were named, and all that start with them; nobody else does.
    pub(super) chosen: Option<(&'a Chosen, &'a Starts)>,
}

/// The specs of all members but those that are disabled or wrong. What each draft holds goes as soon as
/// its spec is there, so that of thousands not both are held.
pub(super) fn all(
    members: Vec<Member<'_>>,
    around: &Around<'_>,
    world: &World,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<String>,
) -> Vec<Box<Spec>> {
    let mut shared = Shared::for_many(world);
    let mut claims = around.claims();
    let mut specs = Vec::with_capacity(around.names.iter().map(Vec::len).sum());
    let said = around.said;
    for (at, mut member) in members.into_iter().enumerate().filter(|(_, m)| m.draft.enabled) {
        faults.extend(places::of_a_service(&member, said));
        let draft = std::mem::take(&mut member.draft);
        let behind = around.that_differ(&member, &draft);
        let mut drafts = vec![draft];
        drafts.extend((1..behind).map(|n| said.layers(around.bases, member.table, n, &mut HashSet::new(), faults)));
        // A wrong command was said with the contradictions.
        let build = |draft: Draft| {
            let argv = draft.argv().unwrap_or_default();
            draft.spec(argv, &mut shared)
        };
        let built = drafts.into_iter().map(build).collect::<Result<Vec<_>, _>>();
        match built {
            Ok(built) => {
                warnings.extend(said.start_warning(&member, &built[0]));
                let before = specs.len();
                around.place(at, member.name, built, &mut specs);
                let wrong = |spec| linked(spec).into_iter().chain(claims.of_a_service(spec));
                for (key, what) in specs[before..].iter().map(|spec| &**spec).flat_map(wrong) {
                    faults.push(said.wrong_with(&member, Fault::broken(what).about(key)));
                }
            }
            Err(wrong) => {
                let own = |fault: &Fault| fault.about.is_some_and(|key| member.entry(key).is_some());
                let place =
                    |fault| if own(&fault) { said.wrong_with(&member, fault) } else { said.wrong_with_all(fault) };
                faults.extend(wrong.into_iter().map(place));
            }
        }
    }
    specs
}

/// The files of output that are symbolic links.
fn linked(spec: &Spec) -> Vec<(&'static str, String)> {
    let log = &spec.log;
    let files = [("log_file", &log.file), ("log_file_stderr", &log.stderr_file)];
    let kept = files.into_iter().filter(|_| log.mode != LogMode::Inherit);
    kept.filter_map(|(key, path)| Some((key, a_link(path.as_deref()?)?))).collect()
}

impl Around<'_> {
    /// What the watchdog itself writes to.
    fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        // Said by itself where they are wrong among themselves.
        let _ = claims.of_the_watchdog(&self.bases.above);
        claims
    }

    /// How many replicas are built one by one, because they differ by what each knows of itself; else one is built for all.
    fn that_differ(&self, member: &Member<'_>, draft: &Draft) -> u32 {
        let own = self.said.contents.defaults.iter().chain(member.entries).any(|entry| entry.node.has_own());
        if own || draft.port.is_some() { draft.replicas } else { 1 }
    }

    /// Its place among the others, its name, and its replicas one by one. `built`: one for all, or one for each.
    fn place(&self, at: usize, name: &str, mut built: Vec<Box<Spec>>, specs: &mut Vec<Box<Spec>>) {
        for spec in &mut built {
            self.link(spec, &self.links[at]);
            spec.base = name.to_string();
        }
        let names = &self.names[at];
        if let ([only], [spec]) = (names.as_slice(), built.as_mut_slice()) {
            spec.name.clone_from(only);
            self.choose(at, 0, spec);
            return specs.append(&mut built);
        }
        let own = own_paths(&built);
        for (index, name) in names.iter().enumerate() {
            let mut replica = built.get(index).unwrap_or(&built[0]).clone();
            replica.name.clone_from(name);
            self.choose(at, index, &mut replica);
            replica.replica = Some(index as u32);
            if replica.log.file.is_some() || replica.log.stderr_file.is_some() {
                let log = &mut *replica.log;
                for path in [&mut log.file, &mut log.stderr_file] {
                    *path = path.take().map(|path| if own.contains(&path) { path } else { numbered(&path, index) });
                }
            }
            specs.push(replica);
        }
    }

    /// Who was named starts, and nobody else does by itself.
    fn choose(&self, at: usize, index: usize, spec: &mut Spec) {
        let Some((named, starts)) = self.chosen else { return };
        let place = &mut spec.place;
        if named.iter().any(|(member, replica)| *member == at && replica.is_none_or(|replica| replica == index)) {
            place.autostart = Autostart::Yes;
        } else if !starts.has(at, index) && place.autostart == Autostart::Yes {
            (place.autostart, place.unnamed) = (Autostart::No, true);
        }
    }

    fn link(&self, spec: &mut Spec, links: &Links) {
        let names = |to: usize| self.names[to].iter().cloned();
        for (link, condition, once) in &links.requires {
            let needs = names(link.to).map(|service| Need { service, condition: *condition, once: *once });
            spec.place.requires.extend(needs);
        }
        let soft = [&links.wants, &links.after, &links.conflicts];
        // Of thousands most have none: they share one place.
        if soft.iter().any(|links| !links.is_empty()) {
            spec.place.wants = links.wants.iter().flat_map(|link| names(link.to)).collect();
            spec.place.after = links.after.iter().flat_map(|link| names(link.to)).collect();
            spec.place.conflicts = links.conflicts.iter().flat_map(|link| names(link.to)).collect();
        }
    }
}

/// Paths of output that hold the index, or the name, and so are those of one replica alone.
fn own_paths(built: &[Box<Spec>]) -> HashSet<PathBuf> {
    let [first, second, ..] = built else { return HashSet::new() };
    let of = |spec: &Spec| [spec.log.file.clone(), spec.log.stderr_file.clone()];
    let differs = of(first).into_iter().zip(of(second)).map(|(one, other)| one != other).collect::<Vec<_>>();
    built
        .iter()
        .flat_map(|spec| of(spec).into_iter().zip(&differs))
        .filter_map(|(path, own)| path.filter(|_| *own))
        .collect()
}

/// `web.log` of replica 1 is `web@1.log`: two writers in one file would rotate it away from each other.
fn numbered(path: &Path, index: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("@{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
