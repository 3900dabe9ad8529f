use super::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proptest::prelude::*;
use std::process::{Child, Stdio};

const MS: Duration = Duration::from_millis(1);

fn thread(state: u8, cpu: u32, waited: u32, turns: u64) -> Thread {
    Thread { state, cpu: MS * cpu, waited: MS * waited, turns }
}

fn seen(threads: &[(i32, Thread)]) -> Look {
    Look { start: Some(5), threads: threads.iter().copied().collect(), throttled: Vec::new() }
}

fn facts(before: &Look, now: &Look) -> Facts {
    between(before, now, 1, MS * 200, false, 0)
}

#[test]
fn cpu_time_is_summed_over_threads_and_waiting_is_the_longest() {
    let before = seen(&[(1, thread(b'S', 100, 10, 5)), (2, thread(b'R', 50, 0, 5))]);
    let now = seen(&[(1, thread(b'S', 110, 15, 6)), (2, thread(b'R', 80, 90, 9)), (3, thread(b'S', 7, 1, 2))]);
    let facts = facts(&before, &now);
    assert_eq!((facts.cpu, facts.waited, facts.threads), (MS * 47, MS * 90, 3));
    assert!(!facts.blind && !facts.stopped && !facts.traced && facts.blocked == 0);
}

#[test]
fn a_thread_that_never_gets_its_turn_has_waited_all_the_time() {
    let stuck = seen(&[(1, thread(b'R', 100, 10, 5))]);
    assert_eq!(facts(&stuck, &stuck).waited, MS * 200);
    let asleep = seen(&[(1, thread(b'S', 100, 10, 5))]);
    assert_eq!(facts(&asleep, &asleep).waited, Duration::ZERO);
}

#[test]
fn only_threads_that_are_blocked_at_both_looks_count() {
    let before = seen(&[(1, thread(b'D', 0, 0, 0)), (2, thread(b'D', 0, 0, 0)), (3, thread(b'S', 0, 0, 0))]);
    let now = seen(&[(1, thread(b'D', 0, 0, 0)), (2, thread(b'S', 0, 0, 0)), (3, thread(b'D', 0, 0, 0))]);
    assert_eq!(facts(&before, &now).blocked, 1);
}

#[test]
fn stopped_is_the_main_thread_or_all_that_live() {
    let look =
        |states: &[u8]| seen(&states.iter().zip(1..).map(|(s, tid)| (tid, thread(*s, 0, 0, 0))).collect::<Vec<_>>());
    assert!(facts(&look(b"SS"), &look(b"TS")).stopped);
    assert!(facts(&look(b"ZT"), &look(b"ZT")).stopped, "the leader has ended");
    assert!(!facts(&look(b"ST"), &look(b"ST")).stopped);
    assert!(facts(&look(b"SS"), &look(b"St")).traced);
}

#[test]
fn another_process_of_the_same_number_is_not_looked_at() {
    let before = seen(&[(1, thread(b'S', 0, 0, 0))]);
    let other = Look { start: Some(6), ..before.clone() };
    assert!(facts(&before, &other).blind);
    assert!(facts(&before, &seen(&[(1, thread(b'Z', 0, 0, 0))])).blind);
    assert!(compare(&look(i32::MAX), i32::MAX, MS).blind);
}

#[test]
fn the_group_that_was_held_back_longest_counts() {
    let held = |a: u64, b: u64| Look {
        throttled: vec![("/a/b".into(), Duration::from_micros(a)), ("/a".into(), Duration::from_micros(b))],
        ..seen(&[(1, thread(b'S', 0, 0, 0))])
    };
    assert_eq!(facts(&held(10, 500), &held(20, 900)).throttled, Duration::from_micros(400));
}

#[test]
fn lines_of_the_kernel_are_read() {
    let stat = "42 (a) R 1 () S 7 8 9 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 1 0 12345 1 2";
    assert_eq!(parse_stat(stat), Some(("a) R 1 (", b'S', MS * 2000)));
    assert_eq!(parse_schedstat("5000000 7000000 3\n"), Some((MS * 5, MS * 7, 3)));
    assert_eq!(parse_schedstat("5 7"), None);
    assert_eq!(parse_pressure("some avg10=58.24 avg60=21.93\nfull avg10=0.00"), Some(58));
    assert_eq!(parse_pressure("full avg10=0.00"), None);
}

/// A process of the tests that is killed in any case.
struct Victim(Child);

impl Victim {
    #[expect(clippy::disallowed_methods, reason = "a child of the tests, reaped here")]
    fn new(script: &str) -> Victim {
        let child = std::process::Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn();
        Victim(child.expect("sh"))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }

    /// Looks until it is so, for ten seconds at most.
    fn until(&self, so: impl Fn(&Facts) -> bool) -> Facts {
        let mut facts = Facts::default();
        for _ in 0..200 {
            let (clock, before) = (super::super::clock::Clock::start(), look(self.pid()));
            let _ = nix::poll::poll(&mut [], 50u16);
            facts = compare(&before, self.pid(), clock.now());
            if so(&facts) {
                break;
            }
        }
        facts
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_loop_uses_its_processor_and_a_sleeper_nothing() {
    let spinner = Victim::new("while :; do :; done");
    let facts = spinner.until(|f| f.cpu + f.waited >= f.span / 2);
    assert!(!facts.blind && facts.cpu + facts.waited >= facts.span / 2 && facts.threads == 1, "{facts:?}");
    let sleeper = Victim::new("exec sleep 100");
    let facts = sleeper.until(|f| f.cpu.is_zero());
    assert_eq!((facts.cpu, facts.blind, facts.stopped, facts.traced), (Duration::ZERO, false, false, false));
    let shown = threads(sleeper.pid());
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].tid, shown[0].name.as_str(), shown[0].state), (sleeper.pid(), "sleep", 'S'));
    assert!(!shown[0].syscall.contains("0x"), "no arguments: {:?}", shown[0].syscall);
}

#[test]
fn a_process_that_was_stopped_is_seen_to_be() {
    let victim = Victim::new("exec sleep 100");
    kill(Pid::from_raw(victim.pid()), Signal::SIGSTOP).expect("our own child");
    assert!(victim.until(|f| f.stopped).stopped);
    kill(Pid::from_raw(victim.pid()), Signal::SIGCONT).expect("our own child");
    assert!(!victim.until(|f| !f.stopped).stopped);
}

proptest! {
    #[test]
    fn any_line_does_no_harm(line in ".{0,80}", numbers in "[0-9 ().RSDTt-]{0,120}") {
        for text in [&line, &numbers] {
            parse_stat(text);
            parse_schedstat(text);
            parse_pressure(text);
        }
    }
}
