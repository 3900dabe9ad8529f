//! Who depends on whom: the names of the specs as places in the list, both ways. Only looked up, never changed but by a
//! reload.

use crate::spec::{Condition, Spec};
use serde::Serialize;
use std::collections::BTreeMap;

/// A hard edge, seen from the service that requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hard {
    /// What is required.
    pub on: usize,
    /// What is asked of it.
    pub condition: Condition,
    /// Once is enough.
    pub once: bool,
}

/// One service and its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// `requires`.
    pub hard: Vec<Hard>,
    /// `wants`.
    pub soft: Vec<usize>,
    /// `after`.
    pub after: Vec<usize>,
    /// `conflicts`, whoever named the other.
    pub conflicts: Vec<usize>,
    /// Who requires it.
    pub required_by: Vec<usize>,
    /// Who wants it or comes after it.
    pub followed_by: Vec<usize>,
    /// Who wants it.
    pub wanted_by: Vec<usize>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// By place.
    pub nodes: Vec<Node>,
    /// Places in the order of a start: whatever is needed comes before those who need it.
    pub order: Vec<usize>,
    /// The position of each place in that order.
    ranks: Vec<usize>,
}

impl Graph {
    /// Resolves the names. One that is unknown is passed over: the front door refuses it, and a reload may have taken it
    /// away.
    pub fn new<'a>(specs: impl Iterator<Item = &'a Spec> + Clone) -> Graph {
        let places: BTreeMap<&str, usize> = specs.clone().enumerate().map(|(n, s)| (s.name.as_str(), n)).collect();
        let mut nodes = vec![Node::default(); places.len().max(specs.clone().count())];
        for (n, spec) in specs.enumerate() {
            let find = |name: &String| places.get(name.as_str()).copied().filter(|m| *m != n);
            for need in &spec.place.requires {
                if let Some(on) = find(&need.service) {
                    nodes[n].hard.push(Hard { on, condition: need.condition, once: need.once });
                    nodes[on].required_by.push(n);
                }
            }
            for on in spec.place.wants.iter().filter_map(find) {
                nodes[n].soft.push(on);
                nodes[on].wanted_by.push(n);
                nodes[on].followed_by.push(n);
            }
            for on in spec.place.after.iter().filter_map(find) {
                nodes[n].after.push(on);
                nodes[on].followed_by.push(n);
            }
            for other in spec.place.conflicts.iter().filter_map(find) {
                nodes[n].conflicts.push(other);
                nodes[other].conflicts.push(n);
            }
        }
        let order = order(&nodes);
        let mut ranks = vec![0; nodes.len()];
        order.iter().enumerate().for_each(|(at, n)| ranks[*n] = at);
        Graph { nodes, order, ranks }
    }

    /// These two are not up at the same time.
    pub fn part(&mut self, one: usize, other: usize) {
        for (n, m) in [(one, other), (other, one)] {
            if let Some(node) = self.nodes.get_mut(n) {
                node.conflicts.push(m);
            }
        }
    }

    /// Its position in the order of a start.
    pub fn rank(&self, n: usize) -> usize {
        self.ranks.get(n).copied().unwrap_or_default()
    }

    /// One service.
    pub fn node(&self, n: usize) -> Option<&Node> {
        self.nodes.get(n)
    }

    /// Everybody who has to look again when something of this one changes.
    pub fn around(&self, n: usize) -> impl Iterator<Item = usize> + '_ {
        self.nodes.get(n).into_iter().flat_map(|node| {
            let needs = node.hard.iter().map(|h| h.on);
            let others = [&node.soft, &node.after, &node.conflicts, &node.required_by, &node.followed_by];
            needs.chain(others.into_iter().flatten().copied())
        })
    }

    /// All that it requires or wants.
    pub fn needs(&self, n: usize) -> impl Iterator<Item = usize> + '_ {
        let node = self.nodes.get(n).into_iter();
        node.flat_map(|node| node.hard.iter().map(|h| h.on).chain(node.soft.iter().copied()))
    }

    /// Whether anybody must be gone before this one is stopped.
    pub fn leads(&self, n: usize) -> bool {
        self.nodes.get(n).is_some_and(|node| !node.required_by.is_empty() || !node.followed_by.is_empty())
    }

    /// The layers of a start: each needs only those before it.
    pub fn layers(&self) -> Vec<Vec<usize>> {
        let mut depth = vec![0usize; self.nodes.len()];
        let mut layers: Vec<Vec<usize>> = Vec::new();
        for n in &self.order {
            let node = &self.nodes[*n];
            let before =
                node.hard.iter().map(|h| h.on).chain(node.soft.iter().copied()).chain(node.after.iter().copied());
            let own = before.map(|m| depth[m] + 1).max().unwrap_or(0);
            depth[*n] = own;
            if layers.len() <= own {
                layers.resize(own + 1, Vec::new());
            }
            layers[own].push(*n);
        }
        layers
    }
}

/// Kahn's algorithm, the order of the file among equals. Whoever is in a circle comes last.
fn order(nodes: &[Node]) -> Vec<usize> {
    let edges = |node: &Node| node.hard.len() + node.soft.len() + node.after.len();
    let mut open: Vec<usize> = nodes.iter().map(edges).collect();
    let mut ready: std::collections::BTreeSet<usize> = (0..nodes.len()).filter(|n| open[*n] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(n) = ready.pop_first() {
        order.push(n);
        for m in nodes[n].required_by.iter().chain(&nodes[n].followed_by) {
            open[*m] = open[*m].saturating_sub(1);
            if open[*m] == 0 {
                ready.insert(*m);
            }
        }
    }
    if order.len() < nodes.len() {
        let missing: Vec<usize> = (0..nodes.len()).filter(|n| open[*n] > 0).collect();
        order.extend(missing);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Need, Place};

    fn spec(name: &str, requires: &[&str], after: &[&str]) -> Spec {
        let need = |n: &&str| Need { service: n.to_string(), condition: Condition::Ready, once: false };
        let place = Place {
            requires: requires.iter().map(need).collect(),
            after: after.iter().map(ToString::to_string).collect(),
            ..Place::default()
        };
        Spec { name: name.into(), place: place.into(), ..Spec::default() }
    }

    #[test]
    fn layers_follow_the_edges_and_the_file_decides_among_equals() {
        let specs = [
            spec("api", &["db", "migrate"], &[]),
            spec("db", &[], &[]),
            spec("log", &[], &["api"]),
            spec("migrate", &["db"], &[]),
        ];
        let graph = Graph::new(specs.iter());
        assert_eq!(graph.layers(), [vec![1], vec![3], vec![0], vec![2]]);
        assert_eq!(graph.order, [1, 3, 0, 2]);
    }

    #[test]
    fn unknown_names_and_circles_are_no_end_of_the_engine() {
        let specs = [spec("a", &["b", "none", "a"], &[]), spec("b", &["a"], &[])];
        let graph = Graph::new(specs.iter());
        assert_eq!(graph.nodes[0].hard.len(), 1);
        assert_eq!(graph.order.len(), 2);
        assert_eq!(Graph::new([].iter()).order, Vec::<usize>::new());
    }

    #[test]
    fn a_chain_of_ten_thousand_is_no_recursion() {
        let mut specs = vec![spec("s0", &[], &[])];
        for n in 1..10_000 {
            specs.push(spec(&format!("s{n}"), &[&format!("s{}", n - 1)], &[]));
        }
        assert_eq!(Graph::new(specs.iter()).layers().len(), 10_000);
    }
}
