//! The specs of all services, replicas one by one.

use super::links::Links;
use super::{AllLinks, Member, Said};
use crate::settings::World;
use crate::settings::build::Shared;
use crate::settings::fault::Fault;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use watchdog_engine::spec::{Autostart, Kind, Need, ProbeSpec, Ready, Spec};

/// What a stretched `start_timeout` has beyond the slowest probe.
const SLACK: Duration = Duration::from_secs(5);

/// One spec for each member, or none for what is disabled or wrong.
pub(super) fn all(members: &[Member<'_>], said: &Said, world: &World, faults: &mut Vec<Fault>) -> Vec<Option<Spec>> {
    let mut shared = Shared::new(world);
    let mut logs: HashMap<PathBuf, &str> = HashMap::new();
    let mut specs = Vec::new();
    for member in members {
        let draft = &member.draft;
        if !draft.enabled {
            specs.push(None);
            continue;
        }
        if let Some(path) = draft.spec.log.file.clone()
            && let Some(first) = logs.insert(path, member.name)
        {
            let what = format!("{first} writes to the same file: each service needs one of its own");
            faults.push(said.wrong_with(member, Fault::broken(what).about("log_file")));
        }
        // A wrong command was said with the contradictions.
        let spec = draft.clone().spec(draft.argv().unwrap_or_default(), &mut shared);
        match spec {
            Ok(spec) => specs.push(Some(with_deadline(spec, said.says(member, "start_timeout")))),
            Err(wrong) => {
                let own = |fault: &Fault| fault.about.is_some_and(|key| member.entry(key).is_some());
                let place =
                    |fault| if own(&fault) { said.wrong_with(member, fault) } else { said.wrong_with_all(fault) };
                faults.extend(wrong.into_iter().map(place));
                specs.push(None);
            }
        }
    }
    specs
}

impl Said {
    /// Whether any layer says this for a service.
    fn says(&self, member: &Member<'_>, key: &str) -> bool {
        let above = self.variables.iter().chain(&self.flags).any(|(setting, _)| setting.key == key);
        above || member.entry(key).is_some() || self.contents.defaults.iter().any(|e| e.setting.key == key)
    }
}

/// A deadline that nobody gave: none for a oneshot, for a long migration is not to be killed by a default; and where probes
/// decide, long enough for the slowest of them to have failed.
fn with_deadline(mut spec: Spec, given: bool) -> Spec {
    if given {
        return spec;
    }
    if spec.kind == Kind::Oneshot {
        spec.start_timeout = Duration::MAX;
        return spec;
    }
    let decides = matches!(spec.ready, Ready::Auto | Ready::Probe);
    let slowest = |p: &ProbeSpec| {
        let tries = p.interval.saturating_add(p.timeout).saturating_mul(p.failures);
        p.start_period.saturating_add(tries).saturating_add(SLACK)
    };
    let deciding = spec.probes.iter().filter(|p| decides && (p.roles.readiness || p.roles.startup));
    spec.start_timeout = deciding.map(slowest).max().unwrap_or_default().max(spec.start_timeout);
    spec
}

/// Names, replicas and places. `chosen`: those that were named, and all that start with them; nobody else does.
pub(super) fn placed(
    built: Vec<Option<Spec>>,
    members: &[Member<'_>],
    links: &AllLinks,
    chosen: Option<(&[usize], &[bool])>,
) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (at, spec) in built.into_iter().enumerate() {
        let Some(mut spec) = spec else { continue };
        place(&mut spec, members, &links[at]);
        let autostart = &mut spec.place.autostart;
        match chosen {
            Some((named, _)) if named.contains(&at) => *autostart = Autostart::Yes,
            Some((_, starts)) if !starts[at] && *autostart == Autostart::Yes => *autostart = Autostart::No,
            Some(_) | None => {}
        }
        spec.base = members[at].name.to_string();
        let names = members[at].names();
        let many = names.len() > 1;
        for (index, name) in names.into_iter().enumerate() {
            let mut replica = Spec { name, ..spec.clone() };
            if many {
                replica.replica = Some(index as u32);
                replica.log.file = replica.log.file.map(|path| numbered(&path, index));
            }
            specs.push(replica);
        }
    }
    specs
}

fn place(spec: &mut Spec, members: &[Member<'_>], links: &Links) {
    let names = |to: usize| members[to].names();
    for (link, condition, once) in &links.requires {
        let needs = names(link.to).into_iter().map(|service| Need { service, condition: *condition, once: *once });
        spec.place.requires.extend(needs);
    }
    spec.place.wants = links.wants.iter().flat_map(|link| names(link.to)).collect();
    spec.place.after = links.after.iter().flat_map(|link| names(link.to)).collect();
    spec.place.conflicts = links.conflicts.iter().flat_map(|link| names(link.to)).collect();
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
