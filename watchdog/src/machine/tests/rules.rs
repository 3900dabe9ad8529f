//! Section 5 of the contract in sentences: when it is started again, and when not.

use super::stage::{ID, Stage};
use crate::machine::*;
use crate::spec::{Delays, Ends, GiveUp, Policy, Spec};
use std::time::Duration;

fn spec() -> Spec {
    let mut spec = Spec::default();
    spec.restart.jitter = 0;
    spec
}

fn prefix(spec: Spec) -> Stage {
    Stage::new(spec, Setup { prefix: true, ..Setup::default() })
}

/// Crashes until it gives up; how often it was started.
fn starts(mut stage: Stage, code: i32) -> (u32, Option<u8>) {
    for n in 1..100 {
        stage = stage.up().ends(code);
        if let Some(status) = stage.status() {
            return (n, Some(status));
        }
        stage = stage.due();
    }
    (100, None)
}

#[test]
fn five_consecutive_restarts_then_the_workers_status() {
    assert_eq!(starts(prefix(spec()), 3), (6, Some(3)));
}

#[test]
fn giving_up_on_a_status_of_zero_is_one() {
    let mut spec = spec();
    spec.restart.policy = Policy::Always;
    assert_eq!(starts(prefix(spec), 0), (6, Some(1)));
}

#[test]
fn a_limit_of_zero_never_gives_up() {
    let mut spec = spec();
    spec.restart.limit = 0;
    assert_eq!(starts(prefix(spec), 1), (100, None));
}

#[test]
fn a_listed_end_is_never_followed_by_a_restart() {
    let mut spec = spec();
    spec.restart.policy = Policy::Always;
    assert_eq!(starts(prefix(spec.clone()), 78), (1, Some(78)));
    spec.restart.no_restart_on = Ends { codes: vec![], signals: vec![11] };
    assert_eq!(starts(prefix(spec), -11), (1, Some(139)));
}

#[test]
fn a_restart_by_hand_is_free_and_at_once() {
    let mut stage = Stage::new(spec(), Setup::default()).up();
    for _ in 0..20 {
        stage = stage.restart(false).ends(-15);
        assert!(stage.spawned());
        stage = stage.up();
    }
    assert_eq!((stage.service().book.streak, stage.service().book.total), (0, 0));
}

#[test]
fn the_first_failure_after_a_stable_run_is_restarted_at_once_and_counts() {
    let stage = Stage::new(spec(), Setup::default()).up().secs(30).ends(1);
    assert!(stage.spawned() && stage.service().book.streak == 1);
    let stage = stage.up().secs(29).ends(1);
    assert!(!stage.spawned(), "29 s are not stable");
}

#[test]
fn a_stall_after_the_death_does_not_make_a_run_stable() {
    let stage = Stage::new(spec(), Setup::default()).up();
    let (generation, seen_alive) = (stage.service().last, stage.now);
    let late = stage.secs(3600);
    let exit = super::stage::exit(1);
    let stage = late.give(Event::Exited { service: ID, generation, exit, seen_alive, left: vec![] });
    assert!(!stage.spawned());
}

#[test]
fn a_stable_run_that_is_recycled_resets_the_streak() {
    let stage = Stage::new(spec(), Setup::default()).up().ends(1).due().up();
    assert_eq!(stage.service().book.streak, 1);
    assert_eq!(stage.secs(31).restart(false).ends(-15).service().book.streak, 0);
}

#[test]
fn start_from_a_terminal_state_clears_the_counters() {
    let mut spec = spec();
    spec.restart.give_up = GiveUp::Stay;
    spec.restart.total = Some(1);
    let stage = Stage::new(spec, Setup::default()).up().ends(1).due().up().ends(1);
    assert_eq!(stage.state(), State::Failed);
    let stage = stage.start().up().ends(1);
    assert!(matches!(stage.state(), State::Backoff { .. }), "the total counts from the start by hand");
}

#[test]
fn one_more_restart_than_the_window_holds_is_a_pause_and_the_pause_counts() {
    let mut spec = spec();
    spec.restart.limit = 0;
    spec.restart.crash_loop_limit = 2;
    spec.restart.delays = Delays::List(vec![Duration::ZERO]);
    let stage = Stage::new(spec, Setup::default()).up().ends(1).up().ends(1).up().ends(1);
    assert!(matches!(stage.state(), State::CrashLoop { .. }));
    let stage = stage.secs(59);
    assert!(!stage.spawned());
    let stage = stage.secs(1);
    assert!(stage.spawned() && stage.service().book.window.len() == 1);
}

#[test]
fn nothing_is_started_while_something_of_the_old_tree_lives() {
    let stage = Stage::new(spec(), Setup::default()).up().ends_leaving(1, &[7]);
    assert_eq!(stage.told(), ["exit", "leftover-killed"]);
    let stage = stage.secs(2);
    assert!(stage.out.contains(&Action::Sweep { service: ID, generation: Generation(1), signal: 9 }));
    assert!(stage.tree(&[]).told().contains(&"restart-scheduled"));
}

#[test]
fn leftovers_that_obey_do_not_cost_the_whole_grace() {
    let stage = Stage::new(spec(), Setup::default()).up().ends_leaving(1, &[7]).wait(Duration::from_millis(50));
    assert!(stage.out.contains(&Action::LookAtTree { service: ID, generation: Generation(1) }));
    assert!(matches!(stage.tree(&[]).state(), State::Backoff { .. }));
}

#[test]
fn a_stall_during_the_sweep_is_not_taken_for_stuck() {
    let stage = prefix(spec()).up().signal(15).ends_leaving(0, &[7]).secs(2).secs(60);
    assert_eq!((stage.status(), stage.told()), (None, vec![]), "first a new look");
    assert_eq!(stage.tree(&[]).status(), Some(0));
}

#[test]
fn a_stuck_rest_is_looked_at_again_and_a_wanted_service_comes_back() {
    let stage = Stage::new(spec(), Setup::default()).up().ends_leaving(1, &[7]).secs(2).secs(1).tree(&[7]);
    assert!(matches!(stage.state(), State::Stuck { .. }) && stage.told() == ["stuck"]);
    let stage = stage.secs(1);
    assert!(stage.out.contains(&Action::LookAtTree { service: ID, generation: Generation(1) }));
    assert!(matches!(stage.tree(&[]).state(), State::Backoff { .. }));
}

#[test]
fn a_start_ends_the_give_up_command() {
    let mut spec = spec();
    spec.restart.give_up = GiveUp::Exec(vec!["true".into()]);
    let stage = prefix(spec).up().ends(78).start();
    assert!(stage.spawned() && stage.out.contains(&Action::EndGiveUp { service: ID }));
    assert_eq!(stage.up().give(Event::GiveUpRan { service: ID }).status(), None);
}

#[test]
fn age_recycles_gracefully_and_for_free() {
    let spec = Spec { max_age: Some(Duration::from_secs(60)), max_age_jitter: 0, ..spec() };
    let stage = Stage::new(spec, Setup::default()).up().secs(60);
    assert_eq!(stage.sent(), [15]);
    let stage = stage.ends(1);
    assert!(stage.spawned() && stage.service().book.total == 0);
}
