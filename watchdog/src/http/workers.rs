//! The workers' own numbers on the same page, with the service as a label. Their names are theirs: a prefix keeps them apart
//! from ours, and where two services do not agree what a name is, it is said to be of no kind.

use super::router::View;
use super::text::{Kind, Text, name_of};
use crate::machine::Numbers;
use std::collections::BTreeMap;

/// In front of each name.
const PREFIX: &str = "worker_";

/// One name, as all services use it.
#[derive(Debug)]
struct Merged<'a> {
    kind: Kind,
    /// By service.
    samples: BTreeMap<&'a str, f64>,
}

/// Adds the numbers of all workers that live and have told some.
pub(super) fn merge(view: &View<'_>, text: &mut Text) {
    let told = view.services().filter_map(|s| {
        let run = s.run.as_ref().filter(|r| r.alive)?;
        Some((s.spec.name.as_str(), run.talk.numbers.as_ref()?))
    });
    write(told, text);
}

fn write<'a>(told: impl Iterator<Item = (&'a str, &'a Numbers)>, text: &mut Text) {
    let mut all: BTreeMap<String, Merged<'a>> = BTreeMap::new();
    for (service, numbers) in told {
        for (name, value) in &numbers.counters {
            let name = name_of(name);
            let end = if name.ends_with("_total") { "" } else { "_total" };
            add(&mut all, format!("{PREFIX}{name}{end}"), Kind::Counter, service, *value as f64);
        }
        for (name, value) in &numbers.gauges {
            add(&mut all, format!("{PREFIX}{}", name_of(name)), Kind::Gauge, service, *value);
        }
    }
    for (name, merged) in &all {
        text.family(name, merged.kind, "A number that workers tell of themselves.");
        for (service, value) in &merged.samples {
            text.sample(name, &[("service", service)], *value);
        }
    }
}

/// Two names of one worker that look the same here are one, and the first of them is shown.
fn add<'a>(all: &mut BTreeMap<String, Merged<'a>>, name: String, kind: Kind, service: &'a str, value: f64) {
    let merged = all.entry(name).or_insert_with(|| Merged { kind, samples: BTreeMap::new() });
    if merged.kind != kind {
        merged.kind = Kind::Untyped;
    }
    merged.samples.entry(service).or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_one_family_whoever_uses_it_and_however() {
        let one = Numbers {
            counters: vec![("jobs".into(), 3), ("jobs_total".into(), 9), ("a b".into(), 1)],
            gauges: vec![("depth".into(), 0.5)],
        };
        let other = Numbers {
            counters: vec![("jobs".into(), 4)],
            gauges: vec![("jobs_total".into(), 1.0), ("é".into(), f64::NAN)],
        };
        let mut text = Text::default();
        write([("web", &one), ("db", &other)].into_iter(), &mut text);
        let lines: Vec<&str> = text.out.lines().filter(|l| !l.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE worker__ gauge",
                "worker__{service=\"db\"} NaN",
                "# TYPE worker_a_b_total counter",
                "worker_a_b_total{service=\"web\"} 1",
                "# TYPE worker_depth gauge",
                "worker_depth{service=\"web\"} 0.5",
                "# TYPE worker_jobs_total untyped",
                "worker_jobs_total{service=\"db\"} 4",
                "worker_jobs_total{service=\"web\"} 3",
            ]
        );
    }
}
