//! Starting, stopping, and clients that wait for it.

use super::stage::{ID, Stage};
use crate::machine::*;
use crate::spec::Spec;
use std::time::Duration;

fn new() -> Stage {
    Stage::new(Spec::default(), Setup::default())
}

fn prefix() -> Stage {
    Stage::new(Spec::default(), Setup { prefix: true, ..Setup::default() })
}

#[test]
fn a_first_exec_that_fails_is_final() {
    assert_eq!(prefix().no_exec(libc::ENOENT).status(), Some(127));
    assert_eq!(prefix().no_exec(libc::EACCES).status(), Some(126));
}

#[test]
fn a_later_exec_that_fails_is_a_crash_like_any_other() {
    let stage = prefix().up().ends(1).due().no_exec(libc::ENOENT);
    assert!(matches!(stage.state(), State::Backoff { attempt: 2 }));
}

#[test]
fn a_shortage_is_tried_again_even_at_first() {
    assert!(matches!(prefix().no_exec(libc::EAGAIN).state(), State::Backoff { attempt: 1 }));
}

#[test]
fn a_busy_program_file_has_five_seconds() {
    let mut stage = prefix();
    while stage.now < MonoTime(Duration::from_millis(4990)) {
        stage = stage.no_exec(libc::ETXTBSY).due();
        assert!(stage.spawned());
    }
    assert_eq!(stage.no_exec(libc::ETXTBSY).status(), Some(126));
}

#[test]
fn a_stop_during_the_exec_keeps_its_own_grace() {
    assert_eq!(new().stop(Some(0)).up().sent(), [9]);
    assert_eq!(new().restart(true).up().sent(), [9]);
    assert_eq!(prefix().signal(2).up().sent(), [2], "INT stays INT");
}

#[test]
fn a_start_that_takes_back_a_stop_leaves_no_mark() {
    let stage = new().stop(None).start();
    assert_eq!(stage.answers(), [(1, false)], "the client of the stop is told");
    let stage = stage.up().ends(143);
    assert!(matches!(stage.state(), State::Backoff { .. }), "143 was not asked for");
}

#[test]
fn an_end_that_overtakes_its_start_is_not_lost() {
    let stage = new().ends(1);
    assert_eq!(stage.out, []);
    assert_eq!(stage.up().told(), ["spawn", "exit", "restart-scheduled"]);
}

#[test]
fn a_stop_ends_a_back_off_and_nothing_starts_later() {
    let stage = new().up().ends(1).stop(None);
    assert_eq!(stage.answers(), [(1, true)]);
    assert_eq!(stage.secs(3600).out, []);
}

#[test]
fn a_stop_wins_over_a_pending_start() {
    let stage = new().up().restart(false).stop(None).ends(-15);
    assert_eq!(stage.state(), State::Stopped);
}

#[test]
fn the_grace_begins_with_the_first_stop() {
    let stage = new().up().stop(None).secs(6).stop(None).secs(4);
    assert_eq!(stage.sent(), [9]);
}

#[test]
fn a_stuck_process_is_never_counted_as_gone() {
    let stage = prefix().up().signal(15).secs(10).secs(1);
    assert_eq!((stage.told(), stage.status()), (vec!["stuck"], Some(125)));
    let stage = new().up().stop(None).secs(10).secs(1);
    assert_eq!(stage.answers(), [(1, false)]);
    assert!(!stage.start().spawned());
}

#[test]
fn two_clients_who_restart_get_one_or_two_generations_one_after_the_other() {
    let stage = new().up().restart(false).restart(false).ends(-15).up();
    assert_eq!((stage.service().last, stage.answers()), (Generation(2), vec![(1, true), (2, true)]));
}

#[test]
fn a_restart_of_several_waits_for_each_ones_own_generation() {
    let mut machine = Supervisor::new(vec![Spec::default(), Spec::default()], Setup::default());
    let (now, mut out) = (MonoTime::ZERO, Actions::new());
    let by = By { kind: ByKind::Control, signal: None, pid: None, uid: None };
    let (a, b) = (ServiceId(0), ServiceId(1));
    let spawned = |service, n| Event::Spawned { service, generation: Generation(n), pid: 9 };
    let exit = super::stage::exit(0);
    let ended = |service, n| Event::Exited { service, generation: Generation(n), exit, seen_alive: now, left: vec![] };
    machine.begin(now, &mut out);
    let ask = |n, services| Event::Asked {
        ticket: Ticket(n),
        by,
        request: Request::Restart { services, force: false, alone: false },
    };
    // The first one is three generations ahead when both are asked.
    let ahead =
        [spawned(a, 1), spawned(b, 1), ask(1, vec![a]), ended(a, 1), spawned(a, 2), ask(2, vec![a]), ended(a, 2)];
    let both = [spawned(a, 3), ask(3, vec![a, b]), ended(a, 3), ended(b, 1), spawned(a, 4), spawned(b, 2)];
    for event in ahead.into_iter().chain(both) {
        machine.handle(now, event, &mut out);
    }
    assert!(out.contains(&Action::Answer { ticket: Ticket(3), reply: Reply::Done { services: vec![a, b] } }));
}

#[test]
fn an_unknown_service_is_refused() {
    let stage = new().ask(Request::Stop { services: vec![ServiceId(5)], timeout: None });
    assert_eq!(stage.answers(), [(1, false)]);
}

#[test]
fn a_wait_ends_by_its_time_and_says_how_long() {
    let want = Request::Wait { services: vec![ID], want: Want::Completed, timeout: Some(Duration::from_secs(5)) };
    let stage = new().up().ask(want).due();
    let reason = Some("running; ready when spawned".into());
    let reply =
        Reply::Waited { service: ID, want: Want::Completed, reached: false, waited: Duration::from_secs(5), reason };
    assert_eq!(stage.out, [Action::Answer { ticket: Ticket(1), reply }]);
}

#[test]
fn nobody_is_kept_from_shutdown_by_those_who_wait() {
    let mut stage = prefix().up();
    for _ in 0..300 {
        stage = stage.ask(Request::Wait { services: vec![ID], want: Want::Stopped, timeout: None });
    }
    assert_eq!(stage.answers(), [(300, false)]);
    let stage = stage.ask(Request::Shutdown);
    assert_eq!((stage.answers(), stage.sent()), (vec![(301, true)], vec![15]));
    assert_eq!(stage.ends(0).answers().len(), 256);
}

#[test]
fn in_the_prefix_form_stop_leaves_the_watchdog_and_shutdown_ends_it() {
    let stage = prefix().up().stop(None).ends(0);
    assert_eq!((stage.state(), stage.status()), (State::Stopped, None));
    assert_eq!(stage.ask(Request::Shutdown).status(), Some(0));
}
