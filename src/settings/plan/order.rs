//! Who is started, and in which order.

use super::links::before;
use super::{AllLinks, Member, Said};
use crate::settings::fault::Fault;
use crate::settings::nearest;
use crate::settings::source::placed;
use std::collections::HashSet;
use watchdog_engine::spec::Autostart;

/// Who was named on the command line: its position, and its replica where one alone was meant.
pub(super) type Chosen = Vec<(usize, Option<usize>)>;

/// Which replicas of a service a start brings up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    Nobody,
    These(Vec<usize>),
    All,
}

/// Whom a start brings up, by position.
pub(super) struct Starts(Vec<Which>);

impl Starts {
    /// Whether any of its replicas is among them.
    pub(super) fn any(&self, at: usize) -> bool {
        self.0[at] != Which::Nobody
    }

    /// Whether this replica is.
    pub(super) fn has(&self, at: usize, replica: usize) -> bool {
        match &self.0[at] {
            Which::Nobody => false,
            Which::These(some) => some.contains(&replica),
            Which::All => true,
        }
    }

    /// The replica, or all, as well; and whether nobody of it was among them before.
    fn add(&mut self, at: usize, replica: Option<usize>) -> bool {
        let before = std::mem::replace(&mut self.0[at], Which::All);
        let first = before == Which::Nobody;
        match (before, replica) {
            (Which::Nobody, Some(replica)) => self.0[at] = Which::These(vec![replica]),
            (Which::These(some), Some(replica)) => self.0[at] = Which::These([some, vec![replica]].concat()),
            (Which::All, _) | (Which::Nobody | Which::These(_), None) => {}
        }
        first
    }
}

/// Those that were named on the command line; none where nobody was.
pub(super) fn chosen(members: &[Member<'_>], names: &[String], faults: &mut Vec<Fault>) -> Option<Chosen> {
    if names.is_empty() {
        return None;
    }
    let mut found = Vec::new();
    for name in names {
        match named(members, name) {
            Some((at, replica)) if members[at].draft.enabled => found.push((at, replica)),
            Some(_) => faults.push(Fault::usage(format!("{name}: not enabled (enabled = false in its table)"))),
            None => {
                let near = nearest(name, members.iter().map(|m| m.name));
                faults.push(Fault::usage(format!("no service {name:?} in this file")).or_nearest(near));
            }
        }
    }
    Some(found)
}

/// A service by its name, which means all of its replicas, or one of them by its full name.
fn named(members: &[Member<'_>], name: &str) -> Option<(usize, Option<usize>)> {
    let whole = |at| (at, None);
    let replica = |(at, m): (usize, &Member<'_>)| Some((at, Some(m.names().iter().position(|n| n == name)?)));
    members.iter().position(|m| m.name == name).map(whole).or_else(|| members.iter().enumerate().find_map(replica))
}

/// Whom a start brings up: those with autostart or those that were chosen, and whom they bring.
pub(super) fn starts(members: &[Member<'_>], links: &AllLinks, chosen: Option<&Chosen>) -> Starts {
    let mut starts = Starts(vec![Which::Nobody; members.len()]);
    let auto = |at: &usize| {
        let draft = &members[*at].draft;
        draft.enabled && draft.spec.place.autostart == Autostart::Yes
    };
    let mut open: Chosen = match chosen {
        Some(chosen) => chosen.clone(),
        None => (0..members.len()).filter(auto).map(|at| (at, None)).collect(),
    };
    while let Some((at, replica)) = open.pop() {
        if starts.add(at, replica) {
            // One that is started by hand alone is not brought by anybody.
            let brings = links[at].brings().filter(|to| members[*to].draft.spec.place.autostart != Autostart::Ignore);
            open.extend(brings.map(|to| (to, None)));
        }
    }
    starts
}

/// Full names in layers. What is not started holds nobody up.
pub(super) fn layers(members: &[Member<'_>], links: &AllLinks, starts: &Starts) -> Vec<Vec<String>> {
    let needs: Vec<HashSet<usize>> =
        (0..members.len()).map(|at| before(links, at).into_iter().filter(|to| starts.any(*to)).collect()).collect();
    let mut left: Vec<usize> = needs.iter().map(HashSet::len).collect();
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
    for (at, needs) in needs.iter().enumerate().filter(|(at, _)| starts.any(*at)) {
        needs.iter().for_each(|to| behind[*to].push(at));
    }
    let mut layer: Vec<usize> = (0..members.len()).filter(|at| starts.any(*at) && left[*at] == 0).collect();
    let mut layers = Vec::new();
    while !layer.is_empty() {
        layer.sort_unstable();
        let names = |at: &usize| {
            let all = members[*at].names().into_iter().enumerate();
            all.filter(|(replica, _)| starts.has(*at, *replica)).map(|(_, name)| name).collect::<Vec<_>>()
        };
        layers.push(layer.iter().flat_map(names).collect());
        let mut next = Vec::new();
        for at in layer.iter().flat_map(|at| &behind[*at]) {
            left[*at] -= 1;
            if left[*at] == 0 {
                next.push(*at);
            }
        }
        layer = next;
    }
    layers
}

/// Who is started and needs one that is not, because it is started by hand alone.
pub(super) fn by_hand(members: &[Member<'_>], links: &AllLinks, starts: &Starts) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, own) in links.iter().enumerate().filter(|(at, _)| starts.any(*at)) {
        for (link, ..) in own.requires.iter().filter(|(link, ..)| !starts.any(link.to)) {
            let (one, other) = (members[at].name, members[link.to].name);
            warnings.push(format!(
                "service.{one}: requires {other}, which is started by hand alone (autostart = \"ignore\"): it waits until then"
            ));
        }
    }
    warnings
}

/// Two that are started with the file and must never be up together.
pub(super) fn conflicts(members: &[Member<'_>], links: &AllLinks, said: &Said, faults: &mut Vec<Fault>) {
    let starts = starts(members, links, None);
    let mut told = HashSet::new();
    for (at, own) in links.iter().enumerate().filter(|(at, _)| starts.any(*at)) {
        for link in own.conflicts.iter().filter(|link| starts.any(link.to)) {
            // That it is required too was said already.
            let required = own.requires.iter().any(|(need, ..)| need.to == link.to);
            if !required && told.insert((at.min(link.to), at.max(link.to))) {
                let (one, other) = (members[at].name, members[link.to].name);
                let what = format!(
                    "{one} and {other} exclude each other, and both start with the watchdog: autostart = false for one of them"
                );
                faults.push(placed(&said.sources, link.spot, &link.key, Fault::broken(what)));
            }
        }
    }
}
