//! Cycles among `requires`, `wants` and `after`: each would wait for itself. Without recursion: a chain may be as long as
//! the file.

use super::{AllLinks, Member, Said};
use crate::settings::fault::Fault;
use crate::settings::source::placed;

/// Longest path that is printed whole.
const LONGEST: usize = 12;

/// How far a member was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    /// On the path that is being walked.
    Walked,
    Done,
}

/// Says each cycle as a path, one for all that hang together.
pub(super) fn find(members: &[Member<'_>], links: &AllLinks, said: &Said, faults: &mut Vec<Fault>) {
    let mut seen = vec![Seen::No; members.len()];
    let mut told = vec![false; members.len()];
    let edges: Vec<Vec<_>> = links.iter().map(|l| l.before().collect()).collect();
    for root in 0..members.len() {
        if seen[root] != Seen::No {
            continue;
        }
        // The path, each with the next of its links to follow.
        let mut path = vec![(root, 0)];
        seen[root] = Seen::Walked;
        while let Some((at, next)) = path.last_mut() {
            let Some(link) = edges[*at].get(*next) else {
                seen[*at] = Seen::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match seen[link.to] {
                Seen::No => {
                    seen[link.to] = Seen::Walked;
                    path.push((link.to, 0));
                }
                Seen::Walked => {
                    let begin = path.iter().position(|(at, _)| *at == link.to).unwrap_or(0);
                    let cycle: Vec<usize> = path[begin..].iter().map(|(at, _)| *at).collect();
                    if !cycle.iter().any(|at| told[*at]) {
                        let fault = Fault::broken(sentence(members, &cycle));
                        faults.push(placed(&said.sources, link.spot, &link.key, fault));
                    }
                    cycle.into_iter().for_each(|at| told[at] = true);
                }
                Seen::Done => {}
            }
        }
    }
}

/// `a -> b -> a`, each needing the next.
fn sentence(members: &[Member<'_>], cycle: &[usize]) -> String {
    let mut names: Vec<String> = cycle.iter().map(|at| members[*at].name.to_string()).collect();
    if names.len() > LONGEST {
        let left = names.len() - LONGEST;
        names.splice(LONGEST / 2..LONGEST / 2 + left, [format!("({left} more)")]);
    }
    names.push(members[cycle[0]].name.to_string());
    format!("a cycle, in which each waits for the next: {}", names.join(" -> "))
}
