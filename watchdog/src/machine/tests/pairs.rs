//! Every state, every event, both goals, and every event after that one: nothing panics and the total rules hold.

use super::stage::{ID, Stage, deeds, exit, places};
use crate::machine::service::{Cx, Dice};
use crate::machine::*;
use crate::spec::Ready;

fn all_places() -> Vec<(&'static str, Stage)> {
    places(false).into_iter().chain(places(true)).collect()
}

/// What must be true of any call.
fn check(name: &str, before: &Stage, after: &Stage) {
    let (was, is) = (before.service(), after.service());
    assert!(is.last >= was.last && is.book.total >= was.book.total, "{name}: a counter went back");
    assert!(is.last.0 <= was.last.0 + 1, "{name}: two generations in one call");
    assert!(is.state.has_process() || is.living().is_none(), "{name}: alive in {:?}", is.state);
    let spawns: Vec<_> = after.out.iter().filter(|a| matches!(a, Action::Spawn { .. })).collect();
    assert_eq!(spawns.len() as u64, is.last.0 - was.last.0, "{name}: {spawns:?}");
    for action in &after.out {
        match action {
            Action::Spawn { generation, .. } => {
                assert_eq!(is.state, State::Starting { child: *generation }, "{name}");
                assert!(is.living().is_none() && is.left.is_empty(), "{name}: a start over a living tree");
            }
            Action::Signal { generation, .. } => {
                assert!(is.living() == Some(*generation), "{name}: a signal to nobody: {action:?}");
            }
            Action::Sweep { .. } => assert!(is.living().is_none(), "{name}: {action:?}"),
            Action::Exit(_) => assert_eq!(after.out.last(), Some(action), "{name}: not the last action"),
            // Whoever is told, looked at, measured or killed is alive.
            Action::Say { generation, .. }
            | Action::LookAtLanes { generation, .. }
            | Action::LookAtPort { generation, .. }
            | Action::Inspect { generation, .. }
            | Action::Measure { generation, .. }
            | Action::Gather { generation, .. } => {
                assert!(is.living() == Some(*generation), "{name}: {action:?} to nobody");
            }
            Action::LookAtTree { .. }
            | Action::CancelSpawn { .. }
            | Action::Report(_)
            | Action::RunGiveUp { .. }
            | Action::EndGiveUp { .. }
            | Action::Farewell { .. }
            | Action::Suspend
            | Action::Probe { .. }
            | Action::EndProbes { .. }
            | Action::LookAtFile { .. }
            | Action::ReadFileAgain { .. }
            | Action::ReopenLogs
            | Action::Answer { .. }
            | Action::Tell(_) => {}
        }
    }
    let mut answered: Vec<u64> = after.answers().into_iter().map(|a| a.0).collect();
    let count = answered.len();
    answered.sort_unstable();
    answered.dedup();
    assert_eq!(answered.len(), count, "{name}: answered twice");
    if is.state.is_terminal() && is.timers.next().is_some() {
        assert_eq!(is.timers.get(Timer::GiveUp), is.timers.next(), "{name}: a timer in {:?}", is.state);
    }
}

#[test]
fn every_pair_of_events_in_every_state_obeys_the_total_rules() {
    let mut pairs = 0;
    for (place, stage) in all_places() {
        for (first, deed) in deeds() {
            let then = deed(stage.clone());
            check(&format!("{place} / {first}"), &stage, &then);
            for (second, deed) in deeds() {
                let last = deed(then.clone());
                check(&format!("{place} / {first} / {second}"), &then, &last);
                pairs += 1;
            }
        }
    }
    assert!(pairs > 15_000, "{pairs}");
}

#[test]
fn news_of_another_generation_or_service_changes_nothing() {
    let said = |s: &Stage| serde_json::to_string(&s.machine).expect("plain data");
    for (place, stage) in all_places() {
        let last = stage.service().last.0;
        for (service, generation) in [(ID, last + 1), (ID, last - 1), (ServiceId(9), last)] {
            let generation = Generation(generation);
            let second = std::time::Duration::from_secs(1);
            let sample = Sample { at: stage.now, rss_bytes: Some(1 << 40), cpu_permille: Some(99_999) };
            let failure = SpawnFailure { step: Step::Exec, errno: 2, path: String::new() };
            let answer = Answer { outcome: Outcome::Failure, message: String::new(), took: second };
            let stale = [
                Event::Spawned { service, generation, pid: 5 },
                Event::SpawnFailed { service, generation, failure },
                Event::Exited { service, generation, exit: exit(1), seen_alive: stage.now, left: vec![4] },
                Event::Tree { service, generation, left: vec![] },
                Event::News { service, generation, dialect: Dialect::Notify, news: News::Ready },
                Event::News { service, generation, dialect: Dialect::Native, news: News::Hello },
                Event::News { service, generation, dialect: Dialect::Native, news: News::Pong(Some(1)) },
                Event::News { service, generation, dialect: Dialect::Notify, news: News::Trigger },
                Event::News { service, generation, dialect: Dialect::Notify, news: News::Extend(second) },
                Event::News { service, generation, dialect: Dialect::Native, news: News::Status("late".into()) },
                Event::SeenReady { service, generation, by: ReadyBy::Port },
                Event::ChannelLost { service, generation, dialect: Dialect::Native, fault: None },
                Event::ChannelLost { service, generation, dialect: Dialect::Native, fault: Some("late".into()) },
                Event::Evidence { service, generation, evidence: Evidence::default() },
                Event::Sampled { service, generation, sample },
                Event::Probed { service, generation, probe: 0, answer },
            ];
            for event in stale {
                let after = stage.clone().give(event.clone());
                assert!(after.out.is_empty(), "{place}: {event:?} leads to {:?}", after.out);
                assert_eq!(said(&after), said(&stage), "{place}: {event:?}");
            }
        }
    }
}

#[test]
fn every_timer_in_every_state_is_harmless() {
    for (place, stage) in all_places() {
        for timer in Timer::ALL {
            let mut service = stage.service().clone();
            let (mut out, mut dice) = (Actions::new(), Dice(1));
            service.on_timer(
                &mut Cx { now: stage.now, out: &mut out, dice: &mut dice },
                timer,
                std::time::Duration::ZERO,
            );
            let spawns = out.iter().any(|a| matches!(a, Action::Spawn { .. }));
            assert!(!spawns || !stage.state().has_process(), "{place} / {timer:?}: a second process");
            assert!(!spawns || service.goal == Goal::Up, "{place} / {timer:?}: a start that nobody wants");
        }
    }
}

#[test]
fn settings_of_ten_thousand_years_and_of_nothing_never_overflow() {
    for d in [std::time::Duration::ZERO, std::time::Duration::MAX] {
        let mut spec = super::stage::every_state();
        (spec.stop.timeout, spec.stop.shutdown_timeout, spec.stop.kill_wait) = (d, d, d);
        (spec.max_age, spec.restart.stable_after) = (Some(d), d);
        (spec.restart.crash_loop_window, spec.restart.crash_loop_pause) = (d, d);
        (spec.heartbeat.interval, spec.heartbeat.timeout, spec.heartbeat.hang_dump_timeout) = (d, d, d);
        (spec.start_timeout, spec.limits.interval) = (Some(d), d);
        (spec.heartbeat.misses, spec.limits.memory_samples, spec.limits.cpu_samples) = (0, 0, u32::MAX);
        spec.limits.cpu = Some(u32::MAX);
        for ready in [Ready::Auto, Ready::Reported, Ready::Port(1), Ready::Alive(d)] {
            spec.ready = ready;
            let up = Stage::new(spec.clone(), Setup::default()).up();
            for stage in [up.clone(), up.native(News::Hello).pong().native(News::TakesShutdown)] {
                for (_, first) in deeds() {
                    for (_, second) in deeds() {
                        second(first(stage.clone()).notify(News::BeatEvery(d)).notify(News::Extend(d)));
                    }
                }
            }
        }
    }
}
