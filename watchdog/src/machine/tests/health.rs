//! What is said of a service: how well it is and why, with which status an end by a rule ends, and what a client waits for
//! in vain.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test picks a few kinds out of all")]

use super::stage::{ID, Stage};
use crate::machine::*;
use crate::spec::{MemoryLimit, Policy, Ready, Spec};
use std::time::Duration;

fn prefix(change: impl FnOnce(&mut Spec)) -> Stage {
    let mut spec = Spec::default();
    spec.restart.jitter = 0;
    change(&mut spec);
    Stage::new(spec, Setup { prefix: true, ..Setup::default() })
}

fn health(stage: &Stage) -> (Health, String) {
    (stage.service().health(stage.now), stage.service().why(stage.now))
}

/// One that runs for a second and crashes, and is up again.
fn crashes(stage: Stage) -> Stage {
    let stage = stage.secs(1).ends(1);
    if stage.spawned() { stage.up() } else { stage.due().up() }
}

#[test]
fn a_service_that_restarts_again_and_again_is_degraded_until_it_is_stable() {
    let stage = crashes(prefix(|_| ()).up());
    assert_eq!(health(&stage), (Health::Healthy, "running; ready when spawned".into()), "once is no habit");
    let stage = crashes(stage);
    let why = "restarted 2 times in 60 s; healthy again when it has been ready for 30s (stable_after)";
    assert_eq!(health(&stage), (Health::Degraded, why.into()));
    assert!(stage.service().is_ready() && matches!(stage.state(), State::Running { .. }));
    let stage = crashes(stage);
    assert!(health(&stage).1.starts_with("restarted 3 times in 60 s"), "{}", health(&stage).1);
    let stage = stage.secs(29);
    assert_eq!(health(&stage).0, Health::Degraded);
    assert_eq!(health(&stage.secs(1)).0, Health::Healthy, "it is stable, and nothing had to wake up for that");
}

#[test]
fn restarts_that_are_far_apart_and_never_stable_are_flapping_as_well() {
    let mut stage = prefix(|s| (s.restart.limit, s.restart.stable_after) = (0, Duration::from_secs(3600))).up();
    for _ in 0..3 {
        stage = stage.secs(600).ends(1).due().up();
    }
    let (word, why) = health(&stage);
    assert!(word == Health::Degraded && why.starts_with("restarted 3 times in 20m"), "{why}");
}

#[test]
fn restarts_that_were_asked_for_are_no_flapping() {
    let mut stage = prefix(|_| ()).up();
    for _ in 0..5 {
        stage = stage.restart(false).ends(-15).up();
    }
    assert_eq!(health(&stage).0, Health::Healthy);
    let stage = crashes(crashes(stage)).stop(None).ends(-15).start().up();
    assert_eq!(health(&stage).0, Health::Healthy, "a start by hand begins anew");
}

#[test]
fn a_check_that_fails_is_named_with_its_message_and_since_when() {
    let check = |name: &str, pass| HealthCheck { name: name.into(), pass, message: "no route".into() };
    let said = |stage: Stage, db, queue| stage.native(News::Health(vec![check("db", db), check("queue", queue)]));
    let stage = said(prefix(|_| ()).up().native(News::Hello).secs(5), false, true);
    assert_eq!(health(&stage), (Health::Unhealthy, "check db fails: no route".into()));
    let since = |stage: &Stage| stage.service().trouble(stage.now).and_then(|t| t.since).map(|at| at.0.as_secs());
    let stage = said(stage.secs(2), false, false);
    assert_eq!(
        (health(&stage).1.as_str(), since(&stage)),
        ("check db fails: no route; check queue fails: no route", Some(5))
    );
    let stage = said(stage.secs(1), true, false);
    assert_eq!(since(&stage), Some(7));
    let stage = said(stage, true, true);
    assert_eq!(health(&stage).0, Health::Healthy);
    assert_eq!(since(&said(stage.secs(4), false, true)), Some(12), "that it failed before is over");
}

#[test]
fn one_that_was_stopped_on_purpose_is_not_ill_and_says_who_asked() {
    let by = By { kind: ByKind::Control, signal: None, pid: Some(7), uid: Some(1000) };
    let request = Request::Stop { services: vec![ID], timeout: None };
    let stop = |stage: Stage| stage.give(Event::Asked { ticket: Ticket(9), by, request: request.clone() });
    let stage = stop(prefix(|_| ()).up());
    assert_eq!(health(&stage), (Health::Unknown, "stop asked for by pid 7 (uid 1000)".into()));
    let stage = stage.secs(1).ends(-15);
    assert_eq!(
        health(&stage),
        (Health::Unknown, "stopped on request by pid 7 (uid 1000); ended by SIGTERM after 1s".into())
    );
    let stage = stop(prefix(|_| ()).up().ends(1).due().up().ends(1));
    assert_eq!(
        health(&stage),
        (Health::Unknown, "stop asked for by pid 7 (uid 1000) while it waited for a restart".into())
    );
    // a failure is one, also where nothing follows
    let stage = prefix(|s| s.restart.give_up = crate::spec::GiveUp::Stay).up().ends(78);
    assert_eq!(health(&stop(stage)).0, Health::Unhealthy);
}

/// Each rule that ends a worker, after which no restart follows: status 1 whatever its code, and one notice with the rule.
#[test]
fn an_end_by_a_rule_that_no_restart_follows_is_status_1_and_is_told() {
    let never = |change: fn(&mut Spec)| {
        prefix(move |s| {
            s.restart.policy = Policy::Never;
            change(s);
        })
    };
    let by_time =
        || never(|s| (s.ready, s.start_timeout) = (Ready::Reported, Some(Duration::from_secs(2)))).up().secs(2);
    let by_limit = || never(|s| s.limits.memory = Some(MemoryLimit::Bytes(100))).up().holds(500);
    let by_hang =
        || never(|s| s.heartbeat.hang_dump_timeout = Duration::ZERO).armed().until("hang").0.looked_at(|_| ());
    for (name, doomed) in [("start_timeout", by_time()), ("memory_limit", by_limit()), ("heartbeat", by_hang())] {
        for how in [0, 3, -15, -9] {
            let stage = doomed.clone().ends(how);
            assert_eq!(stage.status(), Some(1), "{name} {how}");
            let rule = stage.out.iter().find_map(|a| match a {
                Action::Tell(Notice { what: What::GaveUp { rule, exit_status: 1, .. }, .. }) => Some(rule.clone()),
                _ => None,
            });
            assert!(rule.is_some_and(|r| r.contains(name) && r.contains("restart = never")), "{name} {how}");
        }
    }
    // giving up counts as well
    let limited = prefix(|s| {
        (s.ready, s.start_timeout, s.restart.limit) = (Ready::Reported, Some(Duration::from_secs(2)), 1);
        s.restart.delays = crate::spec::Delays::List(vec![Duration::ZERO]);
    });
    let stage = limited.up().secs(2).ends(-15).up().secs(2).ends(-15);
    assert_eq!(stage.status(), Some(1));
}

/// The look-alikes keep their own status: ends of its own, and ends that were asked for.
#[test]
fn ends_of_its_own_and_ends_that_were_asked_for_keep_their_status() {
    let never = || prefix(|s| s.restart.policy = Policy::Never).up();
    for (how, status) in [(0, 0), (3, 3), (-15, 143), (-9, 137)] {
        let stage = never().ends(how);
        assert_eq!((stage.status(), stage.told().contains(&"gave-up")), (Some(status), false));
        let reported = |s: &mut Spec| (s.ready, s.start_timeout) = (Ready::Reported, Some(Duration::from_secs(2)));
        assert_eq!(prefix(reported).up().secs(2).signal(15).ends(how).status(), Some(status), "asked to end meanwhile");
    }
}

#[test]
fn a_wait_for_what_cannot_come_ends_at_once_with_the_reason() {
    let wait = |stage: Stage, want| stage.ask(Request::Wait { services: vec![ID], want, timeout: None });
    let reason = |stage: &Stage| {
        stage.out.iter().find_map(|a| match a {
            Action::Answer { reply: Reply::Waited { reached: false, reason, .. }, .. } => reason.clone(),
            _ => None,
        })
    };
    let new = |policy: Policy| {
        let mut spec = Spec::default();
        spec.restart.policy = policy;
        spec.restart.give_up = crate::spec::GiveUp::Stay;
        Stage::new(spec, Setup::default())
    };
    let stopped = || new(Policy::OnFailure).up().stop(None).ends(-15);
    for (stage, want, why) in [
        (stopped(), Want::Ready, "stopped on request"),
        (stopped(), Want::Completed, "stopped on request"),
        (new(Policy::OnFailure).up().ends(78), Want::Ready, "no_restart_on"),
        (new(Policy::Never).up().ends(0), Want::Ready, "not restarted"),
        (new(Policy::Always).up(), Want::Completed, "restart = always"),
    ] {
        let told = reason(&wait(stage, want)).unwrap_or_default();
        assert!(told.contains(why), "{want:?}: {told:?} without {why:?}");
    }
    // and one that already waits hears of it
    let stage = wait(new(Policy::OnFailure).up(), Want::Completed).stop(None).ends(-15);
    assert!(reason(&stage).is_some_and(|r| r.contains("stopped on request")));
    // what may still come is waited for
    for stage in [new(Policy::OnFailure).up().ends(1), new(Policy::OnFailure), new(Policy::OnFailure).up()] {
        assert_eq!(wait(stage, Want::Completed).answers(), []);
    }
}

/// 6. One that ends well at once and leaves others behind is told how to be run, once; its look-alikes are not.
#[test]
fn a_program_that_puts_itself_into_the_background_is_warned_of_once() {
    let hides = |stage: &Stage| {
        stage
            .out
            .iter()
            .any(|a| matches!(a, Action::Tell(Notice { what: What::LeftoverKilled { background: true, .. }, .. })))
    };
    let always = || prefix(|s| s.restart.policy = Policy::Always).up();
    let stage = always().ends_leaving(0, &[7]);
    assert!(hides(&stage));
    let stage = stage.tree(&[]).due().up().ends_leaving(0, &[8]);
    assert!(!hides(&stage), "it is said once");
    assert!(!hides(&always().ends_leaving(1, &[7])), "a crash");
    assert!(!hides(&always().secs(10).ends_leaving(0, &[7])), "it did its work in the foreground");
    assert!(!hides(&always().stop(None).ends_leaving(0, &[7])), "it was asked to end");
    let oneshot = prefix(|s| s.kind = crate::spec::Kind::Oneshot).up();
    assert!(
        !hides(&oneshot.ends_leaving(0, &[7])),
        "a oneshot may leave something behind, which is ended all the same"
    );
}

#[test]
fn whether_all_are_ready_has_one_answer_and_hidden_ones_count() {
    let of = |stage: &Stage| stage.service().readiness();
    let up = || Stage::new(Spec { hidden: true, ..Spec::default() }, Setup::default()).up();
    assert_eq!(of(&up()), Readiness::Ready);
    assert_eq!(of(&up().ends(1)), Readiness::Coming);
    assert_eq!(of(&up().ends(0)), Readiness::Over);
    assert_eq!(of(&up().ends(78)), Readiness::Lost);
    assert_eq!(of(&up().stop(None).ends(-15)), Readiness::Unasked);
    let missing = [Readiness::Coming, Readiness::Lost].map(Readiness::is_missing);
    let fine = [Readiness::Unasked, Readiness::Ready, Readiness::Over].map(Readiness::is_missing);
    assert_eq!((missing, fine), ([true; 2], [false; 3]));
}

/// 18. No page said how long it takes.
#[test]
fn the_time_to_a_hang_is_the_formula_of_the_readme() {
    let readme = include_str!("../../../../README.md");
    for formula in
        ["`(heartbeat_misses - 1) x heartbeat_interval + heartbeat_timeout`", "`heartbeat_interval x heartbeat_misses`"]
    {
        assert!(readme.contains(formula), "{formula}");
    }
    let seconds = Duration::from_secs;
    for (interval, timeout, misses) in [(10, 5, 3), (2, 1, 1), (7, 3, 4)] {
        let rules = move |s: &mut Spec| {
            let h = &mut s.heartbeat;
            (h.interval, h.timeout, h.misses) = (seconds(interval), seconds(timeout), misses as u32);
        };
        // The next ping comes an interval after the answer, and is the first that has none.
        let (native, took) = prefix(rules).armed().until("hang");
        assert_eq!(took, seconds(interval + (misses - 1) * interval + timeout));
        let (_, looks) = (native.now, native.looked_at(|_| ()).now.since(MonoTime(took)));
        assert_eq!(looks, Duration::from_millis(200), "two looks");
        let notify = prefix(rules).up().notify(News::Beat).until("hang").1;
        assert_eq!(notify, seconds(interval * misses));
    }
}
