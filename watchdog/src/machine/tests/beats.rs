//! Sections 6 and 8 of the contract in sentences: readiness, beats, hangs, channels, limits.

use super::stage::{ID, Stage};
use crate::machine::*;
use crate::spec::{HeartbeatMode, Hook, LimitAction, MemoryLimit, OnHang, Ready, Spec};
use std::time::Duration;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn with(change: impl FnOnce(&mut Spec)) -> Stage {
    let mut spec = Spec::default();
    spec.restart.jitter = 0;
    change(&mut spec);
    Stage::new(spec, Setup::default())
}

fn new() -> Stage {
    with(|_| ())
}

fn ready(how: Ready) -> Stage {
    with(|spec| spec.ready = how).up()
}

fn required() -> Stage {
    with(|spec| spec.heartbeat.mode = HeartbeatMode::Required)
}

fn running(stage: &Stage) -> bool {
    matches!(stage.state(), State::Running { .. })
}

fn stopping(stage: &Stage) -> Option<StopStep> {
    if let State::Stopping { step, .. } = stage.state() { Some(step) } else { None }
}

/// Armed and silent: just suspected.
fn silent() -> Stage {
    new().armed().until("hang").0
}

// --- readiness ---

#[test]
fn with_auto_a_program_that_runs_is_ready_and_a_later_ready_changes_nothing() {
    let stage = new().up();
    assert_eq!(stage.told(), ["spawn", "ready"]);
    assert_eq!(stage.notify(News::Ready).told(), Vec::<&str>::new());
}

#[test]
fn reported_readiness_comes_in_any_dialect_and_once() {
    for dialect in [Dialect::Native, Dialect::Notify, Dialect::Node, Dialect::Fd] {
        let stage = ready(Ready::Reported);
        assert!(!running(&stage));
        let stage = stage.says(dialect, News::Ready);
        assert!(running(&stage) && stage.told() == ["ready"]);
        assert!(stage.says(dialect, News::Ready).told().is_empty());
    }
}

#[test]
fn each_way_of_becoming_ready_is_deaf_to_the_others() {
    assert!(!running(&ready(Ready::Fd).notify(News::Ready)));
    assert!(running(&ready(Ready::Fd).says(Dialect::Fd, News::Ready)));
    let line = || ready(Ready::Line("up".into()));
    assert!(!running(&line().notify(News::Ready)) && !running(&line().seen_ready(ReadyBy::Port)));
    assert!(running(&line().seen_ready(ReadyBy::Line)));
    assert!(!running(&ready(Ready::Port(80)).seen_ready(ReadyBy::Line)));
    assert!(running(&ready(Ready::Port(80)).seen_ready(ReadyBy::Port)));
}

#[test]
fn the_port_is_looked_at_until_it_is_open() {
    let mut stage = ready(Ready::Port(80));
    for _ in 0..5 {
        stage = stage.due();
        assert!(stage.out.contains(&Action::LookAtPort { service: ID, generation: Generation(1), port: 80 }));
    }
    assert!(stage.now <= MonoTime(secs(1)));
}

#[test]
fn a_start_that_takes_too_long_is_ended_in_order_and_is_a_failure() {
    let stage = ready(Ready::Reported).wait(Duration::from_millis(29_999));
    assert!(stage.sent().is_empty());
    let stage = stage.wait(Duration::from_millis(1));
    assert_eq!((stage.sent(), stage.service().cause), (vec![15], Some(Cause::StartTimeout)));
    let stage = stage.ends(0);
    assert_eq!((stage.told(), stage.reports()), (vec!["exit", "restart-scheduled"], vec![Cause::StartTimeout]));
}

#[test]
fn pongs_do_not_stretch_a_start_and_extend_does_to_ten_times_at_most() {
    let stage = ready(Ready::Reported).native(News::Hello).pong().secs(29).native(News::Beat).secs(1);
    assert_eq!(stage.sent(), [15]);
    let stage = ready(Ready::Reported).secs(29).notify(News::Extend(secs(3600)));
    assert!(stage.clone().secs(270).sent().is_empty());
    assert_eq!(stage.secs(271).sent(), [15], "300 s after it was asked for");
}

#[test]
fn start_timeout_none_waits_for_ever() {
    let stage = with(|s| (s.ready, s.start_timeout) = (Ready::Reported, Some(Duration::MAX))).up();
    assert!(stage.secs(1 << 30).out.is_empty());
}

/// Failed before: `ready = alive` did not exist.
#[test]
fn one_that_has_to_stay_is_ready_when_it_is_still_there() {
    let alive = || ready(Ready::Alive(secs(10)));
    let stage = alive().notify(News::Ready).seen_ready(ReadyBy::Port).wait(Duration::from_millis(9_999));
    assert!(!running(&stage) && stage.out.is_empty());
    let stage = stage.wait(Duration::from_millis(1));
    assert_eq!((stage.told(), stage.service().run.as_ref().unwrap().ready_by), (vec!["ready"], Some(ReadyBy::Alive)));
    assert!(stage.service().reason.contains("still there 10s after its start"), "{}", stage.service().reason);
    let stage = stage.secs(60).ends(0);
    assert_eq!(stage.told(), ["exit"], "it was there long enough: 0 is a success");
}

/// Failed before: an end with 0 counted as a success, however early it came.
#[test]
fn an_end_before_it_has_stayed_is_a_failed_start_whatever_its_code() {
    let stage = ready(Ready::Alive(secs(10))).secs(9).ends(0);
    assert_eq!((stage.told(), stage.reports()), (vec!["exit", "restart-scheduled"], vec![Cause::Exited]));
    assert!(stage.service().reason.contains("a failed start, for it was to stay for 10"), "{}", stage.service().reason);
    let never = with(|s| (s.ready, s.restart.policy) = (Ready::Alive(secs(10)), crate::spec::Policy::Never)).up();
    let never = never.ends(0);
    // Failed before: status 1 and not a word.
    assert_eq!((never.told(), never.service().status), (vec!["exit", "gave-up"], Some(1)));
    let stopped = ready(Ready::Alive(secs(10))).stop(None).ends(0);
    assert_eq!(
        (stopped.state(), stopped.reports()),
        (State::Stopped, vec![]),
        "a stop that was asked for is no failure"
    );
}

/// Failed before: the deadline was stretched for readiness probes, and ended such a start.
#[test]
fn a_start_that_only_readiness_probes_gate_has_no_deadline_and_others_have_theirs() {
    let probe = |startup, readiness| crate::spec::ProbeSpec {
        roles: crate::spec::Roles { startup, readiness, liveness: false },
        start_period: secs(1),
        ..crate::spec::ProbeSpec::default()
    };
    let limit = |given: Option<u64>, probes: Vec<crate::spec::ProbeSpec>| {
        with(|s| (s.start_timeout, s.probes) = (given.map(secs), probes)).up().service().timers.get(Timer::Start)
    };
    assert_eq!(limit(None, vec![probe(false, true)]), None);
    assert_eq!(limit(Some(7), vec![probe(false, true)]), None);
    // 1 s + 3 x (10 s + 5 s) + 5 s
    assert_eq!(limit(None, vec![probe(true, false), probe(false, true)]), Some(MonoTime(secs(51))));
    assert_eq!(limit(Some(7), vec![probe(true, false)]), Some(MonoTime(secs(7))), "one that was given stands");
    let oneshot = |given| with(|s| (s.kind, s.start_timeout) = (crate::spec::Kind::Oneshot, given)).up();
    assert_eq!(oneshot(None).service().timers.get(Timer::Start), None);
    assert_eq!(oneshot(Some(secs(7))).service().timers.get(Timer::Start), Some(MonoTime(secs(7))));
    let stays = with(|s| s.ready = Ready::Alive(secs(60))).up();
    assert_eq!(stays.service().timers.get(Timer::Start), Some(MonoTime(secs(65))), "stretched to what it has to stay");
}

/// Failed before: what a startup probe had begun went on while readiness alone was waited for.
#[test]
fn a_startup_probe_that_has_passed_takes_the_deadline_with_it() {
    let probe = |startup| crate::spec::ProbeSpec {
        roles: crate::spec::Roles { startup, readiness: !startup, liveness: false },
        ..crate::spec::ProbeSpec::default()
    };
    let answered = |stage: Stage, probe, good| {
        let outcome = if good { Outcome::Success } else { Outcome::Failure };
        let answer = Answer { outcome, message: String::new(), took: Duration::ZERO };
        stage.give(Event::Probed { service: ID, generation: Generation(1), probe, answer })
    };
    let stage = with(|s| s.probes = vec![probe(true), probe(false)]).up().due();
    let stage = answered(stage, 0, true);
    assert_eq!(stage.service().timers.get(Timer::Start), None);
    let stage = answered(stage.due(), 1, false);
    assert!(!running(&stage) && stage.service().timers.get(Timer::Start).is_none());
    assert!(running(&answered(stage.due(), 1, true)));
}

#[test]
fn a_stop_of_one_that_is_not_ready_yet_climbs_the_same_ladder() {
    let stage = ready(Ready::Reported).stop(None);
    assert_eq!(stage.sent(), [15]);
    assert_eq!(stage.notify(News::Ready).told(), Vec::<&str>::new(), "too late");
}

#[test]
fn news_of_the_dead_and_of_another_run_means_nothing() {
    let stage = ready(Ready::Reported).ends(1).due().up();
    let old = Event::News { service: ID, generation: Generation(1), dialect: Dialect::Notify, news: News::Ready };
    let stage = stage.give(old);
    assert!(stage.out.is_empty() && !running(&stage));
}

#[test]
fn a_second_spawned_is_not_a_second_start() {
    assert!(ready(Ready::Reported).up().out.is_empty());
}

// --- beats ---

#[test]
fn whoever_never_beats_is_never_judged() {
    for stage in [new().up(), new().up().notify(News::Ready), new().up().native(News::Hello)] {
        assert!(!stage.secs(86_400).told().contains(&"hang"));
    }
}

#[test]
fn an_asked_worker_is_hung_after_its_first_ping_without_an_answer_two_intervals_and_a_timeout() {
    let stage = new().armed().due();
    assert!(stage.pinged());
    let (stage, took) = stage.until("hang");
    assert_eq!((took, stage.service().run.as_ref().map(|r| r.beats.misses)), (secs(25), Some(3)));
}

#[test]
fn a_worker_that_beats_by_itself_is_hung_after_three_intervals() {
    let stage = new().up().notify(News::Beat).secs(29).notify(News::Beat);
    assert_eq!(stage.until("hang").1, secs(30));
}

#[test]
fn watchdog_usec_is_the_workers_own_patience() {
    let stage = new().up().notify(News::Beat).notify(News::BeatEvery(secs(2)));
    assert_eq!(stage.until("hang").1, secs(2));
}

#[test]
fn a_late_a_wrong_and_a_second_pong_are_no_signs_of_life() {
    let asked = || new().armed().due();
    assert_eq!(asked().wait(Duration::from_millis(5001)).pong().until("hang").1, Duration::from_millis(19_999));
    assert_eq!(asked().native(News::Pong(Some(99))).until("hang").1, secs(25));
    let twice = asked().pong().secs(9).pong();
    assert_eq!(twice.until("hang").1, secs(1 + 25), "the second one did not begin the silence anew");
}

#[test]
fn one_ping_is_out_at_a_time() {
    let mut stage = with(|s| s.heartbeat.timeout = secs(60)).armed();
    let mut pings = 0;
    for _ in 0..20 {
        stage = stage.secs(1);
        pings += stage.words().iter().filter(|w| matches!(w, Word::Ping(_))).count();
    }
    assert_eq!(pings, 1);
}

#[test]
fn required_is_judged_from_readiness_on() {
    assert_eq!(required().up().until("hang").1, secs(30));
    let (stage, took) = required().armed().until("hang");
    assert_eq!(took, secs(25), "it was asked at once");
    assert!(!stage.sent().contains(&9));
}

#[test]
fn the_first_ping_may_be_answered_after_readiness() {
    let stage = with(|s| (s.ready, s.heartbeat.mode) = (Ready::Reported, HeartbeatMode::Required)).up();
    let stage = stage.native(News::Hello).native(News::Ready).secs(1).pong();
    assert!(stage.pinged(), "it speaks, so it is asked");
}

#[test]
fn off_is_never_judged_and_never_asked() {
    let stage = with(|s| s.heartbeat.mode = HeartbeatMode::Off).up().native(News::Hello);
    assert_eq!(stage.words(), [Word::AskHealth, Word::AskMetrics]);
    let stage = stage.notify(News::Beat).until("hang").0;
    assert!(!stage.pinged(), "it is asked for what it has to say, and never whether it lives");
}

#[test]
fn the_first_dialect_that_beats_is_the_one_that_is_judged() {
    let stage = new().armed().secs(9).notify(News::Beat);
    assert_eq!(stage.until("hang").1, secs(1 + 25));
    let stage = new().up().native(News::Hello).native(News::Pong(Some(7))).notify(News::Beat);
    assert_eq!(stage.until("hang").1, secs(30), "a liar has not adopted its dialect");
}

#[test]
fn after_a_stall_of_ours_it_is_asked_again_and_a_hung_one_is_found_later() {
    let stage = new().armed().due().secs(3600);
    assert!(stage.pinged() && !stage.told().contains(&"hang"));
    assert_eq!(stage.until("hang").1, secs(25));
}

#[test]
fn words_that_waited_through_a_stall_are_no_verdict() {
    let mut stage = new().up().notify(News::Beat);
    stage.now = stage.now.after(secs(600));
    let stage = stage.notify(News::BeatEvery(secs(1))).notify(News::Extend(Duration::ZERO));
    assert!(!stage.told().contains(&"hang"));
}

#[test]
fn extend_excuses_silence_and_is_bounded() {
    let stage = new().up().notify(News::Beat).notify(News::Extend(secs(100)));
    assert_eq!(stage.until("hang").1, secs(100));
    let stage = new().up().notify(News::Beat).notify(News::Extend(Duration::MAX));
    assert_eq!(stage.until("hang").1, secs(300), "ten times its patience");
}

// --- hangs ---

#[test]
fn silence_is_a_question_two_looks_answer_it() {
    let stage = silent();
    assert!(stage.sent().is_empty() && stage.pinged());
    assert!(stage.out.contains(&Action::Inspect { service: ID, generation: Generation(1), second: false }));
    let stage = stage.wait(Duration::from_millis(200));
    assert_eq!(stage.out, [Action::Inspect { service: ID, generation: Generation(1), second: true }]);
    let stage = stage.evidence(|_| ());
    assert_eq!(stage.told(), ["verdict"]);
    assert_eq!(stage.sent(), [6]);
}

#[test]
fn evidence_before_the_second_look_is_of_an_earlier_hang() {
    assert!(silent().evidence(|_| ()).out.is_empty());
}

#[test]
fn a_hung_worker_shows_its_stacks_and_is_then_killed() {
    let stage = silent().looked_at(|_| ());
    assert_eq!(stopping(&stage), Some(StopStep::Dump));
    assert!(stage.clone().wait(Duration::from_millis(4999)).sent().is_empty());
    let killed = stage.clone().secs(5);
    assert_eq!(killed.sent(), [9]);
    assert_eq!(killed.ends(-9).reports(), [Cause::Hang]);
    let died = stage.ends(0);
    assert_eq!(died.told(), ["exit", "restart-scheduled"], "a failure, whatever its code");
}

#[test]
fn a_dump_timeout_of_nothing_kills_at_once() {
    let stage = with(|s| s.heartbeat.hang_dump_timeout = Duration::ZERO).armed().until("hang").0.looked_at(|_| ());
    assert_eq!(stage.sent(), [9]);
}

#[test]
fn a_beat_before_the_verdict_is_forgiveness_and_one_after_it_is_none() {
    let stage = silent().pong();
    assert!(running(&stage) && stage.service().run.as_ref().is_some_and(|r| r.hang.is_none()));
    assert!(stage.evidence(|_| ()).out.is_empty());
    let stage = silent().looked_at(|_| ()).pong();
    assert!(stage.service().run.as_ref().is_some_and(|r| r.hang.is_some()), "its report says why");
    assert_eq!(stage.secs(5).sent(), [9]);
}

#[test]
fn who_waits_for_a_device_has_one_interval_more() {
    let stage = silent().looked_at(|e| e.blocked = 1);
    assert!(stage.sent().is_empty() && stage.pinged());
    assert_eq!(stage.looked_at(|e| e.blocked = 1).sent(), [6]);
}

#[test]
fn who_is_not_to_blame_has_three() {
    for facts in [
        (|e: &mut Evidence| e.stopped = true) as fn(&mut Evidence),
        |e| e.suspended = secs(60),
        |e| e.waited = Duration::from_millis(150),
    ] {
        let mut stage = silent();
        for _ in 0..3 {
            stage = stage.looked_at(facts);
            assert!(stage.sent().is_empty());
        }
        assert_eq!(stage.looked_at(facts).sent(), [6]);
    }
}

#[test]
fn who_is_traced_is_waited_for_and_told_of_once() {
    let mut stage = silent().looked_at(|e| e.traced = true);
    assert_eq!(stage.told(), ["verdict"]);
    for _ in 0..50 {
        stage = stage.looked_at(|e| e.traced = true);
        assert!(stage.told().is_empty() && stage.sent().is_empty());
    }
    assert_eq!(stage.looked_at(|_| ()).sent(), [6], "the debugger went away and left it so");
}

#[test]
fn a_stopped_worker_is_woken_for_its_dump() {
    let mut stage = silent();
    for _ in 0..4 {
        stage = stage.looked_at(|e| e.stopped = true);
    }
    assert!(stage.out.iter().any(|a| matches!(a, Action::Signal { signal: 6, wake: true, .. })));
}

#[test]
fn whoever_wants_to_be_hung_is_hung_without_excuse() {
    let stage = new().up().notify(News::Trigger);
    assert_eq!(stage.told(), ["hang"]);
    assert_eq!(stage.notify(News::Beat).looked_at(|e| e.traced = true).sent(), [6]);
}

#[test]
fn on_hang_record_reports_once_kills_never_and_ends_with_the_next_answer() {
    let mut stage = with(|s| s.heartbeat.on_hang = OnHang::Record).armed().until("hang").0.looked_at(|_| ());
    assert_eq!((stage.reports(), stage.sent()), (vec![Cause::Hang], vec![]));
    for _ in 0..20 {
        stage = stage.secs(10);
        assert!(stage.reports().is_empty() && stage.sent().is_empty() && stage.told().is_empty());
    }
    assert!(stage.pinged(), "it is asked on, or it could never say that it is back");
    let (stage, took) = stage.pong().until("hang");
    assert_eq!((stage.told(), took), (vec!["hang"], secs(10 + 25)), "the next silence is a hang of its own");
}

#[test]
fn an_operator_who_stops_a_hung_worker_has_stopped_it() {
    let stage = silent().looked_at(|_| ()).stop(None).ends(-6);
    assert_eq!(stage.state(), State::Stopped);
    let stage = silent().looked_at(|_| ()).restart(false).ends(-6);
    assert!(stage.spawned() && stage.service().book.streak == 0);
}

// --- lanes ---

fn lanes(stage: Stage, beats: [u64; 2]) -> Stage {
    let lane = |slot: u32| LaneView {
        slot,
        name: if slot == 0 { "consumer" } else { "writer" }.into(),
        armed: true,
        beats: beats[slot as usize],
        deadline: secs(2),
    };
    stage.native(News::Lanes(vec![lane(0), lane(1)]))
}

/// The writer beats on, the consumer does not.
fn stuck() -> Stage {
    let mut stage = lanes(new().armed(), [1, 1]);
    for n in 2..100 {
        stage = stage.wait(Duration::from_millis(500));
        assert!(stage.out.iter().any(|a| matches!(a, Action::LookAtLanes { .. })));
        stage = lanes(stage, [1, n]);
        if stage.told() == ["hang"] {
            assert_eq!(stage.now, MonoTime(secs(2)));
            return stage;
        }
    }
    panic!("no lane is stuck");
}

#[test]
fn a_stuck_lane_is_named_though_the_worker_answers() {
    let stage = stuck();
    let lane = |a: &Action| matches!(a, Action::Tell(n) if matches!(&n.what, What::Hang { lane: Some(l), .. } if l == "consumer"));
    assert!(stage.out.iter().any(lane));
    assert_eq!(stage.looked_at(|_| ()).sent(), [6]);
}

#[test]
fn a_stuck_lane_is_forgiven_for_its_own_beat_only() {
    let hung = |s: &Stage| s.service().run.as_ref().is_some_and(|r| r.hang.is_some());
    let stage = stuck().pong().native(News::Beat);
    assert!(hung(&stage));
    assert!(!hung(&lanes(stage, [2, 99])));
}

#[test]
fn a_lane_is_not_judged_for_a_stall_of_ours() {
    let stage = lanes(new().armed(), [1, 1]).secs(600);
    assert!(!lanes(stage, [1, 1]).told().contains(&"hang"));
}

// --- the end of a stop ---

fn takes_the_word() -> Stage {
    new().armed().native(News::TakesShutdown)
}

#[test]
fn a_worker_that_takes_the_word_gets_it_first_then_the_signal_then_sigkill_in_one_grace() {
    let stage = takes_the_word().stop(None);
    assert_eq!((stage.words(), stage.sent()), (vec![Word::Shutdown(secs(8))], vec![]));
    let stage = stage.secs(8);
    assert_eq!(stage.sent(), [15]);
    assert_eq!(stage.secs(2).sent(), [9]);
}

#[test]
fn extend_puts_a_stop_off_with_its_signal_and_to_ten_times_at_most() {
    let stage = takes_the_word().stop(None).native(News::Extend(secs(60)));
    let stage = stage.secs(58);
    assert_eq!(stage.sent(), [15], "2 s before the end");
    assert_eq!(stage.secs(2).sent(), [9]);
    let stage = new().up().stop(None).notify(News::Extend(secs(3600)));
    assert!(stage.clone().secs(99).sent().is_empty());
    assert_eq!(stage.secs(100).sent(), [9]);
}

#[test]
fn a_worker_that_hangs_up_while_it_is_asked_gets_the_signal() {
    let stage = takes_the_word().stop(None).lost(Dialect::Native, None);
    assert!(stage.sent().is_empty(), "it may be ending");
    assert_eq!(stage.clone().wait(Duration::from_millis(100)).sent(), [15]);
    let other = takes_the_word().stop(None).lost(Dialect::Node, None);
    assert!(other.wait(Duration::from_millis(100)).sent().is_empty(), "it heard the word in the native one");
}

#[test]
fn an_int_of_a_person_is_passed_on_as_it_is() {
    assert_eq!(takes_the_word().signal(2).sent(), [2]);
}

// --- channels ---

#[test]
fn a_channel_that_ends_with_its_worker_is_no_news() {
    let stage = new().armed().lost(Dialect::Native, None);
    assert!(stage.out.is_empty());
    let (dead, alive) = (stage.clone().ends(0), stage.wait(Duration::from_millis(100)));
    assert_eq!((dead.told(), alive.told()), (vec!["exit"], vec!["channel-lost"]));
    assert!(alive.lost(Dialect::Native, None).secs(1).told().is_empty(), "told once");
}

#[test]
fn a_lost_channel_disarms_unless_beats_are_required() {
    let stage = new().armed().lost(Dialect::Native, Some("garbage"));
    assert_eq!(stage.told(), ["proto-error"]);
    assert!(!stage.secs(3600).told().contains(&"hang"));
    let stage = required().armed().lost(Dialect::Native, Some("garbage"));
    assert_eq!(stage.until("hang").1, secs(25));
}

#[test]
fn two_channels_that_end_together_are_two_losses() {
    let stage = new().armed().lost(Dialect::Native, None).lost(Dialect::Node, None);
    assert_eq!(stage.told(), ["channel-lost"]);
    let stage = stage.secs(1);
    assert_eq!(stage.told(), ["channel-lost"]);
    assert!(!stage.secs(3600).told().contains(&"hang"));
}

#[test]
fn a_word_is_refused_where_nobody_hears_and_reload_may_be_a_signal() {
    let tell = Request::Tell { services: vec![ID], word: "flush".into() };
    assert_eq!(new().up().ask(tell.clone()).answers(), [(1, false)]);
    assert_eq!(new().armed().ask(tell).words(), [Word::Tell("flush".into())]);
    let reload = Request::Reload { services: vec![ID] };
    assert_eq!(new().armed().ask(reload.clone()).words(), [Word::Reload]);
    assert_eq!(with(|s| s.reload_signal = Some(1)).up().ask(reload).sent(), [1]);
}

// --- limits ---

fn limited() -> Stage {
    with(|s| {
        s.limits.memory = Some(MemoryLimit::Bytes(100));
        s.limits.memory_soft = Some(80);
        s.limits.cpu = Some(80);
    })
    .armed()
}

#[test]
fn nothing_is_measured_without_a_limit() {
    assert!(new().up().secs(3600).out.is_empty());
    assert!(limited().secs(5).out.iter().any(|a| matches!(a, Action::Measure { .. })));
}

#[test]
fn memory_is_judged_by_three_samples_or_at_once_far_above() {
    let stage = limited().holds(105).holds(99).holds(105).holds(105);
    assert!(running(&stage));
    let stage = stage.holds(105);
    assert_eq!((stage.told(), stage.sent()), (vec!["threshold"], vec![15]));
    assert_eq!(stage.ends(0).told(), ["exit", "restart-scheduled"], "a failure, whatever its code");
    assert_eq!(limited().holds(111).service().cause, Some(Cause::Memory));
}

#[test]
fn the_soft_level_is_a_word_and_told_once() {
    let stage = limited().holds(81);
    assert_eq!((stage.told(), stage.words()), (vec!["threshold"], vec![Word::LowMemory]));
    assert!(stage.holds(82).out.is_empty());
}

#[test]
fn cpu_is_judged_by_the_mean_of_its_samples() {
    let mut stage = limited().sample(None, None);
    for _ in 0..4 {
        stage = stage.sample(None, Some(1000));
        assert!(running(&stage));
    }
    assert_eq!(stage.sample(None, Some(1000)).service().cause, Some(Cause::Cpu));
}

#[test]
fn a_limit_that_warns_kills_nobody_and_one_that_ends_is_not_judged_again() {
    let warn = |s: &mut Spec| {
        s.limits.memory = Some(MemoryLimit::Bytes(100));
        s.limits.memory_action = LimitAction::Warn;
    };
    let stage = with(warn).up().holds(500);
    assert!(running(&stage) && stage.told() == ["threshold"]);
    assert!(stage.holds(500).out.is_empty());
    assert!(limited().holds(500).holds(500).out.is_empty());
}

// --- reports ---

#[test]
fn every_kill_of_ours_and_every_unclean_death_is_reported_once() {
    assert_eq!(new().up().ends(1).reports(), [Cause::Exited]);
    assert_eq!(new().up().ends(-11).reports(), [Cause::Signalled]);
    assert_eq!(new().up().ends(0).reports(), []);
    assert_eq!(new().up().stop(None).ends(143).reports(), [], "asked for, and not our kill");
    assert_eq!(new().up().stop(None).secs(10).ends(-9).reports(), [Cause::Requested]);
}

#[test]
fn a_kill_by_the_kernel_has_its_own_name() {
    let stage = new().up();
    let exit = Exit { oom: Oom::Worker, ..super::stage::exit(-9) };
    let seen_alive = stage.now;
    let stage = stage.give(Event::Exited { service: ID, generation: Generation(1), exit, seen_alive, left: vec![] });
    assert_eq!((stage.told(), stage.reports()), (vec!["exit", "oom", "restart-scheduled"], vec![Cause::Oom]));
}

// --- pre-start hooks ---

#[test]
fn a_hook_that_was_called_off_is_no_failure_of_a_service_that_is_wanted_up() {
    let hook = Hook { events: vec![], pre_start: true, command: vec!["true".into()] };
    let stage = with(|s| s.hooks.push(hook)).restart(false);
    assert!(stage.out.contains(&Action::CancelSpawn { service: ID, generation: Generation(1) }));
    let failure = SpawnFailure { step: Step::PreStart, errno: libc::ECANCELED, path: "true".into() };
    let stage = stage.give(Event::SpawnFailed { service: ID, generation: Generation(1), failure });
    assert!(stage.spawned());
}

// --- its main process, and who speaks for it ---

fn signals(stage: &Stage) -> Vec<i32> {
    let sent = |a: &Action| if let Action::Signal { signal, .. } = a { Some(*signal) } else { None };
    stage.out.iter().filter_map(sent).collect()
}

#[test]
fn a_main_process_that_hands_over_goes_on_under_another_pid_and_nothing_follows() {
    let stage = new().up().hands_over(77, false);
    assert!(running(&stage) && stage.out.is_empty());
    assert_eq!(stage.service().run.as_ref().and_then(|r| r.pid), Some(77));
    // A word of the worker alone changes nothing: whether it is so is seen when the main process ends.
    let stage = stage.notify(News::MainPid(78));
    assert_eq!(stage.service().run.as_ref().and_then(|r| r.pid), Some(77));
}

/// Failed before: the new main process was not told, and was killed after the grace.
#[test]
fn one_that_comes_while_it_is_stopped_gets_the_stop_signal_at_once_and_the_grace_goes_on() {
    let before = new().up().stop(None);
    let kill = before.service().timers.get(Timer::Stop);
    let stage = before.wait(secs(3)).hands_over(77, false);
    assert_eq!((signals(&stage), stopping(&stage)), (vec![15], Some(StopStep::Term)));
    assert_eq!(stage.service().timers.get(Timer::Stop), kill);
    // One that was told with it is not told twice.
    assert_eq!(signals(&stage.hands_over(78, true)), Vec::<i32>::new());
    // One that was only asked by a word has heard nothing of it.
    let stage = new().armed().native(News::TakesShutdown).stop(None);
    assert_eq!(stopping(&stage), Some(StopStep::Ask));
    let stage = stage.hands_over(77, false);
    assert_eq!((signals(&stage), stopping(&stage)), (vec![15], Some(StopStep::Term)));
}

#[test]
fn nothing_is_handed_over_by_one_that_is_being_killed() {
    let may = |stage: Stage| stage.service().may_hand_over();
    assert!(may(new().up()) && may(ready(Ready::Reported)) && may(new().up().stop(None)));
    assert!(!may(new().up().stop(Some(0))) && !may(silent().looked_at(|_| ())));
}

/// Failed before: what others sent was not known here, and their flood made a beat late.
#[test]
fn silence_is_not_judged_while_others_take_the_room_of_its_datagrams() {
    let beats = || required().up().notify(News::Beat);
    let mut stage = beats();
    for _ in 0..20 {
        stage = stage.wait(secs(20)).foreign(9);
        assert!(!stage.told().contains(&"hang"));
    }
    assert_eq!(stage.service().run.as_ref().map(|r| r.talk.foreign), Some(180));
    let (_, took) = stage.until("hang");
    assert_eq!(took, secs(30), "and from then on it is");
    // Whoever answers pings has a channel of its own.
    let stage = new().armed().wait(secs(5)).foreign(9);
    let (_, took) = stage.until("hang");
    assert_eq!(took, new().armed().wait(secs(5)).until("hang").1);
}

/// Failed before: a reload that took longer than the patience was a hang.
#[test]
fn silence_while_it_reads_its_configuration_is_not_judged_for_as_long_as_a_stop_would_take() {
    let with = |stop: u64| {
        with(|spec| {
            spec.heartbeat.mode = HeartbeatMode::Required;
            spec.stop.timeout = secs(stop);
        })
    };
    let reloads = |stop: u64| with(stop).up().notify(News::Beat).wait(secs(20)).notify(News::Reloading);
    assert_eq!(reloads(100).until("hang").1, secs(100));
    assert_eq!(reloads(3).until("hang").1, secs(10), "never less than without it");
    let again = reloads(100).wait(secs(60)).notify(News::Reloading);
    assert_eq!(again.until("hang").1, secs(40), "saying it again makes it no longer");
    let done = reloads(100).wait(secs(60)).notify(News::Ready);
    assert_eq!(done.until("hang").1, secs(30), "READY ends it, and silence counts from there");
}
