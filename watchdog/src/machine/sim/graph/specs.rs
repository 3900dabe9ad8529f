//! Random graphs. Names are numbers, and whoever needs another has the higher one: whatever is drawn, there is no circle.

use crate::machine::Setup;
use crate::machine::sim::draw::Draw;
use crate::spec::{
    Autostart, Condition, Delays, GiveUp, HeartbeatMode, Kind, Need, Place, Policy, ProbeSpec, Ready, Restart, Roles,
    Spec, Stop, Strategy,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Names there are in all.
const NAMES: u64 = 36;

pub(super) fn name(number: usize) -> String {
    format!("n{number:02}")
}

pub(super) fn number(name: &str) -> usize {
    name.trim_start_matches('n').parse().unwrap_or_default()
}

/// The file of the services: in the order of the file.
pub(super) type File = Vec<Spec>;

pub(super) fn draw_setup(draw: &mut Draw) -> Setup {
    let up = draw.chance(75);
    let strategies = [Strategy::OneForOne, Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
    Setup {
        up,
        seed: draw.next(),
        strategy: draw.pick(&strategies),
        until_ready: (up && draw.chance(10)).then(|| draw.ms(&[3000, 20_000, 60_000])),
        ..Setup::default()
    }
}

pub(super) fn draw_file(draw: &mut Draw) -> File {
    let most = draw.pick(&[2, 4, 8, 16, 30]);
    let count = 1 + draw.below(most);
    let mut kinds = BTreeMap::new();
    let mut file: File = Vec::new();
    for number in 0..count as usize {
        let spec = draw_spec(draw, number, &kinds);
        kinds.insert(number, spec.kind);
        file.push(spec);
    }
    shuffle(draw, &mut file);
    file
}

fn shuffle(draw: &mut Draw, file: &mut File) {
    for i in (1..file.len()).rev() {
        file.swap(i, draw.below(i as u64 + 1) as usize);
    }
}

/// Another file: some are gone, some new, some changed.
pub(super) fn edit(draw: &mut Draw, file: &File) -> File {
    let mut new: File = file.clone();
    if draw.chance(25) {
        return new;
    }
    let heat = draw.pick(&[3, 10, 25]);
    new.retain(|_| !draw.chance(heat));
    for _ in 0..draw.below(4) {
        let number = draw.below(NAMES) as usize;
        if !new.iter().any(|s| s.name == name(number)) {
            new.push(Spec { name: name(number), ..Spec::default() });
            let fresh = draw_spec(draw, number, &lower(&new, number));
            if let Some(last) = new.last_mut() {
                *last = fresh;
            }
        }
    }
    for n in 0..new.len() {
        let others = lower(&new, number(&new[n].name));
        if draw.chance(heat) {
            change(draw, &mut new[n], &others);
        }
    }
    let names: Vec<String> = new.iter().map(|s| s.name.clone()).collect();
    let kinds: BTreeMap<String, Kind> = new.iter().map(|s| (s.name.clone(), s.kind)).collect();
    for spec in &mut new {
        let place = &mut spec.place;
        place.requires.retain(|n| names.contains(&n.service));
        // Nothing but a oneshot is completed by itself.
        for need in &mut place.requires {
            if need.condition == Condition::Completed && kinds.get(&need.service) != Some(&Kind::Oneshot) {
                need.condition = Condition::Ready;
            }
        }
        let place = &mut **place;
        for list in [&mut place.wants, &mut place.after, &mut place.conflicts] {
            list.retain(|n| names.contains(n));
        }
    }
    if draw.chance(20) {
        shuffle(draw, &mut new);
    }
    new
}

fn lower(file: &File, than: usize) -> BTreeMap<usize, Kind> {
    file.iter().map(|s| (number(&s.name), s.kind)).filter(|(n, _)| *n < than).collect()
}

fn change(draw: &mut Draw, spec: &mut Spec, others: &BTreeMap<usize, Kind>) {
    match draw.below(9) {
        0 => spec.stop = draw_stop(draw).into(),
        1 => spec.restart.limit = draw.pick(&[0, 1, 3]),
        2 => spec.place = draw_place(draw, others).into(),
        3 | 4 => spec.command = vec![format!("v{}", draw.below(1000)).into()],
        5 => spec.place.autostart = draw.pick(&[Autostart::Yes, Autostart::No, Autostart::Ignore]),
        6 if spec.kind != Kind::Probe => spec.probes = draw_probes(draw, spec.kind),
        7 => {
            spec.kind = draw.pick(&[Kind::Service, Kind::Oneshot, Kind::Target]);
            spec.restart.policy = Policy::OnFailure;
        }
        _ => spec.title = format!("t{}", draw.below(1000)),
    }
    if spec.kind == Kind::Probe && spec.probes.is_empty() {
        spec.probes = draw_probes(draw, Kind::Probe);
    }
    if !decides(&spec.probes) && spec.ready == Ready::Probe {
        spec.ready = Ready::Auto;
    }
}

fn draw_spec(draw: &mut Draw, number: usize, others: &BTreeMap<usize, Kind>) -> Spec {
    let kind = match draw.below(100) {
        0..65 => Kind::Service,
        65..80 => Kind::Oneshot,
        80..92 => Kind::Target,
        _ => Kind::Probe,
    };
    let probes = draw_probes(draw, kind);
    let ready = match draw.below(10) {
        0..3 => Ready::Reported,
        3 => Ready::Spawned,
        4 if decides(&probes) => Ready::Probe,
        _ => Ready::Auto,
    };
    let mut spec = Spec {
        name: name(number),
        base: format!("b{}", number / 3),
        kind,
        place: draw_place(draw, others).into(),
        probes,
        ready,
        command: vec!["v0".into()],
        start_timeout: draw.pick(&[None, None, Some(2000), Some(10_000)]).map(Duration::from_millis),
        restart: draw_restart(draw, kind).into(),
        stop: draw_stop(draw).into(),
        max_age: draw.chance(8).then(|| draw.ms(&[15_000, 60_000])),
        max_age_jitter: 0,
        ..Spec::default()
    };
    spec.heartbeat.mode = HeartbeatMode::Off;
    if let Some(file) = spec.place.wait_for_file.as_mut() {
        *file = format!("/run/{number}").into();
    }
    spec
}

pub(super) fn decides(probes: &[ProbeSpec]) -> bool {
    probes.iter().any(|p| p.roles.readiness || p.roles.startup)
}

fn draw_place(draw: &mut Draw, others: &BTreeMap<usize, Kind>) -> Place {
    let numbers: Vec<usize> = others.keys().copied().collect();
    let mut place = Place {
        autostart: draw.pick(&[Autostart::Yes, Autostart::Yes, Autostart::Yes, Autostart::No, Autostart::Ignore]),
        ..Place::default()
    };
    if draw.chance(8) {
        place.wait_for_file = Some("/run/file".into());
        place.wait_for_file_timeout = draw.pick(&[None, Some(Duration::from_secs(3)), Some(Duration::MAX)]);
    }
    if numbers.is_empty() {
        return place;
    }
    for _ in 0..draw.pick(&[0, 1, 1, 1, 2, 3]) {
        let on = draw.pick(&numbers);
        if place.requires.iter().any(|n| n.service == name(on)) {
            continue;
        }
        let oneshot = others.get(&on) == Some(&Kind::Oneshot);
        let usual = if oneshot { Condition::Completed } else { Condition::Ready };
        let condition = draw.pick(&[usual, usual, usual, Condition::Ready, Condition::Started]);
        place.requires.push(Need { service: name(on), condition, once: draw.chance(25) });
    }
    for (percent, list) in [(20, &mut place.wants), (20, &mut place.after), (4, &mut place.conflicts)] {
        if draw.chance(percent) {
            list.push(name(draw.pick(&numbers)));
        }
    }
    let needed: Vec<String> = place.requires.iter().map(|n| n.service.clone()).chain(place.wants.clone()).collect();
    place.conflicts.retain(|c| !needed.contains(c));
    place
}

fn draw_probes(draw: &mut Draw, kind: Kind) -> Vec<ProbeSpec> {
    let count = match kind {
        Kind::Probe => 1 + draw.below(2),
        Kind::Service if draw.chance(35) => 1 + draw.below(3),
        Kind::Service | Kind::Oneshot | Kind::Target => 0,
    };
    (0..count)
        .map(|n| {
            let roles = match kind {
                Kind::Probe => Roles { startup: false, readiness: true, liveness: false },
                _ => Roles { startup: draw.chance(25), readiness: draw.chance(50), liveness: draw.chance(50) },
            };
            ProbeSpec {
                name: format!("p{n}"),
                roles,
                start_period: draw.ms(&[0, 1000, 5000]),
                interval: draw.ms(&[1000, 2000, 10_000]),
                starting_interval: draw.ms(&[200, 1000]),
                timeout: draw.ms(&[500, 2000]),
                failures: draw.pick(&[1, 2, 3]),
                successes: draw.pick(&[1, 1, 2]),
                ..ProbeSpec::default()
            }
        })
        .collect()
}

fn draw_restart(draw: &mut Draw, kind: Kind) -> Restart {
    let policy = match kind {
        // One that is done again and again never is.
        Kind::Oneshot => draw.pick(&[Policy::OnFailure, Policy::OnFailure, Policy::Never]),
        _ => draw.pick(&[Policy::OnFailure, Policy::OnFailure, Policy::Always, Policy::UnlessStopped, Policy::Never]),
    };
    let give_up = [GiveUp::Exit, GiveUp::StopAll, GiveUp::Exec(vec!["true".into()])];
    Restart {
        policy,
        delays: Delays::List((0..=draw.below(3)).map(|_| draw.ms(&[0, 100, 1000, 3000])).collect()),
        jitter: 0,
        fast_first: draw.chance(50),
        stable_after: draw.ms(&[0, 500, 5000]),
        limit: draw.pick(&[0, 0, 1, 3, 5]),
        crash_loop_limit: draw.pick(&[0, 2, 5]),
        crash_loop_window: draw.ms(&[5000, 60_000]),
        crash_loop_pause: draw.ms(&[1000, 5000]),
        give_up: if draw.chance(92) { GiveUp::Stay } else { draw.pick(&give_up) },
        ..Restart::default()
    }
}

fn draw_stop(draw: &mut Draw) -> Stop {
    Stop {
        timeout: draw.ms(&[0, 500, 2000, 3000]),
        shutdown_timeout: draw.ms(&[0, 500, 2000, 3000]),
        kill_wait: draw.ms(&[100, 500, 1000]),
        ..Stop::default()
    }
}

/// All that is in the way when a spec of a file names the strategy.
pub(super) fn struck_by(strategy: Strategy, order: &[usize], failed: usize) -> Vec<usize> {
    match strategy {
        Strategy::OneForOne => Vec::new(),
        Strategy::OneForAll => order.iter().copied().filter(|m| *m != failed).collect(),
        Strategy::RestForOne => order.iter().copied().skip_while(|m| *m != failed).skip(1).collect(),
    }
}
