//! Random settings: every policy, list and form, zero and endless times among them.

use super::draw::Draw;
use crate::machine::Setup;
use crate::spec::{Delays, Ends, GiveUp, Policy, Restart, Scope, Spec, Stop};
use std::time::Duration;

/// The services of one run and the surroundings of the watchdog.
pub(super) fn draw_house(draw: &mut Draw) -> (Vec<Spec>, Setup) {
    let prefix = draw.chance(60);
    let services = if prefix { 1 } else { 1 + draw.below(3) };
    let specs = (0..services).map(|_| draw_spec(draw)).collect();
    let setup = Setup { prefix, shared_group: draw.chance(40), init: draw.chance(30), seed: draw.next() };
    (specs, setup)
}

fn draw_spec(draw: &mut Draw) -> Spec {
    let rewrites = [vec![], vec![], vec![], vec![(15, 3)], vec![(1, 15)], vec![(10, 0)], vec![(2, 15)], vec![(15, 0)]];
    let max_age = if draw.chance(20) { Some(draw.ms(&[1000, 60_000])) } else { None };
    Spec {
        name: "w".into(),
        restart: draw_restart(draw),
        stop: draw_stop(draw),
        rewrite_signal: draw.pick(&rewrites),
        max_age,
        max_age_jitter: draw.pick(&[0, 10, 100]),
        ..Spec::default()
    }
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
