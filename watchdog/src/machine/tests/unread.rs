//! What is learnt of an end after the decision about it: nothing else is left of it than if it had been known at once.

use super::stage::{ID, Stage, exit};
use crate::machine::*;
use crate::spec::{Delays, Spec};
use std::time::Duration;

/// Lives that are about to end.
fn lives() -> Vec<Stage> {
    let with = |change: fn(&mut Spec)| {
        let mut spec = Spec::default();
        spec.restart.jitter = 0;
        change(&mut spec);
        Stage::new(spec, Setup { prefix: true, ..Setup::default() })
    };
    let mut never_again = with(|s| s.restart.limit = 1).up().ends(1).due().up();
    never_again = never_again.secs(1);
    vec![
        with(|_| ()).up(),
        with(|s| s.restart.delays = Delays::List(vec![Duration::ZERO])).up(),
        with(|s| s.restart.policy = crate::spec::Policy::Never).up(),
        with(|s| s.restart.crash_loop_limit = 1).up().ends(1).due().up(),
        with(|s| s.restart.no_restart_on = s.restart.success_on.clone()).up(),
        never_again,
        with(|_| ()).up().stop(None),
        with(|_| ()).up().restart(false),
        // Reaped before the news of its exec is read.
        with(|_| ()),
    ]
}

fn ends(stage: Stage, exit: Exit) -> Stage {
    let (generation, seen_alive) = (stage.service().last, stage.now);
    stage.give(Event::Exited { service: ID, generation, exit, seen_alive, left: vec![] })
}

/// What is told and ordered, put right as the loop does it.
fn amended(told: Actions, generation: Generation, oom: Oom) -> Actions {
    let mut all = Actions::new();
    for mut action in told {
        let mut behind = None;
        if let Action::Tell(notice) = &mut action
            && amend_notice(notice, ID, generation, oom)
        {
            behind = Some(Action::Tell(oom_of(notice, oom)));
        }
        if let Action::Report(order) = &mut action {
            amend_report(order, ID, generation, oom);
        }
        all.push(action);
        all.extend(behind);
    }
    all
}

#[test]
fn learning_it_later_comes_to_the_same_as_knowing_it_at_once() {
    for (case, how) in
        [-9, -11, 0, 1].into_iter().enumerate().flat_map(|(n, how)| (0..9).map(move |c| (n * 9 + c, how)))
    {
        for oom in [Oom::Worker, Oom::Child, Oom::Probable] {
            let life = || lives().swap_remove(case % 9);
            let generation = life().service().last;
            let at_once = ends(life(), Exit { oom, ..exit(how) });
            let mut later = ends(life(), exit(how));
            later.machine.learn(ID, generation, oom);
            later.out = amended(std::mem::take(&mut later.out), generation, oom);
            // The start that follows, or the end of one whose beginning was not known.
            let mut both = [at_once, later];
            for round in 0..3 {
                let [known, learnt] = &both;
                let facts = |s: &Stage| {
                    let service = s.service();
                    (service.state, service.cause, service.reason.clone(), service.ended.clone(), service.status)
                };
                assert_eq!(facts(known), facts(learnt), "case {case}, {how}, {oom:?}, round {round}");
                assert_eq!(known.out, learnt.out, "case {case}, {how}, {oom:?}, round {round}");
                both = both.map(|s| if s.service().living().is_some() { s.due() } else { s.up() });
            }
        }
    }
}

#[test]
fn what_is_learnt_of_another_end_changes_nothing() {
    let mut stage = lives().swap_remove(1).ends(-9).up();
    let before = (stage.service().ended.clone(), stage.service().cause);
    stage.machine.learn(ID, Generation(7), Oom::Worker);
    stage.machine.learn(ServiceId(9), Generation(1), Oom::Worker);
    assert_eq!((stage.service().ended.clone(), stage.service().cause), before);
    let told = stage.out.clone();
    assert_eq!(amended(told.clone(), Generation(7), Oom::Child), told, "of another generation");
}
