//! The workers' own numbers on the same page, with the service as a label. Their names are theirs: a prefix keeps them apart
//! from ours, and where two services do not agree what a name is, it is said to be of no kind.

use super::router::View;
use super::text::{Kind, Text, name_of};
use crate::machine::{Numbers, Spread};
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
    let alive = || view.services().filter_map(|s| Some((s.spec.name.as_str(), s.run.as_ref().filter(|r| r.alive)?)));
    let used = write(alive().filter_map(|(service, run)| Some((service, run.talk.numbers.as_ref()?))), text);
    distributions(alive().map(|(service, run)| (service, run.talk.histograms.as_slice())), &used, text);
}

/// Gives the names that were used.
fn write<'a>(told: impl Iterator<Item = (&'a str, &'a Numbers)>, text: &mut Text) -> Vec<String> {
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
    all.into_keys().collect()
}

/// Histograms; a name that would have two meanings is the number's.
fn distributions<'a>(told: impl Iterator<Item = (&'a str, &'a [Spread])>, used: &[String], text: &mut Text) {
    let mut all: BTreeMap<String, BTreeMap<&'a str, &'a Spread>> = BTreeMap::new();
    for (service, spread) in told.flat_map(|(service, list)| list.iter().map(move |spread| (service, spread))) {
        all.entry(format!("{PREFIX}{}", name_of(&spread.name))).or_default().entry(service).or_insert(spread);
    }
    let taken: Vec<String> =
        all.keys().flat_map(|name| ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}"))).collect();
    for (name, services) in &all {
        let own = ["", "_bucket", "_sum", "_count"].map(|end| format!("{name}{end}"));
        if own.iter().any(|name| used.contains(name)) || taken.contains(name) {
            continue;
        }
        text.family(name, Kind::Histogram, "How values of workers are distributed.");
        for (service, spread) in services {
            let mut below = 0u64;
            let cumulative = spread.bounds.iter().zip(&spread.counts).map(|(bound, n)| {
                below = below.saturating_add(*n);
                (*bound, below)
            });
            let buckets: Vec<(f64, u64)> = cumulative.collect();
            let count = spread.counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
            let labels = [("service", *service)];
            text.distribution(name, &labels, &buckets, count, spread.sum);
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

    #[test]
    fn histograms_are_cumulative_and_leave_names_to_the_numbers() {
        let spread = |name: &str| Spread { name: name.into(), bounds: vec![0.5, 2.0], counts: vec![3, 1, 2], sum: 9.5 };
        let web = [spread("took"), spread("taken"), spread("took_sum"), spread("took")];
        let mut text = Text::default();
        let used = ["worker_taken_count".to_owned()];
        distributions([("web", &web[..]), ("db", &web[..1])].into_iter(), &used, &mut text);
        let lines: Vec<&str> = text.out.lines().skip(1).collect();
        assert_eq!(lines[0], "# TYPE worker_took histogram");
        assert_eq!(
            lines[6..9],
            [
                "worker_took_bucket{service=\"web\",le=\"0.5\"} 3",
                "worker_took_bucket{service=\"web\",le=\"2\"} 4",
                "worker_took_bucket{service=\"web\",le=\"+Inf\"} 6",
            ]
        );
        assert_eq!(lines[9..], ["worker_took_sum{service=\"web\"} 9.5", "worker_took_count{service=\"web\"} 6"]);
    }
}
