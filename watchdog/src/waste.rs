//! Waste on demand (feature `counted`): `BUDGETS_WASTE=calls,allocations` makes one system call more at the start and in each
//! turn of the loop, or one allocation more in each turn. `scripts/bench/budgets --prove` shows by it that a ceiling is
//! exceeded by no more than that.

use std::hint::black_box;
use std::sync::OnceLock;

struct Waste {
    calls: bool,
    allocations: bool,
}

fn asked() -> &'static Waste {
    static ASKED: OnceLock<Waste> = OnceLock::new();
    ASKED.get_or_init(|| {
        let words = std::env::var("BUDGETS_WASTE").unwrap_or_default();
        let has = |wanted: &str| words.split(',').any(|word| word == wanted);
        Waste { calls: has("calls"), allocations: has("allocations") }
    })
}

/// At the start, and once in each turn.
pub(crate) fn one() {
    let asked = asked();
    if asked.calls {
        black_box(nix::unistd::getppid());
    }
    if asked.allocations {
        drop(black_box(Box::new(black_box(0u64))));
    }
}
