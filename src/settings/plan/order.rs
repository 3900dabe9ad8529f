//! Who is started, and in which order.

use super::links::before;
use super::{AllLinks, Member, Said};
use crate::settings::fault::Fault;
use crate::settings::nearest;
use crate::settings::source::placed;
use std::collections::HashSet;
use watchdog_engine::spec::Autostart;

/// The positions of the services that were named on the command line; none where nobody was.
pub(super) fn chosen(members: &[Member<'_>], names: &[String], faults: &mut Vec<Fault>) -> Option<Vec<usize>> {
    if names.is_empty() {
        return None;
    }
    let mut found = Vec::new();
    for name in names {
        match members.iter().position(|m| m.name == name || m.names().contains(name)) {
            Some(at) if members[at].draft.enabled => found.push(at),
            Some(_) => faults.push(Fault::usage(format!("{name}: not enabled (enabled = false in its table)"))),
            None => {
                let near = nearest(name, members.iter().map(|m| m.name));
                faults.push(Fault::usage(format!("no service {name:?} in this file")).or_nearest(near));
            }
        }
    }
    Some(found)
}

/// Whom a start brings up: those with autostart or those that were chosen, and whom they bring. By position.
pub(super) fn starts(members: &[Member<'_>], links: &AllLinks, chosen: Option<&[usize]>) -> Vec<bool> {
    let mut starts = vec![false; members.len()];
    let auto = |at: &usize| {
        let draft = &members[*at].draft;
        draft.enabled && draft.spec.place.autostart == Autostart::Yes
    };
    let mut open: Vec<usize> = match chosen {
        Some(chosen) => chosen.to_vec(),
        None => (0..members.len()).filter(auto).collect(),
    };
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut starts[at], true) {
            continue;
        }
        // One that is started by hand alone is not brought by anybody.
        open.extend(links[at].brings().filter(|to| members[*to].draft.spec.place.autostart != Autostart::Ignore));
    }
    starts
}

/// Full names in layers. What is not started holds nobody up.
pub(super) fn layers(members: &[Member<'_>], links: &AllLinks, starts: &[bool]) -> Vec<Vec<String>> {
    let needs: Vec<HashSet<usize>> =
        (0..members.len()).map(|at| before(links, at).into_iter().filter(|to| starts[*to]).collect()).collect();
    let mut left: Vec<usize> = needs.iter().map(HashSet::len).collect();
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
    for (at, needs) in needs.iter().enumerate().filter(|(at, _)| starts[*at]) {
        needs.iter().for_each(|to| behind[*to].push(at));
    }
    let mut layer: Vec<usize> = (0..members.len()).filter(|at| starts[*at] && left[*at] == 0).collect();
    let mut layers = Vec::new();
    while !layer.is_empty() {
        layer.sort_unstable();
        layers.push(layer.iter().flat_map(|at| members[*at].names()).collect());
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
pub(super) fn by_hand(members: &[Member<'_>], links: &AllLinks, starts: &[bool]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, own) in links.iter().enumerate().filter(|(at, _)| starts[*at]) {
        for (link, ..) in own.requires.iter().filter(|(link, ..)| !starts[link.to]) {
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
    for (at, own) in links.iter().enumerate().filter(|(at, _)| starts[*at]) {
        for link in own.conflicts.iter().filter(|link| starts[link.to]) {
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
