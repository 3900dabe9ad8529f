//! Random settings: every policy, list and form, zero and endless times among them.

use super::draw::Draw;
use crate::machine::Setup;
use crate::spec::{
    Delays, Ends, GiveUp, Heartbeat, HeartbeatMode, Hook, LimitAction, Limits, MemoryLimit, OnHang, Policy, Ready,
    Restart, Scope, Spec, Stop,
};
use std::time::Duration;

/// The services of one run and the surroundings of the watchdog.
pub(super) fn draw_house(draw: &mut Draw) -> (Vec<Spec>, Setup) {
    let prefix = draw.chance(60);
    let services = if prefix { 1 } else { 1 + draw.below(3) };
    let specs = (0..services).map(|_| draw_spec(draw)).collect();
    let up = !prefix && draw.chance(60);
    let keys = !up && draw.chance(40);
    let apart = keys && draw.chance(30);
    let setup = Setup {
        prefix,
        up,
        shared_group: keys && !apart,
        apart,
        init: draw.chance(30),
        seed: draw.next(),
        ..Setup::default()
    };
    (specs, setup)
}

/// A limit in these worlds; scripts hold more and less.
pub(super) const MEMORY: u64 = 100 << 20;

fn draw_life(draw: &mut Draw, spec: &mut Spec) {
    let plain = [Ready::Auto, Ready::Auto, Ready::Auto, Ready::Spawned, Ready::Reported, Ready::Reported];
    spec.ready = match draw.below(10) {
        0 => Ready::Fd,
        1 => Ready::Line("listening".into()),
        2 => Ready::Port(80),
        3 => Ready::Alive(draw.ms(&[0, 150, 2000, 40_000])),
        _ => draw.pick(&plain),
    };
    spec.start_timeout = match draw.below(5) {
        0 => None,
        1 => Some(Duration::MAX),
        _ => Some(draw.ms(&[200, 2000, 30_000])),
    };
    if let Ready::Alive(stays) = spec.ready {
        // One that could never be ready is refused by the settings.
        spec.start_timeout = spec.start_timeout.filter(|limit| *limit > stays);
    }
    spec.heartbeat = Heartbeat {
        mode: draw.pick(&[HeartbeatMode::Auto, HeartbeatMode::Auto, HeartbeatMode::Required, HeartbeatMode::Off]),
        interval: draw.ms(&[500, 2000, 10_000]),
        timeout: draw.ms(&[100, 1000, 5000, 15_000]),
        misses: draw.pick(&[1, 2, 3]),
        on_hang: if draw.chance(75) { OnHang::Restart } else { OnHang::Record },
        hang_signal: draw.pick(&[6, 6, 3]),
        hang_dump_timeout: draw.ms(&[0, 500, 5000]),
    }
    .into();
    spec.dialects.node = draw.chance(30);
    spec.dialects.native = draw.chance(90);
    if draw.chance(50) {
        spec.limits = Limits {
            memory: draw.pick(&[None, Some(MemoryLimit::Bytes(MEMORY)), Some(MemoryLimit::Auto)]),
            memory_soft: draw.pick(&[None, Some(MEMORY / 10 * 8)]),
            memory_samples: draw.pick(&[1, 2, 3]),
            memory_action: draw.pick(&[LimitAction::Restart, LimitAction::Restart, LimitAction::Warn]),
            cpu: draw.pick(&[None, Some(80)]),
            cpu_samples: draw.pick(&[1, 2, 5]),
            cpu_action: draw.pick(&[LimitAction::Restart, LimitAction::Restart, LimitAction::Warn]),
            interval: draw.ms(&[500, 1000, 5000]),
            ..Limits::default()
        }
        .into();
    }
    spec.reload_signal = draw.pick(&[None, None, Some(1)]);
    if draw.chance(20) {
        spec.hooks.push(Hook { events: Vec::new(), pre_start: draw.chance(70), command: vec!["true".into()] });
    }
}

fn draw_spec(draw: &mut Draw) -> Spec {
    let rewrites = [vec![], vec![], vec![], vec![(15, 3)], vec![(1, 15)], vec![(10, 0)], vec![(2, 15)], vec![(15, 0)]];
    let max_age = if draw.chance(20) { Some(draw.ms(&[1000, 60_000])) } else { None };
    let mut spec = Spec {
        name: "w".into(),
        restart: draw_restart(draw).into(),
        stop: draw_stop(draw).into(),
        rewrite_signal: draw.pick(&rewrites),
        max_age,
        max_age_jitter: draw.pick(&[0, 10, 100]),
        ..Spec::default()
    };
    // Some worlds are those of workers that say nothing.
    if draw.chance(70) {
        draw_life(draw, &mut spec);
    }
    spec
}

fn draw_restart(draw: &mut Draw) -> Restart {
    let policies =
        [Policy::Always, Policy::OnFailure, Policy::OnFailure, Policy::OnSuccess, Policy::UnlessStopped, Policy::Never];
    let delays = if draw.chance(30) {
        Delays::List((0..=draw.below(4)).map(|_| draw.ms(&[0, 50, 1000, 30_000])).collect())
    } else {
        Delays::Growing {
            first: draw.ms(&[0, 10, 100, 1000]),
            factor_milli: draw.pick(&[1000, 1500, 2000, 10_000]),
            max: draw.ms(&[0, 500, 60_000, u64::MAX]),
        }
    };
    let default = Restart::default();
    let give_up = [GiveUp::Exit, GiveUp::Stay, GiveUp::StopAll, GiveUp::Exec(vec!["true".into()])];
    let success = [default.success_on.clone(), Ends { codes: vec![0, 3], signals: vec![9] }, Ends::default()];
    let listed = [default.no_restart_on.clone(), Ends { codes: vec![1, 0], signals: vec![11] }, Ends::default()];
    Restart {
        policy: draw.pick(&policies),
        delays,
        jitter: draw.pick(&[0, 20, 100]),
        fast_first: draw.chance(70),
        stable_after: draw.ms(&[0, 500, 1000, 30_000, u64::MAX]),
        limit: draw.pick(&[0, 0, 1, 2, 5]),
        crash_loop_limit: draw.pick(&[0, 1, 2, 5]),
        crash_loop_window: draw.ms(&[1000, 10_000, 60_000]),
        crash_loop_pause: draw.ms(&[0, 1000, 60_000]),
        total: draw.pick(&[None, None, None, Some(0), Some(1), Some(4)]),
        give_up: draw.pick(&give_up),
        success_on: draw.pick(&success),
        no_restart_on: draw.pick(&listed),
    }
}

fn draw_stop(draw: &mut Draw) -> Stop {
    let mut grace = || if draw.chance(5) { Duration::MAX } else { draw.ms(&[0, 50, 1000, 2000, 10_000]) };
    let timeout = grace();
    let shutdown_timeout = grace();
    Stop {
        signal: draw.pick(&[None, None, Some(15), Some(2), Some(3), Some(10)]),
        timeout,
        shutdown_timeout,
        scope: draw.pick(&[Scope::Main, Scope::Group, Scope::Tree]),
        kill_wait: draw.ms(&[0, 100, 1000, 1000]),
        ..Stop::default()
    }
}
