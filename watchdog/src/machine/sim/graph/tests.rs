//! The bounded part: `scripts/simulate.sh` runs many more.

use super::{Sometimes, run, run_as};
use crate::machine::sim::Mode;

const SEEDS: u64 = 1500;

#[test]
fn no_graph_breaks_a_law_and_every_rare_state_is_met() {
    let mut seen = Sometimes::default();
    for seed in 0..SEEDS {
        match run(seed) {
            Ok(report) => seen.add(&report.seen),
            Err(failure) => panic!(
                "{}\nBROKEN {}\nrepeat with  scripts/simulate.sh --seed {seed}",
                failure.history.join("\n"),
                failure.law
            ),
        }
    }
    assert_eq!(seen.missing(), Vec::<&str>::new(), "rare states that never happened in {SEEDS} seeds");
}

#[test]
fn the_same_graph_is_the_same_run() {
    for seed in 0..100 {
        let again = || run_as(seed, Mode { hash: true, history: false }).map_err(|f| f.law);
        assert_eq!(again(), again(), "seed {seed}");
    }
}
