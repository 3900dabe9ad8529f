use super::*;
use std::process::{Child, Stdio};

/// A process of the tests that is killed in any case.
struct Victim(Child);

impl Victim {
    #[expect(clippy::disallowed_methods, reason = "a child of the tests, reaped here")]
    fn new(command: &[&str]) -> Option<Victim> {
        std::process::Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).spawn().ok().map(Victim)
    }

    fn sleeper() -> Victim {
        Victim::new(&["sleep", "100"]).expect("sleep")
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pause(ms: u16) {
    let _ = nix::poll::poll(&mut [], ms);
}

fn one(sampler: &mut Sampler<u32>, pids: &[i32]) -> Usage {
    sampler.sample(&[group(1, pids)])[0]
}

fn group(key: u32, pids: &[i32]) -> Group<'_, u32> {
    Group { key, pids, with_children: true }
}

fn stat(ppid: i32, start: u64, own: u64, children: u64) -> Stat {
    Stat { state: b'S', ppid, group: 1, session: 1, own, children, threads: 1, start }
}

/// Ticks of 10 ms that two samples a second apart show, the first at 100 s after boot.
fn ticks(then: &[(i32, Stat)], now: &[(i32, Stat)], with_children: bool) -> u128 {
    let past = Past { at: Duration::ZERO, since_boot: Duration::from_secs(100), known: then.iter().copied().collect() };
    spent(&past, &now.iter().copied().collect(), with_children).as_millis() / 10
}

/// 55. Failed before: a child that began and ended between two samples counted as nothing.
#[test]
fn children_that_were_waited_for_count_and_nothing_counts_twice() {
    let (parent, old) = (|own, children| (1, stat(0, 10, own, children)), (2, stat(1, 20, 30, 0)));
    // came and went between the samples
    assert_eq!(ticks(&[parent(5, 0)], &[parent(6, 15)], true), 16);
    // known before with 30, ended with 34: its parent has all of it
    assert_eq!(ticks(&[parent(5, 0), old], &[parent(5, 34)], true), 4);
    // it and another one
    assert_eq!(ticks(&[parent(5, 0), old], &[parent(5, 44)], true), 14);
    // nobody has waited for it (SIGCHLD is ignored): nothing is taken off that is not there
    assert_eq!(ticks(&[parent(5, 0), old], &[parent(7, 0)], true), 2);
    // a whole branch is gone: the parent has the time of the grandchild through the child
    let grandchild = (3, stat(2, 30, 40, 0));
    assert_eq!(ticks(&[parent(5, 0), old, grandchild], &[parent(5, 75)], true), 5);
    // a new child, and its own children
    assert_eq!(ticks(&[parent(5, 0)], &[parent(5, 0), (9, stat(1, 10_001, 7, 3))], true), 10);
    // the number belongs to another process now
    assert_eq!(ticks(&[parent(5, 0), old], &[parent(5, 30), (2, stat(1, 10_001, 2, 0))], true), 2);
    // of the main process alone
    assert_eq!(ticks(&[parent(5, 0)], &[parent(6, 15)], false), 1);
    // one that is older than the first sample came from elsewhere
    assert_eq!(ticks(&[parent(5, 0)], &[parent(5, 0), (9, stat(1, 50, 700, 0))], true), 0);
}

#[test]
fn the_first_sample_knows_no_cpu_time_and_a_loop_uses_it() {
    let (spinner, sleeper) = (Victim::new(&["sh", "-c", "while :; do :; done"]).expect("sh"), Victim::sleeper());
    let mut sampler = Sampler::new();
    let (busy, idle) = ([spinner.pid()], [sleeper.pid()]);
    let first = sampler.sample(&[group(1, &busy), group(2, &idle)]);
    assert!(first.iter().all(|u| u.cpu.is_none() && u.cpu_permille().is_none() && u.rss_bytes > Some(0)), "{first:?}");
    for _ in 0..100 {
        pause(100);
        let next = sampler.sample(&[group(1, &busy), group(2, &idle)]);
        assert!(next[1].cpu < Some(Duration::from_millis(50)), "{next:?}");
        if next[0].cpu_permille() > Some(100) {
            return;
        }
    }
    panic!("a loop that uses no time");
}

#[test]
fn what_is_gone_contributes_nothing_and_nothing_at_all_is_unknown() {
    let (a, b) = (Victim::sleeper(), Victim::sleeper());
    let pids = [a.pid(), b.pid()];
    let mut sampler = Sampler::new();
    let both = one(&mut sampler, &pids).rss_bytes.expect("two sleepers");
    drop(a);
    let left = one(&mut sampler, &pids);
    assert!(left.rss_bytes.is_some_and(|bytes| bytes > 0 && bytes < both) && left.cpu.is_some(), "{left:?}");
    drop(b);
    let none = one(&mut sampler, &pids);
    assert_eq!((none.rss_bytes, none.cpu), (None, None));
    assert_eq!(one(&mut sampler, &[-1, 0, i32::MAX]).rss_bytes, None);
}

#[test]
fn a_group_that_was_forgotten_begins_anew() {
    let sleeper = Victim::sleeper();
    let mut sampler = Sampler::new();
    one(&mut sampler, &[sleeper.pid()]);
    assert!(one(&mut sampler, &[sleeper.pid()]).cpu.is_some());
    sampler.forget(1);
    assert!(sampler.system.is_none(), "nobody is measured");
    assert!(one(&mut sampler, &[sleeper.pid()]).cpu.is_none());
}

#[test]
fn a_zombie_is_unknown_and_one_with_living_threads_is_measured() {
    let mut dead = Victim::new(&["true"]).expect("true");
    let state = |pid: i32| proc::stat(pid).map(|s| s.state);
    let wait_for_zombie = |pid: i32| {
        (0..200).any(|_| {
            state(pid) == Some(b'Z') || {
                pause(50);
                false
            }
        })
    };
    assert!(wait_for_zombie(dead.pid()));
    assert_eq!(one(&mut Sampler::new(), &[dead.pid()]).rss_bytes, None);
    let _ = dead.0.wait();
    let script = "import ctypes, threading, time\n\
                  threading.Thread(target=time.sleep, args=(100,)).start()\n\
                  ctypes.CDLL(None).pthread_exit(None)";
    let Some(headless) = Victim::new(&["python3", "-c", script]) else { return };
    if !wait_for_zombie(headless.pid()) || headless_is_gone(headless.pid()) {
        return;
    }
    let usage = one(&mut Sampler::new(), &[headless.pid()]);
    assert!(usage.rss_bytes > Some(1 << 20), "{usage:?}");
}

/// An interpreter that could not do it.
fn headless_is_gone(pid: i32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) < 2
}

#[test]
fn permille_are_of_one_core() {
    let usage = |cpu, elapsed| Usage {
        cpu: Some(Duration::from_millis(cpu)),
        elapsed: Duration::from_millis(elapsed),
        ..Usage::default()
    };
    assert_eq!(usage(500, 1000).cpu_permille(), Some(500));
    assert_eq!(usage(4000, 1000).cpu_permille(), Some(4000));
    assert_eq!(usage(5, 0).cpu_permille(), None);
}

#[test]
fn children_that_are_gone_are_not_kept_for_ever() {
    let mut sampler = Sampler::new();
    let many: Vec<Victim> = (0..STALE_MAX + 2).map(|_| Victim::sleeper()).collect();
    let pids: Vec<i32> = many.iter().map(Victim::pid).collect();
    one(&mut sampler, &pids);
    drop(many);
    let me = [i32::try_from(std::process::id()).expect("a pid")];
    one(&mut sampler, &me);
    assert_eq!(sampler.system.as_ref().map(|s| s.processes().len()), Some(1));
}

/// Run by the test below in a process of its own, where nothing else opens or starts anything.
#[test]
#[ignore = "run by `sampling_changes_nothing_of_ours`"]
fn alone() {
    let entries = |dir: &str| fs::read_dir(dir).expect("a /proc").count();
    let now = || {
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("a limit");
        (entries("/proc/self/fd"), entries("/proc/self/task"), limit)
    };
    let before = now();
    let sleepers: Vec<Victim> = (0..20).map(|_| Victim::sleeper()).collect();
    let pids: Vec<i32> = sleepers.iter().map(Victim::pid).collect();
    let mut sampler = Sampler::new();
    for _ in 0..3 {
        one(&mut sampler, &pids);
    }
    assert_eq!(now(), before, "descriptors, threads, RLIMIT_NOFILE");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a child of the tests, reaped here")]
fn sampling_changes_nothing_of_ours() {
    let tests = std::env::current_exe().expect("the tests");
    let name = "sys::sample::tests::alone";
    let done = std::process::Command::new(tests).args(["--exact", name, "--ignored", "--test-threads=1"]).output();
    let done = done.expect("the tests again");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

/// `cargo test --release -p watchdog-engine --lib -- --ignored --nocapture cost_of_a_round`
#[test]
#[ignore = "a measurement"]
fn cost_of_a_round() {
    let sleepers: Vec<Victim> = (0..100).map(|_| Victim::sleeper()).collect();
    let pids: Vec<i32> = sleepers.iter().map(Victim::pid).collect();
    let (mut sampler, clock) = (Sampler::new(), Clock::start());
    one(&mut sampler, &pids);
    let mut rounds: Vec<Duration> = (0..21)
        .map(|_| {
            pause(220);
            let begin = clock.now();
            one(&mut sampler, &pids);
            clock.now() - begin
        })
        .collect();
    rounds.sort_unstable();
    println!("100 processes: median {:?} a round, slowest {:?}", rounds[10], rounds[20]);
}
