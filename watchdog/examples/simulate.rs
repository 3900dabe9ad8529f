//! Runs a range of seeds of the simulator: `simulate FROM COUNT [--partial] [--graphs | --flat]`. Each seed is two worlds: one of
//! a few services that know nothing of each other, and one of a graph. Ends with 1 at the first broken law, or if a rare
//! state never happened (not with `--partial`). `simulate --seed N` repeats one seed; `simulate FROM COUNT --survey` goes on
//! after a broken law and says how often each was broken.

#![allow(clippy::disallowed_methods, reason = "measures itself; no part of the watchdog")]

use std::process::ExitCode;
use std::time::Instant;
use watchdog_engine::machine::sim::{Failure, Mode, Sometimes, graph, run, run_as};

/// Which worlds.
#[derive(Clone, Copy)]
struct Worlds {
    flat: bool,
    graphs: bool,
}

/// What is known of all seeds so far.
#[derive(Default)]
struct Sum {
    seen: Sometimes,
    in_graphs: graph::Sometimes,
    calls: u64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| args.get(n).and_then(|a| a.parse::<u64>().ok());
    let has = |word: &str| args.iter().any(|a| a == word);
    let worlds = Worlds { flat: !has("--graphs"), graphs: !has("--flat") };
    match (args.first().map(String::as_str), number(0), number(1)) {
        (Some("--seed"), _, Some(seed)) => many(seed, 1, true, worlds),
        (_, Some(from), Some(count)) if has("--survey") => survey(from, count, worlds),
        (_, Some(from), Some(count)) => many(from, count, has("--partial"), worlds),
        _ => {
            eprintln!("usage: simulate FROM COUNT [--partial] [--graphs | --flat] | --seed N");
            ExitCode::from(2)
        }
    }
}

fn many(from: u64, count: u64, partial: bool, worlds: Worlds) -> ExitCode {
    let begun = Instant::now();
    let mut sum = Sum::default();
    for seed in from..from.saturating_add(count) {
        if let Err(failure) = sum.both(seed, worlds) {
            for line in &failure.history {
                println!("{line}");
            }
            println!("BROKEN {}", failure.law);
            println!("seed {}: repeat with  scripts/simulate.sh --seed {}", failure.seed, failure.seed);
            return ExitCode::from(1);
        }
        if seed % 64 == 0 && !same_again(seed, worlds) {
            println!("BROKEN determinism: seed {seed} gives two different runs");
            return ExitCode::from(1);
        }
    }
    let flat = sum.seen.table().filter(|_| worlds.flat);
    let tables: Vec<(&str, u64)> = flat.chain(sum.in_graphs.table().filter(|_| worlds.graphs)).collect();
    let missing: Vec<&str> = tables.iter().filter(|(_, n)| *n == 0).map(|(text, _)| *text).collect();
    if count > 1 {
        for (text, n) in tables {
            println!("{n:>12}  {text}");
        }
    }
    let (took, calls) = (begun.elapsed().as_secs_f64(), sum.calls);
    println!("seeds {from}..{}: clean, {calls} calls, {took:.1} s, {:.0} seeds/s", from + count, count as f64 / took);
    if !partial && !missing.is_empty() {
        println!("BROKEN sometimes: never happened: {}", missing.join("; "));
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

/// Each broken law by its first word, how often, and a seed.
fn survey(from: u64, count: u64, worlds: Worlds) -> ExitCode {
    let mut broken: std::collections::BTreeMap<String, (u64, u64, String)> = std::collections::BTreeMap::new();
    for seed in from..from.saturating_add(count) {
        if let Err(failure) = Sum::default().both(seed, worlds) {
            let word = failure.law.split(' ').next().unwrap_or_default().to_string();
            broken.entry(word).or_insert((0, seed, failure.law)).0 += 1;
        }
    }
    for (times, seed, law) in broken.values() {
        println!("{times:>6} times, as seed {seed}: {law}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

impl Sum {
    fn both(&mut self, seed: u64, worlds: Worlds) -> Result<(), Box<Failure>> {
        if worlds.flat {
            let report = run(seed)?;
            self.seen.add(&report.seen);
            self.calls += report.calls;
        }
        if worlds.graphs {
            let report = graph::run(seed)?;
            self.in_graphs.add(&report.seen);
            self.calls += report.calls;
        }
        Ok(())
    }
}

fn same_again(seed: u64, worlds: Worlds) -> bool {
    let mode = Mode { hash: true, history: false };
    let flat = || run_as(seed, mode).map(|r| r.hash).ok();
    let graphs = || graph::run_as(seed, mode).map(|r| r.hash).ok();
    (!worlds.flat || flat() == flat()) && (!worlds.graphs || graphs() == graphs())
}
