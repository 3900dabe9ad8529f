//! What the judge costs: nanoseconds a call. `cargo bench -p watchdog-engine`; words behind `--` choose by name.
//!
//! std only: a median of batches says enough about pure functions, and a framework would be compiled by everybody who
//! runs the tests.

#![expect(clippy::disallowed_methods, reason = "a stopwatch has to look at the clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};
use watchdog_engine::machine::{
    Action, Actions, Book, Event, Exit, Generation, MonoTime, Oom, ServiceId, Setup, Supervisor, nth_delay,
};
use watchdog_engine::spec::{Delays, Restart, Spec};

/// Batches of one function, and how long one of them takes at least.
const BATCHES: usize = 30;
const BATCH: Duration = Duration::from_millis(10);

fn main() {
    // Cargo itself adds `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    println!("{:<58} {:>10} {:>10}", "function", "median ns", "least ns");
    let bench = |name: &str, call: &mut dyn FnMut()| {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            let (median, least) = measure(call);
            println!("{name:<58} {median:>10.1} {least:>10.1}");
        }
    };

    let (mut book, rules) = (Book::default(), Restart { limit: 0, crash_loop_limit: 0, ..Restart::default() });
    bench("restart: judge one end", &mut || {
        black_box(book.judge(black_box(MonoTime::ZERO), &rules, false, true, 7));
    });
    let delays = Delays::Growing { first: Duration::from_secs(1), factor_milli: 2000, max: Duration::from_secs(60) };
    bench("restart: the 6th delay", &mut || {
        black_box(nth_delay(black_box(&delays), 6));
    });
    for count in [1, 100, 1000] {
        let mut world = World::new(count);
        bench(&format!("supervisor: a death and the start after it, of {count}"), &mut || world.crash());
        let mut world = World::new(count);
        bench(&format!("supervisor: news of an older generation, of {count}"), &mut || world.old_news());
        let world = World::new(count);
        bench(&format!("supervisor: next_deadline, of {count}"), &mut || {
            black_box(world.machine.next_deadline());
        });
        let mut world = World::new(count);
        bench(&format!("supervisor: handle_timeout with nothing due, of {count}"), &mut || world.nothing_due());
    }
}

/// Median and least nanoseconds of one call, over batches that are long enough for the clock.
fn measure(call: &mut dyn FnMut()) -> (f64, f64) {
    let mut calls = 1u32;
    loop {
        if batch(call, calls) >= BATCH || calls > 1 << 28 {
            break;
        }
        calls *= 2;
    }
    let mut all: Vec<f64> = (0..BATCHES).map(|_| batch(call, calls).as_nanos() as f64 / f64::from(calls)).collect();
    all.sort_by(f64::total_cmp);
    (all[BATCHES / 2], all[0])
}

fn batch(call: &mut dyn FnMut(), calls: u32) -> Duration {
    let begin = Instant::now();
    for _ in 0..calls {
        call();
    }
    begin.elapsed()
}

/// N services that run, one of which crashes again and again.
struct World {
    machine: Supervisor,
    now: MonoTime,
    generation: Generation,
    out: Actions,
}

impl World {
    fn new(count: u32) -> World {
        let spec = Spec {
            restart: Restart {
                limit: 0,
                crash_loop_limit: 0,
                jitter: 0,
                delays: Delays::List(vec![Duration::ZERO]),
                ..Restart::default()
            }
            .into(),
            ..Spec::default()
        };
        let mut machine = Supervisor::new((0..count).map(|_| spec.clone()), Setup::default());
        let mut out = Actions::new();
        machine.begin(MonoTime::ZERO, &mut out);
        for n in 0..count {
            let event = Event::Spawned { service: ServiceId(n), generation: Generation(1), pid: 1000 };
            machine.handle(MonoTime::ZERO, event, &mut out);
        }
        World { machine, now: MonoTime::ZERO, generation: Generation(1), out }
    }

    fn crash(&mut self) {
        self.now = self.now.after(Duration::from_millis(1));
        self.out.clear();
        self.died(self.generation);
        let next = self
            .out
            .iter()
            .find_map(|a| if let Action::Spawn { generation, .. } = a { Some(*generation) } else { None });
        if let Some(generation) = next {
            self.generation = generation;
            let event = Event::Spawned { service: ServiceId(0), generation, pid: 1000 };
            self.machine.handle(self.now, event, &mut self.out);
        }
        black_box(&self.out);
    }

    fn old_news(&mut self) {
        self.out.clear();
        self.died(Generation(0));
    }

    fn nothing_due(&mut self) {
        self.out.clear();
        self.machine.handle_timeout(self.now, &mut self.out);
    }

    fn died(&mut self, generation: Generation) {
        let exit =
            Exit { code: Some(1), signal: None, core: false, rss_peak_bytes: None, oom: Oom::No, cpu: Duration::ZERO };
        let event = Event::Exited { service: ServiceId(0), generation, exit, seen_alive: self.now, left: Vec::new() };
        self.machine.handle(self.now, event, &mut self.out);
    }
}
