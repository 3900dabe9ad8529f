//! The specs of all services, replicas one by one.

use super::links::Links;
use super::order::{Chosen, Starts};
use super::{AllLinks, Member, Said, places};
use crate::settings::World;
use crate::settings::build::Shared;
use crate::settings::claims::Claims;
use crate::settings::draft::Draft;
use crate::settings::fault::Fault;
use std::path::{Path, PathBuf};
use watchdog_engine::spec::{Autostart, Need, Spec};

/// What stands around the services.
pub(super) struct Around<'a> {
    pub(super) said: &'a Said,
    /// What is said above all services.
    pub(super) above: &'a Draft,
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
        // A wrong command was said with the contradictions.
        let argv = member.draft.argv().unwrap_or_default();
        let draft = std::mem::take(&mut member.draft);
        match draft.spec(argv, &mut shared) {
            Ok(spec) => {
                warnings.extend(said.start_warning(&member, &spec));
                let before = specs.len();
                around.place(at, member.name, spec, &mut specs);
                for (key, what) in specs[before..].iter().flat_map(|spec| claims.of_a_service(spec)) {
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

impl Around<'_> {
    /// What the watchdog itself writes to.
    fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        // Said by itself where they are wrong among themselves.
        let _ = claims.of_the_watchdog(self.above);
        claims
    }

    /// Its place among the others, its name, and its replicas one by one.
    fn place(&self, at: usize, name: &str, mut spec: Box<Spec>, specs: &mut Vec<Box<Spec>>) {
        self.link(&mut spec, &self.links[at]);
        spec.base = name.to_string();
        let names = &self.names[at];
        if let [only] = names.as_slice() {
            spec.name.clone_from(only);
            self.choose(at, 0, &mut spec);
            return specs.push(spec);
        }
        for (index, name) in names.iter().enumerate() {
            let mut replica = spec.clone();
            replica.name.clone_from(name);
            self.choose(at, index, &mut replica);
            replica.replica = Some(index as u32);
            replica.log.file = replica.log.file.map(|path| numbered(&path, index));
            replica.log.stderr_file = replica.log.stderr_file.map(|path| numbered(&path, index));
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
        spec.place.wants = links.wants.iter().flat_map(|link| names(link.to)).collect();
        spec.place.after = links.after.iter().flat_map(|link| names(link.to)).collect();
        spec.place.conflicts = links.conflicts.iter().flat_map(|link| names(link.to)).collect();
    }
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
