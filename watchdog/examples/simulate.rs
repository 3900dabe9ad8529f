//! Runs a range of seeds of the simulator: `simulate FROM COUNT [--partial]`. Ends with 1 at the first broken law, or if
//! a rare state never happened (not with `--partial`). `simulate --seed N` repeats one seed.

#![allow(clippy::disallowed_methods, reason = "measures itself; no part of the watchdog")]

use std::process::ExitCode;
use std::time::Instant;
use watchdog_engine::machine::sim::{Mode, Sometimes, run, run_as};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| args.get(n).and_then(|a| a.parse::<u64>().ok());
    match (args.first().map(String::as_str), number(0), number(1)) {
        (Some("--seed"), _, Some(seed)) => many(seed, 1, true),
        (_, Some(from), Some(count)) => many(from, count, args.iter().any(|a| a == "--partial")),
        _ => {
            eprintln!("usage: simulate FROM COUNT [--partial] | --seed N");
            ExitCode::from(2)
        }
    }
}

fn many(from: u64, count: u64, partial: bool) -> ExitCode {
    let begun = Instant::now();
    let (mut seen, mut calls) = (Sometimes::default(), 0u64);
    for seed in from..from.saturating_add(count) {
        match run(seed) {
            Ok(report) => {
                seen.add(&report.seen);
                calls += report.calls;
            }
            Err(failure) => {
                for line in &failure.history {
                    println!("{line}");
                }
                println!("BROKEN {}", failure.law);
                println!("seed {}: repeat with  scripts/simulate.sh --seed {}", failure.seed, failure.seed);
                return ExitCode::from(1);
            }
        }
        if seed % 64 == 0 && !same_again(seed) {
            println!("BROKEN determinism: seed {seed} gives two different runs");
            return ExitCode::from(1);
        }
    }
    if count > 1 {
        for (text, n) in seen.table() {
            println!("{n:>12}  {text}");
        }
    }
    let took = begun.elapsed().as_secs_f64();
    println!("seeds {from}..{}: clean, {calls} calls, {took:.1} s, {:.0} seeds/s", from + count, count as f64 / took);
    let missing = seen.missing();
    if !partial && !missing.is_empty() {
        println!("BROKEN sometimes: never happened: {}", missing.join("; "));
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

fn same_again(seed: u64) -> bool {
    let hash = || run_as(seed, Mode { hash: true, history: false }).map(|r| r.hash).ok();
    hash() == hash()
}
