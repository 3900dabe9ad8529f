//! Names of other services looked up.

use super::{AllLinks, Member, Said};
use crate::settings::fault::Fault;
use crate::settings::nearest;
use crate::settings::needs::Named;
use crate::settings::source::{Spot, placed};
use std::collections::HashMap;
use watchdog_engine::spec::{Condition, Kind, Policy};

/// One service names another.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Position of the other.
    pub(super) to: usize,
    /// Where it is named.
    pub(super) spot: Spot,
    /// Under which key.
    pub(super) key: String,
}

/// Everything one service says about others. What is disabled is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    /// With what is asked, and whether once is enough.
    pub(super) requires: Vec<(Link, Condition, bool)>,
    /// `wants`
    pub(super) wants: Vec<Link>,
    /// `after`
    pub(super) after: Vec<Link>,
    /// `conflicts`
    pub(super) conflicts: Vec<Link>,
}

impl Links {
    /// What comes before it.
    pub(super) fn before(&self) -> impl Iterator<Item = &Link> {
        self.requires.iter().map(|(link, ..)| link).chain(&self.wants).chain(&self.after)
    }

    /// What is started with it.
    pub(super) fn brings(&self) -> impl Iterator<Item = usize> {
        self.requires.iter().map(|(link, ..)| link).chain(&self.wants).map(|link| link.to)
    }
}

/// Looks all names up.
pub(super) fn all(members: &[Member<'_>], said: &Said, faults: &mut Vec<Fault>) -> Vec<Links> {
    let positions: HashMap<&str, usize> = members.iter().enumerate().map(|(at, m)| (m.name, at)).collect();
    let mut all = Vec::new();
    for (own, member) in members.iter().enumerate() {
        let mut finder = Finder { own, member, members, positions: &positions, said, faults };
        let links = finder.links();
        finder.requires_and_conflicts(&links);
        // What is left out holds nobody up.
        all.push(if member.draft.enabled { links } else { Links::default() });
    }
    all
}

struct Finder<'a, 'b> {
    own: usize,
    member: &'a Member<'a>,
    members: &'a [Member<'a>],
    positions: &'a HashMap<&'a str, usize>,
    said: &'a Said,
    faults: &'b mut Vec<Fault>,
}

impl Finder<'_, '_> {
    fn links(&mut self) -> Links {
        let draft = &self.member.draft;
        let mut requires = Vec::new();
        let mut wants = Vec::new();
        let by_depends_on = draft.depends_on.iter().map(|wish| ("depends_on", &wish.need, wish.required));
        let by_requires = draft.requires.iter().map(|need| ("requires", need, true));
        for (key, need, required) in by_requires.chain(by_depends_on).collect::<Vec<_>>() {
            if !required && !self.is_there(&need.service.name) {
                continue;
            }
            let Some(link) = self.link(key, &need.service) else { continue };
            if !required {
                wants.push(link);
                continue;
            }
            let other = &self.members[link.to].draft.spec;
            let kind = other.kind;
            let usual = if kind == Kind::Oneshot { Condition::Completed } else { Condition::Ready };
            let condition = need.condition.unwrap_or(usual);
            if condition == Condition::Completed && !kind.has_process() {
                let what = format!("a {} is never completed: condition = \"ready\"", kind.word());
                self.wrong(&link, Fault::broken(what));
            }
            let again = matches!(other.restart.policy, Policy::Always | Policy::UnlessStopped | Policy::OnSuccess);
            // Of a oneshot the policy itself is refused.
            if condition == Condition::Completed && kind == Kind::Service && again {
                let what = "it is started again whenever it completes (restart): condition = \"ready\", or type = \"oneshot\" there";
                self.wrong(&link, Fault::broken(what));
            }
            self.twice(&link, requires.iter().map(|(link, ..): &(Link, _, _)| link.to));
            requires.push((link, condition, need.once));
        }
        let named = self.soft("wants", &draft.wants);
        wants.retain(|link: &Link| !named.iter().any(|other| other.to == link.to));
        wants.extend(named);
        Links {
            requires,
            wants,
            after: self.soft("after", &draft.after),
            conflicts: self.soft("conflicts", &draft.conflicts),
        }
    }

    /// Whether a service of this name will be there.
    fn is_there(&self, name: &str) -> bool {
        self.positions.get(name).is_some_and(|at| self.members[*at].draft.enabled)
    }

    /// Those to whom a disabled service is as good as none.
    fn soft(&mut self, key: &'static str, names: &[Named]) -> Vec<Link> {
        let mut found: Vec<Link> = Vec::new();
        for link in names.iter().filter_map(|named| self.link(key, named)).collect::<Vec<_>>() {
            self.twice(&link, found.iter().map(|link| link.to));
            found.push(link);
        }
        found.into_iter().filter(|link| self.members[link.to].draft.enabled).collect()
    }

    fn twice(&mut self, link: &Link, mut before: impl Iterator<Item = usize>) {
        if before.any(|to| to == link.to) {
            let what = format!("{} stands here a second time", self.members[link.to].name);
            self.wrong(link, Fault::broken(what));
        }
    }

    fn link(&mut self, key: &'static str, named: &Named) -> Option<Link> {
        let source = self.member.entry(key)?.spot.source;
        let key = format!("service.{}.{key}{}", self.member.name, named.key);
        let name = named.name.as_str();
        let to = self.positions.get(name).copied();
        let link = Link { to: to.unwrap_or(self.own), spot: Spot { source, at: named.at }, key };
        let fault = match to {
            None => Some(self.unknown(name)),
            Some(to) if to == self.own => Some(Fault::broken(format!("{name} names itself"))),
            Some(to) if needed(&link) && self.member.draft.enabled && !self.members[to].draft.enabled => {
                Some(Fault::broken(format!("{name} is not enabled (enabled = false): it will never be there")))
            }
            Some(_) => None,
        };
        let Some(fault) = fault else { return Some(link) };
        self.wrong(&link, fault);
        None
    }

    fn unknown(&self, name: &str) -> Fault {
        let fault = Fault::broken(format!("no service {name:?} in this file"));
        let base = name.split('@').next().filter(|base| *base != name && self.positions.contains_key(base));
        fault.or_nearest(base.or_else(|| nearest(name, self.members.iter().map(|m| m.name))))
    }

    fn requires_and_conflicts(&mut self, links: &Links) {
        for link in &links.conflicts {
            if links.requires.iter().any(|(need, ..)| need.to == link.to) {
                let other = self.members[link.to].name;
                self.wrong(
                    link,
                    Fault::broken(format!("{other} is required too: it can never be up with what it needs")),
                );
            }
        }
    }

    fn wrong(&mut self, link: &Link, fault: Fault) {
        self.faults.push(placed(&self.said.sources, link.spot, &link.key, fault));
    }
}

/// Whether it is named under a key that cannot do without it.
fn needed(link: &Link) -> bool {
    link.key.split('.').any(|part| matches!(part.split('[').next(), Some("requires" | "depends_on")))
}

/// Everything that comes before the member at this position.
pub(super) fn before(links: &AllLinks, at: usize) -> Vec<usize> {
    links[at].before().map(|link| link.to).collect()
}
