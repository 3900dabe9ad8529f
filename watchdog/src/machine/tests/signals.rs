//! Section 4 of the contract in sentences: signals to the watchdog and keys of the terminal.

use super::stage::Stage;
use crate::machine::*;
use crate::spec::Spec;
use std::time::Duration;

const TERM: i32 = libc::SIGTERM;
const INT: i32 = libc::SIGINT;
const KILL: i32 = libc::SIGKILL;

fn with(change: impl FnOnce(&mut Spec)) -> Stage {
    let mut spec = Spec::default();
    change(&mut spec);
    Stage::new(spec, Setup { prefix: true, ..Setup::default() }).up()
}

fn plain() -> Stage {
    with(|_| {})
}

fn terminal() -> Stage {
    Stage::new(Spec::default(), Setup { prefix: true, shared_group: true, ..Setup::default() }).up()
}

fn apart() -> Stage {
    Stage::new(Spec::default(), Setup { prefix: true, apart: true, ..Setup::default() }).up()
}

/// A worker of another user is in a session of its own: the keys that its terminal would have sent are passed on, once,
/// and mean the same as there.
#[test]
fn keys_are_passed_on_to_a_worker_in_a_session_of_its_own() {
    for key in [INT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH] {
        assert_eq!(apart().key(key).sent(), [key]);
        assert!(matches!(apart().key(key).state(), State::Running { .. }));
        assert!(terminal().key(key).sent().is_empty(), "in our own session it has got it already");
    }
    for ours in [libc::SIGTTIN, libc::SIGTTOU] {
        assert!(apart().key(ours).sent().is_empty(), "our own reading and writing");
    }
    assert!(apart().key(libc::SIGTSTP).out.contains(&Action::Suspend));
}

#[test]
fn term_arrives_as_the_stop_signal_and_int_as_int() {
    assert_eq!(with(|s| s.stop.signal = Some(libc::SIGQUIT)).signal(TERM).sent(), [libc::SIGQUIT]);
    assert_eq!(with(|s| s.stop.signal = Some(libc::SIGQUIT)).signal(INT).sent(), [INT]);
}

#[test]
fn a_repeated_term_changes_nothing_whatever_the_stop_signal_is() {
    for stop in [None, Some(INT)] {
        let stage = with(|s| s.stop.signal = stop).signal(TERM).secs(5).signal(TERM);
        assert!(stage.sent().is_empty(), "stop_signal {stop:?}");
        assert_eq!(stage.secs(5).sent(), [KILL]);
    }
}

#[test]
fn each_int_is_forwarded_and_only_a_sweep_is_cut_short() {
    assert_eq!(plain().signal(INT).signal(INT).sent(), [INT]);
    assert_eq!(plain().signal(INT).signal(INT).signal(INT).sent(), [INT]);
    let stage = plain().ends_leaving(0, &[7]).signal(INT).signal(INT);
    assert!(matches!(stage.state(), State::Stopping { step: StopStep::SweepKill, .. }));
}

#[test]
fn the_first_term_after_an_int_is_sent_and_the_clock_goes_on() {
    let stage = plain().signal(INT).secs(4).signal(TERM);
    assert_eq!(stage.sent(), [TERM]);
    assert_eq!(stage.secs(6).sent(), [KILL]);
}

#[test]
fn other_signals_are_forwarded_and_change_nothing() {
    for signal in [1, 3, 10, 12, 28, 34] {
        let stage = plain().signal(signal);
        assert_eq!((stage.sent(), stage.told().len()), (vec![signal], 0));
        assert!(matches!(stage.state(), State::Running { .. }));
    }
}

#[test]
fn rewriting_comes_first_and_0_drops() {
    assert_eq!(with(|s| s.rewrite_signal = vec![(1, TERM)]).signal(1).told(), ["stop-requested"]);
    assert_eq!(with(|s| s.rewrite_signal = vec![(10, 0)]).signal(10).out, []);
}

#[test]
fn a_received_stop_signal_is_a_stop_also_when_it_was_rewritten() {
    let quit = || with(|s| s.stop.signal = Some(libc::SIGQUIT));
    assert_eq!(quit().signal(libc::SIGQUIT).told(), ["stop-requested"]);
    assert_eq!(quit().signal(libc::SIGQUIT).sent(), [libc::SIGQUIT]);
    assert!(quit().signal(libc::SIGQUIT).signal(TERM).sent().is_empty(), "the same stop");
    assert_eq!(quit().signal(libc::SIGQUIT).secs(10).sent(), [KILL]);
    assert_eq!(quit().signal(libc::SIGHUP).told().len(), 0, "its look-alike");
    let rewritten = with(|s| (s.stop.signal, s.rewrite_signal) = (Some(libc::SIGQUIT), vec![(1, libc::SIGQUIT)]));
    assert_eq!(rewritten.signal(1).sent(), [libc::SIGQUIT]);
    let away = with(|s| (s.stop.signal, s.rewrite_signal) = (Some(libc::SIGQUIT), vec![(libc::SIGQUIT, 10)]));
    let away = away.signal(libc::SIGQUIT);
    assert_eq!((away.sent(), away.told().len()), (vec![10], 0), "rewriting comes first");
}

#[test]
fn a_closed_terminal_is_passed_on_and_an_end_after_it_is_no_failure() {
    for always in [false, true] {
        let stage = with(|s| {
            if always {
                s.restart.policy = crate::spec::Policy::Always;
            }
        });
        let stage = stage.key(libc::SIGHUP);
        assert_eq!(stage.sent(), [libc::SIGHUP]);
        assert_eq!(stage.ends(-libc::SIGHUP).status(), Some(129));
    }
    assert_eq!(plain().ends(3).key(libc::SIGHUP).status(), Some(3), "there is no worker to take it");
    assert_eq!(plain().signal(libc::SIGHUP).ends(4).status(), None, "a process that sends HUP closes nothing");
}

#[test]
fn a_rewritten_term_makes_the_workers_own_end_no_failure_and_ends_a_back_off() {
    let quit = || with(|s| s.rewrite_signal = vec![(TERM, libc::SIGQUIT)]);
    assert_eq!(quit().signal(TERM).sent(), [libc::SIGQUIT]);
    assert_eq!(quit().signal(TERM).ends(7).status(), Some(7));
    assert_eq!(quit().ends(1).signal(TERM).status(), Some(1), "nobody is there to end itself");
}

#[test]
fn term_in_a_back_off_ends_at_once_with_the_last_status() {
    assert_eq!(plain().ends(3).signal(TERM).status(), Some(3));
}

#[test]
fn the_terminals_keys_are_not_forwarded() {
    for key in [INT, libc::SIGQUIT, libc::SIGWINCH] {
        assert_eq!(terminal().key(key).out, []);
    }
    assert_eq!(terminal().key(libc::SIGTSTP).out, [Action::Suspend]);
}

#[test]
fn an_end_soon_after_a_key_was_asked_for() {
    let stage = terminal().key(INT).secs(10).ends(-INT);
    assert_eq!(stage.status(), Some(130));
}

#[test]
fn a_repl_that_survives_a_key_goes_on_and_its_later_crash_is_a_crash() {
    let stage = terminal().key(INT).wait(Duration::from_millis(10_001)).ends(1);
    assert_eq!(stage.status(), None);
    assert!(matches!(stage.state(), State::Backoff { .. }));
}

#[test]
fn a_stall_between_key_and_death_does_not_make_it_a_crash() {
    let stage = terminal().key(INT);
    let (generation, seen_alive) = (stage.service().last, stage.now);
    let exit = super::stage::exit(-INT);
    let event = Event::Exited { service: super::stage::ID, generation, exit, seen_alive, left: vec![] };
    assert_eq!(stage.secs(60).give(event).status(), Some(130));
}

#[test]
fn a_key_with_nobody_alive_ends_us() {
    assert_eq!(terminal().ends(5).key(INT).status(), Some(5));
}

#[test]
fn as_pid_1_we_leave_when_we_are_alone_or_when_the_grace_is_over_or_at_a_second_int() {
    let init = || Stage::new(Spec::default(), Setup { prefix: true, init: true, ..Setup::default() }).up();
    let farewell = || init().signal(INT).ends(0);
    assert_eq!(farewell().out.last(), Some(&Action::Farewell { signal: TERM }));
    assert_eq!(farewell().give(Event::Alone).status(), Some(0));
    assert_eq!((farewell().secs(9).status(), farewell().secs(10).status()), (None, Some(0)));
    assert_eq!(farewell().signal(INT).status(), Some(0));
}
