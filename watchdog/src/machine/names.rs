//! Services by name, so that a word about one of thousands is no look at all of them.

use super::service::Service;
use super::words::ServiceId;
use serde::Serialize;

/// Places in the order of their names. Replicas have one name but for what follows the `@`, and stand together.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Names(Vec<u32>);

fn stem(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

impl Names {
    pub(super) fn of(services: &[Service]) -> Names {
        let mut places: Vec<u32> = (0..services.len() as u32).collect();
        places.sort_by(|a, b| {
            let stem_of = |n: &u32| stem(&services[*n as usize].spec.name);
            stem_of(a).cmp(stem_of(b)).then(a.cmp(b))
        });
        Names(places)
    }

    /// All that may be meant by this name, in the order of their places.
    pub(super) fn like(&self, services: &[Service], name: &str) -> impl Iterator<Item = ServiceId> {
        let wanted = stem(name);
        let of = |n: &u32| services.get(*n as usize).map_or("", |s| stem(&s.spec.name));
        let from = self.0.partition_point(|n| of(n) < wanted);
        let to = self.0.partition_point(|n| of(n) <= wanted);
        self.0[from..to.max(from)].iter().map(|n| ServiceId(*n))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Setup, Supervisor};
    use super::*;
    use crate::spec::Spec;

    fn spec(name: &str, base: &str, replica: Option<u32>) -> Spec {
        Spec { name: name.into(), base: base.into(), replica, ..Spec::default() }
    }

    /// The same as by a look at all of them: replicas, one of them, names that begin alike, and names that a host program chose.
    #[test]
    fn a_name_finds_whom_a_look_at_all_finds() {
        let all = [
            spec("web@1", "web", Some(1)),
            spec("webs", "webs", None),
            spec("web@0", "web", Some(0)),
            spec("api", "api", None),
            spec("left", "pair", Some(0)),
            spec("right", "pair", Some(1)),
        ];
        let supervisor = Supervisor::new(all.clone(), Setup::default());
        for name in ["web", "web@0", "web@1", "web@2", "webs", "api", "a", "", "pair", "left", "zz", "@"] {
            let is = |s: &Spec| s.name == name || (s.replica.is_some() && s.base == name);
            let expected: Vec<ServiceId> =
                all.iter().enumerate().filter(|(_, s)| is(s)).map(|(n, _)| ServiceId(n as u32)).collect();
            assert_eq!(supervisor.named(name), expected, "{name}");
        }
    }
}
