//! `/metrics`: one list of families, from which the page is written. docs/metrics.md says the same to people; a test
//! compares the two. A new metric is one entry here and one row there.

use super::router::{View, lives};
use super::tally::{Counted, End, Over};
use super::text::{Kind, Labels, Text};
use super::workers;
use crate::machine::{Cause, Health, Outcome, Service, State, Timer};
use crate::signal_name;
use crate::spec::{HeartbeatMode, MemoryLimit, Ready};
use crate::sys::reading::Reading;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Upper bounds of the histogram of round trips, as powers of two of a microsecond: 64 us to 4.2 s, each four times the one
/// before. They are bounds of the machine's own buckets, so nothing is guessed.
const OCTAVES: [usize; 9] = [6, 8, 10, 12, 14, 16, 18, 20, 22];

/// One family of metrics.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Labels of its samples beside the bounds of a histogram.
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    fill: fn(&Family, &View<'_>, &mut Text),
}

const SERVICE: &[&str] = &["service"];
const NONE: &[&str] = &[];

/// All of them, in the order of the page.
#[rustfmt::skip]
pub(super) static FAMILIES: &[Family] = &[
    Family { name: "watchdog_service_state", kind: Kind::Gauge, labels: &["service", "state"],
        help: "The state the service is in: 1 for that one, the others are not shown.", fill: states },
    Family { name: "watchdog_service_up", kind: Kind::Gauge, labels: SERVICE,
        help: "Whether its main process lives; of a service without one, whether it is up.",
        fill: |f, v, t| each(f, v, t, |s| Some(flag(lives(s)))) },
    Family { name: "watchdog_service_wanted", kind: Kind::Gauge, labels: SERVICE,
        help: "Whether it is to be up: 0 for one that was stopped on purpose, or that nothing needs.",
        fill: |f, v, t| each(f, v, t, |s| Some(flag(s.is_minded()))) },
    Family { name: "watchdog_service_ready", kind: Kind::Gauge, labels: SERVICE,
        help: "Whether it is ready.", fill: |f, v, t| each(f, v, t, |s| Some(flag(s.is_ready()))) },
    Family { name: "watchdog_service_healthy", kind: Kind::Gauge, labels: SERVICE,
        help: "Whether it is healthy, as `watchdog health` judges.", fill: healthy },
    Family { name: "watchdog_service_restarts_total", kind: Kind::Counter, labels: &["service", "cause"],
        help: "Starts after the first one, by what made them necessary; 0 from the start for what may.", fill: restarts },
    Family { name: "watchdog_service_exits_total", kind: Kind::Counter, labels: &["service", "code", "signal"],
        help: "Ends of its main process, by exit code or by signal.", fill: exits },
    Family { name: "watchdog_service_uptime_seconds", kind: Kind::Gauge, labels: SERVICE,
        help: "Since the start of its present process.", fill: uptimes },
    Family { name: "watchdog_service_restart_streak", kind: Kind::Gauge, labels: SERVICE,
        help: "Restarts in a row of runs that never became stable.",
        fill: |f, v, t| each(f, v, t, |s| Some(f64::from(s.book.streak))) },
    Family { name: "watchdog_service_backoff_seconds", kind: Kind::Gauge, labels: SERVICE,
        help: "Until its next restart; 0 where none is due.", fill: backoffs },
    Family { name: "watchdog_service_resident_memory_bytes", kind: Kind::Gauge, labels: SERVICE,
        help: "Resident memory of its processes.", fill: |f, v, t| measured(f, v, t, |r| r.rss_bytes.map(whole)) },
    Family { name: "watchdog_service_memory_limit_bytes", kind: Kind::Gauge, labels: SERVICE,
        help: "Its memory_limit, where it has one.", fill: |f, v, t| each(f, v, t, memory_limit) },
    Family { name: "watchdog_service_cpu_seconds_total", kind: Kind::Counter, labels: SERVICE,
        help: "CPU time of all processes it ever had.", fill: |f, v, t| counted(f, v, t, |c| c.cpu().as_secs_f64()) },
    Family { name: "watchdog_service_open_fds", kind: Kind::Gauge, labels: SERVICE,
        help: "Open descriptors of its processes.", fill: |f, v, t| measured(f, v, t, |r| r.descriptors.map(whole)) },
    Family { name: "watchdog_service_threads", kind: Kind::Gauge, labels: SERVICE,
        help: "Threads of its processes.", fill: |f, v, t| measured(f, v, t, |r| Some(whole(r.threads))) },
    Family { name: "watchdog_service_over_limit_samples_total", kind: Kind::Counter, labels: &["service", "limit"],
        help: "Samples above a limit it has: memory, memory_soft, cpu.", fill: over_limits },
    Family { name: "watchdog_service_heartbeat_rtt_seconds", kind: Kind::Histogram, labels: SERVICE,
        help: "From a ping to its answer.", fill: round_trips },
    Family { name: "watchdog_service_heartbeat_misses", kind: Kind::Gauge, labels: SERVICE,
        help: "Pings in a row without an answer in time.", fill: misses },
    Family { name: "watchdog_service_notify_denied_total", kind: Kind::Counter, labels: SERVICE,
        help: "Datagrams to its notify socket from senders that may not speak for it.",
        fill: |f, v, t| counted(f, v, t, |c| whole(c.denied)) },
    Family { name: "watchdog_service_probe_success", kind: Kind::Gauge, labels: &["service", "probe"],
        help: "Whether a probe holds, its streaks counted.", fill: probes_hold },
    Family { name: "watchdog_service_probe_results_total", kind: Kind::Counter, labels: &["service", "probe", "result"],
        help: "Tries of a probe, by result: success, failure, error.", fill: probe_results },
    Family { name: "watchdog_service_probe_duration_seconds", kind: Kind::Summary, labels: &["service", "probe"],
        help: "How long the tries of a probe took.", fill: probe_durations },
    Family { name: "watchdog_info", kind: Kind::Gauge, labels: &["instance_name", "version"],
        help: "Which watchdog this is: always 1.", fill: |f, v, t| {
            t.sample(f.name, &[("instance_name", &v.instance.name), ("version", &v.instance.version)], 1.0);
        } },
    Family { name: "watchdog_uptime_seconds", kind: Kind::Gauge, labels: NONE,
        help: "Since the start of the watchdog.", fill: |f, v, t| t.sample(f.name, &[], v.frame.now.0.as_secs_f64()) },
    Family { name: "watchdog_ending", kind: Kind::Gauge, labels: NONE,
        help: "Whether the end of the watchdog has begun.", fill: |f, v, t| t.sample(f.name, &[], flag(v.ending)) },
    Family { name: "watchdog_events_total", kind: Kind::Counter, labels: &["event"],
        help: "Events, by name.", fill: |f, v, t| {
            v.tally.events.iter().for_each(|(event, n)| t.sample(f.name, &[("event", event)], whole(*n)));
        } },
    Family { name: "watchdog_http_connections", kind: Kind::Gauge, labels: NONE,
        help: "Open connections to these pages.", fill: |f, v, t| t.sample(f.name, &[], v.active as f64) },
    Family { name: "watchdog_http_connections_accepted_total", kind: Kind::Counter, labels: NONE,
        help: "Connections that were taken.", fill: |f, v, t| t.sample(f.name, &[], whole(v.counts.accepted)) },
    Family { name: "watchdog_http_connections_refused_total", kind: Kind::Counter, labels: NONE,
        help: "Connections that were turned away: there were too many.",
        fill: |f, v, t| t.sample(f.name, &[], whole(v.counts.refused)) },
    Family { name: "watchdog_http_connections_displaced_total", kind: Kind::Counter, labels: NONE,
        help: "Connections that made room for others because they did nothing.",
        fill: |f, v, t| t.sample(f.name, &[], whole(v.counts.displaced)) },
    Family { name: "watchdog_http_connections_timed_out_total", kind: Kind::Counter, labels: NONE,
        help: "Connections that were closed because their time was over.",
        fill: |f, v, t| t.sample(f.name, &[], whole(v.counts.timed_out)) },
    Family { name: "watchdog_http_connections_drained_total", kind: Kind::Counter, labels: NONE,
        help: "Connections that ended in order: all that was asked for was taken.",
        fill: |f, v, t| t.sample(f.name, &[], whole(v.counts.drained)) },
    Family { name: "watchdog_http_responses_total", kind: Kind::Counter, labels: &["code"],
        help: "Answers, by status.", fill: |f, v, t| {
            v.counts.answers.iter().for_each(|(code, n)| t.sample(f.name, &[("code", &code.to_string())], whole(*n)));
        } },
    Family { name: "process_cpu_seconds_total", kind: Kind::Counter, labels: NONE,
        help: "CPU time of the watchdog itself.", fill: |f, v, t| own(f, v, t, |r| Some(r.cpu.as_secs_f64())) },
    Family { name: "process_resident_memory_bytes", kind: Kind::Gauge, labels: NONE,
        help: "Resident memory of the watchdog itself.", fill: |f, v, t| own(f, v, t, |r| r.rss_bytes.map(whole)) },
    Family { name: "process_open_fds", kind: Kind::Gauge, labels: NONE,
        help: "Open descriptors of the watchdog itself.", fill: |f, v, t| own(f, v, t, |r| r.descriptors.map(whole)) },
    Family { name: "process_start_time_seconds", kind: Kind::Gauge, labels: NONE,
        help: "When the watchdog began, seconds since 1970.", fill: start_time },
];

/// Services between two looks at how long a piece has become.
const STRIDE: usize = 64;

/// How far a page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    family: usize,
    /// The next service of it.
    service: usize,
    /// Which order of services that holds for; `None`: nothing is written.
    layout: Option<u64>,
}

impl Place {
    pub(super) fn layout(self) -> Option<u64> {
        self.layout
    }
}

/// All of it.
pub(super) fn page(view: &View<'_>) -> String {
    let mut text = String::new();
    write_on(view, Place::default(), usize::MAX, &mut text);
    text
}

/// Goes on with a page until it is at its end or so many bytes are written. `None`: it is at its end.
pub(super) fn write_on(view: &View<'_>, from: Place, full: usize, out: &mut String) -> Option<Place> {
    let mut text = Text { out: std::mem::take(out) };
    let mut at = Place { layout: Some(view.layout), ..from };
    let count = view.frame.services.len();
    while let Some(family) = FAMILIES.get(at.family) {
        if at.service == 0 {
            text.family(family.name, family.kind, family.help);
        }
        let last = match family.labels.first() == Some(&"service") {
            true => at.service.saturating_add(STRIDE).min(count),
            false => count,
        };
        (family.fill)(family, &View { part: (at.service, last), ..*view }, &mut text);
        (at.family, at.service) = if last >= count { (at.family + 1, 0) } else { (at.family, last) };
        if text.out.len() >= full {
            *out = text.out;
            return Some(at);
        }
    }
    // Names that workers chose belong together, whichever service has them: no part of the services for itself.
    workers::merge(view, &mut text);
    *out = text.out;
    None
}

fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn whole(n: u64) -> f64 {
    n as f64
}

/// One sample for each service that has such a number.
fn each(family: &Family, view: &View<'_>, text: &mut Text, number: impl Fn(&Service) -> Option<f64>) {
    for s in view.services() {
        if let Some(n) = number(s) {
            text.sample(family.name, &[("service", &s.spec.name)], n);
        }
    }
}

fn measured(family: &Family, view: &View<'_>, text: &mut Text, number: impl Fn(&Reading) -> Option<f64>) {
    each(family, view, text, |s| number(&view.readings.of(s)?.now));
}

fn counted(family: &Family, view: &View<'_>, text: &mut Text, number: impl Fn(&Counted) -> f64) {
    let process = |s: &&Service| s.spec.kind.has_process();
    for s in view.services().filter(process) {
        text.sample(family.name, &[("service", &s.spec.name)], view.tally.of(s.id).map_or(0.0, &number));
    }
}

fn own(family: &Family, view: &View<'_>, text: &mut Text, number: impl Fn(&Reading) -> Option<f64>) {
    if let Some(n) = view.own.as_ref().and_then(number) {
        text.sample(family.name, &[], n);
    }
}

fn states(family: &Family, view: &View<'_>, text: &mut Text) {
    for s in view.services() {
        text.sample(family.name, &[("service", &s.spec.name), ("state", s.state.word())], 1.0);
    }
}

fn healthy(family: &Family, view: &View<'_>, text: &mut Text) {
    each(family, view, text, |s| Some(flag(s.health(view.frame.now) == Health::Healthy)));
}

fn restarts(family: &Family, view: &View<'_>, text: &mut Text) {
    for s in view.services().filter(|s| s.spec.kind.has_process()) {
        let mut all: BTreeMap<&str, u64> = expected(s).iter().map(|cause| (cause.word(), 0)).collect();
        if let Some(counted) = view.tally.of(s.id) {
            all.extend(counted.restarts.iter().map(|(cause, n)| (*cause, *n)));
        }
        for (cause, n) in all {
            text.sample(family.name, &[("service", &s.spec.name), ("cause", cause)], whole(n));
        }
    }
}

/// What may make a restart necessary by the settings of a service: an increase is seen only of a counter that was there.
fn expected(s: &Service) -> Vec<Cause> {
    let spec = &s.spec;
    let mut causes = vec![Cause::Exited, Cause::Signalled, Cause::Oom, Cause::Requested];
    let more = [
        (spec.heartbeat.mode != HeartbeatMode::Off, Cause::Hang),
        (spec.limits.memory.is_some(), Cause::Memory),
        (spec.limits.cpu.is_some(), Cause::Cpu),
        (spec.probes.iter().any(|p| p.roles.liveness), Cause::Probe),
        (!spec.place.requires.is_empty(), Cause::Dependency),
        (spec.max_age.is_some(), Cause::MaxAge),
        (!matches!(spec.ready, Ready::Auto | Ready::Spawned) || !spec.probes.is_empty(), Cause::StartTimeout),
    ];
    causes.extend(more.iter().filter(|(may, _)| *may).map(|(_, cause)| *cause));
    causes
}

fn exits(family: &Family, view: &View<'_>, text: &mut Text) {
    for s in view.services() {
        let Some(counted) = view.tally.of(s.id) else { continue };
        for (end, n) in &counted.exits {
            let (label, value) = match end {
                End::Code(code) => ("code", code.to_string()),
                End::Signal(signal) => ("signal", signal_name(*signal)),
            };
            text.sample(family.name, &[("service", &s.spec.name), (label, &value)], whole(*n));
        }
    }
}

fn uptimes(family: &Family, view: &View<'_>, text: &mut Text) {
    let now = view.frame.now;
    each(family, view, text, |s| {
        let begun = s.run.as_ref().filter(|r| r.alive)?.spawned?;
        Some(now.since(begun).as_secs_f64())
    });
}

fn backoffs(family: &Family, view: &View<'_>, text: &mut Text) {
    let now = view.frame.now;
    each(family, view, text, |s| {
        let pauses = matches!(s.state, State::Backoff { .. } | State::CrashLoop { .. });
        let left = s.timers.get(Timer::Restart).filter(|_| pauses).map_or(Duration::ZERO, |at| at.since(now));
        s.spec.kind.has_process().then_some(left.as_secs_f64())
    });
}

fn memory_limit(s: &Service) -> Option<f64> {
    match s.spec.limits.memory? {
        MemoryLimit::Bytes(n) => Some(whole(n)),
        MemoryLimit::Auto => None,
    }
}

fn over_limits(family: &Family, view: &View<'_>, text: &mut Text) {
    for s in view.services() {
        let limits = &s.spec.limits;
        for (word, over) in Over::ALL {
            let has = match over {
                Over::Memory => limits.memory.is_some(),
                Over::SoftMemory => limits.memory_soft.is_some(),
                Over::Cpu => limits.cpu.is_some(),
            };
            if has {
                let n = view.tally.of(s.id).map_or(0, |c| c.over[over as usize]);
                text.sample(family.name, &[("service", &s.spec.name), ("limit", word)], whole(n));
            }
        }
    }
}

/// Over all its runs: what the present one and those before it have seen.
fn round_trips(family: &Family, view: &View<'_>, text: &mut Text) {
    for s in view.services() {
        let all = [Some(&s.trips), s.run.as_ref().map(|r| &r.beats.trips)];
        let sum = |of: &dyn Fn(&crate::machine::Trips) -> u64| all.iter().flatten().map(|t| of(t)).sum::<u64>();
        let count = sum(&|t| t.count);
        if count == 0 {
            continue;
        }
        let bound = |octave: usize| (1u64 << octave) as f64 / 1e6;
        let buckets: Vec<(f64, u64)> = OCTAVES.iter().map(|o| (bound(*o), sum(&|t| t.below(*o)))).collect();
        let seconds = sum(&|t| t.sum_us) as f64 / 1e6;
        text.distribution(family.name, &[("service", &s.spec.name)], &buckets, count, seconds);
    }
}

fn misses(family: &Family, view: &View<'_>, text: &mut Text) {
    each(family, view, text, |s| {
        let beats = &s.run.as_ref().filter(|r| r.alive)?.beats;
        beats.armed.then(|| f64::from(beats.misses))
    });
}

fn probes_hold(family: &Family, view: &View<'_>, text: &mut Text) {
    for s in view.services().filter(|s| s.active()) {
        let tried = s.run.iter().flat_map(|r| &r.probing.all);
        for (probe, tried) in s.spec.probes.iter().zip(tried) {
            text.sample(family.name, &[("service", &s.spec.name), ("probe", &probe.name)], flag(tried.good));
        }
    }
}

/// Each probe that has been tried, with its labels.
fn each_probe(view: &View<'_>, mut show: impl FnMut(Labels<'_>, &super::tally::Tries)) {
    for s in view.services() {
        let Some(counted) = view.tally.of(s.id) else { continue };
        for probe in &s.spec.probes {
            if let Some(tries) = counted.probes.get(&probe.name) {
                show(&[("service", &s.spec.name), ("probe", &probe.name)], tries);
            }
        }
    }
}

fn probe_results(family: &Family, view: &View<'_>, text: &mut Text) {
    each_probe(view, |labels, tries| {
        for result in [Outcome::Success, Outcome::Failure, Outcome::Error].map(Outcome::word) {
            let n = tries.results.get(result).copied().unwrap_or(0);
            text.sample(family.name, &[labels, &[("result", result)]].concat(), whole(n));
        }
    });
}

fn probe_durations(family: &Family, view: &View<'_>, text: &mut Text) {
    each_probe(view, |labels, tries| {
        text.distribution(family.name, labels, &[], tries.results.values().sum(), tries.took.as_secs_f64());
    });
}

fn start_time(family: &Family, view: &View<'_>, text: &mut Text) {
    let begun = view.frame.wall.checked_sub(view.frame.now.0).unwrap_or(SystemTime::UNIX_EPOCH);
    let seconds = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    text.sample(family.name, &[], (seconds * 1000.0).round() / 1000.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../../docs/metrics.md");

    #[test]
    fn the_page_for_people_has_each_family_as_it_is_and_no_other() {
        let rows: Vec<&str> =
            PAGE.lines().filter(|l| l.starts_with("| `watchdog_") || l.starts_with("| `process_")).collect();
        for family in FAMILIES {
            let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
            let row = format!(
                "| `{}` | {} | {} | {} |",
                family.name,
                family.kind.word(),
                labels.join(", "),
                family.help.trim_end_matches('.')
            );
            assert!(rows.contains(&row.as_str()), "docs/metrics.md has no row\n{row}");
        }
        assert_eq!(rows.len(), FAMILIES.len(), "a row of docs/metrics.md is about no metric");
    }

    #[test]
    fn names_follow_the_conventions() {
        let names: BTreeSet<&str> = FAMILIES.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for family in FAMILIES {
            let counter = family.kind == Kind::Counter;
            assert_eq!(family.name.ends_with("_total"), counter, "{}", family.name);
            assert!(!family.name.contains("milli") && !family.name.contains("_ms"), "{}: base units", family.name);
            assert!(family.help.ends_with('.') && !family.help.contains('|'), "{}", family.name);
        }
    }
}
